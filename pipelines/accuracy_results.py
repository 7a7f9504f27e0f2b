"""What AccuracyAnalyzer returns: metrics and comparisons with the names of US-017.

Put here: names and plain values. Keep out: computing them (features/sql).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

LABELS = ("LONG", "SHORT", "NOOP")
_DELTAS = (
    "precision_delta",
    "recall_delta",
    "f1_delta",
    "sharpe_delta",
    "win_rate_delta",
    "return_delta_pct",
    "day_delta_pct",
)
_TESTS = ("day_t", "day_df", "day_p", "trade_t", "trade_df", "trade_p")


@dataclass(frozen=True)
class AccuracyMetrics:
    """How often predictions were right and what they earned; one row of feat_telemetry__accuracy.

    Shares lie in 0 to 1, returns are percent of the position, times are minutes. Precision, recall
    and F1 of a label are 0.0 where undefined, as scikit-learn has them: ``predicted`` and
    ``support`` say of how many they are. Everything else unknown is None. ``row`` holds every
    column of the table, NULL where undefined.
    """

    strategy: str
    total_trades: int  # closed predictions
    pending_trades: int
    precision: dict[str, float]
    recall: dict[str, float]
    f1_score: dict[str, float]
    predicted: dict[str, int]
    support: dict[str, int]
    confusion_matrix: list[list[int]]  # rows what came, columns what was predicted, in LABELS
    hit_ratio: float | None
    hit_interval: tuple[float, float] | None
    win_rate: float | None
    avg_return: float | None
    return_interval: tuple[float, float] | None
    return_std: float | None
    sharpe_ratio: float | None
    sharpe_us017: float | None
    max_drawdown: float | None  # percent points of summed returns, at most 0
    profit_factor: float | None
    avg_holding_minutes: float | None
    brier_score: float | None
    calibration_error: float | None
    inclusion_rate: float | None  # below 1: the log holds a sample of the trades
    row: Mapping[str, Any]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of feat_telemetry__accuracy."""
        get = row.get

        def by_label(name: str) -> dict[str, float]:
            return {label: get(f"{name}_{label.lower()}") or 0.0 for label in LABELS}

        def counts(name: str) -> dict[str, int]:
            return {label: get(f"{label.lower()}_{name}_n") or 0 for label in LABELS}

        def bounds(name: str) -> tuple[float, float] | None:
            low, high = get(f"{name}_lo95"), get(f"{name}_hi95")
            return None if low is None or high is None else (low, high)

        return cls(
            strategy=row["strategy"],
            total_trades=row["n"],
            pending_trades=get("pending_n") or 0,
            precision=by_label("precision"),
            recall=by_label("recall"),
            f1_score=by_label("f1"),
            predicted=counts("predicted"),
            support=counts("actual"),
            confusion_matrix=[
                [get(f"{made.lower()}_{came.lower()}") or 0 for made in LABELS] for came in LABELS
            ],
            hit_ratio=get("hit_ratio"),
            hit_interval=bounds("hit"),
            win_rate=get("win_rate"),
            avg_return=get("return_avg_pct"),
            return_interval=bounds("return"),
            return_std=get("return_std_pct"),
            sharpe_ratio=get("sharpe"),
            sharpe_us017=get("sharpe_us017"),
            max_drawdown=get("max_drawdown_pct"),
            profit_factor=get("profit_factor"),
            avg_holding_minutes=get("holding_min_avg"),
            brier_score=get("brier"),
            calibration_error=get("ece"),
            inclusion_rate=get("inclusion_rate"),
            row=row,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold, without ``row``."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "row"}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in named.items()}


class Comparison(dict[str, Any]):
    """Two strategies compared: deltas of the first less the second, tests, better_strategy.

    Keys: precision_delta, recall_delta, f1_delta (of LONG), sharpe_delta, win_rate_delta,
    return_delta_pct and day_delta_pct with their bounds ``trade_interval`` and ``day_interval``
    (95 %), Welch's t, degrees of freedom and p of single trades (trade_t, trade_df, trade_p) and
    of daily sums (day_t, day_df, day_p), composite_leader, better_strategy ("inconclusive" where
    chance explains the daily difference), and trades by strategy, such as intraday_trades.
    A delta that is unknown is NaN, so that it can be formatted.
    """

    @classmethod
    def of(cls, row: Mapping[str, Any], first: str, second: str) -> Self:
        """Read a row of feat_telemetry__comparison, whose pair stands in alphabetical order."""
        sign = 1 if row["strategy"] == first else -1

        def signed(value: float | None) -> float:
            return math.nan if value is None else sign * value

        def bounds(name: str) -> list[float] | None:
            ends = row[f"{name}_lo95"], row[f"{name}_hi95"]
            return None if None in ends else sorted(sign * end for end in ends)

        ns = {row["strategy"]: row["n"], row["other_strategy"]: row["other_n"]}
        tests = {
            name: sign * row[name] if name.endswith("_t") and row[name] is not None else row[name]
            for name in _TESTS
        }
        return cls(
            {name: signed(row[name]) for name in _DELTAS}
            | tests
            | {
                "day_interval": bounds("day"),
                "trade_interval": bounds("trade"),
                "composite_leader": row["composite_leader"],
                "better_strategy": row["better_strategy"],
                f"{first}_trades": ns[first],
                f"{second}_trades": ns[second],
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold: None for NaN."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in self.items()}
