"""Parameters: defaults, overrides, ranges and the digest of their values."""

import math
import re
from typing import Any

import pytest

from features import catalog, params


def test_every_parameter_is_within_what_it_allows_and_says_what_it_is() -> None:
    for name, entry in params.definitions().items():
        kinds = [{"range"}, {"choices"}, {"range", "shape"}]
        assert set(entry) - {"value", "what", "at_least"} in kinds, name
        assert str(entry["what"]).strip(), name
        assert params.allowed(name), name
    assert set(params.load({})) == set(params.definitions())


def test_every_parameter_is_used_by_a_table_a_check_or_the_lines_for_engines() -> None:
    tables = catalog.tables().values()
    used = {name for table in tables for name in table.params}
    used |= {name for check in catalog.checks().values() for name in check.params}
    by_name = {name for table in tables for name in re.findall(r"'(\w+)'", table.sql)}
    lines = {name for name, value in params.load({}).items() if isinstance(value, tuple)}
    assert lines <= by_name
    assert set(params.definitions()) - lines - used == {"live_min_n"}


def test_defaults_are_those_of_the_formulas() -> None:
    values = params.load({})
    assert (values["dust_notional_usd"], values["winsor_bps"]) == (5.0, 50.0)
    assert (values["fresh_mark_age_ms"], values["shrink_attempts"]) == (5000, 10)
    assert values["equity_tolerance"] == 0.2
    # 90 % of a standard normal lies below it
    z90 = values["sharpe_z90"]
    assert isinstance(z90, float)
    assert 0.5 * (1 + math.erf(z90 / math.sqrt(2))) == pytest.approx(0.9, abs=1e-15)


def test_an_override_replaces_its_default_alone() -> None:
    values = params.load({"winsor_bps": 80.0})
    assert values == {**params.load({}), "winsor_bps": 80.0}


@pytest.mark.parametrize("value", [1.0, 5000.0])
def test_the_ends_of_a_range_are_allowed(value: float) -> None:
    assert params.load({"winsor_bps": value})["winsor_bps"] == value


@pytest.mark.parametrize("value", [0.999, 5000.1, -1.0, math.nan, math.inf])
def test_a_value_outside_its_range_names_itself_and_the_range(value: float) -> None:
    expected = rf"\[params\] winsor_bps = {value}: allowed are 1.0 to 5000.0"
    with pytest.raises(params.ParameterError, match=expected):
        params.load({"winsor_bps": value})


@pytest.mark.parametrize("value", [True, "80", None, [80.0], [[0.0, 1.0], [1.0, 2.0]]])
def test_a_number_is_no_word_and_no_list(value: Any) -> None:
    with pytest.raises(params.ParameterError, match=r"winsor_bps = .*: allowed are 1.0 to 5000.0"):
        params.load({"winsor_bps": value})


@pytest.mark.parametrize("value", [20.7, 0.5])
def test_a_count_is_a_whole_number(value: float) -> None:
    with pytest.raises(
        params.ParameterError, match=r"live_min_n = .*: allowed are whole numbers, 1 to"
    ):
        params.load({"live_min_n": value})
    assert params.load({"live_min_n": 21.0})["live_min_n"] == 21


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"regime_hot_from": 5}, "regime_panic_from = 2.5 lies below regime_hot_from = 5"),
        (
            {"policy_broken_slip_bps": 0.3},
            "policy_broken_slip_bps = 0.3 lies below policy_degraded",
        ),
        (
            {"policy_broken_fallback": 0.5},
            "policy_broken_fallback = 0.5 lies below policy_degraded",
        ),
        ({"v510_atr_calm_from": 2, "v510_atr_calm_to": 1}, "v510_atr_calm_to = 1 lies below"),
        ({"offset_base_bps": 8, "offset_max_bps": 2}, "offset_max_bps = 2 lies below offset_base"),
        (
            {"offset_slip_above_bps": 0.5},
            "offset_slip_above_bps = 0.5 lies below offset_calm_below",
        ),
    ],
)
def test_a_threshold_on_the_wrong_side_of_another_is_refused(
    overrides: dict[str, float], words: str
) -> None:
    with pytest.raises(params.ParameterError, match=words):
        params.load(overrides)


def test_thresholds_that_move_together_are_allowed() -> None:
    values = params.load({"regime_hot_from": 5, "regime_panic_from": 5})
    assert (values["regime_hot_from"], values["regime_panic_from"]) == (5, 5)


def test_a_choice_is_one_of_its_words() -> None:
    assert params.load({})["score_model"] == "v5.10"
    assert params.load({"score_model": "v5.11"})["score_model"] == "v5.11"
    for value in ("v5.1", 5.11, True):
        expected = rf"score_model = {value}: allowed are v5\.10 or v5\.11"
        with pytest.raises(params.ParameterError, match=expected):
            params.load({"score_model": value})


def test_knots_are_pairs_of_numbers_whatever_holds_them() -> None:
    # a manifest gives lists, the default is a tuple
    values = params.load({"v511_fee": [[5, 0], [20, -0.3]]})
    assert values["v511_fee"] == ((5.0, 0.0), (20.0, -0.3))
    assert values == params.load({})
    assert params.digest(values) == params.digest(params.load({}))
    assert params.load({"v511_fee": ((5, 0), (20, -0.3))}) == values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("v511_fee", []),
        ("v511_fee", [[5.0, 0.0]]),  # one point is no line
        ("v511_fee", [[5.0, 0.0], [5.0, -0.3]]),  # a jump
        ("v511_fee", [[20.0, 0.0], [5.0, -0.3]]),  # backwards
        ("v511_fee", [[5.0, 0.0], [20.0, 0.3]]),  # higher fees must not score higher
        ("v511_sharpe", [[0.0, 0.0], [1.0, 0.5], [2.0, 0.4]]),  # nor a higher Sharpe lower
        ("v511_fee", [[5.0, 0.0], [20.0, -2.1]]),  # beyond what a part may do
        ("v511_size", [[0.0, 1.0], [1.0, 2.01]]),
        ("v511_fee", [[5.0, 0.0], [math.inf, -0.3]]),
        ("v511_fee", [[5.0, 0.0], [20.0, math.nan]]),
        ("v511_fee", [[5.0, 0.0, 1.0], [20.0, -0.3, 1.0]]),
        ("v511_fee", [[5.0, 0.0], [20.0, "-0.3"]]),
        ("v511_fee", -0.3),
        ("v511_fee", "[[5, 0], [20, -0.3]]"),
    ],
)
def test_bad_knots_name_themselves_and_what_is_allowed(name: str, value: Any) -> None:
    expected = rf"\[params\] {name} = .*: allowed are two or more points \[x, y\], x ascending"
    with pytest.raises(params.ParameterError, match=expected):
        params.load({name: value})


def test_level_steps_and_free_shapes_are_allowed() -> None:
    params.load({"v511_fee": [[5.0, 0.0], [10.0, 0.0], [20.0, -0.3]]})
    params.load({"v511_atr_ratio": [[0.4, 0.1], [0.8, -0.1], [1.5, 0.1]]})


def test_knots_are_listed_point_by_point() -> None:
    listed = params.knots({"a": 1.0, "b": ((0.0, 1.0), (2.0, 3.0)), "c": "on"})
    assert listed == [("b", 0.0, 1.0), ("b", 2.0, 3.0)]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(params.ParameterError, match=r"winsor: no such parameter; .*winsor_bps"):
        params.load({"winsor": 1.0})


def test_equal_values_have_equal_digests() -> None:
    # the same number, written as the default's or another type, in any order
    same = params.load({"fresh_mark_age_ms": 5000.0, "dust_notional_usd": 5})
    assert params.digest(same) == params.digest(params.load({}))
    assert params.digest(dict(reversed(same.items()))) == params.digest(same)


def test_another_value_has_another_digest() -> None:
    digests = {
        params.digest(params.load(overrides))
        for overrides in ({}, {"winsor_bps": 51.0}, {"winsor_bps": 51.5}, {"sharpe_z90": 51.0 / 50})
    }
    assert len(digests) == 4
