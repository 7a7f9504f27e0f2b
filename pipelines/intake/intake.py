"""Read what is new in the logs into the raw tables: exactly once, in bounded memory.

Put here: the loop from files to commits. Keep out: file identity, splitting, decoding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from features.events import Event, Listener
from features.lake import Lake, data_files, positive_63
from features.settings import Settings
from pipelines.intake import decode, lines, sources
from pipelines.intake.kinds import KINDS

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
    report = IntakeReport(problems=list(found.problems), unclaimed=[str(p) for p in found.unclaimed])
    seen = sources.SeenFiles(settings.home / "cache" / "files.json")
    con = decode.connect(settings.secret_patterns)
    total = sum(file.path.stat().st_size for file in found.files if file.path.exists())
    listen(Event("intake.found", total=total))
    handles: dict[str, DeltaTable] = {}
    for file in found.files:
        name = file.kind.table
        if tables is not None and name not in tables:
            continue
        if name not in handles:
            handles[name] = lake.open(name)
            report.tables[name] = TableIntake()
        try:
            _read_file(con, lake, handles[name], file, seen, now_ms, report.tables[name], listen)
        except lines.DamagedFile as error:
            report.problems.append(sources.Problem(file.path, str(error)))
        except FileNotFoundError:
            report.problems.append(
                sources.Problem(file.path, "vanished while it was read; the next run looks again")
            )
    con.close()
    if found.files:
        seen.save()
    return report


def _read_file(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: DeltaTable,
    file: sources.LogFile,
    seen: sources.SeenFiles,
    now_ms: int,
    counts: TableIntake,
    listen: Listener,
) -> None:
    if seen.holds(file, table.transaction_version):
        return
    stamp = seen.stamp(file)
    source = sources.resolve(file, table.transaction_version)
    if source is None:
        return
    known = _hashes(table, source.repeats) if source.repeats else None
    offset = source.offset
    for chunk in lines.read_chunks(file.path, offset):
        rows = decode.decode(
            con,
            file.kind,
            chunk,
            place=file.place,
            named=file.named,
            header=source.header,
            source_id=source.source_id,
            source_name=file.path.name,
            ingest_seq=table.version() + 1,
            ingested_ms=now_ms,
        )
        fresh = rows
        if known is not None:
            fresh = rows.filter(pc.invert(pc.is_in(rows["line_hash"], value_set=known)))
        listen(Event("intake.before_commit", table=file.kind.table))
        lake.append(table, fresh, _totals(table, source.source_id, file, chunk, rows, fresh))
        table.update_incremental()
        offset = chunk.end
        _count(counts, rows, fresh)
        listen(
            Event("intake.committed", table=file.kind.table, done=chunk.end - chunk.start)
        )
    seen.note(file, stamp, source.source_id, offset)


def _totals(
    table: DeltaTable,
    source_id: str,
    file: sources.LogFile,
    chunk: lines.Chunk,
    rows: pa.Table,
    fresh: pa.Table,
) -> Mapping[str, int]:
    """Return the numbers that stand for this chunk once its commit does."""

    def moved(app: str, by: int) -> int:
        return positive_63((table.transaction_version(app) or 0) + by)

    content = sum(map(int, _chunked_sums(fresh["line_hash"])))
    return {
        source_id: chunk.end,
        f"{source_id}:tail": sources.fingerprint(file.path, chunk.end),
        LINES: moved(LINES, rows.num_rows),
        DUPLICATES: moved(DUPLICATES, rows.num_rows - fresh.num_rows),
        DIGEST: moved(DIGEST, content),
    }


def _chunked_sums(hashes: pa.ChunkedArray) -> list[int]:
    """Sum 64-bit hashes without overflow: high and low halves apart, weighted again."""
    high = pc.sum(pc.shift_right(hashes, 32)).as_py() or 0
    low = pc.sum(pc.bit_wise_and(hashes, 0xFFFFFFFF)).as_py() or 0
    return [high << 32, low]


def _count(counts: TableIntake, rows: pa.Table, fresh: pa.Table) -> None:
    rejected = fresh["reject_reason"].drop_null()
    counts.lines += rows.num_rows
    counts.duplicates += rows.num_rows - fresh.num_rows
    counts.rejected += len(rejected)
    counts.accepted += fresh.num_rows - len(rejected)
    counts.commits += 1
    for item in pc.value_counts(rejected).to_pylist():
        reason = item["values"]
        counts.reasons[reason] = counts.reasons.get(reason, 0) + item["counts"]


def _hashes(table: DeltaTable, source_ids: tuple[str, ...]) -> pa.Array:
    """Collect the line hashes that earlier readings of a source already hold."""
    paths = [file.path for file in data_files(table)]
    rows = ds.dataset(paths, format="parquet").to_table(
        columns=["line_hash"], filter=ds.field("source_id").isin(list(source_ids))
    )
    return pc.unique(rows["line_hash"])


