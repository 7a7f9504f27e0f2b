"""How much of an account its logs explain: feat_account__coverage on a few literal rows."""

import json
from collections.abc import Sequence
from typing import Any

import duckdb
import pytest

from tests.features.sql.literal import (
    D,
    H,
    Line,
    M,
    Row,
    S,
    T,
    apart,
    asked,
    features,
    order,
    outcome,
)
from tests.features.sql.test_core_position__reconciliation import fill, state, unknown
from tests.features.sql.test_feat_symbol__atr_regime import bar

Con = duckdb.DuckDBPyConnection

TABLE = "feat_account__coverage"


def nav(at: int, usd: float, exposure: float = 0.0, **values: Any) -> Line:
    """Return an attempt that saw a NAV, and so much gross exposure in ETHUSDT."""
    gross = json.dumps({"ETHUSDT": exposure} if exposure else {})
    row = {"nav_usd": usd, "gross_usd": exposure, "symbol_gross_json": gross}
    return asked(None, at, **{**row, **values})


def closed(at: int, pnl: float, fee: float = 0.0) -> list[Line]:
    """Return a trade from flat to flat within a minute: bought at 100, sold for ``pnl`` more."""
    out = fill(at + 2 * S, 1.0, 100.0 + pnl, side="SELL", is_reduce_only=True, fees_usd=fee,
               realized_pnl_usd=pnl)  # fmt: skip
    return [
        state(at, 0.0),
        fill(at + S, fees_usd=0.0),
        state(at + S, 1.0),
        out,
        state(at + 3 * S, 0.0),
    ]


def coverage(con: Con, *lines: Line, **choice: Any) -> dict[str, Row]:
    found = features(con, TABLE, *lines, **choice)
    return {day: row for (account, day), row in found.items() if account == "main"}


def window(con: Con, *lines: Line, **choice: Any) -> Row:
    return coverage(con, *lines, **choice)["*"]


def windows(con: Con, cases: Sequence[Sequence[Line]]) -> list[Row]:
    """Return the window of each case: all are run together, each an account of its own."""
    found = features(con, TABLE, *apart(cases))
    return [found[f"case {number} main", "*"] for number in range(len(cases))]


def test_flat_to_flat_all_is_explained(con: Con) -> None:
    row = window(con, nav(T, 1000.0), *closed(T + M, 10.0, 1.0), nav(T + H, 1009.0))
    assert (row["nav_change_usd"], row["realized_pnl_usd"], row["fees_usd"]) == (9.0, 10.0, 1.0)
    assert (row["unrealized_change_usd"], row["unexplained_usd"]) == (0.0, 0.0)
    assert (row["pnl_explained_ratio"], row["position_explained_ratio"]) == (1.0, 1.0)
    assert (row["status"], row["likely_cause"], row["n"]) == ("complete", None, 2)


def test_nav_that_fell_for_no_logged_reason_is_unexplained(con: Con) -> None:
    # of 12 that NAV lost against what is logged; the larger side is 11 of logged flows
    row = window(con, nav(T, 1000.0), *closed(T + M, 10.0, 1.0), nav(T + H, 997.0))
    assert (row["unexplained_usd"], row["likely_cause"]) == (-12.0, "funding_or_transfer")
    assert (row["pnl_explained_ratio"], row["status"]) == (0.0, "incomplete")


def test_ratio_is_of_the_larger_of_nav_change_and_logged_parts(con: Con) -> None:
    ends = (1009.0, 1020.0)
    rows = windows(con, [[nav(T, 1000.0), *closed(T + M, 10.0), nav(T + H, end)] for end in ends])
    ratios = [row["pnl_explained_ratio"] for row in rows]
    assert ratios == pytest.approx([0.9, 0.5], abs=1e-12)


def test_below_95_percent_is_incomplete(con: Con) -> None:
    ends = (1009.5, 1009.49)
    rows = windows(con, [[nav(T, 1000.0), *closed(T + M, 10.0), nav(T + H, end)] for end in ends])
    assert [row["status"] for row in rows] == ["complete", "incomplete"]


def test_unrealised_pnl_comes_from_exposure_and_entry(con: Con) -> None:
    # holds 2 bought at 100, exposure 206 -> marked at 103, 6 unrealised
    lines = [nav(T, 1000.0), state(T + S, 0.0), fill(T + 2 * S, 2.0, mark_px=100.0, fees_usd=0.0)]
    row = window(con, *lines, state(T + 3 * S, 2.0), nav(T + M, 1006.0, 206.0))
    assert (row["unrealized_first_usd"], row["unrealized_last_usd"]) == (0.0, 6.0)
    assert (row["unexplained_usd"], row["pnl_explained_ratio"]) == (0.0, 1.0)


def test_an_exposure_without_a_number_leaves_unrealised_pnl_unknown(con: Con) -> None:
    lines = [nav(T, 1000.0), state(T + S, 0.0), fill(T + 2 * S, 2.0, mark_px=100.0, fees_usd=0.0)]
    lines += [state(T + 3 * S, 2.0)]
    held = json.dumps({"ETHUSDT": 206.0, "BTCUSDT": None})
    row = window(con, *lines, nav(T + M, 1006.0, 206.0, symbol_gross_json=held))
    assert (row["unrealized_last_usd"], row["unexplained_lo_usd"]) == (None, None)
    assert (row["coverage"], row["status"]) == (None, "unknowable")


def test_unrealised_pnl_of_both_sides_is_at_one_mark(con: Con) -> None:
    # long 2 at 100, short 1 at 104; 306 over 3 is a mark of 102: 4 + 2
    lines = [
        nav(T, 1000.0),
        state(T + S, 0.0),
        state(T + S, 0.0, side="SHORT"),
        fill(T + 2 * S, 2.0, fees_usd=0.0),
        fill(T + 2 * S, 1.0, 104.0, side="SELL", position_side="SHORT", fees_usd=0.0),
        state(T + 3 * S, 2.0),
        state(T + 3 * S, -1.0, 104.0, side="SHORT"),
    ]
    row = window(con, *lines, nav(T + M, 1006.0, 306.0))
    assert (row["unrealized_last_usd"], row["unexplained_usd"]) == (6.0, 0.0)


def test_exposure_is_found_under_any_name(con: Con) -> None:
    # held is something, of which nothing more is known: a NAV must not count as flat
    names = ('ETH"USDT', "ETH.USDT", "$ETH", "ETH/USDT", "~ETH")
    held: list[Row] = [
        {"gross_usd": 5.0, "symbol_gross_json": json.dumps({name: 5.0})} for name in names
    ]
    rows = windows(con, [[nav(T, 1000.0), nav(T + M, 1000.0, **each)] for each in held])
    for name, row in zip(names, rows, strict=True):
        assert (row["unrealized_first_usd"], row["unrealized_last_usd"]) == (0.0, None), name


def test_unrealised_pnl_of_a_position_in_doubt_is_unknown(con: Con) -> None:
    lines = [nav(T, 1000.0), state(T + S, 0.0), fill(T + 2 * S, 2.0), state(T + 3 * S, 2.0)]
    doubts = (
        fill(T + 4 * S),  # traded after it was last seen
        unknown(T + 4 * S),
        outcome("unfilled", T + 4 * S, mark_px=120.0),  # exposure over quantity is no price
    )
    last = nav(T + M, 1006.0, 206.0)
    for row in windows(con, [[*lines, doubt, last] for doubt in doubts]):
        assert (row["unrealized_last_usd"], row["unexplained_usd"]) == (None, None)
        assert row["pnl_explained_ratio"] is None
        assert row["unlogged_usd"] == 6.0


@pytest.mark.parametrize(
    ("close", "closed_ago", "unrealized"),
    [
        (121.0, 2 * H, 46.0),  # 2 bought at 100, marked at 246 / 2: the bar shows that price
        (100.0, 2 * H, None),  # the bar shows another: the position is not the one last seen
        (121.0, 8 * H, None),  # too old to show anything
        (121.0, -2 * H, None),  # not yet known then
    ],
)
def test_what_a_long_held_position_is_worth_is_seen_by_bars(
    con: Con, close: float, closed_ago: int, unrealized: float | None
) -> None:
    held = [nav(T, 1000.0), state(T + S, 0.0), fill(T + 2 * S, 2.0), state(T + 3 * S, 2.0)]
    later = T + 20 * H
    row = window(con, *held, nav(later, 1046.0, 246.0), bar(later - closed_ago, close))
    assert row["unrealized_last_usd"] == unrealized


def test_without_unrealised_pnl_there_are_bounds(con: Con) -> None:
    # nothing says what is held; prices reached 10 % -> at most 20 of 200 either way
    lines = [
        outcome("unfilled", T + S, mark_px=100.0),
        outcome("unfilled", T + 2 * S, mark_px=110.0),
    ]
    row = window(con, nav(T, 1000.0), *lines, nav(T + M, 900.0, 200.0))
    assert (row["unlogged_usd"], row["unexplained_usd"]) == (-100.0, None)
    assert row["unexplained_lo_usd"] == pytest.approx(-120.0, abs=1e-9)
    assert row["unexplained_hi_usd"] == pytest.approx(-80.0, abs=1e-9)
    assert row["pnl_explained_ratio"] is None
    assert row["pnl_explained_hi"] == pytest.approx(0.2, abs=1e-9)
    assert row["pnl_explained_lo"] == 0.0
    # even the best case is below 95 %
    assert (row["status"], row["likely_cause"]) == ("incomplete", "nav_moved_without_closes")


def test_bounds_that_allow_anything_decide_nothing(con: Con) -> None:
    lines = [
        outcome("unfilled", T + S, mark_px=100.0),
        outcome("unfilled", T + 2 * S, mark_px=200.0),
    ]
    row = window(con, nav(T, 1000.0), *lines, nav(T + M, 990.0, 200.0))
    assert (row["pnl_explained_lo"], row["pnl_explained_hi"]) == (0.0, 1.0)
    assert row["status"] == "unknowable"


def test_nothing_logged_of_nav_is_unknowable(con: Con) -> None:
    row = window(con, *closed(T, 10.0))
    assert (row["n"], row["nav_change_usd"], row["pnl_explained_lo"]) == (0, None, None)
    assert row["status"] == "unknowable"


def test_nothing_seen_of_positions_is_unknowable(con: Con) -> None:
    trade = fill(T + M, fees_usd=1.0)
    row = window(con, nav(T, 1000.0), trade, nav(T + H, 999.0))
    assert (row["pnl_explained_ratio"], row["position_explained_ratio"]) == (1.0, None)
    assert row["status"] == "unknowable"


def test_an_account_at_rest_is_complete(con: Con) -> None:
    row = window(con, nav(T, 1000.0), nav(T + H, 1000.0))
    assert (row["pnl_explained_ratio"], row["status"]) == (1.0, "complete")


def test_position_changes_that_fills_do_not_explain_make_incomplete(con: Con) -> None:
    lines = [nav(T, 1000.0), *closed(T + M, 0.0), state(T + 2 * M, 0.5), state(T + 3 * M, 0.0)]
    row = window(con, *lines, nav(T + H, 1000.0))
    # 200 traded, 50 came and 50 went unseen
    assert row["position_explained_ratio"] == pytest.approx(200 / 300, abs=1e-12)
    assert (row["position_change_n"], row["position_unexplained_n"]) == (4, 2)
    assert (row["status"], row["likely_cause"]) == ("incomplete", "close_outside_log")


def test_the_likely_cause_is_the_one_that_moved_most(con: Con) -> None:
    causes = [
        ([0.5, 0.2], "trade_outside_log"),  # 50 USD came, 30 went
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.0], "close_outside_log"),  # 50 and 50, the latter more often
        ([0.3, 0.0, 0.4], "trade_outside_log"),  # 30 and 40 came, 30 went
    ]
    cases = [
        [state(T + n * M, qty) for n, qty in enumerate([0.0, *sightings])]
        for sightings, _ in causes
    ]
    found = [(row["position_unexplained_n"], row["likely_cause"]) for row in windows(con, cases)]
    assert found == [(len(sightings), cause) for sightings, cause in causes]


def test_a_change_without_a_price_is_not_passed_over(con: Con) -> None:
    # five came and no state tells at which price; four more at 100 decide it all the same
    lines = [nav(T, 1000.0), *closed(T + M, 0.0), state(T + 2 * M, 5.0, entry_px=None)]
    last = nav(T + H, 1000.0)
    five, nine = windows(con, [[*lines, last], [*lines, state(T + 4 * M, 9.0), last]])
    assert (five["position_unexplained_n"], nine["position_unexplained_n"]) == (1, 2)
    for row in (five, nine):
        assert (row["position_explained_ratio"], row["coverage"]) == (None, None)
        assert row["likely_cause"] == "trade_outside_log"
    assert (five["status"], nine["status"]) == ("unknowable", "incomplete")


def test_an_inferred_fill_explains_nothing(con: Con) -> None:
    lines = [state(T, 0.0), unknown(T + S), state(T + 2 * S, 1.0)]
    row = window(con, *lines)
    assert (row["unknown_n"], row["inferred_fill_n"]) == (1, 1)
    assert row["position_explained_ratio"] == 0.0


def test_lost_close_lines_are_counted_and_summed(con: Con) -> None:
    lines = closed(T + M, 10.0)
    lines[3].values.update(realized_pnl_usd=None, close_n=0, close_ms=None)
    row = window(con, nav(T, 1000.0), *lines, nav(T + H, 1010.0))
    assert (row["pnl_missing_n"], row["pnl_missing_usd"], row["unexplained_usd"]) == (1, 10.0, 10.0)
    assert (row["likely_cause"], row["status"]) == ("close_line_missing", "incomplete")


def test_a_lost_close_lowers_coverage_also_where_no_nav_follows(con: Con) -> None:
    told, losses = closed(T + M, 96.0), [closed(T + 2 * H, usd) for usd in (-4.0, -6.0)]
    for lost in losses:
        lost[3].values.update(realized_pnl_usd=None, close_n=0, close_ms=None)
    row, more = windows(
        con, [[nav(T, 1000.0), *told, nav(T + H, 1096.0), *lost] for lost in losses]
    )
    # NAV and positions agree with the logs; a loss of 4 that positions imply stands nowhere
    assert (row["pnl_explained_ratio"], row["position_explained_ratio"]) == (1.0, 1.0)
    assert (row["pnl_missing_n"], row["pnl_missing_usd"]) == (1, -4.0)
    assert (row["pnl_logged_ratio"], row["coverage"], row["status"]) == (0.96, 0.96, "complete")
    # 96 of 102: too little
    assert more["coverage"] == more["pnl_logged_ratio"] == pytest.approx(96 / 102)
    assert (more["likely_cause"], more["status"]) == ("close_line_missing", "incomplete")


def test_a_close_on_its_way_is_not_lost_yet(con: Con) -> None:
    # sold at the end, its close line not yet due; a minute later it would be
    lines = [nav(T, 1000.0), *closed(T + M, 10.0), nav(T + H, 1010.0), *closed(T + 2 * H, -4.0)]
    lines[-2].values.update(realized_pnl_usd=None, close_n=0, close_ms=None)
    seen = T + 2 * H + 3 * S
    row = window(con, *lines, as_of_ms=seen + M - 1)
    assert (row["pnl_logged_ratio"], row["coverage"], row["status"]) == (1.0, 1.0, "complete")
    row = window(con, *lines, as_of_ms=seen + M)
    assert row["coverage"] == row["pnl_logged_ratio"] == pytest.approx(10 / 14)


def test_rounded_entry_prices_lose_nothing(con: Con) -> None:
    # every close is logged; the venue writes entries of 100.004 and 99.996 as 100.00
    lines = [nav(T, 1000.0)]
    for n, entry in enumerate([100.004, 99.996] * 4):
        at = T + n * 10 * M
        usd = 10 * (101.0 - entry)
        sold = fill(at + 2 * S, 10.0, 101.0, side="SELL", is_reduce_only=True, fees_usd=0.0,
                    realized_pnl_usd=usd)  # fmt: skip
        lines += [
            state(at, 0.0),
            fill(at + S, 10.0, entry, fees_usd=0.0),
            state(at + S, 10.0, entry_px=100.0),
            sold,
            state(at + 3 * S, 0.0),
        ]
    row = window(con, *lines, nav(T + 3 * H, 1080.0))
    assert row["pnl_missing_n"] > 0  # the cause is named
    assert row["coverage"] == pytest.approx(1.0)  # and nothing is lost


def test_funding_that_the_log_tells_explains(con: Con) -> None:
    paid = order("funding", None, at=T + M, funding_usd=-3.0)
    navs = [nav(T, 1000.0), nav(T + H, 997.0)]
    told, row = windows(con, [[*navs, paid], navs])
    assert (told["funding_n"], told["funding_usd"], told["unexplained_usd"]) == (1, -3.0, 0.0)
    assert (row["funding_n"], row["funding_usd"], row["unexplained_usd"]) == (0, None, -3.0)


def test_funding_that_stands_twice_counts_once(con: Con) -> None:
    line: Row = {"at": T + M, "funding_usd": -3.0, "line_hash": 7}
    twice = [order("funding", None, line_offset=n, **line) for n in (10, 20)]
    # two sides of one symbol pay at one moment, each its own
    other = order("funding", None, **{**line, "funding_usd": -1.0, "line_hash": 8})
    # a close that was told again: its last line counts, as for its PnL
    closes = [
        order("order_close", at=T + M, line_offset=n, line_hash=n, funding_usd=-float(n))
        for n in (1, 2)
    ]
    once, both, last = windows(
        con,
        [
            [nav(T, 1000.0), *twice, nav(T + H, 997.0)],
            [nav(T, 1000.0), twice[0], other, nav(T + H, 996.0)],
            [nav(T, 1000.0), *closes, nav(T + H, 1001.0)],
        ],
    )
    assert (once["funding_n"], once["funding_usd"], once["unexplained_usd"]) == (1, -3.0, 0.0)
    assert (both["funding_n"], both["funding_usd"]) == (2, -4.0)
    assert (last["funding_n"], last["funding_usd"]) == (1, -2.0)


def test_navs_far_from_the_days_median_are_rejected_and_counted(con: Con) -> None:
    good = [nav(T + n * M, 1000.0 + n) for n in range(5)]
    row = window(con, nav(T - M, 0.0), *good, nav(T + 6 * M, 2008.0), nav(T + 7 * M, 0.0))
    assert (row["n"], row["nav_rejected_n"]) == (5, 3)
    assert (row["nav_first_usd"], row["nav_last_usd"]) == (1000.0, 1004.0)


def test_navs_that_two_logs_hold_count_once(con: Con) -> None:
    # the lines at 1 and 2 minutes stand in both; the median of the day is not shifted
    first = [nav(T + n * M, 1000.0 + n, source_id="a") for n in range(3)]
    second = [nav(T + n * M, 1000.0 + n, source_id="b") for n in range(1, 4)]
    other = nav(T + 2 * M, 1002.0, source_id="b", account="other")  # of another: its own
    zeros = [nav(T, 0.0, source_id=name) for name in "ab"]
    rows = windows(con, [[*first, *second, other], [*zeros, *first]])
    assert [(row["n"], row["nav_rejected_n"]) for row in rows] == [(4, 0), (3, 1)]


def test_what_falls_outside_the_navs_is_not_held_against_them(con: Con) -> None:
    early, late = closed(T, 5.0), closed(T + 2 * H, 7.0)
    row = window(con, *early, nav(T + H, 1000.0), nav(T + H + M, 1000.0), *late)
    assert (row["realized_pnl_usd"], row["outside_usd"], row["unexplained_usd"]) == (
        12.0,
        12.0,
        0.0,
    )


def test_without_a_nav_it_is_unknown_what_falls_outside(con: Con) -> None:
    # a day with NAV, the next without: of that day alone nothing is inside or outside
    navs = nav(T, 1000.0), nav(T + H, 1000.0)
    rows = coverage(con, *navs, *closed(T + D, 5.0, 1.0), as_of_ms=T + 2 * D)
    assert rows["2025-11-05"]["outside_usd"] == 0.0
    other = rows["2025-11-06"]
    assert (other["n"], other["outside_usd"]) == (0, None)
    assert (other["realized_pnl_usd"], other["fees_usd"]) == (5.0, 1.0)
    assert rows["*"]["outside_usd"] == 4.0  # of the window's


def test_a_fill_in_the_minute_of_a_nav_is_found_whenever_it_was_tried(con: Con) -> None:
    # a fee of 2, before the first NAV or after it
    tried = [
        (tried_ms, filled_ms, outside)
        for tried_ms in (T + S, T - 1, T - 5 * H, T - 50 * H)
        for filled_ms, outside in ((T + 5 * S, 2.0), (T + 30 * S, 0.0))
    ]
    cases = [
        [
            fill(tried_ms, fill_at_ms=filled_ms, fees_usd=2.0),
            nav(T + 10 * S, 1000.0),
            nav(T + H, 998.0 + outside),
        ]
        for tried_ms, filled_ms, outside in tried
    ]
    for row, (*when, outside) in zip(windows(con, cases), tried, strict=True):
        told = (row["fees_usd"], row["outside_usd"], row["nav_change_usd"])
        assert told == (2.0, -outside, outside - 2.0), when


def test_fills_in_the_minute_of_a_nav_are_found_though_tried_hours_apart(con: Con) -> None:
    # fees of 1, 2 and 4 after the first NAV and within its minute
    lines = [
        fill(tried_ms, fill_at_ms=T + 30 * S + n, fees_usd=2.0**n)
        for n, tried_ms in enumerate([T - 23 * H, T - 5 * H, T + S])
    ]
    row = window(con, *lines, nav(T + 10 * S, 1000.0), nav(T + H, 993.0))
    assert (row["fees_usd"], row["outside_usd"], row["nav_change_usd"]) == (7.0, 0.0, -7.0)


def test_navs_must_span_what_was_logged(con: Con) -> None:
    # 10 earned between the two NAVs: of 10.5, less than 5 % stands outside; of 10.6, more
    lines = [nav(T + M, 1000.0), *closed(T + H, 10.0), nav(T + 2 * H, 1010.0)]
    rows = windows(con, [[*closed(T, outside), *lines] for outside in (0.5, 0.6)])
    assert [row["pnl_explained_ratio"] for row in rows] == [1.0, 1.0]
    assert [row["outside_usd"] for row in rows] == [0.5, 0.6]
    assert [row["status"] for row in rows] == ["complete", "unknowable"]


def test_days_stand_beside_the_window(con: Con) -> None:
    found = coverage(
        con,
        nav(T - 2 * H, 1000.0),
        *closed(T - H, 4.0),
        nav(T - M, 1004.0),
        nav(T + M, 1005.0),
        *closed(T + H, 3.0),
        nav(T + 2 * H, 1008.0),
    )
    assert list(found) == ["*", "2025-11-04", "2025-11-05"]
    assert [row["realized_pnl_usd"] for row in found.values()] == [7.0, 4.0, 3.0]
    # the dollar between the days is of the window alone
    assert [row["unexplained_usd"] for row in found.values()] == [1.0, 0.0, 0.0]


def test_pnl_without_amount_is_unknown(con: Con) -> None:
    close = fill(T + S, side="SELL", is_reduce_only=True, close_n=1, close_ms=T + S)
    row = window(con, close)
    assert (row["close_n"], row["pnl_known_n"], row["realized_pnl_usd"]) == (1, 0, None)


def test_accounts_are_kept_apart(con: Con) -> None:
    found = features(con, TABLE, nav(T, 1.0), nav(T, 5.0, account="b"), nav(T + D // 2, 1.0))
    assert {account: found[account, "*"]["n"] for account in ("main", "b")} == {"main": 2, "b": 1}
