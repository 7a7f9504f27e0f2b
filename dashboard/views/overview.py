"""Overview: every symbol at a glance, what a person should look at, how fresh the sources are.

Put here: what the first ten seconds need. Keep out: one symbol's details (intel.py, health.py).
"""

from typing import Any

import polars as pl
import streamlit as st

from dashboard import frames, panels, session
from dashboard.data import View
from features.words import span
from live.records import ALL

_COLUMNS = {
    "symbol": st.column_config.TextColumn("symbol", pinned=True, width=95),
    "status": st.column_config.TextColumn("status", help="ok: engines act on these values"),
    "score": st.column_config.NumberColumn("score", width=55, format="%+.2f"),
    "n": st.column_config.NumberColumn(
        "n", width=48, help="attempts behind score, router and offset"
    ),
    "size_factor": st.column_config.NumberColumn(
        "size ×",
        width=52,
        format="%.2f",
        help="what engines multiply targets by, after every guard",
    ),
    "round_trip_n": st.column_config.NumberColumn(
        "n trips", width=60, help="round trips behind the size"
    ),
    "quality": st.column_config.TextColumn("router", width=80),
    "policy": st.column_config.TextColumn("route", width=165),
    "offset_now_bps": st.column_config.NumberColumn(
        "offset", width=55, format="%.2f", help="maker offset from mid in this UTC hour, bps"
    ),
    "slip_q50_bps": st.column_config.NumberColumn(
        "slip q50",
        width=68,
        format="%.2f",
        help="median against the decision price, bps; up is a cost",
    ),
    "slip_n": st.column_config.NumberColumn("n fills", width=58, help="fills behind the median"),
    "exp_now_bps": st.column_config.NumberColumn(
        "expect.", width=66, format="%+.2f", help="PnL per notional in this UTC hour, bps"
    ),
    "close_n": st.column_config.NumberColumn(
        "n closes", width=70, help="closes of this hour behind it"
    ),
    "exp_by_hour": st.column_config.TextColumn(
        "expectancy by hour", width=150, help="0 to 23 UTC, low to high; a gap is unknown"
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
        panels.tile("Symbols", len(view.symbols), digits=0, note=f"{few} not ok")
        panels.tile("Attempts", router.n, digits=0, note=f"{router.unknown_n:,} of unknown end")
        panels.tile("Fill ratio", router.fill_ratio, n=router.fill_known_n, digits=3)
        panels.tile("Slippage q50", router.slip_q50, n=router.slip_n, unit=" bps")
        panels.tile("Maker fills", router.maker_fill_ratio, n=router.maker_known_n, digits=3)
        panels.tile("Fallback", router.fallback_ratio, n=router.fallback_known_n, digits=3)


def _symbols(view: View) -> None:
    rows = frames.symbols(view)
    if rows.is_empty():
        panels.empty(
            "No attempt in the window. For old logs name a time: execintel refresh --as-of T"
            " --publish."
        )
        return
    st.subheader(f"Symbols at {view.hour_utc:02d}:00 UTC", anchor=False)
    shown = rows.with_columns(
        *frames.written(rows, ("status", "quality"), panels.mark),
        *frames.written(rows, ("symbol",), panels.clip),
    )
    chosen = panels.table(
        shown, key="symbols", columns=_COLUMNS, on_select="rerun", selection_mode="single-row"
    )
    st.caption(
        "Select a row to open the symbol. Offset, slippage, expectancy in bps; a dash is unknown."
    )
    if chosen.selection.rows:
        session.go(
            "intel", symbol=rows["symbol"][panels.row_of("symbols", chosen.selection.rows[0])]
        )
    panels.export("overview", view, {"symbols": rows, "alerts": view.table("feat_ops__alerts")})


def _alerts(view: View) -> None:
    st.subheader("Alerts", anchor=False)
    if not view.has_tables:
        panels.without_tables(view, "Alerts are")
        return
    panels.alerts(view, view.table("feat_ops__alerts"))


def _sources(view: View) -> None:
    st.subheader("Sources", anchor=False)
    rows = view.table("feat_ops__source_freshness")
    if not rows.width:
        panels.without_tables(view, "Sources are")
        return
    rows = rows.filter(pl.col("symbol") == ALL).sort("source")
    (lag,) = frames.written(rows, ("lag_s",), span)
    shown = rows.select(
        pl.col("source").str.strip_prefix("raw_"),
        pl.Series("status", [_state(row) for row in rows.iter_rows(named=True)], dtype=pl.String),
        lag.alias("newest event"),
        pl.col("n").alias("lines"),
        pl.col("rejected_24h").alias("rejected, 24 h"),
    )
    panels.table(shown, key="sources")
    st.caption("Age of the newest event when the snapshot was made; lines of the window.")


def _state(row: dict[str, Any]) -> str:
    """Write a source's status; silence of one that is not required is worth knowing, no fault."""
    if row["status"] == "ok":
        return panels.mark("ok")
    if row["required"]:
        return f"{panels.SHAPES['bad']} {row['status']}, required"
    return f"{panels.SHAPES['warn']} {row['status']}"
