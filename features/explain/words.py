"""How the inputs and results of a step are written for people, on terminals and pages alike.

Put here: units and signs. Keep out: the steps (size.py, router.py), tables of them.
"""

from features.explain.steps import Line
from features.words import UNKNOWN, number


def measured(line: Line) -> str:
    """Write an input with its unit; nothing where the step has none."""
    if line.measured is None:
        return UNKNOWN if line.unit or line.n is not None else ""
    if isinstance(line.measured, str):
        return line.measured
    unit = {"pct": " %", "bps": " bps"}.get(line.unit, "")
    digits = 3 if line.unit == "share" else 2  # 0.504 is above one half
    return number(line.measured, digits) + unit


def effect(value: float | str | None, name: str) -> str:
    """Write what a step made of its input: signed where it is added."""
    if value is None:
        return UNKNOWN
    if isinstance(value, str):
        return value
    written = number(value)
    return f"+{written}" if name == "adds" and value > 0 and written != "0.00" else written
