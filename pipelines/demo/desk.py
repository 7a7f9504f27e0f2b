"""The demonstration's trading desk: prices got, orders settled, and the lines that tell of them.

Put here: what a fill costs, changes and writes. Keep out: which orders are made (story.py).
Times are epoch microseconds.
"""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.demo import shapes
from pipelines.demo.book import MAKER_FEE, TAKER_FEE, Account, Position
from pipelines.demo.market import HOUR_US, Market, SymbolSpec, spec_of
from pipelines.demo.plan import SECOND_US, Plan
from pipelines.demo.shapes import Attempt, Line, Order

HOLD_US = 2 * HOUR_US
POLICIES = {"good": "prefer_maker", "ok": "balanced", "degraded": "prefer_taker"}


@dataclass
class Tally:
    """What happened, counted while it happens."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    pnl_usd: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    attempts_pnl_usd: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    fees_usd: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    maker_known: Counter[str] = field(default_factory=Counter)
    maker: Counter[str] = field(default_factory=Counter)
    closes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


@dataclass
class Result:
    """How one order of an attempt ended: quantity steps filled, price, and who paid what."""

    steps: int
    px: float
    is_maker: bool


@dataclass
class Timing:
    """Moments of an attempt: acknowledged, last fill at the venue, router line written."""

    ack_us: int
    fill_us: int
    done_us: int


class Desk:
    """Trade on a market. ``lines`` holds (time written, line) by file stem, unsorted."""

    def __init__(
        self, market: Market, symbols: tuple[str, ...], plan: Plan, rng: random.Random
    ) -> None:
        self.market, self.symbols, self.plan, self.rng = market, symbols, plan, rng
        self.account = Account((s, spec_of(s).qty_digits) for s in symbols)
        self.lines: dict[str, list[tuple[int, Line]]] = defaultdict(list)
        self.tally = Tally()
        self.order_id = 21_553_000_000

    def _write(self, stem: str, at_us: int, line: Line) -> None:
        self.lines[stem].append((at_us, line))

    # ------------------------------------------------------------------ prices

    def _sign(self, attempt: Attempt) -> int:
        return 1 if attempt.side == "BUY" else -1

    def _taker_px(self, attempt: Attempt, at_us: int) -> float:
        spec = spec_of(attempt.symbol)
        cost_bps = spec.spread_bps / 2 + self.rng.gauss(spec.impact_bps / 2, spec.impact_bps)
        px = self.market.mid(attempt.symbol, at_us)
        return round(px * (1 + self._sign(attempt) * cost_bps / 1e4), spec.price_digits + 1)

    def _maker_px(self, attempt: Attempt, offset_bps: float) -> float:
        spec = spec_of(attempt.symbol)
        px = attempt.mark * (1 - self._sign(attempt) * offset_bps / 1e4)
        return round(px, spec.price_digits)

    def _mean_px(self, results: list[Result]) -> float:
        steps = sum(r.steps for r in results)
        if len(results) == 1:
            return results[0].px
        return sum(r.steps * r.px for r in results) / steps if steps else 0.0

    def _slippage(self, attempt: Attempt, px: float) -> float:
        return (px - attempt.mark) / attempt.mark * 1e4 * self._sign(attempt)

    # ------------------------------------------------------------------ orders

    def _order(
        self, attempt: Attempt, steps: int, kind: str, timing: Timing, results: list[Result]
    ) -> Order:
        spec, rng = spec_of(attempt.symbol), self.rng
        self.order_id += rng.randrange(1, 40_000)
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
        order = Order(
            order_id=self.order_id,
            client_id="".join(rng.choices(letters, k=22)),
            qty=round(steps * spec.step, spec.qty_digits),
            order_type=kind,
            status="NEW",
            ack_us=timing.ack_us,
            latency_ms=(timing.ack_us - attempt.decided_us) / 1000,
        )
        for r in results:
            order.executed_qty = round(r.steps * spec.step, spec.qty_digits)
            order.avg_px = r.px
            order.fee_usd = order.executed_qty * r.px * (MAKER_FEE if r.is_maker else TAKER_FEE)
            order.status = "FILLED" if r.steps == steps else "PARTIALLY_FILLED"
            # The venue's clock has milliseconds.
            order.last_us = timing.fill_us // 1000 * 1000
            order.first_us = order.last_us
            first = rng.randrange(10**9)
            order.trade_ids = tuple(str(first + k) for k in range(rng.choice((1, 1, 1, 2, 3, 4))))
        return order

    def _settle(
        self, attempt: Attempt, position: Position, steps: int, px: float, fee_usd: float
    ) -> float:
        """Change position and cash by a fill; return the PnL realised by it, USD."""
        pnl = 0.0
        if attempt.is_reduce:
            pnl = position.close(steps, px)
        else:
            position.open(self._sign(attempt), steps, px)
            if len(position.lots) == 1:
                hold = self.rng.expovariate(1 / HOLD_US)
                position.exit_us = attempt.decided_us + int(hold)
        self.account.cash_usd += pnl - fee_usd
        return pnl

    def _write_ack(self, attempt: Attempt, order: Order, context: str | None) -> None:
        if self.plan.version(attempt.decided_us) > 0:
            self._write("orders_executed", order.ack_us + 98, shapes.ack_line(attempt, order))
            return
        spec = spec_of(attempt.symbol)
        self._write("orders_executed", order.ack_us, shapes.old_ack_line(attempt, order, spec))
        line = shapes.executed_line(attempt, order, spec, context)
        self._write("orders_executed", order.ack_us + 6_100, line)

    def _write_fill(self, attempt: Attempt, order: Order, timing: Timing) -> None:
        """Write the order's fill; at times what had filled before it too: fills are cumulative."""
        wait = timing.done_us - timing.fill_us
        if (
            self.rng.random() < 0.08
            and order.executed_qty > 2 * spec_of(order_symbol := attempt.symbol).step
        ):
            spec = spec_of(order_symbol)
            half = round(order.executed_qty / 2, spec.qty_digits)
            part = replace(order, executed_qty=half, status="PARTIALLY_FILLED")
            part.fee_usd = order.fee_usd * half / order.executed_qty
            part.last_us = part.first_us = order.last_us - 1000
            part.trade_ids = order.trade_ids[:1]
            order.first_us = part.first_us
            at_us = timing.fill_us + wait // 4
            self._write("orders_executed", at_us, shapes.fill_line(attempt, part, at_us))
        at_us = timing.fill_us + wait // 2
        self._write("orders_executed", at_us, shapes.fill_line(attempt, order, at_us))

    def _write_close(
        self,
        attempt: Attempt,
        order: Order,
        timing: Timing,
        pnl: float,
        before: float,
        after: float,
    ) -> None:
        at_us = timing.fill_us + (timing.done_us - timing.fill_us) * 3 // 4
        line = shapes.close_line(attempt, order, at_us, pnl=pnl, before=before, after=after)
        self._write("orders_executed", at_us, line)
        self.tally.closes[attempt.symbol] += 1
        self.tally.pnl_usd[attempt.symbol].append(pnl)
        if not attempt.attempt_id.endswith("_reduce"):
            self.tally.attempts_pnl_usd[attempt.symbol].append(pnl)

    def _count(self, symbol: str, outcome: str) -> None:
        self.tally.outcomes[symbol][outcome] += 1

    # ------------------------------------------------------------------ the newer executor

    def _quality(self, symbol: str) -> str:
        luck = spec_of(symbol).maker_luck
        return "good" if luck >= 0.7 else "ok" if luck >= 0.4 else "degraded"

    def _additions(
        self, i: int, attempt: Attempt, timing: Timing, is_maker: bool | None, maker_first: bool,
        offset_bps: float, results: list[Result],
    ) -> Line:  # fmt: skip
        """Return the fields that the newer executor adds to a router line."""
        spec = spec_of(attempt.symbol)
        at_us = attempt.decided_us
        mid = self.market.mid(attempt.symbol, at_us + 4_000)
        half = mid * spec.spread_bps / 2e4
        bid, ask = mid - half, mid + half
        if i in self.plan.plants["crossed_book"] and results:
            bid, ask = ask, bid
            self.tally.faults["crossed_book"] += 1
        digits = spec.price_digits + 2
        quality = self._quality(attempt.symbol)
        return {
            "is_maker_final": is_maker,
            "started_maker": maker_first,
            "used_fallback": maker_first and is_maker is False,
            "arrival": {
                "bid": round(bid, digits),
                "ask": round(ask, digits),
                "mid": round(mid, digits),
                "ts": shapes.seconds(at_us + 4_000),
            },
            "decision_ts": shapes.seconds(at_us),
            "submit_ts": shapes.seconds(at_us + 9_000),
            "ack_ts": shapes.seconds(timing.ack_us),
            "fill_ts": shapes.seconds(timing.fill_us) if results else None,
            "strategy": attempt.strategy,
            "snapshot_id": self._snapshot_id(at_us),
            "maker_offset_bps": offset_bps,
            "policy": {"quality": quality, "maker_first": True, "taker_bias": POLICIES[quality]},
            "size": self._size_factors(attempt, spec),
        }

    def _size_factors(self, attempt: Attempt, spec: SymbolSpec) -> Line:
        factors = {"inverse_vol": 1.0, "regime": 1.0, "sharpe": 0.6875, "intel": 1 + spec.edge}
        final = round(0.6875 * (1 + spec.edge), 6)
        gross: dict[str, Any] = {"gross_target": round(attempt.qty * attempt.mark / final, 4)}
        return gross | factors | {"final": final}

    def _snapshot_id(self, at_us: int) -> str:
        five_us = 300 * SECOND_US
        stamp = shapes.iso_s(at_us // five_us * five_us)[:19].replace("-", "").replace(":", "")
        return f"{stamp}Z-{at_us // five_us * 2_654_435_761 % 2**32:08x}"

    def _write_positions(self, symbol: str, at_us: int) -> None:
        position, run = self.account.positions[symbol], self.plan.run(at_us)
        for number, side in enumerate(("LONG", "SHORT")):
            is_held = bool(position.lots) and position.side == side
            qty, px = (position.signed_qty, position.entry_px) if is_held else (0.0, 0.0)
            line = shapes.position_line(symbol, side, qty, px, at_us + number * 3_000, run)
            self._write("position_state", at_us + number * 3_000, line)
