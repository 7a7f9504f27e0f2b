"""Where a live engine's market comes from: quotes asked of a venue, and the bars made of them."""

import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from features.settings import Settings, Trading
from live.clock import SimulatedClock
from live.market import Bar, Direction, Quote, Signal
from live.market import bars as bar_files
from live.market.feeds import BarRecorder, QuoteFeed
from live.run import at_an_exchange
from live.trading.journal import EngineBusyError
from live.venues import RetryError, SkipError, StopError
from tests.live import files
from tests.live.trading import Desk, Script
from tests.live.venues.exchange import Exchange, serving
from tests.live.venues.test_ccxt import connect

START_MS = 1_762_300_800_000  # a whole minute
MINUTE_MS = 60_000
P = 100_000.0


class Book:
    """Quotes as told; a symbol without a price has none."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.mids: dict[str, float] = {}
        self.costs_ms = 0

    def quote(self, symbol: str) -> Quote:
        self.clock.wait_ms(self.costs_ms)
        if symbol not in self.mids:
            raise SkipError(f"{symbol}: one side of the book is empty", reason="no_market")
        mid = self.mids[symbol]
        return Quote(symbol, self.clock.now_ms(), mid - 0.5, mid + 0.5)


def feed_of(book: Book, *symbols: str) -> QuoteFeed:
    return QuoteFeed(book.quote, symbols, book.clock)


def test_bars_are_whole_minutes_of_mid_prices_and_close_with_the_first_quote_after_them() -> None:
    book = Book(SimulatedClock(START_MS - 10_000))
    feed = feed_of(book, "B", "A")
    seen: list[Bar] = []
    # seconds after the minute, prices: the one before it belongs to no whole minute
    for second, a, b in ((-10, 1, 9), (5, 10, 20), (30, 13, 18), (59, 11, 19), (61, 12, 21)):
        book.clock.move_to(START_MS + second * 1_000)
        book.mids = {"A": float(a), "B": float(b)}
        seen += [event for event in feed.poll() if isinstance(event, Bar)]
    assert seen == [
        Bar("A", START_MS, MINUTE_MS, 10, 13, 10, 11, 0),
        Bar("B", START_MS, MINUTE_MS, 20, 20, 18, 19, 0),
    ]
    assert book.clock.now_ms() >= seen[0].close_ms


def test_a_symbol_without_a_quote_has_no_bar_and_keeps_nobody_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    book = Book(SimulatedClock(START_MS - 1))
    feed = feed_of(book, "A", "B")
    book.mids = {"B": 20.0}
    events: list[Bar | Quote] = []
    for second in (1, 30, 59, 70):
        book.clock.move_to(START_MS + second * 1_000)
        events += feed.poll()
    assert [event.symbol for event in events if isinstance(event, Bar)] == ["B"]
    assert [event.symbol for event in events if isinstance(event, Quote)] == ["B"] * 4
    assert caplog.text.count("A: no quote: A: one side of the book is empty") == 1


def test_a_symbol_that_needs_a_person_blinds_no_other_and_its_stop_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one whose quote fails as no venue's may."""
    script = Script({1: "LONG"}, wants_maker=False, more={"stop_loss": 0.99 * P})
    desk = Desk(tmp_path, script, max_move_pct=50, price_band_pct=50)
    book = Book(desk.clock)
    book.mids = dict.fromkeys(("BTCUSDT", "ETHUSDT", "SOLUSDT"), P)
    refused: dict[str, Exception] = {}

    def quote(symbol: str) -> Quote:
        if symbol in refused:
            raise refused[symbol]
        return book.quote(symbol)

    desk.engine._feed = QuoteFeed(quote, list(book.mids), desk.clock)

    def turn_until(second: int) -> None:
        while desk.clock.true_ms < START_MS + second * 1_000:
            desk.engine._turn()

    turn_until(150)
    assert desk.position > 0
    refused["ETHUSDT"] = StopError("403: no permission")
    refused["SOLUSDT"] = ZeroDivisionError("a client divides by nothing")
    book.mids["BTCUSDT"] = 0.985 * P
    turn_until(250)
    assert desk.position == 0
    assert [trade.exit_reason for trade in desk.closed] == ["stop_loss"]
    assert desk.controls.state().mode == "run"  # the account answers
    assert caplog.text.count("ETHUSDT: no quote until a person acts: 403: no permission") == 1
    assert caplog.text.count("ZeroDivisionError: a client divides by nothing") == 1


def test_keys_refused_everywhere_halt_while_the_feed_has_no_quote(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    def refuse(*args: object) -> NoReturn:
        raise StopError("401: the key was revoked")

    desk.engine._feed = QuoteFeed(refuse, ["BTCUSDT"], desk.clock)
    desk.paper.account = refuse  # type: ignore[method-assign]
    desk.engine._turn()
    state = desk.controls.state()
    assert (state.mode, "401: the key was revoked" in state.reason) == ("halt", True)


class Line:
    """Quotes of two symbols every second, each dead for spans of seconds."""

    def __init__(self, **dead: tuple[int, int]) -> None:
        self.book = Book(SimulatedClock(START_MS - 1_000))
        self.dead = dead
        self.recorded: list[Bar] = []
        self.feed = QuoteFeed(self.quote, ["A", "B"], self.book.clock, on_bars=self.recorded.extend)

    def quote(self, symbol: str) -> Quote:
        second = (self.book.clock.true_ms - START_MS) // 1_000
        first, last = self.dead.get(symbol, (0, 0))
        if first <= second < last:
            raise RetryError("no answer")
        self.book.mids = {"A": 1_000.0 + second, "B": 1_000.0 + second}
        return self.book.quote(symbol)

    def play(self, until: int) -> dict[str, list[tuple[int, int]]]:
        """Return by symbol the minutes of the bars, each with the second it was handed out in."""
        found: dict[str, list[tuple[int, int]]] = {"A": [], "B": []}
        for second in range(until):
            self.book.clock.move_to(START_MS + second * 1_000)
            for event in self.feed.poll():
                if isinstance(event, Bar):
                    minute = (event.open_ms - START_MS) // MINUTE_MS
                    found[event.symbol].append((minute, second))
        return found

    def recorded_of_a(self) -> list[int]:
        return [(bar.open_ms - START_MS) // MINUTE_MS for bar in self.recorded if bar.symbol == "A"]


@pytest.mark.parametrize(
    ("dead", "of_a", "of_b"),
    [
        # both, from second 80 for hours -> no bar of the minutes it began and ended in
        ({"A": (80, 7_210), "B": (80, 7_210)}, [0, 121], [0, 121]),
        # one, across a minute's end -> its bars alone
        ({"A": (80, 190)}, [0, 4], [0, 1, 2, 3, 4]),
        # one, within a minute
        ({"A": (65, 110)}, [0, 2, 3, 4], [0, 1, 2, 3, 4]),
        # a timeout or two -> whole
        ({"A": (65, 80)}, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
        # both, about a minute's end: whole, and known while it is still news
        ({"A": (110, 130), "B": (110, 130)}, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
    ],
)
def test_a_span_that_quotes_were_missing_in_has_no_bar(
    dead: dict[str, tuple[int, int]], of_a: list[int], of_b: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    line = Line(**dead)
    until = max(last for _, last in dead.values())
    found = line.play(302 if until < 300 else until + 113)
    assert [minute for minute, _ in found["A"]] == of_a
    assert [minute for minute, _ in found["B"]] == of_b
    assert all(second - 60 * (minute + 1) <= 10 for minute, second in found["A"] + found["B"])
    assert len(line.recorded) == len(of_a) + len(of_b)
    outages = sum(last - first > 30 for first, last in dead.values())
    assert caplog.text.count("quotes again after") == outages


def test_a_bar_that_comes_later_than_its_length_is_recorded_and_not_traded() -> None:
    line = Line(A=(100, 181), B=(100, 181))  # the minute that ends at 120 is whole
    found = line.play(302)
    assert [minute for minute, _ in found["A"]] == [0, 4]
    assert line.recorded_of_a() == [0, 1, 4]


def test_a_loop_that_was_held_up_leaves_no_half_bar() -> None:
    line = Line()
    assert line.play(80)["A"] == [(0, 60)]
    line.book.clock.move_to(START_MS + 200_000)  # nobody asked for two minutes
    line.feed.poll()
    for second in range(201, 302):
        line.book.clock.move_to(START_MS + second * 1_000)
        line.feed.poll()
    assert line.recorded_of_a() == [0, 4]


def test_bars_begin_anew_where_the_clock_ran_ahead_and_was_set_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    book = Book(SimulatedClock(START_MS - 1))
    book.mids = {"A": 10.0}
    feed = feed_of(book, "A")
    book.clock.skew_ms = 1_440 * MINUTE_MS
    feed.poll()
    book.clock.move_to(START_MS + 30_000)
    feed.poll()  # a bar of tomorrow is forming
    book.clock.skew_ms = 0
    seen: list[Bar] = []
    for second in (40, 70, 100, 121, 150, 181):
        book.clock.move_to(START_MS + second * 1_000)
        seen += [event for event in feed.poll() if isinstance(event, Bar)]
    assert [bar.open_ms - START_MS for bar in seen] == [MINUTE_MS, 2 * MINUTE_MS]
    assert caplog.text.count("the clock went back") == 1


def test_slow_quotes_are_asked_in_turn_within_half_a_second() -> None:
    book = Book(SimulatedClock(START_MS))
    book.mids = dict.fromkeys("ABCDE", 1.0)
    book.costs_ms = 200
    feed = feed_of(book, *"ABCDE")
    polled = ["".join(event.symbol for event in feed.poll()) for _ in range(4)]
    assert polled == ["ABC", "DEA", "BCD", "EAB"]


def test_recorded_bars_are_files_that_are_read_again(tmp_path: Path) -> None:
    recorder = BarRecorder(tmp_path / "bars")
    made = [
        Bar("A", START_MS + n * MINUTE_MS, MINUTE_MS, 1.5, 2.0, 1.0, 1.75, 0.0) for n in range(3)
    ]
    recorder(made[:2])
    BarRecorder(tmp_path / "bars")(made[2:])  # a restart goes on in the file
    assert list(bar_files.read(tmp_path / "bars" / "A_1m.csv")) == made


def test_bars_that_cannot_be_recorded_cost_a_line_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bars").write_text("a file")
    BarRecorder(tmp_path / "bars")([Bar("A", START_MS, MINUTE_MS, 1.5, 2.0, 1.0, 1.75, 0.0)])
    assert "bars are not recorded: " in caplog.text


class Flip:
    """Turn at every bar."""

    name, threshold = "flip", 0.003

    def __init__(self) -> None:
        self.count = 0

    def on_bar(self, bar: Bar) -> Signal | None:
        self.count += 1
        direction: Direction = "LONG" if self.count % 2 else "SHORT"
        return Signal("flip", bar.symbol, direction, bar.close_ms, bar.close, 0.5, None, False)


@pytest.mark.parametrize("orders", ["paper", "sandbox"])
def test_the_engine_trades_now_on_the_quotes_of_an_exchange(tmp_path: Path, orders: str) -> None:
    """Through the real ccxt client and a loopback exchange whose price moves.

    A real venue opens nothing before a snapshot stands; paper does.
    """
    exchange, flip = Exchange(), Flip()
    settings = Settings(
        home=tmp_path, environment="paper" if orders == "paper" else "testnet", apply="all",
        trading={"loop_ms": 20, "shutdown_s": 3, "max_move_pct": 50, "clock_stop_ms": 60_000},
    )  # fmt: skip
    if orders == "sandbox":
        now_ms = exchange.clock.now_ms()
        name = "20251105T000000Z-aaaaaaaa"
        files.publish(
            settings.snapshots_root, name, [files.line()], as_of_ms=now_ms, environment="testnet"
        )
    with serving(exchange) as urls:
        data = connect(urls)
        engine = at_an_exchange(
            data, None if orders == "paper" else data, ["BTCUSDT"], [flip], settings=settings,
            log_dir=tmp_path / "logs", interval_ms=MINUTE_MS // 120,
        )  # fmt: skip
        engine.stop_at_signals = lambda: None  # type: ignore[method-assign]
        loop = threading.Thread(target=engine.run)
        loop.start()
        until_s = time.monotonic() + 20
        path = tmp_path / "logs" / "order_metrics.jsonl"
        while time.monotonic() < until_s:
            with exchange.lock:
                exchange.quote(100_000.0 + 10 * flip.count)
            if path.exists() and path.read_text().count("\n") >= 3:
                break
            time.sleep(0.05)
        engine.stop()
        loop.join(20)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) >= 3
    assert {line["environment"] for line in lines} == {"paper" if orders == "paper" else "testnet"}
    assert {line["strategy"] for line in lines} == {"flip"}
    statuses = [line["result"]["status"] for line in lines[:3]]
    assert statuses == ["FILLED"] * 3
    held = [position.qty for position in exchange.paper.positions()]
    assert (held == []) == (orders == "paper")  # paper orders reach nobody


def test_orders_of_another_environment_than_the_snapshots_are_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, environment="paper")
    with serving(Exchange()) as urls:
        data = connect(urls)
        with pytest.raises(ValueError, match="set EXECINTEL_ENVIRONMENT=testnet"):
            at_an_exchange(
                data, data, ["BTCUSDT"], [Flip()], settings=settings, log_dir=tmp_path / "logs"
            )
    assert list(tmp_path.iterdir()) == []


def test_paper_orders_by_the_rules_of_an_exchange_pay_the_fees_of_the_settings(
    tmp_path: Path,
) -> None:
    trading = Trading(maker_fee_bps=2.5, taker_fee_bps=7.5, paper_equity_usd=5_000)
    settings = Settings(home=tmp_path, trading=trading)
    with serving(Exchange()) as urls:
        data = connect(urls)
        engine = at_an_exchange(
            data, None, ["BTCUSDT"], [Flip()], settings=settings, log_dir=tmp_path / "logs"
        )
        told = data.instrument("BTCUSDT")
    rules = engine.executor._venue.instrument("BTCUSDT")
    assert (rules.maker_fee_bps, rules.taker_fee_bps) == (2.5, 7.5)
    assert rules == msgspec.structs.replace(told, maker_fee_bps=2.5, taker_fee_bps=7.5)
    assert engine.executor.account().equity_usd == 5_000


def test_a_second_paper_engine_on_one_log_folder_is_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with serving(Exchange()) as urls, ExitStack() as first, ExitStack() as second:

        def start(stack: ExitStack, folder: str) -> None:
            at_an_exchange(
                connect(urls), None, ["BTCUSDT"], [Flip()], settings=settings,
                log_dir=tmp_path / folder, stack=stack,
            )  # fmt: skip

        start(first, "logs")
        with pytest.raises(EngineBusyError, match=r"another paper engine writes to .*/logs: stop"):
            start(second, "logs")
        start(second, "others")  # two that are read apart
        first.close()
        start(first, "logs")


def test_the_engine_mirrors_while_it_trades_where_a_firestore_is_configured(
    tmp_path: Path, firestore: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="live.mirror.publisher")
    settings = Settings(home=tmp_path, exec_intel_publish_interval_s=60)

    def publishers() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "firestore-publisher"]

    with serving(Exchange()) as urls, ExitStack() as stack:
        at_an_exchange(
            connect(urls), None, ["BTCUSDT"], [Flip()], settings=settings,
            log_dir=tmp_path / "logs", stack=stack,
        )  # fmt: skip
        assert len(publishers()) == 1
    assert publishers() == []
    assert "mirroring active symbols to emulator" in caplog.text
    assert "every 60 s" in caplog.text


def test_a_venue_that_hangs_gives_no_quote_and_no_error() -> None:
    clock = SimulatedClock(START_MS)

    def hang(symbol: str) -> Quote:
        raise RetryError("order book: RequestTimeout")

    assert QuoteFeed(hang, ["A"], clock).poll() == []
