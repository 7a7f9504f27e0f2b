"""Command-line flags that the live engine and the backtester share, and what they stand for.

Put here: flags of strategies and telemetry, the telemetry made of them. Keep out: trading.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from features.settings import Settings, variable
from live.market.sessions import SESSIONS, FlatAtClose
from live.strategies import BOTH, Strategy, available, make
from live.telemetry import TelemetryWriter, TradeTelemetry

_log = logging.getLogger(__name__)


def parser(prog: str, description: str, example: str) -> argparse.ArgumentParser:
    """Return a parser with the flags that both programs have."""
    made = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--symbols", nargs="+", required=True, metavar="SYMBOL", help="such as BTCUSDT ETHUSDT"
    )
    made.add_argument(
        "--strategy",
        default="both",
        help=f"{', '.join(available())}, both, or a dotted module of yours (default: both)",
    )
    made.add_argument(
        "--session",
        choices=sorted(SESSIONS),
        default="24/7",
        help="us-equity: New York's hours and days; intraday trades end with the day",
    )
    made.add_argument(
        "--log-level",
        default="INFO",
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="what is written to standard error (default: INFO)",
    )
    return made


def log_to_stderr(args: argparse.Namespace) -> None:
    """Let the process's log lines go to standard error, as US-017 shows them."""
    logging.basicConfig(
        level=args.log_level, format="[%(levelname)s] %(message)s", stream=sys.stderr, force=True
    )


def add_telemetry(
    made: argparse.ArgumentParser, settings: Settings, *, directory: str, is_live: bool
) -> None:
    """Add the telemetry flags of US-017; live trading samples and throttles by default."""
    group = made.add_argument_group("telemetry")
    group.add_argument(
        "--enable-telemetry", action="store_true", help="write a prediction trace of closed trades"
    )
    group.add_argument(
        "--telemetry-dir", type=Path, metavar="DIR", help=f"folder of the traces ({directory})"
    )
    rate = settings.live_telemetry_sample_rate if is_live else 1.0
    group.add_argument(
        "--telemetry-sample-rate",
        type=float,
        default=rate,
        metavar="SHARE",
        help=f"0 to 1, share of closed trades that get a trace (default: {rate:g})",
    )
    throttle = settings.live_telemetry_throttle_seconds if is_live else 0.0
    group.add_argument(
        "--telemetry-throttle",
        "--telemetry-throttle-seconds",
        type=float,
        default=throttle,
        metavar="SECONDS",
        help=f"10 to 3600, shortest time between two traces, 0 for none (default: {throttle:g})",
    )
    group.add_argument("--telemetry-format", choices=["csv", "jsonl"], default="csv")
    group.add_argument(
        "--telemetry-compression", action="store_true", help="gzip finished files of traces"
    )


def strategies(args: argparse.Namespace, settings: Settings) -> list[Strategy]:
    """Construct the chosen strategies; in a session only ``holds_overnight`` ones keep a trade."""
    made = make(args.strategy, thresholds(settings))
    session = SESSIONS[args.session]
    if session is None:
        return made
    return [
        each if getattr(each, "holds_overnight", False) else FlatAtClose(each, session)
        for each in made
    ]


def thresholds(settings: Settings) -> dict[str, float]:
    """Return the market move from which a direction counts, by strategy, as settings have it."""
    return {name: getattr(settings, f"{name}_telemetry_threshold") for name in BOTH}


def telemetry(
    args: argparse.Namespace, chosen: list[Strategy], folder: Path, **writer: Any
) -> TradeTelemetry | None:
    """Start telemetry as the flags say, None where it is not enabled.

    Raises ValueError for a sample rate or a throttle out of its range.
    """
    if not args.enable_telemetry:
        return None
    seconds = args.telemetry_throttle
    if seconds and not 10 <= seconds <= 3600:
        name = variable("live_telemetry_throttle_seconds")
        raise ValueError(f"--telemetry-throttle {seconds:g}: allowed are 10 to 3600 ({name}), or 0")
    if not 0 <= args.telemetry_sample_rate <= 1:
        raise ValueError(f"--telemetry-sample-rate {args.telemetry_sample_rate:g}: 0 to 1")
    made = TradeTelemetry(
        TelemetryWriter(
            args.telemetry_dir or folder,
            args.telemetry_format,
            args.telemetry_compression,
            **writer,
        ),
        {strategy.name: strategy.threshold for strategy in chosen},
        sample_rate=args.telemetry_sample_rate,
        throttle_seconds=seconds,
    )
    _log.info(
        "Telemetry enabled: dir=%s, throttle=%gs, sample_rate=%g",
        args.telemetry_dir or folder,
        seconds,
        args.telemetry_sample_rate,
    )
    return made
