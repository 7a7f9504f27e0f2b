"""Explaining sizes and scores: each rule in words with its threshold, and which of them fired."""

from typing import Any

import pytest

from features.explain.size import score_part, size_part
from features.explain.steps import Line, Part
from features.explain.words import effect, measured
from tests.features.explain import rows
from tests.features.explain.rows import PARAMS


def by_name(part: Part) -> dict[str, Line]:
    return {line.what: line for line in part.lines}


def size(regime: dict[str, Any] | None = None, **changes: Any) -> Part:
    return size_part(rows.sizing(**changes), rows.regime(**(regime or {})), rows.score(), PARAMS)


def test_size_steps_go_from_the_factors_over_their_product_to_what_acts() -> None:
    part = size()
    assert [line.what for line in part.lines] == [
        "inverse vol", "regime", "Sharpe", "score", "product",
        "evidence_cap", "incomplete", "clamp", "change", "final",
    ]  # fmt: skip
    assert [line.effect for line in part.lines] == [
        1.0, 1.0, 1.125, 1.2, 1.35, 1.35, 1.35, 1.35, 1.25, 1.25,
    ]  # fmt: skip
    assert [line.what for line in part.lines if line.is_fired] == ["Sharpe", "score", "change"]
    assert part.answer == "1.25 × target, limited by change"


def test_a_size_that_no_guard_moved_names_none() -> None:
    assert size(capped_by="", final_size_factor=1.35).answer == "1.35 × target"


def test_a_guard_says_whether_it_raised_or_lowered_the_size() -> None:
    # 0.1 before the guards; the clamp lifts it to 0.25, one step down from 0.4 keeps it at 0.3
    part = size(
        product_v510=0.1, after_evidence=0.1, after_incomplete=0.1, after_clamp=0.25,
        after_change=0.3, final_size_factor=0.3, previous_size_factor=0.4,
        capped_by="clamp,change",
    )  # fmt: skip
    assert part.answer == "0.30 × target, limited by clamp, change"
    assert [note.partition(":")[0] for note in part.notes] == [
        "raised by clamp",
        "raised by change",
    ]
    assert [note.partition(":")[0] for note in size().notes] == ["lowered by change"]


def test_inputs_stand_with_their_n() -> None:
    lines = by_name(size())
    assert (lines["Sharpe"].measured, lines["Sharpe"].n) == (1.0, 40)
    assert (lines["regime"].measured, lines["regime"].n) == ("normal", 500)
    assert (lines["score"].measured, lines["score"].n) == (0.65, 300)
    assert (lines["evidence_cap"].measured, lines["evidence_cap"].n) == (0.5, 40)


@pytest.mark.parametrize(
    ("line", "changes", "rule"),
    [
        ("Sharpe", {}, "-1 gives 0.25, 3 gives 2, straight between"),
        ("Sharpe", {"sharpe_7d": None}, "unknown counts as 0: -1 gives 0.25, 3 gives 2"),
        ("inverse vol", {}, "no target volatility is set"),
        ("evidence_cap", {}, "above 1 with 30 round trips and a Sharpe bound above 0"),
        (
            "incomplete",
            {},
            "above 1 with 95 % of the account's PnL and position changes (the lower) logged",
        ),
        ("clamp", {}, "0.25 to 2"),
        ("change", {}, "at most 25 % from the snapshot before"),
        ("change", {"previous_size_factor": None}, "no snapshot before: at most 1"),
        ("change", {"is_input_lost": True}, "an input was lost: not above the snapshot before"),
    ],
)
def test_rules_name_their_thresholds(line: str, changes: dict[str, Any], rule: str) -> None:
    assert by_name(size(**changes))[line].rule.startswith(rule)


def test_a_coverage_that_is_not_known_whole_is_called_a_lower_bound() -> None:
    least: dict[str, Any] = {"pnl_coverage": 0.162, "coverage_status": "unknowable"}
    assert by_name(size(**least))["incomplete"].rule.endswith("; the input is a lower bound")
    unknown: dict[str, Any] = {"pnl_coverage": None, "coverage_status": "unknowable"}
    for known in ({"pnl_coverage": 0.99}, unknown):
        assert by_name(size(**known))["incomplete"].rule.endswith("logged")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        # 0.270164 is 0.360219 × 0.75: the step set it, not the loss
        (
            {"previous_size_factor": 0.360219, "after_clamp": 0.25, "after_change": 0.27016425},
            "falls by at most 25 % from the snapshot before",
        ),
        # the loss set it: 0.5 before, the product would have it at 0.9
        (
            {"previous_size_factor": 0.5, "after_clamp": 0.9, "after_change": 0.5},
            "an input was lost: not above the snapshot before",
        ),
        # 2 before, at most 1 without evidence: half, more than a step
        (
            {"previous_size_factor": 2.0, "after_clamp": 0.3, "after_change": 1.0},
            "falls at once to what evidence and coverage allow, below it by at most 25 %"
            " from the snapshot before",
        ),
    ],
)
def test_the_change_names_the_bound_that_set_it(changes: dict[str, Any], rule: str) -> None:
    assert by_name(size(is_input_lost=True, **changes))["change"].rule == rule


@pytest.mark.parametrize(
    ("daily_vol", "rule"),
    [(0.04, "target 3 % over realised, 0.25 to 2"), (None, "unknown below 168 hourly returns: 1")],
)
def test_a_target_volatility_is_named(daily_vol: float | None, rule: str) -> None:
    part = size_part(
        rows.sizing(daily_vol=daily_vol, daily_vol_n=200),
        rows.regime(),
        rows.score(),
        {**PARAMS, "target_daily_vol": 0.03},
    )
    line = by_name(part)["inverse vol"]
    assert (line.rule, line.n) == (rule, 200)
    assert line.measured == (None if daily_vol is None else pytest.approx(4.0))


@pytest.mark.parametrize(
    ("regime", "rule"),
    [
        ({}, "ATR ratio 1.00 of 15m bars"),
        ({"atr_source": "short"}, "ATR ratio 1.00 of 15m bars, fewer than 500"),
        (
            {"atr_source": "fills", "bar_interval": None},
            "known from fills alone: shown, sizes nothing",
        ),
        ({"atr_source": "none", "atr_ratio": None}, "unknown sizes nothing"),
    ],
)
def test_the_regime_says_where_it_comes_from(regime: dict[str, Any], rule: str) -> None:
    assert by_name(size(regime))["regime"].rule == rule


def scored(*others: dict[str, Any], **changes: Any) -> Part:
    active = rows.score(**changes)
    models = {row["model"]: row for row in (active, *others)}
    return score_part(active, models, PARAMS)


def test_score_steps_add_up_to_the_score() -> None:
    part = scored()
    *steps, total = part.lines
    assert sum(line.effect for line in steps if isinstance(line.effect, float)) == pytest.approx(
        0.65
    )
    assert (total.what, total.effect) == ("score", 0.65)
    assert [line.what for line in steps if line.is_fired] == ["Sharpe", "ATR ratio", "maker fills"]
    assert part.answer == "+0.65 by v5.10, 100 % of its parts known"


def test_an_unknown_input_adds_nothing_and_is_named() -> None:
    part = scored(sharpe=None, sharpe_score=0.0, missing="sharpe,dd_pct", coverage=0.5)
    line = by_name(part)["Sharpe"]
    assert (line.measured, line.effect, line.rule) == (None, 0.0, "unknown adds nothing")
    assert part.answer.endswith("50 % of its parts known, missing: sharpe, dd_pct")


def test_the_drawdown_stands_with_its_closes_and_those_of_unknown_pnl() -> None:
    def line(**risk: Any) -> Line:
        row = rows.score()
        return by_name(score_part(row, {"v5.10": row}, PARAMS, risk))["drawdown today"]

    rule = "from -1.5 % -0.25, from -3 % -0.5"
    assert (line(dd_n=12, dd_unknown_n=0).n, line(dd_n=12, dd_unknown_n=0).rule) == (12, rule)
    assert line(dd_n=12, dd_unknown_n=3).rule == f"{rule}; PnL of 3 of 12 unknown"
    assert (line(dd_unknown_n=3).n, line(dd_unknown_n=3).rule) == (None, rule)  # earlier releases
    assert by_name(scored())["drawdown today"].n is None


def test_a_coverage_is_not_rounded_up_to_what_is_needed() -> None:
    line = by_name(size(pnl_coverage=0.9496))["incomplete"]
    assert measured(line) == "94.9 %"
    assert measured(by_name(size(pnl_coverage=None))["incomplete"]) == "–"


def test_a_score_that_is_rounded_to_nothing_has_no_sign() -> None:
    other = rows.score(model="v5.11", is_active=False, score=-0.001, size_factor=1.0)
    for score in (-0.004, 0.004):
        part = scored(other, score=score, sharpe_score=score)
        assert part.answer.startswith("0.00 by v5.10")
        assert effect(by_name(part)["Sharpe"].effect, part.effect) == "0.00"
        assert part.notes == ("v5.11 beside it: score 0.00, size factor 1.00",)


def test_the_other_model_stands_beside() -> None:
    other = rows.score(model="v5.11", is_active=False, score=-0.351, size_factor=0.825)
    assert scored(other).notes == ("v5.11 beside it: score -0.35, size factor 0.82",)


def test_v511_rules_are_its_lines_and_excluded_inputs_say_so() -> None:
    part = scored(model="v5.11", excluded="sharpe,atr_ratio", sharpe_score=0.0, atr_score=0.0)
    lines = by_name(part)
    assert lines["Sharpe"].rule == "left out: the size has a factor of its own for it"
    assert lines["fallback"].rule == "line through (0.5, 0) (1, -0.5)"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("Sharpe", "half of it, -1 from -1 down, +1 from 2 up"),
        ("ATR ratio", "0.8 to 1.5 +0.1, below 0.5 -0.2, above 2.5 -0.3"),
        ("maker fills", "0.5 × what is above one half"),
        ("fallback", "what is above 0.5 is taken off"),
        ("slippage q50", "above 5 bps -0.3"),
        ("drawdown today", "from -1.5 % -0.25, from -3 % -0.5"),
        ("fees", "v5.10 does not use them"),
    ],
)
def test_v510_rules_name_their_thresholds(line: str, rule: str) -> None:
    assert by_name(scored())[line].rule == rule
