"""What is said of engines: which decisions they act on, and what they do by a status."""

import pytest

from features.settings import DECISIONS
from features.words import on_status, only_noted


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
