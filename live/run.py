"""The live engine as a program: settings and flags become an engine that trades until stopped.

Put here: putting an engine together. Keep out: trading (engine.py), flags that the backtester
shares (arguments.py).
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

from features import setting_faults
from features.settings import Settings
from live import arguments, bars
from live.backtest import add_bars, within
from live.controls import Controls
from live.engine import Engine
from live.feeds import ReplayClock, ReplayFeed
from live.market import Bar
from live.past import PastSnapshots
from live.strategies import Strategy
from live.telemetry import TradeTelemetry
from live.venues.paper import PaperConfig, PaperVenue

TRACES = Path("analytics", "live")  # below EXECINTEL_HOME, as US-017 has it
_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None, prog: str = "python -m live.engine") -> int:
    """Trade as the flags say; returns the process's exit code."""
    try:
        settings = setting_faults.load()
        args = _parse(argv, prog, settings)
        arguments.log_to_stderr(args)
        run(args, settings)
    except (bars.BarFileError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace, settings: Settings) -> None:
    """Trade on paper over bars until they end, or SIGTERM or SIGINT comes."""
    log_dir = args.log_dir or settings.log_dir or settings.home / "logs"
    if (log_dir / "order_metrics.jsonl").exists():
        raise ValueError(
            f"{log_dir} holds logs: the same bars again would repeat their order ids. Name an "
            "empty folder with --log-dir"
        )
    chosen = arguments.strategies(args, settings)
    groups = within(bars.merged(bars.find(args.bars, args.symbols, args.interval)), args)
    telemetry = arguments.telemetry(args, chosen, settings.home / TRACES, buffer_size=50)
    with ExitStack() as stack:
        if telemetry is not None:
            stack.callback(telemetry.close)
        engine = paper_over_bars(
            groups,
            chosen,
            settings=settings,
            log_dir=log_dir,
            seed=args.seed,
            telemetry=telemetry,
            stack=stack,
        )
        engine.stop_at_signals()
        _log.info("Trading session started: %s on paper", ", ".join(args.symbols))
        engine.run()
        _log.info("Trading session ended: %s", engine.executor.summary())


def paper_over_bars(
    groups: Iterator[list[Bar]],
    strategies: Sequence[Strategy],
    *,
    settings: Settings,
    log_dir: Path,
    seed: int,
    telemetry: TradeTelemetry | None,
    stack: ExitStack,
) -> Engine:
    """Return an engine whose ``run`` trades the bars on paper; ``stack`` takes what to close.

    Raises ValueError where there is no bar.
    """
    first = next(groups, None)
    if first is None:
        raise ValueError("there is no bar to trade: look at --start, --end and --session")
    clock = ReplayClock(min(bar.open_ms for bar in first))
    trading = settings.trading
    past = PastSnapshots(settings, clock)
    stack.callback(past.close)
    feed = ReplayFeed(past.follow(chain([first], groups)), clock, lambda: engine.stop())
    engine = Engine(
        PaperVenue(
            clock,
            seed=seed,
            equity_usd=trading.paper_equity_usd,
            config=PaperConfig(
                maker_fee_bps=trading.maker_fee_bps, taker_fee_bps=trading.taker_fee_bps
            ),
        ),
        strategies,
        past.read,
        settings=settings,
        clock=clock,
        log_dir=log_dir,
        controls=Controls(settings.controls_root),
        on_closed=telemetry.on_close if telemetry else None,
        feed=feed,
    )
    return engine


def _parse(argv: Sequence[str] | None, prog: str, settings: Settings) -> argparse.Namespace:
    parser = arguments.parser(
        prog,
        "Trade on paper over the bars of a folder, by the loop that trades live: logs, kill\n"
        "switch and telemetry are those of live trading, time is that of the bars.",
        "example:\n"
        f"  {prog} --symbols BTCUSDT ETHUSDT --bars bars --strategy both \\\n"
        "      --enable-telemetry --telemetry-throttle 120 --telemetry-sample-rate 0.1",
    )
    add_bars(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the paper venue (default: 0)")
    parser.add_argument(
        "--log-dir",
        type=Path,
        metavar="DIR",
        help="folder of the logs (default: EXECINTEL_LOG_DIR, else $EXECINTEL_HOME/logs)",
    )
    arguments.add_telemetry(
        parser, settings, directory="default: $EXECINTEL_HOME/analytics/live", is_live=True
    )
    return parser.parse_args(argv)
