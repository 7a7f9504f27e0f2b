"""Explaining offsets and policies: what each input adds or allows, and what is remembered."""

from typing import Any

import pytest

from features.explain.router import offset_part, policy_part
from features.explain.steps import Line, Part
from tests.features.explain import rows
from tests.features.explain.rows import PARAMS


def by_name(part: Part) -> dict[str, Line]:
    return {line.what: line for line in part.lines}


def test_offset_steps_add_up_from_the_base() -> None:
    row = rows.offset(regime_bps=0.5, fallback_bps=1.0, hour_bps=-0.2, offset_bps=3.3)
    part = offset_part(row, rows.policy(acting_regime="hot"), PARAMS)
    *steps, total = part.lines
    assert sum(line.effect for line in steps if isinstance(line.effect, float)) == pytest.approx(
        3.3
    )
    assert (total.effect, total.rule) == (3.3, "sum, 0.5 to 8")
    assert [line.what for line in part.lines if line.is_fired] == [
        "regime",
        "fallback",
        "hour 09 earns",
    ]
    assert by_name(part)["regime"].measured == "hot"
    assert part.answer == "3.30 bps from mid at 09 UTC"
    assert part.notes == ("without evidence and memory, as v5.10: 1.80 bps",)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"close_n": 19}, "speaks from 20 closes on"),
        ({"close_n": 20}, "speaks where its bounds exclude 0: -10.0 to 30.0"),
        ({"exp_lo95": -4e-7}, "speaks where its bounds exclude 0: -0.004 to 30.0"),
        ({"exp_lo95": None, "exp_hi95": None}, "speaks with bounds, which are unknown"),
    ],
)
def test_an_hour_says_why_it_speaks_or_not(changes: dict[str, Any], rule: str) -> None:
    line = by_name(offset_part(rows.offset(**changes), rows.policy(), PARAMS))["hour 09 earns"]
    assert line.rule == rule
    assert line.measured == pytest.approx(10.0)  # bps


def test_an_hour_without_a_close_is_unknown_also_where_an_older_snapshot_says_0() -> None:
    part = offset_part(rows.offset(close_n=0, exp_per_notional=0.0), rows.policy(), PARAMS)
    line = by_name(part)["hour 09 earns"]
    assert (line.measured, line.n) == (None, 0)


def test_a_remembered_input_stands_where_none_is_measured() -> None:
    row = rows.offset(fallback_ratio=None, fallback_known_n=0, fallback_bps=1.0)
    part = offset_part(row, rows.policy(acting_fallback_ratio=0.7), PARAMS)
    assert (by_name(part)["fallback"].measured, by_name(part)["fallback"].n) == (0.7, 0)


@pytest.mark.parametrize(
    ("line", "changes", "allows", "is_fired"),
    [
        ("fallback", {"acting_fallback_ratio": 0.9}, "broken", True),
        ("fallback", {"acting_fallback_ratio": 0.89}, "degraded", True),
        ("fallback", {"acting_fallback_ratio": 0.6}, "degraded", True),
        ("fallback", {"acting_fallback_ratio": 0.59}, "ok", False),
        ("fallback", {"acting_fallback_ratio": 0.4}, "good", False),
        ("fallback", {"acting_fallback_ratio": 0.41}, "ok", False),
        ("fallback", {"acting_fallback_ratio": 0.1, "fallback_known_n": 19}, "ok", False),
        ("fallback", {"acting_fallback_ratio": 0.9, "fallback_known_n": 1}, "broken", True),
        ("fallback", {"acting_fallback_ratio": None}, "ok", False),
        ("slippage q50", {"acting_slip_bps": 20.0}, "broken", True),
        ("slippage q50", {"acting_slip_bps": 8.0}, "degraded", True),
        ("slippage q50", {"acting_slip_bps": 7.9}, "ok", False),
        ("slippage q50", {"acting_slip_bps": 4.0}, "good", False),
        ("slippage q50", {"acting_slip_bps": 4.0, "slip_n": 19}, "ok", False),
        ("maker fills", {"maker_fill_ratio": 0.7}, "good", False),
        ("maker fills", {"maker_fill_ratio": 0.69}, "ok", False),
        ("maker fills", {"maker_fill_ratio": 0.7, "maker_known_n": 19}, "ok", False),
        ("maker fills", {"maker_fill_ratio": None}, "ok", False),
    ],
)
def test_each_input_allows_a_label(
    line: str, changes: dict[str, Any], allows: str, is_fired: bool
) -> None:
    found = by_name(policy_part(rows.policy(**changes), PARAMS))[line]
    assert (found.effect, found.is_fired) == (allows, is_fired)


def test_few_samples_are_named_where_they_keep_a_label_from_good() -> None:
    part = policy_part(rows.policy(acting_fallback_ratio=0.1, fallback_known_n=19), PARAMS)
    assert by_name(part)["fallback"].rule.endswith("good to 0.4, of 20 samples")


def test_a_label_that_waits_for_a_second_snapshot_shows() -> None:
    row = rows.policy(quality="ok", candidate_quality="good", previous_quality="ok")
    lines = by_name(policy_part(row, PARAMS))
    assert (lines["this snapshot"].effect, lines["label"].effect) == ("good", "ok")
    assert lines["label"].is_fired
    assert lines["label"].rule == "acts until a second snapshot says good too"
    assert lines["snapshot before"].rule.startswith("the label that acted then; a better one acts")


@pytest.mark.parametrize(
    ("label", "before", "rule"),
    [
        ("ok", "ok", "acts: as before"),
        ("ok", "unknown", "acts: this snapshot and the one before saw ok or better"),
        ("degraded", "good", "acts at once: worse than good"),
        ("broken", None, "acts at once: worse than unknown"),
        ("unknown", None, "acts: where a label begins"),
    ],
)
def test_the_label_that_acts_says_why(label: str, before: str | None, rule: str) -> None:
    row = rows.policy(quality=label, candidate_quality=label, previous_quality=before)
    line = by_name(policy_part(row, PARAMS))["label"]
    assert (line.effect, line.rule) == (label, rule)


def test_a_first_snapshot_says_why_its_label_is_unknown() -> None:
    row = rows.policy(quality="unknown", candidate_quality="ok", previous_quality=None)
    lines = by_name(policy_part(row, PARAMS))
    assert lines["snapshot before"].effect is None
    assert lines["snapshot before"].rule.startswith("none is remembered: a label begins at unknown")
    assert lines["label"].rule == "acts until a second snapshot says ok too"


@pytest.mark.parametrize(
    ("maker_first", "words"),
    [(True, "maker first"), (False, "never maker first"), (None, "maker first if wanted")],
)
def test_the_answer_is_the_routing(maker_first: bool | None, words: str) -> None:
    part = policy_part(rows.policy(maker_first=maker_first), PARAMS)
    assert part.answer == f"ok, {words}, balanced"


def test_what_is_remembered_or_left_out_is_noted() -> None:
    row = rows.policy(
        fallback_ratio=0.3,
        acting_fallback_ratio=0.75,
        slip_bps_q50=None,
        acting_slip_bps=9.0,
        regime="quiet",
        acting_regime="unknown",
        left_out_n=10,
    )
    assert policy_part(row, PARAMS).notes == (
        "as v5.10, without evidence and memory: ok",
        "fallback 0.75 is remembered: now it is 0.30, of too few samples",
        "slippage 9.00 is remembered: now it is unknown",
        "regime unknown acts: bars do not confirm quiet",
        "10 unconfirmed fills are left out",
    )


def test_a_remembered_slippage_that_is_rounded_to_nothing_has_no_sign() -> None:
    notes = policy_part(rows.policy(acting_slip_bps=-0.001, slip_bps_q50=None), PARAMS).notes
    assert "slippage 0.00 is remembered: now it is unknown" in notes
