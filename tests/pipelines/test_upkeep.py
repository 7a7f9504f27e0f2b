"""Upkeep: fewer files and bytes, the same numbers, and every kept snapshot still whole."""

import datetime as dt
import shutil
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from features import history, history_store
from features.build import read_input
from features.lake import Lake
from features.lock import WriterBusyError, writer_lock
from features.settings import Settings
from features.snapshot import Store, open_snapshot
from pipelines import dagster_home, upkeep
from pipelines.definitions import defs
from pipelines.refresh import refresh
from tests import loads

NOW_MS = loads.START_MS + 8 * loads.DAY_MS
CHECKED = "feat_router__effectiveness"


@pytest.fixture(scope="module")
def three_published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Refresh after each of three small deliveries of lines, an hour apart; keep that aside."""
    root = tmp_path_factory.mktemp("grown") / "desk"
    settings = loads.settings_over(root / "logs", root / "home")
    lines = loads.tangled_lines(11, attempts=90)
    share = -(-len(lines) // 3)
    for number in range(3):
        loads.append(root / "logs", lines[number * share : (number + 1) * share])
        report = refresh(settings, as_of_ms=NOW_MS + number * loads.HOUR_MS, now_ms=NOW_MS + number)
        assert report.outcome == "published"
    loads.keep_aside(root)
    return root


@pytest.fixture
def grown(three_published: Path) -> Settings:
    """Put the three snapshots and their lake back where they were."""
    loads.put_back(three_published)
    return loads.settings_over(three_published / "logs", three_published / "home")


def live_files(home: Path) -> dict[str, int]:
    lake = Lake(home / "lake")
    names = [path.name for path in (home / "lake").iterdir() if lake.exists(path.name)]
    return {name: len(lake.open(name).file_uris()) for name in names}


def test_upkeep_merges_files_changes_no_row_and_leaves_every_kept_snapshot_whole(
    grown: Settings,
) -> None:
    digests, files_before = loads.lake_digests(grown.home), live_files(grown.home)
    features = loads.feature_digests(grown.home)
    first = upkeep.upkeep(grown, now_ms=NOW_MS)
    second = upkeep.upkeep(grown, now_ms=NOW_MS)
    assert loads.lake_digests(grown.home) == digests
    files = live_files(grown.home)
    assert files["raw_router__events"] < files_before["raw_router__events"]
    assert first.files_compacted["raw_router__events"] > 0
    assert sum(second.files_compacted.values()) == 0
    require_whole_snapshots(grown)
    require_a_rebuild_gives(features, grown)


def require_whole_snapshots(settings: Settings) -> None:
    store, lake = Store(settings.snapshots_root), Lake(settings.lake_root)
    assert len(store.ids()) == 3
    for snapshot_id in store.ids():
        assert store.verify(snapshot_id) == []
        inputs = store.manifest(snapshot_id)["inputs"]
        with open_snapshot(store.database(snapshot_id)) as con:
            for table, source in inputs.items():
                (count,) = con.sql(f"SELECT COUNT(*) FROM {table}").fetchall()[0]
                assert count == source["rows"]
        # What `snapshots rebuild` reads: the table as of the version that the manifest names.
        for table, source in inputs.items():
            found = read_input(table, lake.open(table, source["version"]))
            assert (found.rows, found.digest) == (source["rows"], source["digest"])
            assert [file.path for file in found.files] == source["files"]


def require_a_rebuild_gives(digests: dict[str, str], settings: Settings) -> None:
    """Assert that the newest features are the same again, from other files."""
    # Another as-of and back: the same windows over other files.
    refresh(settings, as_of_ms=NOW_MS + loads.DAY_MS, now_ms=NOW_MS + 2)
    store = Store(settings.snapshots_root)
    newest = store.ids()[-2]
    for path in store.path(newest).iterdir():
        path.unlink()
    store.path(newest).rmdir()
    report = refresh(settings, as_of_ms=NOW_MS + 2 * loads.HOUR_MS, now_ms=NOW_MS + 2, publish=True)
    assert report.snapshot_id == newest
    assert report.built.digests == digests


def test_raw_files_that_have_grown_are_not_merged_again(
    grown: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = live_files(grown.home)
    monkeypatch.setattr(upkeep, "_RAW_FILE_BYTES", 1)  # as if each had
    report = upkeep.upkeep(grown, now_ms=NOW_MS)
    assert report.files_compacted["raw_router__events"] == 0
    assert report.files_compacted[history_store.TABLE] > 0  # the other tables are merged whole
    assert live_files(grown.home)["raw_router__events"] == before["raw_router__events"]


def test_files_that_no_snapshot_names_go_and_the_log_is_trimmed(grown: Settings) -> None:
    orphan = grown.lake_root / "raw_router__events" / "part=2025-11-03" / "half.parquet"
    orphan.write_bytes(b"left by a killed run")
    upkeep.upkeep(grown, now_ms=NOW_MS)
    assert not orphan.exists()
    on_disk = sum(1 for _ in grown.lake_root.rglob("*.parquet"))
    store = Store(grown.snapshots_root)
    for snapshot_id in store.ids()[:-1]:  # as if they had grown old
        (store.path(snapshot_id) / "manifest.json").unlink()
    report = upkeep.upkeep(grown, now_ms=NOW_MS)
    assert sum(report.files_removed.values()) > 0
    assert sum(1 for _ in grown.lake_root.rglob("*.parquet")) < on_disk
    before = loads.lake_digests(grown.home)
    later = refresh(grown, as_of_ms=NOW_MS + loads.DAY_MS, now_ms=NOW_MS + 99)
    assert later.outcome == "published"
    assert later.intake.lines == 0, "offsets in the trimmed log are still known"
    upkeep.upkeep(grown, now_ms=NOW_MS)
    store.path(store.ids()[0]).joinpath("manifest.json").unlink()
    trimmed = upkeep.upkeep(grown, now_ms=NOW_MS)
    assert sum(trimmed.log_files_removed.values()) > 0
    assert loads.lake_digests(grown.home) == before
    assert store.verify(store.resolve(None)) == []


def asked(settings: Settings) -> list[dict[str, object]]:
    moments = [NOW_MS - 1, *(NOW_MS + n for n in range(4))]
    entities = pa.table({"symbol": ["BTCUSDT"] * len(moments), "timestamp_ms": moments})
    features = ["feat_symbol__performance.sharpe_7d", "feat_router__effectiveness.n"]
    found = history.get_historical_features(
        entities, features, lake_root=settings.lake_root, max_age_ms=None
    )
    assert isinstance(found, pa.Table)
    rows: list[dict[str, object]] = found.to_pylist()
    return rows


def test_history_outlives_snapshots_in_fewer_files(grown: Settings) -> None:
    before, files = asked(grown), live_files(grown.home)[history_store.TABLE]
    assert [row["status"] for row in before] == ["unknown", "ok", "ok", "ok", "ok"]
    for snapshot_id in Store(grown.snapshots_root).ids():
        shutil.rmtree(grown.snapshots_root / snapshot_id)
    upkeep.upkeep(grown, now_ms=NOW_MS)
    assert live_files(grown.home)[history_store.TABLE] < files
    assert asked(grown) == before


def test_upkeep_keeps_what_a_killed_refresh_published_before_it_collects(grown: Settings) -> None:
    before = asked(grown)
    shutil.rmtree(grown.lake_root / history_store.TABLE)  # as if no refresh had come that far
    upkeep.upkeep(grown, now_ms=NOW_MS)
    assert asked(grown) == before


def test_upkeep_forgets_what_the_setting_says(grown: Settings) -> None:
    settings = grown.model_copy(update={"history_days": 1})
    kept = upkeep.upkeep(settings, now_ms=NOW_MS)
    assert kept.history_files_removed == 0
    gone = upkeep.upkeep(settings, now_ms=NOW_MS + 40 * loads.DAY_MS)
    assert gone.history_files_removed > 0
    assert {row["status"] for row in asked(settings)} == {"unknown"}
    again = upkeep.upkeep(settings, now_ms=NOW_MS + 40 * loads.DAY_MS)
    assert again.history_files_removed == 0


def test_upkeep_waits_for_the_writer(tmp_path: Path) -> None:
    settings = loads.settings_over(tmp_path / "logs", tmp_path / "home")
    with (
        writer_lock(settings.home, "a refresh"),
        pytest.raises(WriterBusyError, match="a refresh"),
    ):
        upkeep.upkeep(settings, now_ms=NOW_MS, wait_s=0.1)


def test_upkeep_of_an_empty_data_root_does_nothing(tmp_path: Path) -> None:
    settings = loads.settings_over(tmp_path / "logs", tmp_path / "home")
    report = upkeep.upkeep(settings, now_ms=NOW_MS)
    assert report.files_compacted == {}
    assert report.snapshots_removed == []


def test_trim_log_keeps_what_the_oldest_kept_version_loads_from(tmp_path: Path) -> None:
    def name(version: int, ending: str) -> str:
        return f"{version:020d}.{ending}"

    kept = {name(v, "json") for v in range(4, 9)} | {name(4, "checkpoint.parquet")}
    kept |= {name(8, "checkpoint.parquet"), "_last_checkpoint"}
    gone = {name(v, "json") for v in range(4)} | {name(2, "checkpoint.parquet")}
    for each in kept | gone:
        (tmp_path / each).touch()
    assert upkeep.trim_log(tmp_path, 6) == len(gone)
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert upkeep.trim_log(tmp_path, 3) == 0, "no checkpoint is that old"


# -- Dagster's storage --------------------------------------------------------------------------


def storage_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def refresh_under_dagster(
    instance: dg.DagsterInstance, number: int, selection: list[str] | None = None
) -> None:
    """Execute the job, or the assets of it that a test asks about."""
    at = dt.datetime.fromtimestamp(NOW_MS / 1000, tz=dt.UTC) + dt.timedelta(seconds=number)
    done = defs.resolve_job_def("refresh").execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in selection] if selection else None,
        run_config={"resources": {"refresh": {"config": {"as_of": at.isoformat()}}}},
    )
    assert done.success


@pytest.fixture
def dagster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prepare a DAGSTER_HOME beside a few logs, found through the environment."""
    loads.append(tmp_path / "logs", loads.tangled_lines(3, attempts=10))
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EXECINTEL_LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.chdir(tmp_path)
    return dagster_home.prepare(tmp_path / "home")


def test_pruning_removes_old_runs_and_their_files(dagster: Path) -> None:
    with dagster_home.opened(dagster) as instance:
        for number in range(3):
            refresh_under_dagster(instance, number, ["raw_router__events", CHECKED])
        waiting = instance.create_run_for_job(defs.resolve_job_def("refresh"))
        orphan = dagster / "history" / "runs" / "0a1b.db"
        orphan.touch()
        before = [record.dagster_run.run_id for record in instance.get_run_records()]
        oldest = before[-1]
        assert (dagster / "history" / "runs" / f"{oldest}.db").exists()
        assert (dagster / "storage" / oldest).is_dir()

        assert dagster_home.prune(instance, keep=2) == 2

        assert set(instance.get_run_ids()) == {waiting.run_id, before[1]}
        files = {p.name.partition(".db")[0] for p in (dagster / "history" / "runs").iterdir()}
        assert files - {"index"} <= {waiting.run_id, before[1]}
        assert not orphan.exists()
        # Check executions of removed runs would pile up in the index.
        checks = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey(CHECKED), f"{CHECKED}_sound"),
            limit=100,
        )
        assert [check.run_id for check in checks] == before[:2]
        folders = {path.name for path in (dagster / "storage").glob("*-*-*")}
        assert folders <= {waiting.run_id, before[1]}


def test_pruning_keeps_the_run_of_each_assets_latest_materialization_and_the_job_tends_all(
    dagster: Path, tmp_path: Path
) -> None:
    job = defs.resolve_job_def("refresh")
    with dagster_home.opened(dagster) as instance:
        refresh_under_dagster(instance, 0)
        alone = dg.AssetKey("raw_router__events")
        for _ in range(3):
            assert job.execute_in_process(instance=instance, asset_selection=[alone]).success
        dagster_home.prune(instance, keep=1)
        assert len(instance.get_run_ids()) == 2
        keys = defs.resolve_asset_graph().get_all_asset_keys()
        # The mirror is off here, and says so instead of materializing.
        for key in keys - {dg.AssetKey("firestore_mirror")}:
            event = instance.get_latest_materialization_event(key)
            assert event is not None
            assert instance.get_run_by_id(event.run_id) is not None

        assert defs.resolve_job_def("upkeep").execute_in_process(instance=instance).success
    store = Store(tmp_path / "home" / "snapshots")
    assert store.verify(store.resolve(None)) == []


def test_preparing_twice_keeps_runs_and_mends_the_configuration(
    dagster: Path, tmp_path: Path
) -> None:
    with dagster_home.opened(dagster) as instance:
        refresh_under_dagster(instance, 0, ["raw_router__events"])
    (dagster / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    assert dagster_home.prepare(tmp_path / "home") == dagster
    assert (dagster / "dagster.yaml").read_text() == dagster_home.CONFIG
    with dagster_home.opened(dagster) as instance:
        assert instance.get_runs_count() == 1
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled


def test_runs_that_a_killed_up_left_are_marked_failed(dagster: Path) -> None:
    with dagster_home.opened(dagster) as instance:
        job = defs.resolve_job_def("refresh")
        left = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        assert dagster_home.end_abandoned(instance) == [left.run_id]
        run = instance.get_run_by_id(left.run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.FAILURE


@pytest.mark.soak
def test_storage_stays_bounded_over_200_runs(dagster: Path) -> None:
    sizes = []
    with dagster_home.opened(dagster) as instance:
        for number in range(200):
            refresh_under_dagster(instance, number)
            if number % 20 == 19:
                upkeep.upkeep(Settings(), now_ms=NOW_MS + number * 1000)
                dagster_home.prune(instance, keep=20)
                sizes.append(storage_bytes(dagster))
    print("DAGSTER_HOME after every 20 runs, kB:", [size // 1024 for size in sizes])
    assert sizes[-1] < 1.25 * sizes[1]


def test_a_damaged_manifest_keeps_every_file_of_the_lake(grown: Settings) -> None:
    store = Store(grown.snapshots_root)
    oldest = store.ids()[0]
    manifest = store.path(oldest) / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole[:100])
    report = upkeep.upkeep(grown, now_ms=NOW_MS)
    assert (report.snapshots_damaged, report.files_removed) == ([oldest], {})
    manifest.write_text(whole)
    assert store.verify(oldest) == []
