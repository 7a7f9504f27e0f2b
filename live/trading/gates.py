"""The risk gates: one table, asked before every order; none can be overridden by a snapshot.

Put here: what refuses an order, and why. Keep out: measuring (watch.py), sizing. Each gate is a
pure function of the order and of what is known now; it returns why it refuses, or None.
"""

from collections.abc import Callable, Mapping, Set
from typing import Literal, NamedTuple

import msgspec

from features.settings import Trading
from live.market import Quote, Side
from live.snapshot.reading import Status
from live.trading.controls import State as ControlState
from live.venues import Instrument

Environment = Literal["live", "testnet", "paper", "backtest"]


class Ask(msgspec.Struct, frozen=True):
    """An order that is about to be sent."""

    symbol: str
    side: Side
    qty: float
    price: float  # the worst it may fill at: its limit, else the touch
    is_reducing: bool  # it can only bring the account's position nearer to zero

    @property
    def signed(self) -> float:
        return self.qty if self.side == "BUY" else -self.qty

    @property
    def notional_usd(self) -> float:
        return self.qty * self.price


class World(msgspec.Struct):
    """What is known at this moment; a value that could not be learned is None."""

    now_ms: int
    trading: Trading
    environment: Environment
    controls: ControlState
    instrument: Instrument | None
    quote: Quote | None
    mark: float | None  # the newest price that did not come with the order's own quote
    equity_usd: float | None
    drawdown_pct: float | None  # the worst of day, 24 h and high-water mark; 0 or below
    drawdown_of: str
    clock_offset_ms: float | None
    is_reconciled: bool
    is_writable: bool
    snapshot_status: Status | None  # of this symbol; None for orders that rest on no snapshot
    snapshot_too_old: bool
    has_snapshot: bool
    move_pct: float | None  # largest move of the mark within a minute
    orders_minute: int
    orders_hour: int
    is_hedged: bool
    # USD at the mark by symbol, signed, open opening orders counted as filled: when every buy
    # fills, and when every sell does. Caps look at the worse of the two, in hedge mode at both.
    long_usd: Mapping[str, float]
    short_usd: Mapping[str, float]

    def after(self, ask: Ask, symbol: str) -> float:
        """Return the largest exposure of a symbol, in USD, that may stand after the order."""
        long_usd = self.long_usd.get(symbol, 0.0)
        short_usd = self.short_usd.get(symbol, 0.0)
        if symbol == ask.symbol:
            if ask.side == "BUY":
                long_usd += ask.notional_usd
            else:
                short_usd -= ask.notional_usd
        if self.is_hedged:
            return abs(long_usd) + abs(short_usd)
        return max(abs(long_usd), abs(short_usd))

    def gross_after(self, ask: Ask, symbols: Set[str] | None = None) -> float:
        """Return the sum of ``after`` over symbols, given upper-case; all by default."""
        names = {ask.symbol, *self.long_usd, *self.short_usd}
        return sum(
            [self.after(ask, name) for name in names if symbols is None or name.upper() in symbols]
        )


class Gate(NamedTuple):
    """A reason to refuse; ``stops_reducing`` where it refuses even what only reduces."""

    name: str
    judge: Callable[[Ask, World], str | None]
    stops_reducing: bool = False


class Veto(NamedTuple):
    """Which gate refused, and why."""

    gate: str
    why: str


def _kill(ask: Ask, world: World) -> str | None:
    state = world.controls
    return f"killed: {state.reason or 'no reason given'}" if state.mode == "kill" else None


def _halt(ask: Ask, world: World) -> str | None:
    state = world.controls
    return f"halted until resumed: {state.reason}" if state.mode == "halt" else None


def _reduce_only(ask: Ask, world: World) -> str | None:
    state = world.controls
    return f"reduce-only: {state.reason}" if state.mode == "reduce_only" else None


def _drawdown(ask: Ask, world: World) -> str | None:
    limit = world.trading.drawdown_reduce_pct
    if world.drawdown_pct is None or world.drawdown_pct > -limit:
        return None
    return f"{world.drawdown_pct:.2f} % from {world.drawdown_of}, reduce-only from -{limit} %"


def _account(ask: Ask, world: World) -> str | None:
    return None if world.equity_usd and world.equity_usd > 0 else "the equity is not known"


def _unreconciled(ask: Ask, world: World) -> str | None:
    return None if world.is_reconciled else "the venue's state is not the engine's"


def _unwritable(ask: Ask, world: World) -> str | None:
    return None if world.is_writable else "the logs cannot be written"


def _snapshot(ask: Ask, world: World) -> str | None:
    is_real = world.environment in ("live", "testnet")
    if not world.has_snapshot:
        return "no snapshot was ever read" if is_real else None
    return "the snapshot is too old" if world.snapshot_too_old else None


def _disabled(ask: Ask, world: World) -> str | None:
    entry = world.controls.off(ask.symbol, world.now_ms)
    if entry is None:
        return None
    until = "" if entry.until_ms is None else f" until epoch ms {entry.until_ms}"
    return f"{ask.symbol} is switched off{until}: {entry.reason}"


def _clock(ask: Ask, world: World) -> str | None:
    offset = world.clock_offset_ms
    if offset is None:
        return "the venue's clock is not known"
    limit = world.trading.clock_stop_ms
    return f"the clock is {offset:+.0f} ms off, limit {limit:.0f}" if abs(offset) >= limit else None


def _quote(ask: Ask, world: World) -> str | None:
    quote = world.quote
    if quote is None or world.instrument is None:
        return "there is no quote"
    age_s = (world.now_ms - quote.at_ms) / 1e3
    limit_s = world.trading.max_quote_age_s
    if age_s > limit_s:
        return f"the quote is {age_s:.1f} s old, limit {limit_s}"
    if age_s < -limit_s:
        return f"the quote is dated {-age_s:.1f} s ahead: how old it is nobody knows"
    return None if 0 < quote.bid < quote.ask else f"the book is crossed: {quote.bid} / {quote.ask}"


def _lot(ask: Ask, world: World) -> str | None:
    instrument = world.instrument
    if instrument is None:
        return "the symbol's rules are not known"
    if ask.qty < instrument.min_qty:
        return f"{ask.qty} is below the smallest quantity {instrument.min_qty}"
    off_lot = abs(instrument.floor_qty(ask.qty) - ask.qty) > instrument.step * 1e-6
    return f"{ask.qty} is no multiple of {instrument.step}" if off_lot else None


def _min_notional(ask: Ask, world: World) -> str | None:
    least = world.instrument.min_notional_usd if world.instrument else 0.0
    return f"{ask.notional_usd:.2f} USD, least {least}" if ask.notional_usd < least else None


def _price_band(ask: Ask, world: World) -> str | None:
    if not world.mark:
        return None
    off_pct = abs(ask.price / world.mark - 1) * 100
    limit = world.trading.price_band_pct
    return (
        f"{ask.price} is {off_pct:.2f} % from the mark, limit {limit}" if off_pct > limit else None
    )


def _spread(ask: Ask, world: World) -> str | None:
    if world.quote is None:
        return None
    spread_bps = (world.quote.ask - world.quote.bid) / world.quote.mid * 1e4
    limit = world.trading.max_spread_bps
    return f"the spread is {spread_bps:.1f} bps, limit {limit}" if spread_bps > limit else None


def _volatility(ask: Ask, world: World) -> str | None:
    limit = world.trading.max_move_pct
    if world.move_pct is None or world.move_pct <= limit:
        return None
    return f"the mark moved {world.move_pct:.2f} % within a minute, limit {limit}"


def _orders_minute(ask: Ask, world: World) -> str | None:
    most = world.trading.max_orders_minute
    return f"{world.orders_minute} orders in a minute" if world.orders_minute >= most else None


def _orders_hour(ask: Ask, world: World) -> str | None:
    most = world.trading.max_orders_hour
    return f"{world.orders_hour} orders in an hour" if world.orders_hour >= most else None


def _order_size(ask: Ask, world: World) -> str | None:
    most = world.trading.max_order_usd
    return f"{ask.notional_usd:.2f} USD, cap {most}" if ask.notional_usd > most else None


def _leverage(ask: Ask, world: World) -> str | None:
    own = world.instrument.max_leverage if world.instrument else 1.0
    most = min(world.trading.max_leverage, own)
    leverage = world.gross_after(ask) / _equity(world)
    return f"leverage {leverage:.2f}, cap {most}" if leverage > most else None


def _symbol_cap(ask: Ask, world: World) -> str | None:
    return _above(world.after(ask, ask.symbol), world.trading.max_symbol_pct, world, ask.symbol)


def _bucket_cap(ask: Ask, world: World) -> str | None:
    for bucket, listed in world.trading.buckets.items():
        symbols = {symbol.upper() for symbol in listed}  # a person wrote them, in any case
        if ask.symbol.upper() in symbols:
            why = _above(
                world.gross_after(ask, symbols), world.trading.max_bucket_pct, world, bucket
            )
            if why:
                return why
    return None


def _portfolio_cap(ask: Ask, world: World) -> str | None:
    long_usd, short_usd = sum(world.long_usd.values()), sum(world.short_usd.values())
    if ask.side == "BUY":
        net = long_usd + ask.notional_usd
    else:
        net = short_usd - ask.notional_usd
    return _above(abs(net), world.trading.max_portfolio_pct, world, "net exposure")


def _gross_cap(ask: Ask, world: World) -> str | None:
    return _above(world.gross_after(ask), world.trading.max_gross_pct, world, "gross exposure")


def _above(usd: float, cap_pct: float, world: World, what: str) -> str | None:
    pct = usd / _equity(world) * 100
    return f"{what} {pct:.1f} % of equity, cap {cap_pct}" if pct > cap_pct else None


def _equity(world: World) -> float:
    return max(world.equity_usd or 0.0, 1e-9)


# In this order; the first that refuses is the one that is logged.
GATES: tuple[Gate, ...] = (
    Gate("kill", _kill, stops_reducing=True),
    Gate("halt", _halt, stops_reducing=True),
    Gate("reduce_only", _reduce_only),
    Gate("drawdown", _drawdown),
    Gate("unwritable_log", _unwritable),
    Gate("unreconciled", _unreconciled),
    Gate("account_unknown", _account),
    Gate("snapshot_age", _snapshot),
    Gate("symbol_disabled", _disabled),
    Gate("clock_offset", _clock, stops_reducing=True),
    Gate("no_quote", _quote, stops_reducing=True),
    Gate("lot_size", _lot, stops_reducing=True),
    Gate("min_notional", _min_notional),
    Gate("price_band", _price_band, stops_reducing=True),
    Gate("spread", _spread),
    Gate("volatility", _volatility),
    Gate("orders_minute", _orders_minute),
    Gate("orders_hour", _orders_hour),
    Gate("order_cap", _order_size),
    Gate("leverage_cap", _leverage),
    Gate("symbol_cap", _symbol_cap),
    Gate("bucket_cap", _bucket_cap),
    Gate("portfolio_cap", _portfolio_cap),
    Gate("gross_cap", _gross_cap),
)


def judge(ask: Ask, world: World) -> Veto | None:
    """Return the first gate that refuses an order, None where all let it pass."""
    for gate in GATES:
        if ask.is_reducing and not gate.stops_reducing:
            continue
        why = gate.judge(ask, world)
        if why is not None:
            return Veto(gate.name, why)
    return None
