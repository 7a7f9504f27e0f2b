"""Keep the core tables true to the raw tables: rebuild only the hours that new rows touch.

Put here: which partitions are touched, and replacing them. Keep out: what a row means (sql/).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from features import catalog, traces
from features.durations import DAY_MS, FOREVER_MS, HOUR_MS
from features.engines import duckdb as engine
from features.events import Event, Listener
from features.file_facts import Fact, FileFacts, union
from features.lake import (
    DataFile,
    Lake,
    consumed_seqs,
    data_files,
    fitted,
    has_columns,
    marks_of,
    newest_seq,
    overlapping,
    utc_day,
)
from features.params import Value

REACH_MS = 72 * HOUR_MS  # how far an outcome looks around itself: three joins of one day each
DAY_ROWS_LIMIT = 50_000  # a fuller day is kept in partitions of an hour: 24 times less to rewrite
BATCH_ROWS = 150_000  # rebuilt in one commit: bounds memory
MANY_BATCHES = 3  # with more, the hours that ids reach over are found for all of them at once
AHEAD_ROWS = 1_000_000  # raw rows of the hours of new lines: of so many kin are found at once

INPUTS = (
    "raw_router__events",
    "raw_orders__events",
    "raw_orders__attempts",
    "raw_risk__vetoes",
)


@dataclass
class CoreReport:
    """What a rebuild did: partitions and rows written, by table."""

    partitions: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)


@dataclass
class _Raw:
    """The raw tables that a run rebuilds from, and what it found out about them once."""

    tables: Mapping[str, DeltaTable]
    newest: Mapping[str, int]  # ingest_seq by table
    facts: FileFacts | None = None
    touched: dict[tuple[int, ...], set[int]] = field(default_factory=dict)
    all_hours: set[int] | None = None  # of accepted lines, where a run has looked
    related: dict[frozenset[int], dict[str, set[int]]] = field(default_factory=dict)
    viewed: frozenset[int] = frozenset()  # the hours that views stand for
    spans: list[tuple[int, int]] = field(default_factory=list)  # first and last hour of ids
    spanned: frozenset[int] = frozenset()  # the hours that spans are known for


def definition_of(table: catalog.Table, params: Mapping[str, Value]) -> str:
    """Digest what decides a table's rows beside its inputs: its SQL and the parameters it names."""
    used = {name: params[name] for name in table.params if name in params}
    upstream = [
        definition_of(catalog.tables()[name], params)
        for name in table.inputs
        if name in catalog.tables()
    ]
    text = json.dumps([table.sql, used, upstream], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def rebuild(
    lake: Lake,
    con: duckdb.DuckDBPyConnection,
    params: Mapping[str, Value],
    *,
    window_ms: tuple[int, int],
    window_only: bool = False,
    facts: FileFacts | None = None,
    listen: Listener = lambda event: None,
) -> CoreReport:
    """Bring every core table up to the raw tables; the caller holds the writer lock.

    Partitions inside ``window_ms`` (half-open) that another definition built are rebuilt too.
    ``window_only`` leaves out hours outside it: for a lake that nothing else reads. ``facts``
    remembers what large raw files hold; without it they are read again.
    """
    report = CoreReport()
    tables = {name: lake.open(name) for name in INPUTS}
    newest = {name: newest_seq(data_files(table)) for name, table in tables.items()}
    raw = _Raw(tables, newest, facts)
    for table in catalog.stored():
        if table.name in traces.STORED:
            continue
        _rebuild_table(lake, con, table, params, raw, window_ms, window_only, report, listen)
    definitions = {name: definition_of(catalog.tables()[name], params) for name in traces.STORED}
    for name, (months, rows) in traces.rebuild(lake, con, params, definitions, listen).items():
        report.partitions[name], report.rows[name] = months, rows
    return report


def _with_part(table: catalog.Table) -> str:
    time = "event_ms" if "event_ms" in table.grain else "hour_ms"
    return (
        f"SELECT t.*, h.part, $definition AS definition FROM (\n{table.sql}\n) AS t"
        f" INNER JOIN rebuild_hours AS h ON h.hour_ms = t.{time} // {HOUR_MS} * {HOUR_MS}"
        f" ORDER BY t.{time}, t.symbol"
    )


def _bound(table: catalog.Table, params: Mapping[str, Value]) -> dict[str, object]:
    values: dict[str, object] = {
        "from_ms": -FOREVER_MS,
        "to_ms": FOREVER_MS,
        "known_ms": FOREVER_MS,
        **params,
    }
    return {name: values[name] for name in table.params} | {
        "definition": definition_of(table, params)
    }


def _rebuild_table(
    lake: Lake,
    con: duckdb.DuckDBPyConnection,
    table: catalog.Table,
    params: Mapping[str, Value],
    raw: _Raw,
    window_ms: tuple[int, int],
    window_only: bool,
    report: CoreReport,
    listen: Listener,
) -> None:
    target = lake.open(table.name) if lake.exists(table.name) else None
    consumed, is_anew = consumed_seqs(target, raw.tables, raw.newest)
    files = [] if target is None else data_files(target)
    definition = definition_of(table, params)
    hours = _touched_hours(con, raw, consumed) if consumed != raw.newest else set()
    parts = {(f.partition["part"] or "", f.partition["definition"]) for f in files}
    for part, built_by in parts:
        if is_anew or (built_by != definition and _part_range(part, window_ms)):
            hours |= set(_part_hours(part))
    if window_only:
        hours = {hour for hour in hours if window_ms[0] <= hour < window_ms[1]}
    is_whole = target is not None and has_columns(target, table.columns)  # as the SQL has them
    if not hours and consumed == raw.newest and is_whole:
        return
    # A new definition may bring new columns, and other words for those there are.
    is_new = not is_whole or all(built_by != definition for _, built_by in parts)
    plan = _plan(hours, files, _rows_by_day(raw.tables))
    batches = _batches(plan) or [_Work()]
    listen(Event("core.planned", table=table.name, total=len(batches)))
    if len(batches) > MANY_BATCHES:
        _find_spans(con, raw, frozenset(hour for batch in batches for hour in batch.hours))
    for number, batch in enumerate(batches, start=1):
        is_last = number == len(batches)
        marks = marks_of(raw.tables, raw.newest) if is_last else {}
        _views(lake, con, table, raw, batch.hours)
        bound = _bound(table, params)
        rows = engine.to_arrow(con, _with_part(table), bound, about_n=batch.rows)
        if target is None or (is_new and number == 1):
            target = traces.create_stored(lake, table.name, rows.schema)
        listen(Event("core.before_commit", table=table.name))
        lake.replace(target, fitted(rows, target), batch.replaced, marks)
        listen(Event("core.committed", table=table.name, done=1))
        written = len(set(batch.hours.values()))
        report.partitions[table.name] = report.partitions.get(table.name, 0) + written
        report.rows[table.name] = report.rows.get(table.name, 0) + rows.num_rows


def _touched_hours(
    con: duckdb.DuckDBPyConnection, raw: _Raw, consumed: Mapping[str, int]
) -> set[int]:
    """Return the hours whose core rows new raw rows may change.

    These are the hours of the new rows, those of every row within REACH_MS that shares an attempt
    with one, and those between a new hour of orders_executed and its neighbours, where an
    attempt's confirmation changes from unknowable to known.
    """
    known = tuple(consumed[name] for name in INPUTS)
    if known in raw.touched:
        return set(raw.touched[known])
    new: dict[str, list[DataFile]] = {}
    for name, table in raw.tables.items():
        files = data_files(table)
        new[name] = [f for f in files if (f.maximum.get("ingest_seq") or 0) > consumed[name]]
        engine.create_view(con, f"new_{name}", table, files=new[name])
    hours = _hours_of([file for files in new.values() for file in files])
    reach = merged((low - REACH_MS, high + REACH_MS) for low, high in hours)
    raw.viewed = frozenset()
    if not any(consumed.values()):  # everything is new
        for name, table in raw.tables.items():
            engine.create_view(con, name, table, ranges=reach)
        rows = engine.run(con, _ALL_HOURS).fetchall()
        raw.touched[known] = raw.all_hours = {hour for (hour,) in rows}
        return set(raw.touched[known])
    # The hours to rebuild ask the same of all their files next; a merged day's are too many.
    within = _files_within(raw, hours)
    is_few = sum(file.rows for files in within.values() for file in files) <= AHEAD_ROWS
    _views_of_kin(con, raw, within if is_few else new, reach)
    spoken = _hours_of(new["raw_orders__events"])
    near = merged((low - DAY_MS - HOUR_MS, high + DAY_MS + HOUR_MS) for low, high in spoken)
    for name in ("raw_orders__events", "raw_router__events"):
        engine.create_view(con, f"near_{name}", raw.tables[name], ranges=near)
    values = {f"{name}_seq": consumed[name] for name in INPUTS}
    rows = engine.run(con, _TOUCHED, values).fetchall()
    raw.touched[known] = {hour for (hour,) in rows}
    return set(raw.touched[known])


def _hours_of(files: Iterable[DataFile]) -> list[tuple[int, int]]:
    """Return the half-open ranges of event_ms of the whole hours that these files have rows in."""
    return merged(
        (
            file.minimum["event_ms"] // HOUR_MS * HOUR_MS,
            file.maximum["event_ms"] // HOUR_MS * HOUR_MS + HOUR_MS,
        )
        for file in files
        if file.minimum.get("event_ms") is not None
    )


# What the lines of a raw file may be joined by, as hashes: two ids that share one only make a file
# be read in vain.
_IDS = Fact(
    "ids",
    "SELECT DISTINCT CAST(hash(attempt_id) >> 1 AS BIGINT) AS id FROM file_rows"
    " WHERE reject_reason IS NULL AND attempt_id <> ''",
)
_ORDER_IDS = Fact(
    "order_ids",
    "SELECT DISTINCT CAST(hash(COALESCE(NULLIF(attempt_id, ''), 'order:' || order_id)) >> 1"
    " AS BIGINT) AS id FROM file_rows WHERE reject_reason IS NULL",
)


def _views_of_kin(
    con: duckdb.DuckDBPyConnection,
    raw: _Raw,
    own: Mapping[str, list[DataFile]],
    ranges: list[tuple[int, int]],
) -> None:
    """Create views over the raw files in ``ranges`` that hold an id of the files ``own``, or more.

    Most ids of a refresh are new: of the many files that may hold one, few do.
    """
    kin = holding_ids(con, raw.facts, raw.tables, own, _files_within(raw, ranges))
    for name, table in raw.tables.items():
        engine.create_view(con, name, table, files=kin[name])


def holding_ids(
    con: duckdb.DuckDBPyConnection,
    facts: FileFacts | None,
    tables: Mapping[str, DeltaTable],
    own: Mapping[str, list[DataFile]],
    among: Mapping[str, list[DataFile]],
) -> dict[str, list[DataFile]]:
    """Return the raw files of ``among`` that hold an id of the files ``own``, or more of them."""
    if facts is None or not facts.is_worth(file for files in among.values() for file in files):
        return dict(among)
    paths: dict[str, list[str]] = {}
    wanted = []
    for name in among:
        schema = pa.schema(tables[name].schema().to_arrow())
        fact = _ORDER_IDS if name == "raw_orders__events" else _IDS
        wanted += facts.of(con, fact, schema, own[name])
        paths[name] = facts.of(con, fact, schema, among[name])
    holding = _sharing(
        con, facts, wanted, [path for of_table in paths.values() for path in of_table]
    )
    return {
        name: [f for path, f in zip(paths[name], among[name], strict=True) if path in holding]
        for name in among  # in their order: the largest first
    }


def _sharing(
    con: duckdb.DuckDBPyConnection, facts: FileFacts, own: Sequence[str], among: Sequence[str]
) -> set[str]:
    """Return the facts of ids in ``among`` that share one with ``own``: a run compares two once."""
    asked: dict[frozenset[str], list[str]] = {}
    for path in own:
        unknown = frozenset(among).difference(facts.compared.setdefault(path, {}))
        if unknown:
            asked.setdefault(unknown, []).append(path)
    for others, paths in asked.items():
        rows = con.execute(
            "SELECT DISTINCT o.filename, a.filename"
            f" FROM ({union(sorted(others), 'id, filename')}) AS a"
            f" INNER JOIN ({union(paths, 'id, filename')}) AS o USING (id)"
        ).fetchall()
        shared = set(rows)
        for path in paths:
            facts.compared[path] |= {other: (path, other) in shared for other in others}
    return {other for other in among if any(facts.compared[path][other] for path in own)}


_ALL_HOURS = " UNION ".join(
    f"SELECT event_ms // 3600000 * 3600000 AS hour_ms FROM {name} WHERE reject_reason IS NULL"
    for name in INPUTS
)

_TOUCHED = """
WITH fresh AS (
    SELECT attempt_id, event_ms
    FROM new_raw_router__events
    WHERE ingest_seq > $raw_router__events_seq AND reject_reason IS NULL
    UNION ALL
    SELECT COALESCE(NULLIF(attempt_id, ''), 'order:' || order_id), event_ms
    FROM new_raw_orders__events
    WHERE ingest_seq > $raw_orders__events_seq AND reject_reason IS NULL
    UNION ALL
    SELECT attempt_id, event_ms
    FROM new_raw_orders__attempts
    WHERE ingest_seq > $raw_orders__attempts_seq AND reject_reason IS NULL
    UNION ALL
    SELECT attempt_id, event_ms
    FROM new_raw_risk__vetoes
    WHERE ingest_seq > $raw_risk__vetoes_seq AND reject_reason IS NULL
),
fresh_keys AS (
    SELECT attempt_id, MIN(event_ms) AS first_ms, MAX(event_ms) AS last_ms
    FROM fresh WHERE attempt_id <> '' GROUP BY attempt_id
),
kin AS (
    SELECT attempt_id, event_ms FROM raw_router__events WHERE reject_reason IS NULL
    UNION ALL
    SELECT COALESCE(NULLIF(attempt_id, ''), 'order:' || order_id), event_ms FROM raw_orders__events
    WHERE reject_reason IS NULL AND event_type = 'order_close'
    UNION ALL
    SELECT attempt_id, event_ms FROM raw_orders__attempts WHERE reject_reason IS NULL
),
-- Hours in which orders_executed spoke before, and those in which only new rows do.
spoken AS (
    SELECT account, environment, event_ms // 3600000 AS hour_n,
        MIN(ingest_seq) > $raw_orders__events_seq AS is_new,
    FROM near_raw_orders__events WHERE reject_reason IS NULL GROUP BY ALL
),
neighbours AS (
    SELECT hour_n, is_new,
        MAX(CASE WHEN NOT is_new THEN hour_n END) OVER (
            PARTITION BY account, environment ORDER BY hour_n
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_n,
        MIN(CASE WHEN NOT is_new THEN hour_n END) OVER (
            PARTITION BY account, environment ORDER BY hour_n
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS after_n,
    FROM spoken
),
uncovered AS (
    SELECT DISTINCT unnest(range(
        GREATEST(COALESCE(before_n, hour_n - 24), hour_n - 24),
        LEAST(COALESCE(after_n, hour_n + 24), hour_n + 24) + 1)) AS hour_n
    FROM neighbours WHERE is_new
)
SELECT DISTINCT event_ms // 3600000 * 3600000 AS hour_ms FROM fresh
UNION
SELECT DISTINCT k.event_ms // 3600000 * 3600000
FROM kin AS k
INNER JOIN fresh_keys AS f
    ON f.attempt_id = k.attempt_id
   AND k.event_ms BETWEEN f.first_ms - 259200000 AND f.last_ms + 259200000
UNION
SELECT DISTINCT r.event_ms // 3600000 * 3600000
FROM near_raw_router__events AS r
INNER JOIN uncovered AS u ON u.hour_n = r.event_ms // 3600000
WHERE r.reject_reason IS NULL
"""


def _rows_by_day(raw: Mapping[str, DeltaTable]) -> dict[str, int]:
    """Count router lines by UTC day from Delta's statistics: raw partitions are days."""
    rows: dict[str, int] = {}
    for file in data_files(raw["raw_router__events"]):
        day = file.partition["part"] or ""
        rows[day] = rows.get(day, 0) + file.rows
    return rows


@dataclass
class _Work:
    """Partitions to replace in one commit: their hours, and partitions they take the place of."""

    hours: dict[int, str] = field(default_factory=dict)  # hour (epoch ms) → partition
    replaced: set[str] = field(default_factory=set)
    rows: float = 0.0

    def add(self, other: "_Work") -> None:
        self.hours |= other.hours
        self.replaced |= other.replaced
        self.rows += other.rows


def _plan(hours: set[int], files: list[DataFile], rows_by_day: Mapping[str, int]) -> list[_Work]:
    """Turn hours into the least pieces of work that may be committed alone, in time order.

    A day that outgrew its partition is one piece: its hours appear as the day disappears.
    """
    parts = {file.partition["part"] or "" for file in files}
    hourly_days = {part[:10] for part in parts if len(part) > 10}
    pieces: dict[str, _Work] = {}
    for hour in sorted(hours):
        day = utc_day(hour)
        rows = rows_by_day.get(day, 0)
        if day not in hourly_days and rows <= DAY_ROWS_LIMIT:
            pieces.setdefault(day, _Work(dict.fromkeys(_part_hours(day), day), {day}, rows))
        elif day in parts:
            split = {each: _hour_part(each) for each in _part_hours(day)}
            pieces.setdefault(day, _Work(split, {day, *split.values()}, rows))
        else:
            part = _hour_part(hour)
            pieces.setdefault(part, _Work({hour: part}, {part}, rows / 24))
    return list(pieces.values())


def _batches(plan: Iterable[_Work]) -> list[_Work]:
    """Join pieces of work to commits of about BATCH_ROWS."""
    batches: list[_Work] = []
    for piece in plan:
        if not batches or batches[-1].rows + piece.rows > BATCH_ROWS:
            batches.append(_Work())
        batches[-1].add(piece)
    return batches


def _hour_part(hour_ms: int) -> str:
    return f"{utc_day(hour_ms)}T{hour_ms // HOUR_MS % 24:02d}"


def _part_hours(part: str) -> list[int]:
    """Return the hours (epoch ms) of a partition named by day or by hour."""
    import datetime as dt

    day = dt.datetime.fromisoformat(part[:10]).replace(tzinfo=dt.UTC)
    start = int(day.timestamp()) * 1000
    if len(part) > 10:
        return [start + int(part[11:]) * HOUR_MS]
    return [start + n * HOUR_MS for n in range(24)]


def _part_range(part: str, window_ms: tuple[int, int]) -> bool:
    hours = _part_hours(part)
    return hours[0] < window_ms[1] and hours[-1] + HOUR_MS > window_ms[0]


def _rebuild_hours(con: duckdb.DuckDBPyConnection, hours: Mapping[int, str]) -> None:
    table = pa.table(
        {
            "hour_ms": pa.array(list(hours), pa.int64()),
            "part": pa.array(list(hours.values()), pa.string()),
        }
    )
    engine.create_table(con, "rebuild_hours", table)


def _views(
    lake: Lake,
    con: duckdb.DuckDBPyConnection,
    table: catalog.Table,
    raw: _Raw,
    hours: Mapping[int, str],
) -> None:
    """Set up what a table's SQL reads, limited to what these hours can depend on."""
    _rebuild_hours(con, hours)
    if raw.viewed != frozenset(hours) or not hours:
        related = _related_hours(con, raw, hours)
        ranges = merged([(hour - DAY_MS, hour + HOUR_MS + DAY_MS) for hour in hours])
        orders = raw.tables["raw_orders__events"]
        engine.create_view(con, "raw_orders__events", orders, ranges=ranges)
        con.execute(f"CREATE OR REPLACE TEMP TABLE spoken_hours AS {_SPOKEN}")
        for name, delta in raw.tables.items():
            ranges = merged([(hour, hour + HOUR_MS) for hour in related[name]])
            engine.create_view(con, name, delta, ranges=ranges, cut=True)
        raw.viewed = frozenset(hours)
    if "core_execution__outcomes" in table.inputs:
        ranges = merged([(hour, hour + HOUR_MS) for hour in hours])
        outcomes = lake.open("core_execution__outcomes")
        engine.create_view(con, "core_execution__outcomes", outcomes, ranges=ranges)


def _related_hours(
    con: duckdb.DuckDBPyConnection, raw: _Raw, hours: Iterable[int]
) -> dict[str, set[int]]:
    """Return by raw table the hours of rows within REACH_MS that share an id with these hours."""
    chosen = frozenset(hours)
    if chosen in raw.related:
        return raw.related[chosen]
    found: dict[str, set[int]] = {name: set(chosen) for name in raw.tables}
    if raw.all_hours is not None and raw.all_hours <= chosen:
        return found  # there is nothing beside these
    if not chosen <= raw.spanned:
        own = _files_within(raw, merged([(hour, hour + HOUR_MS) for hour in chosen]))
        _views_of_kin(con, raw, own, _reach(chosen))
        span = {"first_ms": min(chosen, default=0), "end_ms": max(chosen, default=0) + HOUR_MS}
        for source, hour in con.execute(_RELATED, span).fetchall():
            found[source].add(hour)
    for first, last in raw.spans if chosen <= raw.spanned else ():
        if any(first <= hour <= last for hour in chosen):
            for name in found:
                found[name].update(range(first, last + 1, HOUR_MS))
    raw.related[chosen] = found
    return found


def _find_spans(con: duckdb.DuckDBPyConnection, raw: _Raw, hours: frozenset[int]) -> None:
    """Find the spans of hours that ids reach over, in one reading for many pieces of work."""
    if not hours <= raw.spanned:
        raw.viewed = frozenset()
        for name, delta in raw.tables.items():
            engine.create_view(con, name, delta, ranges=_reach(hours))
        raw.spans, raw.spanned = con.execute(_SPANS).fetchall(), hours


def _reach(hours: Iterable[int]) -> list[tuple[int, int]]:
    return merged([(hour - REACH_MS, hour + HOUR_MS + REACH_MS) for hour in hours])


def _files_within(raw: _Raw, ranges: list[tuple[int, int]]) -> dict[str, list[DataFile]]:
    return {
        name: overlapping(data_files(table), "event_ms", ranges)
        for name, table in raw.tables.items()
    }


# Hours in which orders_executed spoke.
_SPOKEN = """
SELECT DISTINCT environment, account, event_ms // 3600000 AS hour_n
FROM raw_orders__events
WHERE reject_reason IS NULL
"""

_LINES = """
WITH lines AS NOT MATERIALIZED (
    SELECT 'raw_router__events' AS source, attempt_id AS id, event_ms
    FROM raw_router__events WHERE reject_reason IS NULL AND attempt_id <> ''
    UNION ALL
    SELECT 'raw_orders__events', attempt_id, event_ms
    FROM raw_orders__events WHERE reject_reason IS NULL AND attempt_id <> ''
    UNION ALL
    SELECT 'raw_orders__events', 'order:' || order_id, event_ms
    FROM raw_orders__events WHERE reject_reason IS NULL AND (attempt_id IS NULL OR attempt_id = '')
    UNION ALL
    SELECT 'raw_orders__attempts', attempt_id, event_ms
    FROM raw_orders__attempts WHERE reject_reason IS NULL AND attempt_id <> ''
    UNION ALL
    SELECT 'raw_risk__vetoes', attempt_id, event_ms
    FROM raw_risk__vetoes WHERE reject_reason IS NULL AND attempt_id <> ''
)
"""

# Hours that hold lines of the attempts and orders in the hours to rebuild. Ids are unique enough
# for this to be few hours, so that all other columns are read from a small part of the raw rows.
_RELATED = f"""{_LINES}
SELECT DISTINCT source, event_ms // 3600000 * 3600000 AS hour_ms
FROM lines
WHERE event_ms IS NOT NULL AND id IN (
    SELECT id FROM lines
    WHERE event_ms >= $first_ms AND event_ms < $end_ms
      AND event_ms // 3600000 * 3600000 IN (SELECT hour_ms FROM rebuild_hours)
)
"""

# Ids are hashed to keep the groups small; two ids that share a hash only widen a span.
_SPANS = f"""{_LINES}
SELECT DISTINCT first_ms // 3600000 * 3600000, last_ms // 3600000 * 3600000
FROM (
    SELECT MIN(event_ms) AS first_ms, MAX(event_ms) AS last_ms
    FROM lines
    WHERE event_ms IS NOT NULL
    GROUP BY hash(id)
)
WHERE first_ms // 3600000 < last_ms // 3600000
"""


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join half-open ranges that touch or overlap."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return joined
