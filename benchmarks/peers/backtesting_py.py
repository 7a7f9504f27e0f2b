"""The intraday rule on backtesting.py: bars a second of processor (see README.md here)."""

import sys
import time
from collections import deque
from typing import Any

import pandas as pd
from backtesting import Backtest, Strategy

LOOKBACK, HOLD = 60, 60


class Breakout(Strategy):  # type: ignore[misc]
    """Follow a close beyond the range of the last hour, for at most an hour."""

    def init(self) -> None:
        """Begin without history."""
        self.bars: deque[tuple[float, float]] = deque(maxlen=LOOKBACK)
        self.held = 0
        self.levels = (0.0, 0.0)

    def next(self) -> None:
        """Take the next closed bar."""
        high, low, close = self.data.High[-1], self.data.Low[-1], self.data.Close[-1]
        if self.position:
            self.held += 1
            sign = 1 if self.position.is_long else -1
            stop, target = self.levels
            if self.held >= HOLD or sign * (close - stop) <= 0 or sign * (close - target) >= 0:
                self.position.close()
        elif len(self.bars) == LOOKBACK:
            self._enter(close)
        self.bars.append((high, low))

    def _enter(self, close: float) -> None:
        top, bottom = max(h for h, _ in self.bars), min(low for _, low in self.bars)
        if bottom <= close <= top:
            return
        sign = 1 if close > top else -1
        move = sum(h - low for h, low in self.bars) / LOOKBACK * HOLD**0.5
        self.levels = close - sign * move, close + sign * 1.5 * move
        self.held = 0
        (self.buy if sign > 0 else self.sell)(size=0.05)


def main(path: str) -> None:
    """Replay the file and print."""
    frame: Any = pd.read_csv(path, parse_dates=["date"], index_col="date")
    frame.columns = [name.capitalize() for name in frame.columns]
    started_s = time.process_time()
    # Cash is large because the library buys whole units only.
    result = Backtest(frame, Breakout, cash=1e9, commission=0.0005, finalize_trades=True).run()
    took_s = time.process_time() - started_s
    print(
        f"backtesting.py: {len(frame) / took_s:,.0f} bars a second of processor, "
        f"{result['# Trades']} trades"
    )


if __name__ == "__main__":
    main(sys.argv[1])
