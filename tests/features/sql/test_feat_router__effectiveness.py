"""How well the router works: feat_router__effectiveness on a few literal rows."""

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.sql.literal import (
    Line,
    Row,
    T,
    asked,
    each_symbol,
    features,
    order,
    outcome,
    router,
    veto,
)

Con = duckdb.DuckDBPyConnection

TABLE = "feat_router__effectiveness"
RATIOS = ("fill_ratio", "maker_fill_ratio", "fallback_ratio", "reject_ratio", "error_ratio")


def test_fill_ratio_is_of_attempts_whose_end_is_known(con: Con) -> None:
    row = features(
        con,
        TABLE,
        outcome("filled"),
        outcome("partial"),
        outcome("unfilled"),
        outcome("rejected"),
        outcome("unknown"),  # in n, in no ratio
        outcome("unknown"),
        outcome("close_only"),  # no attempt
    )["ETHUSDT"]
    assert (row["n"], row["fill_n"], row["fill_known_n"], row["unknown_n"]) == (6, 2, 4, 2)
    assert (row["fill_ratio"], row["reject_ratio"], row["rejected_n"]) == (0.5, 0.25, 1)


def test_maker_ratio_is_of_fills_that_know(con: Con) -> None:
    row = features(
        con, TABLE, *(outcome(is_maker=flag) for flag in (True, False, False, None, None))
    )["ETHUSDT"]
    assert (row["maker_known_n"], row["maker_fill_ratio"]) == (3, pytest.approx(1 / 3, abs=1e-15))


def test_fallback_ratio_is_of_attempts_that_began_as_maker(con: Con) -> None:
    row = features(
        con,
        TABLE,
        outcome(started_maker=True, used_fallback=True),
        outcome(started_maker=True, used_fallback=False),
        outcome(started_maker=True, used_fallback=False),
        outcome("unfilled", started_maker=True, used_fallback=False),
        outcome(started_maker=True, used_fallback=None),  # does not know
        outcome(started_maker=False, used_fallback=True),  # began as taker
        outcome("unknown", started_maker=True, used_fallback=True),  # in no ratio
    )["ETHUSDT"]
    assert (row["started_maker_n"], row["fallback_known_n"], row["fallback_ratio"]) == (6, 4, 0.25)


def test_unknown_stays_unknown(con: Con) -> None:
    row = features(con, TABLE, outcome("unknown"))["ETHUSDT"]
    unknown = (*RATIOS, "ack_ms_p50", "ack_ms_p95")
    assert {name: row[name] for name in unknown} == dict.fromkeys(unknown)
    assert (row["n"], row["unknown_n"], row["fill_known_n"], row["ack_n"]) == (1, 1, 0, 0)


def test_nothing_gives_no_rows(con: Con) -> None:
    assert features(con, TABLE) == {}


def test_errors_count_where_no_attempt_does(con: Con) -> None:
    row = features(con, TABLE, outcome(), order("order_error", None), order("order_error", None))[
        "ETHUSDT"
    ]
    assert (row["n"], row["error_n"]) == (1, 2)
    assert row["error_ratio"] == pytest.approx(2 / 3, abs=1e-15)
    row = features(con, TABLE, order("order_error", None))["ETHUSDT"]
    assert (row["n"], row["error_n"], row["error_ratio"]) == (0, 1, 1.0)


def test_orders_asked_for_appear_by_fate(con: Con) -> None:
    row = features(
        con,
        TABLE,
        asked("routed"),
        router("routed"),
        asked("vetoed"),
        veto("vetoed"),
        asked("lost"),
    )["ETHUSDT"]
    assert (row["n"], row["submitted_n"], row["vetoed_n"], row["no_outcome_n"]) == (1, 3, 1, 1)


def test_unconfirmed_fills_and_odd_slippage_are_counted(con: Con) -> None:
    row = features(
        con,
        TABLE,
        outcome(is_confirmed=False, is_slippage_different=True),
        outcome(is_confirmed=True, is_slippage_different=False),
        outcome(is_confirmed=None),
    )["ETHUSDT"]
    assert (row["unconfirmed_n"], row["slip_different_n"]) == (1, 1)


def test_acknowledgement_quantiles_are_numpys(con: Con) -> None:
    times = [12.0, 5.0, 40.0, 900.0, 7.5]
    row = features(con, TABLE, *(outcome(ack_ms=ms) for ms in times), outcome())["ETHUSDT"]
    assert row["ack_n"] == 5
    assert row["ack_ms_p50"] == pytest.approx(float(np.percentile(times, 50)), abs=1e-12)
    assert row["ack_ms_p95"] == pytest.approx(float(np.percentile(times, 95)), abs=1e-12)


def test_acknowledgement_quantiles_of_many_values_are_numpys(con: Con) -> None:
    rng = np.random.default_rng(7)
    times = {
        "ETHUSDT": [*rng.lognormal(4, 2, 150), *rng.integers(0, 4, 50)],  # many at once, and 0
        "BTCUSDT": [*rng.lognormal(1, 1, 101), -3.0],  # a clock that runs ahead
        "LTCUSDT": [0.0],
        "XRPUSDT": [1.0, 1e7],  # halfway between two bins far apart
    }
    lines = [outcome(symbol=name, ack_ms=float(ms)) for name in times for ms in times[name]]
    rows = features(con, TABLE, *lines)
    times["*"] = [ms for values in times.values() for ms in values]
    for name, values in times.items():
        assert rows[name]["ack_n"] == len(values)
        for column, share in (("ack_ms_p50", 50), ("ack_ms_p95", 95)):
            expected = float(np.percentile(values, share))
            assert rows[name][column] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_all_symbols_together_stand_as_star(con: Con) -> None:
    rows = features(
        con,
        TABLE,
        outcome(ack_ms=1.0, is_maker=True),
        outcome("unfilled", symbol="BTCUSDT", ack_ms=3.0),
    )
    assert set(rows) == {"*", "BTCUSDT", "ETHUSDT"}
    every = rows["*"]
    assert (every["n"], every["fill_ratio"], every["ack_ms_p50"]) == (2, 0.5, 2.0)


FLAGS = st.sampled_from([True, False, None])
ATTEMPT = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["filled", "partial", "unfilled", "rejected", "error", "unknown"]),
        "is_maker": FLAGS,
        "started_maker": FLAGS,
        "used_fallback": FLAGS,
    }
)


CASE = st.tuples(st.lists(ATTEMPT, min_size=1, max_size=8), st.integers(0, 2), ATTEMPT)


def case_lines(rows: list[Row], errors: int) -> list[Line]:
    return [*(outcome(**row) for row in rows), *(order("order_error", None) for _ in range(errors))]


@settings(max_examples=6)
@given(cases=st.lists(CASE, min_size=1, max_size=12))
def test_ratios_are_shares_and_no_unknown_attempt_moves_one(
    con: Con, cases: list[tuple[list[Row], int, Row]]
) -> None:
    lines = [case_lines(rows, errors) for rows, errors, _ in cases]
    lines += [
        case_lines([*rows, {**one_more, "kind": "unknown"}], errors)
        for rows, errors, one_more in cases
    ]
    found = each_symbol(con, TABLE, lines)
    for before, after in zip(found[: len(cases)], found[len(cases) :], strict=True):
        assert all(before[name] is None or 0 <= before[name] <= 1 for name in RATIOS)
        assert {name: after[name] for name in RATIOS} == {name: before[name] for name in RATIOS}
        assert after["n"] == before["n"] + 1


def test_midnight_changes_nothing(con: Con) -> None:
    rows = features(con, TABLE, outcome(at=T - 1), outcome("unfilled", at=T))
    assert (rows["ETHUSDT"]["n"], rows["ETHUSDT"]["fill_ratio"]) == (2, 0.5)
