"""Waiting for what another thread or process does, longer than a busy machine needs.

Put here: the one wait. Keep out: what is waited for.
"""

import time
from collections.abc import Callable
from pathlib import Path


def wait_until(
    what: str,
    is_so: Callable[[], bool],
    *,
    within_s: float = 60.0,
    every_s: float = 0.02,
    log: Path | None = None,
) -> None:
    """Return as soon as ``is_so``; fail with ``what``, and what stands in ``log``, if it is not.

    A limit is no measure of speed: it only ends a wait for what will never come.
    """
    until_s = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > until_s:
            told = "" if log is None else f":\n{log.read_text()}"
            raise AssertionError(f"not within {within_s:g} s: {what}{told}")
        time.sleep(every_s)
