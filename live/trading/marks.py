"""The newest price of each symbol: what bars and quotes brought, and what the venue last answered.

Put here: remembering prices. Keep out: asking for them (executor.py), judging them (gates.py).
"""

from live.market import Quote
from live.trading.watch import Moves


class Marks:
    """Prices of the symbols of one account."""

    def __init__(self) -> None:
        self._newest: dict[str, float] = {}  # from anywhere
        # The newest that bars and quotes brought: its time, the price, when it came.
        self._fed: dict[str, tuple[int, float, int]] = {}
        self._quotes: dict[str, Quote] = {}
        self._moves = Moves()

    def feed(self, symbol: str, at_ms: int, price: float, now_ms: int) -> None:
        """Take the price of a bar of the market's feed, unless a later one came before it.

        Where the clock went back since then, nobody knows which is later: what comes now counts.
        """
        fed_ms, _, came_ms = self._fed.get(symbol, (at_ms, price, now_ms))
        if at_ms >= fed_ms or now_ms < came_ms:
            self._take(symbol, at_ms, price, now_ms)

    def feed_quote(self, quote: Quote, now_ms: int) -> None:
        """Take a best bid and offer of the market's feed: asked for, so newer than any bar."""
        self._quotes[quote.symbol] = quote
        self._take(quote.symbol, quote.at_ms, quote.mid, now_ms)

    def _take(self, symbol: str, at_ms: int, price: float, now_ms: int) -> None:
        self._newest[symbol] = price
        self._fed[symbol] = (at_ms, price, now_ms)
        self._moves.see(symbol, at_ms, price, now_ms)

    def answer(self, quote: Quote) -> None:
        """Take what the venue answered to a question: no feed, which it may be held against."""
        self._quotes[quote.symbol] = quote
        self._newest[quote.symbol] = quote.mid

    def newest(self, symbol: str) -> float | None:
        """Return the newest price from anywhere, None before the first."""
        return self._newest.get(symbol)

    def quote(self, symbol: str) -> Quote | None:
        """Return the last best bid and offer, None before the first."""
        return self._quotes.get(symbol)

    def fed(self, symbol: str, now_ms: int, max_age_s: float) -> float | None:
        """Return the feed's newest price, the last quote's mid where it is too old or missing."""
        fed_ms, mark, _ = self._fed.get(symbol, (0, None, 0))
        if mark is not None and now_ms - fed_ms <= max_age_s * 1e3:
            return mark
        quote = self._quotes.get(symbol)
        return None if quote is None else quote.mid

    def move_pct(self, symbol: str, now_ms: int) -> float | None:
        """Return the feed's largest move of the last minute, %; None with under two prices."""
        return self._moves.pct(symbol, now_ms)
