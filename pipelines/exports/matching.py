"""Hold a venue's entries against what the logs say, amount by amount and price by price.

Put here: which entry is which log item. Keep out: files and tables.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipelines.exports.reading import LOG_KINDS, Entry

REACH_MS = 300_000  # the trades of one order lie at most so far before its last
SLACK_MS = 2_000  # exports name whole seconds, and clocks differ
LONGEST_RUN = 50  # trades of one order that are looked for without its id
MEAN_PX_TOLERANCE = 1e-4  # venues round the mean price of an order's trades, one price they do not
USD_ASSETS = frozenset({"", "USD", "USDT", "USDC", "BUSD", "FDUSD", "TUSD", "DAI"})  # as the logs'

Verdict = Literal["missing", "incomparable", "differs", "only_in_logs"]


@dataclass(frozen=True)
class LogItem:
    """One amount that the logs tell, in USD or, of a trade, base units.

    ``px`` is the mean price of a trade; ``source`` says where to look.
    """

    kind: str
    symbol: str
    at_ms: int
    amount: float
    order_id: str | None = None
    source: str = ""
    px: float | None = None


@dataclass(frozen=True)
class Difference:
    """One line that venue and logs do not share, or do not agree on.

    ``venue_amount`` is None for what only the logs tell, ``log_amount`` for what they miss. Of kind
    price, beside those of Entry, the amounts are the mean prices of what is one trade by quantity.
    """

    verdict: Verdict
    kind: str
    unit: str
    symbol: str
    at_ms: int
    venue_amount: float | None
    log_amount: float | None
    where: str
    order_id: str | None = None


@dataclass
class Sum:
    """Of one kind in one unit: entries and amount by the venue, by the logs, and told alike."""

    venue_n: int = 0
    venue_amount: float = 0.0
    log_n: int = 0
    log_amount: float = 0.0
    matched_n: int = 0


@dataclass
class Comparison:
    """Every difference in order of time, and the sums by kind and unit."""

    differences: list[Difference] = field(default_factory=list)
    sums: dict[tuple[str, str], Sum] = field(default_factory=dict)


def compare(
    entries: Iterable[Entry], items: Iterable[LogItem], span: tuple[int, int] | None = None
) -> Comparison:
    """Match entries with log items: by order id where both name one, else by time and amount.

    One log item may be many entries, since a venue writes every trade of an order. An amount of
    0 needs no counterpart. Of items outside of ``span``, first and last epoch ms of the export,
    those that no entry is part of are left out.
    """
    found = Comparison()
    venue: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    logs: dict[tuple[str, str, str], list[LogItem]] = defaultdict(list)
    for entry in entries:
        venue[entry.kind, _unit(entry), entry.symbol].append(entry)
    for item in items:
        if item.amount:
            logs[item.kind, _unit(item), item.symbol].append(item)
    for key in sorted(set(venue) | set(logs)):
        _compare_one(found, venue.get(key, []), logs.get(key, []), span)
    found.differences.sort(key=lambda each: (each.at_ms, each.symbol, each.kind, each.where))
    return found


def is_equal(one: float, other: float) -> bool:
    """Tell whether two amounts are the same to a millionth: of a unit, above one of themselves."""
    return abs(one - other) <= 1e-6 * max(1.0, abs(one))


def _unit(told: Entry | LogItem) -> str:
    """Return what an amount is in: USD, the asset that is none, or the symbol of a trade."""
    if told.kind == "trade":
        return told.symbol
    asset = told.asset.upper() if isinstance(told, Entry) else ""
    return "USD" if asset in USD_ASSETS else asset


def _compare_one(
    found: Comparison, entries: list[Entry], items: list[LogItem], span: tuple[int, int] | None
) -> None:
    """Match entries and items of one kind, unit and symbol."""
    for entry in entries:
        total = _sum(found, entry)
        total.venue_n += 1
        total.venue_amount += entry.amount
    entries, items = _by_order(found, entries, items)
    left = sorted(entries, key=lambda each: (each.at_ms, each.line))
    used: set[int] = set()
    unmatched = sorted(items, key=lambda each: each.at_ms)
    for is_priced in (True, False):  # what has another price may be another's, who takes it first
        looking, unmatched = unmatched, []
        for item in looking:
            taken = _taken(left, used, item, is_priced=is_priced)
            used |= taken
            if taken:
                _settle(found, [left[place] for place in sorted(taken)], [item])
            else:
                unmatched.append(item)
    for place, entry in enumerate(left):
        if place in used:
            continue
        if entry.amount:
            found.differences.append(_missing(entry))
        else:
            _sum(found, entry).matched_n += 1
    for item in unmatched:
        if span is None or span[0] <= item.at_ms <= span[1]:
            _count(found, [item])
            found.differences.append(_only_in_logs(item))


def _sum(found: Comparison, told: Entry | LogItem) -> Sum:
    return found.sums.setdefault((told.kind, _unit(told)), Sum())


def _count(found: Comparison, items: list[LogItem]) -> None:
    for item in items:
        total = _sum(found, item)
        total.log_n += 1
        total.log_amount += item.amount


def _settle(found: Comparison, group: list[Entry], items: list[LogItem]) -> None:
    """Count entries and the items that they are, or say what one side tells otherwise."""
    _count(found, items)
    venue_amount, log_amount = sum(e.amount for e in group), sum(i.amount for i in items)
    kind, last = group[0].kind, max(group, key=lambda each: each.at_ms)
    if is_equal(venue_amount, log_amount):
        if _is_px_equal(group, items):
            _sum(found, last).matched_n += len(group)
            return
        kind, venue_amount, log_amount = "price", _mean_px(group) or 0.0, _mean_px(items) or 0.0
    found.differences.append(
        Difference(
            "differs", kind, _unit(last), last.symbol, last.at_ms, venue_amount, log_amount,
            f"{last.file}:{last.line}", last.order_id,
        )
    )  # fmt: skip


def _is_px_equal(group: Sequence[Entry], items: Sequence[LogItem]) -> bool:
    """Tell whether the mean prices are the same, or one of them is not known."""
    venue_px, log_px = _mean_px(group), _mean_px(items)
    if group[0].kind != "trade" or venue_px is None or log_px is None:
        return True
    has_one = len({each.px for each in group}) == 1
    return abs(venue_px - log_px) <= venue_px * (1e-6 if has_one else MEAN_PX_TOLERANCE)


def _mean_px(told: Sequence[Entry] | Sequence[LogItem]) -> float | None:
    """Return the mean price by quantity; None where one is not known."""
    total = 0.0
    for each in told:
        if each.px is None:
            return None
        total += each.px * each.amount
    amount = sum(each.amount for each in told)
    return total / amount if amount else None


def _by_order(
    found: Comparison, entries: list[Entry], items: list[LogItem]
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
        _settle(found, group, ours[order_id])
    return (
        [each for each in entries if each.order_id not in theirs],
        [each for each in items if each.order_id not in theirs],
    )


def _taken(left: list[Entry], used: set[int], item: LogItem, *, is_priced: bool) -> set[int]:
    """Return the places of the entries that make up an item: one of its amount, else a run.

    None is of an order that the item does not name; with ``is_priced`` they have its price.
    """
    if not is_priced and item.px is None:
        return set()  # looked for already

    def is_told(run: list[int], total: float) -> bool:
        if not is_equal(total, item.amount):
            return False
        return not is_priced or _is_px_equal([left[place] for place in run], [item])

    first = bisect_left(left, item.at_ms - REACH_MS, key=lambda each: each.at_ms)
    end = bisect_right(left, item.at_ms + SLACK_MS, key=lambda each: each.at_ms)
    near = [
        place
        for place in range(end - 1, first - 1, -1)
        if place not in used and not (item.order_id and left[place].order_id)
    ]
    for place in near:
        if is_told([place], left[place].amount):
            return {place}
    for start in range(min(len(near), LONGEST_RUN)):
        total = 0.0
        for end, place in enumerate(near[start : start + LONGEST_RUN], start + 1):
            total += left[place].amount
            if is_told(near[start:end], total):
                return set(near[start:end])
    return set()


def _missing(entry: Entry) -> Difference:
    unit = _unit(entry)
    verdict: Verdict = "missing"
    if entry.kind in LOG_KINDS and entry.kind != "trade" and unit != "USD":
        verdict = "incomparable"
    return Difference(
        verdict, entry.kind, unit, entry.symbol, entry.at_ms, entry.amount, None,
        f"{entry.file}:{entry.line}", entry.order_id,
    )  # fmt: skip


def _only_in_logs(item: LogItem) -> Difference:
    return Difference(
        "only_in_logs", item.kind, _unit(item), item.symbol, item.at_ms, None, item.amount,
        item.source, item.order_id,
    )  # fmt: skip
