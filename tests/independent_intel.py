"""Compute the intelligence tables a second time, in plain Python, from log lines and bar files.

Put here: formulas written as directly as possible, for tests to compare with; a section a table.
Keep out: anything imported from the product, SQL engines and array libraries.
Execution facts (fills, ratios, performance) come from tests/independent.py. Unknown is None.
"""

import csv
import gzip
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.independent import ALL, FILLS, Row, epoch_ms, in_window

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
INTERVALS_MS = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS, "1h": HOUR_MS}

# ---------------------------------------------------------------- volatility regime

SHORT_BARS, LONG_BARS, LEAST_BARS = 50, 500, 100
BARS_AGE_MS = 4 * 24 * HOUR_MS  # older ones say nothing of now
SCALES = {"quiet": 0.75, "normal": 1.0, "hot": 0.5, "panic": 0.25, "unknown": 1.0}

Bar = tuple[float, float, float]  # high, low, close


def minute_bars(folder: Path) -> dict[str, dict[int, Bar]]:
    """Return {symbol: {opening, epoch ms: bar}} of every {SYMBOL}_1m.csv.gz; the last line wins."""
    found: dict[str, dict[int, Bar]] = {}
    for path in sorted(folder.glob("*_1m.csv.gz")):
        bars: dict[int, Bar] = {}
        with gzip.open(path, "rt", newline="") as file:
            for line in csv.DictReader(file):
                opened_ms = epoch_ms(line["date"])
                assert opened_ms is not None
                bars[opened_ms] = (float(line["high"]), float(line["low"]), float(line["close"]))
        found[path.name.partition("_")[0]] = bars
    return found


def resampled(minutes: Mapping[int, Bar], interval_ms: int, as_of_ms: int) -> dict[int, Bar]:
    """Return {close of the bar, epoch ms: bar} of every bar that had closed, oldest first."""
    parts: dict[int, list[tuple[int, Bar]]] = defaultdict(list)
    for opened_ms, bar in minutes.items():
        closed_ms = (opened_ms // interval_ms + 1) * interval_ms
        if closed_ms <= as_of_ms:
            parts[closed_ms].append((opened_ms, bar))
    return {
        closed_ms: (
            max(bar[0] for _, bar in part),
            min(bar[1] for _, bar in part),
            max(part)[1][2],  # the close of the last minute
        )
        for closed_ms, part in sorted(parts.items())
    }


def atr_pct(bars: list[Bar], count: int) -> float | None:
    """Return the mean true range of the last bars in percent of their mean close."""
    pairs = list(itertools.pairwise(bars))[-count:]
    if not pairs:
        return None
    ranges = [
        max(high - low, abs(high - before), abs(low - before))
        for (_, _, before), (high, low, _) in pairs
    ]
    closes = [close for _, (_, _, close) in pairs]
    return (math.fsum(ranges) / len(ranges)) / (math.fsum(closes) / len(closes)) * 100


def regime_of(ratio: float | None, quiet_below: float) -> str:
    if ratio is None:
        return "unknown"
    if ratio < quiet_below:
        return "quiet"
    if ratio < 1.5:
        return "normal"
    return "hot" if ratio < 2.5 else "panic"


def _regime_row(bars: list[Bar], source: str, interval: str | None) -> Row:
    known = source != "none"
    short = atr_pct(bars, SHORT_BARS) if known else None
    long = atr_pct(bars, LONG_BARS) if known else None
    ratio = short / long if short is not None and long else None
    health = regime_of(ratio, 0.7)
    return {
        "n": min(max(len(bars) - 1, 0), LONG_BARS),
        "bar_interval": interval,
        "atr_pct_50": short,
        "atr_pct_500": long,
        "atr_ratio": ratio,
        "regime": regime_of(ratio, 0.5),
        "health_regime": health,
        "atr_source": source,
        "regime_scale": SCALES[health] if source in ("bars", "short") else 1.0,
    }


NO_REGIME = _regime_row([], "none", None)


def atr_regimes(
    minutes: Mapping[str, Mapping[int, Bar]], rows: Iterable[Row], interval: str, as_of_ms: int
) -> dict[str, Row]:
    """Return {symbol: columns of feat_symbol__atr_regime} of symbols with bars or attempts.

    ``rows`` are the outcomes of the whole run, for symbols without bars.
    """
    prices: dict[str, list[tuple[int, str, float]]] = defaultdict(list)
    for row in in_window(rows, as_of_ms):
        known = prices[row["symbol"]]
        if row["fill_px"]:
            known.append((row["event_ms"], row["attempt_id"], row["fill_px"]))
    table = {}
    for symbol, fills in prices.items():
        points = [(price, price, price) for _, _, price in sorted(fills)]
        table[symbol] = _regime_row(points, "fills" if len(points) >= 2 else "none", None)
    for symbol, mine in minutes.items():
        bars = resampled(mine, INTERVALS_MS[interval], as_of_ms)
        if not bars or max(bars) < as_of_ms - BARS_AGE_MS:
            continue
        closed = list(bars.values())
        count = len(closed) - 1
        source = "bars" if count >= LONG_BARS else "short" if count >= LEAST_BARS else "none"
        table[symbol] = _regime_row(closed, source, interval)
    return table


# ---------------------------------------------------------------- symbol score

Points = list[tuple[float, float]]
KNOTS: dict[str, Points] = {
    "sharpe": [(-1, -1), (0, 0), (2, 1)],
    "atr": [(0.4, -0.2), (0.8, 0.1), (1.5, 0.1), (2.5, -0.3)],
    "maker": [(0, -0.25), (1, 0.25)],
    "fallback": [(0.5, 0), (1, -0.5)],
    "slip": [(4, 0), (6, -0.3)],
    "dd": [(-3, -0.5), (-1.5, -0.25), (0, 0)],
    "fee": [(5, 0), (20, -0.3)],
    "size": [(-1, 0.5), (0, 1), (1.35, 1.45)],
}


def on_line(points: Points, x: float | None) -> float:
    """Return y at x on the line through the points, level beyond its ends; 0 where x is unknown."""
    if x is None:
        return 0.0
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]


def parts_v510(known: Row) -> Row:
    """Return each part of the score as the original computes it; an unknown input gives 0."""
    sharpe, ratio, maker = known["sharpe"], known["atr_ratio"], known["maker_fill_ratio"]
    fallback, slip, dd = known["fallback_ratio"], known["slip_bps_q50"], known["dd_pct"]
    parts = dict.fromkeys(("sharpe", "atr", "maker", "fallback", "slip", "dd", "fee"), 0.0)
    if sharpe is not None:
        parts["sharpe"] = -1.0 if sharpe <= -1 else 1.0 if sharpe >= 2 else sharpe / 2
    if ratio is not None:
        calm = 0.1 if 0.8 <= ratio <= 1.5 else 0.0
        parts["atr"] = -0.2 if ratio < 0.5 else -0.3 if ratio > 2.5 else calm
    if maker is not None:
        parts["maker"] = (maker - 0.5) * 0.5
    if fallback is not None:
        parts["fallback"] = -max(0.0, fallback - 0.5)
    if slip is not None and slip > 5:
        parts["slip"] = -0.3
    if dd is not None:
        parts["dd"] = -0.5 if dd <= -3 else -0.25 if dd <= -1.5 else 0.1 if dd >= 0.5 else 0.0
    return parts


def parts_v511(known: Row) -> Row:
    """Return each part of the score by its line."""
    inputs = {
        "sharpe": known["sharpe"],
        "atr": known["atr_ratio"],
        "maker": known["maker_fill_ratio"],
        "fallback": known["fallback_ratio"],
        "slip": known["slip_bps_q50"],
        "dd": known["dd_pct"],
        "fee": known["fee_bps"],
    }
    return {name: on_line(KNOTS[name], value) for name, value in inputs.items()}


def size_v510(score: float) -> float:
    factor = 0.5 if score <= -1 else 1.5 if score >= 1.5 else 1 + 0.3 * score
    return max(0.25, min(2.0, factor))


def _fees(rows: Iterable[Row]) -> Row:
    """Return fees in bps of the notional they were paid for, and of how many rows."""
    paid = []
    for row in rows:
        lone = row["outcome"] == "close_only"
        notional = row["closed_notional_usd"] if lone else row["notional_usd"]
        if (lone or row["outcome"] in FILLS) and row["fees_usd"] is not None and notional:
            paid.append((row["fees_usd"], notional))
    total = math.fsum(notional for _, notional in paid)
    fees = math.fsum(fee for fee, _ in paid)
    return {"fee_n": len(paid), "fee_bps": 1e4 * fees / total if total else None}


def _score_row(model: str, known: Row) -> Row:
    parts = parts_v510(known) if model == "v5.10" else parts_v511(known)
    groups = [
        ["sharpe"],
        ["atr_ratio"],
        ["maker_fill_ratio", "fallback_ratio", "slip_bps_q50"],
        ["dd_pct"],
    ]
    if model == "v5.11":
        groups.append(["fee_bps"])
    router = parts["maker"] + parts["fallback"] + parts["slip"]
    score = parts["sharpe"] + parts["atr"] + router + parts["dd"] + parts["fee"]
    full = [group for group in groups if all(known[name] is not None for name in group)]
    return {
        **known,
        **{f"{name}_score": part for name, part in parts.items()},
        "router_score": router,
        "score": score,
        "size_factor": size_v510(score) if model == "v5.10" else on_line(KNOTS["size"], score),
        "missing": ",".join(n for group in groups for n in group if known[n] is None),
        "coverage": len(full) / len(groups),
        "is_active": model == "v5.10",
        "excluded": "",
    }


def symbol_scores(
    rows: Iterable[Row],
    router: Mapping[str, Row],
    quartiles: Mapping[tuple[str, int], Row],
    performance: Mapping[str, Row],
    regimes: Mapping[str, Row],
    as_of_ms: int,
) -> dict[tuple[str, str], Row]:
    """Return {(symbol, model): columns of feat_symbol__scores} from the tables that it reads."""
    mine: dict[str, list[Row]] = defaultdict(list)
    for row in in_window(rows, as_of_ms):
        mine[row["symbol"]].append(row)
    table = {}
    for symbol in {*router, *performance} - {ALL}:
        routed = router[symbol]
        traded = performance.get(symbol, {})
        regime = regimes.get(symbol, {})
        slip = quartiles.get((symbol, -1), {})
        of_bars = regime.get("atr_source") in ("bars", "short")
        known = {
            "n": routed["n"],
            "round_trip_n": traded.get("round_trip_n", 0),
            "maker_known_n": routed["maker_known_n"],
            "slip_n": slip.get("n", 0),
            "sharpe": traded.get("sharpe_7d"),
            "dd_pct": traded.get("dd_today_pct"),
            "atr_ratio": regime.get("atr_ratio") if of_bars else None,
            "maker_fill_ratio": routed["maker_fill_ratio"],
            "fallback_ratio": routed["fallback_ratio"],
            "slip_bps_q50": slip.get("slip_bps_q50"),
            **_fees(mine[symbol]),
        }
        for model in ("v5.10", "v5.11"):
            table[symbol, model] = _score_row(model, known)
    return table
