"""The v5.10 calls on published snapshots: own answers, replaced helpers, lost data."""

import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live import intel
from live.snapshot.acting import SAFE, Acting
from live.snapshot.reading import Reading, Status
from live.snapshot.records import Record, Score, Size
from live.v510 import answers, rules
from tests.live.conftest import Intel
from tests.live.files import T_MS, T, hour_line, line

STALE_S = 901
TOO_FEW = {"status": "insufficient"}


# -- own answers ----------------------------------------------------------------------------------


def test_measurements_are_the_snapshots_own(published: Intel) -> None:
    snapshot_id = published.publish(line())
    assert intel.rolling_sharpe_7d("BTCUSDT") == 1.0
    assert intel.dd_today_pct("BTCUSDT") == -0.5
    assert intel.atr_pct("BTCUSDT") == intel.atr_pct("BTCUSDT", lookback_bars=500) == 0.4
    stats = intel.router_effectiveness_7d("BTCUSDT")
    assert (stats["maker_fill_ratio"], stats["maker_known_n"]) == (0.8, 200)
    assert (stats["slip_q25"], stats["slip_q50"], stats["slip_q75"]) == (-0.5, 0.8, 2.0)
    assert (stats["status"], stats["snapshot_id"], stats["as_of_ms"]) == ("ok", snapshot_id, T_MS)


def test_score_and_size_are_the_snapshots_own_with_other_parameters_too(published: Intel) -> None:
    # a score of 0.9 and a factor of 1.9 follow from no v5.10 rule -> the parameters were changed
    published.publish(
        line(score={"score": 0.9, "sharpe_score": 0.65}, size={"intel_size_factor": 1.9})
    )
    answer = intel.compute_symbol_score("BTCUSDT")
    assert answer["score"] == 0.9
    assert answer["components"]["sharpe_score"] == 0.65
    assert (answer["model"], answer["missing"], answer["coverage"]) == ("v5.10", [], 1.0)
    factor = intel.symbol_size_factor("BTCUSDT")
    assert (factor["score"], factor["size_factor"]) == (0.9, 1.9)
    assert (factor["applied_size_factor"], factor["capped_by"]) == (1.25, ["change"])
    assert factor["round_trip_n"] == 60


def test_factors_multiply_to_the_v510_product_and_the_guards_act(published: Intel) -> None:
    published.publish(line())
    product = (
        intel.inverse_vol_size("BTCUSDT", 1.0)
        * intel.volatility_regime_scale("BTCUSDT")
        * intel.size_multiplier("BTCUSDT")
        * intel.symbol_size_factor("BTCUSDT")["size_factor"]
    )
    assert product == pytest.approx(1.378125)
    assert intel.size_for("BTCUSDT", 80.0) == 100.0
    assert intel.size_for("BTCUSDT", gross_target=-80.0) == -100.0


def test_a_guard_may_act_above_the_product(published: Intel) -> None:
    # the change from one snapshot to the next is bounded downwards too
    published.publish(line(size={"sharpe_mult": 0.25, "final_size_factor": 0.9}))
    assert intel.size_for("BTCUSDT", 100.0) == 90.0


def test_offset_is_that_of_the_utc_hour(published: Intel, monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = [0.5 + hour / 10 for hour in range(24)]
    published.publish(line(offsets_bps=offsets))
    for hour in (0, 7, 23):
        end_s = T + hour * 3600 + 3599.9
        monkeypatch.setattr("live.intel.time.time", lambda end_s=end_s: end_s)
        assert intel.suggest_maker_offset_bps("BTCUSDT") == offsets[hour]


def test_policy_and_regime_are_the_snapshots_own(published: Intel) -> None:
    balanced = {"quality": "ok", "taker_bias": "balanced"}
    published.publish(line(regime={"regime": "hot"}, policy=balanced))
    assert intel.classify_atr_regime("BTCUSDT") == "hot"
    policy = intel.router_policy("BTCUSDT")
    assert policy == intel.RouterPolicy(True, "balanced", "ok", "quality=good; regime=normal")


def test_hours_are_keyed_by_number_with_counts_and_bounds(published: Intel) -> None:
    published.publish(line(hourly={"9": hour_line(count=25), "3": hour_line(count=19)}))
    hours = intel.hourly_expectancy("BTCUSDT")
    assert list(hours) == [3, 9]
    assert hours[9]["count"] == 25
    assert (hours[9]["exp_per_notional"], hours[9]["exp_lo95"], hours[9]["close_n"]) == (
        0.0004,
        0.0001,
        4,
    )
    assert intel.best_hours("BTCUSDT") == [9]


def test_no_symbol_means_all_of_them(published: Intel) -> None:
    everything = line("*", router={"fallback_ratio": 0.75}, hourly={"5": hour_line(count=99)})
    lone = {"score", "size", "regime", "policy", "risk", "offsets_bps"}
    published.publish(line(), {**everything, **dict.fromkeys(lone)})
    assert intel.hourly_expectancy(None)[5]["count"] == intel.hourly_expectancy()[5]["count"] == 99
    assert intel.router_effectiveness_7d()["fallback_ratio"] == 0.75
    document = intel.compute_execution_health()
    assert document["router"]["router_warnings"] == ["high_fallback_ratio"]
    assert (document["symbol"], document["status"]) == (None, "ok")


def test_symbols_may_be_asked_in_any_case(published: Intel) -> None:
    published.publish(line(), line("binance:ETHUSDT"))
    assert intel.rolling_sharpe_7d("btcusdt") == 1.0
    assert intel.rolling_sharpe_7d("binance:ETHUSDT") == 1.0


def test_health_says_everything_of_one_snapshot(published: Intel) -> None:
    snapshot_id = published.publish(line(regime={"health_regime": "quiet", "atr_ratio": 0.65}))
    document = intel.compute_execution_health("BTCUSDT")
    assert (document["status"], document["snapshot_id"]) == ("ok", snapshot_id)
    assert document["router"]["maker_offset_bps"] == 1.5
    assert document["router"]["policy_quality"] == "good"
    assert document["vol"]["atr_regime"] == "quiet"
    assert document["vol"]["n"] == 700
    sizing = document["sizing"]
    assert sizing["final_size_factor"] == pytest.approx(1.125 * 1.225)
    assert (sizing["applied_size_factor"], sizing["capped_by"]) == (1.25, ["change"])
    assert document["risk"]["toggle_active"] is None  # nobody says


def test_the_health_document_is_plain_json(published: Intel) -> None:
    published.publish(line())
    document = intel.compute_execution_health("BTCUSDT")
    assert msgspec.json.decode(msgspec.json.encode(document)) == document


def test_switched_off_symbols_are_flagged(published: Intel) -> None:
    published.publish(line(), line("ETHUSDT"))
    reasons = {"BTCUSDT": {"reason": "dd_cap_hit"}}
    intel.configure(published.home, environment="paper", clock=published.clock, toggle=reasons.get)
    risk = intel.compute_execution_health("BTCUSDT")["risk"]
    assert (risk["toggle_active"], risk["toggle_meta"]) == (True, {"reason": "dd_cap_hit"})
    assert risk["risk_flags"] == ["symbol_disabled"]
    assert intel.compute_execution_health("ETHUSDT")["risk"]["toggle_active"] is False


def test_only_two_lookbacks_are_published(published: Intel) -> None:
    with pytest.raises(ValueError, match="lookback_bars = 100: a snapshot holds"):
        intel.atr_pct("BTCUSDT", 100)


# -- replaced helpers -----------------------------------------------------------------------------


def test_a_replaced_measurement_is_scored_by_the_v510_rule(
    published: Intel, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(line())
    monkeypatch.setattr("live.intel.rolling_sharpe_7d", lambda symbol: -2.0)
    answer = intel.compute_symbol_score("BTCUSDT")
    stats = {"maker_fill_ratio": 0.8, "fallback_ratio": 0.2, "slip_q50": 0.8}
    assert answer["score"] == rules.score(-2.0, 0.4, 0.4, stats, -0.5).score
    assert intel.symbol_size_factor("BTCUSDT")["size_factor"] == rules.size_factor(answer["score"])
    # 80 · 1.125 · size factor of the score, below the snapshot's 1.25
    assert intel.size_for("BTCUSDT", 80.0) == 80.0 * 1.125 * rules.size_factor(answer["score"])


def test_a_replaced_factor_never_lifts_a_size_above_the_guards(
    published: Intel, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(line())
    monkeypatch.setattr("live.intel.size_multiplier", lambda symbol: 9.0)
    assert intel.size_for("BTCUSDT", 80.0) == 100.0
    assert intel.size_for("BTCUSDT", -80.0) == -100.0
    monkeypatch.setattr("live.intel.size_multiplier", lambda symbol: 0.5)
    assert intel.size_for("BTCUSDT", 80.0) == pytest.approx(80.0 * 0.5 * 1.225)


def test_a_replaced_regime_moves_offset_and_policy(
    published: Intel, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(line(hourly={}))
    monkeypatch.setattr("live.intel.classify_atr_regime", lambda symbol: "panic")
    # base 2.0, panic +1.0, maker 0.8 -0.5, slippage 0.8 -0.2
    assert intel.suggest_maker_offset_bps("BTCUSDT") == pytest.approx(2.3)
    assert intel.router_policy("BTCUSDT").taker_bias == "prefer_taker"


def test_replaced_parts_of_a_lost_snapshot_stay_within_what_acts(
    published: Intel, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(line(policy={"quality": "degraded", "taker_bias": "prefer_taker"}))
    published.clock.now_s += STALE_S
    monkeypatch.setattr("live.intel.classify_atr_regime", lambda symbol: "quiet")
    assert intel.suggest_maker_offset_bps("BTCUSDT") == 2.0  # the rule alone would say 1.2
    policy = intel.router_policy("BTCUSDT")  # the rule alone would say good, prefer_maker
    assert (policy.quality, policy.taker_bias) == ("degraded", "prefer_taker")
    assert policy.reason.endswith("snapshot stale")
    monkeypatch.setattr("live.intel.rolling_sharpe_7d", lambda symbol: 5.0)
    monkeypatch.setattr("live.intel.size_multiplier", lambda symbol: 2.0)
    assert intel.size_for("BTCUSDT", 100.0) == 100.0


# -- lost data ------------------------------------------------------------------------------------


def test_a_stale_snapshot_sizes_at_most_one_and_quotes_at_least_two(published: Intel) -> None:
    published.publish(line())
    assert intel.size_for("BTCUSDT", 100.0) == 125.0
    published.clock.now_s += STALE_S
    assert intel.size_for("BTCUSDT", 100.0) == 100.0
    assert intel.suggest_maker_offset_bps("BTCUSDT") == 2.0
    assert intel.compute_symbol_score("BTCUSDT")["status"] == "stale"
    assert intel.router_policy("BTCUSDT").reason.endswith("snapshot stale")
    assert intel.symbol_size_factor("BTCUSDT")["reduce_only"] is False
    published.clock.now_s += 4 * STALE_S
    assert intel.symbol_size_factor("BTCUSDT")["reduce_only"] is True


def test_no_factor_is_above_what_it_was_before_its_input_was_lost(published: Intel) -> None:
    small = {"regime_scale": 0.25, "sharpe_mult": 0.3, "inverse_vol": 0.5, "intel_size_factor": 0.6}
    published.publish(line(size={**small, "final_size_factor": 0.25}))
    intel.size_for("BTCUSDT", 100.0)
    # Without bars the tables write a scale of 1: what is not known scales nothing.
    published.publish(line(regime={"regime": "unknown"}, size={"regime_scale": 1.0}))
    assert intel.volatility_regime_scale("BTCUSDT") == 0.25
    assert intel.size_multiplier("BTCUSDT") == 0.3
    assert intel.inverse_vol_size("BTCUSDT", 100.0) == 50.0
    published.publish(line("ETHUSDT"))  # the symbol itself is lost
    assert intel.volatility_regime_scale("BTCUSDT") == 0.25
    assert intel.size_for("BTCUSDT", 100.0) == 25.0
    published.publish(line())  # everything is known again
    assert intel.volatility_regime_scale("BTCUSDT") == 1.0


def test_an_unknown_symbol_gets_half_a_size_and_nothing_is_made_up(published: Intel) -> None:
    published.publish(line())
    symbol = "DOGEUSDT"
    assert intel.size_for(symbol, 100.0) == 50.0
    assert intel.symbol_size_factor(symbol)["size_factor"] == 0.5
    assert intel.suggest_maker_offset_bps(symbol) == 2.0
    policy = intel.router_policy(symbol)
    assert (policy.quality, policy.maker_first, policy.taker_bias) == ("unknown", None, "balanced")
    assert intel.hourly_expectancy(symbol) == {}
    assert intel.best_hours(symbol) == []
    assert intel.rolling_sharpe_7d(symbol) is None
    assert intel.dd_today_pct(symbol) is None
    assert intel.classify_atr_regime(symbol) == "unknown"
    answer = intel.compute_symbol_score(symbol)
    assert (answer["score"], answer["status"], answer["coverage"]) == (0.0, "unknown", 0.0)
    assert len(answer["missing"]) == 6
    document = intel.compute_execution_health(symbol)
    assert document["vol"]["atr_ratio"] is None
    assert document["vol"]["atr_now"] is None
    assert document["risk"]["dd_today_pct"] is None
    assert document["risk"]["sharpe_state"] == "unknown"
    assert document["sizing"]["applied_size_factor"] == 0.5


def test_before_anything_is_published_every_symbol_is_unknown() -> None:
    assert intel.size_for("BTCUSDT", 100.0) == 50.0
    assert intel.suggest_maker_offset_bps("BTCUSDT") == 2.0
    assert intel.hourly_expectancy() == {}
    assert intel.get_recent_router_events("BTCUSDT") == []
    assert intel.compute_execution_health("BTCUSDT")["status"] == "unknown"


def test_an_unknown_sharpe_sizes_as_one_of_zero(published: Intel) -> None:
    published.publish(line(**TOO_FEW, size={"sharpe_mult": None}))
    assert intel.size_multiplier("BTCUSDT") == 0.6875


_number = st.none() | st.floats(0.25, 2.0)
_acting = st.builds(
    Acting,
    st.floats(0.25, 2.0),
    st.just((2.0,) * 24),
    st.sampled_from(["broken", "degraded", "unknown", "ok", "good"]),
    st.sampled_from([True, False, None]),
    st.sampled_from(["prefer_taker", "balanced", "prefer_maker"]),
)
_sizes = st.builds(
    Size,
    n=st.integers(0, 99),
    intel_size_factor=_number,
    sharpe_mult=_number,
    regime_scale=st.none() | st.floats(0.25, 1.0),
    inverse_vol=_number,
)
_scores = st.none() | st.builds(Score, score=st.none() | st.floats(-2.0, 1.35))


@given(
    status=st.sampled_from(["ok", "stale", "insufficient", "unknown"]),
    acting=_acting,
    size=st.none() | _sizes,
    score=_scores,
    target=st.floats(-1e6, 1e6),
)
def test_no_size_exceeds_what_acts_however_it_is_put_together(
    status: Status, acting: Acting, size: Size | None, score: Score | None, target: float
) -> None:
    record = Record("BTCUSDT", T_MS, "s", 1, "ok", size=size, score=score)
    is_unknown = status == "unknown"
    reading = Reading(
        "BTCUSDT", status, False, "s", T_MS, 1.0,
        SAFE if is_unknown else acting, None if is_unknown else record,
    )  # fmt: skip
    with intel.answering_from(lambda symbol: reading):
        assert intel.size_for("BTCUSDT", target) == target * reading.acting.size_factor
        by_hand = intel.inverse_vol_size("BTCUSDT", target)
        by_hand *= intel.volatility_regime_scale("BTCUSDT") * intel.size_multiplier("BTCUSDT")
        by_hand *= intel.symbol_size_factor("BTCUSDT")["size_factor"]
    if status != "ok":
        assert abs(by_hand) <= abs(target) * reading.acting.size_factor * (1 + 1e-12)


# -- which snapshot answers -----------------------------------------------------------------------


def test_one_call_rests_on_one_snapshot_though_a_new_one_comes(
    published: Intel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = published.publish(line())

    def sharpe_while_published(symbol: str) -> float | None:
        published.publish(line(risk={"sharpe_7d": -9.0}, size={"final_size_factor": 0.25}))
        return answers.reading(symbol).record.risk.sharpe_7d  # type: ignore[union-attr]

    monkeypatch.setattr("live.intel.rolling_sharpe_7d", sharpe_while_published)
    document = intel.compute_execution_health("BTCUSDT")
    assert document["snapshot_id"] == first
    assert document["sizing"]["sharpe_7d"] == 1.0
    assert document["sizing"]["applied_size_factor"] == 1.25
    assert intel.size_for("BTCUSDT", 100.0) == 25.0  # the next call sees the newest


def test_answers_may_come_from_elsewhere_for_a_while(published: Intel) -> None:
    published.publish(line())
    other = Reading("BTCUSDT", "unknown", False, None, None, None, SAFE, None)
    with intel.answering_from(lambda symbol: other):
        assert intel.size_for("BTCUSDT", 100.0) == 50.0
    assert intel.size_for("BTCUSDT", 100.0) == 125.0


def test_the_environment_names_the_home_at_the_first_question(
    published: Intel, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(line())
    monkeypatch.setattr(answers, "_source", answers._Source())
    monkeypatch.setenv("EXECINTEL_HOME", str(published.home))
    assert intel.compute_symbol_score("BTCUSDT")["status"] == "stale"  # published in 2025
    monkeypatch.setattr(answers, "_source", answers._Source())
    monkeypatch.setenv("EXECINTEL_ENVIRONMENT", "live")  # a paper snapshot is refused
    assert intel.compute_symbol_score("BTCUSDT")["status"] == "unknown"


def test_an_age_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECINTEL_SNAPSHOT_MAX_AGE_S", "soon")
    with pytest.raises(ValueError, match="EXECINTEL_SNAPSHOT_MAX_AGE_S = 'soon': a number"):
        intel.size_for("BTCUSDT", 1.0)


def test_importing_the_calls_loads_no_database() -> None:
    heavy = "{'duckdb', 'pyarrow', 'dagster', 'pandas', 'polars', 'deltalake', 'pydantic'}"
    program = f"import sys, live.intel; print({heavy} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.strip() == "set()"
