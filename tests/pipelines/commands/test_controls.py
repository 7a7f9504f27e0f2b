"""A person's switches: what the commands set, say and refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from live.controls import Controls
from pipelines.cli import app

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
    ("word", "mode"), [("kill", "kill"), ("reduce-only", "reduce_only"), ("resume", "run")]
)
def test_switch_stands_until_the_next_one(home: Path, word: str, mode: str) -> None:
    said = say(word, "--reason", "a test")
    state = Controls(home / "control").state()
    assert (state.mode, state.reason) == (mode, "a test")
    assert f"trading: {mode}: a test" in said


def test_resume_is_remembered_as_taking_responsibility(home: Path) -> None:
    say("kill")
    assert Controls(home / "control").state().resumed_ms == 0
    say("resume")
    assert Controls(home / "control").state().resumed_ms > 0


def test_symbol_is_off_for_its_time_and_on_again(home: Path) -> None:
    said = say("disable", "suiusdt", "--minutes", "30", "--reason", "news")
    assert "SUIUSDT is off until 2" in said
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
