"""Maker offset of v5.10: each rule and its size, and unknown inputs that adjust nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from live.intel import suggest_maker_offset_bps

Replace = Callable[..., None]
NEUTRAL = {"maker_fill_ratio": 0.5, "fallback_ratio": 0.2, "slip_q50": 2.0}


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Replace:
    """Replace the helpers that the offset asks, as tests of v5.10 do; the hour is 12."""

    def put(
        stats: dict[str, Any], regime: str = "normal", hour: dict[str, Any] | None = None
    ) -> None:
        monkeypatch.setattr("live.intel.router_effectiveness_7d", lambda symbol: stats)
        monkeypatch.setattr("live.intel.classify_atr_regime", lambda symbol: regime)
        monkeypatch.setattr(
            "live.intel.hourly_expectancy", lambda symbol: {} if hour is None else {12: hour}
        )
        monkeypatch.setattr("live.intel._current_hour", lambda: 12)

    return put


def test_a_good_router_in_a_quiet_market_quotes_tight(replace: Replace) -> None:
    replace(
        {"maker_fill_ratio": 0.9, "fallback_ratio": 0.1, "slip_q50": 0.5},
        "quiet",
        {"exp_per_notional": 0.001},
    )
    assert suggest_maker_offset_bps("BTCUSDC") == pytest.approx(2.0 - 0.5 - 0.5 - 0.2 - 0.2)


def test_a_hot_market_and_many_fallbacks_quote_wide(replace: Replace) -> None:
    replace(
        {"maker_fill_ratio": 0.4, "fallback_ratio": 0.7, "slip_q50": 4.0},
        "hot",
        {"exp_per_notional": -0.002},
    )
    assert suggest_maker_offset_bps("BTCUSDC") == pytest.approx(2.0 + 0.5 + 1.0 + 0.2)


@pytest.mark.parametrize(
    ("stats", "regime", "hour", "offset_bps"),
    [
        ({}, "normal", None, 2.0),
        ({}, "quiet", None, 1.5),
        ({}, "hot", None, 2.5),
        ({}, "panic", None, 3.0),
        ({}, "unknown", None, 2.0),
        ({"maker_fill_ratio": 0.7}, "normal", None, 2.0),
        ({"maker_fill_ratio": 0.71}, "normal", None, 1.5),
        ({"fallback_ratio": 0.5}, "normal", None, 2.0),
        ({"fallback_ratio": 0.51}, "normal", None, 3.0),
        ({"fallback_ratio": 0.8}, "normal", None, 3.0),
        ({"fallback_ratio": 0.81}, "normal", None, 4.5),
        ({"slip_q50": 5.0}, "normal", None, 2.0),
        ({"slip_q50": 5.01}, "normal", None, 2.8),
        ({"slip_q50": 1.0}, "normal", None, 2.0),
        ({"slip_q50": 0.99}, "normal", None, 1.8),
        ({"slip_q50": None}, "normal", None, 2.0),  # unknown slippage is not slippage of 0
        ({}, "normal", {"exp_per_notional": 1e-9}, 1.8),
        ({}, "normal", {"exp_per_notional": -1e-9}, 2.2),
        ({}, "normal", {"exp_per_notional": 0.0}, 2.0),
        ({}, "normal", {"exp_per_notional": None}, 2.0),
    ],
)
def test_each_rule_adds_its_own(
    replace: Replace,
    stats: dict[str, Any],
    regime: str,
    hour: dict[str, Any] | None,
    offset_bps: float,
) -> None:
    replace({**NEUTRAL, **stats}, regime, hour)
    assert suggest_maker_offset_bps("BTCUSDC") == pytest.approx(offset_bps)


@pytest.mark.parametrize(
    ("evidence", "offset_bps"),
    [
        ({"close_n": 20, "exp_lo95": 0.0001, "exp_hi95": 0.002}, 1.8),
        ({"close_n": 19, "exp_lo95": 0.0001, "exp_hi95": 0.002}, 2.0),
        ({"close_n": 20, "exp_lo95": -0.0001, "exp_hi95": 0.002}, 2.0),  # may as well be 0
        ({"close_n": 20, "exp_lo95": None, "exp_hi95": None}, 2.0),
    ],
)
def test_an_hour_with_counts_speaks_only_on_evidence(
    replace: Replace, evidence: dict[str, Any], offset_bps: float
) -> None:
    replace(NEUTRAL, "normal", {"exp_per_notional": 0.001, **evidence})
    assert suggest_maker_offset_bps("BTCUSDC") == pytest.approx(offset_bps)


def test_another_hour_says_nothing_about_this_one(
    replace: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(NEUTRAL, "normal", {"exp_per_notional": 0.001})
    monkeypatch.setattr("live.intel._current_hour", lambda: 13)
    assert suggest_maker_offset_bps("BTCUSDC") == 2.0
