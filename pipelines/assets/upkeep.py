"""The upkeep of lake, snapshots and Dagster's storage as one Dagster op."""

import time

import dagster as dg

from features.settings import Settings
from pipelines.dagster_home import prune
from pipelines.upkeep import upkeep


@dg.op(description="Compact, vacuum, collect garbage; then remove old runs of Dagster.")
def maintain(context: dg.OpExecutionContext) -> None:
    """Keep files few: every kept snapshot stays readable, every asset keeps its newest run."""
    now_ms = time.time_ns() // 1_000_000
    report = upkeep(Settings(), now_ms=now_ms, wait_s=600)
    pruned = prune(context.instance)
    context.add_output_metadata(
        {
            "snapshots removed": report.snapshots_removed,
            "files compacted": report.files_compacted,
            "files removed": report.files_removed,
            "history files removed": report.history_files_removed,
            "log files removed": report.log_files_removed,
            "bytes before": report.bytes_before,
            "bytes after": report.bytes_after,
            "runs removed": pruned,
        }
    )
