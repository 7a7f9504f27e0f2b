"""How a block of columns becomes log lines: text columns, line templates, bytes to write.

Put here: spelling at speed; the keys come from shapes.py. Keep out: what the numbers are (load.py).
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipelines.demo import shapes
from pipelines.demo.market import DEMO_SYMBOLS
from pipelines.demo.shapes import Attempt, Line, Order, Run

Ints = npt.NDArray[np.int64]


@dataclass
class Block:
    """Columns of some attempts, and where the filled and the closing ones stand."""

    frame: pl.DataFrame
    filled: Ints
    closed: Ints

    @property
    def fills(self) -> int:
        return len(self.filled)

    @property
    def closes(self) -> int:
        return len(self.closed)


def _table(texts: Iterable[str], width: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer("".join(texts).encode(), dtype=np.uint8).reshape(-1, width)


_THOUSAND = _table((f"{n:03d}" for n in range(1000)), 3)
_CLOCK = _table((f"T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}" for n in range(86_400)), 9)
HEX_PAIRS = _table((f"{n:02x}" for n in range(256)), 2)
_DOT, _ZONE = _table(".", 1), _table("+00:00", 6)


def fixed_width(prefix: str, tail: npt.NDArray[np.uint8]) -> pl.Series:
    """Make a text column of rows of equal length from a prefix and a matrix of ASCII bytes."""
    head = np.frombuffer(prefix.encode(), dtype=np.uint8)
    width = len(head) + tail.shape[1]
    data = np.empty((len(tail), width), dtype=np.uint8)
    data[:, : len(head)] = head
    data[:, len(head) :] = tail
    offsets = np.arange(len(tail) + 1, dtype=np.int64) * width
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    texts = pl.from_arrow(pa.Array.from_buffers(pa.large_string(), len(tail), buffers))
    assert isinstance(texts, pl.Series)
    return texts


def iso_texts(at_us: Ints, unit: str) -> pl.Series:
    """Write times as ISO 8601 with +00:00, to seconds ("s") or microseconds ("us")."""
    seconds, micros = np.divmod(at_us, 1_000_000)
    days, of_day = np.divmod(seconds, 86_400)
    first = int(days.min())
    span = np.arange(first, int(days.max()) + 1).astype("datetime64[D]")
    names = _table(np.datetime_as_string(span).tolist(), 10)
    parts = [names[days - first], _CLOCK[of_day]]
    if unit == "us":
        parts += [_DOT, _THOUSAND[micros // 1000], _THOUSAND[micros % 1000]]
    parts.append(_ZONE)
    rows = [np.broadcast_to(part, (len(at_us), part.shape[1])) for part in parts]
    return fixed_width("", np.concatenate(rows, axis=1))


def bytes_of(texts: pl.Series) -> memoryview:
    """Return the texts one after another, without copying them into Python strings."""
    array = texts.rechunk().to_arrow().cast(pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset :]
    return memoryview(array.buffers()[2])[int(offsets[0]) : int(offsets[len(array)])]


_RUN = Run("edb4dfb2-d954-48f7-b24c-d8a5fde51d4c", 2_148_830)
_SAMPLE = Attempt("", "", "", "", "", None, 1.0, 1.0, 0, False, _RUN)
_ORDER = Order(0, "", 1.0, "MARKET", "FILLED", 0, 1.0, 1.0, 1.0, 0.0, 0, 0, ("0",))
_WHO = {"attempt_id": "attempt", "intent_id": "intent", "symbol": "symbol", "side": "side"}
_VENUE = {
    "orderId": "#order",
    "clientOrderId": "client",
    "positionSide": "hedge",
    "attempt_id": "attempt",
    "intent_id": "intent",
    "symbol": "symbol",
}


def _line(sample: Line, slots: Mapping[str, str]) -> list[pl.Expr]:
    """Cut a sample line into constant pieces and columns.

    ``slots`` maps dotted keys to columns; a column with ``#`` before it is written without quotes
    (a number, or null).
    """
    line: Line = json.loads(json.dumps(sample))
    for path, column in slots.items():
        *parents, leaf = path.split(".")
        node: Any = line
        for parent in parents:
            node = node[parent]
        if leaf not in node:
            raise KeyError(f"{path} is no key of the sample line")
        node[leaf] = f"@{column}@"
    pieces = re.split(r'"@#(\w+)@"|@(\w+)@', json.dumps(line) + "\n")
    expressions = []
    for number, piece in enumerate(pieces):
        if number % 3 == 0:
            expressions.append(pl.lit(piece))
        elif piece is not None and number % 3 == 1:
            expressions.append(pl.col(piece).cast(pl.String).fill_null("null"))
        elif piece is not None:
            expressions.append(pl.col(piece))
    return expressions


_ROUTER = _line(
    shapes.router_line(
        _SAMPLE, at_us=0, route="market", submitted=1.0, fill_px=1.0, qty=1.0, notional=1.0,
        ack_ms=1.0, status="NEW", fees=None, slippage_bps=0.0,
    ),
    {
        **_WHO,
        "prices.mark": "#mark",
        "prices.submitted": "#mark",
        "prices.avg_fill": "#px",
        "qty.contracts": "#qty",
        "qty.notional_usd": "#notional",
        "timing_ms.ack": "#ack",
        "timing_ms.fill": "#fill_ms",
        "result.status": "status",
        "fees_usd": "#fees_known",
        "slippage_bps": "#slippage",
        "ts": "#router_ts",
    },
)  # fmt: skip
_NOTE = _line(shapes.position_close_line(_SAMPLE, 0), {**_WHO, "ts": "#note_ts"})
_ATTEMPT = _line(
    shapes.attempt_line(
        _SAMPLE,
        signal_us=0,
        nav={"nav_usd": 0.0, "gross_usd": 0.0, "symbol_gross_usd": {DEMO_SYMBOLS[0]: 0.0}},
        confidence=0.5,
        edge=0.0,
    ),
    {
        **_WHO,
        "qty": "#wanted",
        "signal_ts": "signal_iso",
        "local_ts": "#local_ts",
        "nav_snapshot.nav_usd": "#nav",
        "nav_snapshot.gross_usd": "#gross",
        f"nav_snapshot.symbol_gross_usd.{DEMO_SYMBOLS[0]}": "#gross",
        "price_hint": "#mark",
        "confidence": "#confidence",
        "expected_edge": "#edge",
        "ts": "attempt_iso",
    },
)
_ACK = _line(
    shapes.ack_line(_SAMPLE, _ORDER),
    {
        **_VENUE,
        "side": "side",
        "request_qty": "#wanted",
        "latency_ms": "#ack",
        "ts_ack": "ack_iso",
        "ts": "ack_iso",
    },
)
_FILL = _line(
    shapes.fill_line(_SAMPLE, _ORDER, 0) | {"tradeIds": ["@trade@"]},
    {
        **_VENUE,
        "side": "side",
        "ts_fill_first": "venue_iso",
        "ts_fill_last": "venue_iso",
        "executedQty": "#qty",
        "avgPrice": "#px",
        "fee_total": "#fees",
        "ts": "fill_iso",
    },
)
_CLOSE = _line(
    shapes.close_line(_SAMPLE, _ORDER, 0, pnl=0.0, before=0.0, after=0.0),
    {
        **_VENUE,
        "ts_close": "venue_iso",
        "realizedPnlUsd": "#pnl",
        "fees_total": "#fees",
        "position_size_before": "#before",
        "closed_qty": "#qty",
        "ts": "close_iso",
    },
)


def _texts(frame: pl.DataFrame, pieces: list[pl.Expr]) -> pl.Series:
    return frame.select(pl.concat_str(pieces).alias("text")).to_series()


def _with_extra(texts: pl.Series, extra: pl.Series, places: Ints) -> pl.Series:
    """Append the extra texts to the texts at these places, in order."""
    which = np.zeros(len(texts), dtype=np.int64)
    which[places] = np.arange(1, len(places) + 1)
    tails = pl.concat([pl.Series("tail", [""]), extra.alias("tail")]).gather(which)
    return texts + tails


def _router(block: Block) -> tuple[pl.Series, int]:
    notes = _texts(block.frame[block.closed], _NOTE)
    texts = _with_extra(_texts(block.frame, _ROUTER), notes, block.closed)
    return texts, block.frame.height + block.closes


def _orders(block: Block) -> tuple[pl.Series, int]:
    closes = _texts(block.frame[block.closed], _CLOSE)
    places = np.searchsorted(block.filled, block.closed)  # every closing attempt is filled
    texts = _with_extra(_texts(block.frame[block.filled], _ACK + _FILL), closes, places)
    return texts, 2 * block.fills + block.closes


def _attempts(block: Block) -> tuple[pl.Series, int]:
    return _texts(block.frame, _ATTEMPT), block.frame.height


WRITERS: Mapping[str, Callable[[Block], tuple[pl.Series, int]]] = {
    "router": _router,
    "orders": _orders,
    "attempts": _attempts,
}
