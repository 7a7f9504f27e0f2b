"""The rules of the v5.10 release as plain functions, for inputs that a caller brings himself.

Put here: v5.10 arithmetic, each threshold beside its rule. Keep out: snapshots and their guards
(features/sql), reading (intel.py). An input that is None is unknown: it adds to no score or offset.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from live.snapshot.records import Score

Effectiveness = Mapping[str, Any]
TakerBias = Literal["prefer_maker", "balanced", "prefer_taker"]

OFFSET_BASE_BPS = 2.0
OFFSET_MIN_BPS = 0.5
OFFSET_MAX_BPS = 8.0
EVIDENCE_MIN_N = 20  # below it a sample may speak against a router or an hour, never for it
SIZE_FACTOR_MIN = 0.25
SIZE_FACTOR_MAX = 2.0


@dataclass
class RouterPolicy:
    """How to route a symbol; ``maker_first`` None leaves the choice to the strategy."""

    maker_first: bool | None
    taker_bias: str
    quality: str
    reason: str


def clamp(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))


def known(value: Any) -> float | None:
    """Return a finite number, or None for everything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


# -- score --------------------------------------------------------------------------------------


def score_sharpe(sharpe: float | None) -> float:
    """Score a 7-day Sharpe ratio: -1 to +1, half of it between -1 and 2."""
    if sharpe is None:
        return 0.0
    if sharpe <= -1.0:
        return -1.0
    if sharpe >= 2.0:
        return 1.0
    return sharpe / 2.0


def atr_ratio(atr_now: float | None, atr_med: float | None) -> float | None:
    """Return short ATR over long ATR, None where the long one is unknown."""
    if atr_now is None or atr_med is None or atr_med <= 0:
        return None
    return atr_now / atr_med


def score_atr(ratio: float | None) -> float:
    """Score a volatility ratio: calm and wild markets cost, the usual one earns a little."""
    if ratio is None:
        return 0.0
    if ratio < 0.5:
        return -0.2
    if ratio > 2.5:
        return -0.3
    return 0.1 if 0.8 <= ratio <= 1.5 else 0.0


def score_router(effectiveness: Effectiveness) -> float:
    """Score a router: maker fills above half earn, fallbacks above half and slow prices cost."""
    maker = known(effectiveness.get("maker_fill_ratio"))
    fallback = known(effectiveness.get("fallback_ratio"))
    slip = known(effectiveness.get("slip_q50"))
    score = 0.0
    if maker is not None:
        score += (maker - 0.5) * 0.5
    if fallback is not None:
        score -= max(0.0, fallback - 0.5)
    if slip is not None and slip > 5.0:
        score -= 0.3
    return score


def score_drawdown(dd_pct: float | None) -> float:
    """Score today's drawdown in percent of equity, at or below 0."""
    if dd_pct is None:
        return 0.0
    if dd_pct <= -3.0:
        return -0.5
    if dd_pct <= -1.5:
        return -0.25
    return 0.1 if dd_pct >= 0.5 else 0.0  # cannot happen to a drawdown; kept as v5.10 has it


def score(
    sharpe: float | None,
    atr_now: float | None,
    atr_med: float | None,
    effectiveness: Effectiveness,
    dd_pct: float | None,
) -> Score:
    """Return the score with its parts; an unknown input adds 0 and is named in ``missing``."""
    ratio = atr_ratio(atr_now, atr_med)
    parts = (
        score_sharpe(sharpe),
        score_atr(ratio),
        score_router(effectiveness),
        score_drawdown(dd_pct),
    )
    router = {name: known(effectiveness.get(key)) for name, key in _ROUTER_NAMES.items()}
    inputs = {"sharpe": sharpe, "atr_ratio": ratio, **router, "dd_pct": dd_pct}
    missing = tuple([name for name, value in inputs.items() if value is None])
    unknown_parts = {"router" if name in router else name for name in missing}
    return Score(
        model="v5.10",
        score=math.fsum(parts),
        sharpe=sharpe,
        sharpe_score=parts[0],
        atr_ratio=ratio,
        atr_score=parts[1],
        router_score=parts[2],
        dd_pct=dd_pct,
        dd_score=parts[3],
        missing=missing,
        coverage=1.0 - len(unknown_parts) / len(parts),
    )


_ROUTER_INPUTS = ("maker_fill_ratio", "fallback_ratio", "slip_q50")
_ROUTER_NAMES = {**{name: name for name in _ROUTER_INPUTS[:2]}, "slip_bps_q50": "slip_q50"}


def size_factor(score: float) -> float:
    """Map a score to a size factor: 0.5 at or below -1, 1 at 0, 1.5 from 1.5 on."""
    if score <= -1.0:
        factor = 0.5
    elif score >= 1.5:
        factor = 1.5
    else:
        factor = 1.0 + 0.3 * score
    return clamp(factor, SIZE_FACTOR_MIN, SIZE_FACTOR_MAX)


# -- regime, policy, offset ---------------------------------------------------------------------


def regime(ratio: float | None, quiet_below: float = 0.5) -> str:
    """Name a volatility ratio; the health document calls quiet what lies below 0.7."""
    if ratio is None:
        return "unknown"
    if ratio < quiet_below:
        return "quiet"
    if ratio < 1.5:
        return "normal"
    return "hot" if ratio < 2.5 else "panic"


def router_quality(effectiveness: Effectiveness) -> str:
    """Name a router good, ok, degraded, broken, or unknown where nothing is known of it.

    ``maker_known_n``, ``fallback_known_n`` and ``slip_n`` may stand beside the ratios: then good
    needs 20 of each.
    """
    maker, fallback, slip = (known(effectiveness.get(name)) for name in _ROUTER_INPUTS)
    if maker is None and fallback is None and slip is None:
        return "unknown"
    if (fallback is not None and fallback >= 0.9) or (slip is not None and slip >= 20.0):
        return "broken"
    if (fallback is not None and fallback >= 0.6) or (slip is not None and slip >= 8.0):
        return "degraded"
    if maker is None or fallback is None or slip is None:
        return "ok"
    is_evident = all(
        effectiveness.get(name, EVIDENCE_MIN_N) >= EVIDENCE_MIN_N
        for name in ("maker_known_n", "fallback_known_n", "slip_n")
    )
    is_good = maker >= 0.7 and fallback <= 0.4 and slip <= 4.0
    return "good" if is_good and is_evident else "ok"


def policy(quality: str, regime_name: str) -> RouterPolicy:
    """Decide the routing of a router quality in a volatility regime."""
    maker_first: bool | None = None if quality == "unknown" else quality != "broken"
    bias: TakerBias = "balanced"
    words = [f"quality={quality}", f"regime={regime_name}"]
    if quality in ("broken", "degraded"):
        bias = "prefer_taker"
        words.append("too many fallbacks or too much slippage")
    elif quality == "good":
        bias = "prefer_maker"
        words.append("maker orders fill well")
    elif quality == "unknown":
        words.append("nothing known of the router")
    if regime_name == "panic":
        bias = "prefer_taker"
        words.append("panic takes")
        if quality in ("degraded", "broken"):
            maker_first = False
            words.append("no maker orders through a weak router")
    return RouterPolicy(maker_first, bias, quality, "; ".join(words))


def offset_bps(effectiveness: Effectiveness, regime_name: str, hour: Mapping[str, Any]) -> float:
    """Return the distance of a maker order from mid, bps, from router, regime and the hour's row.

    The hour's expectancy speaks; where ``close_n`` and its bounds stand beside it, only with 20
    closes and an interval that excludes 0.
    """
    maker, fallback, slip = (known(effectiveness.get(name)) for name in _ROUTER_INPUTS)
    offset = OFFSET_BASE_BPS + {"quiet": -0.5, "hot": 0.5, "panic": 1.0}.get(regime_name, 0.0)
    if maker is not None and maker > 0.7:
        offset -= 0.5
    if fallback is not None and fallback > 0.5:
        offset += 1.0
    if fallback is not None and fallback > 0.8:
        offset += 1.5
    if slip is not None and slip > 5.0:
        offset += 0.8
    elif slip is not None and slip < 1.0:
        offset -= 0.2
    expectancy = known(hour.get("exp_per_notional"))
    if expectancy is not None and _hour_speaks(hour):
        offset -= math.copysign(0.2, expectancy) if expectancy else 0.0
    return clamp(offset, OFFSET_MIN_BPS, OFFSET_MAX_BPS)


def _hour_speaks(hour: Mapping[str, Any]) -> bool:
    if "close_n" not in hour:
        return True
    low, high = known(hour.get("exp_lo95")), known(hour.get("exp_hi95"))
    excludes_zero = low is not None and high is not None and (low > 0 or high < 0)
    return bool(hour["close_n"] >= EVIDENCE_MIN_N and excludes_zero)


# -- hours --------------------------------------------------------------------------------------


@dataclass
class _Hour:
    count: int = 0
    pnl_usd: list[float] = field(default_factory=list)
    notional_usd: list[float] = field(default_factory=list)
    slip_bps: list[float] = field(default_factory=list)


def hourly(events: Iterable[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Sum router events by UTC hour of day: count, expectancy per notional, mean slippage.

    ``ts`` is epoch seconds; an event without it is left out, as in v5.10.
    """
    hours: dict[int, _Hour] = {}
    for event in events:
        at_s = known(event.get("ts"))
        if at_s is None:
            continue
        hour = hours.setdefault(int(at_s // 3600 % 24), _Hour())
        hour.count += 1
        for name, values in (
            ("realized_pnl", hour.pnl_usd),
            ("notional", hour.notional_usd),
            ("slippage_bps", hour.slip_bps),
        ):
            value = known(event.get(name))
            if value is not None:
                values.append(value)
    return {hour: _hour_row(sums) for hour, sums in sorted(hours.items())}


def _hour_row(hour: _Hour) -> dict[str, Any]:
    notional_usd = math.fsum(hour.notional_usd)
    slip_n = len(hour.slip_bps)
    return {
        "count": hour.count,
        "exp_per_notional": math.fsum(hour.pnl_usd) / notional_usd if notional_usd > 0 else None,
        "slip_bps_avg": math.fsum(hour.slip_bps) / slip_n if slip_n else None,
    }
