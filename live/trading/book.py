"""What the engine owns: lots first in, first out, and each strategy's share of a position.

Put here: arithmetic of fills on positions. Keep out: venues, files, clocks.
"""

from collections import defaultdict
from typing import NamedTuple

import msgspec

from live.market import Direction, Side, Signal
from live.venues import PositionSide

DUST = 1e-9  # quantities below it are what floating point leaves of zero


class Close(NamedTuple):
    """What one fill closed of a position; ``realized_usd`` is gross of fees."""

    closed_qty: float
    realized_usd: float
    before: float
    after: float


class Lot(msgspec.Struct, array_like=True, gc=False):
    """A part of a position that was opened at one price; ``qty`` is signed."""

    qty: float
    price: float


class Lots:
    """Open lots by (symbol, position side) of one account."""

    def __init__(self) -> None:
        self._lots: dict[tuple[str, PositionSide], list[Lot]] = defaultdict(list)

    def qty(self, symbol: str, position_side: PositionSide) -> float:
        """Return the signed position."""
        return _sum(self._lots.get((symbol, position_side), ()))

    def lots(self, symbol: str, position_side: PositionSide) -> list[Lot]:
        """Return the open lots, oldest first."""
        return self._lots.get((symbol, position_side), [])

    def positions(self) -> dict[tuple[str, PositionSide], float]:
        """Return every position that is not zero."""
        return {key: _sum(lots) for key, lots in self._lots.items() if lots}

    def known(self) -> list[tuple[str, PositionSide]]:
        """Return every position that ever was, flat ones too."""
        return list(self._lots)

    def net(self) -> dict[str, float]:
        """Return the signed position of every symbol, both sides together."""
        found: dict[str, float] = {}
        for (symbol, _), lots in self._lots.items():
            if lots:
                found[symbol] = found.get(symbol, 0.0) + _sum(lots)
        return found

    def entry_price(self, symbol: str, position_side: PositionSide) -> float:
        """Return the average price of the open lots, 0 where there are none."""
        lots = self._lots.get((symbol, position_side), [])
        qty = _sum(lots)
        return sum([lot.qty * lot.price for lot in lots]) / qty if lots and qty else 0.0

    def apply(self, symbol: str, position_side: PositionSide, qty: float, price: float) -> Close:
        """Take a signed fill: close the oldest lots against it, open one with what is left."""
        lots = self._lots[symbol, position_side]
        before = _sum(lots)
        left, closed, realized = qty, 0.0, 0.0
        while lots and abs(left) > DUST and (lots[0].qty > 0) != (left > 0):
            lot = lots[0]
            part = min(abs(left), abs(lot.qty))
            sign = 1.0 if lot.qty > 0 else -1.0
            realized += sign * part * (price - lot.price)
            closed += part
            left += sign * part
            lot.qty -= sign * part
            if abs(lot.qty) <= DUST:
                lots.pop(0)
        if abs(left) > DUST:
            lots.append(Lot(left, price))
        return Close(closed, realized, before, _sum(lots))

    def replace(self, symbol: str, position_side: PositionSide, qty: float, price: float) -> None:
        """Forget a position's lots and hold this one instead: what a person told to adopt."""
        self._lots[symbol, position_side] = [Lot(qty, price)] if abs(qty) > DUST else []

    def dump(self) -> list[tuple[str, PositionSide, list[Lot]]]:
        """Return all lots as plain values."""
        return [(symbol, side, lots) for (symbol, side), lots in self._lots.items()]

    def load(self, rows: list[tuple[str, PositionSide, list[Lot]]]) -> None:
        """Take lots that ``dump`` returned."""
        self._lots.clear()
        for symbol, side, lots in rows:
            self._lots[symbol, side] = lots


def _sum(lots: "list[Lot] | tuple[Lot, ...]") -> float:
    return sum([lot.qty for lot in lots])


class ClosedTrade(msgspec.Struct, frozen=True):
    """A strategy's trade from flat to flat, at the prices that its orders filled at."""

    trade_id: str  # the attempt that opened it
    signal: Signal  # as it was when the trade was opened: confidence, features, stops
    direction: Direction  # LONG or SHORT
    symbol: str
    strategy: str
    qty: float  # base units, the sum of all openings
    entry_price: float
    exit_price: float
    entry_ms: int
    exit_ms: int
    pnl_usd: float  # gross of fees
    fees_usd: float | None  # None where any is unknown
    exit_reason: str

    @property
    def return_pct(self) -> float:
        """Return the gross return on the entry's notional, in percent."""
        return 100.0 * self.pnl_usd / (self.qty * self.entry_price)

    @property
    def holding_minutes(self) -> float:
        return (self.exit_ms - self.entry_ms) / 60_000


class Sleeve(msgspec.Struct):
    """One strategy's share of a symbol's position, from flat to flat."""

    trade_id: str
    signal: Signal
    qty: float = 0.0  # signed
    opened_qty: float = 0.0
    opened_usd: float = 0.0
    closed_qty: float = 0.0
    closed_usd: float = 0.0
    entry_ms: int = 0
    exit_ms: int = 0
    fees_usd: float | None = 0.0
    exit_reason: str = ""

    def apply(
        self, side: Side, qty: float, price: float, fee_usd: float | None, at_ms: int
    ) -> None:
        """Take a fill of the strategy's own order."""
        signed = qty if side == "BUY" else -qty
        is_opening = abs(self.qty) <= DUST or (self.qty > 0) == (signed > 0)
        if is_opening:
            self.entry_ms = self.entry_ms or at_ms
            self.opened_qty += qty
            self.opened_usd += qty * price
        else:
            self.exit_ms = at_ms
            self.closed_qty += qty
            self.closed_usd += qty * price
        self.qty += signed
        known = self.fees_usd is not None and fee_usd is not None
        self.fees_usd = self.fees_usd + fee_usd if known else None  # type: ignore[operator]

    @property
    def direction(self) -> Direction:
        return self.signal.direction

    def closed(self) -> ClosedTrade:
        """Return the trade that has come back to flat."""
        entry, exit_ = self.opened_usd / self.opened_qty, self.closed_usd / self.closed_qty
        sign = 1.0 if self.direction == "LONG" else -1.0
        return ClosedTrade(
            self.trade_id, self.signal, self.direction, self.signal.symbol, self.signal.strategy,
            self.opened_qty, entry, exit_, self.entry_ms, self.exit_ms,
            sign * (self.closed_usd - self.opened_usd), self.fees_usd, self.exit_reason,
        )  # fmt: skip
