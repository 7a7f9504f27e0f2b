"""What Dagster shows of a table: specification, columns, lineage, counts, check results.

Put here: turning catalog, kinds and reports into Dagster's words; what no run changes stands at
the definition, for every run is stored. Keep out: computing anything.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import dagster as dg
import pyarrow as pa

from features import catalog
from features.build import CheckResult
from features.catalog import Check, Table
from features.lake import Lake, data_files
from features.snapshot import Store
from live.mirror.publication import Published
from pipelines.intake import decode
from pipelines.intake.intake import TableIntake
from pipelines.intake.kinds import KINDS, RAW_TABLES
from pipelines.refresh import RefreshReport

CORE_TABLES = [t.name for t in catalog.stored()]
FEATURE_TABLES = [t.name for t in catalog.computed()]

Metadata = dict[str, Any]


@cache
def raw_columns() -> Mapping[str, tuple[str, ...]]:
    """Return the columns of every raw table."""
    return {
        kind.table: tuple(n for n in decode.raw_schema(kind).names if n != decode.PART_COLUMN)
        for kind in KINDS
    }


def raw_spec(name: str) -> dg.AssetSpec:
    """Specify a raw table: it comes from log files alone."""
    kind = next(kind for kind in KINDS if kind.table == name)
    return dg.AssetSpec(
        name,
        description=kind.comment,
        group_name="raw",
        kinds={"deltalake"},
        metadata={"dagster/column_schema": _schema(decode.raw_schema(kind))},
    )


def table_spec(table: Table) -> dg.AssetSpec:
    """Specify a core or feature table, skipped while no line was ever read."""
    labels = "\n".join(f"- **{label}**: {text}" for label, text in table.header.items())
    return dg.AssetSpec(
        table.name,
        deps=catalog.stored_inputs(table.name, RAW_TABLES),
        description="\n\n".join(filter(None, [table.what, labels, " ".join(table.notes)])),
        group_name=table.layer,
        kinds={"deltalake" if table.is_stored else "duckdb"},
        metadata={"dagster/column_lineage": _lineage(table.name)},
        skippable=True,
    )


def check_spec(check: Check) -> dg.AssetCheckSpec:
    """Specify a check; a failed one never stops the step that keeps the rejected build aside."""
    return dg.AssetCheckSpec(check.name, asset=checked_table(check), description=check.cause)


@cache
def checked_table(check: Check) -> str:
    """Name the table a check is about: the one its name begins with, else the first it reads."""
    for name in sorted([*RAW_TABLES, *CORE_TABLES, *FEATURE_TABLES], key=len, reverse=True):
        if check.name.startswith(name):
            return name
    first = check.inputs[0]
    if first in FEATURE_TABLES or first in RAW_TABLES or first in CORE_TABLES:
        return first
    return catalog.stored_inputs(first, RAW_TABLES)[0]


def check_result(result: CheckResult) -> dg.AssetCheckResult:
    """Tell how a check ended, with the first offending rows."""
    is_warning = result.severity == "warn"
    return dg.AssetCheckResult(
        check_name=result.name,
        asset_key=checked_table(catalog.checks()[result.name]),
        passed=result.rows == 0,
        severity=dg.AssetCheckSeverity.WARN if is_warning else dg.AssetCheckSeverity.ERROR,
        description=result.cause,
        metadata={"rows": result.rows, "first rows": "\n\n".join(result.examples) or "none"},
    )


def stored(lake: Lake, name: str) -> Metadata:
    """Describe a table of the lake as it stands: rows, files, bytes, version."""
    table = lake.open(name)
    files = data_files(table)
    return {
        "dagster/row_count": sum(file.rows for file in files),
        "files": len(files),
        "bytes": sum(file.bytes for file in files),
        "Delta version": table.version(),
    }


def columns_of(lake: Lake, name: str) -> Metadata:
    """Describe the columns of a table of the lake."""
    return {"dagster/column_schema": _schema(pa.schema(lake.open(name).schema().to_arrow()))}


def counts(found: TableIntake) -> Metadata:
    """Tell what one run brought to a raw table."""
    return {
        "lines read": found.lines,
        "accepted": found.accepted,
        "rejected": found.rejected,
        "duplicates": found.duplicates,
        "commits": found.commits,
        "reasons of rejection": found.reasons,
    }


def computed(name: str, rows: int, types: Mapping[str, str]) -> Metadata:
    """Describe a feature table of a build: rows and columns."""
    comments = catalog.tables()[name].columns
    columns = [dg.TableColumn(n, kind, comments.get(n)) for n, kind in types.items()]
    return {
        "dagster/row_count": rows,
        "dagster/column_schema": dg.TableSchema(columns),
    }


def _schema(schema: pa.Schema) -> dg.TableSchema:
    columns = [
        dg.TableColumn(f.name, str(f.type), (f.metadata or {}).get(b"comment", b"").decode())
        for f in schema
    ]
    return dg.TableSchema(columns)


def _lineage(name: str) -> dg.TableColumnLineage:
    found = catalog.column_lineage(name, raw_columns())
    deps = {
        column: [dg.TableColumnDep(asset_key=table, column_name=origin) for table, origin in pairs]
        for column, pairs in found.items()
    }
    return dg.TableColumnLineage(deps_by_column=deps)


def published(store: Store, report: RefreshReport) -> Metadata:
    """Tell what became of the snapshot and what it holds."""
    name = str(report.snapshot_id)
    manifest = store.manifest(name)
    return {
        "outcome": report.outcome,
        "snapshot": name,
        "sequence": manifest["sequence"],
        "as of": dg.TimestampMetadataValue(manifest["as_of_ms"] / 1000),
        "path": dg.PathMetadataValue(str(store.path(name))),
        "CURRENT": store.current() or "none",
        "rows": {table: entry["rows"] for table, entry in manifest["tables"].items()},
        "SHA-256": {table: entry["sha256"] for table, entry in manifest["tables"].items()},
        "checks": {c["name"]: f"{c['severity']}: {c['rows']} rows" for c in manifest["checks"]},
        "seconds": {step: round(spent, 3) for step, spent in report.seconds.items()},
    }


def mirrored(done: Published) -> Metadata:
    """Tell what became of the mirror and what it took."""
    return {
        "outcome": done.outcome,
        "snapshot": done.snapshot_id or "none",
        "documents written": done.written,
        "documents deleted": done.deleted,
        "documents that stood there": done.skipped,
        "batches": done.batches,
        "seconds": round(done.seconds, 3),
        **({"why": done.detail} if done.detail else {}),
    }


def rejection(store: Store, report: RefreshReport) -> dg.Failure:
    """Return the failure that names the checks that kept a build from publication."""
    name = str(report.snapshot_id)
    folder = store.root / "rejected" / name
    causes = {check.name: check.cause for check in report.built.failed}
    listed = "; ".join(f"{check}: {cause}" for check, cause in causes.items())
    return dg.Failure(
        f"{name} is not published, CURRENT stays {store.current() or 'unset'}: {listed}."
        f" The build is kept in {folder}; mend the cause and refresh again",
        metadata={"failed checks": causes, "path": dg.PathMetadataValue(str(folder))},
        allow_retries=False,
    )
