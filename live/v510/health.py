"""The execution health document of one symbol: its parts as plain functions of plain values.

Put here: shapes and warning thresholds. Keep out: where the values come from (intel.py).
An unknown value is None; no state and no flag is derived from it.
"""

from collections.abc import Mapping
from typing import Any

from live.v510 import rules

Document = dict[str, Any]

_FALLBACK_WARN = 0.5
_SLIP_WARN_BPS = 4.0
_DD_WARN_PCT = -1.5
_DD_KILL_PCT = -3.0
_SHARPE_POOR = -1.0
_SHARPE_STRONG = 1.5
_QUIET_BELOW = 0.7
_EVIDENCE = ("round_trip_n", "pnl_coverage", "coverage_status")


def router_part(effectiveness: Mapping[str, Any]) -> Document:
    """Return ratios, slippage quartiles (bps) and what to be warned of, each with its n."""
    fallback = rules.known(effectiveness.get("fallback_ratio"))
    slip = rules.known(effectiveness.get("slip_q50"))
    warnings = []
    if fallback is not None and fallback > _FALLBACK_WARN:
        warnings.append("high_fallback_ratio")
    if slip is not None and slip > _SLIP_WARN_BPS:
        warnings.append("elevated_median_slippage")
    values = ("maker_fill_ratio", "fallback_ratio", "slip_q25", "slip_q50", "slip_q75")
    counts = ("n", "maker_known_n", "fallback_known_n", "slip_n")
    return {
        "router_warnings": warnings,
        **{name: effectiveness.get(name) for name in values},
        **{name: effectiveness[name] for name in counts if name in effectiveness},
    }


def policy_part(policy: rules.RouterPolicy, offset_bps: float) -> Document:
    """Return the routing decision as the router part shows it."""
    return {
        "maker_offset_bps": offset_bps,
        "policy_quality": policy.quality,
        "policy_maker_first": policy.maker_first,
        "policy_taker_bias": policy.taker_bias,
        "policy_reason": policy.reason,
    }


def risk_part(
    dd_today_pct: float | None,
    sharpe: float | None,
    disabled: bool | None,
    toggle_meta: Mapping[str, Any] | None,
) -> Document:
    """Return drawdown (percent of equity, at or below 0), Sharpe state and the symbol's switch."""
    flags = []
    if dd_today_pct is not None and dd_today_pct <= _DD_WARN_PCT:
        flags.append("dd_warning")
    if dd_today_pct is not None and dd_today_pct <= _DD_KILL_PCT:
        flags.append("dd_kill_threshold")
    if disabled:
        flags.append("symbol_disabled")
    return {
        "dd_today_pct": dd_today_pct,
        "risk_flags": flags,
        "sharpe_state": _sharpe_state(sharpe),
        "toggle_active": disabled,
        "toggle_meta": None if toggle_meta is None else dict(toggle_meta),
    }


def _sharpe_state(sharpe: float | None) -> str:
    if sharpe is None:
        return "unknown"
    if sharpe <= _SHARPE_POOR:
        return "poor"
    return "strong" if sharpe >= _SHARPE_STRONG else "neutral"


def vol_part(atr_now: float | None, atr_med: float | None) -> Document:
    """Return short and long ATR (percent of price), their ratio and its regime."""
    ratio = rules.atr_ratio(atr_now, atr_med)
    return {
        "atr_now": atr_now,
        "atr_med": atr_med,
        "atr_ratio": ratio,
        "atr_regime": rules.regime(ratio, _QUIET_BELOW),
    }


def sizing_part(
    sharpe: float | None,
    sharpe_mult: float,
    regime_scale: float,
    intel: Mapping[str, Any],
) -> Document:
    """Return every size factor: the v5.10 product and what is applied after the guards.

    ``intel`` is a ``symbol_size_factor``. One that names no ``applied_size_factor`` has no guards:
    then the product itself is applied.
    """
    product = sharpe_mult * regime_scale * intel["size_factor"]
    return {
        "sharpe_7d": sharpe,
        "size_mult_sharpe": sharpe_mult,
        "size_multiplier": sharpe_mult,
        "size_mult_regime": regime_scale,
        "intel_size_factor": intel["size_factor"],
        "size_mult_combined": sharpe_mult * regime_scale,
        "final_size_factor": product,
        "applied_size_factor": intel.get("applied_size_factor", product),
        "capped_by": list(intel.get("capped_by", ())),
        **{name: intel[name] for name in _EVIDENCE if name in intel},
    }
