"""What was known when: join past moments to the rows of the snapshot that was CURRENT then.

Put here: reading history. Keep out: writing it (history_store.py).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from features import catalog
from features.durations import FOREVER_MS, HOUR_MS
from features.engines.duckdb import identifier, literal, scan
from features.history_store import HEAD, PUBLICATIONS, TABLE, HistoryError, append
from features.lake import Lake, LakeTable, overlapping

if TYPE_CHECKING:
    import polars as pl

__all__ = ["HistoryError", "append", "get_historical_features", "symbols"]

_ANSWER = ("snapshot_id", "as_of_ms", "available_ms", "age_ms", "availability", "status")
_HEAD = ("publication_n", "availability", "snapshot_id", "as_of_ms", "available_ms")
_ANY_AGE_MS = 1 << 62  # more than FOREVER_MS: an entity may name any moment
_ATTEMPTS = 3  # upkeep may remove a listed file before it is read: the next list has another

# Of recorded publications the last one made up to the moment counts, also where a clock was set
# back in between: one that a later line undercuts was over before it began. What is simulated came
# in any order: the newest counts.
_KNOWN = """
CREATE TEMP TABLE known AS
WITH recorded AS (
    SELECT *
    FROM publications
    WHERE availability = 'recorded'
    QUALIFY COALESCE(
        available_ms < MIN(available_ms) OVER (
            ORDER BY publication_n ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        ),
        TRUE
    )
),
simulated AS (
    SELECT *
    FROM publications
    WHERE availability = 'simulated' AND $simulated
    QUALIFY ROW_NUMBER() OVER (PARTITION BY available_ms ORDER BY publication_n DESC) = 1
),
found AS (
    SELECT
        e.*,
        CASE
            WHEN e.moment_ms - r.as_of_ms <= $max_age_ms THEN r
            WHEN e.moment_ms - s.as_of_ms <= $max_age_ms THEN s
            WHEN r.publication_n IS NULL THEN s
            ELSE r
        END AS p,
    FROM entities AS e
    ASOF LEFT JOIN recorded AS r ON e.moment_ms >= r.available_ms
    ASOF LEFT JOIN simulated AS s ON e.moment_ms >= s.available_ms
)
SELECT
    * EXCLUDE (p),
    p.publication_n AS publication_n,
    p.availability AS availability,
    p.snapshot_id AS snapshot_id,
    p.as_of_ms AS as_of_ms,
    p.available_ms AS available_ms,
    moment_ms - p.as_of_ms AS age_ms,
    COALESCE(moment_ms - p.as_of_ms <= $max_age_ms, FALSE) AS is_fresh,
FROM found
"""


@dataclass(frozen=True)
class _Wanted:
    """The columns asked of one feature table, and where each of its keys comes from."""

    table: str
    columns: tuple[str, ...]
    keys: Mapping[str, str]  # key of the table → SQL over an entity row


def get_historical_features(
    entities: "pa.Table | pl.DataFrame",
    features: Sequence[str],
    *,
    lake_root: Path,
    max_age_ms: int | None,
    keys: Mapping[str, str | int] | None = None,
    simulated: bool = True,
) -> "pa.Table | pl.DataFrame":
    """Join each (symbol, moment) to what the snapshot that was CURRENT at that moment said.

    Args:
        entities: columns symbol and timestamp_ms (epoch ms) or timestamp (UTC); further columns
            are handed through, and are used where a table has a key of their name.
        features: names such as "feat_symbol__scores.score".
        lake_root: the lake's folder: Settings().lake_root.
        max_age_ms: moment minus as-of; what is older gives no values. None: any age.
        keys: values of further keys, such as {"model": "v5.11"}; hour_utc is the moment's own
            hour unless named here or in a column.
        simulated: let backfilled rows answer where no publication of that age was recorded.

    Returns:
        The rows of ``entities`` in their order, with a column for each feature, snapshot_id,
        as_of_ms, available_ms, age_ms, availability (recorded or simulated) and status: ok,
        too_old (beyond max_age_ms), unknown (nothing was published, or it had no such row).

    Raises:
        HistoryError: a feature, key or column that does not exist, or a time without a type.
    """
    rows = entities if isinstance(entities, pa.Table) else entities.to_arrow()
    wanted = _plan(features, rows.column_names, keys or {})
    asked = _entities(rows, wanted)
    for attempt in range(_ATTEMPTS):
        try:
            found = _join(Lake(lake_root), asked, wanted, max_age_ms, simulated)
            break
        except duckdb.IOException:
            if attempt == _ATTEMPTS - 1:
                raise
    for name in [*dict.fromkeys(features), *_ANSWER]:
        rows = rows.append_column(name, found[name])
    if isinstance(entities, pa.Table):
        return rows
    import polars

    return polars.DataFrame(rows)


def symbols(lake_root: Path, *, snapshot_id: str, available_ms: int) -> list[str]:
    """Return the symbols with a row in any feature table of one publication, sorted."""
    lake = Lake(lake_root)
    if not lake.exists(TABLE):
        return []
    table = lake.open(TABLE)
    span = (available_ms, available_ms + 1)
    columns = ["snapshot_id", "available_ms", "symbol"]
    scans = [
        _scan(table, feat.name, columns, span)
        for feat in catalog.layer("feat")
        if "symbol" in feat.grain
    ]
    with _database(os.getpid()).cursor() as con:
        rows = con.sql(
            f"SELECT DISTINCT symbol FROM ({' UNION ALL '.join(scans)})"
            " WHERE snapshot_id = $snapshot_id AND available_ms = $available_ms ORDER BY symbol",
            params={"snapshot_id": snapshot_id, "available_ms": available_ms},
        ).fetchall()
    return [symbol for (symbol,) in rows]


def _plan(
    features: Sequence[str], columns: Sequence[str], keys: Mapping[str, str | int]
) -> list[_Wanted]:
    """Resolve features to tables, columns and keys."""
    taken = sorted({*_ANSWER, *features} & set(columns))
    if taken:
        raise HistoryError(f"the entities have a column {taken[0]}, which the answer needs: rename")
    if "symbol" not in columns:
        raise HistoryError(f"the entities need a column symbol; there are {', '.join(columns)}")
    chosen: dict[str, list[str]] = {}
    for feature in dict.fromkeys(features):
        table, _, column = feature.partition(".")
        known = catalog.tables().get(table)
        if known is None or known.layer != "feat" or column not in known.columns:
            there = ", ".join(known.columns) if known else ", ".join(_feature_tables())
            raise HistoryError(f"there is no feature {feature!r}; there are: {there}")
        chosen.setdefault(table, []).append(column)
    grains = {name: catalog.tables()[name].grain for name in chosen}
    unused = sorted(set(keys) - {key for grain in grains.values() for key in grain})
    if unused:
        raise HistoryError(f"no table of these features has a key {unused[0]!r}")
    return [
        _Wanted(name, tuple(chosen[name]), {k: _key(name, k, columns, keys) for k in grain})
        for name, grain in grains.items()
    ]


def _feature_tables() -> list[str]:
    return [table.name for table in catalog.layer("feat")]


def _key(table: str, key: str, columns: Sequence[str], keys: Mapping[str, str | int]) -> str:
    if key in keys:
        return literal(keys[key])
    if key in columns:
        return f"e.{identifier(f'key_{key}')}"
    if key == "hour_utc":
        return f"e.moment_ms // {HOUR_MS} % 24"
    raise HistoryError(
        f"{table} has a row per {', '.join(catalog.tables()[table].grain)}: name one, as "
        f"keys={{{key!r}: …}}, or give the entities a column {key}"
    )


def _moments(rows: pa.Table) -> pa.ChunkedArray:
    """Return the entities' times as epoch ms, rounded down: nothing of later counts."""
    if "timestamp_ms" in rows.column_names:
        column = rows["timestamp_ms"]
        if pa.types.is_integer(column.type):
            return column.cast(pa.int64())
        raise HistoryError(f"timestamp_ms is {column.type}: give epoch ms as an integer")
    if "timestamp" in rows.column_names:
        column = rows["timestamp"]
        if pa.types.is_timestamp(column.type):
            floor = pc.floor_temporal(column.cast(pa.timestamp(column.type.unit)), 1, "millisecond")
            return floor.cast(pa.timestamp("ms")).cast(pa.int64())
        raise HistoryError(f"timestamp is {column.type}: give a UTC timestamp, or timestamp_ms")
    raise HistoryError("the entities need a column timestamp_ms (epoch ms) or timestamp (UTC)")


def _entities(rows: pa.Table, wanted: Sequence[_Wanted]) -> pa.Table:
    """Return what the join reads of the entities: order, moment and the columns that are keys."""
    used = {key for want in wanted for key in want.keys} & set(rows.column_names)
    columns = {f"key_{key}": rows[key] for key in sorted(used)}
    order = pa.array(range(rows.num_rows), pa.int64())
    return pa.table({"entity_n": order, "moment_ms": _moments(rows), **columns})


def _join(
    lake: Lake,
    entities: pa.Table,
    wanted: Sequence[_Wanted],
    max_age_ms: int | None,
    simulated: bool,
) -> pa.Table:
    """Return features and answer columns in the entities' order."""
    table = lake.open(TABLE) if lake.exists(TABLE) else None
    limit = _ANY_AGE_MS if max_age_ms is None else max_age_ms
    with _database(os.getpid()).cursor() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.register("entities", entities)
        con.execute(f"CREATE TEMP TABLE publications AS {_scan(table, PUBLICATIONS, _HEAD)}")
        con.execute(_KNOWN, {"simulated": simulated, "max_age_ms": limit})
        span = con.sql(
            "SELECT MIN(available_ms), MAX(available_ms) + 1 FROM known WHERE is_fresh"
        ).fetchall()[0]
        values, joins, hits = [], [], []
        for number, want in enumerate(wanted):
            name = f"t{number}"
            kept = _scan(table, want.table, [*_HEAD[:2], *want.keys, *want.columns], span)
            keys = [f"{name}.{identifier(key)} = {value}" for key, value in want.keys.items()]
            keys += [f"{name}.publication_n = e.publication_n"]
            keys += [f"{name}.availability = e.availability"]
            joins.append(f"LEFT JOIN ({kept}) AS {name} ON e.is_fresh AND {' AND '.join(keys)}")
            hits.append(f"{name}.publication_n IS NOT NULL")
            values += [
                f"{name}.{identifier(column)} AS {identifier(f'{want.table}.{column}')}"
                for column in want.columns
            ]
        status = (
            "CASE WHEN e.publication_n IS NULL THEN 'unknown' WHEN NOT e.is_fresh THEN 'too_old'"
            f" WHEN {' OR '.join(hits)} THEN 'ok' ELSE 'unknown' END AS status"
        )
        told = [f"e.{column}" for column in _ANSWER if column != "status"]
        return con.sql(
            f"SELECT {', '.join([*values, *told, status])} FROM known AS e {' '.join(joins)}"
            " ORDER BY e.entity_n"
        ).to_arrow_table()


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """Return the database of this process: making one takes a quarter of a usual join.

    Each question has a cursor, whose temporary tables go with it. A forked child makes its own.
    """
    return duckdb.connect(":memory:")


def _scan(
    table: LakeTable | None,
    name: str,
    columns: Sequence[str],
    span: tuple[int | None, int | None] = (0, FOREVER_MS),
) -> str:
    """Write the SELECT over the rows of one feature table; columns that no file has are NULL."""
    low, high = span
    files = [
        file
        for file in (table.data_files() if table and low is not None and high is not None else ())
        if file.partition["feature_table"] == name
    ]
    stored = HEAD if table is None else pa.schema(table.schema().to_arrow())
    asked = [
        stored.field(column) if column in stored.names else pa.field(column, pa.string())
        for column in dict.fromkeys(columns)
    ]
    chosen = overlapping(files, "available_ms", [(low or 0, high or 0)])
    return scan(pa.schema(asked), [file.path for file in chosen], fill=True, is_zoned=True)
