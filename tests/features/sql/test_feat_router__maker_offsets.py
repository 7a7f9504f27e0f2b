"""How far from mid to quote: feat_router__maker_offsets on literal rows of the tables it reads."""

import math
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.sql.literal import D, Row, T, features, features_of, outcome

Con = duckdb.DuckDBPyConnection

TABLE = "feat_router__maker_offsets"
UP, DOWN = math.inf, -math.inf
PARTS = (
    "base_bps", "regime_bps", "maker_bps", "fallback_bps", "fallback_high_bps", "slip_bps_adj",
    "hour_bps",
)  # fmt: skip
HOUR = ("close_n", "exp_per_notional", "exp_lo95", "exp_hi95")
# Adjusts nothing.
NEUTRAL: Row = {"maker_fill_ratio": 0.5, "acting_fallback_ratio": 0.3, "acting_slip_bps": 2.0}
NEUTRAL |= {"regime": "normal", "acting_regime": "normal"}
EARNS: Row = {"close_n": 20, "exp_per_notional": 0.01, "exp_lo95": 0.001, "exp_hi95": 0.019}


def offsets(con: Con, cases: list[Row], **choice: Any) -> list[Row]:
    """Return the row of hour 9 of each case, all computed together.

    v510_* are inputs of the score; hour values stand in hour 9. The rest is the policy's.
    """
    tables: dict[str, list[Row]] = {}
    for number, case in enumerate(cases):
        symbol = f"S{number}"
        seen = {"maker_fill_ratio": case.get("maker_fill_ratio")}  # every fill is confirmed
        seen |= {n.removeprefix("v510_"): v for n, v in case.items() if n.startswith("v510_")}
        policy = {n: v for n, v in case.items() if n not in HOUR and not n.startswith("v510_")}
        usual = {
            "symbol": symbol,
            "n": 50,
            "maker_known_n": 20,
            "fallback_known_n": 0,
            "slip_n": 20,
        }
        rows: dict[str, Row] = {
            "feat_router__policies": {**usual, "regime_n": 500, **policy},
            "feat_symbol__scores": {"symbol": symbol, "is_active": True, **seen},
            "feat_execution__hourly_expectancy": {
                "symbol": symbol,
                "hour_utc": 9,
                **{name: case[name] for name in HOUR if name in case},
            },
        }
        for table, row in rows.items():
            tables.setdefault(table, []).append(row)
    found = features_of(con, TABLE, tables, as_of_ms=T + D, **choice)
    return [found[f"S{number}", 9] for number in range(len(cases))]


@pytest.mark.parametrize(
    ("name", "part", "steps"),
    [
        (
            "acting_regime",
            "regime_bps",
            [("unknown", 0.0), ("quiet", -0.5), ("normal", 0.0), ("hot", 0.5), ("panic", 1.0)],
        ),
        (
            "maker_fill_ratio",
            "maker_bps",
            [(None, 0.0), (0.0, 0.0), (0.7, 0.0), (math.nextafter(0.7, UP), -0.5), (1.0, -0.5)],
        ),
        (
            "acting_fallback_ratio",
            "fallback_bps",
            [(None, 0.0), (0.5, 0.0), (math.nextafter(0.5, UP), 1.0), (1.0, 1.0)],
        ),
        (
            "acting_fallback_ratio",
            "fallback_high_bps",
            [(None, 0.0), (0.6, 0.0), (0.8, 0.0), (math.nextafter(0.8, UP), 1.5), (1.0, 1.5)],
        ),
        (
            "acting_slip_bps",
            "slip_bps_adj",
            [
                (None, 0.0),  # the original reads it as 0 and quotes closer
                (-9.0, -0.2),
                (math.nextafter(1.0, DOWN), -0.2),
                (1.0, 0.0),
                (5.0, 0.0),
                (math.nextafter(5.0, UP), 0.8),
                (90.0, 0.8),
            ],
        ),
    ],
)
def test_each_input_adjusts_at_its_threshold(
    con: Con, name: str, part: str, steps: list[tuple[Any, float]]
) -> None:
    rows = offsets(con, [{**NEUTRAL, name: value} for value, _ in steps])
    assert [row[part] for row in rows] == [bps for _, bps in steps]
    for row in rows:
        total = sum(row[each] for each in PARTS)
        assert row["offset_bps"] == pytest.approx(min(max(total, 0.5), 8.0), abs=1e-14)


@pytest.mark.parametrize(
    ("hour", "bps", "v510_bps"),
    [
        (EARNS, -0.2, -0.2),
        ({**EARNS, "close_n": 19}, 0.0, -0.2),  # too few closes
        ({**EARNS, "exp_lo95": 0.0}, 0.0, -0.2),  # nought is not excluded
        ({**EARNS, "exp_lo95": math.nextafter(0.0, UP)}, -0.2, -0.2),
        ({**EARNS, "exp_lo95": None, "exp_hi95": None}, 0.0, -0.2),
        ({**EARNS, "exp_per_notional": -0.01, "exp_lo95": -0.02, "exp_hi95": -0.001}, 0.2, 0.2),
        ({**EARNS, "exp_per_notional": -0.01, "exp_lo95": -0.02, "exp_hi95": 0.0}, 0.0, 0.2),
        ({**EARNS, "exp_per_notional": 0.0, "exp_lo95": -0.01, "exp_hi95": 0.01}, 0.0, 0.0),
        ({**EARNS, "exp_per_notional": None}, 0.0, 0.0),
        ({}, 0.0, 0.0),  # no such hour
    ],
)
def test_an_hour_speaks_with_closes_and_bounds_that_exclude_nought(
    con: Con, hour: Row, bps: float, v510_bps: float
) -> None:
    (row,) = offsets(con, [{**NEUTRAL, **hour}])
    assert row["hour_bps"] == bps
    assert row["offset_bps"] == pytest.approx(2.0 + bps, abs=1e-14)
    assert row["offset_v510_bps"] == pytest.approx(2.0 + v510_bps, abs=1e-14)


def test_an_hour_without_a_close_is_unknown_and_adjusts_nothing(con: Con) -> None:
    # what feat_execution__hourly_expectancy says of an hour in which only openings filled
    (row,) = offsets(con, [{**NEUTRAL, "close_n": 0, "exp_per_notional": 0.0}])
    assert (row["exp_per_notional"], row["close_n"]) == (None, 0)
    assert (row["offset_bps"], row["offset_v510_bps"]) == (2.0, 2.0)


def test_the_worked_cases_of_the_original(con: Con) -> None:
    best = {**NEUTRAL, "acting_regime": "quiet", "regime": "quiet", "maker_fill_ratio": 0.9}
    best |= {"acting_fallback_ratio": 0.1, "acting_slip_bps": 0.5, **EARNS}
    worst = {**NEUTRAL, "acting_regime": "panic", "regime": "panic", "maker_fill_ratio": 0.1}
    worst |= {"acting_fallback_ratio": 0.95, "acting_slip_bps": 9.0}
    good, bad = offsets(con, [best, worst])
    assert good["offset_bps"] == pytest.approx(2.0 - 0.5 - 0.5 - 0.2 - 0.2, abs=1e-14)
    assert bad["offset_bps"] == pytest.approx(2.0 + 1.0 + 1.0 + 1.5 + 0.8, abs=1e-14)


def test_offsets_keep_within_their_bounds(con: Con) -> None:
    near, far = offsets(
        con,
        [{**NEUTRAL, "maker_fill_ratio": 0.9}, {**NEUTRAL, "acting_fallback_ratio": 0.9}],
        overrides={
            "offset_maker_bps": -5.0,
            "offset_fallback_bps": 5.0,
            "offset_fallback_high_bps": 5.0,
        },
    )
    assert (near["offset_bps"], far["offset_bps"]) == (0.5, 8.0)


def test_the_v510_value_takes_the_numbers_as_they_are(con: Con) -> None:
    # remembered: fallback 0.9, slippage 9; measured now: nothing
    case = {**NEUTRAL, "acting_fallback_ratio": 0.9, "acting_slip_bps": 9.0, "regime": "quiet"}
    acting, measured = offsets(
        con, [case, {**case, "v510_fallback_ratio": 0.6, "v510_slip_bps_q50": 0.0}]
    )
    assert acting["offset_bps"] == pytest.approx(2.0 + 2.5 + 0.8, abs=1e-14)
    assert acting["offset_v510_bps"] == pytest.approx(1.5, abs=1e-14)
    assert measured["offset_v510_bps"] == pytest.approx(1.5 + 1.0 - 0.2, abs=1e-14)


def test_adjustments_are_parameters(con: Con) -> None:
    overrides = {"offset_base_bps": 3.0, "offset_hour_min_n": 5, "offset_hour_gain_bps": -1.0}
    (row,) = offsets(con, [{**NEUTRAL, **EARNS, "close_n": 5}], overrides=overrides)
    assert row["offset_bps"] == 2.0


@pytest.mark.parametrize(("n", "bps"), [(19, 2.0), (20, 1.3), (0, 2.0)])
def test_few_samples_do_not_quote_closer(con: Con, n: int, bps: float) -> None:
    close = {**NEUTRAL, "maker_fill_ratio": 1.0, "acting_slip_bps": 0.5}
    (row,) = offsets(con, [{**close, "maker_known_n": n, "slip_n": n}])
    assert row["offset_bps"] == pytest.approx(bps, abs=1e-14)


def test_few_samples_quote_wider(con: Con) -> None:
    (row,) = offsets(con, [{**NEUTRAL, "acting_slip_bps": 9.0, "slip_n": 1}])
    assert row["slip_bps_adj"] == 0.8


def test_maker_fills_that_are_left_when_others_are_not_confirmed_quote_no_closer(con: Con) -> None:
    good = {**NEUTRAL, "maker_fill_ratio": 1.0}
    rows = offsets(con, [good, {**good, "v510_maker_fill_ratio": 0.5}])
    assert [row["maker_bps"] for row in rows] == [-0.5, 0.0]


def test_losing_maker_fills_never_quotes_closer(con: Con) -> None:
    fills = [outcome(at=T + k, slippage_bps=2.0, is_maker=k % 2 == 0) for k in range(40)]
    known = [f for f in fills if f.values["is_maker"]]
    before, after, one = (
        features(con, TABLE, *lines, as_of_ms=T + D)["ETHUSDT", 9]["offset_bps"]
        for lines in (fills, known[:19], known[:1])
    )
    assert before == after == one == 2.0


def test_every_symbol_has_every_hour(con: Con) -> None:
    lines = [outcome(at=T + k, slippage_bps=0.5, is_maker=True) for k in range(20)]
    found = features(con, TABLE, *lines, as_of_ms=T + D)
    assert list(found) == [("ETHUSDT", hour) for hour in range(24)]
    for row in found.values():
        assert (row["n"], row["maker_known_n"], row["slip_n"]) == (20, 20, 20)
        assert row["offset_bps"] == pytest.approx(2.0 - 0.5 - 0.2, abs=1e-14)


ODD = st.sampled_from([None, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0, -0.0])
ANY = st.one_of(ODD, st.floats(allow_nan=True, allow_infinity=True), st.floats(-2, 10))
NUMBERS = (
    "maker_fill_ratio", "acting_fallback_ratio", "acting_slip_bps", "v510_fallback_ratio",
    "v510_slip_bps_q50", "v510_maker_fill_ratio", "exp_per_notional", "exp_lo95", "exp_hi95",
)  # fmt: skip
REGIMES = st.sampled_from([None, "quiet", "normal", "hot", "panic", "unknown"])
CASE = st.fixed_dictionaries(
    {
        **dict.fromkeys(NUMBERS, ANY),
        "regime": REGIMES,
        "acting_regime": REGIMES,
        "close_n": st.integers(0, 60),
    }
)


@settings(max_examples=12)
@given(cases=st.lists(CASE, min_size=1, max_size=25))
def test_no_input_whatever_drives_an_offset_out_of_bounds(con: Con, cases: list[Row]) -> None:
    for row in offsets(con, cases):
        assert 0.5 <= row["offset_bps"] <= 8.0
        assert 0.5 <= row["offset_v510_bps"] <= 8.0
