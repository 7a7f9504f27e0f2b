"""How large to trade: feat_symbol__sizing on literal rows of the tables it reads."""

import itertools
import math
import statistics
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.sql.literal import D, H, M, Row, T, features, features_of, outcome, raw

Con = duckdb.DuckDBPyConnection

TABLE = "feat_symbol__sizing"
AS_OF = T + D
WEEK = 7 * D
# Where each named input stands; before_* are columns of previous_memory.
SCORES = (
    "round_trip_n", "size_factor", "sharpe", "atr_ratio", "maker_fill_ratio", "fallback_ratio",
    "slip_bps_q50", "dd_pct", "fee_bps", "model",
)  # fmt: skip
# Enough evidence, every factor 1 but the score's: the product is what a test says.
NEUTRAL_SHARPE = -1 + 4 * 0.75 / 1.75  # its multiplier is 1
EVIDENT: Row = {"round_trip_n": 30, "sharpe_lo90": 0.5, "sharpe": NEUTRAL_SHARPE}
KNOWN: Row = {"atr_ratio": 1.0, "maker_fill_ratio": 0.5, "fallback_ratio": 0.5}
KNOWN |= {"slip_bps_q50": 1.0, "dd_pct": 0.0, "fee_bps": 5.0}


def tables_of(symbol: str, **known: Any) -> dict[str, Row]:
    """Return a symbol's rows in every table that the size reads; what is not named is NULL."""
    score = {"symbol": symbol, "model": "v5.10", "is_active": True, "round_trip_n": 0}
    score |= {"size_factor": 1.0, **{n: v for n, v in known.items() if n in SCORES}}
    rows: dict[str, Row] = {
        "feat_symbol__scores": score,
        "feat_symbol__performance": {"symbol": symbol, "sharpe_lo90": known.get("sharpe_lo90")},
        "feat_symbol__atr_regime": {
            "symbol": symbol,
            "regime_scale": known.get("regime_scale", 1.0),
            "atr_source": known.get("atr_source", "bars"),
        },
    }
    before = {n.removeprefix("before_"): v for n, v in known.items() if n.startswith("before_")}
    if before:
        usual = {"symbol": symbol, "decided_ms": AS_OF - 5 * M, "is_listed": True}
        rows["previous_memory"] = {**usual, **before}
    return rows


def sizes(con: Con, cases: list[Row], bars: list[Row] | None = None, **choice: Any) -> list[Row]:
    """Return the row of each case, all computed together."""
    tables: dict[str, list[Row]] = {"raw_market__bars": bars or []}
    for number, case in enumerate(cases):
        for table, row in tables_of(f"S{number}", **case).items():
            tables.setdefault(table, []).append(row)
    found = features_of(con, TABLE, tables, as_of_ms=AS_OF, **choice)
    return [found[f"S{number}"] for number in range(len(cases))]


def size(con: Con, case: Row, **choice: Any) -> Row:
    (row,) = sizes(con, [case], **choice)
    return row


# ----------------------------------------------------------------------------------------- factors


def test_sharpe_multiplier_is_a_line_from_a_quarter_to_two(con: Con) -> None:
    cases = {
        -9.0: 0.25,
        math.nextafter(-1.0, -math.inf): 0.25,
        -1.0: 0.25,
        0.0: 0.6875,
        1.0: 1.125,
        2.9: 0.25 + 3.9 / 4 * 1.75,
        3.0: 2.0,
        math.nextafter(3.0, math.inf): 2.0,
        99.0: 2.0,
    }
    found = [row["sharpe_mult"] for row in sizes(con, [{"sharpe": x} for x in cases])]
    assert found == pytest.approx(list(cases.values()), abs=1e-14)


def test_an_unknown_sharpe_counts_as_nought(con: Con) -> None:
    unknown, measured = sizes(con, [{"sharpe": None}, {"sharpe": 0.0}])
    assert unknown["sharpe_mult"] == measured["sharpe_mult"] == 0.6875


def test_product_is_that_of_the_four_factors(con: Con) -> None:
    # the worked case of the original: Sharpe multiplier 1.2, intel factor 1.36, the others 1
    sharpe = -1 + 4 * (1.2 - 0.25) / 1.75
    row = size(con, {"sharpe": sharpe, "size_factor": 1.36, "regime_scale": 0.5})
    assert row["sharpe_mult"] == pytest.approx(1.2, abs=1e-14)
    assert (row["intel_size_factor"], row["inverse_vol"]) == (1.36, 1.0)
    assert row["product_v510"] == pytest.approx(1.2 * 1.36 * 0.5, abs=1e-14)


@pytest.mark.parametrize("scale", [None, math.nan, -0.5, 1.5, math.inf])
def test_a_regime_scale_that_can_be_none_scales_nothing(con: Con, scale: float | None) -> None:
    assert size(con, {"regime_scale": scale})["regime_scale"] == 1.0


def test_a_score_that_is_none_sizes_as_an_unknown_symbol(con: Con) -> None:
    rows = sizes(con, [{"size_factor": bad} for bad in (None, math.nan, math.inf, -1.0, 2.5)])
    assert [row["intel_size_factor"] for row in rows] == [0.5] * 5


# --------------------------------------------------------------------------------------- evidence


def test_a_size_above_one_needs_round_trips_and_a_bound_above_nought(con: Con) -> None:
    case = {**EVIDENT, "size_factor": 1.4, "before_size_factor": 1.4}
    rows = sizes(
        con,
        [
            case,
            {**case, "round_trip_n": 29},
            {**case, "sharpe_lo90": math.nextafter(0.0, 1.0)},
            {**case, "sharpe_lo90": 0.0},
            {**case, "sharpe_lo90": None},
            {**case, "sharpe_lo90": math.nan},
        ],
    )
    assert [row["evidence_cap"] for row in rows] == [2.0, 1.0, 2.0, 1.0, 1.0, 1.0]
    after = [row["after_evidence"] for row in rows]
    assert after == pytest.approx([1.4, 1.0, 1.4, 1.0, 1.0, 1.0], abs=1e-14)
    assert [row["capped_by"].split(",")[0] for row in rows[1:2]] == ["evidence_cap"]


def test_a_size_below_one_needs_no_evidence(con: Con) -> None:
    row = size(con, {"size_factor": 0.9, "sharpe": NEUTRAL_SHARPE})
    assert row["after_evidence"] == row["product_v510"] == pytest.approx(0.9, abs=1e-14)
    assert row["capped_by"] == ""


def test_without_known_coverage_of_the_account_no_size_is_above_one(con: Con) -> None:
    row = size(con, {**EVIDENT, "size_factor": 1.4, "before_size_factor": 1.0})
    assert (row["pnl_coverage"], row["incomplete"]) == (None, True)
    assert (row["after_evidence"], row["after_incomplete"]) == (pytest.approx(1.4), 1.0)
    assert (row["final_size_factor"], row["capped_by"]) == (1.0, "incomplete")


def test_executed_orders_without_a_router_line_are_not_covered(con: Con) -> None:
    """Of two symbols of an account that the logs explain, one lost router lines."""
    hour: Row = {"account": "main", "hour_ms": AS_OF - H, "n": 600, "filled_n": 50}
    hour |= {"partial_n": 10, "unrouted_n": 0}
    case = {**EVIDENT, **KNOWN, "size_factor": 1.2, "before_size_factor": 1.1}
    case |= {"before_coverage_at_ms": AS_OF - M, "before_pnl_coverage": 0.99}
    tables: dict[str, list[Row]] = {
        "feat_account__coverage": [
            {"account": "main", "day": "*", "coverage": 0.99, "status": "complete"}
        ],
        "core_window__hourly": [
            {**hour, "symbol": "S0"},
            {**hour, "symbol": "S1", "filled_n": 20, "unrouted_n": 20},
            {**hour, "symbol": "S1", "hour_ms": AS_OF - 2 * H, "filled_n": 0},
        ],
    }
    for symbol in ("S0", "S1"):
        for table, row in tables_of(symbol, **case).items():
            tables.setdefault(table, []).append(row)
    found = features_of(con, TABLE, tables, as_of_ms=AS_OF)
    whole, lossy = found["S0"], found["S1"]
    assert (whole["pnl_coverage"], whole["coverage_status"]) == (0.99, "complete")
    assert (whole["is_input_lost"], whole["final_size_factor"]) == (False, pytest.approx(1.2))
    assert (lossy["pnl_coverage"], lossy["coverage_status"]) == (40 / 60, "incomplete")
    assert (lossy["is_input_lost"], lossy["final_size_factor"]) == (True, 1.0)


# --------------------------------------------------------------------------------- clamp and change


def test_the_hard_clamp_holds_from_a_quarter(con: Con) -> None:
    cases = [{"sharpe": NEUTRAL_SHARPE, "size_factor": x} for x in (0.0, 0.24, 0.25, 0.26)]
    rows = sizes(con, [{**case, "before_size_factor": 0.25} for case in cases])
    assert [row["after_clamp"] for row in rows] == pytest.approx([0.25, 0.25, 0.25, 0.26])
    assert [row["capped_by"] for row in rows] == ["clamp", "clamp", "", ""]


def test_the_hard_clamp_holds_up_to_two(con: Con) -> None:
    # incomplete bounds at 1 before: the clamp is seen with a bound of its own below that
    overrides = {"size_factor_max": 1.0, "size_factor_min": 0.25}
    row = size(
        con, {"sharpe": 3.0, "size_factor": 0.6, "before_size_factor": 1.0}, overrides=overrides
    )
    assert row["product_v510"] == pytest.approx(1.2)
    assert row["final_size_factor"] == 1.0


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        (0.8, 1.0, 1.0),  # exactly a quarter more
        (0.79, 1.0, 0.9875),  # would be more
        (0.8, 0.6, 0.6),  # exactly a quarter less
        (0.8, 0.59, 0.6),  # would be more
        (0.8, 0.8, 0.8),
        (0.3, 0.25, 0.25),
        (0.4, 0.25, 0.3),
    ],
)
def test_a_size_changes_by_a_quarter_at_most(
    con: Con, before: float, wanted: float, after: float
) -> None:
    case = {"sharpe": NEUTRAL_SHARPE, "size_factor": wanted, "before_size_factor": before}
    row = size(con, case)
    assert row["previous_size_factor"] == before
    assert row["final_size_factor"] == pytest.approx(after, abs=1e-14)
    if after != wanted:
        assert row["capped_by"] == "change"


def test_falling_slowly_lifts_nothing_above_what_evidence_allows(con: Con) -> None:
    # 2.0 before, now without evidence: 1.5 would be a quarter less, and still be above 1
    row = size(con, {"size_factor": 1.5, "sharpe": 3.0, "before_size_factor": 2.0})
    assert (row["final_size_factor"], row["capped_by"]) == (1.0, "evidence_cap")


def test_a_symbol_that_none_remembers_is_sized_one_at_most(con: Con) -> None:
    for choice, most in (({}, 1.0), ({"overrides": {"size_first_max": 0.4}}, 0.4)):
        row = size(con, {**EVIDENT, "size_factor": 1.0, "sharpe": 3.0}, **choice)
        assert row["previous_size_factor"] is None
        assert row["final_size_factor"] == most


def test_memory_fades(con: Con) -> None:
    cases = [{"before_size_factor": 0.4, "before_decided_ms": AS_OF - WEEK + k} for k in (0, 1)]
    faded, kept = sizes(con, [{"sharpe": NEUTRAL_SHARPE, **case} for case in cases])
    assert (faded["previous_size_factor"], faded["final_size_factor"]) == (None, 1.0)
    assert (kept["previous_size_factor"], kept["final_size_factor"]) == (0.4, 0.5)


LOST = {
    "sharpe": "sharpe_at_ms",
    "atr_ratio": "atr_at_ms",
    "maker_fill_ratio": "maker_at_ms",
    "fallback_ratio": "fallback_at_ms",
    "slip_bps_q50": "slip_at_ms",
    "dd_pct": "dd_at_ms",
}


@pytest.mark.parametrize(("name", "known_at"), LOST.items())
def test_a_lost_input_lets_no_size_rise(con: Con, name: str, known_at: str) -> None:
    whole = {**KNOWN, "sharpe": 3.0, "before_size_factor": 0.6}
    rows = sizes(
        con,
        [
            {**whole, f"before_{known_at}": AS_OF - H},  # known then and now
            {**whole, name: None, f"before_{known_at}": AS_OF - H},  # lost
            {**whole, name: None, f"before_{known_at}": AS_OF - WEEK},  # long ago
            {**whole, name: None, f"before_{known_at}": None},  # never known
        ],
    )
    assert [row["is_input_lost"] for row in rows] == [False, True, False, False]
    for row, most in zip(rows, (0.75, 0.6, 0.75, 0.75), strict=True):
        assert row["final_size_factor"] == pytest.approx(
            min(most, max(row["product_v510"], 0.45)), abs=1e-14
        )
    assert rows[1]["final_size_factor"] <= 0.6


def test_bars_that_became_few_let_no_size_rise(con: Con) -> None:
    # hot by 500 bars halved the size; by the 100 that are left it looks normal
    case = {**KNOWN, "sharpe": 3.0, "before_size_factor": 0.6, "before_atr_at_ms": AS_OF - H}
    sources = ("bars", "short", "fills", None)
    rows = sizes(con, [{**case, "atr_source": s, "before_bars_at_ms": AS_OF - H} for s in sources])
    assert [row["is_input_lost"] for row in rows] == [False, True, True, True]
    assert [row["final_size_factor"] for row in rows] == pytest.approx([0.75, 0.6, 0.6, 0.6])
    for known_at in (AS_OF - WEEK, None):  # long ago, never
        row = size(con, {**case, "atr_source": "short", "before_bars_at_ms": known_at})
        assert row["is_input_lost"] is False


def test_fees_are_an_input_of_v511_alone(con: Con) -> None:
    lost = {**KNOWN, "sharpe": 1.0, "fee_bps": None, "before_fee_at_ms": AS_OF - H}
    rows = sizes(
        con, [{**lost, "model": model, "before_size_factor": 0.6} for model in ("v5.10", "v5.11")]
    )
    assert [row["is_input_lost"] for row in rows] == [False, True]


# ------------------------------------------------------------------------------------- volatility


def bars_of(symbol: str, closes: list[float], interval: str = "1h", end: int = AS_OF) -> list[Row]:
    """Return bars that close one after the other, the last at ``end``."""
    step = {"1h": H, "15m": 15 * M}[interval]
    return [
        raw(
            "raw_market__bars",
            end - (len(closes) - k) * step,
            symbol=symbol,
            bar_interval=interval,
            high=close,
            low=close,
            close=close,
        ).values
        for k, close in enumerate(closes)
    ]


def wave(count: int) -> list[float]:
    return [
        100 * math.exp(0.004 * math.sin(k * 1.7) + 0.003 * math.cos(k * 0.9)) for k in range(count)
    ]


def expected_vol(closes: list[float], in_a_day: float = 24) -> float:
    returns = [math.log(b / a) for a, b in itertools.pairwise(closes)]
    return statistics.stdev(returns) * math.sqrt(in_a_day)


ON = {"overrides": {"target_daily_vol": 0.02}}


def test_without_a_target_no_bar_is_read(con: Con) -> None:
    (row,) = sizes(con, [{}], bars_of("S0", wave(200)))
    assert (row["inverse_vol"], row["daily_vol"], row["daily_vol_n"]) == (1.0, None, 0)


def test_a_target_scales_by_realised_volatility(con: Con) -> None:
    closes = wave(169)
    (row,) = sizes(con, [{}], bars_of("S0", closes), **ON)
    assert row["daily_vol_n"] == 168
    assert row["daily_vol"] == pytest.approx(expected_vol(closes), rel=1e-12)
    assert row["inverse_vol"] == pytest.approx(0.02 / expected_vol(closes), rel=1e-12)


def test_fewer_than_seven_days_of_returns_scale_nothing(con: Con) -> None:
    (row,) = sizes(con, [{}], bars_of("S0", wave(168)), **ON)
    assert (row["daily_vol_n"], row["daily_vol"], row["inverse_vol"]) == (167, None, 1.0)


def test_only_the_last_seven_days_count(con: Con) -> None:
    closes = [200.0, 20.0, *wave(169)]
    (row,) = sizes(con, [{}], bars_of("S0", closes), **ON)
    assert row["daily_vol"] == pytest.approx(expected_vol(closes[2:]), rel=1e-12)


def test_hours_are_made_of_finer_bars_that_have_closed(con: Con) -> None:
    closes = wave(169)
    fine = [x for close in closes for x in (1.0, 2.0, 3.0, close)]
    bars = bars_of("S0", [*fine, 7.0], "15m", AS_OF + 15 * M)  # the last has not closed
    (row,) = sizes(con, [{}], bars, **ON)
    assert row["daily_vol"] == pytest.approx(expected_vol(closes), rel=1e-12)
    (early,) = sizes(con, [{}], bars_of("S0", [*fine, 7.0], "15m"), **ON)  # nor has its hour
    assert early["daily_vol_n"] == 168


def test_of_a_bar_read_twice_the_last_reading_counts(con: Con) -> None:
    closes = wave(169)
    first = [{**bar, "close": 1.0, "high": 1.0, "low": 1.0} for bar in bars_of("S0", closes)]
    again = [{**bar, "ingest_seq": 2} for bar in bars_of("S0", closes)]
    (row,) = sizes(con, [{}], [*again, *first], **ON)
    assert row["daily_vol"] == pytest.approx(expected_vol(closes), rel=1e-12)


def test_a_venue_that_closes_has_fewer_hours_in_a_day(con: Con) -> None:
    closes = wave(169)
    bars = [
        {**bar, "event_ms": AS_OF - H - ((168 - k) // 7 * 24 + (168 - k) % 7) * H}
        for k, bar in enumerate(bars_of("S0", closes))
    ]
    (row,) = sizes(con, [{}], bars, **ON)
    assert row["daily_vol"] == pytest.approx(expected_vol(closes, 168 * 24 / (24 * 24)), rel=1e-12)


@pytest.mark.parametrize(("late", "is_known"), [(4 * D, True), (4 * D + H, False)])
def test_bars_of_long_ago_scale_nothing(con: Con, late: int, is_known: bool) -> None:
    (row,) = sizes(con, [{}], bars_of("S0", wave(169), end=AS_OF - late), **ON)
    assert (row["daily_vol"] is not None) == is_known


def test_a_scale_keeps_within_a_quarter_and_two(con: Con) -> None:
    wild = [100.0 * (1.3 if k % 2 else 1.0) for k in range(169)]
    calm = [100.0 * (1.0001 if k % 2 else 1.0) for k in range(169)]
    flat = [100.0] * 169
    bars = [b for k, c in enumerate((wild, calm, flat)) for b in bars_of(f"S{k}", c)]
    rows = sizes(con, [{}, {}, {}], bars, **ON)
    assert [row["inverse_vol"] for row in rows] == [0.25, 2.0, 2.0]


def test_a_volatility_that_is_lost_lets_no_size_rise(con: Con) -> None:
    case = {"sharpe": 3.0, "before_size_factor": 0.6, "before_vol_at_ms": AS_OF - H}
    off, on = size(con, case), size(con, case, **ON)
    assert (off["is_input_lost"], on["is_input_lost"]) == (False, True)
    assert on["final_size_factor"] == 0.6


# ------------------------------------------------------------------------------- whatever comes in

ODD = st.sampled_from([None, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0, -0.0])
ANY = st.one_of(ODD, st.floats(allow_nan=True, allow_infinity=True), st.floats(-2, 4))
TIME = st.one_of(st.none(), st.integers(AS_OF - 2 * WEEK, AS_OF - 1))
INPUTS = ("size_factor", "sharpe", "sharpe_lo90", "regime_scale", "dd_pct", "atr_ratio")
CASE = st.fixed_dictionaries(
    {
        **dict.fromkeys((*INPUTS, "before_size_factor"), ANY),
        **dict.fromkeys(("before_sharpe_at_ms", "before_dd_at_ms"), TIME),
        "before_decided_ms": st.integers(AS_OF - 2 * WEEK, AS_OF - 1),
        "round_trip_n": st.integers(0, 60),
    }
)


@settings(max_examples=12)
@given(cases=st.lists(CASE, min_size=1, max_size=40))
def test_no_input_whatever_drives_a_size_out_of_bounds(con: Con, cases: list[Row]) -> None:
    for row in sizes(con, cases):
        assert 0.25 <= row["final_size_factor"] <= 2.0
        numbers = [value for value in row.values() if isinstance(value, float)]
        assert all(math.isfinite(x) for x in numbers if x is not row["sharpe_7d"])
        before = row["previous_size_factor"]
        assert row["final_size_factor"] <= max(1.0 if before is None else before * 1.25, 0.25)
        if row["is_input_lost"] and before is not None:
            assert row["final_size_factor"] <= max(before, 0.25)


def test_a_row_of_literal_lines_reads_the_tables_of_the_same_build(con: Con) -> None:
    lines = [
        outcome(at=T + k, realized_pnl_usd=1.0 + k % 2, closed_notional_usd=100.0, fill_px=100.0)
        for k in range(31)
    ]
    row = features(con, TABLE, *lines, as_of_ms=AS_OF)["ETHUSDT"]
    assert row["n"] == 31
    assert row["sharpe_mult"] == pytest.approx(0.25 + (row["sharpe_7d"] + 1) / 4 * 1.75)
    assert (row["evidence_cap"], row["final_size_factor"]) == (2.0, 1.0)
    assert row["capped_by"] == "incomplete"
