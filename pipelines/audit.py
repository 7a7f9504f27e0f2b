"""Backtest many symbols side by side and sum up how accurate each strategy was (US-016).

Put here: starting backtests, gathering their traces, one summary. Keep out: trading
(live/backtest.py), what the numbers mean (features/sql).
"""

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from features.durable import replace_file
from pipelines.accuracy import AccuracyAnalyzer, TraceError

SUMMARY = "audit.json"
_SHOWN = (
    ("n", "n", 0),
    ("precision_long", "prec. LONG", 3),
    ("precision_short", "prec. SHORT", 3),
    ("hit_ratio", "hit ratio", 3),
    ("win_rate", "win rate", 3),
    ("return_avg_pct", "return %", 3),
    ("sharpe", "Sharpe", 2),
    ("max_drawdown_pct", "drawdown %", 2),
)


@dataclass(frozen=True)
class Job:
    """One backtest: how it ended, and the last words of one that failed."""

    symbol: str
    strategy: str
    is_done: bool
    took_s: float
    trade_n: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What to replay; times are ISO 8601."""

    symbols: tuple[str, ...]
    strategies: tuple[str, ...]
    bars: Path
    start: str | None
    end: str | None
    interval: str | None
    seed: int
    timeout_s: float


def audit(
    wanted: Wanted,
    folder: Path,
    *,
    jobs: int,
    overrides: Mapping[str, Any] | None = None,
    on_done: Callable[[Job], None] = lambda job: None,
) -> dict[str, Any]:
    """Run every backtest in a process of its own, ``jobs`` at a time, and write audit.json.

    A backtest that fails is named in the summary; the others go on. Returns the summary: jobs, and
    the rows of the accuracy, comparison and calibration tables over all traces.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(symbol, strategy) for symbol in wanted.symbols for strategy in wanted.strategies]
    done: list[Job] = []
    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="audit") as pool:
        running = [pool.submit(_run, wanted, folder, *pair) for pair in pairs]
        for future in as_completed(running):
            done.append(future.result())
            on_done(done[-1])
    order = {pair: place for place, pair in enumerate(pairs)}
    done.sort(key=lambda job: order[job.symbol, job.strategy])
    summary = {
        "wanted": {key: _plain(value) for key, value in asdict(wanted).items()},
        "jobs": [asdict(job) for job in done],
        **_tables(folder, [job for job in done if job.trade_n], overrides),
    }
    text = json.dumps(summary, indent=1, default=str, allow_nan=False)
    replace_file(folder / SUMMARY, text)
    return summary


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _home(folder: Path, symbol: str, strategy: str) -> Path:
    return folder / f"{symbol.replace('/', '-').replace(':', '-')}_{strategy}"


def _run(wanted: Wanted, folder: Path, symbol: str, strategy: str) -> Job:
    """Replay one symbol with one strategy; whatever happens there is its own affair."""
    home = _home(folder, symbol, strategy)
    words = [sys.executable, "-m", "live.backtest", "--no-progress", "--enable-telemetry"]
    words += ["--symbols", symbol, "--strategy", strategy, "--bars", str(wanted.bars)]
    words += ["--seed", str(wanted.seed), "--output-dir", str(home), "--log-level", "WARNING"]
    for flag, value in (
        ("--start", wanted.start),
        ("--end", wanted.end),
        ("--interval", wanted.interval),
    ):
        words += [flag, value] if value else []
    started_s = time.monotonic()
    problem = None
    try:
        ended = subprocess.run(
            words, capture_output=True, text=True, timeout=wanted.timeout_s, check=False
        )
        if ended.returncode:
            said = ended.stderr.strip().splitlines()
            problem = said[-1] if said else f"ended with code {ended.returncode}"
    except subprocess.TimeoutExpired:
        problem = f"did not end within {wanted.timeout_s:g} s: raise --timeout or shorten the time"
    took_s = round(time.monotonic() - started_s, 3)
    if problem is not None:
        return Job(symbol, strategy, False, took_s, problem=problem)
    results = [json.loads(path.read_text()) for path in home.glob("*/backtest.json")]
    return Job(symbol, strategy, True, took_s, sum(_trade_n(result) for result in results))


def _trade_n(result: Mapping[str, Any]) -> int:
    return sum(s["trade_n"] for s in result["result"]["summaries"] if s["strategy"] == "*")


def _tables(
    folder: Path, jobs: Sequence[Job], overrides: Mapping[str, Any] | None
) -> dict[str, list[dict[str, Any]]]:
    """Compute the accuracy tables over the traces of these jobs."""
    if not jobs:
        return {}
    analyzer = AccuracyAnalyzer(overrides)
    loaded = analyzer.load_traces([_home(folder, job.symbol, job.strategy) for job in jobs])
    tables = analyzer.tables(loaded)
    names = ("accuracy", "comparison", "calibration")
    found = {name: tables[f"feat_telemetry__{name}"] for name in names}
    kept = [row for row in found["accuracy"] if row["window"] == "all"]
    pairs = [row for row in found["comparison"] if row["window"] == "all"]
    return {**found, "accuracy": kept, "comparison": pairs}


# -------------------------------------------------------------------------------------- the program


def parser(prog: str) -> argparse.ArgumentParser:
    """Return what reads the words of the command."""
    flags = argparse.ArgumentParser(
        prog=prog,
        description="Backtest symbols and strategies in parallel processes and sum up how often "
        "each was right and what that earned. One that fails does not stop the others.",
        epilog=f"example:\n  {prog} --symbols BTCUSDT ETHUSDT --strategies intraday swing "
        "--bars bars --start 2025-05-05 --end 2025-06-01",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = flags.add_argument
    add("--symbols", nargs="+", required=True, metavar="SYMBOL", help="such as BTCUSDT ETHUSDT")
    add(
        "--strategies",
        nargs="+",
        default=["intraday", "swing"],
        metavar="STRATEGY",
        help="intraday, swing, or a dotted module of yours (default: intraday swing)",
    )
    add("--bars", type=Path, required=True, metavar="DIR", help="folder of bars, as of backtest")
    add("--interval", help="which bars, such as 15m (default: the finest)")
    add("--start", metavar="TIME", help="leave out earlier bars, ISO 8601, UTC")
    add("--end", metavar="TIME", help="leave out later bars")
    add(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="folder of logs, traces and audit.json "
        "(default: $EXECINTEL_HOME/analytics/audit_<time>)",
    )
    add(
        "--jobs", type=int, default=os.cpu_count() or 1, help="backtests at a time (default: cores)"
    )
    add("--seed", type=int, default=0, help="of the paper venue (default: 0)")
    add(
        "--timeout",
        type=float,
        default=3600.0,
        metavar="S",
        help="longest backtest (default: 3600)",
    )
    return flags


def main(argv: Sequence[str], prog: str = "execintel audit") -> int:
    """Audit what the flags say; 1 where a backtest failed, 2 where none ended well."""
    from pipelines.commands import common

    args = parser(prog).parse_args(argv)
    settings = common.load_settings()
    for name in ("start", "end"):
        if getattr(args, name):
            common.parse_time(getattr(args, name))
    if args.jobs < 1 or args.timeout <= 0:
        raise common.CommandError("--jobs and --timeout must be above 0")
    if not args.bars.is_dir():
        raise common.CommandError(f"--bars {args.bars}: there is no such folder")
    wanted = Wanted(
        symbols=tuple(dict.fromkeys(args.symbols)),
        strategies=tuple(dict.fromkeys(args.strategies)),
        bars=args.bars.absolute(),
        start=args.start,
        end=args.end,
        interval=args.interval,
        seed=args.seed,
        timeout_s=args.timeout,
    )
    stamp = dt.datetime.fromtimestamp(common.now_ms() / 1000, dt.UTC).strftime("%Y%m%d_%H%M%S")
    folder = (args.output_dir or settings.home / "analytics" / f"audit_{stamp}").absolute()
    if folder.exists() and any(folder.iterdir()):
        raise common.CommandError(
            f"--output-dir {folder} is not empty, and traces that stand there would count as "
            "well: name an empty folder"
        )
    total = len(wanted.symbols) * len(wanted.strategies)
    ended: list[Job] = []
    with common.counting(f"{total} backtests, {args.jobs} at a time") as count:
        count(0, total)

        def on_done(job: Job) -> None:
            ended.append(job)
            count(len(ended), total)

        try:
            summary = audit(
                wanted, folder, jobs=args.jobs, overrides=settings.params, on_done=on_done
            )
        except TraceError as error:
            raise common.CommandError(str(error)) from error
    return _tell(summary, folder)


def _tell(summary: Mapping[str, Any], folder: Path) -> int:
    from pipelines.commands import common

    rows = [
        (row["strategy"], row["symbol"], *(common.number(row[name], d) for name, _, d in _SHOWN))
        for row in summary.get("accuracy", ())
        if row["strategy"] != "*"
    ]
    if rows:
        names = ("strategy", "symbol", *(title for _, title, _ in _SHOWN))
        common.show_table("All closed predictions", names, rows, left=2)
    for pair in summary.get("comparison", ()):
        common.say(
            f"{pair['strategy']} against {pair['other_strategy']}: {pair['better_strategy']}"
            f" (difference of daily sums {common.number(pair['day_delta_pct'])} %, 95 %"
            f" {common.interval(pair['day_lo95'], pair['day_hi95'])},"
            f" p {common.number(pair['day_p'], 3)})"
        )
    failed = [job for job in summary["jobs"] if not job["is_done"]]
    for job in failed:
        common.complain(f"{job['symbol']} {job['strategy']} failed: {job['problem']}")
    well = len(summary["jobs"]) - len(failed)
    common.say(
        f"{well} of {len(summary['jobs'])} backtests ended well; summary: {folder / SUMMARY}"
    )
    return 0 if not failed else 1 if well else 2
