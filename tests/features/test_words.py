"""What is said of engines: which decisions they act on, and what they do by a status."""

from functools import partial
from pathlib import Path

import pytest

from features.settings import DECISIONS
from features.words import (
    aged,
    on_ahead,
    on_other_environment,
    on_status,
    only_noted,
    why_stale,
)
from live.reader import SnapshotReader
from tests.live import files


@pytest.mark.parametrize(
    ("applied", "words"),
    [
        (["size", "offset", "policy"], None),  # all act -> nothing to say
        (["size", "offset"], "note policy: they route as the strategy asks."),
        (["policy"], "note size and offset: they trade each target as it is and quote 2.00 bps"),
        ([], "note size, offset and policy: they trade each target as it is, quote 2.00 bps"),
    ],
)
def test_decisions_that_do_not_act_are_named(applied: list[str], words: str | None) -> None:
    found = only_noted(applied, "live")
    assert (found is None) == (words is None)
    assert (words or "") in (found or "")
    assert set(applied) <= set(DECISIONS)


@pytest.mark.parametrize("status", ["ok", "stale", "insufficient", "unknown"])
def test_who_acts_on_nothing_is_bounded_by_nothing_but_reduces_all_the_same(status: str) -> None:
    assert "size at most" not in on_status(status, acts=False)
    assert "act on these" not in on_status(status, acts=False)
    if status != "ok":
        assert "only reduce" in on_status(status, reduces_only=True, acts=False)


@pytest.mark.parametrize(
    ("age_ms", "words"),
    [
        (
            -1,
            "its as-of lies ahead of this machine's clock",
        ),  # however little -> as engines have it
        (0, None),
        (900_000, None),
        (900_001, "older than 15 min"),
    ],
)
def test_what_words_call_stale_is_what_an_engine_reads_as_stale(
    tmp_path: Path, age_ms: int, words: str | None
) -> None:
    files.publish(tmp_path, "20251105T000000Z-abc", [files.line()], as_of_ms=files.T_MS)
    reader = SnapshotReader(
        tmp_path,
        environment="paper",
        max_age_s=900,
        clock=lambda: (files.T_MS + age_ms) / 1000,
    )
    assert why_stale(age_ms / 1000, 900) == words
    assert reader.read("BTCUSDT").status == ("ok" if words is None else "stale")


def test_an_as_of_ahead_is_written_as_such() -> None:
    assert aged(58_980) == "16 h 23 min ago"
    assert aged(-58_980) == "16 h 23 min ahead of this machine's clock"
    assert aged(-58_980, "T") == "16 h 23 min ahead of T"
    by_far = on_status("stale", reduces_only=True, is_ahead=True)
    assert by_far == "dated ahead by far: engines open nothing and only reduce"


def test_under_hold_a_resume_comes_before_what_publishes() -> None:
    for said in (on_ahead, partial(on_other_environment, "paper", "live")):
        assert "execintel snapshots resume, then execintel refresh" in said(is_held=True)
        assert "execintel snapshots resume" not in said(is_held=False)
