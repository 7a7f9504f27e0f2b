"""What a reading itself answers to the v5.10 questions, when nobody brings inputs of his own.

Put here: plain functions of a reading, and what an unknown value counts as. Keep out: v5.10 rules
(rules.py), the calls themselves (live.intel).
"""

from typing import Any, NamedTuple

import msgspec

from live.snapshot.acting import UNKNOWN_SIZE_FACTOR
from live.snapshot.reading import Reading
from live.snapshot.records import Hour, Record, Regime, Risk, Router, Score, Size

_NOTHING = Record("", 0, "", 0, "insufficient")
_SHARPE_MULT_UNKNOWN = 0.6875  # the multiplier of a Sharpe of 0: not knowing must not beat it


class Stack(NamedTuple):
    """The v5.10 size factors before the guards."""

    inverse_vol: float
    regime_scale: float
    sharpe_mult: float
    intel_size_factor: float


def effectiveness(reading: Reading) -> dict[str, Any]:
    router = _record(reading).router or Router()
    return {**msgspec.structs.asdict(router), **provenance(reading)}


def provenance(reading: Reading) -> dict[str, Any]:
    return {
        "status": reading.status,
        "snapshot_id": reading.snapshot_id,
        "as_of_ms": reading.as_of_ms,
    }


def score(reading: Reading) -> Score | None:
    """Return the published score, None where there is none."""
    found = _record(reading).score
    return None if found is None or found.score is None else found


def size(reading: Reading) -> Size:
    return _record(reading).size or Size()


def risk(reading: Reading) -> Risk:
    return _record(reading).risk or Risk()


def regime(reading: Reading) -> Regime:
    return _record(reading).regime or Regime()


def regime_name(reading: Reading) -> str:
    return regime(reading).regime or "unknown"


def atr_pcts(reading: Reading) -> tuple[float, float]:
    """Return the ATR of 50 and of 500 bars in percent of price, 0.0 where unknown."""
    found = regime(reading)
    return found.atr_pct_50 or 0.0, found.atr_pct_500 or 0.0


def reason(reading: Reading) -> str:
    """Return why the policy is what it is, and what keeps it from being the snapshot's own."""
    policy = _record(reading).policy
    words = (policy and policy.reason) or "nothing known of the symbol"
    return words if reading.status == "ok" else f"{words}; snapshot {reading.status}"


def hours(reading: Reading) -> dict[int, dict[str, Any]]:
    rows: dict[int, Hour] = _record(reading).hourly or {}
    return {hour: msgspec.structs.asdict(rows[hour]) for hour in sorted(rows)}


def stack(reading: Reading) -> Stack:
    """Return the size factors; while data is lost none is above what it was before.

    Whoever multiplies them then stays below what acts.
    """
    factors = _factors(size(reading))
    if reading.status == "ok":
        return factors
    if reading.held is not None:
        factors = Stack(*map(min, factors, _factors(reading.held.size or Size())))
    others = factors.inverse_vol * factors.regime_scale * factors.sharpe_mult
    if others > 0:
        acting = min(factors.intel_size_factor, reading.acting.size_factor / others)
        factors = factors._replace(intel_size_factor=acting)
    return factors


def _factors(found: Size) -> Stack:
    return Stack(
        _or(found.inverse_vol, 1.0),
        _or(found.regime_scale, 1.0),
        _or(found.sharpe_mult, _SHARPE_MULT_UNKNOWN),
        _or(found.intel_size_factor, UNKNOWN_SIZE_FACTOR),
    )


def _or(value: float | None, unknown: float) -> float:
    return unknown if value is None else value


def _record(reading: Reading) -> Record:
    return reading.record or _NOTHING
