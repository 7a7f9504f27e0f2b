"""Split a log file into whole lines with exact byte offsets, a bounded chunk at a time.

Put here: bytes to lines. Keep out: what a line means. Offsets count uncompressed bytes.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import pyarrow as pa

READ_BYTES = 1 << 20  # one system call
HEAD_BYTES = 64 << 10  # read at a time to find the first line
BLOCK_BYTES = 16 << 20  # split at a time
CHUNK_BYTES = 64 << 20  # one commit
CHUNK_LINES = 200_000  # the same for short lines: rows cost memory too, however little they hold
LINE_LIMIT_BYTES = 10 << 20  # a longer line is rejected without being held
LARGE_LINE_BYTES = 1 << 20  # a line above it is looked at before it is decoded:
LARGE_LINE_VALUES = 100_000  # decoding takes memory by the value, 100 bytes and more each
EXCERPT_BYTES = 256  # kept of an over-long line
TAIL_BYTES = 4096  # compared before going on: enough that two logs never agree by chance
_BOM = b"\xef\xbb\xbf"

LINE_SCHEMA = pa.schema(
    [("line_offset", pa.int64()), ("line", pa.string()), ("line_error", pa.string())]
)


class UnreadableFile(RuntimeError):
    """A file, or the rest of it, cannot be read; lines before the damage were delivered.

    ``what`` says why and what to do, without the path.
    """

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(path, what)
        self.path = path
        self.what = what

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass
class Chunk:
    """Whole lines between two offsets of a source, as Arrow batches of LINE_SCHEMA.

    A line keeps its newline (its text is not copied), never a carriage return before it. ``end``
    is the offset behind the last line, ``tail`` the TAIL_BYTES before it.
    """

    start: int
    end: int
    tail: bytes = b""
    batches: list[pa.RecordBatch] = field(default_factory=list)
    lines: int = 0

    def add(self, batch: pa.RecordBatch, end: int) -> None:
        self.batches.append(batch)
        self.lines += batch.num_rows
        self.end = end

    @property
    def is_full(self) -> bool:
        return self.lines >= CHUNK_LINES or self.end - self.start >= CHUNK_BYTES


@dataclass(frozen=True)
class Head:
    """The beginning of a file: its header (empty without one) and first data line, no newlines.

    ``header_start`` is behind a byte order mark, ``data_start`` behind the header too.
    """

    header: bytes
    line: bytes
    header_start: int
    data_start: int


class LogReader:
    """One plain or gzip file, opened once: a rename while it is read changes nothing."""

    def __init__(self, path: Path) -> None:
        """Open ``path``; raises UnreadableFile, or FileNotFoundError where it is gone."""
        self.path = path
        self.is_gzip = path.suffix == ".gz"
        try:
            raw = path.open("rb")
        except FileNotFoundError:
            raise
        except OSError as error:
            is_refused = isinstance(error, PermissionError)
            mend = "give this user permission to read it" if is_refused else "mend or remove it"
            what = f"cannot be opened: {error.strerror or error}; {mend}"
            raise UnreadableFile(path, what) from error
        self._raw = raw
        self._file: Any = raw
        self.waiting = 0  # bytes behind the last newline, once the file was read to its end
        self._rewind()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._raw.close()

    def _rewind(self) -> None:
        """Go to the beginning; a gzip file that met damage does not do so by seeking."""
        self._raw.seek(0)
        if self.is_gzip:
            self._file = gzip.GzipFile(fileobj=self._raw, mode="rb")

    def stamp(self) -> list[int]:
        """Return what changes when the file does: size, time of change, inode."""
        stat = os.fstat(self._raw.fileno())
        return [stat.st_size, stat.st_mtime_ns, stat.st_ino]

    def head(self, has_header: bool) -> Head | None:
        """Return the beginning of the file, or None while no data line is whole.

        A first line over the limit counts by its beginning. Raises UnreadableFile where the file
        breaks before it.
        """
        wanted = 2 if has_header else 1
        limit = LINE_LIMIT_BYTES * wanted + len(_BOM)
        data = bytearray()
        self._rewind()
        while data.count(b"\n") < wanted and len(data) < limit:
            before = len(data)
            data, damage = _read_block(self._file, data, HEAD_BYTES)
            if damage is not None and data.count(b"\n") < wanted:
                raise self._broken(damage) from damage
            if len(data) < before + HEAD_BYTES:
                self.waiting = len(data) - (data.rfind(b"\n") + 1)
                break
        start = len(_BOM) if data.startswith(_BOM) else 0
        data_start = data.find(b"\n") + 1 if has_header else start
        if has_header and not data_start:
            return None
        end = data.find(b"\n", data_start) + 1
        if not end and len(data) < limit:
            return None
        header = bytes(data[start:data_start])
        line = bytes(data[data_start : end or len(data)])[:LINE_LIMIT_BYTES]
        return Head(header.rstrip(b"\r\n"), line.rstrip(b"\r\n"), start, data_start)

    def before(self, offset: int) -> bytes | None:
        """Return the TAIL_BYTES before ``offset``, or None where the file does not reach it."""
        start = max(0, offset - TAIL_BYTES)
        try:
            self._file.seek(start)
        except (EOFError, OSError, zlib.error):
            return None
        data, _ = _read_block(self._file, b"", offset - start)
        return bytes(data) if len(data) == offset - start else None

    def chunks(self, offset: int) -> Iterator[Chunk]:
        """Yield chunks of whole lines from ``offset``; a last line without newline waits.

        Raises UnreadableFile after the last good line where the file is cut, before any where a
        compressed file is corrupt: what follows the fault decodes to lines that look right.
        """
        if self.is_gzip:
            size = self._unpacked_size()
            self._rewind()
            if size <= offset:
                return
        chunk = Chunk(offset, offset, self.before(offset) or b"")
        try:
            self._file.seek(offset)
        except (EOFError, OSError, zlib.error) as error:
            raise self._broken(error) from error
        carry: bytes | bytearray = b""
        self.waiting = 0
        long_line: _LongLine | None = None
        damage: Exception | None = None
        while damage is None:
            data, damage = _read_block(self._file, carry, BLOCK_BYTES)
            if len(data) == len(carry):
                break
            if long_line is not None:
                cut = data.find(b"\n") + 1
                long_line.add(data[:cut] if cut else data)
                if not cut:
                    continue
                chunk.add(long_line.batch(), long_line.end)
                chunk.tail = long_line.tail(chunk.tail)
                long_line = None
                data = data[cut:]
            base = chunk.end
            cut = data.rfind(b"\n") + 1
            if cut:
                batch, ends = _batch(data, cut, base)
                first = 0
                while first < len(ends):
                    count = min(len(ends) - first, max(CHUNK_LINES - chunk.lines, 1))
                    end = int(ends[first + count - 1])
                    chunk.add(batch.slice(first, count), base + end)
                    chunk.tail = _tail(chunk.tail, data, int(ends[first - 1]) if first else 0, end)
                    first += count
                    if chunk.is_full:
                        yield chunk
                        chunk = Chunk(chunk.end, chunk.end, chunk.tail)
            carry = data[cut:]
            if len(carry) > LINE_LIMIT_BYTES:
                long_line = _LongLine(chunk.end)
                long_line.add(carry)
                carry = b""
        if damage is None:
            self.waiting = len(carry) if long_line is None else long_line.end - chunk.end
        if chunk.batches:
            yield chunk
        if damage is not None:
            raise self._broken(damage) from damage

    def _unpacked_size(self) -> int:
        """Return how many bytes a compressed file holds, to its end or to where it is cut."""
        size = 0
        self._rewind()
        try:
            while got := len(self._file.read1(READ_BYTES)):
                size += got
        except EOFError:
            return size + 1  # beyond it, so that reading meets the cut too
        except (OSError, zlib.error) as error:
            raise UnreadableFile(
                self.path, f"{error}; nothing of it was read. Replace it with a whole copy"
            ) from error
        return size

    def _broken(self, error: Exception) -> UnreadableFile:
        return UnreadableFile(
            self.path,
            f"{error or type(error).__name__}; lines before the damage were read. "
            "If it is not still being written, replace it with a whole copy: reading goes on "
            "where it stopped",
        )


def _read_block(
    file: Any, carry: bytes | bytearray, size: int
) -> tuple[bytearray, Exception | None]:
    """Read up to ``size`` bytes behind ``carry``; on damage return what came before it and why."""
    have = len(carry)
    data = bytearray(have + size)
    data[:have] = carry
    damage: Exception | None = None
    with memoryview(data) as view:
        while have < len(data):
            try:
                got = cast(int, file.readinto1(view[have : have + READ_BYTES]))
            except (EOFError, OSError, zlib.error) as error:
                damage = error
                break
            if not got:
                break
            have += got
    del data[have:]
    return data, damage


def _tail(before: bytes, data: bytearray, start: int, end: int) -> bytes:
    """Return the last TAIL_BYTES of ``before`` and ``data[start:end]``."""
    if end - start >= TAIL_BYTES:
        return bytes(data[end - TAIL_BYTES : end])
    return (before + data[start:end])[-TAIL_BYTES:]


class _LongLine:
    """A line over the limit, known by offset, length, digest, beginning and end only."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.end = offset
        self._head = b""
        self._last = b""
        self._digest = hashlib.md5(usedforsecurity=False)

    def add(self, data: bytes | bytearray) -> None:
        if len(self._head) < EXCERPT_BYTES:
            self._head += data[: EXCERPT_BYTES - len(self._head)]
        self._last = (self._last + data[-TAIL_BYTES:])[-TAIL_BYTES:]
        self._digest.update(data)
        self.end += len(data)

    def tail(self, before: bytes) -> bytes:
        return (before + self._last)[-TAIL_BYTES:]

    def note(self) -> str:
        """Describe the line in place of its text."""
        text = self._head.decode("utf-8", "replace").replace("\n", " ")
        return f"{text}… [{self.end - self.offset} bytes, md5 {self._digest.hexdigest()}]"

    def batch(self) -> pa.RecordBatch:
        return pa.record_batch(
            [[self.offset], [self.note()], ["line_too_long"]], schema=LINE_SCHEMA
        )


def _batch(data: bytearray, size: int, base: int) -> tuple[pa.RecordBatch, np.ndarray]:
    """Build one batch over the whole lines in ``data[:size]``, and where each line ends.

    UTF-8 text is not copied.
    """
    octets = np.frombuffer(data, dtype=np.uint8, count=size)
    ends = np.flatnonzero(octets == 10) + 1
    starts = np.concatenate(([0], ends[:-1]))
    is_large = ends - starts > LARGE_LINE_BYTES
    has_cr = (ends > 1) & (octets[ends - 2] == 13)
    if not is_large.any() and not has_cr.any():
        bounds = np.concatenate((starts[:1], ends)).astype(np.int32)
        text = pa.StringArray.from_buffers(len(ends), pa.py_buffer(bounds), pa.py_buffer(data))
        try:
            text.validate(full=True)
        except pa.ArrowInvalid:
            pass
        else:
            columns = [pa.array(starts + base, pa.int64()), text, pa.nulls(len(ends), pa.string())]
            return pa.record_batch(columns, LINE_SCHEMA), ends
    return _careful_batch(data, base, starts, ends), ends


def _careful_batch(
    data: bytearray, base: int, starts: np.ndarray, ends: np.ndarray
) -> pa.RecordBatch:
    """Decode line by line where some line is large, not UTF-8 or ends in CR LF."""
    lines: list[str] = []
    errors: list[str | None] = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end - start > LINE_LIMIT_BYTES:
            whole = _LongLine(base + start)
            whole.add(data[start:end])
            lines.append(whole.note())
            errors.append("line_too_long")
            continue
        raw = bytes(data[start:end])
        if raw.endswith(b"\r\n"):
            raw = raw[:-2] + b"\n"
        try:
            lines.append(raw.decode("utf-8"))
            errors.append("too_complex" if _is_too_complex(raw) else None)
        except UnicodeDecodeError:
            lines.append(raw.decode("utf-8", "backslashreplace"))
            errors.append("not_utf8")
    return pa.record_batch(
        [pa.array(starts + base, pa.int64()), pa.array(lines), pa.array(errors, pa.string())],
        schema=LINE_SCHEMA,
    )


def _is_too_complex(line: bytes) -> bool:
    """Tell whether a large line holds more values than can be decoded in bounded memory."""
    if len(line) <= LARGE_LINE_BYTES:
        return False
    return sum(map(line.count, (b",", b"[", b"{"))) > LARGE_LINE_VALUES
