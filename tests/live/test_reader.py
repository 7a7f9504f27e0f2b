"""The reader: every status at its boundary, and what it does with every way a file can be wrong."""

import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from live.reader import SnapshotReader, State
from live.snapshot.acting import SAFE, Acting
from live.snapshot.reading import ReaderEvent, Reading
from tests.live import files
from tests.live.files import T_MS, T, line, publish

A, B = "20251105T000000Z-aaaaaaaa", "20251105T000500Z-bbbbbbbb"
C = "20251105T001000Z-cccccccc"
OWN = Acting(1.25, (1.5,) * 24, "good", True, "prefer_maker")  # what files.line says
GOOD = ("good", True, "prefer_maker")
UNKNOWN = ("unknown", None, "balanced")
CAREFUL = Acting(1.0, (2.0,) * 24, "good", True, "prefer_maker")  # the same with data lost


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = T + 10

    def __call__(self) -> float:
        return self.now_s


class Desk:
    """A reader of one root with its clock, and all that it said."""

    def __init__(self, root: Path, **choice: Any) -> None:
        self.root = root
        self.clock = Clock()
        self.said: list[ReaderEvent] = []
        usual: dict[str, Any] = {"environment": "paper", "max_age_s": 900}
        self.reader = SnapshotReader(
            root, clock=self.clock, on_event=self.said.append, **{**usual, **choice}
        )

    def read(self, symbol: str = "BTCUSDT", *, after_s: float = 1.0) -> Reading:
        """Read when CURRENT is due to be looked at again."""
        self.clock.now_s += after_s
        return self.reader.read(symbol)

    def names(self) -> list[str]:
        return [event.name for event in self.said]


# ----------------------------------------------------------------------------------------- statuses


def test_fresh_and_whole_is_ok_with_the_snapshots_own_values(tmp_path: Path) -> None:
    publish(tmp_path, A, [line()])
    reading = Desk(tmp_path).read(after_s=2.5)
    assert (reading.status, reading.reduce_only, reading.lost) == ("ok", False, ())
    assert (reading.snapshot_id, reading.as_of_ms, reading.age_s) == (A, T_MS, 12.5)
    assert reading.acting == OWN
    assert reading.record is not None
    assert reading.record.router is not None
    assert (reading.record.router.fallback_ratio, reading.record.router.n) == (0.2, 400)
    assert reading.record.hourly is not None
    assert reading.record.hourly[23].exp_net_per_notional is None  # null stays unknown


@pytest.mark.parametrize(
    ("age_s", "status", "reduce_only"),
    [
        (0.0, "ok", False),  # published this moment -> fresh
        (900.0, "ok", False),  # as old as allowed -> fresh
        (900.001, "stale", False),  # a millisecond more -> stale
        (3600.0, "stale", False),  # four times that age -> still stale
        (3600.001, "stale", True),  # more -> nothing may be opened
        (-0.001, "stale", False),  # from the future: some clock is wrong -> stale
        (-3600.001, "stale", True),  # an hour from the future -> nothing may be opened
        (float("nan"), "stale", True),  # a clock that knows nothing -> nothing may be opened
    ],
)
def test_age_decides_between_ok_stale_and_reduce_only(
    tmp_path: Path, age_s: float, status: str, reduce_only: bool
) -> None:
    publish(tmp_path, A, [line()])
    for is_read_before in (False, True):
        desk = Desk(tmp_path)
        if is_read_before:
            desk.read()
        desk.clock.now_s = T + age_s
        reading = desk.reader.read("BTCUSDT")
        assert (reading.status, reading.reduce_only) == (status, reduce_only)
        assert reading.acting == (OWN if status == "ok" else CAREFUL)
        health = desk.reader.health()
        assert (health.is_stale, health.reduce_only) == (status == "stale", reduce_only)


@pytest.mark.parametrize(
    ("factor", "offset_bps", "acting_factor", "acting_bps"),
    [
        (1.25, 1.5, 1.0, 2.0),  # bolder than both bounds -> the bounds
        (1.0, 2.0, 1.0, 2.0),  # at the bounds -> the same
        (0.75, 4.5, 0.75, 4.5),  # more careful than the bounds -> its own
    ],
)
def test_stale_takes_the_smaller_size_and_the_wider_offset_and_leaves_the_policy(
    tmp_path: Path, factor: float, offset_bps: float, acting_factor: float, acting_bps: float
) -> None:
    values = line(size={"final_size_factor": factor}, offsets_bps=[offset_bps] * 24)
    publish(tmp_path, A, [values])
    reading = Desk(tmp_path).read(after_s=1000)
    assert reading.status == "stale"
    assert reading.acting == Acting(acting_factor, (acting_bps,) * 24, "good", True, "prefer_maker")


def test_symbol_that_is_not_there_is_unknown_with_safe_values(tmp_path: Path) -> None:
    publish(tmp_path, A, [line()])
    reading = Desk(tmp_path).read("DOGEUSDT")
    assert (reading.status, reading.reduce_only, reading.record) == ("unknown", False, None)
    assert reading.acting == Acting(0.5, (2.0,) * 24, "unknown", None, "balanced")
    assert (reading.snapshot_id, reading.age_s) == (A, 11.0)


def test_symbol_that_is_not_there_in_an_old_snapshot_is_unknown_and_reduce_only(
    tmp_path: Path,
) -> None:
    publish(tmp_path, A, [line()])
    reading = Desk(tmp_path).read("DOGEUSDT", after_s=3600)
    assert (reading.status, reading.reduce_only, reading.acting) == ("unknown", True, SAFE)


def test_without_any_snapshot_everything_is_unknown_and_reduce_only(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "not there yet")
    reading = desk.read()
    assert (reading.status, reading.reduce_only, reading.acting) == ("unknown", True, SAFE)
    assert (reading.snapshot_id, reading.as_of_ms, reading.age_s) == (None, None, None)
    assert desk.reader.health().reduce_only
    assert "CURRENT" in (desk.reader.problem or "")
    assert desk.reader.header is None


def test_few_samples_are_insufficient_and_act_with_care(tmp_path: Path) -> None:
    publish(tmp_path, A, [line(status="insufficient")])
    reading = Desk(tmp_path).read()
    assert (reading.status, reading.lost, reading.acting) == ("insufficient", (), CAREFUL)


@pytest.mark.parametrize(
    ("values", "acting"),
    [
        # no size -> a half; the offset within bounds, the policy its own
        ({"size": {"final_size_factor": None}}, (0.5, (2.0,) * 24, GOOD)),
        ({"size": None}, (0.5, (2.0,) * 24, GOOD)),
        # no offsets, or not one per hour -> 2 bps in every hour
        ({"offsets_bps": None}, (1.0, (2.0,) * 24, GOOD)),
        ({"offsets_bps": [4.0] * 23}, (1.0, (2.0,) * 24, GOOD)),
        # one hour unknown -> 2 bps in that hour, its own in the others
        ({"offsets_bps": [4.0] * 23 + [None]}, (1.0, (4.0,) * 23 + (2.0,), GOOD)),
        # no policy -> balanced, quality unknown, maker first left to the strategy
        ({"policy": None}, (1.0, (2.0,) * 24, UNKNOWN)),
        ({"policy": {"quality": None}}, (1.0, (2.0,) * 24, UNKNOWN)),
        ({"policy": {"taker_bias": None}}, (1.0, (2.0,) * 24, UNKNOWN)),
        # half a policy -> never looser than the half that is known
        ({"policy": {"quality": "broken", "maker_first": False, "taker_bias": None}},
         (1.0, (2.0,) * 24, ("broken", False, "balanced"))),
    ],
)  # fmt: skip
def test_null_in_an_acting_column_gives_its_safe_value_and_is_never_ok(
    tmp_path: Path, values: dict[str, Any], acting: tuple[Any, ...]
) -> None:
    publish(tmp_path, A, [line(**values)])
    reading = Desk(tmp_path).read()
    assert reading.status == "insufficient"
    found = reading.acting
    policy = (found.quality, found.maker_first, found.taker_bias)
    assert (found.size_factor, found.offsets_bps, policy) == acting
    assert reading.record is not None
    if values.get("size", 0) is None:
        assert reading.record.size is None  # what was published stays visible


def test_all_symbols_together_have_a_record_and_nothing_to_trade_with(tmp_path: Path) -> None:
    parts = ("score", "size", "regime", "policy", "risk", "offsets_bps")
    nothing: dict[str, Any] = dict.fromkeys(parts)
    publish(tmp_path, A, [line("*", **nothing), line()])
    desk = Desk(tmp_path)
    reading = desk.read("*")
    assert (reading.status, reading.acting) == ("ok", SAFE)
    assert reading.record is not None
    assert reading.record.size is None
    assert desk.reader.symbols == ("BTCUSDT",)


# -------------------------------------------------------------------------- what the last good knew


@pytest.mark.parametrize(
    ("values", "lost"),
    [
        ({"score": {"sharpe": None}}, ("sharpe",)),
        ({"score": {"atr_ratio": None}, "regime": {"regime": "unknown"}}, ("atr_ratio", "regime")),
        ({"score": {"dd_pct": None}}, ("dd_pct",)),
        ({"router": {"fallback_ratio": None}}, ("fallback_ratio",)),
        ({"router": {"maker_fill_ratio": None}}, ("maker_fill_ratio",)),
        ({"router": {"slip_q50": None}}, ("slip_q50",)),
        ({"hourly": {}}, ("hourly",)),
        ({"score": {"fee_bps": None}}, ("fee_bps",)),  # v5.11 takes fees off the score
        # Of 100 bars the usual range is that of the last hours -> a panic looks normal
        ({"regime": {"atr_source": "short"}}, ("bars",)),
    ],
)
def test_input_that_the_last_good_snapshot_knew_keeps_its_values_in_force(
    tmp_path: Path, values: dict[str, Any], lost: tuple[str, ...]
) -> None:
    cautious: dict[str, Any] = {
        "size": {"final_size_factor": 0.5},
        "offsets_bps": [5.0] * 24,
        "policy": {"quality": "degraded", "taker_bias": "prefer_taker"},
    }
    publish(tmp_path, A, [line(**cautious)])
    desk = Desk(tmp_path)
    before = desk.read()
    assert before.status == "ok"
    # Without the input the tables come out bolder: its penalty is gone with it.
    publish(tmp_path, B, [line(**values)])
    reading = desk.read()
    assert (reading.snapshot_id, reading.status, reading.lost) == (B, "insufficient", lost)
    assert reading.acting == before.acting
    # It is known again: what the snapshot says acts, bolder or not.
    publish(tmp_path, C, [line()])
    assert desk.read().acting == OWN


def test_input_that_was_never_known_is_not_missed(tmp_path: Path) -> None:
    without_bars: dict[str, Any] = {"score": {"atr_ratio": None}, "regime": {"regime": "unknown"}}
    publish(tmp_path, A, [line(**without_bars)])
    desk = Desk(tmp_path)
    assert desk.read().status == "ok"
    publish(tmp_path, B, [line(**without_bars)])
    assert desk.read().status == "ok"


def test_symbol_that_disappears_keeps_the_more_careful_of_its_last_and_the_safe_values(
    tmp_path: Path,
) -> None:
    values: dict[str, Any] = {
        "size": {"final_size_factor": 0.25},
        "offsets_bps": [1.0] * 12 + [6.0] * 12,
        "policy": {"quality": "broken", "maker_first": False, "taker_bias": "prefer_taker"},
    }
    publish(tmp_path, A, [line(**values)])
    desk = Desk(tmp_path)
    desk.read()
    publish(tmp_path, B, [line("ETHUSDT")])
    reading = desk.read()
    assert (reading.status, reading.snapshot_id, reading.record) == ("unknown", B, None)
    assert reading.acting == Acting(
        0.25, (2.0,) * 12 + (6.0,) * 12, "broken", False, "prefer_taker"
    )
    assert "size_factor" in reading.lost


@pytest.mark.parametrize(
    ("days", "size_factor"),
    [
        (7, 0.25),  # a snapshot of a window that begins where the last good one ended
        (7.001, 0.5),  # newer: what a symbol gets that nothing is known of
    ],
)
def test_last_good_values_hold_back_until_a_snapshot_is_seven_days_newer(
    tmp_path: Path, days: float, size_factor: float
) -> None:
    publish(tmp_path, A, [line(size={"final_size_factor": 0.25})])
    desk = Desk(tmp_path)
    desk.read()
    publish(tmp_path, B, [line("ETHUSDT")], as_of_ms=T_MS + round(days * 86_400_000))
    desk.clock.now_s = T + days * 86_400
    reading = desk.reader.read("BTCUSDT")
    assert (reading.status, reading.acting.size_factor) == ("unknown", size_factor)


@pytest.mark.parametrize("is_there", [True, False])
def test_no_clock_makes_forget_what_held_back(tmp_path: Path, is_there: bool) -> None:
    publish(tmp_path, A, [line(size={"final_size_factor": 0.25})])
    desk = Desk(tmp_path)
    desk.read()
    # The last snapshot before the pipeline died lost the symbol, or what its size is made of.
    publish(tmp_path, B, [line(size=None) if is_there else line("ETHUSDT")])
    desk.read()
    reading = desk.read(after_s=30 * 86_400)
    assert (reading.status, reading.reduce_only) == ("stale" if is_there else "unknown", True)
    assert reading.acting.size_factor == 0.25


CAUTIOUS: dict[str, Any] = {
    "size": {"final_size_factor": 0.25},
    "offsets_bps": [5.0] * 24,
    "policy": {"quality": "broken", "maker_first": False, "taker_bias": "prefer_taker"},
}
HELD = Acting(0.25, (5.0,) * 24, "broken", False, "prefer_taker")


@pytest.mark.parametrize(
    ("after", "status", "lost"),
    [
        ([line("ETHUSDT")], "unknown", "size_factor"),  # the symbol is gone
        ([line(score={"sharpe": None})], "insufficient", "sharpe"),  # an input is gone
    ],
)
def test_symbol_that_nobody_read_yet_is_bounded_by_the_snapshot_before(
    tmp_path: Path, after: list[files.Line], status: str, lost: str
) -> None:
    publish(tmp_path, A, [line(**CAUTIOUS)])
    desk = Desk(tmp_path)
    publish(tmp_path, B, after)
    for _ in range(2):
        reading = desk.read()
        assert (reading.snapshot_id, reading.status, reading.acting) == (B, status, HELD)
        assert lost in reading.lost
    publish(tmp_path, C, after)
    assert desk.read().acting == HELD  # also when that snapshot is two back


def test_what_few_samples_said_bounds_what_is_lost_after_them(tmp_path: Path) -> None:
    publish(tmp_path, A, [line()])
    desk = Desk(tmp_path)
    desk.read()
    publish(tmp_path, B, [line(status="insufficient", **CAUTIOUS)])
    assert desk.read().acting == HELD
    publish(tmp_path, C, [line("ETHUSDT")])
    assert (desk.read().status, desk.read().acting) == ("unknown", HELD)
    publish(tmp_path, A, [line(score={"dd_pct": None}, status="insufficient")])
    assert (desk.read().lost, desk.read().acting) == (("dd_pct",), HELD)
    # Few samples that lack nothing say something new: they are bounded by the last good only.
    publish(tmp_path, B, [line(status="insufficient")])
    assert desk.read().acting == CAREFUL


def test_line_damaged_twice_after_few_samples_keeps_what_these_were_served_with(
    tmp_path: Path,
) -> None:
    publish(tmp_path, A, [line()])
    desk = Desk(tmp_path)
    desk.read()
    publish(tmp_path, B, [line(status="insufficient", **CAUTIOUS)])
    desk.read()
    for snapshot_id in (C, "20251105T001500Z-dddddddd"):
        data = files.snapshot_bytes(snapshot_id, [line()])
        files.write(tmp_path, snapshot_id, edited(data, b'"n":400', b'"n":500'))
        files.name_current(tmp_path, snapshot_id + "\n")
        assert (desk.read().snapshot_id, desk.read().acting) == (B, HELD)


def test_stale_old_snapshot_acts_no_bolder_than_the_last_good_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    publish(tmp_path, A, [line(size={"final_size_factor": 0.5})])
    assert desk.read().acting.size_factor == 0.5
    publish(tmp_path, B, [line(size={"final_size_factor": 0.9})], as_of_ms=T_MS - 1_000_000)
    reading = desk.read()
    assert (reading.status, reading.acting.size_factor) == ("stale", 0.5)


def test_rollback_is_a_new_generation_like_any_other(tmp_path: Path) -> None:
    publish(tmp_path, A, [line()])
    desk = Desk(tmp_path)
    desk.read()
    publish(tmp_path, B, [line(size={"final_size_factor": 0.5})], as_of_ms=T_MS + 5_000)
    assert desk.read().acting.size_factor == 0.5
    files.name_current(tmp_path, A + "\n")
    reading = desk.read()
    assert (reading.status, reading.snapshot_id, reading.acting) == ("ok", A, OWN)
    assert desk.names() == ["adopted", "adopted", "adopted"]


# ------------------------------------------------------------------------------------------- damage


Damage = tuple[Callable[[bytes], bytes], str]


def edited(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) >= 1, old
    return data.replace(old, new, 1)


DAMAGES: dict[str, Damage] = {
    "empty": (lambda data: b"", "the first line is no index"),
    "first line cut": (lambda data: data[:50], "the first line is no index"),
    "no newline": (lambda data: data[: data.index(b"\n")], "the first line is no index"),
    "last byte missing": (lambda data: data[:-1], "it is not whole"),
    "half missing": (lambda data: data[: len(data) // 2], "it is not whole"),
    "a byte more": (lambda data: data + b"\n", "it is not whole"),
    "other index": (
        lambda data: edited(data, b'"window_days":7', b'"window_days":8'),
        "other bytes than its index_sha256",
    ),
    "not JSON": (lambda data: b"\xff\x00" + data[2:], "the first line is no index"),
    "deep": (lambda data: b'{"x":' + b"[" * 100_000 + b"\n", "the first line is no index"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_file_is_refused_and_the_last_good_snapshot_goes_on(
    tmp_path: Path, name: str
) -> None:
    damage, words = DAMAGES[name]
    publish(tmp_path, A, [line()])
    desk = Desk(tmp_path)
    whole = files.snapshot_bytes(B, [line(size={"final_size_factor": 2.0})])
    path = files.write(tmp_path, B, damage(whole))
    files.name_current(tmp_path, B + "\n")
    for _ in range(3):
        reading = desk.read()
        assert (reading.snapshot_id, reading.status, reading.acting) == (A, "ok", OWN)
    assert desk.names() == ["adopted", "refused"]  # said once, not at every read
    assert words in (desk.reader.problem or "")
    assert words in desk.said[-1].detail
    assert desk.said[-1].snapshot_id == A
    path.write_bytes(whole)  # mended in place -> taken up
    assert desk.read().snapshot_id == B
    assert (desk.names()[2:], desk.reader.problem) == (["adopted"], None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names '', which is no snapshot"),
        ("../outside\n", "which is no snapshot"),
        ("/etc/passwd\n", "which is no snapshot"),
        ("..\n", "which is no snapshot"),
        ("two words\n", "which is no snapshot"),
        ("20990101T000000Z-00000000\n", "No such file"),
        ("\x00\x00\x00\x00", "which is no snapshot"),
        ("9" * 5_000, "File name too long|No such file"),
    ],
)
def test_current_that_names_nothing_leaves_the_last_good_snapshot_in_force(
    tmp_path: Path, text: str, words: str
) -> None:
    root = tmp_path / "snapshots"
    publish(root, A, [line()])
    files.write(tmp_path, "outside", files.snapshot_bytes("outside", [line()]))
    desk = Desk(root)
    files.name_current(root, text)
    for _ in range(3):
        assert (desk.read().snapshot_id, desk.reader.read("BTCUSDT").status) == (A, "ok")
    assert re.search(words, desk.reader.problem or "")
    assert desk.names() == ["adopted", "refused"]
    files.name_current(root, A + "\n")
    assert desk.read().status == "ok"
    assert (desk.reader.problem, desk.names()[-1]) == (None, "recovered")


def test_current_that_disappears_leaves_the_last_good_snapshot_in_force(tmp_path: Path) -> None:
    publish(tmp_path, A, [line()])
    desk = Desk(tmp_path)
    (tmp_path / "CURRENT").unlink()
    assert (desk.read().status, desk.names()) == ("ok", ["adopted", "refused"])
    assert desk.read(after_s=900).status == "stale"  # but it grows old


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"environment": "live"}, "is of environment live, this reader serves paper"),
        ({"format": 2}, "has format 2, this reader knows 1"),
    ],
)
def test_snapshot_of_another_kind_is_refused(
    tmp_path: Path, header: dict[str, Any], words: str
) -> None:
    publish(tmp_path, A, [line()])
    desk = Desk(tmp_path)
    publish(tmp_path, B, [line()], **header)
    assert (desk.read().snapshot_id, desk.names()) == (A, ["adopted", "refused"])
    assert words in (desk.reader.problem or "")


def test_file_of_another_snapshot_is_refused(tmp_path: Path) -> None:
    publish(tmp_path, A, [line()])
    desk = Desk(tmp_path)
    files.write(tmp_path, B, files.snapshot_bytes(C, [line()]))
    files.name_current(tmp_path, B + "\n")
    assert (desk.read().snapshot_id, desk.names()) == (A, ["adopted", "refused"])
    assert f"is of snapshot {C}" in (desk.reader.problem or "")


def test_reader_of_another_environment_serves_nothing(tmp_path: Path) -> None:
    publish(tmp_path, A, [line()])
    reading = Desk(tmp_path, environment="live").read()
    assert (reading.status, reading.reduce_only) == ("unknown", True)


# What may be wrong with one line of a file that is whole otherwise.
LINE_DAMAGES: dict[str, Damage] = {
    "wrong hash": (lambda data: edited(data, b'"sharpe":1.0', b'"sharpe":2.0'), "other bytes"),
    "other symbol": (lambda data: data, "is that of ETHUSDT"),
    "other snapshot": (lambda data: data, "is that of BTCUSDT in 2024"),
    "size out of bounds": (lambda data: data, "final_size_factor"),
    "offset out of bounds": (lambda data: data, "offsets_bps"),
    "unknown word": (lambda data: data, "taker_bias"),
}
LINES: dict[str, dict[str, Any]] = {
    "other snapshot": {"snapshot_id": "20241105T000000Z-00000000"},
    "size out of bounds": {"size": {"final_size_factor": 10.5}},
    "offset out of bounds": {"offsets_bps": [0.0] * 24},
    "unknown word": {"policy": {"taker_bias": "prefer_luck"}},
}


@pytest.mark.parametrize("name", LINE_DAMAGES)
@pytest.mark.parametrize("is_read_before", [True, False])
def test_damaged_line_is_served_from_the_last_good_snapshot_and_the_others_go_on(
    tmp_path: Path, name: str, is_read_before: bool
) -> None:
    damage, words = LINE_DAMAGES[name]
    publish(tmp_path, A, [line(), line("SOLUSDT")])
    desk = Desk(tmp_path)
    if is_read_before:
        desk.read()
    values = line(**LINES.get(name, {}))
    data = files.snapshot_bytes(B, [values, line("SOLUSDT")], as_of_ms=T_MS + 1)
    if name == "other symbol":
        data = files.snapshot_bytes(B, [line("ETHUSDT"), line("SOLUSDT")], as_of_ms=T_MS + 1)
        data = resealed(data, b'"ETHUSDT":[', b'"BTCUSDT":[')
    files.write(tmp_path, B, damage(data))
    files.name_current(tmp_path, B + "\n")
    for _ in range(3):
        reading = desk.read()
        assert (reading.snapshot_id, reading.status, reading.acting) == (A, "ok", OWN)
        assert (reading.as_of_ms, reading.record and reading.record.snapshot_id) == (T_MS, A)
    assert desk.read("SOLUSDT").snapshot_id == B
    assert desk.names() == ["adopted", "adopted", "damaged_line"]
    assert words in (desk.reader.problem or "")
    publish(tmp_path, C, [line(), line("SOLUSDT")])
    assert (desk.read().snapshot_id, desk.reader.problem) == (C, None)


def resealed(data: bytes, old: bytes, new: bytes) -> bytes:
    """Change the first line of a file and make its check value fit again."""
    first, rest = edited(data, old, new).split(b"\n", 1)
    text = first[: first.index(b',"index_sha256":"')]
    seal = b',"index_sha256":"' + hashlib.sha256(text).hexdigest().encode() + b'"}'
    return text + seal + b"\n" + rest


def test_line_damaged_in_two_snapshots_running_keeps_what_was_served_last(tmp_path: Path) -> None:
    publish(tmp_path, A, [line(size={"final_size_factor": 0.75})])
    desk = Desk(tmp_path)
    desk.read()
    for snapshot_id in (B, C):
        data = files.snapshot_bytes(snapshot_id, [line()])
        files.write(tmp_path, snapshot_id, edited(data, b'"n":400', b'"n":500'))
        files.name_current(tmp_path, snapshot_id + "\n")
        reading = desk.read()
        assert (reading.snapshot_id, reading.acting.size_factor) == (A, 0.75)
    assert desk.read(after_s=900).status == "stale"


def test_line_damaged_at_the_start_is_unknown(tmp_path: Path) -> None:
    data = files.snapshot_bytes(A, [line()])
    files.write(tmp_path, A, edited(data, b'"n":400', b'"n":500'))
    files.name_current(tmp_path, A + "\n")
    reading = Desk(tmp_path).read()
    assert (reading.status, reading.acting, reading.reduce_only) == ("unknown", SAFE, False)


def damage_btc(path: Path) -> None:
    path.write_bytes(edited(path.read_bytes(), b'"n":400', b'"n":500'))


@pytest.mark.parametrize(
    ("after", "status"),
    [
        ([line(), line("ETHUSDT")], "ok"),  # its line is damaged: served as it was
        ([line("ETHUSDT")], "unknown"),  # it is gone
        ([line(score={"sharpe": None})], "insufficient"),  # an input is gone
    ],
)
def test_a_restart_makes_no_order_larger_than_the_reader_that_ran(
    tmp_path: Path, after: list[files.Line], status: str
) -> None:
    publish(tmp_path, A, [line(**CAUTIOUS)])
    running = Desk(tmp_path)
    running.read()
    path = publish(tmp_path, B, after, previous=A)
    if status == "ok":
        damage_btc(path)
    before = running.read()
    assert (before.status, before.acting) == (status, HELD)
    started = Desk(tmp_path).read()
    assert (started.status, started.acting, started.lost) == (status, HELD, before.lost)
    assert (started.snapshot_id, started.as_of_ms) == (before.snapshot_id, before.as_of_ms)


@pytest.mark.parametrize(
    "manifest",
    ["", "[]", '{"previous": 7}', '{"previous": "gone"}', '{"previous": "\\u0000"}', "{}", None],
)
def test_a_snapshot_whose_manifest_leads_nowhere_is_served_by_itself(
    tmp_path: Path, manifest: str | None
) -> None:
    publish(tmp_path, A, [line(**CAUTIOUS)], environment="live")
    path = publish(tmp_path, B, [line("ETHUSDT")], previous=A)  # of another environment
    if manifest is not None:
        (path.parent / "manifest.json").write_text(manifest)
    desk = Desk(tmp_path)
    assert (desk.read().acting, desk.reader.problem) == (SAFE, None)
    assert desk.read("ETHUSDT").status == "ok"


def test_a_start_looks_one_snapshot_back_and_no_further(tmp_path: Path) -> None:
    publish(tmp_path, A, [line(**CAUTIOUS)])
    damage_btc(publish(tmp_path, B, [line()], previous=A))
    damage_btc(publish(tmp_path, C, [line()], previous=B))
    assert Desk(tmp_path).read().acting == SAFE


def test_file_that_is_damaged_while_it_is_served_changes_nothing(tmp_path: Path) -> None:
    path = publish(tmp_path, A, [line(), line("ETHUSDT")])
    desk = Desk(tmp_path)
    desk.read()
    os.truncate(path, 0)
    assert desk.read("ETHUSDT").status == "ok"  # read for the first time only now


# ---------------------------------------------------------------------------------- looking, saying


def test_current_is_looked_at_no_more_often_than_asked(tmp_path: Path) -> None:
    publish(tmp_path, A, [line()])
    desk = Desk(tmp_path, check_interval_s=0.5)
    desk.read()
    publish(tmp_path, B, [line()])
    assert desk.read(after_s=0.4375).snapshot_id == A  # not due yet
    assert desk.read(after_s=0.0625).snapshot_id == B  # due


def test_clock_that_goes_back_does_not_stop_the_reader_from_looking(tmp_path: Path) -> None:
    publish(tmp_path, A, [line()])
    desk = Desk(tmp_path)
    publish(tmp_path, B, [line()], as_of_ms=T_MS - 7_200_000)
    assert desk.read(after_s=-7_200).snapshot_id == B


class Overtaken(SnapshotReader):
    """A reader whose thread is held up right before it puts what it found in force."""

    meanwhile: Callable[[], None] | None = None
    in_force: tuple[str, ...] = ()

    @property
    def _state(self) -> State:
        return self._kept

    @_state.setter
    def _state(self, state: State) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        self._kept = state
        self.in_force = (*self.in_force, state.generation.snapshot_id)


@pytest.mark.parametrize("is_new", [True, False])
def test_thread_that_was_held_up_does_not_put_an_older_snapshot_back(
    tmp_path: Path, is_new: bool
) -> None:
    publish(tmp_path, A, [line()])
    clock = Clock()
    reader = Overtaken(tmp_path, environment="paper", clock=clock, on_event=lambda event: None)

    def others() -> None:
        for number in (C, "20251105T001500Z-dddddddd"):
            publish(tmp_path, number, [line()])
            thread = threading.Thread(target=reader.health)
            thread.start()
            thread.join(10)

    if is_new:  # the held-up thread found B; else it found nothing new
        publish(tmp_path, B, [line()])
    reader.meanwhile = others
    reader.health()
    assert list(reader.in_force) == sorted(reader.in_force), "each snapshot follows an older one"
    reader.meanwhile = None  # where nothing was put in force, nobody was held up
    publish(tmp_path, "20251105T001500Z-dddddddd", [line()])
    reader.health()
    assert reader.read("BTCUSDT").snapshot_id == "20251105T001500Z-dddddddd"
    assert list(reader.in_force) == sorted(set(reader.in_force)), "and each once"


def test_observer_that_fails_does_not_reach_the_caller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: ReaderEvent) -> None:
        raise RuntimeError("no disk to log to")

    publish(tmp_path, A, [line()])
    reader = SnapshotReader(tmp_path, environment="paper", clock=lambda: T, on_event=fail)
    assert reader.read("BTCUSDT").status == "ok"
    assert "on_event failed at adopted" in caplog.text


def test_changes_are_logged_unless_somebody_listens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    SnapshotReader(tmp_path, environment="paper")
    assert "refused" in caplog.text
    assert "served is nothing" in caplog.text


def test_newer_snapshot_with_unknown_fields_is_read(tmp_path: Path) -> None:
    publish(tmp_path, A, [line(router={"later_n": 3}, later={"n": 1})], later="x")
    assert Desk(tmp_path).read().status == "ok"


@pytest.mark.parametrize("choice", [{"max_age_s": 0}, {"check_interval_s": 0}])
def test_bounds_that_make_no_sense_are_refused(tmp_path: Path, choice: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="both must be above 0"):
        SnapshotReader(tmp_path, environment="paper", **choice)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------- lightness

_HEAVY = ("pyarrow", "duckdb", "dagster", "pandas", "polars", "numpy", "deltalake", "features")


def test_importing_the_reader_loads_nothing_heavy_and_is_quick(
    tmp_path: Path, repository: Path
) -> None:
    program = (
        "import time; begin = time.process_time()\n"
        "for number in range(200_000): number + 1\n"
        "start = time.process_time()\n"
        "import live.reader\n"
        "spent = time.process_time() - start\n"
        "import sys; print(1e3 * spent, 1e3 * (start - begin), *sys.modules)"
    )
    # As installed: compiled once. Processor time, because other programs may run beside the test.
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    variables["PYTHONPYCACHEPREFIX"] = str(tmp_path)
    spent_ms, loop_ms = [float("inf")], [float("inf")]
    for _ in range(20):  # a machine shared with others is slower at times
        if min(spent_ms) < 50:
            break
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=repository, env=variables, capture_output=True, text=True, check=True,
        )  # fmt: skip
        spent, loop, *modules = done.stdout.split()
        spent_ms.append(float(spent))
        loop_ms.append(float(loop))
        assert "live.reader" in modules
        assert [name for name in modules if name.partition(".")[0] in _HEAVY] == []
    # Of a processor that loops in 14 ms: one that others slow down all along has more.
    assert min(spent_ms) < 50 * max(1.0, min(loop_ms) / 14.0)
