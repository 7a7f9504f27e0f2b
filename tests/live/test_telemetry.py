"""Telemetry: what a trace says, which trades get one, and that trading never waits for a disk."""

import csv
import gzip
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.lake import Lake, data_files
from features.settings import Settings
from live.market import Direction
from live.telemetry import (
    COLUMNS,
    PredictionTrace,
    TelemetryWriter,
    TradeTelemetry,
    csv_line,
    market_direction,
    share_of,
)
from live.trace_files import compress
from pipelines.intake import intake
from tests.disks import disk_full_at
from tests.live.trades import START_MS, trade
from tests.waiting import wait_until

THRESHOLDS = {"intraday": 0.003, "swing": 0.005}


def capture(folder: Path, count: int, **writer: Any) -> TelemetryWriter:
    """Write the traces of so many trades and close."""
    with TelemetryWriter(folder, **writer) as made:
        telemetry = TradeTelemetry(made, THRESHOLDS)
        for number in range(count):
            telemetry.on_close(trade(number))
    return made


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Read every trace of a folder, files in order of their number."""
    found: list[dict[str, str]] = []
    files = [path for path in folder.iterdir() if path.name.startswith("traces_")]
    for path in sorted(files, key=lambda path: int(path.name.split("_")[2].split(".")[0])):
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        assert text.endswith(b"\n")
        found += csv.DictReader(text.decode().splitlines())
    return found


# ------------------------------------------------------------------------------- what a trace says


@pytest.mark.parametrize(
    ("entry", "exit", "threshold", "direction"),
    [
        (100.0, 100.31, 0.003, "LONG"),
        (100.0, 100.30, 0.003, "NOOP"),  # the threshold itself is no move yet
        (100.0, 99.69, 0.003, "SHORT"),
        (100.0, 100.45, 0.005, "NOOP"),  # a swing trade needs more
        (100.0, 99.45, 0.005, "SHORT"),
    ],
)
def test_actual_direction_is_the_move_of_the_market(
    entry: float, exit: float, threshold: float, direction: Direction
) -> None:
    assert market_direction(entry, exit, threshold) == direction


def test_a_profitable_short_is_a_market_that_fell(tmp_path: Path) -> None:
    with TelemetryWriter(tmp_path) as writer:
        TradeTelemetry(writer, THRESHOLDS).on_close(trade(direction="SHORT", exit=98.0))
    (row,) = rows_of(tmp_path)
    assert (row["predicted_direction"], row["actual_direction"]) == ("SHORT", "SHORT")
    assert float(row["realized_return_pct"]) == pytest.approx(2.0)


def test_a_trace_has_the_columns_of_the_contract_and_the_names_of_us_017(tmp_path: Path) -> None:
    capture(tmp_path, 1)
    (path,) = tmp_path.iterdir()
    assert path.name == "traces_intraday_0.csv"
    (row,) = rows_of(tmp_path)
    assert tuple(row) == COLUMNS
    assert {name: row[name] for name in COLUMNS[:9]} == {
        "timestamp": "2025-11-05T00:00:00+00:00",
        "symbol": "BTCUSDT",
        "strategy": "intraday",
        "predicted_direction": "LONG",
        "actual_direction": "LONG",
        "predicted_confidence": "0.62",
        "entry_price": "100.0",
        "exit_price": "101.0",
        "holding_period_minutes": "12.0",
    }
    assert json.loads(row["features_json"]) == {"breakout_atr": 0.7}
    assert json.loads(row["metadata_json"]) == {
        "trade_id": "sig_BTCUSDT_0",
        "stop_loss": 99.0,
        "take_profit": 103.0,
        "exit_reason": "take_profit",
        "entry_time": "2025-11-05T00:00:00+00:00",
        "exit_time": "2025-11-05T00:12:00+00:00",
        "fees_usd": 0.05,
        "inclusion_probability": 1.0,
    }


@given(
    st.dictionaries(st.text(max_size=8), st.one_of(st.floats(allow_nan=False), st.text())),
    st.text(min_size=1, max_size=12),
)
def test_a_trace_is_one_line_whatever_its_texts_hold(features: dict[str, Any], symbol: str) -> None:
    made = TradeTelemetry.__new__(TradeTelemetry)
    made._sample_rate, made._throttle_ms = 1.0, 0.0
    line = csv_line(made._trace(trade(symbol=symbol, features=features), 0.003, 0)).decode()
    assert line.count("\n") == 1
    assert "\r" not in line
    (cells,) = csv.reader([line], strict=True)
    assert len(cells) == len(COLUMNS)
    sent = {k: None if v in (float("inf"), -float("inf")) else v for k, v in features.items()}
    assert json.loads(cells[10]) == sent


# -------------------------------------------------------------------------- what the intake reads


def read_in(home: Path, folder: Path) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """Take the folder's new lines into the lake; returns all rows and the counts of this run."""
    settings = Settings(home=home, log_dir=folder)
    lake = Lake(settings.lake_root)
    intake.ensure_tables(lake)
    now_ms = START_MS + 10 * 86_400_000
    report = intake.ingest(lake, settings, now_ms=now_ms).tables["raw_telemetry__traces"]
    files = [file.path for file in data_files(lake.open("raw_telemetry__traces"))]
    if not files:
        return [], vars(report)
    with duckdb.connect() as con:
        rows = con.sql(
            "SELECT event_ms, symbol, strategy, predicted_direction, actual_direction,"
            " predicted_confidence, entry_price, exit_price, holding_period_minutes,"
            " realized_return_pct, json_extract_string(metadata_json, 'trade_id'),"
            " json_extract(features_json, 'breakout_atr')::DOUBLE, reject_reason, environment"
            f" FROM read_parquet({files}, union_by_name = true) ORDER BY event_ms"
        ).fetchall()
    return rows, vars(report)


def expected(count: int) -> list[tuple[Any, ...]]:
    return [
        (
            START_MS + number * 60_000, "BTCUSDT", "intraday", "LONG", "LONG",
            0.62, 100.0, 101.0, 12.0, 1.0, f"sig_BTCUSDT_{number}", 0.7, None, "paper",
        )
        for number in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_intake_takes_every_trace_once_across_rotation_and_compression(
    tmp_path: Path, format: Any
) -> None:
    folder = tmp_path / "live"
    writer = TelemetryWriter(folder, format, True, 10, max_file_bytes=8_000, flush_interval_s=0.01)
    telemetry = TradeTelemetry(writer, THRESHOLDS)

    def has_written(traces_n: int) -> bool:
        return writer.stats.written >= traces_n

    done = 0
    for upto in (7, 40, 90):  # in between lies a file of which a part was read, then the rest
        for number in range(done, upto):
            telemetry.on_close(trade(number))
        done = upto
        wait_until("it writes by itself", partial(has_written, upto))
        rows, counts = read_in(tmp_path / "home", tmp_path)
        assert rows == expected(upto)
        assert counts["rejected"] == 0
    writer.close()
    assert len(list(folder.glob("*.gz"))) >= 3  # each finished file, the last one too
    assert not list(folder.glob(f"*.{format}"))
    rows, counts = read_in(tmp_path / "home", tmp_path)
    assert (rows, counts["lines"]) == (expected(90), 0)


def test_a_crash_between_compressing_and_removing_repeats_no_trace(tmp_path: Path) -> None:
    capture(tmp_path / "live", 20)
    path = tmp_path / "live" / "traces_intraday_0.csv"
    plain = path.read_bytes()
    assert read_in(tmp_path / "home", tmp_path)[0] == expected(20)
    compress(path)
    path.write_bytes(plain)  # what a crash before the removal leaves
    assert read_in(tmp_path / "home", tmp_path)[0] == expected(20)


def test_a_backtests_traces_are_of_the_environment_backtest(tmp_path: Path) -> None:
    capture(tmp_path / "backtest_7", 1)
    ((*_, environment),), _ = read_in(tmp_path / "home", tmp_path)
    assert environment == "backtest"


# ------------------------------------------------------------------------------------------ files


def test_rotated_files_hold_whole_traces_in_order_and_none_is_longer_than_allowed(
    tmp_path: Path,
) -> None:
    writer = capture(tmp_path, 100, max_file_bytes=6_000)
    assert writer.stats.written == 100
    assert [row["timestamp"] for row in rows_of(tmp_path)] == [
        row.isoformat() for row in (at(number) for number in range(100))
    ]
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) > 5
    assert max(sizes) <= 6_000


def at(number: int) -> Any:
    from live.telemetry import at_utc

    return at_utc(START_MS + number * 60_000)


def test_equal_traces_give_equal_bytes_however_they_were_buffered(tmp_path: Path) -> None:
    for name, buffer_size in (("a", 1), ("b", 37)):
        capture(tmp_path / name, 200, compression=True, buffer_size=buffer_size,
                max_file_bytes=9_000, flush_interval_s=0.01)  # fmt: skip
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "ab")
    assert len(a) > 3
    assert a == b


def test_strategies_have_files_of_their_own(tmp_path: Path) -> None:
    with TelemetryWriter(tmp_path) as writer:
        telemetry = TradeTelemetry(writer, THRESHOLDS)
        telemetry.on_close(trade(1))
        telemetry.on_close(trade(2, strategy="swing", minutes=2_000))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "traces_intraday_0.csv",
        "traces_swing_0.csv",
    ]


def test_a_restart_leaves_the_half_line_of_a_killed_run_alone(tmp_path: Path) -> None:
    capture(tmp_path, 2)
    first = tmp_path / "traces_intraday_0.csv"
    killed = first.read_bytes()[:-20]
    first.write_bytes(killed)
    capture(tmp_path, 3)
    assert first.read_bytes() == killed
    assert (tmp_path / "traces_intraday_1.csv").read_text().count("\n") == 4


@pytest.mark.parametrize(
    "wrong", [{"format": "parquet"}, {"buffer_size": 0}, {"queue_size": 0}, {"max_file_bytes": 0}]
)
def test_impossible_arguments_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TelemetryWriter(tmp_path, **wrong)


# -------------------------------------------------------------------------- sampling, throttling


def test_sampling_goes_by_the_trades_id_and_says_its_probability(tmp_path: Path) -> None:
    with TelemetryWriter(tmp_path) as writer:
        telemetry = TradeTelemetry(writer, THRESHOLDS, sample_rate=0.1)
        for number in range(5_000):
            telemetry.on_close(trade(number))
    stats = writer.stats
    assert stats.closed == 5_000 == stats.captured + stats.sampled_out
    assert 415 <= stats.captured <= 585  # 500 ± 4 standard deviations
    metadata = [json.loads(row["metadata_json"]) for row in rows_of(tmp_path)]
    assert len(metadata) == stats.captured == stats.written
    assert {said["inclusion_probability"] for said in metadata} == {0.1}
    assert all(share_of(said["trade_id"]) < 0.1 for said in metadata)


@pytest.mark.parametrize(("rate", "captured"), [(0.0, 0), (1.0, 50)])
def test_sampling_rates_of_none_and_all_are_exact(
    tmp_path: Path, rate: float, captured: int
) -> None:
    with TelemetryWriter(tmp_path) as writer:
        telemetry = TradeTelemetry(writer, THRESHOLDS, sample_rate=rate)
        for number in range(50):
            telemetry.on_close(trade(number))
    assert writer.stats.captured == captured


def test_throttling_lets_one_through_and_counts_the_others_in_the_next(tmp_path: Path) -> None:
    with TelemetryWriter(tmp_path) as writer:
        telemetry = TradeTelemetry(writer, THRESHOLDS, throttle_seconds=60)
        for second in range(0, 300, 3):  # 100 trades in 5 minutes
            telemetry.on_close(trade(second, at_ms=START_MS + second * 1_000))
    stats = writer.stats
    assert (stats.closed, stats.captured, stats.throttled) == (100, 5, 95)
    before = [json.loads(row["metadata_json"])["throttled_before"] for row in rows_of(tmp_path)]
    assert before == [0, 19, 19, 19, 19]


def test_a_clock_that_is_set_back_does_not_silence_telemetry(tmp_path: Path) -> None:
    with TelemetryWriter(tmp_path) as writer:
        telemetry = TradeTelemetry(writer, THRESHOLDS, throttle_seconds=60)
        telemetry.on_close(trade(1, at_ms=START_MS + 3_600_000))
        telemetry.on_close(trade(2, at_ms=START_MS))
    assert writer.stats.captured == 2


def test_the_summary_counts_what_became_of_every_trade(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = TradeTelemetry(TelemetryWriter(tmp_path), THRESHOLDS, throttle_seconds=60)
    with caplog.at_level(logging.INFO):
        for number in range(3):
            telemetry.on_close(trade(number, at_ms=START_MS))
        telemetry.on_close(trade(9, strategy="unheard-of", at_ms=START_MS + 90_000))
        telemetry.close()
    assert "no trace of ClosedTrade(trade_id='sig_BTCUSDT_9'" in caplog.text
    assert "Telemetry: 1 traces captured, 1 flushes, avg_write_time=" in caplog.text
    assert (
        "(4 trades closed, 0 sampled out, 2 throttled, 0 dropped, 1 failed, 1 written)"
        in caplog.text
    )


# -------------------------------------------------------------------------------- when things break


def test_a_full_disk_leaves_whole_lines_and_no_trace_is_lost_once_it_has_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.telemetry.RETRY_S", 0.02)
    path = tmp_path / "traces_intraday_0.csv"
    with TelemetryWriter(tmp_path, flush_interval_s=0.01, buffer_size=7) as writer:
        telemetry = TradeTelemetry(writer, THRESHOLDS)
        with disk_full_at(5_000):
            for number in range(40):
                telemetry.on_close(trade(number))
            wait_until("it meets the full disk", lambda: "cannot write" in caplog.text)
            assert path.read_bytes().endswith(b"\n")
            assert path.stat().st_size <= 5_000
    assert f"telemetry: cannot write to {tmp_path}: File too large; trading goes on" in caplog.text
    assert "takes traces again" in caplog.text
    assert (writer.stats.written, writer.stats.dropped) == (40, 0)
    assert len(rows_of(tmp_path)) == 40


def test_a_folder_that_cannot_be_made_costs_traces_and_a_clear_line_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    writer = capture(tmp_path / "file" / "live", 30, queue_size=20)
    assert (writer.stats.captured, writer.stats.written, writer.stats.dropped) == (30, 0, 30)
    assert "file/live: Not a directory; trading goes on" in caplog.text
    assert "traces lost at close: Not a directory" in caplog.text


def test_waiting_for_room_ends_where_the_disk_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    started_s = time.monotonic()
    writer = capture(tmp_path / "file" / "live", 500, queue_size=5, waits_when_full=True)
    assert time.monotonic() - started_s < 5
    assert (writer.stats.captured, writer.stats.dropped) == (500, 500)


def test_a_full_queue_drops_and_counts_without_waiting(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path, queue_size=10, flush_interval_s=60)
    held = threading.Event()
    append = writer._files.append
    writer._files.append = lambda *args: held.wait(60) and append(*args)  # type: ignore[method-assign]
    traces = [made_trace(writer, number) for number in range(500)]
    started_s = time.perf_counter()
    accepted = sum(writer.write_trace(trace) for trace in traces)
    assert time.perf_counter() - started_s < 1
    assert 10 <= accepted < 500
    held.set()
    writer.close()
    assert (writer.stats.written, writer.stats.dropped) == (accepted, 500 - accepted)


def made_trace(writer: TelemetryWriter, number: int) -> PredictionTrace:
    return TradeTelemetry(writer, THRESHOLDS)._trace(trade(number), 0.003, 0)


def test_a_hung_disk_holds_close_for_its_timeout_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = TelemetryWriter(tmp_path)
    held = threading.Event()

    def append(strategy: str, lines: Sequence[bytes]) -> int:
        held.wait(10)
        return len(lines)

    writer._files.append = append  # type: ignore[method-assign]
    writer.write_trace(made_trace(writer, 1))
    started_s = time.monotonic()
    writer.close(timeout_s=0.2)
    assert time.monotonic() - started_s < 2
    assert "1 traces lost at close: the disk did not answer within 0.2 s" in caplog.text
    held.set()
    writer._thread.join(5)
    assert not writer._thread.is_alive()


CHILD = """
import signal, sys, time
from pathlib import Path
from live.telemetry import TelemetryWriter, TradeTelemetry
from tests.disks import disk_full_at
from tests.live.trades import trade
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
writer = TelemetryWriter(Path(sys.argv[1]), flush_interval_s=60)
telemetry = TradeTelemetry(writer, {"intraday": 0.003})
for number in range(300):
    telemetry.on_close(trade(number))
print("written", flush=True)
if sys.argv[2] == "error":
    raise RuntimeError("trading broke")
while sys.argv[2] == "term":
    time.sleep(0.05)  # a signal just before a sleep does not shorten it
"""


@pytest.mark.parametrize("end", ["term", "error", "end"])
def test_no_trace_is_lost_by_sigterm_by_an_error_or_by_forgetting_to_close(
    tmp_path: Path, repository: Path, end: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), end],
        cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "written\n"
        if end == "term":
            child.send_signal(signal.SIGTERM)
        child.wait(60)
    assert child.returncode == {"term": 143, "error": 1, "end": 0}[end]
    assert len(rows_of(tmp_path)) == 300


def test_numbers_of_numpy_are_written_as_numbers() -> None:
    made = TelemetryWriter(Path("unused"))
    made.close()
    one = trade(confidence=np.float64(0.62))
    trace = TradeTelemetry(made, THRESHOLDS)._trace(one, 0.003, 0)
    assert next(csv.reader([csv_line(trace).decode()]))[5] == "0.62"
