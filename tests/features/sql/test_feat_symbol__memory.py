"""What the next snapshot remembers of this one: feat_symbol__memory on literal rows."""

from typing import Any

import duckdb
import pytest

from features import memory
from tests.features.sql.literal import D, H, Row, T, feature_schema, features, features_of, outcome

Con = duckdb.DuckDBPyConnection

TABLE = "feat_symbol__memory"
AS_OF = T + D
WEEK = 7 * D
KNOWN = {  # input of the score: where the memory says when it was known
    "sharpe": "sharpe_at_ms",
    "atr_ratio": "atr_at_ms",
    "maker_fill_ratio": "maker_at_ms",
    "dd_pct": "dd_at_ms",
    "fee_bps": "fee_at_ms",
}


def remembered(
    con: Con,
    score: Row | None = None,
    policy: Row | None = None,
    regime: Row | None = None,
    before: Row | None = None,
    **size: Any,
) -> dict[str, Row]:
    """Return the memory of a snapshot of symbol S, after one that remembered ``before``."""
    rows: dict[str, list[Row]] = {
        "feat_symbol__scores": [
            {"symbol": "S", "n": 9, "is_active": True, **(score or {})},
            {"symbol": "S", "n": 9, "is_active": False},
        ],
        "feat_symbol__sizing": [{"symbol": "S", "final_size_factor": 0.8, **size}],
        "feat_router__policies": [
            {"symbol": "S", "quality": "ok", "candidate_quality": "good", **(policy or {})}
        ],
        "feat_symbol__atr_regime": [{"symbol": "S", **(regime or {})}],
        "previous_memory": [before] if before else [],
    }
    return features_of(con, TABLE, rows, as_of_ms=AS_OF)


def test_size_and_labels_are_those_that_acted(con: Con) -> None:
    row = remembered(con)["S"]
    assert (row["n"], row["decided_ms"], row["is_listed"]) == (9, AS_OF, True)
    assert (row["size_factor"], row["quality"], row["candidate_quality"]) == (0.8, "ok", "good")


@pytest.mark.parametrize(("name", "at"), KNOWN.items())
def test_what_is_known_is_known_now_and_what_is_lost_since_it_was(
    con: Con, name: str, at: str
) -> None:
    before = {"symbol": "S", "decided_ms": AS_OF - H, at: AS_OF - H}
    assert remembered(con, {name: 0.5}, before=before)["S"][at] == AS_OF
    assert remembered(con, {name: None}, before=before)["S"][at] == AS_OF - H
    assert remembered(con, {name: None})["S"][at] is None


@pytest.mark.parametrize(
    ("source", "at"), [("bars", AS_OF), ("short", AS_OF - H), ("none", AS_OF - H)]
)
def test_bars_are_known_where_there_are_enough(con: Con, source: str, at: int) -> None:
    before = {"symbol": "S", "decided_ms": AS_OF - H, "bars_at_ms": AS_OF - H}
    found = remembered(con, {"atr_ratio": 1.0}, regime={"atr_source": source}, before=before)
    assert (found["S"]["bars_at_ms"], found["S"]["atr_at_ms"]) == (at, AS_OF)


def test_volatility_is_known_by_the_size(con: Con) -> None:
    before = {"symbol": "S", "decided_ms": AS_OF - H, "vol_at_ms": AS_OF - 2 * H}
    assert remembered(con, before=before, daily_vol=0.02)["S"]["vol_at_ms"] == AS_OF
    assert remembered(con, before=before)["S"]["vol_at_ms"] == AS_OF - 2 * H


@pytest.mark.parametrize(
    ("measured", "acting", "value", "kept", "at"),
    [
        ("fallback_ratio", "acting_fallback_ratio", 0.7, "fallback_ratio", "fallback_at_ms"),
        ("slip_bps_q50", "acting_slip_bps", 9.0, "slip_bps_q50", "slip_at_ms"),
        ("regime", "acting_regime", "hot", "regime", "regime_at_ms"),
    ],
)
def test_an_input_that_acts_from_memory_keeps_its_time(
    con: Con, measured: str, acting: str, value: Any, kept: str, at: str
) -> None:
    before = {"symbol": "S", "decided_ms": AS_OF - H, kept: value, at: AS_OF - 2 * H}
    now = remembered(con, policy={measured: value, acting: value}, before=before)["S"]
    assert (now[kept], now[at]) == (value, AS_OF)
    still = remembered(con, policy={measured: None, acting: value}, before=before)["S"]
    assert (still[kept], still[at]) == (value, AS_OF - 2 * H)


@pytest.mark.parametrize(
    ("name", "acting", "kept", "at"),
    [
        ("fallback_ratio", "acting_fallback_ratio", "fallback_ratio", "fallback_at_ms"),
        ("slip_bps_q50", "acting_slip_bps", "slip_bps_q50", "slip_at_ms"),
    ],
)
def test_an_input_whose_unconfirmed_fills_act_is_known_now(
    con: Con, name: str, acting: str, kept: str, at: str
) -> None:
    before = {"symbol": "S", "decided_ms": AS_OF - H, kept: 0.9, at: AS_OF - 2 * H}
    # 0.2 of the confirmed fills, 0.3 of all: the worse acts, and both are of now
    both = remembered(con, {name: 0.3}, {name: 0.2, acting: 0.3}, before=before)["S"]
    assert (both[kept], both[at]) == (0.3, AS_OF)
    # with few of them what is remembered acts, and keeps its time
    few = remembered(con, {name: 0.3}, {name: 0.2, acting: 0.9}, before=before)["S"]
    assert (few[kept], few[at]) == (0.9, AS_OF - 2 * H)
    # nobody confirmed any: it is not known
    none = remembered(con, {name: 0.3}, {name: None, acting: 0.3}, before=before)["S"]
    assert none[at] == AS_OF - 2 * H


def test_a_symbol_that_is_gone_is_remembered_as_it_was_left(con: Con) -> None:
    gone = {"symbol": "G", "n": 4, "is_listed": True, "size_factor": 0.3, "quality": "broken"}
    gone |= {"candidate_quality": "ok", "fallback_ratio": 0.95, "fallback_at_ms": AS_OF - H}
    for decided_ms, is_kept in ((AS_OF - WEEK + 1, True), (AS_OF - WEEK, False)):
        found = remembered(con, before={**gone, "decided_ms": decided_ms})
        assert set(found) == ({"S", "G"} if is_kept else {"S"})
        if is_kept:
            expected = {**gone, "n": 0, "is_listed": False, "decided_ms": decided_ms}
            assert {name: found["G"][name] for name in expected} == expected


def test_what_is_written_is_what_the_next_build_reads() -> None:
    assert feature_schema(TABLE) == memory.SCHEMA


def test_a_row_of_literal_lines_reads_the_tables_of_the_same_build(con: Con) -> None:
    row = features(con, TABLE, outcome(slippage_bps=1.5), as_of_ms=AS_OF)["ETHUSDT"]
    assert (row["slip_bps_q50"], row["slip_at_ms"], row["quality"]) == (1.5, AS_OF, "unknown")
    assert row["candidate_quality"] == "ok"
