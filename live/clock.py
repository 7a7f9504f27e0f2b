"""The time an engine lives by: the machine's, or one that a replay sets.

Put here: clocks. Keep out: what happens at a time. ``now_ms`` may be stepped by whoever keeps the
machine's clock; spans are measured by ``elapsed_ms``, which never goes back.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now_ms(self) -> int:
        """Return epoch milliseconds."""
        ...

    def elapsed_ms(self) -> float:
        """Return milliseconds since some moment; never goes back."""
        ...

    def wait_ms(self, span_ms: float) -> None:
        """Let so much time pass."""
        ...


class RealClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def elapsed_ms(self) -> float:
        return time.monotonic_ns() / 1e6

    def wait_ms(self, span_ms: float) -> None:
        time.sleep(max(0.0, span_ms) / 1e3)


class SimulatedClock:
    """A clock that stands until it is moved; ``skew_ms`` is what a stepped clock is wrong by."""

    def __init__(self, now_ms: int = 0) -> None:
        self.true_ms = now_ms
        self.skew_ms = 0

    def now_ms(self) -> int:
        return self.true_ms + self.skew_ms

    def elapsed_ms(self) -> float:
        return float(self.true_ms)

    def wait_ms(self, span_ms: float) -> None:
        self.true_ms += max(0, round(span_ms))

    def move_to(self, at_ms: int) -> None:
        """Let time pass until ``at_ms``; a moment that is past changes nothing."""
        if at_ms > self.true_ms:
            self.true_ms = at_ms
