"""Generations to mirror, and what really stands in Firestore, for the tests of the mirror.

Put here: helpers that several of them share. Keep out: the emulator (tests/emulator.py).
`python -m tests.live.mirrors ROOT BATCH_WRITES PAUSE_S` publishes generation after generation and
waits after every batch, until it is killed.
"""

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.cloud.firestore_v1 import WriteBatch

from live import firestore_mirror
from live.mirror import publication
from live.mirror.documents import content_hash, documents_of
from live.mirror.link import root_of
from live.snapshot.generation import Generation, load
from tests.live import files
from tests.live.files import Line


def name(number: int) -> str:
    """Return the id of the generation of this number."""
    return f"20251105T{number:06}Z-aaaaaaaa"


def generation(root: Path, number: int, lines: list[Line], **header: Any) -> Generation:
    """Publish these lines locally as the generation of a number, and load it."""
    files.publish(root, name(number), lines, as_of_ms=files.T_MS + 1000 * number, **header)
    return load(root, name(number), "paper")


def numbered(number: int, symbols: int) -> list[Line]:
    """Return lines whose every document tells of which generation it is."""
    return [files.line("*", n=number)] + [
        files.line(f"S{i}/USDT", n=number, risk={"sharpe_7d": float(number)}, hourly={})
        for i in range(symbols)
    ]


def stored(env: str = "dev") -> dict[str, dict[str, Any]]:
    """Return every document of an environment that stands in Firestore, by path."""
    root = root_of(firestore_mirror.get_client(), env)
    return {
        f"{collection.id}/{document.id}": document.to_dict() or {}
        for collection in root.collections(timeout=10)
        for document in collection.stream(timeout=10)
    }


def assert_mirrors(whole: Generation, env: str = "dev") -> None:
    """Hold every document that stands there against the generation."""
    made, found = documents_of(whole, env), stored(env)
    current = found.pop("snapshots/current")
    assert current.pop("updated_at") <= time.time()
    assert current == made.current
    assert {path: content_hash(document) for path, document in found.items()} == made.hashes


def after_each_batch(do: Callable[[int], None]) -> None:
    """Call something with the number of each batch once Firestore has applied it."""
    commit, number = WriteBatch.commit, itertools.count(1)

    def committed(self: WriteBatch, *words: Any, **named: Any) -> list[Any]:
        results = commit(self, *words, **named)
        do(next(number))
        return results

    WriteBatch.commit = committed  # type: ignore[method-assign]


def publish_for_ever(root: Path, batch_writes: int, pause_s: float) -> None:
    """Publish until killed; the numbers run on after a kill."""
    publication.BATCH_WRITES = batch_writes

    def pause(_: int) -> None:
        print("batch", flush=True)
        time.sleep(pause_s)

    after_each_batch(pause)
    for number in itertools.count(1 + max((int(p.name[9:15]) for p in root.glob("2*")), default=0)):
        done = firestore_mirror.publish_snapshot(generation(root, number, numbered(number, 6)))
        print(done.outcome, number, done.detail, flush=True)


if __name__ == "__main__":
    publish_for_ever(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
