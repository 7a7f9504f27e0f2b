"""Execution Health: what engines are told of each symbol, warnings first.

Put here: the table of all and the document of one. Keep out: the document (live/health.py).
"""

from typing import Any

import polars as pl
import streamlit as st

from dashboard import cards, frames, live_helpers, panels, parts, session
from dashboard.cards import Fact
from dashboard.data import View
from features.words import MARKS, number

_TEXT, _NUMBER = st.column_config.TextColumn, st.column_config.NumberColumn
WARNINGS_PX = 310  # the two of a router stand side by side
# What decides comes first: a page shows about 1200 pixels of it, the rest by scrolling.
_COLUMNS = {
    "symbol": _TEXT("symbol", pinned=True, width=88),
    "status": _TEXT("status", width=98),
    "warnings": _TEXT("warnings", width=WARNINGS_PX),
    "applied_size_factor": _NUMBER(
        "applied ×", width=68, format="%.2f", help="what engines multiply targets by"
    ),
    "capped_by": _TEXT("limited by", width=110, help="guards that changed the product"),
    "round_trip_n": _NUMBER("n trips", width=58, help="round trips behind size and Sharpe"),
    "sharpe_7d": _NUMBER("Sharpe", width=58, format="%.2f", help="of round trips, before fees"),
    "dd_today_pct": _NUMBER("dd today", width=70, format="%.3f %%", help="drawdown, % of equity"),
    "close_n": _NUMBER("n closes", width=62, help="closes behind the drawdown"),
    "policy_quality": _TEXT("router", width=86),
    "n": _NUMBER("n attempts", width=78),
    "slip_q50": _NUMBER("slip q50", width=64, format="%.2f", help="median slippage, bps"),
    "slip_n": _NUMBER("n slip", width=54, help="fills behind the median"),
    "atr_regime": _TEXT("regime", width=86),
    "atr_ratio": _NUMBER("ATR ×", width=56, format="%.2f", help="ATR now over the usual one"),
    "bars_n": _NUMBER("n bars", width=56),
    "maker_fill_ratio": _NUMBER("maker", width=56, format="%.3f", help="fills that were maker"),
    "maker_known_n": _NUMBER("n maker", width=64),
    "fallback_ratio": _NUMBER("fallback", width=64, format="%.3f", help="of maker attempts"),
    "fallback_known_n": _NUMBER("n fallback", width=76),
    "final_size_factor": _NUMBER("product ×", width=72, format="%.2f", help="before the guards"),
}


def render(view: View) -> None:
    """Show the page."""
    panels.head("Execution Health", view)
    if view.snapshot_id is None:
        return
    rows = frames.health(view)
    if rows.is_empty():
        panels.empty("No symbol in this snapshot, so no health.")
        return
    warned = rows.filter(pl.col("warnings") != "")
    st.subheader("All symbols", anchor=False)
    st.caption(
        f"{warned.height} of {rows.height} with warnings, first. Select one for its document."
    )
    rows = rows.sort(pl.col("warnings") == "", "symbol")
    page = panels.paged(rows, key="healths", page_rows=cards.PAGE_ROWS)
    with cards.wide("healths"):
        _table(page)
    cards.narrow("healths", [_card(row) for row in page.iter_rows(named=True)], page="health")
    panels.export("health", view, {"health": rows})
    symbol = panels.symbol_select(view)
    if not symbol:
        panels.empty("Select a symbol to view execution health.")
        return
    with view.answering():
        document = live_helpers.execution_health(symbol)
    parts.health(document, view)
    panels.export("health document", view, {}, symbol=symbol, health=document)


def _table(rows: pl.DataFrame) -> None:
    shown = rows.with_columns(
        *frames.written(rows, ("status", "policy_quality", "atr_regime"), panels.mark),
        *frames.written(rows, ("symbol",), panels.clip),
        *frames.written(rows, ("warnings",), _warned),
    )

    def choose() -> None:
        for row in st.session_state["health table"].selection.rows:
            session.choose(rows["symbol"][row])

    panels.table(
        shown.select(list(_COLUMNS)),
        key="health table",
        columns=_COLUMNS,
        on_select=choose,
        selection_mode="single-row",
    )


def _warned(warnings: str) -> str:
    return f"{MARKS['warn']} {warnings}" if warnings else f"{MARKS['ok']} none"


def _card(row: dict[str, Any]) -> cards.Card:
    capped = f", limited by {row['capped_by']}" if row["capped_by"] else ""
    facts = [
        Fact("applied ×", number(row["applied_size_factor"]) + capped, row["round_trip_n"]),
        Fact("Sharpe before fees", number(row["sharpe_7d"]), row["round_trip_n"]),
        Fact("dd today, %", number(row["dd_today_pct"], 3), row["close_n"]),
        Fact("router", panels.mark(row["policy_quality"]), row["n"]),
        Fact("slip q50", number(row["slip_q50"]), row["slip_n"]),
        Fact("regime", panels.mark(row["atr_regime"]), row["bars_n"]),
        Fact("warnings", _warned(row["warnings"])),
    ]
    status = panels.mark(row["status"])
    return cards.Card(row["symbol"], status, tuple(facts), session.choices(row["symbol"]))
