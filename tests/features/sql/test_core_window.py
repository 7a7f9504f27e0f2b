"""The window as of a time: its outcomes and hours, and what adds up over files."""

from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.sql.literal import (
    D,
    H,
    Line,
    M,
    Row,
    S,
    T,
    asked,
    build_window,
    order,
    order_fill,
    outcome,
    plan,
)

Con = duckdb.DuckDBPyConnection

WEEK = 7 * D


def window(con: Con, *lines: Line, **choice: Any) -> tuple[list[Row], list[Row]]:
    """Return the rows of both window tables over literal lines."""
    build_window(con, plan(**choice), *lines)
    outcomes = con.sql("FROM core_window__outcomes ORDER BY event_ms, attempt_id, symbol")
    hours = con.sql("FROM core_window__hourly ORDER BY hour_ms, symbol, venue, account")
    return outcomes.to_arrow_table().to_pylist(), hours.to_arrow_table().to_pylist()


@pytest.mark.parametrize("as_of_ms", [T + D, T + D - 1, T + D + 1, T + D + 25 * M, T + D + 59 * M])
def test_window_is_open_at_its_start_and_closed_at_as_of(con: Con, as_of_ms: int) -> None:
    lines = [
        outcome(at=as_of_ms - WEEK),  # exactly a week old -> out
        outcome(at=as_of_ms - WEEK + 1, attempt_id="first"),  # one ms younger -> in
        outcome(at=as_of_ms, attempt_id="last"),  # at as-of -> in
        outcome(at=as_of_ms + 1),  # after -> out
    ]
    outcomes, hours = window(con, *lines, as_of_ms=as_of_ms)
    assert [row["attempt_id"] for row in outcomes] == ["first", "last"]
    assert sum(row["n"] for row in hours) == 2


def test_close_after_as_of_does_not_count(con: Con) -> None:
    # an attempt of the window, in a whole hour, closed later -> traded, no PnL yet
    close: dict[str, Any] = {"notional_usd": 10.0, "realized_pnl_usd": 2.0}
    line = outcome(close_ms=T + D + 1, closed_notional_usd=10.0, **close)
    (row,), (hour,) = window(con, line, as_of_ms=T + D)
    assert (row["realized_pnl_usd"], row["closed_notional_usd"], row["close_n"]) == (None, None, 0)
    assert (hour["pnl_usd"], hour["close_n"], hour["notional_usd"]) == (None, 0, 10.0)
    # known one ms later -> counts
    (row,), (hour,) = window(con, line, as_of_ms=T + D + 1)
    assert (row["realized_pnl_usd"], row["closed_notional_usd"], row["close_n"]) == (2.0, 10.0, 1)
    assert (hour["pnl_usd"], hour["close_n"]) == (2.0, 1)


def test_other_environments_are_left_out(con: Con) -> None:
    lines = [outcome(environment=name) for name in ("live", "testnet", "paper", "backtest")]
    outcomes, hours = window(con, *lines, environment="testnet")
    assert [row["environment"] for row in outcomes] == ["testnet"]
    assert [row["environment"] for row in hours] == ["testnet"]


def test_one_symbol_of_two_venues_is_kept_apart_where_asked(con: Con) -> None:
    lines = [outcome(venue="binance"), outcome(venue="kraken")]
    outcomes, hours = window(con, *lines, symbol_key="venue_symbol")
    assert {row["symbol"] for row in outcomes} == {"binance:ETHUSDT", "kraken:ETHUSDT"}
    assert [row["symbol"] for row in hours] == ["binance:ETHUSDT", "kraken:ETHUSDT"]
    outcomes, hours = window(con, *lines)
    assert {row["symbol"] for row in outcomes + hours} == {"ETHUSDT"}


def test_errors_and_submissions_are_cut_at_the_window_too(con: Con) -> None:
    as_of_ms = T + D + 25 * M
    edge = as_of_ms - WEEK
    lines = [
        *(order("order_error", None, at=at) for at in (edge, edge + 1, as_of_ms, as_of_ms + 1)),
        *(asked(f"a{at}", at=at) for at in (edge, edge + 1, T, as_of_ms, as_of_ms + 1)),
    ]
    _, hours = window(con, *lines, as_of_ms=as_of_ms)
    assert sum(row["error_n"] for row in hours) == 2
    assert sum(row["no_outcome_n"] for row in hours) == 3


def test_hour_before_the_window_with_a_late_close_stays_out(con: Con) -> None:
    # an attempt just before the window whose close came after as-of -> in neither
    before = T + D - WEEK - 30 * M
    line = outcome(at=before, close_ms=T + 2 * D, realized_pnl_usd=1.0)
    assert window(con, line, as_of_ms=T + D) == ([], [])


# ------------------------------------------------------------------------------ random windows

TIMES = st.one_of(
    st.integers(-WEEK - 2 * H, 2 * H),
    st.sampled_from([-WEEK - 1, -WEEK, -WEEK + 1, -1, 0, 1, -H, -H + 1]),
)
CENTS = st.integers(-1000, 1000).map(lambda n: n / 100)
ATTEMPTS = st.builds(
    lambda at, kind, symbol, pnl, delay, slip: {
        "at": at,
        "kind": kind,
        "symbol": symbol,
        "notional_usd": 10.0 if kind in ("filled", "partial") else None,
        "slippage_bps": slip if kind in ("filled", "partial") else None,
        "realized_pnl_usd": pnl,
        "delay": delay,
    },
    TIMES,
    st.sampled_from(["filled", "partial", "unfilled", "rejected", "error", "unknown"]),
    st.sampled_from(["ETHUSDT", "BTCUSDT"]),
    st.one_of(st.none(), CENTS),
    st.integers(0, 3 * H),
    st.one_of(st.none(), CENTS),
)


@settings(max_examples=8)
@given(
    as_of=st.one_of(st.integers(0, 2 * H), st.sampled_from([0, 1, H - 1, H, H + 1])),
    rows=st.lists(ATTEMPTS, max_size=40),
)
def test_whole_hours_and_edge_hours_are_the_outcomes_of_the_window(
    con: Con, as_of: int, rows: list[Row]
) -> None:
    as_of_ms = T + 3 * D + as_of
    lines = []
    for row in rows:
        row = dict(row)
        at, kind, delay = as_of_ms + row.pop("at"), row.pop("kind"), row.pop("delay")
        if row["realized_pnl_usd"] is not None:
            row["close_ms"] = at + delay
        lines.append(outcome(kind, at=at, **row))
    _, hours = window(con, *lines, as_of_ms=as_of_ms)

    # the same from the literal rows, by their times alone
    seen = [line.values for line in lines if 0 <= as_of_ms - line.values["event_ms"] < WEEK]
    for symbol in ("ETHUSDT", "BTCUSDT"):
        mine = [row for row in seen if row["symbol"] == symbol]
        known = [row for row in mine if row.get("close_ms") and row["close_ms"] <= as_of_ms]
        here = [row for row in hours if row["symbol"] == symbol]
        assert sum(row["n"] for row in here) == len(mine)
        assert sum(row["close_n"] for row in here) == len(known)
        assert sum(row["unknown_n"] for row in here) == sum(
            row["outcome"] == "unknown" for row in mine
        )
        assert sum(row["pnl_usd"] or 0.0 for row in here) == pytest.approx(
            sum(row["realized_pnl_usd"] for row in known), abs=1e-9
        )
        assert sum(row["notional_usd"] or 0.0 for row in here) == sum(
            row["notional_usd"] or 0.0 for row in mine
        )
        slips = [row["slippage_bps"] for row in mine if row["slippage_bps"] is not None]
        assert sum(row["slip_n"] for row in here) == len(slips)
        assert sum(row["slip_bps"] or 0.0 for row in here) == pytest.approx(sum(slips), abs=1e-9)


def test_hours_of_both_sides_of_midnight_stand_apart(con: Con) -> None:
    # half a second each side of midnight -> hours 23 and 0
    outcomes, hours = window(con, outcome(at=T - S // 2), outcome(at=T + S // 2))
    assert [row["hour_utc"] for row in outcomes] == [23, 0]
    assert [(row["hour_ms"], row["hour_utc"]) for row in hours] == [(T - H, 23), (T, 0)]


def test_core_window__attempts_are_those_of_the_window_and_environment(con: Con) -> None:
    lines = [
        asked("old", T + D - WEEK, nav_usd=1.0),
        asked("first", T + D - WEEK + 1, nav_usd=2.0),
        asked("last", T + D, nav_usd=3.0),
        asked("late", T + D + 1, nav_usd=4.0),
        asked("other", nav_usd=5.0, environment="live"),
        asked("bad", nav_usd=6.0, reject_reason="not_a_number:qty"),
    ]
    window(con, *lines, as_of_ms=T + D)
    found = con.sql("SELECT nav_usd FROM core_window__attempts ORDER BY event_ms").fetchall()
    assert found == [(2.0,), (3.0,)]


def adds_up(con: Con, name: str, *lines: Line, **choice: Any) -> list[Row]:
    """Return the rows of a window table that adds up, over literal lines."""
    window(con, *lines, **choice)
    rows: list[Row] = con.sql(f"FROM {name} ORDER BY ALL").to_arrow_table().to_pylist()
    return [{key: x for key, x in row.items() if x not in (None, 0)} for row in rows]


def test_core_window__minutes_hold_what_moved_nav_when_it_did(con: Con) -> None:
    lines = [
        # filled in the next minute, closed in the one after
        outcome(
            at=T + 59 * S,
            fill_at_ms=T + M,
            fill_px=101.0,
            mark_px=100.0,
            fees_usd=0.5,
            close_ms=T + 2 * M,
            realized_pnl_usd=-2.0,
        ),
        outcome("unfilled", at=T + M + 1, mark_px=99.0, fees_usd=9.0),  # a price, and no trade
        outcome("filled", at=T + M + 2, mark_px=104.0, fees_usd=-0.2),  # a rebate
        outcome("filled", at=T + M + 2, mark_px=103.0),  # at once: the higher price is the last
        outcome("unknown", at=T + M),  # no price
    ]
    minute = T // M
    assert adds_up(con, "core_window__minutes", *lines) == [
        {
            "account": "main",
            "symbol": "ETHUSDT",
            "minute_n": minute,
            "asked_first_ms": T + 59 * S,
            "asked_last_ms": T + 59 * S,
        },
        {
            "account": "main",
            "symbol": "ETHUSDT",
            "minute_n": minute + 1,
            "trade_n": 3,
            "unknown_n": 1,
            "fees_known_n": 2,
            "fees_usd": pytest.approx(Decimal("0.3")),
            "fees_size_usd": pytest.approx(Decimal("0.7")),
            "low_px": 99.0,
            "high_px": 104.0,
            "priced_ms": T + M + 2,
            "last_px": 104.0,
            "tried_first_ms": T + 59 * S,
            "tried_last_ms": T + M + 2,
            "asked_first_ms": T + M,
            "asked_last_ms": T + M + 2,
        },
        {
            "account": "main",
            "symbol": "ETHUSDT",
            "minute_n": minute + 2,
            "close_n": 1,
            "pnl_known_n": 1,
            "pnl_usd": Decimal(-2),
            "pnl_size_usd": Decimal(2),
        },
    ]


def test_core_window__slippage_counts_fills_by_bin(con: Con) -> None:
    lines = [
        outcome(slippage_bps=1.0, mark_age_ms=0),  # fresh
        outcome(slippage_bps=1.0, mark_age_ms=10_000_000),  # stale
        outcome(slippage_bps=1.0),  # of unknown age
        outcome(slippage_bps=-16.0, mark_age_ms=-1),  # marked after the fill: unknown too
        outcome(slippage_bps=81.0),  # beyond the limit of the winsorised mean
        outcome(slippage_bps=0.0),
        outcome(slippage_bps=5.0, suspect_reason="zero_fill"),  # in no bin
        outcome(),  # no slippage: no row
    ]
    found = adds_up(con, "core_window__slippage", *lines)
    by_bin = {row.get("bin"): row for row in found}
    assert by_bin[400] == {
        "symbol": "ETHUSDT",
        "bin": 400,
        "n": 3,
        "fresh_n": 1,
        "age_unknown_n": 1,
    }
    assert by_bin[-800] == {"symbol": "ETHUSDT", "bin": -800, "n": 1, "age_unknown_n": 1}
    assert by_bin[1200]["clipped_n"] == 1
    assert [row for row in found if "bin" not in row] == [
        {"symbol": "ETHUSDT", "n": 1, "age_unknown_n": 1},  # bin 0
        {"symbol": "ETHUSDT", "suspect_n": 1},
    ]


def test_core_window__acks_count_attempts_by_bin(con: Con) -> None:
    lines = [
        outcome(ack_ms=1.0),
        outcome(ack_ms=1.0),
        outcome(ack_ms=81.0),
        outcome(ack_ms=0.0),
        outcome(),  # not known: no row
    ]
    found = adds_up(con, "core_window__acks", *lines)
    assert sorted(found, key=lambda row: row.get("bin", 0)) == [
        {"symbol": "ETHUSDT", "n": 1},  # bin 0
        {"symbol": "ETHUSDT", "bin": 400, "n": 2},
        {"symbol": "ETHUSDT", "bin": 1200, "n": 1},
    ]


def test_core_window__navs_count_values_by_day(con: Con) -> None:
    lines = [
        asked("a", T - 1, nav_usd=100.0),  # yesterday
        asked("b", T, nav_usd=100.0),
        asked("c", T + 5, nav_usd=100.0, source_id="later"),
        asked("d", T + 7, nav_usd=-1.0),
        asked("e", T + 9),  # none logged
    ]
    day, usual = T // D, "source of raw_orders__attempts"
    place = {"account": "main", "first_source": usual, "last_source": usual}
    found = adds_up(con, "core_window__navs", *lines)
    assert sorted(found, key=lambda row: (row["first_ms"], row["day_n"])) == [
        {**place, "day_n": day - 1, "nav_usd": 100.0, "n": 1, "first_ms": T - 1, "last_ms": T - 1},
        {**place, "day_n": day, "nav_usd": 100.0, "n": 2, "first_ms": T, "last_ms": T + 5}
        | {"first_source": "later"},
        {**place, "day_n": day, "nav_usd": -1.0, "n": 1, "first_ms": T + 7, "last_ms": T + 7},
        {**place, "day_n": day, "n": 1, "first_ms": T + 9, "last_ms": T + 9},
    ]


def test_core_window__repeated_navs_are_those_that_two_sources_logged_at_once(con: Con) -> None:
    lines = [
        asked("a", T, nav_usd=100.0, source_id="one"),
        asked("a", T, nav_usd=100.0, source_id="two"),  # again
        asked("a", T, nav_usd=100.0, source_id="three"),  # and again
        asked("b", T + 1, nav_usd=100.0, source_id="one"),  # at another time
        asked("c", T, nav_usd=99.0, source_id="two"),  # another value
        asked("a", T, nav_usd=100.0, source_id="two", account="other"),
        asked("d", T + 2, source_id="one"),  # none logged
        asked("d", T + 2, source_id="two"),
    ]
    assert adds_up(con, "core_window__repeated_navs", *lines) == [
        {"account": "main", "event_ms": T, "nav_usd": 100.0, "spare_n": 2},
    ]


def test_core_window__funding_is_that_of_the_window_by_symbol_and_hour(con: Con) -> None:
    lines = [
        order("funding", None, at=T + H + 7 * M, funding_usd=-0.5),
        order("funding", None, at=T - WEEK + D, funding_usd=-1.0),  # exactly a week old -> out
        order("funding", None, at=T + D + 1, funding_usd=-2.0),  # after as-of -> out
        order("funding", None, at=T, funding_usd=-4.0, environment="live"),  # another -> out
        order("funding", None, at=T, funding_usd=-8.0, reject_reason="bad_number"),  # no line
        order_fill(at=T),  # tells of none
    ]
    window(con, *lines)
    paid = "SELECT account, symbol, hour_utc, event_ms, funding_usd FROM core_window__funding"
    assert con.sql(paid).fetchall() == [("main", "ETHUSDT", 1, T + H + 7 * M, -0.5)]
    window(con, *lines, symbol_key="venue_symbol")
    assert con.sql(paid).fetchall() == [("main", "binance:ETHUSDT", 1, T + H + 7 * M, -0.5)]


def test_core_window__closes_are_the_orders_that_closed(con: Con) -> None:
    lines = [
        outcome(at=T, close_ms=T + M, realized_pnl_usd=2.0, closed_notional_usd=10.0),
        outcome(at=T + 1, close_ms=T + 2 * D, realized_pnl_usd=1.0),  # after as-of: not yet known
        outcome(at=T + 2),  # closed nothing
    ]
    (found,) = adds_up(con, "core_window__closes", *lines, as_of_ms=T + D)
    assert found == {
        "account": "main",
        "symbol": "ETHUSDT",
        "event_ms": T,
        "close_ms": T + M,
        "close_n": 1,
        "ends_position": True,
        "realized_pnl_usd": 2.0,
        "closed_notional_usd": 10.0,
    }


def test_core_window__closes_say_which_ended_their_position(con: Con) -> None:
    cases: list[tuple[str | None, str | None, float | None, float | None, bool]] = [
        ("LONG", "SELL", 0.0, 10.0, True),
        ("LONG", "SELL", 1e-10, 10.0, True),  # flat but for rounding
        ("LONG", "SELL", None, 10.0, True),  # nobody knows what is left -> an exit of its own
        ("LONG", "SELL", 2.0, 10.0, False),
        ("SHORT", "BUY", 2.0, 10.0, False),  # a venue may log a short without its sign
        ("BOTH", "SELL", 2.0, 10.0, False),  # part of a long
        ("BOTH", "SELL", -2.0, 10.0, True),  # sold through flat: the long is no more
        ("BOTH", "SELL", -2.0, None, True),
        ("BOTH", "SELL", -2.0, 0.0, False),  # closed nothing: a short became larger
        ("BOTH", "BUY", 2.0, 10.0, True),
        ("BOTH", "BUY", -2.0, 10.0, False),
        (None, "BUY", 2.0, 10.0, True),
        (None, None, 2.0, 10.0, False),  # bought or sold, nobody knows
    ]
    lines = [
        outcome(
            at=T + k,
            position_side=position,
            side=side,
            position_size_after=left,
            closed_notional_usd=closed,
            realized_pnl_usd=1.0,
        )
        for k, (position, side, left, closed, _) in enumerate(cases)
    ]
    found = adds_up(con, "core_window__closes", *lines, as_of_ms=T + D)
    told = [r.get("ends_position", False) for r in sorted(found, key=lambda r: int(r["event_ms"]))]
    assert told == [ends for *_, ends in cases]
