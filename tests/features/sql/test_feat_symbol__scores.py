"""How good a symbol is to trade: feat_symbol__scores on literal rows of the tables it reads."""

import math
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import params
from tests.features.sql.literal import (
    D,
    Line,
    Row,
    T,
    features,
    features_of,
    hourly,
    order,
    outcome,
)

Con = duckdb.DuckDBPyConnection

TABLE = "feat_symbol__scores"
OLD, NEW = "v5.10", "v5.11"
# input: the table and column it comes from
INPUTS = {
    "sharpe": ("feat_symbol__performance", "sharpe_7d"),
    "dd_pct": ("feat_symbol__performance", "dd_today_pct"),
    "atr_ratio": ("feat_symbol__atr_regime", "atr_ratio"),
    "maker_fill_ratio": ("feat_router__effectiveness", "maker_fill_ratio"),
    "fallback_ratio": ("feat_router__effectiveness", "fallback_ratio"),
    "slip_bps_q50": ("feat_execution__slippage_quartiles", "slip_bps_q50"),
}
# What adds nothing in either model.
NEUTRAL = {
    "sharpe": 0.0,
    "dd_pct": 0.0,
    "atr_ratio": 0.6666666666666667,
    "maker_fill_ratio": 0.5,
    "fallback_ratio": 0.5,
    "slip_bps_q50": 0.0,
    "fee_bps": 5.0,
}
PARTS = {
    "sharpe": "sharpe_score",
    "dd_pct": "dd_score",
    "atr_ratio": "atr_score",
    "maker_fill_ratio": "maker_score",
    "fallback_ratio": "fallback_score",
    "slip_bps_q50": "slip_score",
    "fee_bps": "fee_score",
}


def rows_of(symbol: str, **known: Any) -> list[Line]:
    """Return a symbol's rows in every table that the score reads; what is not named is NULL."""
    rows: dict[str, Row] = {
        "feat_symbol__performance": {"symbol": symbol, "round_trip_n": 7},
        "feat_symbol__atr_regime": {"symbol": symbol, "atr_source": "bars"},
        "feat_router__effectiveness": {
            "symbol": symbol,
            "n": 9,
            "maker_known_n": 5,
            "fallback_known_n": 4,
        },
        "feat_execution__slippage_quartiles": {"symbol": symbol, "hour_utc": -1, "n": 8},
    }
    for name, value in known.items():
        if name == "fee_bps":
            if value is not None:
                paid = {"priced_fees_n": 1, "priced_fees_usd": value, "priced_notional_usd": 1e4}
                rows["core_window__hourly"] = {"symbol": symbol, **paid}
        elif name in INPUTS:
            table, column = INPUTS[name]
            rows[table][column] = value
        else:  # a column of the volatility table
            rows["feat_symbol__atr_regime"][name] = value
    return [Line(table, row) for table, row in rows.items()]


def scores(con: Con, *lines: Line, **choice: Any) -> dict[tuple[str, str], Row]:
    """Return the scores over rows of the tables that they read, by symbol and model."""
    tables: dict[str, list[Row]] = {}
    for line in lines:
        tables.setdefault(line.table, []).append(line.values)
    return features_of(con, TABLE, tables, **choice)


def score_each(con: Con, cases: list[Row], model: str, **choice: Any) -> list[Row]:
    """Return the row of each case by one model, all computed together."""
    lines = [line for k, case in enumerate(cases) for line in rows_of(f"S{k}", **case)]
    found = scores(con, *lines, **choice)
    return [found[f"S{k}", model] for k in range(len(cases))]


def part_of(con: Con, name: str, values: list[float], model: str) -> list[float]:
    """Return the part of the score that each value of one input makes, the others neutral."""
    rows = score_each(con, [{**NEUTRAL, name: value} for value in values], model)
    return [row[PARTS[name]] for row in rows]


# ------------------------------------------------------------------------------------------- v5.10

ABOVE, BELOW = math.inf, -math.inf


def next_to(value: float, direction: float) -> float:
    return math.nextafter(value, direction)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        (
            "sharpe",
            [
                (-1.5, -1.0),
                (-1.0, -1.0),
                (next_to(-1.0, ABOVE), next_to(-1.0, ABOVE) / 2),  # the jump of the original
                (-0.99, -0.495),
                (0.0, 0.0),
                (1.0, 0.5),
                (next_to(2.0, BELOW), next_to(2.0, BELOW) / 2),
                (2.0, 1.0),
                (50.0, 1.0),
            ],
        ),
        (
            "atr_ratio",
            [
                (0.0, -0.2),
                (next_to(0.5, BELOW), -0.2),
                (0.5, 0.0),
                (next_to(0.8, BELOW), 0.0),
                (0.8, 0.1),
                (1.5, 0.1),
                (next_to(1.5, ABOVE), 0.0),
                (2.5, 0.0),
                (next_to(2.5, ABOVE), -0.3),
            ],
        ),
        ("maker_fill_ratio", [(0.0, -0.25), (0.5, 0.0), (0.7, (0.7 - 0.5) * 0.5), (1.0, 0.25)]),
        ("fallback_ratio", [(0.0, 0.0), (0.5, 0.0), (0.53125, -0.03125), (1.0, -0.5)]),
        ("slip_bps_q50", [(-9.0, 0.0), (5.0, 0.0), (next_to(5.0, ABOVE), -0.3), (90.0, -0.3)]),
        (
            "dd_pct",
            [
                (-40.0, -0.5),
                (-3.0, -0.5),
                (next_to(-3.0, ABOVE), -0.25),
                (-1.5, -0.25),
                (next_to(-1.5, ABOVE), 0.0),
                (0.0, 0.0),
                (next_to(0.5, BELOW), 0.0),
                (0.5, 0.1),  # cannot occur, kept for parity
            ],
        ),
        ("fee_bps", [(0.0, 0.0), (90.0, 0.0)]),  # no part of v5.10
    ],
)
def test_v510_parts_step_where_the_original_steps(
    con: Con, name: str, steps: list[tuple[float, float]]
) -> None:
    found = part_of(con, name, [value for value, _ in steps], OLD)
    assert found == [score for _, score in steps]


def test_v510_thresholds_are_parameters(con: Con) -> None:
    overrides = {"v510_sharpe_high": 1.0, "v510_slip_above_bps": 1.0, "v510_dd_pct": -0.5}
    cases = [{**NEUTRAL, "sharpe": x, "slip_bps_q50": 2.0, "dd_pct": -0.5} for x in (0.9, 1.0)]
    below, at = score_each(con, cases, OLD, overrides=overrides)
    assert (below["sharpe_score"], at["sharpe_score"]) == (0.45, 1.0)
    assert (at["slip_score"], at["dd_score"]) == (-0.3, -0.25)


def test_v510_score_is_the_originals_sum(con: Con) -> None:
    # the worked case: 1 + 0.1 + (0.7 - 0.5) / 2 - 0 - 0 + 0
    case = {
        "sharpe": 2.0,
        "atr_ratio": 1.0,
        "maker_fill_ratio": 0.7,
        "fallback_ratio": 0.2,
        "slip_bps_q50": 2.0,
        "dd_pct": -0.5,
    }
    row, worst, best = score_each(
        con,
        [
            case,
            {**case, "sharpe": -9.0, "atr_ratio": 9.0, "maker_fill_ratio": 0.0}
            | {"fallback_ratio": 1.0, "slip_bps_q50": 9.0, "dd_pct": -9.0},
            {**case, "maker_fill_ratio": 1.0, "fallback_ratio": 0.0},
        ],
        OLD,
    )
    assert row["score"] == pytest.approx(1.2, abs=1e-15)
    assert row["router_score"] == pytest.approx(0.1, abs=1e-15)
    assert row["size_factor"] == pytest.approx(1.36, abs=1e-15)
    assert (row["missing"], row["coverage"]) == ("", 1.0)
    assert worst["score"] == pytest.approx(-1 - 0.3 - 0.25 - 0.5 - 0.3 - 0.5, abs=1e-15)
    assert worst["size_factor"] == 0.5
    assert best["score"] == 1.35  # never above
    assert best["size_factor"] == pytest.approx(1.405, abs=1e-15)


@pytest.mark.parametrize(
    ("score", "size"),
    [
        (-1.5, 0.5),
        (-1.0, 0.5),
        (-0.99, 1 - 0.3 * 0.99),  # the jump of the original
        (-0.25, 0.925),
        (0.0, 1.0),
        (0.25, 1.075),
    ],
)
def test_v510_size_factor_by_score(con: Con, score: float, size: float) -> None:
    # maker 0 to 1 gives -0.25 to 0.25; Sharpe -1 gives -1, at -0.495 × 2 it gives -0.495
    cases = {
        -1.5: {"sharpe": -2.0, "dd_pct": -3.0},
        -1.0: {"sharpe": -1.0},
        -0.99: {"sharpe": -0.49 * 2, "dd_pct": -3.0},
        -0.25: {"dd_pct": -2.0},
        0.0: {},
        0.25: {"maker_fill_ratio": 1.0},
    }
    (row,) = score_each(con, [{**NEUTRAL, **cases[score]}], OLD)
    assert row["score"] == pytest.approx(score, abs=1e-15)
    assert row["size_factor"] == pytest.approx(size, abs=1e-15)


def test_v510_size_factor_is_level_from_its_high_score_on(con: Con) -> None:
    # the default 1.5 lies above every score; the same rule with a lower one
    cases = [{**NEUTRAL, "sharpe": sharpe} for sharpe in (1.0, next_to(1.0, BELOW), 2.0)]
    overrides = {"v510_size_high_score": 0.5}
    at, below, above = (r["size_factor"] for r in score_each(con, cases, OLD, overrides=overrides))
    assert (at, above) == (1.5, 1.5)
    assert below == pytest.approx(1.15, abs=1e-12)


def test_size_factor_keeps_within_its_bounds(con: Con) -> None:
    overrides = {"v510_size_slope": 1.0, "size_factor_min": 0.6, "size_factor_max": 1.2}
    cases = [{**NEUTRAL, "sharpe": sharpe} for sharpe in (-3.0, -0.9, 0.5, -0.2)]
    found = [r["size_factor"] for r in score_each(con, cases, OLD, overrides=overrides)]
    assert found == [0.6, 0.6, 1.2, 0.9]


# ------------------------------------------------------------------------------------------- v5.11


@pytest.mark.parametrize(
    ("name", "points"),
    [
        (
            "sharpe",
            [
                (-5.0, -1.0),
                (-1.0, -1.0),
                (-0.5, -0.5),
                (0.0, 0.0),
                (1.0, 0.5),
                (2.0, 1.0),
                (9.0, 1.0),
            ],
        ),
        (
            "atr_ratio",
            [
                (0.0, -0.2),
                (0.4, -0.2),
                (0.6, -0.05),
                (0.8, 0.1),
                (1.2, 0.1),
                (1.5, 0.1),
                (2.0, -0.1),
                (2.5, -0.3),
                (9.0, -0.3),
            ],
        ),
        ("maker_fill_ratio", [(0.0, -0.25), (0.5, 0.0), (0.75, 0.125), (1.0, 0.25)]),
        ("fallback_ratio", [(0.0, 0.0), (0.5, 0.0), (0.75, -0.25), (1.0, -0.5)]),
        ("slip_bps_q50", [(-9.0, 0.0), (4.0, 0.0), (5.0, -0.15), (6.0, -0.3), (99.0, -0.3)]),
        (
            "dd_pct",
            [
                (-9.0, -0.5),
                (-3.0, -0.5),
                (-2.25, -0.375),
                (-1.5, -0.25),
                (-0.75, -0.125),
                (0.0, 0.0),
                (1.0, 0.0),
            ],
        ),
        ("fee_bps", [(-2.0, 0.0), (5.0, 0.0), (12.5, -0.15), (20.0, -0.3), (400.0, -0.3)]),
    ],
)
def test_v511_parts_follow_their_knots(
    con: Con, name: str, points: list[tuple[float, float]]
) -> None:
    found = part_of(con, name, [x for x, _ in points], NEW)
    assert found == pytest.approx([y for _, y in points], abs=1e-14)


@pytest.mark.parametrize(
    ("sharpe", "drawdown", "size"),
    [
        (-2.0, -3.0, 0.5),  # score -1.5
        (-1.0, 0.0, 0.5),  # score -1
        (-0.5, 0.0, 0.75),
        (0.0, 0.0, 1.0),
        (1.35, 0.0, 1 + 0.45 / 2),  # score 0.675
        (2.0, 0.0, 1 + 1 / 3),
    ],
)
def test_v511_size_factor_follows_its_knots(
    con: Con, sharpe: float, drawdown: float, size: float
) -> None:
    (row,) = score_each(con, [{**NEUTRAL, "sharpe": sharpe, "dd_pct": drawdown}], NEW)
    assert row["size_factor"] == pytest.approx(size, abs=1e-14)


def test_knots_are_parameters(con: Con) -> None:
    overrides = {"v511_slip": [[0.0, 0.0], [10.0, -1.0]], "v511_size": [[-1.0, 0.3], [0.0, 1.0]]}
    (row,) = score_each(con, [{**NEUTRAL, "slip_bps_q50": 5.0}], NEW, overrides=overrides)
    assert row["slip_score"] == pytest.approx(-0.5, abs=1e-15)
    assert row["size_factor"] == pytest.approx(0.65, abs=1e-14)


def test_v511_leaves_to_the_sizing_what_it_applies_itself(con: Con) -> None:
    case = {**NEUTRAL, "sharpe": -2.0, "atr_ratio": 9.0, "dd_pct": -3.0}
    for missing in ({}, {"sharpe": None, "atr_ratio": None}):
        lines = rows_of("S", **{**case, **missing})
        found = scores(con, *lines, overrides={"exclude_stacked": "on"})
        new, old = found["S", NEW], found["S", OLD]
        assert (new["sharpe_score"], new["atr_score"], new["score"]) == (0.0, 0.0, -0.5)
        assert (new["excluded"], new["missing"], new["coverage"]) == ("sharpe,atr_ratio", "", 1.0)
        assert (old["excluded"], old["sharpe_score"]) == ("", 0.0 if missing else -1.0)
    (whole,) = score_each(con, [case], NEW)
    assert (whole["excluded"], whole["score"]) == ("", pytest.approx(-1.8, abs=1e-15))


DENSE = {  # input: range, direction in which the score may go
    "sharpe": (-2.0, 3.0, 1),
    "maker_fill_ratio": (0.0, 1.0, 1),
    "fallback_ratio": (0.0, 1.0, -1),
    "slip_bps_q50": (-2.0, 12.0, -1),
    "dd_pct": (-5.0, 1.0, 1),
    "fee_bps": (-2.0, 30.0, -1),
    "atr_ratio": (0.0, 4.0, 0),
}


@pytest.mark.parametrize("name", DENSE)
def test_v511_is_continuous_and_monotone(con: Con, name: str) -> None:
    low, high, direction = DENSE[name]
    count = 2000
    grid = [low + (high - low) * k / count for k in range(count + 1)]
    knots = [x for param, x, _ in params.knots(params.load({})) if param == KNOTS[name]]
    assert any(low < x < high for x in knots) or name == "maker_fill_ratio"
    # beside every knot too, where a jump would hide between two points of the grid
    beside = [next_to(x, side) for x in knots for side in (ABOVE, BELOW)]
    grid = sorted({*grid, *(x for x in (*knots, *beside) if low <= x <= high)})
    rows = score_each(con, [{**NEUTRAL, name: x} for x in grid], NEW)
    # steepest: Sharpe 1 a unit, fallback 1 a unit, ATR ratio 0.75 a unit
    for column, slope in (("score", 1.0), ("size_factor", 0.5)):
        values = [row[column] for row in rows]
        steps = [
            (b - a, y - x) for a, b, x, y in zip(values, values[1:], grid, grid[1:], strict=False)
        ]
        assert all(abs(rise) <= slope * run + 1e-12 for rise, run in steps), column
        assert all(rise * direction >= -1e-12 for rise, _ in steps), column
        assert len(set(values)) > 50, "the part never moved"


KNOTS = {
    "sharpe": "v511_sharpe",
    "atr_ratio": "v511_atr_ratio",
    "maker_fill_ratio": "v511_maker",
    "fallback_ratio": "v511_fallback",
    "slip_bps_q50": "v511_slip",
    "dd_pct": "v511_dd",
    "fee_bps": "v511_fee",
}


# ------------------------------------------------------------------------------- what is not known


@pytest.mark.parametrize("model", [OLD, NEW])
def test_an_unknown_input_adds_nothing_and_is_named(con: Con, model: str) -> None:
    bad = {
        "sharpe": -2.0,
        "atr_ratio": 9.0,
        "maker_fill_ratio": 0.0,
        "fallback_ratio": 1.0,
        "slip_bps_q50": 90.0,
        "dd_pct": -9.0,
        "fee_bps": 90.0,
    }
    names = [name for name in bad if model == NEW or name != "fee_bps"]
    (whole, *rows) = score_each(con, [bad, *({**bad, name: None} for name in names)], model)
    for name, row in zip(names, rows, strict=True):
        assert row["missing"] == name
        assert row[PARTS[name]] == 0.0
        assert row["score"] == pytest.approx(whole["score"] - whole[PARTS[name]], abs=1e-15)
        assert row["score"] > whole["score"]
        parts = 4 if model == OLD else 5
        assert row["coverage"] == (parts - 1) / parts
    assert (whole["missing"], whole["coverage"]) == ("", 1.0)


def test_nothing_known_is_score_nought_and_size_one(con: Con) -> None:
    found = scores(con, *rows_of("S"))
    names = "sharpe,atr_ratio,maker_fill_ratio,fallback_ratio,slip_bps_q50,dd_pct"
    assert found["S", OLD]["missing"] == names
    assert found["S", NEW]["missing"] == f"{names},fee_bps"
    for row in found.values():
        assert (row["score"], row["size_factor"], row["coverage"]) == (0.0, 1.0, 0.0)


def test_a_router_part_is_known_when_its_three_inputs_are(con: Con) -> None:
    case = {**NEUTRAL, "maker_fill_ratio": None, "slip_bps_q50": None}
    (row,) = score_each(con, [case], OLD)
    assert (row["missing"], row["coverage"]) == ("maker_fill_ratio,slip_bps_q50", 0.75)


@pytest.mark.parametrize("source", ["fills", "none", None])
def test_volatility_of_fills_does_not_count(con: Con, source: str | None) -> None:
    (row,) = score_each(con, [{**NEUTRAL, "atr_ratio": 9.0, "atr_source": source}], OLD)
    assert (row["atr_ratio"], row["atr_score"], row["missing"]) == (None, 0.0, "atr_ratio")
    (row,) = score_each(con, [{**NEUTRAL, "atr_ratio": 9.0, "atr_source": "short"}], OLD)
    assert (row["atr_ratio"], row["atr_score"]) == (9.0, -0.3)


ODD = st.sampled_from([None, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0, -0.0])
ANY = st.one_of(ODD, st.floats(allow_nan=True, allow_infinity=True), st.floats(-5, 25))
CASE = st.fixed_dictionaries(dict.fromkeys(INPUTS, ANY))


@settings(max_examples=15)
@given(cases=st.lists(CASE, min_size=1, max_size=40), stacked=st.sampled_from(["on", "off"]))
def test_no_input_whatever_drives_a_score_or_size_out_of_bounds(
    con: Con, cases: list[Row], stacked: str
) -> None:
    lines = [line for k, case in enumerate(cases) for line in rows_of(f"S{k}", **case)]
    found = scores(con, *lines, overrides={"exclude_stacked": stacked})
    assert len(found) == 2 * len(cases)
    for row in found.values():
        assert -2.85 - 1e-9 <= row["score"] <= 1.35 + 1e-9
        assert 0.5 <= row["size_factor"] <= 1.45
        parts = ("sharpe_score", "atr_score", "router_score", "dd_score", "fee_score")
        assert row["score"] == pytest.approx(sum(row[name] for name in parts), abs=1e-12)
        numbers = [value for value in row.values() if isinstance(value, float)]
        assert all(math.isfinite(value) for value in numbers)
        for name in INPUTS:
            assert (row[name] is None) == (name in row["missing"].split(",")) or row["excluded"]


# -------------------------------------------------------------------------------------------- fees


def fee(con: Con, *lines: Line) -> Row:
    hours = [Line("core_window__hourly", row) for row in hourly(con, *lines)]
    return scores(con, *rows_of("ETHUSDT"), *hours)["ETHUSDT", NEW]


def test_fees_are_of_the_notional_that_they_were_paid_for(con: Con) -> None:
    row = fee(
        con,
        outcome(fees_usd=0.5, notional_usd=1000.0),
        outcome("partial", fees_usd=0.1, notional_usd=500.0),
        outcome("close_only", fees_usd=0.3, closed_notional_usd=300.0),
        outcome(fees_usd=None, notional_usd=9000.0),  # fee unknown -> its notional does not count
        outcome(fees_usd=7.0, notional_usd=None),  # notional unknown
        outcome("unknown", fees_usd=7.0, notional_usd=100.0),  # nobody knows that it filled
        outcome("unfilled", fees_usd=7.0, notional_usd=100.0),
    )
    assert row["fee_n"] == 3
    assert row["fee_bps"] == pytest.approx(1e4 * 0.9 / 1800, rel=1e-14)


def test_a_rebate_is_a_fee_below_nought(con: Con) -> None:
    row = fee(con, outcome(fees_usd=-0.1, notional_usd=1000.0))
    assert (row["fee_bps"], row["fee_score"]) == (-1.0, 0.0)


@pytest.mark.parametrize(
    "lines",
    [[], [outcome(fees_usd=1.0, notional_usd=0.0)], [outcome(fees_usd=None, notional_usd=5.0)]],
)
def test_fees_of_nothing_are_unknown(con: Con, lines: list[Line]) -> None:
    row = fee(con, *lines)
    assert (row["fee_n"], row["fee_bps"], "fee_bps" in row["missing"]) == (0, None, True)


# ----------------------------------------------------------------------------------------- symbols


def test_both_models_of_every_traded_symbol_and_the_one_that_acts(con: Con) -> None:
    lines = [
        Line("feat_router__effectiveness", {"symbol": "*", "n": 9}),
        Line("feat_router__effectiveness", {"symbol": "ROUTED", "n": 3}),
        Line("feat_symbol__performance", {"symbol": "CLOSED", "round_trip_n": 2}),
        Line("feat_symbol__atr_regime", {"symbol": "BARS", "atr_source": "bars", "atr_ratio": 1.0}),
    ]
    for acting in (OLD, NEW):
        found = scores(con, *lines, overrides={"score_model": acting})
        assert set(found) == {(s, m) for s in ("ROUTED", "CLOSED") for m in (OLD, NEW)}
        assert {model for (_, model), row in found.items() if row["is_active"]} == {acting}
    assert (found["ROUTED", OLD]["n"], found["CLOSED", OLD]["n"]) == (3, 0)
    assert found["CLOSED", OLD]["round_trip_n"] == 2


def test_slippage_is_that_of_all_hours(con: Con) -> None:
    hour = {"symbol": "S", "hour_utc": 3, "n": 4, "slip_bps_q50": 90.0}
    lines = rows_of("S", **NEUTRAL)
    row = scores(con, *lines, Line("feat_execution__slippage_quartiles", hour))["S", OLD]
    assert (row["slip_bps_q50"], row["slip_n"]) == (0.0, 8)


def test_scores_of_literal_lines_read_the_tables_of_the_same_build(con: Con) -> None:
    lines = [
        outcome(
            at=T + k,
            symbol="ETHUSDT",
            fill_px=100.0 + k,
            is_maker=k % 4 > 0,
            started_maker=True,
            used_fallback=k % 2 == 0,
            slippage_bps=6.0,
            fees_usd=0.05,
            notional_usd=100.0,
            realized_pnl_usd=1.0 + k % 2,
            closed_notional_usd=100.0,
        )
        for k in range(8)
    ]
    rows = features(con, TABLE, *lines, order("order_error", None, symbol="NEW"), as_of_ms=T + D)
    row = rows["ETHUSDT", OLD]
    assert (row["n"], row["round_trip_n"], row["maker_known_n"], row["slip_n"]) == (8, 8, 8, 8)
    assert (row["maker_fill_ratio"], row["fallback_ratio"], row["slip_bps_q50"]) == (0.75, 0.5, 6.0)
    assert row["fee_bps"] == pytest.approx(5.0, rel=1e-14)
    assert (row["sharpe_score"], row["slip_score"], row["maker_score"]) == (1.0, -0.3, 0.125)
    assert row["missing"] == "atr_ratio,dd_pct"  # no bars, no equity
    assert rows["NEW", OLD]["n"] == 0
