"""The execution health document of v5.10: warnings, flags and states at each threshold, sizing."""

from pathlib import Path
from typing import Any

import pytest

from live import answers, intel
from live.controls import Controls, Disabled, State
from live.intel import (
    RouterPolicy,
    classify_risk_health,
    classify_router_health,
    compute_execution_health,
)
from live.mirror_documents import documents_of
from tests.live import mirrors
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


def test_the_product_is_the_snapshots_and_the_status_limits_what_is_applied(
    published: Intel,
) -> None:
    size = {"sharpe_mult": 2.0, "intel_size_factor": 1.3, "final_size_factor": 2.0}
    published.publish(line(size={**size, "capped_by": ["clamp"]}))
    fresh = compute_execution_health("BTCUSDT")["sizing"]
    assert (fresh["final_size_factor"], fresh["applied_size_factor"]) == (2.6, 2.0)
    published.clock.now_s += 1_000
    document = compute_execution_health("BTCUSDT")
    sizing = document["sizing"]
    assert document["status"] == "stale"
    factors = ("size_mult_sharpe", "size_mult_regime", "intel_size_factor", "final_size_factor")
    assert {name: sizing[name] for name in factors} == {name: fresh[name] for name in factors}
    assert (sizing["applied_size_factor"], sizing["capped_by"]) == (1.0, ["clamp", "stale"])
    # what an order is made with, or multiplied by hand, is none of that
    assert intel.size_for("BTCUSDT", 100.0) == 100.0
    by_hand = intel.size_multiplier("BTCUSDT") * intel.volatility_regime_scale("BTCUSDT")
    assert by_hand * intel.symbol_size_factor("BTCUSDT")["size_factor"] <= 1.0
    assert intel.symbol_size_factor("BTCUSDT")["capped_by"] == ["clamp"]


@pytest.mark.parametrize("factor", [1.3, 0.5])
def test_both_documents_of_a_mirrored_symbol_have_one_product(
    tmp_path: Path, factor: float
) -> None:
    few = line(
        "FEW", status="insufficient",
        size={"sharpe_mult": 2.0, "intel_size_factor": factor, "product_v510": 2 * factor},
    )  # fmt: skip
    made = documents_of(mirrors.generation(tmp_path, 1, [few]), "dev").documents
    size, sizing = made["execution_intel/FEW"]["size"], made["execution_health/FEW"]["sizing"]
    assert sizing["intel_size_factor"] == size["intel_size_factor"] == factor
    assert sizing["final_size_factor"] == size["product_v510"]
    assert sizing["applied_size_factor"] == 1.0
    assert sizing["capped_by"] == [*size["capped_by"], "insufficient"]


def test_a_callers_own_factors_stay_his_while_data_is_lost(
    published: Intel, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(line(size={"sharpe_mult": 2.0}))
    published.clock.now_s += 1_000
    monkeypatch.setattr(intel, "size_multiplier", lambda symbol: 0.9)
    monkeypatch.setattr(
        intel, "symbol_size_factor", lambda symbol: {"symbol": symbol, "size_factor": 0.8}
    )
    sizing = compute_execution_health("BTCUSDT")["sizing"]
    assert (sizing["size_mult_sharpe"], sizing["intel_size_factor"]) == (0.9, 0.8)
    assert sizing["applied_size_factor"] == sizing["final_size_factor"] == pytest.approx(0.72)
    assert sizing["capped_by"] == []


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
