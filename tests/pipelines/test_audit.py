"""An audit runs every backtest, goes on past those that fail, and sums up in one file."""

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.accuracy import AccuracyAnalyzer
from pipelines.audit import SUMMARY
from pipelines.cli import app


@pytest.fixture
def bars(bars_1m: Path, tmp_path: Path) -> Path:
    """Return a folder of two real days of BTC, and a damaged file of another symbol."""
    folder = tmp_path / "bars"
    folder.mkdir()
    with gzip.open(bars_1m / "BTCUSDT_1m.csv.gz", "rt") as file:
        lines = [line for _, line in zip(range(1 + 2 * 1440), file, strict=False)]
    (folder / "BTCUSDT_1m.csv").write_text("".join(lines))
    (folder / "BADUSDT_1m.csv").write_text("date,open,high,low,close,volume\nyesterday,1,2,3\n")
    return folder


def test_audit_goes_on_past_failures_and_writes_one_summary(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path / "home"))
    out = tmp_path / "audit"
    words = ["audit", "--symbols", "BTCUSDT", "BADUSDT", "--strategies", "intraday"]
    result = CliRunner().invoke(
        app, [*words, "--bars", str(bars), "--output-dir", str(out), "--jobs", "2"]
    )
    assert result.exit_code == 1, result.output  # one failed
    assert "BADUSDT intraday failed: error: " in result.output
    assert "1 of 2 backtests ended well" in result.output

    summary = json.loads((out / SUMMARY).read_text())
    good, bad = summary["jobs"]
    assert (good["symbol"], good["is_done"], good["problem"]) == ("BTCUSDT", True, None)
    assert (bad["symbol"], bad["is_done"]) == ("BADUSDT", False)
    analyzer = AccuracyAnalyzer()
    traces = analyzer.load_traces(out)
    assert len(traces) == good["trade_n"] > 0
    row = next(r for r in summary["accuracy"] if (r["strategy"], r["symbol"]) == ("intraday", "*"))
    metrics = analyzer.compute_metrics(traces, group_by_strategy=True)
    assert isinstance(metrics, dict)
    assert (row["n"], row["hit_ratio"]) == (len(traces), metrics["intraday"].hit_ratio)

    words += ["--bars", str(bars), "--start", "2025-05-06"]
    again = CliRunner().invoke(app, [*words, "--output-dir", str(out)])
    assert again.exit_code == 1
    assert "is not empty" in again.output  # the traces of both would be summed up as one audit


def test_what_cannot_be_audited_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path / "home"))
    words = ["audit", "--symbols", "A", "--bars", str(tmp_path / "none")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "there is no such folder" in result.output
    result = CliRunner().invoke(app, [*words[:-1], str(tmp_path), "--start", "yesterday"])
    assert "'yesterday' is no ISO 8601 time" in result.output
