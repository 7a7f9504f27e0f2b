"""One routing attempt and its orders, as the router moves them and the journal keeps them.

Put here: shapes. Keep out: what moves them (router.py), how they are logged (log_lines.py).
"""

from typing import Literal

import msgspec

from live.market import Direction, Side, Signal
from live.trading.sizing import RouterCtx
from live.venues import OrderType, PositionSide, Status

LegKind = Literal["reduce", "maker", "taker"]
LegState = Literal["sending", "open", "done"]
Phase = Literal["reduce", "maker", "taker", "done"]


class Leg(msgspec.Struct):
    """One order of an attempt. ``sending`` also means: nobody knows whether it stands."""

    client_id: str
    kind: LegKind
    type: OrderType
    side: Side
    qty: float
    price: float | None
    reduce_only: bool
    position_side: PositionSide
    sent_ms: int
    state: LegState = "sending"
    status: Status | Literal["LOST", "UNKNOWN"] | None = None  # LOST: it never stood
    reason: str | None = None
    order_id: str = ""
    ack_ms: int | None = None
    latency_ms: float | None = None  # of the create call
    filled: float = 0.0
    filled_usd: float = 0.0
    maker_qty: float = 0.0
    fee_usd: float | None = 0.0
    first_ms: int = 0
    last_ms: int = 0
    trade_ids: list[str] = []
    closed_qty: float = 0.0
    realized_usd: float = 0.0
    size_before: float | None = None
    size_after: float | None = None

    @property
    def left(self) -> float:
        return self.qty - self.filled

    @property
    def price_now(self) -> float:
        """Return the average fill price, 0 where nothing filled."""
        return self.filled_usd / self.filled if self.filled else 0.0


class Arrival(msgspec.Struct, frozen=True):
    """The market when the first order was sent."""

    bid: float
    ask: float
    ts: float  # epoch seconds

    @property
    def mid(self) -> float:
        return (self.bid + self.ask) / 2


class Attempt(msgspec.Struct):
    """One routing attempt: what was decided, its orders, and how far it is."""

    attempt_id: str
    intent_id: str
    signal: Signal
    symbol: str
    side: Side
    position_side: PositionSide
    target: Direction  # where the strategy wants to stand when it is done; NOOP is flat
    qty: float  # of the attempt itself, without the reduce leg of a flip
    reduce_qty: float  # what the reduce leg of a flip closes first
    mark: float  # price of the decision
    decided_ms: int
    ctx: RouterCtx
    wants_maker: bool
    is_reducing: bool
    phase: Phase = "taker"
    arrival: Arrival | None = None
    legs: list[Leg] = []
    rejections: int = 0  # of post-only orders
    retries: int = 0  # create calls that never arrived and were made anew
    is_abandoned: bool = False  # cancel what is open, send nothing more
    reason: str | None = None  # why it ended without all of it
    ended_ms: int | None = None

    @property
    def strategy(self) -> str:
        return self.signal.strategy

    @property
    def leg(self) -> Leg | None:
        """Return the order in flight."""
        return self.legs[-1] if self.legs and self.legs[-1].state != "done" else None

    @property
    def own_legs(self) -> list[Leg]:
        """Return the orders of the attempt without the reduce leg."""
        return [leg for leg in self.legs if leg.kind != "reduce"]

    @property
    def filled(self) -> float:
        return sum([leg.filled for leg in self.own_legs])

    @property
    def reduced(self) -> float:
        return sum([leg.filled for leg in self.legs if leg.kind == "reduce"])

    @property
    def started_maker(self) -> bool:
        return any(leg.kind == "maker" for leg in self.legs)

    @property
    def used_fallback(self) -> bool:
        return self.started_maker and any(leg.kind == "taker" for leg in self.legs)
