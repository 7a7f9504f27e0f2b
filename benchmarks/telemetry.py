"""What a trace costs the trading thread, against a CSV line written and flushed on the spot.

At 2,000 traces a second on a timetable, and flat out with its drop count; calls are timed one by
one, the clock's own cost is printed beside. `--seconds` is the length of each part.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.calls import T, Times, nothing, show, timed
from live.market import Direction, Signal
from live.telemetry import (
    COLUMNS,
    PredictionTrace,
    TelemetryWriter,
    TradeTelemetry,
)
from live.telemetry import _to_json as to_json
from live.trading.book import ClosedTrade

RATE_PER_S = 2_000
P50_TARGET_US, P99_TARGET_US = 5.0, 30.0


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each part")
    args = parser.parse_args(argv)
    seconds = 0.3 if args.quick else args.seconds
    with tempfile.TemporaryDirectory(prefix="execintel-bench-") as folder:
        _measure(Path(folder), seconds)
    return 0


def _measure(folder: Path, seconds: float) -> None:
    trades = [_trade(number) for number in range(1_000)]
    print(f"the clock itself: {show(_paced(nothing, trades, 0.2))}")
    with TelemetryWriter(folder / "paced") as writer:
        capture = TradeTelemetry(writer, {"intraday": 0.003})
        traces = [capture._trace(trade, 0.003, 0) for trade in trades]
        ours = _paced(writer.write_trace, traces, seconds)
    stats = writer.stats
    print(f"write_trace at {RATE_PER_S:,}/s: {show(ours)}; {stats.dropped} dropped")
    print(f"    {_verdict(ours, stats.dropped)}")
    with TelemetryWriter(folder / "captured") as writer:
        capture = TradeTelemetry(writer, {"intraday": 0.003})
        whole = _paced(capture.on_close, trades, seconds)
    print(f"choosing a trade and queueing its trace: {show(whole)}; {writer.stats.dropped} dropped")
    with NaiveWriter(folder / "naive.csv") as naive:
        theirs = _paced(naive.write_trace, traces, seconds)
    p50, p99 = (np.percentile(theirs, q) / np.percentile(ours, q) for q in (50, 99))
    print(f"csv.writer and flush in the calling thread: {show(theirs)}")
    print(f"    {p50:.1f} times ours at p50, {p99:.1f} times at p99")
    for waits in (False, True):
        _flat_out(folder / f"flat-{waits}", traces, seconds, waits)


def _verdict(times_us: Times, dropped: int) -> str:
    p50, p99 = np.percentile(times_us, (50, 99))
    is_met = dropped == 0 and p50 < P50_TARGET_US and p99 < P99_TARGET_US
    target = f"none dropped, p50 under {P50_TARGET_US:g} µs, p99 under {P99_TARGET_US:g} µs"
    return f"target ({target}) {'met' if is_met else 'MISSED'}"


def _flat_out(folder: Path, traces: Sequence[PredictionTrace], seconds: float, waits: bool) -> None:
    with TelemetryWriter(folder, waits_when_full=waits) as writer:
        started_s = time.perf_counter()
        while time.perf_counter() - started_s < seconds:
            for trace in traces:
                writer.write_trace(trace)
        took_s = time.perf_counter() - started_s
    stats = writer.stats
    print(
        f"flat out, {'waiting for room' if waits else 'dropping'}: "
        f"{stats.captured / took_s:,.0f} calls a second, {stats.written / took_s:,.0f} written, "
        f"{stats.dropped:,} of {stats.captured:,} dropped"
    )


def _paced(call: Callable[[T], object], items: Sequence[T], seconds: float) -> Times:
    n = max(1, int(seconds * RATE_PER_S))
    return timed(call, items, n, rate_per_s=RATE_PER_S)


class NaiveWriter:
    """What one writes first: a CSV line in the trading thread, flushed so that it is not lost."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="")
        self._csv = csv.writer(self._file)
        self._csv.writerow(COLUMNS)

    def write_trace(self, trace: PredictionTrace) -> None:
        """Write and flush one line."""
        self._csv.writerow(
            (
                trace.timestamp.isoformat(),
                trace.symbol,
                trace.strategy,
                trace.predicted_direction,
                trace.actual_direction,
                trace.predicted_confidence,
                trace.entry_price,
                trace.exit_price,
                trace.holding_period_minutes,
                trace.realized_return_pct,
                to_json(trace.features).decode(),
                to_json(trace.metadata).decode(),
            )
        )
        self._file.flush()

    def __enter__(self) -> "NaiveWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _trade(number: int) -> ClosedTrade:
    entry_ms = 1_750_000_000_000 + number * 60_000
    direction: Direction = "LONG" if number % 2 else "SHORT"
    entry, exit_ = 95_000.5 + number, 95_100.25 + number
    signal = Signal(
        strategy="intraday",
        symbol="BTCUSDT",
        direction=direction,
        at_ms=entry_ms,
        price=entry,
        confidence=0.5 + number % 50 / 100,
        stop_loss=94_500.0,
        take_profit=95_900.0,
        features={"momentum": 0.0012, "volatility": 0.0004, "range_position": 0.83},
    )
    return ClosedTrade(
        trade_id=f"BTCUSDT-{number}",
        signal=signal,
        direction=direction,
        symbol="BTCUSDT",
        strategy="intraday",
        qty=0.01,
        entry_price=entry,
        exit_price=exit_,
        entry_ms=entry_ms,
        exit_ms=entry_ms + 600_000,
        pnl_usd=(exit_ - entry) * (0.01 if number % 2 else -0.01),
        fees_usd=0.47,
        exit_reason="take_profit",
    )


if __name__ == "__main__":
    raise SystemExit(main())
