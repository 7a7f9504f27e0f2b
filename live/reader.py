"""Read the newest published snapshot on the order path: one symbol's values in under a microsecond.

Put here: which snapshot is served, and with which status. Keep out: the file
(snapshot/generation.py), the values an engine acts on when something is lost (snapshot/acting.py),
and every import beyond msgspec.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from live.snapshot.acting import SAFE, Acting, Entry, careful, lost
from live.snapshot.generation import (
    FILE,
    DamagedError,
    Generation,
    load,
    load_before,
    read_current,
)
from live.snapshot.last_good import Memory
from live.snapshot.reading import EventName, Health, ReaderEvent, Reading, Status
from live.snapshot.records import Header

REDUCE_ONLY_AFTER = 4  # times the greatest age
_Mark = tuple[int, ...] | None
_NEVER: _Mark = ()  # the mark of no file
_log = logging.getLogger(__name__)


class State(msgspec.Struct, frozen=True):
    """What one look at CURRENT gave; replaced as a whole, never changed, and by one other alone."""

    generation: Generation
    seen: _Mark  # CURRENT's mark
    named: str = ""  # what CURRENT named
    file_seen: _Mark = None  # the mark of that snapshot's file, where refused
    problem: str | None = None
    heir: dict[str, "State"] = {}  # the one that follows, once there is one

    def is_followed_by(self, after: "State") -> bool:
        """Tell whether ``after`` follows: of all that ask, in one step, the first."""
        return self.heir.setdefault("", after) is after


def _nothing() -> Generation:
    header = Header(0, "", 0, 0, "", "", "", {}, "")
    return Generation(header, b"", None)


class SnapshotReader:
    """The newest good snapshot below a root, for any number of threads.

    A reader takes no lock. Threads that meet a new CURRENT at once may both load it; only the
    first of them puts its own in force, and none can put back what another one's followed.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        environment: str,
        max_age_s: float = 900.0,
        check_interval_s: float = 0.1,
        memory_s: float = 7 * 86_400.0,
        clock: Callable[[], float] = time.time,
        on_event: Callable[[ReaderEvent], None] | None = None,
    ) -> None:
        """Serve the snapshots of ``environment`` below ``root``; reads CURRENT at once.

        The first one that is served is bounded by the one before it, where that is still there.

        Args:
            root: the folder that holds CURRENT; it need not exist yet.
            environment: whose snapshots to serve; all others are refused.
            max_age_s: seconds after its as-of from which on a snapshot is stale.
            check_interval_s: the shortest time between two looks at CURRENT.
            memory_s: how much newer a snapshot must be to forget what held a symbol back; to hold
                for ever would keep maker orders off a router whose evidence only they renew.
            clock: seconds since 1970, as of the trading venue.
            on_event: called with every change; by default it is logged.

        Raises ValueError for an age or interval that is not above 0.
        """
        if not (max_age_s > 0 and check_interval_s > 0):
            raise ValueError(
                f"max_age_s = {max_age_s} and check_interval_s = {check_interval_s}:"
                " both must be above 0"
            )
        self._root = Path(root)
        self._current = os.fspath(self._root / "CURRENT")
        self._environment = environment
        self._max_age_s = max_age_s
        self._check_interval_s = check_interval_s
        self._memory = Memory(memory_s)
        self._clock = clock
        self._on_event = on_event or _logged
        self._state = State(_nothing(), _NEVER)
        self._check_s = clock()
        self._check()

    def read(self, symbol: str) -> Reading:
        """Return what the newest good snapshot says of a symbol; ``*`` is all together.

        Never raises for anything that stands, or does not stand, on disk.
        """
        now_s = self._clock()
        if not 0.0 <= now_s - self._check_s < self._check_interval_s:  # a clock may go back
            self._check_s = now_s
            self._check()
        generation = self._state.generation
        entry = generation.ready.get(symbol)
        if entry is not None:
            age_s = now_s - generation.as_of_ms * 1e-3
            if 0.0 <= age_s <= self._max_age_s:
                return Reading(
                    symbol, "ok", False, generation.snapshot_id, generation.as_of_ms, age_s,
                    entry.acting, entry.record,
                )  # fmt: skip
        return self._read_with_care(generation, symbol, now_s)

    @property
    def header(self) -> Header | None:
        """Return the first line of the snapshot that is served, None before there is one."""
        generation = self._state.generation
        return generation.header if generation.snapshot_id else None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return the symbols of the snapshot that is served."""
        return self._state.generation.symbols

    @property
    def problem(self) -> str | None:
        """Say what keeps the newest snapshot or a line of it from being served; None = nothing."""
        state = self._state
        return state.problem or next(iter(state.generation.damaged.values()), None)

    def health(self) -> Health:
        """Look at CURRENT now and say what is served."""
        self._check()
        generation = self._state.generation
        if not generation.snapshot_id:
            return Health(None, None, None, True, True, self.problem)
        age_s = self._clock() - generation.as_of_ms * 1e-3
        return Health(
            generation.snapshot_id,
            generation.as_of_ms,
            age_s,
            not self._is_fresh(age_s),
            is_reduce_only(age_s, self._max_age_s),
            self.problem,
        )

    # -- one symbol ------------------------------------------------------------------------------

    def _read_with_care(self, generation: Generation, symbol: str, now_s: float) -> Reading:
        entry = self._entry(generation, symbol)
        is_alive = self._is_fresh(now_s - generation.as_of_ms * 1e-3)
        good, last = self._memory.of(generation, symbol, is_alive)
        if entry is None:
            return self._unknown(generation, symbol, now_s, last)
        record = entry.record
        age_s = now_s - record.as_of_ms * 1e-3
        missing = lost(entry, last)
        is_of_this = last is None or last.record.snapshot_id == generation.snapshot_id
        if generation.is_first and not is_of_this and not missing:
            # This reader did not serve the one before, which counts for what is lost alone.
            good = last = None
        status: Status = "ok" if entry.is_enough and not missing else "insufficient"
        if not self._is_fresh(age_s):
            status = "stale"
        acting = entry.acting
        is_whole = status != "stale" and not missing
        if status != "ok":
            # Few samples are no loss: what they say of late does not bind what they say now.
            acting = _cautious(generation, symbol, entry, good if is_whole else last)
        if is_whole and generation is self._state.generation:
            # A thread that was overtaken by a newer snapshot does not have the last word here.
            self._memory.keep(symbol, entry, acting)
            if status == "ok" and symbol not in generation.damaged:
                generation.ready[symbol] = entry
        return Reading(
            symbol,
            status,
            is_reduce_only(age_s, self._max_age_s),
            record.snapshot_id,
            record.as_of_ms,
            age_s,
            acting,
            record,
            missing,
            last.record if last is not None and not is_whole else None,
        )

    def _unknown(
        self, generation: Generation, symbol: str, now_s: float, last: Entry | None
    ) -> Reading:
        acting = careful(SAFE, last.acting if last else None)
        missing = tuple(sorted(last.known)) if last else ()
        held = last.record if last else None
        if not generation.snapshot_id:
            return Reading(symbol, "unknown", True, None, None, None, acting, None, missing, held)
        age_s = now_s - generation.as_of_ms * 1e-3
        return Reading(
            symbol,
            "unknown",
            is_reduce_only(age_s, self._max_age_s),
            generation.snapshot_id,
            generation.as_of_ms,
            age_s,
            acting,
            None,
            missing,
            held,
        )

    def _is_fresh(self, age_s: float) -> bool:
        return 0.0 <= age_s <= self._max_age_s

    def _entry(self, generation: Generation, symbol: str) -> Entry | None:
        """Return a symbol's entry, the last good one where this snapshot's line is damaged."""
        if symbol not in generation.damaged:
            try:
                return generation.entry(symbol)
            except DamagedError as error:
                detail = f"{generation.snapshot_id}: {error}; the last good one is served"
                generation.damaged[symbol] = detail
                self._say("damaged_line", detail)
        if generation.previous is not None:
            try:
                return generation.previous.entry(symbol)
            except DamagedError:
                pass  # what was served stands in memory
        return self._memory.last(symbol)

    # -- a new snapshot --------------------------------------------------------------------------

    def _check(self) -> None:
        """Look whether CURRENT changed and put a new snapshot in force if it is good."""
        before = self._state
        after = self._look(before)
        if after is before or not before.is_followed_by(after):
            return  # nothing new, or another thread was faster
        self._state = after
        older = after.generation.previous
        if older is not None and after.generation is not before.generation:
            older.retire()
        self._tell(before, after)

    def _look(self, before: State) -> State:
        """Return what is to be served now; a reader of another store replaces this alone."""
        seen, named, file_seen = _NEVER, "", _NEVER
        problem: str | None = None
        generation = before.generation
        try:
            seen = _mark(self._current)
            is_same = seen == before.seen
            if is_same and before.problem is not None:  # the file may have been mended
                is_same = _mark(self._file(before.named)) == before.file_seen
            if is_same:
                return before
            named = read_current(self._current)
            if named != generation.snapshot_id:
                file_seen = _mark(self._file(named))
                is_start = not generation.snapshot_id
                before_it = (
                    load_before(self._root, named, self._environment) if is_start else generation
                )
                generation = load(self._root, named, self._environment, before_it)
                generation.is_first = is_start
        except DamagedError as error:
            problem = str(error)
        except Exception as error:
            # Whatever is wrong with what was published, orders go on with the last good snapshot.
            problem = f"{type(error).__name__}: {error}"
            if not isinstance(error, FileNotFoundError):
                seen = _NEVER  # it may pass by itself: try again at the next look
        return State(generation, seen, named, file_seen, problem)

    def _file(self, snapshot_id: str) -> str:
        return os.path.join(self._root, snapshot_id, FILE)

    def _tell(self, before: State, after: State) -> None:
        now = after.generation.snapshot_id or None
        if after.problem is not None:
            if after.problem != before.problem:
                self._say("refused", f"{after.problem}; served is {now or 'nothing'}")
        elif after.generation is not before.generation:
            self._say("adopted", f"{now} follows {before.generation.snapshot_id or 'nothing'}")
        elif before.problem is not None:
            self._say("recovered", f"CURRENT names {now} again")

    def _say(self, name: EventName, detail: str) -> None:
        try:
            self._on_event(ReaderEvent(name, self._state.generation.snapshot_id or None, detail))
        except Exception:
            _log.exception("on_event failed at %s", name)  # an observer never stops an order


def is_reduce_only(age_s: float, max_age_s: float) -> bool:
    """Tell whether a snapshot is so old, or so far from the future, that nothing may be opened."""
    return not abs(age_s) <= REDUCE_ONLY_AFTER * max_age_s


def _cautious(generation: Generation, symbol: str, entry: Entry, good: Entry | None) -> Acting:
    """Return the careful values, computed once for the same entry and last good one."""
    kept = generation.cautious.get(symbol)
    if kept is None or kept[0] is not entry or kept[1] is not good:
        acting = careful(entry.acting, good.acting if good else None)
        kept = generation.cautious[symbol] = (entry, good, acting)
    return kept[2]


def _mark(path: str) -> _Mark:
    """Return what changes whenever a file is replaced; None when there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _logged(event: ReaderEvent) -> None:
    level = logging.INFO if event.name in ("adopted", "recovered") else logging.WARNING
    _log.log(level, "snapshot %s: %s", event.name, event.detail)
