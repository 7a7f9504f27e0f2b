"""The newest price of a symbol is the one of the latest time, not the last to come."""

from pathlib import Path

from live.market import Quote
from live.trading.marks import Marks
from tests.live.trading import MINUTE_MS, START_MS, Desk, Script, bar

P = 100_000.0


def test_a_bar_that_comes_late_moves_no_mark_and_fires_no_stop(tmp_path: Path) -> None:
    script = Script({1: "LONG"}, wants_maker=False, more={"stop_loss": 98_000.0})
    desk = Desk(tmp_path, script)
    desk.play(bar("BTCUSDT", 0, 97_000.0), bar("BTCUSDT", 1, P), bar("BTCUSDT", 2, P))
    assert desk.position > 0
    desk.engine.executor.see([bar("BTCUSDT", 0, 97_000.0)])  # the feed repeats it
    desk.play(bar("BTCUSDT", 3, P), bar("BTCUSDT", 4, P))
    assert desk.closed == []
    desk.play(bar("BTCUSDT", 5, 97_000.0), bar("BTCUSDT", 6, 97_000.0))
    assert [trade.exit_reason for trade in desk.closed] == ["stop_loss"]


def test_a_bar_of_before_the_last_quote_moves_no_mark_and_a_quote_always_does() -> None:
    marks, now_ms = Marks(), START_MS + MINUTE_MS
    marks.feed_quote(Quote("BTCUSDT", now_ms, P - 1, P + 1), now_ms)
    marks.feed("BTCUSDT", now_ms - 1, 90_000.0, now_ms)
    assert (marks.newest("BTCUSDT"), marks.fed("BTCUSDT", now_ms, 90.0)) == (P, P)
    marks.feed("BTCUSDT", now_ms, 99_000.0, now_ms)
    assert marks.newest("BTCUSDT") == 99_000.0
    # why -> an exchange whose clock is behind ours tells of now all the same
    marks.feed_quote(Quote("BTCUSDT", now_ms - 500, 97_999.0, 98_001.0), now_ms)
    assert marks.newest("BTCUSDT") == 98_000.0


def test_bars_count_again_at_once_where_the_clock_was_set_back() -> None:
    marks, ahead_ms = Marks(), START_MS + 60 * MINUTE_MS
    marks.feed("BTCUSDT", ahead_ms, P, ahead_ms)
    marks.feed("BTCUSDT", START_MS, 99_000.0, START_MS)
    assert marks.newest("BTCUSDT") == 99_000.0
    assert marks.fed("BTCUSDT", START_MS, 90.0) == 99_000.0
