"""The benchmarks run, and their load is what it says: raw rows as the intake would read them."""

import contextlib
import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import benchmarks.__main__ as runner
from benchmarks import (
    asof_join,
    decision,
    load,
    reader,
    recompute,
    reconcile,
    refresh,
    replay,
    rivals_child,
    telemetry,
)
from features.lake import Lake, data_files
from features.settings import Settings
from pipelines.intake.kinds import ROUTER
from pipelines.refresh import refresh as run_refresh

ATTEMPTS = 600
# Of a raw row these say where the line stood and when it was read, not what it said.
PLACE = ("ingest_seq", "source_id", "line_offset", "line_hash", "ingested_ms", "extra_json")


def rows_of(lake: Lake, table: str) -> list[tuple[object, ...]]:
    files = [file.path for file in data_files(lake.open(table))]
    columns = f"* EXCLUDE ({', '.join(PLACE)}, part)"
    # Seconds as a double round to a microsecond off: the time that counts is in milliseconds.
    times = "date_trunc('millisecond', event_at_utc + INTERVAL 500 MICROSECOND) AS event_at_utc"
    with duckdb.connect(":memory:") as con:
        return con.sql(
            f"SELECT {columns} REPLACE ({times}) FROM read_parquet({files}) ORDER BY ALL"
        ).fetchall()


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Write the load as logs and refresh over them once."""
    root = tmp_path_factory.mktemp("load")
    settings = Settings(
        home=root / "read",
        log_dir=root / "logs",
        environment=load.ENVIRONMENT,
        venue=load.VENUE,
    )
    load.append_logs(load.Load(ATTEMPTS), root / "logs", 0, ATTEMPTS)
    run_refresh(settings, as_of_ms=load.END_MS, now_ms=load.END_MS)
    return settings


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Write the load as raw rows."""
    direct = Lake(tmp_path_factory.mktemp("direct") / "lake")
    load.fill_lake(load.Load(ATTEMPTS), direct, commits=2)
    return direct


@pytest.mark.parametrize(
    "table", ["raw_router__events", "raw_orders__events", "raw_orders__attempts"]
)
def test_rows_written_for_the_window_are_those_that_intake_makes_of_the_lines(
    read: Settings, written: Lake, table: str
) -> None:
    rows = rows_of(written, table)
    assert rows
    assert rows == rows_of(Lake(read.lake_root), table)


def test_a_computation_from_nothing_gives_the_answer_of_the_refresh(
    read: Settings, tmp_path: Path
) -> None:
    ours = refresh.published_answer(read.home)
    assert sum(attempts for attempts, _, _ in ours.values()) == ATTEMPTS - 1  # the window is open
    assert read.log_dir is not None
    for theirs in (
        recompute.with_duckdb(read.lake_root, load.END_MS, tmp_path / "spill"),
        recompute.with_polars(read.lake_root, load.END_MS),
        recompute.with_polars_from_logs(read.log_dir, load.END_MS),
    ):
        assert refresh.compared(theirs, ours).startswith("the same attempts")


@pytest.fixture
def one_process_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a piece of the benchmark a process once; here it runs again where it comes again."""
    run, seen = subprocess.run, set[str]()

    def once(words: list[str], **named: Any) -> Any:
        piece = words[words.index("--piece") + 1] if "--piece" in words else None
        if piece not in seen:
            seen.update([piece] if piece else [])
            return run(words, **named)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = refresh.main(words[words.index("--piece") :])
        return subprocess.CompletedProcess(words, code, printed.getvalue(), "")

    monkeypatch.setattr(subprocess, "run", once)


@pytest.mark.usefixtures("one_process_a_piece")
def test_refresh_benchmark_runs_and_reports(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--outcomes", "700", "--new", "70", "--day", "4032,2", "--repeat", "1"]
    assert refresh.main(sizes) == 0
    printed = capsys.readouterr().out
    assert "refresh, 70 new attempts" in printed
    assert "refresh, nothing new" in printed
    assert "refresh, 2 new attempts, their files merged" in printed
    assert printed.count("the same attempts, PnL and median slippage") == 3 + 1
    assert "failed" not in printed


def test_reader_benchmark_runs_and_says_what_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reader.main(["--quick", "--cache", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "left out: Feast: " in printed
    assert "left out: Redis: " in printed
    for way in ("SnapshotReader", "DuckDB, read-only", "v5.10, parsing 200 log lines"):
        assert way in printed
    assert "p99 above rest" in printed
    assert "importing the reader" in printed


def test_router_lines_of_the_load_have_the_keys_of_real_lines(
    read: Settings, router_logs: Path
) -> None:
    assert read.log_dir is not None
    made, real = (
        {
            frozenset(shape(json.loads(line)))
            for line in (folder / load.LOGS[ROUTER]).read_text("utf-8").splitlines()
            if '"position_close"' not in line
        }
        for folder in (read.log_dir, router_logs)
    )
    assert made <= real


def shape(line: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the dotted keys of a line."""
    for key, value in line.items():
        yield above + key
        if isinstance(value, dict):
            yield from shape(value, f"{above}{key}.")


def test_a_log_gives_the_answer_of_the_load(tmp_path: Path) -> None:
    load.append_logs(load.Load(ATTEMPTS), tmp_path, 0, ATTEMPTS)
    answers = [
        reader.from_log(tmp_path / load.LOGS[ROUTER], f"{name}USDT", load.END_MS / 1000)
        for name in ("BTC", "ETH", "SOL", "SUI", "LTC", "LINK", "WIF", "DOGE")
    ]
    assert sum(answer["n"] for answer in answers) == ATTEMPTS
    counts = [row["count"] for answer in answers for row in answer["hourly"].values()]
    assert sum(counts) == ATTEMPTS


@pytest.mark.parametrize(
    ("service", "late"),
    [
        ([5.0, 5.0], [5.0, 5.0]),  # done before the next is due
        ([2500.0, 5.0, 5.0, 5.0], [2500.0, 1505.0, 510.0, 5.0]),  # a stall makes those behind late
    ],
)
def test_reads_queue_up_behind_a_late_one(service: list[float], late: list[float]) -> None:
    assert reader.queued(service) == pytest.approx(late)


def test_join_benchmark_runs_and_says_what_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asof_join.main(["--quick", "--cache", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "200 rows × 10 features on 200 rows of history" in printed
    assert "ours, merged by upkeep (2 files)" in printed
    assert "left out: Feast, duckdb offline store:" in printed


def test_every_number_of_a_record_is_a_feature_of_its_own() -> None:
    record = {"symbol": "X", "as_of_ms": 5, "n": 2, "size": {"a": 1.5, "b": None}, "o": [1, 2]}
    assert dict(rivals_child.flat(record)) == {"n": 2.0, "size_a": 1.5, "o_0": 1.0, "o_1": 2.0}


def test_telemetry_benchmark_runs_and_says_what_was_dropped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert telemetry.main(["--seconds", "0.05"]) == 0
    printed = capsys.readouterr().out
    assert "write_trace at 2,000/s: p50 " in printed
    assert "(n = 100); 0 dropped" in printed
    assert "flat out, waiting for room: " in printed
    assert printed.rstrip().endswith(" dropped")


def test_replay_benchmark_runs_and_judges_telemetrys_share(
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = ["--minutes", "300", "--symbols", "BTCUSDT", "--live-seconds", "2"]
    assert replay.main(argv) == 0
    printed = capsys.readouterr().out
    assert "300 bars of 1 symbols" in printed
    assert "bars a second of processor" in printed
    assert printed.count("US-017's ") == 3


def test_runner_lists_what_there_is_and_refuses_what_there_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert runner.main(["--help"]) == 0
    assert "refresh" in capsys.readouterr().out
    assert runner.main(["nonsense"]) == 2
    assert "no benchmark named nonsense; there are" in capsys.readouterr().err


def test_decision_benchmark_runs_and_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert decision.main(["--quick"]) == 0
    printed = capsys.readouterr().out
    assert "read and decide: p50" in printed
    assert printed.count("times ours") == 2


def test_reconcile_benchmark_runs_and_finds_what_the_others_find(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert reconcile.main(["--outcomes", "4000", "--symbols", "20"]) == 0
    printed = capsys.readouterr().out
    assert "feat_account__coverage" in printed
    found = re.search(r"([\d,]+) changes unexplained; ours ([\d,]+)", printed)
    assert found is not None
    assert found[1] == found[2] != "0"
