"""When the demonstration's executor decides, restarts and meets its faults: drawn once, ahead.

Put here: the timetable. Keep out: what comes of it (story.py). Times are epoch microseconds.
"""

import random
from dataclasses import dataclass

from pipelines.demo.market import DAY_US, HOUR_US
from pipelines.demo.shapes import Run

SECOND_US = 1_000_000
MIN_GAP_US = 20_000  # two decisions of one executor are never nearer
CLEAN_GAP_US = 1_000_000  # without faults each order is over before the next is decided
HOUR_WEIGHTS = (3, 3, 2, 2, 2, 3, 4, 6, 7, 6, 5, 5, 6, 9, 11, 11, 9, 7, 6, 5, 5, 4, 4, 3)
OLD_ACKS_UNTIL, NEWER_FROM = 0.15, 0.5  # share of the span: executor versions change here
PLANTS = ("nav_zero", "nav_doubled", "unconfirmed_fill", "crossed_book")


@dataclass(frozen=True)
class Plan:
    """A timetable: decision times, and by decision number the midnight or fault that it meets."""

    start_us: int
    end_us: int
    times: list[int]
    midnights: dict[int, int]
    plants: dict[str, set[int]]
    runs: list[Run]

    def version(self, at_us: int) -> int:
        """Return the executor's version: 0 older acknowledgements, 1 v5.10, 2 with our fields."""
        share = (at_us - self.start_us) / (self.end_us - self.start_us)
        return 0 if share < OLD_ACKS_UNTIL else 1 if share < NEWER_FROM else 2

    def run(self, at_us: int) -> Run:
        """Return the executor's run: it restarts daily and for a new version."""
        return self.runs[(at_us - self.start_us) // DAY_US * 3 + self.version(at_us)]


def make_plan(
    rng: random.Random, start_us: int, end_us: int, attempts: int, *, has_faults: bool
) -> Plan:
    """Draw a timetable. Raises ValueError where so many decisions do not fit into the span."""
    gap_us = MIN_GAP_US if has_faults else CLEAN_GAP_US
    times = _times(rng, start_us, end_us, attempts, gap_us)
    midnights = _move_to_midnights(times) if has_faults else {}
    plants = _choose_plants(rng, attempts) if has_faults else {name: set() for name in PLANTS}
    return Plan(start_us, end_us, times, midnights, plants, _runs(rng, start_us, end_us))


def _times(
    rng: random.Random, start_us: int, end_us: int, count: int, min_gap_us: int
) -> list[int]:
    """Draw decision times: more in busy hours, at least ``min_gap_us`` apart, none at the edges."""
    span = end_us - start_us
    first, last = start_us + span // 2000, end_us - span // 500
    times: list[int] = []
    while len(times) < count:
        at_us = rng.randrange(first, last)
        if rng.random() * max(HOUR_WEIGHTS) < HOUR_WEIGHTS[at_us // HOUR_US % 24]:
            times.append(at_us)
    times.sort()
    for i in range(1, count):
        times[i] = max(times[i], times[i - 1] + min_gap_us)
    if times[-1] >= end_us - span // 1000:
        raise ValueError(f"{count} attempts do not fit into {span / 1e6:.0f} s: ask for fewer")
    return times


def _move_to_midnights(times: list[int]) -> dict[int, int]:
    """Move the last decision of each day to 3 s before midnight; map its number to midnight."""
    moved = {}
    for i in range(1, len(times) - 1):
        midnight = times[i + 1] // DAY_US * DAY_US
        if times[i] < midnight and times[i + 1] - midnight > 20 * SECOND_US:
            times[i] = max(times[i], midnight - 3 * SECOND_US)
            if midnight - times[i] > 2 * SECOND_US:
                moved[i] = midnight
    return moved


def _choose_plants(rng: random.Random, attempts: int) -> dict[str, set[int]]:
    """Choose the decisions that may meet a fault; not each of them gives the occasion."""
    few = max(2, min(6, attempts // 40))
    pick = rng.sample(range(attempts), min(attempts, few * 8))
    edges = (0, few // 2, few * 2, few * 5, few * 8)
    return {name: set(pick[edges[k] : edges[k + 1]]) for k, name in enumerate(PLANTS)}


def _runs(rng: random.Random, start_us: int, end_us: int) -> list[Run]:
    """Draw one run of the executor a day and a version."""
    runs = []
    for i in range(((end_us - start_us) // DAY_US + 2) * 3):
        h = f"{rng.getrandbits(128):032x}"
        run_id = f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"
        runs.append(Run(run_id, 610_000 + 37_211 * i + rng.randrange(20_000)))
    return runs
