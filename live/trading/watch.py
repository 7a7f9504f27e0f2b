"""What the gates judge by and nobody else measures: drawdown and the market's last minute.

Put here: measuring from values passed in. Keep out: asking the venue (guard.py), refusing.
"""

from collections import deque

import msgspec

DAY_MS = 86_400_000
_MINUTE_MS = 60_000
_SPAN_MS = 5 * _MINUTE_MS


class Peaks(msgspec.Struct):
    """The equity peaks that drawdown is measured from, as the journal keeps them."""

    day: int = -1  # UTC day number
    day_usd: float = 0.0
    high_usd: float = 0.0  # high-water mark since the start or the last resume
    recent: list[tuple[int, float]] = []  # of 24 hours, the five minutes that may be the peak yet


class Drawdown:
    """Drawdown of equity from its peak of the UTC day, of the last 24 hours, and of all time."""

    def __init__(self) -> None:
        self.peaks = Peaks()
        self._falling: deque[tuple[int, float]] = deque()  # span, its peak

    def load(self, peaks: Peaks) -> None:
        """Go on from what the journal kept."""
        self.peaks = peaks
        self._falling = deque(peaks.recent)

    def rebase(self) -> None:
        """Forget every peak: a person looked at the loss and resumed."""
        self.load(Peaks())

    def see(self, now_ms: int, equity_usd: float) -> tuple[float, str]:
        """Take the equity of now; return the worst drawdown in percent (0 or below) and of what."""
        peaks = self.peaks
        if now_ms // DAY_MS != peaks.day:
            peaks.day, peaks.day_usd = now_ms // DAY_MS, equity_usd
        peaks.day_usd = max(peaks.day_usd, equity_usd)
        peaks.high_usd = max(peaks.high_usd, equity_usd)
        falling, span = self._falling, now_ms // _SPAN_MS
        while falling and falling[-1][1] <= equity_usd:
            falling.pop()
        if not falling or falling[-1][0] != span:
            falling.append((span, equity_usd))
        while falling[0][0] < span - DAY_MS // _SPAN_MS:
            falling.popleft()
        of = (
            (_fall(equity_usd, peaks.day_usd), "the day's peak"),
            (_fall(equity_usd, falling[0][1]), "the peak of 24 hours"),
            (_fall(equity_usd, peaks.high_usd), "the high-water mark"),
        )
        worst, name = min(of)
        return worst * 100.0, name

    def dump(self) -> Peaks:
        """Return what ``load`` goes on from."""
        self.peaks.recent = list(self._falling)
        return self.peaks


def _fall(equity_usd: float, peak_usd: float) -> float:
    # Of an account that never held anything there is no share to lose; gates refuse it anyway.
    return equity_usd / peak_usd - 1.0 if peak_usd > 0 else min(equity_usd, 0.0)


class Moves:
    """The largest move of each symbol's mark within a minute."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[int, float]]] = {}

    def see(self, symbol: str, at_ms: int, mark: float, now_ms: int) -> None:
        """Take a mark; of those within a second the last counts, a late one does not.

        Marks of more than a minute ahead were taken by a clock that has gone back since.
        """
        seen = self._seen.setdefault(symbol, deque())
        while seen and seen[-1][0] > now_ms + _MINUTE_MS:
            seen.pop()
        if seen and at_ms < seen[-1][0]:
            return
        if len(seen) > 1 and at_ms - seen[-2][0] < 1_000:
            seen.pop()
        seen.append((at_ms, mark))
        while seen[0][0] < at_ms - _MINUTE_MS:
            seen.popleft()

    def pct(self, symbol: str, now_ms: int) -> float | None:
        """Return the move from lowest to highest mark of the last minute, None with under two."""
        marks = [mark for at_ms, mark in self._seen.get(symbol, ()) if at_ms >= now_ms - _MINUTE_MS]
        return (max(marks) / min(marks) - 1.0) * 100.0 if len(marks) > 1 else None
