"""Values and names as SQL text: what readers of snapshots need of an engine, without its imports.

Put here: writing text. Keep out: whatever runs it.
"""

from collections.abc import Mapping
from typing import Any


def literal(value: object) -> str:
    """Write a value as an SQL literal."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def inline(sql: str, values: Mapping[str, Any]) -> str:
    """Write bound values as literals, for a view, which cannot hold parameters."""
    for name in sorted(values, key=len, reverse=True):
        if f"${name}" in sql:
            sql = sql.replace(f"${name}", literal(values[name]))
    return sql
