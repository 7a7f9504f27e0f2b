"""What moved a position and who says so: core_position__reconciliation on a few literal rows."""

import json
from typing import Any

import duckdb
import pytest

from tests.features.sql.literal import D, H, Line, M, Row, S, T, asked, features, outcome, raw

Con = duckdb.DuckDBPyConnection

TABLE = "core_position__reconciliation"


def state(at: int, qty: float, px: float = 100.0, side: str = "LONG", **values: Any) -> Line:
    """Return a line of position_state: so much of a side is held, bought at ``px``."""
    row = {
        "position_side": side,
        "position_qty": qty,
        "entry_px": px if qty else 0.0,
        "run_id": "r1",
    }
    return raw("raw_positions__states", at, **{**row, **values})


def fill(at: int, qty: float = 1.0, px: float = 100.0, **values: Any) -> Line:
    """Return a filled buy that opens long, unless told otherwise."""
    usual = {"qty": qty, "fill_px": px, "position_side": "LONG", "is_reduce_only": False}
    return outcome("filled", at, **{**usual, **values})


def unknown(at: int, qty: float | None = 1.0, **values: Any) -> Line:
    """Return an order to buy and open long of which nobody knows what became."""
    usual = {"asked_qty": qty, "position_side": "LONG", "is_reduce_only": False}
    return outcome("unknown", at, **{**usual, **values})


def exposure(at: int, usd: float | None, px: float = 100.0, **values: Any) -> Line:
    """Return an attempt that saw ``usd`` of gross exposure in its symbol, at a price of ``px``."""
    gross = None if usd is None else json.dumps({"ETHUSDT": usd} if usd else {})
    row = {"nav_usd": 1000.0, "gross_usd": usd or 5.0, "symbol_gross_json": gross, "price_hint": px}
    return asked(None, at, **{**row, **values})


def rows(con: Con, *lines: Line, **choice: Any) -> list[Row]:
    """Return the intervals that have ended, in order of time."""
    found = features(con, TABLE, *lines, **choice)
    return [row for row in found.values() if row["to_ms"] is not None]


def one(con: Con, *lines: Line) -> Row:
    (row,) = rows(con, *lines)
    return row


# ------------------------------------------------------------------------------ what explains


def test_a_fill_of_the_size_of_the_change_explains_it(con: Con) -> None:
    row = one(con, state(T, 0.0), fill(T + S), state(T + 2 * S, 1.0))
    assert (row["change_qty"], row["explained_qty"], row["unexplained_qty"]) == (1.0, 1.0, 0.0)
    assert (row["is_explained"], row["cause"], row["unexplained_usd"]) == (True, None, None)
    assert (row["fill_n"], row["explained_usd"]) == (1, 100.0)
    assert (row["from_ms"], row["to_ms"], row["environment"]) == (T, T + 2 * S, "paper")


def test_an_interval_in_which_nothing_moved_is_left_out(con: Con) -> None:
    lines = [state(T, 1.0), state(T + S, 1.0), fill(T + 2 * S), state(T + 3 * S, 2.0)]
    assert [row["from_ms"] for row in rows(con, *lines)] == [T + S]


def test_a_fill_belongs_to_the_first_state_at_or_after_it(con: Con) -> None:
    lines = [state(T, 0.0), fill(T + S), state(T + S, 1.0), fill(T + S + 1), state(T + 2 * S, 2.0)]
    assert [row["is_explained"] for row in rows(con, *lines)] == [True, True]


def test_the_time_of_a_fill_is_the_venues_where_it_is_known(con: Con) -> None:
    # routed at T + 9 s by the router's line, filled at T + 1 s by the venue's clock
    late = fill(T + 9 * S, fill_at_ms=T + S)
    row = one(con, state(T, 0.0), late, state(T + 2 * S, 1.0))
    assert row["is_explained"] is True


@pytest.mark.parametrize(
    ("side", "order", "before", "after"),
    [
        ("LONG", {"side": "BUY"}, 0.0, 1.0),  # buys open long
        ("LONG", {"side": "SELL", "is_reduce_only": True}, 2.0, 1.0),
        ("SHORT", {"side": "SELL"}, 0.0, -1.0),  # sells open short
        ("SHORT", {"side": "BUY", "is_reduce_only": True}, -2.0, -1.0),
        ("SHORT", {"side": "BUY", "is_reduce_only": None, "realized_pnl_usd": 0.0}, -1.0, 0.0),
        ("BOTH", {"side": "SELL"}, 0.5, -0.5),  # a net position turns
    ],
)
def test_an_order_without_position_side_counts_where_it_must(
    con: Con, side: str, order: Row, before: float, after: float
) -> None:
    px = 100.0
    lines = [state(T, before, px, side), fill(T + S, position_side=None, **order)]
    row = one(con, *lines, state(T + 2 * S, after, px, side))
    assert (row["position_side"], row["is_explained"]) == (side, True)


def test_a_short_written_without_its_sign_is_a_short(con: Con) -> None:
    sell = fill(T + S, side="SELL", position_side="SHORT")
    row = one(con, state(T, 0.0, side="SHORT"), sell, state(T + 2 * S, 1.0, side="SHORT"))
    assert (row["qty_after"], row["is_explained"]) == (-1.0, True)


def test_a_lone_close_moves_the_position(con: Con) -> None:
    close = outcome("close_only", T + S, side=None, position_side="LONG", qty=1.0, fill_px=110.0,
                    realized_pnl_usd=10.0)  # fmt: skip
    row = one(con, state(T, 1.0), close, state(T + 2 * S, 0.0))
    assert (row["explained_qty"], row["is_explained"], row["pnl_missing_usd"]) == (-1.0, True, 0.0)


def test_accounts_and_symbols_are_kept_apart(con: Con) -> None:
    lines = [
        state(T, 0.0),
        fill(T + S, symbol="BTCUSDT"),
        fill(T + S, account="second"),
        state(T + 2 * S, 1.0),
    ]
    assert one(con, *lines)["unexplained_qty"] == 1.0


def test_other_environments_and_rejected_lines_say_nothing(con: Con) -> None:
    lines = [
        state(T, 0.0),
        state(T + S, 5.0, environment="live"),
        state(T + S, 5.0, reject_reason="not_a_number:entry_px"),
        state(T + 2 * S, 0.0),
    ]
    assert rows(con, *lines) == []


def test_states_after_as_of_and_before_the_window_do_not_count(con: Con) -> None:
    lines = [state(T - 7 * D - 1, 9.0), state(T, 0.0), state(T + D + 1, 5.0)]
    assert rows(con, *lines, as_of_ms=T + D) == []


# ------------------------------------------------------------------------------------ causes


def cause(con: Con, *lines: Line) -> tuple[str | None, float | None]:
    row = one(con, *lines)
    return row["cause"], row["unexplained_usd"]


def test_a_position_gone_without_a_fill_is_a_close_outside_the_log(con: Con) -> None:
    assert cause(con, state(T, 2.0), state(T + M, 0.5)) == ("close_outside_log", 150.0)


def test_a_position_grown_without_a_fill_is_a_trade_outside_the_log(con: Con) -> None:
    assert cause(con, state(T, 1.0), state(T + M, 3.0)) == ("trade_outside_log", 200.0)


def test_a_jump_over_a_restart_is_the_restarts(con: Con) -> None:
    found = cause(con, state(T, 1.0), state(T + M, 0.0, run_id="r2"))
    assert found == ("restart", 100.0)


def test_a_restart_over_which_fills_explain_all_is_no_cause(con: Con) -> None:
    lines = [state(T, 1.0), fill(T + S), state(T + M, 2.0, run_id="r2")]
    row = one(con, *lines)
    assert (row["is_restart"], row["cause"]) == (True, None)


@pytest.mark.parametrize(
    ("gap", "expected"), [(45 * M, "silent_log"), (44 * M, "trade_outside_log")]
)
def test_a_jump_over_silent_logs_is_the_silences(con: Con, gap: int, expected: str) -> None:
    assert cause(con, state(T, 1.0), state(T + gap, 2.0))[0] == expected


def test_logs_that_spoke_in_between_were_not_silent(con: Con) -> None:
    talk = [outcome("unfilled", T + 20 * M), outcome("unfilled", T + 50 * M)]
    assert cause(con, state(T, 1.0), *talk, state(T + H, 2.0))[0] == "trade_outside_log"


def test_a_fill_logged_twice_under_two_ids_is_not_in_the_position(con: Con) -> None:
    lines = [state(T, 0.0), fill(T + S), fill(T + S), state(T + 2 * S, 1.0)]
    assert cause(con, *lines) == ("fill_not_in_position", 100.0)


def test_what_came_after_the_last_state_waits(con: Con) -> None:
    found = features(con, TABLE, state(T, 0.0), fill(T + S))
    (row,) = found.values()
    assert (row["to_ms"], row["fill_n"], row["is_explained"], row["cause"]) == (None, 1, None, None)


# ------------------------------------------------------------------------------ realised PnL


def test_a_close_whose_pnl_is_logged_misses_nothing(con: Con) -> None:
    close = fill(T + S, px=110.0, side="SELL", is_reduce_only=True, realized_pnl_usd=10.0)
    row = one(con, state(T, 1.0), close, state(T + 2 * S, 0.0))
    assert (row["pnl_implied_usd"], row["pnl_missing_usd"], row["cause"]) == (10.0, 0.0, None)


@pytest.mark.parametrize(
    ("side", "qty", "px", "pnl"),
    [
        ("LONG", 3.0, 110.0, 20.0),  # sold 2 of 3, 10 above entry
        ("SHORT", -3.0, 90.0, 20.0),  # bought back 2 of 3, 10 below entry
        ("SHORT", -3.0, 105.0, -10.0),
    ],
)
def test_a_lost_close_line_is_named_and_sized_by_the_entry_price(
    con: Con, side: str, qty: float, px: float, pnl: float
) -> None:
    word = "SELL" if qty > 0 else "BUY"
    close = fill(T + S, 2.0, px, side=word, position_side=side, is_reduce_only=True)
    row = one(con, state(T, qty, side=side), close, state(T + 2 * S, qty / 3, side=side))
    assert (row["cause"], row["is_explained"]) == ("close_line_missing", True)
    assert (row["pnl_implied_usd"], row["pnl_missing_usd"]) == (pnl, pnl)


def test_lots_first_in_first_out_imply_the_same_pnl(con: Con) -> None:
    # lots of 1 at 100 and 1 at 104: entry 102; the first goes at 110, the second stays at 104
    close = fill(T + S, 1.0, 110.0, side="SELL", is_reduce_only=True, realized_pnl_usd=10.0)
    row = one(con, state(T, 2.0, 102.0), close, state(T + 2 * S, 1.0, 104.0))
    assert (row["pnl_implied_usd"], row["cause"]) == (10.0, None)


@pytest.mark.parametrize("lack", [{"fill_px": None}, {"fill_px": 110.0, "before": None}])
def test_pnl_is_not_implied_without_prices(con: Con, lack: Row) -> None:
    entry = 0.0 if "before" in lack else 100.0
    close = fill(T + S, px=lack["fill_px"], side="SELL", is_reduce_only=True)
    row = one(con, state(T, 1.0, entry), close, state(T + 2 * S, 0.0))
    assert (row["pnl_implied_usd"], row["pnl_missing_usd"], row["cause"]) == (None, None, None)


# ---------------------------------------------------------------------------- inferred fills


@pytest.mark.parametrize(
    ("change", "inferred"),
    [
        (1.0, 1),  # of its size
        (0.5, 1),  # at least half of it
        (0.49, 0),
        (2.1, 1),  # the venue may round up to its minimum, to double
        (2.2, 0),
        (-1.0, 0),  # the other way
    ],
)
def test_an_unknown_order_filled_if_the_position_moved_by_its_size(
    con: Con, change: float, inferred: int
) -> None:
    row = one(con, state(T, 5.0), unknown(T + S), state(T + 2 * S, 5.0 + change))
    assert (row["unknown_n"], row["inferred_fill_n"]) == (1, inferred)
    assert (row["cause"] == "unknown_order") is (inferred == 1)
    # the fills still explain none of it
    assert (row["explained_qty"], row["is_explained"]) == (0.0, False)


def test_an_unknown_order_is_not_inferred_where_nothing_moved(con: Con) -> None:
    row = one(con, state(T, 5.0), unknown(T + S), state(T + 2 * S, 5.0))
    assert (row["unknown_n"], row["inferred_fill_n"], row["cause"]) == (1, 0, None)


def test_of_several_unknown_orders_all_or_none_are_inferred(con: Con) -> None:
    orders = [unknown(T + S, 1.0), unknown(T + S, 0.25)]
    assert one(con, state(T, 0.0), *orders, state(T + M, 1.25))["inferred_fill_n"] == 2
    # the smaller one may have failed -> neither
    assert one(con, state(T, 0.0), *orders, state(T + M, 1.0))["inferred_fill_n"] == 0


def test_unknown_orders_against_each_other_are_not_inferred(con: Con) -> None:
    orders = [unknown(T + S), unknown(T + S, side="SELL", is_reduce_only=True)]
    assert one(con, state(T, 1.0), *orders, state(T + M, 1.0))["inferred_fill_n"] == 0


def test_an_unknown_order_of_unknown_size_is_not_inferred(con: Con) -> None:
    orders = [unknown(T + S), unknown(T + S, None)]
    assert one(con, state(T, 0.0), *orders, state(T + M, 1.0))["inferred_fill_n"] == 0


# ---------------------------------------------------------------------------------- exposure


def test_exposure_over_price_confirms_where_no_state_was_written(con: Con) -> None:
    row = one(con, exposure(T, 0.0), unknown(T + S), exposure(T + M, 101.0, 101.0))
    assert (row["position_side"], row["cause"], row["inferred_fill_n"]) == (
        "GROSS",
        "unknown_order",
        1,
    )
    assert (row["qty_before"], row["qty_after"]) == (0.0, 1.0)


def test_an_order_that_reduces_takes_off_the_exposure(con: Con) -> None:
    reduce = unknown(T + S, 2.0, side="SELL", is_reduce_only=True)
    row = one(con, exposure(T, 300.0), reduce, exposure(T + M, 100.0))
    assert (row["unknown_qty"], row["inferred_fill_n"]) == (-2.0, 1)


@pytest.mark.parametrize(("usd", "is_explained"), [(101.9, True), (102.1, False)])
def test_exposure_may_be_off_by_its_price(con: Con, usd: float, is_explained: bool) -> None:
    row = one(con, exposure(T, 0.0), fill(T + S), exposure(T + M, usd))
    assert row["is_explained"] is is_explained


def test_much_trading_between_does_not_excuse_a_change_of_exposure(con: Con) -> None:
    # 100 fills undo each other; 1.9 came from nowhere
    fills = [
        fill(T + S + k, side=("BUY", "SELL")[k % 2], is_reduce_only=k % 2 == 1) for k in range(100)
    ]
    row = one(con, exposure(T, 100.0), *fills, exposure(T + M, 290.0))
    assert (row["is_explained"], row["unexplained_qty"]) == (False, pytest.approx(1.9))


def test_exposure_of_the_moment_of_the_first_state_counts_nothing_twice(con: Con) -> None:
    lines = [exposure(T, 0.0), unknown(T + S), exposure(T + M, 100.0), state(T + M, 1.0)]
    row = one(con, *lines)
    assert (row["position_side"], row["inferred_fill_n"]) == ("LONG", 1)


@pytest.mark.parametrize("symbol", ['ETH"USDT', "ETH.USDT", "$ETH", "ETH/USDT", "~ETH"])
def test_exposure_is_found_under_any_name(con: Con, symbol: str) -> None:
    lines = [
        exposure(at, 0.0, symbol=symbol, symbol_gross_json=json.dumps({symbol: usd}))
        for at, usd in ((T, 100.0), (T + M, 300.0))
    ]
    assert one(con, *lines)["unexplained_qty"] == 2.0


@pytest.mark.parametrize(("gross", "before"), [({"ETHUSDT": None}, None), ({"BTCUSDT": 5}, 0.0)])
def test_a_symbol_named_without_a_number_is_unknown_and_not_flat(
    con: Con, gross: Row, before: float | None
) -> None:
    lines = [exposure(T, 1.0, symbol_gross_json=json.dumps(gross)), exposure(T + M, 100.0)]
    assert [row["qty_before"] for row in rows(con, *lines)] == ([] if before is None else [before])


def test_exposure_of_a_snapshot_that_names_no_symbols_is_unknown(con: Con) -> None:
    assert rows(con, exposure(T, 100.0), exposure(T + S, None), exposure(T + M, 100.0)) == []


def test_where_states_are_written_exposure_says_nothing(con: Con) -> None:
    lines = [exposure(T, 0.0), state(T + S, 0.0), unknown(T + 2 * S), state(T + M, 1.0)]
    (row,) = rows(con, *lines, exposure(T + 30 * S, 900.0), exposure(T + 2 * M, 100.0))
    assert (row["position_side"], row["inferred_fill_n"]) == ("LONG", 1)


def test_no_exposure_before_the_first_state_is_a_flat_position(con: Con) -> None:
    lines = [exposure(T, 0.0), fill(T + S), state(T + M, 1.0), state(T + M, 0.0, side="SHORT")]
    (row,) = rows(con, *lines)
    assert (row["position_side"], row["from_ms"], row["is_explained"]) == ("LONG", T, True)
    assert row["is_restart"] is False


def test_symbols_of_two_venues_are_kept_apart_where_asked(con: Con) -> None:
    lines = [
        state(T, 0.0, venue="a"),
        fill(T + S, venue="b"),
        state(T + M, 1.0, venue="a"),
        exposure(T, 0.0, venue="b"),
        exposure(T + M, 100.0, venue="b"),
    ]
    found = rows(con, *lines, symbol_key="venue_symbol")
    assert [(r["symbol"], r["position_side"], r["is_explained"]) for r in found] == [
        ("a:ETHUSDT", "LONG", False),
        ("b:ETHUSDT", "GROSS", True),
    ]
