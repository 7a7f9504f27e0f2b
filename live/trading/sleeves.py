"""Each strategy's trade of each symbol: booked by its own orders' fills, ended at stop or target.

Put here: whose fill it is, and which trades have to end. Keep out: the account's lots, a trade's
arithmetic (book.py), sending what ends it (executor.py).
"""

from collections.abc import Collection, Iterable, Iterator

import msgspec

from live.market import Signal
from live.trading.attempt import Attempt, Leg
from live.trading.book import DUST, ClosedTrade, Sleeve
from live.trading.marks import Marks
from live.venues import Fill

SleeveKey = tuple[str, str]  # strategy, symbol


class Sleeves(dict[SleeveKey, Sleeve]):
    """The trades that stand, by strategy and symbol."""

    def book(self, attempt: Attempt, leg: Leg, fill: Fill) -> ClosedTrade | None:
        """Take a fill of a strategy's own order; return the trade that it ended."""
        key = (attempt.strategy, attempt.symbol)
        sleeve = self.get(key)
        if sleeve is None:
            sleeve = self[key] = Sleeve(attempt.attempt_id, attempt.signal)
        sleeve.apply(leg.side, fill.qty, fill.price, fill.fee_usd, fill.at_ms)
        if abs(sleeve.qty) > DUST or not sleeve.opened_qty:
            return None
        sleeve.exit_reason = attempt.signal.reason or (
            "signal" if attempt.target == "NOOP" else "flip"
        )
        del self[key]
        return sleeve.closed()

    def stopped(self, symbols: Collection[str], marks: Marks) -> Iterator[tuple[SleeveKey, Signal]]:
        """Yield, of trades of these symbols whose stop or target the mark has reached, the end."""
        for key, sleeve in list(self.items()):
            if key[1] not in symbols:
                continue
            mark = marks.newest(key[1])
            reason = None if mark is None else _stop_reason(sleeve, mark)
            if reason and mark is not None:
                signal = msgspec.structs.replace(
                    sleeve.signal, direction="NOOP", price=mark, reason=reason
                )
                yield key, signal

    def forget(self, symbols: Collection[str]) -> None:
        """Drop the trades of symbols of which nobody knows any more whose they are."""
        for key in [key for key in self if key[1] in symbols]:
            del self[key]

    def dump(self) -> list[tuple[str, str, Sleeve]]:
        """Return all as plain values."""
        return [(*key, sleeve) for key, sleeve in self.items()]

    def load(self, rows: Iterable[tuple[str, str, Sleeve]]) -> None:
        """Take what ``dump`` returned."""
        self.clear()
        self.update({(strategy, symbol): sleeve for strategy, symbol, sleeve in rows})


def _stop_reason(sleeve: Sleeve, mark: float) -> str | None:
    sign = 1.0 if sleeve.qty > 0 else -1.0
    stop, target = sleeve.signal.stop_loss, sleeve.signal.take_profit
    if stop is not None and sign * (mark - stop) <= 0:
        return "stop_loss"
    if target is not None and sign * (mark - target) >= 0:
        return "take_profit"
    return None
