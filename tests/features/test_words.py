"""What is said of engines: which decisions they act on, and what they do by a status."""

from functools import partial
from pathlib import Path

import pytest

from features.words import (
    aged,
    ends,
    known_of,
    on_ahead,
    on_other_environment,
    on_status,
    only_noted,
    signed,
    span,
    unknown_of,
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


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-0.3, "0 s"), (0.3, "0 s"), (-0.6, "-1 s"), (-90.4, "-1 min 30 s"), (None, "–")],
)
def test_a_span_that_is_rounded_to_nothing_has_no_sign(seconds: float | None, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(-0.001, "0.00"), (0.001, "0.00"), (0.126, "+0.13"), (-1234.5, "-1,234.50"), (None, "–")],
)
def test_what_is_added_has_a_sign_unless_it_is_rounded_to_nothing(
    value: float | None, words: str
) -> None:
    assert signed(value) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.4, 150.0, "-0.4 to 150"),
        (-0.0053, 1234.0, "-0.005 to 1,234"),
        (0.0, 0.2, "0 to 0.2"),  # begins at 0 and ends above it
        (None, 1.0, "–"),
    ],
)
def test_each_end_of_an_interval_stays_on_its_side_of_0(
    low: float | None, high: float | None, words: str
) -> None:
    assert ends(low, high, 0) == words


def test_known_and_unknown_samples_are_written_of_all() -> None:
    assert known_of(16, 1_890) == "16 of 1,890"
    assert unknown_of(3, 12) == "3 of 12 unknown"
    assert (unknown_of(0, 12), unknown_of(None, 12), unknown_of(3, None)) == ("", "", "")
