"""The window's rows, and sums of them that add up over files: those of whole files are kept.

Put here: putting such tables together. Keep out: what is summed (sql/).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from features import catalog
from features.engines import duckdb as engine
from features.file_facts import Fact, FileFacts, rows_of, union
from features.lake import DataFile, data_files, overlapping

# The window tables that show the rows of stored ones.
_SHOWN_BY = {
    "core_execution__outcomes": "core_window__outcomes",
    "raw_orders__attempts": "core_window__attempts",
}
FUNDING = "core_window__funding"  # of few lines, which tables of several grains read
REPEATED = "core_window__repeated_navs"  # likewise, of what the sums cannot tell apart
MANY_ROWS = 1_000_000  # of a window table: more are read from their files each time, not held
# A close of any time is known; a fact is the same for windows of any length.
_ALL_TIME = {"as_of_ms": 1 << 60, "window_ms": 1 << 61, "is_whole": True}


def create_views(
    con: duckdb.DuckDBPyConnection,
    values: Mapping[str, Any],
    sources: Iterable[str] = tuple(_SHOWN_BY),
) -> None:
    """Create the window tables that show rows, over the stored tables as they stand."""
    for source in sources:
        con.execute(f"CREATE OR REPLACE TEMP VIEW {_SHOWN_BY[source]} AS {_shown(source, values)}")


def create_tables(
    con: duckdb.DuckDBPyConnection,
    values: Mapping[str, Any],
    stored: Mapping[str, DeltaTable] | None = None,
    facts: FileFacts | None = None,
) -> None:
    """Create every window table that adds up, funding, and NAV told twice, as ``values`` bound it.

    With ``facts`` the files of ``stored`` tables that lie in the window whole are summed once and
    never read again; without, or where rows are few, all is summed from the window tables.
    """
    funding = engine.inline(catalog.tables()[FUNDING].sql, values)
    con.execute(f"CREATE OR REPLACE TEMP TABLE {FUNDING} AS {funding}")
    whole = {} if stored is None or facts is None else _whole_files(con, values, stored, facts)
    for table in catalog.tables().values():
        source = table.adds_up_over
        if not source:
            continue
        rows = engine.inline(table.sql, values)
        is_view = table.is_view
        if source in whole and stored is not None and facts is not None:
            schema = pa.schema(stored[source].schema().to_arrow())
            fact = Fact(table.name, _over("file_rows", table, {**values, **_ALL_TIME}))
            paths = facts.of(con, fact, schema, whole[source])
            is_view |= rows_of(paths) > MANY_ROWS
            known = union(paths, "* EXCLUDE (filename)")
            rows = f"{known} UNION ALL BY NAME {_over(f'cut_{source}', table, values)}"
        if not is_view:
            con.execute(f"CREATE OR REPLACE TEMP TABLE {table.name}_rows AS {rows}")
            rows = f"FROM {table.name}_rows"
        # A view in either case: what the connection's next build finds may be the other.
        con.execute(f"CREATE OR REPLACE TEMP VIEW {table.name} AS {rows}")
    for source in whole:
        rows = " UNION ALL BY NAME ".join(
            f"FROM ({_shown(source, {**values, 'is_whole': is_whole}, over=f'{kind}_{source}')})"
            for kind, is_whole in (("whole", True), ("cut", False))
        )
        con.execute(f"CREATE OR REPLACE TEMP VIEW {_SHOWN_BY[source]} AS {rows}")
    repeated = engine.inline(catalog.tables()[REPEATED].sql, values)
    con.execute(f"CREATE OR REPLACE TEMP TABLE {REPEATED} AS {repeated}")


def _whole_files(
    con: duckdb.DuckDBPyConnection,
    values: Mapping[str, Any],
    stored: Mapping[str, DeltaTable],
    facts: FileFacts,
) -> dict[str, list[DataFile]]:
    """Return the files of each source that lie in the window whole, where facts of them save time.

    The rows of such a source become the views whole_{source} and cut_{source}.
    """
    found = {}
    for source in filter(stored.__contains__, _SHOWN_BY):
        whole, cut = _apart(data_files(stored[source]), values)
        if facts.is_worth(whole):
            engine.create_view(con, f"whole_{source}", stored[source], files=whole)
            engine.create_view(con, f"cut_{source}", stored[source], files=cut)
            found[source] = whole
    return found


def _apart(
    files: Iterable[DataFile], values: Mapping[str, Any]
) -> tuple[list[DataFile], list[DataFile]]:
    """Return the files whose rows all lie in the window, and those it cuts."""
    after_ms, as_of_ms = values["as_of_ms"] - values["window_ms"], values["as_of_ms"]
    whole: list[DataFile] = []
    cut: list[DataFile] = []
    for file in overlapping(files, "event_ms", [(after_ms + 1, as_of_ms + 1)]):
        first_ms, last_ms = file.minimum.get("event_ms"), file.maximum.get("event_ms")
        is_known = first_ms is not None and last_ms is not None
        (whole if is_known and first_ms > after_ms and last_ms <= as_of_ms else cut).append(file)
    return whole, cut


def _over(rows: str, table: catalog.Table, values: Mapping[str, Any]) -> str:
    """Write a table that adds up over ``rows`` of its source, as the window shows them."""
    source = table.adds_up_over
    window = _shown(source, values, over=rows)
    sums = engine.inline(table.sql, values)
    return f"FROM (WITH {_SHOWN_BY[source]} AS (\n{window}\n) FROM (\n{sums}\n))"


def _shown(source: str, values: Mapping[str, Any], *, over: str | None = None) -> str:
    """Write the window table that shows a stored table's rows, or those ``over`` which is named."""
    shown = engine.inline(catalog.tables()[_SHOWN_BY[source]].sql, values)
    return shown if over is None else f"WITH {source} AS (FROM {over})\n{shown}"
