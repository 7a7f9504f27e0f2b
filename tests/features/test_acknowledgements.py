"""Acknowledgements: whose is the last by then, whether it still holds, what is said of it."""

import json
from pathlib import Path

import pytest

from features.acknowledgements import Acknowledgement, acknowledged

STALE = {"key": "source_stale raw_x", "since_ms": 1000, "severity": "warning", "note": ""}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    entries = [
        {**STALE, "at_ms": 2000, "by": "ann@desk pid 1"},  # first
        {**STALE, "at_ms": 4000, "by": "bob", "note": "disk full"},  # the last one counts
        {"key": "old x", "since_ms": 1, "at_ms": 3, "by": "ann"},  # of before severities were noted
        {**STALE, "key": "no time", "by": "ann"},  # acknowledges nothing
    ]
    (tmp_path / "alerts").mkdir()
    lines = [*(json.dumps(entry) for entry in entries), "[]", '{"key": "torn']
    (tmp_path / "alerts" / "acknowledged.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_the_last_acknowledgement_counts_and_damaged_lines_do_not(home: Path) -> None:
    assert acknowledged(home) == {
        ("source_stale raw_x", 1000): Acknowledgement("bob", 4000, "disk full", "warning"),
        ("old x", 1): Acknowledgement("ann", 3, "", "critical"),
    }


def test_of_a_past_moment_only_what_was_acknowledged_by_then_counts(home: Path) -> None:
    found = acknowledged(home, until_ms=3999)
    assert found["source_stale raw_x", 1000].by == "ann@desk"  # without the process, long over
    assert list(acknowledged(home, until_ms=2)) == []


def test_a_root_without_acknowledgements_has_none(tmp_path: Path) -> None:
    assert acknowledged(tmp_path) == {}


@pytest.mark.parametrize(
    ("note", "severity", "words"),
    [
        ("disk full", "warning", "seen by ann, 1970-01-01 00:00:02 UTC: disk full"),
        ("", "warning", "seen by ann, 1970-01-01 00:00:02 UTC"),  # nothing was noted
        (  # it was seen at less than it is now
            "disk full", "critical",
            "seen by ann, 1970-01-01 00:00:02 UTC as warning, before it grew worse: disk full",
        ),
        ("a\nb", "warning", "seen by ann, 1970-01-01 00:00:02 UTC: a\N{REPLACEMENT CHARACTER}b"),
    ],
)  # fmt: skip
def test_words_say_who_when_what_and_whether_it_still_holds(
    note: str, severity: str, words: str
) -> None:
    made = Acknowledgement("ann", 2000, note, "warning")
    assert made.words(severity) == words
    assert made.holds(severity) == (severity == "warning")
