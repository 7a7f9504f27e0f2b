"""What stands above every order and has to be asked for: the account's worth and the clock.

Put here: measuring them in every turn. Keep out: what they refuse (gates.py), the arithmetic of
drawdown (watch.py), and the venue's positions (reconcile.py).
"""

import logging
import math

from features.settings import Trading
from live.clock import Clock, SimulatedClock
from live.trading.watch import Drawdown
from live.venues import Account, RetryError, SkipError, StopError, Venue, VenueError

CLOCK_CHECK_MS = 10_000.0
_log = logging.getLogger(__name__)


class Guard:
    """The account and the clock of one venue, as they were last seen; None is unknown."""

    def __init__(self, venue: Venue, clock: Clock, trading: Trading) -> None:
        self._venue = venue
        self._clock = clock
        self._trading = trading
        self._checked_at = -CLOCK_CHECK_MS
        self.drawdown = Drawdown()
        self.account: Account | None = None
        self.drawdown_pct: float | None = None  # the worst, 0 or below
        self.drawdown_of = ""
        self.offset_ms: float | None = None  # how far our clock is ahead of the venue's

    @property
    def equity_usd(self) -> float | None:
        return self.account.equity_usd if self.account else None

    def value_account(self) -> str | None:
        """Take the equity of now; return why trading has to halt, None where it goes on."""
        try:
            account = self._venue.account()
        except (RetryError, SkipError) as error:
            if self.account is not None:
                _log.warning("the account cannot be read: %s", error)
            self.account = None
            return None
        except StopError as error:
            self.account = None
            return f"the venue needs a person: {error}"
        if not math.isfinite(account.equity_usd):
            _log.warning("the account cannot be read: equity %s", account.equity_usd)
            self.account = None  # nor a peak to measure from, which the journal could not keep
            return None
        self.account = account
        worst, of = self.drawdown.see(self._clock.now_ms(), account.equity_usd)
        self.drawdown_pct, self.drawdown_of = worst, of
        if worst > -self._trading.drawdown_halt_pct:
            return None
        return f"{worst:.2f} % from {of}, equity {account.equity_usd:.2f} USD"

    def check_clock(self) -> None:
        """Compare the clock with the venue's, every ten seconds; a simulated one in every turn."""
        now = self._clock.elapsed_ms()
        is_simulated = isinstance(self._clock, SimulatedClock)
        if now - self._checked_at < CLOCK_CHECK_MS and not is_simulated:
            return
        self._checked_at = now
        try:
            before_ms = self._clock.now_ms()
            server_ms = self._venue.server_ms()
            here_ms = (before_ms + self._clock.now_ms()) / 2  # the answer took half of the way
        except VenueError as error:
            _log.warning("the venue's clock cannot be read: %s", error)
            self.offset_ms = None
            return
        before, self.offset_ms = self.offset_ms, here_ms - server_ms
        limit = self._trading.clock_warn_ms
        if abs(self.offset_ms) >= limit and (before is None or abs(before) < limit):
            _log.warning("the clock is %+.0f ms off the venue's", self.offset_ms)
