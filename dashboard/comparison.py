"""Two strategies side by side: which is better, whether that is more than chance, in words.

Put here: pure functions of feat_telemetry__comparison and the accuracy of both. Keep out: one
strategy alone (accuracy.py), drawing, and the test itself (features/sql).
"""

import math

import polars as pl

from dashboard import accuracy
from dashboard.accuracy import Row
from features.words import UNKNOWN, interval, number


def verdict(row: Row) -> str:
    """Say in one sentence which strategy is better, or that chance explains the difference."""
    first, other = row["strategy"], row["other_strategy"]
    days = f"{row['bet_day_n']} and {row['other_bet_day_n']} days"
    if row["day_p"] is None:
        return f"inconclusive: {days} are too few, or too alike, to tell a difference from chance"
    delta = row["day_delta_pct"]
    difference = (
        f"a day {first} earned {number(abs(delta))} percent points "
        f"{'more' if delta >= 0 else 'less'} than {other} "
        f"(difference {number(delta)}, 95 %: {interval(row['day_lo95'], row['day_hi95'])}; "
        f"p = {number(row['day_p'], 3)}, {days})"
    )
    if row["better_strategy"] == "inconclusive":
        return f"inconclusive: {difference}; chance explains that"
    return f"{row['better_strategy']} is better: {difference}"


def compared(row: Row, first: Row, other: Row, z: float) -> pl.DataFrame:
    """Return both strategies side by side, as text with bounds: measure, first, second, difference.

    Where feat_telemetry__comparison has no bounds of a difference, they follow from those of both
    (Newcombe 1998, method 10; Zou and Donner 2008).
    """
    lines = []
    for what, column, delta, scale, digits in _COMPARED:
        sides: list[Estimate] = [
            (each[column], *_bounds_of(each, column, z)) for each in (first, other)
        ]
        ends = (
            (row["trade_lo95"], row["trade_hi95"])
            if column == "return_avg_pct"
            else difference_bounds(sides[0], sides[1])
        )
        found: list[Estimate] = [*sides, (row[delta], *ends)]
        texts = [_with_bounds(each, scale, digits) for each in found]
        lines.append((what, *texts))
    day = _with_bounds((row["day_delta_pct"], row["day_lo95"], row["day_hi95"]), 1, 2)
    lines.append(("Sum of returns a day, pp", UNKNOWN, UNKNOWN, day))
    names = ("measure (95 % bounds)", "first", "second", "difference")
    return pl.DataFrame(lines, schema=dict.fromkeys(names, pl.String), orient="row")


Estimate = tuple[float | None, float | None, float | None]  # value, lower and upper bound


def difference_bounds(first: Estimate, other: Estimate) -> tuple[float | None, float | None]:
    """Return the bounds of a difference of two independent estimates from their own bounds."""
    (a, a_lo, a_hi), (b, b_lo, b_hi) = first, other
    if a is None or a_lo is None or a_hi is None or b is None or b_lo is None or b_hi is None:
        return None, None
    return a - b - math.hypot(a - a_lo, b_hi - b), a - b + math.hypot(a_hi - a, b - b_lo)


def _bounds_of(row: Row, column: str, z: float) -> tuple[float | None, float | None]:
    if column == "recall_long":
        return accuracy.wilson(row[column], accuracy.independent(row, row["long_actual_n"]), z)
    if column == "f1_long":
        return accuracy.f1_bounds(row, "LONG", z)
    if column == "sharpe":
        return accuracy.sharpe_bounds(row)
    name = {"win_rate": "win", "return_avg_pct": "return"}.get(column, column)
    return row[f"{name}_lo95"], row[f"{name}_hi95"]


def _with_bounds(estimate: Estimate, scale: float, digits: int) -> str:
    value, low, high = (None if each is None else each * scale for each in estimate)
    ends = interval(low, high, digits)
    text = number(value, digits)
    return text if UNKNOWN in (ends, text) else f"{text} ({ends})"


_COMPARED = (
    ("Precision LONG, %", "precision_long", "precision_delta", 100, 1),
    ("Recall LONG, %", "recall_long", "recall_delta", 100, 1),
    ("F1 LONG, %", "f1_long", "f1_delta", 100, 1),
    ("Win rate, %", "win_rate", "win_rate_delta", 100, 1),
    ("Sharpe a year", "sharpe", "sharpe_delta", 1, 2),
    ("Mean return, %", "return_avg_pct", "return_delta_pct", 1, 3),
)
