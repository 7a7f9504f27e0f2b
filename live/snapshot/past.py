"""What an executor would have read at a past moment: its own reader over snapshots as of then.

Put here: handing snapshots to a SnapshotReader at the moments they became known. Keep out: when
that was (features/history.py), and what a reader makes of a snapshot (reader.py).
"""

import gzip
import logging
import os
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from features.history import get_historical_features
from features.settings import Settings
from live.clock import SimulatedClock
from live.market import Event, moment_of
from live.reader import SnapshotReader
from live.snapshot.generation import FILE
from live.snapshot.reading import Reading

LOOKED_UP = 5_000  # moments asked of the history at once
_MOST_EVENTS = 100_000  # held meanwhile
_Group = TypeVar("_Group", bound=Sequence[Event])
_ANY_FEATURE = "feat_router__effectiveness.n"  # the snapshot's id is the same whatever is asked
_log = logging.getLogger(__name__)


class PastSnapshots:
    """The snapshots that were CURRENT, one after the other as a simulated clock passes.

    ``read`` answers as SnapshotReader does, rules for stale and lost data included: it is one, over
    a folder of its own whose CURRENT follows the history. A snapshot whose live.jsonl is kept no
    longer counts as never published.
    """

    def __init__(self, settings: Settings, clock: SimulatedClock) -> None:
        """Serve the publications below ``settings.home``; before the first, nothing is known."""
        self._lake_root = settings.lake_root
        self._snapshots = settings.snapshots_root
        self._folder = tempfile.TemporaryDirectory(prefix="execintel-past-")
        self._root = Path(self._folder.name)
        self._clock = clock
        # What is CURRENT from which moment on, in that order: a group may be asked for before what
        # became known with the one ahead of it is due.
        self._coming: deque[tuple[int, str]] = deque()
        self._named: str | None = None
        self._missing: set[str] = set()
        self.used: set[str] = set()  # snapshots that were ever served
        self.reader = SnapshotReader(
            self._root,
            environment=settings.environment,
            max_age_s=settings.snapshot_max_age_s,
            clock=lambda: clock.now_ms() / 1000,
            on_event=lambda event: None,
        )

    def read(self, symbol: str) -> Reading:
        """Return what the snapshot that was CURRENT at the clock's moment said of a symbol."""
        due = None
        while self._coming and self._coming[0][0] <= self._clock.now_ms():
            due = self._coming.popleft()
        if due is not None:
            self._make_current(due[1])
        return self.reader.read(symbol)

    def follow(self, groups: Iterator[_Group]) -> Iterator[_Group]:
        """Hand through what happens and look up which snapshot was known at the end of each group.

        ``read`` serves it from its own publication on, which may lie within the bars.
        """
        while chunk := _chunk(groups):
            moments = [moment_of(group[-1]) for group in chunk]
            for group, known in zip(chunk, self._known_at(moments), strict=True):
                if known is not None and (not self._coming or self._coming[-1] != known):
                    self._coming.append(known)
                yield group

    def close(self) -> None:
        """Remove the folder that the reader read from."""
        self._folder.cleanup()

    def _known_at(self, moments: Sequence[int]) -> Iterator[tuple[int, str] | None]:
        """Yield by moment the snapshot that was CURRENT, behind the time of its publication."""
        asked = pa.table({"symbol": pa.repeat("*", len(moments)), "timestamp_ms": moments})
        found = get_historical_features(
            asked, [_ANY_FEATURE], lake_root=self._lake_root, max_age_ms=None
        )
        assert isinstance(found, pa.Table)
        for row in found.select(["available_ms", "snapshot_id"]).to_pylist():
            yield (row["available_ms"], row["snapshot_id"]) if row["snapshot_id"] else None

    def _make_current(self, snapshot_id: str) -> None:
        if snapshot_id == self._named:
            return
        self._named = snapshot_id
        if not self._bring(snapshot_id):
            return
        draft = self._root / "CURRENT.tmp"
        draft.write_text(f"{snapshot_id}\n")
        draft.replace(self._root / "CURRENT")
        self.reader.health()  # look now, however little the clock moved since it last did
        self.used.add(snapshot_id)

    def _bring(self, snapshot_id: str) -> bool:
        """Put a snapshot's file where the reader looks; tells whether it is still there."""
        target = self._root / snapshot_id
        whole = self._snapshots / snapshot_id / FILE
        archived = self._snapshots / "archive" / snapshot_id / f"{FILE}.gz"
        if target.exists() or snapshot_id in self._missing:
            return snapshot_id not in self._missing
        if whole.exists():
            target.mkdir()
            os.symlink(whole, target / FILE)
        elif archived.exists():
            target.mkdir()
            (target / FILE).write_bytes(gzip.decompress(archived.read_bytes()))
        else:
            self._missing.add(snapshot_id)
            _log.warning("snapshot %s is kept no longer: taken as never published", snapshot_id)
        return snapshot_id not in self._missing


def _chunk(groups: Iterator[_Group]) -> list[_Group]:
    chunk: list[_Group] = []
    event_n = 0
    for group in groups:
        chunk.append(group)
        event_n += len(group)
        if len(chunk) >= LOOKED_UP or event_n >= _MOST_EVENTS:
            break
    return chunk
