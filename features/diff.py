"""What changed between two snapshots, row by row.

Put here: comparing tables of two snapshots. Keep out: showing it.
"""

from collections.abc import Iterator
from typing import Any

import duckdb

from features.engines.text import literal
from features.snapshot import Store, damaged


def differences(store: Store, before: str, after: str) -> Iterator[dict[str, Any]]:
    """Yield, table by table, the rows that differ between two snapshots.

    Raises SnapshotError when one of them is missing or damaged.

    Each item holds table, added, removed, changed (counts) and examples of changed rows: key,
    column, old and new value.
    """
    old, new = store.manifest(before), store.manifest(after)
    con = duckdb.connect(":memory:")
    for alias, snapshot_id in (("old", before), ("new", after)):
        database = store.database(snapshot_id)
        try:
            con.execute(f"ATTACH {literal(str(database))} AS {alias}_snapshot (READ_ONLY)")
        except duckdb.IOException as error:
            raise damaged(database, error) from error
    for name in sorted(set(old["tables"]) | set(new["tables"])):
        was, now = old["tables"].get(name), new["tables"].get(name)
        # Of another release a table may have another grain: no row of it is the same row.
        if was is None or now is None or was["grain"] != now["grain"]:
            yield {
                "table": name,
                "added": now["rows"] if now else 0,
                "removed": was["rows"] if was else 0,
                "changed": 0,
                "examples": [],
            }
            continue
        if was["sha256"] == now["sha256"]:
            continue
        yield _table_diff(con, name, tuple(now["grain"]))
    con.close()


def _table_diff(
    con: duckdb.DuckDBPyConnection, name: str, grain: tuple[str, ...]
) -> dict[str, Any]:
    rows = {}
    for alias in ("old", "new"):
        relation = con.sql(f"SELECT * FROM {alias}_snapshot.main.{name}")
        keys = [relation.columns.index(column) for column in grain]
        rows[alias] = (
            relation.columns,
            {tuple(row[k] for k in keys): row for row in relation.fetchall()},
        )
    (old_columns, old), (new_columns, new) = rows["old"], rows["new"]
    shared = [column for column in new_columns if column in old_columns]
    examples = []
    changed = 0
    for key in sorted(old.keys() & new.keys(), key=str):
        moved = [
            (key, column, old[key][old_columns.index(column)], new[key][new_columns.index(column)])
            for column in shared
            if old[key][old_columns.index(column)] != new[key][new_columns.index(column)]
        ]
        changed += bool(moved)
        examples += moved
    return {
        "table": name,
        "added": len(new.keys() - old.keys()),
        "removed": len(old.keys() - new.keys()),
        "changed": changed,
        "examples": examples,
    }
