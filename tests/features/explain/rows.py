"""Literal rows of the deciding tables, of a symbol of which everything is known."""

from typing import Any

Row = dict[str, Any]

# The defaults of the parameters that a rule names.
PARAMS: Row = {
    "sharpe_mult_floor": -1.0,
    "sharpe_mult_top": 3.0,
    "sharpe_mult_low": 0.25,
    "sharpe_mult_high": 2.0,
    "target_daily_vol": 0.0,
    "vol_min_returns": 168.0,
    "size_factor_min": 0.25,
    "size_factor_max": 2.0,
    "evidence_min_round_trips": 30.0,
    "min_pnl_coverage": 0.95,
    "size_change_max": 0.25,
    "size_first_max": 1.0,
    "v510_sharpe_low": -1.0,
    "v510_sharpe_high": 2.0,
    "v510_atr_quiet_below": 0.5,
    "v510_atr_quiet_score": -0.2,
    "v510_atr_calm_from": 0.8,
    "v510_atr_calm_to": 1.5,
    "v510_atr_calm_score": 0.1,
    "v510_atr_wild_above": 2.5,
    "v510_atr_wild_score": -0.3,
    "v510_maker_weight": 0.5,
    "v510_fallback_free": 0.5,
    "v510_slip_above_bps": 5.0,
    "v510_slip_score": -0.3,
    "v510_dd_pct": -1.5,
    "v510_dd_score": -0.25,
    "v510_dd_deep_pct": -3.0,
    "v510_dd_deep_score": -0.5,
    "v511_sharpe": [[-1.0, -1.0], [0.0, 0.0], [2.0, 1.0]],
    "v511_atr_ratio": [[0.4, -0.2], [0.8, 0.1]],
    "v511_maker": [[0.0, -0.25], [1.0, 0.25]],
    "v511_fallback": [[0.5, 0.0], [1.0, -0.5]],
    "v511_slip": [[4.0, 0.0], [6.0, -0.3]],
    "v511_dd": [[-3.0, -0.5], [0.0, 0.0]],
    "v511_fee": [[5.0, 0.0], [20.0, -0.3]],
    "offset_min_bps": 0.5,
    "offset_max_bps": 8.0,
    "offset_quiet_bps": -0.5,
    "offset_hot_bps": 0.5,
    "offset_panic_bps": 1.0,
    "offset_maker_above": 0.7,
    "offset_fallback_above": 0.5,
    "offset_fallback_high_above": 0.8,
    "offset_slip_above_bps": 5.0,
    "offset_calm_below_bps": 1.0,
    "offset_hour_min_n": 20.0,
    "policy_min_n": 20.0,
    "policy_broken_fallback": 0.9,
    "policy_degraded_fallback": 0.6,
    "policy_good_fallback": 0.4,
    "policy_broken_slip_bps": 20.0,
    "policy_degraded_slip_bps": 8.0,
    "policy_good_slip_bps": 4.0,
    "policy_good_maker": 0.7,
}


def sizing(**changes: Any) -> Row:
    return {
        "symbol": "BTCUSDT", "n": 40, "intel_size_factor": 1.2, "sharpe_mult": 1.125,
        "sharpe_7d": 1.0, "sharpe_lo90": 0.5, "regime_scale": 1.0, "inverse_vol": 1.0,
        "daily_vol": None,
        "daily_vol_n": 0, "product_v510": 1.35, "evidence_cap": 2.0, "after_evidence": 1.35,
        "incomplete": False, "pnl_coverage": 0.99, "coverage_status": "complete",
        "after_incomplete": 1.35, "after_clamp": 1.35,
        "previous_size_factor": 1.0, "is_input_lost": False, "after_change": 1.25,
        "final_size_factor": 1.25, "capped_by": "change", **changes,
    }  # fmt: skip


def regime(**changes: Any) -> Row:
    return {
        "symbol": "BTCUSDT", "n": 500, "bar_interval": "15m", "atr_ratio": 1.0, "regime": "normal",
        "health_regime": "normal", "atr_source": "bars", "regime_scale": 1.0, **changes,
    }  # fmt: skip


def score(**changes: Any) -> Row:
    return {
        "symbol": "BTCUSDT", "model": "v5.10", "n": 300, "is_active": True, "score": 0.65,
        "size_factor": 1.2, "sharpe": 1.0, "sharpe_score": 0.5, "atr_ratio": 1.0, "atr_score": 0.1,
        "maker_fill_ratio": 0.6, "maker_score": 0.05, "fallback_ratio": 0.2, "fallback_score": 0.0,
        "slip_bps_q50": 2.0, "slip_score": 0.0, "dd_pct": -0.5, "dd_score": 0.0, "fee_bps": 2.5,
        "fee_score": 0.0, "missing": "", "coverage": 1.0, "excluded": "", "round_trip_n": 40,
        "maker_known_n": 200, "fallback_known_n": 150, "slip_n": 250, "fee_n": 260, **changes,
    }  # fmt: skip


def offset(**changes: Any) -> Row:
    return {
        "symbol": "BTCUSDT", "hour_utc": 9, "n": 300, "offset_bps": 2.0, "offset_v510_bps": 1.8,
        "base_bps": 2.0, "regime_bps": 0.0, "maker_bps": 0.0, "fallback_bps": 0.0,
        "fallback_high_bps": 0.0, "slip_bps_adj": 0.0, "hour_bps": 0.0, "regime": "normal",
        "regime_n": 500, "maker_fill_ratio": 0.6, "maker_known_n": 200, "fallback_ratio": 0.2,
        "fallback_known_n": 150, "slip_bps_q50": 2.0, "slip_n": 250, "exp_per_notional": 0.001,
        "exp_lo95": -0.001, "exp_hi95": 0.003, "close_n": 20, **changes,
    }  # fmt: skip


def policy(**changes: Any) -> Row:
    return {
        "symbol": "BTCUSDT", "n": 300, "quality": "ok", "maker_first": True,
        "taker_bias": "balanced", "regime": "normal", "quality_v510": "ok",
        "candidate_quality": "ok", "previous_quality": "ok", "maker_fill_ratio": 0.6,
        "maker_known_n": 200, "fallback_ratio": 0.2, "fallback_known_n": 150,
        "slip_bps_q50": 2.0, "slip_n": 250, "regime_n": 500, "left_out_n": 0,
        "acting_fallback_ratio": 0.2, "acting_slip_bps": 2.0, "acting_regime": "normal", **changes,
    }  # fmt: skip
