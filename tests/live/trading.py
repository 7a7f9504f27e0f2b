"""An engine on the paper venue over made-up bars, for every test of trading.

Put here: markets, strategies, engines of a few lines. Keep out: faults (faulty.py), expectations.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from features.settings import Settings
from live.clock import SimulatedClock
from live.engine import Engine
from live.market import Bar, Direction, Signal
from live.snapshot.acting import SAFE, Acting
from live.snapshot.reading import Reading
from live.strategies import Strategy
from live.trading.book import ClosedTrade
from live.trading.controls import Controls
from live.venues import Instrument
from live.venues.paper import PaperConfig, PaperVenue

START_MS = 1_762_300_800_000  # 2025-11-05T00:00:00Z
MINUTE_MS = 60_000
BTC = Instrument("BTCUSDT", 0.1, 0.001, 0.001, 5.0, -1.0, 5.0, 20.0)
ETH = Instrument("ETHUSDT", 0.01, 0.001, 0.001, 5.0, -1.0, 5.0, 20.0)
SYMBOLS = {"BTCUSDT": BTC, "ETHUSDT": ETH}
Line = dict[str, Any]
READY = Acting(1.0, (2.0,) * 24, "ok", True, "balanced")


def reading(symbol: str, *, acting: Acting = READY, **values: Any) -> Reading:
    """Return a fresh reading of a snapshot."""
    usual: dict[str, Any] = {
        "status": "ok", "reduce_only": False, "snapshot_id": "s1", "as_of_ms": START_MS,
        "age_s": 1.0, "record": None,
    }  # fmt: skip
    return Reading(symbol, acting=acting, **{**usual, **values})


def no_snapshot(symbol: str) -> Reading:
    return Reading(symbol, "unknown", True, None, None, None, SAFE, None)


def bar(symbol: str, minute: int, *prices: float, volume: float = 1e6) -> Bar:
    """Return a one-minute bar: open, high, low, close, or one price for all four."""
    o, h, low, c = prices if len(prices) == 4 else (prices[0],) * 4
    return Bar(symbol, START_MS + minute * MINUTE_MS, MINUTE_MS, o, h, low, c, volume)


def walk(seed: int, n: int, symbol: str = "BTCUSDT", start: float = 100_000.0) -> Iterator[Bar]:
    """Yield a random walk of one-minute bars."""
    rng = random.Random(f"{seed}/{symbol}")
    price = start
    for minute in range(n):
        prices = [price]
        for _ in range(4):
            prices.append(prices[-1] * (1 + rng.gauss(0, 3e-4)))
        yield bar(symbol, minute, price, max(prices), min(prices), prices[-1])
        price = prices[-1]


@dataclass
class Script:
    """A strategy that says what it was told to say: by minute, what it wants."""

    says: dict[int, Direction]
    name: str = "script"
    threshold: float = 0.003
    wants_maker: bool = True
    symbol: str = "BTCUSDT"
    more: dict[str, Any] = field(default_factory=dict)

    def on_bar(self, bar: Bar) -> Signal | None:
        direction = self.says.get((bar.open_ms - START_MS) // MINUTE_MS)
        if direction is None or bar.symbol != self.symbol:
            return None
        return Signal(
            self.name, bar.symbol, direction, bar.close_ms, bar.close, 0.6, 0.001,
            self.wants_maker, **self.more,
        )  # fmt: skip


class Restless:
    """A strategy that changes its mind at random, the same way for the same seed."""

    def __init__(self, seed: int, name: str = "restless", rate: float = 0.3) -> None:
        self.name, self.threshold, self.rate = name, 0.003, rate
        self._seed = seed

    def on_bar(self, bar: Bar) -> Signal | None:
        rng = random.Random(f"{self._seed}/{self.name}/{bar.symbol}/{bar.open_ms}")
        if rng.random() > self.rate:
            return None
        direction: Direction = rng.choice(["LONG", "SHORT", "NOOP"])
        wants_maker = rng.random() < 0.7
        return Signal(
            self.name, bar.symbol, direction, bar.close_ms, bar.close, 0.6, None, wants_maker
        )


class Desk:
    """One account: its venue outlives the engines that are started on it."""

    def __init__(
        self,
        root: Path,
        *strategies: Strategy,
        config: PaperConfig | None = None,
        seed: int = 0,
        read: Callable[[str], Reading] = reading,
        has_state: bool = True,
        equity_usd: float = 10_000.0,
        is_hedged: bool = False,
        **trading: Any,
    ) -> None:
        self.root = root
        self.clock = SimulatedClock(START_MS)
        self.paper = PaperVenue(
            self.clock,
            seed=seed,
            config=config,
            instruments=SYMBOLS,
            equity_usd=equity_usd,
            is_hedged=is_hedged,
        )
        self.venue: Any = self.paper
        self.strategies: Sequence[Strategy] = strategies
        self.read = read
        self.closed: list[ClosedTrade] = []
        self.settings = Settings(home=root / "home", trading=trading)
        self.controls = Controls(root / "control")
        self.has_state = has_state
        self.engine = self.start()

    def start(self) -> Engine:
        """Start an engine on what is there, as after a restart."""
        self.engine = Engine(
            self.venue, self.strategies, self.read, settings=self.settings, clock=self.clock,
            log_dir=self.root / "logs", state_dir=self.root / "state" if self.has_state else None,
            controls=self.controls, on_closed=self.closed.append,
        )  # fmt: skip
        return self.engine

    def play(self, *bars: Bar) -> None:
        for one in bars:
            self.engine.on_bar(one)

    def lines(self, name: str) -> list[Line]:
        """Return a log's lines; a line that is no JSON fails the test."""
        path = self.root / "logs" / f"{name}.jsonl"
        return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []

    def outcomes(self) -> list[Line]:
        return self.lines("order_metrics")

    def orders(self, event_type: str) -> list[Line]:
        return [x for x in self.lines("orders_executed") if x["event_type"] == event_type]

    def vetoes(self) -> list[str]:
        return [x["veto_reason"] for x in self.lines("risk_vetoes")]

    @property
    def position(self) -> float:
        return sum([p.qty for p in self.paper.positions()])
