"""`execintel show`: the newest snapshot as tables a person can read.

Put here: choosing and formatting columns. Keep out: computing any number.
"""

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from features.words import counted, ends
from features.words import guards as guards_in_words
from pipelines.commands import common
from pipelines.commands.chosen import SnapshotOption, head, known_symbol
from pipelines.commands.common import interval, number, with_n

if TYPE_CHECKING:
    import duckdb

    from features.settings import Settings
    from features.snapshot import Store

_ROUTING = """
SELECT e.symbol, e.n, e.fill_n, e.unknown_n, e.inferred_fill_n, e.fill_ratio, e.fill_known_n,
    s.slip_bps_q25, s.slip_bps_q50, s.slip_bps_q75, COALESCE(s.n, 0)
FROM feat_router__effectiveness AS e
LEFT JOIN feat_execution__slippage_quartiles AS s
    ON s.symbol = e.symbol AND s.hour_utc = -1
WHERE $symbol IS NULL OR e.symbol = $symbol
ORDER BY e.symbol = '*', e.symbol
"""

_TRADING = """
SELECT p.symbol, p.n, p.realized_pnl_usd, p.fees_usd, p.fees_known_n,
    CASE WHEN p.fees_known_n = COALESCE(e.fill_n, 0) + p.close_only_n THEN p.net_pnl_usd END,
    p.return_mean, p.return_lo95, p.return_hi95, p.round_trip_n, p.sharpe_7d
FROM feat_symbol__performance AS p
LEFT JOIN feat_router__effectiveness AS e USING (symbol)
WHERE $symbol IS NULL OR symbol = $symbol
ORDER BY symbol
"""

_ACTING = """
SELECT s.symbol, s.final_size_factor, s.n, s.capped_by, p.quality, p.maker_first, p.taker_bias,
    e.n - e.unknown_n, e.n, MIN(o.offset_bps), MAX(o.offset_bps)
FROM feat_symbol__sizing AS s
LEFT JOIN feat_router__effectiveness AS e USING (symbol)
LEFT JOIN feat_router__policies AS p USING (symbol)
LEFT JOIN feat_router__maker_offsets AS o USING (symbol)
GROUP BY ALL
ORDER BY s.symbol
"""

_COUNTS = """
SELECT e.n, e.fill_n, e.n - e.fill_n - e.unknown_n, e.unknown_n,
    (SELECT COALESCE(SUM(n), 0) FROM feat_symbol__performance),
    (SELECT COALESCE(SUM(round_trip_n), 0) FROM feat_symbol__performance)
FROM feat_router__effectiveness AS e
WHERE e.symbol = '*'
"""

_OFFSETS = "SELECT hour_utc, offset_bps FROM feat_router__maker_offsets WHERE symbol = $symbol"

_HOURS = """
SELECT h.hour_utc, COALESCE(x.n, 0), COALESCE(x.fill_n, 0), x.notional_usd, x.pnl_usd,
    COALESCE(x.close_n, 0), x.exp_per_notional, x.exp_lo95, x.exp_hi95, x.exp_shrunk,
    s.slip_bps_q25, s.slip_bps_q50, s.slip_bps_q75, s.slip_bps_mean, COALESCE(s.n, 0)
FROM range(24) AS h(hour_utc)
LEFT JOIN feat_execution__hourly_expectancy AS x
    ON x.symbol = $symbol AND x.hour_utc = h.hour_utc
LEFT JOIN feat_execution__slippage_quartiles AS s
    ON s.symbol = $symbol AND s.hour_utc = h.hour_utc
ORDER BY h.hour_utc
"""


class Source(StrEnum):
    LOCAL = "local"
    FIRESTORE = "firestore"


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


def show(
    symbol: Annotated[
        str | None,
        typer.Argument(
            help="One symbol with its health and its 24 hours, such as BTCUSDT; without it, all."
        ),
    ] = None,
    snapshot: SnapshotOption = None,
    source: Annotated[
        Source,
        typer.Option(
            help="local reads the snapshots on this machine; firestore what is mirrored, from "
            "anywhere that GOOGLE_CLOUD_PROJECT names it, such as --source firestore."
        ),
    ] = Source.LOCAL,
    output: Annotated[
        Output,
        typer.Option(
            "--format",
            help="table for people; json is the execution health document that engines get, "
            "without a symbol its router part over all, such as --format json.",
        ),
    ] = Output.TABLE,
) -> None:
    """Show the newest snapshot: its age, what trading cost and earned, and what engines act on.

    Example: execintel show, then execintel show BTCUSDT for its health and its 24 hours.

    Every estimate stands with its sample size n; unknown is a dash, never 0. Of CURRENT the health
    is what an engine gets now, of an older snapshot what it got when that was new.
    """
    settings = common.load_settings()
    if source is Source.FIRESTORE:
        from pipelines.commands import mirrored

        if snapshot is not None:
            raise common.CommandError(
                f"--snapshot {snapshot}: the mirror holds the newest snapshot only"
            )
        mirrored.show(settings, symbol, is_json=output is Output.JSON)
        return
    store = common.open_store(settings)
    if output is Output.JSON:
        _print_json(settings, store, symbol, snapshot)
    else:
        print_snapshot(settings, store, symbol, snapshot)


def _print_json(
    settings: "Settings", store: "Store", symbol: str | None, snapshot: str | None
) -> None:
    from features.snapshot import open_snapshot
    from pipelines.commands import health

    snapshot_id = store.resolve(snapshot)
    with open_snapshot(store.database(snapshot_id)) as con:
        named = None if symbol is None else known_symbol(con, symbol)
    read = health.reads(settings, store, snapshot_id)
    typer.echo(json.dumps(health.document(read, named), indent=1, allow_nan=False))


def print_snapshot(
    settings: "Settings", store: "Store", symbol: str | None, snapshot: str | None
) -> None:
    """Print a snapshot, or one symbol of it with its health and hours."""
    from features.snapshot import open_snapshot

    snapshot_id = store.resolve(snapshot)
    with open_snapshot(store.database(snapshot_id)) as con:
        named = None if symbol is None else known_symbol(con, symbol)
        head(settings, store, snapshot_id)
        if not con.sql("SELECT 1 FROM feat_router__effectiveness").fetchall():
            common.say(
                "empty: no attempt in the window. For old logs name a time: "
                "execintel refresh --as-of T --publish",
                style="yellow",
            )
        if named is not None:
            _health(settings, store, snapshot_id, named)
        _routing(con, named)
        _trading(con, named)
        if named is None:
            _counts(con)
            if common.has_table(con, "feat_symbol__sizing"):
                _acting(con)
        else:
            _hours(con, named)


def _health(settings: "Settings", store: "Store", snapshot_id: str, symbol: str) -> None:
    from live.snapshot.published import PublishedError
    from live.trading.controls import Controls, overruling
    from pipelines.commands import health

    try:
        read = health.reads(settings, store, snapshot_id)
    except (
        common.CommandError,
        PublishedError,
    ) as error:  # the tables below are worth showing without it
        common.say()
        common.say(f"no health: {error}", style="yellow")
        return
    is_past = health.is_past(store, snapshot_id)
    overruled = None
    if snapshot_id == store.current():
        state = Controls(settings.controls_root).state()
        overruled = overruling(state, symbol, common.now_ms())
    health.print_health(
        *health.documents(read, symbol),
        is_past=is_past,
        overruled=overruled,
        acts=bool(settings.applied(store.manifest(snapshot_id)["environment"])),
        is_ahead=read(symbol).is_ahead,
    )


def _rows(con: "duckdb.DuckDBPyConnection", sql: str, symbol: str | None) -> list[tuple[Any, ...]]:
    return con.sql(sql, params={"symbol": symbol}).fetchall()


def _routing(con: "duckdb.DuckDBPyConnection", symbol: str | None) -> None:
    rows = []
    for name, n, fills, unknown, inferred, ratio, known, q25, q50, q75, slip_n in _rows(
        con, _ROUTING, symbol
    ):
        rows.append(
            (
                "all" if name == "*" else name,
                n,
                fills,
                unknown,
                inferred,
                with_n(ratio, known),
                number(q25),
                number(q50),
                number(q75),
                slip_n,
            )
        )
    common.show_table(
        "Routing. Slippage: quartiles against the decision price, bps, positive is a cost."
        " Inferred: of the unknown, filled as the position shows; in no ratio",
        (
            "symbol",
            "attempts",
            "fills",
            "unknown",
            "inferred",
            "fill ratio (n)",
            "q25",
            "q50",
            "q75",
            "n",
        ),
        rows,
    )


def _trading(con: "duckdb.DuckDBPyConnection", symbol: str | None) -> None:
    rows = []
    for name, n, pnl, fees, fees_n, net, mean, low, high, trips, sharpe in _rows(
        con, _TRADING, symbol
    ):
        rows.append(
            (
                name,
                n,
                number(pnl if n else None),
                with_n(fees, fees_n),
                number(net if n else None),
                with_n(_bps(mean), trips, 1),
                ends(_bps(low), _bps(high), 1),
                with_n(sharpe, trips),
            )
        )
    common.show_table(
        "Trading. Before fees: gross, mean return of a round trip (bps of closed notional), its"
        " bounds and sharpe; fees: of n orders; net: gross less fees, where those of every fill are"
        " known",
        (
            "symbol",
            "closes",
            "gross USD",
            "fees USD (n)",
            "net USD",
            "mean return (n)",
            "95 % bounds",
            "sharpe (n)",
        ),
        rows,
    )


def _counts(con: "duckdb.DuckDBPyConnection") -> None:
    """Say which counts add up to which."""
    for n, fills, unfilled, unknown, closes, trips in con.sql(_COUNTS).fetchall():
        common.say(
            f"{counted(n, 'attempt')} = {counted(fills, 'fill')} + {unfilled:,} not filled + "
            f"{unknown:,} unknown. {counted(closes, 'close')} as logged, by order and time, "
            f"{counted(trips, 'round trip')}: the closes of a position until it is flat or "
            "turns around, of one still open its closes so far"
        )


def _acting(con: "duckdb.DuckDBPyConnection") -> None:
    rows = []
    found = con.sql(_ACTING).fetchall()
    for name, size, trips, guards, quality, first, bias, known, n, low, high in found:
        offsets = number(low) if low == high else interval(low, high)
        rows.append(
            (
                name,
                with_n(size, trips),
                offsets,
                f"{quality or common.UNKNOWN} ({number(known, 0)} of {number(n, 0)})",
                common.MAKER_FIRST[first],
                bias,
                guards.replace(",", ", "),
            )
        )
    common.show_table(
        "Acting. size: factor of the target, n round trips; router: label of its quality, which"
        " rests on the attempts whose end is known; offset: bps from mid over the hours",
        (
            "symbol",
            "size (n)",
            "offset",
            "router (known of n)",
            "maker first",
            "taker bias",
            "size limited by",
        ),
        rows,
        has_words=True,
    )
    acted = {name for row in found for name in row[3].split(",") if name}
    if acted:
        common.say(f"Limits. {guards_in_words(sorted(acted))}")
    if any(quality == "unknown" for _, _, _, _, quality, *_ in found):
        common.say(
            "Router unknown: nothing is known of it yet, or a better label waits for a second "
            "snapshot; execintel explain SYMBOL says which"
        )


def _hours(con: "duckdb.DuckDBPyConnection", symbol: str) -> None:
    results, slips = [], []
    offsets: dict[int, float] = {}
    if common.has_table(con, "feat_router__maker_offsets"):
        offsets.update(_rows(con, _OFFSETS, symbol))
    for hour, n, fills, notional, pnl, closes, exp, low, high, shrunk, *slip in _rows(
        con, _HOURS, symbol
    ):
        results.append(
            (
                f"{hour:02d}",
                n,
                fills,
                number(notional if fills else None, 0),
                number(pnl if closes else None),
                with_n(_bps(exp) if closes else None, closes, 1),
                ends(_bps(low), _bps(high), 1),
                number(_bps(shrunk), 1),
            )
        )
        *estimates, slip_n = slip
        slips.append((f"{hour:02d}", *map(number, estimates), slip_n, number(offsets.get(hour))))
    common.show_table(
        f"{symbol} by UTC hour. exp: expectancy, PnL before fees per notional of the hour,"
        " bps; n closes",
        (
            "hour",
            "attempts",
            "fills",
            "notional",
            "gross USD",
            "exp (n)",
            "95 % bounds",
            "shrunk",
        ),
        results,
    )
    common.show_table(
        f"{symbol} by UTC hour. Slippage, bps; offset: maker offset from mid, bps",
        ("hour", "q25", "q50", "q75", "mean", "n", "offset"),
        slips,
    )


def _bps(fraction: float | None) -> float | None:
    return None if fraction is None else fraction * 1e4
