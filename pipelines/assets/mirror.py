"""The mirror: the published snapshot in Firestore, best effort."""

from collections.abc import Iterator

import dagster as dg

from live.mirror import link
from pipelines.assets import describe
from pipelines.mirror import mirror_current
from pipelines.refresh import Refresh


@dg.asset(
    deps=["snapshot"],
    group_name="publish",
    kinds={"firestore"},
    description="CURRENT as documents below hedge/{env}, for remote eyes; off until configured.",
    output_required=False,
)
def firestore_mirror(
    context: dg.AssetExecutionContext, refresh: dg.ResourceParam[Refresh]
) -> Iterator[dg.MaterializeResult[None]]:
    """Mirror CURRENT; what fails is said and tried again by the next run, and fails nothing."""
    if link.where() is None:
        context.log.info("mirroring is off: no Firestore is configured")
        return
    done = mirror_current(refresh.store, refresh.settings)
    if done.is_good:
        yield dg.MaterializeResult(
            metadata=describe.mirrored(done), data_version=dg.DataVersion(done.snapshot_id)
        )
        return
    context.log.warning(f"not mirrored, {done.outcome}: {done.detail}. The snapshot stands")
    context.log_event(
        dg.AssetObservation(asset_key="firestore_mirror", metadata=describe.mirrored(done))
    )
