"""How slippage is distributed: feat_execution__slippage_quartiles on a few literal rows."""

import random

import duckdb
import numpy as np
import pytest

from tests.features.sql.literal import H, T, features, outcome, router

Con = duckdb.DuckDBPyConnection

TABLE = "feat_execution__slippage_quartiles"
QUANTILES = {"q25": 25, "q50": 50, "q75": 75, "q95": 95, "q99": 99}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 40])
def test_quantiles_are_numpys(con: Con, n: int) -> None:
    drawn = random.Random(n)
    slips = [drawn.uniform(-40, 40) for _ in range(n)]
    row = features(con, TABLE, *(outcome(slippage_bps=slip) for slip in slips))["ETHUSDT", -1]
    found = [row[f"slip_bps_{name}"] for name in QUANTILES]
    expected = [float(np.percentile(slips, at)) for at in QUANTILES.values()]
    assert found == pytest.approx(expected, abs=1e-12)
    assert row["slip_bps_mean"] == pytest.approx(float(np.mean(slips)), abs=1e-12)
    assert row["n"] == n


def test_hours_and_all_hours_symbols_and_all_symbols_stand_apart(con: Con) -> None:
    rows = features(
        con,
        TABLE,
        outcome(slippage_bps=1.0),
        outcome(slippage_bps=3.0, at=T + H),
        outcome(slippage_bps=8.0, symbol="BTCUSDT"),
    )
    assert {key: (row["n"], row["slip_bps_q50"]) for key, row in rows.items()} == {
        ("ETHUSDT", 0): (1, 1.0),
        ("ETHUSDT", 1): (1, 3.0),
        ("ETHUSDT", -1): (2, 2.0),
        ("BTCUSDT", 0): (1, 8.0),
        ("BTCUSDT", -1): (1, 8.0),
        ("*", 0): (2, 4.5),
        ("*", 1): (1, 3.0),
        ("*", -1): (3, 3.0),
    }


def test_midnight_parts_hours_23_and_0(con: Con) -> None:
    rows = features(
        con, TABLE, outcome(slippage_bps=1.0, at=T - 1), outcome(slippage_bps=2.0, at=T)
    )
    assert rows["ETHUSDT", 23]["slip_bps_q50"] == 1.0
    assert rows["ETHUSDT", 0]["slip_bps_q50"] == 2.0


def test_nothing_gives_no_rows(con: Con) -> None:
    assert features(con, TABLE, outcome("unknown"), outcome("filled")) == {}


def test_artefacts_of_unfilled_orders_never_appear(con: Con) -> None:
    # the executor logs +-10000 bps for orders it never polled, and for flat lines -> in no figure
    rows = features(
        con,
        TABLE,
        router("a1", slippage_logged_bps=-10000.0),  # bought 1 % above the mark -> 100 bps
        router("a2", status="NEW", slippage_logged_bps=10000.0),
        router("a3", status="CANCELED", slippage_logged_bps=-10000.0),
        router("a4", status=None, notional_usd=9.0, slippage_logged_bps=10000.0, mark_px=None),
        router("a5", mark_px=None, slippage_logged_bps=10000.0),  # of a fill -> counted as suspect
    )
    row = rows["ETHUSDT", -1]
    assert (row["n"], row["suspect_n"]) == (1, 1)
    figures = [value for name, value in row.items() if name.startswith("slip_bps_q")]
    assert [*figures, row["slip_bps_mean"]] == [100.0] * 6


def test_suspect_rows_are_counted_and_kept_out(con: Con) -> None:
    row = features(
        con,
        TABLE,
        outcome(slippage_bps=2.0),
        outcome(slippage_bps=700.0, suspect_reason="crossed_arrival_book"),
    )["ETHUSDT", -1]
    assert (row["n"], row["suspect_n"], row["slip_bps_q99"]) == (1, 1, 2.0)


def test_only_suspect_rows_estimate_nothing(con: Con) -> None:
    row = features(con, TABLE, outcome(slippage_bps=9.0, suspect_reason="x"))["ETHUSDT", -1]
    assert (row["n"], row["suspect_n"], row["slip_bps_q50"], row["slip_bps_mean"]) == (
        0,
        1,
        None,
        None,
    )


def test_mean_is_winsorised_at_fifty_on_both_sides(con: Con) -> None:
    slips = [50.0, -50.0, 50.01, -50.01, 200.0, -80.0, 10.0]
    row = features(con, TABLE, *(outcome(slippage_bps=slip) for slip in slips))["ETHUSDT", -1]
    # clipped: 50.01, -50.01, 200 and -80; exactly 50 is not
    assert row["clipped_n"] == 4
    assert row["slip_bps_mean_w50"] == pytest.approx(10 / 7, abs=1e-12)
    assert row["slip_bps_mean"] == pytest.approx(130 / 7, abs=1e-12)


@pytest.mark.parametrize(
    ("age_ms", "fresh", "unknown"),
    [
        (4999, 1, 0),  # younger than 5 s -> fresh
        (5000, 0, 0),  # 5 s old -> carries the market's drift
        (0, 1, 0),
        (-1, 0, 1),  # decided after the fill -> two clocks disagree, its age is unknown
        (-60_000, 0, 1),
        (None, 0, 1),  # age not logged -> not known to be fresh
    ],
)
def test_fresh(con: Con, age_ms: int | None, fresh: int, unknown: int) -> None:
    row = features(con, TABLE, outcome(slippage_bps=4.0, mark_age_ms=age_ms))["ETHUSDT", -1]
    assert (row["n"], row["fresh_n"], row["age_unknown_n"]) == (1, fresh, unknown)
    assert row["fresh_q50"] == (4.0 if fresh else None)


def test_fresh_quartiles_are_those_of_fresh_fills_alone(con: Con) -> None:
    fresh = [1.0, 2.0, 4.0, 9.0]
    row = features(
        con,
        TABLE,
        *(outcome(slippage_bps=slip, mark_age_ms=100) for slip in fresh),
        outcome(slippage_bps=90.0, mark_age_ms=60_000),
        outcome(slippage_bps=70.0, mark_age_ms=100, suspect_reason="crossed_arrival_book"),
    )["ETHUSDT", -1]
    assert (row["n"], row["fresh_n"]) == (5, 4)
    found = [row["fresh_q25"], row["fresh_q50"], row["fresh_q75"]]
    assert found == [float(np.percentile(fresh, at)) for at in (25, 50, 75)]
