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
from functools import cache
from pathlib import Path
from typing import Any

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
    opening_ms = cache(epoch_ms)  # the files are of the same minutes
    for path in sorted(folder.glob("*_1m.csv.gz")):
        bars: dict[int, Bar] = {}
        with gzip.open(path, "rt", newline="") as file:
            for line in csv.DictReader(file):
                opened_ms = opening_ms(line["date"])
                assert opened_ms is not None
                bars[opened_ms] = (float(line["high"]), float(line["low"]), float(line["close"]))
        found[path.name.partition("_")[0]] = bars
    return found


def resampled(minutes: Mapping[int, Bar], interval_ms: int, as_of_ms: int) -> dict[int, Bar]:
    """Return {close of the bar, epoch ms: bar} of every bar that had closed, oldest first."""
    key = id(minutes), interval_ms
    if key not in _BARS:
        _BARS[key] = minutes, _all_bars(minutes, interval_ms)
    return {closed_ms: bar for closed_ms, bar in _BARS[key][1].items() if closed_ms <= as_of_ms}


# Bars of all minutes by what they are made of, which stands beside them so that its id stays its
# own. Which of them had closed is all that a time decides.
_BARS: dict[tuple[int, int], tuple[Mapping[int, Bar], dict[int, Bar]]] = {}


def _all_bars(minutes: Mapping[int, Bar], interval_ms: int) -> dict[int, Bar]:
    parts: dict[int, list[tuple[int, Bar]]] = defaultdict(list)
    for opened_ms, bar in minutes.items():
        parts[(opened_ms // interval_ms + 1) * interval_ms].append((opened_ms, bar))
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


# ---------------------------------------------------------------- the snapshot before

MEMORY_MS = 7 * 24 * HOUR_MS
# what a snapshot says of when each input was last known: name in its memory, input of the score
WHEN_KNOWN = {
    "sharpe_at_ms": "sharpe",
    "atr_at_ms": "atr_ratio",
    "maker_at_ms": "maker_fill_ratio",
    "dd_at_ms": "dd_pct",
    "fee_at_ms": "fee_bps",
}


def _before(memory: Mapping[str, Row], symbol: str, as_of_ms: int) -> Row | None:
    row = memory.get(symbol)
    return row if row and row["decided_ms"] > as_of_ms - MEMORY_MS else None


def _recall(before: Row | None, name: str, at: str, as_of_ms: int) -> Any:
    """Return a remembered value unless it is too old."""
    if before is None or before[at] is None or before[at] <= as_of_ms - MEMORY_MS:
        return None
    return before[name]


def memories(
    scores: Mapping[tuple[str, str], Row],
    sizes: Mapping[str, Row],
    policies: Mapping[str, Row],
    regimes: Mapping[str, Row],
    memory: Mapping[str, Row],
    as_of_ms: int,
) -> dict[str, Row]:
    """Return {symbol: columns of feat_symbol__memory}."""
    table = {}
    for symbol, size in sizes.items():
        score, policy = scores[symbol, "v5.10"], policies[symbol]
        old = memory.get(symbol) or dict.fromkeys(
            (
                *WHEN_KNOWN,
                "bars_at_ms",
                "vol_at_ms",
                "fallback_at_ms",
                "slip_at_ms",
                "regime_at_ms",
                "pnl_coverage",
                "coverage_at_ms",
            )
        )
        row: Row = {
            "n": score["n"],
            "decided_ms": as_of_ms,
            "is_listed": True,
            "size_factor": size["final_size_factor"],
            "quality": policy["quality"],
            "candidate_quality": policy["candidate_quality"],
        }
        for kept, acting, measured, at in (
            ("fallback_ratio", "acting_fallback_ratio", "fallback_ratio", "fallback_at_ms"),
            ("slip_bps_q50", "acting_slip_bps", "slip_bps_q50", "slip_at_ms"),
            ("regime", "acting_regime", "regime", "regime_at_ms"),
        ):
            is_measured = policy[measured] is not None and policy[measured] == policy[acting]
            row[kept], row[at] = policy[acting], as_of_ms if is_measured else old[at]
        for at, name in WHEN_KNOWN.items():
            row[at] = old[at] if score[name] is None else as_of_ms
        has_bars = regimes.get(symbol, {}).get("atr_source") == "bars"
        row["bars_at_ms"] = as_of_ms if has_bars else old["bars_at_ms"]
        row["vol_at_ms"] = old["vol_at_ms"] if size["daily_vol"] is None else as_of_ms
        share = size["pnl_coverage"]
        best = _recall(old, "pnl_coverage", "coverage_at_ms", as_of_ms)
        if best is not None and best > (share or 0.0):
            row["pnl_coverage"], row["coverage_at_ms"] = best, old["coverage_at_ms"]
        else:
            row["pnl_coverage"] = share
            row["coverage_at_ms"] = None if share is None else as_of_ms
        table[symbol] = row
    for symbol in memory:
        left = _before(memory, symbol, as_of_ms)
        if symbol not in table and left is not None:
            table[symbol] = {**left, "n": 0, "is_listed": False}
    return table


# ---------------------------------------------------------------- size


def daily_volatility(minutes: Mapping[int, Bar], as_of_ms: int, needed: int = 168) -> Row:
    """Return the deviation of a day's return by the last hourly ones, and of how many."""
    closes: dict[int, float] = {}
    for opened_ms in sorted(minutes):
        hour = opened_ms // HOUR_MS
        if (hour + 1) * HOUR_MS <= as_of_ms:
            closes[hour] = minutes[opened_ms][2]
    hours = sorted(closes)[-needed - 1 :]
    returns = [math.log(closes[b] / closes[a]) for a, b in itertools.pairwise(hours)]
    row: Row = {"daily_vol_n": len(returns), "daily_vol": None}
    if len(returns) < needed or (hours[-1] + 1) * HOUR_MS < as_of_ms - BARS_AGE_MS:
        return row
    middle = math.fsum(returns) / len(returns)
    variance = math.fsum((r - middle) ** 2 for r in returns) / (len(returns) - 1)
    days = (hours[-1] - hours[0]) / 24
    return {**row, "daily_vol": math.sqrt(variance * len(returns) / days)}


def sharpe_multiplier(sharpe: float | None) -> float:
    return on_line([(-1, 0.25), (3, 2.0)], 0.0 if sharpe is None else sharpe)


def _size_row(
    score: Row,
    bound: float | None,
    regime: Row,
    vol: Row,
    target: float,
    coverage: float | None,
    before: Row | None,
) -> Row:
    """Return a size; ``bound`` is that of the Sharpe ratio, ``before`` tells what was, if known."""
    row: Row = {
        "n": score["round_trip_n"],
        "intel_size_factor": score["size_factor"],
        "sharpe_7d": score["sharpe"],
        "sharpe_lo90": bound,
        "sharpe_mult": sharpe_multiplier(score["sharpe"]),
        "regime_scale": regime.get("regime_scale", 1.0),
        **vol,
        "inverse_vol": 1.0,
    }
    if target and vol["daily_vol"] is not None:
        row["inverse_vol"] = max(0.25, min(2.0, target / vol["daily_vol"]))
    size = row["product_v510"] = (
        row["inverse_vol"] * row["regime_scale"] * row["sharpe_mult"] * row["intel_size_factor"]
    )
    is_evident = row["n"] >= 30 and bound is not None and bound > 0
    row["evidence_cap"] = 2.0 if is_evident else 1.0
    guards = []

    def guard(name: str, column: str, new: float) -> float:
        if new != size:
            guards.append(name)
        row[column] = new
        return new

    size = guard("evidence_cap", "after_evidence", size if is_evident else min(size, 1.0))
    is_incomplete = coverage is None or coverage < 0.95
    row["pnl_coverage"], row["incomplete"] = coverage, is_incomplete
    status = "unknowable" if coverage is None else "incomplete" if is_incomplete else "complete"
    row["coverage_status"] = status
    size = guard("incomplete", "after_incomplete", min(size, 1.0) if is_incomplete else size)
    size = guard("clamp", "after_clamp", max(0.25, min(2.0, size)))
    row["previous_size_factor"], row["is_input_lost"] = None, False
    highest, lowest = 1.0, 0.0
    if before is not None:
        was = row["previous_size_factor"] = before["size_factor"]
        inputs = {at: score[name] for at, name in WHEN_KNOWN.items() if name != "fee_bps"}
        inputs |= {"fallback_at_ms": score["fallback_ratio"], "slip_at_ms": score["slip_bps_q50"]}
        if target:
            inputs["vol_at_ms"] = vol["daily_vol"]
        lost = [at for at, value in inputs.items() if value is None and at in before["known"]]
        if "bars_at_ms" in before["known"] and regime.get("atr_source") != "bars":
            lost.append("bars_at_ms")
        if before["best_coverage"] is not None:
            lost += ["coverage"] * (before["best_coverage"] - (coverage or 0.0) > 0.001)
        row["is_input_lost"] = bool(lost)
        highest = was if lost else 1.25 * was
        lowest = min(0.75 * was, 2.0 if is_evident and not is_incomplete else 1.0)
    size = guard("change", "after_change", min(max(size, lowest), highest))
    row["final_size_factor"] = max(0.25, min(2.0, size))
    row["capped_by"] = ",".join(guards)
    return row


def symbol_sizes(
    scores: Mapping[tuple[str, str], Row],
    performance: Mapping[str, Row],
    regimes: Mapping[str, Row],
    minutes: Mapping[str, Mapping[int, Bar]],
    memory: Mapping[str, Row],
    as_of_ms: int,
    target: float = 0.0,
    coverage: float | None = None,
) -> dict[str, Row]:
    """Return {symbol: columns of feat_symbol__sizing} from the tables that it reads."""
    table: dict[str, Row] = {}
    for symbol, model in scores:
        if model != "v5.10":
            continue
        vol: Row = {"daily_vol_n": 0, "daily_vol": None}
        if target and symbol in minutes:
            vol = daily_volatility(minutes[symbol], as_of_ms)
        before = _before(memory, symbol, as_of_ms)
        if before is not None:
            known = {at for at in before if at.endswith("_at_ms")}
            known = {at for at in known if (before[at] or 0) > as_of_ms - MEMORY_MS}
            best = _recall(before, "pnl_coverage", "coverage_at_ms", as_of_ms)
            size_before = before["size_factor"]
            before = {"size_factor": size_before, "known": known, "best_coverage": best}
        bound = performance.get(symbol, {}).get("sharpe_lo90")
        regime = regimes.get(symbol, {})
        score = scores[symbol, model]
        table[symbol] = _size_row(score, bound, regime, vol, target, coverage, before)
    return table


# ---------------------------------------------------------------- router policy

LABELS = ("broken", "degraded", "unknown", "ok", "good")  # from tight to loose


def wilson90(share: float | None, count: int) -> tuple[float | None, float | None]:
    """Return the one-sided 90 % bounds of a share by Wilson's score."""
    if share is None or not count:
        return None, None
    z = 1.2815515655446004
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    whole = 1 + z * z / count
    return (middle - half) / whole, (middle + half) / whole


def label_of(maker: float | None, fallback: float | None, slip: float | None) -> str:
    """Return the label of the numbers alone, ok where they say nothing."""
    if (fallback is not None and fallback >= 0.9) or (slip is not None and slip >= 20):
        return "broken"
    if (fallback is not None and fallback >= 0.6) or (slip is not None and slip >= 8):
        return "degraded"
    if maker is None or fallback is None or slip is None:
        return "ok"
    return "good" if maker >= 0.7 and fallback <= 0.4 and slip <= 4 else "ok"


def _worse(measured: float | None, count: int, remembered: float | None) -> float | None:
    """Return an input that acts: with fewer than 20 samples the worse of now and then."""
    if measured is not None and count >= 20:
        return measured
    known = [value for value in (measured, remembered) if value is not None]
    return max(known, default=None)


def _acting_regime(regime: Row, remembered: str | None, had_bars: bool) -> str:
    name: str = regime.get("regime", "unknown")
    sources = ("bars",) if had_bars else ("bars", "short")  # fewer bars than before are a loss
    if regime.get("atr_source") in sources and name != "unknown":
        return name
    for alarm in ("panic", "hot"):
        if alarm in (name, remembered):
            return alarm
    return "normal" if name == "normal" else "unknown"


def _policy_row(score: Row, regime: Row, old: Row | None, as_of_ms: int) -> Row:
    maker, fallback, slip = (
        score[name] for name in ("maker_fill_ratio", "fallback_ratio", "slip_bps_q50")
    )
    counts = (score["maker_known_n"], score["fallback_known_n"], score["slip_n"])
    old_fallback = _recall(old, "fallback_ratio", "fallback_at_ms", as_of_ms)
    old_slip = _recall(old, "slip_bps_q50", "slip_at_ms", as_of_ms)
    acting_fallback = _worse(fallback, counts[1], old_fallback)
    acting_slip = _worse(slip, counts[2], old_slip)
    had_bars = _recall(old, "bars_at_ms", "bars_at_ms", as_of_ms) is not None
    acting_regime = _acting_regime(
        regime, _recall(old, "regime", "regime_at_ms", as_of_ms), had_bars
    )
    label = label_of(maker, acting_fallback, acting_slip)
    if label == "good" and min(counts) < 20:
        label = "ok"
    if label == "ok" and maker is None and acting_fallback is None and acting_slip is None:
        label = "unknown"
    acting = label
    seen = ("unknown", "unknown") if old is None else (old["quality"], old["candidate_quality"])
    if LABELS.index(label) > LABELS.index(seen[0]):  # better: as far as it was seen before
        acting = min(label, max(seen, key=LABELS.index), key=LABELS.index)
    weak = acting in ("broken", "degraded")
    panic = acting_regime == "panic"
    low, high = wilson90(fallback, counts[1])
    biases = {"good": "prefer_maker", "broken": "prefer_taker", "degraded": "prefer_taker"}
    first = None if acting == "unknown" else acting != "broken" and not (weak and panic)
    return {
        "n": score["n"],
        "quality": acting,
        "maker_first": first,
        "taker_bias": "prefer_taker" if panic else biases.get(acting, "balanced"),
        "regime": regime.get("regime", "unknown"),
        "quality_v510": label_of(maker, fallback, slip),
        "candidate_quality": label,
        "previous_quality": None if old is None else old["quality"],
        "maker_fill_ratio": maker,
        "maker_known_n": counts[0],
        "fallback_ratio": fallback,
        "fallback_lo90": low,
        "fallback_hi90": high,
        "fallback_known_n": counts[1],
        "slip_bps_q50": slip,
        "slip_n": counts[2],
        "regime_n": regime.get("n", 0),
        "left_out_n": 0,
        "acting_fallback_ratio": acting_fallback,
        "acting_slip_bps": acting_slip,
        "acting_regime": acting_regime,
    }


def router_policies(
    scores: Mapping[tuple[str, str], Row],
    regimes: Mapping[str, Row],
    memory: Mapping[str, Row],
    as_of_ms: int,
) -> dict[str, Row]:
    """Return {symbol: columns of feat_router__policies, but for the words of its reason}."""
    return {
        symbol: _policy_row(
            score, regimes.get(symbol, {}), _before(memory, symbol, as_of_ms), as_of_ms
        )
        for (symbol, model), score in scores.items()
        if model == "v5.10"
    }


# ---------------------------------------------------------------- maker offset

OFFSET_INPUTS = (
    "n", "regime_n", "maker_fill_ratio", "maker_known_n", "fallback_ratio", "fallback_known_n",
    "slip_bps_q50", "slip_n",
)  # fmt: skip
REGIME_BPS = {"quiet": -0.5, "hot": 0.5, "panic": 1.0}


def offset_parts(
    regime: str, maker: float | None, fallback: float | None, slip: float | None, hour_bps: float
) -> Row:
    """Return each adjustment of the 2 bps."""
    return {
        "base_bps": 2.0,
        "regime_bps": REGIME_BPS.get(regime, 0.0),
        "maker_bps": -0.5 if maker is not None and maker > 0.7 else 0.0,
        "fallback_bps": 1.0 if fallback is not None and fallback > 0.5 else 0.0,
        "fallback_high_bps": 1.5 if fallback is not None and fallback > 0.8 else 0.0,
        "slip_bps_adj": 0.0 if slip is None else 0.8 if slip > 5 else -0.2 if slip < 1 else 0.0,
        "hour_bps": hour_bps,
    }


def _bounded(parts: Row) -> float:
    return max(0.5, min(8.0, math.fsum(parts.values())))


def maker_offsets(
    policies: Mapping[str, Row], hours: Mapping[tuple[str, int], Row]
) -> dict[tuple[str, int], Row]:
    """Return {(symbol, hour): columns of feat_router__maker_offsets}."""
    table = {}
    for symbol, policy in policies.items():
        for hour in range(24):
            row = hours.get((symbol, hour), {})
            earns, low, high = (row.get(x) for x in ("exp_per_notional", "exp_lo95", "exp_hi95"))
            closes = row.get("close_n", 0)
            if not closes:
                earns = None
            sign = 0.0 if not earns else -0.2 if earns > 0 else 0.2
            excludes = low is not None and high is not None and (low > 0 or high < 0)
            speaks = sign if closes >= 20 and excludes else 0.0
            maker = policy["maker_fill_ratio"]
            parts = offset_parts(
                policy["acting_regime"],
                maker,
                policy["acting_fallback_ratio"],
                policy["acting_slip_bps"],
                speaks,
            )
            if policy["maker_known_n"] < 20:  # few samples do not quote closer
                parts["maker_bps"] = 0.0
            if policy["slip_n"] < 20:
                parts["slip_bps_adj"] = max(parts["slip_bps_adj"], 0.0)
            alone = offset_parts(
                policy["regime"], maker, policy["fallback_ratio"], policy["slip_bps_q50"], sign
            )
            table[symbol, hour] = {
                **parts,
                **{name: policy[name] for name in OFFSET_INPUTS},
                "offset_bps": _bounded(parts),
                "offset_v510_bps": _bounded(alone),
                "regime": policy["acting_regime"],
                "exp_per_notional": earns,
                "exp_lo95": low,
                "exp_hi95": high,
                "close_n": closes,
            }
    return table
