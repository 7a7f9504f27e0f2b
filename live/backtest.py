"""Replay the past through the live engine: the same code, a simulated clock, the paper venue.

Put here: what a replay is made of. Keep out: trading (engine.py), reading bars (market/bars.py) and
recorded quotes (market/quotes.py), what was known when (snapshot/past.py), what trades came to
(results.py). With a seed nothing that is written depends on the machine's clock.
"""

import argparse
import datetime as dt
import hashlib
import json
import logging
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress

from features import setting_faults, words
from features.settings import Settings
from live import arguments
from live.clock import SimulatedClock
from live.engine import Engine
from live.market import Bar, Event, bars, quotes
from live.market.sessions import DAY_MS, SESSIONS
from live.results import (
    Curve,
    Result,
    count_orders,
    gathering,
    report,
    summarise,
    worth_of_open,
)
from live.snapshot.past import PastSnapshots
from live.strategies import Strategy
from live.telemetry import TradeTelemetry
from live.trading.book import ClosedTrade
from live.trading.controls import Controls
from live.venues.paper import PaperConfig, paper_venue

RESULT = "backtest.json"  # parameters and result; also what marks a folder that may be replaced
_log = logging.getLogger(__name__)


def replay(
    groups: Iterator[Sequence[Event]],
    strategies: Sequence[Strategy],
    *,
    settings: Settings,
    folder: Path,
    seed: int = 0,
    telemetry: TradeTelemetry | None = None,
    config: PaperConfig | None = None,
    resumes_daily: bool = False,
) -> Result:
    """Trade what happened and return what came of it.

    A group is the bars that close at one moment, or the quotes and trades of a span and the bars
    that close with it.

    Logs go to ``folder``. Telemetry is told of every closed trade and closed at the end. Readings
    are those of the snapshots that were CURRENT at each simulated moment. A drawdown beyond the
    limits ends the trading until a person resumes: nobody does, or with ``resumes_daily`` one at
    every UTC midnight. Raises ValueError where there is none.
    """
    trades: list[ClosedTrade] = []
    first = next(groups, None)
    if first is None:
        raise ValueError(
            "there is no bar to replay and no quote: look at --start, --end and --session"
        )
    clock = SimulatedClock(
        min(event.open_ms if isinstance(event, Bar) else event.at_ms for event in first)
    )
    trading = settings.trading
    venue = paper_venue(clock, trading, seed=seed, config=config, environment="backtest")
    with ExitStack() as stack:
        past = PastSnapshots(settings, clock)
        stack.callback(past.close)
        if telemetry is not None:
            stack.callback(telemetry.close)
        controls = Controls(None)
        engine = Engine(
            venue,
            strategies,
            past.read,
            settings=settings.model_copy(update={"account": folder.name}),
            clock=clock,
            log_dir=folder,
            controls=controls,
            on_closed=gathering(trades, telemetry),
            run_id=f"backtest-{seed}",
        )
        curve = Curve(trading.paper_equity_usd)
        day, resumed_n = clock.true_ms // DAY_MS, 0
        try:
            for group in past.follow(chain([first], groups)):
                if resumes_daily and clock.true_ms // DAY_MS > day:
                    day, resumed_n = clock.true_ms // DAY_MS, resumed_n + 1
                    controls.set("run", "midnight", by="backtest", now_ms=clock.true_ms)
                engine.take(group)
                curve.see(group, venue.account().equity_usd)
        finally:
            engine.close()
        order_n, filled_n = count_orders(folder)
        names = [strategy.name for strategy in strategies]
        return Result(
            folder=folder,
            bar_n=curve.bar_n,
            start_ms=curve.start_ms,
            end_ms=curve.end_ms,
            equity_start_usd=trading.paper_equity_usd,
            equity_end_usd=venue.account().equity_usd,
            open_usd=worth_of_open(engine.executor.sleeves.values(), venue.account().marks),
            max_drawdown_pct=curve.max_drawdown_pct,
            open_positions={p.symbol: p.qty for p in venue.positions()},
            order_n=order_n,
            filled_n=filled_n,
            snapshots_used=len(past.used),
            vetoes=_vetoes(folder),
            resumed_n=resumed_n,
            summaries=tuple(summarise(name, trades) for name in [*names, "*"]),
            telemetry=telemetry.stats if telemetry else None,
        )


def _vetoes(folder: Path) -> dict[str, int]:
    path = folder / "risk_vetoes.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return dict(sorted(Counter(json.loads(line)["veto_reason"] for line in lines).items()))


# -- the program ----------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None, prog: str = "python -m live.backtest") -> int:
    """Replay what the flags say; returns the process's exit code."""
    try:
        settings = setting_faults.load()
        args = _parse(argv, prog, settings)
        arguments.log_to_stderr(args)
        if args.log_level == "INFO":
            # Every veto; they are counted.
            logging.getLogger("live.trading.executor").setLevel("WARNING")
        result, took_s = run(args, settings)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report(result, took_s, RESULT))
    return 0


def run(args: argparse.Namespace, settings: Settings) -> tuple[Result, float]:
    """Replay into a folder named by seed and parameters; returns the result and its seconds."""
    args.symbols, paths, market = _market(args)
    chosen = arguments.strategies(args, settings)
    said = _parameters(args, settings, paths)
    folder = _fresh(args.output_dir or settings.home / "analytics", args, said)
    writer = arguments.telemetry(args, chosen, folder, waits_when_full=True)
    started_s = time.perf_counter()
    with _progress(args) as on_progress:
        result = replay(
            market(on_progress),
            chosen,
            settings=settings,
            folder=folder,
            seed=args.seed or 0,
            telemetry=writer,
            resumes_daily=args.resume_daily,
        )
    took_s = time.perf_counter() - started_s
    _write(folder, said, result)
    return result, took_s


def _market(
    args: argparse.Namespace,
) -> tuple[list[str], list[Path], Callable[[bars.Progress], Iterator[Sequence[Event]]]]:
    """Return the symbols and files that the flags name, and what reads them.

    Symbols are spelled as the files of bars are; those of recordings, whose names have any case,
    are upper-case, as a snapshot's are.
    """
    if args.quotes is None:
        named = bars.find(args.bars, args.symbols, args.interval)
        return (
            [*named],
            [*named.values()],
            lambda on_progress: within(bars.merged(named.values(), on_progress), args),
        )
    symbols = [symbol.upper() for symbol in args.symbols]
    files = quotes.find(args.quotes, symbols)
    paths = [path for found in files.values() for path in found]
    return (
        symbols,
        paths,
        lambda on_progress: quotes.spans(
            files,
            round(args.bar_seconds * 1000),
            start_ms=args.start,
            end_ms=args.end,
            on_progress=on_progress,
        ),
    )


def _parse(argv: Sequence[str] | None, prog: str, settings: Settings) -> argparse.Namespace:
    parser = arguments.parser(
        prog,
        "Replay bars, or recorded quotes and trades, through the live engine at a simulated time,\n"
        "on the paper venue. "
        "Everything it writes stands in one folder: the executor's logs, traces, backtest.json.",
        "example:\n"
        f"  {prog} --symbols BTCUSDT ETHUSDT --bars bars --strategy both --seed 7 "
        "--enable-telemetry\n"
        f"  {prog} --symbols SPY --bars bars_1d --interval 1d --strategy swing\n"
        f"  {prog} --symbols BTCUSDT --quotes recorded --bar-seconds 1 --seed 7",
    )
    add_bars(parser, is_required=False)
    parser.add_argument(
        "--quotes",
        type=Path,
        metavar="DIR",
        help="instead of --bars, folder of …{SYMBOL}_bbo.parquet: exch_ms,bid,ask[,bid_sz,ask_sz] "
        "and …{SYMBOL}_trades.parquet: exch_ms,price,qty[,buyer_is_maker]",
    )
    parser.add_argument(
        "--bar-seconds",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="length of the bars that are made of recorded trades for strategies (default: 60)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        help="of the paper venue; with one, two runs write the same bytes into one folder",
    )
    parser.add_argument(
        "--resume-daily",
        action="store_true",
        help="resume at every UTC midnight what drawdown stopped (default: as live, it stays so)",
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="where backtest_<stamp> is made (default: $EXECINTEL_HOME/analytics)",
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    arguments.add_telemetry(
        parser, settings, directory="default: the folder of the backtest", is_live=False
    )
    args = parser.parse_args(argv)
    if (args.bars is None) == (args.quotes is None):
        parser.error("name either --bars or --quotes")
    if args.quotes is not None and (args.session != "24/7" or args.interval):
        parser.error("--quotes goes with --bar-seconds, not with --interval or --session")
    if not 0.1 <= args.bar_seconds <= 86_400:
        parser.error(f"--bar-seconds {args.bar_seconds:g}: allowed are 0.1 to 86400")
    return args


def add_bars(parser: argparse.ArgumentParser, *, is_required: bool = True) -> None:
    """Add the flags that say which bars."""
    parser.add_argument(
        "--bars",
        type=Path,
        required=is_required,
        metavar="DIR",
        help="folder of {SYMBOL}_{1m,5m,15m,1h,4h,1d}.csv[.gz]: date,open,high,low,close,volume",
    )
    parser.add_argument(
        "--interval", choices=list(bars.INTERVAL_MS), help="which bars (default: the finest)"
    )
    parser.add_argument("--start", type=_moment, metavar="TIME", help="leave out earlier bars")
    parser.add_argument("--end", type=_moment, metavar="TIME", help="leave out later bars")


def _moment(text: str) -> int:
    try:
        return words.parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def within(groups: Iterator[list[Bar]], args: argparse.Namespace) -> Iterator[list[Bar]]:
    """Leave out bars outside of the session, of --start and --end."""
    session = SESSIONS[args.session]
    for group in groups:
        if args.end is not None and group[0].close_ms > args.end:
            return
        kept = [
            bar
            for bar in group
            if (args.start is None or bar.open_ms >= args.start)
            and (session is None or session.holds(bar))
        ]
        if kept:
            yield kept


def _parameters(
    args: argparse.Namespace, settings: Settings, paths: Sequence[Path]
) -> dict[str, Any]:
    """Return everything that the replay's outcome depends on beside the history."""
    recorded = {} if args.quotes is None else {"bar_seconds": args.bar_seconds}
    return {
        **recorded,
        "symbols": list(dict.fromkeys(args.symbols)),
        "strategy": args.strategy,
        "thresholds": arguments.thresholds(settings),
        "session": args.session,
        "start_ms": args.start,
        "end_ms": args.end,
        "seed": args.seed,
        "resume_daily": args.resume_daily,
        "bars" if args.quotes is None else "quotes": {path.name: _digest(path) for path in paths},
        "trading": settings.trading.model_dump(mode="json"),
        "apply": sorted(settings.applied("backtest")),
        "telemetry": {
            name.removeprefix("telemetry_"): value
            for name, value in vars(args).items()
            if name.startswith("telemetry_") and name != "telemetry_dir"
        },
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fresh(root: Path, args: argparse.Namespace, said: dict[str, Any]) -> Path:
    """Make the empty folder of this replay; only one that a backtest made is replaced."""
    if args.seed is None:
        stamp = f"{dt.datetime.now(tz=dt.UTC):%Y%m%d_%H%M%S}"
    else:
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        stamp = f"seed{args.seed}_{digest[:10]}"
    folder = root / f"backtest_{stamp}"
    if folder.exists() and any(folder.iterdir()):
        if not (folder / RESULT).exists():
            raise ValueError(f"{folder} is no folder of a backtest: move it, or use --output-dir")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, said, None)
    return folder


def _write(folder: Path, said: dict[str, Any], result: Result | None) -> None:
    """Write parameters and result; of the result what no clock of the machine is in."""
    told = None
    if result is not None:
        told = msgspec.to_builtins(result, enc_hook=str)
        del told["folder"]
        if result.telemetry:
            told["telemetry"] = {
                name: count
                for name, count in told["telemetry"].items()
                if name in ("closed", "captured", "sampled_out", "throttled", "failed", "dropped")
            }
    text = json.dumps({"parameters": said, "result": told}, indent=1, sort_keys=True)
    (folder / RESULT).write_text(text + "\n")


@contextmanager
def _progress(args: argparse.Namespace) -> Iterator[bars.Progress]:
    """Show a bar on a terminal while the block runs; yields what is told bytes done and in all."""
    console = Console(stderr=True)
    is_off = args.no_progress or not console.is_terminal
    with Progress(console=console, transient=True, disable=is_off) as shown:
        task = shown.add_task("replaying", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


if __name__ == "__main__":
    raise SystemExit(main())
