"""A market to practise in: deterministic from a seed, honest about what a maker order gets.

Put here: how orders meet bars, quotes and trades. Keep out: anything an engine decides.
A resting order fills only when the market trades through its price. Bars are walked open, nearer
extreme, farther extreme, close; an order that reaches a closed market waits for the next bar. Of a
symbol with quotes these lead, and bars are only what strategies see.
"""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from features.settings import Trading
from live.clock import Clock, SimulatedClock
from live.market import Bar, Print, Quote
from live.venues import (
    NOT_OPEN,
    POST_ONLY,
    TERMINAL,
    USUAL,
    Account,
    Fill,
    Instrument,
    NewOrder,
    Order,
    Position,
    PositionSide,
    SkipError,
    Status,
)


class PaperConfig(msgspec.Struct, frozen=True):
    """How the paper market treats an order; rates are probabilities by order."""

    latency_ms: int = 50  # from create or cancel until the market sees it
    half_spread_bps: float = 1.0  # around a bar's price; quotes bring their own
    slippage_bps: float = 0.5  # mean, of takers, beyond the touch
    participation: float = 0.1  # share of a bar's volume that resting orders get
    partial_rate: float = 0.0  # a fill is only a part
    queue_ms: int = 1_000  # from a part to the next fill of a resting order
    reject_rate: float = 0.0  # a create call is refused
    maker_fee_bps: float = USUAL.maker_fee_bps  # of a symbol whose rules nobody gave
    taker_fee_bps: float = USUAL.taker_fee_bps


class _Live:
    """An order that the market works on."""

    __slots__ = (
        "arrive_ms", "cancel_ms", "fills", "has_arrived", "new", "next_fill_ms", "order_id",
        "reason", "rng", "sent_ms", "status", "updated_ms",
    )  # fmt: skip

    def __init__(self, new: NewOrder, order_id: str, sent_ms: int, arrive_ms: int, seed: str):
        self.new = new
        self.order_id = order_id
        self.sent_ms = self.updated_ms = sent_ms
        self.arrive_ms = self.next_fill_ms = arrive_ms
        self.cancel_ms: int | None = None
        self.has_arrived = False
        self.status: Status = "NEW"
        self.reason: str | None = None
        self.fills: list[Fill] = []
        self.rng = random.Random(seed)

    @property
    def left(self) -> float:
        return self.new.qty - sum([fill.qty for fill in self.fills])

    def order(self) -> Order:
        new = self.new
        return Order(
            new.client_id, self.order_id, new.symbol, new.side, new.type, new.qty, new.price,
            new.reduce_only, new.position_side, self.status, self.sent_ms, self.updated_ms,
            tuple(self.fills), self.reason,
        )  # fmt: skip

    def end(self, status: Status, at_ms: int, reason: str | None = None) -> None:
        self.status, self.updated_ms, self.reason = status, at_ms, reason


class _Market:
    """One symbol's market: a path through a bar, or the last quote."""

    __slots__ = ("maker_left", "path", "quote")

    def __init__(self) -> None:
        self.path: tuple[tuple[int, float], ...] = ()
        self.maker_left = math.inf  # base units that resting orders may still get of this bar
        self.quote: Quote | None = None

    def price(self, at_ms: int) -> float:
        path = self.path
        if at_ms >= path[-1][0]:
            return path[-1][1]
        before = path[0]
        for point in path:
            if point[0] > at_ms:
                break
            before = point
        else:
            return before[1]
        if point is before or at_ms <= before[0]:
            return before[1]
        share = (at_ms - before[0]) / (point[0] - before[0])
        return before[1] + share * (point[1] - before[1])


class PaperVenue:
    """The paper account and its market; every method first lets the market catch up with now."""

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int = 0,
        equity_usd: float = 10_000.0,
        config: PaperConfig | None = None,
        instruments: Mapping[str, Instrument] | None = None,
        environment: Literal["paper", "backtest"] = "paper",
        name: str = "paper",
        is_hedged: bool = False,
    ) -> None:
        """Open an account with ``equity_usd``.

        Args:
            clock: the engine's; of a SimulatedClock the true time counts, whatever its skew.
            seed: the same seed and orders give the same fills.
            instruments: rules by symbol; a symbol that is not there gets usual ones by its price.
            is_hedged: long and short of one symbol are separate positions, as in hedge mode.
        """
        self.name = name
        self.is_hedged = is_hedged
        self.environment: Literal["paper", "backtest"] = environment
        self.late_ms = 0
        self.cash_usd = equity_usd
        self.config = config or PaperConfig()
        self._clock = clock
        self._seed = seed
        self._instruments = dict(instruments or {})
        self._markets: dict[str, _Market] = {}
        self._orders: dict[str, _Live] = {}
        self._live: list[_Live] = []
        self._held: dict[tuple[str, PositionSide], list[float]] = {}  # qty, entry price
        self._order_n = 0
        self._trade_n = 0

    # -- Venue -----------------------------------------------------------------------------------

    def instrument(self, symbol: str) -> Instrument:
        found = self._instruments.get(symbol)
        if found is None:
            found = self._instruments[symbol] = self._usual(symbol)
        return found

    def quote(self, symbol: str) -> Quote:
        self._catch_up()
        return self._quote(symbol, self._now())

    def create(self, order: NewOrder) -> Order:
        self._catch_up()
        if order.client_id in self._orders:
            raise SkipError(f"client id {order.client_id} was used before", reason="duplicate")
        instrument = self.instrument(order.symbol)
        if order.qty < instrument.min_qty or order.qty > instrument.floor_qty(order.qty) + 1e-9:
            raise SkipError(f"{order.qty} {order.symbol} is no allowed quantity", reason="lot")
        rng_name = f"{self._seed}/{order.client_id}"
        now_ms = self._now()
        self._order_n += 1
        live = _Live(order, str(self._order_n), now_ms, now_ms + self.config.latency_ms, rng_name)
        if live.rng.random() < self.config.reject_rate:
            raise SkipError(f"paper refuses {order.client_id}", reason="rejected")
        self._orders[order.client_id] = live
        self._live.append(live)
        self._catch_up()
        return live.order()

    def cancel(self, symbol: str, client_id: str) -> None:
        self._catch_up()
        live = self._orders.get(client_id)
        if live is None or live.status in TERMINAL:
            raise SkipError(f"{client_id} is no open order", reason=NOT_OPEN)
        if live.cancel_ms is None:
            live.cancel_ms = self._now() + self.config.latency_ms
            self._catch_up()

    def order(self, symbol: str, client_id: str) -> Order | None:
        self._catch_up()
        live = self._orders.get(client_id)
        return live.order() if live else None

    def open_orders(self) -> Sequence[Order]:
        self._catch_up()
        return [live.order() for live in self._live]

    def positions(self) -> Sequence[Position]:
        self._catch_up()
        now_ms = self._now()
        return [
            Position(symbol, side, qty, entry, self._mid(symbol, now_ms))
            for (symbol, side), (qty, entry) in self._held.items()
            if qty
        ]

    def account(self) -> Account:
        self._catch_up()
        now_ms = self._now()
        worth, unrealized = self.cash_usd, 0.0
        marks: dict[str, float] = {}
        for (symbol, _), (qty, entry) in self._held.items():
            if qty:
                mid = marks[symbol] = self._mid(symbol, now_ms)
                worth += qty * mid
                unrealized += qty * (mid - entry)
        return Account(now_ms, worth, worth - unrealized, marks)

    def server_ms(self) -> int:
        return self._now()

    # -- SimulatedMarket -------------------------------------------------------------------------

    def begin(self, bars: Sequence[Bar]) -> None:
        self._catch_up()  # what the bars before still held
        for bar in bars:
            market = self._markets.setdefault(bar.symbol, _Market())
            if market.quote is not None:
                continue  # its quotes and trades have told what the bar sums up
            market.path = _path(bar)
            market.maker_left = self.config.participation * bar.volume

    def next_event_ms(self) -> int | None:
        times = [at for at in map(self._event_ms, self._live) if at is not None]
        return min(times, default=None)

    def on_quote(self, quote: Quote) -> None:
        self._catch_up()
        market = self._markets.setdefault(quote.symbol, _Market())
        market.path, market.quote = (), quote
        for live in [live for live in self._live if live.has_arrived]:
            new = live.new
            if new.symbol != quote.symbol or new.price is None:
                continue
            if quote.ask < new.price if new.side == "BUY" else quote.bid > new.price:
                self._fill_maker(live, quote.at_ms, math.inf)
        self._catch_up()

    def on_print(self, trade: Print) -> None:
        self._catch_up()
        left = trade.size
        for live in [live for live in self._live if live.has_arrived]:
            new = live.new
            if new.symbol != trade.symbol or new.price is None or left <= 0:
                continue
            if trade.price < new.price if new.side == "BUY" else trade.price > new.price:
                left -= self._fill_maker(live, trade.at_ms, left)

    # -- the market ------------------------------------------------------------------------------

    def _now(self) -> int:
        clock = self._clock
        return clock.true_ms if isinstance(clock, SimulatedClock) else clock.now_ms()

    def _catch_up(self) -> None:
        """Let everything happen to orders that is due by now, in the order of its time."""
        now_ms = self._now()
        while self._live:
            due_ms, live = now_ms + 1, None
            for candidate in self._live:
                at_ms = self._event_ms(candidate)
                if at_ms is not None and at_ms < due_ms:
                    due_ms, live = at_ms, candidate
            if live is None:
                return
            self._happen(live, due_ms)

    def _event_ms(self, live: _Live) -> int | None:
        """Return when the next thing happens to an order, None if nothing does so far."""
        market = self._markets.get(live.new.symbol)
        if market is None or (market.quote is None and not market.path):
            return live.cancel_ms
        if live.has_arrived:
            at_ms = self._crossing_ms(live, market)
        else:
            at_ms = live.arrive_ms
            if market.quote is None:  # a bar's market is open only from its open to its close
                at_ms = max(at_ms, market.path[0][0])
                if at_ms > market.path[-1][0]:
                    return live.cancel_ms
        if at_ms is None or (live.cancel_ms is not None and live.cancel_ms < at_ms):
            return live.cancel_ms
        return at_ms

    def _crossing_ms(self, live: _Live, market: _Market) -> int | None:
        limit = live.new.price
        if market.quote is not None or limit is None:
            return None  # quotes and trades fill it as they come
        if market.maker_left < self.instrument(live.new.symbol).step:
            return None
        from_ms = max(live.next_fill_ms, market.path[0][0])
        if from_ms > market.path[-1][0]:
            return None
        sign = 1.0 if live.new.side == "BUY" else -1.0
        if sign * (market.price(from_ms) - limit) < 0:
            return from_ms
        before = (from_ms, market.price(from_ms))
        for point in market.path:
            if point[0] <= from_ms:
                continue
            if sign * (point[1] - limit) < 0:
                share = (before[1] - limit) / (before[1] - point[1])
                return min(point[0], before[0] + math.floor(share * (point[0] - before[0])) + 1)
            before = point
        return None

    def _happen(self, live: _Live, at_ms: int) -> None:
        market = self._markets.get(live.new.symbol)
        if live.cancel_ms is not None and at_ms >= live.cancel_ms:
            live.end("CANCELED", at_ms)
            self._live.remove(live)
        elif not live.has_arrived:
            live.has_arrived = True
            self._arrive(live, at_ms)
        elif market is not None:
            market.maker_left -= self._fill_maker(live, at_ms, market.maker_left)

    def _arrive(self, live: _Live, at_ms: int) -> None:
        new = live.new
        quote = self._quote(new.symbol, at_ms)
        is_buy = new.side == "BUY"
        touch = quote.ask if is_buy else quote.bid
        if new.reduce_only and self._reducible(new) <= 0:
            self._end(live, "EXPIRED", at_ms, "reduce_only")
        elif new.type == "post_only" and new.price is not None:
            if new.price >= touch if is_buy else new.price <= touch:
                self._end(live, "EXPIRED", at_ms, POST_ONLY)
            live.next_fill_ms = at_ms
        else:
            self._take(live, at_ms, touch)

    def _take(self, live: _Live, at_ms: int, touch: float) -> None:
        """Fill a market or immediate-or-cancel order at the touch and a little beyond."""
        new, rng = live.new, live.rng
        is_buy = new.side == "BUY"
        slip = touch * 2.0 * rng.random() * self.config.slippage_bps * 1e-4
        instrument = self.instrument(new.symbol)
        price = (
            instrument.ceil_price(touch + slip) if is_buy else instrument.floor_price(touch - slip)
        )
        if new.price is not None:
            if touch > new.price if is_buy else touch < new.price:
                self._end(live, "EXPIRED", at_ms, "collar")
                return
            price = min(price, new.price) if is_buy else max(price, new.price)
        qty = min(new.qty, self._reducible(new)) if new.reduce_only else new.qty
        if rng.random() < self.config.partial_rate:
            qty = max(instrument.step, instrument.floor_qty(qty * rng.random()))
        qty = min(qty, new.qty)
        self._fill(live, at_ms, price, qty, is_maker=False)
        if live.status != "FILLED":
            self._end(live, "EXPIRED", at_ms, "no_more_liquidity")

    def _fill_maker(self, live: _Live, at_ms: int, most: float) -> float:
        """Fill a resting order at its price; returns how much."""
        new, instrument = live.new, self.instrument(live.new.symbol)
        if new.price is None or live.status in TERMINAL:
            return 0.0
        qty = min(live.left, most)
        if new.reduce_only:
            qty = min(qty, self._reducible(new))
            if qty <= 0:
                self._end(live, "EXPIRED", at_ms, "reduce_only")
                return 0.0
        if live.rng.random() < self.config.partial_rate:
            qty *= live.rng.random()
        if qty < live.left:
            qty = instrument.floor_qty(qty)
        live.next_fill_ms = at_ms + self.config.queue_ms
        if qty <= 0:
            return 0.0
        self._fill(live, at_ms, new.price, qty, is_maker=True)
        return qty

    def _fill(self, live: _Live, at_ms: int, price: float, qty: float, *, is_maker: bool) -> None:
        new = live.new
        instrument = self.instrument(new.symbol)
        fee_bps = instrument.maker_fee_bps if is_maker else instrument.taker_fee_bps
        fee_usd = price * qty * fee_bps * 1e-4
        self._trade_n += 1
        live.fills.append(Fill(str(self._trade_n), at_ms, price, qty, fee_usd, is_maker))
        live.updated_ms = at_ms
        signed = qty if new.side == "BUY" else -qty
        self.cash_usd -= signed * price + fee_usd
        self._hold(new.symbol, new.position_side, signed, price)
        if live.left <= instrument.step * 1e-6:
            self._end(live, "FILLED", at_ms, None)
        else:
            live.status = "PARTIALLY_FILLED"

    def _end(self, live: _Live, status: Status, at_ms: int, reason: str | None) -> None:
        live.end(status, at_ms, reason)
        if live in self._live:
            self._live.remove(live)

    def _hold(self, symbol: str, side: PositionSide, signed: float, price: float) -> None:
        held = self._held.setdefault((symbol, side), [0.0, 0.0])
        before, entry = held
        after = before + signed
        if abs(after) < 1e-9:
            after = 0.0
        if before == 0 or (before > 0) != (after > 0):
            entry = price if after else 0.0
        elif abs(after) > abs(before):
            entry = (before * entry + signed * price) / after
        held[0], held[1] = after, entry

    def _reducible(self, new: NewOrder) -> float:
        qty = self._held.get((new.symbol, new.position_side), [0.0])[0]
        return max(0.0, -qty if new.side == "BUY" else qty)

    # -- prices ----------------------------------------------------------------------------------

    def _mid(self, symbol: str, at_ms: int) -> float:
        market = self._markets.get(symbol)
        if market is None:
            raise SkipError(f"paper has seen no market of {symbol} yet", reason="no_market")
        return market.quote.mid if market.quote is not None else market.price(at_ms)

    def _quote(self, symbol: str, at_ms: int) -> Quote:
        mid = self._mid(symbol, at_ms)
        market = self._markets[symbol]
        if market.quote is not None:
            return market.quote
        instrument = self.instrument(symbol)
        half = max(mid * self.config.half_spread_bps * 1e-4, instrument.tick / 2)
        bid = instrument.floor_price(mid - half)
        ask = max(instrument.ceil_price(mid + half), instrument.floor_price(bid + instrument.tick))
        return Quote(symbol, min(at_ms, market.path[-1][0]), bid, ask)

    def _usual(self, symbol: str) -> Instrument:
        price = self._mid(symbol, self._now())
        digits = math.floor(math.log10(price))
        config = self.config
        return Instrument(
            symbol,
            tick=10.0 ** (digits - 5),
            step=10.0**-digits,
            min_qty=10.0**-digits,
            min_notional_usd=5.0,
            maker_fee_bps=config.maker_fee_bps,
            taker_fee_bps=config.taker_fee_bps,
            max_leverage=20.0,
        )


def paper_venue(
    clock: Clock,
    trading: Trading,
    *,
    seed: int,
    config: PaperConfig | None = None,
    instruments: Mapping[str, Instrument] | None = None,
    environment: Literal["paper", "backtest"] = "paper",
) -> PaperVenue:
    """Open the paper account that the settings describe: their equity, their fees of any symbol.

    Fees of ``config`` and ``instruments`` do not count; arguments else as of PaperVenue.
    """
    fees = {"maker_fee_bps": trading.maker_fee_bps, "taker_fee_bps": trading.taker_fee_bps}
    return PaperVenue(
        clock,
        seed=seed,
        equity_usd=trading.paper_equity_usd,
        config=msgspec.structs.replace(config or PaperConfig(), **fees),
        instruments={
            symbol: msgspec.structs.replace(rules, **fees)
            for symbol, rules in (instruments or {}).items()
        },
        environment=environment,
    )


def _path(bar: Bar) -> tuple[tuple[int, float], ...]:
    """Walk a bar: open, the extreme nearer to it, the other one, close; in even thirds."""
    near, far = bar.high, bar.low
    if bar.open - bar.low < bar.high - bar.open:
        near, far = far, near
    third = bar.interval_ms // 3
    return (
        (bar.open_ms, bar.open),
        (bar.open_ms + third, near),
        (bar.open_ms + 2 * third, far),
        (bar.close_ms, bar.close),
    )
