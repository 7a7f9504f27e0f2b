"""Turn lines into typed rows of a raw table, each accepted or rejected with its reason.

Put here: the decoding that all kinds share, as one DuckDB query made from a Kind's columns.
Keep out: which columns there are (kinds.py), files and offsets (lines.py), commits (intake.py).
"""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.intake.kinds import Column, Kind
from pipelines.intake.lines import LINE_SCHEMA, Chunk

FUTURE_LIMIT_MS = 86_400_000  # a clock more than a day ahead is wrong, not early
EARLIEST_MS = 315_532_800_000  # 1980-01-01: an earlier stamp is a clock that was never set
NUMBER_LIMIT = 1e15  # beyond it a price, quantity or amount is an overflow, read as NULL
KEPT_LINE_CHARS = 65_536  # of a rejected line

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
    ("nulled_n", pa.int32(), "numbers read as NULL: NaN, infinite or out of range"),
    ("extra_json", pa.string(), "fields that no column holds, secrets redacted"),
    ("raw_line", pa.string(), "a rejected line, secrets redacted"),
)
PART_COLUMN = "part"
_ARROW = {
    "text": pa.string(),
    "free_text": pa.string(),
    "json": pa.string(),
    "number": pa.float64(),
    "amount": pa.float64(),
    "flag": pa.bool_(),
    "time_ms": pa.int64(),
}
_PLACE_KEYS = {"account": ("account",), "environment": ("environment", "env"), "venue": ("venue", "exchange")}

MACROS = """
CREATE TEMP MACRO as_us(x) AS
    CASE
        WHEN TRY_CAST(x AS DOUBLE) IS NOT NULL THEN
            CASE WHEN abs(TRY_CAST(x AS DOUBLE)) < 1e15
                 THEN CAST(round(TRY_CAST(x AS DOUBLE)
                      * CASE WHEN abs(TRY_CAST(x AS DOUBLE)) > 1e12 THEN 1e3 ELSE 1e6 END) AS BIGINT)
            END
        WHEN regexp_matches(x, '^\\s*\\d{4}-\\d{2}-\\d{2}([T ].*)?$')
            THEN epoch_us(TRY_CAST(x AS TIMESTAMPTZ))
    END;
CREATE TEMP MACRO as_flag(x) AS
    CASE lower(x) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE
                  WHEN '1' THEN TRUE WHEN '0' THEN FALSE END;
"""


@dataclass(frozen=True)
class Place:
    """Where a source stands: defaults for lines that do not say it, and values of its name."""

    account: str
    environment: str
    venue: str | None
    naive_zone: str = "UTC"


def raw_schema(kind: Kind) -> pa.Schema:
    """Return the Arrow schema of a kind's raw table, column comments as field metadata."""
    fields = [pa.field(n, t, metadata={"comment": c}) for n, t, c in COMMON_COLUMNS]
    fields += [
        pa.field(c.name, _ARROW[c.type], metadata={"comment": c.comment}) for c in kind.columns
    ]
    fields.append(pa.field(PART_COLUMN, pa.string(), metadata={"comment": "partition"}))
    return pa.schema(fields)


def connect(secrets: Sequence[str], memory_limit: str = "1GB") -> duckdb.DuckDBPyConnection:
    """Open the in-memory connection that decodes lines.

    ``secrets``: regular expressions; what follows their first group is redacted.
    """
    con = duckdb.connect(":memory:")
    con.execute(f"SET memory_limit = '{memory_limit}'")
    con.execute("SET enable_external_access = false")
    con.execute(MACROS)
    body = "x"
    for pattern in secrets:
        body = f"regexp_replace({body}, {_sql_text(pattern)}, '\\1[redacted]', 'g')"
    con.execute(f"CREATE OR REPLACE TEMP MACRO redact(x) AS {body}")
    return con


def decode(
    con: duckdb.DuckDBPyConnection,
    kind: Kind,
    chunk: Chunk,
    *,
    place: Place,
    named: dict[str, str],
    header: Sequence[str],
    source_id: str,
    source_name: str,
    ingest_seq: int,
    ingested_ms: int,
) -> pa.Table:
    """Decode a chunk to rows of the kind's raw table, one a line, in line order.

    ``named`` holds what the file's name says (symbol, strategy, …); ``header`` the CSV columns.
    """
    con.execute(f"SET TimeZone = {_sql_text(place.naive_zone)}")
    columns = {"symbol", *(column.name for column in kind.columns)}
    named = {name: value for name, value in named.items() if name in columns}
    values = {
        "account": place.account,
        "environment": place.environment,
        "venue": place.venue,
        "ingested_ms": ingested_ms,
        **{f"named_{name}": value for name, value in named.items()},
    }
    if kind.format == "csv":
        whole = pa.Table.from_batches([_cells(kind, batch, header) for batch in chunk.batches])
        parts: list[tuple[frozenset[str] | None, pa.Table]] = [(None, whole)]
    else:
        parts = _split_usual(con, kind, pa.Table.from_batches(chunk.batches, LINE_SCHEMA))
    constants = {
        "source_id": source_id,
        "source_name": source_name,
        "ingest_seq": ingest_seq,
        "ingested_ms": ingested_ms,
    }
    schema = raw_schema(kind)
    rows = []
    for present, lines in parts:
        con.register("lines", lines)
        decoded = con.sql(_query(kind, tuple(sorted(named)), present), params=values)
        table = decoded.to_arrow_table()
        for name, value in constants.items():
            table = table.append_column(name, pa.repeat(pa.scalar(value), table.num_rows))
        rows.append(table.select(schema.names).cast(schema))
    con.unregister("lines")
    return pa.concat_tables(rows)


# Executors write the same few shapes of line over and over. The key lists of a sample name these
# usual shapes; their lines are decoded with just the keys they hold, without looking for unknown
# fields. Every other line takes the full query: the same rows, at half the speed.
SAMPLE_LINES = 2048


def _split_usual(
    con: duckdb.DuckDBPyConnection, kind: Kind, lines: pa.Table
) -> list[tuple[frozenset[str] | None, pa.Table]]:
    """Part lines into (keys they hold, lines of usual shapes) and (None, all others)."""
    parents = _parents(_tree(_keys(kind)))
    paths = "[" + ", ".join(_sql_text("$" + (f".{p}" if p else "")) for p in parents) + "]"
    con.register("lines", lines.slice(0, SAMPLE_LINES))
    found = con.sql(
        f"SELECT DISTINCT json_keys(line, {paths}) AS keys, hash(keys) FROM lines"
        " WHERE line_error IS NULL AND CASE WHEN json_valid(line)"
        " THEN json_type(line) END = 'OBJECT'"
    ).fetchall()
    shapes, present = [], set()
    for key_lists, shape in found:
        named = dict(zip(parents, key_lists, strict=True))
        if all(set(named[path] or []) <= set(keys) for path, keys in parents.items()):
            shapes.append(shape)
            for path, keys in named.items():
                present |= {f"{path}.{key}" if path else key for key in keys or []}
    if not shapes:
        return [(None, lines)]
    con.register("lines", lines)
    in_shape = f"hash(json_keys(line, {paths})) IN ({', '.join(map(str, shapes))})"
    is_usual = con.sql(
        "SELECT line_error IS NULL AND CASE WHEN json_valid(line)"
        f" THEN {in_shape} ELSE FALSE END AS is_usual FROM lines"
    ).to_arrow_table()["is_usual"]
    if pc.all(is_usual).as_py():
        return [(frozenset(present), lines)]
    parts = [
        (frozenset(present), lines.filter(is_usual)),
        (None, lines.filter(pc.invert(is_usual))),
    ]
    return [(keys, part) for keys, part in parts if part.num_rows]


def _keys(kind: Kind) -> list[str]:
    """List every dotted key of a kind."""
    groups = [kind.event_keys, kind.symbol_keys, *_PLACE_KEYS.values()]
    groups += [column.keys for column in kind.columns]
    return list(dict.fromkeys(key for group in groups for key in group))


def _tree(keys: Iterable[str]) -> dict[str, Any]:
    """Nest dotted keys: {"prices": {"mark": "VARCHAR"}, "ts": "VARCHAR"}."""
    tree: dict[str, Any] = {}
    for key in keys:
        node = tree
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = "VARCHAR"
    return tree


def _parents(tree: dict[str, Any], above: str = "") -> dict[str, dict[str, Any]]:
    """Map the dotted path of every object in a tree, "" for the top, to its keys."""
    found = {above: tree}
    for name, node in tree.items():
        if isinstance(node, dict):
            found |= _parents(node, f"{above}.{name}" if above else name)
    return found


def _removal(tree: dict[str, Any]) -> dict[str, Any]:
    """Shape a tree as the JSON merge patch that removes its leaves."""
    return {k: _removal(v) if isinstance(v, dict) else None for k, v in tree.items()}


def _sql_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _ref(key: str) -> str:
    return "j." + ".".join(f'"{part}"' for part in key.split("."))


def _first(expressions: Sequence[str]) -> str:
    """Write the first non-null of some expressions."""
    if len(expressions) < 2:
        return expressions[0] if expressions else "NULL"
    return f"COALESCE({', '.join(expressions)})"


@dataclass(frozen=True)
class _Number:
    """One numeric key of a column: where it is read and the name of its cast."""

    key: str
    name: str
    is_amount: bool


class _Writer:
    """Write the decoding query of a kind over the keys in ``present``.

    Every name comes from kinds.py; values are bound. ``present`` None means any key may occur.
    """

    def __init__(self, kind: Kind, named: Sequence[str], present: frozenset[str] | None) -> None:
        self.kind = kind
        self.named = named
        self.is_json = kind.format == "jsonl"
        self.any_shape = present is None
        self.held = [key for key in _keys(kind) if present is None or key in present]

    def first(self, keys: Sequence[str], file_value: str = "") -> str:
        refs = [_ref(key) for key in keys if key in self.held]
        if file_value in self.named:
            refs.append(f"$named_{file_value}")
        return _first(refs)

    def numbers(self, column: Column) -> list[_Number]:
        if column.type not in ("number", "amount"):
            return []
        return [
            _Number(key, f"{column.name}__{i}", column.type == "amount")
            for i, key in enumerate(column.keys)
            if key in self.held
        ]

    def value(self, column: Column) -> str:
        if column.type in ("number", "amount"):
            parts = [
                f"CASE WHEN abs({n.name}) < {NUMBER_LIMIT:g} THEN {n.name} END"
                for n in self.numbers(column)
            ]
            return _first(parts)
        text = self.first(column.keys, column.name)
        form = {"text": "{}", "flag": "as_flag({})", "time_ms": "as_us({}) // 1000"}
        return form.get(column.type, "redact({})").format(text) if text != "NULL" else text

    def reject_cases(self) -> tuple[list[str], list[str]]:
        """Return the WHEN branches that name a faulty field, and one cheap doubt for each."""
        cases, doubts = [], []
        for path, keys in _parents(_tree(self.held)).items():
            if path and self.is_json and self.any_shape:
                nulls = [f"{_ref(f'{path}.{k}')} IS NULL" for k, v in keys.items() if v == "VARCHAR"]
                doubts.append("(" + " AND ".join(nulls or ["TRUE"]) + ")")
                cases.append(
                    f"WHEN json_type(line, '$.{path}') NOT IN ('OBJECT', 'NULL') "
                    f"THEN 'not_an_object:{path}'"
                )
        for column in self.kind.columns:
            for n in self.numbers(column):
                ref = _ref(n.key)
                doubts.append(f"({n.name} IS NULL AND {ref} IS NOT NULL)")
                cases.append(f"WHEN {doubts[-1]} THEN 'not_a_number:{n.key}'")
                if n.is_amount:
                    doubts.append(f"COALESCE({n.name} < 0, FALSE)")
                    cases.append(f"WHEN {doubts[-1]} THEN 'negative:{n.key}'")
            for key in column.keys if column.type == "time_ms" else ():
                if key in self.held:
                    doubts.append(f"({_ref(key)} IS NOT NULL AND as_us({_ref(key)}) IS NULL)")
                    cases.append(f"WHEN {doubts[-1]} THEN 'not_a_time:{key}'")
        return cases, doubts

    def parse(self) -> str:
        if not self.is_json:
            return "read AS (SELECT *, line AS json, NULL AS rest FROM lines),"
        structure = _sql_text(json.dumps(_tree(self.held)))
        if not self.any_shape:  # the caller has looked at their keys: valid objects, nothing else
            return f"""read AS (
    SELECT *, line AS json, from_json(line, {structure}) AS j, NULL AS rest FROM lines
),"""
        return f"""parsed AS (
    SELECT *, CASE WHEN line_error IS NULL AND json_valid(line) THEN line END AS json FROM lines
),
read AS (
    SELECT *,
        from_json(json, {structure}) AS j,
        json_merge_patch(json, {_sql_text(json.dumps(_removal(_tree(self.held))))}) AS rest,
    FROM parsed
),"""

    def query(self) -> str:
        symbol = f"upper(trim({self.first(self.kind.symbol_keys)}))"
        if "symbol" in self.named:
            symbol = f"COALESCE({symbol}, upper($named_symbol))"
        numbers = [n for column in self.kind.columns for n in self.numbers(column)]
        casts = "".join(f"\n        TRY_CAST({_ref(n.key)} AS DOUBLE) AS {n.name}," for n in numbers)
        nulled = " + ".join(
            f"COALESCE(abs({n.name}) >= {NUMBER_LIMIT:g}, FALSE)::INT" for n in numbers
        )
        columns = "".join(f'\n    {self.value(c)} AS "{c.name}",' for c in self.kind.columns)
        cases, doubts = self.reject_cases()
        is_object = "json_type(json) = 'OBJECT'" if self.is_json and self.any_shape else "TRUE"
        part = "%Y" if self.kind.partition == "year" else "%Y-%m-%d"
        return f"""
WITH {self.parse()}
timed AS (
    SELECT *,
        {symbol} AS symbol,
        {self.first(self.kind.event_keys)} AS time_text,
        as_us({self.first(self.kind.event_keys)}) AS stamp_us,{casts}
    FROM read
),
dated AS (
    SELECT *,
        CASE WHEN stamp_us >= {EARLIEST_MS} * 1000
                  AND stamp_us <= ($ingested_ms + {FUTURE_LIMIT_MS}) * 1000
             THEN stamp_us END AS event_us,
    FROM timed
),
judged AS (
    SELECT *,
        CASE
            WHEN line_error IS NOT NULL THEN line_error
            WHEN json IS NULL OR j IS NULL THEN
                CASE WHEN trim(line, chr(10) || chr(13) || chr(9) || ' ') = '' THEN 'blank_line'
                     ELSE 'not_{"json" if self.is_json else "csv"}' END
            WHEN event_us IS NULL THEN
                CASE WHEN NOT {is_object} THEN 'not_an_object'
                     WHEN time_text IS NULL THEN 'missing_time'
                     WHEN stamp_us > $ingested_ms * 1000 THEN 'future_time'
                     ELSE 'unparseable_time' END
            WHEN symbol IS NULL OR symbol = '' THEN 'missing_symbol'
            WHEN {" OR ".join(doubts) or "FALSE"} THEN CASE {" ".join(cases) or "WHEN FALSE THEN ''"} END
        END AS reject_reason,
    FROM dated
)
SELECT
    event_us // 1000 AS event_ms,
    symbol,
    line_offset,
    CAST(CAST(md5_number_lower(line) AS HUGEINT) - 9223372036854775808 AS BIGINT) AS line_hash,
    make_timestamptz(event_us) AS event_at_utc,
    COALESCE({self.first(_PLACE_KEYS["account"])}, $account) AS account,
    COALESCE({self.first(_PLACE_KEYS["environment"])}, $environment) AS environment,
    COALESCE({self.first(_PLACE_KEYS["venue"])}, $venue, 'unknown') AS venue,
    reject_reason,
    {nulled or "0"} AS nulled_n,
    CASE WHEN NOT regexp_full_match(rest, '\\{{("[^"]*":\\{{\\}},?)*\\}}')
         THEN redact(rest) END AS extra_json,
    CASE WHEN reject_reason IS NOT NULL
         THEN redact(left(rtrim(line, chr(10) || chr(13)), {KEPT_LINE_CHARS})) END AS raw_line,{columns}
    COALESCE(strftime(make_timestamp(event_us), '{part}'), 'unknown') AS part,
FROM judged
"""


@lru_cache(maxsize=64)
def _query(kind: Kind, named: tuple[str, ...], present: frozenset[str] | None) -> str:
    return _Writer(kind, named, present).query()


def _cells(kind: Kind, batch: pa.RecordBatch, header: Sequence[str]) -> pa.RecordBatch:
    """Split CSV lines into a struct column ``j`` of the kind's keys; a misfit line gets NULL.

    Each line stands for itself: a quoted cell never swallows the lines behind it.
    """
    keys = _keys(kind)
    places = {name: i for i, name in enumerate(header)}
    rows: list[list[str] | None] = []
    for line in batch.column("line").to_pylist():
        line = line.rstrip("\r\n")
        try:
            cells = next(csv.reader([line], strict=True)) if '"' in line else line.split(",")
        except (csv.Error, StopIteration):
            cells = []
        rows.append(cells if len(cells) == len(header) else None)
    empty: list[str] = [""] * len(header)
    arrays = [
        pa.array([(row or empty)[places[key]] or None for row in rows], pa.string())
        if key in places
        else pa.nulls(len(rows), pa.string())
        for key in keys
    ]
    struct = pa.StructArray.from_arrays(
        arrays, names=keys, mask=pa.array([row is None for row in rows], pa.bool_())
    )
    return pa.RecordBatch.from_arrays(
        [batch.column("line_offset"), batch.column("line"), batch.column("line_error"), struct],
        names=["line_offset", "line", "line_error", "j"],
    )
