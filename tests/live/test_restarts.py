"""What a restart goes on with, what a resume accepts, and what a strategy may say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live.market import Bar, Direction, Signal
from live.market.sessions import US_EQUITY, FlatAtClose
from live.strategies.intraday import Intraday
from live.trading import journal
from live.trading.journal import LineFile
from live.venues import NewOrder, OrderType, Position, RetryError
from tests.live.trading import MINUTE_MS, START_MS, Desk, Script, bar

P = 100_000.0


def flat(*minutes: int, price: float = P) -> list[Bar]:
    return [bar("BTCUSDT", n, price) for n in minutes]


def kill(desk: Desk) -> None:
    """End the engine as kill -9 does: nothing is written any more."""
    desk.engine.executor.journal.close()


def by_hand(desk: Desk, qty: float, price: float | None = None) -> None:
    """Let the account buy something that the engine knows nothing of."""
    kind: OrderType = "market" if price is None else "post_only"
    desk.paper.create(NewOrder("byhand", "BTCUSDT", "BUY", kind, qty, price, False, "BOTH"))


class Deaf:
    """The desk's venue, of which calls by some names are not answered."""

    def __init__(self, desk: Desk) -> None:
        self._paper = desk.paper
        self.silent: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name in self.silent:
            return self._unanswered
        return getattr(self._paper, name)

    def _unanswered(self, *args: Any) -> None:
        raise RetryError("not answered")


# -- restarts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_restart_goes_on_closing_what_a_switch_did_not_let_it_close(
    tmp_path: Path, end: str
) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 5: "NOOP"}, wants_maker=False))
    desk.play(*flat(*range(5)))
    assert desk.position > 0
    desk.controls.set("kill", "a test", by="me", now_ms=desk.clock.now_ms())
    desk.play(*flat(5, 6, 7))
    assert desk.vetoes() == ["kill"]
    kill(desk) if end == "kill" else desk.engine.close()
    desk.start()
    desk.controls.set("run", "on", by="me", now_ms=desk.clock.now_ms() + 1)
    desk.play(*flat(8, 9, 10))
    assert desk.position == 0
    assert desk.engine.executor._closing == {}


def test_restart_over_the_journal_of_an_older_release_goes_on_closing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 3: "NOOP"}, wants_maker=False))
    venue = desk.venue = Deaf(desk)
    desk.start()
    desk.play(*flat(0, 1, 2))
    venue.silent = {"create"}
    desk.play(bar("BTCUSDT", 3, P))
    assert [a.target for a in desk.engine.executor._attempts.values()] == ["NOOP"]
    kill(desk)
    written = tmp_path / "state" / "journal.jsonl"
    records = [json.loads(line) for line in written.read_text().splitlines()]
    assert any(record.pop("closing", None) for record in records)  # which it did not know
    written.write_text("".join(json.dumps(record) + "\n" for record in records))
    venue.silent = set()
    desk.start()
    desk.play(*flat(4, 5, 6))
    assert desk.position == 0


def test_what_was_closed_is_not_wanted_closed_by_the_next_restart(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 2: "NOOP", 5: "LONG"}, wants_maker=False))
    desk.play(*flat(*range(8)))
    held = desk.position
    kill(desk)
    desk.start()
    desk.play(*flat(8, 9, 10))
    assert desk.position == held > 0


def test_drawdown_of_a_time_without_agreement_outlives_a_kill(tmp_path: Path) -> None:
    desk = Desk(
        tmp_path, Script({0: "LONG"}, wants_maker=False), gross_target_usd=4_500,
        max_symbol_pct=60.0, max_move_pct=50.0, price_band_pct=50.0,
    )  # fmt: skip
    desk.play(*flat(0, 1, 2))
    by_hand(desk, 0.001, price=50_000.0)  # an order nobody knows: not reconciled from here on
    desk.play(*(bar("BTCUSDT", n, P + 1_000 * (n - 3)) for n in range(3, 14)))  # the peak
    desk.play(*(bar("BTCUSDT", n, P + 10_000 - 1_500 * (n - 14)) for n in range(14, 18)))
    before = desk.engine.executor.guard.drawdown_pct
    assert before is not None
    assert before < -1.0
    kill(desk)
    desk.start()
    desk.play(bar("BTCUSDT", 18, P + 10_000 - 1_500 * 3))
    after = desk.engine.executor.guard.drawdown_pct
    assert after == pytest.approx(before, abs=0.05)


def test_engine_that_never_runs_writes_nothing_into_the_journal_of_the_one_that_does(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}, wants_maker=False))
    running = desk.engine
    for _ in range(3):  # each is made, and would be refused by run()
        desk.start()
    running.on_bar(bar("BTCUSDT", 0, P))
    running.on_bar(bar("BTCUSDT", 1, P))
    running.executor.journal.close()
    desk.start()
    assert desk.engine.executor.lots.qty("BTCUSDT", "BOTH") == desk.position > 0
    assert len(desk.engine.executor.sleeves) == 1


def test_intraday_ends_a_trade_at_its_time_over_a_restart(tmp_path: Path) -> None:
    def made() -> Intraday:
        return Intraday(lookback_bars=5, hold_bars=10)

    path = [bar("BTCUSDT", n, P, P + 10, P - 10, P) for n in range(5)]
    path += [bar("BTCUSDT", n, P, P + 100, P, P + 100) for n in range(5, 30)]
    ends = {}
    for restart in (None, 9):
        desk = Desk(tmp_path / str(restart), made())
        for one in path:
            if restart is not None and one == path[restart]:
                kill(desk)
                desk.strategies = (made(),)  # a new process knows nothing of its calls
                desk.start()
            desk.play(one)
        ends[restart] = [(trade.exit_reason, trade.exit_ms) for trade in desk.closed[:1]]
    assert ends[None] == ends[9]
    assert ends[9][0][0] == "time_exit"


def test_strategy_is_told_of_a_trade_that_its_order_made_while_no_engine_ran(
    tmp_path: Path,
) -> None:
    told: list[Signal] = []

    class Told(Script):
        def resume(self, call: Signal) -> None:
            told.append(call)

    desk = Desk(tmp_path, Script({0: "LONG"}), maker_window_s=3_600)
    desk.play(bar("BTCUSDT", 0, P))
    kill(desk)
    one = bar("BTCUSDT", 1, P, P, 99_900.0, 99_950.0)
    desk.clock.move_to(one.open_ms)
    desk.paper.begin([one])
    desk.clock.move_to(one.close_ms)
    assert desk.position > 0  # filled meanwhile
    desk.strategies = (Told({}),)
    desk.start()
    assert told == []
    desk.play(*flat(2, 3, price=99_950.0))
    assert [(call.direction, call.at_ms) for call in told] == [("LONG", START_MS + MINUTE_MS)]
    assert desk.position > 0


def test_session_ends_a_trade_that_began_before_a_restart() -> None:
    open_ms = 1_762_353_000_000  # 2025-11-05, 09:30 in New York
    day = [
        Bar("SPY", open_ms + n * MINUTE_MS, MINUTE_MS, 500.0, 500.0, 500.0, 500.0, 1.0)
        for n in range(390)
    ]

    class Once:
        name, threshold = "once", 0.003

        def on_bar(self, one: Bar) -> Signal | None:
            return (
                Signal(self.name, one.symbol, "LONG", one.close_ms, one.close, 0.6)
                if one == day[3] else None
            )  # fmt: skip

    first = FlatAtClose(Once(), US_EQUITY)
    call = next(signal for one in day if (signal := first.on_bar(one)) is not None)
    second = FlatAtClose(Once(), US_EQUITY)
    second.resume(call)
    ends = [(one, signal) for one in day[20:] if (signal := second.on_bar(one)) is not None]
    ((one, signal),) = ends
    assert (signal.direction, signal.reason) == ("NOOP", "session_close")
    assert one.close_ms == open_ms + 385 * MINUTE_MS


# -- resume --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_seen", [False, True])
def test_resume_adopts_only_what_this_run_has_told_of(tmp_path: Path, is_seen: bool) -> None:
    """Given while no engine ran, it ends a kill, and accepts nothing that came after it."""
    more = {"stop_loss": 99_000.0}
    desk = Desk(
        tmp_path, Script({0: "LONG"}, wants_maker=False, more=more),
        max_leverage=20.0, max_symbol_pct=2_000.0,
    )  # fmt: skip
    desk.play(*flat(0, 1, 2))
    kill(desk)
    desk.controls.set("kill", "maintenance", by="me", now_ms=desk.clock.now_ms())
    desk.controls.set("run", "done", by="me", now_ms=desk.clock.now_ms() + 1)
    desk.clock.wait_ms(60_000)
    by_hand(desk, 0.005)
    one = bar("BTCUSDT", 4, P)
    desk.clock.move_to(one.open_ms)
    desk.paper.begin([one])
    desk.clock.move_to(one.close_ms)
    desk.start()
    desk.play(*flat(5, 6))
    executor = desk.engine.executor
    assert "unreconciled: BTCUSDT BOTH" in executor.summary()
    assert list(executor.sleeves) == [("script", "BTCUSDT")]  # and its stop with it
    if is_seen:
        desk.controls.set("run", "I looked", by="me", now_ms=desk.clock.now_ms() + 1)
        desk.play(*flat(7, 8))
        assert executor.is_reconciled
        assert executor.lots.qty("BTCUSDT", "BOTH") == desk.position
        return
    desk.play(*flat(7, 8, 9, price=98_000.0))
    assert [trade.exit_reason for trade in desk.closed] == ["stop_loss"]
    assert desk.position == pytest.approx(0.005)


def test_resume_adopts_nothing_where_the_venue_could_not_be_read(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}, wants_maker=False, more={"stop_loss": 99_000.0}))
    desk.play(*flat(0, 1, 2))
    kill(desk)
    by_hand(desk, 0.004)
    one = bar("BTCUSDT", 3, P)
    desk.clock.move_to(one.open_ms)
    desk.paper.begin([one])
    desk.clock.move_to(one.close_ms)
    venue = desk.venue = Deaf(desk)
    venue.silent = {"positions"}
    desk.start()
    desk.engine.step()
    assert "the venue's state cannot be read" in desk.engine.executor.summary()
    desk.controls.set("run", "the keys are mended", by="me", now_ms=desk.clock.now_ms() + 1)
    venue.silent = set()
    desk.play(*flat(4, 5))
    assert list(desk.engine.executor.sleeves) == [("script", "BTCUSDT")]
    assert "unreconciled: BTCUSDT BOTH" in desk.engine.executor.summary()


def test_resume_waits_for_an_order_whose_fills_cannot_be_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}), maker_window_s=3_600)
    venue = desk.venue = Deaf(desk)
    desk.start()
    desk.play(bar("BTCUSDT", 0, P))
    venue.silent = {"order"}
    desk.play(bar("BTCUSDT", 1, P, P, 99_900.0, 99_950.0))  # it fills: that is not told yet
    assert desk.position > 0
    desk.controls.set("run", "I looked", by="me", now_ms=desk.clock.now_ms())
    desk.engine.step()
    assert desk.engine.executor.lots.positions() == {}
    venue.silent = set()
    desk.play(*flat(2, 3, 4, price=99_950.0))
    assert desk.engine.executor.is_reconciled
    assert desk.engine.executor.lots.qty("BTCUSDT", "BOTH") == desk.position


def test_account_in_hedge_mode_is_no_position_of_one_side(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({}))

    class Hedged(Deaf):
        def positions(self) -> list[Position]:
            return [
                Position("BTCUSDT", "BOTH", qty, P, P) for qty in (0.05, -0.02)
            ]  # fmt: skip

    desk.venue = Hedged(desk)
    desk.start()
    desk.engine.step()
    assert "held long and short: the account is in hedge mode" in desk.engine.executor.summary()
    desk.controls.set("run", "I looked", by="me", now_ms=desk.clock.now_ms() + 1)
    desk.play(*flat(0, 1))
    assert not desk.engine.executor.is_reconciled
    assert desk.engine.executor.lots.positions() == {}


# -- what strategies say -------------------------------------------------------------------------


def test_newest_wish_counts_though_the_one_before_could_not_begin(tmp_path: Path) -> None:
    says: dict[int, Direction] = {0: "LONG", 1: "SHORT", 2: "LONG"}
    desk = Desk(tmp_path, Script(says), maker_window_s=600)
    venue = desk.venue = Deaf(desk)
    desk.start()
    for n in range(20):
        venue.silent = {"cancel"} if n in (1, 2) else set()
        desk.play(bar("BTCUSDT", n, P + n))
    assert desk.position >= 0
    assert [a.target for a in desk.engine.executor._attempts.values()] in ([], ["LONG"])
    assert {line["side"] for line in desk.outcomes()} <= {"BUY"}


GOOD: dict[str, Any] = {
    "strategy": "odd", "symbol": "BTCUSDT", "direction": "LONG", "at_ms": 1, "price": P,
    "confidence": 0.6,
}  # fmt: skip
ODD: list[Any] = [
    "NOOP", [], False, {"direction": "long"}, {"direction": "BUY"}, {"at_ms": np.int64(1) / 3},
    {"reason": None}, {"wants_maker": None}, {"features": None}, {"price": None},
    {"stop_loss": "101000"}, {"stop_loss": float("nan")}, {"take_profit": float("inf")},
    {"expected_edge": "99"}, {"strategy": None},
]  # fmt: skip


@pytest.mark.parametrize("says", ODD, ids=str)
def test_what_is_no_signal_is_passed_over_and_the_engine_keeps_its_stops(
    tmp_path: Path, says: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd:
        name, threshold = "odd", 0.003

        def on_bar(self, one: Bar) -> Any:
            if one.open_ms < START_MS + 3 * MINUTE_MS:
                return None
            return Signal(**{**GOOD, **says}) if isinstance(says, dict) else says

    more = {"stop_loss": 99_000.0}
    desk = Desk(tmp_path, Script({0: "LONG"}, wants_maker=False, more=more), Odd())
    # A replay raises, for what it says of the other bars would be wrong; at the machine's time:
    monkeypatch.setattr(desk.engine, "_ask", lambda *asked: _as_live(desk, *asked))
    desk.play(*flat(0, 1, 2, 3, 4))
    assert desk.position == pytest.approx(0.01, abs=0.002)  # the script's
    assert caplog.text.count("odd failed at a bar of BTCUSDT and is passed over") == 1
    desk.play(*flat(5, 6, price=98_900.0))
    assert desk.position == 0


def _as_live(desk: Desk, strategy: Any, one: Bar) -> Signal | None:
    engine, clock = desk.engine, desk.engine._clock
    engine._clock = object()  # type: ignore[assignment]  # not a simulated one
    try:
        return type(engine)._ask(engine, strategy, one)
    finally:
        engine._clock = clock


def test_replay_of_a_strategy_that_returns_no_signal_ends(tmp_path: Path) -> None:
    class Odd:
        name, threshold = "odd", 0.003

        def on_bar(self, one: Bar) -> Any:
            return "LONG"

    desk = Desk(tmp_path, Odd())
    with pytest.raises(TypeError, match="must return a Signal or None, not 'LONG'"):
        desk.play(*flat(0))


# -- lines on a full disk ------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(1, 8))
def test_line_of_which_a_part_got_to_the_disk_stands_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    file = LineFile(tmp_path / "log.jsonl")
    file.append(b'{"n":1}\n')
    real = journal._write

    def full(fd: int, data: bytes) -> int:
        if len(data) < 8:
            raise OSError(28, "No space left on device")
        return real(fd, data[:at])

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_write", full)
        with pytest.raises(OSError, match="No space left"):
            file.append(b'{"n":2}\n')
    assert file.path.read_bytes() == b'{"n":1}\n'
    file.append(b'{"n":2}\n')
    assert file.path.read_bytes() == b'{"n":1}\n{"n":2}\n'
