"""A week of an executor's life: what it decides, and what becomes of each decision.

Put here: signals, positions wanted, and how the venue treats an order. Keep out: fills and lines
(desk.py, shapes.py), damage to files (faults.py). Times are epoch microseconds.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from pipelines.demo import shapes
from pipelines.demo.book import Position
from pipelines.demo.desk import HOLD_US, Desk, Result, Timing
from pipelines.demo.market import DAY_US, HOUR_US, Market, spec_of
from pipelines.demo.plan import SECOND_US, make_plan
from pipelines.demo.shapes import Attempt, Line

HALF_HOUR_US = HOUR_US // 2
GOOD_HOURS, BAD_HOURS = range(13, 17), range(20, 24)  # where signals are luckier, and where not
MAX_LOTS = 4
FLIP_SHARE = 0.2  # of the signals against a position; the others only close it
STRATEGIES = ("trend_15m", "revert_15m", None)
AFTERWARDS_US = 60_000  # positions and notes are written after an order
UNPOLLED = (0.55, 0.20, 0.04)  # share of market orders acknowledged as NEW and never looked at


class Story(Desk):
    """Live through a span: decide, route, and note what beside the orders an executor logs."""

    def __init__(
        self, market: Market, symbols: tuple[str, ...], start_us: int, end_us: int,
        attempts: int, seed: int, faults: bool,
    ) -> None:  # fmt: skip
        rng = random.Random(seed)
        plan = make_plan(rng, start_us, end_us, attempts, has_faults=faults)
        super().__init__(market, symbols, plan, rng)
        self.has_faults = faults
        self.ids: set[str] = set()
        self.busy_us = 0  # one order at a time: nothing else is done or written until then

    # ------------------------------------------------------------------ tell

    def tell(self, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Live through the span in order of time."""
        start_us, end_us = self.plan.start_us, self.plan.end_us
        span, times = end_us - start_us, self.plan.times
        others: list[tuple[int, Callable[[int], None]]] = []
        for beat in range(start_us // HALF_HOUR_US + 1, end_us // HALF_HOUR_US):
            others.append((beat * HALF_HOUR_US + 210_000, self._heartbeat))
        asides: tuple[tuple[Callable[[int], None], int], ...]
        asides = ((self._veto, 100), (self._error, 6))
        for aside, a_day in asides:
            for _ in range(round(span / DAY_US * a_day)):
                others.append((start_us + self.rng.randrange(span * 99 // 100), aside))
        others.sort(key=lambda item: item[0])
        position = 0
        for i, at_us in enumerate(times):
            while position < len(others) and others[position][0] <= at_us:
                others[position][1](max(others[position][0], self.busy_us))
                position += 1
            following = times[i + 1] if i + 1 < len(times) else end_us
            self._attempt(i, at_us, following - at_us)
            if on_progress and i % 256 == 0:
                on_progress(i, len(times))
        for at_us, tell_aside in others[position:]:
            tell_aside(max(at_us, self.busy_us))

    def _hex(self, prefix: str) -> str:
        while True:
            text = f"{prefix}_{self.rng.getrandbits(40):010x}"
            if text not in self.ids:
                self.ids.add(text)
                return text

    def _mark(self, symbol: str, at_us: int) -> float:
        return round(self.market.mid(symbol, at_us), spec_of(symbol).price_digits)

    def _nav(self, at_us: int) -> Line:
        return self.account.nav(lambda symbol: self.market.mid(symbol, at_us))

    def _new_attempt(self, symbol: str, at_us: int, sign: int, steps: int) -> Attempt:
        spec = spec_of(symbol)
        return Attempt(
            attempt_id=self._hex("sig"),
            intent_id=self._hex("ord"),
            symbol=symbol,
            side="BUY" if sign > 0 else "SELL",
            position_side="LONG" if sign > 0 else "SHORT",
            strategy=self.rng.choice(STRATEGIES),
            qty=round(steps * spec.step, spec.qty_digits),
            mark=self._mark(symbol, at_us),
            decided_us=at_us,
            is_reduce=False,
            run=self.plan.run(at_us),
        )

    def _signal(self, symbol: str, at_us: int) -> int:
        """Point up or down: right more or less often than not, by symbol and hour."""
        later = min(at_us + HOLD_US, self.plan.end_us)
        rises = self.market.mid(symbol, later) >= self.market.mid(symbol, at_us)
        hour = at_us // HOUR_US % 24
        luck = 0.5 + spec_of(symbol).edge + 0.08 * (hour in GOOD_HOURS) - 0.08 * (hour in BAD_HOURS)
        is_right = self.rng.random() < luck
        return 1 if rises == is_right else -1

    def _size(self, symbol: str, at_us: int) -> int:
        spec = spec_of(symbol)
        usd = spec.order_usd * self.rng.uniform(0.8, 1.25)
        return max(1, round(usd / self.market.mid(symbol, at_us) / spec.step))

    def _pick_symbol(self, i: int) -> str:
        held = [s for s in self.symbols if self.account.positions[s].lots]
        if i in self.plan.midnights and held:
            return self.rng.choice(held)
        weights = [spec_of(s).share for s in self.symbols]
        return self.rng.choices(self.symbols, weights)[0]

    # ------------------------------------------------------------------ an attempt

    def _attempt(self, i: int, at_us: int, gap_us: int) -> None:
        symbol = self._pick_symbol(i)
        position = self.account.positions[symbol]
        sign = self._signal(symbol, at_us)
        is_late_close = i in self.plan.midnights and bool(position.lots)
        is_reduce = bool(position.lots) and (is_late_close or at_us >= position.exit_us)
        if position.lots and not is_reduce and sign != position.sign:
            # Without faults nothing flips: the position is closed by an attempt of its own.
            is_reduce = not self.has_faults or self.rng.random() >= FLIP_SHARE
        if position.lots and not is_reduce and len(position.lots) >= MAX_LOTS:
            is_reduce = True
        if is_reduce:
            steps = position.steps
            draw = self.rng.random()
            if steps > 1 and draw < 0.25:
                steps = steps // 2 if draw > 0.04 else steps - 1  # one step is left behind as dust
            attempt = self._new_attempt(symbol, at_us, -position.sign, steps)
            attempt.position_side = position.side
            attempt.strategy, attempt.is_reduce = "auto_reduce", True
        else:
            steps = self._size(symbol, at_us)
            attempt = self._new_attempt(symbol, at_us, sign, steps)
        self._write_decision(i, attempt)
        timing = self._timing(at_us, gap_us)
        self.busy_us = timing.done_us + AFTERWARDS_US
        if is_late_close:
            self._close_after_midnight(attempt, position, steps, self.plan.midnights[i])
            return
        if position.lots and not is_reduce and sign != position.sign:
            self._flip(attempt, position, timing)
        self._route(i, attempt, position, steps, timing)

    def _write_decision(self, i: int, attempt: Attempt) -> None:
        at_us = attempt.decided_us
        nav: Line = self._nav(at_us)
        for fault, factor in (("nav_zero", 0.0), ("nav_doubled", 2.0)):
            if i in self.plan.plants[fault]:
                nav["nav_usd"] *= factor
                self.tally.faults[fault] += 1
        signal_us = at_us - self.rng.randrange(200_000, 20 * SECOND_US)
        line = shapes.attempt_line(
            attempt,
            signal_us=signal_us,
            nav=nav,
            confidence=1.0 if attempt.is_reduce else round(self.rng.uniform(0.5, 0.95), 3),
            edge=0.0 if attempt.is_reduce else round(self.rng.uniform(0.0002, 0.003), 5),
        )
        self._write("orders_attempted", at_us + 97, line)

    def _timing(self, at_us: int, gap_us: int) -> Timing:
        """Draw an acknowledgement delay: seconds mostly, minutes at times, never past the next."""
        ack = self.rng.lognormvariate(0.3, 0.8)
        if self.rng.random() < 0.015:
            ack = self.rng.uniform(30, 280)
        ack_us = min(int(ack * SECOND_US), gap_us // 2)
        rest_us = min(int(self.rng.uniform(0.3, 1.2) * SECOND_US), gap_us // 5)
        return Timing(at_us + ack_us, at_us + ack_us, at_us + ack_us + rest_us)

    def _flip(self, attempt: Attempt, position: Position, timing: Timing) -> None:
        """Close what stands against a new direction, under the attempt's id with _reduce."""
        leg = replace(
            attempt,
            attempt_id=f"{attempt.attempt_id}_reduce",
            position_side=position.side,
            is_reduce=True,
        )
        at_us = attempt.decided_us
        early = Timing(*(at_us + (t - at_us) * 2 // 5 for t in vars(timing).values()))
        steps = position.steps
        px = self._taker_px(leg, early.ack_us)
        order = self._order(leg, steps, "MARKET", early, [Result(steps, px, False)])
        before = position.signed_qty
        pnl = self._settle(leg, position, steps, px, order.fee_usd)
        is_polled = self.rng.random() >= UNPOLLED[self.plan.version(at_us)]
        self._write_ack(leg, order, "flip_reduce")
        if is_polled:
            self.tally.faults["reduce_close"] += 1
            self._write_fill(leg, order, early)
            self._write_close(leg, order, early, pnl, before, position.signed_qty)
            self.tally.fees_usd[leg.symbol].append(order.fee_usd)

    def _route(
        self, i: int, attempt: Attempt, position: Position, steps: int, timing: Timing
    ) -> None:
        version = self.plan.version(attempt.decided_us)
        maker_first = version == 2 and self.rng.random() < 0.7
        quality = self._quality(attempt.symbol)
        offset_bps = 2.0 + 0.8 * (quality == "degraded") - 0.5 * (quality == "good")
        can_be_unpolled = self.has_faults and not maker_first
        if can_be_unpolled and self.rng.random() < UNPOLLED[version]:
            self._leave_unpolled(attempt, position, steps, timing, version, offset_bps)
            return
        results, status = self._work(attempt, steps, timing, maker_first, offset_bps)
        is_confirmed = not (
            i in self.plan.plants["unconfirmed_fill"]
            and status == "FILLED"
            and not attempt.is_reduce
        )
        if not is_confirmed:
            self.tally.faults["unconfirmed_fill"] += 1
        fees = self._execute(attempt, position, steps, timing, results, status, is_confirmed)
        filled = sum(r.steps for r in results)
        spec = spec_of(attempt.symbol)
        qty = round(filled * spec.step, spec.qty_digits)
        px = self._mean_px(results)
        line = shapes.router_line(
            attempt,
            at_us=timing.done_us,
            route="maker" if maker_first else "market",
            submitted=self._maker_px(attempt, offset_bps) if maker_first else attempt.mark,
            fill_px=px,
            qty=qty,
            notional=qty * px,
            ack_ms=(timing.ack_us - attempt.decided_us) / 1000,
            status=status,
            fees=fees,
            slippage_bps=self._slippage(attempt, px) if filled else 0.0,
            cancelled=status in ("CANCELED", "PARTIALLY_FILLED"),
        )
        outcome = {"FILLED": "filled", "PARTIALLY_FILLED": "partial", "REJECTED": "rejected"}
        self._count(attempt.symbol, outcome.get(status, "unfilled"))
        if fees is not None:
            self.tally.fees_usd[attempt.symbol].append(fees)
        if version == 2:
            is_maker = all(r.is_maker for r in results) if results else None
            line |= self._additions(i, attempt, timing, is_maker, maker_first, offset_bps, results)
            if not results:
                line["reason"] = "post_only_rejected" if status == "REJECTED" else "maker_timeout"
            if is_maker is not None:
                self.tally.maker_known[attempt.symbol] += 1
                self.tally.maker[attempt.symbol] += is_maker
        self._write("order_metrics", timing.done_us, line)
        if attempt.is_reduce and filled:
            self._write(
                "order_metrics",
                timing.done_us + 40_000,
                shapes.position_close_line(attempt, timing.done_us + 40_000),
            )

    def _work(
        self, attempt: Attempt, steps: int, timing: Timing, maker_first: bool, offset_bps: float
    ) -> tuple[list[Result], str]:
        """Let the venue work an order: maker fills, fall-backs, time-outs, partial fills."""
        luck, rng = spec_of(attempt.symbol).maker_luck, self.rng
        if not maker_first:
            return [Result(steps, self._taker_px(attempt, timing.fill_us), False)], "FILLED"
        maker_px = self._maker_px(attempt, offset_bps)
        draw = rng.random()
        if draw < 0.015:
            return [], "REJECTED"
        if draw < luck:
            return [Result(steps, maker_px, True)], "FILLED"
        if rng.random() < 0.12:
            if steps > 1 and rng.random() < 0.4:
                return [Result(steps // 2, maker_px, True)], "PARTIALLY_FILLED"
            return [], rng.choice(("CANCELED", "EXPIRED"))
        if steps > 3 and rng.random() < 0.2:  # the maker order got a part before it was given up
            part = max(1, steps // 3)
            taker = Result(steps - part, self._taker_px(attempt, timing.fill_us), False)
            return [Result(part, maker_px, True), taker], "FILLED"
        return [Result(steps, self._taker_px(attempt, timing.fill_us), False)], "FILLED"

    def _execute(
        self, attempt: Attempt, position: Position, steps: int, timing: Timing,
        results: list[Result], status: str, is_confirmed: bool,
    ) -> float | None:  # fmt: skip
        """Settle the fills and write their orders; return the fees, None where nothing filled."""
        if not results:
            if status != "REJECTED":
                order = self._order(attempt, steps, "LIMIT", timing, [])
                self._write_ack(attempt, order, None)
            return None
        fees = 0.0
        for number, result in enumerate(results):
            kind = "LIMIT" if result.is_maker else "MARKET"
            wanted = steps if number == 0 else result.steps
            order = self._order(attempt, wanted, kind, timing, [result])
            before = position.signed_qty
            pnl = self._settle(attempt, position, result.steps, result.px, order.fee_usd)
            if is_confirmed:
                self._write_ack(attempt, order, None)
                self._write_fill(attempt, order, timing)
                if attempt.is_reduce:
                    self._write_close(attempt, order, timing, pnl, before, position.signed_qty)
            fees += order.fee_usd
        if is_confirmed:
            self._write_positions(attempt.symbol, timing.done_us + 20_000)
        return fees

    def _leave_unpolled(
        self, attempt: Attempt, position: Position, steps: int, timing: Timing,
        version: int, offset_bps: float,
    ) -> None:  # fmt: skip
        """Fill a market order without ever looking at it: the log says NEW with a price of 0."""
        px = self._taker_px(attempt, timing.fill_us)
        order = self._order(attempt, steps, "MARKET", timing, [Result(steps, px, False)])
        self._settle(attempt, position, steps, px, order.fee_usd)
        self._write_ack(attempt, order, None)
        line = self._unpolled_line(attempt, timing)
        if version == 2:
            line |= self._additions(0, attempt, timing, None, False, offset_bps, [])
        self._write("order_metrics", timing.done_us, line)
        self._count(attempt.symbol, "unknown")
        self.tally.faults["new_never_polled"] += 1

    def _unpolled_line(self, attempt: Attempt, timing: Timing) -> Line:
        return shapes.router_line(
            attempt,
            at_us=timing.done_us,
            route="market",
            submitted=attempt.mark,
            fill_px=0.0,
            qty=0.0,
            notional=0.0,
            ack_ms=(timing.ack_us - attempt.decided_us) / 1000,
            status="NEW",
            fees=None,
            slippage_bps=self._slippage(attempt, 0.0),
        )

    def _close_after_midnight(
        self, attempt: Attempt, position: Position, steps: int, midnight_us: int
    ) -> None:
        """Route a close just before midnight whose fill and PnL come in the next UTC day."""
        at_us = attempt.decided_us
        timing = Timing(at_us + SECOND_US // 2, midnight_us + 4 * SECOND_US, at_us + SECOND_US)
        px = self._taker_px(attempt, timing.fill_us)
        order = self._order(attempt, steps, "MARKET", timing, [Result(steps, px, False)])
        before = position.signed_qty
        pnl = self._settle(attempt, position, steps, px, order.fee_usd)
        self._write_ack(attempt, order, None)
        line = self._unpolled_line(attempt, timing)
        if self.plan.version(at_us) == 2:
            line |= self._additions(0, attempt, timing, None, False, 2.0, [])
        self._write("order_metrics", timing.done_us, line)
        late = Timing(timing.ack_us, timing.fill_us, timing.fill_us + SECOND_US)
        self._write_fill(attempt, order, late)
        self._write_close(attempt, order, late, pnl, before, position.signed_qty)
        self._write_positions(attempt.symbol, late.done_us + 20_000)
        self._write(
            "order_metrics",
            late.done_us + 40_000,
            shapes.position_close_line(attempt, late.done_us + 40_000),
        )
        self._count(attempt.symbol, "filled")
        self.tally.fees_usd[attempt.symbol].append(order.fee_usd)
        self.tally.faults["next_day_close"] += 1

    # ------------------------------------------------------------------ beside the orders

    def _heartbeat(self, at_us: int) -> None:
        for number, symbol in enumerate(self.symbols):
            if self.account.positions[symbol].lots:
                self._write_positions(symbol, at_us + number * 7_000)

    def _veto(self, at_us: int) -> None:
        symbol = self.rng.choice(self.symbols)
        sign = self.rng.choice((1, -1))
        attempt = self._new_attempt(symbol, at_us, sign, self._size(symbol, at_us))
        nav = self._nav(at_us)
        if self.rng.random() < 0.45:
            line = shapes.bucket_veto_line(attempt, nav, at_us + 700)
        else:
            line = shapes.leverage_veto_line(
                attempt,
                spec_of(symbol),
                nav,
                at_us=at_us,
                peak_usd=self.account.peak_usd,
                open_n=sum(bool(p.lots) for p in self.account.positions.values()),
            )
        self._write("risk_vetoes", at_us + 980, line)

    def _error(self, at_us: int) -> None:
        """Ask the venue and get a 502: decided, never routed, its outcome unknown."""
        symbol = self.rng.choice(self.symbols)
        attempt = self._new_attempt(
            symbol, at_us, self.rng.choice((1, -1)), self._size(symbol, at_us)
        )
        position = self.account.positions[symbol]
        if position.lots and self.rng.random() < 0.4:  # the same may befall a close
            attempt.side = "SELL" if position.sign > 0 else "BUY"
            attempt.position_side, attempt.is_reduce = position.side, True
            attempt.strategy = "auto_reduce"
        self._write_decision(-1, attempt)
        line = shapes.error_line(attempt, spec_of(symbol), at_us + SECOND_US)
        self._write("orders_executed", at_us + SECOND_US, line)
