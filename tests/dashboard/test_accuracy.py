"""What the page Strategies says, held against the SQL, known examples and counts by hand."""

from typing import Any

import duckdb
import polars as pl
import pytest

from dashboard import accuracy, comparison
from features.engines import functions
from features.snapshot import Store, open_snapshot

Z95 = 1.959963984540054


def row(**values: Any) -> dict[str, Any]:
    """Return a row of accuracy: of 10 LONG predicted 6 were right, 8 came; all independent."""
    usual = {"n": 20, "hit_n": 20.0, "long_long": 6, "long_predicted_n": 10, "long_actual_n": 8}
    return {"strategy": "intraday", "symbol": "*", "window": "30d", **usual, **values}


@pytest.fixture(scope="module")
def tables(store: Store) -> dict[str, pl.DataFrame]:
    """Return the accuracy tables and alerts of the real logs with generated traces."""
    names = ("feat_telemetry__accuracy", "feat_ops__alerts", "feat_telemetry__comparison")
    current = store.current()
    assert current is not None
    with open_snapshot(store.database(current)) as con:
        return {name: con.sql(f"FROM {name}").pl() for name in names}


@pytest.mark.parametrize(("share", "n"), [(0.0, 5.0), (0.3, 12.5), (1.0, 3.0), (0.5, 1e6)])
def test_bounds_of_a_share_are_those_of_the_tables(share: float, n: float) -> None:
    with duckdb.connect() as con:
        functions.register(con)
        found = con.sql(
            "SELECT wilson_lo($share, $n, $z), wilson_hi($share, $n, $z)",
            params={"share": share, "n": n, "z": Z95},
        ).fetchall()[0]
    assert accuracy.wilson(share, n, Z95) == pytest.approx(found, abs=1e-12)


def test_share_of_nothing_has_no_bounds() -> None:
    assert accuracy.wilson(None, 0, Z95) == (None, None)
    assert accuracy.wilson(0.5, 0, Z95) == (None, None)


def test_bounds_of_a_difference_are_newcombes() -> None:
    # Newcombe 1998, table II (a): 56/70 less 48/80 by method 10 is 0.0524 to 0.3339
    sides = [(k / n, *accuracy.wilson(k / n, n, Z95)) for k, n in ((56, 70), (48, 80))]
    found = comparison.difference_bounds(sides[0], sides[1])
    assert found == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert comparison.difference_bounds((0.5, None, None), sides[0]) == (None, None)


def test_bounds_of_f1_hold_it_and_follow_from_the_share_of_right_ones() -> None:
    # 6 right of the 12 that were predicted or came: J = 0.5, F1 = 2/3
    low, high = accuracy.f1_bounds(row(), "LONG", Z95)
    share_low, share_high = accuracy.wilson(0.5, 12, Z95)
    assert share_low is not None
    assert share_high is not None
    assert low == pytest.approx(2 * share_low / (1 + share_low))
    assert high == pytest.approx(2 * share_high / (1 + share_high))
    nothing = row(long_long=0, long_predicted_n=0, long_actual_n=0)
    assert accuracy.f1_bounds(nothing, "LONG", Z95) == (None, None)


def test_fewer_independent_predictions_widen_the_bounds() -> None:
    whole = accuracy.f1_bounds(row(), "LONG", Z95)
    clustered = accuracy.f1_bounds(row(hit_n=5.0), "LONG", Z95)
    assert clustered[0] is not None
    assert whole[0] is not None
    assert clustered[0] < whole[0]


def test_measures_repeat_the_tables_numbers_with_n_and_bounds(
    tables: dict[str, pl.DataFrame],
) -> None:
    found = accuracy.find(tables["feat_telemetry__accuracy"], "intraday", "*", "30d")
    assert found is not None
    by_name = {each.name: each for each in accuracy.measures(found, Z95)}
    precision = by_name["Precision LONG"]
    low, high = found["precision_long_lo95"], found["precision_long_hi95"]
    assert precision.value == f"{100 * found['precision_long']:.1f} %"
    assert precision.n == found["long_predicted_n"]
    assert precision.bounds == f"{100 * low:.1f} to {100 * high:.1f}"
    assert by_name["Precision NOOP"].value == "–"  # none was predicted: unknown, not 0
    assert by_name["Precision NOOP"].behind == "n = 0"


def test_alerts_of_the_snapshots_threshold_are_the_snapshots(
    tables: dict[str, pl.DataFrame],
) -> None:
    published = tables["feat_ops__alerts"].filter(pl.col("status") != "cleared")
    published = published.filter(pl.col("rule") == accuracy.PRECISION_RULE)
    found = accuracy.alerts(
        tables["feat_telemetry__accuracy"], tables["feat_ops__alerts"], 0.55, 30
    )
    columns = ["rule", "subject", "severity", "n", "value", "threshold", "since_ms"]
    same = found.filter(pl.col("rule") == accuracy.PRECISION_RULE)
    assert same.height > 0
    assert (
        same.select(columns).sort("subject").rows()
        == published.select(columns).sort("subject").rows()
    )


def test_alerts_follow_the_viewers_threshold(tables: dict[str, pl.DataFrame]) -> None:
    rows, published = tables["feat_telemetry__accuracy"], tables["feat_ops__alerts"]
    none = accuracy.alerts(rows, published, 0.0, 30)
    every = accuracy.alerts(rows, published, 1.0, 30)
    assert none.filter(rule=accuracy.PRECISION_RULE).is_empty()
    assert every.filter(rule=accuracy.PRECISION_RULE)["subject"].to_list() == [
        "intraday LONG", "intraday SHORT", "swing LONG", "swing SHORT",
    ]  # fmt: skip
    assert every.filter(rule=accuracy.PRECISION_RULE)["since_ms"].to_list() == 4 * [None]
    assert (
        accuracy.alerts(rows, published, 1.0, 1e9).filter(rule=accuracy.PRECISION_RULE).is_empty()
    )  # too few to speak


def test_verdict_names_the_better_or_says_inconclusive(tables: dict[str, pl.DataFrame]) -> None:
    pair = next(tables["feat_telemetry__comparison"].iter_rows(named=True))
    assert comparison.verdict({**pair, "better_strategy": "swing"}).startswith("swing is better:")
    words = comparison.verdict({**pair, "better_strategy": "inconclusive", "day_delta_pct": -1.5})
    assert words.startswith("inconclusive: a day intraday earned 1.50 percent points less than")
    assert f"{pair['bet_day_n']} and {pair['other_bet_day_n']} days" in words
    few = comparison.verdict({**pair, "day_p": None, "better_strategy": "inconclusive"})
    assert "too few, or too alike" in few


def test_sample_says_of_how_many_trades_it_is() -> None:
    sampled = accuracy.sampling({"path_source": "sampled", "inclusion_rate": 0.1})
    assert sampled is not None
    assert "about 10.0 % of its trades were logged" in sampled
    assert accuracy.sampling({"path_source": "traces", "inclusion_rate": 1.0}) is None
