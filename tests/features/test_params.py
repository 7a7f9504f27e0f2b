"""Parameters: defaults, overrides, ranges and the digest of their values."""

import math

import pytest

from features import catalog, params


def test_every_parameter_has_a_value_in_its_range_and_says_what_it_is() -> None:
    for name, entry in params.definitions().items():
        value, bounds = entry["value"], entry["range"]
        assert isinstance(value, int | float), name
        assert isinstance(bounds, list), name
        assert bounds[0] <= value <= bounds[1], name
        assert str(entry["what"]).strip(), name
        assert set(entry) == {"value", "range", "what"}, name


def test_every_parameter_is_used_by_a_table() -> None:
    used = {name for table in catalog.tables().values() for name in table.params}
    assert set(params.definitions()) <= used


def test_defaults_are_those_of_the_formulas() -> None:
    values = params.load({})
    assert (values["dust_notional_usd"], values["winsor_bps"]) == (5.0, 50.0)
    assert (values["fresh_mark_age_ms"], values["shrink_attempts"]) == (5000, 10)
    assert values["equity_tolerance"] == 0.2
    # 90 % of a standard normal lies below it
    assert 0.5 * (1 + math.erf(values["sharpe_z90"] / math.sqrt(2))) == pytest.approx(
        0.9, abs=1e-15
    )


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
