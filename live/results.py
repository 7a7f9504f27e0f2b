"""What a replay came to: trades summed up by strategy, the equity's way, and both in words.

Put here: arithmetic over trades. Keep out: replaying (backtest.py).
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from scipy import stats

from live.market import Bar, Event, moment_of
from live.telemetry import TelemetryStats, TradeTelemetry
from live.trading.book import ClosedTrade, Sleeve


class Summary(msgspec.Struct, frozen=True):
    """What the closed trades of one strategy, or of all (``*``), came to; net is after fees."""

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
    open_usd: float | None  # what open trades came to at the last mark, net of their fees so far
    max_drawdown_pct: float  # of equity at the ends of groups, from its peak; at or below 0
    open_positions: dict[str, float]
    order_n: int  # attempts that were sent
    filled_n: int  # of those, filled whole or in part
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


def worth_of_open(sleeves: Iterable[Sleeve], marks: Mapping[str, float]) -> float | None:
    """Return what trades that are not closed came to at the marks, net of the fees paid so far.

    None where a mark or a fee is unknown.
    """
    worth_usd = []
    for sleeve in sleeves:
        mark = marks.get(sleeve.signal.symbol)
        if mark is None or sleeve.fees_usd is None:
            return None
        sign = 1.0 if sleeve.direction == "LONG" else -1.0
        worth_usd.append(sign * (sleeve.closed_usd - sleeve.opened_usd) + sleeve.qty * mark)
        worth_usd.append(-sleeve.fees_usd)
    return math.fsum(worth_usd)


def report(result: Result, took_s: float, file_name: str) -> str:
    """Return what a person reads at the end."""
    held = ", ".join(f"{symbol} {qty:.12g}" for symbol, qty in result.open_positions.items())
    refused = ", ".join(f"{gate} {count:,}" for gate, count in result.vetoes.items())
    change_pct = (result.equity_end_usd / result.equity_start_usd - 1) * 100
    net_usd = result.summaries[-1].net_usd
    known = f"{result.snapshots_used} snapshots of the history were read"
    if not result.snapshots_used:
        known += (
            ": none was published by the time of these prices, so no size, offset or policy of "
            "execintel acted; the engine traded as without a snapshot, sizes half at most. To "
            "test what would have been known, keep snapshots of that time in the history: "
            "docs/history.md, What nobody published"
        )
    return "\n".join(
        [
            table(result.summaries),
            "",
            f"equity {result.equity_start_usd:,.2f} → {result.equity_end_usd:,.2f} USD "
            f"({change_pct:+.2f} %), deepest drawdown {result.max_drawdown_pct:.2f} %, "
            f"still open: {held or 'nothing'}",
            tied(result.equity_end_usd - result.equity_start_usd, net_usd, result.open_usd),
            orders_line(result.order_n, result.filled_n),
            f"refused by gates: {refused or 'nothing'}"
            + (f"; resumed at {result.resumed_n} midnights" if result.resumed_n else ""),
            f"{result.bar_n:,} bars in {took_s:.1f} s ({result.bar_n / took_s:,.0f} a second)",
            known,
            f"logs, traces, {file_name}: {result.folder}",
        ]
    )


def tied(change_usd: float, net_usd: float | None, open_usd: float | None) -> str:
    """Say how a change of equity, what closed trades came to and what open ones go together."""
    line = (
        f"equity change {change_usd:+,.2f} USD = net of closed trades {_number(net_usd)}, open "
        f"trades at the last mark less their fees so far {_number(open_usd)}"
    )
    if net_usd is None or open_usd is None:
        return line + ", where a fee or a mark is unknown"
    other_usd = change_usd - net_usd - open_usd
    return line if abs(other_usd) < 0.01 else f"{line}, of no trade {other_usd:+,.2f}"


def orders_line(order_n: int, filled_n: int) -> str:
    """Say how many attempts were sent and how many of them filled."""
    return f"orders {order_n:,}, filled {filled_n:,} (whole or in part)"


def count_orders(folder: Path) -> tuple[int, int]:
    """Return how many attempts the logs of a run tell of, and how many of them filled."""
    path = folder / "order_metrics.jsonl"
    if not path.exists():
        return 0, 0
    with path.open("rb") as file:
        prices = [json.loads(line)["prices"]["avg_fill"] for line in file]
    return len(prices), sum(bool(price) for price in prices)


def gathering(
    trades: list[ClosedTrade], telemetry: TradeTelemetry | None
) -> Callable[[ClosedTrade], None]:
    """Return what an engine tells of closed trades: it keeps them and hands them to telemetry."""

    def on_closed(trade: ClosedTrade) -> None:
        trades.append(trade)
        if telemetry is not None:
            telemetry.on_close(trade)

    return on_closed


def table(summaries: Sequence[Summary]) -> str:
    """Return the closed trades of each strategy as lines of a table."""
    rows = [
        f"{'strategy':<10} {'trades':>7} {'win rate':>9} {'gross USD':>11} {'fees USD':>10} "
        f"{'net USD':>11} {'gross mean return % (95 %)':>28} {'hold min':>9}"
    ]
    for each in summaries:
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
    rows.append(
        "win rate, gross and mean return (of entry notional) are before fees, net after them"
    )
    return "\n".join(rows)


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
