"""The health document on a terminal: the switches that stand now, and what a stale one says."""

import json
import re
from typing import Any

import pytest

from pipelines.commands import health
from tests.pipelines.commands.desk import Desk


@pytest.fixture(scope="module")
def published(published_twice: Desk) -> Desk:
    return published_twice


@pytest.fixture(autouse=True)
def _at_home(published: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", str(published.home))


def risk_of(desk: Desk, *words: str) -> dict[str, Any]:
    result = desk.run("show", *words, "--format", "json")
    assert result.exit_code == 0, result.output
    risk: dict[str, Any] = json.loads(result.stdout)["risk"]
    return risk


def test_a_symbol_that_is_switched_off_is_so_in_its_document_and_not_in_the_past(
    published: Desk,
) -> None:
    before = (published.home / "snapshots" / "published.jsonl").read_text().splitlines()[0]
    older = json.loads(before)["snapshot_id"]
    assert risk_of(published, "BTCUSDT")["toggle_active"] is False
    published.run("disable", "BTCUSDT", "--reason", "delisted")
    try:
        risk = risk_of(published, "BTCUSDT")
        other = risk_of(published, "ETHUSDT")
        past = risk_of(published, "BTCUSDT", "--snapshot", older)
        output = published.run("show", "BTCUSDT").stdout
        old_output = published.run("show", "BTCUSDT", "--snapshot", older).stdout
    finally:
        published.run("enable", "BTCUSDT")
    assert (risk["toggle_active"], risk["risk_flags"]) == (True, ["symbol_disabled"])
    assert risk["toggle_meta"] == {"reason": "delisted", "until": None}
    assert (other["toggle_active"], other["risk_flags"]) == (False, [])
    assert (past["toggle_active"], past["risk_flags"]) == (None, [])
    assert "warning     symbol_disabled" in output
    assert ", switched off" in output
    assert "symbol_disabled" not in old_output
    assert risk_of(published, "BTCUSDT")["toggle_active"] is False


def test_a_product_within_what_a_status_allows_is_the_snapshots_own(published: Desk) -> None:
    (row,) = published.ask(
        "SELECT sharpe_mult * regime_scale * intel_size_factor AS product, final_size_factor"
        " FROM feat_symbol__sizing WHERE symbol = 'BTCUSDT'"
    )
    found = json.loads(published.run("show", "BTCUSDT", "--format", "json").stdout)
    assert found["status"] == "stale"  # of 2025
    assert found["sizing"]["final_size_factor"] == pytest.approx(row["product"])
    assert found["sizing"]["applied_size_factor"] <= min(row["final_size_factor"], 1.0)
    is_limited = found["sizing"]["applied_size_factor"] != row["final_size_factor"]
    assert ("stale" in found["sizing"]["capped_by"]) == is_limited
    output = published.run("show", "BTCUSDT").stdout
    assert not re.search(r"^ +stale$", output, re.MULTILINE)  # the line above says what that does


def test_a_score_that_is_rounded_to_nothing_has_no_sign() -> None:
    names = ("sharpe_score", "atr_score", "router_score", "dd_score")
    score = {"score": -0.004, "model": "v5.10", "missing": []}
    words = health._score({**score, "components": dict.fromkeys(names, -0.004)})
    assert words == "0.00 by v5.10 (Sharpe 0.00, ATR 0.00, router 0.00, drawdown 0.00)"
