"""Execution Intelligence: one symbol's score, hours, slippage, regime, policy, offset and size.

Put here: which parts, in which order, with the texts of v5.10.1. Keep out: their rows (frames.py)
and drawings (charts.py).
"""

from typing import Any

import polars as pl
import streamlit as st

from dashboard import cards, charts, frames, live_helpers, panels, parts, session
from dashboard.cards import Fact
from dashboard.data import View
from features.explain import MAKER_FIRST, Part
from features.words import number
from live.snapshot.records import ALL

_PER_PAGE = 7  # symbols beside "all" in the heatmap: their values fit a phone
_HOURS = {
    "hour": st.column_config.NumberColumn("UTC hour", width=70, format="%02d:00", pinned=True),
    "exp_bps": st.column_config.NumberColumn(
        "expectancy", width=94, format="%.2f bps", help="PnL per notional, before fees"
    ),
    "exp_lo95_bps": st.column_config.NumberColumn(
        "from", width=66, format="%.2f", help="95 % interval"
    ),
    "exp_hi95_bps": st.column_config.NumberColumn(
        "to", width=66, format="%.2f", help="95 % interval"
    ),
    "closes": st.column_config.NumberColumn("n closes", width=64),
    "exp_net_bps": st.column_config.NumberColumn(
        "net",
        width=66,
        format="%.2f",
        help="less fees, with logged funding; unknown unless the fees of every fill are known",
    ),
    "exp_shrunk_bps": st.column_config.NumberColumn(
        "shrunk", format="%.2f", help="before fees, drawn towards all hours of the symbol, bps"
    ),
    "slip_bps_avg": st.column_config.NumberColumn("slippage", format="%.2f bps", help="mean"),
    "slip_n": st.column_config.NumberColumn("n slippage"),
    "trades": st.column_config.NumberColumn("n attempts"),
    "fills": st.column_config.NumberColumn("n fills"),
    "offset_bps": st.column_config.NumberColumn("offset", format="%.2f bps"),
}
_DIGITS = dict.fromkeys(
    ("exp_bps", "exp_lo95_bps", "exp_hi95_bps", "exp_net_bps", "exp_shrunk_bps", "slip_bps_avg"), 2
)


def render(view: View) -> None:
    """Show the page."""
    panels.head("Execution Intelligence", view)
    if view.snapshot_id is None:
        return
    symbol = panels.symbol_select(view)
    basic, health, intel = st.tabs(
        ["Overview", "Health", "Intel"],
        default="Intel" if symbol else "Overview",
        key="tab",
        bind="query-params",
    )
    if basic.open:
        with basic:
            _overview(view, symbol)
    if health.open:
        with health:
            _health(view, symbol)
    if intel.open:
        with intel:
            render_execution_intel(symbol, view)


def render_execution_intel(symbol: str | None, view: View | None = None) -> None:
    """Show the score of a symbol and everything that follows from it; view None is the present."""
    view = view or session.view()
    st.subheader("Execution Intelligence", anchor=False)
    if not symbol:
        st.info("Select a symbol to view execution intelligence.")
        return
    answers = _explained(view, symbol)
    _answers(view, symbol)
    _score(view, symbol, answers.get("score"))
    _hours(view, symbol)
    left, right = st.columns(2, gap="medium")
    with left:
        _slippage(view, symbol)
    with right:
        _offset(view, symbol, answers.get("offset"))
    _policy(view, symbol, answers.get("policy"))
    _regime(view, symbol)
    _size(view, symbol, answers.get("size"))
    tables = {"hourly": frames.hours(view, symbol), "slippage": frames.slippage(view, symbol)}
    tables |= {f"{name}_steps": frames.steps(part) for name, part in answers.items()}
    with view.answering():
        score = live_helpers.get_symbol_score(symbol)
    panels.export("intel", view, tables, symbol=symbol, score=score)


def _explained(view: View, symbol: str) -> dict[str, Part]:
    if not view.has_tables:
        panels.without_tables(view, "Steps and slippage by hour are")
        return {}
    try:
        return {part.name: part for part in view.explain(symbol)}
    except LookupError as error:
        panels.empty(f"No steps: {panels.md(error.args[0])}.")
        return {}


def _answers(view: View, symbol: str) -> None:
    reading = view.read(symbol)
    score, size, regime, router, *_ = frames.parts_of(reading.record)
    ended, told = frames.ended(router), frames.regime_n(regime.n, regime.atr_source)
    panels.reading(reading, view)
    with panels.tiles("answers"):
        panels.tile("Symbol score", frames.shown(score.score), note=f"n = {ended}", signed=True)
        panels.tile("Size factor", reading.acting.size_factor, n=size.n, unit=" ×")
        panels.tile(
            f"Offset at {view.hour_utc:02d} UTC", reading.acting.offsets_bps[view.hour_utc],
            note=f"n = {ended}", unit=" bps",
        )  # fmt: skip
        panels.tile("Router", reading.acting.quality, note=f"n = {ended}")
        panels.tile("ATR regime", regime.regime, note=f"n = {told}")
        panels.tile("Slippage q50", router.slip_q50, n=router.slip_n, unit=" bps")


def _score(view: View, symbol: str, part: Part | None) -> None:
    record = view.record(symbol)
    score, *_ = frames.parts_of(record)
    st.markdown("### Score")
    st.caption(
        "Score components are derived from Sharpe, volatility regime, router effectiveness, and DD"
        f" state. Model {panels.md(score.model)}; an unknown input adds nothing. Sharpe is before"
        " fees."
    )
    if part is None:
        parts.components(record)
        return
    left, right = st.columns(2, gap="medium")
    with left:
        st.altair_chart(
            charts.waterfall(frames.waterfall(part)), key="waterfall", alt="Parts of the score"
        )
    with right:
        parts.steps(part, key="score steps")


def _hours(view: View, symbol: str) -> None:
    st.markdown(f"### Hourly expectancy (last {view.window_days}d)")
    if not frames.has_hours(view, symbol):
        st.write("No hourly expectancy data available yet.")
        return
    rows = frames.hours(view, symbol)
    closes = int(rows["closes"].sum())
    if closes:
        st.altair_chart(
            charts.expectancy(rows), key="expectancy", alt="Expectancy by hour with interval"
        )
    known = rows.filter(pl.col("closes") > 0).height
    st.caption(
        f"Before fees. n = {closes:,} closes in {known} of 24 hours; lines are 95 %"
        " intervals, which one close alone does not have; longer ones are cut at the frame"
        " and stand in the table. Age: of the snapshot above."
    )
    with cards.wide("hours"):
        shown = frames.rounded(rows.select(list(_HOURS)), _DIGITS)
        panels.table(shown, key="hours", columns=_HOURS, height=280)
    cards.narrow("hours", [_hour(row) for row in rows.iter_rows(named=True)])


def _hour(row: dict[str, Any]) -> cards.Card:
    expected = number(row["exp_bps"])
    if row["exp_lo95_bps"] is not None:
        expected += f" ({frames.bounds(row['exp_lo95_bps'], row['exp_hi95_bps'])})"
    facts = (
        Fact("expectancy", expected, row["closes"]),
        Fact("net", number(row["exp_net_bps"])),
        Fact("shrunk", number(row["exp_shrunk_bps"])),
        Fact("slippage", number(row["slip_bps_avg"]), row["slip_n"]),
        Fact("attempts", number(row["trades"], 0)),
        Fact("fills", number(row["fills"], 0)),
        Fact("offset", number(row["offset_bps"])),
    )
    return cards.Card(f"{row['hour']:02d}:00", "", facts)


def _slippage(view: View, symbol: str) -> None:
    st.markdown("### Slippage by hour")
    rows = frames.slippage(view, symbol)
    if not rows.width:
        return
    n = int(rows["n"].sum())
    if not n:
        st.write("No fill with a known slippage in the window.")
        return
    st.altair_chart(charts.quartiles(rows), key="quartiles", alt="Slippage quartiles by hour")
    st.caption(
        f"Bar: first to third quartile, tick: median, against the decision price; n = {n:,} fills."
    )


def _offset(view: View, symbol: str, part: Part | None) -> None:
    st.markdown("### Maker offset by hour")
    rows = frames.offsets(view, symbol)
    st.altair_chart(charts.offsets(rows, view.hour_utc), key="offsets", alt="Maker offset by hour")
    *_, router, _, _ = frames.parts_of(view.record(symbol))
    st.caption(
        f"Blue: what acts, marked at {view.hour_utc:02d}:00; dashed: as v5.10."
        f" n = {frames.ended(router)} attempts."
    )
    if part is not None:
        with st.expander("Steps of this hour"):
            parts.steps(part, key="offset steps")


def _policy(view: View, symbol: str, part: Part | None) -> None:
    st.markdown("### Router policy")
    reading = view.read(symbol)
    *_, router, policy, _ = frames.parts_of(reading.record)
    acting = reading.acting
    with st.container(horizontal=True):
        panels.badge(acting.quality)
        st.write(
            f"{MAKER_FIRST[acting.maker_first]} · {panels.md(acting.taker_bias)}"
            f" · n = {frames.ended(router)}"
        )
    st.caption(f"Reason: {panels.md(policy.reason)}")
    if part is not None:
        parts.steps(part, key="policy steps")


def _regime(view: View, symbol: str) -> None:
    st.markdown("### Volatility regime")
    _, _, regime, *_ = frames.parts_of(view.record(symbol))
    level = parts.regime_level(regime.regime, regime.atr_source)
    panels.badge(regime.regime or "unknown", level=level)
    now, told = (frames.regime_n(n, regime.atr_source) for n in (min(regime.n, 50), regime.n))
    with panels.tiles("regime"):
        panels.tile("ATR ratio", regime.atr_ratio, note=f"n = {told}")
        panels.tile("ATR now", regime.atr_pct_50, note=f"n = {now}", unit=" %", digits=3)
        panels.tile("ATR usual", regime.atr_pct_500, note=f"n = {told}", unit=" %", digits=3)
    source = {"bars": "bars", "short": "bars, fewer than 500", "fills": "fills: sizes nothing"}
    st.caption(
        f"n = {regime.n:,} {source.get(regime.atr_source or '', 'no bars')}"
        f" · bar interval {panels.md(regime.bar_interval)}"
        f" · for health and size: {panels.md(regime.health_regime)}"
    )


def _size(view: View, symbol: str, part: Part | None) -> None:
    st.markdown("### Size")
    reading = view.read(symbol)
    _, size, *_ = frames.parts_of(reading.record)
    parts.chain(view, reading, size, part)
    if part is not None:
        parts.steps(part, key="size steps")


def _overview(view: View, symbol: str | None) -> None:
    with view.answering():
        kpis = live_helpers.execution_kpis(symbol)
    st.subheader(panels.md(symbol or "All symbols"), anchor=False)
    parts.kpis(kpis, frames.ack_n(view, symbol))
    st.markdown(f"### Expectancy by hour and symbol (last {view.window_days}d)")
    others = [name for name in view.symbols if name != symbol]
    pages = max(1, -(-len(others) // (_PER_PAGE - 1)))
    page = st.pagination(pages, key="heat page") if pages > 1 else 1
    shown = others[(page - 1) * (_PER_PAGE - 1) :][: _PER_PAGE - 1]
    names = [*([symbol] if symbol else []), *shown, ALL]
    rows = frames.heat(view, names)
    order = ["all" if name == ALL else name for name in names]
    is_dark = st.context.theme.type == "dark"
    drawn = charts.heat(rows, order, is_dark=is_dark)
    st.altair_chart(drawn, key="heat", alt="Expectancy by hour and symbol")
    st.caption(
        "bps of notional before fees, written in the cell; orange loses, blue earns. Bold: 20"
        " closes or more, faded: fewer, a dot: none. n and the 95 % interval stand under the"
        " pointer."
    )
    panels.export("expectancy", view, {"expectancy": rows}, symbol=symbol)


def _health(view: View, symbol: str | None) -> None:
    if not symbol:
        st.info("Select a symbol to view execution health.")
        return
    with view.answering():
        parts.health(live_helpers.execution_health(symbol), view)
