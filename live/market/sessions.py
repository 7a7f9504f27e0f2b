"""Trading hours: markets that never close, and those whose intraday trades end with the day.

Put here: when a market is open, and a strategy that is flat at its close. Keep out: which days are
holidays and half days (nyse.py).
"""

import datetime as dt
from collections.abc import Callable
from zoneinfo import ZoneInfo

import msgspec

from live.market import Bar, Signal, nyse
from live.strategies import Strategy, resume_one

DAY_MS = 86_400_000
FLAT_BEFORE_MS = 5 * 60_000  # a maker order's minute, its fallback and a retry fit in


class Session(msgspec.Struct, frozen=True):
    """Opening hours, local time of ``zone``."""

    zone: str
    opens: dt.time
    close_of: Callable[[dt.date], dt.time | None]  # None on a day without trading

    def bounds_ms(self, at_ms: int) -> tuple[int, int]:
        """Return opening and close, epoch ms, of the local day that a moment lies in.

        On a day without trading both are the same.
        """
        local = dt.datetime.fromtimestamp(at_ms / 1000, tz=ZoneInfo(self.zone))
        opens, closes = (
            dt.datetime.combine(local.date(), time, local.tzinfo)
            for time in (self.opens, self.close_of(local.date()) or self.opens)
        )
        return round(opens.timestamp() * 1000), round(closes.timestamp() * 1000)

    def holds(self, bar: Bar) -> bool:
        """Tell whether a bar is one of the session's; bars of a day and longer always are."""
        if bar.interval_ms >= DAY_MS:
            return True
        opens_ms, closes_ms = self.bounds_ms(bar.open_ms)
        return opens_ms <= bar.open_ms and bar.close_ms <= closes_ms


def _us_close(day: dt.date) -> dt.time | None:
    if not nyse.is_open(day):
        return None
    return nyse.EARLY_CLOSE if nyse.closes_early(day) else dt.time(16, 0)  # 390 minutes


US_EQUITY = Session("America/New_York", dt.time(9, 30), _us_close)
SESSIONS: dict[str, Session | None] = {"24/7": None, "us-equity": US_EQUITY}


class FlatAtClose:
    """A strategy that closes what it holds five minutes before the session ends.

    Where bars are longer than that, it closes with the last one that ends as early. From then on
    nothing of the strategy gets through; where the last bars of a day are missing, the first one
    after it closes the position. The strategy sees no bar outside of the session.
    """

    def __init__(self, strategy: Strategy, session: Session) -> None:
        """Stand in for ``strategy``, with its name and threshold."""
        self.name = strategy.name
        self.threshold = strategy.threshold
        self._strategy = strategy
        self._session = session
        self._calls: dict[str, tuple[int, Signal]] = {}  # by symbol, with the close of its day
        self._bounds_ms = (0, 0)

    def resume(self, call: Signal) -> None:
        """Go on holding a call of before a restart, until the session of its day ends."""
        _, closes_ms = self._session.bounds_ms(call.at_ms - 1)
        self._calls[call.symbol] = closes_ms, call
        resume_one(self._strategy, call)

    def on_bar(self, bar: Bar) -> Signal | None:
        """Take the next closed bar of a symbol, in time order."""
        if not self._bounds_ms[0] <= bar.open_ms < self._bounds_ms[1]:
            self._bounds_ms = self._session.bounds_ms(bar.open_ms)
        opens_ms, closes_ms = self._bounds_ms
        is_within = bar.interval_ms >= DAY_MS or opens_ms <= bar.open_ms < bar.close_ms <= closes_ms
        signal = self._strategy.on_bar(bar) if is_within else None
        day_ends_ms, call = self._calls.get(bar.symbol, (closes_ms, None))
        is_last = bar.close_ms + bar.interval_ms > day_ends_ms - FLAT_BEFORE_MS
        if not is_within or is_last:
            self._calls.pop(bar.symbol, None)
            return call and msgspec.structs.replace(
                call,
                direction="NOOP",
                at_ms=bar.close_ms,
                price=bar.close,
                wants_maker=False,
                stop_loss=None,
                take_profit=None,
                reason="session_close",
            )
        if signal is not None and signal.direction == "NOOP":
            self._calls.pop(bar.symbol, None)
        elif signal is not None:
            self._calls[bar.symbol] = closes_ms, signal
        return signal
