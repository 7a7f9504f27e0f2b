"""Files of prediction traces: whole lines only, rotated by size, finished ones compressed.

Put here: names, headers, rotation, mending a failed write. Keep out: what a trace is and when it
is written (telemetry.py).
"""

import gzip
import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

Format = Literal["csv", "jsonl"]
_log = logging.getLogger(__name__)


class _Open(msgspec.Struct, gc=False):
    """A file that lines are appended to; ``size`` counts its whole lines only."""

    path: Path
    fd: int
    size: int
    is_empty: bool = True


class TraceFiles:
    """The files ``traces_{strategy}_{seq}.csv`` or ``.jsonl`` of one folder; for one thread.

    A run never goes on in a file of an earlier one: it takes the next free number, so a half line
    that a killed process left stays the last of its file.
    """

    def __init__(
        self,
        folder: Path,
        format: Format,
        *,
        header: bytes,
        is_compressed: bool,
        max_file_bytes: int,
    ) -> None:
        """Touch nothing yet; the first line of a strategy makes its file."""
        self.folder = folder
        self._format = format
        self._header = header
        self._is_compressed = is_compressed
        self._max_bytes = max_file_bytes
        self._open: dict[str, _Open] = {}

    def append(self, strategy: str, lines: Sequence[bytes]) -> int:
        """Append the first of the lines, as many as the file takes; returns how many.

        Raises OSError; then none of them stands in the file.
        """
        file = self._open.get(strategy)
        if file and not file.is_empty and file.size + len(lines[0]) > self._max_bytes:
            self._finish(strategy)
            file = None
        if file is None:
            file = self._open[strategy] = self._create(strategy)
        count, size = 1, file.size + len(lines[0])
        while count < len(lines) and size + len(lines[count]) <= self._max_bytes:
            size += len(lines[count])
            count += 1
        try:
            _write_all(file.fd, b"".join(lines[:count]))
        except OSError:
            self._mend(strategy, file)
            raise
        file.size, file.is_empty = size, False
        return count

    def close(self) -> None:
        """Finish every file; never raises, a file that cannot be compressed stays as it is."""
        for strategy in list(self._open):
            self._finish(strategy)

    def _create(self, strategy: str) -> _Open:
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = "traces_" + re.sub(r"[^A-Za-z0-9-]", "-", strategy)
        named = re.compile(rf"^{stem}_(\d+)\.(?:csv|jsonl)(?:\.gz)?$")
        taken = [int(found[1]) for name in os.listdir(self.folder) if (found := named.match(name))]
        seq = max(taken, default=-1) + 1
        while True:
            path = self.folder / f"{stem}_{seq}.{self._format}"
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
                break
            except FileExistsError:  # another process was faster
                seq += 1
        try:
            _write_all(fd, self._header)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return _Open(path, fd, len(self._header))

    def _mend(self, strategy: str, file: _Open) -> None:
        """Cut off what a failed write left; where even that fails, leave the file for a new one."""
        try:
            os.ftruncate(file.fd, file.size)
        except OSError as error:
            _log.warning("telemetry: %s may end in half a line: %s", file.path, error.strerror)
            del self._open[strategy]
            _close(file.fd)

    def _finish(self, strategy: str) -> None:
        file = self._open.pop(strategy)
        _close(file.fd)
        if self._is_compressed:
            compress(file.path)


def compress(path: Path) -> None:
    """Replace a file by its .gz, of equal bytes for equal lines; never raises.

    The plain file goes only once the whole .gz stands; the intake takes both for one source.
    """
    draft = path.with_name(f".{path.name}.gz.tmp")
    try:
        with open(path, "rb") as plain, open(draft, "wb") as raw:
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                shutil.copyfileobj(plain, packed, 1 << 20)
            raw.flush()
            os.fsync(raw.fileno())
        draft.replace(path.with_name(f"{path.name}.gz"))
        path.unlink()
    except OSError as error:
        _log.warning("telemetry: %s stays uncompressed: %s", path, error.strerror)
        draft.unlink(missing_ok=True)


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError as error:  # some file systems tell of a full disk only now
        _log.warning("telemetry: closing a file failed: %s", error.strerror)
