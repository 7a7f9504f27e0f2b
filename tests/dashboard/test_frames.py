"""Rows for pages that are more than a copy: sparklines, sums of a score's parts, export."""

import csv
import io
import json
import math
import re
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest

from dashboard import cards, charts, frames, panels
from dashboard.data import View
from dashboard.settings import load
from features.explain import Line, Part


@pytest.mark.parametrize(
    ("values", "words", "bars"),
    [
        ((None, None), "none", None),  # nothing known -> nothing drawn, and said
        ((None, 3.0), "+1 \N{MINUS SIGN}0", ["M6 13v-11"]),  # one alone -> up, at its own hour
        ((-1.0, 2.0), "+1 \N{MINUS SIGN}1", ["M6 13v-11", "M2 13v6"]),  # half as far -> half, down
        ((0.0, None), "+0 \N{MINUS SIGN}0", ["M2 12v2"]),  # a known 0 is seen, and no gain
    ],
)
def test_hours_are_bars_from_zero_and_words(
    values: tuple[float | None, ...], words: str, bars: list[str] | None
) -> None:
    assert frames.signs(values) == words
    drawn = charts.spark(values)
    found = drawn and re.findall(r'path d="(M\d+ 1[23]v[^"]+)"', unquote(drawn))
    assert found == bars


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-311.58, 434.42, "-312 to 434"),  # one end from 100 on -> whole numbers, both
        (-99.94, 12.0, "-99.9 to 12.0"),
        (-1.0, 99.96, "-1 to 100"),  # would be rounded to 100.0
        (-0.4, 150.0, "-0.4 to 150"),  # holds 0 and says so, though -0.4 is near 0
        (-0.0053, 0.00035, "-0.005 to 0.0003"),
        (0.0, 150.0, "0 to 150"),  # begins at 0 indeed
        (None, 434.42, "–"),  # one close alone has no interval
    ],
)
def test_bounds_have_no_decimals_from_100_on(
    low: float | None, high: float | None, words: str
) -> None:
    assert frames.bounds(low, high) == words


def test_cells_of_a_card_are_whole_numbers_whole_and_unknown_a_dash() -> None:
    cells = (1_808, 10.0, 0.12345, 0.00002, -0.00001, 0.0, None, "● ok")
    # 0.12345 lies above its decimal
    written = ["1,808", "10", "0.1235", "2e-05", "-1e-05", "0", "–", "● ok"]
    assert [cards.written(cell) for cell in cells] == written


def test_columns_are_rounded_before_a_cell_could_write_a_zero_with_a_sign() -> None:
    frame = pl.DataFrame({"a": [-0.004, -0.006, None], "b": [None, None, None]})
    shown = frames.rounded(frame, {"a": 2, "b": 3})
    assert [str(each) for each in shown["a"]] == ["0.0", "-0.01", "None"]  # == takes -0.0 for 0.0
    assert shown["b"].to_list() == [None, None, None]


@pytest.mark.parametrize(
    ("n", "source", "words"),
    [(12, "fills", "12 fills"), (1, "fills", "1 fill"), (700, "bars", "700 bars"),
     (400, "short", "400 bars"), (0, None, "0 bars")],
)  # fmt: skip
def test_a_regime_says_whether_bars_or_fills_told_it(
    n: int, source: str | None, words: str
) -> None:
    assert frames.regime_n(n, source) == words


def test_parts_of_a_score_reach_from_sum_to_sum_and_end_in_the_score() -> None:
    lines = (Line("Sharpe", "", 1.0), Line("ATR ratio", "", -0.25), Line("score", "", 0.75))
    rows = frames.waterfall(Part("score", "", "adds", lines))
    assert rows.select("from", "to").rows() == [(0.0, 1.0), (1.0, 0.75), (0.0, 0.75)]
    assert rows["kind"].to_list() == ["adds", "takes", "sum"]


def test_export_writes_unknown_as_nothing_and_keeps_foreign_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    view = View(load([]), 0, False, "none", ())
    table = pl.DataFrame({"symbol": ['a,"b"\n<i>'], "x": [math.nan], "l": [[1.0, None]]})
    document = json.loads(panels.as_json(view, {"t": table}, {"symbol": "<b>"}))
    assert document["tables"]["t"] == [{"symbol": 'a,"b"\n<i>', "x": None, "l": [1.0, None]}]
    assert document["symbol"] == "<b>"
    (row,) = csv.DictReader(io.StringIO(panels.as_csv(view, {"t": table})))
    assert row["symbol"] == 'a,"b"\n<i>'
    assert row["table"] == "t"


def test_no_page_calls_python_from_polars_own_threads(repository: Path) -> None:
    """Two sessions would wait for each other: one holds the interpreter, one Polars' threads."""
    calls = ("map_elements(", "map_batches(", "map_rows(", "map_groups(")
    for path in (repository / "dashboard").rglob("*.py"):
        assert not [call for call in calls if call in path.read_text()], path
