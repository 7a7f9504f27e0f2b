"""The code location: assets, checks, jobs, schedules, sensor and the run they share.

Put here: assembly. Keep out: everything else.
"""

import dagster as dg

from pipelines.assets.checks import table_checks
from pipelines.assets.core import core_tables
from pipelines.assets.feat import feature_tables
from pipelines.assets.mirror import firestore_mirror
from pipelines.assets.publish import snapshot
from pipelines.assets.raw import raw_tables
from pipelines.assets.run import RefreshRun
from pipelines.triggers import (
    new_log_bytes,
    refresh_job,
    refresh_schedule,
    upkeep_job,
    upkeep_schedule,
)

defs = dg.Definitions(
    assets=[raw_tables, core_tables, feature_tables, snapshot, firestore_mirror],
    asset_checks=[table_checks],
    jobs=[refresh_job, upkeep_job],
    schedules=[refresh_schedule, upkeep_schedule],
    sensors=[new_log_bytes],
    resources={"refresh": RefreshRun.configure_at_launch()},
    executor=dg.in_process_executor,  # one process: the steps share one run and one connection
)
