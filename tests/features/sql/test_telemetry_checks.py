"""Checks of the trace tables and of alerts find what is planted, and nothing in sound rows."""

from typing import Any

import duckdb
import pytest

from tests.features.sql import literal
from tests.features.sql.literal import D, Row, T, check

Con = duckdb.DuckDBPyConnection
AS_OF = T + D
_KEY: Row = {"strategy": "intraday", "symbol": "*", "window": "all"}
NINE = [
    f"{made}_{came}" for made in ("long", "short", "noop") for came in ("long", "short", "noop")
]
SOUND: dict[str, Row] = {
    "feat_telemetry__accuracy_sound": {
        **_KEY,
        "n": 4,
        "trade_n": 3,
        "long_predicted_n": 3,
        "short_predicted_n": 0,
        "noop_predicted_n": 1,
        "long_actual_n": 2,
        "short_actual_n": 1,
        "noop_actual_n": 1,
        "hit_ratio": 0.5,
        "hit_lo95": 0.2,
        "hit_hi95": 0.8,
        "win_rate": 0.5,
        "brier": 0.2,
        "ece": 0.1,
        "return_std_pct": 1.0,
        "sharpe": 2.0,
        "max_drawdown_pct": -1.0,
        "profit_factor": 1.5,
        "inclusion_rate": 1.0,
        "path_source": "traces",
        "path_n": 3,
    },
    "core_window__trace_closes_sound": {
        "strategy": "intraday",
        "symbol": "*",
        "account": "main",
        "of_strategy": "intraday",
        "of_symbol": "ETHUSDT",
        "position_side": "LONG",
        "trip_n": 0,
        "close_ms": T,
        "return_pct": 1.0,
    },
    "feat_telemetry__calibration_sound": {
        "strategy": "intraday",
        "confidence_decile": 7,
        "confidence_avg": 0.75,
        "hit_ratio": 0.5,
        "trade_n": 3,
        "net_n": 2,
    },
    "feat_telemetry__comparison_sound": {
        "window": "all",
        "strategy": "intraday",
        "other_strategy": "swing",
        "composite_leader": "intraday",
        "better_strategy": "intraday",
        "day_lo95": 0.1,
        "day_hi95": 0.5,
        "day_p": 0.01,
        "trade_p": 0.02,
    },
    "core_telemetry__daily_sound": {
        "environment": "paper",
        "strategy": "intraday",
        "symbol": "ETHUSDT",
        "day_ms": T,
        "confidence_decile": 7,
        "n": 2,
        **dict.fromkeys(NINE, 0),
        "long_long": 2,
        "trade_n": 2,
        "win_n": 1,
        "confidence_n": 2,
        "represented_n": 2.0,
    },
    "core_telemetry__paths_sound": {
        "environment": "paper",
        "strategy": "*",
        "symbol": "*",
        "day_ms": T,
        "return_pct": 1.0,
        "peak_pct": 2.0,
        "trough_pct": -1.0,
        "fall_pct": 1.5,
    },
    "feat_ops__alerts_sound": {
        "rule": "precision_fell",
        "subject": "intraday LONG",
        "status": "open",
        "severity": "warning",
        "n": 40,
        "since_ms": T,
        "text": "…",
    },
    "core_window__last_traces_sound": {"strategy": "*", "symbol": "*", "close_ms": T},
}
PLANTED: list[tuple[str, Row]] = [
    ("feat_telemetry__accuracy_sound", {"n": 5}),  # labels do not add up to n
    ("feat_telemetry__accuracy_sound", {"trade_n": 5}),
    ("feat_telemetry__accuracy_sound", {"hit_ratio": 0.9}),  # outside its interval
    ("feat_telemetry__accuracy_sound", {"brier": 1.1}),
    ("feat_telemetry__accuracy_sound", {"max_drawdown_pct": 0.1}),
    ("feat_telemetry__accuracy_sound", {"path_source": None}),
    ("feat_telemetry__accuracy_sound", {"path_n": 4}),  # more trades than traces
    ("feat_telemetry__accuracy_sound", {"path_source": "closes", "path_n": 2}),
    ("core_window__trace_closes_sound", {"return_pct": None}),
    ("core_window__trace_closes_sound", {"position_side": None}),
    ("core_window__trace_closes_sound", {"close_ms": AS_OF + 1}),
    ("feat_telemetry__accuracy_sound", {"trade_n": 1}),  # a deviation of one
    ("feat_telemetry__accuracy_sound", {"inclusion_rate": 1.2}),
    ("feat_telemetry__calibration_sound", {"confidence_avg": 0.85}),
    ("feat_telemetry__calibration_sound", {"confidence_decile": 10}),
    ("feat_telemetry__calibration_sound", {"net_n": 4}),
    ("feat_telemetry__comparison_sound", {"day_lo95": -0.1}),  # better by chance
    ("feat_telemetry__comparison_sound", {"day_lo95": None, "day_hi95": None}),
    ("feat_telemetry__comparison_sound", {"composite_leader": "swing"}),
    ("feat_telemetry__comparison_sound", {"strategy": "z"}),
    ("feat_telemetry__comparison_sound", {"day_p": 1.5}),
    ("core_telemetry__daily_sound", {"short_noop": 1}),
    ("core_telemetry__daily_sound", {"win_n": 3}),
    ("core_telemetry__daily_sound", {"represented_n": 1.5}),
    ("core_telemetry__paths_sound", {"return_pct": 2.5}),
    ("core_telemetry__paths_sound", {"fall_pct": 3.5}),
    ("core_telemetry__paths_sound", {"fall_pct": 0.5}),  # the trough lies deeper
    ("feat_ops__alerts_sound", {"n": 29}),  # accuracy speaks from 30 on
    ("feat_ops__alerts_sound", {"since_ms": AS_OF + 1}),
    ("feat_ops__alerts_sound", {"status": "opened"}),  # and since long
    ("feat_ops__alerts_sound", {"text": None}),
    ("core_window__last_traces_sound", {"close_ms": AS_OF + 1}),
]


def found(con: Con, name: str, *rows: Row) -> list[Row]:
    table = name.removesuffix("_sound")
    literal.load_raw(con, [])
    return check(con, name, {table: list(rows)}, as_of_ms=AS_OF)


@pytest.mark.parametrize("name", SOUND)
def test_sound_rows_pass(con: Con, name: str) -> None:
    assert found(con, name, SOUND[name]) == []


@pytest.mark.parametrize(("name", "fault"), PLANTED)
def test_a_planted_fault_is_returned(con: Con, name: str, fault: Row) -> None:
    assert len(found(con, name, {**SOUND[name], **fault})) == 1


@pytest.mark.parametrize("name", [n for n in SOUND if n.startswith("feat_")])
def test_a_row_that_repeats_is_returned(con: Con, name: str) -> None:
    assert len(found(con, name, SOUND[name], SOUND[name])) == 2


def test_more_than_a_hundred_are_no_last_hundred(con: Con) -> None:
    name = "core_window__last_traces_sound"
    assert found(con, name, *[SOUND[name]] * 100) == []
    assert len(found(con, name, *[SOUND[name]] * 101)) == 1


def test_days_that_do_not_sum_to_the_month_are_returned(con: Con) -> None:
    name = "feat_telemetry__rolling_sound"
    accuracy = {**_KEY, "window": "30d", "n": 2, "path_n": 2, "return_sum_pct": 3.0}
    dates = ("2025-11-04", "2025-11-05")
    days: list[Row] = [
        {"strategy": "intraday", "symbol": "*", "n": 1, "return_pct": r, "day": day}
        for r, day in zip((1.0, 2.0), dates, strict=True)
    ]
    tables: dict[str, Any] = {
        "feat_telemetry__accuracy": [accuracy],
        "feat_telemetry__rolling": days,
    }
    literal.load_raw(con, [])
    assert check(con, name, tables, as_of_ms=AS_OF) == []
    tables["feat_telemetry__rolling"] = days[:1]
    assert len(check(con, name, tables, as_of_ms=AS_OF)) == 1


def test_sums_that_lack_a_trace_are_returned(con: Con) -> None:
    name = "core_telemetry__daily_equals_traces"
    trace: Row = {"environment": "paper", "close_ms": T, "is_trade": True, "return_pct": 1.0}
    day: Row = {
        "span": "all",
        "strategy": "*",
        "symbol": "*",
        "n": 1,
        "trade_n": 1,
        "return_pct": 1.0,
    }
    tables: dict[str, Any] = {
        "core_window__traces": [trace],
        "core_window__trace_days": [day],
        "core_window__trace_paths": [day],
    }
    literal.load_raw(con, [])
    assert check(con, name, tables, as_of_ms=AS_OF) == []
    faults: list[tuple[str, Row]] = [
        ("core_window__trace_days", {"n": 2}),
        ("core_window__trace_paths", {"return_pct": 1.1}),
        ("core_window__traces", {"is_trade": False}),
    ]
    for table, fault in faults:
        (row,) = tables[table]
        planted = {**tables, table: [{**row, **fault}]}
        assert len(check(con, name, planted, as_of_ms=AS_OF)) == 1, table
