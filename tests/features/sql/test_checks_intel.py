"""Checks of sizes, offsets, policies and memory return what is planted, nothing of sound rows.

Put here: the tables that decide how to trade. Keep out: all others (test_checks.py).
"""

from typing import Any

import duckdb
import pytest

from features.memory import Before
from tests.features.sql.literal import D, Row, T, check, features, outcome, plan

Con = duckdb.DuckDBPyConnection

AS_OF = T + D
SIZE: Row = {
    "symbol": "S", "n": 30, "intel_size_factor": 1.2, "sharpe_7d": 1.0, "sharpe_lo90": 0.5,
    "sharpe_mult": 1.0, "regime_scale": 1.0, "daily_vol_n": 0, "inverse_vol": 1.0,
    "product_v510": 1.2, "evidence_cap": 2.0, "after_evidence": 1.2, "pnl_coverage": 0.99,
    "incomplete": False, "after_incomplete": 1.2, "after_clamp": 1.2, "previous_size_factor": 1.0,
    "is_input_lost": False, "after_change": 1.2, "final_size_factor": 1.2, "capped_by": "",
}  # fmt: skip
OFFSET: Row = {
    "symbol": "S", "n": 30, "offset_bps": 2.5, "offset_v510_bps": 2.3, "base_bps": 2.0,
    "regime_bps": 0.5, "maker_bps": 0.0, "fallback_bps": 0.0, "fallback_high_bps": 0.0,
    "slip_bps_adj": 0.0, "hour_bps": 0.0, "maker_known_n": 0, "fallback_known_n": 0, "slip_n": 0,
    "close_n": 0,
}  # fmt: skip
DAY = [{**OFFSET, "hour_utc": hour} for hour in range(24)]
POLICY: Row = {
    "symbol": "S", "n": 30, "quality": "ok", "maker_first": True, "taker_bias": "balanced",
    "acting_regime": "normal", "candidate_quality": "good", "previous_quality": "ok",
    "maker_fill_ratio": 0.8, "maker_known_n": 20, "fallback_ratio": 0.2, "fallback_lo90": 0.1,
    "fallback_hi90": 0.4, "fallback_known_n": 20, "slip_bps_q50": 1.0, "slip_n": 20,
}  # fmt: skip


def faults(con: Con, table: str, rows: list[Row]) -> list[Row]:
    return check(con, f"{table}_sound", {table: rows})


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("feat_symbol__sizing", [SIZE]),
        ("feat_router__maker_offsets", DAY),
        ("feat_router__policies", [POLICY]),
    ],
)
def test_sound_rows_pass(con: Con, table: str, rows: list[Row]) -> None:
    assert faults(con, table, rows) == []
    assert faults(con, table, []) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"final_size_factor": None},
        {"final_size_factor": float("nan")},
        {"final_size_factor": 2.01, "previous_size_factor": 2.0},
        {"final_size_factor": 0.24},
        {"product_v510": 1.3},  # not the product of its factors
        {"sharpe_mult": 2.5, "product_v510": 3.0},
        {"regime_scale": 1.1, "product_v510": 1.32},
        {"inverse_vol": 2.1, "product_v510": 2.52},
        {"incomplete": True},  # above 1 all the same
        {"n": 29},
        {"sharpe_lo90": 0.0},
        {"sharpe_lo90": None},
        {"previous_size_factor": None},
        {"previous_size_factor": 0.95},  # more than a quarter above it
        {"is_input_lost": True},  # above it at all
        {"n": 1, "final_size_factor": 1.0},  # a Sharpe ratio of one round trip
        {"daily_vol": 0.02},  # of no return
        {"final_size_factor": 1.1},  # nothing capped it
    ],
)
def test_unsound_sizes_are_returned(con: Con, fault: Row) -> None:
    assert len(faults(con, "feat_symbol__sizing", [{**SIZE, **fault}])) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"offset_bps": 0.49},
        {"offset_bps": 8.01},
        {"offset_bps": None},
        {"offset_v510_bps": float("nan")},
        {"offset_bps": 2.6},  # not the sum
        {"hour_bps": 0.2, "offset_bps": 2.7, "close_n": 19},
        {"hour_utc": 24},
        {"slip_bps_q50": 1.0},
        {"maker_fill_ratio": 1.0},
        {"fallback_ratio": 1.0},
        {"exp_per_notional": 0.0},  # of no close
        {"exp_lo95": 0.0},
    ],
)
def test_unsound_offsets_are_returned(con: Con, fault: Row) -> None:
    rows = [{**DAY[0], **fault}, *DAY[1:]]
    assert len(faults(con, "feat_router__maker_offsets", rows)) == 1


@pytest.mark.parametrize("rows", [DAY[1:], [*DAY, DAY[0]]])
def test_days_that_are_not_of_24_hours_are_returned(con: Con, rows: list[Row]) -> None:
    assert len(faults(con, "feat_router__maker_offsets", rows)) == len(rows)


@pytest.mark.parametrize(
    "fault",
    [
        {"quality": "fine"},
        {"quality": None},
        {"taker_bias": None},
        {"maker_first": None},
        {"quality": "unknown", "previous_quality": None},  # yet it says maker first
        {"quality": "broken", "taker_bias": "prefer_taker"},  # yet it says maker first
        {"quality": "degraded"},  # yet it does not lean to takers
        {"acting_regime": "panic"},
        {"taker_bias": "prefer_maker"},  # only of a good one
        {"slip_n": 19},  # good by few samples
        {"previous_quality": None},  # promoted at once
        {"fallback_lo90": 0.6, "fallback_hi90": 0.7},  # proven worse than its label
        {"fallback_lo90": 0.5},
        {"maker_known_n": 0, "candidate_quality": "ok"},
        {"fallback_known_n": 0, "candidate_quality": "ok"},
        {"slip_n": 0, "candidate_quality": "ok"},
    ],
)
def test_unsound_policies_are_returned(con: Con, fault: Row) -> None:
    assert len(faults(con, "feat_router__policies", [{**POLICY, **fault}])) == 1


def test_a_repeated_symbol_is_returned(con: Con) -> None:
    for table, row in (("feat_symbol__sizing", SIZE), ("feat_router__policies", POLICY)):
        assert len(faults(con, table, [row, row])) == 2


# ------------------------------------------------------------------------------------------ memory

MEMORY: Row = {"symbol": "S", "decided_ms": AS_OF, "is_listed": True, "size_factor": 1.2}
MEMORY |= {"quality": "ok"}
GONE: Row = {**MEMORY, "symbol": "G", "decided_ms": AS_OF - 1, "is_listed": False}


def memory_faults(con: Con, rows: list[Row]) -> list[Row]:
    tables = {"feat_symbol__memory": rows, "feat_symbol__sizing": [SIZE]}
    tables["feat_router__policies"] = [POLICY]
    return check(con, "feat_symbol__memory_sound", tables, as_of_ms=AS_OF)


def test_a_sound_memory_passes(con: Con) -> None:
    assert memory_faults(con, [MEMORY, GONE]) == []


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ([], 1),  # a symbol is forgotten
        ([MEMORY, MEMORY], 2),
        ([{**MEMORY, "size_factor": 1.0}], 1),
        ([{**MEMORY, "size_factor": None}], 1),
        ([{**MEMORY, "quality": "good"}], 1),
        ([{**MEMORY, "decided_ms": AS_OF - 1}], 1),
        ([{**MEMORY, "is_listed": False}], 1),
        ([MEMORY, {**GONE, "is_listed": True}], 1),
        ([MEMORY, {**GONE, "decided_ms": AS_OF + 1}], 1),
    ],
)
def test_an_unsound_memory_is_returned(con: Con, rows: list[Row], count: int) -> None:
    assert len(memory_faults(con, rows)) == count


# ------------------------------------------------------------------------------------- sizes jump


def jumps(con: Con, before: dict[str, float], now: dict[str, float], **choice: Any) -> list[Row]:
    """Return what the check holds; sizes by symbol, live unless told otherwise."""
    state = choice.pop("state", "read")
    usual = {"environment": "live", "before": Before(state), **choice}
    rows = {
        "previous_memory": [
            {"symbol": s, "size_factor": x, "is_listed": True} for s, x in before.items()
        ],
        "feat_symbol__sizing": [{"symbol": s, "final_size_factor": x} for s, x in now.items()],
    }
    return check(con, "feat_symbol__sizing_jump", rows, **usual)


TEN = {f"S{k}": 1.0 for k in range(10)}


def changed(count: int, factor: float) -> dict[str, float]:
    return {name: factor if k < count else 1.0 for k, name in enumerate(TEN)}


@pytest.mark.parametrize(
    ("now", "is_held"),
    [
        (TEN, False),
        (changed(3, 0.74), False),  # 30 % of the symbols
        (changed(4, 0.74), True),  # more
        (changed(10, 0.75), False),  # a quarter each, and of all together
        (changed(10, 1.25), False),
        (changed(10, 1.2501), True),
        (changed(3, 1.8), False),  # all together 24 % more
        (changed(3, 1.9), True),  # 27 %
        (changed(3, 0.2), False),  # 24 % less
        (changed(3, 0.1), True),
    ],
)
def test_a_jump_of_sizes_is_held(con: Con, now: dict[str, float], is_held: bool) -> None:
    assert bool(jumps(con, TEN, now)) == is_held


def test_what_comes_or_goes_counts_as_engines_size_it(con: Con) -> None:
    few = dict(list(TEN.items())[:6])
    assert jumps(con, TEN, few)  # four of ten symbols are sized 0.5 from now on
    assert jumps(con, few, TEN)
    assert jumps(con, few, {**few, "NEW": 1.0}) == []  # one of seven
    half = {f"N{k}": 0.5 for k in range(9)}
    assert jumps(con, TEN, {**TEN, **half}) == []  # as an engine sized them before


@pytest.mark.parametrize(
    ("environment", "choice", "is_held"),
    [
        ("live", "live", True),
        ("testnet", "live", False),
        ("paper", "always", True),
        ("live", "never", False),
    ],
)
def test_where_jumps_are_held_is_a_parameter(
    con: Con, environment: str, choice: str, is_held: bool
) -> None:
    wanted = plan(environment=environment, overrides={"hold_changes": choice})
    found = jumps(con, TEN, changed(9, 0.3), environment=environment, params=wanted.params)
    assert bool(found) == is_held


def test_nothing_before_holds_nothing_and_a_lost_memory_does(con: Con) -> None:
    assert jumps(con, {}, TEN, state="none") == []
    (row,) = jumps(con, {}, TEN, state="lost")
    assert row["memory"] == "lost"


def test_a_symbol_that_is_only_remembered_was_not_sized(con: Con) -> None:
    rows = {
        "previous_memory": [{"symbol": "S", "size_factor": 0.25, "is_listed": False}],
        "feat_symbol__sizing": [{"symbol": "S", "final_size_factor": 0.5}],
    }
    before = Before("read")
    found = check(con, "feat_symbol__sizing_jump", rows, environment="live", before=before)
    assert found == []


def test_tables_of_literal_lines_pass_every_check(con: Con) -> None:
    lines = [
        outcome(at=T + k, slippage_bps=3.0, notional_usd=50.0, is_maker=True, realized_pnl_usd=1.0)
        for k in range(5)
    ]
    rows = {
        name: list(features(con, name, *lines).values())
        for name in (
            "feat_symbol__sizing",
            "feat_router__maker_offsets",
            "feat_router__policies",
            "feat_symbol__memory",
        )
    }
    for name, found in rows.items():
        assert found
        assert check(con, f"{name}_sound", rows) == []
