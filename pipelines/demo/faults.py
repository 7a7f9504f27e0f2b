"""Damage clean log lines the way real logs are damaged, and count every planted fault.

Put here: faults of lines and files. Keep out: what orders do (story.py). No fault takes
information away: a damaged line is an extra one, so the counts of the story stay true.
"""

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipelines.demo import shapes

BAD_LINES = ("not_json", "not_an_object", "missing_symbol", "missing_time", "not_a_number")


@dataclass
class Damage:
    """What was planted: by kind, and by file how many lines a reader must refuse or see again."""

    counts: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    half_line: str = ""


def plant(lines: dict[str, list[str]], rng: random.Random) -> Damage:
    """Damage the lines of each file stem in place; lists hold whole lines in time order.

    Re-read lines stand again up to 40 lines later; glued lines are copies of two neighbours on
    one line; bad lines carry ids of their own.
    """
    damage = Damage()
    for stem in ("order_metrics", "orders_executed", "orders_attempted"):
        if len(lines[stem]) < 40:
            continue
        extra = [
            *_repeated(lines[stem], stem, rng, damage),
            *_glued(lines[stem], stem, rng, damage),
        ]
        extra += _bad(lines[stem], stem, rng, damage)
        if stem == "orders_executed":
            extra += _nameless_acks(lines[stem], rng, damage)
        # From the last place to the first, so that earlier places keep their meaning.
        for place, text in sorted(extra, key=lambda item: item[0], reverse=True):
            lines[stem].insert(place, text)
    damage.half_line = _half_line(lines["order_metrics"], rng, damage)
    return damage


def _places(lines: list[str], count: int, rng: random.Random) -> list[int]:
    """Choose places away from both ends: a file begins and goes on with good lines."""
    return [rng.randrange(10, len(lines) - 5) for _ in range(count)]


def _repeated(
    lines: list[str], stem: str, rng: random.Random, damage: Damage
) -> list[tuple[int, str]]:
    closes = [i for i, text in enumerate(lines) if '"order_close"' in text][:2]
    chosen = _places(lines, 6, rng) + closes
    damage.counts["re_read_line"] += len(chosen)
    damage.repeated[stem] += len(chosen)
    return [(min(len(lines) - 1, i + rng.randrange(1, 40)), lines[i]) for i in chosen]


def _glued(
    lines: list[str], stem: str, rng: random.Random, damage: Damage
) -> list[tuple[int, str]]:
    places = _places(lines, 2, rng)
    damage.counts["glued_line"] += len(places)
    damage.rejected[stem] += len(places)
    return [(i, lines[i] + lines[i + 1]) for i in places]


def _bad(lines: list[str], stem: str, rng: random.Random, damage: Damage) -> list[tuple[int, str]]:
    extra = []
    for kind in BAD_LINES:
        place = _places(lines, 1, rng)[0]
        extra.append((place, spoil(_foreign(lines[place], rng), kind)))
        damage.counts[kind] += 1
        damage.rejected[stem] += 1
    return extra


def _foreign(text: str, rng: random.Random) -> dict[str, Any]:
    """Return a line's object under ids that occur nowhere else."""
    line: dict[str, Any] = json.loads(text)
    line["attempt_id"] = f"sig_bad{rng.getrandbits(36):09x}"
    line["intent_id"] = f"ord_bad{rng.getrandbits(36):09x}"
    return line


def spoil(line: dict[str, Any], kind: str) -> str:
    """Write an object as a bad line of one of BAD_LINES."""
    if kind == "not_json":
        return json.dumps(line)[:-1] + ', "ts": '
    if kind == "not_an_object":
        return json.dumps([line["attempt_id"], "lost"])
    if kind == "missing_symbol":
        raw = {k: v for k, v in line.get("raw", {}).items() if k != "symbol"}
        rest = {k: v for k, v in line.items() if k not in ("symbol", "raw")}
        return json.dumps(rest | ({"raw": raw} if raw else {}))
    if kind == "missing_time":
        clocks = ("ts", "ts_close", "local_ts")
        return json.dumps({k: v for k, v in line.items() if k not in clocks})
    if kind == "not_a_number":
        if "prices" in line:
            return json.dumps(line | {"prices": {**line["prices"], "mark": "n/a"}})
        return json.dumps(line | {"qty": "n/a"})
    raise ValueError(f"no bad line is called {kind!r}: choose one of {', '.join(BAD_LINES)}")


def _nameless_acks(lines: list[str], rng: random.Random, damage: Damage) -> list[tuple[int, str]]:
    """Write acknowledgements of dry runs: the older generation, with no symbol anywhere."""
    extra = []
    for place in _places(lines, 9, rng):
        near = json.loads(lines[place])
        raw = {"dryRun": True, "orderId": 0, "origQty": "1", "avgPrice": "0.0", "status": "DRY"}
        line = {
            "accepted": True,
            "reason": "dry_run",
            "order_id": 0,
            "price": 0.0,
            "qty": 1.0,
            "raw": raw,
            "request_id": None,
            "latency_ms": round(rng.uniform(0.004, 0.009), 9),
            "exchange_filters_used": {},
            "rounded_qty": 1.0,
            "rounded_price": float(rng.randrange(1500, 2000)),
            "ts": near["ts"],
            "event_type": "order_ack",
            "pid": near["pid"],
            "hostname": shapes.HOSTNAME,
        }
        extra.append((place, json.dumps(line)))
    damage.counts["ack_without_symbol"] += len(extra)
    damage.rejected["orders_executed"] += len(extra)
    return extra


def _half_line(lines: list[str], rng: random.Random, damage: Damage) -> str:
    """Return one more attempt, NEW like others: its first half will stand at the file's end."""
    if not lines:
        return ""
    attempts = [text for text in lines[-40:] if text.startswith('{"attempt_id"')]
    usable = [text for text in attempts if _is_whole(text)]
    if not usable:
        return ""
    line = _foreign(usable[-1], rng)
    line["ts"] = round(json.loads(usable[-1])["ts"] + 0.2, 6)
    line["prices"]["avg_fill"] = 0.0
    line["qty"] = {"contracts": 0.0, "notional_usd": 0.0}
    line["result"] = {"status": "NEW", "retries": 0, "cancelled": False}
    line["timing_ms"]["fill"] = line["fees_usd"] = None
    line["slippage_bps"] = -10000.0 if line["side"] == "BUY" else 10000.0
    if "is_maker_final" in line:
        line |= {"is_maker_final": None, "used_fallback": False, "fill_ts": None}
    damage.counts["half_line"] += 1
    return json.dumps(line)


def _is_whole(text: str) -> bool:
    try:
        line = json.loads(text)
    except ValueError:
        return False
    return isinstance(line, dict) and {"prices", "symbol", "ts"} <= set(line)
