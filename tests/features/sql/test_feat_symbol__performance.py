"""What closed trades earned: feat_symbol__performance on a few literal rows."""

import math
import statistics
from fractions import Fraction
from typing import Any

import duckdb
import pytest
from scipy import stats

from tests.features.sql.literal import D, H, Line, M, Row, T, asked, each_symbol, features, outcome

Con = duckdb.DuckDBPyConnection

TABLE = "feat_symbol__performance"
CLOSE = 1e-12


def trade(pnl: float, notional: float | None = 100.0, at: int = T, **values: Any) -> Line:
    """Return a fill that closed ``notional`` for ``pnl`` and left the position flat."""
    return outcome(at=at, realized_pnl_usd=pnl, closed_notional_usd=notional, **values)


def performance(con: Con, *lines: Line, **choice: Any) -> Row:
    """Return the row of the one symbol."""
    return features(con, TABLE, *lines, **choice)["ETHUSDT"]


# --------------------------------------------------------------------------------------- PnL, fees


def test_pnl_is_that_of_all_closes_and_that_of_attempts(con: Con) -> None:
    row = performance(
        con,
        trade(2.0),
        trade(-0.5, notional=1.0),  # dust counts in PnL
        outcome("close_only", realized_pnl_usd=0.25, closed_notional_usd=50.0),
        outcome(),  # traded, not closed
        outcome("unknown", realized_pnl_usd=1.0),  # closed, though nobody logged its fill
    )
    assert (row["n"], row["close_only_n"], row["dust_n"]) == (4, 1, 1)
    assert (row["realized_pnl_usd"], row["realized_pnl_attempts_usd"]) == (2.75, 2.5)


def test_closes_of_one_row_are_all_counted(con: Con) -> None:
    row = performance(con, trade(2.0, close_n=3))
    assert (row["n"], row["round_trip_n"]) == (3, 1)


def test_fees_of_fills_and_lone_closes_come_off(con: Con) -> None:
    row = performance(
        con,
        trade(2.0, fees_usd=0.25),
        outcome("partial", fees_usd=0.25),
        outcome("close_only", fees_usd=0.5, realized_pnl_usd=2.0),
        outcome(fees_usd=None),
        outcome("unknown", fees_usd=9.0),  # may not exist
    )
    assert (row["fees_usd"], row["fees_known_n"], row["net_pnl_usd"]) == (1.0, 3, 3.0)
    assert row["fee_pnl_ratio"] == 0.25


def test_unknown_fees_leave_the_net_unknown(con: Con) -> None:
    row = performance(con, trade(2.0))
    assert (row["fees_usd"], row["fees_known_n"], row["net_pnl_usd"]) == (None, 0, None)


def test_a_symbol_without_closes_has_counts_and_no_statistics(con: Con) -> None:
    row = performance(con, outcome("unknown"))
    assert (row["n"], row["round_trip_n"], row["realized_pnl_usd"]) == (0, 0, 0.0)
    unknown = (
        "return_mean",
        "return_std",
        "return_stderr",
        "sharpe_7d",
        "sharpe_lo90",
        "win_rate",
        "profit_factor",
        "equity_usd",
        "dd_today_pct",
        "max_dd_today_pct",
    )
    assert {name: row[name] for name in unknown} == dict.fromkeys(unknown)


def test_nothing_gives_no_rows(con: Con) -> None:
    assert features(con, TABLE) == {}


# ---------------------------------------------------------------------------------- returns, Sharpe


def test_returns_sharpe_and_bounds_are_by_the_book(con: Con) -> None:
    pairs = [(2.0, 100.0), (-1.0, 50.0), (0.5, 200.0), (3.0, 80.0)]
    row = performance(con, *(trade(pnl, x, at=T + i * H) for i, (pnl, x) in enumerate(pairs)))
    returns = [pnl / x for pnl, x in pairs]
    mean, std = statistics.fmean(returns), statistics.stdev(returns)
    sharpe, n = mean / std, len(returns)
    assert row["return_mean"] == pytest.approx(mean, abs=CLOSE)
    assert row["return_std"] == pytest.approx(std, abs=CLOSE)
    assert row["sharpe_7d"] == pytest.approx(sharpe, abs=1e-9)
    z90 = float(stats.norm.ppf(0.9))
    assert row["sharpe_lo90"] == pytest.approx(
        sharpe - z90 * math.sqrt((1 + sharpe**2 / 2) / n), abs=1e-9
    )
    width = float(stats.t.ppf(0.975, n - 1)) * std / math.sqrt(n)
    assert row["return_stderr"] == pytest.approx(std / 2, abs=CLOSE)
    assert row["return_lo95"] == pytest.approx(mean - width, abs=1e-9)
    assert row["return_hi95"] == pytest.approx(mean + width, abs=1e-9)
    assert (row["win_rate"], row["profit_factor"]) == (0.75, 5.5)


def test_no_deviation_no_sharpe(con: Con) -> None:
    cases = [
        [trade(1.0)],  # one return has no deviation
        [trade(1.0), trade(1.0, at=T + H)],  # equal returns -> deviation 0
        [trade(0.7, 21.0), trade(0.7, 21.0, at=T + H), trade(0.7, 21.0, at=T + 2 * H)],
    ]
    for row in each_symbol(con, TABLE, cases):
        assert (row["sharpe_7d"], row["sharpe_lo90"]) == (None, None)
        assert row["return_mean"] is not None


@pytest.mark.parametrize("sign", [1, -1])
def test_deviation_keeps_its_digits_beside_a_large_mean(con: Con, sign: int) -> None:
    """Of returns of 9,900 % that differ by millionths, a sum of squares in floats knows nothing."""
    returns = [sign * (99 + k * 1e-6) for k in (0, 1, 5)]
    row = performance(con, *(trade(100 * each, at=T + k) for k, each in enumerate(returns)))
    exact = statistics.stdev(Fraction(each) for each in returns)
    assert row["return_std"] == pytest.approx(float(exact), rel=1e-7)
    assert row["return_mean"] == pytest.approx(sign * (99 + 2e-6), rel=CLOSE)


def test_dust(con: Con) -> None:
    cases = [
        (4.99, 1, 0),  # below 5 USD -> in PnL, in no return
        (5.0, 0, 1),
        (None, 0, 0),  # nobody knows what was closed -> no return, no dust
    ]
    rows = each_symbol(con, TABLE, [[trade(1.0, notional)] for notional, _, _ in cases])
    for row, (_, dust, trips) in zip(rows, cases, strict=True):
        assert (row["n"], row["dust_n"], row["round_trip_n"]) == (1, dust, trips)
        assert row["realized_pnl_usd"] == 1.0
        assert row["win_rate"] == (1.0 if trips else None)


def test_closes_until_flat_are_one_round_trip(con: Con) -> None:
    row = performance(
        con,
        trade(1.0, 50.0, at=T, side="SELL", position_size_after=2.0),
        trade(3.0, 100.0, at=T + M, side="SELL", position_size_after=1e-10),  # by rounding
        trade(-2.0, 100.0, at=T + 2 * M, position_size_after=-1.0),
        trade(-2.0, 100.0, at=T + 3 * M, position_size_after=0.0),
    )
    # (1 + 3) / 150 and (-2 - 2) / 200
    assert (row["n"], row["round_trip_n"], row["win_rate"]) == (4, 2, 0.5)
    assert row["return_mean"] == pytest.approx((4 / 150 - 4 / 200) / 2, abs=CLOSE)


def test_a_position_that_turns_around_ends_its_round_trip(con: Con) -> None:
    row = performance(
        con,
        trade(1.0, 50.0, at=T, side="SELL", position_size_after=2.0),  # part of a long
        trade(3.0, 100.0, at=T + M, side="SELL", position_size_after=-1.0),  # its rest, now short
        trade(-2.0, 100.0, at=T + 2 * M, side="BUY", position_size_after=4.0),  # long again
        trade(-1.0, 50.0, at=T + 3 * M, side="SELL", position_size_after=3.0),  # not flat yet
    )
    # (1 + 3) / 150, -2 / 100 and so far -1 / 50
    assert (row["n"], row["round_trip_n"]) == (4, 3)
    assert row["return_mean"] == pytest.approx((4 / 150 - 2 / 100 - 1 / 50) / 3, abs=CLOSE)


def test_a_round_trip_of_which_one_close_is_unknown_is_none(con: Con) -> None:
    silent: Row = {"close_n": 1, "close_ms": T, "realized_pnl_usd": None}
    row = performance(
        con,
        outcome(side="SELL", closed_notional_usd=50.0, position_size_after=1.0, **silent),
        trade(3.0, 50.0, at=T + M, side="SELL"),  # the close before may have lost more
        trade(1.0, 100.0, at=T + 2 * M, side="SELL"),
    )
    assert (row["round_trip_n"], row["return_mean"]) == (1, 0.01)


def test_a_close_that_names_no_side_is_of_the_one_position(con: Con) -> None:
    # without order_fill nobody says BOTH -> still the close after it ends this trip
    row = performance(
        con,
        trade(-2.0, 100.0, side="SELL", position_size_after=1.0),
        trade(1.0, 100.0, at=T + M, side="SELL", position_side="BOTH"),
    )
    assert (row["round_trip_n"], row["return_mean"]) == (1, -0.005)


def test_dust_within_a_round_trip_adds_nothing_and_may_end_it(con: Con) -> None:
    row = performance(
        con,
        trade(1.0, 50.0, at=T, position_size_after=0.1),
        trade(9.0, 1.0, at=T + M, position_size_after=0.0),  # dust, but now flat
        trade(-1.0, 100.0, at=T + 2 * M),
    )
    assert (row["round_trip_n"], row["dust_n"]) == (2, 1)
    assert row["return_mean"] == pytest.approx((1 / 50 - 1 / 100) / 2, abs=CLOSE)


def test_long_and_short_positions_are_separate(con: Con) -> None:
    # neither is flat after its first close: two positions, two trips
    row = performance(
        con,
        trade(1.0, at=T, position_side="LONG", position_size_after=1.0),
        trade(-1.0, at=T + M, position_side="SHORT", position_size_after=-1.0),
        trade(1.0, at=T + 2 * M, position_side="LONG", position_size_after=0.0),
        trade(-1.0, at=T + 3 * M, position_side="SHORT", position_size_after=0.0),
    )
    assert (row["round_trip_n"], row["win_rate"]) == (2, 0.5)


def test_position_of_unknown_size_counts_as_flat(con: Con) -> None:
    lines = [trade(1.0, at=T + i * M, position_size_after=None) for i in range(3)]
    assert performance(con, *lines)["round_trip_n"] == 3


def test_no_loss_no_profit_factor(con: Con) -> None:
    assert performance(con, trade(1.0), trade(2.0, at=T + M))["profit_factor"] is None
    assert performance(con, trade(0.0), trade(-2.0, at=T + M))["profit_factor"] == 0.0


def test_a_return_beyond_reason_stops_nothing_and_is_none(con: Con) -> None:
    # 900 million earned on 5 USD is a fault of the log -> in PnL, in no return
    row = performance(con, trade(9e8, 5.0), trade(1.0, at=T + M), trade(-1.0, at=T + 2 * M))
    assert (row["n"], row["round_trip_n"], row["return_mean"]) == (3, 2, 0.0)


def test_close_after_as_of_does_not_count(con: Con) -> None:
    row = performance(con, trade(1.0, close_ms=T + D + 1), as_of_ms=T + D)
    assert (row["n"], row["realized_pnl_usd"], row["round_trip_n"]) == (0, 0.0, 0)


# ------------------------------------------------------------------------------------------ equity


def test_equity(con: Con) -> None:
    cases: list[tuple[list[float], float | None, int, int]] = [
        ([100.0, 110.0, 90.0], 100.0, 3, 0),  # the median
        ([100.0, 104.0], 102.0, 2, 0),  # of an even number: the middle of two
        ([100.0, 100.0, 0.0, 0.0, 0.0], 100.0, 2, 3),  # 0 is no NAV
        ([100.0, 102.0, 98.0, 200.0], 100.0, 3, 1),  # doubled: out, median of the rest
        ([100.0, 100.0, 120.0, 80.0], 100.0, 4, 0),  # 20 % away stays
        ([100.0, 100.0, 100.0, 120.1, 79.9], 100.0, 3, 2),  # more does not
        ([0.0], None, 0, 1),
        ([], None, 0, 0),
    ]
    lines = [
        [trade(1.0), *(asked(at=T + i * M, nav_usd=nav) for i, nav in enumerate(navs))]
        for navs, *_ in cases
    ]
    rows = each_symbol(con, TABLE, lines, as_of_ms=T + H)
    found = [(row["equity_usd"], row["nav_n"], row["nav_rejected_n"]) for row in rows]
    assert found == [(equity, used, rejected) for _, equity, used, rejected in cases]


def test_navs_that_two_logs_hold_count_once(con: Con) -> None:
    def logged(source: str, *navs: tuple[int, float]) -> list[Line]:
        return [asked(at=at, nav_usd=usd, source_id=source) for at, usd in navs]

    first = logged("a", (T, 90.0), (T + M, 110.0), (T + 2 * M, 110.0), (T + 3 * M, 0.0))
    # overlaps in all but the first; its own line comes at a moment of its own
    second = logged("b", (T + M, 110.0), (T + 2 * M, 110.0), (T + 3 * M, 0.0), (T + 4 * M, 90.0))
    row = performance(con, trade(1.0), *first, *second, as_of_ms=T + H)
    # of 90, 90, 110, 110 -> 100; with each line counted 110
    assert (row["equity_usd"], row["nav_n"], row["nav_rejected_n"]) == (100.0, 4, 1)


def test_equity_is_of_the_last_day_of_this_account_and_environment(con: Con) -> None:
    lines = [
        asked(at=T, nav_usd=500.0),  # exactly 24 h old -> out, and far from the median
        asked(at=T + 1, nav_usd=100.0),  # in
        asked(at=T + D, nav_usd=104.0),  # at as-of -> in
        asked(at=T + D + 1, nav_usd=900.0),  # later -> not yet known
        asked(at=T + H, nav_usd=900.0, account="other"),
        asked(at=T + H, nav_usd=900.0, environment="live"),
        asked(at=T + H, nav_usd=900.0, reject_reason="future_time"),
        asked(at=T + H, nav_usd=None),
    ]
    row = performance(con, trade(1.0), *lines, as_of_ms=T + D)
    assert (row["equity_usd"], row["nav_n"], row["nav_rejected_n"]) == (102.0, 2, 1)


def test_configured_equity_stands_in_where_the_logs_name_none(con: Con) -> None:
    assert performance(con, trade(1.0), equity_usd=250.0)["equity_usd"] == 250.0
    row = performance(con, trade(1.0), asked(nav_usd=100.0, at=T + H), equity_usd=250.0)
    assert row["equity_usd"] == 100.0


# ---------------------------------------------------------------------------------------- drawdown


def test_drawdown(con: Con) -> None:
    cases = [
        ([1.0, 2.0], 0.0, 0.0),  # at its peak
        ([3.0, -2.0], -2.0, -2.0),  # 2 below the peak of 3
        ([3.0, -2.0, 1.0], -1.0, -2.0),  # came back by 1
        ([-1.0], -1.0, -1.0),  # the day begins at 0
        ([-1.0, 2.0], 0.0, -1.0),
        ([2.0, -3.0, 4.0, -1.0], -1.0, -3.0),
    ]
    lines = [[trade(pnl, at=T + i * M) for i, pnl in enumerate(pnls)] for pnls, _, _ in cases]
    rows = each_symbol(con, TABLE, lines, as_of_ms=T + H, equity_usd=200.0)
    # percent of 200 USD
    assert [(2 * row["dd_today_pct"], 2 * row["max_dd_today_pct"]) for row in rows] == [
        (last, deepest) for _, last, deepest in cases
    ]


def test_fees_deepen_the_drawdown(con: Con) -> None:
    row = performance(con, trade(1.0, fees_usd=1.5), as_of_ms=T + H, equity_usd=100.0)
    assert row["dd_today_pct"] == pytest.approx(-0.5, abs=CLOSE)


def test_pnl_counts_when_its_close_does_and_fees_when_the_order_fills(con: Con) -> None:
    row = performance(
        con,
        # opened yesterday, closed today at 00:30 -> its loss is today's, its fee is not
        trade(-3.0, at=T - 10 * M, close_ms=T + 30 * M, fees_usd=50.0),
        # filled at 00:10 for a fee of 1, closed at 00:20 -> 4 up before that loss, 5 in the end
        trade(5.0, at=T + 10 * M, close_ms=T + 20 * M, fees_usd=1.0),
        trade(4.0, at=T + 40 * M),
        as_of_ms=T + H,
        equity_usd=100.0,
    )
    assert row["dd_today_pct"] == 0.0
    assert row["max_dd_today_pct"] == pytest.approx(-3.0, abs=CLOSE)


@pytest.mark.parametrize(
    ("as_of_ms", "expected"),
    [
        (T + 30 * M, -1.0),  # today: the loss of 00:10
        (T, -2.0),  # midnight ends the day before: its loss of 23:50
        (T + 1, 0.0),  # a millisecond later nothing has happened today
    ],
)
def test_day_is_the_utc_day_of_the_last_millisecond(
    con: Con, as_of_ms: int, expected: float
) -> None:
    lines = [trade(-2.0, at=T - 10 * M), trade(-1.0, at=T + 10 * M)]
    row = performance(con, *lines, as_of_ms=as_of_ms, equity_usd=100.0)
    assert row["dd_today_pct"] == expected


def test_a_close_of_unknown_pnl_leaves_no_best_case(con: Con) -> None:
    unknown = outcome(at=T + 20 * M, close_n=1, close_ms=T + 20 * M)
    old = outcome(at=T - 20 * M, close_n=1, close_ms=T - 20 * M)  # of yesterday
    later = outcome(at=T + 20 * M, close_n=1, close_ms=T + 2 * H)  # after as-of: no close yet
    cases = [
        ([trade(1.0, at=T + M), unknown], None, None, 2, 1),  # it may have lost anything
        ([trade(-1.0, at=T + M), unknown], -1.0, -1.0, 2, 1),  # a known fall stands
        ([trade(-1.0, at=T + M), trade(2.0, at=T + 2 * M), unknown], None, -1.0, 3, 1),
        ([trade(1.0, at=T + M), old], 0.0, 0.0, 1, 0),
        ([trade(1.0, at=T + M), later], 0.0, 0.0, 1, 0),
    ]
    rows = each_symbol(con, TABLE, [c[0] for c in cases], as_of_ms=T + H, equity_usd=100.0)
    names = ("dd_today_pct", "max_dd_today_pct", "dd_n", "dd_unknown_n")
    assert [tuple(row[name] for name in names) for row in rows] == [c[1:] for c in cases]


def test_without_equity_no_drawdown(con: Con) -> None:
    row = performance(con, trade(-1.0), as_of_ms=T + H)
    assert (row["dd_today_pct"], row["max_dd_today_pct"]) == (None, None)
