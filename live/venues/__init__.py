"""What an engine asks of a place to trade, in one vocabulary for all of them.

Put here: shapes, the Venue protocol, and errors named by what the caller does next. Keep out: any
particular venue (one file each). Times are epoch ms, quantities base units, prices quote per unit.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from features.settings import Trading
from live.market import Bar, Print, Quote, Side

Status = Literal["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED", "REJECTED"]
OrderType = Literal["post_only", "ioc", "market"]
PositionSide = Literal["BOTH", "LONG", "SHORT"]

TERMINAL: frozenset[Status] = frozenset({"FILLED", "CANCELED", "EXPIRED", "REJECTED"})
POST_ONLY = "post_only"  # why a post-only order that would have crossed was refused
NOT_OPEN = "not_open"  # why a cancel was refused that had nothing to cancel
USUAL = Trading()  # its fees are those of a venue that tells none


class VenueError(Exception):
    """A call to a venue failed; the subclass says what to do next."""


class RetryError(VenueError):
    """Nobody knows what came of the call: ask again, and of a create call first what it did."""


class SkipError(VenueError):
    """The venue refused this one thing, and nothing came of it; ``reason`` is one word."""

    def __init__(self, message: str, *, reason: str = "rejected") -> None:
        super().__init__(message)
        self.reason = reason


class StopError(VenueError):
    """Nothing will work until a person acts: keys, permissions, a closed account."""


class Instrument(msgspec.Struct, frozen=True):
    """What a venue accepts of a symbol, and what it charges."""

    symbol: str
    tick: float  # prices are multiples of it
    step: float  # quantities are
    min_qty: float
    min_notional_usd: float  # of orders that do not only reduce
    maker_fee_bps: float = USUAL.maker_fee_bps
    taker_fee_bps: float = USUAL.taker_fee_bps
    max_leverage: float = 1.0

    def floor_qty(self, qty: float) -> float:
        """Return the largest allowed quantity at or below one."""
        return multiple(math.floor(qty / self.step + 1e-9), self.step)

    def floor_price(self, price: float) -> float:
        """Return the highest allowed price at or below one."""
        return multiple(math.floor(price / self.tick + 1e-9), self.tick)

    def ceil_price(self, price: float) -> float:
        """Return the lowest allowed price at or above one."""
        return multiple(math.ceil(price / self.tick - 1e-9), self.tick)


def multiple(count: int, unit: float) -> float:
    """Return so many units, as a number of no more digits than these have."""
    # 3 * 0.1 is 0.30000000000000004: no exchange takes that, so cut to the unit's own digits.
    return round(count * unit, max(0, math.ceil(-math.log10(unit)) + 3) if unit < 1 else 6)


class NewOrder(msgspec.Struct, frozen=True):
    """An order to be created; the client id makes a second create call of it recognisable."""

    client_id: str
    symbol: str
    side: Side
    type: OrderType
    qty: float
    price: float | None  # None for market orders
    reduce_only: bool = False
    position_side: PositionSide = "BOTH"


class Fill(msgspec.Struct, frozen=True, gc=False):
    """One trade of an order; ``fee_usd`` None where the venue's fee asset has no known price."""

    trade_id: str
    at_ms: int
    price: float
    qty: float
    fee_usd: float | None
    is_maker: bool


class Order(msgspec.Struct, frozen=True):
    """An order as the venue tells it now; ``fills`` are all of its trades so far."""

    client_id: str
    order_id: str
    symbol: str
    side: Side
    type: OrderType
    qty: float
    price: float | None
    reduce_only: bool
    position_side: PositionSide
    status: Status
    created_ms: int
    updated_ms: int
    fills: tuple[Fill, ...] = ()
    reason: str | None = None  # why it was refused or expired, POST_ONLY among others

    @property
    def is_terminal(self) -> bool:
        """Tell whether nothing more can happen to it."""
        return self.status in TERMINAL

    @property
    def filled_qty(self) -> float:
        return sum([fill.qty for fill in self.fills])


class Position(msgspec.Struct, frozen=True, gc=False):
    """A position; ``qty`` is signed, below zero for short."""

    symbol: str
    position_side: PositionSide
    qty: float
    entry_price: float
    mark: float


class Account(msgspec.Struct, frozen=True, gc=False):
    """What the account is worth: ``equity_usd`` counts open positions at the mark."""

    at_ms: int
    equity_usd: float
    balance_usd: float  # without unrealised profit
    marks: Mapping[str, float] = {}  # by symbol, as far as known: what equity counts positions at


class Venue(Protocol):
    """A place to trade. Every call ends within ``timeout_s``.

    Any call may raise RetryError, SkipError or StopError, and nothing else.
    """

    name: str
    is_hedged: bool  # long and short of one symbol are separate positions

    @property
    def environment(self) -> Literal["live", "testnet", "paper", "backtest"]:
        """Return whose money it is; every line says it."""
        ...

    def instrument(self, symbol: str) -> Instrument:
        """Return the rules of a symbol; SkipError where it is not traded."""
        ...

    def quote(self, symbol: str) -> Quote:
        """Return the best bid and offer now; SkipError while there is none."""
        ...

    def create(self, order: NewOrder) -> Order:
        """Create an order. After RetryError it may stand, and may for ``late_ms`` still arrive."""
        ...

    def cancel(self, symbol: str, client_id: str) -> None:
        """Ask to cancel an order; it is cancelled when ``order`` says so, not before."""
        ...

    def order(self, symbol: str, client_id: str) -> Order | None:
        """Return an order by its client id; None where the venue knows none."""
        ...

    def open_orders(self) -> Sequence[Order]:
        """Return every open order of the account."""
        ...

    def positions(self) -> Sequence[Position]:
        """Return every position that is not zero."""
        ...

    def account(self) -> Account:
        """Return what the account is worth now."""
        ...

    def server_ms(self) -> int:
        """Return the venue's clock."""
        ...

    @property
    def late_ms(self) -> int:
        """Return for how long after being sent a create call may still arrive."""
        ...


class SimulatedMarket(Protocol):
    """A venue whose market is fed to it, bar by bar or quote by quote."""

    def begin(self, bars: Sequence[Bar]) -> None:
        """Take the bars that are about to pass, one a symbol, all with one close."""
        ...

    def next_event_ms(self) -> int | None:
        """Return when the next thing happens to an order within what was fed; None if nothing."""
        ...

    def on_quote(self, quote: Quote) -> None:
        """Take the next best bid and offer."""
        ...

    def on_print(self, trade: Print) -> None:
        """Take the next trade of the market."""
        ...
