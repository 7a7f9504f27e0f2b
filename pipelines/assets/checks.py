"""Every file of features/checks as a Dagster check on the table it is about."""

from collections.abc import Iterator

import dagster as dg

from features import catalog
from pipelines.assets import describe
from pipelines.refresh import Refresh


@dg.multi_asset_check(
    specs=[describe.check_spec(check) for check in catalog.checks().values()],
    can_subset=True,
    op_tags={"dagster/priority": "1"},  # shown before the snapshot step, which obeys them
)
def table_checks(
    context: dg.AssetCheckExecutionContext, refresh: dg.ResourceParam[Refresh]
) -> Iterator[dg.AssetCheckResult]:
    """Run the checks on the build; the snapshot asset publishes nothing that fails one."""
    if not refresh.has_lines:
        return
    selected = {key.name for key in context.selected_asset_check_keys}
    for result in refresh.report.built.checks or refresh.check():
        if result.name in selected:
            yield describe.check_result(result)
