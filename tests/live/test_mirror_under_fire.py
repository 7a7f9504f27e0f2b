"""The mirror while its publisher is killed and its server hangs, dies, refuses and comes back."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from live import firestore_mirror
from live.firestore_mirror import publish_execution_intel, publish_snapshot, state
from live.mirror import link
from live.mirror.breaker import Breaker
from live.mirror.publisher import PeriodicPublisher
from live.mirror.source import FirestoreSource
from live.reader import SnapshotReader
from live.snapshot.generation import load
from tests.emulator import Emulator
from tests.live import mirrors
from tests.live.mirrors import assert_mirrors, generation, name
from tests.waiting import wait_until

SYMBOLS = ["*", *(f"S{i}/USDT" for i in range(6))]


# -- a publisher that is killed -------------------------------------------------------------------


class Publisher:
    """A process that publishes generation after generation, three documents a batch."""

    def __init__(self, root: Path) -> None:
        words = ["-m", "tests.live.mirrors", str(root), "4", "0.01"]
        self.process = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        self.output = self.process.stdout

    def wait_for(self, word: str, times: int) -> None:
        while times:
            line = self.output.readline()
            assert line, f"the publisher ended: {self.process.wait(10)}"
            assert line.startswith(("batch", "published", "unchanged")), line
            times -= line.startswith(word)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        self.output.close()


class Watcher:
    """Polls, and holds every symbol against the one generation that is served."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.torn = 0

    def check(self, source: FirestoreSource) -> None:
        readings = [source.read(symbol) for symbol in SYMBOLS]
        problem = source.problem
        served = readings[0].snapshot_id
        if served is None:
            assert problem is not None
            assert all(reading.record is None for reading in readings)
            self.torn += "documents are not those of" in problem
            return
        number = int(served[9:15])
        for reading in readings:
            record = reading.record
            assert record is not None
            assert (record.snapshot_id, record.n) == (served, number), reading
            if reading.symbol != "*":
                assert record.risk is not None
                assert record.risk.sharpe_7d == number, reading
        assert number >= max(self.seen, default=0)
        self.seen.add(number)


# One publisher goes on from what a killed one left, and is killed itself; the soak does it longer.
@pytest.mark.parametrize(
    ("generations", "kills"), [(20, 1), pytest.param(50, 2, marks=pytest.mark.soak)]
)
def test_no_reader_ever_sees_two_generations_mixed_though_the_publisher_is_killed(
    firestore: str, tmp_path: Path, generations: int, kills: int
) -> None:
    chance = random.Random(7)
    following, starting = Watcher(), Watcher()
    failures: list[BaseException] = []
    over = threading.Event()

    def watch(watcher: Watcher, opened: FirestoreSource | None) -> None:
        try:
            while not over.is_set():
                if opened is None:  # one that starts now, without a last whole generation
                    with FirestoreSource(environment="paper") as source:
                        watcher.check(source)
                else:
                    opened.look()
                    watcher.check(opened)
                time.sleep(0.03)
        except BaseException as error:
            failures.append(error)

    with FirestoreSource(environment="paper") as polling:
        threads = [
            threading.Thread(target=watch, args=(following, polling)),
            threading.Thread(target=watch, args=(starting, None)),
        ]
        for thread in threads:
            thread.start()
        for _ in range(kills + 1):
            publisher = Publisher(tmp_path)
            publisher.wait_for("published", generations // (kills + 1) + 1)
            publisher.wait_for("batch", chance.randrange(1, 4))  # of four: within a generation
            publisher.kill()
            time.sleep(0.1)  # readers meet what it left
        over.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(following.seen) > generations / 4  # it looks when it can, not at each
        assert starting.torn > 0, "nobody started at a half-written generation: nothing was tried"
        numbers = [int(path.name[9:15]) for path in tmp_path.glob("2*")]
        assert len(numbers) >= generations
        last = load(tmp_path, name(max(numbers)), "paper")
        assert publish_snapshot(last).is_good  # whatever the last kill left
        assert_mirrors(last)
        polling.look()
        following.check(polling)
        assert max(following.seen) == max(numbers)


# -- a server that fails --------------------------------------------------------------------------


class Stopwatch:
    """The breaker's clock, which a test may stop: its pauses are shorter than a busy machine's."""

    stands_at_s: float | None = None

    def __call__(self) -> float:
        return time.monotonic() if self.stands_at_s is None else self.stands_at_s


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def server(
    monkeypatch: pytest.MonkeyPatch, firestore: str, emulator: Emulator, watch: Stopwatch
) -> Iterator[Emulator]:
    """Mirror to a server that may be hurt, with a breaker that does not wait for minutes.

    Other tests rely on it: it goes on afterwards, whatever became of it.
    """
    process = firestore_mirror._process
    assert publish_execution_intel("WARM", {})  # its first call loads half of it
    firestore_mirror.get_client().document("hedge/dev/execution_intel/WARM").delete()
    process.breaker = Breaker(
        "the mirror",
        failures_to_open=2,
        pause_s=0.3,
        longest_pause_s=0.6,
        clock=watch,
        on_open=process.forget_client,
    )
    yield emulator
    if emulator._process is None:
        emulator.start()
    else:
        emulator.thaw()


def fails_until_open(again: Callable[[], object], watch: Stopwatch) -> None:
    """Call until the breaker opens; then a call returns at once, without having been tried."""

    def takes_s() -> float:
        started_s = time.monotonic()
        again()
        return time.monotonic() - started_s

    watch.stands_at_s = time.monotonic()  # no pause ends meanwhile
    for _ in range(2):
        assert takes_s() < 2.5  # a call has 1
    assert state()["is_open"]
    skipped = state()["skipped"]
    assert min(takes_s() for _ in range(3)) < 0.25  # one of them is not held up by others
    assert state()["skipped"] == skipped + 3
    watch.stands_at_s = None


def test_a_server_that_hangs_dies_and_returns_empty_leaves_the_mirror_equal_to_the_snapshot(
    server: Emulator, watch: Stopwatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish(number: int) -> str:
        done = publish_snapshot(generation(tmp_path, number, mirrors.numbered(number, 3)))
        return done.outcome

    assert publish(1) == "published"
    reader = SnapshotReader(tmp_path, environment="paper")
    with FirestoreSource(environment="paper", poll_s=0.5) as source:
        source.follow()

        monkeypatch.setattr(link, "CALL_S", 1.0)
        server.freeze()
        fails_until_open(lambda: publish(2), watch)
        assert publish(2) in ("waiting", "failed")
        wait_until("a problem is told", lambda: source.health().problem is not None)
        assert "DeadlineExceeded" in str(source.problem)
        assert source.read("S1/USDT").snapshot_id == name(1)  # the last whole generation stays
        server.thaw()
        wait_until("it publishes", lambda: publish(3) in ("published", "unchanged"))
        assert not state()["is_open"]
        assert_mirrors(load(tmp_path, name(3), "paper"))
        wait_until("the third", lambda: source.health().snapshot_id == name(3))

        server.kill()
        fails_until_open(lambda: publish_execution_intel("S1/USDT", {"executor": {}}), watch)
        wait_until(
            "a server that does not answer is told",
            lambda: (
                "ServiceUnavailable" in str(source.health().problem) or "503" in str(source.problem)
            ),
        )
        server.start()  # all it knew is gone
        wait_until(
            "an empty server is told", lambda: "is not there" in str(source.health().problem)
        )
        assert source.read("S1/USDT").snapshot_id == name(3)
        wait_until("it publishes", lambda: publish(4) in ("published", "unchanged"))
        assert_mirrors(load(tmp_path, name(4), "paper"))
        wait_until("the fourth", lambda: source.health().snapshot_id == name(4))
        assert source.health().problem is None
        assert source.read("S1/USDT").record == reader.read("S1/USDT").record


def test_the_executors_publisher_goes_on_by_itself_after_a_server_that_hung(
    server: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert publish_snapshot(generation(tmp_path, 1, mirrors.numbered(1, 3))).is_good
    reader = SnapshotReader(tmp_path, environment="paper")
    publisher = PeriodicPublisher(reader.read, lambda: ("S0/USDT", "S1/USDT"), interval_s=0.4)
    assert publisher.start()
    try:
        wait_until("four writes", lambda: publisher.counts.published >= 4)
        monkeypatch.setattr(link, "CALL_S", 1.0)
        server.freeze()
        wait_until("an open breaker", lambda: state()["is_open"])
        number = 0

        def slowest_s() -> float:
            """Return what the slowest call took, through more than the breaker's longest pause."""
            nonlocal number
            until_s, found_s = time.monotonic() + 1.0, 0.0
            while (started_s := time.monotonic()) < until_s:
                number += 1
                reader.read("S0/USDT")
                publisher.submit(firestore_mirror.publish_symbol_toggle, "S0/USDT", {"n": number})
                found_s = max(found_s, time.monotonic() - started_s)
            return found_s

        # A call that waited for the server would take at least this, each time; a busy machine
        # holds up one now and then.
        assert any(slowest_s() < 0.5 for _ in range(3))
        assert number > 100
        assert publisher.counts.dropped == 0  # only the newest of a symbol waits
        server.thaw()
        wait_until("a closed breaker", lambda: not state()["is_open"])
        before = publisher.counts.published
        wait_until("three more writes", lambda: publisher.counts.published > before + 2)
        toggle = "symbol_toggles/S0%2FUSDT"
        wait_until("the newest", lambda: mirrors.stored().get(toggle, {}).get("n") == number)
    finally:
        publisher.stop()
    assert_mirrors_but_for_the_executors_own(tmp_path)


def assert_mirrors_but_for_the_executors_own(root: Path) -> None:
    for own in ("symbol_toggles/S0%2FUSDT", "router_metrics/S0%2FUSDT", "router_metrics/S1%2FUSDT"):
        document = firestore_mirror.get_client().document(f"hedge/dev/{own}")
        document.delete(timeout=5, retry=None)
    assert_mirrors(load(root, name(1), "paper"))
