"""Whether the venue's orders, positions and equity are what the engine's own fills explain.

Put here: comparing, and adopting what a person accepted. Keep out: what follows (executor.py).
"""

import logging
import math
import re
from collections.abc import Iterable, Set

from live.trading.book import DUST, Lots
from live.venues import Fill, Position, PositionSide, Venue, VenueError

BALANCE_SLACK_PCT = 0.5  # of equity: what funding and rounding may change between two comparisons
OWN_PREFIX = "x"  # of client order ids
_OWN_ID = re.compile(rf"{OWN_PREFIX}[0-9a-z]{{8}}-[0-9a-z]+")  # others' ids begin with x, too
_log = logging.getLogger(__name__)


class Reconciler:
    """Compares one account with its lots; until they agree the engine only reduces."""

    def __init__(self, venue: Venue, lots: Lots) -> None:
        self._venue = venue
        self._lots = lots
        self._cash_usd = 0.0  # flows of own fills
        self._anchor_usd: float | None = None  # equity that they do not explain, at the last look
        self.is_agreed = False
        self.has_compared = False  # in this run, with what the venue answered
        self.difference = "nothing was compared yet"
        self.at = float("-inf")  # of the last comparison, elapsed ms

    def book(self, signed_qty: float, fill: Fill) -> None:
        """Take a fill's cash; of an unknown fee the next comparison of equity is the first."""
        self._cash_usd -= signed_qty * fill.price + (fill.fee_usd or 0.0)
        if fill.fee_usd is None:
            self._anchor_usd = None

    def compare(self, known_ids: Set[str], *, now: float) -> bool:
        """Compare now; ``known_ids`` are the client ids of the orders in flight."""
        try:
            difference = self._difference(known_ids)
            self.has_compared = True
        except VenueError as error:
            difference = f"the venue's state cannot be read: {error}"
        self.at = now
        if difference is not None:
            self.disagree(difference)
        elif not self.is_agreed:
            _log.info("reconciled with %s", self._venue.name)
            self.is_agreed = True
        return self.is_agreed

    def disagree(self, difference: str) -> None:
        """Note that the venue's state is another than the engine's."""
        if self.is_agreed or difference != self.difference:
            _log.warning("reduce-only until the venue agrees: %s", difference)
        self.is_agreed, self.difference = False, difference

    def adopt(self) -> set[str] | None:
        """Take the venue's positions for true; return the symbols that changed.

        None when the venue does not answer.
        """
        try:
            positions = self._venue.positions()
        except VenueError as error:
            _log.warning("positions cannot be adopted yet: %s", error)
            return None
        twice = _held_twice(positions)
        if twice is not None:
            _log.error("nothing is adopted: %s", twice)
            return set()
        theirs = {(p.symbol, p.position_side): p for p in positions}
        changed: set[str] = set()
        for symbol, side in {*theirs, *self._lots.positions()}:
            found = theirs.get((symbol, side))
            qty, price = (found.qty, found.entry_price) if found else (0.0, 0.0)
            if abs(qty - self._lots.qty(symbol, side)) > DUST:
                _log.warning("%s %s: adopted %g from the venue", symbol, side, qty)
                self._lots.replace(symbol, side, qty, price)
                changed.add(symbol)
        self._anchor_usd = None
        return changed

    def _difference(self, known_ids: Set[str]) -> str | None:
        positions = self._venue.positions()
        twice = _held_twice(positions)
        if twice is not None:
            return twice
        theirs = {(p.symbol, p.position_side): p.qty for p in positions}
        ours = self._lots.positions()
        for symbol, side in {*theirs, *ours}:
            qty, own_qty = theirs.get((symbol, side), 0.0), ours.get((symbol, side), 0.0)
            if not abs(qty - own_qty) <= self._slack(symbol, side):  # NaN agrees with nothing
                return f"{symbol} {side}: {qty:.12g} at the venue, {own_qty:.12g} here"
        unknown = [o for o in self._venue.open_orders() if o.client_id not in known_ids]
        for order in unknown:
            if _OWN_ID.fullmatch(order.client_id):  # ours, come late: it must not stand
                _log.warning("cancelling %s of %s, sent earlier", order.client_id, order.symbol)
                self._venue.cancel(order.symbol, order.client_id)
        if unknown:
            order = unknown[0]
            return f"order {order.client_id} of {order.symbol} is open and not known here"
        account = self._venue.account()
        unexplained = account.equity_usd - self._cash_usd - sum([p.qty * p.mark for p in positions])
        if not math.isfinite(unexplained):
            return f"equity {account.equity_usd} or a mark is no number"
        if self._anchor_usd is not None:
            off_usd = unexplained - self._anchor_usd
            if not abs(off_usd) <= max(1.0, account.equity_usd * BALANCE_SLACK_PCT / 100):
                return f"equity is {off_usd:+.2f} USD off what own fills explain"
        self._anchor_usd = unexplained
        return None

    def _slack(self, symbol: str, side: PositionSide) -> float:
        try:
            return self._venue.instrument(symbol).step / 2
        except VenueError:
            return DUST


def _held_twice(positions: Iterable[Position]) -> str | None:
    """Name a symbol whose position the venue tells in two parts, as in a mode that is not ours."""
    seen: set[tuple[str, PositionSide]] = set()
    for position in positions:
        key = (position.symbol, position.position_side)
        if key in seen:
            return (
                f"{position.symbol} is held long and short: the account is in hedge mode, this "
                "engine trades one-way"
            )
        seen.add(key)
    return None
