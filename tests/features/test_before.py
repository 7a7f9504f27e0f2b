"""What a build remembers of the snapshot published before it, whatever became of that one."""

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from features import before, history_store, memory
from features.memory import MEMORY, PREVIOUS, Before
from features.reproduce import rebuild_snapshot
from features.settings import Freshness, Settings
from features.snapshot import SnapshotError, Store, open_snapshot
from pipelines.refresh import Refresh, RefreshReport, refresh
from tests.loads import (
    DAY_MS,
    HOUR_MS,
    START_MS,
    append,
    router_line,
    settings_over,
    tangled_lines,
)

AS_OF_MS = START_MS + 6 * DAY_MS


class Home:
    """A data root with its logs, refreshed an hour later with every step."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / "home" / "snapshots")

    def settings(self, **more: Any) -> Settings:
        return settings_over(self.root / "logs", self.root / "home", **more)

    def refresh(self, step: float, *, publish: bool = False, **more: Any) -> RefreshReport:
        as_of_ms = AS_OF_MS + round(step * HOUR_MS)
        return refresh(
            self.settings(**more), as_of_ms=as_of_ms, now_ms=AS_OF_MS + DAY_MS, publish=publish
        )

    def published(self, step: float, **more: Any) -> str:
        report = self.refresh(step, **more)
        assert report.outcome == "published", report
        return str(report.snapshot_id)

    def remembers(self, snapshot_id: str) -> str | None:
        """Return whose memory a build read; its digest is that of the table there."""
        named = self.store.manifest(snapshot_id)[PREVIOUS]
        if named["state"] == "read":
            there = self.store.manifest(named["snapshot_id"])["tables"][MEMORY]
            assert (named["sha256"], named["rows"]) == (there["sha256"], there["rows"])
        assert self.store.verify(snapshot_id) == []
        found: str | None = named["snapshot_id"]
        return found

    def before(self, step: float, **more: Any) -> Before:
        """Return the memory that a build would read."""
        as_of_ms = AS_OF_MS + round(step * HOUR_MS)
        run = Refresh(self.settings(**more), as_of_ms=as_of_ms, now_ms=AS_OF_MS + DAY_MS)
        try:
            named = run.make_plan().before
        finally:
            run.close()
        if named.state == "read":
            there = self.store.manifest(str(named.snapshot_id))["tables"][MEMORY]
            assert (named.digest, named.rows.num_rows) == (there["sha256"], there["rows"])
        return named


@pytest.fixture(scope="module")
def two_published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    root = tmp_path_factory.mktemp("two")
    append(root / "logs", tangled_lines(11, attempts=20, days=6))
    home = Home(root)
    return root, [home.published(step) for step in (0, 1)]


@pytest.fixture
def ids(two_published: tuple[Path, list[str]]) -> list[str]:
    return two_published[1]


@pytest.fixture
def home(tmp_path: Path, two_published: tuple[Path, list[str]]) -> Home:
    shutil.copytree(two_published[0], tmp_path / "copy")
    return Home(tmp_path / "copy")


def rows(store: Store, snapshot_id: str, table: str) -> list[tuple[Any, ...]]:
    with open_snapshot(store.database(snapshot_id)) as con:
        return con.sql(f"FROM {table} ORDER BY symbol").fetchall()


# ------------------------------------------------------------------------------- which one it is


def test_the_first_snapshot_remembers_nothing_the_second_the_first(
    home: Home, ids: list[str]
) -> None:
    assert home.store.manifest(ids[0])[PREVIOUS]["state"] == "none"
    assert rows(home.store, ids[0], PREVIOUS) == []
    assert home.remembers(ids[1]) == ids[0]
    assert rows(home.store, ids[1], PREVIOUS) == rows(home.store, ids[0], MEMORY) != []
    with open_snapshot(home.store.database(ids[1])) as con:
        sizes = con.sql(
            "SELECT s.previous_size_factor = m.size_factor FROM feat_symbol__sizing AS s"
            f" INNER JOIN {PREVIOUS} AS m USING (symbol)"
        ).fetchall()
    assert set(sizes) == {(True,)}


@pytest.mark.parametrize("step", [0, 1])
def test_an_equal_refresh_makes_no_other_snapshot(home: Home, ids: list[str], step: int) -> None:
    report = home.refresh(step)
    assert report.snapshot_id == ids[step]
    assert report.outcome == ("kept" if step == 0 else "unchanged")
    assert home.store.ids() == ids


def test_new_lines_of_the_same_as_of_remember_what_was_before_it(
    home: Home, ids: list[str]
) -> None:
    append(home.root / "logs", [router_line("new", "BTCUSDT", AS_OF_MS - DAY_MS)])
    other = home.published(1)
    assert other != ids[1]
    assert home.remembers(other) == ids[0]
    assert home.refresh(1).outcome == "unchanged"


def test_a_build_as_of_the_past_remembers_nothing_of_its_future(home: Home, ids: list[str]) -> None:
    report = home.refresh(0.5)
    assert report.outcome == "kept"
    assert home.remembers(str(report.snapshot_id)) == ids[0]
    # and, never published, is remembered by none
    assert home.before(2).snapshot_id == ids[1]
    assert home.before(-1) == memory.NOTHING


def test_after_a_rollback_its_target_is_remembered(home: Home, ids: list[str]) -> None:
    home.store.rollback(None, now_ms=AS_OF_MS, by="me", reason="a test")
    report = home.refresh(2)
    assert report.outcome == "held"
    held = str(report.snapshot_id)
    assert home.remembers(held) == ids[0]
    # held builds remember what engines act on, not each other
    assert home.before(3).snapshot_id == ids[0]
    report = home.refresh(2)
    assert (report.outcome, report.snapshot_id) == ("held", held)  # the same build, not another
    home.store.resume()
    report = home.refresh(2)
    assert (report.outcome, report.snapshot_id) == ("published", held)
    assert home.before(4).snapshot_id == held


def test_a_rejected_build_is_remembered_by_none(home: Home, ids: list[str]) -> None:
    silent = {"raw_telemetry__traces": Freshness(required=True)}
    assert home.refresh(2, freshness=silent).outcome == "rejected"
    assert home.before(3).snapshot_id == ids[1]


def test_another_environment_is_remembered_by_none_and_live_a_lost_memory_waits_for_a_person(
    home: Home, ids: list[str]
) -> None:
    live: dict[str, Any] = {"environment": "live"}
    first = home.published(2, publish=True, **live)
    assert home.store.manifest(first)[PREVIOUS]["state"] == "none"
    assert home.before(3).snapshot_id == ids[1]
    damage(home.store.database(first))
    report = home.refresh(3, **live)
    assert (report.outcome, [c.name for c in report.built.held]) == (
        "held",
        ["feat_symbol__sizing_jump"],
    )
    assert home.store.current() == first


# ---------------------------------------------------------------------------- losing it, proving it


def damage(path: Path) -> None:
    path.write_bytes(b"no database" * 100)


def remove(path: Path) -> None:
    path.unlink()


def forget_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("harm", [damage, remove, forget_folder])
def test_a_memory_that_is_lost_is_named(home: Home, ids: list[str], harm: Any) -> None:
    harm(home.store.database(ids[1]))
    named = home.before(2)
    assert (named.state, named.snapshot_id, named.rows.num_rows) == ("lost", ids[1], 0)
    assert named.problem


def test_a_memory_that_is_lost_loosens_nothing(home: Home, ids: list[str]) -> None:
    damage(home.store.database(ids[1]))
    report = home.refresh(2)
    assert report.outcome == "published"
    named = home.store.manifest(str(report.snapshot_id))[PREVIOUS]
    assert (named["state"], named["snapshot_id"], named["rows"]) == ("lost", ids[1], 0)
    assert named["problem"]
    with open_snapshot(home.store.database(str(report.snapshot_id))) as con:
        ((most,),) = con.sql("SELECT MAX(final_size_factor) FROM feat_symbol__sizing").fetchall()
        labels = con.sql("SELECT DISTINCT quality FROM feat_router__policies").fetchall()
    assert most <= 1.0
    assert {label for (label,) in labels} <= {"broken", "degraded", "unknown"}


def test_what_was_in_force_is_remembered_when_current_is_gone(home: Home, ids: list[str]) -> None:
    (home.store.root / "CURRENT").unlink()
    assert home.before(2).snapshot_id == ids[1]


def test_a_snapshot_is_computed_again_when_the_one_before_is_gone(
    home: Home, ids: list[str], tmp_path: Path
) -> None:
    shutil.rmtree(home.store.path(ids[0]))
    found = rebuild_snapshot(home.store, home.settings(), ids[1], tmp_path / "scratch")
    assert {each.table for each in found} >= {MEMORY, "feat_symbol__sizing", "live.jsonl"}
    assert [each.table for each in found if not each.is_equal] == []


def test_a_kept_memory_that_was_changed_is_found(
    home: Home, ids: list[str], tmp_path: Path
) -> None:
    with duckdb.connect(str(home.store.database(ids[1]))) as con:
        con.execute(f"UPDATE {PREVIOUS} SET size_factor = 2.0")
    with pytest.raises(SnapshotError, match=r"previous_memory .* has other rows"):
        rebuild_snapshot(home.store, home.settings(), ids[1], tmp_path / "scratch")
    path = home.store.path(ids[1]) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"].pop("features.duckdb")  # its bytes are others now, as verify would say
    path.write_text(json.dumps(manifest))
    assert home.store.verify(ids[1]) == [f"{PREVIOUS} has other rows than when it was published"]


def test_a_memory_of_an_older_release_lacks_what_it_did_not_write(tmp_path: Path) -> None:
    path = tmp_path / "old.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute(f"CREATE TABLE {MEMORY} AS SELECT 'S' AS symbol, 0.5 AS size_factor, 1 AS old")
        found = memory.read(con, MEMORY)
    assert found is not None
    (row,) = found[0].to_pylist()
    assert {name: value for name, value in row.items() if value is not None} == {
        "symbol": "S",
        "size_factor": 0.5,
    }


def test_a_snapshot_without_a_memory_decided_nothing(home: Home, ids: list[str]) -> None:
    with duckdb.connect(str(home.store.database(ids[1]))) as con:
        con.execute(f"DROP TABLE {MEMORY}")
    assert before.before(home.store, "paper", AS_OF_MS + DAY_MS, duckdb.connect()) == memory.NOTHING


def test_history_keeps_what_was_decided_once(home: Home, ids: list[str]) -> None:
    tables = history_store.tables_of(home.store.database(ids[1]))
    assert PREVIOUS not in tables
    assert {MEMORY, "feat_symbol__sizing"} <= set(tables)


# ---------------------------------------------------------------------------------- sizes that jump


def new_symbols(home: Home) -> None:
    append(
        home.root / "logs",
        [
            router_line(f"n{k}", f"NEW{k}USDT", AS_OF_MS - DAY_MS + k * HOUR_MS, fill=100.0)
            for k in range(6)
        ],
    )


def test_sizes_that_jump_wait_until_a_person_publishes_them(home: Home, ids: list[str]) -> None:
    new_symbols(home)  # each sized 0.5 by engines until now
    always: dict[str, Any] = {"params": {"hold_changes": "always"}}
    report = home.refresh(2, **always)
    held = str(report.snapshot_id)
    assert (report.outcome, home.store.current()) == ("held", ids[1])
    assert home.refresh(2, **always).outcome == "held"  # it stands and waits
    assert home.store.rejected() == []
    assert home.store.waiting() == [held]
    (check,) = home.store.held_by(held)
    assert check["examples"]
    assert home.store.release(None, now_ms=AS_OF_MS, by="me") == held
    assert home.store.waiting() == []
    assert home.refresh(2, **always).outcome == "unchanged"
    # later ones are measured against what was released
    assert home.before(3, **always).snapshot_id == held


def test_a_release_goes_forward_only_and_not_against_a_hold(home: Home, ids: list[str]) -> None:
    with pytest.raises(SnapshotError, match="no build waits"):
        home.store.release(None, now_ms=AS_OF_MS, by="me")
    with pytest.raises(SnapshotError, match="is CURRENT already"):
        home.store.release(ids[1], now_ms=AS_OF_MS, by="me")
    with pytest.raises(SnapshotError, match=r"older than CURRENT.*rollback"):
        home.store.release(ids[0], now_ms=AS_OF_MS, by="me")
    home.store.set_hold(now_ms=AS_OF_MS, by="me", reason="a test")
    with pytest.raises(SnapshotError, match=r"on HOLD by me .*resume"):
        home.store.release(None, now_ms=AS_OF_MS, by="me")


def test_by_default_paper_trading_waits_for_nobody(home: Home) -> None:
    new_symbols(home)
    assert home.refresh(2).outcome == "published"
