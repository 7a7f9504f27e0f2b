"""How often calls of one kind came true, as a probability that is honest from the first call on.

Put here: what strategies share to state a confidence. Keep out: what makes a call.
"""

from collections.abc import Hashable

import msgspec

from live.market import Direction

PRIOR_HITS, PRIOR_MISSES = 1.0, 2.0  # before any call: one in three, LONG, SHORT or NOOP


class Call(msgspec.Struct, frozen=True):
    """A direction that was called, at which price, and of which kind it is."""

    direction: Direction
    price: float
    kind: Hashable


class _Record(msgspec.Struct, gc=False):
    call_n: int = 0
    hit_n: int = 0
    move_sum: float = 0.0


class Calibration:
    """Count by kind of call how often the market moved its way by more than a threshold.

    The confidence is the mean of the Beta posterior, (hits + 1) / (calls + 3): the share of the
    earlier calls of its kind that came true, drawn to one third while they are few. It is the
    probability of what a trace calls a right prediction; whether it holds is what the Brier score
    and the calibration error of feat_telemetry__accuracy tell.
    """

    def __init__(self, threshold: float) -> None:
        """Take the market move, as a fraction, that makes a call right."""
        self._threshold = threshold
        self._records: dict[Hashable, _Record] = {}

    def confidence(self, kind: Hashable) -> float:
        """Return the probability that a call of this kind comes true, in (0, 1)."""
        record = self._records.get(kind, _Record())
        return (record.hit_n + PRIOR_HITS) / (record.call_n + PRIOR_HITS + PRIOR_MISSES)

    def expected_edge(self, kind: Hashable) -> float | None:
        """Return the mean move in the called direction, a fraction; None before the first."""
        record = self._records.get(kind)
        return record.move_sum / record.call_n if record else None

    def settle(self, call: Call, price: float) -> None:
        """Learn from a call that ends at ``price``."""
        move = price / call.price - 1
        if call.direction == "SHORT":
            move = -move
        record = self._records.setdefault(call.kind, _Record())
        record.call_n += 1
        record.hit_n += move > self._threshold
        record.move_sum += move
