"""What the engine writes: whole lines in its logs, and a journal that a restart goes on from.

Put here: files. Keep out: what the lines say (log_lines.py). Every change goes to the journal
first, together with its log lines; so a kill between the two loses no line and doubles none.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from filelock import FileLock, Timeout

Line = Mapping[str, Any]
Lines = Iterable[tuple[str, Line]]  # log name, line

STATE, JOURNAL = "state.json", "journal.jsonl"
_TAIL = 4 << 20  # bytes at a log's end in which a restart looks for the last lines
_COMPACT_AFTER = 2_000  # journal records between two checkpoints
_log = logging.getLogger(__name__)


class Record(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One change with the log lines that tell it; what changed is added by a subclass."""

    seq: int
    lines: list[tuple[str, msgspec.Raw]] = []


_State = TypeVar("_State", bound=msgspec.Struct)
_Record = TypeVar("_Record", bound=Record)
_write = os.write


def plain(value: Any) -> Any:
    """Return what JSON can say of a value that it has no word for: a numpy number or array."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


# An unknown number, NaN, becomes null: the logs have no other word.
encode = msgspec.json.Encoder(enc_hook=plain).encode


class LineFile:
    """A log that is appended to in whole lines, whoever rotates it, whatever the disk does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._inode = -1
        self._is_cut = False  # the last write left half a line

    def append(self, data: bytes) -> None:
        """Write whole lines in one call.

        Raises OSError when they could not be written whole. What got there is taken back, or, where
        that cannot be, ended with the next write, so that nothing is glued to it.
        """
        self._open()
        if self._is_cut:
            data = b"\n" + data
        written = 0
        try:
            while written < len(data):
                written += _write(self._fd, data[written:])
            self._is_cut = False
        except OSError:
            # A line that lacks its newline alone would be ended, and then stand there twice.
            if written and not self._take_back(data[:written]):
                self._is_cut = data[written - 1 : written] != b"\n"
            raise

    def _take_back(self, written: bytes) -> bool:
        """Cut off what was written last, if it still is the file's end; False when it stays."""
        try:
            begin = os.fstat(self._fd).st_size - len(written)
            if os.pread(self._fd, len(written), begin) != written:
                return False
            os.ftruncate(self._fd, begin)
        except OSError:
            return False
        return True

    def sync(self) -> None:
        """Wait until the disk has it."""
        os.fsync(self._fd)

    def read(self, most: int | None = None) -> bytes:
        """Return what the file holds, of a long one the last ``most`` bytes; b"" without a file."""
        try:
            with self.path.open("rb") as file:
                if most is not None:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - most))
                return file.read()
        except FileNotFoundError:
            return b""

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()  # a backtest that failed leaves no file open in a long session

    def _open(self) -> None:
        if self._fd >= 0:
            try:
                if os.stat(self.path).st_ino == self._inode:
                    return
            except FileNotFoundError:
                pass
            self.close()  # it was renamed or removed under us: begin a new one
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        found = os.fstat(self._fd)
        self._inode = found.st_ino
        self._is_cut = bool(found.st_size) and os.pread(self._fd, 1, found.st_size - 1) != b"\n"


class EngineBusyError(RuntimeError):
    """Another engine holds the state."""


@contextmanager
def held_alone(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file for this process while the block runs; the kernel frees it at a kill.

    Raises EngineBusyError, with the words ``busy``, where another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise EngineBusyError(busy) from None
    try:
        yield
    finally:
        lock.release()


class Journal:
    """Logs and journal of one engine.

    ``is_sound`` is False while something could not be written: then nothing may be opened. What
    waits is kept, up to ``most_waiting`` lines, and written as soon as it can be.
    """

    most_waiting = 100_000

    def __init__(self, log_dir: Path, state_dir: Path | None, *, durable: bool = False) -> None:
        """Write logs to ``log_dir`` and, unless it is None, the journal to ``state_dir``.

        Args:
            log_dir: made when first written to.
            durable: wait for the disk before a create call is made, so that a power cut forgets
                no order; for real money.
        """
        self._log_dir = log_dir
        self._state_dir = state_dir
        self._durable = durable
        self._logs: dict[str, LineFile] = {}
        self._journal = LineFile(state_dir / JOURNAL) if state_dir else None
        self._waiting: list[tuple[str, bytes]] = []
        self._record_n = 0
        self._must_sync = False  # the disk has not confirmed yet a record that it must have
        self.lost = 0
        self.problem: str | None = None

    @property
    def is_sound(self) -> bool:
        return self.problem is None

    def write(self, record: Record, lines: Lines = (), *, must: bool = False) -> bool:
        """Write a record, then its lines; False when something had to wait.

        Args:
            must: the record comes before an order: it must be on disk when this returns True.
        """
        record.lines = [(name, msgspec.Raw(encode(line))) for name, line in lines]
        if self._journal is not None:
            self._wait("", encode(record) + b"\n")
            self._record_n += 1
            self._must_sync |= must and self._durable
        for name, data in record.lines:
            self._wait(name, bytes(data) + b"\n")
        return self.flush()

    def flush(self) -> bool:
        """Try to write what waits; True when nothing waits any more."""
        done, name = 0, ""
        try:
            for name, data in self._waiting:
                self._file(name).append(data)
                done += 1
            if self._must_sync and self._journal is not None:
                name = ""
                self._journal.sync()
                self._must_sync = False
        except OSError as error:
            self._tell(f"{error.filename or self._path(name)}: {error.strerror or error}")
        else:
            self._tell(None)
        del self._waiting[:done]
        return not self._waiting and not self._must_sync

    def is_due(self) -> bool:
        """Tell whether the journal has grown enough for a checkpoint."""
        return self._record_n >= _COMPACT_AFTER

    def checkpoint(self, state: msgspec.Struct) -> None:
        """Replace the journal by one whole state; on failure the journal just stays."""
        if self._state_dir is None or self._journal is None or self._waiting:
            return
        draft = self._state_dir / (STATE + ".tmp")
        try:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                file.write(encode(state) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._state_dir / STATE)
            self._journal.close()
            self._journal.path.unlink(missing_ok=True)
            self._record_n, self._must_sync = 0, False
        except OSError as error:
            _log.warning("checkpoint not written, the journal goes on: %s", error)

    def restore(
        self, state_type: type[_State], record_type: type[_Record]
    ) -> tuple[_State | None, list[_Record]]:
        """Return the last checkpoint and every record of the journal; mends the logs' ends.

        A checkpoint may already hold the first records: its ``seq`` says up to which.

        Raises OSError when the state cannot be read, ValueError when it is none.
        """
        if self._state_dir is None or self._journal is None:
            return None, []
        path = self._state_dir / STATE
        try:
            state = (
                msgspec.json.decode(path.read_bytes(), type=state_type) if path.exists() else None
            )
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(
                f"{path} is no state of an engine: {error}. Move it away and start again: positions"
                " are then adopted from the venue with execintel resume"
            ) from error
        records: list[_Record] = []
        decode = msgspec.json.Decoder(record_type).decode
        kept = self._journal.read().splitlines()
        damaged = []
        for number, data in enumerate(kept, 1):
            try:
                records.append(decode(data))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                damaged.append(number)
        # The half line of a kill is no loss: its lines and its order were never sent.
        damaged = [number for number in damaged if number < len(kept)]
        if damaged:
            _log.warning(
                "%s: lines %s cannot be read: halves that a kill left, or damage, which shows in "
                "reconciliation", self._journal.path, ", ".join(map(str, damaged)),
            )  # fmt: skip
        self._record_n = len(records)
        for name, line in records[-1].lines if records else ():
            self._repeat(name, bytes(line) + b"\n")
        return state, records

    def close(self) -> None:
        """Try once more to write what waits, say what is lost with it, and close the files."""
        if self._waiting and not self.flush():
            _log.error(
                "%d lines could not be written and are lost with this process: %s",
                len(self._waiting), self.problem,
            )  # fmt: skip
        for file in [*self._logs.values(), *([self._journal] if self._journal else [])]:
            file.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the state for this process while the block runs.

        Raises EngineBusyError where another process holds it.
        """
        if self._state_dir is None:
            yield
            return
        busy = (
            f"another engine runs on {self._state_dir}: stop it, or give this one an "
            "EXECINTEL_HOME of its own"
        )
        with held_alone(self._state_dir / "engine.lock", busy):
            yield

    def _repeat(self, name: str, data: bytes) -> None:
        """Write a line of the last record unless its log holds it."""
        held = b"\n" + self._file(name).read(_TAIL)
        if (b"\n" + data) in held:
            return
        lacks_newline = held.endswith(b"\n" + data[:-1])  # which the next write begins with
        self._wait(name, b"" if lacks_newline else data)
        self.flush()

    def _wait(self, name: str, data: bytes) -> None:
        if len(self._waiting) >= self.most_waiting:
            self.lost += 1
            return
        self._waiting.append((name, data))

    def _file(self, name: str) -> LineFile:
        if not name and self._journal is not None:
            return self._journal
        file = self._logs.get(name)
        if file is None:
            file = self._logs[name] = LineFile(self._path(name))
        return file

    def _path(self, name: str) -> Path:
        return self._log_dir / f"{name}.jsonl" if name else Path(JOURNAL)

    def _tell(self, problem: str | None) -> None:
        if problem != self.problem:
            if problem:
                _log.error("cannot write: %s; no position is opened until it can", problem)
            else:
                _log.warning("writing again; %d lines were lost", self.lost)
        self.problem = problem
