"""A bad setting in words: its name, its value, what is allowed, where it is set."""

import re
from pathlib import Path
from typing import get_origin

import pytest

from features import setting_faults
from features.settings import Settings, Trading, variable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("window_days = 0", r"window_days = 0: .*\(allowed: 1 to 90\).*EXECINTEL_WINDOW_DAYS"),
        (
            "[trading]\nmax_leverage = 99",
            r"trading\.max_leverage = 99: .*\(allowed: 0 to 20\).*EXECINTEL_TRADING",
        ),
        ("[trading]\nmax_symbol_pct = 0", r"trading\.max_symbol_pct = 0: .*\(allowed: 0"),
        ("[trading]\nmax_levrage = 1", r"trading\.max_levrage = 1: extra inputs"),
        ('apply = "sizes"', r"apply = 'sizes': .*allowed are all, none, or some of size,offset"),
    ],
)
def test_fault_names_value_range_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    (tmp_path / "execintel.toml").write_text(text)
    monkeypatch.setenv("EXECINTEL_CONFIG", str(tmp_path / "execintel.toml"))
    with pytest.raises(setting_faults.BadSettingError, match=said):
        setting_faults.load()


@pytest.mark.parametrize("name", setting_faults.EXAMPLES)
def test_a_variable_that_is_no_json_names_itself_and_what_it_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    place = variable(name)
    monkeypatch.setenv(place, "nope")
    shown = "(hidden)" if name == "alert_urls" else "'nope'"  # a password stands in such a value
    said = "^" + re.escape(f"{place} = {shown}: is not JSON")
    with pytest.raises(setting_faults.BadSettingError, match=said) as caught:
        setting_faults.load()
    written = str(caught.value).split(f"{place}='")[1].split("', or set")[0]
    monkeypatch.setenv(place, written)  # what it tells to write is taken
    assert name in setting_faults.load().model_fields_set


def test_every_setting_that_a_variable_holds_as_json_has_its_example() -> None:
    kinds = {name: field.annotation for name, field in Settings.model_fields.items()}
    several = {n for n, k in kinds.items() if get_origin(k) in (tuple, dict) or k is Trading}
    assert several == set(setting_faults.EXAMPLES)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("EXECINTEL_TRADING", "5", r'trading = 5: .*in a variable as {"max_leverage": 2.0}'),
        ("EXECINTEL_ALERT_URLS", '"a:b@c"', r"alert_urls = \(hidden\): .*in a variable as \["),
        ("EXECINTEL_HEARTBEAT_URL", "ftp://a:b@c", r"heartbeat_url = \(hidden\): .*http://"),
    ],
)
def test_a_value_of_another_kind_says_its_form_and_shows_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    with pytest.raises(setting_faults.BadSettingError, match=said) as caught:
        setting_faults.load()
    assert "a:b@c" not in str(caught.value)


@pytest.mark.parametrize("content", [b"window_days = = 3", b"\xff"])
def test_a_broken_file_is_named_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "execintel.toml").write_bytes(content)
    where = re.escape(f"{tmp_path / 'execintel.toml'} is not TOML: ")
    with pytest.raises(setting_faults.BadSettingError, match=where):
        setting_faults.load()
