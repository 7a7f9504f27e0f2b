"""Traces that cannot be true are kept aside with their reason; open predictions are no losses."""

import json
from typing import Any

import pytest

from features.reasons import mending
from tests.pipelines.intake.desk import NOW_MS, TRACES, Desk, Row

ENTRY_S = NOW_MS / 1000 - 7200
CLOSED: Row = {
    "timestamp": ENTRY_S,
    "symbol": "BTCUSDT",
    "strategy": "intraday",
    "predicted_direction": "LONG",
    "actual_direction": "LONG",
    "predicted_confidence": 0.7,
    "entry_price": 100.0,
    "exit_price": 101.0,
    "holding_period_minutes": 30,
    "realized_return_pct": 1.0,
    "features": {},
    "metadata": {},
}
OPEN = {"exit_price": None, "actual_direction": None, "realized_return_pct": None}
CASES: dict[str, tuple[Row, str | None]] = {
    "closed": ({}, None),
    "a short that earned": ({"predicted_direction": "SHORT", "actual_direction": "SHORT"}, None),
    "direction in small letters": (
        {"predicted_direction": "long"},
        "unknown_direction:predicted_direction",
    ),
    "no direction": ({"predicted_direction": None}, "unknown_direction:predicted_direction"),
    "a side for a direction": (
        {"predicted_direction": "BUY"},
        "unknown_direction:predicted_direction",
    ),
    "market went sideways": ({"actual_direction": "FLAT"}, "unknown_direction:actual_direction"),
    "closed without what came": ({"actual_direction": ""}, "unknown_direction:actual_direction"),
    "confidence in percent": ({"predicted_confidence": 70}, "confidence_out_of_range"),
    "confidence below 0": ({"predicted_confidence": -0.01}, "confidence_out_of_range"),
    "confidence 1": ({"predicted_confidence": 1}, None),
    "confidence not known": ({"predicted_confidence": None}, None),
    "confidence in words": (
        {"predicted_confidence": "high"},
        "not_a_number:predicted_confidence",
    ),
    "held below 0 minutes": (
        {"holding_period_minutes": -5},
        "negative:holding_period_minutes",
    ),
    "ends in two days": ({"holding_period_minutes": 3000}, "impossible_holding_time"),
    "ends within a clock's error": ({"holding_period_minutes": 180}, None),
    "no holding time": ({"holding_period_minutes": None}, "impossible_holding_time"),
    "an outcome without exit": ({"exit_price": None}, "missing_exit"),
    "an outcome and exit 0": ({"exit_price": 0}, "missing_exit"),
    "a return without exit": ({**OPEN, "realized_return_pct": -1.0}, "missing_exit"),
    "an exit without return": ({"realized_return_pct": None}, "missing_return"),
    "NOOP needs no return": (
        {"predicted_direction": "NOOP", "realized_return_pct": None},
        None,
    ),
    "a return of 100 times": ({"realized_return_pct": 10_000}, "impossible_return"),
    "a strategy of all": ({"strategy": "*"}, "missing_strategy"),
    "an empty strategy": ({"strategy": " "}, "missing_strategy"),
    "still open": (OPEN, None),
    "still open, exit 0": ({**OPEN, "exit_price": 0, "realized_return_pct": 0}, None),
    "sampled": ({"metadata": {"inclusion_probability": 0.1, "throttled_before": 3}}, None),
    "sampled with chance 0": (
        {"metadata": {"inclusion_probability": 0}},
        "sampling_out_of_range",
    ),
    "sampled with chance 2": (
        {"metadata": {"inclusion_probability": 2}},
        "sampling_out_of_range",
    ),
}


def cell(value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value) if isinstance(value, dict) else str(value)
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_bad_traces_are_kept_aside_with_reason(desk: Desk, form: str) -> None:
    rows = [{**CLOSED, **changes} for changes, _ in CASES.values()]
    if form == "jsonl":
        lines = [json.dumps(row) for row in rows]
    else:
        names = [
            name.replace("features", "features_json").replace("metadata", "metadata_json")
            for name in CLOSED
        ]
        lines = [
            ",".join(names),
            *(",".join(cell(value) for value in row.values()) for row in rows),
        ]
    desk.write(f"traces_other_0.{form}", ("\n".join(lines) + "\n").encode())
    report = desk.run()
    found = desk.rows(TRACES)
    wrong = {
        name: (row["reject_reason"], reason)
        for row, (name, (_, reason)) in zip(found, CASES.items(), strict=True)
        if row["reject_reason"] != reason
    }
    assert not wrong
    assert all((row["raw_line"] is None) == (row["reject_reason"] is None) for row in found)
    for reason in report.tables[TRACES].reasons:
        assert mending(reason)
    sampled = found[list(CASES).index("sampled")]
    assert (sampled["inclusion_probability"], sampled["throttled_before"]) == (0.1, 3)
    assert found[0]["inclusion_probability"] is None
