"""The steps to an answer: what every part of an explanation is made of.

Put here: shapes. Keep out: rules (size.py, router.py), reading tables (__init__.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
Params = Mapping[str, Any]
Value = float | str | None


@dataclass(frozen=True)
class Line:
    """One step to an answer: an input with its n, the rule on it and what the rule made of it."""

    what: str
    rule: str
    effect: Value = None
    measured: Value = None
    unit: str = ""  # of measured: share, coverage, pct or bps
    n: int | None = None
    is_fired: bool = False  # the rule changed something


@dataclass(frozen=True)
class Part:
    """The steps to one answer, in order; ``effect`` heads their results."""

    name: str
    answer: str
    effect: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


def named(params: Params, prefix: str) -> dict[str, Any]:
    """Return the parameters that begin with ``prefix``, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in params.items()
        if name.startswith(prefix)
    }
