"""A circuit breaker: after some failures in a row nothing is tried for a while, then one call.

Put here: when to try, and saying so once a change. Keep out: what is called.
"""

import logging
import threading
import time
from collections.abc import Callable

import msgspec

FAILURES_TO_OPEN = 3
PAUSE_S = 30.0
LONGEST_PAUSE_S = 300.0
_log = logging.getLogger(__name__)


class Counts(msgspec.Struct, frozen=True):
    """Calls since the process began: that worked, failed, and were not tried while open."""

    done: int = 0
    failed: int = 0
    skipped: int = 0


class Breaker:
    """Closed while calls work; open, and each pause twice the last, while they do not.

    It takes a lock for a moment, so it is nothing for the order path.
    """

    def __init__(
        self,
        what: str,
        *,
        failures_to_open: int = FAILURES_TO_OPEN,
        pause_s: float = PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
        on_open: Callable[[], None] = lambda: None,
    ) -> None:
        self._what = what
        self._failures_to_open = failures_to_open
        self._first_pause_s = self._pause_s = pause_s
        self._longest_pause_s = longest_pause_s
        self._clock = clock
        self._on_open = on_open
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._try_at_s: float | None = None  # None while closed
        self.counts = Counts()
        self.last_error: str | None = None  # None while calls work

    @property
    def is_open(self) -> bool:
        return self._try_at_s is not None

    def allows(self) -> bool:
        """Tell whether to try now; who is told yes reports how it went."""
        with self._lock:
            if self._try_at_s is None:
                return True
            now_s = self._clock()
            if now_s >= self._try_at_s:
                self._try_at_s = now_s + self._pause_s  # others wait for how this one goes
                return True
            counts = self.counts
            self.counts = msgspec.structs.replace(counts, skipped=counts.skipped + 1)
            return False

    def succeeded(self) -> None:
        with self._lock:
            failures, self._in_a_row = self._in_a_row, 0
            self._try_at_s, self._pause_s = None, self._first_pause_s
            self.last_error = None
            self.counts = msgspec.structs.replace(self.counts, done=self.counts.done + 1)
        if failures:
            _log.info("%s works again after %d failures", self._what, failures)

    def failed(self, error: Exception) -> None:
        with self._lock:
            self._in_a_row += 1
            failures, was_open = self._in_a_row, self._try_at_s is not None
            self.last_error = f"{type(error).__name__}: {error}"
            self.counts = msgspec.structs.replace(self.counts, failed=self.counts.failed + 1)
            opens = failures >= self._failures_to_open
            if opens:
                if was_open:
                    self._pause_s = min(2 * self._pause_s, self._longest_pause_s)
                self._try_at_s = self._clock() + self._pause_s
        if opens:
            self._on_open()
        if opens and not was_open:
            _log.warning(
                "%s failed %d times in a row and is left alone for %.0f s at first: %s",
                self._what, failures, self._pause_s, self.last_error,
            )  # fmt: skip
        elif failures == 1:
            _log.warning("%s fails: %s", self._what, self.last_error)
