"""What a reader hands out: a reading of one symbol, its own health, and the changes it reports.

Put here: shapes only. Keep out: how they come about (live/reader.py), the file's lines
(records.py).
"""

from typing import Literal

import msgspec

from live.snapshot.acting import Acting
from live.snapshot.records import Record

Status = Literal["ok", "stale", "insufficient", "unknown"]
EventName = Literal["adopted", "refused", "damaged_line", "recovered"]


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One symbol's values at one moment, all of one snapshot.

    ``ok`` promises that the acting values are the snapshot's own. With every other status they are
    at most as bold as these and as the last good ones; ``lost`` names what the last good record
    knew and this one does not.
    """

    symbol: str
    status: Status
    reduce_only: bool  # do not open or add: too old, or nothing was ever read
    snapshot_id: str | None
    as_of_ms: int | None
    age_s: float | None
    acting: Acting
    record: Record | None  # as published, NULLs included; None when the symbol is not there
    lost: tuple[str, ...] = ()
    held: Record | None = None  # what was known before anything was lost; None when nothing was

    @property
    def is_ahead(self) -> bool:
        """Tell whether the snapshot is dated ahead of the clock, and stale by that."""
        return self.age_s is not None and self.age_s < 0


class Health(msgspec.Struct, frozen=True):
    """What the reader serves and what keeps it from serving something newer."""

    snapshot_id: str | None
    as_of_ms: int | None
    age_s: float | None
    is_stale: bool
    reduce_only: bool
    problem: str | None


class ReaderEvent(msgspec.Struct, frozen=True):
    """A change of what is served: adopted, refused, damaged_line or recovered."""

    name: EventName
    snapshot_id: str | None  # the one served from now on
    detail: str
