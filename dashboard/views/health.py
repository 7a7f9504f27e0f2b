"""Execution Health: what engines are told of each symbol, warnings first.

Put here: the table of all and the document of one. Keep out: the document (live/health.py).
"""

import polars as pl
import streamlit as st

from dashboard import frames, live_helpers, panels, parts, session
from dashboard.data import View

_COLUMNS = {
    "symbol": st.column_config.TextColumn("symbol", pinned=True, width=110),
    "warnings": st.column_config.TextColumn("warnings", width=220),
    "policy_quality": st.column_config.TextColumn("router"),
    "n": st.column_config.NumberColumn("n attempts"),
    "maker_fill_ratio": st.column_config.NumberColumn("maker fills", format="%.3f"),
    "maker_known_n": st.column_config.NumberColumn("n maker"),
    "fallback_ratio": st.column_config.NumberColumn("fallback", format="%.3f"),
    "fallback_known_n": st.column_config.NumberColumn("n fallback"),
    "slip_q50": st.column_config.NumberColumn("slippage q50", format="%.2f bps"),
    "slip_n": st.column_config.NumberColumn("n slippage"),
    "sharpe_7d": st.column_config.NumberColumn("Sharpe", format="%.2f"),
    "round_trip_n": st.column_config.NumberColumn("n trips"),
    "dd_today_pct": st.column_config.NumberColumn(
        "drawdown", format="%.3f %%", help="today, of equity"
    ),
    "atr_regime": st.column_config.TextColumn("regime"),
    "atr_ratio": st.column_config.NumberColumn("ATR ratio", format="%.2f"),
    "bars_n": st.column_config.NumberColumn("n bars"),
    "final_size_factor": st.column_config.NumberColumn("product ×", format="%.2f"),
    "applied_size_factor": st.column_config.NumberColumn("applied ×", format="%.2f"),
    "capped_by": st.column_config.TextColumn("capped by", width=180),
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
        f"{warned.height} of {rows.height} with warnings, first. Select a row for its document."
    )
    rows = rows.sort(pl.col("warnings") == "", "symbol")
    shown = rows.with_columns(
        *frames.written(rows, ("status", "policy_quality", "atr_regime"), panels.mark),
        *frames.written(rows, ("symbol",), panels.clip),
        pl.when(pl.col("warnings") == "")
        .then(pl.lit("● none"))
        .otherwise(pl.lit("▲ ") + pl.col("warnings"))
        .alias("warnings"),
    )
    panels.table(
        shown,
        key="healths",
        columns=_COLUMNS,
        on_select=lambda: _choose(rows),
        selection_mode="single-row",
    )
    panels.export("health", view, {"health": rows})
    symbol = panels.symbol_select(view)
    if not symbol:
        panels.empty("Select a symbol to view execution health.")
        return
    with view.answering():
        document = live_helpers.execution_health(symbol)
    parts.health(document, view)
    panels.export("health document", view, {}, symbol=symbol, health=document)


def _choose(rows: pl.DataFrame) -> None:
    chosen = st.session_state["healths"].selection.rows
    if chosen:
        session.choose(rows["symbol"][panels.row_of("healths", chosen[0])])
