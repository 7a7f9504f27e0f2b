"""What a long run tells its caller while it works: progress bars, logs and crash tests listen."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """A named moment of a run.

    ``table`` names what it is about; ``done`` and ``total`` count its unit of work (bytes in the
    intake, tables elsewhere).
    """

    name: str
    table: str | None = None
    done: int | None = None
    total: int | None = None


Listener = Callable[[Event], None]
