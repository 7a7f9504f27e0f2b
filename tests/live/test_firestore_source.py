"""Reading the mirror: the same objects as from the snapshot, whole generations or none."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from live import intel
from live.firestore_mirror import get_client, publish_snapshot
from live.mirror import publication
from live.mirror.desk import Desk, Hold
from live.mirror.link import OffError
from live.mirror.source import FirestoreSource
from live.reader import SnapshotReader
from live.snapshot.acting import SAFE
from live.trading.controls import State
from tests.live import mirrors
from tests.live.conftest import Clock
from tests.live.files import line
from tests.live.mirrors import generation, name
from tests.live.test_mirror_documents import ALL_LINE
from tests.waiting import wait_until


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_source(firestore: str, clock: Clock) -> Iterator[Callable[..., FirestoreSource]]:
    """Open sources that are closed after the test."""
    opened: list[FirestoreSource] = []

    def source(**options: Any) -> FirestoreSource:
        usual: dict[str, Any] = {"environment": "paper", "clock": clock}
        opened.append(FirestoreSource(**usual | options))
        return opened[-1]

    yield source
    for each in opened:
        each.close()


Open = Callable[..., FirestoreSource]


def test_readings_are_those_of_the_snapshot_itself(
    open_source: Open, clock: Clock, tmp_path: Path
) -> None:
    lines = [
        line("*", **ALL_LINE),
        line("BTC/USDT:USDT"),
        line("FEW", status="insufficient", offsets_bps=[None] * 24),
        line("BARE", score=None, size=None, regime=None, hourly=None),
    ]
    publish_snapshot(generation(tmp_path, 1, lines, account="desk", window_days=5))
    local = SnapshotReader(tmp_path, environment="paper", clock=clock)
    mirrored = open_source()
    assert set(mirrored.symbols) == set(local.symbols)
    for age_s in (0, 600, 1000, 5000):  # fresh, stale, so old that nothing may be opened
        clock.now_s += age_s
        for symbol in ("*", *local.symbols, "NEVER"):
            assert mirrored.read(symbol) == local.read(symbol)
        assert mirrored.health() == local.health()
    with intel.answering_from(local.read):
        expected = intel.compute_execution_health("BTC/USDT:USDT")
    with intel.answering_from(mirrored.read):
        assert intel.compute_execution_health("BTC/USDT:USDT") == expected
    header, mirrored_header = local.header, mirrored.header
    assert header is not None
    assert mirrored_header is not None
    assert (mirrored_header.account, mirrored_header.window_days) == ("desk", 5)
    assert mirrored_header.as_of_ms == header.as_of_ms


def test_unchanged_documents_are_of_the_newest_snapshot_and_are_not_read_again(
    open_source: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_snapshot(generation(tmp_path, 1, [line("A"), line("B")]))
    source = open_source()
    read: list[list[str]] = []
    get_all = type(get_client()).get_all

    def counted(self: Any, references: list[Any], **named: Any) -> Any:
        read.append([reference.id for reference in references])
        return get_all(self, references, **named)

    monkeypatch.setattr(type(get_client()), "get_all", counted)
    publish_snapshot(generation(tmp_path, 2, [line("A"), line("B", n=7)]), verify=False)
    source.look()
    assert read == [["B"]]
    for symbol in "AB":
        reading = source.read(symbol)
        assert reading.record is not None
        assert (reading.snapshot_id, reading.record.snapshot_id) == (name(2), name(2))
    source.look()
    assert read == [["B"]]


# -- generations that are not whole ---------------------------------------------------------------


def half_publish(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish a first generation, and of a second only the first batches."""
    from google.cloud.firestore_v1 import WriteBatch

    publish_snapshot(generation(root, 1, mirrors.numbered(1, 6)))

    def stop(batch: int) -> None:
        if batch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(publication, "BATCH_WRITES", 4)
        patched.setattr(WriteBatch, "commit", WriteBatch.commit)
        mirrors.after_each_batch(stop)
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            publish_snapshot(generation(root, 2, mirrors.numbered(2, 6)))


def test_a_reader_keeps_its_last_whole_generation_while_one_is_half_written(
    open_source: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_snapshot(generation(tmp_path, 1, mirrors.numbered(1, 6)))
    source = open_source()
    half_publish(tmp_path, monkeypatch)
    source.look()
    # `current` still names what is served: not a document has to be read, nothing is wrong
    assert source.health().problem is None
    assert {source.read(f"S{i}/USDT").record.n for i in range(6)} == {1}  # type: ignore[union-attr]
    publish_snapshot(generation(tmp_path, 3, mirrors.numbered(3, 6)))
    source.look()
    assert {source.read(f"S{i}/USDT").record.n for i in range(6)} == {3}  # type: ignore[union-attr]


def test_a_reader_that_starts_at_a_half_written_generation_serves_nothing_and_says_why(
    open_source: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_publish(tmp_path, monkeypatch)
    source = open_source()
    health = source.health()
    assert (health.snapshot_id, health.reduce_only, health.is_stale) == (None, True, True)
    assert health.problem is not None
    assert (
        f"of 12 documents are not those of {name(1)} ({name(2)} is being written)" in health.problem
    )
    for symbol in ("S0/USDT", "S5/USDT"):  # also what is still of the first generation
        reading = source.read(symbol)
        assert (reading.status, reading.record, reading.acting) == ("unknown", None, SAFE)
    publish_snapshot(generation(tmp_path, 3, mirrors.numbered(3, 6)))
    source.look()
    assert source.health().problem is None
    assert source.read("S5/USDT").status == "ok"


def test_a_document_changed_by_somebody_else_is_not_accepted(
    open_source: Open, tmp_path: Path
) -> None:
    publish_snapshot(generation(tmp_path, 1, [line("A"), line("B")]))
    get_client().document("hedge/dev/execution_intel/A").update({"size_factor": 9.0})
    source = open_source()
    assert "1 of 4 documents are not those of" in str(source.health().problem)
    assert source.read("B").status == "unknown"
    # what the executor adds beside the generation does not count as a change
    publish_snapshot(generation(tmp_path, 2, [line("A"), line("B")]), verify=True)
    get_client().document("hedge/dev/execution_intel/A").update({"executor": {"status": "ok"}})
    source.look()
    assert source.read("A").acting.size_factor == 1.25


def test_what_the_desk_says_is_followed_while_the_snapshot_stands(
    open_source: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = generation(tmp_path, 1, [line("A"), line("B")])
    publish_snapshot(whole, desk=Desk("logs", ("size",), None, State()))
    events: list[str] = []
    source = open_source(on_event=lambda event: events.append(event.name))
    desk = source.desk
    assert (desk.origin, desk.applied, desk.hold) == ("logs", ("size",), None)
    assert desk.told_ms is not None
    hold = Hold(1_762_300_800_000, "ann", "wrong fees")
    publish_snapshot(whole, desk=Desk("logs", ("size",), hold, State()))

    def none_is_read(*words: Any, **named: Any) -> Any:
        raise AssertionError("no document has changed")

    with monkeypatch.context() as patched:
        patched.setattr(type(get_client()), "get_all", none_is_read)
        source.look()
    assert (source.desk.hold, source.problem) == (hold, None)
    assert events == ["adopted"]  # the snapshot is the one that was served
    # what a release before wrote tells nothing of it
    publish_snapshot(generation(tmp_path, 2, [line("A")]))
    from google.cloud.firestore import DELETE_FIELD

    names = ("origin", "applied", "hold", "switches")
    get_client().document("hedge/dev/snapshots/current").update(dict.fromkeys(names, DELETE_FIELD))
    source.look()
    assert source.health().snapshot_id == name(2)
    assert source.desk == Desk(told_ms=source.desk.told_ms)


def test_generated_data_can_be_read_as_when_it_was_new(
    open_source: Open, clock: Clock, tmp_path: Path
) -> None:
    lines = [line("A"), line("FEW", status="insufficient")]
    publish_snapshot(generation(tmp_path, 1, lines), desk=Desk("demo"))
    local = SnapshotReader(tmp_path, environment="paper", clock=clock)
    new = {symbol: local.read(symbol) for symbol in ("A", "FEW", "NEVER")}
    clock.now_s += 1_000_000
    source = open_source()
    assert source.desk.is_demo
    assert source.read("A").status == "stale"
    for symbol, reading in new.items():
        found = source.read_as_new(symbol)
        assert (found.status, found.acting, found.record) == (
            reading.status, reading.acting, reading.record
        )  # fmt: skip
        assert not found.reduce_only


def test_an_empty_mirror_and_one_of_another_environment_are_named(
    open_source: Open, tmp_path: Path
) -> None:
    source = open_source()
    assert "hedge/dev/snapshots/current is not there" in str(source.health().problem)
    publish_snapshot(generation(tmp_path, 1, [line("A")]))
    source.look()
    assert source.read("A").status == "ok"
    other = open_source(environment="live")
    assert "is of environment paper, this reader serves live" in str(other.health().problem)
    assert other.read("A").record is None


def test_what_another_release_wrote_is_an_error_and_not_a_guess(
    open_source: Open, tmp_path: Path
) -> None:
    publish_snapshot(generation(tmp_path, 1, [line("A")]))
    source = open_source()
    current = get_client().document("hedge/dev/snapshots/current")
    current.update({"snapshot_id": "later", "all": {"components": 5}})
    source.look()
    assert "KeyError" in str(source.health().problem)
    assert source.read("A").snapshot_id == name(1)


def test_reading_is_off_where_nothing_is_configured() -> None:
    with pytest.raises(OffError, match="GOOGLE_CLOUD_PROJECT and FIRESTORE_EMULATOR_HOST"):
        FirestoreSource(environment="paper")


# -- keeping up -----------------------------------------------------------------------------------


def test_a_poll_finds_what_changed(open_source: Open, tmp_path: Path) -> None:
    publish_snapshot(generation(tmp_path, 1, [line("A")]))
    events: list[str] = []
    source = open_source(poll_s=0.2, on_event=lambda event: events.append(event.name))
    source.follow()
    publish_snapshot(generation(tmp_path, 2, [line("A", n=2)]))
    wait_until("the second", lambda: source.health().snapshot_id == name(2))
    assert events == ["adopted", "adopted"]
