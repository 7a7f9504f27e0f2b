"""Which snapshot was published before a build, and what it remembers.

Put here: finding it among the publications. Keep out: what is remembered and why (memory.py).
"""

from collections.abc import Iterator

import duckdb

from features import memory
from features.engines import duckdb as engine
from features.memory import Before
from features.snapshot import SnapshotError, Store, named_ms

_BEFORE = "snapshot_before"


def before(store: Store, environment: str, as_of_ms: int, con: duckdb.DuckDBPyConnection) -> Before:
    """Return the memory of the snapshot in force last whose as-of lies before ``as_of_ms``.

    ``con`` is any open connection: opening one for this takes ten times as long.

    Never that of a snapshot of the same as-of or a later one: so an equal refresh reads the same
    memory, and a build as of the past none of its future. What was built and not published
    remembers nothing for others; a rollback's target does.
    """
    for snapshot_id in _newest_first(store):
        try:
            manifest = store.manifest(snapshot_id)
        except SnapshotError as error:
            if _is_before(snapshot_id, as_of_ms):
                return Before("lost", snapshot_id, problem=str(error))
            continue
        if manifest["as_of_ms"] < as_of_ms and manifest["environment"] == environment:
            return _memory_of(store, snapshot_id, con)
    return memory.NOTHING


def _is_before(snapshot_id: str, as_of_ms: int) -> bool:
    """Tell whether a lost snapshot's as-of lay before ``as_of_ms``; one without a name did."""
    try:
        return named_ms(snapshot_id) < as_of_ms // 1000 * 1000
    except ValueError:  # CURRENT was written to by something else
        return True


def kept(store: Store, snapshot_id: str) -> Before:
    """Return the memory that a snapshot's own build read, from the copy that it keeps.

    Raises SnapshotError when the copy is not what the manifest says.
    """
    manifest = store.manifest(snapshot_id)
    named = manifest[memory.PREVIOUS]
    with duckdb.connect(str(store.database(snapshot_id)), read_only=True) as con:
        found = memory.read(con, memory.PREVIOUS)
        alerts = memory.read_alerts(con, memory.PREVIOUS_ALERTS)
    if alerts[0].num_rows and alerts[1] != manifest[memory.PREVIOUS_ALERTS]["sha256"]:
        raise SnapshotError(
            f"{memory.PREVIOUS_ALERTS} of {snapshot_id} has other rows than when it was published: "
            "execintel snapshots verify names the damage"
        )
    if found is None or (named["state"] == "read" and found[1] != named["sha256"]):
        raise SnapshotError(
            f"{memory.PREVIOUS} of {snapshot_id} has other rows than when it was published: "
            "execintel snapshots verify names the damage"
        )
    return Before(
        named["state"],
        named["snapshot_id"],
        named["sha256"],
        found[0],
        named["problem"],
        manifest.get(memory.PREVIOUS_ALERTS, {"sha256": ""})["sha256"],
        alerts[0],
    )


def _memory_of(store: Store, snapshot_id: str, con: duckdb.DuckDBPyConnection) -> Before:
    path = engine.literal(str(store.database(snapshot_id)))
    try:
        con.execute(f"ATTACH {path} AS {_BEFORE} (READ_ONLY)")
        try:
            found = memory.read(con, memory.MEMORY, database=_BEFORE)
            alerts, alerts_digest = memory.read_alerts(con, memory.ALERTS, database=_BEFORE)
        finally:
            con.execute(f"DETACH {_BEFORE}")
    except duckdb.Error as error:
        return Before("lost", snapshot_id, problem=str(error).splitlines()[0])
    if found is None:
        return memory.NOTHING  # of a release that decided nothing
    rows, digest = found
    return Before("read", snapshot_id, digest, rows, alerts_digest=alerts_digest, alerts=alerts)


def _newest_first(store: Store) -> Iterator[str]:
    """Yield CURRENT, then what was in force before; the log is read only when asked for more.

    Where CURRENT is gone, the log still tells what it named.
    """
    current = store.current()
    if current is not None:
        yield current
    for entry in reversed(store.publications()):
        yield entry.snapshot_id
