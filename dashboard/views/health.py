"""Execution Health: what engines are told of each symbol, warnings first.

Put here: the table of all and the document of one. Keep out: the document (live/v510/health.py).
"""

from typing import Any

import polars as pl
import streamlit as st

from dashboard import cards, frames, live_helpers, panels, parts, session
from dashboard.cards import Fact
from dashboard.data import View
from features.words import MARKS, known_of, number, unknown_of

_TEXT, _NUMBER = st.column_config.TextColumn, st.column_config.NumberColumn
WARNINGS_PX = 310  # the two of a router stand side by side
TODAY_PX = 114  # of the longest: 3 of 12 unknown
# A page of 1280 pixels has room for these; the others stand in a table of their own below.
_ACTS = {
    "symbol": _TEXT("symbol", pinned=True, width=88),
    "status": _TEXT("status", width=98),
    "warnings": _TEXT("warnings", width=WARNINGS_PX),
    "applied_size_factor": _NUMBER(
        "applied ×", width=68, format="%.2f", help="what engines multiply targets by"
    ),
    "final_size_factor": _NUMBER("product ×", width=68, format="%.2f", help="before the guards"),
    "capped_by": _TEXT("limited by", width=100, help="guards that changed the product"),
    "round_trip_n": _NUMBER("n trips", width=58, help="round trips behind size and Sharpe"),
    "sharpe_7d": _NUMBER("Sharpe", width=58, format="%.2f", help="of round trips, before fees"),
    "dd_today_pct": _NUMBER("dd today", width=70, format="%.3f %%", help="drawdown, % of equity"),
    "today": _TEXT(
        "n today", width=TODAY_PX, alignment="right", help="closes of today, behind the drawdown"
    ),
    "policy_quality": _TEXT("router", width=86),
}
_RESTS_ON = {
    "symbol": _TEXT("symbol", pinned=True, width=88),
    "slip_q50": _NUMBER("slip q50", format="%.2f", help="median slippage, bps"),
    "slip_n": _NUMBER("n slip", help="fills behind the median"),
    "atr_regime": _TEXT("regime", help="of fills it sizes nothing"),
    "atr_ratio": _NUMBER("ATR ×", format="%.2f", help="ATR now over the usual one"),
    "told": _TEXT("n ATR", alignment="right", help="bars, or fills where there are none"),
    "maker_fill_ratio": _NUMBER("maker", format="%.3f", help="fills that were maker"),
    "maker_known_n": _NUMBER("n maker"),
    "fallback_ratio": _NUMBER("fallback", format="%.3f", help="of maker attempts"),
    "fallback_known_n": _NUMBER("n fallback"),
}
_DIGITS = {"sharpe_7d": 2, "dd_today_pct": 3, "slip_q50": 2}


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
        _tables(page)
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


def _tables(rows: pl.DataFrame) -> None:
    lines = list(rows.iter_rows(named=True))
    drawn: dict[str, list[str] | list[str | None]] = {
        "today": [_today(row) for row in lines],
        "known": [known_of(row["known_n"], row["n"]) for row in lines],
        "told": [frames.regime_n(row["regime_n"], row["atr_source"]) for row in lines],
        "atr_regime": [parts.regime_mark(row["atr_regime"], row["atr_source"]) for row in lines],
    }
    shown = frames.rounded(rows, _DIGITS).with_columns(
        *(pl.Series(name, texts, dtype=pl.String) for name, texts in drawn.items()),
        *frames.written(rows, ("status", "policy_quality"), panels.mark),
        *frames.written(rows, ("symbol",), panels.clip),
        *frames.written(rows, ("warnings",), _warned),
    )

    def choose() -> None:
        for row in st.session_state["health table"].selection.rows:
            session.choose(rows["symbol"][row])

    room = frames.room(drawn["known"])
    known = _TEXT("known of n", width=room, alignment="right", help="attempts of known end, of all")
    columns = {**_ACTS, "known": known}
    panels.table(
        shown.select(list(columns)),
        key="health table",
        columns=columns,
        on_select=choose,
        selection_mode="single-row",
    )
    st.caption("What that rests on")
    panels.table(shown.select(list(_RESTS_ON)), key="health rests on", columns=_RESTS_ON)


def _today(row: dict[str, Any]) -> str | None:
    """Write how many closes of today a drawdown is of; None where the snapshot does not know."""
    if row["dd_n"] is None:
        return None
    return unknown_of(row["dd_unknown_n"], row["dd_n"]) or number(row["dd_n"], 0)


def _warned(warnings: str) -> str:
    return f"{MARKS['warn']} {warnings}" if warnings else f"{MARKS['ok']} none"


def _card(row: dict[str, Any]) -> cards.Card:
    capped = f", limited by {row['capped_by']}" if row["capped_by"] else ""
    told = frames.regime_n(row["regime_n"], row["atr_source"])
    facts = [
        Fact("applied ×", number(row["applied_size_factor"]) + capped, row["round_trip_n"]),
        Fact("Sharpe before fees", number(row["sharpe_7d"]), row["round_trip_n"]),
        Fact("dd today, %", number(row["dd_today_pct"], 3), _today(row)),
        Fact("router", panels.mark(row["policy_quality"]), known_of(row["known_n"], row["n"])),
        Fact("slip q50", number(row["slip_q50"]), row["slip_n"]),
        Fact("regime", parts.regime_mark(row["atr_regime"], row["atr_source"]), told),
        Fact("warnings", _warned(row["warnings"])),
    ]
    status = panels.mark(row["status"])
    return cards.Card(row["symbol"], status, tuple(facts), session.choices(row["symbol"]))
