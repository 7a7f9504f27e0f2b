"""A publisher that damages what it publishes, and readers that hold every reading against it.

`python -m tests.live.fire publish ROOT SEED` replaces the snapshot every 50 ms until it is killed;
`… read ROOT READS SECONDS SNAPSHOTS THREADS` reads at least so often, so long and of so many
snapshots, checks, and prints what it met as JSON.
"""

import itertools
import json
import os
import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from live.reader import SnapshotReader
from live.snapshot.acting import SAFE
from live.snapshot.reading import ReaderEvent, Reading
from tests.live import files

EVERY_S = 0.05
MAX_AGE_S = 0.6
SYMBOLS = [f"S{number}USDT" for number in range(10)]
FEW = "FEWUSDT"  # always has too few samples
SOMETIMES = "SOMETIMESUSDT"  # only in every other snapshot
NEVER = "NEVERUSDT"
READ = [*SYMBOLS, FEW, SOMETIMES, NEVER]
KEPT = 20
DAMAGES = (
    "truncated", "empty", "first line", "one line", "current is nothing", "current is empty",
    "truncated after", "removed after",
)  # fmt: skip


def expected(serial: int, symbol: str) -> tuple[float, float, float]:
    """Return size factor, offset and Sharpe of a symbol in the snapshot of this number."""
    number = READ.index(symbol)
    return (
        0.25 + (serial * 7 + number) % 150 / 100,
        0.5 + (serial * 3 + number) % 70 / 10,
        serial + number / 100,
    )


def snapshot_of(serial: int, as_of_ms: int, snapshot_id: str, shift: int = 0) -> bytes:
    """Return the file of the snapshot of this number; with a shift its values are another's."""
    lines = []
    for symbol in [*SYMBOLS, FEW, SOMETIMES]:
        if symbol == SOMETIMES and serial % 2:
            continue
        factor, offset_bps, sharpe = expected(serial + shift, symbol)
        lines.append(
            files.line(
                symbol,
                n=serial + shift,
                status="insufficient" if symbol == FEW else "ok",
                size={"final_size_factor": factor},
                offsets_bps=[offset_bps] * 24,
                score={"sharpe": sharpe},
            )
        )
    return files.snapshot_bytes(snapshot_id, lines, as_of_ms=as_of_ms)


# --------------------------------------------------------------------------------------- publisher


def publish_for_ever(root: Path, seed: int) -> None:
    """Publish every 50 ms, one in five damaged, until killed; the numbers run on after a kill."""
    chance = random.Random(seed)
    while True:
        started = time.monotonic()
        serial = 1 + max((int(p.name[:8]) for p in root.glob("[0-9]*")), default=0)
        damage = chance.choice(DAMAGES) if chance.random() < 0.2 else None
        publish_one(root, serial, damage, chance)
        for old in sorted(root.glob("[0-9]*"))[:-KEPT]:
            shutil.rmtree(old)
        time.sleep(max(0.0, EVERY_S - (time.monotonic() - started)))


def publish_one(root: Path, serial: int, damage: str | None, chance: random.Random) -> None:
    """Write a snapshot under another name, rename it, replace CURRENT, and damage what is told."""
    name = f"{serial:08d}-{'good' if damage is None else damage.replace(' ', '-')}"
    data = snapshot_of(serial, round(time.time() * 1000), name)
    if damage == "truncated":
        data = data[: chance.randrange(1, len(data))]
    elif damage == "empty":
        data = b""
    elif damage == "first line":
        at = chance.randrange(data.index(b"\n"))
        data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    elif damage == "one line":
        # Values that nobody may ever see: well-formed, of the right length, under the old hash.
        data = data.replace(b'"sharpe":%d.' % serial, b'"sharpe":%d.' % (serial + 1), 1)
    draft = root / f".building-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    (draft / "live.jsonl").write_bytes(data)
    draft.rename(root / name)
    named = {"current is nothing": f"{serial:08d}-gone", "current is empty": ""}
    files.name_current(root, named.get(damage or "", name) + "\n")
    if damage == "current is nothing":
        before = sorted(root.glob("[0-9]*"))[:-1][-1:]
        if before and before[0].name.endswith("-good"):
            time.sleep(EVERY_S)  # somebody mends it by hand once readers have met it
            files.name_current(root, before[0].name + "\n")
    elif damage == "truncated after":
        os.truncate(root / name / "live.jsonl", chance.randrange(len(data)))
    elif damage == "removed after":
        shutil.rmtree(root / name)
        (root / f"{serial:08d}-number-taken").mkdir()


# ----------------------------------------------------------------------------------------- readers


class Watcher:
    """Holds one thread's readings against what was published."""

    def __init__(self) -> None:
        self.met: Counter[str] = Counter()
        self.serials: set[int] = set()
        self.last: dict[str, int] = {}  # newest number by symbol
        self.checked: dict[str, Reading] = {}
        self.had: set[str] = set()  # symbols that ever had a record: it does not go away

    def check(self, symbol: str, reading: Reading, before_s: float, after_s: float) -> None:
        """Fail on a wrong status, a mixture, a step back, or a value that was not published."""
        self.met[reading.status] += 1
        if reading.snapshot_id is None:  # CURRENT was damaged when the reader began
            assert not self.last, reading
            assert (reading.status, reading.reduce_only) == ("unknown", True), reading
            assert reading.acting == SAFE, reading
            return
        assert reading.as_of_ms is not None, reading
        assert reading.age_s is not None, reading
        serial = int(reading.snapshot_id[:8])
        assert serial >= self.last.get(symbol, 0), (serial, self.last[symbol], reading)
        self.last[symbol] = serial
        as_of_s = reading.as_of_ms / 1000
        assert before_s - as_of_s - 1e-6 <= reading.age_s <= after_s - as_of_s + 1e-6, reading
        is_fresh = 0 <= reading.age_s <= MAX_AGE_S
        usual = "insufficient" if symbol == FEW else "ok"
        status = "unknown" if reading.record is None else usual if is_fresh else "stale"
        assert reading.status == status, reading
        assert reading.reduce_only == (abs(reading.age_s) > 4 * MAX_AGE_S), reading
        known = self.checked.get(symbol)
        if known is None or known.record is not reading.record or known.status != status:
            self.check_values(symbol, serial, reading)
            self.checked[symbol] = reading

    def check_values(self, symbol: str, serial: int, reading: Reading) -> None:
        """Compare every value that changes with the snapshot; done once for each record."""
        self.serials.add(serial)
        assert reading.snapshot_id is not None
        # One line may be damaged beside good ones; all others damaged are never served.
        suffix = reading.snapshot_id[9:]
        assert suffix in ("good", "one-line", "truncated-after", "removed-after"), reading
        if reading.record is None:
            is_absent = symbol == NEVER or (symbol == SOMETIMES and serial % 2 == 1)
            is_first = suffix == "one-line" and symbol == SYMBOLS[0] and symbol not in self.had
            assert is_absent or is_first, reading
            assert reading.acting.size_factor <= SAFE.size_factor, reading
            assert min(reading.acting.offsets_bps) >= SAFE.offsets_bps[0], reading
            return
        record = reading.record
        self.had.add(symbol)
        assert record.snapshot_id == reading.snapshot_id, reading
        assert (record.symbol, record.as_of_ms) == (symbol, reading.as_of_ms), reading
        assert record.size is not None, reading
        assert record.score is not None, reading
        factor, offset_bps, sharpe = expected(serial, symbol)
        found = (record.size.final_size_factor, record.offsets_bps, record.score.sharpe, record.n)
        assert found == (factor, (offset_bps,) * 24, sharpe, serial), reading
        if reading.status == "ok":
            assert reading.acting.size_factor == factor, reading
            assert reading.acting.offsets_bps == (offset_bps,) * 24, reading
        else:
            assert reading.acting.size_factor <= min(factor, 1.0), reading
            assert min(reading.acting.offsets_bps) >= max(offset_bps, 2.0), reading


def read(root: Path, reads: int, seconds: float, snapshots: int, threads: int) -> dict[str, object]:
    """Read with one reader in some threads; returns what was met and every failure.

    On a machine that others keep busy so many snapshots, and a refused one, take longer: up to
    five times ``seconds``, and two minutes at least.
    """
    until = time.monotonic() + seconds
    at_last = until + max(4 * seconds, 120)
    said: Counter[str] = Counter()

    def listen(event: ReaderEvent) -> None:
        said[event.name] += 1

    reader = SnapshotReader(
        root, environment="paper", max_age_s=MAX_AGE_S, check_interval_s=0.02, on_event=listen
    )
    watchers = [Watcher() for _ in range(threads)]
    failures: list[str] = []

    def work(watcher: Watcher) -> None:
        try:
            for number in itertools.count():
                is_long = number >= reads / threads and time.monotonic() >= until
                is_enough = len(watcher.serials) >= snapshots and said["refused"] > 0
                if is_long and (is_enough or time.monotonic() >= at_last):
                    return
                symbol = READ[number % len(READ)]
                before_s = time.time()
                reading = reader.read(symbol)
                watcher.check(symbol, reading, before_s, time.time())
        except BaseException as error:
            failures.append(repr(error))

    workers = [threading.Thread(target=work, args=(watcher,)) for watcher in watchers]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    met = sum((watcher.met for watcher in watchers), Counter[str]())
    serials = set().union(*(watcher.serials for watcher in watchers))
    return {"met": met, "snapshots": len(serials), "said": said, "failures": failures}


def main(words: Sequence[str]) -> None:
    if words[0] == "publish":
        publish_for_ever(Path(words[1]), int(words[2]))
    reads, seconds, snapshots, threads = (int(word) for word in words[2:])
    print(json.dumps(read(Path(words[1]), reads, seconds, snapshots, threads)))


if __name__ == "__main__":
    main(sys.argv[1:])
