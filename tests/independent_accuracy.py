"""Accuracy from trace rows in plain Python, scikit-learn and SciPy: another way to each number.

Put here: the second calculation. Keep out: the SQL it is compared with.
"""

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics

LABELS = ["LONG", "SHORT", "NOOP"]
DAY_MS = 86_400_000
THRESHOLDS = {"intraday": 0.003, "swing": 0.005}


@dataclass(frozen=True)
class Trade:
    """One closed prediction as a writer knew it."""

    entry_ms: int
    close_ms: int
    symbol: str
    strategy: str
    predicted: str
    confidence: float
    entry: float
    exit: float
    minutes: float
    return_pct: float

    @property
    def actual(self) -> str:
        move = self.exit / self.entry - 1
        limit = THRESHOLDS[self.strategy]
        return "LONG" if move > limit else "SHORT" if move < -limit else "NOOP"

    def csv(self) -> str:
        stamp = dt.datetime.fromtimestamp(self.entry_ms / 1000, dt.UTC).isoformat()
        return (
            f"{stamp},{self.symbol},{self.strategy},{self.predicted},{self.actual},"
            f"{self.confidence!r},{self.entry!r},{self.exit!r},{self.minutes!r},"
            f"{self.return_pct!r},{{}},{{}}\n"
        )


HEADER = (
    "timestamp,symbol,strategy,predicted_direction,actual_direction,predicted_confidence,"
    "entry_price,exit_price,holding_period_minutes,realized_return_pct,features_json,"
    "metadata_json\n"
)


def windows(trades: Iterable[Trade], as_of_ms: int) -> dict[str, list[Trade]]:
    """Return the closed trades of each window in order of time."""
    known = sorted(
        (t for t in trades if t.close_ms <= as_of_ms), key=lambda t: (t.close_ms, t.entry_ms)
    )
    return {
        "all": known,
        "30d": [t for t in known if t.close_ms > as_of_ms - 30 * DAY_MS],
        "last100": known[-100:],
    }


def accuracy(trades: Sequence[Trade]) -> dict[str, Any]:
    """Calculate what a row of feat_telemetry__accuracy says of these trades."""
    actual, predicted = [t.actual for t in trades], [t.predicted for t in trades]
    matrix = metrics.confusion_matrix(actual, predicted, labels=LABELS)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        actual, predicted, labels=LABELS, zero_division=math.nan
    )
    right = [a == p for a, p in zip(actual, predicted, strict=True)]
    confidence = np.array([t.confidence for t in trades])
    positions = [t for t in trades if t.predicted != "NOOP"]
    returns = np.array([t.return_pct for t in positions])
    years = (max(t.close_ms for t in trades) - min(t.entry_ms for t in trades)) / (365 * DAY_MS)
    std = float(np.std(returns, ddof=1))
    found: dict[str, Any] = {
        "n": len(trades),
        "hit_ratio": metrics.accuracy_score(actual, predicted),
        "win_rate": float(np.mean(returns > 0)),
        "trade_n": len(positions),
        "return_avg_pct": float(np.mean(returns)),
        "return_std_pct": std,
        "sharpe": float(np.mean(returns)) / std * math.sqrt(len(positions) / years),
        "max_drawdown_pct": _drawdown(positions),
        "profit_factor": float(returns[returns > 0].sum()) / -float(returns[returns < 0].sum()),
        "holding_min_avg": float(np.mean([t.minutes for t in positions])),
        "brier": metrics.brier_score_loss(right, confidence),
        "ece": _ece(confidence, np.array(right)),
    }
    for i, label in enumerate(label.lower() for label in LABELS):
        found |= {f"precision_{label}": precision[i], f"recall_{label}": recall[i]}
        found |= {f"f1_{label}": f1[i], f"{label}_actual_n": support[i]}
        for j, came in enumerate(label.lower() for label in LABELS):
            found[f"{label}_{came}"] = matrix[j][i]  # predicted_actual; rows of matrix are actual
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in found.items()}


def _drawdown(trades: Sequence[Trade]) -> float:
    """Walk the running sum; trades that close at one moment are one step."""
    steps: dict[int, list[float]] = defaultdict(list)
    for trade in trades:
        steps[trade.close_ms].append(trade.return_pct)
    level = peak = deepest = 0.0
    for moment in sorted(steps):
        level += math.fsum(steps[moment])
        peak = max(peak, level)
        deepest = min(deepest, level - peak)
    return deepest


def _ece(confidence: np.ndarray, right: np.ndarray) -> float:
    bins = np.minimum((confidence * 10).astype(int), 9)
    gaps = [
        abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean()
        for b in set(bins)
    ]
    return float(sum(gaps))


def daily_sums(trades: Iterable[Trade]) -> list[float]:
    """Return the sum of returns of each day on which a position closed."""
    days: dict[int, list[float]] = defaultdict(list)
    for trade in trades:
        if trade.predicted != "NOOP":
            days[trade.close_ms // DAY_MS].append(trade.return_pct)
    return [math.fsum(returns) for returns in days.values()]


def welch(first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """Return t, degrees of freedom, p and the 95 % interval of the difference of means."""
    result = stats.ttest_ind(first, second, equal_var=False)
    low, high = result.confidence_interval(0.95)
    return {
        "t": result.statistic,
        "df": result.df,
        "p": result.pvalue,
        "lo95": low,
        "hi95": high,
    }
