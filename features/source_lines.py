"""What feat_ops__source_freshness reads: the lines of every source in the window, summed by hour.

Put here: summing raw lines. Keep out: how old is too old (sql/).
"""

from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from features.durations import DAY_MS, HOUR_MS
from features.engines import duckdb as engine
from features.file_facts import Fact, FileFacts, union
from features.lake import data_files, overlapping
from features.settings import Freshness

# Lines of one log, symbol and hour; a line without a time stands alone, where it stood in its log.
_SUMS = """
    COUNT(*) AS n,
    COUNT(reject_reason) AS rejected_n,
    MIN(event_ms) AS first_ms,
    MAX(CASE WHEN reject_reason IS NULL THEN event_ms END) AS event_ms,
    MAX(ingested_ms) AS ingested_ms,
    MIN(line_offset) AS line_offset,
"""
_KEYS = "source_id, symbol, CASE WHEN event_ms IS NULL THEN line_offset END"
_HOURS = Fact(
    "lines",
    f"SELECT source_id, symbol, event_ms // {HOUR_MS} * {HOUR_MS} AS hour_ms, {_SUMS}"
    f" FROM file_rows GROUP BY {_KEYS}, hour_ms",
)


def source_tables(
    con: duckdb.DuckDBPyConnection,
    rules: Mapping[str, Freshness],
    tables: Mapping[str, DeltaTable | None],
    as_of_ms: int,
    since_ms: int,
    facts: FileFacts | None = None,
) -> None:
    """Create raw_sources, the sums of the lines of raw tables, and source_rules.

    Sums are of lines after ``since_ms`` up to ``as_of_ms``: files may hold later rows or not, and
    that must not show. ``None`` for a table takes the relation of its name as it stands. With
    ``facts``, whole hours of large tables come from facts of their files.
    """
    recent_ms = as_of_ms - DAY_MS
    cuts = sorted({cut // HOUR_MS * HOUR_MS for cut in (since_ms + 1, recent_ms + 1, as_of_ms + 1)})
    listed = ", ".join(map(str, cuts))
    con.execute(
        "CREATE OR REPLACE TEMP TABLE raw_sources (source VARCHAR, source_id VARCHAR,"
        " symbol VARCHAR, is_recent BOOLEAN, n BIGINT, rejected_n BIGINT, first_ms BIGINT,"
        " event_ms BIGINT, ingested_ms BIGINT, line_offset BIGINT)"
    )
    columns = "source_id, symbol, is_recent, n, rejected_n, first_ms, event_ms, ingested_ms"
    for name, table in tables.items():
        lines, hours = name, None
        if table is not None:
            if not data_files(table):
                continue
            lines, hours = _lines(con, name, table, (since_ms, as_of_ms), cuts, facts)
        within = f"event_ms > {since_ms} AND event_ms <= {as_of_ms}"
        if hours is None:
            rows = f"(FROM {lines} WHERE ({within}) OR event_ms IS NULL)"
            hours = _HOURS.sql.replace("file_rows", rows)
        con.execute(
            f"INSERT INTO raw_sources SELECT {engine.literal(name)}, {columns}, line_offset FROM ("
            f" SELECT *, hour_ms > {recent_ms} AS is_recent FROM ({hours})"
            f" WHERE hour_ms IS NULL OR (hour_ms > {since_ms} AND hour_ms < {as_of_ms}"
            f"   AND hour_ms NOT IN ({listed}))"
            " UNION ALL BY NAME"  # hours that a limit cuts, from the lines themselves
            f" SELECT source_id, symbol, event_ms > {recent_ms} AS is_recent, {_SUMS} FROM {lines}"
            f" WHERE {within} AND event_ms // {HOUR_MS} * {HOUR_MS} IN ({listed})"
            f" GROUP BY {_KEYS}, is_recent)"
        )
    _rules_table(con, rules)


def _lines(
    con: duckdb.DuckDBPyConnection,
    name: str,
    table: DeltaTable,
    window_ms: tuple[int, int],
    cuts: Sequence[int],
    facts: FileFacts | None,
) -> tuple[str, str | None]:
    """Create a view over a table's lines; return its name and a SELECT of their sums by hour.

    With sums the view holds no more files than the hours that are cut; else there are none.
    """
    files = overlapping(data_files(table), "event_ms", [(window_ms[0], window_ms[1] + 1)])
    hours = None
    if facts is not None and files and facts.is_worth(files):
        schema = pa.schema(table.schema().to_arrow())
        hours = union(facts.of(con, _HOURS, schema, files), "*")
        files = overlapping(files, "event_ms", [(cut, cut + HOUR_MS) for cut in cuts])
    engine.create_view(con, f"lines_{name}", table, files=files)
    return f"lines_{name}", hours


def _rules_table(con: duckdb.DuckDBPyConnection, rules: Mapping[str, Freshness]) -> None:
    rows = pa.table(
        {
            "source": pa.array(list(rules), pa.string()),
            "required": pa.array([rule.required for rule in rules.values()], pa.bool_()),
            "max_silence_s": pa.array([r.max_silence_s for r in rules.values()], pa.int64()),
        }
    )
    engine.create_table(con, "source_rules", rows)
