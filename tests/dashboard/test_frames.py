"""Rows for pages that are more than a copy: sparklines, sums of a score's parts, export."""

import csv
import io
import json
import math
from pathlib import Path

import polars as pl
import pytest

from dashboard import frames, panels
from dashboard.data import View
from dashboard.settings import load
from features.explain import Line, Part


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ((None, None), "\u2800"),  # nothing known -> a gap
        ((0.0, 3.0), "\u28f8"),  # the lowest is one dot, the highest four
        ((None, -2.0), "\u2880"),  # one known value alone is the lowest
        ((0.0, 1.0, 2.0, 3.0), "\u28e0\u28fe"),  # steps of a third
    ],
)
def test_sparkline_is_a_column_of_dots_for_each_hour(
    values: tuple[float | None, ...], drawn: str
) -> None:
    assert frames.sparkline(values) == drawn


def test_parts_of_a_score_reach_from_sum_to_sum_and_end_in_the_score() -> None:
    lines = (Line("Sharpe", "", 1.0), Line("ATR ratio", "", -0.25), Line("score", "", 0.75))
    rows = frames.waterfall(Part("score", "", "adds", lines))
    assert rows.select("from", "to").rows() == [(0.0, 1.0), (1.0, 0.75), (0.0, 0.75)]
    assert rows["kind"].to_list() == ["adds", "takes", "sum"]


def test_export_writes_unknown_as_nothing_and_keeps_foreign_text() -> None:
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
