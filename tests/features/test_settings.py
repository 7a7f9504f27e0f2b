"""Settings: defaults, execintel.toml, the environment above it, and what a bad value says."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from features.settings import LogFolder, Settings, config_path


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder without execintel.toml."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "execintel.toml") -> Path:
    """Write a configuration file in the current folder."""
    path = Path(name)
    path.write_text(text, "utf-8")
    return path.absolute()


# ---------------------------------------------------------------------------------------- sources


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    settings = Settings()
    assert settings.home == tmp_path / "data"
    assert (settings.environment, settings.account) == ("paper", "default")
    assert (settings.window_days, settings.snapshot_max_age_s) == (7, 900)
    assert (settings.equity_usd, settings.engine) == (None, "duckdb")
    assert (settings.log_dir, settings.log_folders()) == (None, ())
    assert settings.symbol_key == "symbol"


def test_interval_of_the_executors_publisher_keeps_its_name_of_v5_10(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings().exec_intel_publish_interval_s == 300
    write("exec_intel_publish_interval_s = 120\n")
    assert Settings().exec_intel_publish_interval_s == 120
    monkeypatch.setenv("EXEC_INTEL_PUBLISH_INTERVAL_S", "60")
    assert Settings().exec_intel_publish_interval_s == 60
    with pytest.raises(ValidationError, match="less than or equal to 3600"):
        Settings(exec_intel_publish_interval_s=3601)


THRESHOLD = "dashboard_alert_precision_threshold"  # 0.55 by default


@pytest.mark.parametrize(
    ("variable", "file", "expected"),
    [
        (None, f"[params]\n{THRESHOLD} = 0.7\n", 0.7),
        (None, f"{THRESHOLD} = 0.6\n[params]\n{THRESHOLD} = 0.7\n", 0.6),  # its own name wins
        ("0.8", f"[params]\n{THRESHOLD} = 0.7\n", 0.8),  # the environment wins
        ("0.55", f"[params]\n{THRESHOLD} = 0.7\n", 0.55),  # also where it says the default
        ("0.55", "", 0.55),
    ],
)
def test_parameter_that_has_a_name_of_its_own_has_one_value(
    variable: str | None, file: str, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(file)
    if variable is not None:
        monkeypatch.setenv(THRESHOLD.upper(), variable)
    settings = Settings()
    assert settings.dashboard_alert_precision_threshold == expected
    assert settings.params == ({} if expected == 0.55 else {THRESHOLD: expected})
    assert Settings(**{THRESHOLD: 0.9}).params == {THRESHOLD: 0.9}  # type: ignore[arg-type]


def test_file_in_the_current_folder_is_read() -> None:
    write('environment = "testnet"\nwindow_days = 3\n[params]\nwinsor_bps = 80\n')
    settings = Settings()
    assert (settings.environment, settings.window_days) == ("testnet", 3)
    assert settings.params == {"winsor_bps": 80.0}


def test_named_file_stands_above_the_one_in_the_current_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("window_days = 3\n")
    named = write("window_days = 5\n", "other.toml")
    monkeypatch.setenv("EXECINTEL_CONFIG", str(named))
    assert (config_path(), Settings().window_days) == (named, 5)


def test_environment_stands_above_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write('window_days = 3\naccount = "desk"\n')
    monkeypatch.setenv("EXECINTEL_WINDOW_DAYS", "9")
    settings = Settings()
    assert (settings.window_days, settings.account) == (9, "desk")


def test_argument_stands_above_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECINTEL_WINDOW_DAYS", "9")
    assert Settings(window_days=2).window_days == 2


def test_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # an empty path would be the current folder, an empty number a fault
    for name in ("LOG_DIR", "EQUITY_USD", "VENUE", "HOME"):
        monkeypatch.setenv(f"EXECINTEL_{name}", "")
    settings = Settings()
    assert (settings.log_dir, settings.equity_usd, settings.venue) == (None, None, None)
    assert settings.home.name == "data"


def test_missing_named_file_is_an_error_naming_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECINTEL_CONFIG", "nowhere.toml")
    with pytest.raises(FileNotFoundError, match=r"EXECINTEL_CONFIG names .*nowhere\.toml"):
        Settings()


# ------------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize("home", ["here", "./here", "../here", "/srv/execintel"])
def test_home_is_absolute(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", home)
    settings = Settings()
    assert settings.home.is_absolute()
    assert settings.home == Path(home).resolve()
    assert settings.lake_root == settings.home / "lake"
    assert settings.snapshots_root == settings.home / "snapshots"


def test_home_of_the_user_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert Settings(home=Path("~/desk")).home == tmp_path / "user" / "desk"


def test_paths_stay_when_the_current_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=Path("h"), log_dir=Path("l"), logs=(LogFolder(path=Path("m")),))
    monkeypatch.chdir("/")
    assert settings.home == tmp_path / "h"
    assert [folder.path for folder in settings.log_folders()] == [tmp_path / "m", tmp_path / "l"]


# ----------------------------------------------------------------------------------------- folders

TWO_FOLDERS = """
account = "desk"
environment = "testnet"
venue = "binance"
naive_zone = "Europe/Berlin"

[[logs]]
path = "a"

[[logs]]
path = "b"
account = "second"
environment = "live"
venue = "kraken"
naive_zone = "UTC"
"""


def test_folder_inherits_what_it_does_not_say() -> None:
    write(TWO_FOLDERS)
    first, second = (folder.model_dump(exclude={"path"}) for folder in Settings().log_folders())
    assert first == {
        "account": "desk",
        "environment": "testnet",
        "venue": "binance",
        "naive_zone": "Europe/Berlin",
    }
    assert second == {
        "account": "second",
        "environment": "live",
        "venue": "kraken",
        "naive_zone": "UTC",
    }


def test_folder_inherits_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    write(TWO_FOLDERS)
    monkeypatch.setenv("EXECINTEL_ACCOUNT", "override")
    assert [folder.account for folder in Settings().log_folders()] == ["override", "second"]


def test_log_dir_joins_the_named_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(TWO_FOLDERS)
    monkeypatch.setenv("EXECINTEL_LOG_DIR", "c")
    folders = Settings().log_folders()
    assert [folder.path.name for folder in folders] == ["a", "b", "c"]
    assert (folders[2].path, folders[2].account) == (tmp_path / "c", "desk")
    assert (folders[2].environment, folders[2].venue) == ("testnet", "binance")


# ---------------------------------------------------------------------------------------- bad ones


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("window_days", "0", r"greater than or equal to 1"),
        ("window_days", "91", r"less than or equal to 90"),
        ("window_days", "a week", r"valid integer"),
        ("environment", "production", r"'live', 'testnet', 'paper' or 'backtest'"),
        ("equity_usd", "0", r"greater than 0"),
        ("equity_usd", "-5", r"greater than 0"),
        ("equity_usd", "inf", r"finite"),
        ("snapshot_max_age_s", "0", r"greater than or equal to 1"),
        ("memory_limit_mb", "10", r"greater than or equal to 256"),
        ("threads", "0", r"greater than or equal to 1"),
        ("engine", "spark", r"'duckdb'"),
        ("symbol_key", "isin", r"'symbol' or 'venue_symbol'"),
        ("naive_zone", "Mars/Olympus", r"no time zone; write it as Europe/Berlin or UTC"),
        ("naive_zone", "Europe", r"no time zone"),  # a folder of zones
        ("refresh_cron", "every hour", r"no cron expression of five numeric fields"),
        ("home", "/data/week?", r"holds \?, which Delta or DuckDB would not take for a letter"),
        ("home", "/data/a*[b]", r"holds \* \[ \], which"),
        ("apply", "sizes", r"allowed are all, none, or some of size,offset,policy"),
        ("apply", "size,size", r"allowed are all, none, or some of size,offset,policy"),
    ],
)
def test_bad_value_names_itself_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"EXECINTEL_{name.upper()}", value)
    with pytest.raises(ValidationError, match=said) as caught:
        Settings()
    (error,) = caught.value.errors()
    assert error["loc"] == (name,)
    assert value in str(caught.value)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("windowdays = 3", "windowdays"),
        ('[[logs]]\npath = "a"\nacount = "x"', "logs.0.acount"),
        ('[[logs]]\naccount = "x"', "logs.0.path"),
        ("[freshness.raw_router__events]\nrequierd = true", "requierd"),
        ("[freshness.raw_router__events]\nmax_silence_s = 0", "max_silence_s"),
        ('[params]\nwinsor_bps = "wide"', "winsor_bps = wide: allowed are 1.0 to 5000.0"),
        ("[params]\nwinsor = 9", "winsor: no such parameter"),
        ("[trading]\nmax_leverage = 21", "max_leverage"),
        ("[trading]\nmax_symbol = 21", "max_symbol"),
        ("[trading]\ndrawdown_halt_pct = 2", "must not be below drawdown_reduce_pct = 3.0"),
        ("[trading]\nclock_stop_ms = 100", "must not be below clock_warn_ms = 250.0"),
        ('[params]\nscore_model = "v5.9"', "score_model = v5.9: allowed are v5.10 or v5.11"),
    ],
)
def test_misspelt_or_bad_line_of_the_file_is_named(text: str, where: str) -> None:
    write(text)
    with pytest.raises(ValidationError, match=where.replace(".", r"\.")):
        Settings()


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"(key=", "no regular expression"),
        (r"key=\w+", "exactly one group"),
        (r"(a)(b)", "exactly one group"),
    ],
)
def test_secret_pattern_must_say_what_stays(pattern: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings(secret_patterns=(pattern,))


def test_settings_never_change() -> None:
    settings: Any = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.window_days = 8


def test_printing_settings_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    # variables of others, and such as execintel does not know, are no part of it
    for name in ("EXECINTEL_API_KEY", "API_SECRET", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(name, "s3cr3t-value")
    shown = repr(Settings())
    assert "s3cr3t-value" not in shown
    assert "window_days=7" in shown
    held = [n for n in Settings.model_fields if "key" in n or "secret" in n or "token" in n]
    assert sorted(held) == ["secret_patterns", "symbol_key"]  # patterns, and how keys are made


@pytest.mark.parametrize(
    ("apply", "environment", "acting"),
    [
        (None, "paper", {"size", "offset", "policy"}),
        (None, "backtest", {"size", "offset", "policy"}),
        (None, "testnet", set()),  # a real venue -> nothing acts until it is said
        (None, "live", set()),
        ("all", "live", {"size", "offset", "policy"}),
        ("none", "paper", set()),
        (" policy, size", "live", {"size", "policy"}),
    ],
)
def test_decisions_act_where_no_money_is_at_stake_or_where_it_is_said(
    apply: str | None, environment: Any, acting: set[str]
) -> None:
    assert Settings(apply=apply).applied(environment) == acting
