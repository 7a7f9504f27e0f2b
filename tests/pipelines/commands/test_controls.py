"""A person's switches: what the commands set, say and refuse."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from live.trading.controls import ChangedError, Controls, notices, overruling
from pipelines.cli import app
from tests.disks import disk_full_at
from tests.pipelines.commands.desk import Desk

Say = Callable[..., Any]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def say(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.parametrize(
    ("word", "mode", "words"),
    [
        ("kill", "kill", ": a test. Engines cancel every order and open nothing."),
        ("reduce-only", "reduce_only", ": a test. Engines only reduce."),
        ("resume", "run", "trading goes on: a test\n"),
    ],
)
def test_switch_stands_until_the_next_one(home: Path, word: str, mode: str, words: str) -> None:
    said = say(word, "--reason", "a test")
    state = Controls(home / "control").state()
    assert (state.mode, state.reason) == (mode, "a test")
    assert words in said


def test_switches_are_worded_alike_where_they_are_set_and_shown(home: Path) -> None:
    say("reduce-only", "--reason", "upgrade")
    said = say("disable", "BTCUSDT", "--reason", "news").splitlines()
    state = Controls(home / "control").state()
    told = [words for _, words in notices(state, state.at_ms)]
    assert said[-2:] == told
    shown = CliRunner().invoke(app, ["doctor"]).output.splitlines()
    mode, symbol = told
    assert f"- {mode}" in shown
    assert f"note: {symbol}" in shown
    say("enable", "BTCUSDT")
    assert "nothing is switched off" in say("resume")


def test_a_wrong_parameter_keeps_nobody_from_a_kill(home: Path) -> None:
    (home / "execintel.toml").write_text("[params]\nregime_hot_from = 5\nnonsense = 1\n")
    assert "no such parameter" in CliRunner().invoke(app, ["show"]).output
    say("kill", "--reason", "now")
    assert Controls(home / "control").state().mode == "kill"
    (home / "execintel.toml").write_text('environment = "moon"\n')
    assert "environment = 'moon'" in say("kill", code=1)


def test_resume_is_remembered_as_taking_responsibility(home: Path) -> None:
    say("kill")
    assert Controls(home / "control").state().resumed_ms == 0
    say("resume")
    assert Controls(home / "control").state().resumed_ms > 0


def test_symbol_is_off_for_its_time_and_on_again(home: Path) -> None:
    said = say("disable", "suiusdt", "--minutes", "30", "--reason", "news")
    assert "SUIUSDT is switched off until 2" in said
    entry = Controls(home / "control").state().disabled["SUIUSDT"]
    assert entry.reason == "news"
    assert entry.until_ms is not None
    say("enable", "SUIUSDT")
    assert Controls(home / "control").state().disabled == {}


def test_enable_names_what_is_off(home: Path) -> None:
    say("disable", "BTCUSDT")
    assert "off: BTCUSDT" in say("enable", "ETHUSDT", code=1)


def test_kill_of_an_unreadable_file_mends_it(home: Path) -> None:
    (home / "control").mkdir()
    (home / "control" / "controls.json").write_text("{")
    assert Controls(home / "control").state().mode == "kill"
    say("resume")
    assert Controls(home / "control").state().mode == "run"


def test_halt_of_the_engine_never_replaces_a_kill(home: Path) -> None:
    say("kill", "--reason", "mine")
    assert Controls(home / "control").halt("its own", now_ms=1).reason == "mine"
    say("resume")
    assert Controls(home / "control").halt("its own", now_ms=1).mode == "halt"


@pytest.mark.parametrize("word", ["kill", "reduce-only", "resume"])
def test_a_switch_names_its_root_and_doubts_an_empty_one(home: Path, word: str) -> None:
    said = say(word)
    assert f"data root: {home}\n" in said
    assert f"warning: {home} holds no journal, no lake and no snapshot" in said
    assert "EXECINTEL_HOME" in said
    assert ("execintel resume ends it" in said) == (word != "resume")


@pytest.mark.parametrize("trace", ["state/paper-paper", "snapshots/CURRENT", "lake/FORMAT"])
def test_a_root_that_is_in_use_is_not_doubted(home: Path, trace: str) -> None:
    (home / trace).mkdir(parents=True)
    assert "warning" not in say("kill")


def test_a_relative_root_is_named_absolutely(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", "data")
    assert f"data root: {home / 'data'}\n" in say("kill")


def test_a_symbol_that_the_newest_snapshot_lacks_is_switched_off_with_a_warning(
    desk: Desk, attempt: Callable[..., str]
) -> None:
    desk.write(attempt(1), attempt(2, symbol="ETHUSDT"))
    assert desk.refresh().exit_code == 0
    assert "warning" not in say("disable", "ethusdt")
    said = say("disable", "BTCUSD")
    assert "warning: BTCUSD is not in the newest snapshot; near it: BTCUSDT" in said
    assert "BTCUSD" in Controls(desk.home / "control").state().disabled

    database = desk.home / "snapshots" / desk.current / "features.duckdb"
    database.chmod(0o644)
    database.write_bytes(b"no database")
    assert "SUIUSDT is switched off" in say("disable", "SUIUSDT")  # damage never hinders a switch


# -- a full disk --------------------------------------------------------------------------------


def test_kill_stands_where_the_disk_holds_not_a_byte_more(home: Path) -> None:
    Controls(home / "control").prepare()  # as an engine does
    with disk_full_at(0):
        assert "KILL, by nobody named" in say("kill", "--reason", "venue halts")
    assert Controls(home / "control").state().mode == "kill"
    assert [path.name for path in (home / "control").iterdir() if path.suffix == ".tmp"] == []
    say("resume")
    assert Controls(home / "control").state().mode == "run"


def test_kill_of_a_full_disk_forgets_nothing_that_is_switched_off(home: Path) -> None:
    say("disable", "SUIUSDT", "--reason", "a long story about a listing")
    say("reduce-only", "--reason", "a longer story than that of the kill which comes after it")
    (home / "control" / "controls.tmp").mkdir()  # no second file can be made
    said = say("kill", "--reason", "short")
    assert "reduce-only → kill" in said
    state = Controls(home / "control").state()
    assert (state.mode, state.reason) == ("kill", "short")
    assert state.disabled["SUIUSDT"].reason == "a long story about a listing"


@pytest.mark.parametrize(
    ("words", "stands"),
    [
        (["reduce-only"], "error: run still stands: the control file cannot be written"),
        (["disable", "BTCUSDT"], "error: BTCUSDT is not switched off: the control file cannot"),
        (["enable", "SUIUSDT"], "error: SUIUSDT is still switched off: the control file cannot"),
    ],
)
def test_a_switch_that_cannot_be_written_says_what_stands(
    home: Path, words: list[str], stands: str
) -> None:
    say("disable", "SUIUSDT")
    before = Controls(home / "control").state()
    with disk_full_at(0):
        said = say(*words, code=1)
    assert stands in said
    assert "SIGTERM: it cancels its open orders first" in said
    assert Controls(home / "control").state() == before


def test_a_kill_of_the_same_length_within_a_tick_of_the_clock_is_seen(home: Path) -> None:
    path = home / "control" / "controls.json"
    say("kill", "--reason", "a")
    engine, desk = Controls(path.parent), Controls(path.parent)
    assert engine.state().reason == "a"
    before = path.stat()
    (path.parent / "controls.tmp").mkdir()  # no second file can be made
    desk.set("kill", "b", by=engine.state().by, now_ms=engine.state().at_ms)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_ino == before.st_ino
    assert engine.state().reason == "b"


# -- what a kill outlasts -----------------------------------------------------------------------


def test_reduce_only_does_not_loosen_a_kill(home: Path) -> None:
    say("kill", "--reason", "mine")
    assert "kill still stands, and reduce-only would loosen it" in say("reduce-only", code=1)
    assert Controls(home / "control").state().reason == "mine"
    say("resume")
    say("reduce-only")
    assert Controls(home / "control").state().mode == "reduce_only"


def test_a_resume_ends_only_the_switch_that_was_looked_at(home: Path) -> None:
    desk, other = Controls(home / "control"), Controls(home / "control")
    desk.set("reduce_only", "a loss", by="ann", now_ms=1_000)
    seen = desk.state()
    other.set("kill", "the venue", by="bob", now_ms=2_000)
    with pytest.raises(ChangedError, match="kill by bob was set meanwhile"):
        desk.set("run", "", by="ann", now_ms=3_000, looked_at=seen)
    assert desk.state().mode == "kill"
    assert desk.set("run", "", by="ann", now_ms=3_000, looked_at=desk.state()).mode == "run"


def test_a_resume_counts_where_the_clock_went_back(home: Path) -> None:
    engine, desk = Controls(home / "control", keeps_halts=True), Controls(home / "control")
    assert desk.set("run", "", by="ann", now_ms=9_000).resumed_ms == 9_000
    assert engine.halt("a loss", now_ms=5_000).mode == "halt"  # though a resume is of later
    assert engine.state().mode == "halt"
    assert desk.set("run", "", by="ann", now_ms=4_000).resumed_ms == 9_001
    assert engine.state().mode == "run"


def test_a_halt_over_past_bars_stays_in_its_process(home: Path) -> None:
    replay = Controls(home / "control", keeps_halts=True)
    assert replay.halt("a loss of January", now_ms=1_000).mode == "halt"
    assert Controls(home / "control").state().mode == "run"


def test_a_kill_outlasts_its_file_and_its_folder(home: Path) -> None:
    engine = Controls(home / "control")
    say("kill")
    assert engine.state().mode == "kill"
    (home / "control").rename(home / "unmounted")
    state = engine.state()
    assert state.mode == "kill"
    assert state.reason.endswith("controls.json is gone; execintel resume writes it anew")
    say("resume")
    assert engine.state().mode == "run"


@pytest.mark.parametrize(
    "data",
    [
        b'{"mode":"run","reason":"caf\xe9"}',
        b"[" * 100_000,
        b'{"mode":"run"}' + b" " * (1 << 20),
        b"{}",
        b'{"mod":"kill"}',
        b'{"mode":"run","modus":"kill"}',
    ],
    ids=["no UTF-8", "deep", "long", "empty", "misspelt", "one field more"],
)
def test_what_is_no_control_file_counts_as_kill_and_can_be_killed_and_resumed(
    home: Path, data: bytes
) -> None:
    path = home / "control" / "controls.json"
    path.parent.mkdir()
    path.write_bytes(data)
    assert Controls(path.parent).state().mode == "kill"
    kept = path.read_bytes()
    assert "which symbols were switched off is not known any more" in say("resume")
    path.write_bytes(kept)
    assert ": sure. Engines cancel every order" in say("kill", "--reason", "sure")
    say("resume")
    assert Controls(path.parent).state().mode == "run"


def test_a_pipe_or_a_link_to_nowhere_is_no_control_file(home: Path) -> None:
    path = home / "control" / "controls.json"
    path.parent.mkdir()
    os.mkfifo(path)
    assert Controls(path.parent).state().mode == "kill"  # and does not wait for a writer
    path.unlink()
    path.symlink_to("nowhere")
    assert Controls(path.parent).state().mode == "kill"


def test_a_kill_does_not_wait_for_one_who_holds_the_lock(home: Path) -> None:
    (home / "control").mkdir()
    with FileLock(home / "control" / "controls.json.lock"):
        assert "run → kill" in say("kill")
    assert Controls(home / "control").state().mode == "kill"


def test_a_reason_that_is_no_utf_8_is_kept_as_far_as_it_is(home: Path) -> None:
    say("disable", "BTCUSDT", "--reason", os.fsdecode(b"caf\xe9"))
    assert Controls(home / "control").state().disabled["BTCUSDT"].reason == "caf?"


def test_a_symbol_of_lower_case_is_switched_off_too(home: Path) -> None:
    say("disable", "kPEPE")
    state = Controls(home / "control").state()
    assert state.off("kPEPE", now_ms=1) is not None
    assert "kPEPE is switched off" in str(overruling(state, "kPEPE", now_ms=1))
    assert state.off("PEPE", now_ms=1) is None


def test_a_time_beyond_all_calendars_is_still_told(home: Path) -> None:
    assert "--minutes" in say("disable", "BTCUSDT", "--minutes", "1e12", code=2)
    Controls(home / "control").disable("BTCUSDT", "typo", until_ms=10**17)
    assert f"until epoch ms {10**17}" in say("kill")
