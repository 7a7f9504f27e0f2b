"""What `execintel doctor` found: what needs a person, and what is only worth knowing.

Put here: collecting. Keep out: looking (doctor_machine.py, doctor_current.py).
"""

from dataclasses import dataclass, field

SHOWN = 10


@dataclass
class Findings:
    """What needs a person (exit code 1) and what is only worth knowing."""

    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def some(lines: list[str], what: str) -> list[str]:
    """Return the first lines, and how many more there are of what."""
    if len(lines) <= SHOWN:
        return lines
    return [*lines[:SHOWN], f"… and {len(lines) - SHOWN} more {what}"]
