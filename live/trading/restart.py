"""What a restart goes on from: the last checkpoint, with the records after it put on top.

Put here: shapes of state and record, and how they make one. Keep out: files (journal.py), acting.
"""

from collections.abc import Iterable

import msgspec

from live.market import Signal
from live.trading import journal
from live.trading.attempt import Attempt
from live.trading.book import Lot, Sleeve
from live.trading.watch import Peaks
from live.venues import PositionSide


class Kept(msgspec.Struct):
    """The whole state of an engine."""

    seq: int = 0
    start_ms: int = 0  # of the run that wrote it: ids of a later run begin after it
    attempts: dict[str, Attempt] = {}
    sleeves: list[tuple[str, str, Sleeve]] = []
    closing: list[tuple[str, str, Signal]] = []
    lots: list[tuple[str, PositionSide, list[Lot]]] = []
    orders_ms: list[int] = []
    peaks: Peaks = msgspec.field(default_factory=Peaks)
    rebased_ms: int = 0


class Record(journal.Record, omit_defaults=True, kw_only=True):
    """One change, as whole values of what it touched."""

    start_ms: int = 0
    attempt: Attempt | None = None
    is_over: bool = False  # the attempt ended: forget it
    sleeves: list[tuple[str, str, Sleeve | None]] = msgspec.field(default_factory=list)
    closing: list[tuple[str, str, Signal | None]] = msgspec.field(default_factory=list)
    lots: list[tuple[str, PositionSide, list[Lot]]] = msgspec.field(default_factory=list)
    orders_ms: list[int] = msgspec.field(default_factory=list)
    peaks: Peaks | None = None
    rebased_ms: int = 0


def merged(kept: Kept, records: Iterable[Record]) -> Kept:
    """Put records on top of a checkpoint; those that it already holds change nothing."""
    sleeves = {(strategy, symbol): sleeve for strategy, symbol, sleeve in kept.sleeves}
    closing = {(strategy, symbol): signal for strategy, symbol, signal in kept.closing}
    lots = {(symbol, side): found for symbol, side, found in kept.lots}
    for record in records:
        if record.seq <= kept.seq:
            continue
        kept.seq = record.seq
        kept.start_ms = max(kept.start_ms, record.start_ms)
        kept.orders_ms += record.orders_ms
        kept.peaks = record.peaks or kept.peaks
        kept.rebased_ms = max(kept.rebased_ms, record.rebased_ms)
        if record.attempt is not None:
            kept.attempts[record.attempt.attempt_id] = record.attempt
            if record.is_over:
                del kept.attempts[record.attempt.attempt_id]
        for strategy, symbol, sleeve in record.sleeves:
            sleeves.pop((strategy, symbol), None)
            if sleeve is not None:
                sleeves[strategy, symbol] = sleeve
        for strategy, symbol, signal in record.closing:
            closing.pop((strategy, symbol), None)
            if signal is not None:
                closing[strategy, symbol] = signal
        lots |= {(symbol, side): found for symbol, side, found in record.lots}
    kept.sleeves = [(*key, sleeve) for key, sleeve in sleeves.items()]
    kept.closing = [(*key, signal) for key, signal in closing.items()]
    kept.lots = [(*key, found) for key, found in lots.items()]
    return kept
