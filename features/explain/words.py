"""How the inputs and results of a step are written for people, on terminals and pages alike.

Put here: units and signs. Keep out: the steps (size.py, router.py), tables of them.
"""

from features.explain.steps import Line
from features.words import UNKNOWN, number, share, signed


def measured(line: Line) -> str:
    """Write an input with its unit; nothing where the step has none."""
    if line.measured is None:
        return UNKNOWN if line.unit or line.n is not None else ""
    if isinstance(line.measured, str):
        return line.measured
    if line.unit == "coverage":
        return share(line.measured)
    unit = {"pct": " %", "bps": " bps"}.get(line.unit, "")
    digits = 3 if line.unit == "share" else 2  # 0.504 is above one half
    return number(line.measured, digits) + unit


def effect(value: float | str | None, name: str) -> str:
    """Write what a step made of its input: signed where it is added."""
    if value is None:
        return UNKNOWN
    if isinstance(value, str):
        return value
    return signed(value) if name == "adds" else number(value)
