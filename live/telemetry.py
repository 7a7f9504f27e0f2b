"""Prediction traces of closed trades, written beside trading and never in its way.

Put here: what a trace says, which trades get one, the queue and its thread. Keep out: the files
themselves (trace_files.py), accuracy (features/sql).
"""

import atexit
import datetime as dt
import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from live.market import Direction
from live.trace_files import Format, TraceFiles
from live.trading.book import ClosedTrade
from live.trading.journal import plain

COLUMNS = (
    "timestamp",
    "symbol",
    "strategy",
    "predicted_direction",
    "actual_direction",
    "predicted_confidence",
    "entry_price",
    "exit_price",
    "holding_period_minutes",
    "realized_return_pct",
    "features_json",
    "metadata_json",
)
RETRY_S = 1.0  # between two attempts on a disk that refuses
_HEADER = (",".join(COLUMNS) + "\n").encode()
_log = logging.getLogger(__name__)


class PredictionTrace(msgspec.Struct, frozen=True):
    """What a strategy predicted and what came of it; one row of raw_telemetry__traces."""

    timestamp: dt.datetime  # entry, with zone
    symbol: str
    strategy: str
    predicted_direction: Direction
    actual_direction: Direction  # the market's, whichever way the trade stood
    predicted_confidence: float
    entry_price: float
    exit_price: float
    holding_period_minutes: float
    realized_return_pct: float  # the position's, percent of entry notional, before fees
    features: Mapping[str, Any] = {}
    metadata: Mapping[str, Any] = {}


class TelemetryStats(msgspec.Struct):
    """What became of closed trades: closed = captured + sampled out + throttled + failed.

    captured = written + dropped, once the writer is closed.
    """

    closed: int = 0
    captured: int = 0
    sampled_out: int = 0
    throttled: int = 0
    failed: int = 0  # no trace could be made of it
    dropped: int = 0  # the queue was full, or the disk refused to the end
    written: int = 0
    flushes: int = 0
    write_s: float = 0.0
    thread_cpu_s: float = 0.0  # processor time of the writing thread, once closed

    @property
    def avg_write_time_ms(self) -> float | None:
        """Return the mean time of a flush, None before the first."""
        return self.write_s / self.flushes * 1e3 if self.flushes else None

    def summary(self) -> str:
        """Return the line that is logged on shutdown."""
        average = self.avg_write_time_ms
        taken = "–" if average is None else f"{average:.1f}ms"
        return (
            f"Telemetry: {self.captured} traces captured, {self.flushes} flushes, "
            f"avg_write_time={taken} ({self.closed} trades closed, {self.sampled_out} sampled out, "
            f"{self.throttled} throttled, {self.dropped} dropped, {self.failed} failed, "
            f"{self.written} written)"
        )


def market_direction(entry_price: float, exit_price: float, threshold: float) -> Direction:
    """Return where the market went: beyond ``threshold``, a fraction, LONG or SHORT, else NOOP."""
    move = exit_price / entry_price - 1
    if move > threshold:
        return "LONG"
    return "SHORT" if move < -threshold else "NOOP"


def share_of(trade_id: str) -> float:
    """Return a number in [0, 1) that depends on the trade's id alone, evenly spread."""
    digest = hashlib.blake2b(trade_id.encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / (1 << 56)


class TelemetryWriter:
    """Write traces from a thread of its own; ``write_trace`` only puts them on a bounded queue.

    One thread calls it, the one that trades.
    Close it, or use it in a ``with``: that writes what waits. At the end of the interpreter it
    closes itself; a process that is to end by SIGTERM must turn that into an exit.
    """

    def __init__(
        self,
        output_dir: Path,
        format: Format = "csv",
        compression: bool = False,
        buffer_size: int = 50,
        *,
        queue_size: int = 10_000,
        max_file_bytes: int = 16 << 20,
        flush_interval_s: float = 1.0,
        waits_when_full: bool = False,
    ) -> None:
        """Start the thread.

        Args:
            output_dir: folder of the files; made when the first trace comes.
            format: csv or jsonl.
            compression: replace finished files (rotated, or at close) by .gz.
            buffer_size: traces a write.
            queue_size: traces that may wait; what comes beyond is dropped and counted.
            max_file_bytes: a file ends before the line that would make it longer.
            flush_interval_s: how often what waits is written; sooner when the queue is half full.
            waits_when_full: wait for room instead of dropping, as a backtest may.

        Raises ValueError for an unknown format and sizes below 1.
        """
        if format not in ("csv", "jsonl"):
            raise ValueError(f"format = {format!r}: traces are written as csv or jsonl")
        if min(buffer_size, queue_size, max_file_bytes) < 1 or flush_interval_s <= 0:
            raise ValueError(
                f"buffer_size = {buffer_size}, queue_size = {queue_size}, max_file_bytes = "
                f"{max_file_bytes}, flush_interval_s = {flush_interval_s}: all must be above 0"
            )
        self.output_dir = Path(output_dir)
        self.stats = TelemetryStats()
        self._buffer_size = buffer_size
        self._queue_size = queue_size
        self._wake_at = queue_size // 2
        self._flush_interval_s = flush_interval_s
        self._waits_when_full = waits_when_full
        self._queue: deque[tuple[Callable[..., PredictionTrace], tuple[Any, ...]]] = deque()
        self._lines: dict[str, list[bytes]] = {}  # taken from the queue, not yet written
        self._line = csv_line if format == "csv" else jsonl_line
        self._trouble: str | None = None
        self._wake, self._closing = threading.Event(), threading.Event()
        self._files = TraceFiles(
            self.output_dir,
            format,
            header=_HEADER if format == "csv" else b"",
            is_compressed=compression,
            max_file_bytes=max_file_bytes,
        )
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write_trace(self, trace: PredictionTrace) -> bool:
        """Queue a trace; returns False where there is no room. Never raises, never writes."""
        return self.write_later(_itself, trace)

    def write_later(self, make: Callable[..., PredictionTrace], *args: Any) -> bool:
        """Queue the making of a trace, which the writing thread does; else as write_trace."""
        self.stats.captured += 1
        queue = self._queue
        if len(queue) >= self._queue_size and not self._wait_for_room():
            self.stats.dropped += 1
            return False
        queue.append((make, args))
        # Waking costs 30 µs: only the first to wait does it, and who sees the queue half full.
        # Counted behind the append, for the writer may empty the queue in between.
        waiting = len(queue)
        if waiting == 1 or waiting == self._wake_at:
            self._wake.set()
        return True

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything queued is written; tells whether it is, within the timeout."""
        until_s = time.monotonic() + timeout_s
        while not (done := self.stats.written + self.stats.dropped >= self.stats.captured):
            if time.monotonic() >= until_s:
                break
            self._wake.set()
            time.sleep(0.001)
        return done

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits and finish the files; what a hung disk does not take in time is lost."""
        if self._closing.is_set():
            return
        self._closing.set()
        atexit.unregister(self.close)
        self._wake.set()
        self._thread.join(timeout_s)
        if lost := self._waiting():
            self.stats.dropped += lost
            why = self._trouble or f"the disk did not answer within {timeout_s:g} s"
            _log.warning("telemetry: %d traces lost at close: %s", lost, why)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_for_room(self) -> bool:
        """Tell whether there is room now; a disk in trouble or a dead thread is not waited for."""
        while self._waits_when_full and self._trouble is None and self._thread.is_alive():
            self._wake.set()
            time.sleep(0.0005)
            if len(self._queue) < self._queue_size:
                return True
        return False

    # -- the writing thread ------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()  # nothing to write costs nothing
            self._wake.clear()
            if self._trouble is not None:  # a full queue wakes at once, a disk does not mend so
                self._closing.wait(RETRY_S)
            elif not self._closing.is_set():
                self._wake.wait(self._flush_interval_s)
                self._wake.clear()
            self._flush()
            if self._waiting():
                self._wake.set()
        self._flush()
        self._files.close()
        self.stats.thread_cpu_s = time.thread_time()

    def _flush(self) -> None:
        """Write buffer by buffer until nothing waits or the disk refuses."""
        while self._waiting():
            room = self._buffer_size - sum(map(len, self._lines.values()))
            for _ in range(min(room, len(self._queue))):
                self._take(*self._queue.popleft())
            try:
                self._write()
            except Exception as error:
                # Whatever it is, trading does not learn of it; a person does.
                self._tell(error)
                return
        if self._trouble is not None:
            _log.warning("telemetry: %s takes traces again", self.output_dir)
            self._trouble = None

    def _waiting(self) -> int:
        return len(self._queue) + sum(map(len, self._lines.values()))

    def _take(self, make: Callable[..., PredictionTrace], args: tuple[Any, ...]) -> None:
        """Turn a trace into its line; one that cannot be written is dropped with a word."""
        try:
            trace = make(*args)
            line = self._line(trace)
        except Exception:
            self.stats.dropped += 1
            _log.exception("telemetry: a trace cannot be written")
            return
        self._lines.setdefault(trace.strategy, []).append(line)

    def _write(self) -> None:
        """Write the lines taken, one file a strategy; what is written leaves the list."""
        started_s = time.perf_counter()
        for strategy, lines in self._lines.items():
            while lines:
                count = self._files.append(strategy, lines)
                del lines[:count]
                self.stats.written += count
        self.stats.flushes += 1
        self.stats.write_s += time.perf_counter() - started_s

    def _tell(self, error: Exception) -> None:
        what = (isinstance(error, OSError) and error.strerror) or f"{error!r}"
        if self._trouble is None:
            _log.warning(
                "telemetry: cannot write to %s: %s; trading goes on, up to %d traces wait, tried "
                "again every %g s",
                self.output_dir,
                what,
                self._queue_size,
                RETRY_S,
            )
        self._trouble = what


class TradeTelemetry:
    """Choose which closed trades get a trace, make it and hand it to the writer.

    A trade is chosen by a hash of its id, so that two runs choose alike; the probability stands in
    the trace as ``inclusion_probability``. Of the chosen ones at most one every
    ``throttle_seconds`` of trading time gets through; ``throttled_before`` in the next trace counts
    those that did not.
    """

    def __init__(
        self,
        writer: TelemetryWriter,
        thresholds: Mapping[str, float],
        *,
        sample_rate: float = 1.0,
        throttle_seconds: float = 0.0,
    ) -> None:
        """Take the market move, a fraction, from which a direction counts, by strategy.

        Raises ValueError for a sample rate outside 0 to 1 and a throttle below 0.
        """
        if not 0 <= sample_rate <= 1 or not throttle_seconds >= 0:
            raise ValueError(
                f"sample_rate = {sample_rate} (allowed: 0 to 1), throttle_seconds = "
                f"{throttle_seconds} (allowed: from 0)"
            )
        self.stats = writer.stats
        self._writer = writer
        self._thresholds = dict(thresholds)
        self._sample_rate = sample_rate
        self._throttle_ms = throttle_seconds * 1000
        self._next_ms: float | None = None
        self._throttled_before = 0

    def on_close(self, trade: ClosedTrade) -> None:
        """Take a closed trade; never raises."""
        try:
            self._capture(trade)
        except Exception as error:
            self.stats.failed += 1
            if self.stats.failed == 1:  # each would say the same
                _log.warning("telemetry: no trace of %s: %r; trading goes on", trade, error)

    def flush(self) -> None:
        """Write what waits now, as before somebody reads the files."""
        self._writer.flush()

    def close(self) -> None:
        """Write what waits and log what was captured."""
        self._writer.close()
        _log.info(self.stats.summary())

    def _capture(self, trade: ClosedTrade) -> None:
        stats = self.stats
        stats.closed += 1
        if self._sample_rate < 1 and share_of(trade.trade_id) >= self._sample_rate:
            stats.sampled_out += 1
            return
        if self._throttle_ms:
            next_ms = self._next_ms
            # A clock that was set back does not silence telemetry for longer than the throttle.
            if next_ms is not None and next_ms - self._throttle_ms <= trade.exit_ms < next_ms:
                stats.throttled += 1
                self._throttled_before += 1
                return
        threshold, before = self._thresholds[trade.strategy], self._throttled_before
        if self._throttle_ms:
            self._next_ms = trade.exit_ms + self._throttle_ms
            self._throttled_before = 0
        self._writer.write_later(self._trace, trade, threshold, before)

    def _trace(
        self, trade: ClosedTrade, threshold: float, throttled_before: int
    ) -> PredictionTrace:
        signal = trade.signal
        metadata: dict[str, Any] = {
            "trade_id": trade.trade_id,
            "stop_loss": signal.stop_loss,
            "take_profit": signal.take_profit,
            "exit_reason": trade.exit_reason,
            "entry_time": _iso(trade.entry_ms),
            "exit_time": _iso(trade.exit_ms),
            "fees_usd": trade.fees_usd,
            "inclusion_probability": self._sample_rate,
        }
        if self._throttle_ms:
            metadata["throttled_before"] = throttled_before
        return PredictionTrace(
            timestamp=at_utc(trade.entry_ms),
            symbol=trade.symbol,
            strategy=trade.strategy,
            predicted_direction=trade.direction,
            actual_direction=market_direction(trade.entry_price, trade.exit_price, threshold),
            predicted_confidence=signal.confidence,
            entry_price=trade.entry_price,
            exit_price=trade.exit_price,
            holding_period_minutes=trade.holding_minutes,
            realized_return_pct=trade.return_pct,
            features=signal.features,
            metadata=metadata,
        )


_to_json = msgspec.json.Encoder(enc_hook=plain).encode


def at_utc(epoch_ms: int) -> dt.datetime:
    """Return the moment as a UTC datetime."""
    return dt.datetime.fromtimestamp(epoch_ms / 1000, tz=dt.UTC)


def csv_line(trace: PredictionTrace) -> bytes:
    """Write a trace as one line of CSV with its newline, in the order of COLUMNS."""
    numbers = _to_json(
        (
            trace.predicted_confidence, trace.entry_price, trace.exit_price,
            trace.holding_period_minutes, trace.realized_return_pct,
        )
    )  # fmt: skip
    named = (
        f"{trace.timestamp.isoformat()},{_cell(trace.symbol)},{_cell(trace.strategy)},"
        f"{trace.predicted_direction},{trace.actual_direction},"
    )
    features, metadata = _to_json(trace.features), _to_json(trace.metadata)
    return b'%b%b,"%b","%b"\n' % (
        named.encode(),
        numbers[1:-1].replace(b"null", b""),  # an unknown number, NaN
        features.replace(b'"', b'""'),
        metadata.replace(b'"', b'""'),
    )


def jsonl_line(trace: PredictionTrace) -> bytes:
    """Write a trace as one JSON object with its newline; features and metadata are objects."""
    return _to_json(trace) + b"\n"


def _itself(trace: PredictionTrace) -> PredictionTrace:
    return trace


def _iso(epoch_ms: int) -> str:
    """Write a moment as at_utc(...).isoformat() does, at a third of its time."""
    seconds, milli = divmod(epoch_ms, 1000)
    day, second = divmod(seconds, 86_400)
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"{_date(day)}T{clock}.{milli:03}000+00:00" if milli else f"{_date(day)}T{clock}+00:00"


@lru_cache(maxsize=64)
def _date(epoch_day: int) -> str:
    return at_utc(epoch_day * 86_400_000).isoformat()[:10]


@lru_cache(maxsize=1024)
def _cell(text: str) -> str:
    text = " ".join(text.splitlines())  # a line is a trace
    return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text
