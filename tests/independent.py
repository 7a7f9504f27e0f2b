"""Compute the execution tables a second time, in plain Python, straight from the log files.

Put here: the rules of the contract written as directly as possible, for tests to compare with.
Keep out: anything imported from the product, SQL engines and array libraries.
Sums are exact (`math.fsum`), times are whole epoch ms, unknown is None.
"""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from scipy import stats

Row = dict[str, Any]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
JOIN_MS = DAY_MS  # lines of one attempt id further apart than this are different attempts
FRESH_MS = 5_000  # a mark older than this at the fill carries drift, not execution cost
DUST_USD = 5.0  # a close below this notional says nothing about a strategy
WINSOR_BPS = 50.0
FLAT_QTY = 1e-9  # a position smaller than this is flat
NAV_TOLERANCE = 0.20
SHRINK_ATTEMPTS = 10  # weight of the all-hours value, in mean attempts
Z90 = 1.2815515655446004
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FILLED = ("FILLED", "PARTIALLY_FILLED")
TERMINAL = ("FILLED", "CANCELED", "EXPIRED", "REJECTED")
FILLS = ("filled", "partial")
ALL = "*"


# ---------------------------------------------------------------- reading


def epoch_ms(value: Any) -> int | None:
    """Return epoch ms of epoch seconds, epoch ms (above 1e12) or ISO 8601; None if none of them."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        micros = round(value * 1000) if value > 1e12 else round(value * 1_000_000)
        return micros // 1000
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(microseconds=1) // 1000


def _first_wins(pairs: list[tuple[str, Any]]) -> Row:
    return dict(reversed(pairs))


def read_lines(path: Path) -> Iterator[Row]:
    """Yield each usable line with `_line` (its number), `_ms` (its time) and an upper-case symbol.

    Lines that are not JSON objects, or lack a time or a symbol (also in `raw`), are left out.
    """
    if not path.exists():
        return
    for number, text in enumerate(path.read_bytes().split(b"\n")):
        try:
            line = json.loads(text, object_pairs_hook=_first_wins)
        except ValueError:
            continue
        if not isinstance(line, dict):
            continue
        raw = line.get("raw")
        symbol = line.get("symbol") or (raw.get("symbol") if isinstance(raw, dict) else None)
        time_ms = epoch_ms(line.get("ts"))
        if symbol and time_ms is not None:
            yield {**line, "symbol": str(symbol).upper(), "_ms": time_ms, "_line": number}


def read_logs(folder: Path) -> dict[str, list[Row]]:
    """Return the usable lines of the four log files, by file name without its ending."""
    names = ("order_metrics", "orders_executed", "orders_attempted", "risk_vetoes")
    return {name: [dict(x) for x in _lines_now(folder / f"{name}.jsonl")] for name in names}


def _lines_now(path: Path) -> tuple[Row, ...]:
    is_there = path.exists()
    return _lines_of(path, path.stat().st_size, path.stat().st_mtime_ns) if is_there else ()


@lru_cache(maxsize=16)  # every calculation over recorded logs reads them anew
def _lines_of(path: Path, size: int, mtime_ns: int) -> tuple[Row, ...]:
    return tuple(read_lines(path))


def lines_without_symbol(folder: Path, event_type: str) -> int:
    """Count the JSON lines of orders_executed of one event type that name no symbol anywhere."""
    count = 0
    for text in (folder / "orders_executed.jsonl").read_text().splitlines():
        line = json.loads(text)
        inner = line.get("raw") or {}
        if line["event_type"] == event_type and not line.get("symbol") and not inner.get("symbol"):
            count += 1
    return count


# ---------------------------------------------------------------- outcomes


def _key(line: Row) -> tuple[str, str, str]:
    return (str(line.get("account") or ""), line["symbol"], str(line["attempt_id"]))


def _by_key(lines: Iterable[Row]) -> dict[tuple[str, str, str], list[Row]]:
    grouped: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for line in lines:
        if line.get("attempt_id") is not None:
            grouped[_key(line)].append(line)
    return grouped


def _positive(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _status(line: Row) -> str:
    return str((line.get("result") or {}).get("status") or "").upper()


def _attempt_clusters(lines: list[Row]) -> list[Row]:
    """Return the surviving router line of every run of lines at most a day apart."""
    survivors: list[Row] = []
    cluster: list[Row] = []
    for line in sorted(lines, key=lambda x: (x["_ms"], x["_line"])):
        if cluster and line["_ms"] - cluster[-1]["_ms"] > JOIN_MS:
            survivors.append(_best(cluster))
            cluster = []
        cluster.append(line)
    return [*survivors, _best(cluster)]


def _best(cluster: list[Row]) -> Row:
    return max(cluster, key=lambda x: (_status(x) in TERMINAL, x["_ms"], x["_line"]))


def _near(lines: list[Row], time_ms: int) -> list[Row]:
    return [line for line in lines if abs(line["_ms"] - time_ms) <= JOIN_MS]


def _fill_sums(fills: list[Row]) -> Row:
    """Sum the latest cumulative order_fill per orderId: qty, price, fees, time of the last fill."""
    latest: dict[str, Row] = {}
    for fill in sorted(fills, key=lambda x: (_fill_ms(x), x["_line"])):
        latest[str(fill.get("orderId"))] = fill
    used = [f for f in latest.values() if _positive(f.get("executedQty"))]
    priced = [f for f in used if _positive(f.get("avgPrice"))]
    qty = math.fsum(f["executedQty"] for f in priced)
    fees = [f["fee_total"] for f in used if f.get("fee_total") is not None]
    return {
        "qty": qty if priced else None,
        "px": math.fsum(f["executedQty"] * f["avgPrice"] for f in priced) / qty if priced else None,
        "fees": math.fsum(fees) if fees else None,
        "last_ms": max((_fill_ms(f) for f in used), default=None),
        "is_partial": any(str(f.get("status")).upper() == "PARTIALLY_FILLED" for f in used),
        "px_by_order": {str(f.get("orderId")): f["avgPrice"] for f in priced},
    }


def _fill_ms(fill: Row) -> int:
    last = epoch_ms(fill.get("ts_fill_last"))
    return fill["_ms"] if last is None else last


def _closes(lines: list[Row], fills: Row, attempt_px: float | None) -> list[Row]:
    """Return one dict per distinct (orderId, ts_close): ms, pnl, fees, notional, size after."""
    distinct: dict[tuple[str, int], Row] = {}
    for line in lines:
        distinct[(str(line.get("orderId")), line["_close_ms"])] = line
    closes = []
    for (order_id, close_ms), line in distinct.items():
        px = fills["px_by_order"].get(order_id, attempt_px)
        qty = line.get("closed_qty")
        closes.append(
            {
                "close_ms": close_ms,
                "pnl_usd": line.get("realizedPnlUsd"),
                "fees_usd": line.get("fees_total"),
                "qty": qty,
                "notional_usd": qty * px if qty is not None and px is not None else None,
                "size_before": line.get("position_size_before"),
                "size_after": line.get("position_size_after"),
                "position_side": line.get("positionSide"),
                "line": line["_line"],
            }
        )
    return sorted(closes, key=lambda c: (c["close_ms"], c["line"]))


def _sum_known(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.fsum(known) if known else None


def _sum_if_known(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.fsum(known) if values and len(known) == len(values) else None


def _outcome(status: str, has_fill: bool, px: float | None, is_partial_fill: bool) -> str:
    if px is not None and (status in FILLED or has_fill):
        ended_short = status in ("CANCELED", "EXPIRED") or status == "PARTIALLY_FILLED"
        return "partial" if ended_short or (status != "FILLED" and is_partial_fill) else "filled"
    if status in ("CANCELED", "EXPIRED"):
        return "unfilled"
    return "rejected" if status == "REJECTED" else "unknown"


def _slippage_bps(side: str, mark: float | None, px: float | None) -> float | None:
    if mark is None or px is None:
        return None
    bps = (px - mark) / mark * 1e4
    return -bps if side == "SELL" else bps


def _first(line: Row, *names: str) -> Any:
    return next((line[name] for name in names if line.get(name) is not None), None)


def _attempt_row(router: Row, mine: dict[str, list[Row]], is_covered: bool) -> Row:
    """Return the outcome of one router line and the other lines that belong to it."""
    fills = _fill_sums(mine["order_fill"])
    prices, quantities = router.get("prices") or {}, router.get("qty") or {}
    px = _positive(prices.get("avg_fill")) or fills["px"]
    qty = _positive(quantities.get("contracts")) or fills["qty"]
    mark, side = _positive(prices.get("mark")), str(router.get("side") or "").upper()
    outcome = _outcome(_status(router), fills["qty"] is not None, px, fills["is_partial"])
    is_fill = outcome in FILLS
    closes = _closes(mine["order_close"], fills, px)
    arrival = router.get("arrival") or {}
    bid, ask = arrival.get("bid"), arrival.get("ask")
    local_ms = next((epoch_ms(a.get("local_ts")) for a in mine["attempted"]), None)
    done_ms = router["_ms"] if fills["last_ms"] is None else fills["last_ms"]
    fees = router.get("fees_usd")
    # An ack says that the order exists, not that it filled: only an order_fill confirms a fill.
    witnesses = mine["order_fill"] if is_fill else mine["order_fill"] + mine["order_ack"]
    return {
        "event_ms": router["_ms"],
        "side": side,
        "position_side": _position_side(mine),
        "outcome": outcome,
        "is_confirmed": True if witnesses else (False if is_covered else None),
        "mark_px": mark,
        "mark_age_ms": None if local_ms is None else done_ms - local_ms,
        "fill_px": px if is_fill else None,
        "qty": qty if is_fill else None,
        "notional_usd": qty * px if is_fill and qty and px else None,
        "slippage_bps": _slippage_bps(side, mark, px) if is_fill else None,
        "is_suspect": bid is not None and ask is not None and bid >= ask,
        "fees_usd": fees if fees is not None else fills["fees"],
        "ack_ms": (router.get("timing_ms") or {}).get("ack"),
        "is_maker": router.get("is_maker_final"),
        "started_maker": _first(router, "started_maker", "maker_start"),
        "used_fallback": router.get("used_fallback"),
        **_close_columns(closes),
    }


def _close_only_row(mine: dict[str, list[Row]], is_covered: bool) -> Row:
    """Return the outcome of closes whose attempt id has no router line."""
    fills = _fill_sums(mine["order_fill"])
    closes = _closes(mine["order_close"], fills, fills["px"])
    columns = _close_columns(closes)
    sides = [
        str(x["side"]).upper() for x in mine["order_fill"] + mine["order_ack"] if x.get("side")
    ]
    return {
        "event_ms": columns["close_ms"],
        "side": sides[0] if sides else None,
        "position_side": _position_side(mine),
        "outcome": "close_only",
        "is_confirmed": _seen(mine, is_covered),
        "mark_px": None,
        "mark_age_ms": None,
        "fill_px": fills["px"],
        "qty": fills["qty"],
        "notional_usd": None,
        "slippage_bps": None,
        "is_suspect": False,
        "fees_usd": _sum_known(c["fees_usd"] for c in closes),
        "ack_ms": None,
        "is_maker": None,
        "started_maker": None,
        "used_fallback": None,
        **columns,
    }


def _close_columns(closes: list[Row]) -> Row:
    return {
        "realized_pnl_usd": _sum_if_known([c["pnl_usd"] for c in closes]),
        "closed_notional_usd": _sum_known(c["notional_usd"] for c in closes),
        "close_ms": max((c["close_ms"] for c in closes), default=None),
        "closes": closes,
    }


def _seen(mine: dict[str, list[Row]], is_covered: bool) -> bool | None:
    if mine["order_fill"] or mine["order_ack"]:
        return True
    return False if is_covered else None


def _position_side(mine: dict[str, list[Row]]) -> str | None:
    for line in mine["order_close"] + mine["order_fill"] + mine["order_ack"]:
        if line.get("positionSide"):
            return str(line["positionSide"]).upper()
    return None


def _coverage(executed: list[Row]) -> Callable[[int], bool]:
    """Return a test of whether orders_executed has lines within 24 whole hours on both sides."""
    hours = {line["_ms"] // HOUR_MS for line in executed}

    def covers(time_ms: int) -> bool:
        hour = time_ms // HOUR_MS
        before = any(h in hours for h in range(hour - 24, hour + 1))
        return before and any(h in hours for h in range(hour, hour + 25))

    return covers


def outcomes(folder: Path) -> list[Row]:
    """Return one dict per attempt or stand-alone close of the whole history, ordered by time.

    Columns as in `core_execution__outcomes`; `closes` lists the order_close events of a row.
    """
    logs = read_logs(folder)
    executed = logs["orders_executed"]
    covers = _coverage(executed)
    parts: dict[str, dict[tuple[str, str, str], list[Row]]] = {
        name: _by_key(x for x in executed if x["event_type"] == name)
        for name in ("order_ack", "order_fill", "order_close")
    }
    parts["attempted"] = _by_key(logs["orders_attempted"])
    for closes in parts["order_close"].values():
        for line in closes:
            close_ms = epoch_ms(line.get("ts_close"))
            line["_close_ms"] = line["_ms"] if close_ms is None else close_ms
    router = _by_key(x for x in logs["order_metrics"] if x.get("event") != "position_close")

    rows: list[Row] = []
    taken: set[int] = set()
    for key, lines in router.items():
        for best in _attempt_clusters(lines):
            mine = {name: _near(part.get(key, []), best["_ms"]) for name, part in parts.items()}
            taken.update(id(x) for x in mine["order_close"])
            row = _attempt_row(best, mine, covers(best["_ms"]))
            rows.append({"symbol": key[1], "attempt_id": key[2], **row})
    for key, closes in parts["order_close"].items():
        alone = [x for x in closes if id(x) not in taken]
        if alone:
            time_ms = max(x["_close_ms"] for x in alone)
            mine = {name: _near(part.get(key, []), time_ms) for name, part in parts.items()}
            row = _close_only_row({**mine, "order_close": alone}, covers(time_ms))
            rows.append({"symbol": key[1], "attempt_id": key[2], **row})
    return sorted(rows, key=lambda r: (r["event_ms"], r["symbol"], r["attempt_id"]))


def in_window(rows: Iterable[Row], as_of_ms: int, window_days: int = 7) -> list[Row]:
    """Return the rows with event time in (as_of − window, as_of]."""
    start_ms = as_of_ms - window_days * DAY_MS
    return [row for row in rows if start_ms < row["event_ms"] <= as_of_ms]


def _as_known_at(rows: list[Row], as_of_ms: int) -> list[Row]:
    """Return the rows with PnL that was realised after as_of taken away."""
    nothing = {"realized_pnl_usd": None, "closed_notional_usd": None, "close_ms": None}
    return [
        {**r, **nothing, "closes": []} if (r["close_ms"] or 0) > as_of_ms else r
        for r in rows
        if r["outcome"] != "close_only" or r["close_ms"] <= as_of_ms
    ]


# ---------------------------------------------------------------- small statistics


def percentile(values: list[float], share: float) -> float | None:
    """Return the quantile by linear interpolation between order statistics; None when empty."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def mean(values: list[float]) -> float | None:
    """Return the mean of the values, None when there are none."""
    return math.fsum(values) / len(values) if values else None


def _std(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) >= 2 else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _by_symbol(rows: Iterable[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["symbol"]].append(row)
        grouped[ALL].append(row)
    return grouped


def _by_hour(rows: Iterable[Row]) -> dict[int, list[Row]]:
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["event_ms"] % DAY_MS // HOUR_MS].append(row)
    return grouped


# ---------------------------------------------------------------- expectancy


def _notional(row: Row) -> float | None:
    column = "closed_notional_usd" if row["outcome"] == "close_only" else "notional_usd"
    value: float | None = row[column]
    return value


def _slippages(rows: Iterable[Row]) -> list[float]:
    return [
        r["slippage_bps"] for r in rows if r["slippage_bps"] is not None and not r["is_suspect"]
    ]


def funding(folder: Path) -> list[Row]:
    """Return {symbol, event_ms, funding_usd} of every funding payment; a line told twice is one.

    Of a close that was told twice the last line counts.
    """
    told: dict[tuple[Any, ...], Row] = {}
    for line in read_logs(folder)["orders_executed"]:
        amount = next(
            (line[k] for k in ("funding_usd", "fundingFee") if line.get(k) is not None), None
        )
        if amount is None:
            continue
        order_id = line.get("orderId", line.get("order_id"))
        is_close = line["event_type"] == "order_close" and order_id is not None
        text = json.dumps({k: v for k, v in line.items() if k != "_line"})
        told[line["symbol"], line["event_type"], line["_ms"], order_id, is_close or text] = {
            "symbol": line["symbol"], "event_ms": line["_ms"], "funding_usd": float(amount),
        }  # fmt: skip
    return list(told.values())


def _expectancy(rows: list[Row], payments: list[Row]) -> Row:
    """Return counts, sums, ratios and their bounds for one group of outcomes and of funding."""
    pairs = [
        (r["realized_pnl_usd"] or 0.0, _notional(r) or 0.0)
        for r in rows
        if r["realized_pnl_usd"] is not None or _notional(r) is not None
    ]
    pnl, notional = math.fsum(p for p, _ in pairs), math.fsum(n for _, n in pairs)
    due = [r["fees_usd"] for r in rows if r["outcome"] in {*FILLS, "close_only"}]
    all_paid = None not in due
    fees = math.fsum(fee or 0.0 for fee in due)
    received = math.fsum(x["funding_usd"] for x in payments)
    closes = sum(len(r["closes"]) for r in rows)
    known = sum(len(r["closes"]) for r in rows if r["realized_pnl_usd"] is not None)
    ratio = _ratio(pnl, notional) if known == closes else None
    stderr = low = high = None
    if ratio is not None and closes >= 2:
        squares = math.fsum((p - ratio * n) ** 2 for p, n in pairs)
        stderr = math.sqrt(closes / (closes - 1) * squares) / notional
        reach = float(stats.t.ppf(0.975, closes - 1)) * stderr
        low, high = ratio - reach, ratio + reach
    slips = _slippages(rows)
    slip_std = _std(slips)
    return {
        "n": sum(r["outcome"] != "close_only" for r in rows),
        "fill_n": sum(r["outcome"] in FILLS for r in rows),
        "pnl_usd": pnl,
        "notional_usd": notional,
        "close_n": closes,
        "pnl_known_n": known,
        "exp_per_notional": ratio,
        "exp_net_per_notional": _ratio(pnl - fees + received, notional)
        if all_paid and known == closes
        else None,
        "funding_n": len(payments),
        "funding_usd": received if payments else None,
        "exp_stderr": stderr,
        "exp_lo95": low,
        "exp_hi95": high,
        "slip_n": len(slips),
        "slip_bps_avg": mean(slips),
        "slip_bps_stderr": None if slip_std is None else slip_std / math.sqrt(len(slips)),
    }


def hourly_expectancy(
    rows: list[Row], payments: list[Row], as_of_ms: int
) -> dict[tuple[str, int], Row]:
    """Return {(symbol or '*', hour_utc): columns of feat_execution__hourly_expectancy}.

    ``payments`` are those of `funding`.
    """
    paid = _by_symbol(in_window(payments, as_of_ms))
    table: dict[tuple[str, int], Row] = {}
    known = _as_known_at(in_window(rows, as_of_ms), as_of_ms)
    for symbol, mine in _by_symbol(known).items():
        whole = _expectancy(mine, [])
        paid_at = _by_hour(paid.get(symbol, []))
        prior_usd = None
        if whole["n"]:
            prior_usd = SHRINK_ATTEMPTS * whole["notional_usd"] / whole["n"]
        for hour, group in _by_hour(mine).items():
            row = _expectancy(group, paid_at.get(hour, []))
            weight = None
            if prior_usd is not None:
                weight = _ratio(row["notional_usd"], row["notional_usd"] + prior_usd)
            shrunk = None
            if weight is not None and whole["exp_per_notional"] is not None:
                own = row["exp_per_notional"] if weight else 0.0
                if own is not None:
                    shrunk = weight * own + (1 - weight) * whole["exp_per_notional"]
            table[(symbol, hour)] = {**row, "shrink_weight": weight, "exp_shrunk": shrunk}
    return table


# ---------------------------------------------------------------- slippage


def _quartiles(rows: list[Row]) -> Row:
    slips = _slippages(rows)
    # an age below 0 comes of two clocks and says nothing
    aged = [r for r in rows if r["mark_age_ms"] is not None and r["mark_age_ms"] >= 0]
    fresh = _slippages(r for r in aged if r["mark_age_ms"] < FRESH_MS)
    return {
        "n": len(slips),
        "fresh_n": len(fresh),
        "age_unknown_n": len(slips) - len(_slippages(aged)),
        "fresh_q25": percentile(fresh, 0.25),
        "fresh_q50": percentile(fresh, 0.50),
        "fresh_q75": percentile(fresh, 0.75),
        "slip_bps_q25": percentile(slips, 0.25),
        "slip_bps_q50": percentile(slips, 0.50),
        "slip_bps_q75": percentile(slips, 0.75),
        "slip_bps_q95": percentile(slips, 0.95),
        "slip_bps_q99": percentile(slips, 0.99),
        "slip_bps_mean": mean(slips),
        "slip_bps_mean_w50": mean([max(-WINSOR_BPS, min(WINSOR_BPS, s)) for s in slips]),
        "clipped_n": sum(abs(s) > WINSOR_BPS for s in slips),
        "suspect_n": sum(r["is_suspect"] for r in rows),
    }


NO_SLIPPAGE = _quartiles([])


def slippage_quartiles(rows: list[Row], as_of_ms: int) -> dict[tuple[str, int], Row]:
    """Return {(symbol or '*', hour_utc or -1): columns of feat_execution__slippage_quartiles}.

    Groups without any fill are left out.
    """
    table: dict[tuple[str, int], Row] = {}
    for symbol, mine in _by_symbol(in_window(rows, as_of_ms)).items():
        for hour, group in {-1: mine, **_by_hour(mine)}.items():
            columns = _quartiles(group)
            if columns["n"] or columns["suspect_n"]:
                table[(symbol, hour)] = columns
    return table


# ---------------------------------------------------------------- router


def order_errors(folder: Path) -> list[Row]:
    """Return {symbol, event_ms} of every order_error line."""
    lines = read_logs(folder)["orders_executed"]
    return [
        {"symbol": x["symbol"], "event_ms": x["_ms"]}
        for x in lines
        if x["event_type"] == "order_error"
    ]


def submissions(folder: Path) -> list[Row]:
    """Return one dict per attempt id of orders_attempted: symbol, event_ms, fate.

    Fate is `routed` when the router has a line of the id within a day, `unrouted` when it has none
    and an order of the id filled or closed, `vetoed` when a risk veto names it, else `no_outcome`.
    """
    logs = read_logs(folder)
    routed = _by_key(x for x in logs["order_metrics"] if x.get("event") != "position_close")
    executed = _by_key(
        x
        for x in logs["orders_executed"]
        if x["event_type"] == "order_close"
        or (x["event_type"] == "order_fill" and _positive(x.get("executedQty")))
    )
    vetoed = set()
    for veto in logs["risk_vetoes"]:
        intent = (veto.get("veto_detail") or {}).get("intent") or {}
        attempt_id = veto.get("attempt_id") or intent.get("attempt_id")
        if attempt_id is not None:
            vetoed.add((veto["symbol"], str(attempt_id)))
    rows = []
    for key, lines in _by_key(logs["orders_attempted"]).items():
        time_ms = max(x["_ms"] for x in lines)
        if _near(routed.get(key, []), time_ms):
            fate = "routed"
        elif _near(executed.get(key, []), time_ms):
            fate = "unrouted"
        else:
            fate = "vetoed" if key[1:] in vetoed else "no_outcome"
        rows.append({"symbol": key[1], "attempt_id": key[2], "event_ms": time_ms, "fate": fate})
    return rows


def _effectiveness(rows: list[Row], submitted: list[Row], errors: list[Row]) -> Row:
    attempts = [r for r in rows if r["outcome"] != "close_only"]
    counts = {o: sum(r["outcome"] == o for r in attempts) for o in OUTCOMES}
    fill_n = counts["filled"] + counts["partial"]
    known_n = fill_n + counts["unfilled"] + counts["rejected"]
    maker = [r["is_maker"] for r in attempts if r["is_maker"] is not None]
    started = [r["used_fallback"] for r in attempts if r["started_maker"]]
    fallback = [bool(x) for x in started if x is not None]
    acks = [r["ack_ms"] for r in attempts if r["ack_ms"] is not None]
    return {
        "n": len(attempts),
        "fill_n": fill_n,
        "fill_known_n": known_n,
        "fill_ratio": _ratio(fill_n, known_n),
        "unknown_n": counts["unknown"],
        "unconfirmed_n": sum(
            r["outcome"] in FILLS and r["is_confirmed"] is False for r in attempts
        ),
        "maker_known_n": len(maker),
        "maker_fill_ratio": _ratio(sum(maker), len(maker)),
        "started_maker_n": len(started),
        "fallback_ratio": _ratio(sum(fallback), len(fallback)),
        "submitted_n": len(submitted),
        "unrouted_n": sum(s["fate"] == "unrouted" for s in submitted),
        "vetoed_n": sum(s["fate"] == "vetoed" for s in submitted),
        "no_outcome_n": sum(s["fate"] == "no_outcome" for s in submitted),
        "rejected_n": counts["rejected"],
        "error_n": len(errors),
        "ack_ms_p50": percentile(acks, 0.50),
        "ack_ms_p95": percentile(acks, 0.95),
    }


OUTCOMES = ("filled", "partial", "unfilled", "rejected", "unknown")
NO_ROUTER = _effectiveness([], [], [])


def router_effectiveness(folder: Path, rows: list[Row], as_of_ms: int) -> dict[str, Row]:
    """Return {symbol or '*': columns of feat_router__effectiveness}."""
    mine = _by_symbol(in_window(rows, as_of_ms))
    submitted = _by_symbol(in_window(submissions(folder), as_of_ms))
    errors = _by_symbol(in_window(order_errors(folder), as_of_ms))
    symbols = {*mine, *submitted, *errors}
    return {
        s: _effectiveness(mine.get(s, []), submitted.get(s, []), errors.get(s, [])) for s in symbols
    }


# ---------------------------------------------------------------- performance


def equity(folder: Path, as_of_ms: int) -> Row:
    """Return equity_usd and how many NAV values stood against it.

    `used_n` and `rejected_24h_n` look at the 24 h that give the median; `zero_n` and `far_n` hold
    every value up to as_of against that median.
    """
    navs = [
        (x["_ms"], x["nav_snapshot"]["nav_usd"])
        for x in read_logs(folder)["orders_attempted"]
        if x["_ms"] <= as_of_ms and (x.get("nav_snapshot") or {}).get("nav_usd") is not None
    ]
    last_day = [nav for time_ms, nav in navs if time_ms > as_of_ms - DAY_MS]
    positive = [nav for nav in last_day if nav > 0]
    if not positive:
        rejected = {"rejected_24h_n": len(last_day), "zero_n": None, "far_n": None}
        return {"equity_usd": None, "used_n": 0, **rejected}
    middle = statistics.median(positive)
    kept = [nav for nav in positive if abs(nav - middle) <= NAV_TOLERANCE * middle]
    far = [n for _, n in navs if n > 0 and abs(n - middle) > NAV_TOLERANCE * middle]
    return {
        "equity_usd": statistics.median(kept),
        "used_n": len(kept),
        "rejected_24h_n": len(last_day) - len(kept),
        "zero_n": sum(nav <= 0 for _, nav in navs),
        "far_n": len(far),
        "far_usd": far,
    }


def _round_trips(rows: list[Row]) -> list[Row]:
    """Merge the closes above dust of one position until it is flat or turned: sums of each."""
    positions: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        for close in row["closes"]:
            side = close["position_side"] or row["position_side"] or "BOTH"
            positions[(row["symbol"], side)].append(close)
    trips: list[Row] = []
    for closes in positions.values():
        is_open = False
        for close in sorted(closes, key=lambda c: (c["close_ms"], c["line"])):
            if not _is_dust(close):
                if not is_open:
                    trips.append({"pnl": [], "notional": []})
                    is_open = True
                trips[-1]["pnl"].append(close["pnl_usd"])
                trips[-1]["notional"].append(close["notional_usd"])
            left, held = close["size_after"] or 0.0, close["size_before"] or 0.0
            if abs(left) <= FLAT_QTY or left * held < 0:
                is_open = False
    return [
        {"pnl_usd": math.fsum(t["pnl"]), "notional_usd": math.fsum(t["notional"])}
        for t in trips
        if None not in t["pnl"]
    ]


def _is_dust(close: Row) -> bool:
    return (close["notional_usd"] or 0.0) < DUST_USD


def _drawdowns(
    rows: list[Row], day_start: int, equity_usd: float | None
) -> tuple[float | None, float | None]:
    """Return (last, deepest) distance of the day's net PnL below its peak, percent of equity.

    Fees are paid when an order fills, PnL is realised when it is closed.
    """
    if not equity_usd:
        return None, None
    moves: dict[int, float] = {}
    for row in rows:
        for time, sign, money in (
            ("event_ms", -1, "fees_usd"),
            ("close_ms", 1, "realized_pnl_usd"),
        ):
            if row[money] is not None and row[time] >= day_start:
                moves[row[time]] = moves.get(row[time], 0.0) + sign * row[money]
    total = peak = deepest = 0.0
    for at in sorted(moves):
        total += moves[at]
        peak = max(peak, total)
        deepest = min(deepest, total - peak)
    is_unknown = any(
        row["closes"] and row["realized_pnl_usd"] is None and row["close_ms"] >= day_start
        for row in rows
    )
    last, deepest = 100 * (total - peak) / equity_usd, 100 * deepest / equity_usd
    return (
        None if is_unknown and last == 0 else last,
        None if is_unknown and deepest == 0 else deepest,
    )


def _performance(rows: list[Row], as_of_ms: int, equity_usd: float | None) -> Row:
    trips = _round_trips(rows)
    returns = [t["pnl_usd"] / t["notional_usd"] for t in trips]
    gains = math.fsum(t["pnl_usd"] for t in trips if t["pnl_usd"] > 0)
    losses = -math.fsum(t["pnl_usd"] for t in trips if t["pnl_usd"] < 0)
    average, spread = mean(returns), _std(returns)
    sharpe = average / spread if average is not None and spread else None
    low = None
    if sharpe is not None:
        low = sharpe - Z90 * math.sqrt((1 + sharpe**2 / 2) / len(returns))
    closes = [c for r in rows for c in r["closes"]]
    alone = [r for r in rows if r["outcome"] == "close_only"]
    joined = [r for r in rows if r["outcome"] != "close_only"]
    paid = [r["fees_usd"] for r in rows if r["outcome"] in (*FILLS, "close_only")]
    fees = _sum_known(paid)
    realized = math.fsum(r["realized_pnl_usd"] or 0.0 for r in rows)
    day_start = (as_of_ms - 1) // DAY_MS * DAY_MS
    last, deepest = _drawdowns(rows, day_start, equity_usd)
    return {
        "n": len(closes),
        "round_trip_n": len(trips),
        "dust_n": sum(_is_dust(c) for c in closes),
        "close_only_n": sum(len(r["closes"]) for r in alone),
        "realized_pnl_usd": realized,
        "realized_pnl_attempts_usd": math.fsum(r["realized_pnl_usd"] or 0.0 for r in joined),
        "fees_usd": fees,
        "fees_known_n": sum(fee is not None for fee in paid),
        "net_pnl_usd": None if fees is None else realized - fees,
        "return_mean": average,
        "return_std": spread,
        "sharpe_7d": sharpe,
        "sharpe_lo90": low,
        "win_rate": _ratio(sum(t["pnl_usd"] > 0 for t in trips), len(trips)),
        "profit_factor": gains / losses if losses else None,
        "equity_usd": equity_usd,
        "dd_today_pct": last,
        "max_dd_today_pct": deepest,
        "dd_n": sum(bool(r["closes"]) and r["close_ms"] >= day_start for r in rows),
    }


def symbol_performance(folder: Path, rows: list[Row], as_of_ms: int) -> dict[str, Row]:
    """Return {symbol: columns of feat_symbol__performance}."""
    equity_usd = equity(folder, as_of_ms)["equity_usd"]
    grouped = _by_symbol(_as_known_at(in_window(rows, as_of_ms), as_of_ms))
    return {s: _performance(r, as_of_ms, equity_usd) for s, r in grouped.items() if s != ALL}
