"""feat_ops__alerts on literal rows: each rule speaks at its threshold, and says since when."""

from typing import Any

import duckdb
import pytest

from features.words import share
from tests.features.sql.literal import D, Row, T, features_of

Con = duckdb.DuckDBPyConnection
TABLE = "feat_ops__alerts"
AS_OF = T + D
ACCURACY: Row = {"strategy": "swing", "symbol": "*"}
RECENT: Row = {
    **ACCURACY,
    "window": "30d",
    "long_predicted_n": 30,
    "precision_long": 0.5,
    "precision_long_hi95": 0.6,
}


def alerts(con: Con, **tables: Any) -> dict[tuple[str, str], Row]:
    return features_of(con, TABLE, tables, as_of_ms=AS_OF)


def accuracy(con: Con, *rows: Row) -> dict[tuple[str, str], Row]:
    return alerts(con, feat_telemetry__accuracy=list(rows))


def test_precision_speaks_below_its_threshold_with_enough_samples(con: Con) -> None:
    row = accuracy(con, RECENT)["precision_below_threshold", "swing LONG"]
    assert (row["n"], row["value"], row["threshold"]) == (30, 0.5, 0.55)
    assert (row["severity"], row["status"], row["since_ms"]) == ("warning", "opened", AS_OF)
    assert row["text"] == (
        "swing LONG: precision over 30 days is 0.5 (n = 30), below 0.55, which chance may explain."
        " Watch it; do not change anything for this alone."
    )
    sure = accuracy(con, {**RECENT, "precision_long_hi95": 0.54})
    assert sure["precision_below_threshold", "swing LONG"]["severity"] == "critical"
    assert "stop it" in sure["precision_below_threshold", "swing LONG"]["text"]
    for quiet in (
        {"long_predicted_n": 29},  # too few
        {"precision_long": 0.55},  # at the threshold
        {"precision_long": None},  # not known
        {"window": "all"},  # another window's business
        {"strategy": "*"},  # no strategy of its own
        {"symbol": "BTCUSDT"},
    ):
        assert accuracy(con, {**RECENT, **quiet}) == {}, quiet


def test_short_has_an_alert_of_its_own(con: Con) -> None:
    short = {**ACCURACY, "window": "30d", "short_predicted_n": 50, "precision_short": 0.3}
    assert list(accuracy(con, short)) == [("precision_below_threshold", "swing SHORT")]


@pytest.mark.parametrize(
    ("rule", "subject", "last", "whole", "falls_to", "stays_at"),
    [
        ("precision_fell", "swing LONG", "precision_long", 0.9, 0.79, 0.8),
        ("precision_fell", "swing SHORT", "precision_short", 0.9, 0.79, 0.8),
        ("win_rate_fell", "swing", "win_rate", 0.6, 0.49, 0.5),
        ("sharpe_fell", "swing", "sharpe", 2.0, 1.4, 1.5),
    ],
)
def test_the_last_100_are_held_against_all_time(
    con: Con, rule: str, subject: str, last: str, whole: float, falls_to: float, stays_at: float
) -> None:
    ns = {"long_predicted_n": 40, "short_predicted_n": 40, "trade_n": 100}
    before = {**ACCURACY, **ns, "window": "all", last: whole}
    now = {**ACCURACY, **ns, "window": "last100", last: falls_to}
    row = accuracy(con, before, now)[rule, subject]
    assert row["value"] == falls_to
    assert row["threshold"] == pytest.approx(stays_at)
    assert accuracy(con, before, {**now, last: stays_at + 1e-9}) == {}
    few = dict.fromkeys(ns, 29)
    assert accuracy(con, before, {**now, **few}) == {}


def test_router_drawdown_sources_and_coverage_speak(con: Con) -> None:
    policy = {
        "symbol": "BTCUSDT",
        "n": 50,
        "quality": "broken",
        "acting_fallback_ratio": 0.95,
        "reason": "quality=broken",
    }
    slow = {**policy, "symbol": "SOLUSDT", "quality": "degraded", "acting_fallback_ratio": 0.1}
    found = alerts(
        con,
        feat_router__policies=[
            policy,
            {**slow, "acting_slip_bps": 9.0},
            {**policy, "symbol": "LTCUSDT", "quality": "ok"},
            # too many fallbacks for one label, but slippage is what breaks it
            {**policy, "symbol": "XRPUSDT", "acting_fallback_ratio": 0.65, "acting_slip_bps": 25.0},
        ],
        feat_symbol__performance=[
            {"symbol": "BTCUSDT", "n": 5, "dd_n": 2, "dd_today_pct": -1.5},
            {"symbol": "ETHUSDT", "n": 5, "dd_n": 3, "dd_unknown_n": 1, "dd_today_pct": -3.0},
            {"symbol": "SOLUSDT", "n": 5, "dd_n": 2, "dd_today_pct": -1.49},
            {"symbol": "LTCUSDT", "n": 5},  # equity is not known
        ],
        feat_ops__source_freshness=[
            source("raw_router__events", "silent", lag_s=90_000.0, required=True),
            source("raw_orders__events", "silent", lag_s=90_000.0),
            source("raw_risk__vetoes", "missing"),  # not required: this desk has none
            source("raw_orders__attempts", "missing", required=True),
            source("raw_market__bars", "ok", rejected_24h=2),  # 2 of 100
            source("raw_positions__states", "ok", rejected_24h=1, rows_24h=99),  # 1 of 100
        ],
        feat_account__coverage=[covered("main", "incomplete", coverage=0.9)],
    )
    said = {key: (row["severity"], row["value"], row["threshold"]) for key, row in found.items()}
    assert said == {
        ("router_broken", "BTCUSDT"): ("critical", 0.95, 0.9),
        ("router_degraded", "SOLUSDT"): ("warning", 9.0, 8.0),
        ("router_broken", "XRPUSDT"): ("critical", 25.0, 20.0),
        ("drawdown", "BTCUSDT"): ("warning", -1.5, -1.5),
        ("drawdown", "ETHUSDT"): ("critical", -3.0, -1.5),
        ("source_stale", "raw_router__events"): ("critical", 90_000.0, 86_400.0),
        ("source_stale", "raw_orders__events"): ("warning", 90_000.0, 86_400.0),
        ("source_stale", "raw_orders__attempts"): ("critical", None, 86_400.0),
        ("lines_rejected", "raw_market__bars"): ("warning", 0.02, 0.01),
        ("coverage_incomplete", "main"): ("warning", 0.9, 0.95),
    }
    assert all(row["text"] and row["n"] is not None for row in found.values())
    fallen = {subject: row for (rule, subject), row in found.items() if rule == "drawdown"}
    assert fallen["BTCUSDT"]["n"] == 2  # those of today, not of the window
    assert "(n = 2 closes today). Look" in fallen["BTCUSDT"]["text"]
    assert "(n = 3 closes today, 1 of them of unknown PnL). Look" in fallen["ETHUSDT"]["text"]


def covered(account: str, status: str, **values: Any) -> Row:
    seen = {"n": 7, "position_change_n": 12}
    return {"account": account, "day": "*", **seen, "status": status, **values}


def test_an_account_that_the_logs_do_not_explain_speaks_whether_its_share_is_known_or_not(
    con: Con,
) -> None:
    found = alerts(
        con,
        feat_account__coverage=[
            covered("low", "incomplete", coverage=0.9499999),  # never rounded up to what is needed
            covered("real", "incomplete", coverage=0.16171757932916928),  # as show and doctor say
            covered("bounded", "incomplete"),  # not even its best case is enough
            covered("dark", "unknowable"),
            covered("whole", "complete", coverage=0.95),
            covered("whole", "incomplete", coverage=0.1) | {"day": "2025-11-05"},
        ],
    )
    assert {subject: row["value"] for (_, subject), row in found.items()} == {
        "low": 0.9499999,
        "real": 0.16171757932916928,
        "bounded": None,
        "dark": None,
    }
    assert {rule for rule, _ in found} == {"coverage_incomplete"}
    said = {subject: row["text"] for (_, subject), row in found.items()}
    assert (
        "94.9 % of its PnL and position changes (n = 7 NAV values, 12 position changes)"
        in said["low"]
    )
    assert f"explain {share(0.16171757932916928)} of its PnL" in said["real"]
    assert "explain 16.1 % of its PnL" in said["real"]
    assert "too little" in said["bounded"]
    assert "cannot be known. Sizes stay at most 1. execintel reconcile says why." in said["dark"]
    assert said["low"].endswith(
        "execintel reconcile shows how much is missing, and what as far as the logs tell."
    )


def source(name: str, status: str, **values: Any) -> Row:
    usual: Row = {"source": name, "symbol": "*", "n": 100, "rows_24h": 98, "rejected_24h": 0}
    return {**usual, "status": status, "required": False, "max_silence_s": 86_400, **values}


@pytest.mark.parametrize(
    ("before", "is_seen", "status", "since_ms"),
    [
        (None, True, "opened", AS_OF),
        ("opened", True, "open", T),
        ("open", True, "open", T),
        ("cleared", True, "opened", AS_OF),  # it came back
        ("open", False, "cleared", T),
        ("opened", False, "cleared", T),
        ("cleared", False, None, None),  # said once
    ],
)
def test_alerts_go_on_from_the_snapshot_before(
    con: Con, before: str | None, is_seen: bool, status: str | None, since_ms: int | None
) -> None:
    key = ("precision_below_threshold", "swing LONG")
    was: Row = {"rule": key[0], "subject": key[1], "status": before, "since_ms": T, "n": 44}
    was |= {"severity": "warning", "value": 0.4, "threshold": 0.55, "text": "as it was"}
    found = alerts(
        con,
        feat_telemetry__accuracy=[RECENT] if is_seen else [],
        previous_alerts=[was] if before else [],
    )
    if status is None:
        assert found == {}
    else:
        row = found[key]
        assert (row["status"], row["since_ms"]) == (status, since_ms)
        assert row["n"] == (30 if is_seen else 44)
