"""Foreign SQL over a snapshot: it reads, and nothing beyond the snapshot's own files.

Put here: what such SQL may do. Keep out: who asks it (pipelines/commands/sql.py).
"""

from pathlib import Path

import duckdb

from features.engines.text import literal
from features.snapshot import SnapshotError, open_snapshot


def open_confined(
    database: Path, lake_files: list[str], *, memory_limit_mb: int
) -> duckdb.DuckDBPyConnection:
    """Open a snapshot for foreign SQL: read only, no file or network beyond the snapshot's own.

    A query that needs more than ``memory_limit_mb`` fails with duckdb.OutOfMemoryException.
    DuckDB lets COPY and ATTACH write to an allowed path, so pass foreign SQL through
    ``select_only``.
    """
    con = open_snapshot(database)
    listed = ", ".join(literal(path) for path in lake_files)
    con.execute(f"SET memory_limit = '{memory_limit_mb}MB'")  # else most of the machine's
    con.execute("SET temp_directory = ''")  # a snapshot's folder is no place to spill to
    con.execute("SET python_enable_replacements = false")
    con.execute(f"SET allowed_paths = [{listed}]")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


def select_only(con: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation:
    """Prepare one statement that can only read: SELECT, FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE.

    Raises SnapshotError for any other statement, duckdb.Error for wrong SQL.
    """
    statements = con.extract_statements(sql)
    kinds = [statement.type for statement in statements]
    if kinds != [duckdb.StatementType.SELECT]:
        found = ", ".join(kind.name for kind in kinds) or "nothing"
        raise SnapshotError(
            "a snapshot answers one SELECT (or DESCRIBE, SHOW, SUMMARIZE) at a time; "
            f"this is {found}"
        )
    # A WITH clause may hold a COPY, which writes; DuckDB refuses that anywhere but at the top.
    return con.sql(f"FROM (\n{statements[0].query.rstrip().rstrip(';')}\n)")
