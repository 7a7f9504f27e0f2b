"""Killed at any point, a refresh leaves a lake and snapshots that one normal run makes whole."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from features import history_store, publications
from features.engines import duckdb as engine
from features.lake import Lake
from features.snapshot import Store
from pipelines.refresh import refresh
from tests.loads import (
    DAY_MS,
    START_MS,
    all_digests,
    append,
    bulk_load,
    settings_over,
    tangled_lines,
)
from tests.waiting import wait_until

AS_OF_MS = START_MS + 7 * DAY_MS
PHASES = ("intake", "core", "build", "publish")
Boundary = tuple[str, int]  # an event of a refresh, and its occurrence
# Every boundary of a refresh. One load brings four raw tables, two core tables and five feature
# tables.
BOUNDARIES: list[Boundary] = [
    ("intake.found", 1),
    *[(f"intake.{moment}", n) for n in (1, 4) for moment in ("before_commit", "committed")],
    *[
        (f"core.{moment}", n)
        for n in (1, 2)
        for moment in ("planned", "before_commit", "committed")
    ],
    ("build.started", 1),
    ("build.table", 1),
    ("build.table_done", 3),
    ("build.table_done", 5),
    ("publish.started", 1),
    ("publish.before_finish", 1),
    ("publish.finished", 1),
    ("publish.before_current", 1),
    ("publish.done", 1),
    ("history.before_commit", 1),
    ("history.committed", 1),
]
# The same boundaries, each met by a refresh that goes on from what those killed before it left: a
# table that is committed is not planned again, so the next one is the first of that refresh.
_ONE_TABLE: list[Boundary] = [
    (f"core.{moment}", 1) for moment in ("planned", "before_commit", "committed")
]
CHAINS: list[list[Boundary]] = [
    [
        ("intake.found", 1),
        ("intake.before_commit", 1),
        ("intake.committed", 1),
        ("intake.before_commit", 3),  # of the fourth table
        ("intake.committed", 1),
    ],
    _ONE_TABLE * 2,
    [each for each in BOUNDARIES if each[0].startswith("build.")]
    + [("publish.started", 1), ("publish.before_finish", 1)],
    [("publish.finished", 1), ("publish.before_current", 1), ("publish.done", 1)],
    [("history.before_commit", 1), ("history.committed", 1)],
    # Alone, what leaves most to be mended.
    [("core.committed", 1)],
    [("publish.finished", 1)],
    [("publish.done", 1)],
    [("history.before_commit", 1)],
]


class Children:
    """Refreshes in processes that may be killed."""

    @cached_property
    def _process(self) -> subprocess.Popen[str]:
        """Start their parent, which knows the statements that this process has run."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env=os.environ | {"PYTHONPATH": ".", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(list(engine._PARSED)) + "\n")
        return process

    def start(self, root: Path, fatal: str = "", fatal_n: int = 1) -> int:
        """Start a refresh of ``root``; returns the process id."""
        (root / "phases").unlink(missing_ok=True)
        order = {
            "logs": str(root / "logs"),
            "home": str(root / "home"),
            "as_of_ms": AS_OF_MS,
            "phases": str(root / "phases"),
            "fatal": fatal,
            "fatal_n": fatal_n,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """Wait for the started refresh to end; returns the signal that ended it, 0 if none."""
        status = self._answer()
        if os.WIFSIGNALED(status):
            return os.WTERMSIG(status)
        assert os.WEXITSTATUS(status) == 0, "the refresh failed: its traceback is above"
        return 0

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    made = Children()
    yield made
    made.close()


def phases_of(root: Path) -> list[str]:
    path = root / "phases"
    return path.read_text().splitlines() if path.exists() else []


def phase_of(root: Path) -> str:
    """Return what the refresh of ``root`` was at when it ended."""
    return (phases_of(root) or ["started"])[-1].partition(".")[0]


def finish(root: Path) -> dict[str, str]:
    """Run one normal refresh and digest everything."""
    settings = settings_over(root / "logs", root / "home")
    report = refresh(settings, as_of_ms=AS_OF_MS, now_ms=AS_OF_MS)
    assert report.outcome in ("published", "unchanged")
    assert list(Store(root / "home/snapshots").root.glob(".building-*")) == []
    require_whole_history(root / "home")
    return all_digests(root / "home")


def require_whole_history(home: Path) -> None:
    """Assert that every publication stands in the history once, with all of its feature rows."""
    store = Store(home / "snapshots")
    lake_files = Lake(home / "lake").open(history_store.TABLE).data_files()
    found: Counter[tuple[int, str]] = Counter()
    for file in lake_files:
        for n in pq.read_table(file.path, partitioning=None)["publication_n"].to_pylist():
            found[n, str(file.partition["feature_table"])] += 1
    expected: Counter[tuple[int, str]] = Counter()
    for publication in publications.in_force(store.root):
        expected[publication.n, history_store.PUBLICATIONS] = 1
        for name, table in store.manifest(publication.snapshot_id)["tables"].items():
            if name.startswith("feat_"):  # core rows are kept by the lake, not by the history
                expected[publication.n, name] = table["rows"]
    assert found == +expected  # tables without rows have no file


def uninterrupted(logs: Path, home: Path) -> dict[str, str]:
    refresh(settings_over(logs, home), as_of_ms=AS_OF_MS, now_ms=AS_OF_MS)
    return all_digests(home)


def require_whole_current(root: Path) -> None:
    store = Store(root / "home" / "snapshots")
    current = store.current()
    if current is not None:
        assert store.verify(current) == [], phases_of(root)[-3:]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Make a home with one snapshot and logs that brought more since; the digests to end with."""
    root = tmp_path_factory.mktemp("begun")
    append(root / "logs", tangled_lines(1, attempts=20, days=2))
    finish(root)
    append(root / "logs", tangled_lines(2, attempts=20, days=2))
    return root, uninterrupted(root / "logs", root / "other_home")


def kill_at(children: Children, root: Path, boundary: Boundary) -> None:
    """Kill a refresh at one of its boundaries; CURRENT stays whole."""
    children.start(root, *boundary)
    assert children.wait() == signal.SIGKILL, f"the refresh never came to {boundary}"
    assert phases_of(root)[-1] == boundary[0]
    require_whole_current(root)


# Chains meet every boundary, and each kill that leaves something of its own; alone, each of them
# must be mended by one run, too, which the soak holds against every one.
@pytest.mark.parametrize(
    "boundaries",
    [*CHAINS, *(pytest.param([each], marks=pytest.mark.soak) for each in BOUNDARIES)],
    ids=lambda boundaries: "+".join(f"{event}-{number}" for event, number in boundaries),
)
def test_killed_at_boundaries_one_normal_run_makes_it_whole(
    tmp_path: Path,
    children: Children,
    begun: tuple[Path, dict[str, str]],
    boundaries: list[Boundary],
) -> None:
    base, expected = begun
    root = tmp_path / "root"
    shutil.copytree(base, root, ignore=shutil.ignore_patterns("other_home"))
    for boundary in boundaries:
        kill_at(children, root, boundary)
    assert finish(root) == expected, f"killed at {boundaries}"


def test_killed_in_the_first_refresh_of_all_one_normal_run_makes_it_whole(
    tmp_path: Path, children: Children, begun: tuple[Path, dict[str, str]]
) -> None:
    base, expected = begun
    shutil.copytree(base / "logs", tmp_path / "logs")
    for boundary in (("core.committed", 1), ("publish.before_finish", 1)):
        kill_at(children, tmp_path, boundary)
        assert Store(tmp_path / "home/snapshots").current() is None
    assert finish(tmp_path) == expected


def kill_after(children: Children, root: Path, delay_s: float, phase: str = "started") -> str:
    """Kill a refresh ``delay_s`` after it entered ``phase``; returns what it was at."""
    child = children.start(root)
    wait_until(phase, lambda: any(n.startswith(phase) for n in phases_of(root)), every_s=0.001)
    time.sleep(delay_s)
    with contextlib.suppress(ProcessLookupError):  # it had ended
        os.kill(child, signal.SIGKILL)
    children.wait()
    require_whole_current(root)
    return phase_of(root)


def campaign(
    children: Children, root: Path, *, kills: int, least: int, compare_every: int, attempts: int
) -> Counter[str]:
    """Kill refreshes at times spread evenly over their work; returns the hits by phase.

    Each phase is hit ``least`` times or more. Each refresh finds new lines beside what the killed
    one left. After ``compare_every`` kills one normal run must give the tables of an uninterrupted
    one over the same logs.
    """
    first = 0

    def feed() -> None:
        nonlocal first
        bulk_load(root / "logs", attempts=attempts, days=3, first=first)
        first += attempts

    def settle() -> None:
        home = root / f"other_home_{first}"
        assert finish(root) == uninterrupted(root / "logs", home)
        shutil.rmtree(home)

    if not (root / "home").exists():
        feed()
        finish(root)
    feed()
    children.start(root)
    started = time.monotonic()
    children.wait()
    whole_s = time.monotonic() - started
    hits: Counter[str] = Counter()
    for number in range(2 * kills):
        if sum(hits[phase] for phase in PHASES) == kills:
            break
        feed()
        # Golden steps: even over the whole, and neighbours in time are far apart in the run.
        found = kill_after(children, root, whole_s * (number * 0.6180339887 % 1))
        hits[found] += 1
        if found == "ended":  # the machine has less to do than when the run was measured
            whole_s *= 0.8
        if (number + 1) % compare_every == 0:
            settle()
    for phase in PHASES:  # a short one may have been missed
        for extra in range(3 * least):
            if hits[phase] >= least:
                break
            feed()
            hits[kill_after(children, root, 0.01 * (extra % least), phase)] += 1
    settle()
    return hits


def report_hits(
    hits: Counter[str], kills: int, least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\nSIGKILL hits: {', '.join(f'{n} in {phase}' for phase, n in hits.most_common())}")
    inside = sum(hits[phase] for phase in PHASES)
    assert inside >= kills
    assert inside > sum(hits.values()) / 2
    assert all(hits[phase] >= least for phase in PHASES), hits


# A few kills between the boundaries of each phase; more of them is the soak's.
@pytest.mark.parametrize(("kills", "least"), [(5, 1), pytest.param(16, 3, marks=pytest.mark.soak)])
def test_killed_at_times_spread_over_its_work_one_normal_run_makes_it_whole(
    tmp_path: Path,
    children: Children,
    begun: tuple[Path, dict[str, str]],
    capsys: pytest.CaptureFixture[str],
    kills: int,
    least: int,
) -> None:
    root = tmp_path / "root"
    shutil.copytree(begun[0], root, ignore=shutil.ignore_patterns("other_home"))
    hits = campaign(children, root, kills=kills, least=least, compare_every=16, attempts=30)
    report_hits(hits, kills, least, capsys)


@pytest.mark.soak
def test_killed_over_and_over_on_a_large_load_one_normal_run_makes_it_whole(
    tmp_path: Path, children: Children, capsys: pytest.CaptureFixture[str]
) -> None:
    hits = campaign(children, tmp_path, kills=60, least=3, compare_every=4, attempts=4000)
    report_hits(hits, 60, 3, capsys)
