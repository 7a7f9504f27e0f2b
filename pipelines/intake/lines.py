"""Split a log file into whole lines with exact byte offsets, a bounded chunk at a time.

Put here: bytes to lines. Keep out: what a line means. Offsets count uncompressed bytes.
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa

BLOCK_BYTES = 16 << 20  # one read
CHUNK_BYTES = 64 << 20  # one commit; with decoding about 0.5 GB at its peak
LINE_LIMIT_BYTES = 10 << 20  # a longer line is rejected without being held
EXCERPT_BYTES = 256  # kept of an over-long line
_BOM = b"\xef\xbb\xbf"

LINE_SCHEMA = pa.schema(
    [("line_offset", pa.int64()), ("line", pa.string()), ("line_error", pa.string())]
)


class DamagedFile(RuntimeError):
    """The rest of a compressed file cannot be read; lines before the damage were delivered."""


@dataclass
class Chunk:
    """Whole lines between two offsets of a source, as Arrow batches of LINE_SCHEMA.

    A line keeps its newline (the text is not copied), never a carriage return before it. ``end`` is the offset behind the last line.
    """

    start: int
    end: int
    batches: list[pa.RecordBatch] = field(default_factory=list)

    @property
    def lines(self) -> int:
        return sum(batch.num_rows for batch in self.batches)


def open_log(path: Path) -> io.BufferedReader:
    """Open a plain or gzip file for reading uncompressed bytes."""
    if path.suffix == ".gz":
        return cast(io.BufferedReader, gzip.open(path, "rb"))
    return path.open("rb")


def read_at(path: Path, offset: int, size: int) -> bytes:
    """Read up to ``size`` uncompressed bytes at ``offset``; fewer where the file ends or breaks."""
    with open_log(path) as file:
        try:
            if path.suffix != ".gz":
                file.seek(offset)
                return file.read(size)
            _skip(file, offset)
            return file.read(size)
        except (EOFError, OSError, zlib.error):
            return b""


def _skip(file: io.BufferedReader, offset: int) -> None:
    while offset > 0:
        got = len(file.read(min(offset, 1 << 20)))
        if not got:
            return
        offset -= got


def first_data_line(path: Path, has_header: bool) -> tuple[bytes, bytes] | None:
    """Return (header, first data line) without newlines, or None while no data line is whole.

    Without a header the first item is empty. A first line over the limit counts by its beginning.
    """
    head = read_at(path, 0, LINE_LIMIT_BYTES + 2).removeprefix(_BOM)
    lines = io.BytesIO(head)
    header = lines.readline() if has_header else b""
    line = lines.readline()
    if not line.endswith(b"\n") and len(head) < LINE_LIMIT_BYTES:
        return None
    return header.rstrip(b"\r\n"), line.rstrip(b"\r\n")


def read_chunks(path: Path, offset: int, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Yield chunks of whole lines from ``offset``; a last line without newline waits.

    Raises DamagedFile after the last good line where a compressed file is cut or corrupt.
    """
    with open_log(path) as file:
        if path.suffix == ".gz":
            try:
                _skip(file, offset)
            except (EOFError, OSError, zlib.error) as error:
                raise _damaged(path, error) from error
        else:
            file.seek(offset)
        chunk = Chunk(offset, offset)
        carry: bytes | bytearray = b""
        long_line: _LongLine | None = None
        while True:
            data, damage = _read_block(file, carry)
            if len(data) == len(carry):
                break
            if long_line is not None:
                cut = data.find(b"\n") + 1
                long_line.add(data[:cut] if cut else data)
                if not cut:
                    continue
                chunk.batches.append(long_line.batch())
                chunk.end = long_line.end
                long_line, data = None, data[cut:]
            cut = data.rfind(b"\n") + 1
            if cut:
                chunk.batches.append(_batch(data, cut, chunk.end))
                chunk.end += cut
            carry = data[cut:]
            if len(carry) > LINE_LIMIT_BYTES:
                long_line = _LongLine(chunk.end)
                long_line.add(carry)
                carry = b""
            if chunk.end - chunk.start >= chunk_bytes:
                yield chunk
                chunk = Chunk(chunk.end, chunk.end)
        if chunk.batches:
            yield chunk
        if damage is not None:
            raise _damaged(path, damage) from damage


def _read_block(
    file: io.BufferedReader, carry: bytes | bytearray
) -> tuple[bytearray, Exception | None]:
    """Read up to one block behind ``carry``; on damage return what came before it and the error."""
    data = bytearray(len(carry) + BLOCK_BYTES)
    data[: len(carry)] = carry
    size = len(carry)
    damage: Exception | None = None
    with memoryview(data) as view:
        while size < len(data):
            try:
                got = file.readinto1(view[size:])
            except (EOFError, OSError, zlib.error) as error:
                damage = error
                break
            if not got:
                break
            size += got
    del data[size:]
    return data, damage


def _damaged(path: Path, error: Exception) -> DamagedFile:
    return DamagedFile(
        f"{path}: {error or type(error).__name__}; lines before the damage were read. "
        "Replace it with a whole copy; reading goes on where it stopped"
    )


@dataclass
class _LongLine:
    """A line over the limit, known by offset, length and digest only."""

    offset: int
    end: int = 0
    head: bytes = b""

    def __post_init__(self) -> None:
        self.end = self.offset
        self.digest = hashlib.md5(usedforsecurity=False)

    def add(self, data: bytes | bytearray) -> None:
        if len(self.head) < EXCERPT_BYTES:
            self.head += data[: EXCERPT_BYTES - len(self.head)]
        self.digest.update(data)
        self.end += len(data)

    def batch(self) -> pa.RecordBatch:
        text = self.head.decode("utf-8", "replace").replace("\n", " ")
        note = f"{text}… [{self.end - self.offset} bytes, md5 {self.digest.hexdigest()}]"
        return pa.record_batch(
            [[self.offset], [note], ["line_too_long"]],
            schema=LINE_SCHEMA,
        )


def _batch(data: bytearray, size: int, base: int) -> pa.RecordBatch:
    """Build one batch over the whole lines in ``data[:size]``; UTF-8 text is not copied."""
    octets = np.frombuffer(data, dtype=np.uint8, count=size)
    ends = np.flatnonzero(octets == 10) + 1
    starts = np.concatenate(([0], ends[:-1]))
    too_long = ends - starts > LINE_LIMIT_BYTES
    if base == 0 and data.startswith(_BOM):
        starts[0] = len(_BOM)
    has_cr = (ends > 1) & (octets[ends - 2] == 13)
    if not too_long.any() and not has_cr.any():
        bounds = np.concatenate((starts[:1], ends)).astype(np.int32)
        text = pa.StringArray.from_buffers(len(ends), pa.py_buffer(bounds), pa.py_buffer(data))
        try:
            text.validate(full=True)
        except pa.ArrowInvalid:
            pass
        else:
            offsets = pa.array(starts + base, pa.int64())
            return pa.record_batch([offsets, text, pa.nulls(len(ends), pa.string())], LINE_SCHEMA)
    return _careful_batch(data, base, starts, ends)


def _careful_batch(
    data: bytearray, base: int, starts: np.ndarray, ends: np.ndarray
) -> pa.RecordBatch:
    """Decode line by line where some line is over-long, not UTF-8 or ends in CR LF."""
    lines: list[str] = []
    errors: list[str | None] = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end - start > LINE_LIMIT_BYTES:
            whole = _LongLine(base + start)
            whole.add(data[start:end])
            lines.append(whole.batch().column("line")[0].as_py())
            errors.append("line_too_long")
            continue
        raw = bytes(data[start:end])
        if raw.endswith(b"\r\n"):
            raw = raw[:-2] + b"\n"
        try:
            lines.append(raw.decode("utf-8"))
            errors.append(None)
        except UnicodeDecodeError:
            lines.append(raw.decode("utf-8", "backslashreplace"))
            errors.append("not_utf8")
    return pa.record_batch(
        [pa.array(starts + base, pa.int64()), pa.array(lines), pa.array(errors, pa.string())],
        schema=LINE_SCHEMA,
    )
