"""Why a maker offset and a router policy are what they are.

Put here: the steps of feat_router__maker_offsets and feat_router__policies. Keep out:
computing any of it (sql/).
"""

import math

from features import words
from features.explain.steps import Line, Params, Part, Row, named

# -- offset -------------------------------------------------------------------------------------


_REGIMES = ("quiet", "hot", "panic")


def offset_part(row: Row, policy: Row, params: Params) -> Part:
    """Explain offset_bps of one hour: the base, each adjustment and the bounds."""
    fallback, slip = policy["acting_fallback_ratio"], policy["acting_slip_bps"]
    # An hour without a close is unknown; snapshots of earlier releases hold 0 there.
    earns = _bps(row["exp_per_notional"]) if row["close_n"] else None
    maker_n, fallback_n, slip_n = row["maker_known_n"], row["fallback_known_n"], row["slip_n"]
    p = named(params, "offset_")
    steps = (
        ("regime", "regime_bps", policy["acting_regime"], "", row["regime_n"]),
        ("maker fills", "maker_bps", row["maker_fill_ratio"], "share", maker_n),
        ("fallback", "fallback_bps", fallback, "share", fallback_n),
        ("fallback, high", "fallback_high_bps", fallback, "share", fallback_n),
        ("slippage q50", "slip_bps_adj", slip, "bps", slip_n),
        (f"hour {row['hour_utc']:02d} earns", "hour_bps", earns, "bps", row["close_n"]),
    )
    rules = {
        "regime_bps": ", ".join(f"{name} {p[f'{name}_bps']:+g}" for name in _REGIMES),
        "maker_bps": f"above {p['maker_above']:g} quotes closer",
        "fallback_bps": f"above {p['fallback_above']:g} quotes wider",
        "fallback_high_bps": f"above {p['fallback_high_above']:g} wider still",
        "slip_bps_adj": f"above {p['slip_above_bps']:g} wider,"
        f" below {p['calm_below_bps']:g} closer",
        "hour_bps": _hour_rule(row, params),
    }
    lines = [
        Line(what, rules[column], row[column], value, unit, n, row[column] != 0)
        for what, column, value, unit, n in steps
    ]
    return Part(
        "offset",
        f"{row['offset_bps']:.2f} bps from mid at {row['hour_utc']:02d} UTC",
        "bps",
        (
            Line("base", "before any adjustment", row["base_bps"]),
            *lines,
            Line("offset", f"sum, {p['min_bps']:g} to {p['max_bps']:g}", row["offset_bps"]),
        ),
        (f"without evidence and memory, as v5.10: {row['offset_v510_bps']:.2f} bps",),
    )


def _hour_rule(row: Row, params: Params) -> str:
    needed = params["offset_hour_min_n"]
    if row["close_n"] < needed:
        return f"speaks from {needed:g} closes on"
    if row["exp_lo95"] is None or row["exp_hi95"] is None:
        return "speaks with bounds, which are unknown"
    bounds = words.ends(1e4 * row["exp_lo95"], 1e4 * row["exp_hi95"], 1)
    return f"speaks where its bounds exclude 0: {bounds}"


# -- policy -------------------------------------------------------------------------------------

MAKER_FIRST = {True: "maker first", False: "never maker first", None: "maker first if wanted"}


def policy_part(row: Row, params: Params) -> Part:
    """Explain the label: what each input allows, the label of this snapshot, the one that acts."""
    lines = (*_costs(row, params), _makers(row, params), *_labels(row))
    answer = f"{row['quality']}, {MAKER_FIRST[row['maker_first']]}, {row['taker_bias']}"
    return Part("policy", answer, "allows", lines, _policy_notes(row))


def _labels(row: Row) -> tuple[Line, ...]:
    regime = row["acting_regime"]
    weak = "panic prefers takers, with a weak router never maker first"
    quality, candidate, before = (
        row[name] for name in ("quality", "candidate_quality", "previous_quality")
    )
    waits = quality != candidate
    remembered = "the label that acted then; a better one acts when seen twice, a worse at once"
    if before is None:
        remembered = "none is remembered: a label begins at unknown, a better one must come twice"
    return (
        Line("regime", weak, "", regime, n=row["regime_n"], is_fired=regime == "panic"),
        Line("this snapshot", "the worst of them", candidate),
        Line("snapshot before", remembered, before),
        Line("label", _why_it_acts(quality, candidate, before), quality, is_fired=waits),
    )


_RANKS = ("broken", "degraded", "unknown", "ok", "good")  # from the tightest to the loosest


def _why_it_acts(quality: str, candidate: str, before: str | None) -> str:
    if quality != candidate:
        return f"acts until a second snapshot says {candidate} too"
    if quality == before:
        return "acts: as before"
    if _RANKS.index(quality) < _RANKS.index(before or "unknown"):
        return f"acts at once: worse than {before or 'unknown'}"
    if before is None:
        return "acts: where a label begins"
    return f"acts: this snapshot and the one before saw {quality} or better"


def _costs(row: Row, params: Params) -> tuple[Line, ...]:
    """Explain the two inputs of which more is worse."""
    lines = []
    for what, column, unit, counted, name in (
        ("fallback", "acting_fallback_ratio", "share", "fallback_known_n", "fallback"),
        ("slippage q50", "acting_slip_bps", "bps", "slip_n", "slip_bps"),
    ):
        value, n = row[column], row[counted]
        broken, degraded, good = (
            params[f"policy_{label}_{name}"] for label in ("broken", "degraded", "good")
        )
        rule = f"broken from {broken:g}, degraded from {degraded:g}, good to {good:g}"
        label = "ok"
        if value is not None and value >= degraded:
            label = "broken" if value >= broken else "degraded"
        elif value is not None and value <= good:
            label, rule = _if_enough(rule, n, params)
        lines.append(Line(what, rule, label, value, unit, n, label in ("broken", "degraded")))
    return tuple(lines)


def _makers(row: Row, params: Params) -> Line:
    value, n = row["maker_fill_ratio"], row["maker_known_n"]
    good = params["policy_good_maker"]
    label, rule = "ok", f"good from {good:g}"
    if value is not None and value >= good:
        label, rule = _if_enough(rule, n, params)
    return Line("maker fills", rule, label, value, "share", n)


def _if_enough(rule: str, n: int, params: Params) -> tuple[str, str]:
    few = params["policy_min_n"]
    return ("good", rule) if n >= few else ("ok", f"{rule}, of {few:g} samples")


def _policy_notes(row: Row) -> tuple[str, ...]:
    notes = [f"as v5.10, without evidence and memory: {row['quality_v510']}"]
    for what, now, acting in (
        ("fallback", "fallback_ratio", "acting_fallback_ratio"),
        ("slippage", "slip_bps_q50", "acting_slip_bps"),
    ):
        if row[acting] is not None and row[now] != row[acting]:
            seen = (
                "unknown" if row[now] is None else f"{words.number(row[now])}, of too few samples"
            )
            notes.append(f"{what} {words.number(row[acting])} is remembered: now it is {seen}")
    if row["acting_regime"] != row["regime"]:
        notes.append(f"regime {row['acting_regime']} acts: bars do not confirm {row['regime']}")
    if row["left_out_n"]:
        notes.append(f"{row['left_out_n']} unconfirmed fills are left out")
    return tuple(notes)


def _bps(share: float | None) -> float | None:
    return None if share is None or not math.isfinite(share) else 1e4 * share
