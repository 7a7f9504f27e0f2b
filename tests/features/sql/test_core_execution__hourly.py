"""Counts and sums of an hour: core_execution__hourly on a few literal lines."""

import duckdb
import pytest

from tests.features.sql.literal import (
    D,
    H,
    M,
    S,
    T,
    asked,
    hourly,
    one,
    order,
    order_close,
    order_fill,
    outcome,
    router,
    veto,
)

Con = duckdb.DuckDBPyConnection


def test_outcomes_are_counted_by_kind(con: Con) -> None:
    row = one(
        hourly(
            con,
            outcome("filled"),
            outcome("filled"),
            outcome("partial"),
            outcome("unfilled"),
            outcome("rejected"),
            outcome("error"),  # also an order error
            outcome("unknown"),
            outcome("close_only"),  # a close is no attempt
        )
    )
    assert row["n"] == 7
    counts = ("filled_n", "partial_n", "unfilled_n", "rejected_n", "unknown_n", "close_only_n")
    assert [row[name] for name in counts] == [2, 1, 1, 1, 1, 1]
    assert (row["error_n"], row["close_n"]) == (1, 1)


def test_sums_add_up_over_attempts_and_lone_closes(con: Con) -> None:
    row = one(
        hourly(
            con,
            # PnL 2 on 100 traded -> pnl 2, notional 100
            outcome(notional_usd=100.0, realized_pnl_usd=2.0, closed_notional_usd=70.0),
            # no close -> notional 50 only
            outcome(notional_usd=50.0),
            # a lone close trades what it closes -> notional 30
            outcome("close_only", realized_pnl_usd=-1.0, closed_notional_usd=30.0),
        )
    )
    assert (row["pnl_usd"], row["notional_usd"], row["close_n"]) == (1.0, 180.0, 2)
    # 4 + 1; 10000 + 2500 + 900; 2 * 100 - 1 * 30
    assert (row["pnl_sq"], row["notional_sq"], row["pnl_notional"]) == (5.0, 13400.0, 170.0)


def test_what_nobody_knows_is_null(con: Con) -> None:
    row = one(hourly(con, outcome("unknown")))
    unknown = ("pnl_usd", "notional_usd", "slip_bps", "fees_usd", "ack_ms", "max_close_ms")
    assert {name: row[name] for name in unknown} == dict.fromkeys(unknown)


def test_suspect_rows_stay_in_the_counts_and_out_of_slippage(con: Con) -> None:
    row = one(
        hourly(
            con,
            outcome(slippage_bps=3.0),
            outcome(slippage_bps=-1.0),
            outcome(slippage_bps=400.0, suspect_reason="crossed_arrival_book"),
            outcome(slippage_bps=None),  # a fill without a mark
        )
    )
    assert (row["n"], row["filled_n"], row["suspect_n"]) == (4, 4, 1)
    assert (row["slip_n"], row["slip_bps"], row["slip_sq"]) == (2, 2.0, 10.0)


def test_slippage_logged_otherwise_is_counted(con: Con) -> None:
    lines = [outcome(is_slippage_different=flag) for flag in (True, False, None, True)]
    assert one(hourly(con, *lines))["slip_different_n"] == 2


def test_unconfirmed_are_fills_known_not_to_be_confirmed(con: Con) -> None:
    row = one(
        hourly(
            con,
            outcome(is_confirmed=False),  # counted
            outcome(is_confirmed=None),  # cannot be known -> not counted
            outcome(is_confirmed=True),
            outcome("unknown", is_confirmed=False),  # no fill
        )
    )
    assert row["unconfirmed_n"] == 1


def test_maker_and_fallback_count_only_rows_that_know(con: Con) -> None:
    row = one(
        hourly(
            con,
            outcome(is_maker=True, started_maker=True, used_fallback=False),
            outcome(is_maker=False, started_maker=True, used_fallback=True),
            outcome(is_maker=None, started_maker=True, used_fallback=None),  # does not know
            outcome(is_maker=None, started_maker=False, used_fallback=True),  # began as taker
            outcome("unfilled", is_maker=True, started_maker=True, used_fallback=False),  # no fill
            outcome("unknown", is_maker=True, started_maker=True, used_fallback=True),  # no ratio
        )
    )
    assert (row["maker_known_n"], row["maker_n"]) == (2, 1)
    assert (row["started_maker_n"], row["fallback_known_n"], row["fallback_n"]) == (5, 3, 1)


def test_fees_are_those_of_fills_and_lone_closes(con: Con) -> None:
    row = one(
        hourly(
            con,
            outcome(fees_usd=0.1),
            outcome("partial", fees_usd=0.0),  # known to be 0
            outcome(fees_usd=None),  # unknown
            outcome("close_only", fees_usd=0.2),
            outcome("unknown", fees_usd=9.0),  # an order that may not exist
        )
    )
    assert (row["fees_known_n"], row["fees_usd"]) == (3, pytest.approx(0.3, abs=1e-15))


@pytest.mark.parametrize(
    ("notional", "expected"),
    [(4.99, 1), (5.0, 0), (None, 0)],  # below 5 USD -> dust; at it, or unknown -> not
)
def test_dust(con: Con, notional: float | None, expected: int) -> None:
    row = one(hourly(con, outcome(realized_pnl_usd=0.1, closed_notional_usd=notional)))
    assert (row["dust_n"], row["close_n"]) == (expected, 1)


def test_hours_and_places_stand_apart(con: Con) -> None:
    rows = hourly(
        con,
        outcome(at=T - 1),  # 23:59:59.999 -> hour 23 of the day before
        outcome(at=T),  # 00:00:00.000 -> hour 0
        outcome(at=T + H - 1),  # 00:59:59.999 -> hour 0
        outcome(at=T + H),  # hour 1
        outcome(at=T + H, venue="kraken"),
        outcome(at=T + H, account="second"),
        outcome(at=T + H, environment="live"),
        outcome(at=T + H, symbol="BTCUSDT"),
    )
    assert [(row["hour_ms"] - T, row["hour_utc"], row["n"]) for row in rows] == [
        (-H, 23, 1),
        (0, 0, 2),
        *[(H, 1, 1)] * 5,
    ]


def test_order_errors_count_by_symbol_and_hour_not_as_attempts(con: Con) -> None:
    row = one(
        hourly(
            con,
            order("order_error", None, line_hash=5),
            order("order_error", None, line_hash=5),  # the same line read again -> once
            order("order_error", None, line_hash=6),
            order("order_error", None, reject_reason="missing_symbol"),  # rejected -> not
            order("order_ack"),  # another event
        )
    )
    assert (row["n"], row["error_n"]) == (0, 2)


def test_orders_asked_for_are_routed_vetoed_or_never_heard_of(con: Con) -> None:
    rows = hourly(
        con,
        asked("routed"),
        router("routed", status="NEW", at=T + S),
        asked("vetoed"),
        veto("vetoed"),
        asked("lost"),
        asked("both"),  # routed after all -> not vetoed
        veto("both"),
        router("both", status="NEW"),
        asked("filled"),  # it was executed, so a router line was lost
        order_fill("filled"),
        asked("closed"),
        veto("closed"),  # whatever a gate said of it
        order_close("closed", at=T + H),
        asked("acknowledged"),  # an order that stood and nothing more -> never heard of
        order("order_ack", "acknowledged"),
        asked("empty"),  # nor does a fill of nothing say more
        order_fill("empty", executed_qty=0.0, status="CANCELED"),
        asked("noted"),  # a position_close note is no route -> never heard of
        router("noted", event="position_close"),
        asked("late"),  # more than a day later is another order -> never heard of
        router("late", at=T + D + 1),
        asked("elsewhere"),  # another symbol is another order -> never heard of
        router("elsewhere", symbol="BTCUSDT"),
        asked(None),  # without id it cannot be followed -> not counted
        asked(""),
        asked("bad", reject_reason="not_a_number:qty"),  # rejected -> not counted
    )
    (row,) = [r for r in rows if r["hour_ms"] == T and r["symbol"] == "ETHUSDT"]
    assert (row["submitted_n"], row["unrouted_n"]) == (11, 2)
    assert (row["vetoed_n"], row["no_outcome_n"]) == (1, 6)


def test_order_asked_for_twice_within_a_day_is_one_of_the_later_hour(con: Con) -> None:
    rows = hourly(con, asked("a"), asked("a", at=T + 2 * H), asked("a", at=T + 2 * H + D + 1))
    counts = {(row["hour_ms"] - T) // H: row["submitted_n"] for row in rows if row["submitted_n"]}
    assert counts == {2: 1, 26: 1}


def test_window_edges_cut_an_hour_to_the_millisecond(con: Con) -> None:
    lines = [outcome(at=T + 10 * M - 1), outcome(at=T + 10 * M), outcome(at=T + 20 * M)]
    # half-open: from 00:10:00.000 up to, without, 00:20:00.000
    assert one(hourly(con, *lines, from_ms=T + 10 * M, to_ms=T + 20 * M))["n"] == 1
    assert one(hourly(con, *lines, from_ms=T + 10 * M - 1, to_ms=T + 20 * M + 1))["n"] == 3


def test_close_after_the_time_of_knowing_does_not_count(con: Con) -> None:
    late = outcome(
        at=T, close_ms=T + M, realized_pnl_usd=2.0, closed_notional_usd=4.0, notional_usd=100.0
    )
    row = one(hourly(con, late, known_ms=T + M - 1))
    assert (row["close_n"], row["dust_n"], row["pnl_usd"], row["notional_usd"]) == (
        0,
        0,
        None,
        100.0,
    )
    row = one(hourly(con, late, known_ms=T + M))
    assert (row["close_n"], row["dust_n"], row["pnl_usd"]) == (1, 1, 2.0)


def test_acknowledgement_times_are_summed_where_known(con: Con) -> None:
    row = one(hourly(con, outcome(ack_ms=10.0), outcome("unknown", ack_ms=5.5), outcome()))
    assert (row["ack_n"], row["ack_ms"]) == (2, 15.5)


def test_hours_of_raw_lines_follow_from_their_outcomes(con: Con) -> None:
    rows = hourly(con, router(), order_close(at=T + H), order_close("lone", at=T + H, order_id="9"))
    assert [(r["hour_utc"], r["n"], r["pnl_usd"], r["max_close_ms"]) for r in rows] == [
        (0, 1, 3.0, T + H),  # the attempt's hour has its PnL
        (1, 0, 3.0, T + H),  # a lone close has its own
    ]
