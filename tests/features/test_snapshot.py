"""Snapshots: whole or not there, published at once, held, taken back, proved, kept and removed."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from features import catalog, manifest, snapshot
from features.confined import open_confined, select_only
from features.diff import differences
from features.digest import file_digest
from features.durable import replace_file
from features.lock import WriterBusyError, writer_lock
from features.memory import PREVIOUS
from features.snapshot import (
    DATABASE,
    MANIFEST,
    SnapshotError,
    Store,
    open_snapshot,
)
from pipelines.refresh import Refresh, RefreshReport, refresh
from tests.loads import (
    DAY_MS,
    HOUR_MS,
    START_MS,
    append,
    close_line,
    router_line,
    settings_over,
    tangled_lines,
)

AS_OF_MS = START_MS + 6 * DAY_MS
STEP_MS = HOUR_MS


class Home:
    """A data root with its logs, and shorthand for what tests ask of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.logs = root / "logs"
        self.store = Store(root / "home" / "snapshots")

    @property
    def lake(self) -> Path:
        return self.root / "home" / "lake"

    def refresh(self, step: int, *, publish: bool = False, **more: Any) -> RefreshReport:
        settings = settings_over(self.logs, self.root / "home", **more)
        as_of_ms = AS_OF_MS + step * STEP_MS
        return refresh(settings, as_of_ms=as_of_ms, now_ms=AS_OF_MS + DAY_MS, publish=publish)

    def planned(self, step: int, **more: Any) -> str:
        """Name the snapshot that a refresh would make, without one."""
        settings = settings_over(self.logs, self.root / "home", **more)
        now_ms = AS_OF_MS + DAY_MS
        run = Refresh(settings, as_of_ms=AS_OF_MS + step * STEP_MS, now_ms=now_ms)
        try:
            return manifest.snapshot_name(run.make_plan())
        finally:
            run.close()

    @property
    def current(self) -> str:
        return self.store.resolve(None)


@pytest.fixture(scope="session")
def three_published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Make a data root with three published snapshots; returns it and their ids."""
    root = tmp_path_factory.mktemp("three")
    home = Home(root)
    append(home.logs, tangled_lines(3, attempts=25, days=6))
    ids = []
    for step in range(3):
        report = home.refresh(step)
        assert report.outcome == "published"
        ids.append(str(report.snapshot_id))
    return root, ids


@pytest.fixture(scope="session")
def two_held(
    tmp_path_factory: pytest.TempPathFactory, three_published: tuple[Path, list[str]]
) -> list[Path]:
    """Build the next two snapshots while publication is held; returns their folders."""
    home = Home(tmp_path_factory.mktemp("held") / "copy")
    shutil.copytree(three_published[0], home.root)
    home.store.set_hold(now_ms=1, by="ann", reason="wait")
    reports = [home.refresh(step) for step in (3, 4)]
    assert [report.outcome for report in reports] == ["held", "held"]
    assert home.current == three_published[1][2]
    return [home.store.path(str(report.snapshot_id)) for report in reports]


@pytest.fixture
def home(tmp_path: Path, three_published: tuple[Path, list[str]]) -> Home:
    """Copy the three snapshots, so that a test may do what it likes with them.

    They go on reading the lake they came from; new ones read the copy.
    """
    shutil.copytree(three_published[0], tmp_path / "copy")
    return Home(tmp_path / "copy")


@pytest.fixture
def home_of_its_own(home: Home) -> Home:
    """Let CURRENT read the copied lake, so that a test may harm that too."""
    home.store.relocate(home.current, home.lake)
    return home


@pytest.fixture
def held(home: Home, two_held: list[Path]) -> list[str]:
    """Put two builds beside the three published, of steps 3 and 4; returns their ids."""
    for folder in two_held:
        shutil.copytree(folder, home.store.path(folder.name))
    return [folder.name for folder in two_held]


@pytest.fixture(scope="module")
def grown(
    tmp_path_factory: pytest.TempPathFactory, three_published: tuple[Path, list[str]]
) -> tuple[Home, str]:
    """Publish lines that came after the third snapshot; returns the home, to be read, and the id.

    The third reads the same lake.
    """
    home = Home(tmp_path_factory.mktemp("grown") / "copy")
    shutil.copytree(three_published[0], home.root)
    home.store.relocate(home.current, home.lake)
    append(
        home.logs,
        [
            router_line("sig_new", "NEWUSDT", AS_OF_MS - HOUR_MS, fill=101.0),
            close_line("sig_new", "NEWUSDT", AS_OF_MS - HOUR_MS + 9, pnl=1.5, order_id=5),
        ],
    )
    report = home.refresh(2)
    assert report.outcome == "published"
    return home, str(report.snapshot_id)


@pytest.fixture
def ids(three_published: tuple[Path, list[str]]) -> list[str]:
    return three_published[1]


def edit_manifest(store: Store, snapshot_id: str, **changes: Any) -> None:
    path = store.path(snapshot_id) / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# -- publishing ------------------------------------------------------------------------------------


def test_a_snapshot_is_whole_named_by_its_as_of_and_readable(home: Home, ids: list[str]) -> None:
    assert home.store.ids() == ids
    assert home.current == ids[-1]
    assert ids[0].startswith("20251109T000000Z-")
    assert ids[2].startswith("20251109T020000Z-")
    assert [home.store.manifest(i)["sequence"] for i in ids] == [1, 2, 3]
    assert [home.store.manifest(i)["previous"] for i in ids] == [None, ids[0], ids[1]]
    assert [home.store.verify(i) for i in ids] == [[], [], []]
    names = {path.name for path in home.store.path(ids[0]).iterdir()}
    assert names == {DATABASE, MANIFEST, "live.jsonl"}


def test_tables_and_views_say_what_their_columns_mean(home: Home) -> None:
    with open_snapshot(home.store.database(home.current)) as con:
        tables = dict(
            con.sql("SELECT table_name, comment FROM duckdb_tables() WHERE NOT internal").fetchall()
        )
        views = dict(
            con.sql("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal").fetchall()
        )
        bare = con.sql(
            "SELECT table_name, column_name FROM duckdb_columns()"
            " WHERE NOT internal AND COALESCE(comment, '') = ''"
        ).fetchall()
    kept = {"previous_alerts", "previous_memory"}
    assert set(tables) == kept | {t.name for t in catalog.computed()}
    assert {"raw_router__events", "core_execution__outcomes"} <= set(views)
    assert all("Units:" in text for text in tables.values())
    assert all(views.values())
    assert bare == []


def test_views_hold_the_very_rows_that_the_build_read(
    grown: tuple[Home, str], ids: list[str]
) -> None:
    store, rows = grown[0].store, {}
    for snapshot_id in (ids[2], grown[1]):
        inputs = store.manifest(snapshot_id)["inputs"]
        with open_snapshot(store.database(snapshot_id)) as con:
            rows[snapshot_id] = {
                name: con.sql(f"SELECT COUNT(*) FROM {name}").fetchall()[0][0] for name in inputs
            }
        assert rows[snapshot_id] == {name: source["rows"] for name, source in inputs.items()}
    counts = [rows[snapshot_id]["raw_router__events"] for snapshot_id in (ids[2], grown[1])]
    assert counts[0] + 1 == counts[1]


def test_equal_inputs_publish_nothing_new(home: Home, ids: list[str]) -> None:
    report = home.refresh(2)
    assert (report.outcome, report.snapshot_id) == ("unchanged", ids[2])
    assert home.store.ids() == ids
    assert len(home.store.publications()) == 3


def test_a_new_parameter_or_new_lines_make_another_snapshot_of_the_same_time(
    home: Home, ids: list[str], grown: tuple[Home, str]
) -> None:
    assert home.planned(2) == ids[2]
    with_parameter, with_lines = home.planned(2, params={"winsor_bps": 10.0}), grown[1]
    assert {with_parameter[:16], with_lines[:16]} == {ids[2][:16]}
    assert len({ids[2], with_parameter, with_lines}) == 3
    assert grown[0].current == with_lines


def test_an_older_as_of_is_kept_and_published_only_when_asked(home: Home, ids: list[str]) -> None:
    report = home.refresh(-5)
    assert report.outcome == "kept"
    assert home.current == ids[2]
    assert home.store.verify(str(report.snapshot_id)) == []
    again = home.refresh(-5, publish=True)
    assert (again.outcome, home.current) == ("published", report.snapshot_id)


# -- a failing check -------------------------------------------------------------------------------


def plant_two_venues(home: Home) -> None:
    made = router_line("sig_other", "BTCUSDT", AS_OF_MS - HOUR_MS)
    text = made.text.replace("binance_futures", "elsewhere")
    append(home.logs, [type(made)(made.file, text)])


def test_a_failed_check_keeps_the_build_aside_and_current_where_it_is(
    home: Home, ids: list[str]
) -> None:
    plant_two_venues(home)
    report = home.refresh(3)
    assert report.outcome == "rejected"
    assert [check.name for check in report.built.failed] == ["core_window__one_account_and_venue"]
    assert home.current == ids[2]
    assert home.store.ids() == ids
    (rejected,) = home.store.rejected()
    assert rejected["snapshot_id"] == report.snapshot_id
    assert rejected["failed_checks"] == ["core_window__one_account_and_venue"]
    (found,) = [c for c in rejected["checks"] if c["name"] in rejected["failed_checks"]]
    assert found["rows"] == 1
    assert "BTCUSDT" in found["examples"][0]
    assert home.refresh(3).outcome == "rejected"  # again, and still one of it
    assert len(home.store.rejected()) == 1
    # The configuration that the check names lets it pass, with a sequence of its own.
    mended = home.refresh(3, symbol_key="venue_symbol")
    assert mended.outcome == "published"
    assert home.store.manifest(str(mended.snapshot_id))["sequence"] > rejected["sequence"]


def test_only_the_newest_ten_rejected_builds_are_kept(home: Home) -> None:
    for number in range(1, 15):
        folder = home.store.begin()
        shutil.copy(home.store.database(home.current), folder / DATABASE)
        manifest = home.store.manifest(home.current) | {
            "snapshot_id": f"20251110T0000{number:02d}Z-00000000",
            "sequence": home.store.next_sequence(),
            "failed_checks": ["planted"],
        }
        home.store.finish(folder, manifest)
    assert [m["sequence"] for m in home.store.rejected()] == list(range(8, 18))


# -- rolling back ----------------------------------------------------------------------------------


def test_rollback_goes_back_and_holds_until_resume(home: Home, ids: list[str]) -> None:
    back = home.store.rollback(None, now_ms=5, by="ann", reason="fees are wrong")
    assert (back, home.current) == (ids[1], ids[1])
    hold = home.store.hold()
    assert hold is not None
    assert (hold.since_ms, hold.by, hold.reason) == (5, "ann", "fees are wrong")
    report = home.refresh(3)
    assert report.outcome == "held"
    assert home.current == ids[1]
    assert report.snapshot_id in home.store.ids()  # built and kept
    assert home.store.resume() == hold
    assert home.store.resume() is None
    assert home.refresh(3).outcome == "published"
    assert home.current == report.snapshot_id


def test_rolling_back_twice_goes_back_twice(home: Home, ids: list[str]) -> None:
    assert home.store.rollback(None, now_ms=5, by="ann", reason="bad") == ids[1]
    assert home.store.rollback(None, now_ms=6, by="ann", reason="bad too") == ids[0]
    with pytest.raises(SnapshotError, match="nothing to go back to"):
        home.store.rollback(None, now_ms=7, by="ann", reason="and this")


def test_rollback_names_its_target_by_a_unique_beginning(home: Home, ids: list[str]) -> None:
    assert home.store.rollback(ids[0][:13], now_ms=5, by="ann", reason="bad") == ids[0]
    with pytest.raises(SnapshotError, match=r"3 snapshots under .* begin with 2025"):
        home.store.rollback("2025", now_ms=5, by="ann", reason="bad")
    with pytest.raises(SnapshotError, match=r"no snapshot under .* begins with 1999"):
        home.store.rollback("1999", now_ms=5, by="ann", reason="bad")


def test_a_build_that_never_was_current_is_no_target_of_a_rollback(
    home: Home, ids: list[str], held: list[str]
) -> None:
    home.store.set_hold(now_ms=1, by="ann", reason="wait")
    assert home.refresh(3).outcome == "held"
    home.store.resume()
    report = home.refresh(4)
    assert (report.outcome, report.snapshot_id) == ("published", held[1])
    assert home.store.rollback(None, now_ms=5, by="ann", reason="bad") == ids[2]


def test_a_rollback_does_not_return_to_what_another_took_back(
    home: Home, ids: list[str], held: list[str]
) -> None:
    home.store.rollback(ids[0], now_ms=5, by="ann", reason="the second and third are bad")
    home.store.resume()
    home.store.publish(held[0], now_ms=5, by="ann")
    assert home.store.rollback(None, now_ms=6, by="ann", reason="bad too") == ids[0]


def test_a_rollback_goes_neither_forward_nor_to_what_was_never_published(
    home: Home, ids: list[str], held: list[str]
) -> None:
    with pytest.raises(SnapshotError, match=f"{held[0]} was never published: .*snapshots publish"):
        home.store.rollback(held[0], now_ms=5, by="ann", reason="oops")
    home.store.rollback(ids[0], now_ms=5, by="ann", reason="bad")
    home.store.resume()
    with pytest.raises(SnapshotError, match=f"{ids[1]} is newer than CURRENT, {ids[0]}"):
        home.store.rollback(ids[1], now_ms=6, by="ann", reason="oops")
    assert home.store.hold() is None
    assert home.current == ids[0]
    # what was taken back by mistake is published again by who has looked
    assert home.store.release(ids[2], now_ms=7, by="ann") == ids[2]


def test_a_rollback_too_many_is_taken_back_while_publication_is_held(
    home: Home, ids: list[str]
) -> None:
    home.store.rollback(None, now_ms=5, by="ann", reason="the third is bad")
    home.store.rollback(None, now_ms=6, by="ann", reason="once too often")
    assert home.current == ids[0]
    assert home.store.rollback(ids[1], now_ms=7, by="ann", reason="this one is good") == ids[1]
    assert home.store.hold() is not None


def test_a_rollback_leads_to_a_whole_snapshot(home: Home, ids: list[str]) -> None:
    (home.store.path(ids[1]) / "live.jsonl").write_text("{}")
    with pytest.raises(SnapshotError, match=rf"{ids[1]} is damaged: .*live\.jsonl has other bytes"):
        home.store.rollback(ids[1], now_ms=5, by="ann", reason="bad")
    assert home.store.hold() is None
    assert home.store.rollback(None, now_ms=5, by="ann", reason="bad") == ids[0]


@pytest.mark.usefixtures("held")
def test_a_hold_that_cannot_be_read_holds(home: Home) -> None:
    (home.store.root / "HOLD").write_text("")
    hold = home.store.hold()
    assert hold is not None
    assert "no reason that can be read" in hold.reason
    assert home.refresh(3).outcome == "held"


# -- damage ----------------------------------------------------------------------------------------


def test_a_damaged_manifest_says_what_to_do_and_that_does_it(home: Home, ids: list[str]) -> None:
    (home.store.path(ids[2]) / MANIFEST).write_text('{"sequence": ')
    with pytest.raises(SnapshotError, match=r"manifest\.json is damaged .*snapshots rollback"):
        home.store.manifest(ids[2])
    assert home.store.rollback(None, now_ms=5, by="ann", reason="damaged") == ids[1]
    assert home.store.verify(home.current) == []


def test_a_refresh_replaces_a_damaged_current(home: Home, ids: list[str]) -> None:
    (home.store.path(ids[2]) / MANIFEST).write_text("")
    report = home.refresh(3)
    assert report.outcome == "published"
    assert home.store.manifest(str(report.snapshot_id))["sequence"] == 4
    assert home.store.verify(home.current) == []


@pytest.mark.parametrize("kept_bytes", [0, 4096, 100_000])
def test_a_damaged_database_says_what_to_do(home: Home, ids: list[str], kept_bytes: int) -> None:
    os.truncate(home.store.database(ids[2]), kept_bytes)
    words = rf"snapshot {ids[2]} cannot be read \(.*verify.*rollback --reason"
    with pytest.raises(SnapshotError, match=words):
        open_snapshot(home.store.database(ids[2]))
    with pytest.raises(SnapshotError, match=words):
        list(differences(home.store, ids[1], ids[2]))


def test_a_current_that_names_nothing_stops_no_refresh_and_no_rollback(
    home: Home, ids: list[str]
) -> None:
    for named in ("20261130T999999Z-00000000", "hello"):
        (home.store.root / "CURRENT").write_text(named)
        assert home.store.rollback(None, now_ms=5, by="ann", reason="damaged") == ids[2]
        home.store.resume()
    (home.store.root / "CURRENT").write_text("hello")
    report = home.refresh(3)
    assert report.outcome == "published"
    assert home.current == report.snapshot_id
    # what it named may have decided anything: nothing is taken for unchanged
    assert home.store.manifest(home.current)[PREVIOUS]["state"] == "lost"


def test_a_missing_snapshot_names_those_there_are(home: Home, ids: list[str]) -> None:
    with pytest.raises(SnapshotError, match=f"no snapshot 20200101T000000Z.*{ids[2]}"):
        home.store.manifest("20200101T000000Z-00000000")


def test_nothing_published_says_how_to_begin(tmp_path: Path) -> None:
    store = Store(tmp_path / "snapshots")
    assert store.current() is None
    assert store.ids() == []
    assert store.publications() == []
    with pytest.raises(SnapshotError, match="run `execintel refresh` first"):
        store.resolve(None)


@pytest.mark.usefixtures("held")
def test_a_half_written_line_of_the_log_swallows_no_publication(home: Home, ids: list[str]) -> None:
    log = home.store.root / "published.jsonl"
    line = log.read_bytes().splitlines()[-1]
    with log.open("ab") as file:
        file.write(line[:-30])  # killed in the middle of the fourth line
    assert [p.snapshot_id for p in home.store.publications()] == ids
    report = home.refresh(3)
    named = [p.snapshot_id for p in home.store.publications()]
    assert named == [*ids, report.snapshot_id]


@pytest.fixture
def killed_before_current(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let publications die between their line in the log and CURRENT; returns what ends that."""

    def die(path: Path, text: str) -> None:
        if path.name == "CURRENT":
            raise InterruptedError("killed")
        replace_file(path, text)

    monkeypatch.setattr(snapshot, "replace_file", die)
    return lambda: monkeypatch.setattr(snapshot, "replace_file", replace_file)


@pytest.mark.usefixtures("held")
def test_a_publication_killed_before_current_never_was_one(
    home: Home, ids: list[str], killed_before_current: Callable[[], None]
) -> None:
    for step in (3, 4):  # twice, each time with its line in the log
        with pytest.raises(InterruptedError, match="killed"):
            home.refresh(step)
        lines = (home.store.root / "published.jsonl").read_text().splitlines()
        assert len(lines) == step + 1
        assert home.current == ids[2]
        assert [p.snapshot_id for p in home.store.publications()] == ids
    killed_before_current()
    report = home.refresh(5)

    # neither line counts, numbers go on growing, and no rollback leads to what nobody saw
    made = home.store.publications()
    assert [p.snapshot_id for p in made] == [*ids, report.snapshot_id]
    assert [p.sequence for p in made] == [1, 2, 3, 6]
    assert home.store.rollback(None, now_ms=5, by="ann", reason="bad") == ids[2]


@pytest.mark.usefixtures("held")
def test_the_same_snapshot_is_published_once_after_a_kill(
    home: Home, ids: list[str], killed_before_current: Callable[[], None]
) -> None:
    with pytest.raises(InterruptedError, match="killed"):
        home.refresh(3)
    killed_before_current()
    report = home.refresh(3)
    assert report.outcome == "published"
    made = [p.snapshot_id for p in home.store.publications()]
    assert made == [*ids, report.snapshot_id]


def test_the_first_publication_killed_before_current_leaves_nothing_published(
    tmp_path: Path, ids: list[str], home: Home, killed_before_current: Callable[[], None]
) -> None:
    (home.store.root / "CURRENT").unlink()
    (home.store.root / "published.jsonl").unlink()
    with pytest.raises(InterruptedError, match="killed"):
        home.store.publish(ids[0], now_ms=1, by="ann")
    assert home.store.publications() == []
    killed_before_current()
    home.store.publish(ids[0], now_ms=2, by="ann")
    assert [p.published_ms for p in home.store.publications()] == [2]


def test_a_current_that_was_lost_takes_back_no_publication(home: Home, ids: list[str]) -> None:
    (home.store.root / "CURRENT").unlink()
    assert [p.snapshot_id for p in home.store.publications()] == ids  # nothing replaced the third
    home.store.publish(ids[0], now_ms=9, by="ann")
    assert [p.snapshot_id for p in home.store.publications()] == [*ids, ids[0]]
    (home.store.root / "CURRENT").unlink()  # and once more
    home.store.publish(ids[1], now_ms=10, by="ann")
    assert [p.snapshot_id for p in home.store.publications()] == [*ids, ids[0], ids[1]]


def test_lines_of_before_previous_was_written_count_unless_current_stayed(
    home: Home, ids: list[str]
) -> None:
    log = home.store.root / "published.jsonl"
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    older = [{k: v for k, v in entry.items() if k != "previous"} for entry in entries]
    log.write_text("".join(json.dumps(entry) + "\n" for entry in older))
    assert [p.snapshot_id for p in home.store.publications()] == ids
    (home.store.root / "CURRENT").write_text(ids[1] + "\n")  # the last was killed before it moved
    assert [p.snapshot_id for p in home.store.publications()] == ids[:2]
    home.store.publish(ids[0], now_ms=9, by="ann")
    assert [p.snapshot_id for p in home.store.publications()] == [*ids[:2], ids[0]]


def test_a_folder_without_manifest_under_the_final_name_is_built_again(
    home: Home, ids: list[str], held: list[str]
) -> None:
    made = str(home.refresh(3).snapshot_id)
    assert made == held[0]
    (home.store.path(made) / MANIFEST).unlink()
    stale = home.store.root / ".building-99999"  # as a killed build leaves it
    stale.mkdir()
    (stale / DATABASE).write_bytes(b"half a database")
    assert home.store.ids() == [*ids, held[1]]  # neither is a snapshot
    assert home.refresh(3).outcome == "unchanged"  # CURRENT named it: now it is whole again
    assert home.store.verify(made) == []
    assert list(home.store.root.glob(".building-*")) == []  # leftovers are removed


# -- proof -----------------------------------------------------------------------------------------


def test_verify_finds_a_flipped_byte(home: Home) -> None:
    path = home.store.database(home.current)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (fault,) = home.store.verify(home.current)
    assert fault == f"{path} has other bytes than when it was published"


def test_verify_finds_a_missing_database(home: Home) -> None:
    home.store.database(home.current).unlink()
    (fault,) = home.store.verify(home.current)
    assert "features.duckdb is missing" in fault


def test_verify_finds_a_missing_file_of_the_lake(home_of_its_own: Home) -> None:
    home = home_of_its_own
    files = home.store.manifest(home.current)["inputs"]["raw_router__events"]["files"]
    Path(files[0]).unlink()
    (fault,) = home.store.verify(home.current)
    assert f"raw_router__events: 1 of {len(files)} files are gone, such as {files[0]}" in fault
    assert "snapshots relocate" in fault


def test_verify_finds_other_rows_behind_a_forged_file_digest(home: Home) -> None:
    with duckdb.connect(str(home.store.database(home.current))) as con:
        con.execute("UPDATE feat_symbol__performance SET fees_usd = fees_usd + 1 WHERE n > 0")
    digest = file_digest(home.store.database(home.current))
    edit_manifest(home.store, home.current, files={DATABASE: digest})
    faults = home.store.verify(home.current)
    assert faults == ["feat_symbol__performance has other rows than when it was published"]


# -- moving ----------------------------------------------------------------------------------------


def test_relocate_makes_a_moved_home_whole_again(
    home_of_its_own: Home, tmp_path: Path, ids: list[str]
) -> None:
    assert home_of_its_own.store.verify(ids[2]) == []
    (tmp_path / "copy").rename(tmp_path / "moved")
    moved = Home(tmp_path / "moved")
    inputs = moved.store.manifest(ids[2])["inputs"]
    filled = {name for name, source in inputs.items() if source["files"]}
    assert {fault.partition(":")[0] for fault in moved.store.verify(ids[2])} == filled
    with open_snapshot(moved.store.database(ids[2])) as con:
        before = con.sql("SELECT * FROM feat_symbol__performance").fetchall()
    assert moved.store.relocate(ids[2], moved.lake) == len(inputs)
    assert moved.store.relocate(ids[2], moved.lake) == len(inputs)  # again: nothing to do, no harm
    assert moved.store.verify(ids[2]) == []
    with open_snapshot(moved.store.database(ids[2])) as con:
        assert con.sql("SELECT * FROM feat_symbol__performance").fetchall() == before
        assert con.sql("SELECT COUNT(*) > 0 FROM raw_router__events").fetchall() == [(True,)]
        comment = "SELECT comment FROM duckdb_columns() WHERE table_name = 'raw_router__events'"
        assert all(text for (text,) in con.sql(comment).fetchall())
    assert list(moved.store.root.glob(".building-*")) == []
    assert moved.refresh(3).outcome == "published"  # and the lake goes on there


def test_relocate_follows_a_lake_into_a_folder_with_a_quote_in_its_name_and_back(
    home_of_its_own: Home, tmp_path: Path, ids: list[str]
) -> None:
    here = tmp_path / "copy"
    for name in ("it's", "moved"):
        here = here.rename(tmp_path / name)
        home = Home(here)
        home.store.relocate(ids[2], home.lake)
        with open_snapshot(home.store.database(ids[2])) as con:
            assert con.sql("SELECT COUNT(*) > 0 FROM raw_router__events").fetchall() == [(True,)]
        assert home.store.verify(ids[2]) == []


def test_relocate_refuses_a_folder_that_is_not_the_lake(home: Home, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=f"is {tmp_path} the lake's root"):
        home.store.relocate(home.current, tmp_path)
    assert home.store.verify(home.current) == []


# A reader opens it several times meanwhile, also while it is replaced once.
@pytest.mark.parametrize("times", [3, pytest.param(30, marks=pytest.mark.soak)])
def test_readers_go_on_while_a_snapshot_is_relocated(home: Home, times: int) -> None:
    stop = threading.Event()
    faults: list[Exception] = []
    reads = 0

    def read() -> None:
        nonlocal reads
        while not stop.is_set():
            try:
                with open_snapshot(home.store.database(home.current)) as con:
                    con.sql("SELECT COUNT(*) FROM feat_symbol__performance").fetchall()
                reads += 1
            except (duckdb.Error, SnapshotError) as error:
                faults.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(times):
        home.store.relocate(home.current, home.lake)
    stop.set()
    reader.join()
    assert faults == []
    assert reads > times


# -- difference ------------------------------------------------------------------------------------


def test_equal_snapshots_differ_in_nothing(home: Home) -> None:
    assert list(differences(home.store, home.current, home.current)) == []


def test_diff_counts_rows_added_removed_and_changed(
    grown: tuple[Home, str], ids: list[str]
) -> None:
    home, new = grown
    found = {item["table"]: item for item in differences(home.store, ids[2], new)}
    performance = found["feat_symbol__performance"]
    assert (performance["added"], performance["removed"]) == (1, 0)
    back = {item["table"]: item for item in differences(home.store, new, ids[2])}
    assert (
        back["feat_symbol__performance"]["removed"],
        back["feat_symbol__performance"]["added"],
    ) == (
        1,
        0,
    )
    totals = found["feat_router__effectiveness"]
    changes = {(key, column): (old, now) for key, column, old, now in totals["examples"]}
    old, now = changes[(("*",), "n")]
    assert now == old + 1


def test_diff_of_a_table_whose_grain_changed_counts_whole_rows(home: Home, ids: list[str]) -> None:
    name, manifest = "feat_router__effectiveness", home.store.manifest(ids[0])
    manifest["tables"][name]["grain"] = ["symbol", "hour_utc"]  # as an older release had it
    (home.store.path(ids[0]) / MANIFEST).write_text(json.dumps(manifest))
    found = {item["table"]: item for item in differences(home.store, ids[0], ids[2])}[name]
    rows_n = home.store.manifest(ids[2])["tables"][name]["rows"]
    assert (found["added"], found["removed"], found["changed"]) == (
        rows_n, manifest["tables"][name]["rows"], 0,
    )  # fmt: skip


# -- garbage ---------------------------------------------------------------------------------------


def make_many(store: Store, template: dict[str, Any], count: int, step_ms: int) -> list[str]:
    """Lay down snapshots by manifest alone, ``step_ms`` apart; returns their ids."""
    made = []
    for number in range(count):
        snapshot_id = f"2026{number:04d}T000000Z-{number:08x}"
        store.path(snapshot_id).mkdir(parents=True)
        manifest = template | {
            "snapshot_id": snapshot_id,
            "sequence": number + 1,
            "created_ms": START_MS + number * step_ms,
        }
        (store.path(snapshot_id) / MANIFEST).write_text(json.dumps(manifest))
        made.append(snapshot_id)
    return made


def test_garbage_keeps_a_day_whole_a_month_by_days_and_manifests_of_a_year(
    home: Home, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    store.root.mkdir()
    template = home.store.manifest(home.current)
    ids = make_many(store, template, 1000, 2 * HOUR_MS)  # 83 days
    published = ids[::10]
    for snapshot_id in published:
        store.publish(snapshot_id, now_ms=1, by="ann")
    store.publish(ids[1], now_ms=1, by="ann")  # rolled far back
    now_ms = START_MS + 1000 * 2 * HOUR_MS
    removed = store.collect_garbage(now_ms)
    kept = store.ids()
    assert sorted(removed + kept) == sorted(ids)
    assert kept[-288:] == ids[-288:]
    daily = [i for i in kept if i not in ids[-288:] and i != ids[1]]
    days = {store.manifest(i)["created_ms"] // DAY_MS for i in daily}
    assert len(days) == len(daily) == 30 - 24
    assert all((ids.index(i) + 1) % 12 == 0 for i in daily)  # the last of its day
    assert store.current() == ids[1]
    assert store.verify(ids[1])  # it stands, without the files of a real one
    archived = {path.name for path in (store.root / "archive").iterdir()}
    assert archived == {i for i in removed if i in published}  # only what was published
    packed = store.root / "archive" / ids[0] / "manifest.json.gz"
    assert json.loads(gzip.decompress(packed.read_bytes()))["snapshot_id"] == ids[0]
    assert store.collect_garbage(now_ms) == []
    later = store.collect_garbage(now_ms + 300 * DAY_MS)
    assert set(later) == set(daily)
    # ids[0] is more than a year old by now; what was built later than that is archived still.
    horizon_ms = now_ms + 300 * DAY_MS - 365 * DAY_MS
    left = {path.name for path in (store.root / "archive").iterdir()}
    archivable = {i for i in [*removed, *later] if i in published}
    assert left == {i for i in archivable if START_MS + ids.index(i) * 2 * HOUR_MS >= horizon_ms}
    assert store.next_sequence() == 1001


def test_nothing_of_three_is_garbage(home: Home, ids: list[str]) -> None:
    assert home.store.collect_garbage(AS_OF_MS + 100 * DAY_MS) == []
    assert home.store.ids() == ids


# -- one writer ------------------------------------------------------------------------------------

_WRITER = """
import sys
from pathlib import Path
from pipelines.refresh import refresh
from tests.loads import settings_over
report = refresh(
    settings_over(Path(sys.argv[1]), Path(sys.argv[2])),
    as_of_ms=int(sys.argv[3]), now_ms=int(sys.argv[3]), wait_s=float(sys.argv[4]),
)
print(report.outcome, report.snapshot_id)
"""


def start_writer(home: Home, as_of_ms: int, wait_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            _WRITER,
            str(home.logs),
            str(home.root / "home"),
            str(as_of_ms),
            str(wait_s),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": "."},
    )


def test_two_processes_refreshing_at_once_take_turns(home: Home) -> None:
    append(home.logs, [router_line("sig_turns", "BTCUSDT", AS_OF_MS - HOUR_MS)])
    writers = [start_writer(home, AS_OF_MS + DAY_MS, 60) for _ in range(2)]
    said = [writer.communicate() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], said
    outcomes = sorted(out.split()[0] for out, _ in said)
    assert outcomes == ["published", "unchanged"]
    with open_snapshot(home.store.database(home.current)) as con:
        rows = con.sql("SELECT COUNT(*) FROM raw_router__events WHERE attempt_id = 'sig_turns'")
        assert rows.fetchall() == [(1,)]


def test_a_writer_that_may_not_wait_names_the_one_that_works(home: Home) -> None:
    settings = settings_over(home.logs, home.root / "home")
    with writer_lock(settings.home, "refresh"):
        with pytest.raises(WriterBusyError, match=rf"refresh \(process {os.getpid()}\)"):
            refresh(settings, as_of_ms=AS_OF_MS, now_ms=AS_OF_MS, wait_s=0)
        writer = start_writer(home, AS_OF_MS, 0.2)
        _, complaint = writer.communicate()
    assert writer.returncode == 1
    assert f"is being written by refresh (process {os.getpid()})" in complaint


# -- foreign SQL -----------------------------------------------------------------------------------


def test_foreign_sql_reads_the_snapshot_and_nothing_else(home: Home, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    manifest = home.store.manifest(home.current)
    files = [path for source in manifest["inputs"].values() for path in source["files"]]
    database = home.store.database(home.current)
    with open_confined(database, files, memory_limit_mb=256) as con:
        assert select_only(con, "SELECT COUNT(*) > 0 FROM raw_router__events").fetchall() == [
            (True,)
        ]
        with pytest.raises(duckdb.Error, match=r"(?i)disabled|permission"):
            select_only(con, f"SELECT * FROM read_csv('{secret}')").fetchall()
        with pytest.raises(SnapshotError, match="one SELECT"):
            select_only(con, "DELETE FROM feat_symbol__performance")
