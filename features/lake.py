"""The lake: every raw and core table as a Delta table under one root.

Put here: opening, creating, committing and listing files of Delta tables. Keep out: what rows mean.
Callers hold the writer lock (features/lock.py) for every call that commits.
"""

import datetime as dt
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Schema,
    Transaction,
    write_deltalake,
)
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction

from features.durable import replace_file
from features.engines.text import literal

FORMAT_VERSION = 1
# Opening a table reads its last checkpoint and every commit since: of a hundred, 35 ms; of ten, 6.
_PROPERTIES = {"delta.checkpointInterval": "10"}
_ROWS = "lake:rows"  # application id: how many rows a table has once the commit stands
_MASK_63 = (1 << 63) - 1  # Delta transaction versions are signed 64-bit


class LakeFormatError(RuntimeError):
    """The lake on disk was written by another format version."""


class LakeDamageError(RuntimeError):
    """A table is not what its commits made of it; the text says what mends it."""


def mending(table: str) -> str:
    """Say what a person does about a damaged table."""
    if table.startswith("raw_"):
        return (
            f"Restore it, or move the folder of {table} away and refresh: it is read anew from the "
            "logs that are still there, and all that is made of it follows"
        )
    if table == "hist_features":
        return "Restore it, or move the folder of hist_features away: asof then begins anew"
    return f"Restore it, or move the folder of {table} away and refresh: it is made anew"


@dataclass(frozen=True)
class DataFile:
    """One live Parquet file of a table version, with Delta's statistics of its integer columns."""

    path: str
    rows: int
    bytes: int
    partition: Mapping[str, str | None]
    minimum: Mapping[str, Any]
    maximum: Mapping[str, Any]


class LakeTable(DeltaTable):
    """A Delta table that reads the files and each application transaction of its version once."""

    _listed: tuple[int, list[DataFile]] | None = None
    _transactions: tuple[int, dict[str, int | None]] = (-1, {})

    def data_files(self) -> list[DataFile]:
        """List the live files, largest first.

        Raises LakeDamageError where they hold other rows than the commits brought: Delta takes an
        entry of its log without content for a commit of nothing.
        """
        version = self.version()
        if self._listed is None or self._listed[0] != version:
            files = _list_files(self)
            told, held = self.transaction_version(_ROWS), sum(file.rows for file in files)
            if told is not None and told != held:
                root = _root(self)
                raise LakeDamageError(
                    f"{root} holds {held} rows, and its commits brought {told}: entries of its "
                    f"_delta_log are lost or empty. {mending(root.name)}"
                )
            self._listed = (version, files)
        return self._listed[1]

    def transaction_version(self, app_id: str) -> int | None:
        version = self.version()
        if self._transactions[0] != version:
            self._transactions = (version, {})
        known = self._transactions[1]
        if app_id not in known:
            known[app_id] = super().transaction_version(app_id)
        return known[app_id]


class Lake:
    """Delta tables below ``root``; one folder a table, named as the table.

    Opened tables are kept for the life of this object: opening again reads only new commits, or
    none where the caller holds the writer lock for that long (``is_only_writer``).
    """

    def __init__(self, root: Path, *, is_only_writer: bool = False) -> None:
        self.root = root
        self._is_only_writer = is_only_writer
        self._newest: dict[str, LakeTable] = {}
        self._named: dict[tuple[str, int], LakeTable] = {}

    def prepare(self) -> None:
        """Create the lake folder and its format marker.

        Raises LakeFormatError when the marker names another version.
        """
        marker = self.root / "FORMAT"
        self.root.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            replace_file(marker, f"{FORMAT_VERSION}\n")  # never an empty one, whatever is killed
        found = marker.read_text().strip()
        if found != str(FORMAT_VERSION):
            raise LakeFormatError(
                f"{self.root} has lake format {found!r}, this release reads {FORMAT_VERSION}: "
                "use the release that wrote it, or point EXECINTEL_HOME at a new folder, where "
                "refresh reads the logs from their beginning. No command converts a lake"
            )

    def path(self, table: str) -> Path:
        return self.root / table

    def exists(self, table: str) -> bool:
        return table in self._newest or (
            (self.path(table) / "_delta_log").is_dir()
            and DeltaTable.is_deltatable(str(self.path(table)))
        )

    def open(self, table: str, version: int | None = None) -> LakeTable:
        """Open the newest version of a table, or a named one; callers share the handle."""
        newest = self._newest.get(table)
        if newest is not None and version == newest.version():
            return newest
        if version is not None and (table, version) in self._named:
            return self._named[table, version]
        if newest is None:
            newest = self._newest[table] = self._opened(table)
        elif not self._is_only_writer:
            with self._damage_told(table):
                newest.update_incremental()
        if version is None or version == newest.version():
            return newest
        named = self._named[table, version] = self._opened(table, version)
        return named

    def _opened(self, table: str, version: int | None = None) -> LakeTable:
        with self._damage_told(table):
            return LakeTable(str(self.path(table)), version=version)

    @contextmanager
    def _damage_told(self, table: str) -> Iterator[None]:
        try:
            yield
        except DeltaError as error:
            raise LakeDamageError(
                f"{self.path(table)} is no whole Delta table ({str(error).splitlines()[0]}). "
                f"{mending(table)}"
            ) from error

    def ensure(self, table: str, schema: pa.Schema, partition_by: list[str], comment: str) -> None:
        """Create ``table`` when absent, else add lacking columns, and take words and properties."""
        if not self.exists(table):
            DeltaTable.create(
                str(self.path(table)),
                schema=schema,
                partition_by=partition_by,
                description=comment,
                configuration=_PROPERTIES,
                mode="ignore",
            )
            return
        opened = self.open(table)
        have = {field.name: field.metadata for field in opened.schema().fields}
        wanted = {field.name: field for field in Schema.from_arrow(schema).fields}
        lacking = [field for name, field in wanted.items() if name not in have]
        if lacking:
            opened.alter.add_columns(lacking, post_commithook_properties=QUIET)
        for name, field in wanted.items():
            if field.metadata != have.get(name, field.metadata):
                opened.alter.set_column_metadata(
                    name, field.metadata, post_commithook_properties=QUIET
                )
        if opened.metadata().description != comment:
            opened.alter.set_table_description(comment, post_commithook_properties=QUIET)
        self.keep_properties(table)

    def keep_properties(self, table: str) -> None:
        """Give a table that an older release made the properties that it lacks."""
        if not self.exists(table):
            return
        opened = self.open(table)
        if not _PROPERTIES.items() <= opened.metadata().configuration.items():
            opened.alter.set_table_properties(_PROPERTIES, post_commithook_properties=QUIET)

    def append(self, table: DeltaTable, data: pa.Table, transactions: Mapping[str, int]) -> None:
        """Append rows and remember ``transactions`` in the same commit."""
        write_deltalake(
            table,
            data,
            mode="append",
            partition_by=table.metadata().partition_columns,
            commit_properties=_commit(transactions, _rows(table) + data.num_rows),
            post_commithook_properties=QUIET,
        )

    def add(
        self, table: DeltaTable, files: Collection[DataFile], transactions: Mapping[str, int]
    ) -> None:
        """Append Parquet files that stand in the table's folder already, in one commit."""
        root = _root(table)
        rows_n = _rows(table) + sum(file.rows for file in files)
        table.create_write_transaction(
            [_add_action(file, root) for file in files],
            "append",
            table.schema(),
            partition_by=table.metadata().partition_columns,
            commit_properties=_commit(transactions, rows_n),
            post_commithook_properties=QUIET,
        )
        table.update_incremental()  # a bare transaction leaves the handle where it was

    def replace(
        self,
        table: DeltaTable,
        data: pa.Table,
        parts: Collection[str],
        transactions: Mapping[str, int],
    ) -> None:
        """Replace the partitions ``parts`` (of the column part), in one commit."""
        write_deltalake(
            table,
            data.to_reader(),
            mode="overwrite",
            predicate=_of_parts(parts),
            partition_by=table.metadata().partition_columns,
            commit_properties=_commit(transactions, _rows_beside(table, parts) + data.num_rows),
            post_commithook_properties=QUIET,
        )

    def remove(self, table: DeltaTable, parts: Collection[str]) -> int:
        """Remove the partitions ``parts`` in one commit; returns the number of their files."""
        removed = table.delete(
            _of_parts(parts),
            commit_properties=_commit({}, _rows_beside(table, parts)),
            post_commithook_properties=QUIET,
        )
        return int(removed["num_removed_files"])


# Checkpoints stay on (they keep opening fast); expired logs are the upkeep job's business, because
# versions that kept snapshots name must stay loadable.
QUIET = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


def _commit(transactions: Mapping[str, int], rows_n: int) -> CommitProperties:
    said = sorted({**transactions, _ROWS: rows_n}.items())
    return CommitProperties(app_transactions=[Transaction(app, value) for app, value in said])


def _rows(table: DeltaTable) -> int:
    """Return how many rows a table has, without listing its files where a commit says it."""
    told = table.transaction_version(_ROWS)
    return sum(file.rows for file in data_files(table)) if told is None else told


def _rows_beside(table: DeltaTable, parts: Collection[str]) -> int:
    return sum(f.rows for f in data_files(table) if f.partition["part"] not in parts)


def has_columns(table: DeltaTable, names: Iterable[str]) -> bool:
    """Tell whether a table has all these columns, as of a release that brings more."""
    return {field.name for field in table.schema().fields}.issuperset(names)


def fitted(rows: pa.Table, table: DeltaTable) -> pa.Table:
    """Return ``rows`` with the columns of ``table``, in its order and types.

    Columns that a newer release gave the table, and this one does not know, are NULL. Raises
    ValueError for a column that the table lacks.
    """
    schema = pa.schema(table.schema().to_arrow())
    for lacking in schema:
        if lacking.name not in rows.column_names:
            rows = rows.append_column(lacking, pa.nulls(rows.num_rows, lacking.type))
    if more := set(rows.column_names) - set(schema.names):
        raise ValueError(f"{_root(table).name} has no column {', '.join(sorted(more))}")
    return rows.select(schema.names).cast(schema)


def _of_parts(parts: Collection[str]) -> str:
    named = ", ".join(literal(part) for part in sorted(parts)) or "''"
    return f"part IN ({named})"


def _root(table: DeltaTable) -> Path:
    """Return the folder of a table; its URI is percent-encoded."""
    return Path(unquote(table.table_uri.removeprefix("file://")))


def _add_action(file: DataFile, root: Path) -> AddAction:
    path = Path(file.path)
    stats = {
        "numRecords": file.rows,
        "minValues": dict(file.minimum),
        "maxValues": dict(file.maximum),
        "nullCount": {},
    }
    return AddAction(
        path=path.relative_to(root).as_posix(),
        size=file.bytes,
        partition_values=file.partition,
        modification_time=path.stat().st_mtime_ns // 1_000_000,
        data_change=True,
        stats=json.dumps(stats),
    )


def consumed_seqs(
    target: DeltaTable | None, sources: Mapping[str, DeltaTable], newest: Mapping[str, int]
) -> tuple[dict[str, int], bool]:
    """Return by raw table the ingest_seq up to which ``target`` has its rows, and if one is anew.

    0, and anew, where a raw table lost rows that ``target`` was made of, or was made again since,
    as by a person who moved it away: what was made of the old one is to be made again.
    """
    consumed = dict.fromkeys(sources, 0)
    is_anew = False
    if target is not None:
        for name, source in sources.items():
            seq = target.transaction_version(name) or 0
            known = target.transaction_version(f"{name}:table")
            is_same = known in (None, _identity(source)) and seq <= newest[name]
            if is_same and _holds(source, seq, target.transaction_version(f"{name}:rows")):
                consumed[name] = seq
            elif seq:
                is_anew = True
    return consumed, is_anew


def _holds(source: DeltaTable, seq: int, rows_n: int | None) -> bool:
    """Tell whether a raw table still has the ``rows_n`` rows of the commits up to ``seq``."""
    whole_n = 0
    for file in data_files(source):
        if (file.maximum.get("ingest_seq") or 0) <= seq:
            whole_n += file.rows
        elif (file.minimum.get("ingest_seq") or 0) <= seq:
            return True  # merged with later ones: nobody counted them apart
    return rows_n in (None, whole_n)


def marks_of(sources: Mapping[str, DeltaTable], newest: Mapping[str, int]) -> dict[str, int]:
    """Return what a commit remembers of raw tables all whose rows it has, for consumed_seqs."""
    marks: dict[str, int] = {}
    for name, source in sources.items():
        marks |= {
            name: newest[name],
            f"{name}:table": _identity(source),
            f"{name}:rows": _rows(source),
        }
    return marks


def next_seq(source: DeltaTable, name: str, targets: Iterable[DeltaTable]) -> int:
    """Return an ingest_seq for the raw table ``name`` that none of its commits ever had.

    Also none of those that are lost: what was made of them, the ``targets``, remembers theirs.
    """
    known = [target.transaction_version(name) or 0 for target in targets]
    return 1 + max([source.version(), newest_seq(data_files(source)), *known])


def newest_seq(files: Iterable[DataFile]) -> int:
    """Return the highest ingest_seq of a raw table's rows, 0 without any."""
    return max((file.maximum.get("ingest_seq") or 0 for file in files), default=0)


def _identity(table: DeltaTable) -> int:
    return positive_63(UUID(str(table.metadata().id)).int)


def positive_63(value: int) -> int:
    """Fold any integer into the range that a Delta transaction version can hold."""
    return value & _MASK_63


def data_files(table: DeltaTable) -> list[DataFile]:
    """List the live files of an opened table version with their statistics, largest first.

    DuckDB takes its first file for every file of a scan: after one of a single line it builds its
    hash tables on the wrong side. Raises LakeDamageError where rows are missing.
    """
    return table.data_files() if isinstance(table, LakeTable) else _list_files(table)


def _list_files(table: DeltaTable) -> list[DataFile]:
    stream = table.get_add_actions(flatten=True)
    actions = pa.RecordBatchReader.from_stream(stream).read_all()  # pa.table() would import pandas
    root = _root(table)
    columns = {
        field.name: actions[field.name].to_pylist()
        for field in actions.schema
        if not field.name.startswith(("min.", "max.", "null_count."))
        or (pa.types.is_integer(field.type) and not field.name.startswith("null_count."))
    }
    partitions = {n[10:]: v for n, v in columns.items() if n.startswith("partition.")}
    minima = {n[4:]: v for n, v in columns.items() if n.startswith("min.")}
    maxima = {n[4:]: v for n, v in columns.items() if n.startswith("max.")}
    rows = columns.get("num_records", [None] * actions.num_rows)
    found = [
        DataFile(
            path=str(root / unquote(path)),
            rows=rows[k] or 0,
            bytes=columns["size_bytes"][k],
            partition={name: values[k] for name, values in partitions.items()},
            minimum={name: values[k] for name, values in minima.items()},
            maximum={name: values[k] for name, values in maxima.items()},
        )
        for k, path in enumerate(columns["path"])
    ]
    return sorted(found, key=lambda file: (-file.rows, file.path))


def overlapping(
    files: Iterable[DataFile], column: str, ranges: list[tuple[int, int]]
) -> list[DataFile]:
    """Keep files whose [min, max] of ``column`` meets a half-open range, or has no statistics."""
    kept = []
    for file in files:
        low, high = file.minimum.get(column), file.maximum.get(column)
        if low is None or high is None or any(low < b and high >= a for a, b in ranges):
            kept.append(file)
    return kept


def utc_day(epoch_ms: int) -> str:
    """Name the UTC day of an epoch time in milliseconds."""
    return dt.datetime.fromtimestamp(epoch_ms / 1000, tz=dt.UTC).strftime("%Y-%m-%d")
