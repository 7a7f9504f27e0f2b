"""Dagster's own folder: its configuration, its first opening, and keeping its storage bounded.

Put here: everything about DAGSTER_HOME. Keep out: starting processes (up.py), what runs do.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster import DagsterInstance
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from features.durable import replace_file

CONFIG = """\
# Written by `execintel up` at every start: changes made here are lost.
telemetry:
  enabled: false
nux:
  enabled: false
run_coordinator:
  module: dagster._core.run_coordinator.queued_run_coordinator
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
concurrency:
  runs:
    max_concurrent_runs: 1            # also what is started by hand on the pages
    tag_concurrency_limits:
      - key: execintel/writer         # refresh and upkeep: one writer at a time
        limit: 1
run_monitoring:
  enabled: true
  start_timeout_seconds: 120
  cancel_timeout_seconds: 60
  max_runtime_seconds: 3600
  poll_interval_seconds: 30
retention:                            # ticks only; runs are removed by the upkeep job
  schedule:
    purge_after_days: 7
  sensor:
    purge_after_days: 2
"""

KEPT_RUNS = 100  # newest runs kept: eight hours at five minutes, about 0.65 MB a run


def prepare(home: Path) -> Path:
    """Write dagster.yaml below a data root and create the storage; returns DAGSTER_HOME.

    The storage is opened once here: three processes opening a fresh one at once crash.
    """
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "dagster.yaml"
    if not target.exists() or target.read_text() != CONFIG:
        replace_file(target, CONFIG)
    with opened(folder) as instance:
        instance.get_runs_count()
        instance.all_instigator_state()
        instance.all_asset_keys()
    return folder


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[DagsterInstance]:
    """Open the instance of a DAGSTER_HOME."""
    with DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def end_abandoned(instance: DagsterInstance) -> list[str]:
    """Mark runs failed that a killed `execintel up` left running; returns their ids.

    Only for the moment before the daemon starts: then nothing can be running.
    """
    statuses = [
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
        dg.DagsterRunStatus.NOT_STARTED,
    ]
    left = instance.get_runs(dg.RunsFilter(statuses=statuses))
    for run in left:
        instance.report_run_failed(run, "its process ended with an earlier `execintel up`")
    return [run.run_id for run in left]


def prune(instance: DagsterInstance, keep: int = KEPT_RUNS) -> int:
    """Remove all but the newest ``keep`` runs with their files; returns how many went.

    Runs that have not ended stay, and of every asset the run of its latest materialization.
    """
    kept = _latest_materializations(instance)
    root = Path(instance.root_directory)
    ended = [
        dg.DagsterRunStatus.SUCCESS,
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.CANCELED,
    ]
    newest = {record.dagster_run.run_id for record in instance.get_run_records(limit=keep)}
    doomed = [
        record.dagster_run.run_id
        for record in instance.get_run_records(dg.RunsFilter(statuses=ended))
        if record.dagster_run.run_id not in newest | kept
    ]
    for run_id in doomed:
        instance.delete_run(run_id)
        unlink_leftovers(root, run_id)
    _unlink_orphans(instance, root)
    _forget_check_executions(instance)
    return len(doomed)


def unlink_leftovers(root: Path, run_id: str) -> None:
    """Remove what delete_run leaves on disk: the run's event database and its captured output."""
    for path in (root / "history" / "runs").glob(f"{run_id}.db*"):
        path.unlink(missing_ok=True)
    shutil.rmtree(root / "storage" / run_id, ignore_errors=True)


def _unlink_orphans(instance: DagsterInstance, root: Path) -> None:
    """Remove files of runs that no longer exist, such as those of a pruning that was killed."""
    known = set(instance.get_run_ids())
    found = {path.name.partition(".db")[0] for path in (root / "history" / "runs").glob("*.db*")}
    for run_id in found - known - {"index"}:
        unlink_leftovers(root, run_id)


def _forget_check_executions(instance: DagsterInstance) -> None:
    """Remove what delete_run leaves in the index: check executions of runs that are gone.

    The latest execution of each check stays, so that the pages go on showing how it ended.
    """
    executions = AssetCheckExecutionsTable
    latest = sa.select(sa.func.max(executions.c.id)).group_by(
        executions.c.asset_key, executions.c.check_name
    )
    gone = executions.c.run_id.not_in(instance.get_run_ids())
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)  # dagster.yaml names no other
    with storage.index_connection() as connection:
        connection.execute(executions.delete().where(gone, executions.c.id.not_in(latest)))


def _latest_materializations(instance: DagsterInstance) -> set[str]:
    records = instance.get_asset_records()
    return {r.asset_entry.last_run_id for r in records if r.asset_entry.last_run_id} | {
        r.asset_entry.last_materialization_record.run_id
        for r in records
        if r.asset_entry.last_materialization_record is not None
    }
