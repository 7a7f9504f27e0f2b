"""Where a live engine's market comes from: quotes asked of a venue, and the bars made of them."""

import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from features.settings import Settings
from live.clock import SimulatedClock
from live.market import Bar, Direction, Quote, Signal
from live.market import bars as bar_files
from live.market.feeds import BarRecorder, QuoteFeed
from live.run import at_an_exchange
from live.venues import RetryError, SkipError
from tests.live import files
from tests.live.venues.exchange import Exchange, serving
from tests.live.venues.test_ccxt import connect

START_MS = 1_762_300_800_000  # a whole minute
MINUTE_MS = 60_000


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
    for second in (1, 70):
        book.clock.move_to(START_MS + second * 1_000)
        events += feed.poll()
    assert [event.symbol for event in events if isinstance(event, Bar)] == ["B"]
    assert [event.symbol for event in events if isinstance(event, Quote)] == ["B", "B"]
    assert "A: no quote: A: one side of the book is empty" in caplog.text


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
