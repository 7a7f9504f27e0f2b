"""What the checks found sound before, so that they look again only at what changed since.

Put here: the memory of lake files that passed, and narrowing what a check reads to the rest. Keep
out: what is sound (checks/). Without a memory that fits, a check reads everything.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from features.durable import replace_file
from features.durations import DAY_MS, HOUR_MS
from features.engines import duckdb as engine
from features.lake import DataFile, Lake
from features.rebuild import merged

OUTCOMES, HOURLY = "core_execution__outcomes", "core_execution__hourly"
ORDERS, ROUTER = "raw_orders__events", "raw_router__events"
# Tables that the narrowing checks read, and the column that dates their rows.
DATED_BY = {OUTCOMES: "event_ms", HOURLY: "hour_ms", ORDERS: "event_ms", ROUTER: "event_ms"}

AHEAD_MS = HOUR_MS  # lines come in while a refresh runs: closes up to here behind as-of are judged


@dataclass(frozen=True)
class Seen:
    """One file as it was when the checks passed: it still is while size and time are those."""

    path: str
    bytes: int
    mtime_ns: int
    low_ms: int | None  # of the column that dates its rows; None where no row has a time
    high_ms: int | None

    @property
    def is_same(self) -> bool:
        return _stamp(self.path) == (self.bytes, self.mtime_ns)


@dataclass(frozen=True)
class Scope:
    """What one run of the checks is about; ``cut_hours`` are those the window holds in part."""

    key: str  # of all that decides a verdict beside files and time
    since_ms: int
    as_of_ms: int
    cut_hours: tuple[int, ...]
    files: Mapping[str, Sequence[DataFile]]


@dataclass(frozen=True)
class Changes:
    """What no check has passed over yet: ranges of whole hours (epoch ms), and files by table."""

    hours: list[tuple[int, int]]
    came: Mapping[str, list[str]]
    went: Mapping[str, list[str]]


class Proofs:
    """The memory: which files every check passed over, and for which window."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def changes(self, scope: Scope) -> Changes | None:
        """Return what changed since every check passed; None where all is to be looked at."""
        known = self._read()
        if (
            known is None
            or known.key != scope.key
            or known.since_ms > scope.since_ms
            or known.as_of_ms > scope.as_of_ms
            or not all(file.is_same for files in known.files.values() for file in files)
        ):
            return None
        return _compared(known, scope)

    def save(self, scope: Scope) -> None:
        """Remember that every check passed over ``scope``."""
        known = {
            "key": scope.key,
            "since_ms": scope.since_ms,
            "as_of_ms": scope.as_of_ms,
            "cut_hours": scope.cut_hours,
            "files": {
                name: [_seen(file, column) for file in scope.files[name]]
                for name, column in DATED_BY.items()
            },
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, json.dumps(known), is_durable=False)

    def _read(self) -> "_Known | None":
        try:
            found = json.loads(self.path.read_text())
            files = {name: [Seen(*file) for file in found["files"][name]] for name in DATED_BY}
            return _Known(**{**found, "files": files})
        except (OSError, ValueError, KeyError, TypeError):
            return None  # never written, torn, or of another release


@dataclass(frozen=True)
class _Known:
    key: str
    since_ms: int
    as_of_ms: int
    cut_hours: list[int]
    files: dict[str, list[Seen]]


def _seen(file: DataFile, column: str) -> list[str | int | None]:
    low, high = file.minimum.get(column), file.maximum.get(column)
    return [file.path, *_stamp(file.path), low, high]


def _stamp(path: str) -> tuple[int, int]:
    try:
        stat = Path(path).stat()
    except OSError:  # gone, or of a data root that was copied and is no longer ours to read
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _compared(known: _Known, scope: Scope) -> Changes | None:
    came: dict[str, list[str]] = {}
    went: dict[str, list[str]] = {}
    # Hours that were cut, or lay behind as-of, were looked at in part.
    hours = [(hour, hour + HOUR_MS) for hour in {*known.cut_hours, *scope.cut_hours}]
    hours.append((known.as_of_ms, scope.as_of_ms + DAY_MS))
    for name, column in DATED_BY.items():
        now = {file.path: file for file in scope.files[name]}
        then = {file.path: file for file in known.files[name]}
        new = [file for path, file in now.items() if path not in then]
        gone = [file for path, file in then.items() if path not in now]
        came[name], went[name] = [f.path for f in new], [f.path for f in gone]
        if name.startswith("raw_"):
            if gone:  # merged, or worse: what went with it cannot be told apart from a loss
                return None
            judged_ms = known.as_of_ms + AHEAD_MS
            came[name] += [f.path for f in then.values() if (f.high_ms or 0) > judged_ms]
            continue
        spans = [(f.minimum.get(column), f.maximum.get(column)) for f in new]
        for low, high in [*spans, *((f.low_ms, f.high_ms) for f in gone)]:
            if low is None or high is None:
                return None
            hours.append((low, high + 1))
    whole = [(low // HOUR_MS * HOUR_MS, -(-high // HOUR_MS) * HOUR_MS) for low, high in hours]
    return Changes(merged(whole), came, went)


# ---------------------------------------------------------------------------------- narrower views


def narrow(
    con: duckdb.DuckDBPyConnection, lake: Lake, scope: Scope, changes: Changes, by: str
) -> None:
    """Let the views that a check reads hold only what ``changes`` may have made unsound.

    ``by`` hours: rows of the changed hours. ``by`` closes: all rows of the ids whose closes do not
    add up over the changed files.
    """
    {"hours": _narrow_to_hours, "closes": _narrow_to_ids}[by](con, lake, scope, changes)


def _narrow_to_hours(
    con: duckdb.DuckDBPyConnection, lake: Lake, scope: Scope, changes: Changes
) -> None:
    table = lake.open(OUTCOMES)
    files, ranges = scope.files[OUTCOMES], changes.hours
    engine.create_view(con, OUTCOMES, table, files=files, ranges=ranges, cut=True)
    within = " OR ".join(f"(hour_ms >= {low} AND hour_ms < {high})" for low, high in ranges)
    con.execute(
        "CREATE OR REPLACE TEMP VIEW core_window__hourly AS"
        f" FROM window_hours WHERE {within or 'FALSE'}"
    )


def _narrow_to_ids(
    con: duckdb.DuckDBPyConnection, lake: Lake, scope: Scope, changes: Changes
) -> None:
    for view, name, paths in (
        ("came_orders", ORDERS, changes.came[ORDERS]),
        ("came_router", ROUTER, changes.came[ROUTER]),
        ("came_outcomes", OUTCOMES, changes.came[OUTCOMES]),
        ("went_outcomes", OUTCOMES, changes.went[OUTCOMES]),
    ):
        engine.create_scan(con, f"CREATE OR REPLACE TEMP VIEW {view}", _schema(lake, name), paths)
    ids = engine.to_arrow(con, _DOUBTFUL, {"since_ms": scope.since_ms})
    engine.create_table(con, "doubtful_ids", ids)
    for name, key in ((ORDERS, _ORDER_KEY), (ROUTER, "attempt_id"), (OUTCOMES, "attempt_id")):
        files = scope.files[name] if ids.num_rows else ()
        where = f"{key} IN (SELECT attempt_id FROM doubtful_ids)"
        engine.create_view(con, name, lake.open(name), files=files, where=where)


def _schema(lake: Lake, name: str) -> pa.Schema:
    return pa.schema(lake.open(name).schema().to_arrow())


_ORDER_KEY = "COALESCE(NULLIF(attempt_id, ''), 'order:' || order_id, 'line:' || line_hash)"

# Ids whose closes in the changed core rows moved by another number or sum than the closes in the
# new lines. What adds up stays as sound as it was; of an id that has a flat line's own PnL, core
# may hold more.
_DOUBTFUL = f"""
WITH lines AS (
    SELECT
        environment,
        account,
        symbol,
        {_ORDER_KEY} AS attempt_id,
        COUNT(*) AS close_n,
        SUM(CAST(COALESCE(realized_pnl_usd, 0e0) AS DECIMAL(38, 12))) AS pnl_usd,
    FROM came_orders
    WHERE reject_reason IS NULL
      AND event_type = 'order_close'
      AND event_ms > $since_ms
    GROUP BY ALL
),
moves AS (
    SELECT 1 AS sign, * FROM came_outcomes
    UNION ALL BY NAME
    SELECT -1 AS sign, * FROM went_outcomes
),
rows AS (
    SELECT
        environment,
        account,
        symbol,
        attempt_id,
        SUM(sign * close_n) AS close_n,
        SUM(sign * CAST(COALESCE(realized_pnl_usd, 0e0) AS DECIMAL(38, 12))) AS pnl_usd,
    FROM moves
    WHERE close_n > 0
      AND close_ms > $since_ms
    GROUP BY ALL
)
SELECT DISTINCT attempt_id
FROM lines AS l
FULL JOIN rows AS r USING (environment, account, symbol, attempt_id)
WHERE (
        COALESCE(l.close_n, 0) <> COALESCE(r.close_n, 0)
        OR abs(COALESCE(l.pnl_usd, 0) - COALESCE(r.pnl_usd, 0)) > 0.000000001
    )
  AND NOT (
        COALESCE(r.close_n, 0) > COALESCE(l.close_n, 0)
        AND attempt_id IN (SELECT attempt_id FROM came_router WHERE realized_pnl_usd IS NOT NULL)
    )
"""
