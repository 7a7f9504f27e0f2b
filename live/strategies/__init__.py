"""Trading strategies, one a file: a class with a name and `on_bar`; the engine does the rest.

Put here: what decides a direction. Keep out: sizes, orders, files, clocks.
"""

from typing import Protocol

from live.market import Bar, Signal


class Strategy(Protocol):
    """Turns closed bars into signals; holds one state a symbol and reads no clock."""

    name: str  # in every order and trace
    threshold: float  # the market's move, as a fraction, from which a direction counts as right

    def on_bar(self, bar: Bar) -> Signal | None:
        """Take the next closed bar of a symbol, in time order; None wants no change."""
        ...
