"""Bars out of files: `{SYMBOL}_{interval}.csv[.gz]` with date,open,high,low,close,volume.

Put here: reading and merging them in time order. Keep out: what trades on them.
"""

import contextlib
import csv
import datetime as dt
import gzip
import heapq
import io
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from live.market import Bar

if TYPE_CHECKING:
    import _csv

INTERVAL_MS = {
    "1m": 60_000,
    "5m": 300_000,
    "15m": 900_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "1d": 86_400_000,
}
COLUMNS = ("date", "open", "high", "low", "close", "volume")
_NAME = re.compile(rf"^(?P<symbol>.+)_(?P<interval>{'|'.join(INTERVAL_MS)})\.csv(?:\.gz)?$")
Progress = Callable[[int, int], None]


class BarFileError(ValueError):
    """A file of bars cannot be used; the text says which line and why."""


def find(folder: Path, symbols: Sequence[str], interval: str | None = None) -> dict[str, Path]:
    """Return a file of bars for each symbol, of ``interval`` or the finest there is.

    Symbols may be asked for in any case; the keys are spelled as the files' names are. Raises
    BarFileError naming the symbols there are of each interval where one has no bars.
    """
    there: dict[str, dict[str, Path]] = {each: {} for each in INTERVAL_MS}
    for found, path in _named(folder):
        there[found["interval"]].setdefault(found["symbol"], path)
    fitting = {
        symbol: path
        for each in reversed(INTERVAL_MS)  # the finest last, which stays
        if interval in (None, each)
        for symbol, path in there[each].items()
    }
    by_upper = {symbol.upper(): symbol for symbol in sorted(fitting)}
    files = {}
    for asked in symbols:
        symbol = asked if asked in fitting else by_upper.get(asked.upper())
        if symbol is None:
            holds = "; ".join(
                f"{each}: {', '.join(sorted(of))}" for each, of in there.items() if of
            )
            raise BarFileError(
                f"{folder} holds no {interval + ' ' if interval else ''}bars of {asked}; it holds "
                f"{holds or 'no bars at all, as BTCUSDT_1m.csv.gz would be'}"
            )
        files[symbol] = fitting[symbol]
    return files


def read(path: Path) -> Iterator[Bar]:
    """Yield the bars of one file, oldest first; a time without zone is UTC.

    Raises BarFileError for a line that is no bar, and for one that is not later than the last.
    """
    with path.open("rb") as raw:
        yield from _read(path, raw)


def merged(paths: Collection[Path], on_progress: Progress | None = None) -> Iterator[list[Bar]]:
    """Yield the bars of all files by the moment they close, those of one moment by symbol.

    ``on_progress`` is called with bytes read and bytes in all.
    """
    with contextlib.ExitStack() as stack:
        raws = [stack.enter_context(path.open("rb")) for path in paths]
        sizes = [os.fstat(raw.fileno()).st_size for raw in raws]
        total = sum(sizes)
        streams = [_read(path, raw) for path, raw in zip(paths, raws, strict=True)]
        ordered = heapq.merge(*streams, key=lambda bar: (bar.close_ms, bar.symbol))
        for number, (_, bars) in enumerate(groupby(ordered, key=lambda bar: bar.close_ms)):
            if on_progress and number % 512 == 0:
                on_progress(sum(map(_done, raws, sizes)), total)
            yield list(bars)
        if on_progress:
            on_progress(total, total)


def write(path: Path, bars: Iterable[Bar]) -> None:
    """Write bars as a file that ``read`` and the intake take."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(COLUMNS) + "\n")
        for bar in bars:
            file.write(line(bar))


def line(bar: Bar) -> str:
    """Return a bar as a line of its file."""
    moment = dt.datetime.fromtimestamp(bar.open_ms / 1000, tz=dt.UTC)
    return (
        f"{moment:%Y-%m-%d %H:%M:%S}+00:00,{bar.open!r},{bar.high!r},{bar.low!r},{bar.close!r},"
        f"{bar.volume!r}\n"
    )


def _named(folder: Path) -> list[tuple[re.Match[str], Path]]:
    """Return the files of bars in a folder with what their names say, in order."""
    if not folder.is_dir():
        raise BarFileError(
            f"{folder} is no folder: name the one with files such as BTCUSDT_1m.csv.gz"
        )
    return [(found, path) for path in sorted(folder.iterdir()) if (found := _match(path))]


def _match(path: Path) -> re.Match[str] | None:
    return _NAME.match(path.name)


def _done(raw: BinaryIO, size: int) -> int:
    return size if raw.closed else raw.tell()


def _read(path: Path, raw: BinaryIO) -> Iterator[Bar]:
    named = _match(path)
    if named is None:
        raise BarFileError(
            f"{path}: its name must be a symbol and an interval ({', '.join(INTERVAL_MS)}), such "
            "as BTCUSDT_1m.csv or BTCUSDT_1m.csv.gz"
        )
    symbol, interval_ms = named["symbol"], INTERVAL_MS[named["interval"]]
    plain = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
    with io.TextIOWrapper(plain, "utf-8", newline="") as text:
        rows = csv.reader(text)
        try:
            yield from _bars(path, symbol, interval_ms, rows)
        except (EOFError, gzip.BadGzipFile, UnicodeDecodeError, csv.Error) as error:
            raise BarFileError(f"{path} after line {rows.line_num}: {error}") from error


def _bars(path: Path, symbol: str, interval_ms: int, rows: "_csv.Reader") -> Iterator[Bar]:
    header = next(rows, [])
    if not set(COLUMNS) <= set(header):
        raise BarFileError(f"{path}: the first line must name {','.join(COLUMNS)}, not {header}")
    date, open_, high, low, close, volume = (header.index(name) for name in COLUMNS)
    last_ms: int | None = None
    for row in rows:
        try:
            open_ms = _epoch_ms(row[date])
            prices = float(row[open_]), float(row[high]), float(row[low]), float(row[close])
            size = float(row[volume])
            if not prices[1] >= max(prices) or not 0 < prices[2] <= min(prices) or not size >= 0:
                raise ValueError("high, low and volume do not fit a bar")
        except (ValueError, IndexError) as error:
            raise BarFileError(f"{path} line {rows.line_num}: {','.join(row)}: {error}") from error
        if last_ms is not None and open_ms <= last_ms:
            raise BarFileError(
                f"{path} line {rows.line_num}: {row[date]} is not later than the bar before; sort "
                "the file and keep one bar a time"
            )
        last_ms = open_ms
        yield Bar(symbol, open_ms, interval_ms, *prices, size)


def _epoch_ms(text: str) -> int:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return round(moment.timestamp() * 1000)
