"""Read one published snapshot, whichever it is, as an engine does that knows no other.

Put here: readings of a snapshot that is not followed. Keep out: following CURRENT and what is
remembered of earlier snapshots, or found of the one before at a start (reader.py). For people and
pages, not for the order path.
"""

import math
from pathlib import Path

from live.reader import is_reduce_only
from live.snapshot.acting import SAFE, careful
from live.snapshot.generation import DamagedError, Generation, load
from live.snapshot.reading import Reading
from live.v510.answers import Read


class PublishedError(RuntimeError):
    """A snapshot holds nothing for engines or is damaged; the text says what to do."""


def reads_as_published(
    root: Path,
    snapshot_id: str,
    environment: str,
    *,
    age_s: float = 0.0,
    max_age_s: float = math.inf,
) -> Read:
    """Return what an engine that knew no other snapshot read from one of this age.

    Raises PublishedError where the snapshot holds nothing for engines or is damaged; so does the
    returned function at a damaged line.
    """
    generation = load_published(root, snapshot_id, environment)
    return reads_of(generation, age_s=age_s, max_age_s=max_age_s)


def load_published(root: Path, snapshot_id: str, environment: str) -> Generation:
    """Load what a snapshot holds for engines.

    Raises PublishedError where it holds nothing or is damaged.
    """
    try:
        return load(root, snapshot_id, environment)
    except FileNotFoundError:
        raise PublishedError(
            f"snapshot {snapshot_id} holds no live.jsonl: it was built by an older version;"
            " execintel refresh makes a new one"
        ) from None
    except DamagedError as error:
        raise PublishedError(f"{error}; execintel snapshots verify names the damage") from error


def reads_of(generation: Generation, *, age_s: float, max_age_s: float) -> Read:
    """Return the readings of a loaded snapshot of this age; a damaged line raises there."""

    def read(symbol: str) -> Reading:
        try:
            entry = generation.entry(symbol)
        except DamagedError as error:
            raise PublishedError(f"{error}; execintel snapshots verify names the damage") from error
        place = (
            is_reduce_only(age_s, max_age_s),
            generation.snapshot_id,
            generation.as_of_ms,
            age_s,
        )
        if entry is None:
            return Reading(symbol, "unknown", *place, SAFE, None)
        if not 0.0 <= age_s <= max_age_s:
            return Reading(symbol, "stale", *place, careful(entry.acting, None), entry.record)
        if entry.is_enough:
            return Reading(symbol, "ok", *place, entry.acting, entry.record)
        return Reading(symbol, "insufficient", *place, careful(entry.acting, None), entry.record)

    return read
