"""Keep the daily sums and paths of prediction traces, and set up what the accuracy tables read.

Put here: which months new traces touch, and the days that a window holds in part. Keep out: what
the numbers mean (sql/), and outcomes of orders (rebuild.py).
"""

import datetime as dt
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from features import catalog
from features.durations import DAY_MS, FOREVER_MS
from features.engines import duckdb as engine
from features.events import Event, Listener
from features.lake import (
    DataFile,
    Lake,
    LakeTable,
    consumed_seqs,
    data_files,
    fitted,
    has_columns,
    marks_of,
    newest_seq,
    utc_day,
)
from features.params import Value

RAW, VIEW = "raw_telemetry__traces", "core_window__traces"
DAILY, PATHS = "core_telemetry__daily", "core_telemetry__paths"
CLOSES = "core_window__trace_closes"
STORED = (DAILY, PATHS)
WINDOW_MS = 30 * DAY_MS
BATCH_ROWS = 1_000_000  # rebuilt in one commit: bounds memory


def create_view(con: duckdb.DuckDBPyConnection, params: Mapping[str, Any]) -> None:
    """Create core_window__traces over the traces that stand on this connection."""
    sql = engine.inline(catalog.tables()[VIEW].sql, params)
    con.execute(f"CREATE OR REPLACE TEMP VIEW {VIEW} AS {sql}")


def longest_ms(con: duckdb.DuckDBPyConnection) -> int:
    """Return the longest time that any of the traces was held."""
    ((minutes,),) = con.execute(f"SELECT MAX(holding_period_minutes) FROM {RAW}").fetchall()
    return math.ceil(minutes or 0) * 60_000


def run(
    con: duckdb.DuckDBPyConnection,
    name: str,
    from_ms: int = -FOREVER_MS,
    to_ms: int = FOREVER_MS,
    longest_ms: int = FOREVER_MS,
) -> pa.Table:
    """Run the SQL of daily sums or paths over exits in [from_ms, to_ms)."""
    bounds = {"from_ms": from_ms, "to_ms": to_ms, "longest_ms": longest_ms}
    return engine.to_arrow(con, catalog.tables()[name].sql, bounds)


def set_up(con: duckdb.DuckDBPyConnection, values: Mapping[str, Any]) -> None:
    """Create what the accuracy tables read beside the raw and core tables of traces.

    ``values`` are those of the build: as_of_ms, environment and every parameter. Where traces are a
    sample, core_execution__outcomes must stand over all of history.
    """
    create_view(con, values)
    as_of_ms = values["as_of_ms"]
    begin_ms, end_ms = as_of_ms - WINDOW_MS + 1, as_of_ms + 1
    first_day, last_day = -(-begin_ms // DAY_MS) * DAY_MS, end_ms // DAY_MS * DAY_MS
    longest = longest_ms(con)
    has_traces = bool(con.execute(f"SELECT 1 FROM {RAW} LIMIT 1").fetchall())
    for name, cut in ((DAILY, "cut_trace_days"), (PATHS, "cut_trace_paths")):
        newest = run(con, name, last_day, end_ms, longest)
        oldest = run(con, name, begin_ms, first_day, longest) if has_traces else newest
        pieces = [_of_span(*each) for each in (("all", newest), ("30d", newest), ("30d", oldest))]
        engine.create_table(con, cut, pa.concat_tables(pieces))
    _create_window(con, "core_window__last_traces", values)
    if has_traces:
        con.execute(f"CREATE OR REPLACE TEMP VIEW {VIEW} AS FROM core_window__last_traces")
        engine.create_table(con, "last_trace_days", _of_span("last100", run(con, DAILY)))
        create_view(con, values)
        con.execute("INSERT INTO cut_trace_days BY NAME FROM last_trace_days")
    for name in ("core_window__trace_days", "core_window__trace_paths"):
        _create_window(con, name, values)
    _create_window(con, CLOSES, values, is_empty=not are_sampled(con))


def are_sampled(con: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether any of the raw traces stands for more trades than its own."""
    one = f"SELECT 1 FROM {RAW} WHERE inclusion_probability < 1 OR throttled_before > 0 LIMIT 1"
    return bool(con.sql(one).fetchall())


def _of_span(span: str, rows: pa.Table) -> pa.Table:
    return rows.append_column("span", pa.repeat(pa.scalar(span), rows.num_rows))


def _create_window(
    con: duckdb.DuckDBPyConnection, name: str, values: Mapping[str, Any], is_empty: bool = False
) -> None:
    sql = engine.inline(catalog.tables()[name].sql, values)
    none = "LIMIT 0" if is_empty else ""
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM ({sql}\n) {none}")


def build_in_memory(con: duckdb.DuckDBPyConnection, params: Mapping[str, Any]) -> int:
    """Create the stored tables beside the raw traces on this connection, without a lake.

    Returns an as-of (epoch ms) at which all of them are known.
    """
    create_view(con, params)
    months = _months(con)
    for name in STORED:
        rows = pa.concat_tables(_month_rows(con, name, batch, "") for batch in _batches(months))
        engine.create_table(con, name, rows.drop_columns(list(engine.PARTITIONS)))
    newest = f"SELECT MAX(close_ms) AS ms FROM {VIEW} UNION ALL SELECT MAX(event_ms) FROM {RAW}"
    ((as_of_ms,),) = con.execute(f"SELECT COALESCE(MAX(ms), 0) FROM ({newest})").fetchall()
    return int(as_of_ms)


# ---------------------------------------------------------------------------------------- rebuild


def rebuild(
    lake: Lake,
    con: duckdb.DuckDBPyConnection,
    params: Mapping[str, Value],
    definitions: Mapping[str, str],
    listen: Listener = lambda event: None,
) -> dict[str, tuple[int, int]]:
    """Rebuild the months that new traces touch; the caller holds the writer lock.

    ``definitions`` digest what decides the rows of each table: months of another are rebuilt too.
    Returns by table the months and rows written.
    """
    raw = lake.open(RAW)
    newest = newest_seq(data_files(raw))
    written = {}
    known: dict[tuple[int, frozenset[str]], dict[str, int]] = {}
    for name in STORED:
        target = lake.open(name) if lake.exists(name) else None
        seqs, is_anew = consumed_seqs(target, {RAW: raw}, {RAW: newest})
        consumed = seqs[RAW]
        files = [] if target is None else data_files(target)
        stale = {
            file.partition["part"] or ""
            for file in files
            if is_anew or file.partition["definition"] != definitions[name]
        }
        is_whole = target is not None and has_columns(target, catalog.tables()[name].columns)
        if consumed == newest and not stale:
            if not is_whole:
                _raw_view(con, raw, params, [])
                create_stored(lake, name, _month_rows(con, name, [], "").schema)
            continue
        asked = (consumed, frozenset(stale))
        if asked not in known:
            known[asked] = _touched(con, raw, params, consumed, stale)
        months = known[asked]
        batches = _batches(months)
        listen(Event("core.planned", table=name, total=len(batches)))
        _raw_view(con, raw, params, data_files(raw))
        rows_n = 0
        for number, batch in enumerate(batches, start=1):
            rows = _month_rows(con, name, batch, definitions[name])
            # A new definition may bring new columns, and other words for those there are.
            if target is None or ((stale or not is_whole) and number == 1):
                target = create_stored(lake, name, rows.schema)
            listen(Event("core.before_commit", table=name))
            marks = marks_of({RAW: raw}, {RAW: newest}) if number == len(batches) else {}
            lake.replace(target, fitted(rows, target), batch, marks)
            listen(Event("core.committed", table=name, done=1))
            rows_n += rows.num_rows
        written[name] = (len(months), rows_n)
    return written


def _raw_view(
    con: duckdb.DuckDBPyConnection,
    raw: DeltaTable,
    params: Mapping[str, Value],
    files: list[DataFile],
) -> None:
    engine.create_view(con, RAW, raw, files=files)
    create_view(con, params)


def create_stored(lake: Lake, name: str, schema: pa.Schema) -> LakeTable:
    """Create a core table for rows of this schema, or add the columns that it lacks."""
    table = catalog.tables()[name]
    fields = [
        pa.field(
            f.name,
            pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(f.type) else f.type,
            metadata={"comment": table.columns.get(f.name, "partition")},
        )
        for f in schema
    ]
    lake.ensure(name, pa.schema(fields), list(engine.PARTITIONS), table.comment)
    return lake.open(name)


def _touched(
    con: duckdb.DuckDBPyConnection,
    raw: DeltaTable,
    params: Mapping[str, Value],
    consumed: int,
    stale: set[str],
) -> dict[str, int]:
    """Return the months to rebuild with the number of their traces, in order."""
    files = data_files(raw)
    new = [file for file in files if (file.maximum.get("ingest_seq") or 0) > consumed]
    _raw_view(con, raw, params, new)
    fresh = con.execute(
        f"SELECT DISTINCT day_ms FROM {VIEW} WHERE ingest_seq > $consumed",
        {"consumed": consumed},
    ).fetchall()
    months = {utc_day(day_ms)[:7] for (day_ms,) in fresh} | stale
    _raw_view(con, raw, params, files)
    counted = _months(con)
    return {month: counted.get(month, 0) for month in sorted(months)}


def _months(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Count the closed traces by month, in order."""
    months: Counter[str] = Counter()
    days = f"SELECT day_ms, COUNT(*) FROM {VIEW} GROUP BY day_ms ORDER BY day_ms"
    for day_ms, n in con.execute(days).fetchall():
        months[utc_day(day_ms)[:7]] += n
    return dict(months)


def _batches(months: Mapping[str, int]) -> list[list[str]]:
    """Join months to commits of about BATCH_ROWS; one empty commit where there are none."""
    batches: list[list[str]] = [[]]
    rows_n = 0
    for month, n in months.items():
        if batches[-1] and rows_n + n > BATCH_ROWS:
            batches.append([])
            rows_n = 0
        batches[-1].append(month)
        rows_n += n
    return batches


def _month_rows(
    con: duckdb.DuckDBPyConnection, name: str, months: list[str], definition: str
) -> pa.Table:
    """Compute the rows of whole months (YYYY-MM), partition columns behind them."""
    longest = longest_ms(con) if months else 0
    sql = (
        "SELECT *, strftime(make_timestamp(day_ms * 1000), '%Y-%m') AS part,"
        f" $definition AS definition FROM ({catalog.tables()[name].sql})"
        " ORDER BY day_ms, strategy, symbol"
    )
    values = {"definition": definition, "longest_ms": longest}
    spans = [_bounds(first, last) for first, last in _runs(months)] or [(0, 0)]
    return pa.concat_tables(
        engine.to_arrow(con, sql, {**values, "from_ms": from_ms, "to_ms": to_ms})
        for from_ms, to_ms in spans
    )


def _runs(months: list[str]) -> list[tuple[str, str]]:
    """Join months that follow each other to first and last month."""
    runs: list[tuple[str, str]] = []
    for month in sorted(months):
        if runs and _bounds(runs[-1][1], runs[-1][1])[1] == _bounds(month, month)[0]:
            runs[-1] = (runs[-1][0], month)
        else:
            runs.append((month, month))
    return runs


def _bounds(first: str, last: str) -> tuple[int, int]:
    """Return the beginning of a month and the end of another, epoch ms."""
    return _month_ms(first), _month_ms(last, 1)


def _month_ms(month: str, later: int = 0) -> int:
    number = int(month[:4]) * 12 + int(month[5:]) - 1 + later
    begin = dt.datetime(number // 12, number % 12 + 1, 1, tzinfo=dt.UTC)
    return int(begin.timestamp()) * 1000
