"""What happened to an order: each rule of core_execution__outcomes on a few literal lines."""

from typing import Any

import duckdb
import pytest

from tests.features.sql.literal import (
    D,
    H,
    Line,
    M,
    S,
    T,
    asked,
    each,
    one,
    order,
    order_close,
    order_fill,
    outcomes,
    router,
    veto,
)

Con = duckdb.DuckDBPyConnection


# ---------------------------------------------------------------------------------------- outcome


OUTCOME_CASES: list[tuple[list[Line], str]] = [
    # a market order acknowledged as NEW and never looked at again -> nobody knows
    ([router(status="NEW")], "unknown"),
    # FILLED says nothing without a price -> nobody knows
    ([router(fill_px=0.0)], "unknown"),
    ([router(fill_px=None)], "unknown"),
    # FILLED at a price -> filled, also where the quantity is not logged
    ([router()], "filled"),
    ([router(qty=None)], "filled"),
    # in lower case -> the same
    ([router(status="filled", fill_px=101.0, qty=2.0)], "filled"),
    # filled in part so far -> partial
    ([router(status="PARTIALLY_FILLED")], "partial"),
    # ... and the order_fill says it went on to the whole -> filled
    ([router(status="PARTIALLY_FILLED"), order_fill()], "filled"),
    # NEW, but an order_fill of the id stands -> filled
    ([router(status="NEW"), order_fill()], "filled"),
    # NEW and an order_fill in part -> partial
    ([router(status="NEW"), order_fill(status="PARTIALLY_FILLED")], "partial"),
    # an order_fill need not repeat the status -> whole
    ([router(status="NEW"), order_fill(status=None)], "filled"),
    # an order_fill without price or quantity is no fill -> nobody knows
    ([router(status="NEW"), order_fill(fill_px=0.0)], "unknown"),
    ([router(status="NEW"), order_fill(executed_qty=0.0)], "unknown"),
    # an acknowledgement is no fill -> nobody knows
    ([router(status="NEW"), order("order_ack", status="NEW")], "unknown"),
    # ended with nothing filled -> unfilled
    ([router(status="CANCELED")], "unfilled"),
    ([router(status="EXPIRED")], "unfilled"),
    # ended after a part -> partial, whether the router or an order_fill says so
    ([router(status="CANCELED", fill_px=101.0, qty=1.0)], "partial"),
    ([router(status="CANCELED"), order_fill(status="PARTIALLY_FILLED")], "partial"),
    ([router(status="EXPIRED", fill_px=101.0, qty=1.0)], "partial"),
    # a price of a cancelled order without quantity is a limit, no fill -> unfilled
    ([router(status="CANCELED", fill_px=101.0)], "unfilled"),
    ([router(status="REJECTED")], "rejected"),
    ([router(status="ERROR")], "error"),
    # a flat line names no status: its notional at a price says what was traded -> filled
    ([router(status=None, notional_usd=50.0, fill_px=101.0)], "filled"),
    ([router(status=None, notional_usd=50.0, fill_px=101.0, qty=0.5)], "filled"),
    # ... but no fill is without a price above 0, nor without a quantity or notional -> nobody knows
    ([router(status=None, notional_usd=50.0)], "unknown"),
    ([router(status=None, notional_usd=50.0, fill_px=0.0)], "unknown"),
    ([router(status=None, fill_px=101.0)], "unknown"),
    ([router(status=None)], "unknown"),
    # ... and its own order_fill gives the price -> filled
    ([router(status=None, notional_usd=50.0), order_fill()], "filled"),
    # a close whose id the router never named -> a row of its own
    ([order_close()], "close_only"),
]


def test_outcome(con: Con) -> None:
    found = each(con, [lines for lines, _ in OUTCOME_CASES])
    assert [one(rows)["outcome"] for rows in found] == [expected for _, expected in OUTCOME_CASES]


def test_unknown_attempt_estimates_nothing(con: Con) -> None:
    # the executor logs +-10000 bps for an order it never polled -> no slippage, price, quantity
    row = one(outcomes(con, router(status="NEW", slippage_logged_bps=10000.0)))
    columns = ("slippage_bps", "slippage_logged_bps", "fill_px", "qty", "notional_usd")
    assert {column: row[column] for column in columns} == dict.fromkeys(columns)


@pytest.mark.parametrize("status", ["NEW", "CANCELED", "REJECTED", "ERROR"])
def test_only_fills_have_slippage(con: Con, status: str) -> None:
    # unfilled, rejected and failed orders carry the same artefact -> NULL
    row = one(outcomes(con, router(status=status, slippage_logged_bps=-10000.0)))
    assert (row["slippage_bps"], row["slippage_logged_bps"]) == (None, None)


# -------------------------------------------------------------------------------- order_fill lines


def test_order_fill_gives_quantity_and_price_where_the_router_has_none(con: Con) -> None:
    # 0 and NULL -> from the fill; notional 3 * 102
    row = one(
        outcomes(con, router(status="NEW", qty=None), order_fill(executed_qty=3.0, fill_px=102.0))
    )
    assert (row["qty"], row["fill_px"], row["notional_usd"]) == (3.0, 102.0, 306.0)


def test_order_fill_does_not_replace_what_the_router_knows(con: Con) -> None:
    # router 2 at 101 stands -> the fill's 3 at 102 is not used
    row = one(outcomes(con, router(), order_fill(executed_qty=3.0, fill_px=102.0)))
    assert (row["qty"], row["fill_px"], row["notional_usd"]) == (2.0, 101.0, 202.0)


def test_order_fill_completes_quantity_and_price_each_by_itself(con: Con) -> None:
    # router: price 101, quantity 0 -> quantity from the fill, price stays
    row = one(outcomes(con, router(qty=0.0), order_fill(executed_qty=3.0, fill_px=102.0)))
    assert (row["qty"], row["fill_px"]) == (3.0, 101.0)


def test_latest_of_the_cumulative_fills_of_one_order_counts(con: Con) -> None:
    row = one(
        outcomes(
            con,
            router(status="NEW"),
            order_fill(at=T + 3 * S, executed_qty=5.0, fill_px=103.0, fees=0.3),  # latest -> counts
            order_fill(at=T + 1 * S, executed_qty=1.0, fill_px=101.0, fees=0.1),  # earlier -> not
            order_fill(at=T + 2 * S, executed_qty=4.0, fill_px=102.0, fees=0.2),  # earlier -> not
        )
    )
    assert (row["qty"], row["fill_px"], row["fees_usd"]) == (5.0, 103.0, 0.3)


def test_fills_at_the_same_time_are_told_apart_by_offset(con: Con) -> None:
    row = one(
        outcomes(
            con,
            router(status="NEW"),
            order_fill(executed_qty=4.0, line_offset=20),  # later in the file -> counts
            order_fill(executed_qty=1.0, line_offset=10),
        )
    )
    assert row["qty"] == 4.0


def test_fills_of_several_orders_are_summed_and_weighted(con: Con) -> None:
    # 1 at 100 and 3 at 104 -> 4 at (100 + 312) / 4 = 103, notional 412, fees 0.1 + 0.3
    row = one(
        outcomes(
            con,
            router(status="NEW"),
            order_fill(order_id="o1", executed_qty=1.0, fill_px=100.0, fees=0.1),
            order_fill(order_id="o2", executed_qty=3.0, fill_px=104.0, fees=0.3),
        )
    )
    assert (row["qty"], row["fill_px"], row["notional_usd"]) == (4.0, 103.0, 412.0)
    assert row["fees_usd"] == pytest.approx(0.4, abs=1e-15)


def test_one_order_in_part_makes_the_attempt_partial(con: Con) -> None:
    rows = outcomes(
        con,
        router(status="NEW"),
        order_fill(order_id="o1"),
        order_fill(order_id="o2", status="PARTIALLY_FILLED"),
    )
    assert one(rows)["outcome"] == "partial"


@pytest.mark.parametrize(
    ("router_status", "fill_status", "expected"),
    [
        ("CANCELED", None, "partial"),  # of two words the one that is there
        ("EXPIRED", "NEW", "partial"),  # a word that says nothing of the end
        ("NEW", "CANCELED", "partial"),
        ("NEW", None, "filled"),
        ("CANCELED", "FILLED", "filled"),  # it filled before the cancel came
        ("FILLED", "CANCELED", "filled"),  # the rest came of another order
    ],
)
def test_what_was_cancelled_after_a_fill_is_partial(
    con: Con, router_status: str, fill_status: str | None, expected: str
) -> None:
    lines = [router(status=router_status), order_fill(executed_qty=1.0, status=fill_status)]
    assert one(outcomes(con, *lines))["outcome"] == expected


@pytest.mark.parametrize("apart", [0, 3 * S, 23 * H, D])
def test_order_lines_within_a_day_belong_to_the_attempt(con: Con, apart: int) -> None:
    # on either side, the day itself included -> joined
    for at in (T - apart, T + apart):
        row = one(outcomes(con, router(status="NEW"), order_fill(at=at), order_close(at=at)))
        assert (row["outcome"], row["realized_pnl_usd"]) == ("filled", 3.0)


def test_order_lines_beyond_a_day_do_not(con: Con) -> None:
    # one ms over the day -> the attempt stays unknown, the close stands alone
    attempt, close = outcomes(
        con,
        router(status="NEW"),
        order_fill(at=T + D + 1),
        order_close(at=T + D + 1),
    )
    assert (attempt["outcome"], attempt["realized_pnl_usd"]) == ("unknown", None)
    assert (close["outcome"], close["realized_pnl_usd"]) == ("close_only", 3.0)


@pytest.mark.parametrize("elsewhere", ["symbol", "account", "environment"])
def test_order_lines_of_another_place_do_not_join(con: Con, elsewhere: str) -> None:
    # the same id in another symbol, account or environment is another order -> unknown stays
    place = {elsewhere: "live" if elsewhere == "environment" else "OTHER"}
    rows = outcomes(con, router(status="NEW"), order_fill(**place), order_close(**place))
    assert sorted(row["outcome"] for row in rows) == ["close_only", "unknown"]


def test_rejected_lines_count_nowhere(con: Con) -> None:
    rows = outcomes(
        con,
        router(status="NEW"),
        router("a2", reject_reason="future_time"),
        order_fill(reject_reason="not_a_number:avgPrice"),
        order_close(reject_reason="not_a_number:fees_total"),
    )
    assert one(rows)["outcome"] == "unknown"
    assert one(rows)["close_n"] == 0


def test_numbers_that_overflowed_stop_nothing(con: Con) -> None:
    # 1e14 at 1e14 is no trade -> that fill is left out, the other order's stands
    row = one(
        outcomes(
            con,
            router(status="NEW"),
            order_fill(order_id="o1", executed_qty=1e14, fill_px=1e14),
            order_fill(order_id="o2", executed_qty=2.0, fill_px=100.0),
            order_close(order_id="o1", closed_qty=1e14),
        )
    )
    assert (row["qty"], row["fill_px"]) == (2.0, 100.0)
    assert (row["closed_notional_usd"], row["suspect_reason"]) == (None, "amount_out_of_range")


# ------------------------------------------------------------------------ one row per attempt


def test_terminal_status_beats_a_later_line(con: Con) -> None:
    row = one(outcomes(con, router(), router(status="NEW", at=T + M)))
    assert (row["outcome"], row["event_ms"]) == ("filled", T)


def test_later_of_two_terminal_lines_counts(con: Con) -> None:
    row = one(outcomes(con, router(), router(at=T + M, fill_px=105.0)))
    assert (row["fill_px"], row["event_ms"]) == (105.0, T + M)


def test_later_of_two_open_lines_counts(con: Con) -> None:
    row = one(outcomes(con, router(status="NEW", at=T + M), router(status="NEW")))
    assert row["event_ms"] == T + M


def test_lines_at_the_same_time_are_told_apart_by_offset(con: Con) -> None:
    row = one(outcomes(con, router(fill_px=105.0, line_offset=9), router(line_offset=8)))
    assert row["fill_px"] == 105.0


def test_id_used_again_after_more_than_a_day_is_another_attempt(con: Con) -> None:
    # exactly a day -> the same attempt; one ms more -> two
    assert len(outcomes(con, router(), router(at=T + D))) == 1
    rows = outcomes(con, router(), router(at=T + D + 1))
    assert [row["event_ms"] for row in rows] == [T, T + D + 1]


def test_each_attempt_of_an_id_used_again_has_its_own_order_lines(con: Con) -> None:
    first, second = outcomes(
        con,
        router(status="NEW"),
        order_fill(at=T + S, executed_qty=1.0),
        order_close(at=T + 2 * S, realized_pnl_usd=1.0),
        router(status="NEW", at=T + 2 * D),
        order_fill(at=T + 2 * D + S, executed_qty=2.0, order_id="o2"),
        order_close(at=T + 2 * D + 2 * S, realized_pnl_usd=2.0, order_id="o2"),
    )
    assert (first["qty"], first["realized_pnl_usd"]) == (1.0, 1.0)
    assert (second["qty"], second["realized_pnl_usd"]) == (2.0, 2.0)


def test_order_line_between_two_attempts_joins_the_nearer(con: Con) -> None:
    # 23 h after one and 10 h before the other -> the other's
    first, second = outcomes(
        con,
        router(status="NEW"),
        router(status="NEW", at=T + 33 * H),
        order_fill(at=T + 23 * H),
    )
    assert (first["outcome"], second["outcome"]) == ("unknown", "filled")


def test_lines_without_an_id_are_attempts_of_their_own(con: Con) -> None:
    flat: dict[str, Any] = {"notional_usd": 50.0, "status": None}
    rows = outcomes(
        con,
        router(None, **flat, line_hash=7),
        router(None, **flat, line_hash=8),
        router(None, **flat, line_hash=7),  # the same line read again -> once
    )
    assert [row["attempt_id"] for row in rows] == ["line:7", "line:8"]


def test_an_empty_id_is_none(con: Con) -> None:
    # "" in two lines does not make them one attempt, nor two closes one order's
    attempts = [router("", line_hash=7), router("", at=T + S, line_hash=8)]
    rows = outcomes(con, *attempts, order_close("", order_id="77"), order_close("", order_id="78"))
    assert sorted(row["attempt_id"] for row in rows) == ["line:7", "line:8", "order:77", "order:78"]
    assert [row["realized_pnl_usd"] for row in rows if row["outcome"] == "filled"] == [None, None]


def test_position_close_lines_are_no_attempts_and_add_nothing(con: Con) -> None:
    note = router(at=T + M, event="position_close", realized_pnl_usd=99.0, pnl_at_close_usd=99.0)
    alone = router("a9", event="position_close", pnl_at_close_usd=99.0)
    row = one(outcomes(con, router(), order_close(), note, alone))
    assert (row["event_ms"], row["realized_pnl_usd"], row["close_n"]) == (T, 3.0, 1)


def test_vetoes_and_errors_are_no_attempts(con: Con) -> None:
    assert outcomes(con, veto(), order("order_error", None), asked()) == []


# ---------------------------------------------------------------------------------------- closes


def test_close_without_attempt_is_a_row_at_its_own_time(con: Con) -> None:
    row = one(outcomes(con, order_close("a1_reduce", at=T + M, fees=0.2), order_fill("a1_reduce")))
    assert (row["outcome"], row["event_ms"], row["close_ms"]) == ("close_only", T + M, T + M)
    # 2 closed at its order's 101; its own fees, not the fill's; no attempt -> no notional
    assert (row["closed_notional_usd"], row["fees_usd"], row["notional_usd"]) == (202.0, 0.2, None)
    assert row["realized_pnl_usd"] == 3.0


def test_close_only_row_gives_way_when_its_attempt_arrives(con: Con) -> None:
    close = order_close(at=T + M)
    assert one(outcomes(con, close))["outcome"] == "close_only"
    row = one(outcomes(con, close, router()))
    assert (row["outcome"], row["event_ms"], row["realized_pnl_usd"]) == ("filled", T, 3.0)


def test_closes_of_one_attempt_are_summed_over_order_and_time(con: Con) -> None:
    row = one(
        outcomes(
            con,
            router(),
            order_fill(),
            order_close(
                at=T + 1 * S, realized_pnl_usd=1.0, closed_qty=0.5, position_size_after=1.5
            ),
            order_close(
                at=T + 2 * S, realized_pnl_usd=2.0, closed_qty=1.5, position_size_after=0.0
            ),
            order_close(at=T + 2 * S, realized_pnl_usd=4.0, closed_qty=1.0, order_id="o2"),
            order_fill(order_id="o2", fill_px=110.0),
        )
    )
    # 0.5 and 1.5 at 101, 1 at 110 of the other order -> 202 + 110
    assert (row["close_n"], row["realized_pnl_usd"], row["closed_notional_usd"]) == (3, 7.0, 312.0)
    assert (row["close_ms"], row["position_size_after"]) == (T + 2 * S, 0.0)


def test_one_close_of_unknown_pnl_leaves_that_of_its_attempt_unknown(con: Con) -> None:
    row = one(
        outcomes(
            con,
            router(),
            order_close(at=T + 1 * S, realized_pnl_usd=5.0),
            order_close(at=T + 2 * S, realized_pnl_usd=None),  # may have lost more than the 5
        )
    )
    assert (row["close_n"], row["realized_pnl_usd"]) == (2, None)


def test_same_close_written_twice_counts_once(con: Con) -> None:
    # same order and ts_close -> one close, the later line's PnL
    row = one(
        outcomes(
            con,
            router(),
            order_close(at=T + S, realized_pnl_usd=3.0, line_offset=1),
            order_close(at=T + S, realized_pnl_usd=3.5, line_offset=2),
        )
    )
    assert (row["close_n"], row["realized_pnl_usd"]) == (1, 3.5)


def test_closes_without_attempt_each_keep_their_pnl(con: Con) -> None:
    # one id, hours apart over more than a day, the first twice -> three rows, nothing lost
    rows = outcomes(
        con,
        order_close("manual", realized_pnl_usd=1.0),
        order_close("manual", realized_pnl_usd=1.0),
        order_close("manual", at=T + 20 * H, realized_pnl_usd=2.0),
        order_close("manual", at=T + 40 * H, realized_pnl_usd=4.0),
    )
    assert [row["realized_pnl_usd"] for row in rows] == [1.0, 2.0, 4.0]
    assert {row["outcome"] for row in rows} == {"close_only"}


def test_two_closes_without_attempt_of_one_order_both_have_its_price(con: Con) -> None:
    rows = outcomes(
        con,
        order_fill("x", at=T, fill_px=10.0),
        order_close("x", at=T + S, closed_qty=1.0),
        order_close("x", at=T + H, closed_qty=3.0),
    )
    assert [row["closed_notional_usd"] for row in rows] == [10.0, 30.0]


def test_close_without_any_id_counts_under_its_order(con: Con) -> None:
    rows = outcomes(
        con,
        order_close(None, order_id="77", realized_pnl_usd=1.0),
        order_close(None, order_id=None, line_hash=5, realized_pnl_usd=2.0),
    )
    assert [row["attempt_id"] for row in rows] == ["line:5", "order:77"]
    assert [row["realized_pnl_usd"] for row in rows] == [2.0, 1.0]


def test_close_whose_order_has_no_price_takes_the_attempts(con: Con) -> None:
    # no order_fill -> 2 * the attempt's 101; without any price -> unknown, not 0
    assert one(outcomes(con, router(), order_close()))["closed_notional_usd"] == 202.0
    assert one(outcomes(con, order_close()))["closed_notional_usd"] is None


def test_flat_lines_own_pnl_counts_only_without_an_order_close(con: Con) -> None:
    flat = router(status=None, realized_pnl_usd=9.0, notional_usd=50.0, fill_px=101.0)
    row = one(outcomes(con, flat))
    assert (row["realized_pnl_usd"], row["close_n"], row["close_ms"]) == (9.0, 1, T)
    assert (row["notional_usd"], row["closed_notional_usd"]) == (50.0, 50.0)
    # without a price nobody knows whether it traded; what it says it earned counts
    unpriced = router(status=None, realized_pnl_usd=9.0, notional_usd=50.0)
    row = one(outcomes(con, unpriced))
    assert (row["outcome"], row["notional_usd"]) == ("unknown", None)
    assert (row["realized_pnl_usd"], row["closed_notional_usd"]) == (9.0, 50.0)
    # an order_close stands -> its PnL, once
    row = one(outcomes(con, flat, order_close(at=T + S)))
    assert (row["realized_pnl_usd"], row["close_n"], row["close_ms"]) == (3.0, 1, T + S)


def test_pnl_of_zero_is_a_value(con: Con) -> None:
    row = one(outcomes(con, router(realized_pnl_usd=9.0), order_close(realized_pnl_usd=0.0)))
    assert row["realized_pnl_usd"] == 0.0


def test_flip_keeps_the_reduce_leg_apart(con: Con) -> None:
    attempt, reduce = outcomes(
        con,
        router("a1"),
        order_fill("a1"),
        order_fill("a1_reduce", order_id="o2", at=T + S),
        order_close("a1_reduce", order_id="o2", at=T + 2 * S, realized_pnl_usd=-1.5),
    )
    assert (attempt["outcome"], attempt["realized_pnl_usd"]) == ("filled", None)
    assert (reduce["outcome"], reduce["realized_pnl_usd"]) == ("close_only", -1.5)


# ------------------------------------------------------------------------------------------ fees


FEES_CASES: list[tuple[list[Line], float | None]] = [
    # the router knows -> the router's, 0 included
    ([router(fees_usd=0.05), order_fill(fees=0.1)], 0.05),
    ([router(fees_usd=0.0), order_fill(fees=0.1)], 0.0),
    # the router does not -> the fills'
    ([router(), order_fill(fees=0.1)], 0.1),
    ([router(), order_fill(fees=0.1, fee_asset="usdc")], 0.1),
    # an asset that is no dollar has no price here -> unknown
    ([router(), order_fill(fees=0.1, fee_asset="BNB")], None),
    # one of two fills unknown -> the sum is unknown
    ([router(), order_fill(fees=0.1), order_fill(order_id="o2", fees=None)], None),
    ([router(), order_fill(fees=0.1), order_fill(order_id="o2", fee_asset="BNB")], None),
    # nobody says -> unknown, not 0
    ([router()], None),
    # a close of an attempt does not pay the attempt's fees again -> the fills'
    ([router(), order_fill(fees=0.1), order_close(fees=0.7)], 0.1),
    # a close that stands alone -> its own
    ([order_fill(fees=0.1), order_close(fees=0.7)], 0.7),
    ([order_fill(fees=0.1), order_close(fees=None)], None),
]


def test_fees(con: Con) -> None:
    found = each(con, [lines for lines, _ in FEES_CASES])
    assert [one(rows)["fees_usd"] for rows in found] == [expected for _, expected in FEES_CASES]


# -------------------------------------------------------------------------------------- slippage


SLIPPAGE_CASES: list[tuple[Line, float | None]] = [
    (router(fill_px=101.0), 100.0),  # bought 1 % above the mark -> a cost
    (router(fill_px=99.0), -100.0),  # bought below -> a gain
    (router(side="SELL", fill_px=99.0), 100.0),  # sold below -> a cost
    (router(side="sell", fill_px=101.0), -100.0),  # sold above -> a gain
    (
        router(slippage_logged_bps=7.0),
        100.0,
    ),  # both prices stand -> the log's figure is not used
    (router(mark_px=None, slippage_logged_bps=7.0), 7.0),  # no mark -> the logged one
    (router(mark_px=0.0, slippage_logged_bps=7.0), 7.0),  # a mark of 0 is no mark
    (router(mark_px=None), None),  # nothing known -> unknown
    (router(side=None, slippage_logged_bps=7.0), 7.0),  # no side, no sign -> the logged one
    (router(side=None), None),
]


def test_slippage(con: Con) -> None:
    found = each(con, [[line] for line, _ in SLIPPAGE_CASES])
    assert [one(rows)["slippage_bps"] for rows in found] == [
        expected for _, expected in SLIPPAGE_CASES
    ]


@pytest.mark.parametrize(
    ("logged", "expected"),
    [
        (100.0, False),
        (100.009, False),  # within 0.01 bps -> the same
        (100.011, True),
        (-100.0, True),  # wrong sign -> counted
        (None, None),  # nothing logged -> nothing to compare
    ],
)
def test_logged_slippage_is_kept_and_compared(
    con: Con, logged: float | None, expected: bool | None
) -> None:
    row = one(outcomes(con, router(slippage_logged_bps=logged)))
    assert (row["slippage_logged_bps"], row["is_slippage_different"]) == (logged, expected)


def test_mark_is_the_price_hint_where_the_router_has_none(con: Con) -> None:
    row = one(outcomes(con, router(mark_px=0.0), asked(price_hint=100.5, at=T - S)))
    assert row["mark_px"] == 100.5
    assert row["slippage_bps"] == pytest.approx((101 - 100.5) / 100.5 * 1e4, abs=1e-9)


@pytest.mark.parametrize(
    ("arrival", "suspect", "slippage"),
    [
        # bid below ask -> mid 100.5, bought at 101
        ({"arrival_bid": 100.0, "arrival_ask": 101.0}, None, 0.5 / 100.5 * 1e4),
        # bid at or above ask -> a crossed book: suspect
        ({"arrival_bid": 101.0, "arrival_ask": 101.0}, "crossed_arrival_book", 0.0),
        ({"arrival_bid": 102.0, "arrival_ask": 100.0}, "crossed_arrival_book", 0.0),
        # no arrival -> no slippage against it
        ({}, None, None),
    ],
)
def test_arrival(
    con: Con, arrival: dict[str, Any], suspect: str | None, slippage: float | None
) -> None:
    row = one(outcomes(con, router(**arrival)))
    assert row["suspect_reason"] == suspect
    assert row["arrival_slippage_bps"] == (
        None if slippage is None else pytest.approx(slippage, abs=1e-9)
    )


SUSPECT_CASES: list[tuple[Line, str | None]] = [
    (router(fill_px=149.99), None),
    (router(fill_px=150.0), "slippage_out_of_range"),  # 5000 bps
    (router(side="SELL", fill_px=150.0), "slippage_out_of_range"),
    (router(mark_px=None, slippage_logged_bps=-10000.0), "slippage_out_of_range"),
    (router(qty=1e8), "amount_out_of_range"),  # 10 billion USD
]


def test_suspect_rows_are_named(con: Con) -> None:
    found = each(con, [[line] for line, _ in SUSPECT_CASES])
    assert [one(rows)["suspect_reason"] for rows in found] == [
        expected for _, expected in SUSPECT_CASES
    ]


MARK_AGE_CASES: list[tuple[list[Line], int | None]] = [
    # filled by the fill's clock, decided 2 s before -> 2000
    ([router(), asked(at=T - S), order_fill(at=T + 9 * S, ts_fill_last_ms=T + S)], 2000),
    # the fill has no last time -> its line's
    ([router(), asked(at=T - S), order_fill(at=T + 3 * S)], 4000),
    # no fill line -> the router's time
    ([router(), asked(at=T - S)], 1000),
    # the latest of several orders -> 6 s
    (
        [
            router(),
            asked(at=T - S),
            order_fill(ts_fill_last_ms=T + 5 * S),
            order_fill(order_id="o2", ts_fill_last_ms=T + S),
        ],
        6000,
    ),
    # asked twice within the day -> the first asking set the price
    ([router(), asked(at=T - 3 * S), asked(at=T - S)], 3000),
    # nobody asked, or more than a day before -> unknown
    ([router()], None),
    ([router(), asked(at=T - D - 1)], None),
]


def test_mark_age(con: Con) -> None:
    found = each(con, [lines for lines, _ in MARK_AGE_CASES])
    assert [one(rows)["mark_age_ms"] for rows in found] == [
        expected for _, expected in MARK_AGE_CASES
    ]


# ------------------------------------------------------------------------------------- confirmed


CONFIRMATION_CASES: list[tuple[list[Line], bool | None]] = [
    # a fill with its order_fill -> confirmed
    ([router(), order_fill()], True),
    # orders_executed speaks of the hour and has no fill of it -> not
    ([router(), order_fill("other")], False),
    # an acknowledgement says that the order exists, not that it filled -> not
    ([router(), order("order_ack")], False),
    # ... but it confirms an attempt that did not fill
    ([router(status="NEW"), order("order_ack")], True),
    ([router(status="CANCELED"), order("order_ack")], True),
    # orders_executed is silent -> cannot be known
    ([router()], None),
    # it speaks within a day before and after -> covered, the hours between too
    ([router(), order_fill("x", at=T - 20 * H), order_fill("y", at=T + 20 * H)], False),
    # on one side only, or too far away -> cannot be known
    ([router(), order_fill("x", at=T - 20 * H)], None),
    ([router(), order_fill("x", at=T + 20 * H)], None),
    ([router(), order_fill("x", at=T - 26 * H), order_fill("y", at=T + 20 * H)], None),
    # of another account -> says nothing here
    ([router(), order_fill("x", account="other")], None),
]


def test_confirmation(con: Con) -> None:
    found = each(con, [lines for lines, _ in CONFIRMATION_CASES])
    attempts = [[row for row in rows if row["attempt_id"] == "a1"] for rows in found]
    assert [one(rows)["is_confirmed"] for rows in attempts] == [
        expected for _, expected in CONFIRMATION_CASES
    ]


# ---------------------------------------------------------------------------------- who and where


def test_maker_columns_stay_as_logged(con: Con) -> None:
    # unknown stays unknown, false stays false
    columns = ("is_maker", "started_maker", "used_fallback")
    values = (True, False, None)
    found = each(con, [[router(**dict.fromkeys(columns, value))] for value in values])
    for rows, value in zip(found, values, strict=True):
        assert [one(rows)[column] for column in columns] == [value] * 3


def test_environments_never_mix(con: Con) -> None:
    rows = outcomes(
        con,
        router(environment="live", status="NEW"),
        order_fill(environment="paper"),
        router(environment="paper", status="NEW"),
        asked(environment="live", at=T - S),
    )
    assert [(r["environment"], r["outcome"]) for r in rows] == [
        ("live", "unknown"),
        ("paper", "filled"),
    ]
    assert [r["mark_age_ms"] for r in rows] == [1000, None]


def test_position_side_comes_from_the_order_lines(con: Con) -> None:
    lines = [router(), order_fill(position_side="short")]
    assert one(outcomes(con, *lines))["position_side"] == "SHORT"
    # a close knows best
    assert one(outcomes(con, *lines, order_close(position_side="LONG")))["position_side"] == "LONG"
    assert one(outcomes(con, router()))["position_side"] is None


def test_decision_gives_strategy_confidence_and_edge(con: Con) -> None:
    decision = asked(strategy="trend", confidence=0.7, expected_edge=0.002, at=T - S)
    row = one(outcomes(con, router(), decision))
    assert (row["strategy"], row["confidence"], row["expected_edge"]) == ("trend", 0.7, 0.002)
    assert one(outcomes(con, router(strategy="mean"), decision))["strategy"] == "mean"


def test_time_columns_are_those_of_the_event(con: Con) -> None:
    row = one(outcomes(con, router(at=T + 13 * H + 59 * M)))
    assert (row["event_ms"], row["hour_utc"]) == (T + 13 * H + 59 * M, 13)
    assert str(row["event_at_utc"]) == "2025-11-05 13:59:00"
    assert str(row["event_date"]) == "2025-11-05"


def test_venue_is_the_lines(con: Con) -> None:
    rows = outcomes(con, router("a1", venue="kraken"), order_close("a2", venue="unknown"))
    assert [row["venue"] for row in rows] == ["kraken", "unknown"]


def test_only_the_hours_to_rebuild_are_given(con: Con) -> None:
    # rows of 00:00 and 01:00, only 01:00 asked for -> its row, with what lies around it
    from tests.features.sql import literal

    lines = [router("a1"), router("a2", status="NEW", at=T + H), order_fill("a2", at=T + 2 * H)]
    literal.load_raw(con, lines)
    literal.rebuild_hours(con, [T + H])
    rows = literal.run(con, "core_execution__outcomes").to_pylist()
    assert [(row["attempt_id"], row["outcome"]) for row in rows] == [("a2", "filled")]
