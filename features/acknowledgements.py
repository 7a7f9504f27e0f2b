"""Which alerts a person has seen: read from alerts/acknowledged.jsonl below the data root.

Put here: reading acknowledgements, whether one still holds, its words. Keep out: making them
(pipelines/alerts.py), which alerts there are (features/sql/feat_ops__alerts.sql).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.words import plain, when

SEVERITY_RANK = {"warning": 1, "critical": 2}
_PROCESS = re.compile(r" pid \d+$")  # long over when somebody reads it


@dataclass(frozen=True)
class Acknowledgement:
    """One person's word that an alert of this severity was seen."""

    by: str
    at_ms: int
    note: str
    severity: str

    def holds(self, severity: str) -> bool:
        """Tell whether the alert was seen at this severity or a worse one."""
        return SEVERITY_RANK[severity] <= SEVERITY_RANK.get(self.severity, 0)

    def words(self, severity: str) -> str:
        """Say who saw an alert, when and what they noted, and whether it grew worse since."""
        grown = "" if self.holds(severity) else f" as {self.severity}, before it grew worse"
        note = f": {plain(self.note)}" if self.note else ""
        return f"seen by {self.by}, {when(self.at_ms)}{grown}{note}"


Acknowledged = Mapping[tuple[str, int], Acknowledgement]  # by key and since_ms of the alert


def key_of(rule: str, subject: str) -> str:
    """Name an alert as it is named in later snapshots too."""
    return f"{rule} {subject}"


def made_of(found: Acknowledged, alert: Mapping[str, Any]) -> Acknowledgement | None:
    """Return who has seen an alert, a row of feat_ops__alerts; None: nobody."""
    return found.get((key_of(alert["rule"], alert["subject"]), alert["since_ms"]))


def acknowledged(home: Path, *, until_ms: int | None = None) -> Acknowledged:
    """Return the last acknowledgement of each alert, of those made by ``until_ms`` where given.

    Damaged lines are left out.
    """
    found: dict[tuple[str, int], Acknowledgement] = {}
    try:
        text = (home / "alerts" / "acknowledged.jsonl").read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return found
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            made = Acknowledgement(
                _PROCESS.sub("", entry["by"]),
                int(entry["at_ms"]),
                str(entry.get("note", "")),
                str(entry.get("severity", "critical")),  # older notes name none
            )
            if until_ms is None or made.at_ms <= until_ms:
                found[entry["key"], entry["since_ms"]] = made
        except (AttributeError, ValueError, KeyError, TypeError):
            continue  # a torn line acknowledges nothing
    return found
