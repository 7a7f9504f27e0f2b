"""Why a size factor and the score behind it are what they are.

Put here: the steps of feat_symbol__sizing and feat_symbol__scores. Keep out:
computing any of it (sql/).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from features import words
from features.explain.steps import Line, Params, Part, Row, named

# -- size ---------------------------------------------------------------------------------------


def size_part(sizing: Row, regime: Row, score: Row, params: Params) -> Part:
    """Explain final_size_factor: the v5.10 factors, their product and each guard after it."""
    guards = sizing["capped_by"].split(",") if sizing["capped_by"] else []
    final = sizing["final_size_factor"]
    lines = _guards(sizing, params, frozenset(guards))
    return Part(
        "size",
        f"{final:.2f} × target" + (f", limited by {', '.join(guards)}" if guards else ""),
        "factor",
        (
            *_factors(sizing, regime, score, params),
            *lines,
            Line("final", "what sizes are multiplied by", final),
        ),
        _moves(sizing, lines),
    )


def _factors(sizing: Row, regime: Row, score: Row, params: Params) -> tuple[Line, ...]:
    low, high = params["sharpe_mult_low"], params["sharpe_mult_high"]
    floor, top = params["sharpe_mult_floor"], params["sharpe_mult_top"]
    sharpe = sizing["sharpe_7d"]
    line = f"{floor:g} gives {low:g}, {top:g} gives {high:g}, straight between"
    intel, daily_vol = sizing["intel_size_factor"], sizing["daily_vol"]
    lines = (
        Line(
            "inverse vol",
            _inverse_vol_rule(sizing, params),
            sizing["inverse_vol"],
            None if daily_vol is None else 100 * daily_vol,
            "pct",
            sizing["daily_vol_n"],
        ),
        Line(
            "regime",
            _regime_rule(regime),
            sizing["regime_scale"],
            regime["health_regime"],
            n=regime["n"],
        ),
        Line(
            "Sharpe",
            line if sharpe is not None else f"unknown counts as 0: {line}",
            sizing["sharpe_mult"],
            sharpe,
            n=sizing["n"],
        ),
        Line("score", f"by model {score['model']}, below", intel, score["score"], n=score["n"]),
    )
    moved = [replace(line, is_fired=line.effect not in (None, 1.0)) for line in lines]
    return (*moved, Line("product", "the four multiplied, as v5.10", sizing["product_v510"]))


def _inverse_vol_rule(sizing: Row, params: Params) -> str:
    target = params["target_daily_vol"]
    if not target:
        return "no target volatility is set"
    if sizing["daily_vol"] is None:
        return f"unknown below {params['vol_min_returns']:g} hourly returns: 1"
    low, high = params["size_factor_min"], params["size_factor_max"]
    return f"target {100 * target:g} % over realised, {low:g} to {high:g}"


def _regime_rule(regime: Row) -> str:
    ratio, source = regime["atr_ratio"], regime["atr_source"]
    if source == "fills":
        return "known from fills alone: shown, sizes nothing"
    if ratio is None:
        return "unknown sizes nothing"
    bars = f"{regime['bar_interval']} bars" + (", fewer than 500" if source == "short" else "")
    return f"ATR ratio {ratio:.2f} of {bars}"


def _moves(sizing: Row, lines: Sequence[Line]) -> tuple[str, ...]:
    """Say of each guard that acted whether it raised or lowered the size, and what it does."""
    befores = (sizing["product_v510"], *(line.effect for line in lines))
    return tuple(
        f"{'raised' if line.effect > before else 'lowered'} by {words.guards([line.what])}"
        for before, line in zip(befores, lines, strict=False)
        if line.is_fired
    )


def _guards(sizing: Row, params: Params, capped: frozenset[str]) -> tuple[Line, ...]:
    return tuple(
        replace(line, is_fired=line.what in capped)
        for line in (
            Line(
                "evidence_cap",
                f"above 1 with {params['evidence_min_round_trips']:g} round trips"
                " and a Sharpe bound above 0",
                sizing["after_evidence"],
                sizing["sharpe_lo90"],
                n=sizing["n"],
            ),
            Line(
                "incomplete",
                _coverage_rule(sizing, params),
                sizing["after_incomplete"],
                sizing["pnl_coverage"],
                "coverage",
            ),
            Line(
                "clamp",
                f"{params['size_factor_min']:g} to {params['size_factor_max']:g}",
                sizing["after_clamp"],
            ),
            Line(
                "change",
                _change_rule(sizing, params),
                sizing["after_change"],
                sizing["previous_size_factor"],
            ),
        )
    )


def _coverage_rule(sizing: Row, params: Params) -> str:
    needed = f"above 1 with {100 * params['min_pnl_coverage']:g} % of the account's PnL"
    is_least = sizing["pnl_coverage"] is not None and sizing["coverage_status"] == "unknowable"
    return f"{needed} and position changes (the lower) logged" + (
        "; the input is a lower bound" if is_least else ""
    )


def _change_rule(sizing: Row, params: Params) -> str:
    previous, step = sizing["previous_size_factor"], params["size_change_max"]
    if previous is None:
        return f"no snapshot before: at most {params['size_first_max']:g}"
    if sizing["after_change"] > sizing["after_clamp"]:
        most = f"by at most {100 * step:g} % from the snapshot before"
        if sizing["after_change"] < previous * (1 - step):
            return f"falls at once to what evidence and coverage allow, below it {most}"
        return f"falls {most}"
    if sizing["is_input_lost"]:
        return "an input was lost: not above the snapshot before"
    return f"at most {100 * step:g} % from the snapshot before"


# -- score --------------------------------------------------------------------------------------

# what: score column, input column, unit, n column, key of its rule
_SCORES = (
    ("Sharpe", "sharpe_score", "sharpe", "", "round_trip_n", "sharpe"),
    ("ATR ratio", "atr_score", "atr_ratio", "", None, "atr_ratio"),
    ("maker fills", "maker_score", "maker_fill_ratio", "share", "maker_known_n", "maker"),
    ("fallback", "fallback_score", "fallback_ratio", "share", "fallback_known_n", "fallback"),
    ("slippage q50", "slip_score", "slip_bps_q50", "bps", "slip_n", "slip"),
    ("drawdown today", "dd_score", "dd_pct", "pct", "dd_n", "dd"),
    ("fees", "fee_score", "fee_bps", "bps", "fee_n", "fee"),
)


def score_part(
    active: Row, models: Mapping[str, Row], params: Params, risk: Row | None = None
) -> Part:
    """Explain the score of the acting model: every part with its input and rule.

    ``risk`` is the symbol's row of feat_symbol__performance: the closes behind the drawdown.
    Snapshots of earlier releases do not hold them.
    """
    risk = risk or {}
    counts = {**active, "dd_n": risk.get("dd_n")}
    excluded = active["excluded"].split(",")
    rules = _v510_rules(params) if active["model"] == "v5.10" else _v511_rules(params)
    lines = []
    for what, part, source, unit, n, key in _SCORES:
        value, effect, rule = active[source], active[part], rules[key]
        if source in excluded:
            rule = "left out: the size has a factor of its own for it"
        elif value is None:
            rule = "unknown adds nothing"
        if n == "dd_n":
            rule += _unknown_rule(risk)
        lines.append(
            Line(what, rule, effect, value, unit, None if n is None else counts[n], effect != 0)
        )
    known = f"{100 * active['coverage']:.0f} % of its parts known"
    missing = f", missing: {active['missing'].replace(',', ', ')}" if active["missing"] else ""
    others = tuple(
        f"{row['model']} beside it: score {words.signed(row['score'])},"
        f" size factor {row['size_factor']:.2f}"
        for row in models.values()
        if row is not active
    )
    answer = f"{words.signed(active['score'])} by {active['model']}, {known}{missing}"
    total = Line("score", f"sum; sizes {active['size_factor']:.2f}", active["score"])
    return Part("score", answer, "adds", (*lines, total), others)


def _unknown_rule(risk: Row) -> str:
    """Say of how many of today's closes the drawdown knows no PnL; nothing where it knows all."""
    unknown = words.unknown_of(risk.get("dd_unknown_n"), risk.get("dd_n"))
    return unknown and f"; PnL of {unknown}"


def _v510_rules(params: Params) -> dict[str, str]:
    p = named(params, "v510_")
    return {
        "sharpe": f"half of it, -1 from {p['sharpe_low']:g} down, +1 from {p['sharpe_high']:g} up",
        "atr_ratio": f"{p['atr_calm_from']:g} to {p['atr_calm_to']:g} {p['atr_calm_score']:+g},"
        f" below {p['atr_quiet_below']:g} {p['atr_quiet_score']:+g},"
        f" above {p['atr_wild_above']:g} {p['atr_wild_score']:+g}",
        "maker": f"{p['maker_weight']:g} × what is above one half",
        "fallback": f"what is above {p['fallback_free']:g} is taken off",
        "slip": f"above {p['slip_above_bps']:g} bps {p['slip_score']:+g}",
        "dd": f"from {p['dd_pct']:g} % {p['dd_score']:+g},"
        f" from {p['dd_deep_pct']:g} % {p['dd_deep_score']:+g}",
        "fee": "v5.10 does not use them",
    }


def _v511_rules(params: Params) -> dict[str, str]:
    keys = [key for *_, key in _SCORES]
    return {
        key: "line through " + " ".join(f"({x:g}, {y:g})" for x, y in params[f"v511_{key}"])
        for key in keys
    }
