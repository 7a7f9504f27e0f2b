"""`execintel demo`: works from nothing, in a root of its own, and its advice works as printed."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.commands import demo
from pipelines.commands.demo import generated_settings
from tests.pipelines.commands.desk import Desk

Line = Callable[..., str]


def advice(output: str) -> list[list[str]]:
    """Return the commands that the demo says to try next, as words."""
    _, _, text = output.partition("Try next:\n")
    return [shlex.split(line) for line in text.splitlines() if line.startswith("  ")]


def test_demo_shows_tables_and_its_advice_works(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = desk.run("demo", "--faults")
    assert result.exit_code == 0, result.output
    root = desk.home / "demo"
    assert "generated demo data" in result.stdout
    assert re.search(r"^all +2800 ", result.stdout, re.MULTILINE)
    export, *commands = advice(result.stdout)
    assert export[0] == "export"
    variables = dict(word.split("=", 1) for word in export[1:])
    assert variables["EXECINTEL_HOME"] == str(root)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert 3 <= len(commands) <= 6
    for words in commands:
        start = next(
            i for i, word in enumerate(words) if word.endswith(("execintel", "pipelines.cli"))
        )
        tried = desk.run(*words[start + 1 :])
        assert tried.exit_code == 0, (words, tried.output)

    again = desk.run("refresh", "--as-of", "2026-01-08T00:00:00Z")
    assert "no new rows, no new snapshot" in again.stdout


def test_own_logs_get_a_root_apart_as_of_their_newest_line_and_other_logs_replace_it(
    desk: Desk, attempt: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    desk.write(attempt(1), attempt(2))
    result = desk.run("demo", "--logs", str(desk.logs))
    assert result.exit_code == 0, result.output
    assert (desk.home / "demo-logs" / "snapshots" / "CURRENT").exists()
    assert not (desk.home / "demo").exists()
    assert "as of        2025-11-05 10:56:00 UTC" in result.stdout  # newest line 10:55:20
    assert "generated demo data" not in result.stdout
    before = re.search(r"and before it (\S+), as of five minutes earlier", result.stdout)
    assert before is not None
    assert (desk.home / "demo-logs" / "snapshots" / before[1]).is_dir()
    assert "environment paper is a default, nobody said it" in result.stdout

    monkeypatch.setenv("EXECINTEL_ENVIRONMENT", "paper")
    again = desk.run("demo", "--logs", str(desk.logs))
    assert "no new rows, no new snapshot" in again.stdout
    assert "is a default" not in again.stdout

    other = Desk(desk.home, tmp_path / "other")
    other.write(attempt(2, "ETHUSDT"))
    result = desk.run("demo", "--logs", str(other.logs))
    assert "ETHUSDT" in result.stdout
    assert "BTCUSDT" not in result.stdout
    root = desk.home / "demo-logs"
    told = re.search(rf"removing {root}, made by an earlier demo, with its (.*)", result.stdout)
    assert told is not None
    assert {"lake", "snapshots"} <= set(told[1].split(", "))


def test_a_folder_that_no_demo_made_is_never_removed(desk: Desk) -> None:
    precious = desk.home / "demo" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    result = desk.run("demo", "--faults")
    assert result.exit_code == 1
    assert "was not made by a demo: move it away" in result.stderr
    assert precious.read_text() == "mine"


def test_generated_data_ignores_the_configuration(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_ENVIRONMENT", "live")
    settings = generated_settings(desk.home / "demo")
    assert settings.environment == "paper"
    assert settings.origin == "demo"
    assert settings.logs == ()


def test_a_missing_folder_of_logs_is_told(desk: Desk) -> None:
    result = desk.run("demo", "--logs", "nowhere")
    assert result.exit_code == 1
    assert "there is no such folder" in result.stderr


def test_a_removal_that_is_interrupted_leaves_no_half_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "demo"
    demo._renew(root, {"logs": "one"}, always=False)
    (root / "lake").mkdir()

    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt("stopped")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt, match="stopped"):
            demo._renew(root, {"logs": "other"}, always=False)
    assert not root.exists()
    demo._renew(root, {"logs": "other"}, always=False)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
