"""Swing trend: hold with the faster of two averages of closes until they cross back.

Put here: this one rule, and the longer bars it looks at. Keep out: sizes, orders.
"""

import msgspec

from live.market import Bar, Direction, Signal
from live.strategies.calibration import Calibration, Call

HOUR_MS = 3_600_000
STOP_ATR, TARGET_ATR = 3.0, 6.0  # distance of stop and target in mean ranges of a long bar


class _State(msgspec.Struct):
    """What one symbol's bars left: the long bar being made, averages, the call that stands."""

    forming: Bar | None = None
    fast: float = 0.0
    slow: float = 0.0
    atr: float = 0.0
    long_bars: int = 0
    call: Call | None = None


class Swing:
    """Call LONG while the fast exponential average of closes is above the slow one, else SHORT.

    It looks at bars of ``timeframe_ms``, made of the finer ones it gets; longer ones are taken as
    they are. A call turns when the averages cross by more than ``deadband_atr`` mean ranges, which
    keeps it from turning at every touch. The confidence is the calibrated share of earlier calls of
    the same direction, over all symbols, that had moved their way by more than ``threshold`` when
    they turned.
    """

    name = "swing"
    holds_overnight = True  # where a market has sessions, its end ends the others' trades

    def __init__(
        self,
        threshold: float = 0.005,
        *,
        timeframe_ms: int = HOUR_MS,
        fast_bars: int = 8,
        slow_bars: int = 32,
        deadband_atr: float = 0.1,
    ) -> None:
        """Start with no history; ``threshold`` is a fraction, the averages count long bars."""
        self.threshold = threshold
        self._timeframe_ms = timeframe_ms
        self._fast_bars, self._slow_bars = fast_bars, slow_bars
        self._deadband = deadband_atr
        self._calibration = Calibration(threshold)
        self._states: dict[str, _State] = {}

    def on_bar(self, bar: Bar) -> Signal | None:
        """Take the next closed bar of a symbol; a call where a long bar closes and turns it."""
        state = self._states.setdefault(bar.symbol, _State())
        whole = self._join(state, bar)
        if whole is None:
            return None
        self._average(state, whole)
        if state.long_bars < self._slow_bars:
            return None
        gap = state.fast - state.slow
        if abs(gap) <= self._deadband * state.atr:
            return None
        direction: Direction = "LONG" if gap > 0 else "SHORT"
        if state.call is not None and state.call.direction == direction:
            return None
        return self._turn(state, direction, bar)

    def _join(self, state: _State, bar: Bar) -> Bar | None:
        """Add a bar to the long one that is being made; returns the long one once it is whole."""
        if bar.interval_ms >= self._timeframe_ms:
            return bar
        open_ms = bar.open_ms // self._timeframe_ms * self._timeframe_ms
        forming = state.forming
        if forming is None or forming.open_ms != open_ms:  # after a gap the old one stays undone
            forming = Bar(
                bar.symbol, open_ms, self._timeframe_ms,
                bar.open, bar.high, bar.low, bar.close, bar.volume,
            )  # fmt: skip
        else:
            forming = msgspec.structs.replace(
                forming,
                high=max(forming.high, bar.high),
                low=min(forming.low, bar.low),
                close=bar.close,
                volume=forming.volume + bar.volume,
            )
        is_whole = bar.close_ms >= forming.close_ms
        state.forming = None if is_whole else forming
        return forming if is_whole else None

    def _average(self, state: _State, whole: Bar) -> None:
        state.long_bars += 1
        if state.long_bars == 1:
            state.fast = state.slow = whole.close
            state.atr = whole.high - whole.low
            return
        state.fast += 2 / (self._fast_bars + 1) * (whole.close - state.fast)
        state.slow += 2 / (self._slow_bars + 1) * (whole.close - state.slow)
        state.atr += 2 / (self._slow_bars + 1) * (whole.high - whole.low - state.atr)

    def _turn(self, state: _State, direction: Direction, bar: Bar) -> Signal:
        if state.call is not None:
            self._calibration.settle(state.call, bar.close)
        state.call = Call(direction, bar.close, direction)
        sign = 1 if direction == "LONG" else -1
        return Signal(
            strategy=self.name,
            symbol=bar.symbol,
            direction=direction,
            at_ms=bar.close_ms,
            price=bar.close,
            confidence=self._calibration.confidence(direction),
            expected_edge=self._calibration.expected_edge(direction),
            stop_loss=max(0.0, bar.close - sign * STOP_ATR * state.atr),
            take_profit=max(0.0, bar.close + sign * TARGET_ATR * state.atr),
            reason="trend_turn",
            features={
                "gap_pct": (state.fast - state.slow) / bar.close * 100,
                "atr_pct": state.atr / bar.close * 100,
            },
        )
