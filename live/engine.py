"""The trading loop: read the snapshot, decide, act, record, sleep; replays drive it bar by bar.

Put here: the order of things in one turn. Keep out: deciding (trading/sizing.py), gates
(trading/gates.py), what happens to an order (router.py), accounts and records (executor.py).
"""

import logging
import math
import signal as signals
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import msgspec

from features.settings import Settings
from live.clock import Clock, SimulatedClock
from live.market import Bar, Event, Print, Quote, Signal
from live.snapshot.reading import Reading
from live.strategies import Strategy, resume_one
from live.trading.book import ClosedTrade
from live.trading.controls import Controls
from live.trading.executor import Executor
from live.trading.journal import encode
from live.venues import SimulatedMarket, Venue, VenueError

HEARTBEAT_MS = 60_000
_log = logging.getLogger(__name__)


class Feed(Protocol):
    """Where a live engine's market comes from."""

    def poll(self) -> Sequence[Event]:
        """Return what came since the last call, in time order; never waits longer than a second."""
        ...


class Engine:
    """One account on one venue, traded by any number of strategies.

    A replay calls ``take`` for every moment at which something happens in the market; ``run`` does
    the same with what a feed brings until ``stop``. Both pass through the same ``step``.
    """

    def __init__(
        self,
        venue: Venue,
        strategies: Sequence[Strategy],
        read: Callable[[str], Reading],
        *,
        settings: Settings,
        clock: Clock,
        log_dir: Path,
        state_dir: Path | None = None,
        controls: Controls | None = None,
        on_closed: Callable[[ClosedTrade], None] | None = None,
        feed: Feed | None = None,
        run_id: str | None = None,
    ) -> None:
        """Restore what an earlier run left in ``state_dir``; nothing is sent before the first step.

        Args:
            venue: where orders go; the paper venue also takes the market from ``on_bars``.
            strategies: each is asked at every closed bar; their names stand in orders and traces.
            read: gives a symbol's reading, as SnapshotReader.read does.
            settings: caps, gates, and which decisions act (``apply``).
            clock: the machine's, or a SimulatedClock that ``on_bars`` moves.
            log_dir: folder of the logs that the intake reads.
            state_dir: folder of the engine's journal; None remembers nothing across restarts.
            controls: the kill switch; None has none (a backtest).
            on_closed: told of every closed trade; it must not raise and not wait.
            feed: the market of ``run``.
            run_id: name of this run in the lines; made of the start time by default.
        """
        self._strategies = tuple(strategies)
        self._clock = clock
        self._feed = feed
        self._market: SimulatedMarket | None = venue if hasattr(venue, "begin") else None  # type: ignore[assignment]
        self.executor = Executor(
            venue, read, settings=settings, clock=clock, log_dir=log_dir, state_dir=state_dir,
            controls=controls, on_closed=on_closed, run_id=run_id,
        )  # fmt: skip
        # Trades of an earlier run, and those that its last orders may still make one.
        self._untold = {*self.executor.sleeves, *self.executor.in_flight()}
        self._resume()
        self._loop_ms = settings.trading.loop_ms
        self._is_stopping = False
        self._failing: set[tuple[str, str]] = set()  # strategy, symbol
        self._unpriced: set[str] = set()  # symbols whose last event held no prices
        self._beat_ms = 0

    # -- the loop --------------------------------------------------------------------------------

    def step(self) -> None:
        """Take one turn: controls, account and reconciliation, then every order in flight."""
        executor = self.executor
        executor.watch()  # kill, drawdown, clock, positions: before any order
        executor.advance()  # orders in flight, closes that must be tried again, waiting signals
        if self._untold:
            self._resume()
        self._heartbeat()

    def on_bars(self, bars: Sequence[Bar]) -> None:
        """Let bars that close at one moment pass (one a symbol), then ask every strategy.

        A simulated clock moves through them, with a step at each thing that happens to an order.
        Raises ValueError for bars of different closes, or none.
        """
        close_ms = _one_close(bars)
        if isinstance(self._clock, SimulatedClock):
            if self._market is not None:
                self._market.begin(bars)  # at the machine's time bars have passed: quotes lead
            self._pass(self._clock, close_ms)
        self.executor.see(bars)
        self.step()
        for bar in bars:
            for strategy in self._strategies:
                wanted = self._ask(strategy, bar)
                if wanted is not None:
                    self.executor.act(wanted)

    def on_bar(self, bar: Bar) -> None:
        """Let one bar pass; bars of several symbols that close together go to ``on_bars``."""
        self.on_bars((bar,))

    def on_quote(self, quote: Quote) -> None:
        """Take a best bid and offer, and a turn if something may have happened to an order."""
        if self._market is not None:
            if isinstance(self._clock, SimulatedClock):
                self._pass(self._clock, quote.at_ms)
            self._market.on_quote(quote)
        self.executor.see_quote(quote)
        if self.executor.is_busy:
            self.step()

    def on_print(self, trade: Print) -> None:
        """Take a trade of the market; only a simulated venue has a use for it."""
        if self._market is None:
            return
        if isinstance(self._clock, SimulatedClock):
            self._pass(self._clock, trade.at_ms)
        self._market.on_print(trade)
        if self.executor.is_busy:
            self.step()

    def take(self, events: Sequence[Event]) -> None:
        """Take what a feed brought; bars that follow each other and close together are one turn.

        What holds no prices is passed over: one NaN would stay in every average made of it.
        """
        for close_ms, together in groupby(filter(self._is_usable, events), key=_close_of):
            if close_ms is not None:
                self.on_bars([event for event in together if isinstance(event, Bar)])
                continue
            for event in together:
                if isinstance(event, Quote):
                    self.on_quote(event)
                elif isinstance(event, Print):
                    self.on_print(event)

    def _is_usable(self, event: Event) -> bool:
        """Tell whether an event holds prices; those without in a row are told once."""
        if _is_priced(event):
            self._unpriced.discard(event.symbol)
            return True
        if event.symbol not in self._unpriced:
            self._unpriced.add(event.symbol)
            _log.warning("passed over, as all of %s without prices: %s", event.symbol, event)
        return False

    def run(self) -> None:
        """Trade until ``stop``: take what the feed brings, take a turn, sleep.

        A venue's error never ends the loop. However it ends, open orders are cancelled, for at most
        ``shutdown_s``.

        Raises EngineBusyError where another process runs on the same state.
        """
        with self.executor.journal.alone():
            try:
                while not self._is_stopping:
                    self._turn()
            finally:
                self.close()

    def _turn(self) -> None:
        try:
            self.take(self._feed.poll() if self._feed else ())
        except VenueError as error:
            _log.warning("the market of this turn is cut short: %s", error)
        try:
            self.step()  # whatever the feed does: switches and open orders are looked after
        except VenueError as error:
            _log.warning("turn cut short: %s", error)
        if not self._is_stopping:
            self._clock.wait_ms(self._loop_ms)

    def stop(self, *_: Any) -> None:
        """Let ``run`` return after its turn; may be called from a signal handler."""
        self._is_stopping = True

    @property
    def is_stopping(self) -> bool:
        """Tell whether the engine takes no further turn."""
        return self._is_stopping

    def stop_at_signals(self) -> None:
        """Let SIGTERM, SIGINT and a closed terminal end ``run`` in order."""
        signals.signal(signals.SIGTERM, self.stop)
        signals.signal(signals.SIGINT, self.stop)
        hangup = getattr(signals, "SIGHUP", None)  # Windows has none
        if hangup is not None and signals.getsignal(hangup) != signals.SIG_IGN:  # as by nohup
            signals.signal(hangup, self.stop)

    def close(self) -> None:
        """Cancel what is open, keep what filled, write the last lines; call it once, at the end."""
        self._is_stopping = True
        self.executor.close()

    # -- parts -----------------------------------------------------------------------------------

    def _resume(self) -> None:
        """Tell strategies which calls of an earlier run hold a position."""
        for key in list(self._untold):
            sleeve = self.executor.sleeves.get(key)
            if sleeve is None and key in self.executor.in_flight():
                continue  # the order is being ended: it may have filled
            self._untold.discard(key)
            if sleeve is None:
                continue
            for strategy in (each for each in self._strategies if each.name == key[0]):
                try:
                    resume_one(strategy, sleeve.signal)
                except Exception:
                    _log.exception("%s was not told of its call of %s", *key)

    def _ask(self, strategy: Strategy, bar: Bar) -> Signal | None:
        """Ask a strategy what it wants.

        One that fails is passed over: the engine has stops to keep, of its trades and of others'.
        """
        key = (strategy.name, bar.symbol)
        try:
            wanted = _readable(strategy.on_bar(bar))
        except Exception:
            if isinstance(self._clock, SimulatedClock):
                raise  # what a replay says of the other bars would be wrong
            if key not in self._failing:  # once, until it answers again
                self._failing.add(key)
                _log.exception("%s failed at a bar of %s and is passed over", *key)
            return None
        self._failing.discard(key)
        return wanted

    def _pass(self, clock: SimulatedClock, until_ms: int) -> None:
        """Move a simulated clock on, stopping wherever an order needs a turn."""
        while self.executor.is_busy:
            event_ms = self._market.next_event_ms() if self._market is not None else None
            wakes = (self.executor.next_wake_ms(), event_ms)
            wake_ms = min([at for at in wakes if at is not None], default=until_ms)
            if wake_ms >= until_ms:
                break
            clock.move_to(max(wake_ms, clock.true_ms + 1))
            self.step()
        clock.move_to(until_ms)

    def _heartbeat(self) -> None:
        now_ms = self._clock.now_ms()
        if not 0 <= now_ms - self._beat_ms < HEARTBEAT_MS:
            self._beat_ms = now_ms
            if not isinstance(self._clock, SimulatedClock):
                _log.info("heartbeat: %s", self.executor.summary())


def _readable(wanted: object) -> Signal | None:
    """Return what a strategy wants; raises TypeError or ValueError where it is no Signal.

    Nor is one that the journal cannot give back, as of a direction that there is not: a restart
    would forget the order.
    """
    if wanted is None:
        return None
    if not isinstance(wanted, Signal):
        raise TypeError(f"on_bar must return a Signal or None, not {wanted!r}")
    msgspec.json.decode(encode(wanted), type=Signal)
    return wanted


def _is_priced(event: Event) -> bool:
    prices: tuple[float, ...]
    match event:
        case Bar():
            prices = (event.open, event.high, event.low, event.close)
        case Quote():
            prices = (event.bid, event.ask)
        case Print():
            prices = (event.price,)
    return min(prices) > 0 and sum(prices) < math.inf  # of NaN neither is true


def _close_of(event: Event) -> int | None:
    return event.close_ms if isinstance(event, Bar) else None


def _one_close(bars: Iterable[Bar]) -> int:
    closes = {bar.close_ms for bar in bars}
    if len(closes) != 1:
        raise ValueError(f"on_bars takes bars of one close, not of {sorted(closes)}")
    return closes.pop()


if __name__ == "__main__":
    from live.run import main

    raise SystemExit(main())
