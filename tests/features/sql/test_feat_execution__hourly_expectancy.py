"""What an hour earned per dollar: feat_execution__hourly_expectancy on a few literal rows."""

import math
import statistics
from typing import Any

import duckdb
import pytest
from scipy import stats

from tests.features.sql.literal import D, H, Line, M, Row, T, features, order, outcome

Con = duckdb.DuckDBPyConnection

TABLE = "feat_execution__hourly_expectancy"
CLOSE = 1e-12


def test_expectancy_is_pnl_over_notional(con: Con) -> None:
    rows = features(
        con,
        TABLE,
        # PnL 3 on 100 and 200 -> 0.01
        outcome(notional_usd=100.0, realized_pnl_usd=3.0),
        outcome(notional_usd=200.0),
        # a lone close trades what it closes: -2 on 50 -> (3 - 2) / 350 in all
        outcome("close_only", at=T + H, realized_pnl_usd=-2.0, closed_notional_usd=50.0),
        # another day, the same hour -> joins hour 0
        outcome(at=T - D, notional_usd=100.0, realized_pnl_usd=1.0),
    )
    hour_0, hour_1 = rows["ETHUSDT", 0], rows["ETHUSDT", 1]
    assert hour_0["exp_per_notional"] == pytest.approx(4 / 400, abs=CLOSE)
    assert (hour_0["n"], hour_0["fill_n"], hour_0["close_n"]) == (3, 3, 2)
    assert (hour_0["pnl_usd"], hour_0["notional_usd"]) == (4.0, 400.0)
    assert hour_1["exp_per_notional"] == pytest.approx(-2 / 50, abs=CLOSE)
    assert (hour_1["n"], hour_1["close_n"]) == (0, 1)


def test_all_symbols_together_stand_as_star(con: Con) -> None:
    rows = features(
        con,
        TABLE,
        outcome(symbol="ETHUSDT", notional_usd=100.0, realized_pnl_usd=3.0),
        outcome(symbol="BTCUSDT", notional_usd=300.0, realized_pnl_usd=-1.0),
        outcome("unknown", symbol="BTCUSDT"),
    )
    assert set(rows) == {("*", 0), ("BTCUSDT", 0), ("ETHUSDT", 0)}
    assert rows["*", 0]["exp_per_notional"] == pytest.approx(2 / 400, abs=CLOSE)
    assert (rows["*", 0]["n"], rows["*", 0]["close_n"]) == (3, 2)


def test_only_hours_with_rows_stand(con: Con) -> None:
    rows = features(
        con,
        TABLE,
        outcome("unknown", at=T - 1),  # 23:59:59.999 -> hour 23
        outcome("unknown", at=T),  # midnight -> hour 0
        order("order_error", None, at=T + 5 * H),  # an error is no attempt -> no row
    )
    assert {hour for symbol, hour in rows if symbol == "ETHUSDT"} == {23, 0}


def test_nothing_gives_no_rows(con: Con) -> None:
    assert features(con, TABLE) == {}


def test_without_notional_nothing_is_estimated(con: Con) -> None:
    row = features(con, TABLE, outcome("unknown"), outcome("unfilled"))["ETHUSDT", 0]
    estimates = [
        "exp_per_notional",
        "exp_net_per_notional",
        "exp_stderr",
        "exp_lo95",
        "exp_hi95",
        "exp_shrunk",
        "slip_bps_avg",
        "slip_bps_stderr",
    ]
    assert {name: row[name] for name in estimates} == dict.fromkeys(estimates)
    assert (row["n"], row["close_n"], row["slip_n"], row["notional_usd"]) == (2, 0, 0, 0.0)


def test_traded_but_not_closed_has_earned_nothing_yet(con: Con) -> None:
    row = features(con, TABLE, outcome(notional_usd=100.0))["ETHUSDT", 0]
    assert (row["exp_per_notional"], row["close_n"], row["exp_stderr"]) == (0.0, 0, None)


def test_net_expectancy_takes_fees_off_where_those_of_every_fill_are_known(con: Con) -> None:
    close = outcome(notional_usd=100.0, realized_pnl_usd=3.0, fees_usd=0.5)
    # every fee known -> net of them
    row = features(con, TABLE, close, outcome(notional_usd=100.0, fees_usd=0.25))["ETHUSDT", 0]
    assert row["exp_net_per_notional"] == pytest.approx((3 - 0.75) / 200, abs=CLOSE)
    assert row["fees_known_n"] == 2


def test_expectancy_is_unknown_where_the_pnl_of_a_close_is(con: Con) -> None:
    # what the last one earned nobody logged -> to count it as 0 would be the best case of a loss
    silent: Row = {"close_n": 1, "close_ms": T, "realized_pnl_usd": None}
    rows = features(
        con,
        TABLE,
        outcome(notional_usd=100.0, realized_pnl_usd=1.0, fees_usd=0.1),
        outcome(notional_usd=100.0, realized_pnl_usd=2.0, fees_usd=0.1),
        outcome(notional_usd=100.0, fees_usd=0.1, **silent),
        outcome(at=T + H, notional_usd=100.0, realized_pnl_usd=1.0),
    )
    row = rows["ETHUSDT", 0]
    assert (row["pnl_usd"], row["close_n"], row["pnl_known_n"]) == (3.0, 3, 2)
    assert rows["ETHUSDT", 1]["exp_per_notional"] == 0.01  # another hour knows its own
    estimates = ("exp_per_notional", "exp_net_per_notional", "exp_stderr", "exp_lo95", "exp_hi95")
    for name in (*estimates, "exp_shrunk"):
        assert row[name] is None
    assert rows["ETHUSDT", 1]["exp_shrunk"] is None  # what all hours earned is not known


def test_net_expectancy_is_unknown_where_a_fee_is(con: Con) -> None:
    close = outcome(notional_usd=100.0, realized_pnl_usd=3.0, fees_usd=0.5)
    # one fee unknown -> to leave it out would be the best case
    row = features(con, TABLE, close, outcome(notional_usd=100.0, fees_usd=None))["ETHUSDT", 0]
    assert (row["exp_net_per_notional"], row["fees_known_n"]) == (None, 1)
    assert row["exp_per_notional"] == pytest.approx(3 / 200, abs=CLOSE)


def paid(at: int, usd: float, **values: Any) -> Line:
    return order("funding", None, at=at, funding_usd=usd, **values)


def test_net_expectancy_takes_known_funding_of_its_hour(con: Con) -> None:
    rows = features(
        con,
        TABLE,
        outcome(notional_usd=100.0, realized_pnl_usd=3.0, fees_usd=0.5),
        outcome(at=T + H, notional_usd=100.0, fees_usd=0.5),
        paid(T + 5 * M, -0.25),
        paid(T - D + 59 * M, -0.5),  # another day, the same hour -> joins hour 0
        paid(T - 7 * D, -64.0),  # before the window as of the next midnight -> none
    )
    row = rows["ETHUSDT", 0]
    assert row["exp_net_per_notional"] == pytest.approx((3 - 0.5 - 0.75) / 100, abs=CLOSE)
    assert row["exp_per_notional"] == pytest.approx(3 / 100, abs=CLOSE)  # before fees and funding
    assert (row["n"], row["funding_n"], row["funding_usd"]) == (1, 2, -0.75)
    other = rows["ETHUSDT", 1]  # received none -> as without
    assert other["exp_net_per_notional"] == pytest.approx(-0.5 / 100, abs=CLOSE)
    assert (other["funding_n"], other["funding_usd"]) == (0, None)


def test_funding_that_stands_twice_counts_once_in_net(con: Con) -> None:
    twice = [paid(T, -0.5, line_hash=7, line_offset=n) for n in (10, 20)]
    close = outcome(notional_usd=100.0, realized_pnl_usd=3.0, fees_usd=0.5)
    row = features(con, TABLE, close, *twice)["ETHUSDT", 0]
    assert row["exp_net_per_notional"] == pytest.approx(2 / 100, abs=CLOSE)
    assert row["funding_n"] == 1


def test_funding_of_a_symbol_that_traded_nothing_then_counts_among_all(con: Con) -> None:
    rows = features(
        con,
        TABLE,
        outcome(notional_usd=100.0, fees_usd=0.0),
        paid(T, -0.25),
        paid(T, -0.5, symbol="BTCUSDT"),
        paid(T + 8 * H, -1.0),  # nobody traded then -> no row
    )
    assert set(rows) == {("*", 0), ("ETHUSDT", 0)}
    assert rows["ETHUSDT", 0]["exp_net_per_notional"] == pytest.approx(-0.25 / 100, abs=CLOSE)
    assert rows["*", 0]["exp_net_per_notional"] == pytest.approx(-0.75 / 100, abs=CLOSE)
    assert rows["*", 0]["funding_n"] == 2


def test_funding_joins_symbols_of_two_venues_by_venue(con: Con) -> None:
    rows = features(
        con,
        TABLE,
        outcome(venue="one", notional_usd=100.0, fees_usd=0.0),
        outcome(venue="two", notional_usd=100.0, fees_usd=0.0),
        paid(T, -0.5, venue="two"),
        symbol_key="venue_symbol",
    )
    assert rows["one:ETHUSDT", 0]["funding_usd"] is None
    assert rows["two:ETHUSDT", 0]["funding_usd"] == -0.5


@pytest.mark.parametrize("pairs", [[(3.0, 100.0), (-1.0, 300.0), (2.0, 50.0)], [(1.0, 9.0)] * 2])
def test_standard_error_is_the_delta_methods(con: Con, pairs: list[tuple[float, float]]) -> None:
    lines = [outcome(notional_usd=n, realized_pnl_usd=p) for p, n in pairs]
    row = features(con, TABLE, *lines)["ETHUSDT", 0]
    # by the book: residuals of PnL about the ratio, n / (n - 1), over the total notional
    pnl, notional = (math.fsum(values) for values in zip(*pairs, strict=True))
    ratio, n = pnl / notional, len(pairs)
    stderr = math.sqrt(math.fsum((p - ratio * x) ** 2 for p, x in pairs) * n / (n - 1)) / notional
    width = float(stats.t.ppf(0.975, n - 1)) * stderr
    assert row["exp_stderr"] == pytest.approx(stderr, abs=1e-9)
    assert row["exp_lo95"] == pytest.approx(ratio - width, abs=1e-8)
    assert row["exp_hi95"] == pytest.approx(ratio + width, abs=1e-8)


def test_one_close_has_no_standard_error(con: Con) -> None:
    row = features(con, TABLE, outcome(notional_usd=10.0, realized_pnl_usd=1.0))["ETHUSDT", 0]
    assert row["exp_per_notional"] == pytest.approx(0.1, abs=CLOSE)
    assert (row["exp_stderr"], row["exp_lo95"], row["exp_hi95"]) == (None, None, None)


def shrinking(con: Con, **choice: Row) -> dict[tuple[str, int], Row]:
    """Return hours 0 (300 traded, PnL 6), 1 (100, PnL -2) and 2 (nothing traded)."""
    return features(
        con,
        TABLE,
        outcome(notional_usd=100.0, realized_pnl_usd=6.0),
        outcome(notional_usd=200.0),
        outcome(at=T + H, notional_usd=100.0, realized_pnl_usd=-2.0),
        outcome("unfilled", at=T + 2 * H),
        **choice,
    )


def test_thin_hours_are_drawn_towards_all_hours(con: Con) -> None:
    rows = shrinking(con)
    # all hours: 4 / 400; k = 10 * 400 USD / 4 attempts = 1000
    for hour, pnl, notional in ((0, 6, 300), (1, -2, 100)):
        weight = notional / (notional + 1000)
        row = rows["ETHUSDT", hour]
        assert row["shrink_weight"] == pytest.approx(weight, abs=CLOSE)
        expected = weight * pnl / notional + (1 - weight) * 4 / 400
        assert row["exp_shrunk"] == pytest.approx(expected, abs=CLOSE)
    # no notional -> weight 0, the value of all hours
    assert (rows["ETHUSDT", 2]["shrink_weight"], rows["ETHUSDT", 2]["exp_shrunk"]) == (0.0, 0.01)


def test_no_shrinking_where_the_parameter_is_zero(con: Con) -> None:
    rows = shrinking(con, overrides={"shrink_attempts": 0.0})
    assert rows["ETHUSDT", 0]["exp_shrunk"] == rows["ETHUSDT", 0]["exp_per_notional"]
    assert rows["ETHUSDT", 2]["exp_shrunk"] == pytest.approx(0.01, abs=CLOSE)


def test_slippage_mean_and_its_error(con: Con) -> None:
    slips = [4.0, -1.0, 2.5]
    row = features(
        con,
        TABLE,
        *(outcome(slippage_bps=slip) for slip in slips),
        outcome(slippage_bps=999.0, suspect_reason="crossed_arrival_book"),  # kept out
    )["ETHUSDT", 0]
    mean, stderr = statistics.fmean(slips), statistics.stdev(slips) / math.sqrt(3)
    t975 = float(stats.t.ppf(0.975, 2))
    assert (row["n"], row["slip_n"]) == (4, 3)
    assert row["slip_bps_avg"] == pytest.approx(mean, abs=CLOSE)
    assert row["slip_bps_stderr"] == pytest.approx(stderr, abs=1e-9)
    assert row["slip_bps_lo95"] == pytest.approx(mean - t975 * stderr, abs=1e-8)
    assert row["slip_bps_hi95"] == pytest.approx(mean + t975 * stderr, abs=1e-8)


def test_one_fill_has_a_mean_and_no_error(con: Con) -> None:
    row = features(con, TABLE, outcome(slippage_bps=4.0))["ETHUSDT", 0]
    assert (row["slip_bps_avg"], row["slip_bps_stderr"]) == (4.0, None)
