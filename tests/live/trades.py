"""Closed trades for tests of telemetry."""

from typing import Any

import msgspec

from live.market import Direction, Signal
from live.trading.book import ClosedTrade

START_MS = 1_762_300_800_000  # 2025-11-05T00:00:00Z


def trade(
    number: int = 0,
    *,
    direction: Direction = "LONG",
    entry: float = 100.0,
    exit: float = 101.0,
    strategy: str = "intraday",
    symbol: str = "BTCUSDT",
    at_ms: int | None = None,
    minutes: float = 12.0,
    **signal: Any,
) -> ClosedTrade:
    """Return a trade of one unit that closed ``minutes`` after ``at_ms``."""
    entry_ms = START_MS + number * 60_000 if at_ms is None else at_ms
    wanted = Signal(
        strategy=strategy,
        symbol=symbol,
        direction=direction,
        at_ms=entry_ms,
        price=entry,
        confidence=0.62,
        stop_loss=99.0,
        take_profit=103.0,
        features={"breakout_atr": 0.7},
    )
    sign = 1 if direction == "LONG" else -1
    return ClosedTrade(
        trade_id=f"sig_{symbol}_{number}",
        signal=msgspec.structs.replace(wanted, **signal),
        direction=direction,
        symbol=symbol,
        strategy=strategy,
        qty=1.0,
        entry_price=entry,
        exit_price=exit,
        entry_ms=entry_ms,
        exit_ms=entry_ms + round(minutes * 60_000),
        pnl_usd=sign * (exit - entry),
        fees_usd=0.05,
        exit_reason="take_profit",
    )
