"""Keep the rows of every published snapshot with the time they became available.

Put here: writing and dropping history. Keep out: what was CURRENT when (publications.py), reading
history (history.py).
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import publications
from features.events import Event, Listener
from features.lake import DataFile, Lake
from features.snapshot import SnapshotError, Store, named_ms, open_snapshot

TABLE = "hist_features"
# Rows of this "feature table" are the publications themselves: a snapshot without a row for a
# symbol must hide what an older one said of it.
PUBLICATIONS = "publications"
RECORDED, SIMULATED = "recorded", "simulated"
_APP = f"history:{RECORDED}"
PUBLISH_DELAY_MS = 60_000  # what a publication is taken to need where none was made
_BATCH = 32  # publications a commit, when many are to be caught up
_PARTITIONS = ["feature_table", "part"]
_COMMENT = (
    "Every row of every published snapshot with the time it became available. One file a feature"
    " table, `publications` the moments themselves; part is the UTC month of available_ms."
)
HEAD = pa.schema(
    [
        ("publication_n", pa.int64()),
        ("availability", pa.string()),
        ("snapshot_id", pa.string()),
        ("as_of_ms", pa.int64()),
        ("available_ms", pa.int64()),
        ("kept_row_n", pa.int64()),
    ]
)
RESERVED = frozenset([*HEAD.names, *_PARTITIONS])


class HistoryError(RuntimeError):
    """The history cannot take or answer what was asked; the text says what to change."""


@dataclass(frozen=True)
class Known:
    """A snapshot's tables and since when they were known; None when they could not be read."""

    publication_n: int
    availability: str
    snapshot_id: str
    as_of_ms: int
    available_ms: int
    tables: Mapping[str, pa.Table] | None


def tables_of(database: Path) -> dict[str, pa.Table]:
    """Read every feature table of a snapshot's database.

    Raises SnapshotError when it is missing, duckdb.Error when it is damaged.
    """
    with open_snapshot(database) as con:
        names = con.execute(
            "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'feat\\_%' ESCAPE '\\'"
            " ORDER BY table_name"
        ).fetchall()
        return {name: con.table(name).to_arrow_table() for (name,) in names}


# -- keeping --------------------------------------------------------------------------------------


def catch_up(lake: Lake, store: Store, listen: Listener = lambda event: None) -> int:
    """Keep every publication that is not in the history yet; returns how many.

    A rollback is a publication. Each is kept once, whatever was killed. Needs the writer lock.

    Raises:
        HistoryError: a column changed its type, or published.jsonl lost lines.
    """
    done = read_to(lake, store)
    entries = publications.in_force(store.root, after=done)
    for first in range(0, len(entries), _BATCH):
        batch = [_recorded(store, entry) for entry in entries[first : first + _BATCH]]
        commit(lake, batch, _APP, listen)
    return len(entries)


def read_to(lake: Lake, store: Store) -> int:
    """Return the byte of published.jsonl behind the last publication that the history has read.

    Raises HistoryError when that log is another than the one it read.
    """
    done = (lake.open(TABLE).transaction_version(_APP) or 0) if lake.exists(TABLE) else 0
    if not publications.is_line_end(store.root, done):
        raise HistoryError(
            f"{store.root / 'published.jsonl'} is not the log whose first {done} bytes the history"
            f" has read: restore it, or move {lake.path(TABLE)} away to begin the history anew from"
            " the snapshots that are published from now on; what older ones said is lost with it"
        )
    return done


def append(
    lake: Lake,
    tables: Mapping[str, pa.Table],
    *,
    snapshot_id: str,
    as_of_ms: int,
    available_ms: int | None = None,
) -> bool:
    """Keep rows that nobody published: a backtest's at its simulated clock, or a backfill's.

    They are marked ``simulated``. Without ``available_ms`` it is as-of and PUBLISH_DELAY_MS later.
    Returns False when this snapshot stands there with this time already. Needs the writer lock.
    """
    at_ms = as_of_ms + PUBLISH_DELAY_MS if available_ms is None else available_ms
    app = f"history:{SIMULATED}"
    last = 0
    if lake.exists(TABLE):
        last = lake.open(TABLE).transaction_version(app) or 0
        if _stands(lake, snapshot_id, at_ms):
            return False
    commit(lake, [Known(last + 1, SIMULATED, snapshot_id, as_of_ms, at_ms, tables)], app)
    return True


def forget(lake: Lake, before_ms: int) -> int:
    """Drop the months that ended before ``before_ms``; returns the number of files that went."""
    if not lake.exists(TABLE):
        return 0
    table = lake.open(TABLE)
    old = {f.partition["part"] for f in table.data_files()} - {None}
    doomed = sorted(part for part in old if part is not None and part < _part(before_ms))
    if not doomed:
        return 0
    return lake.remove(table, doomed)


@dataclass(frozen=True)
class Summary:
    """How much history there is: publications, since when, and those whose rows were unreadable."""

    publication_n: int
    first_ms: int | None
    without_rows_n: int


def summary(lake: Lake) -> Summary:
    """Count what is kept."""
    if not lake.exists(TABLE):
        return Summary(0, None, 0)
    columns = ["available_ms", "kept_row_n"]
    pieces = [
        pq.read_table(file.path, columns=columns, partitioning=None)
        for file in lake.open(TABLE).data_files()
        if file.partition["feature_table"] == PUBLICATIONS
    ]
    if not pieces:
        return Summary(0, None, 0)
    rows = pa.concat_tables(pieces)
    first_ms: int = pc.min(rows["available_ms"]).as_py()
    return Summary(rows.num_rows, first_ms, rows["kept_row_n"].null_count)


def _stands(lake: Lake, snapshot_id: str, at_ms: int) -> bool:
    columns = ["availability", "snapshot_id", "available_ms"]
    for file in lake.open(TABLE).data_files():
        key = (file.minimum.get("available_ms", at_ms), file.maximum.get("available_ms", at_ms))
        if file.partition["feature_table"] != PUBLICATIONS or not key[0] <= at_ms <= key[1]:
            continue
        for row in pq.read_table(file.path, columns=columns, partitioning=None).to_pylist():
            if row == dict(zip(columns, (SIMULATED, snapshot_id, at_ms), strict=True)):
                return True
    return False


def _recorded(store: Store, entry: publications.Publication) -> Known:
    """Read a published snapshot; of a damaged one nothing but its time can be kept."""
    try:
        as_of_ms = store.manifest(entry.snapshot_id)["as_of_ms"]
        tables = tables_of(store.database(entry.snapshot_id))
    except (SnapshotError, duckdb.Error):
        as_of_ms, tables = named_ms(entry.snapshot_id), None
    return Known(entry.n, RECORDED, entry.snapshot_id, as_of_ms, entry.published_ms, tables)


def commit(
    lake: Lake, batch: Sequence[Known], app: str, listen: Listener = lambda event: None
) -> None:
    """Write the batch's rows and make them part of the history in one commit.

    ``app`` names the sequence that its last publication_n continues. Needs the writer lock.
    """
    pieces: dict[tuple[str, str], list[pa.Table]] = {}
    for known in batch:
        for name, rows in _with_head(known):
            pieces.setdefault((name, _part(known.available_ms)), []).append(rows)
    joined = {
        key: pa.concat_tables(parts, promote_options="permissive") for key, parts in pieces.items()
    }
    schema = _schema_of(lake, joined)
    lake.ensure(TABLE, schema, _PARTITIONS, _COMMENT)
    stem = f"{batch[0].availability}-{batch[0].publication_n:012d}"
    files = [
        _write(lake.path(TABLE), name, part, stem, rows, schema)
        for (name, part), rows in joined.items()
    ]
    listen(Event("history.before_commit", table=TABLE))
    lake.add(lake.open(TABLE), files, {app: batch[-1].publication_n})
    listen(Event("history.committed", table=TABLE, done=len(batch)))


def _with_head(known: Known) -> Iterator[tuple[str, pa.Table]]:
    """Yield the publication itself, then its tables, each row saying when it was known."""
    tables = known.tables or {}
    head = {
        "publication_n": known.publication_n,
        "availability": known.availability,
        "snapshot_id": known.snapshot_id,
        "as_of_ms": known.as_of_ms,
        "available_ms": known.available_ms,
        "kept_row_n": None if known.tables is None else sum(t.num_rows for t in tables.values()),
    }
    yield PUBLICATIONS, pa.Table.from_pylist([head], schema=HEAD)
    for name, rows in tables.items():
        clash = sorted(RESERVED & set(rows.column_names))
        if clash:
            raise HistoryError(f"{name}.{clash[0]} has a name that the history keeps for itself")
        if not rows.num_rows:
            continue
        said = {
            field.name: pa.repeat(pa.scalar(head[field.name], field.type), rows.num_rows)
            for field in HEAD
            if field.name != "kept_row_n"
        }
        yield name, pa.table(said | {c: _plain(rows[c]) for c in rows.column_names})


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Widen to the few types that the history stores."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us"))  # without zone it is UTC already
    return column.cast(stored_type(column.type))


def stored_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column of ``kind`` has in the history."""
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    return pa.timestamp("us", "UTC") if pa.types.is_timestamp(kind) else kind


def _schema_of(lake: Lake, pieces: Mapping[tuple[str, str], pa.Table]) -> pa.Schema:
    """Return every column there was or is.

    Raises HistoryError when a column of one name has two types.
    """
    fields = {field.name: field for field in HEAD}
    fields |= {name: pa.field(name, pa.string()) for name in _PARTITIONS}
    if lake.exists(TABLE):
        fields |= {field.name: field for field in pa.schema(lake.open(TABLE).schema().to_arrow())}
    for (name, _), rows in pieces.items():
        for field in rows.schema:
            stored = fields.setdefault(field.name, pa.field(field.name, field.type)).type
            if stored != field.type and (stored, field.type) != (pa.float64(), pa.int64()):
                raise HistoryError(
                    f"{name}.{field.name} is {field.type} and stands in the history as {stored}: "
                    "one name has one type in every feature table; give it another name"
                )
    return pa.schema(list(fields.values()))


def _write(
    folder: Path, name: str, part: str, stem: str, rows: pa.Table, schema: pa.Schema
) -> DataFile:
    path = folder / f"feature_table={name}" / f"part={part}" / f"{stem}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    typed = rows.cast(pa.schema([schema.field(c).with_nullable(True) for c in rows.column_names]))
    pq.write_table(typed, path, compression="zstd", store_schema=False)
    bounds = {"available_ms": pc.min_max(rows["available_ms"]).as_py()}
    return DataFile(
        path=str(path),
        rows=rows.num_rows,
        bytes=path.stat().st_size,
        partition={"feature_table": name, "part": part},
        minimum={column: found["min"] for column, found in bounds.items()},
        maximum={column: found["max"] for column, found in bounds.items()},
    )


def _part(epoch_ms: int) -> str:
    return dt.datetime.fromtimestamp(epoch_ms / 1000, tz=dt.UTC).strftime("%Y-%m")
