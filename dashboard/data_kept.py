"""What is kept of all snapshots: publications, refused builds, differences; reads as data.py does.

Put here: what is asked of the store as a whole. Keep out: one snapshot (data.py), anything shown.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import duckdb

from features import snapshot
from features.publications import Publication
from features.snapshot import DATABASE, MANIFEST, SnapshotError, Store

EXAMPLES = 200  # changed values of a table that are shown of two snapshots


def newest_first(store: Store) -> list[str]:
    """Return the ids of the snapshots that are kept whole, the newest as-of first.

    By their folders' names: hundreds of manifests are not opened for a list.
    """
    return sorted(
        (path.parent.name for path in store.root.glob(f"[0-9]*/{DATABASE}")), reverse=True
    )


def described(
    store: Store, ids: Sequence[str], made: Sequence[Publication]
) -> list[dict[str, Any]]:
    """Return a line a snapshot: state, environment, origin, times, symbols and rows.

    One whose manifest is damaged says so and nothing else.
    """
    published = {each.snapshot_id: each for each in made}
    current = store.current()
    lines = []
    for snapshot_id in ids:
        try:
            lines.append(_line(store.manifest(snapshot_id), published, current))
        except SnapshotError:
            lines.append({"snapshot": snapshot_id, "state": "damaged"})
    return lines


def _line(
    manifest: Mapping[str, Any], published: Mapping[str, Publication], current: str | None
) -> dict[str, Any]:
    snapshot_id = manifest["snapshot_id"]
    made = published.get(snapshot_id)
    tables = manifest["tables"]
    held = ", ".join(manifest.get("held_checks", []))
    unpublished = f"held by {held}" if held else "kept, never published"
    return {
        "snapshot": snapshot_id,
        "state": "CURRENT" if snapshot_id == current else "published" if made else unpublished,
        "environment": manifest["environment"],
        "as_of_ms": manifest["as_of_ms"],
        "built_ms": manifest["created_ms"],
        "published_ms": None if made is None else made.published_ms,
        "by": None if made is None else made.by,
        "symbol_n": max(tables.get("feat_router__effectiveness", {"rows": 1})["rows"] - 1, 0),
        "row_n": sum(table["rows"] for table in tables.values()),
        "warning_n": sum(bool(check["rows"]) for check in manifest["checks"]),
    }


def what_is_kept(store: Store, snapshot_id: str) -> str:
    """Say how much of a publication can be played back: all of it, lines for engines, nothing."""
    if store.database(snapshot_id).exists():
        return "whole"
    if (store.root / "archive" / snapshot_id / f"{MANIFEST}.gz").exists():
        return "decisions only"
    return "no longer kept"


def differences(store: Store, before: str, after: str) -> list[dict[str, Any]]:
    """Return table by table what differs between two snapshots, with up to EXAMPLES values each.

    Raises SnapshotError where one of them is not kept whole.
    """
    try:
        found = list(snapshot.diff(store, before, after))
    except duckdb.Error as error:
        raise SnapshotError(f"{before} and {after} cannot be compared: {error}") from error
    return [each | {"examples": list(islice(each["examples"], EXAMPLES))} for each in found]
