"""The demonstration's account: positions in first-in first-out lots, cash, realised PnL.

Put here: what a fill does to a position and to NAV. Keep out: why an order was made, log lines.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

START_NAV_USD = 10_000.0
TAKER_FEE = 0.0005
MAKER_FEE = 0.0002


@dataclass
class Position:
    """A position in whole quantity steps: ``sign`` is 1 long, -1 short, 0 flat."""

    step: float
    digits: int
    sign: int = 0
    exit_us: int = 0
    lots: deque[tuple[int, float]] = field(default_factory=deque)

    @property
    def steps(self) -> int:
        return sum(steps for steps, _ in self.lots)

    @property
    def signed_qty(self) -> float:
        return round(self.sign * self.steps * self.step, self.digits)

    @property
    def side(self) -> str:
        return "LONG" if self.sign > 0 else "SHORT"

    @property
    def entry_px(self) -> float:
        steps = self.steps
        return sum(n * px for n, px in self.lots) / steps if steps else 0.0

    def open(self, sign: int, steps: int, px: float) -> None:
        """Add a lot. The position must be flat or on the same side."""
        if self.lots and self.sign != sign:
            raise ValueError(f"a {self.side} position cannot grow by sign {sign}: close it first")
        self.sign = sign
        self.lots.append((steps, px))

    def close(self, steps: int, px: float) -> float:
        """Take steps off, oldest lot first, and return the realised PnL in USD, gross of fees."""
        if steps > self.steps:
            raise ValueError(f"cannot close {steps} steps of a position of {self.steps}")
        pnl = 0.0
        while steps:
            held, entry_px = self.lots.popleft()
            taken = min(held, steps)
            pnl += (px - entry_px) * self.sign * taken * self.step
            if held > taken:
                self.lots.appendleft((held - taken, entry_px))
            steps -= taken
        if not self.lots:
            self.sign = 0
        return pnl


class Account:
    """All positions of one account and its cash in USD."""

    def __init__(self, steps: Iterable[tuple[str, int]]) -> None:
        self.positions = {name: Position(10.0**-digits, digits) for name, digits in steps}
        self.cash_usd = START_NAV_USD
        self.peak_usd = START_NAV_USD

    def nav(self, mid: Callable[[str], float]) -> dict[str, object]:
        """Return NAV and exposure at these mid prices, as orders_attempted.jsonl writes them."""
        nav = self.cash_usd
        gross: dict[str, float] = {}
        for symbol, position in self.positions.items():
            if position.lots:
                px = mid(symbol)
                size = position.steps * position.step
                nav += (px - position.entry_px) * position.sign * size
                gross[symbol] = px * size
        self.peak_usd = max(self.peak_usd, nav)
        snapshot: dict[str, object] = {"nav_usd": nav, "gross_usd": sum(gross.values())}
        if gross:
            snapshot["symbol_gross_usd"] = gross
        return snapshot
