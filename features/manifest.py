"""What a build writes down about itself, and what is asked of two manifests.

Put here: the fields of manifest.json. Keep out: the files and folders of snapshots (snapshot.py).
"""

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from features.build import Built, Plan  # readers of snapshots need none of its imports
    from features.settings import Settings


def snapshot_name(plan: "Plan") -> str:
    """Return the id of a plan's snapshot: as-of and the digest of all that decides its rows."""
    moment = dt.datetime.fromtimestamp(plan.as_of_ms / 1000, tz=dt.UTC)
    return f"{moment:%Y%m%dT%H%M%SZ}-{plan.identity}"


def manifest_of(
    plan: "Plan",
    built: "Built",
    settings: "Settings",
    *,
    sequence: int,
    now_ms: int,
    operator: str,
    previous: str | None,
) -> dict[str, Any]:
    """Write down everything a number of this build came from."""
    from features import catalog, params
    from features.memory import PREVIOUS, PREVIOUS_ALERTS

    grains = {table.name: table.grain for table in catalog.computed()}
    return {
        "snapshot_id": snapshot_name(plan),
        "sequence": sequence,
        "as_of_ms": plan.as_of_ms,
        "created_ms": now_ms,
        "origin": settings.origin,
        "environment": plan.environment,
        "account": settings.account,
        "operator": operator,
        "code": plan.code,
        "sql_sha256": catalog.code_digest(),
        "window_days": plan.window_days,
        "params": plan.parameters(),
        "params_sha256": params.digest(plan.params),
        "previous": previous,
        PREVIOUS: {
            "state": plan.before.state,
            "snapshot_id": plan.before.snapshot_id,
            "rows": plan.before.rows.num_rows,
            "sha256": plan.before.digest,
            "problem": plan.before.problem,
        },
        PREVIOUS_ALERTS: {
            "rows": plan.before.alerts.num_rows,
            "sha256": plan.before.alerts_digest,
        },
        "lake_root": str(settings.lake_root),
        "inputs": {
            name: {
                "version": source.version,
                "rows": source.rows,
                "digest": source.digest,
                "files": [file.path for file in source.files],
            }
            for name, source in plan.inputs.items()
        },
        "tables": {
            name: {"rows": rows, "sha256": built.digests[name], "grain": list(grains[name])}
            for name, rows in built.rows.items()
        },
        "left_out": built.left_out,
        "checks": [
            {
                "name": check.name,
                "severity": check.severity,
                "rows": check.rows,
                "cause": check.cause,
                "examples": list(check.examples),
            }
            for check in built.checks
        ],
        "failed_checks": [check.name for check in built.failed],
        "held_checks": [check.name for check in built.held],
    }


def symbol_count(manifest: Mapping[str, Any]) -> int:
    """Return how many symbols a snapshot holds: those that traded, were asked for or failed."""
    rows: int = manifest["tables"]["feat_router__effectiveness"]["rows"]
    return max(rows - 1, 0)  # one row is of all symbols


def is_emptied(manifest: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """Tell whether a build holds no symbol where CURRENT does."""
    return symbol_count(manifest) == 0 < symbol_count(current)


def lost_lines(
    manifest: Mapping[str, Any], current: Mapping[str, Any]
) -> dict[str, tuple[int, int]]:
    """Return the raw tables that had more rows under CURRENT than now: rows before, rows now."""
    now = {name: source["rows"] for name, source in manifest["inputs"].items()}
    return {
        name: (source["rows"], now.get(name, 0))
        for name, source in current["inputs"].items()
        if name.startswith("raw_") and source["rows"] > now.get(name, 0)
    }
