"""The raw tables: new lines of the logs, exactly once."""

from collections.abc import Iterator

import dagster as dg

from pipelines.assets import describe
from pipelines.intake.intake import TableIntake
from pipelines.intake.kinds import RAW_TABLES
from pipelines.refresh import Refresh


@dg.multi_asset(specs=[describe.raw_spec(name) for name in RAW_TABLES], can_subset=True)
def raw_tables(
    context: dg.AssetExecutionContext, refresh: dg.ResourceParam[Refresh]
) -> Iterator[dg.MaterializeResult[None]]:
    """Read the new whole lines of every source into its raw table."""
    names = {key.to_user_string() for key in context.selected_asset_keys}
    report = refresh.read(names)
    for problem in report.problems:
        context.log.warning(f"{problem.path}: {problem.what}")
    for name in sorted(names):
        found = report.tables.get(name, TableIntake())
        metadata = describe.stored(refresh.lake, name) | describe.counts(found)
        version = dg.DataVersion(str(metadata["Delta version"]))
        yield dg.MaterializeResult(asset_key=name, metadata=metadata, data_version=version)
