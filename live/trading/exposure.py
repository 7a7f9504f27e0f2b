"""What an account holds in USD, as gates and log lines see it.

Put here: arithmetic over lots, attempts in flight and marks. Keep out: each of them.
"""

from collections.abc import Iterable

from live.trading.attempt import Attempt
from live.trading.book import Lots
from live.trading.log_lines import Line
from live.trading.marks import Marks
from live.venues import Account, PositionSide


def exposure(
    lots: Lots, attempts: Iterable[Attempt], marks: Marks
) -> tuple[dict[str, float], dict[str, float]]:
    """Return USD by symbol as it stands when every open buy fills, and every open sell."""
    long_usd: dict[str, float] = {}
    short_usd: dict[str, float] = {}
    for (symbol, side), qty in lots.positions().items():
        usd = qty * _price_of(lots, marks, symbol, side)
        if side != "SHORT":
            long_usd[symbol] = usd
        if side != "LONG":
            short_usd[symbol] = usd
    for attempt in attempts:
        leg = attempt.leg
        if leg is None or leg.reduce_only:
            continue
        symbol = attempt.symbol
        usd = leg.left * (leg.price or marks.newest(symbol) or attempt.mark)
        if leg.side == "BUY":
            long_usd[symbol] = long_usd.get(symbol, 0.0) + usd
        else:
            short_usd[symbol] = short_usd.get(symbol, 0.0) - usd
    return long_usd, short_usd


def nav(lots: Lots, marks: Marks, account: Account | None) -> Line:
    """Return what the account is worth and holds, at one and the same marks where known."""
    told = account.marks if account else {}
    gross: dict[str, float] = {}
    for (symbol, side), qty in lots.positions().items():
        mark = told.get(symbol) or _price_of(lots, marks, symbol, side)
        gross[symbol] = gross.get(symbol, 0.0) + qty * mark
    gross = {symbol: abs(usd) for symbol, usd in gross.items()}
    return {
        "nav_usd": account.equity_usd if account else None,
        "gross_usd": sum(gross.values()),
        "symbol_gross_usd": gross,
    }


def _price_of(lots: Lots, marks: Marks, symbol: str, side: PositionSide) -> float:
    """Return a position's mark; before the first one, as after a restart, its entry price."""
    return marks.newest(symbol) or lots.entry_price(symbol, side)
