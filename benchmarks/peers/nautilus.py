"""The intraday rule on NautilusTrader: bars a second of processor (see README.md here)."""

import sys
import time
from collections import deque
from decimal import Decimal
from typing import Any

import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

LOOKBACK, HOLD = 60, 60


class Breakout(Strategy):  # type: ignore[misc]
    """Follow a close beyond the range of the last hour, for at most an hour."""

    def __init__(self, instrument: Any, bar_type: Any) -> None:
        """Trade one instrument by the bars of one type."""
        super().__init__()
        self.instrument, self.bar_type = instrument, bar_type
        self.bars: deque[tuple[float, float]] = deque(maxlen=LOOKBACK)
        self.sign, self.held, self.levels, self.trades = 0, 0, (0.0, 0.0), 0

    def on_start(self) -> None:
        """Ask for the bars."""
        self.subscribe_bars(self.bar_type)

    def on_bar(self, bar: Bar) -> None:
        """Take the next closed bar."""
        high, low, close = float(bar.high), float(bar.low), float(bar.close)
        if self.sign:
            self.held += 1
            stop, target = self.levels
            if (
                self.held >= HOLD
                or self.sign * (close - stop) <= 0
                or self.sign * (close - target) >= 0
            ):
                self._order(-self.sign)
                self.sign = 0
        elif len(self.bars) == LOOKBACK:
            self._enter(close)
        self.bars.append((high, low))

    def _enter(self, close: float) -> None:
        top, bottom = max(h for h, _ in self.bars), min(low for _, low in self.bars)
        if bottom <= close <= top:
            return
        self.sign = 1 if close > top else -1
        move = sum(h - low for h, low in self.bars) / LOOKBACK * HOLD**0.5
        self.levels = close - self.sign * move, close + self.sign * 1.5 * move
        self.held, self.trades = 0, self.trades + 1
        self._order(self.sign)

    def _order(self, sign: int) -> None:
        side = OrderSide.BUY if sign > 0 else OrderSide.SELL
        quantity = self.instrument.make_qty(Decimal("0.005"))
        self.submit_order(self.order_factory.market(self.instrument.id, side, quantity))


def main(path: str) -> None:
    """Replay the file and print."""
    instrument = TestInstrumentProvider.btcusdt_perp_binance()
    bar_type = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
    frame = pd.read_csv(path, parse_dates=["date"], index_col="date")
    bars = BarDataWrangler(bar_type, instrument).process(frame)
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        venue=Venue("BINANCE"),
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=None,
        starting_balances=[Money(10_000, USDT)],
    )
    engine.add_instrument(instrument)
    engine.add_data(bars)
    strategy = Breakout(instrument, bar_type)
    engine.add_strategy(strategy)
    started_s = time.process_time()
    engine.run()
    took_s = time.process_time() - started_s
    print(
        f"NautilusTrader: {len(bars) / took_s:,.0f} bars a second of processor, "
        f"{strategy.trades} trades"
    )


if __name__ == "__main__":
    main(sys.argv[1])
