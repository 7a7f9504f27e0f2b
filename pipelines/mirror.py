"""From the published snapshots to the mirror: what is mirrored now, and what a day of it takes.

Put here: choosing generations, what is told beside them, and estimating. Keep out: documents and
writing them (live/).
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from features.settings import Settings
from features.snapshot import SnapshotError, Store
from live.firestore_mirror import publish_snapshot
from live.mirror import link
from live.mirror.desk import Desk, Hold
from live.mirror.documents import DocumentError, Documents, documents_of
from live.mirror.publication import Published
from live.snapshot.generation import Generation
from live.snapshot.published import PublishedError, load_published
from live.trading.controls import Controls

# The free quota of one database a project has, Standard edition, as of 2026.
FREE_WRITES_A_DAY = 20_000
FREE_READS_A_DAY = 50_000
FREE_BYTES = 2**30
_COMPARED = 12  # steps between snapshots: an hour of refreshes


class NotMirrorableError(RuntimeError):
    """There is no snapshot that could be mirrored; the text says why and what to do next."""


def generation_of(store: Store, snapshot_id: str | None) -> Generation:
    """Load a snapshot as engines read it.

    Raises NotMirrorableError when there is none, or it holds nothing whole for engines.
    """
    if snapshot_id is None:
        raise NotMirrorableError("nothing is published yet: execintel refresh")
    try:
        environment = store.manifest(snapshot_id)["environment"]
        return load_published(store.root, snapshot_id, environment)
    except (OSError, PublishedError, SnapshotError) as error:
        raise NotMirrorableError(str(error)) from error


def desk_of(store: Store, snapshot_id: str, settings: Settings) -> Desk:
    """Return what is told beside a snapshot: its origin, what acts, HOLD and switches.

    Raises SnapshotError where the snapshot's manifest cannot be read.
    """
    manifest, hold = store.manifest(snapshot_id), store.hold()
    return Desk(
        manifest.get("origin"),
        tuple(sorted(settings.applied(manifest["environment"]))),
        None if hold is None else Hold(hold.since_ms, hold.by, hold.reason),
        Controls(settings.controls_root).state(),
    )


def mirror_current(
    store: Store,
    settings: Settings,
    *,
    verify: bool | None = None,
    deadline_s: float | None = None,
) -> Published:
    """Mirror CURRENT, and what is told beside it.

    Never raises, as ``publish_snapshot`` does not.
    """
    current = store.current()
    try:
        link.require()
        generation = generation_of(store, current)
        desk = desk_of(store, generation.snapshot_id, settings)
    except link.OffError as error:
        return Published("off", current or "", str(error))
    except (NotMirrorableError, SnapshotError, OSError) as error:
        return Published("refused", current or "", str(error))
    return publish_snapshot(generation, desk=desk, verify=verify, deadline_s=deadline_s)


@dataclass(frozen=True)
class Measured:
    """How much the newest snapshots differ: documents written from each to the next."""

    steps: int
    writes_mean: float


def measure(store: Store, env: str) -> Measured | None:
    """Compare the newest published snapshots; None where there are not two."""
    names = [entry.snapshot_id for entry in store.publications()]
    newest = [name for name in names if store.path(name).exists()][-_COMPARED - 1 :]
    writes = list(_writes(store, newest, env))
    if not writes:
        return None
    return Measured(len(writes), sum(writes) / len(writes))


def _writes(store: Store, names: Iterable[str], env: str) -> Iterable[int]:
    for before, after in itertools.pairwise(_hashes(store, names, env)):
        changed = sum(before.get(path) != digest for path, digest in after.items())
        yield changed + 1  # `current`


def _hashes(store: Store, names: Iterable[str], env: str) -> Iterable[dict[str, str]]:
    for name in names:
        try:
            yield documents_of(generation_of(store, name), env).hashes
        except (NotMirrorableError, DocumentError):
            continue  # built by an older version, or damaged: compare those beside it


@dataclass(frozen=True)
class Load:
    """Writes a day in one case."""

    case: str
    writes: float

    @property
    def share(self) -> float:
        return self.writes / FREE_WRITES_A_DAY


def writes_a_day(
    documents: Documents, measured: Measured | None, *, refreshes: int, interval_s: float
) -> list[Load]:
    """Return what a day of mirroring writes, from the least to the most, and the executor's part.

    Args:
        documents: those of one generation.
        measured: how much snapshots really differed, None where that is not known.
        refreshes: how often a day a snapshot is published.
        interval_s: seconds between two documents of an active symbol from the executor.
    """
    whole = len(documents.hashes)
    loads = [Load("snapshots: nothing changes", refreshes)]
    if measured is not None:
        words = f"snapshots: as the last {measured.steps} steps did"
        loads.append(Load(words, refreshes * measured.writes_mean))
    loads.append(Load("snapshots: every document changes", refreshes * (whole + 1)))
    loads.append(Load("executor: every symbol is active", whole / 2 * 86_400 / interval_s))
    return loads


def reads_a_day(documents: Documents, measured: Measured | None, *, refreshes: int) -> float:
    """Return what one viewer that follows reads a day: polls, changes heard, changed documents."""
    every = len(documents.hashes) / 2  # of the two documents of a symbol it reads one
    changed = every if measured is None else min(measured.writes_mean - 1, every)
    return 86_400 / 60 + refreshes * (2 + changed)
