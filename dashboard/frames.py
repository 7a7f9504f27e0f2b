"""From a view to the rows that pages show: plain functions, one row a symbol, hour or step.

Put here: choosing, scaling to bps, words of a status. Keep out: reading (data.py), how rows look
(panels.py, charts.py). Unknown stays None.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from dashboard import live_helpers
from dashboard.data import View
from features.acknowledgements import made_of
from features.explain import Part
from features.explain.words import effect, measured
from features.words import counted, ends, known_of
from live.snapshot.reading import Reading
from live.snapshot.records import (
    ALL,
    HOURS,
    Hour,
    Policy,
    Record,
    Regime,
    Risk,
    Router,
    Score,
    Size,
)

_ROUTES = {True: "maker first", False: "never maker", None: "maker if wanted"}

SYMBOLS: dict[str, Any] = {
    "symbol": pl.String, "status": pl.String, "score": pl.Float64, "n": pl.Int64,
    "known_n": pl.Int64, "size_factor": pl.Float64, "round_trip_n": pl.Int64, "quality": pl.String,
    "policy": pl.String, "offset_now_bps": pl.Float64, "slip_q50_bps": pl.Float64,
    "slip_n": pl.Int64, "exp_now_bps": pl.Float64, "exp_now_lo95_bps": pl.Float64,
    "exp_now_hi95_bps": pl.Float64, "close_n": pl.Int64, "exp_by_hour_bps": pl.List(pl.Float64),
}  # fmt: skip
HOURLY = {
    "hour": pl.Int64, "trades": pl.Int64, "fills": pl.Int64, "exp_bps": pl.Float64,
    "exp_lo95_bps": pl.Float64, "exp_hi95_bps": pl.Float64, "closes": pl.Int64,
    "exp_net_bps": pl.Float64, "exp_shrunk_bps": pl.Float64, "slip_bps_avg": pl.Float64,
    "slip_n": pl.Int64, "offset_bps": pl.Float64,
}  # fmt: skip


def written(
    frame: pl.DataFrame, columns: Iterable[str], write: Callable[[Any], str]
) -> list[pl.Series]:
    """Return columns with each known value as the text that ``write`` makes of it.

    By Python alone: Polars' map_elements calls Python from Polars' threads, and where another
    session converts a table just then, both wait for each other and the server stands still.
    """
    return [
        pl.Series(
            name, [None if v is None else write(v) for v in frame[name].to_list()], dtype=pl.String
        )
        for name in columns
    ]


def rounded(frame: pl.DataFrame, digits: Mapping[str, int]) -> pl.DataFrame:
    """Return a frame with columns rounded as they are shown: what becomes 0 has no sign left.

    A table's cell would write -0.004 as -0.00.
    """
    return frame.with_columns(
        pl.Series(name, [shown(each, n) for each in frame[name].to_list()], dtype=pl.Float64)
        for name, n in digits.items()
    )


def shown(value: float | None, digits: int = 2) -> float | None:
    """Return a number rounded as it is shown: what becomes 0 has no sign left."""
    return None if value is None else round(value, digits) + 0.0


def symbols(view: View) -> pl.DataFrame:
    """Return one row a symbol with what acts now; the hour is that of the moment shown."""
    return pl.DataFrame(
        [_symbol(view.read(name), view.hour_utc) for name in view.symbols], schema=SYMBOLS
    )


def alerts(view: View) -> pl.DataFrame:
    """Return feat_ops__alerts with who had seen each by then: seen_by, seen_ms, seen_as, seen_note.

    Unknown where nobody had; ``seen_as`` is the severity it had then.
    """
    rows = view.table("feat_ops__alerts")
    if not rows.width:
        return rows
    seen = view.acknowledged()
    made = [made_of(seen, row) for row in rows.iter_rows(named=True)]
    return rows.with_columns(
        pl.Series("seen_by", [each and each.by for each in made], pl.String),
        pl.Series("seen_ms", [each and each.at_ms for each in made], pl.Int64),
        pl.Series("seen_as", [each and each.severity for each in made], pl.String),
        pl.Series("seen_note", [each and each.note for each in made], pl.String),
    )


def _symbol(reading: Reading, hour: int) -> dict[str, Any]:
    record = reading.record or Record(reading.symbol, 0, "", 0, "insufficient")
    size, router = record.size or Size(), record.router or Router()
    score = record.score or Score()
    now = (record.hourly or {}).get(hour, Hour())
    return {
        "symbol": reading.symbol,
        "status": reading.status,
        "score": score.score,
        "n": record.n,
        "known_n": _known_n(router),
        "size_factor": reading.acting.size_factor,
        "round_trip_n": size.n,
        "quality": reading.acting.quality,
        "policy": policy_words(reading),
        "offset_now_bps": reading.acting.offsets_bps[hour],
        "slip_q50_bps": router.slip_q50,
        "slip_n": router.slip_n,
        "exp_now_bps": _exp(now, now.exp_per_notional),
        "exp_now_lo95_bps": _exp(now, now.exp_lo95),
        "exp_now_hi95_bps": _exp(now, now.exp_hi95),
        "close_n": now.close_n,
        "exp_by_hour_bps": hourly_values(record),
    }


def policy_words(reading: Reading) -> str:
    """Return the route that acts: maker first or not, and which way it leans if it does."""
    acting = reading.acting
    leans = "" if acting.taker_bias == "balanced" else f", {acting.taker_bias.replace('_', ' ')}"
    return f"{_ROUTES[acting.maker_first]}{leans}"


def hourly_values(record: Record) -> list[float | None]:
    """Return expectancy by UTC hour in bps, None where no close tells."""
    rows = record.hourly or {}
    found = [rows.get(hour, Hour()) for hour in range(HOURS)]
    return [_exp(row, row.exp_per_notional) for row in found]


def bounds(low: float | None, high: float | None) -> str:
    """Write the ends of an interval in bps so that a cell holds them: no decimals from 100 on.

    But for an end beside 0, of which they say on which side it lies.
    """
    furthest = max(abs(low or 0.0), abs(high or 0.0))
    return ends(low, high, 1 if round(furthest, 1) < 100 else 0)


def room(texts: Iterable[str | None]) -> int:
    """Return how many pixels of a table hold the longest of some counts and their head."""
    return max(78, *(16 + 7 * len(text or "") for text in texts))


def ended(router: Router) -> str:
    """Write the samples behind what a router is, as `execintel show` does: 16 of 189.

    Of the other attempts nobody knows the end.
    """
    return known_of(_known_n(router), router.n)


def _known_n(router: Router) -> int:
    return router.n - router.unknown_n


def regime_n(n: int, source: str | None) -> str:
    """Write what a regime was told by: 700 bars, 12 fills."""
    return counted(n, "fill" if source == "fills" else "bar")


def signs(values: Sequence[float | None]) -> str:
    """Say how many hours earn and lose, the rest being unknown or even: +13 −9."""
    known = [value for value in values if value is not None]
    if not known:
        return "none"
    earned, lost = sum(value > 0 for value in known), sum(value < 0 for value in known)
    return f"+{earned} \N{MINUS SIGN}{lost}"


def hours(view: View, symbol: str) -> pl.DataFrame:
    """Return 24 rows: what an hour of the day cost and earned, and its offset."""
    with view.answering():
        found = live_helpers.get_hourly_expectancy(None if symbol == ALL else symbol)
    offsets = view.read(symbol).acting.offsets_bps
    rows = []
    for hour in range(HOURS):
        row = Hour(**found[hour]) if hour in found else Hour()
        rows.append(
            {
                "hour": hour,
                "trades": row.count,
                "fills": row.fill_n,
                "exp_bps": _exp(row, row.exp_per_notional),
                "exp_lo95_bps": _exp(row, row.exp_lo95),
                "exp_hi95_bps": _exp(row, row.exp_hi95),
                "closes": row.close_n,
                "exp_net_bps": _exp(row, row.exp_net_per_notional),
                "exp_shrunk_bps": _bps(row.exp_shrunk),
                "slip_bps_avg": row.slip_bps_avg,
                "slip_n": row.slip_n,
                "offset_bps": None if symbol == ALL else offsets[hour],
            }
        )
    return pl.DataFrame(rows, schema=HOURLY)


def has_hours(view: View, symbol: str) -> bool:
    """Tell whether any hour of a symbol has rows."""
    record = view.record(symbol)
    return bool(record and record.hourly)


def heat(view: View, names: Iterable[str]) -> pl.DataFrame:
    """Return a row for each symbol and hour: expectancy in bps with interval and n."""
    frames = [
        hours(view, name)
        .select("hour", "exp_bps", "exp_lo95_bps", "exp_hi95_bps", "closes", "trades")
        .with_columns(pl.lit("all" if name == ALL else name).alias("symbol"))
        for name in names
    ]
    return pl.concat(frames) if frames else pl.DataFrame()


def steps(part: Part) -> pl.DataFrame:
    """Return the steps to an answer as rows of text, as `execintel explain` prints them."""
    return pl.DataFrame(
        [
            {
                "step": ("▸ " if line.is_fired else "") + line.what,
                "input": measured(line),
                "n": line.n,
                part.effect: effect(line.effect, part.effect),
                "rule": line.rule,
            }
            for line in part.lines
        ],
        schema={
            "step": pl.String, "input": pl.String, "n": pl.Int64, part.effect: pl.String,
            "rule": pl.String,
        },
    )  # fmt: skip


def waterfall(part: Part) -> pl.DataFrame:
    """Return the parts of a score from running sum to running sum; the last row is the score."""
    rows, total = [], 0.0
    for line in part.lines:
        if not isinstance(line.effect, float | int):
            continue
        is_sum = line is part.lines[-1]
        start = 0.0 if is_sum else total
        end = line.effect if is_sum else total + line.effect
        rows.append(
            {
                "part": line.what,
                "from": start,
                "to": end,
                "adds": float(line.effect),
                "written": effect(line.effect, part.effect),
                "n": line.n,
                "kind": "sum" if is_sum else "adds" if line.effect >= 0 else "takes",
            }
        )
        total = end
    return pl.DataFrame(rows)


def slippage(view: View, symbol: str) -> pl.DataFrame:
    """Return slippage quartiles by hour of a symbol; without columns where there is no table."""
    found = view.table("feat_execution__slippage_quartiles")
    if not found.width:
        return found
    return (
        found.filter((pl.col("symbol") == symbol) & (pl.col("hour_utc") >= 0))
        .select(
            pl.col("hour_utc").cast(pl.Int64).alias("hour"), "n", "slip_bps_q25", "slip_bps_q50",
            "slip_bps_q75", "slip_bps_mean", "fresh_n", "fresh_q50", "suspect_n",
        )
        .sort("hour")
    )  # fmt: skip


def offsets(view: View, symbol: str) -> pl.DataFrame:
    """Return the offset that acts by hour, beside what the snapshot and v5.10 say."""
    acting = pl.DataFrame(
        {"hour": list(range(HOURS)), "acts_bps": list(view.read(symbol).acting.offsets_bps)}
    )
    found = view.table("feat_router__maker_offsets")
    if not found.width:
        return acting
    mine = found.filter(pl.col("symbol") == symbol).select(
        pl.col("hour_utc").cast(pl.Int64).alias("hour"), "offset_bps", "offset_v510_bps",
        "hour_bps", "close_n",
    )  # fmt: skip
    return acting.join(mine, on="hour", how="left").sort("hour")


def health(view: View) -> pl.DataFrame:
    """Return one row a symbol of what its health document says."""
    rows = []
    with view.answering():
        for name in view.symbols:
            found = live_helpers.execution_health(name)
            router, risk, sizing = found["router"], found["risk"], found["sizing"]
            vol = found["vol"]
            *_, mine, _, today = parts_of(view.record(name))
            rows.append(
                {
                    "symbol": name,
                    "status": found["status"],
                    "warnings": ", ".join((*router["router_warnings"], *risk["risk_flags"])),
                    "policy_quality": router["policy_quality"],
                    "n": router["n"],
                    "known_n": _known_n(mine),
                    "maker_fill_ratio": router["maker_fill_ratio"],
                    "maker_known_n": router["maker_known_n"],
                    "fallback_ratio": router["fallback_ratio"],
                    "fallback_known_n": router["fallback_known_n"],
                    "slip_q50": router["slip_q50"],
                    "slip_n": router["slip_n"],
                    "sharpe_7d": sizing["sharpe_7d"],
                    "round_trip_n": sizing["round_trip_n"],
                    "dd_today_pct": risk["dd_today_pct"],
                    "dd_n": today.dd_n,
                    "dd_unknown_n": today.dd_unknown_n,
                    "atr_regime": vol["atr_regime"],
                    "atr_ratio": vol["atr_ratio"],
                    "regime_n": vol["n"],
                    "atr_source": vol["atr_source"],
                    "final_size_factor": sizing["final_size_factor"],
                    "applied_size_factor": sizing["applied_size_factor"],
                    "capped_by": ", ".join(sizing["capped_by"]),
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def parts_of(record: Record | None) -> tuple[Score, Size, Regime, Router, Policy, Risk]:
    """Return the parts of a record, empty ones where it has none."""
    if record is None:
        return Score(), Size(), Regime(), Router(), Policy(), Risk()
    return (
        record.score or Score(), record.size or Size(), record.regime or Regime(),
        record.router or Router(), record.policy or Policy(), record.risk or Risk(),
    )  # fmt: skip


def _exp(row: Hour, fraction: float | None) -> float | None:
    """Return an expectancy in bps; without a close the hour tells nothing."""
    return _bps(fraction) if row.close_n else None


def _bps(fraction: float | None) -> float | None:
    return None if fraction is None else fraction * 1e4


def earned(view: View, symbol: str) -> dict[str, Any] | None:
    """Return a symbol's row of feat_symbol__performance: PnL before and after fees, their ns.

    As `execintel show` has it: without a close neither is known, and PnL after fees is not unless
    the fees of every fill are. ``paid_n`` counts the fills, and the closes without an attempt. None
    where the snapshot has no such table or no row of it.
    """
    rows = view.table("feat_symbol__performance")
    if "net_pnl_usd" not in rows.columns:
        return None
    found = rows.filter(symbol=symbol)
    if found.is_empty():
        return None
    row = found.row(0, named=True)
    *_, router, _, _ = parts_of(view.record(symbol))
    paid_n = router.fill_n + row["close_only_n"]
    is_whole = row["fees_known_n"] == paid_n
    return row | {
        "paid_n": paid_n,
        "realized_pnl_usd": row["realized_pnl_usd"] if row["n"] else None,
        "net_pnl_usd": row["net_pnl_usd"] if row["n"] and is_whole else None,
    }


def ack_n(view: View, symbol: str | None) -> int | None:
    """Return how many attempts of a symbol, of all for None, have a time of acknowledgement."""
    rows = view.table("feat_router__effectiveness")
    if "ack_n" not in rows.columns:
        return None
    found = rows.filter(pl.col("symbol") == (symbol or ALL))["ack_n"]
    return int(found[0]) if found.len() else None
