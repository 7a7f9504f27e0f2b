"""`execintel refresh`: what it reads, publishes, keeps and refuses, and what it says about it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from features import catalog
from features.catalog import Check
from tests.disks import disk_full_at
from tests.loads import keep_aside, put_back
from tests.pipelines.commands.desk import AS_OF, START_S, Desk, enter
from tests.pipelines.commands.desk import attempt as line_of

Line = Callable[..., str]


@pytest.fixture(scope="module")
def five_aside(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, Result]:
    """Publish five attempts once and keep that aside; returns what the command said, too."""
    folder = tmp_path_factory.mktemp("five") / "desk"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        desk = enter(folder, patch)
        desk.write(*(line_of(n) for n in range(5)))
        result = desk.refresh()
    assert result.exit_code == 0, result.output
    keep_aside(folder)
    return desk, result


@pytest.fixture
def five(five_aside: tuple[Desk, Result], monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Go to the five published attempts, put back where they were."""
    folder = five_aside[0].home.parent
    put_back(folder)
    return enter(folder, monkeypatch)


def test_first_run_with_an_empty_folder_publishes_nothing_and_says_where_it_looked(
    desk: Desk,
) -> None:
    desk.logs.mkdir()
    result = desk.refresh()
    assert result.exit_code == 0
    assert "nothing published" in result.stdout
    assert str(desk.logs) in result.stdout
    assert not (desk.home / "snapshots" / "CURRENT").exists()


def test_no_configured_folder_says_how_to_name_one(desk: Desk) -> None:
    result = desk.run("refresh")
    assert result.exit_code == 1
    assert "no log folder is configured. Set EXECINTEL_LOG_DIR" in result.stdout


def test_a_refresh_that_looks_nowhere_says_so_though_an_earlier_one_read_lines(five: Desk) -> None:
    again = five.run("refresh", "--as-of", "2025-11-06T01:00:00Z")
    assert again.exit_code == 1  # a schedule that lost its variable is noticed
    assert "published" in again.stdout
    assert "no log folder is configured" in again.stdout


def test_a_named_folder_that_is_not_there_is_an_error_and_the_others_are_read(
    desk: Desk, attempt: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_LOG_DIR", str(tmp_path / "gone"))
    alone = desk.run("refresh")
    assert alone.exit_code == 1
    assert f"{tmp_path / 'gone'} is named as a log folder and does not exist" in alone.stderr
    assert not (desk.home / "snapshots" / "CURRENT").exists()

    desk.write(attempt(1))
    config = tmp_path / "desk.toml"
    config.write_text(f'[[logs]]\npath = "{desk.logs}"\n')
    monkeypatch.setenv("EXECINTEL_CONFIG", str(config))
    beside = desk.run("refresh", "--as-of", AS_OF)
    assert beside.exit_code == 1
    assert "EXECINTEL_LOG_DIR or the path under [[logs]]" in beside.stderr
    assert "published" in beside.stdout


def test_a_file_named_as_a_log_folder_is_told_as_such(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "order_metrics.jsonl"
    file.touch()
    monkeypatch.setenv("EXECINTEL_LOG_DIR", str(file))
    result = desk.run("refresh")
    assert result.exit_code == 1
    assert f"{file} is named as a log folder and is a file: name its folder" in result.stderr
    assert f"{file}: this is a file, and a log folder was to be named" in result.stdout
    for command in ("refresh", "demo"):
        named = desk.run(command, "--logs", str(file))
        assert named.exit_code == 1
        assert f"--logs {file}: this is a file: name its folder" in named.stderr


def test_the_same_command_again_makes_no_snapshot_and_says_so(
    five: Desk, five_aside: tuple[Desk, Result]
) -> None:
    _, first = five_aside
    assert "published 20251106T000000Z-" in first.stdout
    before = five.current

    again = five.refresh()

    assert again.exit_code == 0
    assert "no new rows, no new snapshot" in again.stdout
    assert five.current == before
    assert len(list((five.home / "snapshots").glob("2*"))) == 1


def test_half_a_line_waits_for_its_end(five: Desk, attempt: Line) -> None:
    attempts = "SELECT CAST(SUM(n) AS BIGINT) AS n FROM feat_router__effectiveness WHERE symbol='*'"
    assert five.ask(attempts) == [{"n": 5}]

    whole, half = attempt(7)[:40], attempt(7)[40:]
    five.write(attempt(5), attempt(6), whole)  # three lines, one of them half -> two rows
    two = five.refresh()
    assert two.exit_code == 0, two.output
    assert two.stdout.split("raw_router__events")[1].split()[:2] == ["2", "2"]
    assert five.ask(attempts) == [{"n": 7}]

    five.write(half)  # its end -> one row
    one = five.refresh()
    assert one.stdout.split("raw_router__events")[1].split()[:2] == ["1", "1"]
    assert five.ask(attempts) == [{"n": 8}]


def test_rejected_lines_are_counted_and_a_damaged_file_is_named_while_others_are_read(
    desk: Desk, attempt: Line
) -> None:
    desk.write(attempt(1), "no json\n", attempt(2))
    (desk.logs / "orders_executed.jsonl").mkdir()
    result = desk.refresh()
    assert result.exit_code == 0
    assert "a folder with the name of a log" in result.stdout
    assert "published" in result.stdout
    read = result.stdout.split("raw_router__events")[1].split()[:4]
    assert read == ["3", "2", "1", "0"]  # read, accepted, rejected, duplicates
    assert "execintel quarantine" in result.stdout


def test_an_older_build_is_kept_and_published_only_when_asked(five: Desk) -> None:
    newest = five.current
    words = ("refresh", "--logs", str(five.logs), "--as-of", "2025-11-05T12:00:00")

    kept = five.run(*words)
    assert kept.exit_code == 0
    assert "older than CURRENT" in kept.stdout
    assert five.current == newest

    asked = five.run(*words, "--publish")
    assert asked.exit_code == 0
    assert five.current.startswith("20251105T120000Z-")  # a naive time is UTC
    assert f"published {five.current}" in asked.stdout
    assert "empty" not in asked.stdout  # of a build that stood before this run


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> str:
    """Plant a check that always fails, and return its name."""
    check = Check(
        name="planted__always_fails",
        sql="SELECT 'BTCUSDT' AS symbol, 42 AS answer",
        severity="fail",
        cause="planted by a test",
        inputs=(),
        params=(),
    )
    checks = {**catalog.checks(), check.name: check}
    monkeypatch.setattr(catalog, "checks", lambda: checks)
    return check.name


def test_a_failing_check_leaves_current_alone_and_is_named_everywhere(
    five: Desk, attempt: Line, request: pytest.FixtureRequest
) -> None:
    before = five.current
    name = request.getfixturevalue("planted")
    five.write(attempt(5))

    result = five.refresh()

    assert result.exit_code == 1
    assert f"{name}, 1 row: planted by a test" in result.stderr
    assert "symbol=BTCUSDT, answer=42" in result.stderr
    assert five.current == before
    (manifest,) = (five.home / "snapshots" / "rejected").glob("*/manifest.json")
    assert json.loads(manifest.read_text())["failed_checks"] == [name]
    doctor = five.run("doctor")
    assert doctor.exit_code == 1
    assert name in doctor.stdout
    assert "symbol=BTCUSDT, answer=42" in doctor.stdout
    assert name in five.run("snapshots", "list").stdout


def test_a_required_source_that_is_silent_refuses_the_build_in_its_own_process(
    five: Desk, attempt: Line, tmp_path: Path
) -> None:
    five.write(attempt(5))
    config = tmp_path / "desk.toml"
    config.write_text("[freshness.raw_risk__vetoes]\nrequired = true\n")
    words = ("refresh", "--logs", str(five.logs), "--as-of", AS_OF)

    refused = five.process(*words, EXECINTEL_CONFIG=str(config))
    assert refused.returncode == 1, refused.stdout
    assert "feat_ops__source_freshness_required" in refused.stderr
    assert "raw_risk__vetoes" in refused.stderr

    passed = five.run(*words)
    assert passed.exit_code == 0, passed.stderr
    assert "published" in passed.stdout


def test_two_writers_never_overlap_and_the_second_says_who_is_first(
    five: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from features.lock import writer_lock

    monkeypatch.setattr("pipelines.commands.snapshots._WAIT_S", 0.0)
    with writer_lock(five.home, "refresh"):
        result = five.run("snapshots", "resume")
    assert result.exit_code == 1
    assert "is being written by refresh (process" in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--as-of", "yesterday"), "'yesterday' is no ISO 8601 time"),
        (("--as-of", "2999-01-01"), "more than a day ahead"),
        (("--logs", "nowhere"), "there is no such folder"),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    desk: Desk, words: tuple[str, ...], expected: str
) -> None:
    result = desk.run("refresh", *words)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_empty_build_is_kept_until_asked_for_and_then_says_what_current_lost(
    five: Desk, attempt: Line
) -> None:
    full = five.current
    # one day later, of another environment: no time to name to a desk of paper
    five.write(attempt(9, ts=START_S + 86_400, environment="testnet"))

    kept = five.run("refresh", "--logs", str(five.logs))

    assert (kept.exit_code, five.current) == (1, full)
    assert "holds no symbol and CURRENT does, so it is kept, not published" in kept.stdout
    assert "There is no attempt of environment paper in the 7 days" in kept.stdout
    # the last line of paper is START_S + 4 min -> 10:57:20, and the second after it
    assert "execintel refresh --as-of 2025-11-05T10:57:21Z --publish" in kept.stdout
    sign = json.loads((five.home / "heartbeat.json").read_text())
    assert (sign["outcome"], sign["is_alive"]) == ("kept", False)
    doctor = five.run("doctor")
    assert doctor.exit_code == 1
    assert "holds no symbol and CURRENT does, so it is kept" in doctor.stdout

    empty = five.run("refresh", "--logs", str(five.logs), "--publish")

    assert empty.exit_code == 0, empty.output
    assert "CURRENT now holds no symbol. There is no attempt of environment" in empty.stdout
    assert f"{full}, CURRENT before, holds 1 symbols" in empty.stdout
    back = five.run("snapshots", "rollback", "--reason", "empty")
    assert (back.exit_code, five.current) == (0, full)


def test_a_build_of_fewer_lines_is_kept_until_they_are_back_or_a_person_asks_for_it(
    five: Desk, attempt: Line
) -> None:
    """The lake's disk is not mounted, and a log was rotated away meanwhile."""
    full = five.current
    (five.home / "lake").rename(five.home.parent / "not_mounted")
    (five.logs / "order_metrics.jsonl").unlink()
    five.write(attempt(7))
    later = ("refresh", "--logs", str(five.logs), "--as-of", "2025-11-06T00:05:00Z")

    kept = five.run(*later)

    assert (kept.exit_code, five.current) == (1, full)
    assert "made of fewer lines than CURRENT (raw_router__events 1 of 5), so it is kept" in (
        kept.stdout
    )
    doctor = five.run("doctor")
    assert doctor.exit_code == 1
    assert "fewer lines than CURRENT (raw_router__events 1 of 5)" in doctor.stdout

    (five.home / "lake").rename(five.home.parent / "underneath")
    (five.home.parent / "not_mounted").rename(five.home / "lake")
    whole = five.run(*later)
    assert whole.exit_code == 0, whole.output
    assert "6" in five.run("sql", "SELECT COUNT(*) FROM core_execution__outcomes").stdout

    (five.home / "lake").rename(five.home.parent / "lost")
    (five.home.parent / "underneath").rename(five.home / "lake")
    assert five.run(*later).exit_code == 1
    asked = five.run(*later, "--publish")
    assert asked.exit_code == 0, asked.output
    assert five.run("doctor").stdout.count("fewer lines") == 0
    assert "1" in five.run("sql", "SELECT COUNT(*) FROM core_execution__outcomes").stdout


def test_another_environments_build_is_kept_and_published_only_when_asked(
    five: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = five.current
    monkeypatch.setenv("EXECINTEL_ENVIRONMENT", "backtest")
    words = ("refresh", "--logs", str(five.logs), "--as-of", "2025-11-06T01:00:00Z")

    sign = (five.home / "heartbeat.json").read_text()

    kept = five.run(*words)

    assert kept.exit_code == 0
    assert (five.home / "heartbeat.json").read_text() == sign  # it says nothing of readers
    assert f"it is of environment backtest, CURRENT ({paper}) of paper; --publish" in kept.stdout
    assert five.current == paper

    five.run(*words, "--publish")

    assert five.current.startswith("20251106T010000Z-")
    listed = five.run("snapshots", "list").stdout.splitlines()
    assert [row.split()[2] for row in listed if paper in row] == ["paper"]
    assert [row.split()[2] for row in listed if five.current in row] == ["backtest"]
    monkeypatch.delenv("EXECINTEL_ENVIRONMENT")
    doctor = five.run("doctor")
    assert doctor.exit_code == 1
    assert "CURRENT is of environment backtest, configured is paper" in doctor.stdout


# -- a full disk --------------------------------------------------------------------------------


def test_a_full_disk_is_told_with_what_to_do(five: Desk) -> None:
    note = five.home / "writer.json"
    note.unlink()
    note.symlink_to("/dev/full")
    result = five.refresh()
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert f"are free on the disk of {five.home}. What stood there before stays" in result.stderr
    assert "Traceback" not in result.output


def test_a_build_that_finds_no_room_gives_back_what_it_took(five: Desk, attempt: Line) -> None:
    before = five.current
    five.write(attempt(5))
    with disk_full_at(300_000):  # what is read has room, the database of the build has not
        result = five.refresh()
    assert result.exit_code == 1
    assert "features.duckdb" in result.stderr
    assert list((five.home / "snapshots").glob(".building-*")) == []
    assert five.current == before
    again = five.refresh()
    assert again.exit_code == 0, again.output
    assert five.current != before


# -- a lake that is linked or damaged -----------------------------------------------------------


def test_a_data_root_and_a_lake_behind_links_are_refreshed(
    desk: Desk, attempt: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk.home.parent / "disk" / "home").mkdir(parents=True)
    (desk.home.parent / "larger").mkdir()
    (desk.home.parent / "disk" / "home" / "lake").symlink_to(desk.home.parent / "larger")
    (desk.home.parent / "link").symlink_to("disk")
    monkeypatch.setenv("EXECINTEL_HOME", str(desk.home.parent / "link" / "home"))
    for n in range(2):
        desk.write(attempt(n))
        result = desk.refresh()
        assert result.exit_code == 0, result.output
    assert (desk.home.parent / "larger" / "raw_router__events").is_dir()
    assert "2" in desk.run("sql", "SELECT COUNT(*) FROM raw_router__events").stdout
    assert desk.run("snapshots", "verify").exit_code == 0


def test_a_damaged_file_of_the_lake_is_named_and_what_is_said_to_mend_it_does(
    five: Desk, attempt: Line
) -> None:
    folder = five.home / "lake" / "raw_router__events"
    (damaged,) = folder.rglob("*.parquet")
    whole = damaged.read_bytes()
    five.write(attempt(5))
    for harm in ("gone", "cut short"):
        damaged.write_bytes(whole)
        damaged.unlink() if harm == "gone" else os.truncate(damaged, 100)
        verified = five.run("snapshots", "verify")
        assert verified.exit_code == 1
        assert f"raw_router__events: 1 of 1 files are {harm}, such as {damaged}" in verified.stderr
        assert f"gone or cut short, such as {damaged}. Restore it, or" in five.run("doctor").stdout
        result = five.refresh()
        assert result.exit_code == 1
        assert f"error: {damaged} is gone or damaged: " in result.stderr
        assert "move the folder of raw_router__events away and refresh: it is read anew" in (
            result.stderr
        )
    folder.rename(five.home.parent / "aside")
    assert five.refresh().exit_code == 0
    counts = "SELECT (SELECT COUNT(*) FROM core_execution__outcomes) AS n, n AS attempts"
    table = five.run(
        "sql", f"{counts} FROM feat_router__effectiveness WHERE symbol = '*'", "--format", "csv"
    )
    assert table.stdout.splitlines() == ["n,attempts", "6,6"]


def test_a_lost_current_is_told_and_made_anew(five: Desk) -> None:
    current = five.current
    (five.home / "snapshots" / "CURRENT").unlink()
    result = five.run("show")
    assert result.exit_code == 1
    assert f"is missing or empty, though published.jsonl ends with {current}" in result.stderr
    assert five.refresh().exit_code == 0
    assert five.current == current
