"""US-017 FR-7 for the analyzer and the notebook: comparison of intraday with swing."""

import base64
import math
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from live.telemetry import PredictionTrace
from pipelines.accuracy import AccuracyAnalyzer, TraceError
from pipelines.accuracy_results import AccuracyMetrics
from pipelines.demo.example_traces import write_example_traces
from tests import independent_accuracy as independent
from tests.independent_accuracy import DAY_MS, HEADER, Trade

NOON_MS = 1_756_728_000_000  # 2025-09-01T12:00:00Z


def trade(strategy: str, day: int, gain_pct: float, direction: str = "LONG") -> Trade:
    """Return a trade of half an hour that earned ``gain_pct`` in its direction."""
    move = gain_pct / 100 * (-1 if direction == "SHORT" else 1)
    at = NOON_MS + day * DAY_MS
    return Trade(
        at,
        at + 1_800_000,
        "BTCUSDT",
        strategy,
        direction,
        0.7,
        100.0,
        100.0 * (1 + move),
        30.0,
        gain_pct,
    )


def save(folder: Path, *trades: Trade, name: str = "0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for strategy in {t.strategy for t in trades}:
        lines = [t.csv() for t in trades if t.strategy == strategy]
        (folder / f"traces_{strategy}_{name}.csv").write_text(HEADER + "".join(lines))
    return folder


def mixed(edge: float) -> list[Trade]:
    """Return forty days of both strategies; intraday earns ``edge`` percent more a trade."""
    dice = np.random.default_rng(3)
    return [
        trade(name, day, round(float(dice.normal(edge * (name == "intraday"), 0.8)), 6), direction)
        for day in range(40)
        for name in ("intraday", "swing")
        for direction in ("LONG", "SHORT")
    ]


@pytest.mark.parametrize(
    ("edge", "better"), [(1.0, "intraday"), (-1.0, "swing"), (0.0, "inconclusive")]
)
def test_strategy_comparative_analysis(tmp_path: Path, edge: float, better: str) -> None:
    trades = mixed(edge)
    analyzer = AccuracyAnalyzer()
    found = analyzer.compute_comparative_metrics(
        analyzer.load_traces(save(tmp_path, *trades), strategy="both")
    )
    compared = found["comparison"]
    pair = [[t for t in trades if t.strategy == name] for name in ("intraday", "swing")]
    first, second = (independent.accuracy(own) for own in pair)
    days = independent.welch(*(independent.daily_sums(own) for own in pair))
    single = independent.welch(*([t.return_pct for t in own] for own in pair))

    assert compared["better_strategy"] == better
    is_beyond_chance = days["lo95"] > 0 or days["hi95"] < 0
    assert (better != "inconclusive") == is_beyond_chance
    assert compared["intraday_trades"] == compared["swing_trades"] == 80
    for key, name in [
        ("precision_delta", "precision_long"),
        ("recall_delta", "recall_long"),
        ("f1_delta", "f1_long"),
        ("sharpe_delta", "sharpe"),
        ("win_rate_delta", "win_rate"),
        ("return_delta_pct", "return_avg_pct"),
    ]:
        assert math.isclose(compared[key], first[name] - second[name], rel_tol=1e-11, abs_tol=1e-12)
    for key, expected in [("day", days), ("trade", single)]:
        assert math.isclose(compared[f"{key}_t"], expected["t"], rel_tol=1e-12)
        assert math.isclose(compared[f"{key}_p"], expected["p"], rel_tol=1e-11)
        assert compared[f"{key}_interval"] == pytest.approx(
            [expected["lo95"], expected["hi95"]], rel=1e-12
        )
    composite = [
        0.4 * m["sharpe"] + 0.3 * m["precision_long"] + 0.3 * m["win_rate"] for m in (first, second)
    ]
    leader = "intraday" if composite[0] > composite[1] else "swing"
    assert compared["composite_leader"] == leader


def test_metrics_have_the_names_of_the_story(tmp_path: Path) -> None:
    analyzer = AccuracyAnalyzer()
    intraday = analyzer.load_traces(save(tmp_path, *mixed(0.5)), strategy="intraday")
    swing = analyzer.load_traces([tmp_path], strategy="swing")
    both = intraday + swing
    comparative = analyzer.compute_comparative_metrics(both)
    for name in ("intraday", "swing"):
        metrics = comparative[name]
        assert isinstance(metrics, AccuracyMetrics)
        numbers = [metrics.precision["LONG"], metrics.recall["LONG"], metrics.f1_score["LONG"]]
        assert all(0 < number <= 1 for number in numbers)
        assert metrics.sharpe_ratio is not None
        assert metrics.max_drawdown is not None
        assert metrics.max_drawdown <= 0
        assert metrics.to_dict()["precision"] == metrics.precision
    long, short = (comparative[name].precision["LONG"] for name in ("intraday", "swing"))
    assert comparative["comparison"]["precision_delta"] == pytest.approx(long - short, abs=1e-12)
    returns = [t.realized_return_pct for t in intraday]
    assert np.cumsum(returns)[-1] == pytest.approx(
        sum(t.return_pct for t in mixed(0.5) if t.strategy == "intraday")
    )
    by_strategy = analyzer.compute_metrics(both, group_by_strategy=True)
    assert isinstance(by_strategy, dict)
    assert sorted(by_strategy) == ["intraday", "swing"]
    assert by_strategy["swing"] == comparative["swing"]


def test_objects_and_frames_answer_as_files_do(tmp_path: Path) -> None:
    analyzer = AccuracyAnalyzer()
    loaded = analyzer.load_traces(save(tmp_path, *mixed(0.2)))
    from_files = analyzer.compute_metrics(loaded)
    objects = list(loaded)
    assert isinstance(objects[0], PredictionTrace)
    assert analyzer.compute_metrics(objects) == from_files
    assert analyzer.compute_metrics(loaded.frame) == from_files


def test_folders_merge_and_a_copied_file_counts_once(tmp_path: Path) -> None:
    trades = [trade("intraday", day, 0.5 + day / 100) for day in range(60)]
    save(tmp_path / "a", *trades[:40])
    save(tmp_path / "b", *trades[40:])
    save(tmp_path / "copy_of_a", *trades[:40])
    analyzer = AccuracyAnalyzer()
    assert len(analyzer.load_traces([tmp_path / "a", tmp_path / "b"])) == 60
    assert len(analyzer.load_traces(tmp_path)) == 60


def test_a_profitable_short_is_a_correct_short(tmp_path: Path) -> None:
    # As the original writer has it: the position earned 1 %, so it says LONG; the market fell.
    short = trade("intraday", 0, 1.0, "SHORT")
    line = short.csv().replace(",SHORT,SHORT,", ",SHORT,LONG,")
    assert line != short.csv()
    (tmp_path / "traces_intraday_0.csv").write_text(HEADER + line)
    metrics = AccuracyAnalyzer().compute_metrics(tmp_path / "traces_intraday_0.csv")
    assert isinstance(metrics, AccuracyMetrics)
    assert metrics.confusion_matrix == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert metrics.precision["SHORT"] == metrics.hit_ratio == metrics.win_rate == 1
    assert metrics.row["relabelled_n"] == 1


def test_thresholds_are_of_each_strategy(tmp_path: Path) -> None:
    # 0.4 % is a move for intraday (0.3 %), none for swing (0.5 %)
    save(tmp_path, trade("intraday", 0, 0.4), trade("swing", 0, 0.4))
    found = AccuracyAnalyzer().compute_metrics(tmp_path, group_by_strategy=True)
    assert isinstance(found, dict)
    assert (found["intraday"].support["LONG"], found["swing"].support["NOOP"]) == (1, 1)
    tighter = AccuracyAnalyzer({"swing_telemetry_threshold": 0.003})
    again = tighter.compute_metrics(tmp_path, group_by_strategy=True)
    assert isinstance(again, dict)
    assert again["swing"].support["LONG"] == 1


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    analyzer = AccuracyAnalyzer()
    with pytest.raises(TraceError, match="holds no trace file: they are named traces_STRATEGY_N"):
        analyzer.load_traces(tmp_path)
    loaded = analyzer.load_traces(save(tmp_path, trade("intraday", 0, 1.0)))
    with pytest.raises(TraceError, match="no closed trace of strategy swing"):
        analyzer.compute_comparative_metrics(loaded)
    with pytest.raises(TraceError, match="the frame lacks exit_price"):
        analyzer.compute_metrics(loaded.frame.drop("exit_price"))
    empty = analyzer.compute_metrics(loaded.of_strategy("none"))
    assert isinstance(empty, AccuracyMetrics)
    assert (empty.total_trades, empty.hit_ratio, empty.sharpe_ratio) == (0, None, None)


# --------------------------------------------------------------------------------------- notebook


@pytest.fixture(scope="module")
def notebook(repository: Path) -> nbformat.NotebookNode:
    text = (repository / "notebooks" / "strategy_comparison.ipynb").read_text()
    found: nbformat.NotebookNode = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    return found


def test_notebook_is_kept_without_outputs(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


def test_notebook_cross_strategy_analysis(
    notebook: nbformat.NotebookNode,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_example_traces(tmp_path / "analytics", days=40)
    monkeypatch.setenv("EXECINTEL_TRACES", str(folder))
    monkeypatch.setenv("MPLBACKEND", "Agg")  # as Streamlit leaves it: charts must show all the same
    client = NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(repository)}}
    )
    kernel = client.create_kernel_manager()
    kernel.transport, kernel.ip = "ipc", str(tmp_path / "k")  # files, no port
    run = client.execute()

    outputs = [out for cell in run.cells for out in cell.get("outputs", [])]
    text = "".join(out.text for out in outputs if out.output_type == "stream")
    pictures = [out.data["image/png"] for out in outputs if "image/png" in out.get("data", {})]
    found = [out.data["text/html"] for out in outputs if "text/html" in out.get("data", {})]
    tables = [" ".join(table.split()) for table in found]
    analyzer = AccuracyAnalyzer()
    expected = analyzer.compute_comparative_metrics(analyzer.load_traces(folder))

    assert "Warning" not in text
    assert f"Better Strategy: {expected['comparison']['better_strategy']}" in text
    assert f"Precision Delta: {expected['comparison']['precision_delta']:.2%}" in text
    assert len(pictures) == 4  # cumulative returns, histograms, intervals, calibration
    assert all(len(base64.b64decode(picture)) > 10_000 for picture in pictures)
    for name in ("intraday", "swing"):
        assert (
            f"{expected[name].precision['LONG']:.3f} (n = {expected[name].predicted['LONG']})"
            in tables[0]
        )
        assert f"{expected[name].sharpe_ratio:.2f}" in tables[0]
    assert f"{expected['comparison']['day_p']:.4f}" in tables[1]
    is_silent = expected["comparison"]["better_strategy"] == "inconclusive"
    assert is_silent != ("Prefer" in text)
