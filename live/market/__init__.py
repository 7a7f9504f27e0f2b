"""What a market shows and what a strategy wants of it, as frozen values; times in epoch ms.

Put here: shapes that feeds, venues, strategies and the engine share. Keep out: behaviour.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Side = Literal["BUY", "SELL"]
Direction = Literal["LONG", "SHORT", "NOOP"]


class Bar(msgspec.Struct, frozen=True, gc=False):
    """One OHLCV bar; it is known only from ``close_ms`` on."""

    symbol: str
    open_ms: int
    interval_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def close_ms(self) -> int:
        """Return the moment the bar is complete."""
        return self.open_ms + self.interval_ms


class Quote(msgspec.Struct, frozen=True, gc=False):
    """Best bid and offer at one moment; sizes in contracts, None where the feed has none."""

    symbol: str
    at_ms: int
    bid: float
    ask: float
    bid_size: float | None = None
    ask_size: float | None = None

    @property
    def mid(self) -> float:
        """Return the price halfway between bid and ask."""
        return (self.bid + self.ask) / 2


class Print(msgspec.Struct, frozen=True, gc=False):
    """One trade of the market; ``side`` is the aggressor's, None where the feed has none."""

    symbol: str
    at_ms: int
    price: float
    size: float
    side: Side | None = None


Event = Bar | Quote | Print


def moment_of(event: Event) -> int:
    """Return when something is known: a bar once it closes."""
    return event.close_ms if isinstance(event, Bar) else event.at_ms


class Signal(msgspec.Struct, frozen=True):
    """What a strategy wants now: LONG and SHORT open or turn a position, NOOP closes it.

    ``confidence`` is the strategy's probability that the market moves its way by more than the
    strategy's threshold; ``expected_edge`` the return it expects, as a fraction.
    """

    strategy: str
    symbol: str
    direction: Direction
    at_ms: int
    price: float  # the price it was decided on
    confidence: float
    expected_edge: float | None = None
    wants_maker: bool = True
    stop_loss: float | None = None
    take_profit: float | None = None
    reason: str = ""
    features: Mapping[str, Any] = {}  # numbers; None, or NaN, while one is not known

    def __post_init__(self) -> None:
        # The journal writes NaN as null: a restart could not read it, or would know no stop.
        numbers = ("price", "confidence", "expected_edge", "stop_loss", "take_profit")
        for name in numbers:
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(
                    f"{self.strategy} {self.symbol}: {name} {value} must be a finite number"
                )
