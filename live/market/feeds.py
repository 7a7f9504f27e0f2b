"""Where an engine's market comes from, beside the venue itself.

Put here: sources of bars and quotes. Keep out: reading files (bars.py), trading (live/engine.py).
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from live.clock import Clock, SimulatedClock
from live.market import Bar, Quote
from live.market.bars import COLUMNS, INTERVAL_MS, line
from live.venues import RetryError, SkipError, StopError

BUDGET_MS = 500.0  # of a poll: the loop has orders to look after
MOST_SILENT = 0.5  # share of a span without quotes from which on it is not whole
_INTERVALS = {span_ms: name for name, span_ms in INTERVAL_MS.items()}
_log = logging.getLogger(__name__)


class ReplayFeed:
    """Bars of the past for a paper engine, one moment's a poll, at a simulated time."""

    def __init__(self, groups: Iterator[list[Bar]], on_end: Callable[[], None]) -> None:
        """Hand out ``groups``; with the last of them ``on_end`` is called."""
        self._groups = groups
        self._next = next(groups, None)
        self._on_end = on_end

    def poll(self) -> Sequence[Bar]:
        """Return the bars that close next."""
        group = self._next
        self._next = next(self._groups, None)
        if self._next is None:
            self._on_end()
        return group or ()


class ReplayClock(SimulatedClock):
    """A clock that bars move: who waits for the next of them waits no time at all.

    Once ``is_over`` says that no bars will come, waiting lets simulated time pass.
    """

    is_over: Callable[[], bool] = staticmethod(lambda: False)

    def wait_ms(self, span_ms: float) -> None:
        """Return at once while there are bars to come."""
        if self.is_over():
            super().wait_ms(span_ms)


class QuoteFeed:
    """Best bids and offers asked of a venue, and the bars of their mid prices.

    A poll asks as many symbols as fit into half a second, in turn. Bars hold no volume: quotes tell
    none. A symbol has no bar of a span without a quote of it, nor of one of which half passed at a
    stretch without quotes, of it or of all symbols.
    """

    def __init__(
        self,
        quote: Callable[[str], Quote],
        symbols: Sequence[str],
        clock: Clock,
        *,
        interval_ms: int = 60_000,
        on_bars: Callable[[Sequence[Bar]], None] = lambda bars: None,
    ) -> None:
        """Ask ``quote`` for each of ``symbols``; ``on_bars`` is told of closed bars."""
        self._quote = quote
        self._waiting = deque(symbols)
        self._clock = clock
        self._interval_ms = interval_ms
        self._most_silent_ms = interval_ms * MOST_SILENT
        self._on_bars = on_bars
        self._failing: dict[str, type[Exception]] = {}  # symbols without a quote, and what was told
        self._begin()

    def _begin(self) -> None:
        """Form bars from the next span on: whole spans only."""
        now_ms = self._clock.now_ms()
        self._open_ms = (now_ms // self._interval_ms + 1) * self._interval_ms
        self._forming: dict[str, Bar] = {}
        self._heard_ms = now_ms  # the last quote, of whichever symbol
        self._silent: dict[str, int] = {}  # symbols without quotes, and since when
        self._back_ms: dict[str, int] = {}  # when quotes came again after such a time

    def poll(self) -> Sequence[Bar | Quote]:
        """Return the bars that closed and the quotes of now.

        A symbol whose quote fails, however it does, is passed over and told once in a row: the
        engine has stops of the others to keep. Keys that are refused halt by what the account says.
        """
        events: list[Bar | Quote] = []
        until_ms = self._clock.elapsed_ms() + BUDGET_MS
        for _ in range(len(self._waiting)):
            symbol = self._waiting[0]
            self._waiting.rotate(-1)
            try:
                quote = self._quote(symbol)
            except Exception as error:
                self._silent.setdefault(symbol, self._clock.now_ms())
                self._tell(symbol, error)
            else:
                self._failing.pop(symbol, None)
                events += self._closed()
                self._see(quote)
                events.append(quote)
            if self._clock.elapsed_ms() >= until_ms:
                break
        return events

    def _tell(self, symbol: str, error: Exception) -> None:
        if self._failing.get(symbol) is type(error):
            return
        self._failing[symbol] = type(error)
        if isinstance(error, RetryError | SkipError):
            _log.warning("%s: no quote: %s", symbol, error)
        elif isinstance(error, StopError):
            _log.error("%s: no quote until a person acts: %s", symbol, error)
        else:
            _log.error("%s: no quote", symbol, exc_info=error)

    def _see(self, quote: Quote) -> None:
        """Take a quote into the bar that forms, unless a part of its span is missing."""
        now_ms = self._clock.now_ms()
        silent_ms = now_ms - self._silent.pop(quote.symbol, now_ms)
        if silent_ms > self._most_silent_ms:
            self._forming.pop(quote.symbol, None)
            self._back_ms[quote.symbol] = now_ms
            _log.warning(
                "%s: quotes again after %.0f s; no bar of the spans that they were missing in",
                quote.symbol, silent_ms / 1e3,
            )  # fmt: skip
        if not self._back_ms.get(quote.symbol, 0) <= self._open_ms <= now_ms:
            return
        mid, bar = quote.mid, self._forming.get(quote.symbol)
        if bar is None:
            bar = Bar(quote.symbol, self._open_ms, self._interval_ms, mid, mid, mid, mid, 0.0)
        self._forming[quote.symbol] = msgspec.structs.replace(
            bar, high=max(bar.high, mid), low=min(bar.low, mid), close=mid
        )

    def _closed(self) -> Sequence[Bar]:
        """Return the whole bars of the span that is over, by symbol, and begin the next.

        One that comes later than its own length after its end is recorded and not returned: what a
        strategy made of it would be traded at prices of another time.
        """
        now_ms, end_ms = self._clock.now_ms(), self._open_ms + self._interval_ms
        if now_ms < self._open_ms - self._interval_ms:
            _log.warning(
                "the clock went back %.0f s: bars begin anew", (self._open_ms - now_ms) / 1e3
            )
            self._begin()
        if now_ms - self._heard_ms > self._most_silent_ms:  # nobody answered, or nobody was asked
            for symbol in self._waiting:
                self._silent.setdefault(symbol, self._heard_ms)
        self._heard_ms = now_ms
        if now_ms < end_ms:
            return ()
        silent_from_ms = end_ms - self._most_silent_ms
        bars = [
            self._forming[symbol]
            for symbol in sorted(self._forming)
            if self._silent.get(symbol, now_ms) >= silent_from_ms
        ]
        self._forming = {}
        self._open_ms = now_ms // self._interval_ms * self._interval_ms
        if bars:
            self._on_bars(bars)
        return bars if now_ms - end_ms <= self._interval_ms else ()


class BarRecorder:
    """Append closed bars to files that the intake reads; a full disk costs bars and a line."""

    def __init__(self, folder: Path) -> None:
        """Write below ``folder``, one file a symbol."""
        self._folder = folder

    def __call__(self, bars: Sequence[Bar]) -> None:
        """Append the bars; never raises for a disk that refuses."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for bar in bars:
                name = _INTERVALS.get(bar.interval_ms)
                if name is None:  # the intake knows no file of such bars
                    continue
                path = self._folder / f"{bar.symbol}_{name}.csv"
                with path.open("a", encoding="utf-8") as file:
                    file.write(line(bar) if file.tell() else f"{','.join(COLUMNS)}\n{line(bar)}")
        except OSError as error:
            _log.warning("bars are not recorded: %s", error)
