"""What was CURRENT when: the publications that took effect, read from published.jsonl.

Put here: order and times of publications and rollbacks. Keep out: making them (snapshot.py).
"""

import json
from dataclasses import dataclass
from pathlib import Path

_UNKNOWN = "?"  # lines of before `previous` was written


@dataclass(frozen=True)
class Publication:
    """One moment at which CURRENT was replaced, forwards or back.

    ``n`` is the byte offset behind its line: it grows with every publication. ``sequence`` is the
    number of the build, 0 in lines of before it was written; ``previous`` what CURRENT named.
    """

    n: int
    snapshot_id: str
    sequence: int
    published_ms: int
    by: str
    previous: str | None


def logged(root: Path, *, after: int = 0) -> list[Publication]:
    """Return what the log holds behind byte ``after``, also what never took effect; torn lines not.

    A run killed between the log and CURRENT leaves a line that never took effect.
    """
    try:
        with (root / "published.jsonl").open("rb") as file:
            file.seek(after)
            content = file.read()
    except FileNotFoundError:
        return []
    entries = []
    end = after
    for line in content.splitlines(keepends=True):
        end += len(line)
        if not line.endswith(b"}\n"):  # torn by a kill
            continue
        entry = json.loads(line)
        entries.append(
            Publication(
                n=end,
                snapshot_id=entry["snapshot_id"],
                sequence=entry.get("sequence", 0),
                published_ms=entry["published_ms"],
                by=entry["by"],
                previous=entry.get("previous", _UNKNOWN),
            )
        )
    return entries


def in_force(root: Path, *, after: int = 0) -> list[Publication]:
    """Return the publications logged behind byte ``after`` that took effect, in order.

    One whose predecessor stood still when the next line was written, or is CURRENT, did not.
    """
    current, entries = current_of(root), logged(root, after=after)
    while current != (now := current_of(root)):  # a publication meanwhile
        current, entries = now, logged(root, after=after)
    followed_by = [*(entry.previous for entry in entries[1:]), current]
    found: list[Publication] = []
    for entry, then in zip(entries, followed_by[: len(entries)], strict=True):
        before = entry.previous
        if before == _UNKNOWN:
            before = found[-1].snapshot_id if found else None
        if then in (entry.snapshot_id, _UNKNOWN) or then != before:
            found.append(entry)
    return found


def current_of(root: Path) -> str | None:
    """Return the id that CURRENT names, or None before the first publication."""
    try:
        return (root / "CURRENT").read_text().strip() or None
    except FileNotFoundError:
        return None


def is_line_end(root: Path, n: int) -> bool:
    """Tell whether a line of published.jsonl ends at byte ``n``: else it is not the log it was."""
    if n == 0:
        return True
    try:
        with (root / "published.jsonl").open("rb") as file:
            file.seek(n - 1)
            return file.read(1) == b"\n"
    except FileNotFoundError:
        return False


def at(root: Path, moment_ms: int) -> Publication | None:
    """Return the publication in force at ``moment_ms``: the last one made up to then, or None.

    The log's order counts where a clock was set back.
    """
    made = [entry for entry in in_force(root) if entry.published_ms <= moment_ms]
    return made[-1] if made else None
