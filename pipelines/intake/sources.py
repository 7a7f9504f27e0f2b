"""Find log files and tell which source each one continues, whatever it is called today.

Put here: discovery and identity of sources. Keep out: reading lines beyond a fingerprint.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from features.lake import positive_63
from features.settings import LogFolder
from pipelines.intake.decode import Place
from pipelines.intake.kinds import Kind, kind_of
from pipelines.intake.lines import first_data_line, read_at

TAIL_BYTES = 4096  # compared before going on: enough that two logs never agree by chance


@dataclass(frozen=True)
class LogFile:
    """A file that a kind claims."""

    path: Path
    kind: Kind
    named: dict[str, str]
    place: Place


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
    """A log with an identity: where reading goes on, and which earlier readings it repeats."""

    source_id: str
    offset: int
    header: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()


def discover(folders: Iterable[LogFolder]) -> Found:
    """List the files below the folders by kind, oldest rotation first; links are followed once."""
    found = Found()
    seen: set[Path] = set()
    for folder in folders:
        if not folder.path.is_dir():
            found.problems.append(Problem(folder.path, "this log folder does not exist"))
            continue
        for where, names, files in os.walk(folder.path, onerror=_walk_error(found)):
            names.sort()
            for directory in [n for n in names if kind_of(n)]:
                found.problems.append(
                    Problem(Path(where, directory), "a folder with the name of a log: rename it")
                )
            for name in sorted(files):
                path = Path(where, name)
                if path.resolve() in seen:
                    continue
                seen.add(path.resolve())
                claim = kind_of(name)
                if claim is None:
                    found.unclaimed.append(path)
                elif not os.access(path, os.R_OK) or not path.is_file():
                    found.problems.append(Problem(path, _unreadable(path)))
                else:
                    found.files.append(LogFile(path, claim[0], claim[1], _place(folder, path)))
    found.files.sort(key=lambda file: (file.kind.table, str(file.path.parent), _age(file)))
    return found


def _walk_error(found: Found) -> Callable[[OSError], None]:
    def note(error: OSError) -> None:
        found.problems.append(Problem(Path(error.filename or "?"), f"not readable: {error.strerror}"))

    return note


def _unreadable(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return f"a link to {os.readlink(path)}, which does not exist"
    if not path.is_file():
        return "not a regular file"
    return "not readable by this user: give it read permission"


def _age(file: LogFile) -> tuple[int, str]:
    """Order rotations oldest first: NAME.2.jsonl, NAME.1.jsonl, NAME.jsonl."""
    number = file.named.get("before") or file.named.get("after")
    return (-int(number) if number else 0, file.path.name)


def _place(folder: LogFolder, path: Path) -> Place:
    backtest = any(part.startswith("backtest_") for part in path.relative_to(folder.path).parts)
    return Place(
        account=folder.account,
        environment="backtest" if backtest else folder.environment,
        venue=folder.venue,
        naive_zone=folder.naive_zone,
    )


def fingerprint(path: Path, offset: int) -> int:
    """Digest the bytes before ``offset`` (TAIL_BYTES at most) as a positive 63-bit number."""
    start = max(0, offset - TAIL_BYTES)
    return digest_63(read_at(path, start, offset - start))


def digest_63(data: bytes) -> int:
    return positive_63(int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big"))


def resolve(file: LogFile, committed: Callable[[str], int | None]) -> Source | None:
    """Tell which source a file is, or None while it has no whole data line.

    ``committed`` maps an application id of the raw table to its number: the offset under the
    source's id, the fingerprint before that offset under ``<id>:tail``. A file whose first line is
    known but whose bytes before the offset differ is another source; what it repeats of the
    earlier ones is dropped by line hash.
    """
    first = first_data_line(file.path, has_header=file.kind.format == "csv")
    if first is None:
        return None
    header, line = first
    identity = [file.kind.table, *(file.named.get(g, "") for g in file.kind.identity_groups)]
    if file.kind.format == "csv":
        identity.append("csv")
    text = "\x1f".join(identity).encode() + b"\x1f" + line
    base = hashlib.blake2b(text, digest_size=10).hexdigest()
    columns = tuple(cell.strip().strip('"') for cell in header.decode("utf-8", "replace").split(","))
    earlier: list[str] = []
    while True:
        source_id = f"{base}-{len(earlier)}"
        offset = committed(source_id)
        if offset is None:
            return Source(source_id, _data_start(file, header), columns, tuple(earlier))
        tail = committed(f"{source_id}:tail")
        if fingerprint(file.path, offset) == tail:
            return Source(source_id, offset, columns, tuple(earlier))
        earlier.append(source_id)


def _data_start(file: LogFile, header: bytes) -> int:
    """Return the offset of the first data line: behind the header of a CSV file."""
    if file.kind.format != "csv":
        return 0
    return read_at(file.path, 0, len(header) + 16).index(b"\n") + 1


class SeenFiles:
    """Remember size and time of files that were read to their end, to skip opening them again.

    Only a shortcut: a missing or wrong memory costs time, never rows, because offsets are always
    taken from the lake.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._seen: dict[str, list[object]] = json.loads(path.read_text())
        except (OSError, ValueError):
            self._seen = {}

    def holds(self, file: LogFile, committed: Callable[[str], int | None]) -> bool:
        entry = self._seen.get(str(file.path))
        if not entry or entry[:3] != self._stamp(file):
            return False
        return committed(str(entry[3])) == entry[4]

    def note(self, file: LogFile, stamp: list[object], source_id: str, offset: int) -> None:
        self._seen[str(file.path)] = [*stamp, source_id, offset]

    @staticmethod
    def _stamp(file: LogFile) -> list[object]:
        stat = file.path.stat()
        return [stat.st_size, stat.st_mtime_ns, stat.st_ino]

    stamp = _stamp

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".tmp")
        draft.write_text(json.dumps(self._seen))
        draft.replace(self.path)
