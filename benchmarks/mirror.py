"""The executor's loop with the mirror beside it and without: its server well, hung, gone, back.

Every tick asks for a symbol's size, offset and policy, as the order path does, a thousand times a
second. Blocks with and without the mirror take turns, so that what else the machine does falls on
both. 200 symbols are active.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from live import intel
from live.firestore_mirror import publish_snapshot, state
from live.mirror.publisher import PeriodicPublisher
from live.reader import SnapshotReader
from live.snapshot.generation import load
from tests.emulator import Emulator, NoEmulatorError
from tests.live import files

_TICK_S = 0.001
_SYMBOLS = [f"S{number}USDT" for number in range(200)]


def main(argv: list[str]) -> int:
    """Run and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--block", type=float, default=6.0, help="seconds a block")
    parser.add_argument("--blocks", type=int, default=4, help="blocks of either kind a state")
    parser.add_argument("--interval", type=float, default=300.0, help="seconds, 30 to 3600")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    options = parser.parse_args(argv)
    if options.quick:
        options.block, options.blocks = 0.5, 1
    try:
        server = Emulator()
    except NoEmulatorError as error:
        print(error)
        return 0
    try:
        with tempfile.TemporaryDirectory() as folder:
            _measure(server, Path(folder), options)
    finally:
        server.kill()
    return 0


def _measure(server: Emulator, home: Path, options: argparse.Namespace) -> None:
    os.environ["FIRESTORE_EMULATOR_HOST"] = server.host
    root = home / "snapshots"
    now_ms = time.time_ns() // 1_000_000
    files.publish(root, "1-now", [files.line(name) for name in _SYMBOLS], as_of_ms=now_ms)
    reader = intel.configure(home, environment="paper", max_age_s=86_400)
    publish_snapshot(load(root, "1-now", "paper"), deadline_s=60)
    table = Table("server", "ticks", "p50 µs", "p99 µs", "p99 with", "ratio", "p99.9", "with")
    states: dict[str, Callable[[], None]] = {
        "hung": server.freeze,
        "thawed": server.thaw,
        "killed: refuses": server.kill,
        "back, empty": server.start,
    }
    table.add_row("well", *_compare(reader, options))
    for name, prepare in states.items():
        prepare()
        table.add_row(name, *_compare(reader, options))
    Console().print(table)
    print(f"mirror: {state()}")


def _compare(reader: SnapshotReader, options: argparse.Namespace) -> list[str]:
    without: list[float] = []
    beside: list[float] = []
    _block(options.block / 4)  # the caches of this state
    for _ in range(options.blocks):
        without += _block(options.block)
        publisher = PeriodicPublisher(reader.read, lambda: _SYMBOLS, interval_s=options.interval)
        publisher.start()
        beside += _block(options.block)
        publisher.stop()
    one, other = _quantiles(without), _quantiles(beside)
    return [
        f"{len(without):,}",
        f"{one[499] * 1e6:.0f}",
        f"{one[989] * 1e6:.0f}",
        f"{other[989] * 1e6:.0f}",
        f"{other[989] / one[989]:.2f}",
        f"{one[998] * 1e6:.0f}",
        f"{other[998] * 1e6:.0f}",
    ]


def _quantiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=1000)


def _block(seconds: float) -> list[float]:
    """Return what each tick took, without the wake-up before it, which is the machine's."""
    times: list[float] = []
    due = time.perf_counter()
    end = due + seconds
    number = 0
    while due < end:
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        started = time.perf_counter()
        symbol = _SYMBOLS[number % len(_SYMBOLS)]
        intel.size_for(symbol, 100.0)
        intel.suggest_maker_offset_bps(symbol)
        intel.router_policy(symbol)
        times.append(time.perf_counter() - started)
        due += _TICK_S
        number += 1
    return times


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
