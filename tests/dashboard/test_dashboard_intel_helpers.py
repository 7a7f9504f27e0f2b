"""The v5.10.1 helpers: they hand through, and on a view they answer from its snapshot alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from dashboard import live_helpers
from dashboard.data import LocalSource
from dashboard.live_helpers import get_hourly_expectancy, get_symbol_score
from dashboard.settings import load
from features.snapshot import Store


def test_get_symbol_score_delegates_to_intel_execution_intelligence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called = {}

    def fake_compute_symbol_score(symbol: str) -> dict[str, Any]:
        called["symbol"] = symbol
        return {"symbol": symbol, "score": 1.23, "components": {}}

    monkeypatch.setattr(live_helpers, "compute_symbol_score", fake_compute_symbol_score)
    result = get_symbol_score("BTCUSDC")
    assert result["symbol"] == "BTCUSDC"
    assert called["symbol"] == "BTCUSDC"


def test_get_hourly_expectancy_delegates_to_intel_execution_intelligence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fake_hourly_expectancy(symbol: str | None = None) -> dict[int, dict[str, Any]]:
        return {9: {"count": 5, "exp_per_notional": 0.001, "slip_bps_avg": 1.0}}

    monkeypatch.setattr(live_helpers, "hourly_expectancy", fake_hourly_expectancy)
    result = get_hourly_expectancy("BTCUSDC")
    assert 9 in result
    assert result[9]["count"] == 5


def test_helpers_answer_from_the_snapshot_of_the_view(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", str(home))
    source = LocalSource(load([]))
    for snapshot_id in store.ids():
        lines = (store.path(snapshot_id) / "live.jsonl").read_text("utf-8").splitlines()
        line = next(each for each in map(json.loads, lines[1:]) if each["symbol"] == "LINKUSDT")
        view = source.view(snapshot_id)
        with view.answering():
            assert get_symbol_score("LINKUSDT")["score"] == line["score"]["score"]
            counts = {hour: row["count"] for hour, row in get_hourly_expectancy("LINKUSDT").items()}
            assert counts == {int(hour): row["count"] for hour, row in line["hourly"].items()}
            kpis = live_helpers.execution_kpis("LINKUSDT")
            assert (kpis["n"], kpis["slip_q50"]) == (line["n"], line["router"]["slip_q50"])
            health = live_helpers.execution_health("LINKUSDT")
            assert health["sizing"]["applied_size_factor"] == line["size"]["final_size_factor"]
            assert health["snapshot_id"] == snapshot_id
