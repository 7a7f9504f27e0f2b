"""What the Strategies page says: cards, directions, verdicts and alerts out of the accuracy tables.

Put here: pure functions of feat_telemetry__ rows. Keep out: reading them (data.py), drawing
(accuracy_charts.py), what a number means (features/sql/feat_telemetry__accuracy.sql).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from features.words import UNKNOWN, interval, number

ALL = "*"
DIRECTIONS = ("LONG", "SHORT", "NOOP")
WINDOWS = {"30d": "30 days", "all": "all time", "last100": "last 100 closed"}
PRECISION_RULE = "precision_below_threshold"

Row = Mapping[str, Any]


def strategies(accuracy: pl.DataFrame) -> list[str]:
    """Return the strategies that predicted anything, sorted."""
    return [name for name in accuracy["strategy"].unique().sort().to_list() if name != ALL]


def symbols(accuracy: pl.DataFrame) -> list[str]:
    """Return the instruments that anything was predicted of, sorted."""
    return [name for name in accuracy["symbol"].unique().sort().to_list() if name != ALL]


def find(accuracy: pl.DataFrame, strategy: str, symbol: str, window: str) -> Row | None:
    """Return the row of one strategy, instrument and window; * is all. None where there is none."""
    found = accuracy.filter(
        (pl.col("strategy") == strategy)
        & (pl.col("symbol") == symbol)
        & (pl.col("window") == window)
    )
    return None if found.is_empty() else found.row(0, named=True)


def wilson(share: float | None, n: float | None, z: float) -> tuple[float | None, float | None]:
    """Return the bounds of a share of ``n`` at the normal quantile ``z`` (Wilson 1927).

    As the macro wilson_lo of features/engines/functions.py, for shares that have no bounds in
    their table: ``n`` need not be whole; nothing of nothing has no bounds.
    """
    if share is None or not n:
        return None, None
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def f1_bounds(row: Row, direction: str, z: float) -> tuple[float | None, float | None]:
    """Return the bounds of a direction's F1.

    F1 = 2J / (1 + J), J the share of right ones among all that were predicted or came: the bounds
    of that share (Wilson, days as in hit_n) give those of F1.
    """
    name = direction.lower()
    right, made, came = row[f"{name}_{name}"], row[f"{name}_predicted_n"], row[f"{name}_actual_n"]
    if right is None or not made + came - right:
        return None, None
    either = made + came - right
    ends = wilson(right / either, independent(row, either), z)
    low, high = (None if each is None else 2 * each / (1 + each) for each in ends)
    return low, high


@dataclass(frozen=True)
class Measure:
    """One number of a strategy as text, with the samples behind it and its 95 % bounds."""

    name: str
    value: str
    n: int
    bounds: str

    @property
    def behind(self) -> str:
        """Return n and bounds in a few words, as they stand under the value."""
        return f"n = {self.n:,}" + ("" if self.bounds == UNKNOWN else f", {self.bounds}")


def measures(row: Row, z: float) -> list[Measure]:
    """Return all that feat_telemetry__accuracy says of a strategy, for people.

    ``z`` is the normal quantile of the bounds; what has none in theory or for want of samples
    shows a dash.
    """
    found = []
    for direction in DIRECTIONS:
        name = direction.lower()
        made, came = row[f"{name}_predicted_n"] or 0, row[f"{name}_actual_n"] or 0
        for what, n in (("precision", made), ("recall", came)):
            share = row[f"{what}_{name}"]
            ends = wilson(share, independent(row, n), z)
            found.append(_share(f"{what.capitalize()} {direction}", share, n, ends))
        either = made + came - (row[f"{name}_{name}"] or 0)
        ends = f1_bounds(row, direction, z)
        found.append(_share(f"F1 {direction}", row[f"f1_{name}"], either, ends))
    trades = row["trade_n"]
    mean = (row["return_lo95"], row["return_hi95"])
    return [
        *found,
        _share("Right", row["hit_ratio"], row["n"], (row["hit_lo95"], row["hit_hi95"])),
        _share("Win rate", row["win_rate"], trades, (row["win_lo95"], row["win_hi95"])),
        Measure("Mean return", unit(row["return_avg_pct"], "%", 3), trades, interval(*mean, 3)),
        Measure("Sharpe a year", number(row["sharpe"]), trades, interval(*sharpe_bounds(row))),
        Measure("Sum of returns", unit(row["return_sum_pct"], "pp"), trades, UNKNOWN),
        Measure("Max drawdown", unit(row["max_drawdown_pct"], "pp"), trades, UNKNOWN),
        Measure("Profit factor", number(row["profit_factor"]), trades, UNKNOWN),
        Measure("Mean time held", unit(row["holding_min_avg"], "min", 0), trades, UNKNOWN),
        Measure("Brier score", number(row["brier"], 3), row["confidence_n"], UNKNOWN),
        Measure("Calibration error", percent(row["ece"]), row["confidence_n"], UNKNOWN),
        Measure("Share of trades logged", percent(row["inclusion_rate"]), row["n"], UNKNOWN),
    ]


def _share(
    name: str, share: float | None, n: int, ends: tuple[float | None, float | None]
) -> Measure:
    low, high = (None if each is None else 100 * each for each in ends)
    return Measure(name, percent(share), n, interval(low, high, 1))


def as_frame(found: Iterable[Measure]) -> pl.DataFrame:
    """Return measures as a table."""
    lines = [(each.name, each.value, each.n, each.bounds) for each in found]
    schema = {"measure": pl.String, "value": pl.String, "n": pl.Int64, "95 % bounds": pl.String}
    return pl.DataFrame(lines, schema=schema, orient="row")


def independent(row: Row, n: int | None) -> float:
    """Return as how many independent predictions ``n`` of them count: days as in hit_n."""
    return (n or 0) * row["hit_n"] / row["n"] if row["n"] else 0.0


def sharpe_bounds(row: Row) -> tuple[float | None, float | None]:
    """Return the Sharpe ratio less and plus two standard errors."""
    sharpe, error = row["sharpe"], row["sharpe_stderr"]
    if sharpe is None or error is None:
        return None, None
    return sharpe - 2 * error, sharpe + 2 * error


def sampling(row: Row) -> str | None:
    """Say that the log holds a sample of the trades, and of how many; None where it holds all."""
    if row["path_source"] != "sampled":
        return None
    return (
        f"sampled: about {percent(row['inclusion_rate'])} of its trades were logged, so sums and "
        "drawdown are those of the sample"
    )


# ----------------------------------------------------------------------------------------- alerts


def precision_alerts(accuracy: pl.DataFrame, threshold: float, min_n: float) -> pl.DataFrame:
    """Return the directions whose precision over 30 days is below ``threshold``.

    The rule precision_below_threshold of feat_ops__alerts, for a threshold that a viewer chose and
    for trace files: critical where the upper 95 % bound is below it too. Columns as there.
    """
    recent = accuracy.filter(
        (pl.col("symbol") == ALL) & (pl.col("strategy") != ALL) & (pl.col("window") == "30d")
    )
    found = []
    for row in recent.sort("strategy").iter_rows(named=True):
        for direction in ("LONG", "SHORT"):
            name = direction.lower()
            value, n = row[f"precision_{name}"], row[f"{name}_predicted_n"]
            if value is None or n < min_n or value >= threshold:
                continue
            is_sure = row[f"precision_{name}_hi95"] < threshold
            found.append(
                {
                    "rule": PRECISION_RULE,
                    "subject": f"{row['strategy']} {direction}",
                    "status": "open",
                    "severity": "critical" if is_sure else "warning",
                    "n": n,
                    "value": value,
                    "threshold": threshold,
                    "text": f"{row['strategy']} {direction}: precision over 30 days is "
                    f"{number(value, 3)} (n = {n}), below {threshold:g}, " + _ADVICE[is_sure],
                }
            )
    return pl.DataFrame(found, schema=ALERT_SCHEMA)


def alerts(
    accuracy: pl.DataFrame, open_alerts: pl.DataFrame, threshold: float, min_n: float
) -> pl.DataFrame:
    """Return what to look at, the worst first: precision by ``threshold``, the rest as published.

    ``open_alerts`` is feat_ops__alerts, or empty over trace files. Columns as there, but since_ms
    is NULL where the threshold is not that of the snapshot.
    """
    since = dict[str, int]()
    found = [precision_alerts(accuracy, threshold, min_n)]
    if not open_alerts.is_empty():
        current = open_alerts.filter(pl.col("status") != "cleared")
        same = current.filter(
            (pl.col("rule") == PRECISION_RULE) & (pl.col("threshold") == threshold)
        )
        since = dict(same.select("subject", "since_ms").iter_rows())
        falls = current.filter(pl.col("rule").is_in(_FALLS))
        found.append(falls.select(*ALERT_SCHEMA, "since_ms"))
    found[0] = found[0].with_columns(
        pl.col("subject")
        .replace_strict(since, default=None, return_dtype=pl.Int64)
        .alias("since_ms")
    )
    return pl.concat(found).sort("severity", "rule", "subject")  # critical stands before warning


def tenths(bins: pl.DataFrame) -> pl.DataFrame:
    """Return calibration as text: each tenth of confidence, how often it was right and earned."""
    lines = [
        {
            "strategy": row["strategy"],
            "confidence": percent(row["confidence_avg"]),
            "right": percent(row["hit_ratio"]),
            "95 % bounds": interval(100 * row["hit_lo95"], 100 * row["hit_hi95"], 1),
            "n": row["n"],
            "mean return, %": number(row["return_avg_pct"], 3),
            "its 95 % bounds": interval(row["return_lo95"], row["return_hi95"], 3),
            "positions (n)": row["trade_n"],
            "after cost, %": number(row["return_net_avg_pct"], 3),
            "of known cost (n)": row["net_n"],
        }
        for row in bins.sort("strategy", "confidence_decile").iter_rows(named=True)
    ]
    return pl.DataFrame(lines, infer_schema_length=None)


_FALLS = ("precision_fell", "win_rate_fell", "sharpe_fell")
ALERT_SCHEMA = {
    "rule": pl.String,
    "subject": pl.String,
    "status": pl.String,
    "severity": pl.String,
    "n": pl.Int64,
    "value": pl.Float64,
    "threshold": pl.Float64,
    "text": pl.String,
}
_ADVICE = {
    True: "more than chance explains. Trade it smaller or stop it, and look at its calibration.",
    False: "which chance may explain. Watch it; do not change anything for this alone.",
}


# ------------------------------------------------------------------------------------------ words


def percent(share: float | None, digits: int = 1) -> str:
    return unit(None if share is None else 100 * share, "%", digits)


def unit(value: float | None, name: str, digits: int = 2) -> str:
    return UNKNOWN if value is None else f"{number(value, digits)} {name}"
