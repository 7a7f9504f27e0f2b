"""The accuracy tables in one file: from a snapshot and from traces, without a page."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.demo.example_traces import write_example_traces
from tests.pipelines.commands.desk import Desk, attempt


def test_snapshot_and_traces_export_the_same_numbers(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "streamlit", None)  # as where it is not installed
    write_example_traces(desk.logs / "analytics", days=20)
    assert desk.run("refresh", "--logs", str(desk.logs), "--as-of", "2025-11-01").exit_code == 0
    found: dict[str, Any] = {}
    for name, words in {"lake": (), "files": ("--traces", str(desk.logs))}.items():
        out = tmp_path / f"{name}.json"
        result = desk.run("export-metrics", "--out", str(out), *words)
        assert result.exit_code == 0, result.output
        rows = json.loads(out.read_text())["feat_telemetry__accuracy"]
        found[name] = [row for row in rows if row["window"] == "all"]
    assert found["lake"] == found["files"]
    assert len(found["lake"]) == 12  # two strategies and all, three symbols and all

    for form in ("csv", "parquet"):
        words = ("--format", form, "--table", "calibration")
        desk.run("export-metrics", "--out", str(tmp_path / f"c.{form}"), *words)
    with (tmp_path / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == pq.read_table(tmp_path / "c.parquet").num_rows > 6
    assert rows[0]["return_net_avg_pct"] == ""  # no cost is measured: unknown is no zero

    scope = {"snapshot_id": desk.current, "as_of_ms": 1761955200000, "environment": "paper"}
    scope = {"source": "snapshot", **scope, "window_days": 7}
    head = json.loads((tmp_path / "lake.json").read_text())
    assert {name: head[name] for name in scope} == scope
    assert pq.read_table(tmp_path / "c.parquet").select(list(scope)).to_pylist()[-1] == scope
    assert [rows[-1][name] for name in scope] == list(map(str, scope.values()))
    words = ("--format", "csv", "--traces", str(desk.logs))
    desk.run("export-metrics", "--out", str(tmp_path / "t.csv"), *words)
    with (tmp_path / "t.csv").open() as file:
        assert {row["source"] for row in csv.DictReader(file)} == {str(desk.logs)}


def test_what_cannot_be_exported_is_said(desk: Desk, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "m.json"))
    empty = desk.run("export-metrics", *out, "--traces", str(tmp_path))
    assert (empty.exit_code, "holds no trace file" in empty.output) == (1, True)
    both = desk.run("export-metrics", *out, "--traces", "x", "--snapshot", "y")
    assert "exclude each other" in both.output
    nowhere = desk.run("export-metrics", "--out", str(tmp_path / "no" / "m.json"))
    assert "there is no folder" in nowhere.output
    folder = desk.run("export-metrics", "--out", str(tmp_path))
    assert (folder.exit_code, folder.stderr.count("\n")) == (1, 1)
    assert f"--out {tmp_path} is a folder" in folder.stderr
    assert list(tmp_path.parent.glob(".*.part")) == []


def test_a_snapshot_without_traces_says_so_and_what_to_do(desk: Desk, tmp_path: Path) -> None:
    desk.write(attempt(1))
    assert desk.refresh().exit_code == 0
    result = desk.run("export-metrics", "--out", str(tmp_path / "m.json"))
    assert result.exit_code == 0
    assert "m.json: 0 rows" in result.stdout
    assert f"snapshot {desk.current} holds no prediction traces in its window" in result.stderr
    assert "--enable-telemetry" in result.stderr
