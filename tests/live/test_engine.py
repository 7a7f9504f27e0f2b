"""The loop: what a feed brings, how it ends, and that nobody beside it can stop trading."""

import math
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from live.clock import RealClock
from live.engine import Engine
from live.market import Bar, Quote, Signal
from live.trading.book import ClosedTrade
from live.trading.controls import Controls
from live.trading.journal import EngineBusyError
from live.venues import RetryError, StopError
from live.venues.paper import PaperConfig, PaperVenue
from tests.live.trading import MINUTE_MS, START_MS, SYMBOLS, Desk, Script, bar, reading
from tests.waiting import wait_until

P = 100_000.0
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FLAT = [bar("BTCUSDT", n, P) for n in range(12)]


class Quotes:
    """A feed that repeats one quote with the time of now."""

    def __init__(self, clock: RealClock) -> None:
        self.clock = clock

    def poll(self) -> Sequence[Quote]:
        return [Quote("BTCUSDT", self.clock.now_ms(), P - 0.05, P + 0.05)]


class Live(Desk):
    """An engine over the machine's clock and a feed."""

    def start(self) -> Engine:
        clock = RealClock()
        self.paper = PaperVenue(clock, instruments=SYMBOLS, config=PaperConfig(latency_ms=1))
        self.engine = Engine(
            self.paper, self.strategies, reading, settings=self.settings, clock=clock,
            log_dir=self.root / "logs", state_dir=self.root / "state",
            controls=Controls(self.root / "control"), feed=Quotes(clock),
        )  # fmt: skip
        return self.engine

    def want_maker(self) -> None:
        now_ms = self.paper.server_ms()
        self.engine.executor.act(Signal("s", "BTCUSDT", "LONG", now_ms, P, 0.6))


def test_stop_ends_the_loop_and_cancels_what_is_open(tmp_path: Path) -> None:
    desk = Live(tmp_path, loop_ms=5)

    class Once(Quotes):
        """The order is sent by the loop's own thread: an executor belongs to one."""

        polls = 0

        def poll(self) -> Sequence[Quote]:
            self.polls += 1
            if self.polls == 10:
                desk.want_maker()
            return super().poll()

    desk.engine._feed = feed = Once(RealClock())
    thread = threading.Thread(target=desk.engine.run)
    thread.start()
    wait_until("20 polls", lambda: feed.polls >= 20)
    assert len(desk.paper.open_orders()) == 1
    desk.engine.stop()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert desk.paper.open_orders() == []
    assert [(x["result"]["status"], x["reason"]) for x in desk.outcomes()] == [
        ("CANCELED", "shutdown")
    ]


def test_fault_of_a_feed_ends_the_loop_with_nothing_open(tmp_path: Path) -> None:
    desk = Live(tmp_path, loop_ms=5)
    desk.engine.step()
    desk.engine.on_quote(Quotes(RealClock()).poll()[0])
    desk.engine.step()
    desk.want_maker()

    class Broken:
        def poll(self) -> Sequence[Quote]:
            raise ZeroDivisionError("a feed divides by nothing")

    desk.engine._feed = Broken()
    with pytest.raises(ZeroDivisionError, match="divides by nothing"):
        desk.engine.run()
    assert desk.paper.open_orders() == []


def test_fault_of_a_strategy_is_told_once_and_keeps_no_stop_from_closing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        name, threshold = "broken", 0.003

        def on_bar(self, bar: Bar) -> Signal | None:
            if bar.close == P:
                raise ZeroDivisionError("a strategy divides by nothing")
            return None

    first = (RealClock().now_ms() - START_MS) // MINUTE_MS  # of now, as the quotes are
    other = Script({first: "LONG"}, wants_maker=False, more={"stop_loss": 0.99 * P})
    desk = Live(tmp_path, Broken(), other, loop_ms=5)
    closes = (P, P, P, 0.98 * P, P)
    bars = [bar("BTCUSDT", first + n, close) for n, close in enumerate(closes)]
    held: list[float] = []

    quotes = Quotes(RealClock())

    class Bars:
        def poll(self) -> Sequence[Bar | Quote]:
            held.append(desk.position)
            if bars and len(held) % 5 == 0:
                return [bars.pop(0)]
            if len(held) == 40:
                desk.engine.stop()
            return quotes.poll()

    desk.engine._feed = Bars()
    desk.engine.run()
    assert max(held) == pytest.approx(0.01)  # the strategy after it was asked
    assert desk.position == 0
    assert caplog.text.count("broken failed at a bar of BTCUSDT") == 2  # it had answered between
    assert caplog.text.count("ZeroDivisionError: a strategy divides by nothing") == 2


@pytest.fixture
def _handlers() -> Iterator[None]:
    """Put back what the process did at signals."""
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("number", ENDING)
def test_signals_that_end_a_process_stop_the_engine_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    engine = Desk(tmp_path).engine
    engine.stop_at_signals()
    assert signal.getsignal(number) == engine.stop
    signal.raise_signal(number)
    assert engine.is_stopping


@pytest.mark.usefixtures("_handlers")
def test_hangup_that_was_to_be_ignored_stays_so(tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup starts a process
    Desk(tmp_path).engine.stop_at_signals()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_second_engine_on_one_state_is_refused(tmp_path: Path) -> None:
    desk = Live(tmp_path)
    desk.engine.step()
    journal = tmp_path / "state" / "journal.jsonl"
    with desk.engine.executor.journal.alone():
        before = journal.read_bytes()
        with pytest.raises(EngineBusyError, match="another engine runs on"):
            desk.start()
    assert journal.read_bytes() == before  # a record of ours would hide one of its own
    with (
        desk.engine.executor.journal.alone(),
        pytest.raises(EngineBusyError, match="another engine runs on"),
    ):
        desk.engine.run()


def test_damaged_state_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.json").write_text('{"seq": "x"}')
    with pytest.raises(ValueError, match=r"state\.json is no state of an engine.*Move it away"):
        Desk(tmp_path)


def test_observer_that_fails_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 2: "NOOP", 4: "LONG"}, wants_maker=False))

    def fail(trade: ClosedTrade) -> None:
        raise OSError("no space for traces")

    desk.engine.executor._on_closed = fail
    desk.play(*FLAT[:6])
    assert desk.position > 0
    assert "on_closed failed" in caplog.text


def test_venue_that_does_not_answer_opens_nothing_and_ends_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({2: "LONG", 5: "LONG"}, wants_maker=False))

    class Sometimes:
        """A venue that for a while answers nothing but what was known before."""

        is_dead = False

        def __getattr__(self, name: str) -> object:
            calls = ("account", "positions", "open_orders", "quote", "server_ms", "create")
            return self.fail if self.is_dead and name in calls else getattr(desk.paper, name)

        def fail(self, *args: object) -> None:
            raise RetryError("no answer")

    desk.venue = venue = Sometimes()
    desk.start()
    desk.play(*FLAT[:2])
    venue.is_dead = True
    desk.play(*FLAT[2:5])
    assert desk.vetoes() == ["unreconciled"]  # nothing could be compared
    venue.is_dead = False
    desk.play(*FLAT[5:8])
    assert desk.position > 0


def test_bars_of_different_closes_are_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with pytest.raises(ValueError, match="bars of one close"):
        desk.engine.on_bars(FLAT[:2])


def test_two_strategies_of_one_symbol_are_closed_each_by_itself(tmp_path: Path) -> None:
    first = Script({0: "LONG", 6: "NOOP"}, name="first", wants_maker=False)
    second = Script({2: "SHORT", 4: "NOOP"}, name="second", wants_maker=False)
    desk = Desk(tmp_path, first, second)
    positions = []
    for one in FLAT[:9]:
        desk.play(one)
        positions.append(round(desk.position, 6))
    assert positions == [0, 0.01, 0.01, 0, 0, 0.01, 0.01, 0, 0]
    assert [(trade.strategy, trade.direction) for trade in desk.closed] == [
        ("second", "SHORT"),
        ("first", "LONG"),
    ]


def test_daily_bars_trade_at_the_next_open(tmp_path: Path) -> None:
    day_ms = 86_400_000
    desk = Desk(tmp_path, Script({0: "LONG"}, wants_maker=True))
    start_ms = FLAT[0].open_ms
    prices = [(P, P, P, P), (100_400.0, 101_500.0, 100_000.0, 101_000.0), (P, P, P, P)]
    for day, (o, h, low, c) in enumerate(prices):
        desk.play(Bar("BTCUSDT", start_ms + day * day_ms, day_ms, o, h, low, c, 1e6))
    line = desk.outcomes()[0]
    assert line["result"]["status"] == "FILLED"
    assert line["used_fallback"] is True  # nobody met it within its minute
    assert line["prices"]["avg_fill"] == pytest.approx(100_410.0, rel=2e-4)


def test_feed_that_needs_a_person_keeps_no_turn_from_orders_and_switches(tmp_path: Path) -> None:
    desk = Live(tmp_path, loop_ms=5)
    desk.engine.on_quote(Quotes(RealClock()).poll()[0])
    desk.engine.step()
    desk.want_maker()
    assert len(desk.paper.open_orders()) == 1

    class Refused:
        def poll(self) -> Sequence[Quote]:
            raise StopError("order book: the key was revoked")

    desk.engine._feed = Refused()
    Controls(tmp_path / "control").set("kill", "a test", by="me")
    for _ in range(3):
        desk.engine._turn()
    assert desk.paper.open_orders() == []


@pytest.mark.parametrize("price", [math.nan, math.inf, 0.0, -1.0])
def test_what_holds_no_prices_is_passed_over(
    tmp_path: Path, price: float, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 1: "LONG"}))
    desk.engine.take([bar("BTCUSDT", 0, price), Quote("BTCUSDT", 1, price, P)])
    assert desk.engine.executor.summary()  # it can still say what it knows
    assert caplog.text.count("passed over, ") == 1  # of those in a row the first is told
    desk.engine.take([Quote("BTCUSDT", 2, P, P + 1), Quote("BTCUSDT", 3, price, P)])
    assert caplog.text.count("passed over, ") == 2
    assert desk.vetoes() == []
    assert desk.outcomes() == []
