"""The default engine: one DuckDB connection over the Parquet files of the lake.

Put here: opening the connection, views over table versions, binding parameters. Keep out: which
tables there are and in which order they run.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from features.engines.text import identifier as identifier
from features.engines.text import inline as inline
from features.engines.text import literal as literal
from features.lake import DataFile, data_files, overlapping

_TYPES = {  # Delta's Arrow types as DuckDB writes them
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
}
PARTITIONS = ("part", "definition")
# So many rows cost less to copy than statements cost to read again: see to_arrow, _held.
FEW_ROWS = 10_000
# Reading a file again takes as long as holding so many rows: three hours of refreshes leave dozens
# of small files, and a build reads each some ten times.
ROWS_A_FILE = 1_000
HELD_ROWS = 150_000  # of one view at most: some 100 MB of memory
HELD_BYTES = 32 << 20  # of all files that a connection holds, as they lie on disk


def connect(
    database: str = ":memory:",
    *,
    memory_limit_mb: int = 1024,
    threads: int | None = None,
    spill: Path | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open a connection with the functions that the SQL files use beyond DuckDB's own.

    ``threads``: one for each processor when None.
    """
    from features.engines import functions  # SciPy: readers of snapshots never wait for it

    con = duckdb.connect(database)
    con.execute(f"SET memory_limit = '{memory_limit_mb}MB'")
    if threads is not None:
        con.execute(f"SET threads = {threads}")
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET parquet_metadata_cache = true")  # a build reads the same files many times
    con.execute("SET preserve_insertion_order = false")  # every table is sorted where order counts
    hide_progress(con)
    if spill is not None:
        spill.mkdir(parents=True, exist_ok=True)
        con.execute(f"SET temp_directory = {literal(str(spill))}")
    functions.register(con)
    return con


def hide_progress(con: duckdb.DuckDBPyConnection) -> None:
    """Show no bars: a program that is no file, as of python -c, finds them among what it prints."""
    with suppress(duckdb.InvalidInputException):  # a notebook without widgets shows none anyway
        con.execute("SET enable_progress_bar = false")


def run(
    con: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any] | None = None
) -> duckdb.DuckDBPyConnection:
    """Execute one statement whose text comes again."""
    return con.execute(parsed(con, sql), values)


def parsed(con: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """Return a statement whose text comes again: a process parses it once.

    A long statement over few rows spends as much time on its parsing as on anything else.
    """
    statement = _PARSED.get(sql)
    if statement is None:
        if len(_PARSED) >= _PARSED_AT_MOST:
            _PARSED.clear()
        (statement,) = con.extract_statements(sql)
        _PARSED[sql] = statement
    return statement


_PARSED: dict[str, duckdb.Statement] = {}
_PARSED_AT_MOST = 4096  # four times what a refresh uses; the lines of logs may have any shape


def sql_type(stored: pa.DataType, timestamp: str = "TIMESTAMPTZ") -> str:
    """Write the type of a lake's column; times are stored with their zone."""
    return timestamp if pa.types.is_timestamp(stored) else _TYPES.get(stored, "VARCHAR")


def scan(
    schema: pa.Schema,
    paths: Sequence[str],
    *,
    fill: bool = False,
    more: str = "",
    is_zoned: bool = False,
) -> str:
    """Write the SELECT over exactly these files, typed and complete also when there are none.

    ``fill`` reads columns that no file holds as NULL. ``more`` is a column beside the schema's.
    Times are naive UTC unless ``is_zoned``.
    """
    columns = [more] if more else []
    typed = []
    for column in schema:
        if column.name in PARTITIONS:
            continue
        name = identifier(column.name)
        typed.append(f"CAST(NULL AS {sql_type(column.type)}) AS {name}")
        if not paths:
            shown = sql_type(column.type, "TIMESTAMPTZ" if is_zoned else "TIMESTAMP")
            columns.append(f"CAST(NULL AS {shown}) AS {name}")
        elif pa.types.is_timestamp(column.type) and not is_zoned:
            columns.append(f"{name} AT TIME ZONE 'UTC' AS {name}")
        else:
            columns.append(name)
    listed = ",\n    ".join(columns)
    if not paths:
        return f"SELECT\n    {listed}\nWHERE FALSE"
    quoted = ", ".join(literal(path) for path in paths)
    source = f"read_parquet([{quoted}], union_by_name = true, hive_partitioning = false)"
    if fill:
        empty = f"SELECT {', '.join(typed)} WHERE FALSE"
        source = f"({empty} UNION ALL BY NAME SELECT *, file_index FROM {source})"
    return f"SELECT\n    {listed}\nFROM {source}"


def create_scan(
    con: duckdb.DuckDBPyConnection,
    head: str,
    schema: pa.Schema,
    paths: Sequence[str],
    where: str = "",
) -> None:
    """Create the view that ``head`` names over these files, also where all lack a newer column."""
    if paths:
        _run_scan(con, f"{head} AS", schema, paths, where=where)
    else:
        run(con, f"{head} AS {scan(schema, paths)}")


def _run_scan(
    con: duckdb.DuckDBPyConnection,
    head: str,
    schema: pa.Schema,
    paths: Sequence[str],
    *,
    where: str = "",
    more: str = "",
) -> None:
    try:
        con.execute(f"{head} {scan(schema, paths, more=more)}{where}")
    except duckdb.BinderException:
        con.execute(f"{head} {scan(schema, paths, fill=True, more=more)}{where}")


def create_view(
    con: duckdb.DuckDBPyConnection,
    name: str,
    table: DeltaTable,
    *,
    ranges: list[tuple[int, int]] | None = None,
    cut: bool = False,
    files: Iterable[DataFile] | None = None,
    where: str = "",
) -> None:
    """Create a temporary view over a table version, or over its files that meet ``ranges``.

    ``ranges`` are half-open ranges of event_ms; rows outside them may remain unless ``cut``.
    ``where`` is a condition on rows. Few rows, or small files alone, are read at once, and a file
    once for all such views of the connection.
    """
    chosen = data_files(table) if files is None else list(files)
    if ranges is not None:
        chosen = overlapping(chosen, "event_ms", ranges)
    schema = pa.schema(table.schema().to_arrow())
    limits = [f"({where})"] if where else []
    if ranges is not None and cut:
        within = " OR ".join(f"(event_ms >= {a} AND event_ms < {b})" for a, b in ranges)
        limits.append(f"({within or 'FALSE'})")
    limit = f" WHERE {' AND '.join(limits)}" if limits else ""
    head = f"CREATE OR REPLACE TEMP VIEW {identifier(name)}"
    held = _held(con, table.table_uri, schema, chosen)
    if held is None:
        create_scan(con, head, schema, [file.path for file in chosen], limit)
    else:
        con.execute(f"{head} AS FROM ({held}){limit}")


@dataclass
class _Held:
    """A temporary table that holds the rows of files of one lake table, and the number of each."""

    name: str
    numbers: dict[str, int] = field(default_factory=dict)
    bytes: int = 0


_HELD: WeakKeyDictionary[duckdb.DuckDBPyConnection, dict[tuple[str, ...], _Held]]
_HELD = WeakKeyDictionary()


def _held(
    con: duckdb.DuckDBPyConnection, uri: str, schema: pa.Schema, files: Sequence[DataFile]
) -> str | None:
    """Write the SELECT of these files' rows as this connection holds them, each file read once.

    None where files are none, or too large to be held.
    """
    tables = _HELD.setdefault(con, {})
    key = (uri, *schema.names)
    held = tables.get(key) or _Held(f"held_{len(tables)}")
    missing = {file.path: file.bytes for file in files if file.path not in held.numbers}
    rows = sum(file.rows for file in files)
    most = max(FEW_ROWS, min(ROWS_A_FILE * len(files), HELD_ROWS))
    room = HELD_BYTES - sum(each.bytes for each in tables.values())
    if not files or rows > most or sum(missing.values()) > room:
        return None
    if missing:
        number = f"file_index + {len(held.numbers)} AS file_number"
        head = f"INSERT INTO {held.name}" if key in tables else f"CREATE TEMP TABLE {held.name} AS"
        _run_scan(con, head, schema, list(missing), more=number)
        held.numbers |= {path: n for n, path in enumerate(missing, start=len(held.numbers))}
        held.bytes += sum(missing.values())
        tables[key] = held
    listed = ", ".join(str(held.numbers[file.path]) for file in files)
    return f"SELECT * EXCLUDE (file_number) FROM {held.name} WHERE file_number IN ({listed})"


def to_arrow(
    con: duckdb.DuckDBPyConnection,
    sql: str,
    values: Mapping[str, Any] | None = None,
    *,
    about_n: float = 0,
) -> pa.Table:
    """Run a query and return its rows, about ``about_n``, in its order.

    Few rows come by way of a table, because ``con.sql`` reads and binds a text three times over,
    which takes longer than most queries here run.
    """
    if about_n > FEW_ROWS:
        return con.sql(sql, params=values).to_arrow_table()
    run(con, f"CREATE OR REPLACE TEMP TABLE arrow_rows AS {sql}", values)
    con.execute("SET preserve_insertion_order = true")
    try:
        return con.table("arrow_rows").to_arrow_table()
    finally:
        con.execute("SET preserve_insertion_order = false; DROP TABLE arrow_rows")


def create_table(con: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    """Create the temporary table ``name`` of these rows, or replace it."""
    con.register("given_rows", rows)
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM given_rows")
    con.unregister("given_rows")


def bind(sql: str, names: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the values that a statement names.

    Raises KeyError naming the parameter that has no value.
    """
    missing = [name for name in names if name not in values]
    if missing:
        raise KeyError(f"no value for ${', $'.join(missing)} in: {sql.splitlines()[0]}")
    return {name: values[name] for name in names}
