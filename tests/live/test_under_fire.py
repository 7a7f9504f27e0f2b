"""Readers beside a publisher that damages files and is killed: no mixture, no exception, no lie."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.live import fire


def newest(root: Path) -> str:
    """Return the name of the snapshot of the highest number."""
    return max(path.name for path in root.glob("[0-9]*"))


class Publisher:
    """A publishing process that is killed in the middle of anything and started again."""

    def __init__(self, root: Path, repository: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.root, self.repository = root, repository
        self.kills = 0
        self.start()

    def start(self) -> None:
        words = [sys.executable, "-m", "tests.live.fire", "publish", str(self.root)]
        seed = str(self.chance.randrange(1_000_000))
        self.process = subprocess.Popen([*words, seed], cwd=self.repository)
        self.before = newest(self.root)
        self.for_s = self.chance.uniform(0.5, 2.5)
        self.until: float | None = None  # counted from what it publishes first

    def step(self) -> None:
        """Kill it when its time has come; it comes back at once, or after all grew stale."""
        assert self.process.poll() is None, "the publisher died by itself"
        if self.until is None and newest(self.root) != self.before:
            self.until = time.monotonic() + self.for_s
        if self.until is None or time.monotonic() < self.until:
            return
        self.stop()
        self.kills += 1
        time.sleep(self.chance.choice([0.0, 0.0, 0.0, 1.0, 3.0]))
        self.start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def under_fire(
    root: Path,
    repository: Path,
    *,
    reads: int,
    seconds: int,
    snapshots: int,
    processes: int,
    seed: int,
) -> tuple[dict[str, Counter[str]], int, int]:
    """Let readers run beside the publisher; returns what all met, snapshots seen and kills."""
    root.mkdir()
    fire.publish_one(root, 1, None, random.Random(seed))
    publisher = Publisher(root, repository, seed)
    share = [str(root), str(reads // (processes + 1)), str(seconds), str(snapshots)]
    readers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.live.fire", "read", *share, threads],
            cwd=repository, stdout=subprocess.PIPE, text=True,
        )
        for threads in ["4", *["1"] * processes]
    ]  # fmt: skip
    try:
        while any(reader.poll() is None for reader in readers):
            publisher.step()
            time.sleep(0.01)
        found = [json.loads(reader.communicate()[0]) for reader in readers]
    finally:
        publisher.stop()
        for reader in readers:
            reader.kill()
            reader.wait()
            assert reader.stdout is not None
            reader.stdout.close()
    assert [reader.returncode for reader in readers] == [0] * len(readers)
    assert [failure for one in found for failure in one["failures"]] == []
    totals = {
        name: sum((Counter(one[name]) for one in found), Counter[str]()) for name in ("met", "said")
    }
    return totals, max(one["snapshots"] for one in found), publisher.kills


def test_readers_see_one_whole_snapshot_at_a_time_whatever_the_publisher_does(
    tmp_path: Path, repository: Path
) -> None:
    totals, snapshots, kills = under_fire(
        tmp_path / "snapshots",
        repository,
        reads=100_000,
        seconds=4,
        snapshots=6,
        processes=2,
        seed=7,
    )
    assert totals["met"].total() >= 100_000
    assert {"ok", "insufficient", "unknown"} <= totals["met"].keys()
    assert snapshots > 5
    assert kills >= 1
    assert totals["said"]["refused"] > 0


@pytest.mark.soak
def test_ten_million_reads_under_fire(tmp_path: Path, repository: Path) -> None:
    totals, snapshots, kills = under_fire(
        tmp_path / "snapshots",
        repository,
        reads=10_000_000,
        seconds=120,
        snapshots=250,
        processes=4,
        seed=11,
    )
    said = dict(totals["said"])
    print(f"\n{dict(totals['met'])}, said {said}; {snapshots} snapshots, {kills} kills")
    assert totals["met"].total() >= 10_000_000
    assert totals["met"].keys() == {"ok", "insufficient", "unknown", "stale"}
    assert totals["said"].keys() == {"adopted", "refused", "damaged_line", "recovered"}
    assert snapshots > 200
    assert kills > 20
