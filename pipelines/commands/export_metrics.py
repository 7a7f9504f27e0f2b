"""`execintel export-metrics`: the accuracy tables as one file, from a snapshot or from traces.

Put here: choosing rows and writing them. Keep out: what the numbers mean (features/sql).
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands import common

if TYPE_CHECKING:
    import pyarrow as pa


_SCOPE = ("source", "snapshot_id", "as_of_ms", "environment", "window_days")


class Format(StrEnum):
    """How the file is written."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


class Table(StrEnum):
    """Tables that can be exported, without their feat_telemetry__ or feat_ops__."""

    ACCURACY = "accuracy"
    CALIBRATION = "calibration"
    COMPARISON = "comparison"
    ROLLING = "rolling"


def export_metrics(
    out: Annotated[
        Path, typer.Option(help="File to write, such as --out metrics.json; replaced at once.")
    ],
    output: Annotated[
        Format,
        typer.Option(
            "--format",
            help="json holds every table; csv and parquet hold one, such as --format csv. "
            "Unknown is null, an empty cell, NULL.",
        ),
    ] = Format.JSON,
    table: Annotated[
        Table, typer.Option(help="The table of csv and parquet, such as --table calibration.")
    ] = Table.ACCURACY,
    traces: Annotated[
        Path | None,
        typer.Option(
            help="Trace file, or folder of them, to compute from in place of a snapshot, such as "
            "--traces data/analytics."
        ),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(help="Id of a snapshot or its unique beginning; the newest when absent."),
    ] = None,
) -> None:
    """Write precision, returns, calibration and comparisons of the strategies to one file.

    Example: execintel export-metrics --format json --out metrics.json

    Needs no dashboard: it reads the newest snapshot, or computes the same from trace files. The
    file says which: source, and of a snapshot its id, as-of, environment and window, at the head of
    json and in every row of csv and parquet.
    """
    if traces is not None and snapshot is not None:
        raise common.CommandError("--traces and --snapshot exclude each other: name one source")
    if out.is_dir():
        raise common.CommandError(f"--out {out} is a folder: name a file in it")
    if not out.absolute().parent.is_dir():
        raise common.CommandError(f"--out {out}: there is no folder {out.absolute().parent}")
    if traces is not None:
        head, tables = _from_traces(traces)
    else:
        head, tables = _from_snapshot(snapshot)
    draft = out.with_name(f".{out.name}.part")
    try:
        if output is Format.JSON:
            lists = {name: found.to_pylist() for name, found in tables.items()}
            draft.write_text(json.dumps({**head, **lists}, indent=1, default=str, allow_nan=False))
        else:
            _write_one(_stamped(tables[f"feat_telemetry__{table}"], head), draft, output)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)  # of a write that failed
    written = tables.values() if output is Format.JSON else [tables[f"feat_telemetry__{table}"]]
    rows_n = sum(rows.num_rows for rows in written)
    common.say(f"wrote {out}: {rows_n} rows")
    if rows_n == 0:
        common.complain(_nothing(head, tables))


def _nothing(head: dict[str, Any], tables: "dict[str, pa.Table]") -> str:
    """Say why a file holds no row, and what to do."""
    if any(rows.num_rows for rows in tables.values()):
        return "no row: --table names one that is empty here; --format json holds all of them"
    if head["source"] != "snapshot":
        return f"no row: no line of {head['source']} could be used"
    return (
        f"no row: snapshot {head['snapshot_id']} holds no prediction traces in its window. Trade "
        "or backtest with --enable-telemetry, or name trace files: --traces FOLDER; of old traces "
        "execintel refresh --as-of T --publish makes a snapshot"
    )


def _from_snapshot(name: str | None) -> tuple[dict[str, Any], "dict[str, pa.Table]"]:
    from features.snapshot import open_snapshot

    store = common.open_store(common.load_settings())
    snapshot_id = store.resolve(name)
    names = [f"feat_telemetry__{table}" for table in Table]
    with open_snapshot(store.database(snapshot_id)) as con:
        there = {row[0] for row in con.sql("SELECT table_name FROM duckdb_tables()").fetchall()}
        missing = [each for each in names if each not in there]
        if missing:
            raise common.CommandError(
                f"{snapshot_id} has no {missing[0]}: an older release built it; refresh first"
            )
        tables = {each: con.table(each).to_arrow_table() for each in names}
    manifest = store.manifest(snapshot_id)
    scope = {name: manifest[name] for name in ("as_of_ms", "environment", "window_days")}
    return {"source": "snapshot", "snapshot_id": snapshot_id, **scope}, tables


def _from_traces(path: Path) -> tuple[dict[str, Any], "dict[str, pa.Table]"]:
    from pipelines.accuracy import AccuracyAnalyzer, TraceError

    settings = common.load_settings()
    analyzer = AccuracyAnalyzer(settings.params, memory_limit_mb=settings.memory_limit_mb)
    try:
        loaded = analyzer.load_traces(path)
    except TraceError as error:
        raise common.CommandError(f"--traces {error}") from error
    for reason, count in sorted(loaded.rejected.items()):
        common.complain(f"left out {count} lines: {reason}")
    head = {"source": str(path), "traces_n": len(loaded), "rejected": loaded.rejected}
    return head, analyzer.arrow_tables(loaded)


def _stamped(rows: "pa.Table", head: dict[str, Any]) -> "pa.Table":
    """Return the rows with what they are of before them."""
    import pyarrow as pa

    scope = [name for name in _SCOPE if name in head]
    for place, name in enumerate(scope):
        rows = rows.add_column(place, name, pa.repeat(head[name], rows.num_rows))
    return rows


def _write_one(rows: "pa.Table", path: Path, output: Format) -> None:
    if output is Format.PARQUET:
        import pyarrow.parquet as pq

        pq.write_table(rows, path)
        return
    import pyarrow.csv

    pyarrow.csv.write_csv(rows, path)
