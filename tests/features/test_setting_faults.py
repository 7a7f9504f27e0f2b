"""A bad setting in words: its name, its value, what is allowed, where it is set."""

from pathlib import Path

import pytest

from features import setting_faults


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
