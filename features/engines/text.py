"""Values and names as SQL text: what readers of snapshots need of an engine, without its imports.

Put here: writing text. Keep out: whatever runs it.
"""


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
