"""Readers that never pause, in processes of their own, while refresh after refresh publishes."""

import json
import multiprocessing as mp
import os
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from features.digest import table_digest
from features.snapshot import Store, open_snapshot
from pipelines.refresh import refresh
from tests.loads import DAY_MS, MINUTE_MS, START_MS, append, bulk_load, router_line, settings_over

READERS = 8
AS_OF_MS = START_MS + 7 * DAY_MS


def read_without_pause(root: Path, stop: Event, begun: Event, findings: Path) -> None:
    """Query CURRENT until told to stop; write how many queries saw which snapshots, and faults."""
    os.nice(15)  # on few cores eight of them would leave refresh hardly any
    store = Store(root)
    seen: dict[str, int] = {}
    faults: list[str] = []
    slowest_ms = 0.0
    while not stop.is_set():
        started = time.perf_counter()
        try:
            snapshot_id = store.resolve(None)  # once: everything below is of this generation
            manifest = store.manifest(snapshot_id)
            with open_snapshot(store.database(snapshot_id)) as con:
                for name in ("feat_router__effectiveness", "feat_symbol__performance"):
                    table = manifest["tables"][name]
                    if table_digest(con, name, tuple(table["grain"])) != table["sha256"]:
                        faults.append(f"{snapshot_id}: {name} is not the manifest's")
                (attempts,) = con.sql(
                    "SELECT n FROM feat_router__effectiveness WHERE symbol = '*'"
                ).fetchall()[0]
                (rows,) = con.sql(
                    "SELECT COUNT(*) FROM core_execution__outcomes"
                    " WHERE outcome <> 'close_only'"
                    f" AND event_ms > {manifest['as_of_ms'] - 7 * DAY_MS}"
                    f" AND event_ms <= {manifest['as_of_ms']}"
                ).fetchall()[0]
                if attempts != rows:
                    faults.append(f"{snapshot_id}: {attempts} attempts in feat, {rows} in core")
            seen[snapshot_id] = seen.get(snapshot_id, 0) + 1
        except Exception as error:  # whatever it is, the test shall name it
            faults.append(f"{type(error).__name__}: {error}")
        slowest_ms = max(slowest_ms, (time.perf_counter() - started) * 1e3)
        begun.set()
    findings.write_text(json.dumps({"seen": seen, "faults": faults, "slowest_ms": slowest_ms}))


# Every refresh is met in the same way: five show it, the soak goes on.
@pytest.mark.parametrize("refreshes", [5, pytest.param(20, marks=pytest.mark.soak)])
def test_eight_readers_meet_no_error_no_lock_and_no_mixture(tmp_path: Path, refreshes: int) -> None:
    logs, home = tmp_path / "logs", tmp_path / "home"
    bulk_load(logs, attempts=60)
    settings = settings_over(logs, home)
    refresh(settings, as_of_ms=AS_OF_MS, now_ms=AS_OF_MS)
    context = mp.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once for all of them
    stop = context.Event()
    readers = []
    for number in range(READERS):
        begun = context.Event()
        arguments = (home / "snapshots", stop, begun, tmp_path / f"reader_{number}.json")
        reader = context.Process(target=read_without_pause, args=arguments, daemon=True)
        reader.start()
        readers.append((reader, begun))
    try:
        assert all(begun.wait(120) for _, begun in readers), "a reader did not start"
        published = []
        for number in range(1, refreshes + 1):
            event_ms = AS_OF_MS + number * MINUTE_MS
            append(logs, [router_line(f"sig_new_{number}", "BTCUSDT", event_ms)])
            report = refresh(settings, as_of_ms=event_ms, now_ms=event_ms)
            assert report.outcome == "published"
            published.append(report.snapshot_id)
    finally:
        stop.set()
        for reader, _ in readers:
            reader.join(60)
    assert [reader.exitcode for reader, _ in readers] == [0] * READERS
    found = [json.loads((tmp_path / f"reader_{n}.json").read_text()) for n in range(READERS)]
    assert [fault for each in found for fault in each["faults"]] == []
    assert all(sum(each["seen"].values()) >= 2 for each in found)
    generations = set().union(*(each["seen"] for each in found))
    assert len(generations & set(published)) > refreshes / 2, "readers met too few generations"
    assert Store(home / "snapshots").current() == published[-1]
