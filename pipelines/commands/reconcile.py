"""`execintel reconcile`: what the logs explain of the account, and what a venue's export adds.

Put here: asking the snapshot, printing. Keep out: reading exports and matching (pipelines/exports).
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from features.words import likely_missing, mending_missing, share_range
from pipelines.commands import common
from pipelines.commands.chosen import SnapshotOption, head
from pipelines.commands.common import number
from pipelines.commands.sql import Format, write_rows

if TYPE_CHECKING:
    import duckdb

    from pipelines.exports.matching import Comparison, Difference, LogItem
    from pipelines.exports.reading import Export

_LEAST_OFFSET_H, _MOST_OFFSET_H = -12, 14  # of all zones there are
_SHOWN = 200
_SHOWN_INFERRED = 20  # there may be hundreds, and they need no attention
_COLUMNS = ("what", "kind", "symbol", "UTC", "venue", "logs", "order", "where")
_WORDS = {
    "missing": "missing in the logs",
    "incomparable": "cannot be compared ({unit})",  # no price says what it is in USD
    "differs": "differs",
    "only_in_logs": "only in the logs",
}


def reconcile(
    income: Annotated[
        Path | None,
        typer.Option(
            help="The venue's history of balance changes as CSV (Binance futures: transaction "
            "history), such as --income transactions.csv.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    trades: Annotated[
        Path | None,
        typer.Option(
            help="The venue's trade history as CSV, such as --trades trades.csv.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    venue: Annotated[
        str,
        typer.Option(help="Mapping of the exports: one that ships, or a TOML file of your own."),
    ] = "binance_futures",
    utc_offset: Annotated[
        float | None,
        typer.Option(
            help="Hours that the times in the files are ahead of UTC, -12 to 14, such as 8."
        ),
    ] = None,
    account: Annotated[
        str | None, typer.Option(help="Only this account of the logs, such as --account main.")
    ] = None,
    snapshot: SnapshotOption = None,
    output: Annotated[
        Format,
        typer.Option("--format", help="table for people; csv or json: every differing line."),
    ] = Format.TABLE,
) -> None:
    """Say how much of the account the logs explain; with a venue's exports, what they miss.

    Example: execintel reconcile --income transactions.csv --trades trades.csv

    Without files: NAV, PnL and positions by day, why an account is unknowable and which log would
    tell, and the position changes that no fill explains. With files: each line of the export that
    the logs lack or tell otherwise, and what only the logs tell in the time of the file that tells
    its kind, and exit code 1 where anything is missing or differs. What a file has the column for
    and no line of counts as nothing: export all types.
    """
    from features.snapshot import open_snapshot
    from pipelines.exports.reading import ExportError

    if utc_offset is not None and not _LEAST_OFFSET_H <= utc_offset <= _MOST_OFFSET_H:
        raise common.CommandError(
            f"--utc-offset {utc_offset:g}: no zone is that far from UTC; hours ahead of it are "
            f"{_LEAST_OFFSET_H} to {_MOST_OFFSET_H}"
        )
    settings = common.load_settings()
    store = common.open_store(settings)
    snapshot_id = store.resolve(snapshot)
    manifest = store.manifest(snapshot_id)
    try:
        exports = _exports(income, trades, venue, utc_offset)
    except ExportError as error:
        raise common.CommandError(str(error)) from error
    with open_snapshot(store.database(snapshot_id)) as con:
        if not exports:
            if output is Format.TABLE:
                head(settings, store, snapshot_id)
            _coverage(con, account)
            _unknowable(con, account, manifest["params"]["min_pnl_coverage"])
            _causes(con, account)
            _unexplained(con, account)
            if common.has_table(con, "core_position__inferred_fills"):
                _inferred(con, account)
            return
        found = [_compared(con, each, manifest["environment"], account) for each in exports]
    differences = [difference for each in found for difference in each.differences]
    differences.sort(key=lambda each: each.at_ms)
    unreadable = [line for each in exports for line in each.unreadable]
    is_alike = not differences and not unreadable
    if is_alike and not any(entry.amount for each in exports for entry in each.entries):
        raise common.CommandError("the export names no amount but 0: there is nothing to compare")
    if output is Format.TABLE:
        head(settings, store, snapshot_id)
        _sums(exports, found)
    _differences(differences, output)
    _unreadable(unreadable, output)
    if not is_alike:
        raise typer.Exit(1)
    if output is Format.TABLE:
        common.say("the logs tell every line of the export", style="bold green")


def _exports(
    income: Path | None, trades: Path | None, venue: str, utc_offset: float | None
) -> list["Export"]:
    from pipelines.exports import reading

    names = reading.mapping(venue)
    found = []
    if income is not None:
        found.append(reading.read_income(income, names, utc_offset))
    if trades is not None:
        # Fees and PnL stand in both files: those of the income count once.
        found.append(reading.read_trades(trades, names, utc_offset, with_amounts=income is None))
    for export in found:
        if not export.entries:
            why = "it has only a header: export a time in which something was traded"
            if export.unreadable:
                _, line, why = export.unreadable[0]
                why = f"line {line}: {why}"
            raise reading.ExportError(f"{export.file} holds no line that can be read; {why}")
    return found


def _compared(
    con: "duckdb.DuckDBPyConnection", export: "Export", environment: str, account: str | None
) -> "Comparison":
    """Hold one file against what the logs tell of its kinds in its own time."""
    from pipelines.exports.matching import REACH_MS, SLACK_MS, compare

    first_ms, last_ms = export.span
    items = log_items(
        con, environment, account, first_ms - SLACK_MS, last_ms + REACH_MS, export.kinds
    )
    return compare(export.entries, items, export.span)


def log_items(
    con: "duckdb.DuckDBPyConnection",
    environment: str,
    account: str | None,
    first_ms: int,
    last_ms: int,
    kinds: Collection[str],
) -> list["LogItem"]:
    """Return what the logs of a snapshot tell of a span of time, in the kinds asked for."""
    from features import catalog
    from features.engines.text import inline
    from pipelines.exports.matching import LogItem

    span = {"as_of_ms": last_ms, "window_ms": last_ms - first_ms + 1}
    names = {"environment": environment, "symbol_key": "symbol"}
    funding = inline(catalog.tables()["core_window__funding"].sql, {**span, **names})
    rows = con.sql(
        _ITEMS.replace("{funding}", funding),
        params={
            "environment": environment,
            "account": account,
            "first_ms": first_ms,
            "last_ms": last_ms,
        },
    ).fetchall()
    return [LogItem(*row) for row in rows if row[0] in kinds]


# Trades by order where order_fill names it, cumulative as it is; else as the attempt tells them.
_ITEMS = """
WITH fills AS (
    SELECT
        symbol, order_id, attempt_id, upper(side) AS side,
        arg_max(executed_qty, (event_ms, source_id, line_offset)) AS qty,
        arg_max(fill_px, (event_ms, source_id, line_offset)) FILTER (fill_px > 0) AS px,
        MAX(COALESCE(ts_fill_last_ms, event_ms)) AS at_ms,
    FROM raw_orders__events
    WHERE reject_reason IS NULL
      AND event_type = 'order_fill'
      AND environment = $environment
      AND ($account IS NULL OR account = $account)
      AND executed_qty > 0
      AND event_ms BETWEEN $first_ms - 86400000 AND $last_ms + 86400000
    GROUP BY ALL
),
outcomes AS (
    SELECT *, COALESCE(fill_at_ms, event_ms) AS at_ms
    FROM core_execution__outcomes
    WHERE environment = $environment
      AND ($account IS NULL OR account = $account)
      AND outcome IN ('filled', 'partial', 'close_only')
      AND event_ms BETWEEN $first_ms - 86400000 AND $last_ms + 86400000
),
funding AS (
    {funding}
),
items AS (
    SELECT 'trade' AS kind, symbol, at_ms, CASE side WHEN 'SELL' THEN -qty ELSE qty END AS amount,
        order_id, 'order_fill of ' || COALESCE(attempt_id, order_id) AS source, px
    FROM fills
    UNION ALL
    SELECT 'trade', symbol, at_ms, CASE side WHEN 'SELL' THEN -qty ELSE qty END, NULL,
        'attempt ' || attempt_id, fill_px
    FROM outcomes WHERE fill_at_ms IS NULL AND outcome <> 'close_only'
    UNION ALL
    SELECT 'fee', symbol, at_ms, fees_usd, NULL, 'attempt ' || attempt_id, NULL
    FROM outcomes WHERE fees_usd IS NOT NULL
    UNION ALL
    SELECT 'realized_pnl', symbol, close_ms, realized_pnl_usd, NULL, 'close of ' || attempt_id, NULL
    FROM outcomes WHERE realized_pnl_usd IS NOT NULL
    UNION ALL
    SELECT 'funding', symbol, event_ms, funding_usd, NULL, event_type, NULL
    FROM funding WHERE $account IS NULL OR account = $account
)
SELECT kind, symbol, at_ms, amount, order_id, source, px
FROM items
WHERE at_ms BETWEEN $first_ms AND $last_ms
ORDER BY at_ms, symbol, kind, source
"""


def _sums(exports: list["Export"], found: list["Comparison"]) -> None:
    """Say which kinds were compared over which time, and what each side tells of them."""
    from pipelines.exports.reading import LOG_KINDS

    common.say()
    for export in exports:
        first, last = (common.when(ms)[:19] for ms in export.span)
        common.say(
            f"compared with {export.file}: {_names(export.kinds)}, from {first} to {last} UTC"
        )
    sums = {key: s for each in found for key, s in each.sums.items()}
    untold = {*LOG_KINDS} - {kind for export in exports for kind in export.kinds}
    if untold:
        common.say(f"not compared, as no file tells it: {_names(untold)}", style="yellow")
    common.show_table(
        "By kind; a trade is in base units of its symbol",
        ("kind", "in", "venue lines", "amount", "log items", "amount", "matched"),
        [
            (kind, unit, s.venue_n, _amount(s.venue_amount), s.log_n, _amount(s.log_amount),
             s.matched_n)
            for (kind, unit), s in sorted(sums.items())
        ],
        left=2,
    )  # fmt: skip


def _names(kinds: Collection[str]) -> str:
    return ", ".join(sorted(kinds)) or "no kind that logs tell"


def _differences(differences: list["Difference"], output: Format) -> None:
    rows = [
        (
            _WORDS[each.verdict].format(unit=each.unit),
            each.kind,
            each.symbol,
            common.when(each.at_ms)[:19],
            each.venue_amount,
            each.log_amount,
            each.order_id,
            each.where,
        )
        for each in differences
    ]
    if output is not Format.TABLE:
        write_rows(output, list(_COLUMNS), rows)
        return
    common.show_table(
        "Line by line",
        _COLUMNS,
        [
            (*row[:4], _amount(row[4]), _amount(row[5]), row[6] or "", row[7])
            for row in rows[:_SHOWN]
        ],
        left=4,
        has_words=True,
        is_wide=True,
    )
    if len(rows) > _SHOWN:
        common.say(f"… and {len(rows) - _SHOWN} more: --format csv lists all", style="yellow")


def _unreadable(lines: list[tuple[str, int, str]], output: Format) -> None:
    for file, line, why in lines:
        words = f"{file}:{line} cannot be read: {why}"
        if output is Format.TABLE:
            common.say(words, style="yellow")
        else:
            common.complain(words)


def _amount(value: object) -> str:
    return common.UNKNOWN if not isinstance(value, float) else f"{value:.8g}"


def _coverage(con: "duckdb.DuckDBPyConnection", account: str | None) -> None:
    rows = con.sql(
        "SELECT account, day, status, nav_change_usd, close_n,"
        " CASE WHEN close_n > 0 THEN realized_pnl_usd END,"
        " CASE WHEN trade_n > 0 THEN fees_usd END, funding_usd, outside_usd,"
        " unlogged_usd, unrealized_change_usd, unexplained_usd,"
        " pnl_explained_lo, pnl_explained_hi, position_explained_ratio, likely_cause"
        " FROM feat_account__coverage WHERE $account IS NULL OR account = $account"
        " ORDER BY account, day",
        params={"account": account},
    ).fetchall()
    if not rows:
        there = con.sql("SELECT DISTINCT account FROM feat_account__coverage ORDER BY 1").fetchall()
        if account is None or not there:
            raise common.CommandError("the window holds no line of any account")
        names = ", ".join(name for (name,) in there)
        raise common.CommandError(
            f"the window holds no line of account {account}; there are: {names}"
        )
    common.show_table(
        "What the logs explain, USD; day * is the window. – is not logged or not known",
        ("account", "day", "status", "NAV change", "closes", "PnL", "fees", "funding", "outside",
         "unlogged", "unrealised", "unexplained", "of PnL", "of positions", "likely missing"),
        [
            (
                name, day, status, number(nav), closes, *map(number, amounts),
                share_range(low, high), common.share(moves), likely_missing(cause),
            )
            for name, day, status, nav, closes, *amounts, low, high, moves, cause in rows
        ],
        left=3,
        has_words=True,
        is_wide=True,
    )  # fmt: skip
    common.say(
        "NAV change = PnL - fees + funding - outside + unlogged; unlogged = unrealised +"
        " unexplained; a dash of PnL, fees or funding adds nothing. PnL is before fees; outside:"
        " PnL less fees, with funding, before the first or after the last NAV of the day. Days do"
        " not add up to the window: what moved between one day's last NAV and the next day's first"
        " is in the window alone"
    )


def _unknowable(con: "duckdb.DuckDBPyConnection", account: str | None, needed: float) -> None:
    from pipelines.commands.unknowable import unknowable

    for name, reasons in unknowable(con, needed).items():
        if account in (None, name):
            common.say()
            common.say(f"Why account {name} is unknowable over the window:", style="yellow")
            for reason in reasons:
                common.say(f"- {reason}", style="yellow")


def _causes(con: "duckdb.DuckDBPyConnection", account: str | None) -> None:
    rows = con.sql(
        "SELECT account, cause, COUNT(*) AS n, COUNT(unexplained_usd), SUM(unexplained_usd),"
        " SUM(pnl_missing_usd)"
        " FILTER (cause = 'close_line_missing')"
        " FROM core_position__reconciliation"
        " WHERE cause IS NOT NULL AND ($account IS NULL OR account = $account)"
        " GROUP BY account, cause ORDER BY account, cause = 'close_line_missing',"
        " COALESCE(SUM(unexplained_usd), 0) DESC, n DESC, cause",
        params={"account": account},
    ).fetchall()
    if not rows:
        return
    common.show_table(
        "By likely cause, the largest first: position changes in the window, and what mends them",
        ("account", "likely cause", "missing", "changes", "priced", "USD", "PnL missing", "mend"),
        [
            (name, cause.replace("_", " "), likely_missing(cause), n, priced, number(usd),
             number(pnl), mending_missing(cause))
            for name, cause, n, priced, usd, pnl in rows
        ],
        left=3,
        has_words=True,
        is_wide=True,
    )  # fmt: skip


def _unexplained(con: "duckdb.DuckDBPyConnection", account: str | None) -> None:
    rows = con.sql(
        "SELECT account, symbol, position_side, from_ms, to_ms, qty_before, qty_after,"
        " explained_qty, unexplained_qty, unexplained_usd, pnl_missing_usd, cause"
        " FROM core_position__reconciliation"
        " WHERE cause IS NOT NULL AND ($account IS NULL OR account = $account)"
        " ORDER BY cause = 'unknown_order', from_ms, symbol, position_side",
        params={"account": account},
    ).fetchall()
    if not rows:
        common.say()
        common.say("No change of position was seen that fills do not explain, no close without PnL")
        return
    common.show_table(
        "Position changes that fills do not explain, and closes without PnL",
        ("account", "symbol", "side", "from, UTC", "to", "before", "after", "fills", "unexplained",
         "USD", "PnL missing", "likely cause"),
        [
            (*row[:3], common.minute(row[3]), common.minute(row[4]),
             *(_amount(value) for value in row[5:11]), row[11].replace("_", " "))
            for row in rows[:_SHOWN]
        ],
        left=5,
        has_words=True,
        is_wide=True,
    )  # fmt: skip
    if len(rows) > _SHOWN:
        common.say(
            f"… and {len(rows) - _SHOWN} more: execintel sql "
            '"SELECT * FROM core_position__reconciliation WHERE cause IS NOT NULL"'
        )


def _inferred(con: "duckdb.DuckDBPyConnection", account: str | None) -> None:
    rows = con.sql(
        "SELECT account, symbol, attempt_id, side, event_ms, asked_qty, from_ms, to_ms,"
        " confirmed_by FROM core_position__inferred_fills"
        " WHERE $account IS NULL OR account = $account"
        " ORDER BY event_ms, symbol, attempt_id",
        params={"account": account},
    ).fetchall()
    if not rows:
        return
    common.show_table(
        "Orders of unknown end that filled, as what was seen before and after shows",
        ("account", "symbol", "attempt", "side", "at, UTC", "asked", "seen", "and again", "by"),
        [
            (*row[:4], common.minute(row[4]), _amount(row[5]), common.minute(row[6]),
             common.minute(row[7]), row[8])
            for row in rows[:_SHOWN_INFERRED]
        ],
        left=4,
        has_words=True,
        is_wide=True,
    )  # fmt: skip
    if len(rows) > _SHOWN_INFERRED:
        common.say(
            f"… and {len(rows) - _SHOWN_INFERRED} more: execintel sql "
            '"FROM core_position__inferred_fills"'
        )
