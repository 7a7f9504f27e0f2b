"""Move a routing attempt: post-only first where wished and allowed, then taker, never both at once.

Put here: which order comes next and what became of the last. Keep out: gates, books and files,
which the desk provides (executor.py). Nothing here waits: ``step`` goes as far as it can now.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from features.settings import Trading
from live.clock import Clock
from live.market import Quote, Side
from live.trading import log_lines
from live.trading.attempt import Arrival, Attempt, Leg, LegKind
from live.trading.gates import Ask, Veto
from live.trading.log_lines import Line, Place
from live.venues import (
    NOT_OPEN,
    POST_ONLY,
    Fill,
    Instrument,
    NewOrder,
    Order,
    OrderType,
    PositionSide,
    RetryError,
    SkipError,
    Venue,
)

REJECTIONS_TO_TAKER = 2  # post-only refusals after which the router takes
MOST_RETRIES = 2  # create calls that never arrived and are made anew
AGAIN_MS = 1_000.0  # between two tries of a call that failed
GIVE_UP_MS = 600_000.0  # without any answer about an order: its outcome is then unknown
PREFER_TAKER_WINDOW = 0.5  # share of the maker window where the policy prefers to take
_log = logging.getLogger(__name__)


class Desk(Protocol):
    """What a router needs around it."""

    place: Place

    def permit(self, attempt: Attempt, ask: Ask) -> Veto | None:
        """Ask every gate; a veto was logged when it returns."""
        ...

    def save(
        self, attempt: Attempt, written: Iterable[tuple[str, Line]] = (), *, must: bool = False
    ) -> bool:
        """Write the attempt to the journal, then its lines; False when they have to wait."""
        ...

    def book(self, attempt: Attempt, leg: Leg, fills: Sequence[Fill]) -> None:
        """Take fills that were not booked before."""
        ...

    def find_quote(self, symbol: str) -> Quote | None:
        """Return the best bid and offer now, None where there is none."""
        ...

    def new_id(self) -> str:
        """Return a client order id that was never used."""
        ...

    def only_reduces(self, symbol: str, position_side: PositionSide, signed: float) -> bool:
        """Tell whether an order can only bring the account's position nearer to zero."""
        ...


def limit_price(instrument: Instrument, quote: Quote, side: Side, offset_bps: float) -> float:
    """Return the price of a post-only order: mid less the offset, then the fee, inside the touch.

    The offset is net of the maker fee: a rebate of 1 bps lets the order stand 1 bps nearer, a fee
    keeps it that much farther away. Rounded away from the market.
    """
    distance = (offset_bps + instrument.maker_fee_bps) * 1e-4
    if side == "BUY":
        wanted = instrument.floor_price(quote.mid * (1.0 - distance))
        return min(wanted, instrument.floor_price(quote.ask - instrument.tick))
    wanted = instrument.ceil_price(quote.mid * (1.0 + distance))
    return max(wanted, instrument.ceil_price(quote.bid + instrument.tick))


def collar_price(instrument: Instrument, quote: Quote, side: Side, collar_bps: float) -> float:
    """Return the worst price a taker may get: so far beyond mid."""
    if side == "BUY":
        return instrument.floor_price(quote.mid * (1.0 + collar_bps * 1e-4))
    return instrument.ceil_price(quote.mid * (1.0 - collar_bps * 1e-4))


class Router:
    """The attempts in flight on one venue."""

    def __init__(self, venue: Venue, clock: Clock, trading: Trading, desk: Desk) -> None:
        self._venue = venue
        self._clock = clock
        self._trading = trading
        self._desk = desk
        self._since: dict[str, float] = {}  # client id → when it was sent, or found after a restart
        self._heard: dict[str, float] = {}  # client id → when the venue last said anything of it
        self._cancelled: dict[str, float] = {}  # client id → when it was last asked to cancel it
        self._wake: dict[str, float] = {}  # attempt id → when it needs a turn by itself

    def step(self, a: Attempt) -> None:
        """Move an attempt on; it is over when its phase is done.

        Raises StopError; every other error of the venue leaves the attempt where it is.
        """
        self._wake.pop(a.attempt_id, None)
        while a.phase != "done":
            leg = a.leg
            try:
                if not (self._follow(a, leg) if leg is not None else self._next(a)):
                    return
            except (RetryError, SkipError) as error:
                _log.info("%s %s: %s", a.symbol, a.attempt_id, error)
                self._wake_in(a, AGAIN_MS)
                if leg is not None and a.leg is leg and self._gave_up(leg):
                    self._finish_leg(a, leg, "UNKNOWN", "no_answer")
                    continue
                return

    def wake_ms(self, a: Attempt) -> float | None:
        """Return when (elapsed ms) an attempt needs a turn by itself, None without such a time."""
        return self._wake.get(a.attempt_id)

    def forget(self, a: Attempt) -> None:
        """Drop what is remembered of an attempt that is over."""
        self._wake.pop(a.attempt_id, None)
        for leg in a.legs:
            self._since.pop(leg.client_id, None)
            self._heard.pop(leg.client_id, None)
            self._cancelled.pop(leg.client_id, None)

    # -- an order in flight ----------------------------------------------------------------------

    def _follow(self, a: Attempt, leg: Leg) -> bool:
        """Look at the order in flight; True when it is over."""
        now = self._clock.elapsed_ms()
        since = self._since.setdefault(leg.client_id, now)
        self._heard.setdefault(leg.client_id, now)
        order = self._venue.order(a.symbol, leg.client_id)
        if order is None:
            if leg.state == "open":
                raise RetryError(f"the venue does not find {leg.client_id}, which it had before")
            if now - since <= self._venue.late_ms:  # it may still arrive
                self._wake_in(a, self._venue.late_ms - (now - since) + 1)
                return False
            self._finish_leg(a, leg, "LOST", "create_not_arrived")
            return True
        self._heard[leg.client_id] = now
        if self._adopt(a, leg, order):
            return True
        self._cancel_if_due(a, leg, now - since)
        return False

    def _adopt(self, a: Attempt, leg: Leg, order: Order) -> bool:
        """Take what the venue says of an order; True when it is over."""
        written: list[tuple[str, Line]] = []
        now_ms = self._clock.now_ms()
        if leg.state == "sending":
            leg.state, leg.order_id, leg.status = "open", order.order_id, order.status
            leg.ack_ms = leg.ack_ms or now_ms
            written.append(("orders_executed", log_lines.ack(self._desk.place, a, leg)))
        fills = [fill for fill in order.fills if fill.trade_id not in leg.trade_ids]
        if fills:
            self._desk.book(a, leg, fills)
            line = log_lines.fill(self._desk.place, a, leg, at_ms=now_ms)
            written.append(("orders_executed", line))
        leg.status = order.status
        if order.is_terminal:
            self._end_leg(a, leg, order.reason, written)
            return True
        if written:
            self._desk.save(a, written)
        return False

    def _cancel_if_due(self, a: Attempt, leg: Leg, age_ms: float) -> None:
        """Ask to cancel an order whose time is over; again every second until it is gone."""
        if not a.is_abandoned:
            if leg.kind != "maker":
                return  # takers end by themselves: they are looked at until they do
            window_ms = self._window_ms(a)
            if leg.filled >= self._trading.maker_min_fill * leg.qty and leg.filled:
                window_ms *= 2  # it is filling: once more as long
            if age_ms < window_ms:
                self._wake_in(a, window_ms - age_ms)
                return
        now = self._clock.elapsed_ms()
        since_ms = now - self._cancelled.get(leg.client_id, -AGAIN_MS)
        if since_ms < AGAIN_MS:  # a look that something else asked for
            self._wake_in(a, AGAIN_MS - since_ms)
            return
        self._cancelled[leg.client_id] = now
        self._wake_in(a, AGAIN_MS)
        try:
            self._venue.cancel(a.symbol, leg.client_id)
        except SkipError as error:
            if error.reason != NOT_OPEN:  # else the next look says how it ended
                _log.error("%s is not cancelled yet, trying again: %s", leg.client_id, error)

    def _window_ms(self, a: Attempt) -> float:
        share = PREFER_TAKER_WINDOW if a.ctx.policy.taker_bias == "prefer_taker" else 1.0
        return self._trading.maker_window_s * 1e3 * share

    def _gave_up(self, leg: Leg) -> bool:
        heard = self._heard.get(leg.client_id)
        return heard is not None and self._clock.elapsed_ms() - heard > GIVE_UP_MS

    def _finish_leg(self, a: Attempt, leg: Leg, status: Any, reason: str) -> None:
        leg.status = status
        self._end_leg(a, leg, reason, [])

    def _end_leg(
        self, a: Attempt, leg: Leg, reason: str | None, written: list[tuple[str, Line]]
    ) -> None:
        leg.state, leg.reason = "done", reason
        if leg.closed_qty or (leg.kind == "reduce" and leg.filled):
            line = log_lines.close(self._desk.place, a, leg, at_ms=self._clock.now_ms())
            written.append(("orders_executed", line))
        self._desk.save(a, written)

    # -- the next order --------------------------------------------------------------------------

    def _next(self, a: Attempt) -> bool:
        """Send the next order or end the attempt; False when an order is in flight."""
        last = a.legs[-1] if a.legs else None
        if last is not None and last.status == "LOST":
            a.retries += 1
            if a.retries > MOST_RETRIES:
                return self._finish(a, "create_not_arrived")
        if last is not None and last.status == "UNKNOWN":
            return self._finish(a, "no_answer")
        if a.is_abandoned:
            return self._finish(a, a.reason or "abandoned")
        if a.phase == "reduce":
            return self._next_of_flip(a, last)
        if a.phase == "maker" and last is not None and last.kind == "maker":
            self._after_maker(a, last)
        if last is not None and last.kind == "taker" and last.status != "LOST":
            return self._finish(a, None if self._is_whole(a) else last.reason or "not_filled")
        if a.own_legs and self._is_whole(a):  # a target of nothing is for the gates to refuse
            return self._finish(a, None)
        if a.reason is not None:
            return self._finish(a, a.reason)
        return self._send(a, "maker" if a.phase == "maker" else "taker", a.qty - a.filled)

    def _next_of_flip(self, a: Attempt, last: Leg | None) -> bool:
        left = a.reduce_qty - a.reduced
        if left > self._venue.instrument(a.symbol).step * 0.5:
            if last is not None and last.status != "LOST":
                return self._finish(a, f"reduce_{last.reason or 'not_filled'}")
            return self._send(a, "reduce", left)
        a.phase = "maker" if a.wants_maker else "taker"
        return True

    def _after_maker(self, a: Attempt, leg: Leg) -> None:
        """Decide what follows a post-only order that is over."""
        if leg.reason == POST_ONLY and not leg.filled:
            a.rejections += 1
            if a.rejections >= REJECTIONS_TO_TAKER:
                a.phase = "taker"
        elif leg.status == "REJECTED":
            a.reason = leg.reason or "rejected"
        elif leg.status != "LOST":
            a.phase = "taker"

    def _is_whole(self, a: Attempt) -> bool:
        return a.qty - a.filled <= self._venue.instrument(a.symbol).step * 1e-6

    def _send(self, a: Attempt, kind: LegKind, qty: float) -> bool:
        """Send one order, if every gate lets it pass; True when there is nothing to wait for."""
        instrument = self._venue.instrument(a.symbol)
        quote = self._desk.find_quote(a.symbol)
        qty = instrument.floor_qty(qty)
        leg = self._leg(a, kind, qty, quote, instrument)
        is_reducing = leg.reduce_only
        touch = 0.0 if quote is None else quote.ask if leg.side == "BUY" else quote.bid
        price = touch if leg.price is None else leg.price
        if a.own_legs and not is_reducing and qty * price < instrument.min_notional_usd:
            return self._finish(a, "remainder_below_minimum")
        veto = self._desk.permit(a, Ask(a.symbol, leg.side, qty, price, is_reducing))
        if veto is not None:
            return self._finish(a, f"veto:{veto.gate}", is_vetoed=not a.legs)
        if a.arrival is None and quote is not None:
            a.arrival = Arrival(quote.bid, quote.ask, quote.at_ms / 1e3)
        a.legs.append(leg)
        if not self._desk.save(a, must=True) and not is_reducing:
            a.legs.pop()  # a restart could not know of it, so it is not sent
            return self._finish(a, "unwritable_log")
        return self._create(a, leg)

    def _create(self, a: Attempt, leg: Leg) -> bool:
        sent = self._clock.elapsed_ms()
        self._since[leg.client_id] = self._heard[leg.client_id] = sent
        place, now_ms = self._desk.place, self._clock.now_ms
        try:
            order = self._venue.create(
                NewOrder(
                    leg.client_id, a.symbol, leg.side, leg.type, leg.qty, leg.price,
                    leg.reduce_only, leg.position_side,
                )
            )  # fmt: skip
        except SkipError as error:
            leg.state, leg.status, leg.reason = "done", "REJECTED", error.reason
            line = log_lines.error(place, a, leg, str(error), at_ms=now_ms())
            self._desk.save(a, [("orders_executed", line)])
            if error.reason != POST_ONLY and leg.kind != "reduce":
                a.reason = error.reason
            return True
        except RetryError as error:
            line = log_lines.error(place, a, leg, str(error), at_ms=now_ms())
            self._desk.save(a, [("orders_executed", line)])
            self._since[leg.client_id] = self._clock.elapsed_ms()  # it may arrive from now on
            self._wake_in(a, min(AGAIN_MS, self._venue.late_ms + 1))
            return False
        leg.latency_ms = self._clock.elapsed_ms() - sent
        if self._adopt(a, leg, order):
            return True
        self._cancel_if_due(a, leg, self._clock.elapsed_ms() - sent)
        return False

    def _leg(
        self, a: Attempt, kind: LegKind, qty: float, quote: Quote | None, instrument: Instrument
    ) -> Leg:
        side: Side = a.side
        order_type: OrderType = "market"
        price = None
        position_side, is_reducing = a.position_side, a.is_reducing
        if kind == "reduce":
            if position_side != "BOTH":
                position_side = "SHORT" if position_side == "LONG" else "LONG"
            # What a strategy closes of its own may add to a net position that others hold.
            signed = qty if side == "BUY" else -qty
            is_reducing = self._desk.only_reduces(a.symbol, position_side, signed)
        if kind == "maker" and quote is not None:
            order_type = "post_only"
            price = limit_price(instrument, quote, side, a.ctx.maker_offset_bps)
        elif kind != "maker" and not is_reducing and quote is not None:
            order_type = "ioc"
            price = collar_price(instrument, quote, side, self._trading.collar_bps)
        return Leg(
            self._desk.new_id(), kind, order_type, side, qty, price, is_reducing, position_side,
            self._clock.now_ms(),
        )  # fmt: skip

    def _finish(self, a: Attempt, reason: str | None, *, is_vetoed: bool = False) -> bool:
        """End an attempt with its one line; one that no order was sent for has its veto alone."""
        a.phase, a.reason, a.ended_ms = "done", reason, self._clock.now_ms()
        line = [] if is_vetoed else [("order_metrics", log_lines.router(self._desk.place, a))]
        self._desk.save(a, line)
        return True

    def _wake_in(self, a: Attempt, span_ms: float) -> None:
        at = self._clock.elapsed_ms() + span_ms
        self._wake[a.attempt_id] = min(at, self._wake.get(a.attempt_id, at))
