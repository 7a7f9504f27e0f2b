"""`execintel show`: the newest snapshot as tables a person can read.

Put here: choosing and formatting columns. Keep out: computing any number.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands import common
from pipelines.commands.common import interval, number, with_n

if TYPE_CHECKING:
    import duckdb

    from features.settings import Settings
    from features.snapshot import Store

SnapshotOption = Annotated[
    str | None,
    typer.Option(
        "--snapshot",
        help="A snapshot other than CURRENT, by its id or the beginning of it, such as "
        "--snapshot 20251106T000000Z; execintel snapshots list names them.",
    ),
]

_ROUTING = """
SELECT e.symbol, e.n, e.fill_n, e.unknown_n, e.fill_ratio, e.fill_known_n,
    s.slip_bps_q25, s.slip_bps_q50, s.slip_bps_q75, COALESCE(s.n, 0)
FROM feat_router__effectiveness AS e
LEFT JOIN feat_execution__slippage_quartiles AS s
    ON s.symbol = e.symbol AND s.hour_utc = -1
WHERE $symbol IS NULL OR e.symbol = $symbol
ORDER BY e.symbol = '*', e.symbol
"""

_TRADING = """
SELECT symbol, n, realized_pnl_usd, fees_usd, return_mean, return_lo95, return_hi95,
    round_trip_n, sharpe_7d
FROM feat_symbol__performance
WHERE $symbol IS NULL OR symbol = $symbol
ORDER BY symbol
"""

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


def show(
    symbol: Annotated[
        str | None,
        typer.Argument(
            help="One symbol by hour of the day, such as BTCUSDT; without it, all symbols."
        ),
    ] = None,
    snapshot: SnapshotOption = None,
) -> None:
    """Show the newest snapshot: its age, and what trading each symbol cost and earned.

    Example: execintel show, then execintel show BTCUSDT for its 24 hours.

    Every estimate stands with its sample size n; unknown is a dash, never 0.
    """
    settings = common.load_settings()
    print_snapshot(settings, common.open_store(settings), symbol, snapshot)


def print_snapshot(
    settings: "Settings", store: "Store", symbol: str | None, snapshot: str | None
) -> None:
    """Print a snapshot, or one symbol of it by hour."""
    from features.snapshot import open_snapshot

    snapshot_id = store.resolve(snapshot)
    _head(settings, store, snapshot_id)
    with open_snapshot(store.database(snapshot_id)) as con:
        if not con.sql("SELECT 1 FROM feat_router__effectiveness").fetchall():
            common.say(
                "empty: no attempt in the window. For old logs name a time: "
                "execintel refresh --as-of T --publish",
                style="yellow",
            )
        named = None if symbol is None else _known(con, symbol)
        _routing(con, named)
        _trading(con, named)
        if named is not None:
            _hours(con, named)


def _head(settings: "Settings", store: "Store", snapshot_id: str) -> None:
    manifest = store.manifest(snapshot_id)
    hold = store.hold()
    if hold is not None:
        common.say(
            f"HOLD: nothing is published since {common.when(hold.since_ms)}, by {hold.by}: "
            f"{hold.reason}. execintel snapshots resume ends it",
            style="bold red",
        )
    is_current = snapshot_id == store.current()
    is_demo = manifest["origin"] == "demo"
    age_s = (common.now_ms() - manifest["as_of_ms"]) / 1000
    common.say(f"snapshot     {snapshot_id}{'' if is_current else ' (not CURRENT)'}")
    common.say(f"as of        {common.when(manifest['as_of_ms'])}, {common.span(age_s)} ago")
    common.say(
        f"environment  {manifest['environment']}, window of {manifest['window_days']} days"
        + (", generated demo data" if is_demo else "")
    )
    if is_current and not is_demo and age_s > settings.snapshot_max_age_s:
        common.say(
            f"stale: older than {common.span(settings.snapshot_max_age_s)}; "
            "execintel refresh makes a new one",
            style="yellow",
        )
    for name, count in manifest["left_out"].items():
        common.say(f"left out     {count} outcomes of environment {name}", style="yellow")
    for check in manifest["checks"]:
        if check["rows"]:
            common.say(
                f"{check['severity']}: {check['name']}, {check['rows']} rows: {check['cause']}",
                style="yellow",
            )


def _known(con: "duckdb.DuckDBPyConnection", symbol: str) -> str:
    rows = con.sql(
        "SELECT symbol FROM feat_router__effectiveness UNION"
        " SELECT symbol FROM feat_symbol__performance ORDER BY symbol"
    ).fetchall()
    known = [name for (name,) in rows]
    if symbol.upper() not in known:
        there = ", ".join(name for name in known if name != "*") or "none"
        raise common.CommandError(f"{symbol} is not in this snapshot; there are: {there}")
    return symbol.upper()


def _rows(con: "duckdb.DuckDBPyConnection", sql: str, symbol: str | None) -> list[tuple[Any, ...]]:
    return con.sql(sql, params={"symbol": symbol}).fetchall()


def _routing(con: "duckdb.DuckDBPyConnection", symbol: str | None) -> None:
    rows = []
    for name, n, fills, unknown, ratio, known, q25, q50, q75, slip_n in _rows(
        con, _ROUTING, symbol
    ):
        rows.append(
            (
                "all" if name == "*" else name,
                n,
                fills,
                unknown,
                with_n(ratio, known),
                number(q25),
                number(q50),
                number(q75),
                slip_n,
            )
        )
    common.show_table(
        "Routing. Slippage: quartiles against the decision price, bps, positive is a cost",
        ("symbol", "attempts", "fills", "unknown", "fill ratio (n)", "q25", "q50", "q75", "n"),
        rows,
    )


def _trading(con: "duckdb.DuckDBPyConnection", symbol: str | None) -> None:
    rows = []
    for name, n, pnl, fees, mean, low, high, trips, sharpe in _rows(con, _TRADING, symbol):
        rows.append(
            (
                name,
                n,
                number(pnl if n else None),
                number(fees),
                with_n(_bps(mean), trips, 1),
                interval(_bps(low), _bps(high), 1),
                with_n(sharpe, trips),
            )
        )
    common.show_table(
        "Trading. exp: expectancy, the mean return of a round trip, bps of closed notional",
        ("symbol", "closes", "PnL USD", "fees USD", "exp (n)", "95 % bounds", "sharpe (n)"),
        rows,
    )


def _hours(con: "duckdb.DuckDBPyConnection", symbol: str) -> None:
    results, slips = [], []
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
                interval(_bps(low), _bps(high), 1),
                number(_bps(shrunk), 1),
            )
        )
        *estimates, slip_n = slip
        slips.append((f"{hour:02d}", *map(number, estimates), slip_n))
    common.show_table(
        f"{symbol} by UTC hour. exp: expectancy, PnL per notional of the hour, bps; n closes",
        (
            "hour",
            "attempts",
            "fills",
            "notional",
            "PnL USD",
            "exp (n)",
            "95 % bounds",
            "shrunk",
        ),
        results,
    )
    common.show_table(
        f"{symbol} by UTC hour. Slippage, bps",
        ("hour", "q25", "q50", "q75", "mean", "n"),
        slips,
    )


def _bps(fraction: float | None) -> float | None:
    return None if fraction is None else fraction * 1e4
