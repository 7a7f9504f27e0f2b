"""Decide one order from one reading: how large, how far from mid, by which route. Pure.

Put here: the decision and its context, router_ctx. Keep out: gates, which stand above all of it
(gates.py), and anything that waits. Beside what acts stands what v5.10 alone would have done.
"""

from collections.abc import Set
from typing import Any

import msgspec

from features.settings import DECISIONS
from live.snapshot.acting import CAREFUL_OFFSET_BPS
from live.snapshot.reading import Reading, Status
from live.snapshot.records import Quality, TakerBias
from live.v510 import of_reading, rules

_V510_KEPT = 4_096  # v5.10 answers kept, by snapshot, symbol and hour


class Policy(msgspec.Struct, frozen=True, gc=False):
    """How to route; ``maker_first`` None leaves it to the strategy."""

    quality: str
    maker_first: bool | None
    taker_bias: str


class Size(msgspec.Struct, frozen=True, gc=False):
    """Notional wanted and the factors behind it; a factor is None where it is unknown.

    ``final`` is what acts: 1.0 where size is shadowed.
    """

    gross_target: float
    inverse_vol: float | None
    regime: float | None
    sharpe: float | None
    intel: float | None
    final: float


class Alternative(msgspec.Struct, frozen=True, gc=False):
    """What another rule says of the same order."""

    size_factor: float | None
    offset_bps: float
    policy: Policy


class RouterCtx(msgspec.Struct, frozen=True, gc=False):
    """Everything an order was decided by, as each of its lines and its journal carry it."""

    snapshot_id: str | None
    snapshot_status: Status
    snapshot_age_s: float | None
    policy: Policy  # what acts
    maker_offset_bps: float  # what acts
    size: Size
    intel: Alternative  # what the snapshot says, whether it acts or not
    v510: Alternative | None  # what v5.10 alone would have done; None where nothing is known
    applied: tuple[str, ...]  # the decisions in which ``intel`` acts
    shadowed: tuple[str, ...]  # those in which it is only noted

    @property
    def notional_usd(self) -> float:
        """Return the notional to trade."""
        return self.size.gross_target * self.size.final


# What acts where the snapshot is only shadowed: as if there were no snapshot at all.
_PLAIN = Policy("unknown", None, "balanced")
_v510_kept: dict[tuple[str, str, int], Alternative] = {}


def decide(
    reading: Reading, *, gross_target_usd: float, hour_utc: int, apply: Set[str]
) -> RouterCtx:
    """Return size, offset and policy of one order, with everything they rest on.

    Args:
        reading: the symbol's reading; its acting values already hold back where data is lost.
        gross_target_usd: notional before any factor.
        hour_utc: 0 to 23.
        apply: which of size, offset, policy act; the others are shadowed.
    """
    acting = reading.acting
    size = of_reading.size(reading)
    quality: Quality = acting.quality
    bias: TakerBias = acting.taker_bias
    intel = Alternative(
        acting.size_factor, acting.offsets_bps[hour_utc], Policy(quality, acting.maker_first, bias)
    )
    return RouterCtx(
        snapshot_id=reading.snapshot_id,
        snapshot_status=reading.status,
        snapshot_age_s=reading.age_s,
        policy=intel.policy if "policy" in apply else _PLAIN,
        maker_offset_bps=intel.offset_bps if "offset" in apply else CAREFUL_OFFSET_BPS,
        size=Size(
            gross_target_usd,
            size.inverse_vol,
            size.regime_scale,
            size.sharpe_mult,
            size.intel_size_factor,
            acting.size_factor if "size" in apply else 1.0,
        ),
        intel=intel,
        v510=_v510_alone(reading, hour_utc),
        applied=tuple([name for name in DECISIONS if name in apply]),
        shadowed=tuple([name for name in DECISIONS if name not in apply]),
    )


def _v510_alone(reading: Reading, hour_utc: int) -> Alternative | None:
    """Answer as the v5.10 rules do, without evidence, memory, guards or ageing."""
    record = reading.record
    if record is None:
        return None
    key = (record.snapshot_id, record.symbol, hour_utc)
    kept = _v510_kept.get(key)
    if kept is None:
        stats = of_reading.effectiveness(reading)
        regime = of_reading.regime_name(reading)
        row = (record.hourly or {}).get(hour_utc)
        bare: dict[str, Any] = {"exp_per_notional": row.exp_per_notional} if row else {}
        ratios = {name: stats[name] for name in ("maker_fill_ratio", "fallback_ratio", "slip_q50")}
        found = rules.policy(rules.router_quality(ratios), regime)
        kept = Alternative(
            record.size.product_v510 if record.size else None,
            rules.offset_bps(ratios, regime, bare),
            Policy(found.quality, found.maker_first, found.taker_bias),
        )
        if len(_v510_kept) >= _V510_KEPT:
            _v510_kept.clear()
        _v510_kept[key] = kept
    return kept
