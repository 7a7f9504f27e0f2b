"""What starts a refresh or the upkeep under Dagster: jobs, schedules, the sensor on new log bytes.

Put here: when. Keep out: what a run does (assets/, upkeep.py).
"""

import hashlib

import dagster as dg

from features.settings import Settings
from pipelines.assets.run import WRITER_TAG
from pipelines.assets.upkeep import maintain
from pipelines.intake import sources

_TAGS = {WRITER_TAG: "one"}
# Every event is in Dagster's storage already; the log file on disk has no bound of its own.
_QUIET = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}
_BUSY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

refresh_job = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.all(),
    description="New log lines in, every table brought up to date, one snapshot published.",
    executor_def=dg.in_process_executor,
    tags=_TAGS,
)


@dg.job(
    name="upkeep",
    description="Compact and vacuum the lake, remove old snapshots and Dagster's old runs.",
    executor_def=dg.in_process_executor,
    tags=_TAGS,
)
def upkeep_job() -> None:
    maintain()


def busy_run(instance: dg.DagsterInstance) -> str | None:
    """Return the id of a refresh that is queued or running, or None."""
    waiting = dg.RunsFilter(job_name=refresh_job.name, statuses=_BUSY)
    found = instance.get_run_ids(waiting, limit=1)
    return found[0] if found else None


@dg.schedule(
    job=refresh_job,
    cron_schedule=Settings().refresh_cron,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def refresh_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Refresh, unless a refresh is queued or running."""
    busy = busy_run(context.instance)
    if busy:
        return dg.SkipReason(f"refresh {busy} has not ended: this tick is left out")
    return dg.RunRequest(run_config=_QUIET)


@dg.schedule(
    job=upkeep_job, cron_schedule="17 */3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)
def upkeep_schedule() -> dg.RunRequest:
    """Keep files and Dagster's storage few: a day of refreshes left unmerged doubles their time."""
    return dg.RunRequest(run_config=_QUIET)


@dg.sensor(
    job=refresh_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
)
def new_log_bytes(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Refresh when a log file grew or changed; off until somebody switches it on."""
    cursor = log_state(Settings())
    if cursor == context.cursor:
        return dg.SkipReason("no log file has changed")
    busy = busy_run(context.instance)
    if busy:
        return dg.SkipReason(f"refresh {busy} has not ended: looked at again in a minute")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_config=_QUIET)], cursor=cursor)


def log_state(settings: Settings) -> str:
    """Sum up paths, sizes and modification times of every log file."""
    digest = hashlib.sha256()
    size = 0
    files = sources.discover(settings.log_folders()).files
    for file in sorted(files, key=lambda f: f.path):
        try:
            stat = file.path.stat()
        except FileNotFoundError:
            continue  # rotated away between listing and looking: the next tick sees it
        size += stat.st_size
        digest.update(f"{file.path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return f"{len(files)} files, {size} bytes, {digest.hexdigest()[:16]}"
