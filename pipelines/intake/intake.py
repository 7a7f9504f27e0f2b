"""Read what is new in the logs into the raw tables: exactly once, in bounded memory.

Put here: the loop from files to commits. Keep out: file identity, splitting, decoding.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from features import catalog
from features.events import Event, Listener
from features.lake import Lake, data_files, next_seq, positive_63
from features.settings import Settings
from pipelines.intake import decode, lines, sources, store
from pipelines.intake.kinds import KINDS

_T = TypeVar("_T")

# Application ids beside the sources' own: running totals of a raw table, moved by every commit.
LINES, DUPLICATES, DIGEST = "intake:lines", "intake:duplicates", "intake:digest"


@dataclass
class TableIntake:
    """What one run brought to one raw table: lines = accepted + rejected + duplicates."""

    lines: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicates: int = 0
    commits: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, other: "TableIntake") -> None:
        """Count what another run brought, too."""
        self.lines += other.lines
        self.accepted += other.accepted
        self.rejected += other.rejected
        self.duplicates += other.duplicates
        self.commits += other.commits
        for reason, number in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + number

    def count(self, written: store.Written) -> None:
        rejected = sum(written.reasons.values())
        self.lines += written.lines
        self.accepted += written.rows - rejected
        self.rejected += rejected
        self.duplicates += written.lines - written.rows
        self.commits += 1
        for reason, number in written.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + number


@dataclass
class IntakeReport:
    """What one run read, by table, and what a person should look at."""

    tables: dict[str, TableIntake] = field(default_factory=dict)
    problems: list[sources.Problem] = field(default_factory=list)
    unclaimed: list[str] = field(default_factory=list)

    @property
    def lines(self) -> int:
        return sum(table.lines for table in self.tables.values())


def ensure_tables(lake: Lake) -> None:
    """Create the raw tables that are missing and add columns that are new."""
    for kind in KINDS:
        lake.ensure(kind.table, decode.raw_schema(kind), [decode.PART_COLUMN], kind.comment)


def ingest(
    lake: Lake,
    settings: Settings,
    *,
    now_ms: int,
    tables: set[str] | None = None,
    listen: Listener = lambda event: None,
) -> IntakeReport:
    """Read the new whole lines of every configured folder; one commit per chunk.

    ``tables`` limits it to some raw tables. The caller holds the writer lock.
    """
    found = sources.discover(settings.log_folders())
    owners = sources.owners(settings.log_folders())
    report = IntakeReport(
        problems=list(found.problems), unclaimed=[str(p) for p in found.unclaimed]
    )
    seen = sources.SeenFiles.of(settings.home)
    listen(Event("intake.found", total=sum(file.size for file in found.files)))
    handles: dict[str, tuple[DeltaTable, Iterator[int]]] = {}
    with ExitStack() as opened:

        @cache
        def engine() -> duckdb.DuckDBPyConnection:  # most runs find most files read to their end
            con = decode.connect(
                settings.secret_patterns, settings.memory_limit_mb, settings.threads
            )
            return opened.enter_context(con)

        for file in found.files:
            name = file.kind.table
            if tables is not None and name not in tables:
                seen.keep(file)
                continue
            if name not in handles:
                handles[name] = lake.open(name), _seqs(lake, name)
                report.tables[name] = TableIntake()
            table, seqs = handles[name]
            run = _Run(engine, lake, table, seqs, now_ms, report.tables[name], owners, listen)
            try:
                note = _read_file(run, file, seen)
            except lines.UnreadableFile as error:
                note = error.what
            except FileNotFoundError:
                note = "vanished while it was read; the next run looks again"
            if note is not None:
                report.problems.append(sources.Problem(file.path, note))
    seen.save()
    return report


def _seqs(lake: Lake, name: str) -> Iterator[int]:
    """Yield the ingest_seq of one commit of a raw table after another; asked first, it looks."""
    core = [lake.open(table.name) for table in catalog.stored() if lake.exists(table.name)]
    yield from count(next_seq(lake.open(name), name, core))


@dataclass(frozen=True)
class _Run:
    """What reading a file needs beside the file."""

    engine: Callable[[], duckdb.DuckDBPyConnection]
    lake: Lake
    table: DeltaTable
    seqs: Iterator[int]
    now_ms: int
    counts: TableIntake
    owners: frozenset[int]
    listen: Listener


def _read_file(run: _Run, file: sources.LogFile, seen: sources.SeenFiles) -> str | None:
    """Bring the new lines of one file into its table; returns what a person should know of it."""
    table = run.table
    if seen.holds(file, table.transaction_version):
        return None
    with lines.LogReader(file.path) as reader:
        stamp = reader.stamp()
        source = sources.resolve(file, reader, table.transaction_version, run.owners)
        if source is None:
            seen.note(file, stamp, "", 0, reader.waiting)
            return None
        known = _hashes(table, source.repeats) if source.repeats else None
        offset = source.offset
        chunks = _one_ahead(reader.chunks(offset))
        for chunk, rows in _one_ahead(_decoded(run, file, source, chunks, known)):
            written = store.write(rows, run.lake.path(file.kind.table), chunk.lines)
            run.listen(Event("intake.before_commit", table=file.kind.table))
            marks = _totals(table, source.source_id, chunk, written)
            marks[f"{source.source_id}:owner"] = file.place.owner
            run.lake.add(table, written.files, marks)
            offset = chunk.end
            run.counts.count(written)
            read = chunk.end - chunk.start
            run.listen(Event("intake.committed", table=file.kind.table, done=read))
        seen.note(file, stamp, source.source_id, offset, reader.waiting)
    return source.note


def _decoded(
    run: _Run,
    file: sources.LogFile,
    source: sources.Source,
    chunks: Iterator[lines.Chunk],
    known: pa.Array | None,
) -> Iterator[tuple[lines.Chunk, pa.Table]]:
    """Decode chunk after chunk; each will be a commit of its own."""
    for chunk in chunks:
        origin = decode.origin_of(file, source, ingest_seq=next(run.seqs), ingested_ms=run.now_ms)
        yield chunk, decode.decode(run.engine(), origin, chunk, known)


def _one_ahead(items: Iterator[_T]) -> Iterator[_T]:
    """Make the next item in a thread while the caller works on this one."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="intake-ahead") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _totals(
    table: DeltaTable, source_id: str, chunk: lines.Chunk, written: store.Written
) -> dict[str, int]:
    """Return the numbers that stand for this chunk once its commit does."""

    def moved(app: str, by: int) -> int:
        return positive_63((table.transaction_version(app) or 0) + by)

    return {
        source_id: chunk.end,
        f"{source_id}:tail": sources.digest_63(chunk.tail),
        LINES: moved(LINES, written.lines),
        DUPLICATES: moved(DUPLICATES, written.lines - written.rows),
        DIGEST: moved(DIGEST, written.content),
    }


def _hashes(table: DeltaTable, source_ids: tuple[str, ...]) -> pa.Array:
    """Collect the line hashes that earlier readings of a source already hold."""
    paths = [file.path for file in data_files(table)]
    if not paths:
        return pa.array([], pa.int64())
    rows = ds.dataset(paths, format="parquet").to_table(
        columns=["line_hash"], filter=ds.field("source_id").isin(list(source_ids))
    )
    return pc.unique(rows["line_hash"])
