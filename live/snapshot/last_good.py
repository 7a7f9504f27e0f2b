"""What each symbol was before anything was lost: it bounds what is served while something is.

Put here: what is remembered and for how long. Keep out: what is made of it (acting.py), which
snapshot is served (reader.py). Any thread may read and write: entries are replaced as a whole.
"""

from typing import NamedTuple

import msgspec

from live.snapshot.acting import Acting, Entry, careful
from live.snapshot.generation import DamagedError, Generation


class Kept(NamedTuple):
    """``good`` was last served as ok, ``last`` is the newest fresh record that lacked nothing.

    They differ where samples became few: then ``last`` acts as it was served.
    """

    good: Entry | None
    last: Entry | None


class Memory:
    """The kept records of every symbol that was read."""

    def __init__(self, memory_s: float) -> None:
        self._memory_ms = memory_s * 1000
        self._good: dict[str, Entry] = {}
        self._last: dict[str, Entry] = {}

    def last(self, symbol: str) -> Entry | None:
        """Return what was served last, however long ago."""
        return self._last.get(symbol)

    def of(self, generation: Generation, symbol: str, is_fresh: bool) -> Kept:
        """Return what bounds a symbol in this generation.

        Only newer snapshots make forget, never a clock: while none comes, nothing replaces what
        was known. A symbol that nobody has read yet is bounded by the generation before.
        """
        good, last = self._good.get(symbol), self._last.get(symbol)
        if last is None and generation.previous is not None:
            good, last = self._learn(generation.previous, symbol)
        if is_fresh:
            since_ms = generation.as_of_ms - self._memory_ms
            if good is not None and good.record.as_of_ms < since_ms:
                good = None
            if last is not None and last.record.as_of_ms < since_ms:
                last = None
        return Kept(good, last)

    def keep(self, symbol: str, entry: Entry, acting: Acting) -> None:
        """Remember a fresh record that lacks nothing, with the values that it was served with."""
        if entry.is_enough:
            self._good[symbol] = self._last[symbol] = entry
            return
        last = self._last.get(symbol)
        if last is None or last.record is not entry.record:
            self._last[symbol] = msgspec.structs.replace(entry, acting=acting)

    def _learn(self, generation: Generation, symbol: str) -> tuple[Entry | None, Entry | None]:
        try:
            entry = generation.entry(symbol)
        except DamagedError:
            return None, None
        if entry is not None:  # another thread may just have read something newer
            acting = entry.acting if entry.is_enough else careful(entry.acting, None)
            self._last.setdefault(symbol, msgspec.structs.replace(entry, acting=acting))
            if entry.is_enough:
                self._good.setdefault(symbol, entry)
        return self._good.get(symbol), self._last.get(symbol)
