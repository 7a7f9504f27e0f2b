"""The feature tables: the windows as of the run's time, in one process and one connection."""

from collections.abc import Iterator

import dagster as dg

from features import catalog
from pipelines.assets import describe
from pipelines.refresh import Refresh


@dg.multi_asset(
    specs=[describe.table_spec(catalog.tables()[name]) for name in describe.FEATURE_TABLES],
    can_subset=True,
)
def feature_tables(
    context: dg.AssetExecutionContext, refresh: dg.ResourceParam[Refresh]
) -> Iterator[dg.MaterializeResult[None]]:
    """Compute the selected tables into a private build; the snapshot asset keeps it."""
    if not refresh.has_lines:
        return
    refresh.ensure_core()
    names = {key.to_user_string() for key in context.selected_asset_keys}
    built = refresh.build_features(names)
    for name, rows in built.rows.items():
        if name not in names:  # computed for a selected table to read
            continue
        yield dg.MaterializeResult(
            asset_key=name,
            metadata=describe.computed(name, rows, refresh.column_types(name)),
            data_version=dg.DataVersion(built.digests[name]),
        )
