"""The v5.10 call surface, answered from the published snapshot: same names, arguments and shapes.

Put here: v5.10 names, all of them: who replaces one by its path is obeyed by the others, and then
the v5.10 rule is applied to what it gives. Untouched, an answer is the snapshot's own. Keep out:
v5.10 rules (v510/rules.py), the snapshot's answers (v510/of_reading.py), which snapshot
(v510/answers.py).
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from live.snapshot.acting import UNKNOWN_SIZE_FACTOR, careful
from live.v510 import answers, health, of_reading, rules
from live.v510.answers import answering_from, configure, one_snapshot, reading
from live.v510.rules import RouterPolicy

__all__ = [
    "RouterPolicy",
    "answering_from",
    "atr_pct",
    "best_hours",
    "classify_atr_regime",
    "classify_risk_health",
    "classify_router_health",
    "classify_router_quality",
    "compute_execution_health",
    "compute_symbol_score",
    "configure",
    "dd_today_pct",
    "get_recent_router_events",
    "get_symbol_disable_meta",
    "hourly_expectancy",
    "inverse_vol_size",
    "is_symbol_disabled",
    "rolling_sharpe_7d",
    "router_effectiveness_7d",
    "router_policy",
    "score_to_size_factor",
    "size_for",
    "size_multiplier",
    "suggest_maker_offset_bps",
    "symbol_size_factor",
    "volatility_regime_scale",
]


# -- measurements -------------------------------------------------------------------------------


def rolling_sharpe_7d(symbol: str) -> float | None:
    """Return mean over standard deviation of the round trips' returns, not annualised."""
    return of_reading.risk(reading(symbol)).sharpe_7d


def dd_today_pct(symbol: str) -> float | None:
    """Return today's drawdown in percent of equity, at or below 0; None where equity is unknown."""
    return of_reading.risk(reading(symbol)).dd_today_pct


def atr_pct(symbol: str, lookback_bars: int = 50) -> float:
    """Return the average true range over 50 or 500 bars in percent of price; 0.0 means unknown.

    v5.10 knows an unknown range by its not being above 0. Raises ValueError for another lookback: a
    snapshot holds these two.
    """
    if lookback_bars not in (50, 500):
        raise ValueError(f"lookback_bars = {lookback_bars}: a snapshot holds the ATR of 50 and 500")
    atr_now, atr_med = of_reading.atr_pcts(reading(symbol))
    return atr_now if lookback_bars == 50 else atr_med


def router_effectiveness_7d(symbol: str | None = None) -> dict[str, Any]:
    """Return maker fill and fallback ratio and slippage quartiles (bps), each with its n.

    ``status``, ``snapshot_id`` and ``as_of_ms`` say what the numbers rest on. None: all symbols.
    """
    return of_reading.effectiveness(reading(symbol))


def get_recent_router_events(
    symbol: str | None = None, window_days: int = 7
) -> list[dict[str, Any]]:
    """Return the router attempts of the days before the snapshot's as-of, oldest first.

    Opens the snapshot's database: for research and pages, never on the order path. ``ts`` is epoch
    seconds; an unknown value is None. Empty before anything is published.
    """
    from live.v510 import router_events

    served = answers.current_database()
    if served is None:
        return []
    database, header = served
    return router_events.read(
        database,
        environment=header.environment,
        as_of_ms=header.as_of_ms,
        window_days=window_days,
        symbol=symbol,
    )


_own_router_events = get_recent_router_events


def is_symbol_disabled(symbol: str) -> bool | None:
    """Tell whether a symbol is switched off; None where nobody gave switches to ask."""
    return answers.toggle(symbol)[0]


def get_symbol_disable_meta(symbol: str) -> Mapping[str, Any] | None:
    """Return why the executor switched a symbol off, None where it did not."""
    return answers.toggle(symbol)[1]


# -- hours --------------------------------------------------------------------------------------


def hourly_expectancy(symbol: str | None = None) -> dict[int, dict[str, Any]]:
    """Return count, expectancy per notional and mean slippage (bps) by UTC hour of day.

    Beside the v5.10 keys stand the counts and bounds of each estimate. None: all symbols. Only
    hours with rows; empty for a symbol that the snapshot does not hold.
    """
    if get_recent_router_events is not _own_router_events:
        return rules.hourly(get_recent_router_events(symbol=symbol, window_days=7))
    return of_reading.hours(reading(symbol))


def best_hours(symbol: str, min_trades: int = 20, min_expectancy: float = 0.0) -> list[int]:
    """Return the hours with at least so many attempts and so much expectancy, sorted."""
    return sorted(
        hour
        for hour, row in hourly_expectancy(symbol).items()
        if row["count"] >= min_trades
        and row["exp_per_notional"] is not None
        and row["exp_per_notional"] >= min_expectancy
    )


# -- score and size -----------------------------------------------------------------------------


@one_snapshot
def compute_symbol_score(symbol: str) -> dict[str, Any]:
    """Return the symbol's score and its components; ``missing`` names the unknown inputs.

    As in v5.10 an unknown ``sharpe`` or ``dd_pct`` is written 0.0; ``missing`` tells it from a
    measured one.
    """
    sharpe = rolling_sharpe_7d(symbol)
    atr = atr_pct(symbol, lookback_bars=50), atr_pct(symbol, lookback_bars=500)
    stats = router_effectiveness_7d(symbol)
    dd = dd_today_pct(symbol)
    read = reading(symbol)
    risk, score = of_reading.risk(read), of_reading.score(read)
    inputs = (
        risk.sharpe_7d,
        of_reading.atr_pcts(read),
        of_reading.effectiveness(read),
        risk.dd_today_pct,
    )
    if score is None or (sharpe, atr, stats, dd) != inputs:
        score = rules.score(sharpe, *atr, stats, dd)
    return {
        "symbol": symbol,
        "score": score.score or 0.0,
        "components": {
            "sharpe": score.sharpe or 0.0,
            "sharpe_score": score.sharpe_score or 0.0,
            "atr_ratio": score.atr_ratio,
            "atr_score": score.atr_score or 0.0,
            "router_score": score.router_score or 0.0,
            "dd_pct": score.dd_pct or 0.0,
            "dd_score": score.dd_score or 0.0,
            "fee_bps": score.fee_bps,
        },
        "model": score.model,
        "missing": list(score.missing),
        "coverage": score.coverage,
        **_provenance(stats),
    }


def score_to_size_factor(score: float) -> float:
    """Map a score to a size factor, 0.5 to 1.5; what is no number sizes as an unknown symbol."""
    number = rules.known(score)
    return UNKNOWN_SIZE_FACTOR if number is None else rules.size_factor(number)


@one_snapshot
def symbol_size_factor(symbol: str) -> dict[str, Any]:
    """Return the score, its size factor, and what the guards leave of the whole stack.

    ``applied_size_factor`` is what ``size_for`` uses; ``capped_by`` names the guards behind it.
    """
    payload = compute_symbol_score(symbol)
    score = rules.known(payload.get("score"))
    answer = {
        "symbol": symbol,
        "score": score or 0.0,
        "size_factor": UNKNOWN_SIZE_FACTOR if score is None else score_to_size_factor(score),
        "components": payload.get("components") or {},
    }
    if "status" not in payload:
        return answer  # the caller's own score: nothing in it comes from a snapshot
    read = reading(symbol)
    own_score = of_reading.score(read)
    if own_score is None or score == own_score.score:
        answer["size_factor"] = of_reading.stack(read).intel_size_factor
    return {
        **answer,
        "applied_size_factor": read.acting.size_factor,
        "capped_by": list(of_reading.size(read).capped_by),
        "round_trip_n": of_reading.size(read).n,
        "pnl_coverage": of_reading.size(read).pnl_coverage,
        "coverage_status": of_reading.size(read).coverage_status,
        "reduce_only": read.reduce_only,
        **_provenance(payload),
    }


def inverse_vol_size(symbol: str, base_size: float) -> float:
    """Return a size scaled by volatility; as it is where no target volatility is set."""
    return base_size * of_reading.stack(reading(symbol)).inverse_vol


def volatility_regime_scale(symbol: str) -> float:
    """Return the size scale of the volatility regime, 0.25 to 1.0; 1.0 where it is unknown."""
    return of_reading.stack(reading(symbol)).regime_scale


def size_multiplier(symbol: str) -> float:
    """Return the size multiplier of the Sharpe ratio, 0.25 to 2.0; unknown counts as 0."""
    return of_reading.stack(reading(symbol)).sharpe_mult


@one_snapshot
def size_for(symbol: str, gross_target: float) -> float:
    """Return the target times the size factor that acts: the v5.10 stack after every guard.

    The guards bound whatever rests on a snapshot. Only where ``symbol_size_factor`` is the caller's
    own and says nothing of a snapshot are the four factors multiplied as v5.10 did.
    """
    size = inverse_vol_size(symbol, gross_target)
    size *= volatility_regime_scale(symbol)
    size *= size_multiplier(symbol)
    intel = symbol_size_factor(symbol)
    size *= float(intel["size_factor"])
    if "applied_size_factor" not in intel:
        return size
    guarded: float = gross_target * intel["applied_size_factor"]
    stack = of_reading.stack(reading(symbol))
    product = gross_target * stack.inverse_vol * stack.regime_scale * stack.sharpe_mult
    is_own = size == product * stack.intel_size_factor
    return guarded if is_own or abs(guarded) < abs(size) else size


# -- offset and policy --------------------------------------------------------------------------


def classify_atr_regime(symbol: str) -> str:
    """Return quiet, normal, hot or panic by the ATR ratio; unknown where that is."""
    atr = atr_pct(symbol, lookback_bars=50), atr_pct(symbol, lookback_bars=500)
    read = reading(symbol)
    return (
        of_reading.regime_name(read)
        if atr == of_reading.atr_pcts(read)
        else rules.regime(rules.atr_ratio(*atr))
    )


def _current_hour() -> int:
    return int(time.time() // 3600 % 24)


@one_snapshot
def suggest_maker_offset_bps(symbol: str) -> float:
    """Return how far from mid to quote a maker order in this UTC hour, 0.5 to 8.0 bps.

    While data is lost it is neither below 2.0 nor below the last good value.
    """
    stats = router_effectiveness_7d(symbol) or {}
    regime = classify_atr_regime(symbol)
    hour = _current_hour()
    row = (hourly_expectancy(symbol) or {}).get(hour) or {}
    read = reading(symbol)
    acting_bps = read.acting.offsets_bps[hour]
    own_row = of_reading.hours(read).get(hour, {})
    if (stats, regime, row) == (
        of_reading.effectiveness(read),
        of_reading.regime_name(read),
        own_row,
    ):
        return acting_bps
    offset_bps = rules.offset_bps(stats, regime, row)
    is_lost = "status" in stats and read.status != "ok"
    return max(offset_bps, acting_bps) if is_lost else offset_bps


def classify_router_quality(effectiveness: Mapping[str, Any]) -> str:
    """Return good, ok, degraded or broken; unknown where neither ratio nor slippage is known.

    This labels the numbers alone: ``router_policy`` also remembers the snapshot before.
    """
    return rules.router_quality(effectiveness)


@one_snapshot
def router_policy(symbol: str) -> RouterPolicy:
    """Return how to route a symbol by the snapshot; never more loosely while data is lost."""
    stats = router_effectiveness_7d(symbol) or {}
    regime = classify_atr_regime(symbol)
    read = reading(symbol)
    acting = read.acting
    if (stats, regime) == (of_reading.effectiveness(read), of_reading.regime_name(read)):
        why = of_reading.reason(read)
        return RouterPolicy(acting.maker_first, acting.taker_bias, acting.quality, why)
    found = rules.policy(classify_router_quality(stats), regime)
    if "status" not in stats or read.status == "ok":
        return found
    parts = {name: getattr(found, name) for name in ("maker_first", "taker_bias", "quality")}
    tight = careful(msgspec.structs.replace(acting, **parts), acting)
    why = f"{found.reason}; snapshot {read.status}"
    return RouterPolicy(tight.maker_first, tight.taker_bias, tight.quality, why)


# -- health -------------------------------------------------------------------------------------


def classify_router_health(effectiveness: Mapping[str, Any]) -> health.Document:
    """Return the router part of the health document."""
    return health.router_part(effectiveness)


def classify_risk_health(symbol: str, sharpe: float | None) -> health.Document:
    """Return the risk part of the health document."""
    return health.risk_part(
        dd_today_pct(symbol), sharpe, is_symbol_disabled(symbol), get_symbol_disable_meta(symbol)
    )


@one_snapshot
def compute_execution_health(symbol: str | None = None) -> health.Document:
    """Return router, risk, volatility and sizing of a symbol, all of one snapshot.

    Without a symbol the router part over all symbols; the others are None.
    """
    stats = router_effectiveness_7d(symbol)
    router = classify_router_health(stats)
    if symbol is None:
        rest: health.Document = {"risk": None, "vol": None, "sizing": None}
        return {"symbol": None, "router": router, **rest, **_provenance(stats)}
    sharpe = rolling_sharpe_7d(symbol)
    intel = symbol_size_factor(symbol)
    router |= health.policy_part(router_policy(symbol), suggest_maker_offset_bps(symbol))
    return {
        "symbol": symbol,
        "router": router,
        "risk": classify_risk_health(symbol, sharpe),
        "vol": _vol_health(symbol),
        "sizing": health.sizing_part(
            sharpe, size_multiplier(symbol), volatility_regime_scale(symbol), intel
        ),
        **_provenance(stats),
    }


def _vol_health(symbol: str) -> health.Document:
    atr = atr_pct(symbol, lookback_bars=50), atr_pct(symbol, lookback_bars=500)
    read = reading(symbol)
    found = of_reading.regime(read)
    if atr != of_reading.atr_pcts(read):
        return health.vol_part(atr[0] or None, atr[1] or None)
    return {
        "atr_now": found.atr_pct_50,
        "atr_med": found.atr_pct_500,
        "atr_ratio": found.atr_ratio,
        "atr_regime": found.health_regime or "unknown",
        "atr_source": found.atr_source,
        "n": found.n,
    }


def _provenance(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a payload says of its snapshot; nothing where a caller brought it."""
    names = ("status", "snapshot_id", "as_of_ms")
    return {name: payload[name] for name in names if name in payload}
