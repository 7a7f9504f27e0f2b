"""Replays: the live engine over real bars, what it writes, and that nothing of later is known."""

import csv
import datetime as dt
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest

from features.history_store import append
from features.lake import Lake, data_files
from features.settings import Settings, Trading
from live import backtest, trace_files
from live.market import Bar, Direction, Signal, bars
from live.results import report, tied, worth_of_open
from live.run import main as live_main
from live.run import paper_over_bars
from live.strategies import make
from live.telemetry import TelemetryWriter, TradeTelemetry
from live.trading.book import Sleeve
from pipelines.refresh import refresh
from tests.live import files

MINUTE_MS = 60_000
Line = dict[str, Any]


def lines_of(folder: Path, name: str) -> list[Line]:
    path = folder / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def traces_of(folder: Path, strategy: str) -> list[dict[str, str]]:
    with (folder / f"traces_{strategy}_0.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def backtested(home: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Path:
    """Run the program and return the folder it made."""
    monkeypatch.setenv("EXECINTEL_HOME", str(home))
    assert backtest.main([*words, "--log-level", "ERROR"]) == 0
    (folder,) = (home / "analytics").iterdir()
    return folder


def btc(bars_1m: Path, count: int) -> list[list[Bar]]:
    paths = bars.find(bars_1m, ["BTCUSDT", "SOLUSDT"]).values()
    return list(islice(bars.merged(paths), count))


# ------------------------------------------------------------------------ telemetry, as US-017 FR-7


def test_intraday_backtest_telemetry_capture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars_equity_1m: Path
) -> None:
    folder = backtested(
        tmp_path, monkeypatch, "--symbols", "SPY", "--bars", str(bars_equity_1m),
        "--strategy", "intraday", "--session", "us-equity", "--seed", "7", "--enable-telemetry",
    )  # fmt: skip
    rows = traces_of(folder, "intraday")
    told = json.loads((folder / "backtest.json").read_text())["result"]
    assert len(rows) == told["summaries"][-1]["trade_n"] == told["telemetry"]["captured"] > 5
    assert {row["strategy"] for row in rows} == {"intraday"}
    for row in rows:
        assert 0 < float(row["holding_period_minutes"]) < 390
        entry, exit_ = float(row["entry_price"]), float(row["exit_price"])
        move = (exit_ - entry) / entry
        actual = "LONG" if move > 0.003 else "SHORT" if move < -0.003 else "NOOP"
        assert row["actual_direction"] == actual
        sign = 1 if row["predicted_direction"] == "LONG" else -1
        assert float(row["realized_return_pct"]) == pytest.approx(sign * move * 100)
        metadata = json.loads(row["metadata_json"])
        assert {"stop_loss", "take_profit", "exit_reason", "entry_time", "exit_time"} <= set(
            metadata
        )
        assert metadata["entry_time"] == row["timestamp"]
        assert metadata["entry_time"][:10] == metadata["exit_time"][:10]  # flat at the close


def test_swing_backtest_writes_traces_over_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars_1d: Path
) -> None:
    folder = backtested(
        tmp_path, monkeypatch, "--symbols", "SPY", "--bars", str(bars_1d), "--strategy", "swing",
        "--end", "2003-01-01", "--seed", "7", "--enable-telemetry",
    )  # fmt: skip
    rows = traces_of(folder, "swing")
    assert len(rows) > 10
    for row in rows:
        move = float(row["exit_price"]) / float(row["entry_price"]) - 1
        actual = "LONG" if move > 0.005 else "SHORT" if move < -0.005 else "NOOP"
        assert (row["strategy"], row["actual_direction"]) == ("swing", actual)
        assert float(row["holding_period_minutes"]) > 1_440


class Flip:
    """Turn at every bar: a trade closes every minute."""

    threshold = 0.003

    def __init__(self, number: int) -> None:
        self.name = f"flip-{number}"
        self._is_long = False

    def on_bar(self, bar: Bar) -> Signal | None:
        self._is_long = not self._is_long
        direction: Direction = "LONG" if self._is_long else "SHORT"
        return Signal(
            strategy=self.name, symbol=bar.symbol, direction=direction, at_ms=bar.close_ms,
            price=bar.close, confidence=0.5, wants_maker=False,
        )  # fmt: skip


def test_live_engine_telemetry_throttling(tmp_path: Path, bars_1m: Path) -> None:
    """Twenty strategies close a hundred trades in five minutes; six a minute apart get a trace."""
    strategies = [Flip(number) for number in range(20)]
    trading = Trading(
        gross_target_usd=200, max_orders_minute=10_000, max_orders_hour=100_000, loop_ms=1
    )
    settings = Settings(home=tmp_path, trading=trading)
    writer = TelemetryWriter(tmp_path / "live", buffer_size=50, flush_interval_s=60)
    telemetry = TradeTelemetry(
        writer, {strategy.name: 0.003 for strategy in strategies}, throttle_seconds=60
    )
    groups = bars.merged(bars.find(bars_1m, ["BTCUSDT"]).values())
    with ExitStack() as stack:
        engine = paper_over_bars(
            islice(groups, 7), strategies, settings=settings, log_dir=tmp_path / "logs", seed=1,
            telemetry=telemetry, stack=stack,
        )  # fmt: skip
        engine.run()
    stats = telemetry.stats
    assert stats.closed == 100
    assert stats.captured == 5 < 10
    assert (stats.throttled, stats.flushes) == (95, 0)
    telemetry.close()  # what waits is written on shutdown
    assert stats.flushes >= 1
    rows = [row for path in (tmp_path / "live").iterdir() for row in path.read_text().splitlines()]
    rows = [row for row in rows if not row.startswith("timestamp,")]
    assert len(rows) == stats.written == 5


# ------------------------------------------------------------------------------------ determinism


def test_two_runs_with_one_seed_write_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars_1m: Path
) -> None:
    words = [
        "--symbols", "BTCUSDT", "SOLUSDT", "--bars", str(bars_1m), "--end", "2025-05-06",
        "--enable-telemetry", "--telemetry-compression", "--telemetry-sample-rate", "0.5", "--seed",
    ]  # fmt: skip
    one = backtested(tmp_path / "a", monkeypatch, *words, "7")
    other = backtested(tmp_path / "b", monkeypatch, *words, "7")
    third = backtested(tmp_path / "c", monkeypatch, *words, "8")
    assert one.name == other.name != third.name
    a, b, c = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (one, other, third)
    )
    assert {"order_metrics.jsonl", "traces_intraday_0.csv.gz", "backtest.json"} <= set(a)
    assert a == b
    assert a["order_metrics.jsonl"] != c["order_metrics.jsonl"]
    again = backtested(tmp_path / "a", monkeypatch, *words, "7")  # replaces its own folder only
    assert {path.name: path.read_bytes() for path in again.iterdir()} == a


def test_a_folder_that_no_backtest_made_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars_1m: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = [
        "--symbols",
        "BTCUSDT",
        "--bars",
        str(bars_1m),
        "--end",
        "2025-05-04T16:00",
        "--seed",
        "1",
    ]
    folder = backtested(tmp_path, monkeypatch, *words)
    (folder / "backtest.json").unlink()
    (folder / "mine.txt").write_text("mine")
    assert backtest.main(words) == 1
    assert "is no folder of a backtest: move it" in capsys.readouterr().err
    assert (folder / "mine.txt").exists()


def orders_of(folder: Path, upto_ms: int | None = None) -> dict[str, list[Line]]:
    """Return every line of the logs without what names the run, up to a moment."""
    found = {}
    for name in ("orders_attempted", "order_metrics", "orders_executed", "risk_vetoes"):
        kept = []
        for line in lines_of(folder, name):
            for key in ("account", "environment", "run_id"):
                line.pop(key, None)
            at_ms = line.get("local_ts") or line.get("ts")
            assert at_ms is not None
            if upto_ms is None or moment_ms(at_ms) <= upto_ms:
                kept.append(line)
        found[name] = kept
    return found


def moment_ms(value: Any) -> float:
    if isinstance(value, str):
        return dt.datetime.fromisoformat(value).timestamp() * 1000
    return float(value) * (1000 if value < 1e12 else 1)


def keep_history(
    settings: Settings, start_ms: int, minutes: range, factors: Sequence[float]
) -> dict[str, int]:
    """Publish a snapshot at each of these minutes; return when each was known, in that order."""
    lake = Lake(settings.lake_root)
    lake.prepare()
    available: dict[str, int] = {}
    rows = {"feat_router__effectiveness": pa.table({"symbol": ["*"], "n": [1]})}
    for number, minute in enumerate(minutes):
        as_of_ms = start_ms + minute * MINUTE_MS
        name = f"{dt.datetime.fromtimestamp(as_of_ms / 1000, dt.UTC):%Y%m%dT%H%M%SZ}-aaaaaaaa"
        available[name] = as_of_ms + 90_000 + number
        size = {"final_size_factor": factors[number % len(factors)]}
        made = [files.line(symbol, size=size) for symbol in ("BTCUSDT", "SOLUSDT")]
        files.publish(settings.snapshots_root, name, made, as_of_ms=as_of_ms)
        append(lake, rows, snapshot_id=name, as_of_ms=as_of_ms, available_ms=available[name])
    return available


@pytest.mark.parametrize("has_history", [False, True])
def test_paper_trading_over_the_same_bars_gives_the_orders_of_the_backtest(
    tmp_path: Path, bars_1m: Path, has_history: bool
) -> None:
    """Also bar by bar with a snapshot a quarter of an hour, each of another size."""
    settings = Settings(home=tmp_path)
    groups = btc(bars_1m, 2_000)
    if has_history:
        keep_history(settings, groups[0][0].open_ms, range(0, 2_000, 15), (1.25, 0.5, 0.75))
    replayed = backtest.replay(
        iter(groups), make("both", {}), settings=settings, folder=tmp_path / "backtest", seed=3
    )
    with ExitStack() as stack:
        engine = paper_over_bars(
            iter(groups), make("both", {}), settings=settings, log_dir=tmp_path / "paper", seed=3,
            telemetry=None, stack=stack,
        )  # fmt: skip
        engine.run()
    a, b = orders_of(tmp_path / "backtest"), orders_of(tmp_path / "paper")
    assert (replayed.order_n, replayed.filled_n) == (
        len(a["order_metrics"]),
        sum(line["result"]["status"] == "FILLED" for line in a["order_metrics"]),
    )
    total = replayed.summaries[-1]
    assert replayed.open_positions  # a trade stands: the closed ones alone are not the equity
    assert total.net_usd is not None
    assert replayed.open_usd is not None
    change_usd = replayed.equity_end_usd - replayed.equity_start_usd
    assert change_usd == pytest.approx(total.net_usd + replayed.open_usd, abs=1e-6)
    said = report(replayed, 1.0, "backtest.json")
    assert (
        f"equity change {change_usd:+,.2f} USD = net of closed trades {total.net_usd:,.2f}" in said
    )
    assert "of no trade" not in said
    if has_history:
        named = {line.get("snapshot_id") for line in a["order_metrics"]}
        assert len(named) > 20
        assert replayed.snapshots_used >= len(named - {None})
    else:
        assert "0 snapshots of the history were read: none was published by the time" in said
    assert replayed.summaries[-1].trade_n > 20
    assert len(a["order_metrics"]) > 40
    assert a == b


# ------------------------------------------------------------------------------------ no look-ahead


def test_changing_every_later_bar_changes_no_earlier_order(tmp_path: Path, bars_1m: Path) -> None:
    settings = Settings(home=tmp_path)
    groups = btc(bars_1m, 2_400)
    known = groups[:1_200]
    until_ms = known[-1][0].close_ms
    later = [
        [
            msgspec.structs.replace(
                bar, open=bar.open * 1.1, high=bar.high * 1.13, low=bar.low * 1.05,
                close=bar.close * 1.07, volume=bar.volume * 3,
            )
            for bar in group
        ]
        for group in groups[1_200:]
    ]  # fmt: skip
    for name, bars_of in (("real", groups), ("other", [*known, *later])):
        backtest.replay(
            iter(bars_of), make("both", {}), settings=settings, folder=tmp_path / name, seed=3
        )
    real, other = (orders_of(tmp_path / name, until_ms) for name in ("real", "other"))
    assert len(real["order_metrics"]) > 20
    assert real == other
    whole = orders_of(tmp_path / "real")
    assert len(whole["order_metrics"]) > len(real["order_metrics"])
    assert whole != orders_of(tmp_path / "other")


def test_no_order_names_a_snapshot_that_was_not_yet_published(
    tmp_path: Path, bars_1m: Path
) -> None:
    settings = Settings(home=tmp_path, snapshot_max_age_s=36_000)
    groups = btc(bars_1m, 1_200)
    start_ms = groups[0][0].open_ms
    available = keep_history(settings, start_ms, range(180, 1_200, 180), (1.25,))
    result = backtest.replay(
        iter(groups), make("intraday", {}), settings=settings, folder=tmp_path / "b", seed=3
    )
    orders = lines_of(tmp_path / "b", "order_metrics")
    named = {line.get("snapshot_id") for line in orders}
    assert len(named & set(available)) > 3
    assert result.snapshots_used == len(named - {None})
    for line in orders:
        decided_ms = moment_ms(line["decision_ts"])
        then = [name for name, at_ms in available.items() if at_ms <= decided_ms]
        assert line.get("snapshot_id") == (then[-1] if then else None)


# ----------------------------------------------------------------------------- what the logs tell


def test_intake_and_core_compute_from_the_logs_what_the_engine_knew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars_1m: Path
) -> None:
    folder = backtested(
        tmp_path, monkeypatch, "--symbols", "BTCUSDT", "SOLUSDT", "--bars", str(bars_1m),
        "--end", "2025-05-06", "--seed", "7", "--enable-telemetry",
    )  # fmt: skip
    told = json.loads((folder / "backtest.json").read_text())["result"]
    settings = Settings(home=tmp_path, environment="backtest")
    end_ms = told["end_ms"] + MINUTE_MS
    report = refresh(settings, as_of_ms=end_ms, now_ms=end_ms)
    assert report.outcome == "published"
    assert not [table for table in report.intake.tables.values() if table.rejected]
    lake = Lake(settings.lake_root)

    def ask(table: str, sql: str) -> tuple[Any, ...]:
        paths = [file.path for file in data_files(lake.open(table))]
        with duckdb.connect() as con:
            (row,) = con.sql(
                f"SELECT {sql} FROM read_parquet({paths}, union_by_name = true)"
            ).fetchall()
        return row

    closed = [
        line for line in lines_of(folder, "orders_executed") if line["event_type"] == "order_close"
    ]
    pnl = sum(float(line["realizedPnlUsd"]) for line in closed)
    attempts = {line["attempt_id"] for line in lines_of(folder, "order_metrics")}
    count, known_pnl = ask("core_execution__outcomes", "COUNT(*), SUM(realized_pnl_usd)")
    assert count == len(attempts) > 50
    assert known_pnl == pytest.approx(pnl, abs=1e-6)
    traces, returns = ask("raw_telemetry__traces", "COUNT(*), AVG(realized_return_pct)")
    assert traces == told["summaries"][-1]["trade_n"]
    assert returns == pytest.approx(told["summaries"][-1]["return_avg_pct"], abs=1e-9)


def test_sampled_telemetry_leaves_the_path_figures_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars_1m: Path
) -> None:
    found = {}
    for rate in ("1.0", "0.4"):
        home = tmp_path / rate
        folder = backtested(
            home, monkeypatch, "--symbols", "BTCUSDT", "SOLUSDT", "--bars", str(bars_1m),
            "--end", "2025-05-06", "--strategy", "intraday", "--seed", "7",
            "--enable-telemetry", "--telemetry-sample-rate", rate,
        )  # fmt: skip
        end_ms = json.loads((folder / "backtest.json").read_text())["result"]["end_ms"] + MINUTE_MS
        settings = Settings(home=home, environment="backtest")
        report = refresh(settings, as_of_ms=end_ms, now_ms=end_ms)
        assert report.snapshot_id is not None
        database = settings.snapshots_root / report.snapshot_id / "features.duckdb"
        with duckdb.connect(str(database), read_only=True) as con:
            found[rate] = con.sql(
                "SELECT path_n, return_sum_pct, max_drawdown_pct, profit_factor, n, path_source"
                " FROM feat_telemetry__accuracy ORDER BY ALL"
            ).fetchall()
    full, some = found["1.0"], found["0.4"]
    assert len(full) == len(some) == 18
    assert ({row[5] for row in full}, {row[5] for row in some}) == ({"traces"}, {"closes"})
    for whole, sampled in zip(full, some, strict=True):
        assert sampled[:4] == pytest.approx(whole[:4], abs=1e-9)
        assert sampled[4] < whole[4]


# ------------------------------------------------------------------------------ when things break


@pytest.mark.parametrize("how", ["no folder", "full disk"])
def test_trading_goes_on_where_telemetry_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars_1m: Path,
    capsys: pytest.CaptureFixture[str], how: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    (tmp_path / "file").write_text("")
    if how == "full disk":

        def refuse(fd: int, data: bytes) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(trace_files, "_write_all", refuse)
    words = ["--symbols", "BTCUSDT", "--bars", str(bars_1m), "--end", "2025-05-05T12:00"]
    folder = tmp_path / "file" / "live" if how == "no folder" else tmp_path / "live"
    assert live_main([*words, "--log-dir", str(tmp_path / "plain")]) == 0
    traced = ["--enable-telemetry", "--telemetry-sample-rate", "1", "--telemetry-throttle", "0"]
    assert live_main(
        [*words, "--log-dir", str(tmp_path / "traced"), *traced, "--telemetry-dir", str(folder)]
    ) == 0  # fmt: skip
    said = capsys.readouterr().err
    assert f"[WARNING] telemetry: cannot write to {folder}: " in said
    assert "trading goes on" in said
    assert " dropped, 0 failed, 0 written)" in said
    assert orders_of(tmp_path / "plain") == orders_of(tmp_path / "traced")


@pytest.mark.parametrize("how", ["stop", "error"])
def test_a_stop_with_an_order_in_flight_ends_it_and_returns(
    tmp_path: Path, bars_1m: Path, how: str
) -> None:
    class Stopper(Flip):
        def on_bar(self, bar: Bar) -> Signal | None:
            if how == "error" and bar is groups[2][0]:
                raise RuntimeError("a strategy's fault")
            signal = super().on_bar(bar)
            if bar is groups[2][0]:
                engine.stop()
            return signal and msgspec.structs.replace(signal, wants_maker=True)

    groups = list(islice(bars.merged(bars.find(bars_1m, ["BTCUSDT"]).values()), 10))
    with ExitStack() as stack:
        engine = paper_over_bars(
            iter(groups), [Stopper(1)], settings=Settings(home=tmp_path), log_dir=tmp_path / "logs",
            seed=1, telemetry=None, stack=stack,
        )  # fmt: skip
        if how == "error":
            with pytest.raises(RuntimeError, match="a strategy's fault"):
                engine.run()
        else:
            engine.run()
    assert not engine.executor.is_busy
    assert len(lines_of(tmp_path / "logs", "orders_attempted")) >= 2


def test_sigterm_ends_the_engine_in_order_and_loses_no_trace(
    tmp_path: Path, repository: Path, bars_1m: Path
) -> None:
    words = [
        "--symbols", "BTCUSDT", "SOLUSDT", "--bars", str(bars_1m), "--enable-telemetry",
        "--telemetry-sample-rate", "1", "--telemetry-throttle", "0",
    ]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "live.engine", *words], cwd=repository, stderr=subprocess.PIPE,
        text=True, env={"EXECINTEL_HOME": str(tmp_path), "PATH": ""},
    ) as child:  # fmt: skip
        logs = tmp_path / "logs" / "order_metrics.jsonl"
        deadline = time.monotonic() + 120
        while child.poll() is None and time.monotonic() < deadline:
            if logs.exists() and logs.stat().st_size > 50_000:
                break
            time.sleep(0.02)
        child.send_signal(signal.SIGTERM)
        try:
            said = child.communicate(timeout=60)[1]
        finally:
            child.kill()  # where it hangs, the test must not
    assert child.returncode == 0, said
    assert "Trading session ended: trading allowed, equity" in said
    summary = said.splitlines()[-1]
    captured = int(summary.split("Telemetry: ")[1].split()[0])
    assert captured > 5
    assert f"({captured} trades closed, 0 sampled out, 0 throttled, 0 dropped" in summary
    folder = tmp_path / "analytics" / "live"
    assert (
        sum(len(traces_of(folder, path.name.split("_")[1])) for path in folder.iterdir())
        == captured
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--telemetry-throttle", "5"], "--telemetry-throttle 5: allowed are 10 to 3600"),
        (["--telemetry-sample-rate", "1.5"], "--telemetry-sample-rate 1.5: 0 to 1"),
        (["--strategy", "magic"], "there is no strategy 'magic'; there are intraday, swing"),
        (["--start", "2030-01-01"], "there is no bar to"),
    ],
)
def test_a_bad_flag_is_one_line_that_says_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars_1m: Path,
    capsys: pytest.CaptureFixture[str], words: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    usual = ["--symbols", "BTCUSDT", "--bars", str(bars_1m), "--enable-telemetry"]
    for main in (backtest.main, live_main):
        assert main([*usual, *words]) == 1
        assert f"error: {said}" in capsys.readouterr().err


def test_symbols_are_found_in_any_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars_1m: Path
) -> None:
    words = ["--bars", str(bars_1m), "--end", "2025-05-05", "--seed", "7", "--symbols"]
    folders = {
        backtested(tmp_path, monkeypatch, *words, symbol)
        for symbol in ("BTCUSDT", "btcusdt", "BtcUsdt")
    }
    (folder,) = folders  # one replay: the file's name counts, not what was asked for
    assert json.loads((folder / "backtest.json").read_text())["parameters"]["symbols"] == [
        "BTCUSDT"
    ]
    assert {line["symbol"] for line in lines_of(folder, "order_metrics")} == {"BTCUSDT"}


def test_of_files_that_differ_in_case_the_one_asked_for_is_read(tmp_path: Path) -> None:
    for name in ("btcusdt_1m.csv", "BTCUSDT_5m.csv.gz", "ETHUSDT_5m.csv", "x_1m.txt", "_1m.csv"):
        (tmp_path / name).touch()

    def named(*symbols: str, interval: str | None = None) -> list[str]:
        files = bars.find(tmp_path, symbols, interval)
        assert all(path.name.startswith(f"{symbol}_") for symbol, path in files.items())
        return [*files]

    assert named("btcusdt", "BTCUSDT", "ethusdt") == ["btcusdt", "BTCUSDT", "ETHUSDT"]
    assert named("ETHUSDT", "ethusdt") == ["ETHUSDT"]
    assert named("BTCUSDT", interval="1m") == ["btcusdt"]
    with pytest.raises(
        bars.BarFileError,
        match=r"holds no bars of solusdt; it holds 1m: btcusdt; 5m: BTCUSDT, ETHUSDT$",
    ):
        named("solusdt")
    with pytest.raises(bars.BarFileError, match="holds no 1m bars of ethusdt; it holds 1m: btc"):
        named("ethusdt", interval="1m")


def test_a_symbol_without_bars_names_those_there_are_by_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars_1m: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    assert backtest.main(["--symbols", "dogeusdt", "--bars", str(bars_1m)]) == 1
    said = capsys.readouterr().err
    assert f"error: {bars_1m} holds no bars of dogeusdt; it holds 1m: BTCUSDT, ETHUSDT, " in said
    assert "csv" not in said
    (tmp_path / "none").mkdir()
    assert backtest.main(["--symbols", "BTCUSDT", "--bars", str(tmp_path / "none")]) == 1
    assert "holds no bars at all, as BTCUSDT_1m.csv.gz would be" in capsys.readouterr().err
    assert backtest.main(["--symbols", "BTCUSDT", "--bars", str(tmp_path / "no")]) == 1
    assert "no is no folder: name the one with files" in capsys.readouterr().err


def test_recordings_trade_the_symbol_that_snapshots_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quotes_btc: Path
) -> None:
    folder = backtested(
        tmp_path, monkeypatch, "--symbols", "btcusdt", "--quotes", str(quotes_btc), "--seed", "7",
        "--end", "2024-08-08T23:58:00Z",
    )  # fmt: skip
    told = json.loads((folder / "backtest.json").read_text())
    assert told["parameters"]["symbols"] == ["BTCUSDT"]
    assert told["result"]["bar_n"] > 0


def test_a_paper_run_over_bars_ends_with_what_its_backtest_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bars_1m: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    words = ["--symbols", "BTCUSDT", "--bars", str(bars_1m), "--end", "2025-05-05T12:00:00Z"]
    traced = ["--enable-telemetry", "--telemetry-sample-rate", "1", "--telemetry-throttle", "0"]
    apart = ["--log-dir", str(tmp_path / "paper"), *traced]
    said = []
    for main, more in ((backtest.main, []), (live_main, apart)):
        assert main([*words, *more, "--seed", "3", "--log-level", "ERROR"]) == 0
        lines = capsys.readouterr().out.splitlines()
        starts = ("intraday", "*", "equity change", "orders ")
        said.append([line for line in lines if line.startswith(starts)])
    assert len(said[0]) == 4
    assert said[0] == said[1]
    assert traces_of(tmp_path / "paper", "intraday")  # none among those of now
    assert not (tmp_path / "analytics" / "live").exists()


def test_open_trades_are_worth_their_cash_and_their_mark_less_fees() -> None:
    signal = Signal("s", "BTCUSDT", "SHORT", 0, 100.0, 0.5)
    # sold 3 at 100, bought 1 back at 90, 2 still short at a mark of 95: 10 + 2 × 5 - 0.5
    short = Sleeve(
        "t", signal, qty=-2.0, opened_qty=3.0, opened_usd=300.0, closed_qty=1.0, closed_usd=90.0,
        fees_usd=0.5,
    )  # fmt: skip
    assert worth_of_open([short], {"BTCUSDT": 95.0}) == pytest.approx(19.5)
    assert worth_of_open([short], {}) is None
    unknown = msgspec.structs.replace(short, fees_usd=None)
    assert worth_of_open([unknown], {"BTCUSDT": 95.0}) is None
    assert worth_of_open([], {}) == 0.0


def test_an_equity_that_no_trade_tells_of_is_named() -> None:
    assert tied(10.0, 4.0, 5.0).endswith(", of no trade +1.00")
    assert tied(10.0, None, 5.0).endswith(", where a fee or a mark is unknown")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Give the root logger back as it was: the programs send it to standard error."""
    root, executor = logging.getLogger(), logging.getLogger("live.trading.executor")
    handlers, level, own = list(root.handlers), root.level, executor.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    executor.setLevel(own)
