"""What an engine may act on: a snapshot's own values, or more careful ones when something is lost.

Put here: the one rule that losing data never increases an order, as pure functions.
Keep out: files, clocks, generations (reader.py).
"""

from collections.abc import Mapping

import msgspec

from live.snapshot.records import ALL, HOURS, Policy, Quality, Record, TakerBias

UNKNOWN_SIZE_FACTOR = 0.5
CAREFUL_SIZE_FACTOR = 1.0  # the most when anything is lost
CAREFUL_OFFSET_BPS = 2.0  # the tightest then

# From tight to loose. A worse label trusts the maker route less, and a tighter policy is the safe
# one: few samples may demote, never promote.
_QUALITY: Mapping[str, int] = {"broken": 0, "degraded": 1, "unknown": 2, "ok": 3, "good": 4}
_BIAS: Mapping[str, int] = {"prefer_taker": 0, "balanced": 1, "prefer_maker": 2}
_MAKER_FIRST: Mapping[bool | None, int] = {False: 0, None: 1, True: 2}


class Acting(msgspec.Struct, frozen=True, gc=False):
    """The values an order is made with; offsets by UTC hour of day, in bps from mid."""

    size_factor: float
    offsets_bps: tuple[float, ...]
    quality: Quality
    maker_first: bool | None  # None: left to the strategy
    taker_bias: TakerBias


SAFE = Acting(UNKNOWN_SIZE_FACTOR, (CAREFUL_OFFSET_BPS,) * HOURS, "unknown", None, "balanced")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One symbol's record with the acting values it gives by itself and what it knows."""

    record: Record
    acting: Acting  # safe values stand where the record has none
    known: frozenset[str]
    is_enough: bool  # enough samples, and every acting value is the record's


def entry_of(record: Record) -> Entry:
    """Take the acting values out of a record, safe ones where it has none."""
    factor = record.size.final_size_factor if record.size else None
    offsets = record.offsets_bps
    if offsets is None or len(offsets) != HOURS:
        offsets = (None,) * HOURS
    policy = record.policy or Policy()
    is_policy_known = policy.quality is not None and policy.taker_bias is not None
    acting = Acting(
        UNKNOWN_SIZE_FACTOR if factor is None else factor,
        tuple([CAREFUL_OFFSET_BPS if bps is None else bps for bps in offsets]),
        policy.quality or SAFE.quality,
        policy.maker_first,
        policy.taker_bias or SAFE.taker_bias,
    )
    if not is_policy_known:
        acting = _tighter_policy(acting, SAFE)
    is_whole = factor is not None and None not in offsets and is_policy_known
    is_whole = is_whole or record.symbol == ALL  # nobody trades all symbols as one
    return Entry(record, acting, _known(record), is_whole and record.status == "ok")


def lost(entry: Entry, good: Entry | None) -> tuple[str, ...]:
    """Name what the last good record knew and this one does not, sorted."""
    if good is None or good.known <= entry.known:
        return ()
    return tuple(sorted(good.known - entry.known))


def careful(acting: Acting, good: Acting | None) -> Acting:
    """Return the smallest size, the widest offset and the tightest policy of what is known.

    Compared are ``acting``, the last good values and the bounds for lost data.
    """
    good = good or acting
    widest = [
        max(a, g, CAREFUL_OFFSET_BPS)
        for a, g in zip(acting.offsets_bps, good.offsets_bps, strict=True)
    ]
    tight = _tighter_policy(acting, good)
    return msgspec.structs.replace(
        tight,
        size_factor=min(acting.size_factor, good.size_factor, CAREFUL_SIZE_FACTOR),
        offsets_bps=tuple(widest),
    )


def _tighter_policy(acting: Acting, other: Acting) -> Acting:
    return msgspec.structs.replace(
        acting,
        quality=min(acting.quality, other.quality, key=_QUALITY.__getitem__),
        maker_first=min(acting.maker_first, other.maker_first, key=_MAKER_FIRST.__getitem__),
        taker_bias=min(acting.taker_bias, other.taker_bias, key=_BIAS.__getitem__),
    )


def _known(record: Record) -> frozenset[str]:
    """Name the inputs of size, offset and policy that the record knows.

    An hour's own evidence is none: it fades with every day and moves the offset by 0.2 bps.
    """
    size, score, router, bars = record.size, record.score, record.router, record.regime
    regime = bars.regime if bars else None
    values: dict[str, object] = {
        "size_factor": size and size.final_size_factor,
        "intel_size_factor": size and size.intel_size_factor,
        "sharpe_mult": size and size.sharpe_mult,
        "regime_scale": size and size.regime_scale,
        "inverse_vol": size and size.inverse_vol,
        "offsets_bps": record.offsets_bps,
        "policy": record.policy and record.policy.quality,
        "sharpe": score and score.sharpe,
        "atr_ratio": score and score.atr_ratio,
        "dd_pct": score and score.dd_pct,
        "fee_bps": score and score.fee_bps,
        "regime": None if regime == "unknown" else regime,
        # Of few bars the usual range is that of the last hours: what is wild looks normal.
        "bars": True if bars and bars.atr_source == "bars" else None,
        "maker_fill_ratio": router and router.maker_fill_ratio,
        "fallback_ratio": router and router.fallback_ratio,
        "slip_q50": router and router.slip_q50,
        "hourly": record.hourly or None,
    }
    return frozenset([name for name, value in values.items() if value is not None])
