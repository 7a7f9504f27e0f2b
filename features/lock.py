"""One writer at a time: whatever changes lake or snapshots holds this file lock.

Put here: taking the lock and naming who holds it. The kernel frees it when its process dies.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class WriterBusyError(RuntimeError):
    """Another process holds the writer lock: skip this run, or try again later."""


@contextmanager
def writer_lock(home: Path, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the writer lock of a data root while the block runs.

    Raises WriterBusyError naming the holder when it is not free within ``wait_s`` seconds.
    """
    home.mkdir(parents=True, exist_ok=True)
    note = home / "writer.json"
    lock = FileLock(home / "writer.lock")
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise WriterBusyError(
            f"{home} is being written by {_holder(note)}; try again when it ends"
        ) from None
    try:
        note.write_text(json.dumps({"what": what, "pid": os.getpid()}))
        yield
    finally:
        lock.release()


def _holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        return f"{holder['what']} (process {holder['pid']})"
    except (OSError, ValueError, KeyError):
        return "another process"
