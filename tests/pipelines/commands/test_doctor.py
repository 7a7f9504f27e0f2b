"""`execintel doctor`: one look at everything, exit code 1 when something needs a person."""

import json
import shutil
from collections.abc import Callable

import pytest

from tests.pipelines.commands.desk import Desk
from tests.pipelines.commands.desk import attempt as attempt_line

Line = Callable[..., str]


@pytest.fixture(scope="module")
def healthy(shared_desk: Desk) -> Desk:
    """Publish one snapshot; only ever copied."""
    shared_desk.write(attempt_line(1), attempt_line(2))
    assert shared_desk.refresh().exit_code == 0
    return shared_desk


@pytest.fixture
def published(healthy: Desk, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Make a healthy desk: logs configured, one snapshot just published."""
    shutil.copytree(healthy.home, desk.home, dirs_exist_ok=True)
    shutil.copytree(healthy.logs, desk.logs)
    monkeypatch.setenv("EXECINTEL_LOG_DIR", str(desk.logs))
    return desk


def test_nothing_configured_needs_a_person(desk: Desk) -> None:
    result = desk.run("doctor")
    assert result.exit_code == 1
    assert "no log folder is configured: set EXECINTEL_LOG_DIR" in result.stdout
    assert not desk.home.exists()  # looking changes nothing


def test_a_healthy_desk_is_told_so(published: Desk) -> None:
    result = published.run("doctor")
    assert result.exit_code == 0, result.stdout
    assert "healthy: nothing needs a person" in result.stdout
    assert "EXECINTEL_LOG_DIR" in result.stdout
    assert published.current in result.stdout
    assert "format 1" in result.stdout
    assert "history: 1 publications since" in result.stdout
    assert "lake/hist_features" in result.stdout


def test_unclaimed_files_are_noted(published: Desk) -> None:
    (published.logs / "metrics.txt").write_text("x")
    result = published.run("doctor")
    assert result.exit_code == 0
    assert "metrics.txt: no kind claims it" in result.stdout


def test_a_problem_with_a_file_needs_a_person(published: Desk) -> None:
    (published.logs / "orders_executed.jsonl").symlink_to("nowhere")
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "orders_executed.jsonl: a link to nowhere, which " in result.stdout


def test_a_schedule_that_stopped_needs_a_person(
    published: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.commands import common

    now_ms = common.now_ms()
    monkeypatch.setattr(common, "now_ms", lambda: now_ms + 3_600_000)
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "the last build is 1 h" in result.stdout


def test_a_damaged_table_of_the_lake_needs_a_person(published: Desk) -> None:
    log = published.home / "lake" / "raw_risk__vetoes" / "_delta_log"
    for entry in log.iterdir():
        entry.write_bytes(b"no json")
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "raw_risk__vetoes is no whole Delta table" in result.stdout


def test_a_broken_current_needs_a_person(published: Desk) -> None:
    database = published.home / "snapshots" / published.current / "features.duckdb"
    database.write_bytes(b"no database")
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "CURRENT cannot be opened" in result.stdout
    assert "execintel snapshots rollback" in result.stdout


def test_a_damaged_manifest_needs_a_person(published: Desk) -> None:
    manifest = published.home / "snapshots" / published.current / "manifest.json"
    manifest.write_text(manifest.read_text()[:100])
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "is damaged" in result.stdout


def test_warnings_of_current_are_repeated_with_their_examples(
    desk: Desk, attempt: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_LOG_DIR", str(desk.logs))
    desk.write(attempt(1), attempt(2, symbol=""))
    desk.refresh()
    warned = json.loads((desk.home / "snapshots" / desk.current / "manifest.json").read_text())
    (check,) = [c for c in warned["checks"] if c["name"] == "raw_lines_rejected"]
    assert check["rows"] == 1
    result = desk.run("doctor")
    assert result.exit_code == 0
    assert "check raw_lines_rejected of CURRENT, 1 rows" in result.stdout
    assert check["examples"][0] in result.stdout
