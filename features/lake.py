"""The lake: every raw and core table as a Delta table under one root.

Put here: opening, creating, committing and listing files of Delta tables. Keep out: what rows mean.
Callers hold the writer lock (features/lock.py) for every call that commits.
"""

import datetime as dt
import json
from collections.abc import Iterable, Mapping
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
    Transaction,
    write_deltalake,
)
from deltalake.transaction import AddAction

FORMAT_VERSION = 1
# Opening a table reads its last checkpoint and every commit since: of a hundred, 35 ms; of ten, 6.
_PROPERTIES = {"delta.checkpointInterval": "10"}
_MASK_63 = (1 << 63) - 1  # Delta transaction versions are signed 64-bit


class LakeFormatError(RuntimeError):
    """The lake on disk was written by another format version."""


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
        version = self.version()
        if self._listed is None or self._listed[0] != version:
            self._listed = (version, _list_files(self))
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
            draft = marker.with_name(".FORMAT")  # a killed run must not leave an empty marker
            draft.write_text(f"{FORMAT_VERSION}\n")
            draft.replace(marker)
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
            newest = self._newest[table] = LakeTable(str(self.path(table)))
        elif not self._is_only_writer:
            newest.update_incremental()
        if version is None or version == newest.version():
            return newest
        named = self._named[table, version] = LakeTable(str(self.path(table)), version=version)
        return named

    def ensure(self, table: str, schema: pa.Schema, partition_by: list[str], comment: str) -> None:
        """Create ``table`` when absent, else add the columns and properties that it lacks."""
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
        have = {field.name for field in opened.schema().fields}
        if any(field.name not in have for field in schema):
            write_deltalake(
                opened, schema.empty_table(), mode="append", schema_mode="merge",
                post_commithook_properties=_QUIET,
            )  # fmt: skip
        self.keep_properties(table)

    def keep_properties(self, table: str) -> None:
        """Give a table that an older release made the properties that it lacks."""
        if not self.exists(table):
            return
        opened = self.open(table)
        if not _PROPERTIES.items() <= opened.metadata().configuration.items():
            opened.alter.set_table_properties(_PROPERTIES, post_commithook_properties=_QUIET)

    def append(self, table: DeltaTable, data: pa.Table, transactions: Mapping[str, int]) -> None:
        """Append rows and remember ``transactions`` in the same commit."""
        write_deltalake(
            table,
            data,
            mode="append",
            partition_by=table.metadata().partition_columns,
            commit_properties=_commit(transactions),
            post_commithook_properties=_QUIET,
        )

    def add(
        self, table: DeltaTable, files: Iterable[DataFile], transactions: Mapping[str, int]
    ) -> None:
        """Append Parquet files that stand in the table's folder already, in one commit."""
        root = _root(table)
        table.create_write_transaction(
            [_add_action(file, root) for file in files],
            "append",
            table.schema(),
            partition_by=table.metadata().partition_columns,
            commit_properties=_commit(transactions),
            post_commithook_properties=_QUIET,
        )
        table.update_incremental()  # a bare transaction leaves the handle where it was

    def replace(
        self,
        table: DeltaTable,
        data: pa.RecordBatchReader,
        predicate: str,
        transactions: Mapping[str, int],
    ) -> None:
        """Replace the partitions that ``predicate`` names, in one commit."""
        write_deltalake(
            table,
            data,
            mode="overwrite",
            predicate=predicate,
            partition_by=table.metadata().partition_columns,
            commit_properties=_commit(transactions),
            post_commithook_properties=_QUIET,
        )


# Checkpoints stay on (they keep opening fast); expired logs are the upkeep job's business, because
# versions that kept snapshots name must stay loadable.
_QUIET = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


def _commit(transactions: Mapping[str, int]) -> CommitProperties:
    return CommitProperties(
        app_transactions=[Transaction(app, value) for app, value in sorted(transactions.items())]
    )


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

    0, and anew, where a raw table was made again since, as by a person who lost a file of it and
    had the logs read again: what was made of the old one is to be made again.
    """
    consumed = dict.fromkeys(sources, 0)
    is_anew = False
    if target is not None:
        for name, source in sources.items():
            seq = target.transaction_version(name) or 0
            known = target.transaction_version(f"{name}:table")
            if known in (None, _identity(source)) and seq <= newest[name]:
                consumed[name] = seq
            elif seq:
                is_anew = True
    return consumed, is_anew


def marks_of(sources: Mapping[str, DeltaTable], newest: Mapping[str, int]) -> dict[str, int]:
    """Return what a commit remembers of raw tables all whose rows it has, for consumed_seqs."""
    marks: dict[str, int] = {}
    for name, source in sources.items():
        marks |= {name: newest[name], f"{name}:table": _identity(source)}
    return marks


def _identity(table: DeltaTable) -> int:
    return positive_63(UUID(str(table.metadata().id)).int)


def positive_63(value: int) -> int:
    """Fold any integer into the range that a Delta transaction version can hold."""
    return value & _MASK_63


def data_files(table: DeltaTable) -> list[DataFile]:
    """List the live files of an opened table version with their statistics, largest first.

    DuckDB takes its first file for every file of a scan: after one of a single line it builds its
    hash tables on the wrong side.
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
