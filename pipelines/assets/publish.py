"""The snapshot: the build finished, made durable and, unless something forbids it, published."""

from collections.abc import Iterator

import dagster as dg

from pipelines.assets import describe
from pipelines.refresh import Refresh, tell


@dg.asset(
    deps=describe.FEATURE_TABLES,
    group_name="publish",
    kinds={"duckdb"},
    description="One immutable folder: every feature table, and views over the exact lake files.",
    output_required=False,
)
def snapshot(refresh: dg.ResourceParam[Refresh]) -> Iterator[dg.MaterializeResult[None]]:
    """Finish the build and publish it; a failed check keeps it aside and fails the run.

    So does a build that a person must look at: without any symbol where CURRENT has some, or of
    fewer lines.
    """
    if not refresh.has_lines:
        return
    refresh.ensure_core()
    outcome = refresh.publish()
    tell(refresh.settings, refresh.report)
    if outcome == "rejected":
        raise describe.rejection(refresh.store, refresh.report)
    if refresh.report.doubt is not None:
        raise dg.Failure(refresh.report.doubt, allow_retries=False)
    yield dg.MaterializeResult(
        metadata=describe.published(refresh.store, refresh.report),
        data_version=dg.DataVersion(str(refresh.report.snapshot_id)),
    )
