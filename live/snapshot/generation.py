"""One published live.jsonl in memory: verified as a whole when read, line by line when used.

Put here: what makes a file trustworthy. Keep out: which file to read and what to do without one
(reader.py). Any thread may use a generation: filling its caches twice gives equal values.
"""

import hashlib
import os
from pathlib import Path

import msgspec

from live.snapshot.acting import Acting, Entry, entry_of
from live.snapshot.records import ALL, FORMAT, Header, Record

FILE = "live.jsonl"
MANIFEST = "manifest.json"
_SEAL = b',"index_sha256":"'  # what stands before it in the first line is what it is the digest of
_LONGEST_ID = 200
_SEAL_LENGTH = len(_SEAL) + 64 + len(b'"}')


class _Manifest(msgspec.Struct):
    """Of a snapshot's manifest, what was CURRENT before it."""

    previous: str | None = None


_decode_header = msgspec.json.Decoder(Header).decode
_decode_record = msgspec.json.Decoder(Record).decode
_decode_manifest = msgspec.json.Decoder(_Manifest).decode


class DamagedError(Exception):
    """A file or a line is not what was published; the message says what is wrong with it."""


class Generation:
    """One snapshot's file, whole in memory: nothing done to the file later can reach a reader."""

    def __init__(self, header: Header, data: bytes, previous: "Generation | None") -> None:
        self.header = header
        self.snapshot_id = header.snapshot_id
        self.as_of_ms = header.as_of_ms
        self.is_first = False  # that a reader serves: the one before it was another's
        self.previous = previous  # where a symbol comes from whose line here is damaged
        self.entries: dict[str, Entry] = {}
        self.ready: dict[str, Entry] = {}  # served as ok: good while the generation is fresh
        self.cautious: dict[str, tuple[Entry, Entry | None, Acting]] = {}
        self.damaged: dict[str, str] = {}
        self._data = data

    def entry(self, symbol: str) -> Entry | None:
        """Return a symbol's entry, decoding its line on first use; None when it has no line.

        Raises DamagedError when the line is not the one that the index names.
        """
        entry = self.entries.get(symbol)
        if entry is None:
            place = self.header.index.get(symbol)
            if place is None:
                return None
            line = self._data[place.offset : place.offset + place.length]
            if hashlib.sha256(line).hexdigest() != place.sha256:
                raise DamagedError(f"the line of {symbol} has other bytes than its index names")
            entry = self.entries[symbol] = entry_of(self._record(symbol, line))
        return entry

    def retire(self) -> None:
        """Keep the file alone, now that a newer generation is served.

        Freeing a thousand records at once would hold up an order for milliseconds: the reader's
        memory still has each, and lets it go when the symbol's next one comes.
        """
        self.previous = None  # one step back is enough
        self.entries, self.ready, self.cautious = {}, {}, {}

    def _record(self, symbol: str, line: bytes) -> Record:
        try:
            record = _decode_record(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DamagedError(f"the line of {symbol} is no record: {error}") from error
        if record.symbol != symbol or record.snapshot_id != self.snapshot_id:
            raise DamagedError(
                f"the line of {symbol} is that of {record.symbol} in {record.snapshot_id}"
            )
        return record

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(symbol for symbol in self.header.index if symbol != ALL)


def read_current(path: str) -> str:
    """Return the id that CURRENT names.

    Raises DamagedError for what can be no folder beside it, OSError when it cannot be read.
    """
    with open(path, "rb") as file:
        words = file.read(_LONGEST_ID).decode("utf-8", "replace").split()
    if len(words) != 1 or not words[0][0].isalnum() or os.path.basename(words[0]) != words[0]:
        raise DamagedError(f"{path} names {' '.join(words)!r}, which is no snapshot")
    return words[0]


def load(
    root: Path, snapshot_id: str, environment: str, previous: Generation | None = None
) -> Generation:
    """Read a snapshot's live.jsonl.

    Raises:
        DamagedError: the file is not whole, or of another snapshot, format or environment.
        OSError: it cannot be read.
    """
    path = root / snapshot_id / FILE
    data = path.read_bytes()
    first = data[: data.find(b"\n") + 1]
    try:
        header = _decode_header(first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedError(f"{path}: the first line is no index: {error}") from error
    body, seal = first[: -_SEAL_LENGTH - 1], first[-_SEAL_LENGTH - 1 :]
    if not seal.startswith(_SEAL) or hashlib.sha256(body).hexdigest() != header.index_sha256:
        raise DamagedError(f"{path}: the first line has other bytes than its index_sha256 says")
    if header.format != FORMAT:
        raise DamagedError(f"{path} has format {header.format}, this reader knows {FORMAT}")
    if header.snapshot_id != snapshot_id:
        raise DamagedError(f"{path} is of snapshot {header.snapshot_id}")
    if header.environment != environment:
        raise DamagedError(
            f"{path} is of environment {header.environment}, this reader serves {environment}"
        )
    end = max([p.offset + p.length for p in header.index.values()], default=len(first) - 1) + 1
    if end != len(data):
        raise DamagedError(f"{path} has {len(data)} bytes, its index names {end}: it is not whole")
    return Generation(header, data, previous)


def load_before(root: Path, snapshot_id: str, environment: str) -> Generation | None:
    """Read the live.jsonl of the snapshot that a snapshot followed; None where nobody can any more.

    For a reader that starts: what one that ran would remember, as far as one step back.
    """
    try:
        manifest = _decode_manifest((root / snapshot_id / MANIFEST).read_bytes())
        return load(root, manifest.previous, environment) if manifest.previous else None
    except (DamagedError, OSError, ValueError, msgspec.MsgspecError, RecursionError):
        return None
