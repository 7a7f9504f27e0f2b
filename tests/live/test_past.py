"""A replay reads what was CURRENT at its moment, by the executor's own reader."""

import gzip
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from features.history_store import append
from features.lake import Lake
from features.settings import Settings
from live.clock import SimulatedClock
from live.market import Bar
from live.snapshot.past import PastSnapshots
from tests.live import files

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
FIRST, SECOND = "20251105T000000Z-aaaaaaaa", "20251105T010000Z-bbbbbbbb"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two snapshots, an hour apart, each known two minutes after its as-of."""
    settings = Settings(home=tmp_path)
    lake = Lake(settings.lake_root)
    lake.prepare()
    rows = {"feat_router__effectiveness": pa.table({"symbol": ["*"], "n": [1]})}
    for number, name in enumerate((FIRST, SECOND)):
        as_of_ms = files.T_MS + number * HOUR_MS
        line = files.line(size={"final_size_factor": 1.1 + number / 8})
        files.publish(settings.snapshots_root, name, [line], as_of_ms=as_of_ms)
        append(lake, rows, snapshot_id=name, as_of_ms=as_of_ms,
               available_ms=as_of_ms + 2 * MINUTE_MS)  # fmt: skip
    return settings


def replay(settings: Settings, minutes: range) -> dict[int, tuple[str | None, str, float]]:
    """Return snapshot, status and size factor by minute after the first as-of."""
    clock = SimulatedClock(files.T_MS + minutes[0] * MINUTE_MS)
    past = PastSnapshots(settings, clock)
    bars = (
        [Bar("BTCUSDT", files.T_MS + (n - 1) * MINUTE_MS, MINUTE_MS, 1, 1, 1, 1, 1)]
        for n in minutes
    )
    told: dict[int, tuple[str | None, str, float]] = {}
    for minute, group in zip(minutes, past.follow(bars), strict=True):
        clock.move_to(group[0].close_ms)
        read = past.read("BTCUSDT")
        told[minute] = (read.snapshot_id, read.status, read.acting.size_factor)
    past.close()
    return told


def test_a_snapshot_is_served_from_its_publication_on_and_not_before(settings: Settings) -> None:
    told = replay(settings, range(-3, 70))
    assert told[1] == (None, "unknown", 0.5)
    assert told[2] == (FIRST, "ok", 1.1)
    assert told[15] == (FIRST, "ok", 1.1)
    assert told[16] == (FIRST, "stale", 1.0)  # 15 minutes after its as-of
    assert told[61] == (FIRST, "stale", 1.0)  # the second is made and not yet published
    assert told[62] == (SECOND, "ok", 1.225)


def test_an_archived_snapshot_is_served_and_one_that_is_gone_counts_as_never_published(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    root = settings.snapshots_root
    archive = root / "archive" / FIRST
    archive.mkdir(parents=True)
    (archive / "live.jsonl.gz").write_bytes(
        gzip.compress((root / FIRST / "live.jsonl").read_bytes())
    )
    for name in (FIRST, SECOND):
        shutil.rmtree(root / name)
    told = replay(settings, range(70))
    assert told[2] == (FIRST, "ok", 1.1)
    assert told[62] == (FIRST, "stale", 1.0)
    assert caplog.text.count(f"{SECOND} is kept no longer") == 1


def test_without_any_history_nothing_is_known(tmp_path: Path) -> None:
    told = replay(Settings(home=tmp_path), range(3))
    assert set(told.values()) == {(None, "unknown", 0.5)}


def test_within_long_bars_a_snapshot_is_served_from_its_own_moment_on(settings: Settings) -> None:
    clock = SimulatedClock(files.T_MS)
    past = PastSnapshots(settings, clock)
    day = Bar("BTCUSDT", files.T_MS - 60 * MINUTE_MS, 86_400_000, 1, 1, 1, 1, 1)
    next(past.follow(iter([[day]])))  # at its close the second snapshot is known
    assert past.read("BTCUSDT").snapshot_id is None
    clock.move_to(files.T_MS + 62 * MINUTE_MS)
    assert past.read("BTCUSDT").snapshot_id == SECOND
    past.close()
