"""What `current` tells of the desk beside a snapshot: whole and back, and of another release."""

import math
from typing import Any

import pytest

from live.mirror.desk import UNTOLD, Desk, Hold, desk_of, fields_of, words_of
from live.mirror.documents import clean, document_size
from live.trading.controls import Disabled, State

NOW_MS = 1_762_300_800_500
DESK = Desk(
    origin="demo",
    applied=("size", "policy"),
    hold=Hold(NOW_MS, "ann@desk pid 7", "wrong fees"),
    switches=State(
        "reduce_only", "drill", "bob", NOW_MS, disabled={
            "NEGZUSDT": Disabled("delisted"), "ETHUSDT": Disabled("spread", NOW_MS + 60_000)
        },
    ),
)  # fmt: skip


@pytest.mark.parametrize("desk", [Desk(), DESK, Desk(origin="logs", applied=(), switches=State())])
def test_a_desk_is_told_whole(desk: Desk) -> None:
    assert desk_of(clean(fields_of(desk))) == desk


def test_fields_are_of_the_mirrors_shape() -> None:
    fields = fields_of(DESK)
    since = NOW_MS / 1000  # epoch seconds, as every time of the mirror
    assert fields["hold"] == {"since": since, "by": "ann@desk pid 7", "reason": "wrong fees"}
    assert fields["applied"] == ["size", "policy"]
    off = {"symbol": "ETHUSDT", "reason": "spread", "until": since + 60}
    assert fields["switches"]["disabled"][0] == off


@pytest.mark.parametrize("words", ["x" * 2_000_000, "half a \ud83d", "__x__", ""])
def test_no_words_of_a_person_keep_a_snapshot_out_of_the_mirror(words: str) -> None:
    state = State("kill", words, words, 1, disabled={words: Disabled(words)})
    fields = clean(fields_of(Desk(hold=Hold(1, words, words), switches=state)))
    assert len(repr(fields)) < 10_000
    found = desk_of(fields)
    assert found.hold is not None
    assert found.switches is not None
    assert found.switches.mode == "kill"


@pytest.mark.parametrize(("n", "is_told"), [(1_000, True), (1_001, False)])
def test_many_symbols_that_are_off_keep_no_snapshot_out_of_the_mirror(
    n: int, is_told: bool
) -> None:
    words = "\N{PILE OF POO}" * 2_000  # as long in bytes as text can be
    off = {f"{k}{words}": Disabled(words) for k in range(n)}
    fields = clean(fields_of(Desk(switches=State("run", "", "", 1, disabled=off))))
    assert document_size("hedge/dev/snapshots/current", fields) < 700_000
    found = desk_of(fields)
    assert (found.switches is not None, found.are_switches_unread) == (is_told, not is_told)
    if found.switches is not None:
        assert len(found.switches.disabled) == n


@pytest.mark.parametrize(
    ("current", "told"),
    [
        ({}, Desk()),  # the mirror of a release that did not tell
        ({"applied": "size", "origin": 5, "updated_at": "now"}, Desk()),
        # a mode that is not known here -> no switch is, rather than none
        (
            {"switches": {**fields_of(DESK)["switches"], "mode": "doze"}},
            Desk(are_switches_unread=True),
        ),
        ({"updated_at": math.inf, "hold": None}, Desk(told_ms=0)),
        ({"hold": None, "updated_at": 7}, Desk(told_ms=7_000)),
    ],
)
def test_what_another_release_tells_otherwise_is_not_known(
    current: dict[str, Any], told: Desk
) -> None:
    assert desk_of(current) == told


def test_a_hold_that_cannot_be_read_holds_too() -> None:
    found = desk_of({"hold": {"until": 5}, "updated_at": 7}).hold
    assert found == Hold(7_000, "unknown", "the mirror holds no reason that can be read")


def test_a_viewer_is_told_what_stands_at_the_desk() -> None:
    told = desk_of({**fields_of(DESK), "updated_at": 1_762_300_860})
    levels, texts = zip(*words_of(told, "testnet", NOW_MS), strict=True)
    assert levels == ("bad", "bad", "warn", "warn", "warn", "warn")
    assert texts[0].startswith(
        "HOLD: nothing is published since 2025-11-05 00:00:00 UTC, by ann@desk pid 7: wrong fees."
    )
    assert texts[1].startswith("REDUCE-ONLY since 2025-11-05 00:00:00 UTC, by bob: drill.")
    assert texts[2].startswith("ETHUSDT is switched off until 2025-11-05 00:01:00 UTC: spread")
    assert texts[3].startswith("NEGZUSDT is switched off until execintel enable: delisted")
    assert texts[4] == "HOLD and switches are as they were mirrored at 2025-11-05 00:01:00 UTC."
    assert texts[5].startswith("Engines of testnet only note offset: they quote 2.00 bps from mid.")


def test_switches_that_cannot_be_read_are_said_to_be_unknown() -> None:
    desk = desk_of({"switches": {"mode": "doze"}, "applied": ["size", "offset", "policy"]})
    (told,) = words_of(desk, "paper", 0)
    assert told == (
        "warn",
        "The mirror tells switches that cannot be read here: trading may be off.",
    )


def test_what_engines_act_on_is_not_guessed() -> None:
    ((level, words),) = words_of(Desk(), "live", NOW_MS)
    assert (level, UNTOLD in words) == ("warn", True)
    everything = Desk(applied=("size", "offset", "policy"), switches=State())
    assert list(words_of(everything, "live", NOW_MS)) == []
