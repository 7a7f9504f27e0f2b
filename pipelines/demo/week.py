"""A simulated week: the paper engine trades a seeded market, and reads what its own logs taught.

Put here: engine, market and refresh under one simulated clock. Keep out: each of them. In the first
half nothing is published; from then on a refresh every few hours publishes what the engine wrote.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from features.settings import Settings
from live.arguments import thresholds
from live.clock import SimulatedClock
from live.engine import Engine
from live.market import Bar
from live.market.bars import COLUMNS, line
from live.reader import SnapshotReader
from live.results import worth_of_open
from live.strategies import make
from live.telemetry import TelemetryWriter, TradeTelemetry
from live.trading.book import ClosedTrade
from live.trading.controls import Controls
from live.venues import Instrument
from live.venues.paper import PaperConfig, paper_venue
from pipelines.demo.generate import DEMO_END_MS
from pipelines.demo.market import BAR_MINUTES, DAY_US, DEMO_SYMBOLS, MINUTE_US, Market, spec_of
from pipelines.intake.intake import TableIntake
from pipelines.refresh import refresh

REFRESH_HOURS = 6
MAX_AGE_S = REFRESH_HOURS * 3_600 + 900  # a snapshot is fresh until the next one
EQUITY_USD = 100_000.0  # large beside the orders: a demonstration that halts shows little
_HOUR_MS = 3_600_000

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Week:
    """What a simulated week came to; orders by the half they were decided in."""

    end_ms: int
    minute_bars: int
    trades: int
    net_usd: float
    open_usd: float | None  # what its open trades came to at the last mark, less their fees so far
    equity_change_usd: float
    orders: tuple[int, int]
    orders_with_snapshot: tuple[int, int]
    snapshots: int
    read: dict[str, TableIntake]  # what its refreshes read, by raw table


def trade_week(
    settings: Settings,
    *,
    seed: int = 7,
    days: float = 7,
    end_ms: int = DEMO_END_MS,
    symbols: tuple[str, ...] = DEMO_SYMBOLS,
    on_progress: Progress | None = None,
) -> Week:
    """Trade the ``days`` before ``end_ms`` and return what came of it.

    Logs go to ``settings.log_dir``, bars beside them, traces to analytics/live below home. The same
    arguments give the same logs. ``on_progress`` is called with minutes done and in all.
    """
    assert settings.log_dir is not None
    end_us = end_ms * 1000
    start_us = end_us - round(days * DAY_US)
    market = Market(symbols, start_us, end_us, seed)
    clock = SimulatedClock(start_us // 1000)
    trades: list[ClosedTrade] = []
    with ExitStack() as stack:
        strategies = make("both", thresholds(settings))
        writer = TelemetryWriter(settings.home / "analytics" / "live", waits_when_full=True)
        stack.callback(writer.close)
        telemetry = TradeTelemetry(writer, {each.name: each.threshold for each in strategies})

        def on_closed(trade: ClosedTrade) -> None:
            trades.append(trade)
            telemetry.on_close(trade)

        reader = SnapshotReader(
            settings.snapshots_root,
            environment="paper",
            max_age_s=settings.snapshot_max_age_s,
            clock=lambda: clock.now_ms() / 1000,
            on_event=lambda event: None,
        )
        venue = paper_venue(
            clock,
            settings.trading.model_copy(update={"paper_equity_usd": EQUITY_USD}),
            seed=seed,
            config=PaperConfig(partial_rate=0.05, reject_rate=0.01),
            instruments={symbol: _instrument(symbol) for symbol in symbols},
        )
        engine = Engine(
            venue,
            strategies,
            reader.read,
            settings=settings,
            clock=clock,
            log_dir=settings.log_dir,
            controls=Controls(None),
            on_closed=on_closed,
            run_id=f"demo-{seed}",
        )
        minute_bars = [market.minute_bars(symbol) for symbol in sorted(symbols)]
        bar_files = _BarFiles(minute_bars, settings.log_dir / "bars")
        first = (start_us - market.first_us) // MINUTE_US
        half_ms = (start_us + end_us) // 2000
        due_ms, snapshots, minutes = half_ms, 0, 0
        read: dict[str, TableIntake] = defaultdict(TableIntake)
        total = (end_us - start_us) // MINUTE_US
        for group in zip(*(bars[first:] for bars in minute_bars), strict=True):
            engine.on_bars(group)
            minutes += 1
            if clock.true_ms >= due_ms and minutes < total:
                due_ms += REFRESH_HOURS * _HOUR_MS
                telemetry.flush()
                bar_files.write_until(clock.true_ms)
                report = refresh(settings, as_of_ms=clock.true_ms, now_ms=clock.true_ms)
                snapshots += report.outcome == "published"
                for table, found in report.intake.tables.items():
                    read[table].add(found)
            if on_progress and minutes % 60 == 0:
                on_progress(minutes, total)
        engine.close()
        account = venue.account()
        bar_files.write_until(clock.true_ms)
    orders, named = _count(settings.log_dir / "order_metrics.jsonl", half_ms, end_ms)
    return Week(
        end_ms=end_ms,
        minute_bars=minutes * len(symbols),
        trades=len(trades),
        net_usd=sum(trade.pnl_usd - (trade.fees_usd or 0.0) for trade in trades),
        open_usd=worth_of_open(engine.executor.sleeves.values(), account.marks),
        equity_change_usd=account.equity_usd - EQUITY_USD,
        orders=(orders[False], orders[True]),
        orders_with_snapshot=(named[False], named[True]),
        snapshots=snapshots,
        read=read,
    )


def _instrument(symbol: str) -> Instrument:
    spec = spec_of(symbol)
    tick = 10.0**-spec.price_digits
    return Instrument(symbol, tick, spec.step, spec.step, spec.min_notional_usd, max_leverage=20.0)


class _BarFiles:
    """The bars of the market as files that grow with the clock, those of its warm-up first."""

    def __init__(self, symbols: Sequence[Sequence[Bar]], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._bars: dict[Path, list[Bar]] = {}
        for minutes in symbols:
            path = folder / f"{minutes[0].symbol}_{BAR_MINUTES}m.csv"
            self._bars[path] = _joined(minutes)
            path.write_text(",".join(COLUMNS) + "\n", "utf-8")
        self._done = 0

    def write_until(self, at_ms: int) -> None:
        """Append every bar that is closed by now."""
        closed = self._done
        for path, bars in self._bars.items():
            closed = sum(bar.close_ms <= at_ms for bar in bars)
            with path.open("a", encoding="utf-8") as file:
                file.writelines(line(bar) for bar in bars[self._done : closed])
        self._done = closed


def _joined(minutes: Sequence[Bar]) -> list[Bar]:
    """Join one-minute bars to bars of BAR_MINUTES."""
    made = []
    for first in range(0, len(minutes), BAR_MINUTES):
        part = minutes[first : first + BAR_MINUTES]
        made.append(
            Bar(
                part[0].symbol, part[0].open_ms, BAR_MINUTES * part[0].interval_ms, part[0].open,
                max(bar.high for bar in part), min(bar.low for bar in part), part[-1].close,
                sum(bar.volume for bar in part),
            )
        )  # fmt: skip
    return made


def _count(path: Path, half_ms: int, end_ms: int) -> tuple[Counter[bool], Counter[bool]]:
    """Count orders, and those that name a snapshot, by whether they are of the second half.

    Those that ended after the week, cancelled with the engine's end, are in no snapshot of it.
    """
    orders: Counter[bool] = Counter()
    named: Counter[bool] = Counter()
    for text in path.read_text("utf-8").splitlines():
        line = json.loads(text)
        if float(line["ts"]) * 1000 > end_ms:
            continue
        is_late = float(line["ts"]) * 1000 >= half_ms
        orders[is_late] += 1
        named[is_late] += line.get("snapshot_id") is not None
    return orders, named
