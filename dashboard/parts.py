"""Parts of one symbol that several pages show: steps to an answer, the size's chain, its health.

Put here: which of a symbol's values stand together. Keep out: how a value looks (panels.py), rows
(frames.py), pages (views/).
"""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import cards, frames, panels
from dashboard.cards import Fact
from dashboard.data import View
from dashboard.panels import badge, md, tile, tiles
from features.explain import MAKER_FIRST, Part
from features.words import MARKS, UNKNOWN, Level, known_of, number, share, unknown_of
from live.snapshot.reading import Reading
from live.snapshot.records import Record, Risk, Size

GUARDS = ("evidence_cap", "incomplete", "clamp", "change")  # after the product, in this order


def steps(part: Part, *, key: str) -> None:
    """Show the steps to an answer: input, n, result, rule; an arrow marks what changed it."""
    rows = frames.steps(part)
    with cards.wide(key):
        st.dataframe(
            rows,
            hide_index=True,
            key=key,
            placeholder="",
            column_config={
                "step": st.column_config.TextColumn(width=130, pinned=True),
                "n": st.column_config.NumberColumn(width=55),
                "rule": st.column_config.TextColumn(width=330),
            },
        )
    cards.narrow(key, [_step(*row) for row in rows.iter_rows()])
    st.caption(" · ".join(md(words) for words in (part.answer, *part.notes)))


def _step(step: str, measured: str, n: int | None, effect: str, rule: str) -> cards.Card:
    facts = [Fact("of", measured, n)] if measured or n is not None else []
    return cards.Card(step, effect, (*facts, Fact(rule, "")))


def components(record: Record | None) -> None:
    """Show the parts of a score where the steps to them are not at hand, each with its n."""
    score, size, regime, router, _, risk = frames.parts_of(record)
    sharpe, atr, dd = (number(each) for each in (score.sharpe, score.atr_ratio, score.dd_pct))
    today = drawdown_n(risk) or "n not kept"  # lines of earlier releases lack it
    with tiles("components"):
        _adds("Sharpe", score.sharpe_score, f"of {sharpe}, n = {size.n:,}")
        told = frames.regime_n(regime.n, regime.atr_source)
        _adds("ATR ratio", score.atr_score, f"of {atr}, n = {told}")
        _adds("Router", score.router_score, f"n = {frames.ended(router)}")
        _adds("Drawdown", score.dd_score, f"of {dd} %, {today}")
    if score.missing:
        st.caption(f"Unknown: {md(', '.join(score.missing))}")


def _adds(name: str, value: float | None, note: str) -> None:
    tile(f"{name} adds", frames.shown(value), signed=True, note=note)


def drawdown_n(risk: Risk) -> str:
    """Say of how many closes of today a drawdown is; nothing where the snapshot does not know."""
    if risk.dd_n is None:
        return ""
    unknown = unknown_of(risk.dd_unknown_n, risk.dd_n)
    return f"n = {risk.dd_n:,}" + (f", {unknown}" if unknown else "")


def regime_level(word: str | None, source: str | None) -> Level:
    """Return how grave a regime is; one of fills sizes nothing, so it is neither well nor bad."""
    return "unknown" if source == "fills" else panels.LEVELS.get(word or "", "unknown")


def regime_mark(word: str | None, source: str | None) -> str:
    """Return a regime behind the shape of its level."""
    return f"{MARKS[regime_level(word, source)]} {word or 'unknown'}"


def chain(view: View, reading: Reading, size: Size, part: Part | None) -> None:
    """Show the size as a chain: factors, product, each guard, what engines do with it."""
    factors = (
        ("inverse vol", size.inverse_vol), ("regime", size.regime_scale),
        ("Sharpe", size.sharpe_mult), ("score", size.intel_size_factor),
    )  # fmt: skip
    links = [" × ".join(f":gray-badge[{name} {number(value)}]" for name, value in factors)]
    links.append(f"= :blue-badge[product {number(size.product_v510)}]")
    guards = [line for line in part.lines if line.what in GUARDS] if part else []
    for line in guards:
        colour = "orange" if line.is_fired else "gray"
        name = md(line.what.replace("_", " "))
        effect = number(line.effect) if isinstance(line.effect, float) else UNKNOWN
        links.append(f"→ :{colour}-badge[{MARKS['warn'] + ' ' if line.is_fired else ''}"
                     f"{name} {effect}]")  # fmt: skip
    if part is None and size.capped_by:
        links.append(f"→ :orange-badge[▲ {md(', '.join(size.capped_by))}]")
    links.append(f"= :blue-badge[snapshot {number(size.final_size_factor)}]")
    acts = reading.acting.size_factor
    applied = "applied when it was new" if view.status == "demo" else "apply"
    if not view.is_applied_told:
        applied = "may apply"
    elif "size" not in view.applied:
        applied = "only note"
    why = "" if acts == size.final_size_factor else f", {md(reading.status)}"
    links.append(f"→ :green-badge[engines {applied} {number(acts)}{why}]")
    st.markdown(" ".join(links))
    known = "an unknown share" if size.pnl_coverage is None else share(size.pnl_coverage)
    st.caption(
        f"n = {size.n:,} round trips · logs explain {known} of the account's PnL and positions"
        f" ({md(size.coverage_status)}) · ▲ a guard that changed the factor"
    )


def kpis(found: Mapping[str, Any], ack_n: int | None) -> None:
    """Show how the router did: each ratio with the attempts that know it.

    ``ack_n`` is None where it is not known, as in the mirror: then no time of an ack is shown.
    """
    with tiles("kpis"):
        tile("Attempts", found["n"], digits=0, note=f"{found['unknown_n']:,} of unknown end")
        known = panels.known_end(found["fill_known_n"], found["n"])
        tile("Fill ratio", found["fill_ratio"], note=known, digits=3)
        tile("Maker fills", found["maker_fill_ratio"], n=found["maker_known_n"], digits=3)
        tile("Fallback", found["fallback_ratio"], n=found["fallback_known_n"], digits=3)
        tile("Slippage q25", found["slip_q25"], n=found["slip_n"], unit=" bps")
        tile("Slippage q50", found["slip_q50"], n=found["slip_n"], unit=" bps")
        tile("Slippage q75", found["slip_q75"], n=found["slip_n"], unit=" bps")
        if ack_n is not None:
            tile("Ack p50", found["ack_ms_p50"], n=ack_n, unit=" ms", digits=0)
            tile("Ack p95", found["ack_ms_p95"], n=ack_n, unit=" ms", digits=0)


def earned(view: View, symbol: str) -> None:
    """Show what the closes of a symbol earned in the window, before fees and after them."""
    row = frames.earned(view, symbol)
    if row is None:
        return
    closes = f"n = {row['pnl_known_n']:,} of known PnL"
    gross, net = (frames.shown(row[name]) for name in ("realized_pnl_usd", "net_pnl_usd"))
    tile("PnL, USD", gross, signed=True, note=f"before fees, {closes}")
    fees = f"less fees, n = {known_of(row['fees_known_n'], row['paid_n'])} known"
    tile("Net PnL, USD", net, signed=True, note=fees)
    wins = f"before fees, n = {row['round_trip_n']:,}"
    tile("Win rate", row["win_rate"], note=wins, digits=3)


def health(found: Mapping[str, Any], view: View) -> None:
    """Show a symbol's health document, warnings first."""
    router, risk, vol, sizing = (found[name] for name in ("router", "risk", "vol", "sizing"))
    st.subheader(md(found["symbol"]), anchor=False)
    reading = view.read(found["symbol"])
    *_, router_of, _, risk_of = frames.parts_of(reading.record)
    ended = f"n = {frames.ended(router_of)}"
    panels.reading(reading, view)
    flags = (*router["router_warnings"], *risk["risk_flags"])
    if flags:
        with st.container(horizontal=True):
            for flag in flags:
                badge(flag, level="bad" if "kill" in flag or "disabled" in flag else "warn")
    st.markdown("#### Router")
    with tiles("router"):
        tile("Quality", router["policy_quality"], note=ended)
        tile("Maker fills", router["maker_fill_ratio"], n=router["maker_known_n"], digits=3)
        tile("Fallback", router["fallback_ratio"], n=router["fallback_known_n"], digits=3)
        tile("Slippage q50", router["slip_q50"], n=router["slip_n"], unit=" bps")
        offset_bps = reading.acting.offsets_bps[view.hour_utc]
        tile(f"Offset at {view.hour_utc:02d} UTC", offset_bps, note=ended, unit=" bps")
    st.caption(
        f"{MAKER_FIRST[router['policy_maker_first']]} · {md(router['policy_taker_bias'])}"
        f" · {md(router['policy_reason'])}"
    )
    left, right = st.columns(2)
    with left:
        st.markdown("#### Risk")
        with tiles("risk"):
            trips = sizing.get("round_trip_n", 0)
            tile("Sharpe", sizing["sharpe_7d"], note=f"before fees, n = {trips:,}")
            today = drawdown_n(risk_of)
            tile("Drawdown today", risk["dd_today_pct"], note=today, unit=" %", digits=3)
            earned(view, found["symbol"])
        off = {True: "switched off", False: "switched on", None: "no switch known"}
        switch = "" if view.is_past else f" · {off[risk['toggle_active']]}{view.told_at}"
        st.caption(
            f"Sharpe state: {md(risk['sharpe_state'])} · drawdown of equity after fees,"
            f" n closes of today{switch}"
        )
    told = frames.regime_n(vol["n"], vol["atr_source"])
    with right:
        st.markdown("#### Volatility")
        with tiles("vol"):
            now = frames.regime_n(min(vol["n"], 50), vol["atr_source"])
            tile("ATR ratio", vol["atr_ratio"], note=f"n = {told}")
            tile("ATR now", vol["atr_now"], note=f"n = {now}", unit=" %", digits=3)
        st.caption(f"Regime {md(vol['atr_regime'])}, from {md(vol['atr_source'])}")
    st.markdown("#### Sizing")
    with tiles("sizing"):
        tile("By Sharpe", sizing["size_mult_sharpe"], n=trips, unit=" ×")
        tile("By regime", sizing["size_mult_regime"], note=f"n = {told}", unit=" ×")
        tile("By score", sizing["intel_size_factor"], note=ended, unit=" ×")
        tile("Product", sizing["final_size_factor"], n=trips, unit=" ×")
        tile("Applied", sizing["applied_size_factor"], n=trips, unit=" ×")
    capped = ", ".join(sizing["capped_by"])
    st.caption(f"Capped by {md(capped)}" if capped else "No guard changed the product")
