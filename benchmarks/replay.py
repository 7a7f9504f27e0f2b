"""Bars replayed a second by the backtester, and what telemetry takes of it and of the live loop.

Without `--bars DIR` (with {SYMBOL}_1m.csv.gz) the bars are those of the demonstration's market.
Telemetry captures every closed trade of the backtest; its share is the processor time of capturing
and of the writing thread over that of the whole process. The live loop is measured twice: replayed
as fast as it goes, and at the machine's time for `--live-seconds`, on quotes that wander and a
strategy that turns its position every few seconds. `--emit FILE` writes the bars as one CSV, which
benchmarks/peers/ replays by other backtesters in environments of their own.
"""

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from features.settings import Settings
from live import backtest
from live.clock import RealClock
from live.engine import Engine
from live.market import Bar, Direction, Quote, Signal, bars
from live.market.feeds import QuoteFeed
from live.reader import SnapshotReader
from live.results import Result
from live.run import paper_over_bars
from live.strategies import make
from live.telemetry import TelemetryWriter, TradeTelemetry
from live.trading.book import ClosedTrade
from live.venues import Instrument
from live.venues.paper import PaperVenue
from pipelines.demo.market import DAY_US, Market

BACKTEST_TARGET_PCT, LIVE_TARGET_PCT = 0.1, 0.05  # US-017
LIVE_RATE, LIVE_THROTTLE_S = 0.1, 60.0
TURN_BARS = 4  # of half a second
_END_US = 1_767_830_400_000_000


class Timed(TradeTelemetry):
    """Telemetry that adds up the processor time of its callers, without that of the meter."""

    spent_s = 0.0

    def on_close(self, trade: ClosedTrade) -> None:
        """Take a closed trade and the time that takes."""
        empty = time.thread_time()
        before = time.thread_time()
        super().on_close(trade)
        self.spent_s += time.thread_time() - before - (before - empty)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all")
    parser.add_argument("--bars", type=Path, help="folder of {SYMBOL}_1m.csv[.gz]")
    parser.add_argument("--symbols", nargs="+", default=["BTCUSDT", "ETHUSDT", "SOLUSDT"])
    parser.add_argument("--minutes", type=int, default=43_200, help="bars a symbol")
    parser.add_argument("--live-seconds", type=float, default=60.0, help="of the loop in real time")
    parser.add_argument("--emit", type=Path, help="write the first symbol's bars there and end")
    args = parser.parse_args(argv)
    groups = _groups(args, 600 if args.quick else args.minutes)
    if args.emit:
        bars.write(args.emit, [group[0] for group in groups])
        return 0
    count = sum(map(len, groups))
    print(f"{count:,} bars of {len(args.symbols)} symbols; intraday and swing, everything logged")
    with tempfile.TemporaryDirectory(prefix="execintel-bench-") as folder:
        _report("backtest without telemetry", count, lambda: _backtest(groups, folder))
        _share("backtest", groups, Path(folder), BACKTEST_TARGET_PCT, 1.0, 0.0)
        _share(
            "live loop, replayed", groups, Path(folder), LIVE_TARGET_PCT, LIVE_RATE, LIVE_THROTTLE_S
        )
        _in_real_time(Path(folder), 2.0 if args.quick else args.live_seconds)
        _report(
            "  intraday alone, without telemetry",
            count,
            lambda: _backtest(groups, folder, "intraday"),
        )
    return 0


def _groups(args: argparse.Namespace, minutes: int) -> list[list[Bar]]:
    if args.bars:
        files = bars.find(args.bars, args.symbols, "1m").values()
        return list(islice(bars.merged(files), minutes))
    start_us = _END_US - (minutes // 1440 + 1) * DAY_US
    market = Market(tuple(args.symbols), start_us, _END_US, seed=7)
    paths = [market.minute_bars(symbol)[-minutes:] for symbol in sorted(args.symbols)]
    return [list(group) for group in zip(*paths, strict=True)]


def _backtest(groups: list[list[Bar]], folder: str, strategy: str = "both") -> Result:
    with tempfile.TemporaryDirectory(dir=folder) as logs:
        return backtest.replay(
            iter(groups), make(strategy, {}), settings=Settings(home=Path(folder, "home")),
            folder=Path(logs), resumes_daily=True,
        )  # fmt: skip


def _report(what: str, count: int, run: Callable[[], Result]) -> None:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    result = run()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    print(
        f"{what}: {count / cpu_s:,.0f} bars a second of processor ({count / wall_s:,.0f} of wall), "
        f"{result.summaries[-1].trade_n:,} trades"
    )


def _share(
    what: str,
    groups: list[list[Bar]],
    folder: Path,
    target_pct: float,
    rate: float,
    throttle: float,
) -> None:
    settings = Settings(home=folder / "home")
    strategies = make("both", {})
    with tempfile.TemporaryDirectory(dir=folder) as logs:
        writer = TelemetryWriter(Path(logs, "traces"), waits_when_full=True)
        telemetry = Timed(
            writer, {each.name: each.threshold for each in strategies}, sample_rate=rate,
            throttle_seconds=throttle,
        )  # fmt: skip
        started_s = time.process_time()
        if what == "backtest":
            backtest.replay(
                iter(groups), strategies, settings=settings, folder=Path(logs, "orders"),
                telemetry=telemetry, resumes_daily=True,
            )  # fmt: skip
        else:
            with ExitStack() as stack:
                engine = paper_over_bars(
                    iter(groups), strategies, settings=settings, log_dir=Path(logs, "orders"),
                    seed=0, telemetry=telemetry, stack=stack,
                )  # fmt: skip
                engine.run()
            telemetry.close()
        whole_s = time.process_time() - started_s
    stats = telemetry.stats
    caller_pct = telemetry.spent_s / whole_s * 100
    share_pct = (telemetry.spent_s + stats.thread_cpu_s) / whole_s * 100
    verdict = "met" if share_pct < target_pct else "MISSED"
    print(
        f"telemetry of the {what}: {stats.captured:,} of {stats.closed:,} trades captured, "
        f"{share_pct:.3f} % of its processor time, {caller_pct:.3f} % in the trading thread "
        f"({telemetry.spent_s / max(1, stats.closed) * 1e6:.0f} µs a closed trade); "
        f"US-017's {target_pct:g} %: {verdict}"
    )


class Turning:
    """A strategy that turns its position every few bars, far more often than any that trades."""

    name, threshold = "turning", 0.003
    bar_n = 0

    def on_bar(self, bar: Bar) -> Signal | None:
        """Take the next closed bar; long, short, long."""
        self.bar_n += 1
        if self.bar_n % TURN_BARS:
            return None
        direction: Direction = "LONG" if self.bar_n // TURN_BARS % 2 else "SHORT"
        return Signal(
            self.name, bar.symbol, direction, bar.close_ms, bar.close, 0.6, wants_maker=False
        )


def _in_real_time(folder: Path, seconds: float) -> None:
    """Let an engine live for a while on paper, and see what telemetry takes of its time."""
    clock, rng, mid = RealClock(), random.Random(7), 100_000.0

    def quote(symbol: str) -> Quote:
        nonlocal mid
        mid *= 1 + rng.gauss(0, 1e-5)
        return Quote(symbol, clock.now_ms(), mid - 0.5, mid + 0.5)

    settings = Settings(home=folder / "home", trading={"max_orders_hour": 100_000})
    writer = TelemetryWriter(folder / "real-time")
    telemetry = Timed(writer, {Turning.name: Turning.threshold})
    engine = Engine(
        PaperVenue(clock, instruments={"BTCUSDT": Instrument("BTCUSDT", 0.1, 0.001, 0.001, 5.0)}),
        [Turning()],
        SnapshotReader(folder / "snapshots", environment="paper").read,
        settings=settings,
        clock=clock,
        log_dir=folder / "real-time-logs",
        on_closed=telemetry.on_close,
        feed=QuoteFeed(quote, ["BTCUSDT"], clock, interval_ms=500),
    )
    turn_n, step = 0, engine.step

    def counted() -> None:
        nonlocal turn_n
        turn_n += 1
        step()

    engine.step = counted  # type: ignore[method-assign]
    threading.Timer(seconds, engine.stop).start()
    started_s = time.process_time()
    engine.run()
    telemetry.close()
    whole_s = time.process_time() - started_s
    stats = telemetry.stats
    caller_s, thread_s = telemetry.spent_s, stats.thread_cpu_s
    share_pct, caller_pct = (part / whole_s * 100 for part in (caller_s + thread_s, caller_s))
    kept = "no trade closed"
    if stats.closed:
        trade_s = (caller_s + thread_s) / stats.closed
        hourly = LIVE_TARGET_PCT / 100 * whole_s / seconds * 3600 / trade_s
        kept = f"{trade_s * 1e6:.0f} µs a trade: kept up to {hourly:,.0f} captured trades an hour"
    verdict = "met" if share_pct < LIVE_TARGET_PCT else "MISSED"
    print(
        f"telemetry of the live loop in real time: {stats.captured} of {stats.closed} trades "
        f"captured in {seconds:g} s and {turn_n} steps, {whole_s / seconds * 1e3:.1f} ms of "
        f"processor a second; {share_pct:.3f} % of it, {caller_pct:.3f} % in the trading thread; "
        f"US-017's {LIVE_TARGET_PCT:g} %: {verdict} ({kept})"
    )


if __name__ == "__main__":
    raise SystemExit(main())
