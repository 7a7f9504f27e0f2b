"""Dagster: the assets make the refresh, its checks show, and only one refresh runs at a time."""

import itertools
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import dagster as dg
import pytest

from features import catalog
from features.lock import WriterBusyError, writer_lock
from features.settings import Settings
from features.snapshot import Store
from pipelines import dagster_home
from pipelines.assets import describe
from pipelines.definitions import defs
from pipelines.intake.kinds import RAW_TABLES
from pipelines.refresh import Refresh, refresh
from pipelines.triggers import (
    busy_run,
    new_log_bytes,
    refresh_job,
    refresh_schedule,
    upkeep_schedule,
)
from tests import loads

AS_OF = "2025-11-08T12:00:00Z"
AS_OF_MS = 1_762_603_200_000
STORED = [*RAW_TABLES, *describe.CORE_TABLES]


def enter(root: Path, patch: pytest.MonkeyPatch) -> Path:
    """Name a data root that programs find through the environment; returns it."""
    patch.setenv("EXECINTEL_HOME", str(root / "home"))
    patch.setenv("EXECINTEL_LOG_DIR", str(root / "logs"))
    patch.chdir(root)
    return root / "home"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Folder of a few days of small logs."""
    folder = tmp_path / "logs"
    loads.append(folder, loads.tangled_lines(7))
    return folder


@pytest.fixture
def home(tmp_path: Path, logs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a data root of this test."""
    return enter(tmp_path, monkeypatch)


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster on the SQLite storage that `execintel up` uses."""
    with dagster_home.opened(dagster_home.prepare(home)) as opened:
        yield opened


def run_refresh(
    instance: dg.DagsterInstance, selection: list[str] | None = None, as_of: str | None = AS_OF
) -> dg.ExecuteInProcessResult:
    """Execute the job, or some assets of it, in this process."""
    job = defs.resolve_job_def(refresh_job.name)
    config: dict[str, object] = {"lock_wait_s": 300.0} | ({"as_of": as_of} if as_of else {})
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in selection] if selection else None,
        run_config={"resources": {"refresh": {"config": config}}},
        raise_on_error=False,
    )


def metadata_of(result: dg.ExecuteInProcessResult, name: str) -> dict[str, object]:
    for event in result.get_asset_materialization_events():
        if event.asset_key == dg.AssetKey(name):
            found = event.step_materialization_data.materialization.metadata
            return {label: value.value for label, value in found.items()}
    raise AssertionError(f"{name} was not materialized")


@pytest.fixture(scope="module")
def first_run(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dg.ExecuteInProcessResult]:
    """Execute the job once; returns the folder of its logs and home, kept aside, and its result."""
    root = tmp_path_factory.mktemp("first") / "desk"
    loads.append(root / "logs", loads.tangled_lines(7))
    with pytest.MonkeyPatch.context() as patch:
        home = enter(root, patch)
        with dagster_home.opened(dagster_home.prepare(home)) as opened:
            result = run_refresh(opened)
    assert result.success
    loads.keep_aside(root)
    return root, result


@pytest.fixture
def published(
    first_run: tuple[Path, dg.ExecuteInProcessResult], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, dg.DagsterInstance]]:
    """Enter what that run left, put back where it was; returns the home and its Dagster."""
    loads.put_back(first_run[0])
    home = enter(first_run[0], monkeypatch)
    with dagster_home.opened(home / "dagster") as opened:
        yield home, opened


# -- definitions --------------------------------------------------------------------------------


def test_every_stored_table_the_snapshot_and_its_mirror_are_assets_in_their_groups() -> None:
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    outward = {"snapshot", "firestore_mirror"}
    assert set(specs) == {*STORED, *describe.FEATURE_TABLES, *outward}
    for name, spec in specs.items():
        assert spec.group_name == ("publish" if name in outward else name.partition("_")[0])
        assert spec.description, f"{name} has no description"


def test_lineage_leads_from_every_raw_table_to_the_mirror() -> None:
    above = {
        spec.key.to_user_string(): {dep.asset_key.to_user_string() for dep in spec.deps}
        for spec in defs.resolve_all_asset_specs()
    }
    reached, frontier = set(), {"firestore_mirror"}
    while frontier:
        reached |= frontier
        frontier = {dep for name in frontier for dep in above[name]} - reached
    assert reached == {*STORED, *describe.FEATURE_TABLES, "snapshot", "firestore_mirror"}


def test_every_check_file_is_a_check_on_a_table() -> None:
    specs = {key.name: key.asset_key for key in defs.resolve_asset_graph().asset_check_keys}
    assert set(specs) == set(catalog.checks())
    assert specs["core_execution__outcomes_unique"] == dg.AssetKey("core_execution__outcomes")


def test_dagster_itself_finds_the_code_location_valid(
    home: Path, tmp_path: Path, repository: Path
) -> None:
    environment = os.environ | {"DAGSTER_HOME": str(dagster_home.prepare(home))}
    command = [sys.executable, "-W", "error::DeprecationWarning:pipelines", "-m", "dagster"]
    command += ["definitions", "validate", "-w", str(repository / "workspace.yaml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_column_that_does_not_only_count_has_an_origin() -> None:
    counting = {
        "core_execution__hourly": {"submitted_n"},
        "core_position__reconciliation": {"environment"},  # of the settings
        "feat_account__coverage": {"funding_n", "position_change_n"},
        "feat_execution__hourly_expectancy": {"funding_n"},
        "feat_symbol__performance": {"nav_n", "nav_rejected_n"},
        "feat_symbol__scores": {"model", "is_active", "excluded"},
        # of the snapshot before, of no table of this one, or of a parameter
        "feat_symbol__sizing": {"previous_size_factor"},
        "feat_router__maker_offsets": {"hour_utc", "base_bps"},
        "feat_router__policies": {"previous_quality"},
        "feat_symbol__memory": {"decided_ms", "is_listed"},
        "feat_ops__source_freshness": {"source", "n", "required", "max_silence_s"},
        "core_telemetry__daily": {"n"},
        "core_telemetry__paths": {"n"},
        "feat_telemetry__accuracy": {"window", "day_n", "pending_n"},
        "feat_telemetry__comparison": {"bet_day_n", "other_bet_day_n"},
        "feat_ops__alerts": {"status", "since_ms"},  # as-of, or of another snapshot
    }
    raw = describe.raw_columns()
    for name in [*describe.CORE_TABLES, *describe.FEATURE_TABLES]:
        found = catalog.column_lineage(name, raw)
        assert set(catalog.tables()[name].columns) - set(found) == counting.get(name, set()), name
        for pairs in found.values():
            for table, column in pairs:
                columns = raw[table] if table in raw else catalog.tables()[table].columns
                assert column in columns, f"{name} is said to read {table}.{column}"


@pytest.mark.parametrize(
    ("table", "column", "origins"),
    [
        # a plain column, through five CTEs
        (
            "core_execution__outcomes",
            "intent_id",
            {("raw_router__events", "intent_id")},
        ),
        # through the window view, whose CASE reads close_ms as well
        (
            "feat_symbol__performance",
            "return_mean",
            {
                ("core_execution__outcomes", "realized_pnl_usd"),
                ("core_execution__outcomes", "close_ms"),
            },
        ),
        # through the union of whole and cut hours
        ("feat_execution__hourly_expectancy", "slip_n", {("core_execution__hourly", "slip_n")}),
        # through the union of every raw table
        (
            "feat_ops__source_freshness",
            "last_event_at_utc",
            {(name, "event_ms") for name in RAW_TABLES},
        ),
    ],
)
def test_column_lineage_names_the_stored_columns(
    table: str, column: str, origins: set[tuple[str, str]]
) -> None:
    assert origins <= set(catalog.column_lineage(table, describe.raw_columns())[column])


# -- runs ---------------------------------------------------------------------------------------


def test_the_job_publishes_what_the_plain_call_publishes(
    published: tuple[Path, dg.DagsterInstance], tmp_path: Path
) -> None:
    home, _ = published
    plain = loads.settings_over(home.parent / "logs", tmp_path / "plain")
    store = Store(home / "snapshots")
    # The newest line's reading time is part of freshness: the same clock, the same digest.
    clock_ms = store.manifest(store.resolve(None))["created_ms"]
    report = refresh(plain, as_of_ms=AS_OF_MS, now_ms=clock_ms)
    assert report.outcome == "published"
    assert loads.feature_digests(home) == report.built.digests
    assert loads.lake_digests(home) == loads.lake_digests(tmp_path / "plain")
    assert store.current() == report.snapshot_id


def test_materializations_carry_rows_columns_and_lineage(
    first_run: tuple[Path, dg.ExecuteInProcessResult], published: tuple[Path, dg.DagsterInstance]
) -> None:
    _, result = first_run
    home, _ = published
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    for name in STORED + describe.FEATURE_TABLES:
        found = {**specs[name].metadata, **metadata_of(result, name)}
        schema = found["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchema)
        assert isinstance(found["dagster/row_count"], int)
        described = {column.name for column in schema.columns if column.description}
        assert described >= {column.name for column in schema.columns} - {"part", "definition"}
        assert ("dagster/column_lineage" in found) == (name not in RAW_TABLES)
    outcomes = metadata_of(result, "core_execution__outcomes")
    assert outcomes["rows rebuilt"] == outcomes["dagster/row_count"]
    snapshot = metadata_of(result, "snapshot")
    assert snapshot["outcome"] == "published"
    assert snapshot["snapshot"] == Store(home / "snapshots").current()
    evaluations = result.get_asset_check_evaluations()
    assert {e.check_name for e in evaluations} == set(catalog.checks())


def test_the_same_run_again_reads_nothing_and_changes_nothing(
    published: tuple[Path, dg.DagsterInstance],
) -> None:
    home, instance = published
    again = run_refresh(instance)
    assert metadata_of(again, "snapshot")["outcome"] == "unchanged"
    assert metadata_of(again, "raw_router__events")["lines read"] == 0
    assert len(Store(home / "snapshots").ids()) == 1


def test_a_build_without_any_symbol_fails_the_run_and_leaves_current(
    published: tuple[Path, dg.DagsterInstance],
) -> None:
    home, instance = published
    store = Store(home / "snapshots")
    full = store.current()
    weeks_after_the_last_line = "2025-12-24T12:00:00Z"
    result = run_refresh(instance, ["snapshot"], as_of=weeks_after_the_last_line)
    assert not result.success
    assert store.current() == full
    failed = [e.step_failure_data for e in result.all_events if e.is_step_failure]
    said = [data.error.message for data in failed if data.error]
    assert any("holds no symbol and CURRENT does, so it is kept" in words for words in said)


def test_without_any_log_the_run_succeeds_and_publishes_nothing(
    home: Path, instance: dg.DagsterInstance, logs: Path
) -> None:
    for path in logs.iterdir():
        path.unlink()
    result = run_refresh(instance)
    assert result.success
    assert Store(home / "snapshots").current() is None
    assert not [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key not in {dg.AssetKey(name) for name in RAW_TABLES}
    ]


def test_some_raw_tables_can_be_read_and_one_feature_table_computed_alone(
    home: Path, instance: dg.DagsterInstance
) -> None:
    result = run_refresh(instance, ["raw_router__events"])
    assert result.success
    assert metadata_of(result, "raw_router__events")["lines read"] > 0  # type: ignore[operator]

    run_refresh(instance, list(RAW_TABLES))
    result = run_refresh(instance, ["feat_router__effectiveness"])
    assert result.success, "the core tables it needs are built on the way"
    assert metadata_of(result, "feat_router__effectiveness")["dagster/row_count"] > 0  # type: ignore[operator]
    checks = [e.check_name for e in result.get_asset_check_evaluations()]
    assert checks == ["feat_router__effectiveness_sound"]
    assert Store(home / "snapshots").current() is None

    assert run_refresh(instance, ["snapshot"]).success
    assert Store(home / "snapshots").current() is not None


def test_the_snapshot_alone_is_built_on_core_tables_that_are_up_to_date(
    published: tuple[Path, dg.DagsterInstance],
) -> None:
    home, instance = published
    expected = loads.feature_digests(home)
    made = [path for path in (home / "lake").glob("*_*") if path.name not in RAW_TABLES]
    for path in [*made, home / "snapshots", home / "cache"]:  # the raw tables alone stay
        shutil.rmtree(path)
    assert run_refresh(instance, ["snapshot"]).success
    assert loads.feature_digests(home) == expected


def test_the_mirror_is_off_until_configured_and_its_failure_fails_nothing(
    first_run: tuple[Path, dg.ExecuteInProcessResult],
    published: tuple[Path, dg.DagsterInstance],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    mirror = dg.AssetKey("firestore_mirror")
    _, result = first_run
    home, instance = published
    assert mirror not in {e.asset_key for e in result.get_asset_materialization_events()}
    said = [entry.message for entry in instance.all_logs(result.run_id)]
    assert any("mirroring is off: no Firestore is configured" in line for line in said)

    request.getfixturevalue("firestore")
    result = run_refresh(instance, ["firestore_mirror"])
    found = metadata_of(result, "firestore_mirror")
    assert (found["outcome"], found["batches"]) == ("published", 1)
    assert found["snapshot"] == Store(home / "snapshots").current()

    with socket.socket() as unused:  # nobody listens here: refused
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{unused.getsockname()[1]}")
        result = run_refresh(instance, ["snapshot", "firestore_mirror"])
    assert result.success
    (observation,) = [
        entry.dagster_event
        for entry in instance.all_logs(result.run_id)
        if entry.dagster_event and entry.dagster_event.is_asset_observation
    ]
    assert (
        observation.asset_observation_data.asset_observation.metadata["outcome"].value == "failed"
    )


def test_a_failed_check_fails_the_run_and_leaves_current(
    published: tuple[Path, dg.DagsterInstance], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home, instance = published
    before = Store(home / "snapshots").current()
    config = tmp_path / "strict.toml"
    config.write_text("[freshness.raw_market__bars]\nrequired = true\n")
    monkeypatch.setenv("EXECINTEL_CONFIG", str(config))

    result = run_refresh(instance, as_of="2025-11-08T13:00:00Z")

    assert not result.success
    failed = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert [e.check_name for e in failed if e.severity is dg.AssetCheckSeverity.ERROR] == [
        "feat_ops__source_freshness_required"
    ]
    (step,) = result.get_step_failure_events()
    assert step.step_key == "snapshot"
    said = step.step_failure_data.error_display_string
    assert "feat_ops__source_freshness_required" in said
    store = Store(home / "snapshots")
    assert store.current() == before
    assert [m["failed_checks"] for m in store.rejected()] == [
        ["feat_ops__source_freshness_required"]
    ]


# -- one at a time ------------------------------------------------------------------------------


def test_the_schedule_skips_while_a_refresh_has_not_ended(instance: dg.DagsterInstance) -> None:
    context = dg.build_schedule_context(instance)
    assert isinstance(refresh_schedule(context), dg.RunRequest)
    job = defs.resolve_job_def(refresh_job.name)
    for status in (
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ):
        run = instance.create_run_for_job(job, status=status)
        assert busy_run(instance) == run.run_id, status
        skipped = refresh_schedule(context)
        assert isinstance(skipped, dg.SkipReason)
        assert run.run_id in str(skipped.skip_message)
        instance.report_run_canceled(run)
        assert isinstance(refresh_schedule(context), dg.RunRequest), status


def test_the_schedules_run_by_default_and_the_sensor_does_not() -> None:
    assert refresh_schedule.cron_schedule == "*/5 * * * *"
    assert refresh_schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert upkeep_schedule.cron_schedule == "17 */3 * * *"
    assert upkeep_schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert new_log_bytes.default_status is dg.DefaultSensorStatus.STOPPED
    assert new_log_bytes.minimum_interval_seconds == 60


def test_the_sensor_asks_for_a_run_when_a_log_changed(
    instance: dg.DagsterInstance, logs: Path
) -> None:
    def look(cursor: str | None) -> dg.SensorResult | dg.SkipReason:
        found = new_log_bytes(dg.build_sensor_context(instance, cursor=cursor))
        assert isinstance(found, dg.SensorResult | dg.SkipReason)
        return found

    first = look(None)
    assert isinstance(first, dg.SensorResult)
    assert isinstance(look(first.cursor), dg.SkipReason)
    loads.append(logs, [loads.router_line("sig_new", "BTCUSDT", AS_OF_MS)])
    grown = look(first.cursor)
    assert isinstance(grown, dg.SensorResult)
    assert len(grown.run_requests or []) == 1
    job = defs.resolve_job_def(refresh_job.name)
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert isinstance(look(first.cursor), dg.SkipReason), "waits for the run under way"


def test_the_queue_lets_one_writer_run(instance: dg.DagsterInstance) -> None:
    config = instance.get_concurrency_config().run_queue_config
    assert config is not None
    assert config.max_concurrent_runs == 1
    assert [(limit["key"], limit["limit"]) for limit in config.tag_concurrency_limits] == [
        ("execintel/writer", 1)
    ]
    for name in ("refresh", "upkeep"):
        assert "execintel/writer" in defs.resolve_job_def(name).tags


def test_a_run_that_finds_another_writer_fails_and_names_it(
    home: Path, instance: dg.DagsterInstance
) -> None:
    job = defs.resolve_job_def(refresh_job.name)
    config = {"resources": {"refresh": {"config": {"lock_wait_s": 0.1}}}}
    with (
        writer_lock(home, "a test"),
        pytest.raises(dg.DagsterResourceFunctionError, match="refresh") as caught,
    ):
        job.execute_in_process(instance=instance, run_config=config)
    assert isinstance(caught.value.__cause__, WriterBusyError)
    assert "a test" in str(caught.value.__cause__)
    assert run_refresh(instance, ["raw_router__events"]).success


def refresh_and_note(how: str, notes: Path, together: Barrier) -> None:
    """Refresh once in this process, noting when its writing began and ended (monotonic ns)."""
    prepare, close = Refresh.prepare, Refresh.close
    began: list[int] = []

    def noting_prepare(run: Refresh) -> None:
        began.append(time.monotonic_ns())
        prepare(run)

    def noting_close(run: Refresh) -> None:
        close(run)
        if began:  # a run closes its connection once before, when its snapshot is finished
            (notes / f"{how}-{os.getpid()}").write_text(f"{began[0]} {time.monotonic_ns()}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Refresh, "prepare", noting_prepare)
        patch.setattr(Refresh, "close", noting_close)
        together.wait(300)
        if how == "plain":
            refresh(Settings(), wait_s=300)
        else:
            with dagster_home.opened(Path(os.environ["EXECINTEL_HOME"]) / "dagster") as opened:
                assert run_refresh(opened, as_of=None).success


# Two are kept apart by the lock that keeps any number apart; the soak starts more.
@pytest.mark.parametrize(
    "beside",
    [["plain"], pytest.param(["plain", "plain", "dagster"], marks=pytest.mark.soak)],
    ids=len,
)
def test_refreshes_started_together_never_overlap(
    home: Path, instance: dg.DagsterInstance, tmp_path: Path, beside: list[str]
) -> None:
    """One under Dagster in this process, the others in processes of their own."""
    notes = tmp_path / "notes"
    notes.mkdir()
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(len(beside) + 1)
    children = [
        spawn.Process(target=refresh_and_note, args=(how, notes, together)) for how in beside
    ]
    for child in children:
        child.start()
    refresh_and_note("dagster", notes, together)
    for child in children:
        child.join(300)
    assert [child.exitcode for child in children] == [0] * len(children)
    spans = sorted(tuple(map(int, note.read_text().split())) for note in notes.iterdir())
    assert len(spans) == len(beside) + 1
    for (_, ended), (started, _) in itertools.pairwise(spans):
        assert started >= ended
    store = Store(home / "snapshots")
    sequences = [entry.sequence for entry in store.publications()]
    assert sequences
    assert sequences == list(range(1, len(sequences) + 1))
