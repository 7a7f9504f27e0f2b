"""Turn lines into typed rows of a raw table, each accepted or rejected with its reason.

Put here: the rows' schema, the DuckDB connection that decodes, and running its query.
Keep out: the query itself (query.py), files and offsets (lines.py), commits (intake.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from features.engines.duckdb import hide_progress, literal, to_arrow
from features.settings import SECRET_PATTERNS
from pipelines.intake.csv_cells import CELL_SCHEMA, split_cells
from pipelines.intake.kinds import Kind
from pipelines.intake.lines import LINE_SCHEMA, Chunk
from pipelines.intake.query import (
    MACROS,
    keys_of,
    parents_of,
    paths_sql,
    query,
    tree_of,
)
from pipelines.intake.sources import LogFile, Place, Source

COMMON_COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("event_ms", pa.int64(), "event time, epoch ms UTC; NULL where the line has none"),
    ("ingest_seq", pa.int64(), "number of the commit that brought the row; grows"),
    ("symbol", pa.string(), "instrument, upper case"),
    ("source_id", pa.string(), "identity of the log the line came from; survives rotation"),
    ("line_offset", pa.int64(), "offset of the line in its source, uncompressed bytes"),
    ("source_name", pa.string(), "file name when the line was read"),
    ("line_hash", pa.int64(), "lower 64 bits of the MD5 of the line with its newline"),
    ("ingested_ms", pa.int64(), "when the line was read, epoch ms UTC"),
    ("event_at_utc", pa.timestamp("us", tz="UTC"), "event time, microseconds"),
    ("account", pa.string(), "account, from the line or the source's configuration"),
    ("environment", pa.string(), "live, testnet, paper or backtest"),
    ("venue", pa.string(), "venue, from the line or the source's configuration"),
    ("reject_reason", pa.string(), "why the line is in quarantine; NULL = accepted"),
    ("nulled_n", pa.int32(), "values read as NULL: NaN, infinite, out of range, not a flag"),
    ("extra_json", pa.string(), "fields that no column holds, secrets redacted"),
    ("raw_line", pa.string(), "a rejected line, secrets redacted"),
)
PART_COLUMN = "part"
_ARROW = {
    "text": pa.string(),
    "json": pa.string(),
    "number": pa.float64(),
    "amount": pa.float64(),
    "flag": pa.bool_(),
    "time_ms": pa.int64(),
}
# Executors write the same few shapes of line over and over. The key lists of a sample name these
# usual shapes; their lines are decoded with just the keys they hold, without looking for unknown
# fields. Every other line takes the full query: the same rows, at half the speed.
SAMPLE_LINES = 2048
# Fewer lines are decoded by the full query alone before a sample of them is looked at.
FEW_LINES = 2048
# What a thread of the engine takes at a time: each JSON function holds its documents until then.
SCAN_LINES = 4096
SCAN_BYTES = 2 << 20


@dataclass(frozen=True)
class Origin:
    """What all lines of a chunk share."""

    kind: Kind
    place: Place
    named: dict[str, str]
    header: tuple[str, ...]
    source_id: str
    source_name: str
    ingest_seq: int
    ingested_ms: int


def origin_of(file: LogFile, source: Source, *, ingest_seq: int, ingested_ms: int) -> Origin:
    """Return what the lines of a chunk of this file share."""
    return Origin(
        kind=file.kind,
        place=file.place,
        named=file.named,
        header=source.header,
        source_id=source.source_id,
        source_name=file.path.name,
        ingest_seq=ingest_seq,
        ingested_ms=ingested_ms,
    )


@cache
def raw_schema(kind: Kind) -> pa.Schema:
    """Return the Arrow schema of a kind's raw table, column comments as field metadata."""
    fields = [pa.field(n, t, metadata={"comment": c}) for n, t, c in COMMON_COLUMNS]
    fields += [
        pa.field(c.name, _ARROW[c.type], metadata={"comment": c.comment}) for c in kind.columns
    ]
    fields.append(pa.field(PART_COLUMN, pa.string(), metadata={"comment": "partition"}))
    return pa.schema(fields)


def connect(
    secrets: Sequence[str], memory_limit_mb: int = 1024, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """Open the in-memory connection that decodes lines.

    ``secrets``: regular expressions; what follows their first group is redacted. ``threads``: one
    for each processor when None. Raises ValueError for a pattern that only Python understands.
    """
    con = duckdb.connect(":memory:")
    if threads is not None:
        con.execute(f"SET threads = {threads}")
    con.execute("SET preserve_insertion_order = false")  # rows say where they stood
    hide_progress(con)
    con.execute(f"SET memory_limit = '{memory_limit_mb}MB'")
    for pattern in secrets:
        try:
            con.execute("SELECT regexp_matches('', ?)", [pattern])
        except duckdb.Error as error:
            con.close()
            raise ValueError(
                f"secret pattern {pattern!r}: {error} (look-around and back references are not "
                "available)"
            ) from error
    con.execute(MACROS)
    con.execute(_secret_macros(secrets))
    return con


def _secret_macros(secrets: Sequence[str]) -> str:
    """Write the macros that redact.

    redact(x) replaces; safe(x, d) does where d; safe_json(x, d) also keeps x valid JSON, if need
    be by hiding all of it; may_hold_secret(x) is cheap and never misses what redact would find.
    """
    redacted = "x"
    for pattern in secrets:
        redacted = f"regexp_replace({redacted}, {literal(pattern)}, '\\1[redacted]', 'g')"
    found = "TRUE" if secrets else "FALSE"
    if set(secrets) <= set(SECRET_PATTERNS):  # what they look for is known: 10 times faster
        signs = ["'='", "':'", "' '", *(f"chr({code})" for code in (9, 10, 11, 12, 13))]
        union = "|".join(f"(?:{pattern})" for pattern in secrets)
        seen = " OR ".join(f"contains(x, {sign})" for sign in signs)
        found = f"(({seen}) AND regexp_matches(x, {literal(union)}))"
    return f"""
CREATE OR REPLACE TEMP MACRO redact(x) AS {redacted};
CREATE OR REPLACE TEMP MACRO may_hold_secret(x) AS {found};
CREATE OR REPLACE TEMP MACRO safe(x, is_doubtful) AS
    CASE WHEN is_doubtful THEN redact(x) ELSE x END;
CREATE OR REPLACE TEMP MACRO safe_json(x, is_doubtful) AS
    CASE WHEN x IS NULL OR NOT is_doubtful OR redact(x) = x THEN x
         WHEN json_valid(redact(x)) THEN redact(x)
         ELSE '"[redacted]"' END;
"""


def decode(
    con: duckdb.DuckDBPyConnection, origin: Origin, chunk: Chunk, known: pa.Array | None = None
) -> pa.Table:
    """Decode a chunk to rows of the kind's raw table, one a line, in any order.

    Lines whose hash is in ``known`` are left out.
    """
    kind = origin.kind
    con.execute(f"SET TimeZone = {literal(origin.place.naive_zone)}")
    columns = {"symbol", *(column.name for column in kind.columns)}
    named = {name: value for name, value in origin.named.items() if name in columns}
    values: dict[str, Any] = {
        "account": origin.place.account,
        "environment": origin.place.environment,
        "venue": origin.place.venue,
        "source_id": origin.source_id,
        "source_name": origin.source_name,
        "ingest_seq": origin.ingest_seq,
        "ingested_ms": origin.ingested_ms,
        **{f"named_{name}": value for name, value in named.items()},
    }
    shapes = _register(con, origin, chunk)
    schema = raw_schema(kind)
    sql = "\nUNION ALL\n".join(
        f"({query(kind, tuple(sorted(named)), present, schema)})" for present in shapes
    )
    rows = to_arrow(con, sql, values, about_n=chunk.lines).cast(schema)
    if known is not None:
        rows = rows.filter(pc.invert(pc.is_in(rows["line_hash"], value_set=known)))
    return rows


def _register(
    con: duckdb.DuckDBPyConnection, origin: Origin, chunk: Chunk
) -> list[frozenset[str] | None]:
    """Hand the lines to the engine as lines_usual and lines_other; name the shapes of each."""
    if origin.kind.format == "csv":
        keys = keys_of(origin.kind)
        batches = [split_cells(batch, origin.header, keys) for batch in chunk.batches]
        con.register("lines_other", _in_bites(pa.Table.from_batches(batches, CELL_SCHEMA)))
        return [None]
    lines = _in_bites(pa.Table.from_batches(chunk.batches, LINE_SCHEMA))
    if chunk.lines < FEW_LINES:
        con.register("lines_other", lines)
        return [None]
    con.register("lines_all", lines)
    present, test = _usual_shapes(con, origin.kind, lines)
    if test is None:
        con.register("lines_other", lines)
        return [None]
    # The engine returns rows in any order: offsets tell which lines they are.
    # As an aggregate, because a filter evaluates the test once for each shape.
    others = con.sql(f"SELECT list(line_offset) FILTER (WHERE NOT {test}) AS at FROM lines_all")
    offsets = others.to_arrow_table()["at"].combine_chunks().flatten()
    if not len(offsets):
        con.register("lines_usual", lines)
        return [present]
    is_other = pc.is_in(lines["line_offset"], value_set=offsets)
    con.register("lines_usual", lines.filter(pc.invert(is_other)))
    con.register("lines_other", lines.filter(is_other))
    return [present, None]


def _in_bites(lines: pa.Table) -> pa.Table:
    """Cut a table into batches that the engine's threads share evenly, without copying."""
    size = max(1, lines["line"].nbytes // max(1, lines.num_rows))
    count = max(1, min(SCAN_LINES, SCAN_BYTES // size))
    if (pc.max(pc.binary_length(lines["line"])).as_py() or 0) > SCAN_BYTES // 4:
        count = 1  # rare and large: alone
    return pa.Table.from_batches(lines.to_batches(max_chunksize=count), lines.schema)


def _usual_shapes(
    con: duckdb.DuckDBPyConnection, kind: Kind, lines: pa.Table
) -> tuple[frozenset[str], str | None]:
    """Return the keys that a sample's usual lines hold, and the SQL test for lines like them.

    A usual line is a JSON object all of whose keys are read and all of whose known parents are
    objects with members. The test is None where the sample holds no usual line.
    """
    step = max(1, lines.num_rows // max(1, SAMPLE_LINES))
    places = range(0, lines.num_rows, step)[:SAMPLE_LINES]
    con.register("lines_sample", lines.take(pa.array(places, pa.int64())))
    parents = parents_of(tree_of(keys_of(kind)))
    shapes: list[tuple[list[list[str] | None], dict[str, tuple[str, ...]]]] = []
    present: set[str] = set()
    for (lists,) in _sample_keys(con, f"TRY(json_keys(line, {paths_sql(parents)}))"):
        members = {path: tuple(keys or ()) for path, keys in zip(parents, lists, strict=True)}
        held = _keys_if_usual(members, parents)
        if held:
            shapes.append((lists, members))
            present |= held
    if not shapes:
        return frozenset(), None
    used = [path for path in parents if not path or any(held[path] for _, held in shapes)]
    keys = f"TRY(json_keys(line, {paths_sql(used)}))"
    usual = [lists for lists, _ in shapes]
    hashes = {
        shape
        for lists, shape in _sample_keys(
            con, f"TRY(json_keys(line, {paths_sql(parents)})), hash({keys})"
        )
        if lists in usual
    }
    in_shape = f"hash({keys}) IN ({', '.join(map(str, sorted(hashes)))})"
    return frozenset(present), f"COALESCE(line_error IS NULL AND {in_shape}, FALSE)"


def _sample_keys(con: duckdb.DuckDBPyConnection, columns: str) -> list[Any]:
    """Select distinct ``columns`` of the sample's lines that are JSON objects."""
    return con.execute(
        f"SELECT DISTINCT {columns} FROM lines_sample WHERE line_error IS NULL"
        " AND CASE WHEN json_valid(line) THEN json_type(line) END = 'OBJECT'"
    ).fetchall()


def _keys_if_usual(
    members: dict[str, tuple[str, ...]], parents: dict[str, dict[str, Any]]
) -> set[str]:
    """Return the dotted keys of a shape of line, or nothing where the shape is not usual."""
    held: set[str] = set()
    for path, known in parents.items():
        if not set(members[path]) <= set(known):
            return set()
        for key in members[path]:
            dotted = f"{path}.{key}" if path else key
            if isinstance(known[key], dict):
                if not members[dotted]:
                    return set()
            else:
                held.add(dotted)
    return held
