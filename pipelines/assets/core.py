"""The core tables: what happened to each order, kept true to the raw tables."""

from collections.abc import Iterator

import dagster as dg

from features import catalog
from pipelines.assets import describe
from pipelines.refresh import Refresh


@dg.multi_asset(specs=[describe.table_spec(catalog.tables()[n]) for n in describe.CORE_TABLES])
def core_tables(refresh: dg.ResourceParam[Refresh]) -> Iterator[dg.MaterializeResult[None]]:
    """Rebuild the partitions that new rows touch; nothing while no line was ever read."""
    if not refresh.has_lines:
        return
    report = refresh.rebuild_core()
    for name in describe.CORE_TABLES:
        described = describe.stored(refresh.lake, name) | describe.columns_of(refresh.lake, name)
        metadata = described | {
            "partitions rebuilt": report.partitions.get(name, 0),
            "rows rebuilt": report.rows.get(name, 0),
        }
        version = dg.DataVersion(str(metadata["Delta version"]))
        yield dg.MaterializeResult(asset_key=name, metadata=metadata, data_version=version)
