"""What the page Data quality says of literal rows."""

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dashboard import accuracy_charts, quality
from dashboard.data import LocalSource
from dashboard.data_kept import SnapshotError
from dashboard.settings import load
from features.snapshot import Store


def source(name: str, status: str, **values: Any) -> dict[str, Any]:
    usual = {
        "symbol": "*", "n": 5, "last_event_at_utc": datetime(2025, 11, 5, 12), "lag_s": 90.0,  # noqa: DTZ001
        "rows_24h": 4, "rejected_24h": 1, "undated_n": 0, "required": False, "max_silence_s": 60,
    }  # fmt: skip
    return {"source": name, "status": status, **usual, **values}


def test_sources_show_the_worst_first_and_unknown_as_a_dash() -> None:
    rows = pl.DataFrame(
        [
            source("raw_a", "ok"),
            source("raw_b", "silent"),
            source("raw_c", "missing", required=True, lag_s=None, last_event_at_utc=None, n=0),
        ]
    )
    shown = quality.sources(rows)
    assert shown["source"].to_list() == ["raw_c", "raw_b", "raw_a"]
    assert shown["status"].to_list() == ["■ missing, required", "▲ silent, optional", "● ok"]
    assert shown["age"].to_list() == ["–", "1 min 30 s", "1 min 30 s"]


def test_lags_put_the_longest_silence_against_its_limit_first() -> None:
    rows = pl.DataFrame(
        [
            source("raw_a", "silent", symbol="BTCUSDT", lag_s=90.0),  # 1.5 of 60
            source("raw_b", "ok", symbol="ETHUSDT", lag_s=600.0, max_silence_s=6000),
            source("raw_b", "missing", symbol="SOLUSDT", lag_s=None),  # nobody knows since when
        ]
    )
    shown = quality.lags(rows)
    assert shown["symbol"].to_list() == ["SOLUSDT", "BTCUSDT", "ETHUSDT"]
    assert shown["of allowed"].to_list() == ["–", "150.0 %", "10.0 %"]


def test_ages_are_plain_numbers_of_minutes() -> None:
    rows = pl.DataFrame([source("raw_a", "ok", symbol="BTCUSDT", lag_s=0.6)])  # 0.01 minutes
    _, points = quality.lag_chart(rows).to_dict()["layer"]
    axis = points["encoding"]["x"]["axis"]
    assert axis["format"] == ",~f"  # 0.01 and 1,000; with SI prefixes 10m and 1k


def test_reasons_say_how_to_mend_them() -> None:
    counts = pl.DataFrame(
        {
            "source": ["raw_orders__events", "raw_risk__vetoes"],
            "reject_reason": ["not_a_number:prices.mark", "of_another_release"],
            "n": [1, 2],
        }
    )
    shown = quality.reasons(counts)
    assert shown["lines (n)"].to_list() == [2, 1]
    assert shown["mend"][0] == "no advice is known for this reason"
    assert shown["mend"][1].startswith("The named field is present and no number")


def test_checks_name_what_refused_held_and_warned_first() -> None:
    found = [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    manifest = {
        "checks": [
            {"name": name, "rows": rows, "cause": "why", "examples": ["x=1"]}
            for name, rows in found
        ],
        "failed_checks": ["b"],
        "held_checks": ["c"],
    }
    shown = quality.checks(manifest)
    assert shown["check"].to_list() == ["b", "c", "d", "a"]
    assert shown["result"].to_list() == [
        "■ refused the build", "▲ held for a person", "▲ warns", "● ok",
    ]  # fmt: skip


def covered(**values: Any) -> dict[str, Any]:
    usual = {
        "account": "a", "day": "*", "status": "incomplete", "unexplained_lo_usd": 1.0,
        "unexplained_hi_usd": 1.0, "pnl_explained_lo": 0.5, "pnl_explained_hi": 0.5,
        "position_explained_ratio": 0.5, "position_change_n": 3, "nav_change_usd": 2.0, "n": 4,
        "realized_pnl_usd": 0.0, "pnl_known_n": 0, "close_n": 0, "fees_usd": 0.0,
        "fees_known_n": 0, "trade_n": 0, "unrealized_change_usd": None, "likely_cause": None,
    }  # fmt: skip
    return {**usual, **values}


def test_days_without_a_close_or_a_fill_have_no_pnl_and_no_fees() -> None:
    rows = [covered(), covered(day="2025-11-05", close_n=1, pnl_known_n=1, trade_n=2)]
    shown = quality.coverage(pl.DataFrame(rows, infer_schema_length=None))
    assert shown["PnL before fees"].to_list() == ["–", "0.00"]
    assert shown["fees"].to_list() == ["–", "0.00"]


def test_a_coverage_below_what_is_needed_is_not_rounded_up_to_it() -> None:
    row = covered(pnl_explained_lo=0.0, pnl_explained_hi=0.9499, position_explained_ratio=0.9496)
    (shown,) = quality.coverage(pl.DataFrame([row])).to_dicts()
    assert (shown["of PnL"], shown["of positions"]) == ("0.0 % to 94.9 %", "94.9 %")


def test_an_age_of_a_moment_ahead_is_no_negative_zero() -> None:
    rows = pl.DataFrame([source("raw_a", "ok", symbol="BTCUSDT", lag_s=-0.02)])
    (shown,) = quality.lags(rows).to_dicts()
    assert (shown["age"], shown["of allowed"]) == ("0 s", "0.0 %")


def test_amounts_that_are_nothing_in_cents_have_no_sign() -> None:
    rows = pl.DataFrame(
        {"cause": ["restart"], "unexplained_usd": [-0.001], "is_explained": [False]}
    )
    assert [str(cell) for cell in quality.causes(rows).row(0)] == ["restart", "1", "0.0"]


def test_unexplained_amounts_that_nobody_knows_do_not_sum_to_nothing() -> None:
    rows = pl.DataFrame(
        {
            "cause": ["restart", "restart", None],
            "unexplained_usd": [1.254, 2.5, None],
            "is_explained": [False, False, True],
        }
    )
    shown = quality.causes(rows)
    assert shown.rows() == [("restart", 2, 3.75), ("explained by fills", 1, None)]


def test_changes_not_seen_again_are_unknown_in_the_headline_and_in_the_table() -> None:
    changes = [
        ("a", True, None),  # explained
        ("a", True, None),
        ("a", True, "close_line_missing"),  # by fills, whose PnL is not logged
        ("a", False, "silent_log"),  # not explained
        ("a", None, None),  # not seen again yet
        ("b", None, None),  # of another account
    ]
    rows = pl.DataFrame(
        changes, schema=["account", "is_explained", "cause"], orient="row"
    ).with_columns(unexplained_usd=pl.lit(None, pl.Float64))
    assert dict(quality.causes(rows).select("likely cause", "changes (n)").iter_rows()) == {
        "explained by fills": 2,
        "explained by fills, close line missing": 1,
        "silent log": 1,
        "unknown, position not seen again yet": 2,
    }
    window = {"coverage": 0.5, "position_unexplained_n": 1, "position_change_n": 4}
    assert quality.explained(window | {"likely_cause": None}, quality.pending(rows, "a")) == (
        "the logs explain 50.0 %; fills do not explain 1 of 4 position changes"
        "; of 1 more it is unknown, position not seen again yet"
    )
    assert "unknown" not in quality.explained(window | {"likely_cause": None}, 0)


def test_differences_count_rows_and_show_changed_values() -> None:
    item = {
        "table": "feat_a", "added": 1, "removed": 0, "changed": 1,
        "examples": [(("BTCUSDT", 3), "n", 4, None)],
    }  # fmt: skip
    tables, values = quality.differences([item])
    assert tables.rows() == [("feat_a", 1, 0, 1)]
    assert values.rows() == [("feat_a", "BTCUSDT, 3", "n", "4", "–")]
    assert quality.differences([])[0].is_empty()


def test_rejected_lines_of_a_lake_that_is_gone_are_no_empty_list(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path))
    for name in ("lake", "snapshots"):
        shutil.copytree(home / name, tmp_path / name)
    store = Store(tmp_path / "snapshots")
    store.relocate(store.resolve(None), tmp_path / "lake")
    view = LocalSource(load([])).view()
    assert quality.rejected(view)["n"].sum() > 0
    shutil.rmtree(tmp_path / "lake")
    with pytest.raises(SnapshotError, match=str(view.snapshot_id)):
        quality.rejected(view)


def test_each_of_many_strategies_looks_unlike_the_others() -> None:
    scales = accuracy_charts._scales([f"s{n}" for n in range(36)])
    looks = zip(*(scale.to_dict()["range"] for scale in scales), strict=True)
    assert len({str(look) for look in looks}) == 36
