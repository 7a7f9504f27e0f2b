"""Find log files and tell which source each one continues, whatever it is called today.

Put here: discovery and identity of sources. Keep out: reading lines beyond a file's beginning.
"""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from features.durable import replace_file
from features.lake import positive_63
from features.settings import LogFolder
from pipelines.intake.kinds import Kind, kind_of
from pipelines.intake.lines import LogReader


@dataclass(frozen=True)
class Place:
    """Where a source stands: defaults for lines that do not say it."""

    account: str
    environment: str
    venue: str | None
    naive_zone: str = "UTC"

    @property
    def owner(self) -> int:
        """Digest whose logs stand here, to a number that a commit can hold."""
        return digest_63(f"{self.account}\x1f{self.environment}".encode())


@dataclass(frozen=True)
class LogFile:
    """A file that a kind claims."""

    path: Path
    kind: Kind
    named: dict[str, str]
    place: Place
    size: int = 0


@dataclass(frozen=True)
class Problem:
    """Something about a file that a person should mend."""

    path: Path
    what: str


@dataclass
class Found:
    """What a look into the configured folders gave."""

    files: list[LogFile] = field(default_factory=list)
    unclaimed: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """A log with an identity: where reading goes on, and which earlier readings it repeats.

    ``header`` is empty where a CSV file has none; ``note`` says what a person should know.
    """

    source_id: str
    offset: int
    header: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()
    note: str | None = None


def owners(folders: Iterable[LogFolder]) -> frozenset[int]:
    """Return the owners of all logs that may stand in the folders, found or not."""
    return frozenset(
        Place(folder.account, environment, folder.venue).owner
        for folder in folders
        for environment in (folder.environment, "backtest")
    )


def discover(folders: Iterable[LogFolder]) -> Found:
    """List the files below the folders by kind, oldest rotation first; links are followed once."""
    found = Found()
    seen: set[str] = set()
    for folder in folders:
        if not folder.path.is_dir():
            found.problems.append(Problem(folder.path, _no_folder(folder.path)))
            continue
        for where, names, files in os.walk(
            folder.path, onerror=_walk_error(found), followlinks=True
        ):
            names[:] = [name for name in sorted(names) if _first_time(seen, where, name)]
            for name in names:
                if kind_of(name):
                    found.problems.append(
                        Problem(Path(where, name), "a folder with the name of a log: rename it")
                    )
            for name in sorted(files):
                if _first_time(seen, where, name):
                    _claim(found, folder, Path(where, name))
    found.files.sort(key=lambda file: (file.kind.table, str(file.path.parent), _age(file)))
    return found


def _first_time(seen: set[str], where: str, name: str) -> bool:
    real = os.path.realpath(os.path.join(where, name))
    is_new = real not in seen
    seen.add(real)
    return is_new


def _claim(found: Found, folder: LogFolder, path: Path) -> None:
    claim = kind_of(path.name)
    if claim is None:
        found.unclaimed.append(path)
    elif not path.is_file():
        found.problems.append(Problem(path, _irregular(path)))
    else:
        size = path.stat().st_size
        found.files.append(LogFile(path, claim[0], claim[1], _place(folder, path), size))


def _no_folder(path: Path) -> str:
    if path.exists():
        return "this is a file, and a log folder was to be named: name the folder that it is in"
    return "this log folder does not exist"


def _walk_error(found: Found) -> Callable[[OSError], None]:
    def note(error: OSError) -> None:
        what = f"not readable: {error.strerror}; give this user permission to it"
        found.problems.append(Problem(Path(error.filename or "?"), what))

    return note


def _irregular(path: Path) -> str:
    if path.is_symlink():
        return f"a link to {os.readlink(path)}, which leads to no file: mend or remove it"
    return "not a regular file: logs are read from files only"


def _age(file: LogFile) -> tuple[int, int, str]:
    """Order rotations oldest first: NAME.2.jsonl, NAME.1.jsonl, NAME.jsonl-DATE, NAME.jsonl."""
    number = file.named.get("before") or file.named.get("after")
    if number:
        return (0, -int(number), file.path.name)
    return (1 if file.named.get("dated") else 2, 0, file.path.name)


def _place(folder: LogFolder, path: Path) -> Place:
    backtest = any(part.startswith("backtest_") for part in path.relative_to(folder.path).parts)
    return Place(
        account=folder.account,
        environment="backtest" if backtest else folder.environment,
        venue=folder.venue,
        naive_zone=folder.naive_zone,
    )


def digest_63(data: bytes) -> int:
    """Digest bytes to a positive 63-bit number."""
    return positive_63(int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big"))


def resolve(
    file: LogFile,
    reader: LogReader,
    committed: Callable[[str], int | None],
    configured: Collection[int] = (),
) -> Source | None:
    """Tell which source a file is, or None while it has no whole data line.

    ``committed`` maps an application id of the raw table to its number: the offset under the
    source's id, the digest of the bytes before that offset under ``<id>:tail``, its place's owner
    under ``<id>:owner``. A file whose first line is known but whose bytes before the offset differ
    is another source; what it repeats of the earlier ones is dropped by line hash. Equal bytes of
    another of the ``configured`` owners are that one's own; an owner that is no longer configured
    was renamed. Raises UnreadableFile.
    """
    kind = file.kind
    head = reader.head(has_header=False)
    header: tuple[str, ...] = ()
    if head is not None and kind.format == "csv":
        header = _header(head.line)
        if set(kind.event_keys) & set(header):
            head = reader.head(has_header=True)
        else:
            header = ()
    if head is None:
        return None
    identity = [kind.table, *(file.named.get(group, "") for group in kind.identity_groups)]
    if kind.format == "csv":
        identity.append("csv" if header else "csv without header")  # mending it makes it new
    text = "\x1f".join(identity).encode() + b"\x1f" + head.line
    base = hashlib.blake2b(text, digest_size=10).hexdigest()
    note = None
    if kind.format == "csv" and not header:
        names = " or ".join(kind.event_keys)
        note = f"no header (its first line names no column {names}): every line is rejected"
    shorter = None
    earlier: list[str] = []
    others = set(configured) - {file.place.owner}
    number = -1
    while True:
        number += 1
        source_id = f"{base}-{number}"
        offset = committed(source_id)
        if committed(f"{source_id}:owner") in others:
            continue
        if offset is None:
            return Source(source_id, head.data_start, header, tuple(earlier), note or shorter)
        before = reader.before(offset)
        if before is not None and digest_63(before) == committed(f"{source_id}:tail"):
            return Source(source_id, offset, header, tuple(earlier), note)
        if before is None:
            shorter = (
                f"shorter than the {offset} bytes read of it before: read again from its "
                "beginning, lines that are known are dropped"
            )
        earlier.append(source_id)


def _header(line: bytes) -> tuple[str, ...]:
    text = line.decode("utf-8", "replace")
    return tuple(cell.strip().strip('"').strip().lower() for cell in text.split(","))


_ENTRY_N = 6  # numbers and words that SeenFiles keeps of a file


class SeenFiles:
    """Remember size and time of files that were read to their end, to skip opening them again.

    Only a shortcut: a missing or wrong memory costs time, never rows, because offsets are always
    taken from the lake.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._new: dict[str, list[object]] = {}
        try:
            old = json.loads(path.read_text())
            self._old: dict[str, list[object]] = old if isinstance(old, dict) else {}
        except (OSError, ValueError):
            self._old = {}

    @classmethod
    def of(cls, home: Path) -> Self:
        return cls(home / "cache" / "files.json")

    def holds(self, file: LogFile, committed: Callable[[str], int | None]) -> bool:
        entry = self._old.get(str(file.path))
        if not isinstance(entry, list) or len(entry) != _ENTRY_N:
            return False
        stat = file.path.stat()
        if entry[:3] != [stat.st_size, stat.st_mtime_ns, stat.st_ino]:
            return False
        if committed(str(entry[3])) != entry[4]:
            return False
        self._new[str(file.path)] = entry
        return True

    def note(
        self, file: LogFile, stamp: list[int], source_id: str, offset: int, waiting: int
    ) -> None:
        """Take a file that was read to its end, but for ``waiting`` bytes behind its last newline.

        One of no whole line has no source id yet.
        """
        self._new[str(file.path)] = [*stamp, source_id, offset, waiting]

    def waiting(self, path: Path) -> int:
        """Return how many bytes of a file wait for a newline; 0 where it changed since the run."""
        entry = self._old.get(str(path))
        if not isinstance(entry, list) or len(entry) != _ENTRY_N:
            return 0
        stat = path.stat()
        is_same = entry[:3] == [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        return entry[5] if is_same and isinstance(entry[5], int) else 0

    def keep(self, file: LogFile) -> None:
        """Carry over what is known of a file that this run does not look at."""
        if str(file.path) in self._old:
            self._new[str(file.path)] = self._old[str(file.path)]

    def save(self) -> None:
        """Write the memory of the files met in this run, if it changed."""
        if self._new == self._old:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, json.dumps(self._new), is_durable=False)
