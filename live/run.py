"""The live engine as a program: settings and flags become an engine that trades until stopped.

Put here: putting an engine together. Keep out: trading (engine.py), flags that the backtester
shares (arguments.py).
"""

import argparse
import hashlib
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import chain
from pathlib import Path

from features import setting_faults
from features.settings import Settings
from live import arguments, results
from live.backtest import add_bars, within
from live.clock import RealClock
from live.engine import Engine
from live.market import Bar, bars
from live.market.feeds import BarRecorder, QuoteFeed, ReplayClock, ReplayFeed
from live.mirror.publisher import PeriodicPublisher
from live.reader import SnapshotReader
from live.snapshot.past import PastSnapshots
from live.strategies import Strategy
from live.telemetry import TradeTelemetry
from live.trading.book import ClosedTrade
from live.trading.controls import Controls
from live.trading.journal import EngineBusyError, held_alone
from live.venues import Venue, VenueError
from live.venues.paper import paper_venue

TRACES = Path("analytics", "live")  # below EXECINTEL_HOME, as US-017 has it
_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None, prog: str = "python -m live.engine") -> int:
    """Trade as the flags say; returns the process's exit code."""
    try:
        settings = setting_faults.load()
        args = _parse(argv, prog, settings)
        arguments.log_to_stderr(args)
        run(args, settings)
    except (ValueError, OSError, EngineBusyError, VenueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace, settings: Settings) -> None:
    """Trade until the bars end, or SIGTERM or SIGINT comes."""
    chosen = arguments.strategies(args, settings)
    log_dir = args.log_dir or settings.log_dir or settings.home / "logs"
    if args.bars and (log_dir / "order_metrics.jsonl").exists():
        raise ValueError(
            f"{log_dir} holds logs: the same bars again would repeat their order ids. Name an "
            "empty folder with --log-dir"
        )
    with ExitStack() as stack:
        trades: list[ClosedTrade] = []
        # What past bars make of it is no trade of now: where the logs go, the traces go.
        traces = args.log_dir if args.bars and args.log_dir else settings.home / TRACES
        telemetry = arguments.telemetry(args, chosen, traces, buffer_size=50)
        if telemetry is not None:
            stack.callback(telemetry.close)
        if args.bars:
            paths = bars.find(args.bars, args.symbols, args.interval).values()
            engine = paper_over_bars(
                within(bars.merged(paths), args), chosen, settings=settings, log_dir=log_dir,
                seed=args.seed, telemetry=telemetry, stack=stack, trades=trades,
            )  # fmt: skip
        else:
            data, venue = _exchange(args)
            engine = at_an_exchange(
                data, venue, args.symbols, chosen, settings=settings, log_dir=log_dir,
                seed=args.seed, telemetry=telemetry, stack=stack,
            )  # fmt: skip
        engine.stop_at_signals()
        where = f"bars of {args.bars}" if args.bars else f"{args.orders} of {args.exchange}"
        _log.info("Trading session started: %s, %s", " ".join(args.symbols), where)
        engine.run()
        _log.info("Trading session ended: %s", engine.executor.summary())
        if args.bars:
            names = [strategy.name for strategy in chosen]
            print(_result(engine, names, trades, settings.trading.paper_equity_usd, log_dir))


def _result(
    engine: Engine, names: Sequence[str], trades: list[ClosedTrade], start_usd: float, log_dir: Path
) -> str:
    """Return what a person reads after a paper run over bars, as after a backtest."""
    account = engine.executor.account()
    summaries = [results.summarise(name, trades) for name in [*names, "*"]]
    open_usd = results.worth_of_open(engine.executor.sleeves.values(), account.marks)
    return "\n".join(
        [
            results.table(summaries),
            "",
            f"equity {start_usd:,.2f} → {account.equity_usd:,.2f} USD",
            results.tied(account.equity_usd - start_usd, summaries[-1].net_usd, open_usd),
            results.orders_line(*results.count_orders(log_dir)),
            f"logs: {log_dir}",
        ]
    )


def at_an_exchange(
    data: Venue,
    venue: Venue | None,
    symbols: Sequence[str],
    strategies: Sequence[Strategy],
    *,
    settings: Settings,
    log_dir: Path,
    seed: int = 0,
    telemetry: TradeTelemetry | None = None,
    interval_ms: int = 60_000,
    stack: ExitStack | None = None,
) -> Engine:
    """Return an engine that trades now, on the quotes of ``data``.

    Its orders go to ``venue``; None is the paper venue, by the rules of ``data`` and the fees of
    the settings. Bars are made of the quotes and recorded in ``log_dir``/bars. With a ``stack``
    that will stop it, what orders are made with is mirrored to Firestore, where one is configured,
    and a paper engine has ``log_dir`` for itself.

    Raises VenueError where ``data`` does not answer or does not trade a symbol, ValueError where
    the snapshots are of another environment than ``venue``, EngineBusyError where another paper
    engine of this home writes to ``log_dir``.
    """
    if venue is not None and venue.environment != settings.environment:
        raise ValueError(
            f"orders go to {venue.name}, {venue.environment}, but snapshots are of environment "
            f"{settings.environment}: set EXECINTEL_ENVIRONMENT={venue.environment} here and for "
            "the refresh"
        )
    clock = RealClock()
    instruments = {symbol: data.instrument(symbol) for symbol in symbols}
    orders = venue or paper_venue(clock, settings.trading, seed=seed, instruments=instruments)
    state_dir = settings.home / "state" / f"{orders.name}-{orders.environment}"
    reader = SnapshotReader(
        settings.snapshots_root,
        environment=settings.environment,
        max_age_s=settings.snapshot_max_age_s,
    )
    if stack is not None:
        if venue is None:
            stack.enter_context(_alone(settings.home, log_dir))
        publisher = PeriodicPublisher(
            reader.read,
            lambda: tuple(symbols),
            interval_s=settings.exec_intel_publish_interval_s,
            switches=Controls(settings.controls_root).state,
            applied=settings.applied(orders.environment),
        )
        publisher.start()
        stack.callback(publisher.stop)
    return Engine(
        orders,
        strategies,
        reader.read,
        settings=settings,
        clock=clock,
        log_dir=log_dir,
        state_dir=state_dir if venue else None,  # a paper account is new with every start
        controls=Controls(settings.controls_root).prepare(),
        on_closed=telemetry.on_close if telemetry else None,
        feed=QuoteFeed(
            data.quote, symbols, clock, interval_ms=interval_ms,
            on_bars=BarRecorder(log_dir / "bars"),
        ),
    )  # fmt: skip


def _alone(home: Path, log_dir: Path) -> AbstractContextManager[None]:
    """Hold a log folder for one paper engine: two would read as one account.

    The lock lies with the state of real venues, since a file beside the logs would be no log.
    """
    digest = hashlib.sha256(str(log_dir.resolve()).encode()).hexdigest()
    return held_alone(
        home / "state" / f"paper-{digest[:12]}.lock",
        f"another paper engine writes to {log_dir}: stop it, or name another folder with --log-dir",
    )


def _exchange(args: argparse.Namespace) -> tuple[Venue, Venue | None]:
    """Connect: where quotes come from, and where orders go (None is paper)."""
    from live.venues.ccxt_venue import CcxtVenue  # seconds, which bars of the past need not

    if args.orders == "paper":  # without keys: nothing but public data can be asked for
        return CcxtVenue(args.exchange, live=True), None
    venue = CcxtVenue.from_environment(args.exchange, live=args.orders == "live")
    return venue, venue


def paper_over_bars(
    groups: Iterator[list[Bar]],
    strategies: Sequence[Strategy],
    *,
    settings: Settings,
    log_dir: Path,
    seed: int,
    telemetry: TradeTelemetry | None,
    stack: ExitStack,
    trades: list[ClosedTrade] | None = None,
) -> Engine:
    """Return an engine whose ``run`` trades the bars on paper; ``stack`` takes what to close.

    Closed trades are added to ``trades``.

    Raises ValueError where there is no bar.
    """
    first = next(groups, None)
    if first is None:
        raise ValueError("there is no bar to trade: look at --start, --end and --session")
    clock = ReplayClock(min(bar.open_ms for bar in first))
    past = PastSnapshots(settings, clock)
    stack.callback(past.close)
    feed = ReplayFeed(past.follow(chain([first], groups)), lambda: engine.stop())
    engine = Engine(
        paper_venue(clock, settings.trading, seed=seed),
        strategies,
        past.read,
        settings=settings,
        clock=clock,
        log_dir=log_dir,
        controls=Controls(settings.controls_root, keeps_halts=True),
        on_closed=results.gathering([] if trades is None else trades, telemetry),
        feed=feed,
    )
    clock.is_over = lambda: engine.is_stopping
    return engine


def _parse(argv: Sequence[str] | None, prog: str, settings: Settings) -> argparse.Namespace:
    parser = arguments.parser(
        prog,
        "Trade now, on the quotes of an exchange; orders are paper unless --orders says else.\n"
        "With --bars the same loop trades on paper over bars of the past, at their time.",
        "example:\n"
        f"  {prog} --symbols BTCUSDT ETHUSDT --strategy both \\\n"
        "      --enable-telemetry --telemetry-throttle 120 --telemetry-sample-rate 0.1\n"
        f"  {prog} --symbols BTCUSDT --bars bars --log-dir paper --enable-telemetry",
    )
    parser.add_argument(
        "--exchange", default="binanceusdm", help="as ccxt names it (default: binanceusdm)"
    )
    parser.add_argument(
        "--orders",
        choices=["paper", "sandbox", "live"],
        default="paper",
        help="where they go; sandbox and live need EXECINTEL_VENUE_KEY and EXECINTEL_VENUE_SECRET, "
        "live is real money",
    )
    add_bars(parser, is_required=False)
    parser.add_argument("--seed", type=int, default=0, help="of the paper venue (default: 0)")
    parser.add_argument(
        "--log-dir",
        type=Path,
        metavar="DIR",
        help="folder of the logs (default: EXECINTEL_LOG_DIR, else $EXECINTEL_HOME/logs)",
    )
    arguments.add_telemetry(
        parser,
        settings,
        directory="default: $EXECINTEL_HOME/analytics/live; with --bars the --log-dir",
        is_live=True,
    )
    args = parser.parse_args(argv)
    if args.bars and args.orders != "paper":
        parser.error("--bars are of the past: orders on them are paper")
    return args
