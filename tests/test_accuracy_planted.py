"""Planted truth: equal strategies stay inconclusive, intervals cover what is true, a known
difference is found at the sample size that theory says. Trades of one day share its market."""

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from pipelines.accuracy import AccuracyAnalyzer

SYMBOLS, A_DAY = 4, 2  # trades of a strategy and day: one market, many trades
DAY_SD, OWN_SD = 0.8, 1.0  # percent: what a day gives to all its trades, and to each alone
MEAN = 0.05
TOGETHER = 50  # worlds in one run: each has its pair of strategies


@dataclass(frozen=True)
class World:
    """What the tables say of one pair: `other` is better by a known amount, or by nothing."""

    better: str
    day_interval: tuple[float, float]
    return_intervals: tuple[tuple[float, float], ...]
    hit_intervals: tuple[tuple[float, float], ...]


def sum_sd() -> float:
    """Return the standard deviation of a day's sum of returns."""
    n = SYMBOLS * A_DAY
    return math.sqrt((n * DAY_SD) ** 2 + n * OWN_SD**2)


def worlds(seed: int, count: int, *, days: int, edge: float = 0.0) -> Iterator[World]:
    """Simulate pairs of strategies; the second earns ``edge`` percent a trade more."""
    for first in range(0, count, TOGETHER):
        size = min(TOGETHER, count - first)
        yield from _run(np.random.default_rng([seed, first]), size, days, edge)


def _run(dice: np.random.Generator, count: int, days: int, edge: float) -> Iterator[World]:
    names = [f"w{world:03d}{half}" for world in range(count) for half in "ab"]
    shape = (len(names), days, SYMBOLS, A_DAY)
    returns = (
        MEAN + dice.normal(0, DAY_SD, shape[:2])[..., None, None] + dice.normal(0, OWN_SD, shape)
    )
    returns[1::2] += edge
    who, day, symbol, nth = (axis.ravel() for axis in np.indices(shape))
    value = returns.ravel()
    start = dt.datetime(2025, 1, 1, 9, tzinfo=dt.UTC)
    # The market went where the trade earned: all are LONG, so right is a return above 0.
    frame = pl.DataFrame(
        {
            "timestamp": [
                start + dt.timedelta(days=int(d), minutes=int(m))
                for d, m in zip(day, nth * 7 + symbol, strict=True)
            ],
            "symbol": [f"S{s}" for s in symbol],
            "strategy": [names[w] for w in who],
            "predicted_direction": "LONG",
            "actual_direction": np.where(value > 0, "LONG", "SHORT"),
            "predicted_confidence": 0.5,
            "entry_price": 100.0,
            "exit_price": 100 + value,
            "holding_period_minutes": 30.0,
            "realized_return_pct": value,
        }
    )
    tables = AccuracyAnalyzer().tables(frame)
    accuracy = {
        row["strategy"]: row
        for row in tables["feat_telemetry__accuracy"]
        if row["symbol"] == "*" and row["window"] == "all"
    }
    pairs = {
        (row["strategy"], row["other_strategy"]): row
        for row in tables["feat_telemetry__comparison"]
        if row["window"] == "all"
    }
    for world in range(count):
        pair = names[2 * world], names[2 * world + 1]
        row = pairs[pair]
        found = row["better_strategy"]
        yield World(
            better=found if found == "inconclusive" else found[-1],
            day_interval=(row["day_lo95"], row["day_hi95"]),
            return_intervals=tuple(
                (accuracy[n]["return_lo95"], accuracy[n]["return_hi95"]) for n in pair
            ),
            hit_intervals=tuple((accuracy[n]["hit_lo95"], accuracy[n]["hit_hi95"]) for n in pair),
        )


def share(flags: list[bool]) -> float:
    return sum(flags) / len(flags)


def covers(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] <= truth <= interval[1]


def check_equal(count: int, low: float, high: float, inconclusive: float) -> None:
    found = list(worlds(17, count, days=60))
    hit = 0.5 * (1 + math.erf(MEAN / math.sqrt(2 * (DAY_SD**2 + OWN_SD**2))))
    assert share([w.better == "inconclusive" for w in found]) >= inconclusive
    assert low <= share([covers(w.day_interval, 0.0) for w in found]) <= high
    assert low <= share([covers(i, MEAN) for w in found for i in w.return_intervals]) <= high
    assert low <= share([covers(i, hit) for w in found for i in w.hit_intervals]) <= high


def check_found(count: int, least: float) -> None:
    edge = 0.5
    # Two-sided 5 %, power 90 %: theory's number of days for this difference of daily sums.
    effect = edge * SYMBOLS * A_DAY / sum_sd()
    days = math.ceil(2 * (1.959964 + 1.281552) ** 2 / effect**2)
    found = list(worlds(23, count, days=days, edge=edge))
    assert share([w.better == "b" for w in found]) >= least
    assert share([w.better == "a" for w in found]) == 0


def test_equal_strategies_are_inconclusive_and_intervals_cover_the_truth() -> None:
    # 30 worlds leave a share of 0.95 within 0.12 in 99.7 of 100 runs
    check_equal(30, 0.83, 1.0, 0.83)


def test_a_known_difference_is_found_at_the_sample_size_of_theory() -> None:
    check_found(30, 0.73)


@pytest.mark.soak
def test_500_worlds_of_equal_strategies() -> None:
    check_equal(500, 0.93, 0.97, 0.93)


@pytest.mark.soak
def test_500_worlds_of_a_known_difference() -> None:
    check_found(500, 0.86)
