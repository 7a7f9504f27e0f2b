"""Intraday breakout: follow a close beyond the range of the last hour, for at most an hour.

Put here: this one rule. Keep out: session hours (market/sessions.py), sizes, orders.
"""

from collections import deque

import msgspec

from live.market import Bar, Direction, Signal
from live.strategies.calibration import Calibration, Call

STRONG_ATR = 0.5  # a close this many mean bar ranges beyond the range is a strong breakout
STOP_MOVES, TARGET_MOVES = 1.0, 1.5  # of the move that is usual over the holding time


class _State(msgspec.Struct):
    """What one symbol's bars left: its last ones and the call that stands."""

    bars: deque[Bar]
    call: Call | None = None
    held_bars: int = 0
    called_ms: int | None = None  # of a call before a restart, whose bars nobody counted


class Intraday:
    """Call LONG on a close above the highest high of the last bars, SHORT below the lowest low.

    A call ends after ``hold_bars`` bars, by a NOOP. Stop and target lie at 1 and 1.5 times the mean
    true range times the square root of the holding time, the move that a random walk makes in it.
    The confidence is the calibrated share of earlier calls of the same direction and strength, over
    all symbols, that moved their way by more than ``threshold`` at their end.
    """

    name = "intraday"

    def __init__(
        self, threshold: float = 0.003, *, lookback_bars: int = 60, hold_bars: int = 60
    ) -> None:
        """Start with no history; ``threshold`` is a fraction, the others count bars."""
        self.threshold = threshold
        self._lookback = lookback_bars
        self._hold = hold_bars
        self._calibration = Calibration(threshold)
        self._states: dict[str, _State] = {}

    def resume(self, call: Signal) -> None:
        """Go on holding a call of before a restart, until its bars are over."""
        state = self._state(call.symbol)
        strength = call.features.get("breakout_atr") or 0.0
        state.call = Call(call.direction, call.price, (call.direction, strength >= STRONG_ATR))
        state.called_ms = call.at_ms

    def on_bar(self, bar: Bar) -> Signal | None:
        """Take the next closed bar of a symbol; a call, its end, or None."""
        state = self._state(bar.symbol)
        bars = state.bars
        if bars and bar.open_ms - bars[-1].close_ms > self._lookback * bar.interval_ms:
            bars.clear()  # a range of another day is none
        signal = None
        if state.call is not None:
            if state.called_ms is not None:
                state.held_bars = (bar.open_ms - state.called_ms) // bar.interval_ms
                state.called_ms = None
            state.held_bars += 1
            if state.held_bars >= self._hold:
                signal = self._end(state, bar)
        elif len(bars) == self._lookback:
            signal = self._begin(state, bar)
        bars.append(bar)
        return signal

    def _state(self, symbol: str) -> _State:
        state = self._states.get(symbol)
        if state is None:
            state = self._states[symbol] = _State(deque(maxlen=self._lookback))
        return state

    def _begin(self, state: _State, bar: Bar) -> Signal | None:
        high = max(past.high for past in state.bars)
        low = min(past.low for past in state.bars)
        if low <= bar.close <= high:
            return None
        direction: Direction = "LONG" if bar.close > high else "SHORT"
        sign = 1 if direction == "LONG" else -1
        atr = sum(past.high - past.low for past in state.bars) / self._lookback
        beyond = bar.close - high if direction == "LONG" else low - bar.close
        strength = beyond / atr if atr > 0 else 0.0
        kind = (direction, strength >= STRONG_ATR)
        usual_move = atr * self._hold**0.5
        state.call, state.held_bars = Call(direction, bar.close, kind), 0
        return Signal(
            strategy=self.name,
            symbol=bar.symbol,
            direction=direction,
            at_ms=bar.close_ms,
            price=bar.close,
            confidence=self._calibration.confidence(kind),
            expected_edge=self._calibration.expected_edge(kind),
            stop_loss=max(0.0, bar.close - sign * STOP_MOVES * usual_move),
            take_profit=max(0.0, bar.close + sign * TARGET_MOVES * usual_move),
            reason="breakout",
            features={
                "breakout_atr": strength,
                "atr_pct": atr / bar.close * 100,
                "range_pct": (high - low) / bar.close * 100,
            },
        )

    def _end(self, state: _State, bar: Bar) -> Signal:
        assert state.call is not None
        self._calibration.settle(state.call, bar.close)
        confidence = self._calibration.confidence(state.call.kind)
        state.call = None
        return Signal(
            strategy=self.name,
            symbol=bar.symbol,
            direction="NOOP",
            at_ms=bar.close_ms,
            price=bar.close,
            confidence=confidence,
            reason="time_exit",
        )
