"""`execintel params`: what is in force, and who changed what."""

from collections.abc import Callable
from pathlib import Path

from tests.pipelines.commands.desk import Desk

Line = Callable[..., str]


def test_show_tells_defaults_from_configured_values(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "execintel.toml").write_text("[params]\ndust_notional_usd = 12\n")
    lines = desk.run("params", "show").stdout.splitlines()
    (dust,) = [line for line in lines if "dust_notional_usd" in line]
    (winsor,) = [line for line in lines if "winsor_bps" in line]
    assert "12" in dust
    assert "configured, default 5.0" in dust
    assert "default" in winsor
    assert "1.0 to 5000.0" in winsor


def test_show_tells_choices_and_lines_of_points(desk: Desk, tmp_path: Path) -> None:
    config = '[params]\nscore_model = "v5.11"\nv511_fee = [[4, 0], [20, -0.3]]\n'
    (tmp_path / "execintel.toml").write_text(config)
    lines = desk.run("params", "show").stdout.splitlines()
    (model,) = [line for line in lines if "score_model" in line]
    (fee,) = [line for line in lines if "v511_fee" in line]
    (size,) = [line for line in lines if "v511_size " in line]
    assert "configured, default v5.10" in model
    assert "v5.10 or v5.11" in model
    assert "(4, 0) (20, -0.3)" in fee
    assert "configured, default [[5.0, 0.0], [20.0, -0.3]]" in fee
    assert "y falling within -2.0 to 2.0" in fee
    assert "(-1, 0.5) (0, 1) (1.35, 1.45)" in size


def test_a_bad_line_of_points_is_told_at_start(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "execintel.toml").write_text("[params]\nv511_fee = [[4, 0], [20, 0.3]]\n")
    result = desk.run("params", "show")
    assert result.exit_code == 1
    assert "v511_fee = [[4, 0], [20, 0.3]]: allowed are two or more points" in result.stderr


def test_history_says_who_changed_what_from_what_to_what(
    desk: Desk, attempt: Line, tmp_path: Path
) -> None:
    desk.write(attempt(1))
    desk.refresh()
    assert "no parameter has changed" in desk.run("params", "history").stdout
    (tmp_path / "execintel.toml").write_text("[params]\ndust_notional_usd = 12\n")
    assert "published" in desk.refresh().stdout

    (row,) = [
        line
        for line in desk.run("params", "history").stdout.splitlines()
        if "dust_notional_usd" in line
    ]

    assert "5.0 → 12.0" in row
    assert " pid " in row
    assert desk.current in row
