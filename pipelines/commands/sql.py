"""`execintel sql`: any SELECT on a snapshot, with nothing else in reach.

Put here: formats of the answer. Keep out: the confinement itself (features/confined.py).
"""

import csv
import io
import json
import math
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from features.words import counted
from pipelines.commands import common
from pipelines.commands.chosen import SnapshotOption

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def sql(
    query: Annotated[
        str,
        typer.Argument(
            help='One SELECT, such as "SELECT symbol, fill_ratio, fill_known_n FROM '
            'feat_router__effectiveness"; "SHOW TABLES" lists what there is.'
        ),
    ],
    snapshot: SnapshotOption = None,
    output: Annotated[
        Format,
        typer.Option(
            "--format",
            help="table for people, numbers in eight digits; csv or json (a list of objects) for "
            "programs, in all of them, such as --format csv. NULL is –, empty and null; so are "
            "NaN and infinity in csv and json.",
        ),
    ] = Format.TABLE,
) -> None:
    """Ask the newest snapshot anything in SQL: feature tables, and every raw and core row.

    Example: execintel sql "SELECT symbol, n, slip_bps_q50 FROM feat_execution__slippage_quartiles
    WHERE hour_utc = -1"

    Start with "SHOW TABLES" and "DESCRIBE feat_symbol__performance". The query can only read,
    and only this snapshot's own files: no other file, no network, no write.
    """
    import duckdb

    from features.confined import open_confined, select_only

    settings = common.load_settings()
    store = common.open_store(settings)
    snapshot_id = store.resolve(snapshot)
    inputs = store.manifest(snapshot_id)["inputs"].values()
    files = [path for source in inputs for path in source["files"]]
    try:
        with (
            common.counting("asking"),
            open_confined(
                store.database(snapshot_id), files, memory_limit_mb=settings.memory_limit_mb
            ) as con,
        ):
            relation = select_only(con, query)
            columns, rows = relation.columns, _rows(con, relation)
    except duckdb.Error as error:
        more = ""
        gone = [path for path in files if not Path(path).exists()]
        if isinstance(error, duckdb.CatalogException | duckdb.BinderException):
            more = '\nexecintel sql "SHOW TABLES" lists the tables, "DESCRIBE table" their columns'
        elif isinstance(error, duckdb.OutOfMemoryException):
            more = (
                f"\nEXECINTEL_MEMORY_LIMIT_MB = {settings.memory_limit_mb} is all it may take:"
                " ask for fewer rows or columns, or raise it for this call"
            )
        elif gone:
            more = (
                f"\n{len(gone)} of {len(files)} lake files are gone, such as {gone[0]}; moved the "
                "data? execintel snapshots relocate LAKE_ROOT"
            )
        raise common.CommandError(f"{error}{more}") from error
    write_rows(output, columns, rows)


def _rows(con: "DuckDBPyConnection", relation: "DuckDBPyRelation") -> list[tuple[Any, ...]]:
    """Run a query in a thread: in this one it would hear of Ctrl-C only when it has ended."""
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(relation.fetchall)
        try:
            return answer.result()
        except KeyboardInterrupt:
            con.interrupt()
            raise


def write_rows(output: Format, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Print rows in the format asked for."""
    if output is Format.CSV:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([finite(value) for value in row] for row in rows)
        typer.echo(text.getvalue(), nl=False)
    elif output is Format.JSON:
        objects = [dict(zip(columns, map(finite, row), strict=True)) for row in rows]
        typer.echo(json.dumps(objects, default=str, ensure_ascii=False, indent=1, allow_nan=False))
    else:
        shown = [[_short(value) for value in row] for row in rows]
        common.show_table("", columns, shown, left=len(columns), is_wide=True)
        common.say(counted(len(rows), "row"))


def _short(value: Any) -> Any:
    """Return a number in eight digits, what else there is as it is."""
    return f"{value:.8g}" if isinstance(value, float) else value


def finite(value: Any) -> Any:
    """Return the value with None for NaN and infinity, which JSON does not have; also within."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
