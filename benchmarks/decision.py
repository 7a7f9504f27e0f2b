"""What one decision costs: size, policy and offset from the snapshot, then every risk gate.

Beside it the same three answers through the v5.10 calls of live.intel, and from the JSON text of
the symbol, as an engine without a reader would ask. `--n` is the number of timed decisions.
"""

import argparse
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.calls import Times, nothing, show, timed
from features.settings import DECISIONS, Trading
from live import intel
from live.market import Quote
from live.reader import SnapshotReader
from live.snapshot.records import Hour, Place, Policy, Record, Regime, Risk, Router, Score, Size
from live.trading.controls import State
from live.trading.gates import Ask, World, judge
from live.trading.sizing import decide
from live.venues import Instrument

P99_TARGET_US = 20.0
SYMBOLS = 200
AS_OF_MS = 1_762_300_800_000
NOW_S = AS_OF_MS / 1e3 + 10
ID = "20251105T000000Z-aaaaaaaa"
ALL = frozenset(DECISIONS)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decision", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all")
    parser.add_argument("--n", type=int, default=200_000, help="decisions to time")
    args = parser.parse_args(argv)
    n = 2_000 if args.quick else args.n
    with tempfile.TemporaryDirectory(prefix="execintel-bench-") as folder:
        _measure(Path(folder), n)
    return 0


def _measure(home: Path, n: int) -> None:
    symbols = [f"SYM{number}USDT" for number in range(SYMBOLS)]
    texts = _publish(home / "snapshots", symbols)
    reader = SnapshotReader(home / "snapshots", environment="paper", clock=lambda: NOW_S)
    world, ask = _world(), Ask("SYM0USDT", "BUY", 0.01, 100_000.0, False)

    def ours(symbol: str) -> None:
        decide(reader.read(symbol), gross_target_usd=1_000.0, hour_utc=3, apply=ALL)

    def gates(symbol: str) -> None:
        judge(ask, world)

    def calls(symbol: str) -> None:
        intel.size_for(symbol, 1_000.0)
        intel.router_policy(symbol)
        intel.suggest_maker_offset_bps(symbol)

    def text(symbol: str) -> None:
        found = json.loads(texts[symbol])
        size, policy, offsets = found["size"], found["policy"], found["offsets_bps"]
        nothing((size["final_size_factor"], policy["maker_first"], offsets[3]))

    intel.configure(home, environment="paper", clock=lambda: NOW_S)
    clock = show(timed(nothing, symbols, n))
    print(f"{SYMBOLS} symbols, {n:,} decisions; the clock itself: {clock}")
    base = _warm(ours, symbols, n)
    verdict = "met" if np.percentile(base, 99) < P99_TARGET_US else "missed"
    print(f"read and decide: {show(base)}")
    print(f"    target p99 under {P99_TARGET_US:g} µs: {verdict}")
    print(f"every risk gate: {show(_warm(gates, symbols, n))}")
    for name, call in (("v5.10 calls (three)", calls), ("JSON text of the symbol", text)):
        found = _warm(call, symbols, max(1, n // 10))
        ratio = float(np.median(found) / np.median(base))
        print(f"{name}: {show(found)}; {ratio:.1f} times ours")


def _warm(call: Callable[[str], None], symbols: list[str], n: int) -> Times:
    """Time calls after one round of all symbols."""
    for symbol in symbols:
        call(symbol)
    return timed(call, symbols, n)


def _world() -> World:
    symbols = {f"SYM{number}USDT": 100.0 for number in range(10)}
    return World(
        now_ms=AS_OF_MS, trading=Trading(), environment="paper", controls=State(),
        instrument=Instrument("SYM0USDT", 0.1, 0.001, 0.001, 5.0, max_leverage=20.0),
        quote=Quote("SYM0USDT", AS_OF_MS, 99_999.0, 100_001.0), mark=100_000.0,
        equity_usd=10_000.0, drawdown_pct=0.0, drawdown_of="", clock_offset_ms=0.0,
        is_reconciled=True, is_writable=True, snapshot_status="ok", snapshot_too_old=False,
        has_snapshot=True, move_pct=0.1, orders_minute=0, orders_hour=0, is_hedged=False,
        long_usd=symbols,
        short_usd=symbols,
    )  # fmt: skip


def _publish(root: Path, symbols: list[str]) -> dict[str, bytes]:
    """Write a snapshot's live.jsonl with full records; returns each symbol's line."""
    lines = {symbol: msgspec.json.encode(_record(symbol)) for symbol in symbols}
    head: dict[str, Any] = {
        "format": 1, "snapshot_id": ID, "as_of_ms": AS_OF_MS, "window_days": 7,
        "environment": "paper", "account": "default", "symbol_key": "symbol",
    }  # fmt: skip
    first, length = b"", -1
    while len(first) != length:  # the offsets' digits decide how long the first line is
        length, offset, index = len(first), len(first) + 1, {}
        for symbol, line in lines.items():
            index[symbol] = Place(offset, len(line), hashlib.sha256(line).hexdigest())
            offset += len(line) + 1
        body = msgspec.json.encode({**head, "index": index})[:-1]
        first = body + b',"index_sha256":"%s"}' % hashlib.sha256(body).hexdigest().encode()
    folder = root / ID
    folder.mkdir(parents=True)
    (folder / "live.jsonl").write_bytes(b"".join(x + b"\n" for x in (first, *lines.values())))
    (root / "CURRENT").write_text(ID + "\n")
    return lines


def _record(symbol: str) -> Record:
    hour = Hour(17, 9, 4, 4e-4, 1e-4, 1e-4, 7e-4, None, 3e-4, 9, 0.75, 0.25)
    return Record(
        symbol, AS_OF_MS, ID, 400, "ok",
        Score("v5.10", 0.75, 1.0, 0.5, 1.0, 0.1, 0.15, -0.5, 0.0, 2.5, (), 1.0),
        Size(60, 1.225, 1.125, 1.0, 1.0, 1.378, None, 0.97, "complete", False, 1.25, ("change",)),
        Regime(700, "normal", "normal", 0.4, 0.4, 1.0, "bars", "15m"),
        Router(400, 200, 390, 0.51, 10, 200, 0.8, 150, 140, 0.2, 200, -0.5, 0.8, 2.0, 35.0, 90.5),
        Policy(400, "good", True, "prefer_maker", "normal", "quality=good; regime=normal"),
        Risk(62, 1.0, 0.5, -0.5, -0.75, 2_500.0),
        (1.5,) * 24,
        dict.fromkeys(range(24), hour),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
