"""Run the SQL files in memory on a few literal rows.

Put here: rows with the real schemas of which a test names only the columns that matter.
Keep out: what the SQL should give; files, lake and clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import duckdb
import pyarrow as pa

from features import build, catalog, memory, params, rebuild, traces, window_sums
from features.durations import DAY_MS, FOREVER_MS, HOUR_MS
from features.engines import duckdb as engine
from features.settings import Freshness
from features.source_lines import source_tables
from pipelines.intake.decode import PART_COLUMN, raw_schema
from pipelines.intake.kinds import KINDS

Row = dict[str, Any]

S = 1_000  # ms
M = 60 * S
H = HOUR_MS
D = DAY_MS
T = 1_762_300_800_000  # 2025-11-05T00:00:00Z, a midnight and the time of most rows

OUTCOMES = "core_execution__outcomes"
HOURLY = "core_execution__hourly"
RAW = {kind.table: raw_schema(kind) for kind in KINDS}
# What no SQL file makes.
KNOWN = {
    **RAW,
    memory.PREVIOUS: memory.SCHEMA,
    memory.PREVIOUS_ALERTS: memory.ALERTS_SCHEMA,
}

_PLACE = {"symbol": "ETHUSDT", "account": "main", "environment": "paper", "venue": "binance"}
_number = count(1)


@dataclass(frozen=True)
class Line:
    """One literal row of a named table."""

    table: str
    values: Row


# ------------------------------------------------------------------------------------------- rows


def raw(table: str, at: int | None = T, **values: Any) -> Line:
    """Return a raw row; each gets an offset and a hash of its own unless named."""
    n = next(_number)
    return Line(
        table,
        {
            **_PLACE,
            "event_ms": at,
            "event_at_utc": None if at is None else at * 1000,
            "ingest_seq": 1,
            "ingested_ms": T,
            "nulled_n": 0,
            "source_id": f"source of {table}",
            "line_offset": n * 100,
            "line_hash": n,
            **values,
        },
    )


def router(attempt_id: str | None = "a1", status: str | None = "FILLED", **values: Any) -> Line:
    """Return a router line; it bought 2 at 101 against a mark of 100 unless told otherwise."""
    usual: Row = {"side": "BUY", "mark_px": 100.0}
    if status in ("FILLED", "PARTIALLY_FILLED"):
        usual |= {"fill_px": 101.0, "qty": 2.0}
    elif status is not None:  # what the executor writes before it knows
        usual |= {"fill_px": 0.0, "qty": 0.0, "notional_usd": 0.0, "slippage_logged_bps": -10000.0}
    return raw(
        "raw_router__events", **{"attempt_id": attempt_id, "status": status} | usual | values
    )


def order(event_type: str, attempt_id: str | None = "a1", **values: Any) -> Line:
    """Return a line of orders_executed."""
    row = {"event_type": event_type, "attempt_id": attempt_id, "order_id": "o1", **values}
    return raw("raw_orders__events", **row)


def order_fill(attempt_id: str | None = "a1", **values: Any) -> Line:
    """Return an order_fill line: the whole order, 2 at 101, a fee of 0.1 USDT."""
    usual = {"executed_qty": 2.0, "fill_px": 101.0, "fees": 0.1, "fee_asset": "USDT"}
    return order("order_fill", attempt_id, **{**usual, "status": "FILLED", **values})


def order_close(attempt_id: str | None = "a1", **values: Any) -> Line:
    """Return an order_close line: 2 closed for a gain of 3 USD, now flat."""
    usual = {"realized_pnl_usd": 3.0, "closed_qty": 2.0, "position_size_after": 0.0, "fees": 0.2}
    return order("order_close", attempt_id, **{**usual, **values})


def asked(attempt_id: str | None = "a1", at: int = T, **values: Any) -> Line:
    """Return a line of orders_attempted."""
    return raw("raw_orders__attempts", at, **{"attempt_id": attempt_id, "local_ms": at, **values})


def veto(attempt_id: str | None = "a1", **values: Any) -> Line:
    """Return a line of risk_vetoes."""
    return raw("raw_risk__vetoes", **{"attempt_id": attempt_id, **values})


def outcome(kind: str = "filled", at: int = T, **values: Any) -> Line:
    """Return a core row of the outcome ``kind``, with an attempt id of its own unless named.

    Without more said, nothing is known of it but its place, time and outcome; PnL makes a close.
    """
    usual: Row = {"attempt_id": f"a{next(_number)}", "close_n": 0, "side": "BUY"}
    if values.get("realized_pnl_usd") is not None or kind == "close_only":
        usual |= {"close_n": 1, "close_ms": at, "position_size_after": 0.0}
    row = {**_PLACE, "event_ms": at, "hour_utc": at // H % 24, "outcome": kind, **usual, **values}
    return Line(OUTCOMES, row)


# ------------------------------------------------------------------------------------- connection


def connect() -> duckdb.DuckDBPyConnection:
    """Open a connection as a build does, on one thread: for few rows two take twice the time."""
    con = engine.connect()
    con.execute("SET threads = 1")
    return con


def create(con: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema, rows: list[Row]) -> None:
    """Create a temporary table of literal rows.

    Raises KeyError for a column that the schema does not have.
    """
    unknown = {column for row in rows for column in row} - set(schema.names)
    if unknown:
        raise KeyError(f"{name} has no column {sorted(unknown)}")
    standing = _STANDING.setdefault(con, {})
    if not rows and standing.get(name) == schema:
        return
    standing.pop(name, None)
    if name in _VIEWS:
        forget(con, name)
    elif name in RAW and not rows:
        standing[name] = schema
    empties = _EMPTY.setdefault(con, {})
    if not rows and schema in empties:
        engine.run(con, f"CREATE OR REPLACE TEMP TABLE {name} AS FROM {empties[schema]}")
        return
    con.register("literal_rows", pa.Table.from_pylist(rows, schema))
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM literal_rows")
    con.unregister("literal_rows")
    if not rows:
        empties[schema] = f"empty_{len(empties)}"
        con.execute(f"CREATE TEMP TABLE {empties[schema]} AS FROM {name}")


# Most tables of a test are empty, and a copy takes a third of the time.
_EMPTY: WeakKeyDictionary[duckdb.DuckDBPyConnection, dict[pa.Schema, str]] = WeakKeyDictionary()
# Raw tables that stand empty already: nothing but create() writes to them.
_STANDING: WeakKeyDictionary[duckdb.DuckDBPyConnection, dict[str, pa.Schema]] = WeakKeyDictionary()


def put(con: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    """Create a temporary table of rows that another query gave."""
    con.register("put_rows", rows)
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM put_rows")
    con.unregister("put_rows")


# What a build sets up as views, where a test may put literal rows.
_SUMS = [table.name for table in catalog.tables().values() if table.adds_up_over]
_VIEWS = (traces.VIEW, *_SUMS)


def forget(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Drop a view, or the table of literal rows that stands for it."""
    found = engine.run(con, f"SELECT 1 FROM duckdb_views() WHERE view_name = '{name}'").fetchall()
    con.execute(f"DROP {'VIEW' if found else 'TABLE'} IF EXISTS {name}")


def load_raw(con: duckdb.DuckDBPyConnection, lines: Iterable[Line]) -> None:
    """Create every raw table with its lines, without the partition column, as a build sees it."""
    lines = list(lines)
    for name, schema in RAW.items():
        rows = [line.values for line in lines if line.table == name]
        create(con, name, schema.remove(schema.get_field_index(PART_COLUMN)), rows)
    con.execute(f"CREATE OR REPLACE TEMP TABLE spoken_hours AS {rebuild._SPOKEN}")
    forget(con, traces.VIEW)
    traces.create_view(con, defaults())


def rebuild_hours(con: duckdb.DuckDBPyConnection, times: Iterable[int]) -> None:
    """Name the hours to be built: those of ``times``."""
    hours = sorted({time // H * H for time in times})
    create(
        con, "rebuild_hours", pa.schema({"hour_ms": pa.int64()}), [{"hour_ms": h} for h in hours]
    )


@cache
def defaults() -> dict[str, params.Value]:
    """Return every parameter's own value."""
    return params.load({})


def run(con: duckdb.DuckDBPyConnection, name: str, **values: Any) -> pa.Table:
    """Run one table's SQL with these values and the default parameters."""
    table = catalog.tables()[name]
    forever = dict.fromkeys(("to_ms", "known_ms", "longest_ms"), FOREVER_MS)
    forever["from_ms"] = -FOREVER_MS
    bound = {**defaults(), **forever, **values}
    return engine.to_arrow(con, table.sql, engine.bind(table.sql, table.params, bound))


def build_outcomes(con: duckdb.DuckDBPyConnection, lines: Iterable[Line]) -> None:
    """Create the raw tables and core_execution__outcomes for every hour of a line.

    Core rows among ``lines`` stand beside those that the raw lines give.
    """
    lines = list(lines)
    load_raw(con, lines)
    times = [line.values["event_ms"] for line in lines]
    rebuild_hours(con, [time for time in times if time is not None])
    literal = [line.values for line in lines if line.table == OUTCOMES]
    if not are_read_by(OUTCOMES, lines):
        create(con, OUTCOMES, core_schema(OUTCOMES), literal)
    elif not literal:
        put(con, OUTCOMES, run(con, OUTCOMES))
    else:
        create(con, OUTCOMES, core_schema(OUTCOMES), run(con, OUTCOMES).to_pylist() + literal)


def are_read_by(name: str, lines: Iterable[Line]) -> bool:
    """Tell whether any of the lines stands in a table that a core table is computed from."""
    reads = set(catalog.tables()[name].inputs)
    return any(line.table in reads for line in lines)


def build_hourly(con: duckdb.DuckDBPyConnection, wanted: build.Plan, lines: Iterable[Line]) -> None:
    """Create core_execution__hourly and edge_hours over the outcomes and raw tables that stand."""
    if are_read_by(HOURLY, lines):
        put(con, HOURLY, run(con, HOURLY))
        build._edge_hours(con, wanted, build.bound_values(wanted))
    else:  # hours of nothing are none: see core_schema
        create(con, HOURLY, core_schema(HOURLY), [])
        create(con, "edge_hours", core_schema(HOURLY), [])


@cache
def core_schema(name: str) -> pa.Schema:
    """Return a core table's schema: that of its SQL over empty raw tables, which has no rows."""
    with connect() as con:
        load_raw(con, [])
        rebuild_hours(con, [T])
        rows = run(con, OUTCOMES if name not in traces.STORED else name)
        if name == HOURLY:
            put(con, OUTCOMES, rows)
            rows = run(con, name)
    assert rows.num_rows == 0, f"{name} has rows over nothing"
    return rows.schema


@cache
def feature_schema(name: str) -> pa.Schema:
    """Return the schema of a feature table, or of a window table: that of its SQL over nothing."""
    with connect() as con:
        wanted = plan(inputs=dict.fromkeys(RAW))
        build_window(con, wanted)
        source_tables_of(con, wanted)
        if name.startswith("core_window__"):
            if "trace" in name:
                build_traces(con, wanted)
            return con.sql(f"FROM {name}").to_arrow_table().schema
        return run_in_order(con, name, wanted).schema


def run_in_order(con: duckdb.DuckDBPyConnection, name: str, wanted: build.Plan) -> pa.Table:
    """Run a feature table after those that it reads, each of which then stands as a table."""
    build.param_knots(con, wanted)
    build.previous_memory(con, wanted)
    values = build.bound_values(wanted)
    upstream = catalog.with_inputs({name}) - {name}
    if "core_window__trace_days" in upstream:
        build_traces(con, wanted)
    for table in catalog.computed():
        if table.name in upstream:
            bound = engine.bind(table.sql, table.params, values)
            engine.run(con, f"CREATE OR REPLACE TEMP TABLE {table.name} AS {table.sql}", bound)
    return run(con, name, **values)


def check(
    con: duckdb.DuckDBPyConnection, name: str, rows: Mapping[str, list[Row]], **choice: Any
) -> list[Row]:
    """Return what a check finds in tables of literal rows; what they do not name is empty."""
    wanted = catalog.checks()[name]
    for table in wanted.inputs:
        known = KNOWN.get(table)
        if known is None:
            is_core = table.startswith("core_execution__")
            known = core_schema(table) if is_core else feature_schema(table)
        create(con, table, known, rows.get(table, []))
    values = engine.bind(wanted.sql, wanted.params, build.bound_values(plan(**choice)))
    found: list[Row] = engine.to_arrow(con, wanted.sql, values).to_pylist()
    return found


def outcomes(con: duckdb.DuckDBPyConnection, *lines: Line) -> list[Row]:
    """Return the core rows of literal raw lines, in time order."""
    build_outcomes(con, lines)
    order = "event_ms, symbol, attempt_id, environment, account"
    rows: list[Row] = con.sql(f"FROM {OUTCOMES} ORDER BY {order}").to_arrow_table().to_pylist()
    return rows


def each(con: duckdb.DuckDBPyConnection, cases: Sequence[Sequence[Line]]) -> list[list[Row]]:
    """Return the core rows of every case, run together and kept apart by account."""
    found: list[list[Row]] = [[] for _ in cases]
    for row in outcomes(con, *apart(cases)):
        found[int(row["account"].split()[1])].append(row)
    return found


def apart(cases: Sequence[Sequence[Line]], *columns: str) -> list[Line]:
    """Return the lines of all cases, each in accounts of its own, and so in other ``columns``.

    A line that names an account of its own stands in that account of its case.
    """
    lines = []
    for number, case in enumerate(cases):
        for line in case:
            names = {c: f"case {number} {line.values[c]}" for c in ("account", *columns)}
            lines.append(replace(line, values={**line.values, **names}))
    return lines


def hourly(con: duckdb.DuckDBPyConnection, *lines: Line, **values: Any) -> list[Row]:
    """Return the hourly rows of literal lines, in time order."""
    build_outcomes(con, lines)
    rows: list[Row] = run(con, HOURLY, **values).to_pylist()
    return rows


def one(rows: list[Row]) -> Row:
    """Return the only row."""
    assert len(rows) == 1, rows
    return rows[0]


# ----------------------------------------------------------------------------------------- window


def plan(as_of_ms: int = T + D, **choice: Any) -> build.Plan:
    """Return a build's plan as of a time; ``overrides`` are parameters, the rest its own fields."""
    overrides = choice.pop("overrides", {})
    usual: Row = {
        "as_of_ms": as_of_ms,
        "environment": "paper",
        "window_days": 7,
        "symbol_key": "symbol",
        "equity_usd": None,
        "atr_bar_interval": "15m",
        "freshness": {},
        "params": params.load(overrides) if overrides else defaults(),
        "inputs": {},
        "code": "test",
    }
    return build.Plan(**{**usual, **choice})


def build_window(
    con: duckdb.DuckDBPyConnection, wanted: build.Plan, *lines: Line, with_hours: bool = True
) -> None:
    """Create the core tables of literal lines and the window tables of a build over them.

    Both are tables, where a build has a view: another test may put literal rows in their place.
    """
    build_outcomes(con, lines)
    values = build.bound_values(wanted)
    for name in ("core_window__outcomes", "core_window__attempts"):
        text = engine.inline(catalog.tables()[name].sql, values)
        con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {text}")
    for name in _SUMS:
        forget(con, name)
    window_sums.create_tables(con, values)
    if not with_hours:
        return
    build_hourly(con, wanted, lines)
    view = catalog.tables()["core_window__hourly"]
    con.execute(f"CREATE OR REPLACE TEMP TABLE {view.name} AS {engine.inline(view.sql, values)}")


def source_tables_of(con: duckdb.DuckDBPyConnection, wanted: build.Plan) -> None:
    """Create what feat_ops__source_freshness reads over the raw tables that stand."""
    since_ms = wanted.as_of_ms - wanted.window_ms
    tables = dict.fromkeys(wanted.inputs)
    source_tables(con, wanted.freshness, tables, wanted.as_of_ms, since_ms)


def build_traces(con: duckdb.DuckDBPyConnection, wanted: build.Plan) -> None:
    """Create the core tables of the traces that stand, and the window tables over them."""
    values = build.bound_values(wanted)
    forget(con, traces.VIEW)
    traces.create_view(con, values)
    found = con.sql("SELECT 1 FROM duckdb_tables() WHERE table_name = $1", params=[OUTCOMES])
    if not found.fetchall():
        create(con, OUTCOMES, core_schema(OUTCOMES), [])
    for name in traces.STORED:
        put(con, name, traces.run(con, name))
    traces.set_up(con, values)


def features(
    con: duckdb.DuckDBPyConnection, name: str, *lines: Line, **choice: Any
) -> dict[Any, Row]:
    """Return a feature table over literal lines by its grain, a tuple if of several columns."""
    wanted = plan(**choice)
    with_hours = "core_window__hourly" in catalog.with_inputs({name})
    build_window(con, wanted, *lines, with_hours=with_hours)
    return by_key(name, run_in_order(con, name, wanted).to_pylist())


def features_of(
    con: duckdb.DuckDBPyConnection, name: str, rows: Mapping[str, list[Row]], **choice: Any
) -> dict[Any, Row]:
    """Return a feature table over literal rows of the tables it reads, by its grain.

    Tables that ``rows`` does not name are empty.
    """
    wanted = plan(**choice)
    build.param_knots(con, wanted)
    for table in set(catalog.tables()[name].inputs) - {"param_knots"}:
        create(con, table, KNOWN.get(table) or feature_schema(table), rows.get(table, []))
    return by_key(name, run(con, name, **build.bound_values(wanted)).to_pylist())


def each_symbol(
    con: duckdb.DuckDBPyConnection, name: str, cases: Sequence[Sequence[Line]], **choice: Any
) -> list[Row]:
    """Return the row of each case in a table by symbol: all are run together, kept apart."""
    rows = features(con, name, *apart(cases, "symbol"), **choice)
    return [rows[f"case {number} {_PLACE['symbol']}"] for number in range(len(cases))]


def by_key(name: str, rows: list[Row]) -> dict[Any, Row]:
    """Map rows by the grain of their table, which no two may share."""
    grain = catalog.tables()[name].grain
    keys = [row[grain[0]] if len(grain) == 1 else tuple(row[c] for c in grain) for row in rows]
    assert len(set(keys)) == len(keys), f"{name}: {grain} repeats in {keys}"
    return dict(zip(keys, rows, strict=True))


def freshness(**rules: tuple[bool, int]) -> dict[str, Freshness]:
    """Return freshness rules: source = (required, max_silence_s)."""
    return {
        name: Freshness(required=required, max_silence_s=limit)
        for name, (required, limit) in rules.items()
    }
