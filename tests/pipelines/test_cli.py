"""The command as a whole: settings, errors, start-up, and the numbers of the recorded run."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from typer.testing import CliRunner, Result

from live.trading.controls import Controls
from pipelines.cli import app
from pipelines.commands import common

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command on an empty data root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path / "home"))
    return lambda *words: CliRunner().invoke(app, list(words), catch_exceptions=False)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("EXECINTEL_WINDOW_DAYS", "400", "window_days = '400': .*allowed: 1 to 90"),
        ("EXECINTEL_WINDOW_DAYS", "many", "window_days = 'many': .*allowed: 1 to 90"),
        ("EXECINTEL_ENVIRONMENT", "prod", "environment = 'prod': .*'live', 'testnet', 'paper'"),
        ("EXECINTEL_EQUITY_USD", "-5", "equity_usd = '-5': .*allowed: above 0"),
        ("EXECINTEL_NAIVE_ZONE", "Mars", "'Mars' is no time zone"),
        ("EXECINTEL_CONFIG", "nowhere.toml", "EXECINTEL_CONFIG names .*which does not exist"),
        ("EXECINTEL_LOGS", "{", "logs"),
        (
            "EXEC_INTEL_PUBLISH_INTERVAL_S",
            "5",
            r"= '5': .*allowed: 30 to 3600\)\. Set it by EXEC_INTEL_PUBLISH_INTERVAL_S",
        ),
    ],
)
def test_a_bad_setting_is_named_with_its_value_and_range(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    import re

    monkeypatch.setenv(variable, value)
    result = run("doctor")
    assert result.exit_code == 1
    assert re.search(expected, result.stderr), result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("windowdays = 3\n", "windowdays is no setting"),
        ("window_days = \n", "not TOML"),
        ("[params]\nno_such = 1\n", "no such parameter"),
        ("[params]\nequity_tolerance = 7\n", "equity_tolerance = 7.0: allowed are 0.01 to 1.0"),
    ],
)
def test_a_bad_configuration_file_is_one_clear_line(
    run: Run, tmp_path: Path, config: str, expected: str
) -> None:
    (tmp_path / "execintel.toml").write_text(config)
    (tmp_path / "logs").mkdir()
    result = run("refresh", "--logs", "logs")
    assert result.exit_code == 1
    assert expected in result.stderr
    assert result.stderr.startswith("error: ")


def test_a_lake_of_another_format_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home" / "lake").mkdir(parents=True)
    (tmp_path / "home" / "lake" / "FORMAT").write_text("99\n")
    (tmp_path / "logs").mkdir()
    result = run("refresh", "--logs", "logs")
    assert result.exit_code == 1
    assert "lake format '99', this release reads 1" in result.stderr
    assert "format 99" in run("doctor").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("show",),
        ("sql", "SELECT 1"),
        ("snapshots", "verify"),
        ("snapshots", "verify", "--all"),
        ("snapshots", "rebuild"),
        ("snapshots", "diff", "a", "b"),
        ("snapshots", "rollback", "--reason", "test"),
    ],
)
def test_before_the_first_snapshot_every_reader_says_what_to_do(
    run: Run, words: tuple[str, ...]
) -> None:
    result = run(*words)
    assert result.exit_code == 1
    assert "execintel" in result.stderr
    assert result.stderr.startswith("error: ")


def test_importing_the_command_loads_no_heavy_library() -> None:
    program = (
        "import sys, pipelines.cli; "
        "print([m for m in ('dagster', 'duckdb', 'deltalake', 'polars', 'pyarrow', 'scipy')"
        " if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_help_lists_every_command_of_the_readme() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for name in ("refresh", "show", "sql", "doctor", "quarantine", "snapshots", "params", "up"):
        assert name in result.stdout


def test_the_recorded_run_gives_its_numbers_through_the_command(
    router_logs: Path, tmp_path: Path, run: Run
) -> None:
    words = ("refresh", "--logs", str(router_logs), "--as-of", "2025-11-06T00:00:00Z")
    first = in_a_process(tmp_path, *words)
    assert first.returncode == 0, first.stderr
    rows = run(
        "sql",
        "SELECT e.symbol, e.n, e.fill_n, round(s.slip_bps_q50, 9)"
        " FROM feat_router__effectiveness AS e"
        " JOIN feat_execution__slippage_quartiles AS s ON s.symbol = e.symbol AND hour_utc = -1"
        " ORDER BY e.symbol",
        "--format",
        "csv",
    )
    assert rows.stdout.splitlines()[1:] == [
        "*,532,115,0.0",
        "BTCUSDT,10,10,0.0",
        "LINKUSDT,111,24,0.33471683",
        "LTCUSDT,214,41,1.153402537",
        "SUIUSDT,101,23,0.492780762",
        "WIFUSDT,96,17,-0.125447313",
    ]
    again = run(*words)
    assert "no new rows, no new snapshot" in again.stdout
    shown = run("show", "LINKUSDT")
    assert shown.exit_code == 0, shown.stderr
    assert "LINKUSDT by UTC hour" in shown.stdout
    rebuilt = run("snapshots", "rebuild")
    assert rebuilt.exit_code == 0, rebuilt.stdout + rebuilt.stderr
    assert "every table has the same rows" in rebuilt.stdout


@pytest.mark.parametrize("command", ["refresh", "show", "doctor", "kill", "demo", "upkeep", "up"])
def test_a_data_root_that_is_a_file_is_one_clear_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path / "file"))
    result = run(command)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: the data root {tmp_path / 'file'} cannot be used")
    assert "set EXECINTEL_HOME" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_data_root_that_cannot_be_created_is_one_clear_line(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", "/proc/execintel")  # not even root makes a folder there
    result = run("refresh")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the data root /proc/execintel cannot be used")


# -- where its words go -------------------------------------------------------------------------


def in_a_process(root: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"EXECINTEL_HOME": str(root / "home")} | more.pop("variables", {})
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-m", "pipelines.cli", *words]
    return subprocess.run(
        command, env=environment, cwd=root, stderr=subprocess.PIPE, timeout=120, **more
    )


def test_letters_that_a_terminal_lacks_stop_no_command(tmp_path: Path) -> None:
    done = in_a_process(
        tmp_path, "kill", stdout=subprocess.PIPE, variables={"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0, done.stderr
    assert b"run ? kill" in done.stdout


def test_words_that_find_no_room_are_no_fault_of_the_data_root(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = in_a_process(tmp_path, "kill", stdout=full)
    assert done.returncode == 1
    assert b"error: what this says cannot be written: " in done.stderr
    assert b"It may have done its work all the same" in done.stderr
    assert Controls(tmp_path / "home" / "control").state().mode == "kill"


def test_ctrl_c_while_the_engine_works_ends_as_anywhere() -> None:
    app = typer.Typer(cls=common.PlainGroup)

    @app.command()
    def work() -> None:
        with duckdb.connect() as con:
            con.execute("SELECT SUM(range * 3.1) FROM range(100000000)")  # a second or two

    @app.command()
    def rest() -> None: ...

    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interruption = threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGINT))
    interruption.start()
    try:
        result = CliRunner().invoke(app, ["work"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.exit_code, "Traceback" in result.output) == (130, False)
