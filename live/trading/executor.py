"""One account on one venue: turns signals into attempts, books their fills, keeps what it owns.

Put here: what connects decision, gates, router, books and journal. Keep out: each of them, and the
loop (engine.py).
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from features.settings import Settings
from live.clock import Clock, SimulatedClock
from live.market import Bar, Direction, Quote, Side, Signal
from live.snapshot.reading import Reading
from live.trading import log_lines
from live.trading.attempt import Attempt, Leg
from live.trading.book import DUST, ClosedTrade, Lots
from live.trading.controls import Controls, Mode, standing
from live.trading.controls import State as ControlState
from live.trading.exposure import exposure, nav
from live.trading.gates import Ask, Veto, World, judge
from live.trading.guard import Guard
from live.trading.journal import Journal
from live.trading.log_lines import Line, Place
from live.trading.marks import Marks
from live.trading.reconcile import OWN_PREFIX, Reconciler
from live.trading.restart import Kept, Record, merged
from live.trading.router import Router
from live.trading.sizing import decide
from live.trading.sleeves import SleeveKey, Sleeves
from live.trading.watch import Peaks
from live.venues import (
    NOT_OPEN,
    Account,
    Fill,
    Instrument,
    PositionSide,
    RetryError,
    SkipError,
    StopError,
    Venue,
    VenueError,
)

CLOSE_AGAIN_MS = 10_000.0  # between two tries to close what a strategy no longer wants
CANCEL_AGAIN_MS, CANCEL_LOOK_MS = 1_000.0, 10_000.0  # while killed: after orders, after none
_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000
_log = logging.getLogger(__name__)

_Position = tuple[str, PositionSide]
_FLAT: Direction = "NOOP"


class Executor:
    """Holds attempts, lots and sleeves; the engine calls ``watch``, ``advance`` and ``act``."""

    def __init__(
        self,
        venue: Venue,
        read: Callable[[str], Reading],
        *,
        settings: Settings,
        clock: Clock,
        log_dir: Path,
        state_dir: Path | None = None,
        controls: Controls | None = None,
        on_closed: Callable[[ClosedTrade], None] | None = None,
        run_id: str | None = None,
    ) -> None:
        """Restore what an earlier run left in ``state_dir``; arguments as of the Engine."""
        self._venue = venue
        self._read = read
        self._trading = settings.trading
        self._apply = settings.applied(venue.environment)
        self._clock = clock
        self._controls = controls or Controls(None)
        self._on_closed = on_closed
        self.journal = Journal(log_dir, state_dir, durable=venue.environment == "live")
        self.lots = Lots()
        self.sleeves = Sleeves()
        self._attempts: dict[str, Attempt] = {}
        self._waiting: dict[SleeveKey, Signal] = {}  # what a strategy wants after its attempt
        self._closing: dict[SleeveKey, tuple[Signal, float]] = {}  # to be closed, next try
        self._orders_ms: deque[int] = deque()
        self._marks = Marks()
        self.guard = Guard(venue, clock, self._trading)
        self._kept_peaks: Peaks | None = None  # as the journal has them
        self._peaks_at = float("-inf")  # when they are looked at next while unreconciled
        self._reconciler = Reconciler(venue, self.lots)
        self._is_to_adopt = False
        self._mode: Mode = "run"
        self._is_refused = False  # by the venue while a kill or halt stands, which was said
        self._cancel_at = float("-inf")
        self._seq = 0
        self._id_n = 0
        self._is_closing = False
        self._touched: set[_Position] = set()
        self._unsaid: dict[_Position, int] = {}  # with the time of its last fill
        self._ended_trades: list[ClosedTrade] = []
        self._start_ms = clock.now_ms()
        self._is_started = False  # the journal knows of this run
        self._rebased_ms = 0
        with self.journal.alone():  # not what an engine that runs is just writing
            self._restore()
        self.place: Place = {
            "account": settings.account,
            "environment": venue.environment,
            "venue": venue.name,
            "run_id": run_id or _base36(self._start_ms),
        }
        self._router = Router(venue, clock, self._trading, self)

    # -- the market ------------------------------------------------------------------------------

    def see(self, bars: Sequence[Bar]) -> None:
        """Take the closes of bars as marks, and close trades at their stops."""
        now_ms = self._clock.now_ms()
        for bar in bars:
            self._marks.feed(bar.symbol, self._until(now_ms, bar.close_ms), bar.close, now_ms)
        self._stop_out([bar.symbol for bar in bars])

    def see_quote(self, quote: Quote) -> None:
        """Take a best bid and offer as the mark."""
        now_ms = self._clock.now_ms()
        at_ms = self._until(now_ms, quote.at_ms)
        if at_ms != quote.at_ms:
            quote = msgspec.structs.replace(quote, at_ms=at_ms)
        self._marks.feed_quote(quote, now_ms)
        self._stop_out([quote.symbol])

    def _until(self, now_ms: int, at_ms: int) -> int:
        """Return a time that the feed tells, and now for one too far ahead to be true.

        Else that price counts as fresh, and those after it as older, until the time has come.
        """
        return now_ms if at_ms - now_ms >= self._trading.clock_stop_ms else at_ms

    # -- one turn --------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look at the switches, the account, the clock and, each minute, the venue's state."""
        self.journal.flush()
        state = self._controls.state()
        self._obey(state)
        must_halt = self.guard.value_account()
        if must_halt and state.mode not in ("halt", "kill"):
            self._halt(must_halt)
        self.guard.check_clock()
        due = self._reconciler.at + self._trading.reconcile_s * 1e3
        if not self.is_reconciled or self._clock.elapsed_ms() >= due:
            self._reconcile()
        if self.journal.is_due():
            self.journal.checkpoint(self._kept())

    def advance(self) -> None:
        """Move every attempt on, then start what waited for one to end."""
        for attempt in list(self._attempts.values()):
            self._step(attempt)
        now = self._clock.elapsed_ms()
        is_stopped = self._mode in ("kill", "halt")
        for key, (signal, again_at) in list(self._closing.items()):
            if now < again_at or self._attempt_of(key):
                continue
            if key not in self.sleeves:  # nobody knows any more whose the position is
                self._want_closed(key, None)
            elif not is_stopped:
                self._closing[key] = (signal, now + CLOSE_AGAIN_MS)
                self._start(key, signal)
        for key, signal in list(self._waiting.items()):
            if not self._attempt_of(key):
                del self._waiting[key]
                self._start(key, signal)

    def act(self, signal: Signal) -> None:
        """Bring a strategy's position to where its signal wants it."""
        if self._is_closing:
            return
        key = (signal.strategy, signal.symbol)
        if signal.direction == _FLAT:
            if key in self.sleeves or self._attempt_of(key):
                self._want_closed(key, signal)
        else:
            self._want_closed(key, None)
        attempt = self._attempt_of(key)
        if attempt is None:
            self._start(key, signal)
        elif attempt.is_abandoned or attempt.target != signal.direction:
            if not attempt.is_abandoned:
                attempt.is_abandoned, attempt.reason = True, "superseded"
            self._waiting[key] = signal  # the newest wish, whatever waited
            self._step(attempt)

    def close(self) -> None:
        """Abandon every attempt and wait until all are over, at most ``shutdown_s``."""
        self._is_closing = True
        self._waiting.clear()
        self._abandon("shutdown")
        until = self._clock.elapsed_ms() + self._trading.shutdown_s * 1e3
        while self._attempts and self._clock.elapsed_ms() < until:
            self.advance()
            self._clock.wait_ms(min(self._trading.loop_ms, 50.0))
        self._say_positions()
        self.journal.checkpoint(self._kept())
        self.journal.close()

    @property
    def is_busy(self) -> bool:
        """Tell whether an order is in flight."""
        return bool(self._attempts)

    def in_flight(self) -> set[SleeveKey]:
        """Return the strategies and symbols that an attempt is moving."""
        return {(attempt.strategy, attempt.symbol) for attempt in self._attempts.values()}

    def next_wake_ms(self) -> int | None:
        """Return when (elapsed ms) the next attempt needs a turn by itself."""
        wakes = [self._router.wake_ms(attempt) for attempt in self._attempts.values()]
        known = [wake for wake in wakes if wake is not None]
        return int(min(known)) + 1 if known else None

    def account(self) -> Account:
        """Return what the venue says of the account now."""
        return self._venue.account()

    def summary(self) -> str:
        """Return one line of where the engine stands."""
        usd = self.guard.equity_usd
        equity = "unknown" if usd is None else f"{usd:.2f} USD"
        positions = ", ".join(f"{s} {q:.12g}" for s, q in sorted(self.lots.net().items())) or "flat"
        why = "" if self.is_reconciled else f"; unreconciled: {self._reconciler.difference}"
        mode = standing(self._mode)
        return f"{mode}, equity {equity}, {positions}, {len(self._attempts)} in flight{why}"

    # -- Desk: what the router needs -------------------------------------------------------------

    def permit(self, attempt: Attempt, ask: Ask) -> Veto | None:
        """Ask every gate; a veto stands in risk_vetoes.jsonl when this returns."""
        world = self._world(attempt)
        veto = judge(ask, world)
        if veto is None:
            return None
        _log.info("%s %s vetoed by %s: %s", ask.symbol, ask.side, veto.gate, veto.why)
        line = log_lines.veto(
            self.place, symbol=ask.symbol, side=ask.side, strategy=attempt.strategy,
            attempt_id=attempt.attempt_id, intent_id=attempt.intent_id, gate=veto.gate,
            why=veto.why, qty=ask.qty, at_ms=world.now_ms,
            seen={
                "price": ask.price,
                "notional": ask.notional_usd,
                "equity": world.equity_usd,
                "drawdown_pct": world.drawdown_pct,
                "snapshot_status": world.snapshot_status,
                "is_reducing": ask.is_reducing,
            },
        )  # fmt: skip
        self._write(Record(seq=self._next_seq()), [("risk_vetoes", line)])
        return veto

    def save(
        self, attempt: Attempt, written: Iterable[tuple[str, Line]] = (), *, must: bool = False
    ) -> bool:
        record = Record(seq=self._next_seq(), attempt=attempt, is_over=attempt.phase == "done")
        if must:
            at_ms = attempt.legs[-1].sent_ms
            self._orders_ms.append(at_ms)
            record.orders_ms = [at_ms]
        key = (attempt.strategy, attempt.symbol)
        if self._touched:
            record.lots = [(*at, self.lots.lots(*at)) for at in sorted(self._touched)]
            record.sleeves = [(*key, self.sleeves.get(key))]
        self._touched = set()
        is_written = self._write(record, written, must=must)
        ended, self._ended_trades = self._ended_trades, []
        for trade in ended:
            self._tell(trade)
        return is_written

    def _tell(self, trade: ClosedTrade) -> None:
        try:
            if self._on_closed is not None:
                self._on_closed(trade)
        except Exception:
            _log.exception("on_closed failed at %s", trade.trade_id)  # no observer stops trading

    def book(self, attempt: Attempt, leg: Leg, fills: Sequence[Fill]) -> None:
        for fill in fills:
            signed = fill.qty if leg.side == "BUY" else -fill.qty
            closed = self.lots.apply(attempt.symbol, leg.position_side, signed, fill.price)
            if closed.closed_qty or leg.kind == "reduce":
                leg.closed_qty += closed.closed_qty
                leg.realized_usd += closed.realized_usd
                if leg.size_before is None:
                    leg.size_before = closed.before
                leg.size_after = closed.after
            leg.filled += fill.qty
            leg.filled_usd += fill.qty * fill.price
            leg.maker_qty += fill.qty if fill.is_maker else 0.0
            both = leg.fee_usd is not None and fill.fee_usd is not None
            leg.fee_usd = leg.fee_usd + fill.fee_usd if both else None  # type: ignore[operator]
            leg.first_ms = min(leg.first_ms or fill.at_ms, fill.at_ms)
            leg.last_ms = max(leg.last_ms, fill.at_ms)
            leg.trade_ids.append(fill.trade_id)
            self._reconciler.book(signed, fill)
            ended = self.sleeves.book(attempt, leg, fill)
            if ended is not None:
                self._ended_trades.append(ended)
        position = (attempt.symbol, leg.position_side)
        self._touched.add(position)
        self._unsaid[position] = max(leg.last_ms, self._unsaid.get(position, 0))

    def find_quote(self, symbol: str) -> Quote | None:
        try:
            quote = self._venue.quote(symbol)
        except (RetryError, SkipError) as error:
            _log.info("%s: no quote: %s", symbol, error)
            return None
        self._marks.answer(quote)
        return quote

    def new_id(self) -> str:
        self._id_n += 1
        return f"{OWN_PREFIX}{_base36(self._start_ms)}-{_base36(self._id_n)}"

    def only_reduces(self, symbol: str, position_side: PositionSide, signed: float) -> bool:
        held = self.lots.qty(symbol, position_side)
        return (held > 0) != (signed > 0) and abs(signed) <= abs(held) + DUST

    # -- attempts --------------------------------------------------------------------------------

    def _start(self, key: SleeveKey, signal: Signal) -> None:
        """Decide and begin an attempt, where one is needed."""
        sleeve = self.sleeves.get(key)
        held = sleeve.qty if sleeve else 0.0
        standing: Direction = "NOOP" if not held else "LONG" if held > 0 else "SHORT"
        if standing == signal.direction or self._is_closing:
            return
        quote = self.find_quote(signal.symbol)
        mark = quote.mid if quote else self._marks.newest(signal.symbol) or signal.price
        now_ms = self._clock.now_ms()
        context = decide(
            self._read(signal.symbol),
            gross_target_usd=self._trading.gross_target_usd,
            hour_utc=now_ms // _HOUR_MS % 24,
            apply=self._apply,
        )
        instrument = self._instrument(signal.symbol)
        is_flat = signal.direction == _FLAT
        side: Side = "BUY" if signal.direction == "LONG" or (is_flat and held < 0) else "SELL"
        qty = abs(held) if is_flat else context.notional_usd / mark
        qty = instrument.floor_qty(qty) if instrument else qty
        position_side = self._position_side(signal.direction if not is_flat else standing)
        signed = qty if side == "BUY" else -qty
        allows_maker = signal.wants_maker and context.policy.maker_first is not False
        flips = bool(held) and not is_flat
        attempt = Attempt(
            attempt_id=f"sig_{self.new_id()[1:]}",
            intent_id=f"ord_{self.new_id()[1:]}",
            signal=signal,
            symbol=signal.symbol,
            side=side,
            position_side=position_side,
            target=signal.direction,
            qty=qty,
            reduce_qty=abs(held) if flips else 0.0,
            mark=mark,
            decided_ms=now_ms,
            ctx=context,
            wants_maker=allows_maker and not is_flat,
            is_reducing=is_flat and self.only_reduces(signal.symbol, position_side, signed),
        )
        attempt.phase = "reduce" if flips else "maker" if attempt.wants_maker else "taker"
        self._attempts[attempt.attempt_id] = attempt
        worth = nav(self.lots, self._marks, self.guard.account)
        line = log_lines.attempted(self.place, attempt, worth, at_ms=now_ms)
        self.save(attempt, [("orders_attempted", line)])
        self._step(attempt)

    def _step(self, attempt: Attempt) -> None:
        try:
            self._router.step(attempt)
        except StopError as error:
            if self._mode not in ("kill", "halt"):
                self._halt(f"the venue needs a person: {error}")
            elif not self._is_refused:  # once: every turn asks anew
                self._is_refused = True
                _log.error("%s cannot be ended yet, trying again: %s", attempt.attempt_id, error)
            return
        if attempt.phase == "done" and attempt.attempt_id in self._attempts:
            del self._attempts[attempt.attempt_id]
            self._router.forget(attempt)
            self._say_positions(self._unsaid)
            key = (attempt.strategy, attempt.symbol)
            if any(leg.status == "UNKNOWN" for leg in attempt.legs):
                self._reconciler.disagree(f"the outcome of {attempt.attempt_id} is unknown")
            sleeve = self.sleeves.get(key)
            if sleeve is None:
                self._want_closed(key, None)
            elif attempt.target not in (_FLAT, sleeve.direction) and key not in self._closing:
                # A flip that did not close the old position: that much is still to be done.
                self._want_closed(key, msgspec.structs.replace(attempt.signal, direction=_FLAT))

    def _want_closed(self, key: SleeveKey, signal: Signal | None) -> None:
        """Note that a trade is to be closed, by this signal, or no longer; a restart knows too."""
        if signal is None and key not in self._closing:
            return
        if signal is None:
            del self._closing[key]
        else:
            self._closing[key] = (signal, self._clock.elapsed_ms() + CLOSE_AGAIN_MS)
        self._write(Record(seq=self._next_seq(), closing=[(*key, signal)]))

    def _attempt_of(self, key: SleeveKey) -> Attempt | None:
        for attempt in self._attempts.values():
            if (attempt.strategy, attempt.symbol) == key:
                return attempt
        return None

    def _abandon(self, reason: str) -> None:
        for attempt in list(self._attempts.values()):
            if not attempt.is_abandoned:
                attempt.is_abandoned, attempt.reason = True, reason
            self._step(attempt)

    def _stop_out(self, symbols: Sequence[str]) -> None:
        """Close trades whose stop or target the mark has reached."""
        for key, signal in self.sleeves.stopped(symbols, self._marks):
            if key not in self._closing:
                self.act(msgspec.structs.replace(signal, at_ms=self._clock.now_ms()))

    def _position_side(self, direction: Direction) -> PositionSide:
        if not self._venue.is_hedged:
            return "BOTH"
        return "SHORT" if direction == "SHORT" else "LONG"

    # -- what is known now -----------------------------------------------------------------------

    def _world(self, attempt: Attempt) -> World:
        now_ms = self._clock.now_ms()
        reading = self._read(attempt.symbol)
        orders = self._orders_ms
        while orders and not now_ms - orders[0] < _HOUR_MS:
            orders.popleft()
        long_usd, short_usd = exposure(self.lots, self._attempts.values(), self._marks)
        return World(
            now_ms=now_ms,
            trading=self._trading,
            environment=self._venue.environment,
            controls=self._controls.state(),
            instrument=self._instrument(attempt.symbol),
            quote=self._marks.quote(attempt.symbol),
            mark=self._marks.fed(attempt.symbol, now_ms, self._trading.max_quote_age_s),
            equity_usd=self.guard.equity_usd,
            drawdown_pct=self.guard.drawdown_pct,
            drawdown_of=self.guard.drawdown_of,
            clock_offset_ms=self.guard.offset_ms,
            is_reconciled=self.is_reconciled,
            is_writable=self.journal.is_sound,
            snapshot_status=reading.status,
            snapshot_too_old=reading.reduce_only,
            has_snapshot=reading.snapshot_id is not None,
            move_pct=self._marks.move_pct(attempt.symbol, now_ms),
            orders_minute=sum([now_ms - at_ms < _MINUTE_MS for at_ms in orders]),
            orders_hour=len(orders),
            is_hedged=self._venue.is_hedged,
            long_usd=long_usd,
            short_usd=short_usd,
        )

    def _instrument(self, symbol: str) -> Instrument | None:
        try:
            return self._venue.instrument(symbol)
        except VenueError:
            return None

    # -- safety ----------------------------------------------------------------------------------

    def _obey(self, state: ControlState) -> None:
        """Follow the switches: kill and halt cancel everything that is open."""
        if state.mode != self._mode:
            _log.warning("controls: %s -> %s %s", self._mode, state.mode, state.reason)
            self._mode, self._is_refused = state.mode, False
        if state.resumed_ms > self._rebased_ms:
            self._rebased_ms = state.resumed_ms
            self.guard.drawdown.rebase()
            self._kept_peaks = msgspec.structs.replace(self.guard.drawdown.dump())
            self._write(
                Record(seq=self._next_seq(), peaks=self._kept_peaks, rebased_ms=state.resumed_ms)
            )
            # Who resumed before this run's first comparison saw no difference to accept.
            self._is_to_adopt = not self.is_reconciled and self._reconciler.has_compared
            if not self._reconciler.has_compared:
                _log.warning(
                    "resumed before positions were compared: where they turn out to differ, say "
                    "execintel resume again"
                )
            if self._is_to_adopt and self._attempts:
                _log.warning("positions are adopted once %d attempts ended", len(self._attempts))
        if self._is_to_adopt:
            self._adopt_positions()
        now = self._clock.elapsed_ms()
        if state.mode in ("kill", "halt") and now >= self._cancel_at:
            self._abandon(state.mode)
            is_clear = self._cancel_all()
            self._cancel_at = now + (CANCEL_LOOK_MS if is_clear else CANCEL_AGAIN_MS)
        elif state.mode not in ("kill", "halt"):
            self._cancel_at = now

    def _cancel_all(self) -> bool:
        """Ask to cancel every open order; True when there was none."""
        try:
            orders = self._venue.open_orders()
        except VenueError as error:
            _log.error("open orders cannot be listed yet, trying again: %s", error)
            return False
        for order in orders:
            try:
                self._venue.cancel(order.symbol, order.client_id)
            except VenueError as error:  # of this one: the others are cancelled all the same
                if isinstance(error, SkipError) and error.reason == NOT_OPEN:
                    continue
                _log.error("%s is not cancelled yet, trying again: %s", order.client_id, error)
        return not orders

    def _halt(self, reason: str) -> None:
        _log.error("halted: %s; execintel resume goes on", reason)
        self._obey(self._controls.halt(reason, now_ms=self._clock.now_ms()))

    # -- reconciliation --------------------------------------------------------------------------

    @property
    def is_reconciled(self) -> bool:
        """Tell whether the venue's state was the engine's own when last compared."""
        return self._reconciler.is_agreed

    def _reconcile(self) -> None:
        """Compare open orders, positions and equity with the venue's."""
        self._catch_up()
        known_ids = {leg.client_id for a in self._attempts.values() if (leg := a.leg)}
        now = self._clock.elapsed_ms()
        if self._reconciler.compare(known_ids, now=now):
            self._say_positions()
        elif now < self._peaks_at:
            return  # until the venue agrees it is asked in every turn: peaks need no line in each
        self._peaks_at = now + self._trading.reconcile_s * 1e3
        self._keep_peaks()

    def _catch_up(self) -> None:
        """Book what filled since the last turn: else the venue is ahead, and that is no fault."""
        for attempt in list(self._attempts.values()):
            self._step(attempt)

    def _keep_peaks(self) -> None:
        peaks = msgspec.structs.replace(self.guard.drawdown.dump())
        if peaks != self._kept_peaks:
            self._kept_peaks = peaks
            self._write(Record(seq=self._next_seq(), peaks=peaks))

    def _adopt_positions(self) -> None:
        """Take the venue's positions for true: a person resumed while they differed.

        Orders end first: of one whose fills the venue cannot list yet, they would count twice.
        """
        self._abandon("resume")
        changed = self._reconciler.adopt() if not self._attempts else None
        if changed is None:
            return  # the next turn tries again
        self._is_to_adopt = False
        self.sleeves.forget(changed)
        self.journal.checkpoint(self._kept())

    # -- records ---------------------------------------------------------------------------------

    def _say_positions(self, keys: Iterable[_Position] | None = None) -> None:
        """Write positions at rest: of one that an order may be filling, no line tells the end yet.

        Not before the venue's time of its last fill, whatever the clocks: what a reader adds up of
        fills until a state is then what the state says.
        """
        if keys is None and isinstance(self._clock, SimulatedClock):
            return  # a replay needs no heartbeat of positions that did not change
        now_ms = self._clock.now_ms()
        moving = {attempt.symbol for attempt in self._attempts.values()}
        for symbol, side in sorted(self.lots.known() if keys is None else keys):
            if symbol in moving:
                continue
            qty, entry = self.lots.qty(symbol, side), self.lots.entry_price(symbol, side)
            mark = self._marks.newest(symbol)
            line = log_lines.position(
                self.place, symbol=symbol, position_side=side, qty=qty, entry_px=entry,
                unrealized_usd=qty * (mark - entry) if mark is not None else None,
                at_ms=max(now_ms, self._unsaid.pop((symbol, side), 0)),
            )  # fmt: skip
            self._write(Record(seq=self._next_seq()), [("position_state", line)])

    def _write(
        self, record: Record, written: Iterable[tuple[str, Line]] = (), *, must: bool = False
    ) -> bool:
        if not self._is_started:  # one that another engine keeps from running writes nothing
            self._is_started = True
            record.start_ms = self._start_ms
            record.rebased_ms = max(record.rebased_ms, self._rebased_ms)
        return self.journal.write(record, written, must=must)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _kept(self) -> Kept:
        return Kept(
            self._seq,
            self._start_ms,
            self._attempts,
            self.sleeves.dump(),
            [(*key, signal) for key, (signal, _) in self._closing.items()],
            self.lots.dump(),
            list(self._orders_ms),
            self.guard.drawdown.dump(),
            self._rebased_ms,
        )

    def _restore(self) -> None:
        """Go on from the checkpoint and the records after it; open attempts only end."""
        state, records = self.journal.restore(Kept, Record)
        if state is None and not records:  # a resume of before says nothing of what we find
            self._rebased_ms = self._controls.state().resumed_ms
            return
        kept = merged(state or Kept(), records)
        self._seq = kept.seq
        self._start_ms = max(self._start_ms, kept.start_ms + 1)
        self.sleeves.load(kept.sleeves)
        self.lots.load(kept.lots)
        self._orders_ms.extend(sorted(kept.orders_ms))
        self._closing = {
            (strategy, symbol): (signal, 0.0) for strategy, symbol, signal in kept.closing
        }
        self.guard.drawdown.load(kept.peaks)
        self._rebased_ms = kept.rebased_ms
        for attempt in kept.attempts.values():
            attempt.is_abandoned, attempt.reason = True, attempt.reason or "restart"
            self._attempts[attempt.attempt_id] = attempt
            key = (attempt.strategy, attempt.symbol)
            if attempt.target == _FLAT and key in self.sleeves:  # of a journal that lost the wish
                self._closing.setdefault(key, (attempt.signal, 0.0))
        if kept.attempts:
            _log.warning("%d attempts of an earlier run are being ended", len(kept.attempts))


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
        if not number:
            return digits
