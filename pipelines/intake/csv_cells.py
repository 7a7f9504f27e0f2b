"""Split CSV lines into cells, each line for itself.

Put here: text of a line to values by column name. Keep out: what the values mean.
"""

import csv
import json
from collections.abc import Sequence

import pyarrow as pa

from pipelines.intake.lines import LINE_LIMIT_BYTES, LINE_SCHEMA

CELL_SCHEMA = pa.schema(
    [*LINE_SCHEMA, pa.field("v", pa.list_(pa.string())), pa.field("rest", pa.string())]
)
csv.field_size_limit(LINE_LIMIT_BYTES)  # one of Python's process: its default is 128 KiB a cell


def split_cells(
    batch: pa.RecordBatch, header: Sequence[str], keys: Sequence[str]
) -> pa.RecordBatch:
    """Add to lines their values in the order of ``keys``, and the cells of other columns as JSON.

    A quoted cell never swallows the lines behind it. A line with more or fewer cells than the
    header has no values; without a header every line has the error missing_header.
    """
    places = {name: i for i, name in reversed(list(enumerate(header)))}  # of two, the first
    chosen = [places.get(key) for key in keys]
    unknown = {name: i for name, i in places.items() if name not in keys}
    values: list[list[str | None] | None] = []
    rests: list[str | None] = []
    for line in batch.column("line").to_pylist():
        cells = _cells(line.rstrip("\r\n"))
        if len(cells) != len(header):
            values.append(None)
            rests.append(None)
            continue
        values.append([None if i is None else cells[i] or None for i in chosen])
        rest = {name: cells[i] for name, i in unknown.items() if cells[i]}
        rests.append(json.dumps(rest, ensure_ascii=False) if rest else None)
    errors = batch.column("line_error")
    if not header:
        errors = errors.fill_null("missing_header")
    return pa.RecordBatch.from_arrays(
        [
            batch.column("line_offset"),
            batch.column("line"),
            errors,
            pa.array(values, pa.list_(pa.string())),
            pa.array(rests, pa.string()),
        ],
        schema=CELL_SCHEMA,
    )


def _cells(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line], strict=True))
    except (csv.Error, StopIteration):
        return []
