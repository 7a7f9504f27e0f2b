"""The execution health document of v5.10: warnings, flags and states at each threshold, sizing."""

from pathlib import Path
from typing import Any

import pytest

from live import intel
from live.intel import (
    RouterPolicy,
    classify_risk_health,
    classify_router_health,
    compute_execution_health,
)
from live.trading.controls import Controls, Disabled, State
from live.v510 import answers
from tests.live.conftest import Intel
from tests.live.files import line


@pytest.mark.parametrize(
    ("fallback", "slip", "warnings"),
    [
        (0.75, 5.0, ["high_fallback_ratio", "elevated_median_slippage"]),
        (0.5, 4.0, []),
        (0.51, 4.0, ["high_fallback_ratio"]),
        (0.5, 4.01, ["elevated_median_slippage"]),
        (None, None, []),
    ],
)
def test_router_warns_of_fallbacks_and_slippage(
    fallback: float | None, slip: float | None, warnings: list[str]
) -> None:
    stats = {
        "maker_fill_ratio": 0.3,
        "fallback_ratio": fallback,
        "slip_q25": 0.0,
        "slip_q50": slip,
        "slip_q75": 10.0,
    }
    part = classify_router_health(stats)
    assert part == {"router_warnings": warnings, **stats}


@pytest.mark.parametrize(
    ("dd", "flags"),
    [
        (-4.0, ["dd_warning", "dd_kill_threshold"]),
        (-3.0, ["dd_warning", "dd_kill_threshold"]),
        (-2.99, ["dd_warning"]),
        (-1.5, ["dd_warning"]),
        (-1.49, []),
        (None, []),
    ],
)
def test_risk_flags_follow_drawdown(
    monkeypatch: pytest.MonkeyPatch, dd: float | None, flags: list[str]
) -> None:
    monkeypatch.setattr("live.intel.dd_today_pct", lambda symbol: dd)
    part = classify_risk_health("BTCUSDC", sharpe=0.0)
    assert part["dd_today_pct"] == dd
    assert part["risk_flags"] == flags


@pytest.mark.parametrize(
    ("sharpe", "state"),
    [
        (-1.5, "poor"),
        (-1.0, "poor"),
        (-0.99, "neutral"),
        (1.49, "neutral"),
        (1.5, "strong"),
        (None, "unknown"),
    ],
)
def test_sharpe_has_a_state(sharpe: float | None, state: str) -> None:
    assert classify_risk_health("BTCUSDC", sharpe)["sharpe_state"] == state


def test_a_disabled_symbol_is_flagged_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    meta = {"until": 9999999999.0, "reason": "dd_cap_hit"}
    monkeypatch.setattr("live.intel.dd_today_pct", lambda symbol: -4.0)
    monkeypatch.setattr("live.intel.is_symbol_disabled", lambda symbol: True)
    monkeypatch.setattr("live.intel.get_symbol_disable_meta", lambda symbol: meta)

    part = classify_risk_health("BTCUSDC", sharpe=-1.5)

    assert part["risk_flags"] == ["dd_warning", "dd_kill_threshold", "symbol_disabled"]
    assert (part["toggle_active"], part["toggle_meta"]) == (True, meta)


@pytest.mark.parametrize(
    ("atr_now", "regime"),
    [
        (0.5, "quiet"),
        (0.69, "quiet"),
        (0.7, "normal"),
        (1.49, "normal"),
        (1.5, "hot"),
        (2.5, "panic"),
        (3.5, "panic"),
    ],
)
def test_volatility_is_quiet_below_0_7_here(
    monkeypatch: pytest.MonkeyPatch, atr_now: float, regime: str
) -> None:
    monkeypatch.setattr(
        "live.intel.atr_pct",
        lambda symbol, lookback_bars=50: atr_now if lookback_bars == 50 else 1.0,
    )
    vol = compute_execution_health("BTCUSDC")["vol"]
    assert vol == {"atr_now": atr_now, "atr_med": 1.0, "atr_ratio": atr_now, "atr_regime": regime}


def test_the_document_combines_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {
        "maker_fill_ratio": 0.6,
        "fallback_ratio": 0.2,
        "slip_q25": 0.0,
        "slip_q50": 1.0,
        "slip_q75": 2.0,
    }
    replaced: dict[str, Any] = {
        "router_effectiveness_7d": lambda symbol: stats,
        "rolling_sharpe_7d": lambda symbol: 2.0,
        "dd_today_pct": lambda symbol: -0.5,
        "is_symbol_disabled": lambda symbol: False,
        "get_symbol_disable_meta": lambda symbol: None,
        "atr_pct": lambda symbol, lookback_bars=50: 1.0,
        "volatility_regime_scale": lambda symbol: 1.0,
        "size_multiplier": lambda symbol: 1.5,
        "symbol_size_factor": lambda symbol: {"symbol": symbol, "size_factor": 0.8},
        "suggest_maker_offset_bps": lambda symbol: 3.0,
        "router_policy": lambda symbol: RouterPolicy(
            maker_first=False, taker_bias="prefer_taker", quality="broken", reason="test"
        ),
    }
    for name, function in replaced.items():
        monkeypatch.setattr(intel, name, function)

    document = compute_execution_health("BTCUSDC")

    assert document["symbol"] == "BTCUSDC"
    assert document["router"] == {
        "router_warnings": [],
        **stats,
        "maker_offset_bps": 3.0,
        "policy_quality": "broken",
        "policy_maker_first": False,
        "policy_taker_bias": "prefer_taker",
        "policy_reason": "test",
    }
    assert document["risk"] == {
        "dd_today_pct": -0.5,
        "risk_flags": [],
        "sharpe_state": "strong",
        "toggle_active": False,
        "toggle_meta": None,
    }
    assert document["vol"]["atr_regime"] == "normal"
    sizing = document["sizing"]
    assert sizing["sharpe_7d"] == 2.0
    assert sizing["size_mult_sharpe"] == sizing["size_multiplier"] == 1.5
    assert sizing["size_mult_regime"] == 1.0
    assert sizing["size_mult_combined"] == 1.5
    assert sizing["intel_size_factor"] == 0.8
    assert sizing["final_size_factor"] == pytest.approx(1.2)


def test_without_a_symbol_there_is_the_router_part_alone() -> None:
    document = compute_execution_health()
    assert document["symbol"] is None
    assert document["router"]["router_warnings"] == []
    assert (document["risk"], document["vol"], document["sizing"]) == (None, None, None)


# -- while data is lost ---------------------------------------------------------------------------


def test_no_factor_of_the_document_rises_where_a_snapshot_of_few_samples_follows(
    published: Intel,
) -> None:
    """A caller may size by any of them."""
    known = {"sharpe_mult": 0.3, "intel_size_factor": 0.8, "final_size_factor": 0.25}
    published.publish(line(size=known))
    before = compute_execution_health("BTCUSDT")["sizing"]
    assert before["final_size_factor"] == pytest.approx(0.24)
    unknown = {"sharpe_mult": 0.6875, "intel_size_factor": 1.0, "final_size_factor": 0.25}
    published.publish(line(status="insufficient", size=unknown))
    document = compute_execution_health("BTCUSDT")
    assert document["status"] == "insufficient"
    assert document["sizing"]["final_size_factor"] <= 0.25
    assert document["sizing"]["applied_size_factor"] == 0.25


# -- switches of a control file -------------------------------------------------------------------


def test_switches_of_a_control_file_answer_within_a_block(published: Intel) -> None:
    published.publish(line(), line("ETHUSDT"))
    state = State(disabled={"BTCUSDT": Disabled("delisted"), "ETHUSDT": Disabled("spread", 5_000)})
    read = answers.default_reader().read
    with intel.answering_from(read, toggle=answers.toggle_of(state, 5_000)):
        risk = compute_execution_health("BTCUSDT")["risk"]
        assert (risk["toggle_active"], risk["risk_flags"]) == (True, ["symbol_disabled"])
        assert risk["toggle_meta"] == {"reason": "delisted", "until": None}
        risk = compute_execution_health("ETHUSDT")["risk"]  # it is over
        assert (risk["toggle_active"], risk["toggle_meta"]) == (False, None)
    with intel.answering_from(read, toggle=answers.toggle_of(state, 4_999)):
        meta = compute_execution_health("ETHUSDT")["risk"]["toggle_meta"]
        assert meta == {"reason": "spread", "until": 5.0}
    assert compute_execution_health("BTCUSDT")["risk"]["toggle_active"] is None


def test_no_symbol_is_said_to_be_on_where_the_control_file_cannot_be_read(tmp_path: Path) -> None:
    controls = Controls(tmp_path)
    controls.disable("BTCUSDT", "delisted", None)
    assert answers.toggle_of(controls.state(), 0) is not None
    (tmp_path / "controls.json").write_text("{")
    assert controls.state().mode == "kill"
    assert answers.toggle_of(controls.state(), 0) is None
    controls.set("kill", "flood", by="ann", now_ms=1)  # a person's own: written, and read
    assert answers.toggle_of(controls.state(), 0) is not None
