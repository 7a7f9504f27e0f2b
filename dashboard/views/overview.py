"""Overview: every symbol at a glance, what a person should look at, how fresh the sources are.

Put here: what the first ten seconds need. Keep out: one symbol's details (intel.py, health.py).
"""

from typing import Any

import polars as pl
import streamlit as st

from dashboard import cards, charts, frames, panels, session
from dashboard.cards import Fact
from dashboard.data import View
from features.words import known_of, number, span
from live.snapshot.records import ALL

_SOURCES = {
    "source": st.column_config.TextColumn("source", pinned=True, width=120),
    "status": st.column_config.TextColumn("status", width=128),
    "age": st.column_config.TextColumn("age", width=80),
    "rejected": st.column_config.NumberColumn("rejected", width=66),
}
_DIGITS = dict.fromkeys(("score", "slip_q50_bps", "exp_now_bps"), 2)


def _columns(hour: int, known_px: int) -> dict[str, Any]:
    """Return how each column looks; two are of one hour of the day, which their heads name."""
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    of_hour = f"of the UTC hour {hour:02d}:00 to {hour:02d}:59 on all days of the window, in bps"
    return {
        "symbol": text("symbol", pinned=True, width=86),
        "status": text("status", width=94, help="ok: engines act on these values"),
        "size_factor": number(
            "size ×",
            width=52,
            format="%.2f",
            help="what engines multiply targets by, after every guard",
        ),
        "round_trip_n": number("n trips", width=54, help="round trips behind the size"),
        "score": number("score", width=46, format="%.2f"),
        "known": text(
            "known of n",
            width=known_px,
            alignment="right",
            help="attempts behind score, router and offset: those of known end, of all",
        ),
        "quality": text("router", width=78),
        "policy": text("route", width=150),
        "offset_now_bps": number(
            "offset", width=52, format="%.2f", help=f"maker offset from mid {of_hour}"
        ),
        "slip_q50_bps": number(
            "slip q50",
            width=61,
            format="%.2f",
            help="median against the decision price over all hours, bps; up is a cost",
        ),
        "slip_n": number("n fills", width=49, help="fills behind the median"),
        "exp_now_bps": number(
            f"exp. {hour:02d} h",
            width=68,
            format="%.2f",
            help=f"PnL per notional, before fees, {of_hour}",
        ),
        "interval": text(
            "95 %", width=97, help="interval of that expectancy; one close alone has none"
        ),
        "close_n": number("n closes", width=61, help=f"closes behind expectancy {of_hour}"),
        "signs": text(
            "hours", width=62, help="how many hours of the day earn and lose; the rest is unknown"
        ),
        "by_hour": st.column_config.ImageColumn(
            "0 to 23 h",
            width=112,  # of the image at the height of a row
            help="expectancy by UTC hour: up earns, down loses, a gap is unknown; the longest is"
            " the largest of its row",
        ),
    }


def render(view: View) -> None:
    """Show the page."""
    panels.head("Overview", view)
    if view.snapshot_id is None:
        return
    _totals(view)
    _symbols(view)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _alerts(view)
    with right:
        _sources(view)


def _totals(view: View) -> None:
    *_, router, _, _ = frames.parts_of(view.record(ALL))
    with panels.tiles("totals"):
        few = sum(view.read(name).status != "ok" for name in view.symbols)
        when_new = " when new" if view.status == "demo" else ""
        note = f"{few} not ok{when_new}" if view.symbols else "nothing to act on"
        panels.tile("Symbols", len(view.symbols), digits=0, note=note)
        panels.tile("Attempts", router.n, digits=0, note=f"{router.unknown_n:,} of unknown end")
        known = panels.known_end(router.fill_known_n, router.n)
        panels.tile("Fill ratio", router.fill_ratio, note=known, digits=3)
        panels.tile("Slippage q50", router.slip_q50, n=router.slip_n, unit=" bps")
        panels.tile("Maker fills", router.maker_fill_ratio, n=router.maker_known_n, digits=3)
        panels.tile("Fallback", router.fallback_ratio, n=router.fallback_known_n, digits=3)


def _symbols(view: View) -> None:
    rows = frames.symbols(view)
    if rows.is_empty():
        panels.empty("No symbol in this snapshot: what to do stands above.")
        return
    st.subheader("Symbols", anchor=False)
    st.caption(
        f"Offset and expectancy are of one hour of the day, {view.hour_utc:02d}:00 to"
        f" {view.hour_utc:02d}:59 UTC, as it {'was then' if view.is_past else 'is now'}. In bps,"
        " before fees; a dash is unknown."
    )
    page = panels.paged(rows, key="symbols", page_rows=cards.PAGE_ROWS)
    with cards.wide("symbols"):
        _table(view, page)
    cards.narrow("symbols", [_card(row, view) for row in page.iter_rows(named=True)], page="intel")
    panels.export("overview", view, {"symbols": rows, "alerts": frames.alerts(view)})


def _table(view: View, rows: pl.DataFrame) -> None:
    lines = list(rows.iter_rows(named=True))
    drawn: dict[str, list[str] | list[str | None]] = {
        "interval": [
            frames.bounds(row["exp_now_lo95_bps"], row["exp_now_hi95_bps"]) for row in lines
        ],
        "known": [known_of(row["known_n"], row["n"]) for row in lines],
        "signs": [frames.signs(row["exp_by_hour_bps"]) for row in lines],
        "by_hour": [charts.spark(row["exp_by_hour_bps"]) for row in lines],
    }
    columns = _columns(view.hour_utc, frames.room(drawn["known"]))
    shown = frames.rounded(rows, _DIGITS).with_columns(
        *(pl.Series(name, texts, dtype=pl.String) for name, texts in drawn.items()),
        *frames.written(rows, ("status", "quality"), panels.mark),
        *frames.written(rows, ("symbol",), panels.clip),
    )
    chosen = panels.table(
        shown.select(list(columns)),
        key="symbol table",
        columns=columns,
        on_select="rerun",
        selection_mode="single-row",
    )
    st.caption("Select a row to open the symbol.")
    if chosen.selection.rows:
        session.go("intel", symbol=rows["symbol"][chosen.selection.rows[0]])


def _card(row: dict[str, Any], view: View) -> cards.Card:
    hour = f"{view.hour_utc:02d} h"
    expected = number(row["exp_now_bps"])
    if row["exp_now_lo95_bps"] is not None:
        expected += f" ({frames.bounds(row['exp_now_lo95_bps'], row['exp_now_hi95_bps'])})"
    known = known_of(row["known_n"], row["n"])
    facts = (
        Fact("size ×", number(row["size_factor"]), row["round_trip_n"]),
        Fact("score", number(row["score"]), known),
        Fact("slip q50", number(row["slip_q50_bps"]), row["slip_n"]),
        Fact("router", f"{panels.mark(row['quality'])}, {row['policy']}", known),
        Fact(f"offset {hour}", number(row["offset_now_bps"]), known),
        Fact(f"expect. {hour}", expected, row["close_n"]),
    )
    status = panels.mark(row["status"])
    return cards.Card(row["symbol"], status, facts, session.choices(row["symbol"]))


def _alerts(view: View) -> None:
    st.subheader("Alerts", anchor=False)
    if not view.has_tables:
        panels.without_tables(view, "Alerts are")
        return
    rows = view.table("feat_ops__alerts")
    if rows.is_empty() and not view.symbols:
        panels.empty("No symbol, so no alert of one.")
    else:
        panels.alerts(view, rows)


def _sources(view: View) -> None:
    st.subheader("Sources", anchor=False)
    rows = view.table("feat_ops__source_freshness")
    if not rows.width:
        panels.without_tables(view, "Sources are")
        return
    rows = rows.filter(pl.col("symbol") == ALL).sort("source")
    (lag,) = frames.written(rows, ("lag_s",), span)
    states = [
        panels.source_mark(row["status"], is_required=row["required"])
        for row in rows.iter_rows(named=True)
    ]
    shown = rows.select(
        pl.col("source").str.strip_prefix("raw_"),
        pl.Series("status", states, dtype=pl.String),
        lag.alias("age"),
        pl.col("rejected_24h").alias("rejected"),
        pl.col("n").alias("lines"),
    )
    cards.either(shown, key="sources", title="source", status="status", columns=_SOURCES)
    st.caption(
        "Age of the newest event when the snapshot was made; lines of the window, rejected ones of"
        " its last 24 h."
    )
