"""Hold a venue's entries against what the logs say, amount by amount.

Put here: which entry is which log item. Keep out: files and tables.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pipelines.exports.reading import Entry

REACH_MS = 300_000  # the trades of one order lie at most so far before its last
SLACK_MS = 2_000  # exports name whole seconds, and clocks differ
LONGEST_RUN = 50  # trades of one order that are looked for without its id

Verdict = Literal["missing", "differs", "only_in_logs"]


@dataclass(frozen=True)
class LogItem:
    """One amount that the logs tell, in the units of Entry; ``source`` says where to look."""

    kind: str
    symbol: str
    at_ms: int
    amount: float
    order_id: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Difference:
    """One line that venue and logs do not share, or do not agree on.

    ``venue_amount`` is None for what only the logs tell, ``log_amount`` for what they miss.
    """

    verdict: Verdict
    kind: str
    symbol: str
    at_ms: int
    venue_amount: float | None
    log_amount: float | None
    where: str
    order_id: str | None = None


@dataclass
class Sum:
    """Of one kind: entries and amount by the venue, by the logs, and matched."""

    venue_n: int = 0
    venue_amount: float = 0.0
    log_n: int = 0
    log_amount: float = 0.0
    matched_n: int = 0


@dataclass
class Comparison:
    """Every difference in order of time, and the sums by kind."""

    differences: list[Difference] = field(default_factory=list)
    sums: dict[str, Sum] = field(default_factory=dict)


def compare(entries: Iterable[Entry], items: Iterable[LogItem]) -> Comparison:
    """Match entries with log items: by order id where both name it, else by time and amount.

    One log item may be many entries, since a venue writes every trade of an order. An amount of
    0 needs no counterpart.
    """
    found = Comparison()
    venue: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    logs: dict[tuple[str, str], list[LogItem]] = defaultdict(list)
    for entry in entries:
        total = found.sums.setdefault(entry.kind, Sum())
        total.venue_n += 1
        total.venue_amount += entry.amount
        venue[entry.kind, entry.symbol].append(entry)
    for item in items:
        if not item.amount:
            continue
        total = found.sums.setdefault(item.kind, Sum())
        total.log_n += 1
        total.log_amount += item.amount
        logs[item.kind, item.symbol].append(item)
    for key in sorted(set(venue) | set(logs)):
        _compare_one(found, key[0], venue.get(key, []), logs.get(key, []))
    found.differences.sort(key=lambda each: (each.at_ms, each.symbol, each.kind, each.where))
    return found


def is_equal(one: float, other: float) -> bool:
    """Tell whether two amounts are the same but for eight decimals."""
    return abs(one - other) <= 1e-6 * max(1.0, abs(one))


def _compare_one(found: Comparison, kind: str, entries: list[Entry], items: list[LogItem]) -> None:
    entries, items = _by_order(found, kind, entries, items)
    left = sorted(entries, key=lambda each: (each.at_ms, each.line))
    used: set[int] = set()
    unmatched: list[LogItem] = []
    for item in sorted(items, key=lambda each: each.at_ms):
        taken = _taken(left, used, item)
        used |= taken
        if not taken:
            unmatched.append(item)
    for place, entry in enumerate(left):
        if place in used or not entry.amount:
            found.sums[kind].matched_n += 1
        else:
            found.differences.append(_missing(entry))
    found.differences += [_only_in_logs(item) for item in unmatched]


def _by_order(
    found: Comparison, kind: str, entries: list[Entry], items: list[LogItem]
) -> tuple[list[Entry], list[LogItem]]:
    """Settle what names an order on both sides; return what is left of each."""
    ours: dict[str, list[LogItem]] = defaultdict(list)
    theirs: dict[str, list[Entry]] = defaultdict(list)
    for item in items:
        if item.order_id:
            ours[item.order_id].append(item)
    for entry in entries:
        if entry.order_id in ours:
            theirs[entry.order_id].append(entry)
    for order_id, group in theirs.items():
        venue_amount = sum(each.amount for each in group)
        log_amount = sum(each.amount for each in ours[order_id])
        if is_equal(venue_amount, log_amount):
            found.sums[kind].matched_n += len(group)
            continue
        last = max(group, key=lambda each: each.at_ms)
        found.differences.append(
            Difference(
                "differs",
                kind,
                last.symbol,
                last.at_ms,
                venue_amount,
                log_amount,
                f"{last.file}:{last.line}",
                order_id,
            )
        )
    return (
        [each for each in entries if each.order_id not in theirs],
        [each for each in items if each.order_id not in theirs],
    )


def _taken(left: list[Entry], used: set[int], item: LogItem) -> set[int]:
    """Return the places of the entries that make up an item: one of its amount, else a run."""
    first = bisect_left(left, item.at_ms - REACH_MS, key=lambda each: each.at_ms)
    end = bisect_right(left, item.at_ms + SLACK_MS, key=lambda each: each.at_ms)
    near = [place for place in range(end - 1, first - 1, -1) if place not in used]
    for place in near:
        if is_equal(left[place].amount, item.amount):
            return {place}
    for start in range(min(len(near), LONGEST_RUN)):
        total = 0.0
        for end, place in enumerate(near[start : start + LONGEST_RUN], start + 1):
            total += left[place].amount
            if is_equal(total, item.amount):
                return set(near[start:end])
    return set()


def _missing(entry: Entry) -> Difference:
    return Difference(
        "missing", entry.kind, entry.symbol, entry.at_ms, entry.amount, None,
        f"{entry.file}:{entry.line}", entry.order_id,
    )  # fmt: skip


def _only_in_logs(item: LogItem) -> Difference:
    return Difference(
        "only_in_logs", item.kind, item.symbol, item.at_ms, None, item.amount, item.source,
        item.order_id,
    )  # fmt: skip
