"""Drawdown against a plain calculation over all that was seen, moves against theirs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.trading.watch import DAY_MS, Drawdown, Moves

MINUTE_MS = 60_000
steps = st.lists(
    st.tuples(st.integers(1, 200), st.floats(1_000.0, 20_000.0)), min_size=1, max_size=60
)


@given(steps)
def test_drawdown_is_the_worst_of_three_peaks(found: list[tuple[int, float]]) -> None:
    drawdown, seen, now_ms = Drawdown(), [], 0
    for minutes, equity in found:
        now_ms += minutes * MINUTE_MS
        seen.append((now_ms, equity))
        worst, _ = drawdown.see(now_ms, equity)
        # the high-water mark is never below the peaks of a day or of 24 hours
        assert worst == pytest.approx((equity / max(e for _, e in seen) - 1) * 100)


@given(steps)
def test_peaks_of_day_and_24_hours_forget_what_is_older(found: list[tuple[int, float]]) -> None:
    drawdown, seen, now_ms = Drawdown(), [], 0
    for minutes, equity in found:
        now_ms += minutes * MINUTE_MS
        seen.append((now_ms, equity))
        drawdown.see(now_ms, equity)
        day = [e for at, e in seen if at // DAY_MS == now_ms // DAY_MS]
        assert drawdown.peaks.day_usd == max(day)
        recent = drawdown.dump().recent[0][1]
        assert recent >= max(e for at, e in seen if at > now_ms - DAY_MS)
        assert recent <= max(e for at, e in seen if at > now_ms - DAY_MS - 10 * MINUTE_MS)


def test_drawdown_goes_on_from_what_was_kept_and_anew_after_a_rebase() -> None:
    first = Drawdown()
    first.see(0, 100.0)
    second = Drawdown()
    second.load(first.dump())
    assert second.see(MINUTE_MS, 95.0)[0] == pytest.approx(-5.0)
    second.rebase()
    assert second.see(2 * MINUTE_MS, 95.0) == (0.0, "the day's peak")


def test_move_is_highest_over_lowest_of_the_last_minute() -> None:
    moves = Moves()
    assert moves.pct("BTCUSDT", 0) is None
    moves.see("BTCUSDT", 0, 100.0, 0)
    assert moves.pct("BTCUSDT", 0) is None  # one price is no move
    moves.see("BTCUSDT", 30_000, 90.0, 30_000)
    moves.see("BTCUSDT", 60_000, 99.0, 60_000)
    assert moves.pct("BTCUSDT", 60_000) == pytest.approx(100 / 90 * 100 - 100)
    moves.see("BTCUSDT", 90_001, 99.0, 90_001)
    assert moves.pct("BTCUSDT", 90_001) == pytest.approx(0.0)  # the fall is over a minute old


def test_moves_begin_anew_where_the_clock_went_back() -> None:
    moves = Moves()
    moves.see("BTCUSDT", 3_600_000, 100.0, 3_600_000)  # an hour ahead, then corrected
    moves.see("BTCUSDT", 0, 100.0, 0)
    moves.see("BTCUSDT", 30_000, 90.0, 30_000)
    moves.see("BTCUSDT", 20_000, 50.0, 30_000)  # late: it does not count
    assert moves.pct("BTCUSDT", 30_000) == pytest.approx(100 / 90 * 100 - 100)


def test_a_price_of_long_ago_hides_no_move() -> None:
    moves = Moves()
    moves.see("BTCUSDT", 600_000, 100.0, 600_000)  # a bar
    moves.see("BTCUSDT", 510_000, 100.0, 601_000)  # and a book that nobody touched for a while
    moves.see("BTCUSDT", 610_000, 95.0, 610_000)
    assert moves.pct("BTCUSDT", 610_000) == pytest.approx(100 / 95 * 100 - 100)


def test_account_that_never_held_anything_has_no_drawdown() -> None:
    drawdown = Drawdown()
    assert drawdown.see(0, 0.0)[0] == 0.0
    assert drawdown.see(MINUTE_MS, 100.0)[0] == 0.0
    assert drawdown.see(2 * MINUTE_MS, 95.0)[0] == pytest.approx(-5.0)
