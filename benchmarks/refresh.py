"""A refresh of a 7-day window with new rows, one with nothing new, and computing all of it again.

Last a desk's day of refreshes every five minutes: what the small files that each leaves cost the
next, before upkeep merges them and after. Every measured piece runs in a process of its own, so
that memory and cold caches are its own; work is counted after the interpreter and the imports.
`--outcomes` and `--new` take several sizes.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import recompute
from benchmarks.load import ENVIRONMENT, WINDOW_MS, Load, append_logs, fill_lake
from benchmarks.memory import peak_mb
from features.lake import Lake
from features.lock import writer_lock
from features.settings import Settings
from features.snapshot import Store, open_snapshot
from pipelines.refresh import Refresh, refresh
from pipelines.upkeep import upkeep

EVERY_MS = 300_000  # between two refreshes of the day
TEXT_LIMIT = 1_000_000  # attempts; the text of ten million would be 15 GB


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the process's exit code."""
    args = _arguments(argv)
    if args.piece:
        print(json.dumps(_piece(args.piece, args.outcomes[0], args.home, args.as_of)))
        return 0
    repeat = 1 if args.quick else args.repeat
    folder = partial(tempfile.TemporaryDirectory, prefix="execintel-bench-", dir=args.home)
    for outcomes in [20_000] if args.quick else args.outcomes:
        with folder() as home:
            measure(outcomes, [2_000] if args.quick else args.new, Path(home), repeat)
    outcomes, refreshes = [2_000, 5] if args.quick else args.day
    with folder() as home:
        measure_day(outcomes, refreshes, Path(home), repeat)
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refresh", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all")
    parser.add_argument(
        "--outcomes", type=_numbers, default=[1_000_000, 10_000_000],
        help="outcomes in the window, such as 1000000,10000000 (30000000 takes 15 GB of disk)",
    )  # fmt: skip
    parser.add_argument(
        "--new",
        type=_numbers,
        default=[13_333, 50_000],
        help="new attempts of a refresh; each brings 3.75 lines",
    )
    parser.add_argument(
        "--day",
        type=_pair,
        default=[30_000, 200],
        help="outcomes in the window of the desk whose day comes last, and refreshes before it",
    )
    parser.add_argument("--repeat", type=int, default=3, help="refreshes of each size: the median")
    parser.add_argument(
        "--home", type=Path, help="folder to work in; emptied again (default: temporary)"
    )
    parser.add_argument("--piece", choices=sorted(_PIECES), help=argparse.SUPPRESS)
    parser.add_argument("--as-of", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _pair(text: str) -> list[int]:
    numbers = _numbers(text)
    if len(numbers) != 2:
        raise argparse.ArgumentTypeError("two numbers, such as 30000,200")
    return numbers


def measure(outcomes: int, new: list[int], home: Path, repeat: int) -> None:
    """Print the figures of one window size."""
    load = Load(outcomes)
    started = time.perf_counter()
    fill_lake(load, Lake(home / "lake"), commits=168 if outcomes >= 100_000 else 7)
    (home / "logs").mkdir()
    print(f"\n{outcomes:,} outcomes in 7 days; raw rows written in {_since(started)}", flush=True)
    _show("first refresh, all hours", _run("refresh", load, home, outcomes))
    first = outcomes
    for rows in new:
        first, ours = _refreshed(load, home, first, rows, repeat)
        _show(f"refresh, {rows:,} new attempts", ours)
    _show(
        "refresh, nothing new", _median([_run("refresh", load, home, first) for _ in range(repeat)])
    )
    for name in _COMPETITORS:
        if name == "polars_logs":
            if outcomes > TEXT_LIMIT:
                continue
            shutil.rmtree(home / "logs")
            append_logs(load, home / "logs", 0, first)
        _compete(name, ours, load, home, first)


def measure_day(outcomes: int, refreshes: int, home: Path, repeat: int) -> None:
    """Print what a refresh takes after so many others, before and after upkeep."""
    load = Load(outcomes)
    new = max(1, outcomes * EVERY_MS // WINDOW_MS)
    settings = Settings(home=home, log_dir=home / "logs", environment=ENVIRONMENT)
    (home / "logs").mkdir()
    append_logs(load, home / "logs", 0, outcomes)
    _run("refresh", load, home, outcomes)
    first = outcomes
    for _ in range(refreshes):
        append_logs(load, home / "logs", first, new)
        first += new
        _read(settings, load.end_ms(first))
    print(f"\n{outcomes:,} outcomes in 7 days, then {refreshes} refreshes of {new} attempts each")
    first, ours = _refreshed(load, home, first, new, repeat)
    _show(f"refresh, {new} new attempts, their files as they left them", ours)
    _compete("duckdb", ours, load, home, first)  # now: it would read what is merged twice
    upkeep(settings, now_ms=load.end_ms(first))
    first, ours = _refreshed(load, home, first, new, repeat)
    _show(f"refresh, {new} new attempts, their files merged", ours)


def _refreshed(
    load: Load, home: Path, first: int, new: int, repeat: int
) -> tuple[int, dict[str, Any]]:
    """Refresh so many times with new attempts; returns the next attempt and the median run."""
    runs = []
    for _ in range(repeat):
        append_logs(load, home / "logs", first, new)
        first += new
        runs.append(_run("refresh", load, home, first))
    return first, _median(runs)


def _compete(name: str, ours: Mapping[str, Any], load: Load, home: Path, upto: int) -> None:
    """Print what a competitor takes, and whether it answers what CURRENT does."""
    theirs = _run(name, load, home, upto)
    _show(f"{_COMPETITORS[name]} ({theirs['wall_s'] / ours['wall_s']:.1f} times ours)", theirs)
    print(f"    {compared(theirs['answer'], published_answer(home))}", flush=True)


def _read(settings: Settings, at_ms: int) -> None:
    """Do what a refresh does to raw and core tables, and nothing beyond."""
    with writer_lock(settings.home, "benchmark"):
        run = Refresh(settings, as_of_ms=at_ms, now_ms=at_ms)
        run.prepare()
        run.read()
        run.rebuild_core()
        run.close()


_COMPETITORS = {
    "duckdb": "all again, plain DuckDB SQL on the raw Parquet",
    "polars": "all again, Polars on the raw Parquet",
    "polars_logs": "all again, Polars on the log text",
}


def _run(piece: str, load: Load, home: Path, upto: int) -> dict[str, Any]:
    """Run one piece in a process of its own; bytes are what it left on disk."""
    before = _sizes(home)
    words = [
        *(sys.executable, "-m", "benchmarks.refresh", "--piece", piece, "--home", str(home)),
        *("--outcomes", str(load.outcomes), "--as-of", str(load.end_ms(upto))),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        failed = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"failed": failed, "wall_s": float("nan"), "answer": {}}
    found: dict[str, Any] = json.loads(done.stdout)
    written = {path: size for path, size in _sizes(home).items() if before.get(path) != size}
    found["written_mb"] = sum(written.values()) / 1e6
    return found


def _sizes(home: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in home.rglob("*") if path.is_file()}


def _piece(name: str, outcomes: int, home: Path, as_of_ms: int) -> dict[str, Any]:
    started, cpu = time.perf_counter(), time.process_time()
    found = _PIECES[name](home, as_of_ms)
    found["wall_s"] = time.perf_counter() - started
    found["cpu_s"] = time.process_time() - cpu
    found["peak_mb"] = peak_mb()
    found["load"] = os.getloadavg()[0]
    return found


def _refresh(home: Path, as_of_ms: int) -> dict[str, Any]:
    settings = Settings(home=home, log_dir=home / "logs", environment=ENVIRONMENT)
    report = refresh(settings, as_of_ms=as_of_ms, now_ms=as_of_ms)
    failed = [check.name for check in report.built.failed]
    if failed:
        raise SystemExit(f"the benchmark's own data fails {failed}")
    return {"steps": report.seconds, "outcome": report.outcome}


_PIECES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "refresh": _refresh,
    "duckdb": lambda home, at: {
        "answer": recompute.with_duckdb(home / "lake", at, home / "cache" / "spill")
    },
    "polars": lambda home, at: {"answer": recompute.with_polars(home / "lake", at)},
    "polars_logs": lambda home, at: {"answer": recompute.with_polars_from_logs(home / "logs", at)},
}


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(runs, key=lambda run: run["wall_s"])[len(runs) // 2] | {
        "spread": [round(run["wall_s"], 2) for run in runs],
        "written_mb": statistics.median(run.get("written_mb", 0.0) for run in runs),
    }


def _show(label: str, run: dict[str, Any]) -> None:
    if "failed" in run:
        print(f"  {label}: failed: {run['failed']}", flush=True)
        return
    steps = ", ".join(f"{name} {spent:.2f}" for name, spent in run.get("steps", {}).items())
    spread = f" of {run['spread']}" if "spread" in run else ""
    print(
        f"  {label}: {run['wall_s']:.2f} s{spread}, {run['cpu_s']:.2f} s of processor,"
        f" {run['written_mb']:.1f} MB written, peak {run['peak_mb']:.0f} MB"
        f" (machine load {run['load']:.1f})" + (f"\n    {steps}" if steps else ""),
        flush=True,
    )


def published_answer(home: Path) -> recompute.Answer:
    """Read from CURRENT what a recomputation answers."""
    store = Store(home / "snapshots")
    with open_snapshot(store.database(store.resolve(None))) as con:
        rows = con.sql(
            "SELECT p.symbol, p.attempt_n, p.realized_pnl_attempts_usd, s.slip_bps_q50"
            " FROM (SELECT e.symbol, e.n AS attempt_n, f.realized_pnl_attempts_usd"
            "       FROM feat_router__effectiveness AS e"
            "       INNER JOIN feat_symbol__performance AS f USING (symbol)) AS p"
            " INNER JOIN feat_execution__slippage_quartiles AS s"
            "    ON s.symbol = p.symbol AND s.hour_utc = -1"
        ).fetchall()
    return {symbol: (n, pnl, slip) for symbol, n, pnl, slip in rows}


def compared(theirs: Mapping[str, Sequence[float]], ours: recompute.Answer) -> str:
    """Say whether two answers agree: attempts exactly, PnL and median slippage to 1e-6."""
    if theirs.keys() != ours.keys():
        return f"other symbols than ours: {sorted(theirs.keys() ^ ours.keys())}"
    for symbol, (n, pnl, slip) in ours.items():
        other_n, other_pnl, other_slip = theirs[symbol]
        if n != other_n or abs(pnl - other_pnl) > 1e-6 or abs(slip - other_slip) > 1e-6:
            return f"{symbol} differs: theirs {theirs[symbol]}, ours {ours[symbol]}"
    return "the same attempts, PnL and median slippage for every symbol"


def _since(started: float) -> str:
    return f"{time.perf_counter() - started:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
