"""What is kept of all snapshots: publications, refused builds, differences; reads as data.py does.

Put here: what is asked of the store as a whole. Keep out: one snapshot (data.py), anything shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from features.diff import differences
from features.publications import Publication
from features.snapshot import DATABASE, MANIFEST, Store
from features.snapshot import SnapshotError as SnapshotError  # what pages catch

EXAMPLES = 200  # changed values of a table that are shown of two snapshots


@dataclass(frozen=True)
class Kept:
    """All snapshots below one root, for looking only."""

    store: Store

    def newest_first(self) -> list[str]:
        """Return the ids of the snapshots that are kept whole, the newest as-of first.

        By their folders' names: hundreds of manifests are not opened for a list.
        """
        found = (path.parent.name for path in self.store.root.glob(f"[0-9]*/{DATABASE}"))
        return sorted(found, reverse=True)

    def described(self, ids: Sequence[str], made: Sequence[Publication]) -> list[dict[str, Any]]:
        """Return a line a snapshot: state, environment, times, how much it holds.

        One whose manifest is damaged says so and nothing else.
        """
        published = {each.snapshot_id: each for each in made}
        current = self.store.current()
        lines = []
        for snapshot_id in ids:
            try:
                lines.append(_line(self.store.manifest(snapshot_id), published, current))
            except SnapshotError:
                lines.append({"snapshot": snapshot_id, "state": "damaged"})
        return lines

    def extent(self, snapshot_id: str) -> str:
        """Say how much of a publication can be played back: all, lines for engines, nothing."""
        if self.store.database(snapshot_id).exists():
            return "whole"
        if self.store.packed(snapshot_id, MANIFEST).exists():
            return "decisions only"
        return "no longer kept"

    def refused(self) -> list[dict[str, Any]]:
        """Return the manifests of the builds that a check refused, the newest first."""
        return self.store.rejected()[::-1]

    def differences(self, before: str, after: str) -> list[dict[str, Any]]:
        """Return table by table what differs between two snapshots, up to EXAMPLES values each.

        Raises SnapshotError where one of them is not kept whole.
        """
        try:
            found = list(differences(self.store, before, after))
        except duckdb.Error as error:
            raise SnapshotError(f"{before} and {after} cannot be compared: {error}") from error
        return [each | {"examples": each["examples"][:EXAMPLES]} for each in found]


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
