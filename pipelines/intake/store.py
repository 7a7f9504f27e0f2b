"""Write decoded rows as Parquet files where their table stands; a commit makes them part of it.

Put here: rows to files, and what was counted in them. Keep out: the commit itself (intake.py).
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.lake import DataFile
from pipelines.intake.decode import PART_COLUMN

# Statistics that the table's log keeps of each file: what readers choose files by.
STATISTICS = ("event_ms", "ingest_seq", "ingested_ms", "line_offset", "symbol", "source_id")
# Columns whose values hardly ever repeat: trying a dictionary for them costs time and wins nothing.
_UNIQUE = ("event_ms", "event_at_utc", "line_offset", "line_hash", "attempt_id", "intent_id")
_MANY_RUNS = 64  # rows of a log stand in order of time: a part is a few runs of them


@dataclass(frozen=True)
class Written:
    """The files of a chunk, and what was counted in them.

    ``lines`` counts what was read; ``rows`` what was written, less the lines that were known.
    ``content`` sums the line hashes.
    """

    files: list[DataFile]
    lines: int
    rows: int
    content: int
    reasons: dict[str, int] = field(default_factory=dict)


def write(rows: pa.Table, folder: Path, lines: int) -> Written:
    """Write rows as one Parquet file a part below ``folder``, a table's own.

    ``lines`` is how many lines they come from.
    """
    files = [_write_part(folder, part, piece) for part, piece in _parts(rows)]
    counts = pc.value_counts(rows["reject_reason"].drop_null()).to_pylist()
    return Written(
        files=files,
        lines=lines,
        rows=rows.num_rows,
        content=_sum(rows["line_hash"]),
        reasons={item["values"]: item["counts"] for item in counts},
    )


def _parts(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each part, without the column that says so."""
    column = rows[PART_COLUMN].combine_chunks().dictionary_encode()
    codes = column.indices.to_numpy(zero_copy_only=False)
    rows = rows.drop_columns([PART_COLUMN])
    bounds = np.flatnonzero(np.diff(codes)) + 1
    if len(bounds) > _MANY_RUNS:
        order = np.argsort(codes, kind="stable")
        rows, codes = rows.take(pa.array(order)), codes[order]
        bounds = np.flatnonzero(np.diff(codes)) + 1
    starts = np.concatenate(([0], bounds)).tolist()
    ends = [*bounds.tolist(), len(codes)]
    for code, part in enumerate(column.dictionary.to_pylist()):
        runs = [
            rows.slice(start, end - start)
            for start, end in zip(starts, ends, strict=True)
            if end > start and codes[start] == code
        ]
        yield part, pa.concat_tables(runs)


def _write_part(folder: Path, part: str, rows: pa.Table) -> DataFile:
    path = folder / f"{PART_COLUMN}={part}" / f"rows-{uuid.uuid4()}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    dictionaries = [name for name in rows.column_names if name not in _UNIQUE]
    pq.write_table(
        rows,
        path,
        compression="snappy",
        use_dictionary=dictionaries,
        write_statistics=list(STATISTICS),
        store_schema=False,
    )
    minimum: dict[str, Any] = {}
    maximum: dict[str, Any] = {}
    for name in STATISTICS:
        bounds = pc.min_max(rows[name]).as_py()
        if bounds["min"] is not None:
            minimum[name], maximum[name] = bounds["min"], bounds["max"]
    return DataFile(
        path=str(path),
        rows=rows.num_rows,
        bytes=path.stat().st_size,
        partition={PART_COLUMN: part},
        minimum=minimum,
        maximum=maximum,
    )


def _sum(hashes: pa.ChunkedArray) -> int:
    """Sum 64-bit hashes without overflow: high and low halves apart."""
    high: int = pc.sum(pc.shift_right(hashes, 32)).as_py() or 0
    low: int = pc.sum(pc.bit_wise_and(hashes, 0xFFFFFFFF)).as_py() or 0
    return (high << 32) + low
