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

    ``n`` is the byte offset behind its line: it grows with every publication.
    """

    n: int
    snapshot_id: str
    published_ms: int
    by: str


def in_force(root: Path, *, after: int = 0) -> list[Publication]:
    """Return the publications logged behind byte ``after`` that took effect, in order.

    A run killed between the log and CURRENT leaves a line that never took effect: what the next
    line replaced, or CURRENT, is another snapshot.
    """
    entries: list[Publication] = []
    replaced: list[str | None] = []
    try:
        with (root / "published.jsonl").open("rb") as file:
            file.seek(after)
            content = file.read()
        current = (root / "CURRENT").read_text().strip() or None
    except FileNotFoundError:
        return []
    end = after
    for line in content.splitlines(keepends=True):
        end += len(line)
        if not line.endswith(b"}\n"):  # torn by a kill
            continue
        entry = json.loads(line)
        entries.append(Publication(end, entry["snapshot_id"], entry["published_ms"], entry["by"]))
        replaced.append(entry.get("previous", _UNKNOWN))
    followed_by = [*replaced[1:], current]
    return [
        entry
        for entry, then in zip(entries, followed_by[: len(entries)], strict=True)
        if then in (entry.snapshot_id, _UNKNOWN)
    ]


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
