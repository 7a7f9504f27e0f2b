"""Compute every feature table as of a time, from named versions of the lake, into one database.

Put here: setting up what the SQL reads, running tables and checks in order. Keep out: publication
(snapshot.py) and what the numbers mean (sql/).
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from features import catalog, params, traces, window_sums
from features.digest import table_digest
from features.durations import DAY_MS, HOUR_MS
from features.engines import duckdb as engine
from features.engines import functions
from features.events import Event, Listener
from features.file_facts import FileFacts
from features.lake import DataFile, Lake, data_files, overlapping
from features.live_lines import live_lines
from features.memory import ALERTS, MEMORY, NOTHING, PREVIOUS, PREVIOUS_ALERTS, Before
from features.proofs import AHEAD_MS, DATED_BY, ORDERS, OUTCOMES, Proofs, Scope, narrow
from features.rebuild import holding_ids, merged
from features.settings import Freshness, Settings
from features.source_lines import source_tables

SNAPSHOT = "snapshot"  # the attached database that becomes features.duckdb
BAR_MS = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": HOUR_MS}
_ATR_BARS = 501  # 500 true ranges need as many closes and one before
_BAR_REACH = 5  # a venue open 6.5 hours on five days has them within so many times their length


@dataclass(frozen=True)
class Input:
    """One table version that a build reads, and what identifies its content."""

    table: str
    version: int
    rows: int
    digest: str  # of the content; a compaction does not change it
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that decides a build's rows: equal plans give equal tables."""

    as_of_ms: int
    environment: str
    window_days: int
    symbol_key: str
    equity_usd: float | None
    atr_bar_interval: str
    freshness: Mapping[str, Freshness]
    params: Mapping[str, params.Value]
    inputs: Mapping[str, Input]
    code: str
    before: Before = NOTHING

    @property
    def window_ms(self) -> int:
        return self.window_days * DAY_MS

    @property
    def bars_from_ms(self) -> int:
        """Return the opening of the oldest bar that counts; the week spans holidays."""
        bars_ms = _ATR_BARS * BAR_MS[self.atr_bar_interval]
        if self.params["target_daily_vol"]:
            hours = int(self.params["vol_min_returns"]) + 1  # type: ignore[arg-type]
            bars_ms = max(bars_ms, hours * BAR_MS["1h"])
        return self.as_of_ms - _BAR_REACH * bars_ms - 7 * DAY_MS

    @property
    def identity(self) -> str:
        """Return eight hex digits over as-of, inputs, code and parameters."""
        parts = {
            "as_of_ms": self.as_of_ms,
            "inputs": {
                name: [i.rows, i.digest]
                for name, i in self.inputs.items()
                if name.startswith("raw_")
            },
            "code": self.code,
            "params": self.parameters(),
            "before": [self.before.state, self.before.digest, self.before.alerts_digest],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]

    def parameters(self) -> dict[str, Any]:
        """Return every value that a person may have changed."""
        return {
            **self.params,
            "environment": self.environment,
            "window_days": self.window_days,
            "symbol_key": self.symbol_key,
            "equity_usd": self.equity_usd,
            "atr_bar_interval": self.atr_bar_interval,
            **{
                f"freshness.{name}.{key}": value
                for name, rule in sorted(self.freshness.items())
                for key, value in rule.model_dump().items()
            },
        }


@dataclass(frozen=True)
class CheckResult:
    """How one check ended: its severity, cause, number of offending rows and the first of them."""

    name: str
    severity: str
    cause: str
    rows: int
    examples: tuple[str, ...] = ()

    @property
    def is_failed(self) -> bool:
        return self.rows > 0 and self.severity == "fail"

    @property
    def is_held(self) -> bool:
        """Tell whether a person must look before publication."""
        return self.rows > 0 and self.severity == "hold"


@dataclass
class Built:
    """What a build produced, by table, and what its checks found."""

    rows: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    checks: list[CheckResult] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> list[CheckResult]:
        return [check for check in self.checks if check.is_failed]

    @property
    def held(self) -> list[CheckResult]:
        return [check for check in self.checks if check.is_held]


@cache
def code_version() -> str:
    """Return the release and a digest over every file that decides a number."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(here.rglob("*")):
        if path.suffix in (".py", ".sql", ".toml") and path.is_file():
            digest.update(f"{path.relative_to(here)}\n".encode() + path.read_bytes())
    return f"{version('execintel')}+{digest.hexdigest()[:12]}"


def plan_build(
    lake: Lake,
    settings: Settings,
    raw_tables: tuple[str, ...],
    as_of_ms: int,
    versions: Mapping[str, int] | None = None,
    before: Before = NOTHING,
) -> Plan:
    """Fix what a build reads: the newest versions of raw and core tables, or the named ones.

    ``before`` is what the snapshot published before it remembers.

    Raises ParameterError for a parameter, or a source in [freshness], that does not exist.
    """
    strangers = sorted(set(settings.freshness) - set(raw_tables))
    if strangers and versions is None:  # a misspelt source would never be missed
        raise params.ParameterError(
            f"[freshness.{strangers[0]}]: no such source; there are {', '.join(raw_tables)}"
        )
    core = [t.name for t in catalog.stored()]
    inputs = {}
    for name in [*raw_tables, *core]:
        if versions is not None and name not in versions:
            continue
        if not lake.exists(name):
            continue
        inputs[name] = read_input(name, lake.open(name, (versions or {}).get(name)))
    return Plan(
        as_of_ms=as_of_ms,
        environment=settings.environment,
        window_days=settings.window_days,
        symbol_key=settings.symbol_key,
        equity_usd=settings.equity_usd,
        atr_bar_interval=settings.atr_bar_interval,
        freshness={name: settings.freshness.get(name, Freshness()) for name in raw_tables},
        params=params.load(settings.params),
        inputs=inputs,
        code=code_version(),
        before=before,
    )


def read_input(name: str, table: DeltaTable) -> Input:
    """Describe an opened table version; its content digest is the intake's running total."""
    files = tuple(data_files(table))
    total = table.transaction_version("intake:digest")
    return Input(
        table=name,
        version=table.version(),
        rows=sum(file.rows for file in files),
        digest="" if total is None else f"{total:016x}",
        files=files,
    )


def open_database(
    path: Path, settings: Settings, spill: Path | None = None
) -> duckdb.DuckDBPyConnection:
    """Open a connection with an empty features.duckdb attached at ``path``."""
    con = engine.connect(
        memory_limit_mb=settings.memory_limit_mb, threads=settings.threads, spill=spill
    )
    attach(con, path)
    return con


def attach(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Attach an empty features.duckdb at ``path``."""
    con.execute(f"ATTACH {engine.literal(str(path))} AS {SNAPSHOT} (BLOCK_SIZE 16384)")


def run_tables(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    plan: Plan,
    names: set[str] | None = None,
    listen: Listener = lambda event: None,
    facts: FileFacts | None = None,
) -> Built:
    """Compute the feature tables, or those in ``names`` and what they read, and their digests."""
    built = Built()
    importing = functions.import_early()
    set_up(con, lake, plan, facts)
    _keep_before(con, plan)
    built.left_out = _left_out(con, plan)
    importing.join()
    values = bound_values(plan)
    chosen = None if names is None else catalog.with_inputs(names)
    wanted = [t for t in catalog.computed() if chosen is None or t.name in chosen]
    listen(Event("build.started", total=len(wanted)))
    for table in wanted:
        listen(Event("build.table", table=table.name))
        target = f"{SNAPSHOT}.main.{table.name}"
        bound = engine.bind(table.sql, table.params, values)
        ((rows_n,),) = engine.run(
            con, f"CREATE OR REPLACE TABLE {target} AS {table.sql}", bound
        ).fetchall()
        con.execute(f"CREATE OR REPLACE TEMP VIEW {table.name} AS FROM {target}")
        built.rows[table.name] = rows_n
        built.digests[table.name] = table_digest(con, table.name, table.grain)
        listen(Event("build.table_done", table=table.name, done=1))
    with _many_short(con):
        for table in wanted:
            comment(con, f"{SNAPSHOT}.main.{table.name}", "TABLE", table.comment, table.columns)
    return built


@contextmanager
def _many_short(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run hundreds of short statements: one wait for the disk, and nothing spent on planning."""
    con.execute("PRAGMA disable_optimizer")
    con.begin()
    try:
        yield
    except BaseException:
        con.rollback()
        raise
    else:
        con.commit()
    finally:
        con.execute("PRAGMA enable_optimizer")


def run_checks(
    con: duckdb.DuckDBPyConnection, lake: Lake, plan: Plan, proofs: Proofs | None = None
) -> list[CheckResult]:
    """Run every check on the tables that stand on this connection.

    With ``proofs``, checks that narrow look only at what changed since all of them passed.
    """
    scope = _scope(con, plan)
    changes = None if proofs is None else proofs.changes(scope)
    if changes is None:
        _window_views(con, lake, plan, set(plan.inputs) - _read_by_tables())
    else:
        window_sums.create_views(con, bound_values(plan), [OUTCOMES])  # of the rows that narrow
    results = []
    for check in sorted(catalog.checks().values(), key=lambda check: check.narrows):
        if changes is not None and check.narrows:
            narrow(con, lake, scope, changes, check.narrows)
        results.append(_run_check(con, check, bound_values(plan)))
    if changes is not None:
        _window_views(con, lake, plan, _read_by_tables() & set(DATED_BY))
        _hourly_view(con)
    if proofs is not None and not any(result.is_failed for result in results):
        proofs.save(scope)
    return sorted(results, key=lambda result: result.name)


def _run_check(
    con: duckdb.DuckDBPyConnection, check: catalog.Check, values: Mapping[str, Any]
) -> CheckResult:
    found = engine.run(con, check.sql, engine.bind(check.sql, check.params, values))
    names = [column[0] for column in found.description or ()]
    rows = found.fetchall()
    examples = tuple(
        ", ".join(f"{name}={value}" for name, value in zip(names, row, strict=True))
        for row in rows[:5]
    )
    return CheckResult(check.name, check.severity, check.cause, len(rows), examples)


def _scope(con: duckdb.DuckDBPyConnection, plan: Plan) -> Scope:
    """Say what the checks of this build are about."""
    decides = [plan.code, plan.environment, plan.symbol_key, plan.params]
    cut = con.execute("SELECT hour_ms FROM rebuild_hours ORDER BY hour_ms").fetchall()
    return Scope(
        key=hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest(),
        since_ms=plan.as_of_ms - plan.window_ms,
        as_of_ms=plan.as_of_ms,
        cut_hours=tuple(hour for (hour,) in cut),
        files={name: plan.inputs[name].files for name in DATED_BY},
    )


def bound_values(plan: Plan) -> dict[str, Any]:
    """Return every value that SQL may name."""
    return {
        **plan.params,
        "as_of_ms": plan.as_of_ms,
        "window_ms": plan.window_ms,
        "is_whole": False,
        "environment": plan.environment,
        "symbol_key": plan.symbol_key,
        "equity_usd": plan.equity_usd,
        "bar_interval": plan.atr_bar_interval,
        "bar_ms": BAR_MS[plan.atr_bar_interval],
        "bars_from_ms": plan.bars_from_ms,
        "before_state": plan.before.state,
    }


def set_up(
    con: duckdb.DuckDBPyConnection, lake: Lake, plan: Plan, facts: FileFacts | None = None
) -> None:
    """Create everything that feature tables and checks read beside each other."""
    cut = _cut_inputs(plan)
    _window_views(con, lake, plan, _read_by_tables() - cut)
    stored = {name: lake.open(name, source.version) for name, source in plan.inputs.items()}
    source_tables(
        con,
        plan.freshness,
        {name: table for name, table in stored.items() if name.startswith("raw_")},
        plan.as_of_ms,
        plan.as_of_ms - plan.window_ms,
        facts,
    )
    param_knots(con, plan)
    previous_memory(con, plan)
    values = bound_values(plan)
    _cut_views(con, lake, plan, _cut_hours(con, plan), facts)
    _edge_hours(con, plan, values)
    _window_views(con, lake, plan, _read_by_tables() & cut)
    window_sums.create_views(con, values)
    window_sums.create_tables(con, values, stored, facts)
    text = engine.inline(catalog.tables()["core_window__hourly"].sql, values)
    con.execute(f"CREATE OR REPLACE TEMP TABLE window_hours AS {text}")
    _hourly_view(con)
    outcomes = "core_execution__outcomes"
    if traces.are_sampled(con) and outcomes in stored:  # accuracy is of all history
        engine.create_view(con, outcomes, stored[outcomes], files=plan.inputs[outcomes].files)
        traces.set_up(con, values)
        _window_views(con, lake, plan, {outcomes})
    else:
        traces.set_up(con, values)


def _hourly_view(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE OR REPLACE TEMP VIEW core_window__hourly AS FROM window_hours")


def _read_by_tables() -> set[str]:
    """Return what tables and checks read, less what only the narrowing checks do.

    Creating a view opens each of its files: one that nobody asks for costs seconds.
    """
    stored = {"core_execution__outcomes", "core_execution__hourly"}  # rebuild.py sets theirs up
    tables = [table for table in catalog.tables().values() if table.name not in stored]
    checks = [check for check in catalog.checks().values() if not check.narrows]
    return stored.union(*(table.inputs for table in tables), *(check.inputs for check in checks))


def _window_views(
    con: duckdb.DuckDBPyConnection, lake: Lake, plan: Plan, names: Collection[str]
) -> None:
    """Create a view over the rows that the window may need of each of these inputs."""
    for name, source in plan.inputs.items():
        if name not in names:
            continue
        table = lake.open(name, source.version)
        # Closes of one attempt lie up to a day before it and a day behind it.
        reach_ms = 2 * DAY_MS if name == ORDERS else DAY_MS
        is_bars = name == "raw_market__bars"
        first_ms = plan.bars_from_ms if is_bars else plan.as_of_ms - plan.window_ms - reach_ms
        # Rejected NAV values and the accuracy of traces are of all history: both are read whole.
        files = source.files
        if name not in ("raw_orders__attempts", traces.RAW, *traces.STORED):
            files = tuple(
                overlapping(
                    files,
                    "hour_ms" if name.endswith("__hourly") else "event_ms",
                    [(first_ms, plan.as_of_ms + reach_ms + AHEAD_MS)],
                )
            )
        engine.create_view(con, name, table, files=files)


def _cut_inputs(plan: Plan) -> set[str]:
    """Name the stored tables that sums of hours read."""
    return set(catalog.tables()["core_execution__hourly"].inputs) & set(plan.inputs)


def _cut_views(
    con: duckdb.DuckDBPyConnection,
    lake: Lake,
    plan: Plan,
    hours: Iterable[int],
    facts: FileFacts | None,
) -> None:
    """Narrow the views to what sums of these hours read: a day around, of outcomes themselves."""
    own_ms = merged([(hour, hour + HOUR_MS) for hour in hours])
    day_ms = merged([(hour - DAY_MS, hour + HOUR_MS + DAY_MS) for hour in hours])
    read = _cut_inputs(plan)
    tables = {name: lake.open(name, plan.inputs[name].version) for name in read}
    files = {name: plan.inputs[name].files for name in read if name.startswith("raw_")}
    own = {name: overlapping(files[name], "event_ms", own_ms) for name in files}
    kept = {file.path for of_table in own.values() for file in of_table}  # lines without an id too
    for days in day_ms:  # no id of one reaches into another
        inner = {name: overlapping(own[name], "event_ms", [days]) for name in files}
        near = {name: overlapping(files[name], "event_ms", [days]) for name in files}
        kin = holding_ids(con, facts, tables, inner, near)
        kept |= {file.path for of_table in kin.values() for file in of_table}
    for name, table in tables.items():
        ranges = day_ms if name in files else own_ms
        chosen = plan.inputs[name].files
        if name in files:
            chosen = tuple(file for file in chosen if file.path in kept)
        engine.create_view(con, name, table, files=chosen, ranges=ranges, cut=True)


def _cut_hours(con: duckdb.DuckDBPyConnection, plan: Plan) -> list[int]:
    """Return the hours that the window cuts, or whose closes came after as-of."""
    first_ms, end_ms = plan.as_of_ms - plan.window_ms + 1, plan.as_of_ms + 1
    late = con.execute(
        "SELECT DISTINCT hour_ms FROM core_execution__hourly"
        " WHERE max_close_ms > $as_of_ms AND hour_ms >= $first_ms - 3600000 AND hour_ms < $end_ms",
        {"as_of_ms": plan.as_of_ms, "first_ms": first_ms, "end_ms": end_ms},
    ).fetchall()
    hours = {hour for (hour,) in late}
    for cut in (first_ms, end_ms):
        if cut % HOUR_MS:
            hours.add(cut // HOUR_MS * HOUR_MS)
    return sorted(hours)


def _edge_hours(con: duckdb.DuckDBPyConnection, plan: Plan, values: Mapping[str, Any]) -> None:
    """Sum the hours that the window does not hold whole from their outcomes."""
    first_ms, end_ms = plan.as_of_ms - plan.window_ms + 1, plan.as_of_ms + 1
    hours = _cut_hours(con, plan)
    engine.create_table(con, "rebuild_hours", pa.table({"hour_ms": pa.array(hours, pa.int64())}))
    hourly = catalog.tables()["core_execution__hourly"]
    cut_values = {**values, "from_ms": first_ms, "to_ms": end_ms, "known_ms": plan.as_of_ms}
    engine.run(
        con,
        f"CREATE OR REPLACE TEMP TABLE edge_hours AS {hourly.sql}",
        engine.bind(hourly.sql, hourly.params, cut_values),
    )


def param_knots(con: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Create param_knots: a row for every point of a parameter that is a line of points."""
    schema = {"param": pa.string(), "x": pa.float64(), "y": pa.float64()}
    points = [dict(zip(schema, point, strict=True)) for point in params.knots(plan.params)]
    engine.create_table(con, "param_knots", pa.Table.from_pylist(points, pa.schema(schema)))


def previous_memory(con: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Create previous_memory and previous_alerts: what the snapshot before remembers."""
    engine.create_table(con, PREVIOUS, plan.before.rows)
    engine.create_table(con, PREVIOUS_ALERTS, plan.before.alerts)


def _keep_before(con: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Keep that memory in the snapshot: it must outlast the snapshot it came from."""
    with _many_short(con):
        for name, copy in ((MEMORY, PREVIOUS), (ALERTS, PREVIOUS_ALERTS)):
            table = catalog.tables()[name]
            kept = f"{SNAPSHOT}.main.{copy}"
            order = ", ".join(table.grain)
            con.execute(f"CREATE OR REPLACE TABLE {kept} AS FROM {copy} ORDER BY {order}")
            words = f"What this build read of the snapshot published before it. {table.comment}"
            there = set(con.table(kept).columns)
            columns = {n: text for n, text in table.columns.items() if n in there}
            comment(con, kept, "TABLE", words, columns)


def _left_out(con: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, int]:
    """Count outcomes of the window by environment that this snapshot is not about."""
    rows = con.execute(
        "SELECT environment, COUNT(*) FROM core_execution__outcomes"
        " WHERE event_ms > $since AND event_ms <= $as_of AND environment <> $environment"
        " GROUP BY environment ORDER BY environment",
        {
            "since": plan.as_of_ms - plan.window_ms,
            "as_of": plan.as_of_ms,
            "environment": plan.environment,
        },
    ).fetchall()
    return dict(rows)


def write_lake_views(con: duckdb.DuckDBPyConnection, lake: Lake, plan: Plan) -> None:
    """Create in the snapshot a view over the exact Parquet files of every input."""
    filled: set[str] = set()  # tables of which no file holds a column that a release brought
    while (lacking := _try_lake_views(con, lake, plan, filled)) is not None:
        filled.add(lacking)


def _try_lake_views(
    con: duckdb.DuckDBPyConnection, lake: Lake, plan: Plan, filled: Collection[str]
) -> str | None:
    """Create all views or none; returns the table whose files lack a column, for another try."""
    name = ""
    try:
        with _many_short(con):
            for name, source in plan.inputs.items():
                table = lake.open(name, source.version)
                schema = pa.schema(table.schema().to_arrow())
                target = f"{SNAPSHOT}.main.{name}"
                paths = [file.path for file in source.files]
                scan = engine.scan(schema, paths, fill=name in filled)
                con.execute(f"CREATE OR REPLACE VIEW {target} AS {scan}")
                comments = {
                    f.name: (f.metadata or {}).get(b"comment", b"").decode()
                    for f in schema
                    if f.name not in engine.PARTITIONS
                }
                comment(con, target, "VIEW", table.metadata().description or name, comments)
    except duckdb.BinderException:
        if name in filled:
            raise
        return name
    return None


def live_jsonl(con: duckdb.DuckDBPyConnection, plan: Plan, snapshot_id: str, account: str) -> bytes:
    """Return what engines read of the tables that stand on this connection."""
    header = {
        "snapshot_id": snapshot_id,
        "as_of_ms": plan.as_of_ms,
        "window_days": plan.window_days,
        "environment": plan.environment,
        "account": account,
        "symbol_key": plan.symbol_key,
    }
    return live_lines(con, f"{SNAPSHOT}.main", header, int(plan.params["live_min_n"]))  # type: ignore[arg-type]


def comment(
    con: duckdb.DuckDBPyConnection, name: str, kind: str, text: str, columns: Mapping[str, str]
) -> None:
    """Attach a comment to a table or view and to its columns."""
    statements = [f"COMMENT ON {kind} {name} IS {engine.literal(text)}"]
    statements += [
        f"COMMENT ON COLUMN {name}.{engine.identifier(column)} IS {engine.literal(words)}"
        for column, words in columns.items()
    ]
    for statement in statements:
        engine.run(con, statement)
