"""What a snapshot remembers of the one published before it: an input as the lake's tables are.

Put here: its shape, and reading it from a snapshot's database. Keep out: which snapshot was before
(before.py), what is remembered (sql/feat_symbol__memory.sql) and what that holds back.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import duckdb
import pyarrow as pa

from features.digest import table_digest

MEMORY = "feat_symbol__memory"
PREVIOUS = "previous_memory"  # a copy of it in the snapshot that read it
GRAIN = ("symbol",)
_WHEN_KNOWN = ("sharpe", "atr", "bars", "maker", "dd", "fee", "vol")
SCHEMA = pa.schema(
    [
        ("symbol", pa.string()),
        ("n", pa.int64()),
        ("decided_ms", pa.int64()),
        ("is_listed", pa.bool_()),
        ("size_factor", pa.float64()),
        ("quality", pa.string()),
        ("candidate_quality", pa.string()),
        ("fallback_ratio", pa.float64()),
        ("fallback_at_ms", pa.int64()),
        ("slip_bps_q50", pa.float64()),
        ("slip_at_ms", pa.int64()),
        ("regime", pa.string()),
        ("regime_at_ms", pa.int64()),
        *[(f"{name}_at_ms", pa.int64()) for name in _WHEN_KNOWN],
        ("pnl_coverage", pa.float64()),
        ("coverage_at_ms", pa.int64()),
    ]
)

# Alerts go on from snapshot to snapshot: since when, and that one which was open is over.
ALERTS = "feat_ops__alerts"
PREVIOUS_ALERTS = "previous_alerts"  # a copy of it in the snapshot that read it
ALERTS_GRAIN = ("rule", "subject")
ALERTS_SCHEMA = pa.schema(
    [
        *[(name, pa.string()) for name in ("rule", "subject", "status", "severity", "text")],
        ("n", pa.int64()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("since_ms", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Before:
    """The memory of the snapshot published before; ``lost`` where it stands no more, and why."""

    state: Literal["none", "read", "lost"] = "none"
    snapshot_id: str | None = None
    digest: str = ""  # of the rows
    # empty_table() of a schema would import pandas, a third of what a command takes to start.
    rows: pa.Table = field(
        default_factory=partial(pa.Table.from_batches, [], SCHEMA), compare=False, repr=False
    )
    problem: str | None = None
    alerts_digest: str = ""
    alerts: pa.Table = field(
        default_factory=partial(pa.Table.from_batches, [], ALERTS_SCHEMA), compare=False, repr=False
    )


NOTHING = Before()


def read(
    con: duckdb.DuckDBPyConnection,
    table: str,
    schema: pa.Schema = SCHEMA,
    grain: tuple[str, ...] = GRAIN,
    *,
    database: str | None = None,
) -> tuple[pa.Table, str] | None:
    """Return the memory in an opened snapshot with its digest; None where it never held one.

    Columns that an older release did not write are NULL: not known. ``database`` is the name that
    the snapshot is attached by, where it is not the connection's own.
    """
    ((database,),) = con.execute("SELECT COALESCE(?, current_database())", [database]).fetchall()
    relation = f'"{database}".main.{table}'
    try:  # of this table alone: a list of all columns would open every file of every view
        described = con.execute(f"FROM {relation} LIMIT 0").description
    except duckdb.CatalogException:
        return None
    there = {column[0] for column in described or ()}
    listed = ", ".join(name if name in there else f"NULL AS {name}" for name in schema.names)
    order = ", ".join(grain)
    rows = con.sql(f"SELECT {listed} FROM {relation} ORDER BY {order}")
    told = rows.to_arrow_table().cast(schema)
    con.register("memory_rows", told)
    digest = table_digest(con, "memory_rows", grain)
    con.unregister("memory_rows")
    return told, digest


def read_alerts(
    con: duckdb.DuckDBPyConnection, table: str, *, database: str | None = None
) -> tuple[pa.Table, str]:
    """Return the alerts in an opened snapshot with their digest; none where it never had any."""
    found = read(con, table, ALERTS_SCHEMA, ALERTS_GRAIN, database=database)
    return (ALERTS_SCHEMA.empty_table(), "") if found is None else found
