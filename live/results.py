"""What a replay came to: trades summed up by strategy, the equity's way, and both in words.

Put here: arithmetic over closed trades. Keep out: replaying (backtest.py).
"""

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
from scipy import stats

from live.book import ClosedTrade
from live.market import Bar, Event, moment_of
from live.telemetry import TelemetryStats


class Summary(msgspec.Struct, frozen=True):
    """What the closed trades of one strategy, or of all (``*``), came to; USD are net of fees."""

    strategy: str
    trade_n: int
    win_rate: float | None  # share of trades with a gross profit
    gross_usd: float
    fees_usd: float | None  # None where the venue told not every fee
    net_usd: float | None
    return_avg_pct: float | None  # gross, of entry notional
    return_lo95_pct: float | None
    return_hi95_pct: float | None
    holding_min_avg: float | None


class Result(msgspec.Struct, frozen=True):
    """A replay's outcome; ``folder`` holds its logs, traces and this, as backtest.json."""

    folder: Path
    bar_n: int
    start_ms: int | None
    end_ms: int | None
    equity_start_usd: float
    equity_end_usd: float  # open positions at the last mark
    max_drawdown_pct: float  # of equity at the ends of groups, from its peak; at or below 0
    open_positions: dict[str, float]
    snapshots_used: int
    vetoes: dict[str, int]  # orders that a gate refused, by gate
    resumed_n: int  # times that trading was resumed for a person, at midnight
    summaries: tuple[Summary, ...]
    telemetry: TelemetryStats | None


class Curve:
    """The equity at bar closes."""

    def __init__(self, start_usd: float) -> None:
        """Begin at the equity of the start."""
        self.bar_n = 0
        self.start_ms: int | None = None
        self.end_ms: int | None = None
        self.max_drawdown_pct = 0.0
        self._peak_usd = start_usd

    def see(self, group: Sequence[Event], equity_usd: float) -> None:
        """Take what happened, up to the bars that closed last, and the equity then."""
        first = group[0]
        if self.start_ms is None:
            self.start_ms = first.open_ms if isinstance(first, Bar) else first.at_ms
        self.end_ms = moment_of(group[-1])
        for event in reversed(group):  # of a span of quotes its bars are last
            if not isinstance(event, Bar):
                break
            self.bar_n += 1
        self._peak_usd = max(self._peak_usd, equity_usd)
        drawdown_pct = (equity_usd / self._peak_usd - 1) * 100
        self.max_drawdown_pct = min(self.max_drawdown_pct, drawdown_pct)


def summarise(strategy: str, trades: Sequence[ClosedTrade]) -> Summary:
    """Sum up the trades of a strategy, ``*`` for all; bounds are of Student's t."""
    mine = [trade for trade in trades if strategy in ("*", trade.strategy)]
    n = len(mine)
    returns = [trade.return_pct for trade in mine]
    fees = [trade.fees_usd for trade in mine]
    known_fees = [fee for fee in fees if fee is not None]
    gross_usd = math.fsum(trade.pnl_usd for trade in mine)
    fees_usd = math.fsum(known_fees) if len(known_fees) == n else None
    mean = math.fsum(returns) / n if n else None
    half = None
    if n > 1 and mean is not None:
        variance = math.fsum((each - mean) ** 2 for each in returns) / (n - 1)
        half = float(stats.t.ppf(0.975, n - 1)) * math.sqrt(variance / n)
    return Summary(
        strategy=strategy,
        trade_n=n,
        win_rate=sum(trade.pnl_usd > 0 for trade in mine) / n if n else None,
        gross_usd=gross_usd,
        fees_usd=fees_usd,
        net_usd=None if fees_usd is None else gross_usd - fees_usd,
        return_avg_pct=mean,
        return_lo95_pct=None if mean is None or half is None else mean - half,
        return_hi95_pct=None if mean is None or half is None else mean + half,
        holding_min_avg=math.fsum(trade.holding_minutes for trade in mine) / n if n else None,
    )


def report(result: Result, took_s: float, file_name: str) -> str:
    """Return what a person reads at the end."""
    rows = [
        f"{'strategy':<10} {'trades':>7} {'win rate':>9} {'gross USD':>11} {'fees USD':>10} "
        f"{'net USD':>11} {'mean return % (95 %)':>28} {'hold min':>9}"
    ]
    for each in result.summaries:
        interval = "–"
        if each.return_avg_pct is not None:
            interval = f"{each.return_avg_pct:.4f}"
            if each.return_lo95_pct is not None:
                interval += f" ({each.return_lo95_pct:.4f} to {each.return_hi95_pct:.4f})"
        rows.append(
            f"{each.strategy:<10} {each.trade_n:>7} {_number(each.win_rate, 3):>9} "
            f"{_number(each.gross_usd):>11} {_number(each.fees_usd):>10} "
            f"{_number(each.net_usd):>11} {interval:>28} {_number(each.holding_min_avg, 1):>9}"
        )
    held = ", ".join(f"{symbol} {qty:.12g}" for symbol, qty in result.open_positions.items())
    refused = ", ".join(f"{gate} {count:,}" for gate, count in result.vetoes.items())
    change_pct = (result.equity_end_usd / result.equity_start_usd - 1) * 100
    return "\n".join(
        [
            *rows,
            "",
            f"equity {result.equity_start_usd:,.2f} → {result.equity_end_usd:,.2f} USD "
            f"({change_pct:+.2f} %), deepest drawdown {result.max_drawdown_pct:.2f} %, "
            f"still open: {held or 'nothing'}",
            f"refused by gates: {refused or 'nothing'}"
            + (f"; resumed at {result.resumed_n} midnights" if result.resumed_n else ""),
            f"{result.bar_n:,} bars in {took_s:.1f} s ({result.bar_n / took_s:,.0f} a second); "
            f"{result.snapshots_used} snapshots of the history were read",
            f"logs, traces, {file_name}: {result.folder}",
        ]
    )


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
