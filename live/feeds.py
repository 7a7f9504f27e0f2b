"""Where an engine's market comes from, beside the venue itself.

Put here: sources of bars. Keep out: reading files (bars.py), trading (engine.py).
"""

from collections.abc import Callable, Iterator, Sequence

from live.clock import SimulatedClock
from live.market import Bar


class ReplayFeed:
    """Bars of the past for a paper engine, one moment's a poll, at a simulated time."""

    def __init__(
        self, groups: Iterator[list[Bar]], clock: "ReplayClock", on_end: Callable[[], None]
    ) -> None:
        """Hand out ``groups``; with the last of them ``on_end`` is called."""
        self._groups = groups
        self._next = next(groups, None)
        self._clock = clock
        self._on_end = on_end

    def poll(self) -> Sequence[Bar]:
        """Return the bars that close next."""
        group = self._next
        self._next = next(self._groups, None)
        if self._next is None:
            self._clock.is_replaying = False
            self._on_end()
        return group or ()


class ReplayClock(SimulatedClock):
    """A clock that bars move: who waits for the next of them waits no time at all."""

    is_replaying = True

    def wait_ms(self, span_ms: float) -> None:
        """Return at once while there are bars to come, then let simulated time pass."""
        if not self.is_replaying:
            super().wait_ms(span_ms)
