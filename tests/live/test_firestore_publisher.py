"""The executor's publisher: what it writes, when each symbol is due, what it leaves alone."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from live import firestore_mirror
from live.firestore_mirror import publish_router_metrics, publish_snapshot, publish_symbol_toggle
from live.mirror import publisher as publisher_module
from live.mirror.documents import documents_of
from live.mirror.publisher import PeriodicPublisher
from live.reader import SnapshotReader
from live.trading.controls import Controls
from tests.live.conftest import Clock
from tests.live.files import T, line
from tests.live.mirrors import assert_mirrors, generation, name, stored
from tests.waiting import wait_until


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(tmp_path: Path, clock: Clock, *symbols: str, interval_s: float = 300) -> PeriodicPublisher:
    reader = SnapshotReader(tmp_path, environment="paper", clock=clock)
    return PeriodicPublisher(reader.read, lambda: symbols, interval_s=interval_s, clock=clock)


def test_every_symbol_is_published_once_an_interval_at_moments_of_its_own(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "_GAP_S", 0)
    symbols = [f"S{i}USDT" for i in range(60)]
    publisher = made(tmp_path, clock, *symbols)
    written: dict[str, list[float]] = {symbol: [] for symbol in symbols}

    def publish(symbol: str, payload: Any) -> bool:
        written[symbol].append(clock.now_s)
        return True

    monkeypatch.setattr(firestore_mirror, "publish_execution_intel", publish)
    monkeypatch.setattr(firestore_mirror, "has_generation", lambda: True)
    start_s = clock.now_s
    for _ in range(1200):
        publisher._publish_due()
        clock.now_s += 1
    for times in written.values():
        assert len(times) == 4
        assert times[0] - start_s <= 300
        assert {after - before for before, after in itertools.pairwise(times)} == {300}
    for minute in range(5):  # 60 symbols over 300 s -> about 12 in each of its five minutes
        first = [
            t for times in written.values() for t in times if 0 <= t - start_s - 60 * minute < 60
        ]
        assert 4 <= len(first) <= 22
    assert publisher.counts.published == 240


def test_beside_a_mirrored_generation_only_the_executors_own_field_is_written(
    firestore: str, tmp_path: Path, clock: Clock
) -> None:
    whole = generation(tmp_path, 1, [line(offsets_bps=[1.0] * 12 + [3.0] * 12), line("ETHUSDT")])
    publish_snapshot(whole)
    clock.now_s = T + 3600 * 13  # 13:00 -> stale by then, so the careful values act
    publisher = made(tmp_path, clock, "BTCUSDT")
    assert publisher._publish("BTCUSDT")
    assert stored()["execution_intel/BTCUSDT"]["executor"] == {
        "status": "stale", "reduce_only": True, "snapshot_id": name(1), "as_of": T + 1,
        "applied": ["size", "offset", "policy"],
        "size_factor": 1.0, "maker_offset_bps": 3.0, "lost": [], "updated_at": int(clock.now_s),
        "policy": {"quality": "good", "maker_first": True, "taker_bias": "prefer_maker"},
    }  # fmt: skip
    assert_mirrors(whole)  # its hash leaves that field out


def test_where_no_snapshot_is_mirrored_the_whole_document_is_the_executors(
    firestore: str, tmp_path: Path, clock: Clock
) -> None:
    whole = generation(tmp_path, 1, [line()])
    publisher = made(tmp_path, clock, "BTCUSDT", "NEVER")
    assert publisher._publish("BTCUSDT")
    found = stored()["execution_intel/BTCUSDT"]
    assert found.pop("executor")["status"] == "ok"
    assert found.pop("updated_at") > T
    assert found["risk"].pop("equity_usd") == 2500.0  # beside a generation it stands in `current`
    assert found == documents_of(whole, "dev").documents["execution_intel/BTCUSDT"]
    assert publisher._publish("NEVER")  # not in the snapshot -> the safe values it trades with
    assert stored()["execution_intel/NEVER"]["executor"]["size_factor"] == 0.5
    # once there is a generation, its documents are left alone
    publish_snapshot(generation(tmp_path, 2, [line(n=7)]))
    newer = generation(tmp_path, 3, [line(n=9)])
    assert publisher._publish("BTCUSDT")
    assert stored()["execution_intel/BTCUSDT"]["n"] == 7
    publish_snapshot(newer)
    assert_mirrors_plus(newer, "execution_intel/NEVER")


def assert_mirrors_plus(whole: Any, path: str) -> None:
    firestore_mirror.get_client().document(f"hedge/dev/{path}").delete()
    assert_mirrors(whole)


def test_health_and_router_metrics_are_written_where_they_are_due(
    firestore: str, tmp_path: Path, clock: Clock
) -> None:
    whole = generation(tmp_path, 1, [line()])
    publisher = made(tmp_path, clock, "BTCUSDT", interval_s=300)
    for _ in range(301):
        publisher._publish_due()
        clock.now_s += 1
    found = stored()
    # no snapshot is mirrored: the health document is the executor's too
    health = found["execution_health/BTCUSDT"]
    assert health.pop("updated_at") > T
    assert health == documents_of(whole, "dev").documents["execution_health/BTCUSDT"]
    metrics = found["router_metrics/BTCUSDT"]
    published = json.loads(json.dumps(line()))["router"]
    assert published.items() <= metrics.items()
    assert (metrics["symbol"], metrics["snapshot_id"], metrics["as_of"]) == (
        "BTCUSDT", name(1), T + 1,
    )  # fmt: skip
    before = publisher.counts.published
    publisher._publish_metrics("BTCUSDT")  # unchanged: not written again
    assert publisher.counts.published == before
    # once the pipeline mirrors, health is its own; metrics that changed are written
    newer = generation(tmp_path, 2, [line(router={**published, "fallback_ratio": 0.75})])
    publish_snapshot(newer)
    clock.now_s += 1
    publisher._publish("BTCUSDT")
    publisher._publish_metrics("BTCUSDT")
    found = stored()
    assert found["execution_health/BTCUSDT"]["snapshot_id"] == name(2)
    assert found["router_metrics/BTCUSDT"]["fallback_ratio"] == 0.75


def test_switches_are_mirrored_when_they_change(
    firestore: str, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls = Controls(tmp_path / "control")
    reader = SnapshotReader(tmp_path, environment="paper", clock=clock)
    publisher = PeriodicPublisher(
        reader.read, lambda: ("BTCUSDT",), switches=Controls(tmp_path / "control").state,
        clock=clock,
    )  # fmt: skip
    calls: list[str] = []
    publish = firestore_mirror.publish_symbol_toggle

    def counted(symbol: str, fields: Any) -> bool:
        calls.append(symbol)
        return publish(symbol, fields)

    monkeypatch.setattr(firestore_mirror, "publish_symbol_toggle", counted)

    def told(symbol: str) -> list[Any]:
        publisher._publish_toggles()
        found = stored()[f"symbol_toggles/{symbol}"]
        return [found[key] for key in ("disabled", "reason", "until", "mode", "mode_reason")]

    assert told("BTCUSDT") == [False, None, None, "run", None]
    assert told("BTCUSDT") == [False, None, None, "run", None]
    assert calls == ["BTCUSDT"]  # once
    controls.disable("BTCUSDT", "spread", int(clock.now_s * 1000) + 60_000)
    controls.disable("OLDUSDT", "delisted", None)  # not active here: a person switched it off
    assert told("BTCUSDT") == [True, "spread", clock.now_s + 60, "run", None]
    assert told("OLDUSDT") == [True, "delisted", None, "run", None]
    clock.now_s += 61
    assert told("BTCUSDT") == [False, None, None, "run", None]  # its time is over
    controls.enable("OLDUSDT")
    assert told("OLDUSDT")[0] is False
    controls.set("kill", "fire", by="test")
    assert told("BTCUSDT") == [False, None, None, "kill", "fire"]
    assert publisher.counts.failed == 0


def test_a_switch_waits_while_firestore_fails(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [False, False, True]
    monkeypatch.setattr(firestore_mirror, "is_failing", lambda: bool(answers))
    monkeypatch.setattr(firestore_mirror, "publish_symbol_toggle", lambda *_: answers.pop(0))
    reader = SnapshotReader(tmp_path, environment="paper", clock=clock)
    publisher = PeriodicPublisher(
        reader.read, lambda: ("BTCUSDT",), switches=Controls(None).state, clock=clock
    )
    for _ in range(5):
        publisher._publish_toggles()
    assert (answers, publisher.counts.published) == ([], 1)


def test_what_is_submitted_is_published_by_the_thread(
    firestore: str, tmp_path: Path, clock: Clock
) -> None:
    publisher = made(tmp_path, clock, interval_s=0.2)
    assert publisher.start()
    publisher.submit(publish_symbol_toggle, "X", {"disabled": True, "reason": "spread"})
    publisher.submit(publish_router_metrics, "X", {"n": object()})  # refused -> does not come back
    publisher.submit(publish_router_metrics, "Y", {"n": 1})
    wait_until("three writes", lambda: publisher.counts.published + publisher.counts.failed >= 3)
    publisher.stop()
    assert (publisher.counts.published, publisher.counts.failed) == (2, 1)
    found = stored()
    assert found["symbol_toggles/X"]["reason"] == "spread"
    assert set(found) == {"symbol_toggles/X", "router_metrics/Y"}


def test_more_than_a_thousand_waiting_are_dropped_and_counted(tmp_path: Path, clock: Clock) -> None:
    publisher = made(tmp_path, clock)
    for number in range(1005):
        publisher.submit(publish_symbol_toggle, f"S{number}", {})
    publisher.submit(publish_symbol_toggle, "S0", {"newer": True})  # takes the place of the older
    assert publisher.counts.dropped == 5
    assert publisher._waiting[publish_symbol_toggle, "S0"] == {"newer": True}


def test_it_does_not_start_where_mirroring_is_off(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = made(tmp_path, clock, "X")
    caplog.set_level("INFO")
    caplog.clear()
    assert not publisher.start()
    assert caplog.messages == ["mirroring is off: no Firestore is configured"]


def test_an_interval_must_be_above_zero(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(ValueError, match="interval_s = 0"):
        made(tmp_path, clock, interval_s=0)


def test_a_fault_of_the_symbols_own_does_not_end_the_thread(
    firestore: str, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    def symbols() -> tuple[str, ...]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("changed while it was read")
        return ()

    reader = SnapshotReader(tmp_path, environment="paper", clock=clock)
    publisher = PeriodicPublisher(reader.read, symbols, interval_s=0.1)
    publisher.start()
    wait_until("three readings", lambda: calls >= 3)
    publisher.stop()
    assert "the mirror's thread met a fault" in caplog.text
