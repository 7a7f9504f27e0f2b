"""Recorded quotes and trades out of Parquet files, in time order, with the bars they make.

Put here: reading recordings and cutting them into spans. Keep out: what trades on them. The files
of a symbol are `…{symbol}…_bbo.parquet` (exch_ms, bid, ask, and where known bid_sz, ask_sz) and
`…{symbol}…_trades.parquet` (exch_ms, price, qty, and where known buyer_is_maker); exch_ms is the
exchange's clock in epoch milliseconds, rows are in its order. Several files of a symbol are parts
of one recording: alike in name but for digits, one after another in time.
"""

import heapq
import itertools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from live.market import Bar, Event, Print, Quote, Side
from live.market.bars import Progress

QUOTES, TRADES = "_bbo.parquet", "_trades.parquet"
_ROWS = 16_384  # of a file at once
_BAD_SHARE = 0.01  # with more rows that are none, it is another kind of file
_NEEDED = {QUOTES: ("exch_ms", "bid", "ask"), TRADES: ("exch_ms", "price", "qty")}
_MORE = {QUOTES: ("bid_sz", "ask_sz"), TRADES: ("buyer_is_maker",)}
_log = logging.getLogger(__name__)


class RecordingError(ValueError):
    """A recording cannot be used; the text says which file and why."""


def find(folder: Path, symbols: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files of each symbol: quotes, and trades where they were recorded.

    Raises RecordingError naming what the folder holds where a symbol has no quotes, and the files
    where those of a symbol are of two recordings, as of two venues: one market they are not.
    """
    if not folder.is_dir():
        raise RecordingError(f"{folder} is no folder: name the one with …{QUOTES} files")
    named = sorted(path for path in folder.iterdir() if path.name.endswith((QUOTES, TRADES)))
    found: dict[str, list[Path]] = {}
    for symbol in dict.fromkeys(symbols):
        mine = [path for path in named if symbol.lower() in path.name.lower().split("_")]
        if not any(path.name.endswith(QUOTES) for path in mine):
            there = ", ".join(path.name for path in named) or "no recordings at all"
            raise RecordingError(f"{folder} holds no {symbol}{QUOTES}; it holds {there}")
        _one_recording(symbol, mine)
        found[symbol] = mine
    return found


def _one_recording(symbol: str, paths: Sequence[Path]) -> None:
    by_source: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        by_source.setdefault(_source(path), []).append(path.name)
    mend = "name the folder of one, or give its files one name but for dates and numbers"
    if len(by_source) > 1:
        there = " and ".join(", ".join(names) for names in by_source.values())
        raise RecordingError(f"{symbol} has files of {len(by_source)} recordings, {there}: {mend}")
    for kind in (QUOTES, TRADES):
        mine = [path for path in paths if path.name.endswith(kind)]
        if len(mine) < 2:
            continue
        ends = sorted((*_ends_ms(path), path.name) for path in mine)
        for (_, last_ms, one), (first_ms, _, other) in itertools.pairwise(ends):
            if first_ms < last_ms:
                raise RecordingError(
                    f"{symbol}: {one} and {other} tell of the same time, so they are two "
                    "recordings or one told twice: name the folder of one"
                )


def _source(path: Path) -> tuple[str, ...]:
    """Return what names a recording in a file's name: its words, without kind and digits."""
    stem = path.name.removesuffix(QUOTES).removesuffix(TRADES).lower()
    return tuple(word for word in re.split(r"[\W\d_]+", stem) if word)


def _ends_ms(path: Path) -> tuple[float, float]:
    """Return the first and the last time of what a file tells; an empty one is nowhere.

    Rows that are left out when it is read do not count: a time of 0 stands in some of them.
    """
    kind = QUOTES if path.name.endswith(QUOTES) else TRADES
    time, *values = _NEEDED[kind]
    rows = _open(path).read([time, *values])
    is_told = pc.and_(pc.greater(rows[values[0]], 0), pc.greater(rows[values[1]], 0))
    if kind == QUOTES:
        is_told = pc.and_(is_told, pc.less(rows["bid"], rows["ask"]))
    ends = pc.min_max(rows.filter(is_told)[time]).as_py()
    return (inf, inf) if ends["min"] is None else (ends["min"], ends["max"])


def spans(
    files: Mapping[str, Sequence[Path]],
    span_ms: int,
    *,
    start_ms: int | None = None,
    end_ms: int | None = None,
    on_progress: Progress | None = None,
) -> Iterator[list[Event]]:
    """Yield what happened within each span that anything did, and last the bars that close with it.

    Of events of one millisecond trades come first: a quote already shows what they left. Bars are
    of trades, of quotes' mids where none were recorded. A span without either has no bar, nor has
    one that the recording does not hold whole: the first and the last. Rows that are no quote or no
    trade (crossed, without a number) are left out, and told of once in the log at the end.

    Args:
        files: by symbol, as ``find`` returns them.
        on_progress: called with rows done and in all.

    Raises RecordingError for files without the columns, with rows out of order, or with more than
    1 % of rows left out.
    """
    opened = [(symbol, path, _open(path)) for symbol, paths in files.items() for path in paths]
    total = sum(file.metadata.num_rows for _, _, file in opened)
    has_trades = {symbol for symbol, path, _ in opened if path.name.endswith(TRADES)}
    left_out = [_LeftOut(path, file.metadata.num_rows) for _, path, file in opened]
    streams = [
        _read(symbol, file, out) for (symbol, _, file), out in zip(opened, left_out, strict=True)
    ]
    group: list[Event] = []
    forming: dict[str, Bar] = {}
    open_ms, first_ms = 0, None
    for number, event in enumerate(heapq.merge(*streams, key=_order)):
        if on_progress and number % _ROWS == 0:
            on_progress(number, total)
        if start_ms is not None and event.at_ms < start_ms:
            continue
        if end_ms is not None and event.at_ms >= end_ms:
            break
        first_ms = event.at_ms if first_ms is None else first_ms
        if group and event.at_ms >= open_ms + span_ms:
            yield group + [forming[symbol] for symbol in sorted(forming)]
            group, forming = [], {}
        if not group:
            open_ms = event.at_ms // span_ms * span_ms
        group.append(event)
        is_told = isinstance(event, Print) or event.symbol not in has_trades
        if is_told and open_ms >= first_ms:
            _form(forming, event, open_ms, span_ms)
    if group:
        yield group
    if on_progress:
        on_progress(total, total)
    for out in left_out:
        if out.n:
            _log.warning("%s", out)


@dataclass
class _LeftOut:
    """The rows of a file that are no quote or no trade: how many, and the first."""

    path: Path
    of_n: int
    n: int = 0
    first: str = ""

    def add(self, row_n: int, row: tuple[Any, ...], error: Exception) -> None:
        self.n += 1
        self.first = self.first or f"row {row_n}: {row}: {error}"
        if self.n > _BAD_SHARE * self.of_n:
            raise RecordingError(f"{self}. More than 1 %: this is no such recording, or a torn one")

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.n:,} of {self.of_n:,} rows cannot be used; the first, {self.first}"
        )


def _form(forming: dict[str, Bar], event: Quote | Print, open_ms: int, span_ms: int) -> None:
    price, size = (event.price, event.size) if isinstance(event, Print) else (event.mid, 0.0)
    bar = forming.get(event.symbol)
    first, high, low, volume = (
        (bar.open, bar.high, bar.low, bar.volume) if bar else (price, price, price, 0.0)
    )
    forming[event.symbol] = Bar(
        event.symbol, open_ms, span_ms, first, max(high, price), min(low, price), price,
        volume + size,
    )  # fmt: skip


def _order(event: Quote | Print) -> tuple[int, bool]:
    return event.at_ms, isinstance(event, Quote)


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordingError(f"{path}: {error}") from error
    needed = _NEEDED[QUOTES if path.name.endswith(QUOTES) else TRADES]
    missing = [name for name in needed if name not in file.schema_arrow.names]
    if missing:
        raise RecordingError(f"{path} has no column {', '.join(missing)}")
    clock = file.schema_arrow.field("exch_ms").type
    if not pa.types.is_integer(clock):
        raise RecordingError(f"{path}: exch_ms is {clock}; write whole epoch milliseconds")
    return file


def _read(symbol: str, file: pq.ParquetFile, left_out: _LeftOut) -> Iterator[Quote | Print]:
    path = left_out.path
    kind = QUOTES if path.name.endswith(QUOTES) else TRADES
    make = _quote if kind == QUOTES else _print
    more = [name for name in _MORE[kind] if name in file.schema_arrow.names]
    last_ms, row_n = 0, 0
    for batch in file.iter_batches(_ROWS, columns=[*_NEEDED[kind], *more]):
        for row in _rows(batch, [*_NEEDED[kind], *_MORE[kind]]):
            row_n += 1
            try:
                event = make(symbol, row)
            except (TypeError, ValueError) as error:
                left_out.add(row_n, row, error)
                continue
            if event.at_ms < last_ms:
                raise RecordingError(f"{path} row {row_n}: exch_ms goes back; sort the file by it")
            last_ms = event.at_ms
            yield event


def _rows(batch: pa.RecordBatch, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    nothing = [None] * batch.num_rows
    columns = [
        batch.column(name).to_pylist() if name in batch.schema.names else nothing for name in names
    ]
    return zip(*columns, strict=True)


def _quote(symbol: str, row: tuple[Any, ...]) -> Quote:
    at_ms, bid, ask, bid_size, ask_size = row
    if at_ms is None or not 0 < bid < ask < inf:
        raise ValueError("time, bid and ask do not fit a quote")
    return Quote(symbol, at_ms, bid, ask, bid_size, ask_size)


def _print(symbol: str, row: tuple[Any, ...]) -> Print:
    at_ms, price, size, buyer_is_maker = row
    if at_ms is None or not (0 < price < inf and 0 < size < inf):
        raise ValueError("time, price and quantity do not fit a trade")
    side: Side | None = None if buyer_is_maker is None else "SELL" if buyer_is_maker else "BUY"
    return Print(symbol, at_ms, price, size, side)
