"""Write logs for measurements: millions of lines of the real shape, from a seed, at speed.

Put here: volume. Keep out: meaning; these attempts hold no positions and tell no story.
Lines are put together in blocks of columns, so that memory stays bounded whatever the count.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.demo.generate import DEMO_END_MS, Progress
from pipelines.demo.load_lines import (
    HEX_PAIRS,
    WRITERS,
    Block,
    Ints,
    bytes_of,
    fixed_width,
    iso_texts,
)
from pipelines.demo.market import DAY_US, DEMO_SYMBOLS, spec_of

FILES = {
    "router": "order_metrics.jsonl",
    "orders": "orders_executed.jsonl",
    "attempts": "orders_attempted.jsonl",
}
FILLED_SHARE = 0.22  # of the attempts, as in real logs; the rest is NEW and never looked at
CLOSED_SHARE = 0.03
BLOCK_ATTEMPTS = 50_000
TAIL_BYTES = 65_536
# An odd factor makes index → id a permutation of 40 bits: ids never repeat and can be undone.
_ID_BITS = 40
_ID_MASK = (1 << _ID_BITS) - 1
_ID_FACTOR, _INTENT_FACTOR, _SEED_FACTOR = 0x9E3779B97F, 0xC2B2AE3D27, 0x5851F42D4C95
_LAST_INDEX = 1 << 34  # beyond any load: an id that gives more is not of this seed

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LoadTruth:
    """What was written: attempts ``first_index`` and following; lines and bytes by file name."""

    folder: Path
    first_index: int
    attempts: int
    fills: int
    closes: int
    lines: Mapping[str, int]
    bytes: Mapping[str, int]
    first_ms: int
    last_ms: int


def generate_load(
    folder: Path,
    *,
    attempts: int,
    seed: int = 7,
    days: float = 7,
    end_ms: int = DEMO_END_MS,
    symbols_n: int = 8,
    kinds: Sequence[str] = ("router", "orders", "attempts"),
    on_progress: Progress | None = None,
) -> LoadTruth:
    """Write ``attempts`` routing attempts, evenly over the ``days`` before ``end_ms``.

    About 22 % are filled, with ack and fill lines; about 3 % close a position; the rest is NEW.
    The lines of each file stand in the order of their time (in orders_attempted to within the
    delay of an acknowledgement). The same arguments give the same bytes. Raises FileExistsError
    where the folder holds one of the files.
    """
    _check(attempts, symbols_n, kinds)
    if days <= 0:
        raise ValueError(f"days={days}: a load needs a span above 0")
    for kind in kinds:
        if (folder / FILES[kind]).exists():
            raise FileExistsError(
                f"{folder / FILES[kind]} exists: name an empty folder, or use append_load"
            )
    folder.mkdir(parents=True, exist_ok=True)
    span_us = round(days * DAY_US)
    load = _Load(seed, symbols_n, end_ms * 1000 - span_us, span_us / attempts, first=0)
    return _write(load, folder, attempts, kinds, on_progress)


def append_load(
    folder: Path,
    rows: int = 50_000,
    *,
    seed: int = 7,
    span_ms: int = 300_000,
    symbols_n: int = 8,
    kinds: Sequence[str] | None = None,
    on_progress: Progress | None = None,
) -> LoadTruth:
    """Append ``rows`` newer attempts, over the ``span_ms`` after the last, to a load of that seed.

    ``kinds`` None means those whose files are there. Raises ValueError where the folder holds no
    load of this seed.
    """
    if kinds is None:
        kinds = [kind for kind, name in FILES.items() if (folder / name).exists()]
    if not kinds:
        raise ValueError(f"{folder} holds no load: make one with generate_load")
    _check(rows, symbols_n, kinds)
    if span_ms <= 0:
        raise ValueError(f"span_ms={span_ms}: newer lines need a span above 0")
    ends = [_last_attempt(folder / FILES[kind], seed) for kind in kinds]
    last_index, last_us = max(index for index, _ in ends), max(at_us for _, at_us in ends)
    load = _Load(seed, symbols_n, last_us + 1000, span_ms * 1000 / rows, first=last_index + 1)
    return _write(load, folder, rows, kinds, on_progress)


def _check(attempts: int, symbols_n: int, kinds: Iterable[str]) -> None:
    if attempts < 1 or attempts > _LAST_INDEX:
        raise ValueError(f"{attempts} attempts: ask for 1 to {_LAST_INDEX}")
    if symbols_n < 1:
        raise ValueError(f"symbols_n={symbols_n}: a load needs at least one symbol")
    unknown = sorted(set(kinds) - set(FILES))
    if unknown or not kinds:
        raise ValueError(f"kinds {unknown or '(none)'}: choose from {', '.join(FILES)}")


def _last_attempt(path: Path, seed: int) -> tuple[int, int]:
    """Return index and time (epoch us) of the last attempt that a file of a load names."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read().splitlines()
    try:
        line = json.loads(tail[-1])
        number = int(str(line["attempt_id"]).removeprefix("sig_"), 16)
        ts = line["ts"]
        at_us = round(ts * 1e6) if isinstance(ts, float) else _us_ofiso_texts(str(ts))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path} does not end with a line of a load: {error}") from error
    inverse = pow(_ID_FACTOR, -1, 1 << _ID_BITS)
    index = (number - seed * _SEED_FACTOR) * inverse & _ID_MASK
    if index > _LAST_INDEX:
        raise ValueError(f"{path} was not written from seed {seed}: give the seed of its load")
    return index, at_us


def _us_ofiso_texts(text: str) -> int:
    return int(np.datetime64(text.removesuffix("+00:00"), "us").astype(np.int64))


def _write(
    load: "_Load",
    folder: Path,
    attempts: int,
    kinds: Sequence[str],
    on_progress: Progress | None,
) -> LoadTruth:
    names = [FILES[kind] for kind in kinds]
    lines, sizes = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    fills = closes = 0
    with ExitStack() as stack:
        files = {kind: stack.enter_context((folder / FILES[kind]).open("ab")) for kind in kinds}
        for done in range(0, attempts, BLOCK_ATTEMPTS):
            block = load.block(done, min(BLOCK_ATTEMPTS, attempts - done))
            fills += block.fills
            closes += block.closes
            for kind in kinds:
                texts, count = WRITERS[kind](block)
                size = files[kind].write(bytes_of(texts))
                lines[FILES[kind]] += count
                sizes[FILES[kind]] += size
            if on_progress:
                on_progress(min(done + BLOCK_ATTEMPTS, attempts), attempts)
    return LoadTruth(
        folder=folder,
        first_index=load.first,
        attempts=attempts,
        fills=fills,
        closes=closes,
        lines=lines,
        bytes=sizes,
        first_ms=int(load.start_us // 1000),
        last_ms=int((load.start_us + load.gap_us * attempts) // 1000),
    )


class _Load:
    """A stream of attempts: number ``first + n`` stands in the n-th slot of ``gap_us``."""

    def __init__(
        self, seed: int, symbols_n: int, start_us: int, gap_us: float, *, first: int
    ) -> None:
        self.seed, self.start_us, self.gap_us, self.first = seed, start_us, gap_us, first
        names = [*DEMO_SYMBOLS, *(f"X{n:03d}USDT" for n in range(symbols_n))][:symbols_n]
        specs = [spec_of(name) for name in names]
        self.symbols = pl.Series("symbol", names)
        self.price = np.array([spec.price for spec in specs])
        self.px_scale = np.array([10.0**spec.price_digits for spec in specs])
        self.qty_scale = np.array([10.0**spec.qty_digits for spec in specs])
        self.usd = np.array([spec.order_usd for spec in specs])

    def _prices(self, symbol: Ints, at_us: Ints) -> Floats:
        """Give each moment a price: waves around the symbol's level, the same in every block."""
        days = at_us / DAY_US
        phase = symbol + self.seed % 97
        waves = 0.02 * np.sin(days * 2 * math.pi * 0.37 + phase)
        waves += 0.006 * np.sin(days * 2 * math.pi * 7.3 + 2 * phase)
        return np.asarray(self.price[symbol] * (1 + waves), dtype=np.float64)

    def block(self, done: int, count: int) -> Block:
        """Draw ``count`` attempts after the ``done`` first ones of this stream."""
        index = np.arange(self.first + done, self.first + done + count, dtype=np.int64)
        rng = np.random.Generator(np.random.PCG64([self.seed, int(index[0])]))
        slot = done + np.arange(count) + rng.random(count) * 0.4
        at_us = (self.start_us + slot * self.gap_us).astype(np.int64)
        symbol = rng.integers(0, len(self.price), count)
        is_buy = rng.random(count) < 0.5
        draw = rng.random(count)
        is_filled, is_closed = draw < FILLED_SHARE, draw < CLOSED_SHARE
        delay_us = (rng.lognormal(0.2, 0.8, count) * 1e6).astype(np.int64)
        px_scale, qty_scale = self.px_scale[symbol], self.qty_scale[symbol]
        mark = np.round(self._prices(symbol, at_us - delay_us) * px_scale) / px_scale
        sign = np.where(is_buy, 1.0, -1.0)
        drift = 1 + sign * rng.normal(0.6, 5.0, count) / 1e4
        px = np.where(is_filled, np.round(mark * drift * px_scale * 10) / (px_scale * 10), 0.0)
        usd = self.usd[symbol] * rng.uniform(0.8, 1.25, count)
        wanted = np.maximum(np.round(usd / mark * qty_scale), 1) / qty_scale
        qty = np.where(is_filled, wanted, 0.0)
        fees = qty * px * 0.0005
        venue_us = at_us // 1000 * 1000 - rng.integers(0, 800, count) * 1000
        quarter_us = int(self.gap_us / 8)
        frame = pl.DataFrame(
            {
                "attempt": _ids("sig_", index, _ID_FACTOR, self.seed),
                "intent": _ids("ord_", index, _INTENT_FACTOR, self.seed + 2),
                "client": _ids("rMF9bwBKO9gS", index, _INTENT_FACTOR, self.seed + 1),
                "symbol": self.symbols.gather(symbol),
                "side": pl.Series(["SELL", "BUY"]).gather(is_buy.astype(np.int64)),
                # A closing order buys back a short, or sells a long.
                "hedge": pl.Series(["SHORT", "LONG"]).gather(
                    (is_buy != is_closed).astype(np.int64)
                ),
                "mark": mark,
                "px": px,
                "qty": qty,
                "wanted": wanted,
                "notional": qty * px,
                "ack": delay_us / 1000,
                "status": pl.Series(["NEW", "FILLED"]).gather(is_filled.astype(np.int64)),
                "fill_ms": pl.Series(["null", "0.0"]).gather(is_filled.astype(np.int64)),
                "fees": fees,
                "fees_known": pl.Series(np.where(is_filled, fees, np.nan)).fill_nan(None),
                "slippage": (px - mark) / mark * 1e4 * sign,
                "router_ts": (at_us + 4 * quarter_us) / 1e6,
                "note_ts": (at_us + 5 * quarter_us) / 1e6,
                "local_ts": (at_us - delay_us) / 1e6,
                "signal_iso": iso_texts(at_us - delay_us - 9_000_000, "s"),
                "attempt_iso": iso_texts(at_us - delay_us + 97, "us"),
                "venue_iso": iso_texts(venue_us, "us"),
                "ack_iso": iso_texts(at_us, "us"),
                "fill_iso": iso_texts(at_us + quarter_us, "us"),
                "close_iso": iso_texts(at_us + 2 * quarter_us, "us"),
                "order": 21_553_000_000 + index * 7,
                "trade": pl.Series(1_160_000_000 + index * 3).cast(pl.String),
                "pnl": qty * px * rng.normal(0.0004, 0.008, count),
                "before": qty * sign * -1,
                "confidence": np.round(rng.uniform(0.5, 0.95, count), 3),
                "edge": np.round(rng.uniform(0.0002, 0.003, count), 5),
                "nav": np.round(10_000 + rng.normal(0, 40, count), 8),
                "gross": np.round(rng.uniform(200, 900, count), 8),
            }
        )
        return Block(frame, np.flatnonzero(is_filled), np.flatnonzero(is_closed))


def _ids(prefix: str, index: Ints, factor: int, seed: int) -> pl.Series:
    """Write prefix and 10 hexadecimal digits, a permutation of the index, as text."""
    with np.errstate(over="ignore"):
        mixed = index.astype(np.uint64) * np.uint64(factor)
        mixed += np.uint64(seed * _SEED_FACTOR & _ID_MASK)
    mixed &= np.uint64(_ID_MASK)
    pairs = mixed.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 3:]
    return fixed_width(prefix, HEX_PAIRS[pairs].reshape(len(index), 10))
