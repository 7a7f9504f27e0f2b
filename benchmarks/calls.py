"""Calls timed one by one: back to back or at a beat, and how their times are told.

Put here: taking and showing the times of calls. Keep out: what is called; no benchmark itself.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Times = np.ndarray[tuple[int], np.dtype[np.float64]]


def timed(
    call: Callable[[T], object], items: Sequence[T], n: int, *, rate_per_s: int | None = None
) -> Times:
    """Return what each of ``n`` calls took, µs, one item after the other.

    Args:
        rate_per_s: call on a timetable instead of back to back.
    """
    times = np.empty(n)
    now = time.perf_counter_ns
    began = now()
    for number in range(n):
        if rate_per_s is not None:
            due = began + number * 1_000_000_000 // rate_per_s
            while (left := due - now()) > 0:
                time.sleep(left / 1e9)
        item = items[number % len(items)]
        before = now()
        call(item)
        times[number] = now() - before
    return times / 1e3


def show(times_us: Times) -> str:
    """Return the percentiles in one line."""
    p50, p99, p999 = np.percentile(times_us, (50, 99, 99.9))
    return (
        f"p50 {p50:.2f} µs, p99 {p99:.2f} µs, p99.9 {p999:.1f} µs, most {np.max(times_us):.0f} µs "
        f"(n = {len(times_us):,})"
    )


def nothing(value: object) -> None:
    """Do nothing: what its time shows is the clock's own."""
