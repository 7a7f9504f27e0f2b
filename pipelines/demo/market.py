"""A seeded market: one price path a symbol, its mid price at any moment and its 15-minute bars.

Put here: what prices do. Keep out: orders, and how log lines look.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from live.market import Bar

MINUTE_US = 60_000_000
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
BAR_MINUTES = 15
WARMUP_DAYS = 6  # 500 bars before the first order, so that volatility ratios exist from the start
LATE_REGIME_MINUTES = 13 * 60  # a little over the 50 bars of the short volatility window


@dataclass(frozen=True)
class SymbolSpec:
    """How a symbol trades: price level and steps, noise, costs, and the strategy's luck with it.

    ``late_vol`` multiplies the noise of the last 13 hours, so that every volatility regime occurs.
    ``edge`` is added to the chance of 1/2 that a signal points the right way. ``maker_luck`` is
    the chance that a post-only order is filled in time.
    """

    symbol: str
    price: float
    price_digits: int
    qty_digits: int
    minute_vol: float
    spread_bps: float
    impact_bps: float
    order_usd: float
    share: float
    edge: float
    maker_luck: float
    late_vol: float = 1.0
    min_notional_usd: int = 5

    @property
    def tier(self) -> str:
        """Tier of the risk caps."""
        return "CORE" if self.symbol in ("BTCUSDT", "ETHUSDT") else "SATELLITE"

    @property
    def step(self) -> float:
        """Smallest quantity, base units."""
        return float(10**-self.qty_digits)


# symbol, price, digits of price and quantity, noise a minute, spread, impact, order, share, edge,
# luck of a maker order, late noise, least notional
_SPEC_ROWS: tuple[tuple[Any, ...], ...] = (
    ("BTCUSDT", 93_500.0, 1, 3, 0.00045, 0.3, 0.6, 600.0, 1.4, 0.06, 0.80, 1.0, 100),
    ("ETHUSDT", 3_210.0, 2, 3, 0.00060, 0.5, 0.9, 300.0, 1.3, 0.04, 0.75, 1.0, 20),
    ("SOLUSDT", 138.5, 2, 2, 0.00080, 0.9, 1.4, 180.0, 1.1, 0.09, 0.72, 1.0, 5),
    ("LINKUSDT", 13.42, 3, 2, 0.00085, 1.6, 2.2, 140.0, 1.0, 0.00, 0.55, 1.0, 5),
    ("LTCUSDT", 81.7, 2, 3, 0.00070, 2.0, 2.5, 200.0, 1.2, -0.05, 0.45, 0.25, 20),
    ("SUIUSDT", 1.6432, 4, 1, 0.00110, 2.4, 4.0, 120.0, 0.9, 0.05, 0.35, 4.5, 5),
    ("WIFUSDT", 0.3915, 4, 1, 0.00130, 5.0, 9.0, 100.0, 0.7, -0.08, 0.08, 2.0, 5),
    ("DOGEUSDT", 0.14210, 5, 0, 0.00090, 1.8, 2.4, 110.0, 0.8, 0.02, 0.60, 1.0, 5),
)
SPECS = {row[0]: SymbolSpec(*row) for row in _SPEC_ROWS}
DEMO_SYMBOLS: tuple[str, ...] = tuple(SPECS)


def spec_of(symbol: str) -> SymbolSpec:
    """Return the symbol's own specification, or a middling one for a symbol without."""
    return SPECS.get(symbol) or SymbolSpec(
        symbol, 10.0, 3, 2, 0.00090, 2.0, 2.5, 120.0, 1.0, 0.0, 0.5
    )


class Market:
    """Price paths of some symbols over a span, from a seed.

    Times are epoch microseconds. The path begins WARMUP_DAYS before ``start_us``.
    """

    def __init__(self, symbols: tuple[str, ...], start_us: int, end_us: int, seed: int) -> None:
        bar_us = BAR_MINUTES * MINUTE_US
        self.first_us = (start_us - WARMUP_DAYS * DAY_US) // bar_us * bar_us
        self.bar_count = (end_us - self.first_us) // bar_us
        minutes = (end_us - self.first_us) // MINUTE_US + 2
        self._seed = seed
        self.paths: dict[str, list[float]] = {}
        self._volumes: dict[str, npt.NDArray[np.float64]] = {}
        for number, symbol in enumerate(symbols):
            rng = np.random.Generator(np.random.PCG64([seed, 1, number]))
            path = self._path(spec_of(symbol), minutes, rng)
            self.paths[symbol] = path.tolist()
            moves = np.abs(np.diff(np.log(path)))[: self.bar_count * BAR_MINUTES]
            base = 4e6 / spec_of(symbol).price * (1 + 2000 * moves) * rng.gamma(4, 0.25, len(moves))
            self._volumes[symbol] = base.reshape(-1, BAR_MINUTES).sum(axis=1)

    def _path(
        self, spec: SymbolSpec, minutes: int, rng: np.random.Generator
    ) -> npt.NDArray[np.float64]:
        minute_of_day = (self.first_us // MINUTE_US + np.arange(minutes)) % 1440
        busy = 1 + 0.35 * np.sin((minute_of_day / 1440 - 0.35) * 2 * math.pi)  # most at 14:24 UTC
        busy[-LATE_REGIME_MINUTES:] *= spec.late_vol
        steps = rng.standard_normal(minutes) * spec.minute_vol * busy
        level = np.cumsum(steps)
        # Pulled back to its level: a month of the same seed does not drift to another world.
        level -= np.linspace(0, level[-1] * 0.6, minutes)
        return np.asarray(spec.price * np.exp(level), dtype=np.float64)

    def mid(self, symbol: str, at_us: int) -> float:
        """Return the mid price of a moment inside the span, between its two minutes."""
        minute, rest = divmod(at_us - self.first_us, MINUTE_US)
        path = self.paths[symbol]
        last = len(path) - 1
        if minute >= last:
            return path[last]
        before = path[minute]
        return before + (path[minute + 1] - before) * (rest / MINUTE_US)

    def minute_bars(self, symbol: str) -> list[Bar]:
        """Return the closed one-minute bars of the whole path.

        Highs and lows lie beyond the path as those of a random walk between two minutes would:
        bars that only run from open to close would betray their close.
        """
        path = np.asarray(self.paths[symbol])[: self.bar_count * BAR_MINUTES + 1]
        opens, closes = path[:-1], path[1:]
        rng = np.random.Generator(np.random.PCG64([self._seed, 2, list(self.paths).index(symbol)]))
        beyond = rng.exponential(0.5 * spec_of(symbol).minute_vol, (2, len(opens)))
        highs = np.maximum(opens, closes) * np.exp(beyond[0])
        lows = np.minimum(opens, closes) * np.exp(-beyond[1])
        volumes = np.repeat(self._volumes[symbol] / BAR_MINUTES, BAR_MINUTES)
        first_ms, minute_ms = self.first_us // 1000, MINUTE_US // 1000
        columns = (column.tolist() for column in (opens, highs, lows, closes, volumes))
        return [
            Bar(symbol, first_ms + number * minute_ms, minute_ms, *values)
            for number, values in enumerate(zip(*columns, strict=True))
        ]

    def bars_csv(self, symbol: str) -> str:
        """Write the closed 15-minute bars as CSV: bar-open time UTC, open … volume."""
        digits = spec_of(symbol).price_digits + 1
        path = np.asarray(self.paths[symbol])[: self.bar_count * BAR_MINUTES + 1]
        opens, closes = path[:-1:BAR_MINUTES], path[BAR_MINUTES::BAR_MINUTES]
        inner = path[:-1].reshape(-1, BAR_MINUTES)
        highs = np.maximum(inner.max(axis=1), closes)
        lows = np.minimum(inner.min(axis=1), closes)
        times = np.datetime64(self.first_us, "us") + np.arange(self.bar_count) * np.timedelta64(
            BAR_MINUTES, "m"
        )
        stamps = np.datetime_as_string(times, unit="s").tolist()
        rows = zip(stamps, opens, highs, lows, closes, self._volumes[symbol], strict=True)
        lines = [
            f"{t.replace('T', ' ')}+00:00," + "".join(f"{p:.{digits}f}," for p in ohlc) + f"{v:.3f}"
            for t, *ohlc, v in rows
        ]
        return "\n".join(["date,open,high,low,close,volume", *lines, ""])
