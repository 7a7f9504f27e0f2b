"""Every check returns the rows planted for it, and nothing of sound ones."""

from decimal import Decimal
from typing import Any

import duckdb
import pytest

from features import catalog
from tests.features.sql.literal import (
    OUTCOMES,
    D,
    H,
    Line,
    Row,
    T,
    build_outcomes,
    build_window,
    check,
    order_close,
    order_fill,
    outcome,
    plan,
    raw,
    router,
    run_in_order,
)

Con = duckdb.DuckDBPyConnection

HOUR = {
    "symbol": "ETHUSDT",
    "hour_utc": 0,
    "n": 2,
    "close_n": 2,
    "funding_n": 1,
    "funding_usd": -0.5,
    "notional_usd": 10.0,
    "exp_per_notional": 0.1,
    "exp_stderr": 0.05,
    "exp_lo95": 0.0,
    "exp_hi95": 0.2,
    "slip_n": 2,
    "slip_bps_avg": 1.0,
    "shrink_weight": 0.5,
}
QUARTILES = {
    "symbol": "ETHUSDT",
    "hour_utc": -1,
    "n": 3,
    "fresh_n": 2,
    "age_unknown_n": 1,
    "slip_bps_q25": -1.0,
    "slip_bps_q50": 0.0,
    "slip_bps_q75": 1.0,
    "slip_bps_q95": 2.0,
    "slip_bps_q99": 3.0,
    "fresh_q25": -1.0,
    "fresh_q50": 0.0,
    "fresh_q75": 1.0,
}
ROUTER = {
    "symbol": "ETHUSDT",
    "n": 5,
    "fill_n": 2,
    "fill_known_n": 3,
    "unknown_n": 2,
    "fill_ratio": 2 / 3,
    "maker_known_n": 2,
    "maker_fill_ratio": 0.5,
    "fallback_known_n": 1,
    "fallback_ratio": 1.0,
}
PERFORMANCE = {
    "symbol": "ETHUSDT",
    "n": 3,
    "round_trip_n": 3,
    "sharpe_7d": 0.4,
    "sharpe_lo90": -0.1,
    "win_rate": 0.5,
    "dd_today_pct": -0.5,
    "max_dd_today_pct": -1.0,
    "equity_usd": 1000.0,
}
REGIME = {
    "symbol": "ETHUSDT",
    "n": 500,
    "bar_interval": "15m",
    "atr_pct_50": 0.3,
    "atr_pct_500": 0.4,
    "atr_ratio": 0.75,
    "regime": "normal",
    "health_regime": "normal",
    "atr_source": "bars",
    "regime_scale": 1.0,
    "venue_n": 1,
}
SCORE = {
    "symbol": "ETHUSDT",
    "model": "v5.10",
    "is_active": True,
    "score": 0.25,
    "size_factor": 1.075,
    "sharpe_score": 0.5,
    "atr_score": 0.1,
    "maker_score": 0.2,
    "fallback_score": 0.0,
    "slip_score": -0.3,
    "router_score": -0.1,
    "dd_score": -0.25,
    "fee_score": 0.0,
    "coverage": 1.0,
    "missing": "",
}
SOURCE = {
    "source": "raw_router__events",
    "symbol": "*",
    "status": "ok",
    "required": True,
    "lag_s": 5.0,
    "max_silence_s": 60,
    "rows_24h": 1000,
    "rejected_24h": 1,
}

SUMS = {
    "environment": "paper",
    "account": "default",
    "venue": "binance",
    "symbol": "ETHUSDT",
    "hour_ms": T // H * H,
    "n": 3,
    "filled_n": 1,
    "partial_n": 0,
    "unfilled_n": 1,
    "rejected_n": 0,
    "unknown_n": 1,
    "close_n": 1,
    "pnl_usd": 2.0,
    "slip_n": 1,
    "slip_bps": 0.5,
}

INTERVAL = {
    "account": "main",
    "environment": "paper",
    "symbol": "ETHUSDT",
    "position_side": "LONG",
    "from_ms": T,
    "to_ms": T + H,
    "change_qty": 2.0,
    "explained_qty": 0.5,
    "unexplained_qty": 1.5,
    "is_explained": False,
    "unexplained_usd": 150.0,
    "unknown_n": 2,
    "inferred_fill_n": 2,
    "cause": "unknown_order",
}
COVERAGE = {
    "account": "main",
    "day": "*",
    "n": 9,
    "nav_change_usd": 10.0,
    "trade_n": 4,
    "unknown_n": 1,
    "inferred_fill_n": 1,
    "position_change_n": 4,
    "unrealized_change_usd": 1.0,
    "unlogged_usd": 1.1,
    "unexplained_usd": 0.1,
    "unexplained_lo_usd": 0.1,
    "unexplained_hi_usd": 0.1,
    "pnl_explained_ratio": 0.99,
    "pnl_explained_lo": 0.99,
    "pnl_explained_hi": 0.99,
    "position_explained_ratio": 1.0,
    "coverage": 0.99,
    "status": "complete",
}

# check: (table, a sound row, what makes it unsound)
SOUND: dict[str, tuple[str, Row, list[Row]]] = {
    "core_window__funding_sound": (
        "core_window__funding",
        {"symbol": "ETHUSDT", "event_ms": T + H, "hour_utc": 1, "funding_usd": -0.5},
        [
            {"event_ms": T + D + 1},  # after as-of
            {"event_ms": T - 6 * D},  # a week old
            {"hour_utc": 24},
            {"funding_usd": None},
        ],
    ),
    "core_execution__hourly_sound": (
        "core_execution__hourly",
        SUMS,
        [
            {"hour_ms": T // H * H + 1},  # no whole hour
            {"unknown_n": 2},  # parts above their whole
            {"close_n": 0},  # PnL without a close
            {"slip_n": 0},  # a sum of nothing
        ],
    ),
    "feat_execution__hourly_expectancy_sound": (
        "feat_execution__hourly_expectancy",
        HOUR,
        [
            {"hour_utc": 24},
            {"hour_utc": -1},
            {"notional_usd": 0.0},  # an estimate of nothing
            {"slip_n": 0},
            {"funding_n": 0},  # an amount of nothing
            {"funding_usd": None},
            {"close_n": 1},  # an error of one
            {"exp_lo95": 0.11},  # bounds that do not enclose
            {"exp_hi95": 0.09},
            {"slip_bps_avg": 5000.0},
            {"slip_bps_avg": -9999.0},
            {"shrink_weight": 1.01},
        ],
    ),
    "feat_execution__slippage_quartiles_sound": (
        "feat_execution__slippage_quartiles",
        QUARTILES,
        [
            {"slip_bps_q25": 0.5},  # out of order
            {"slip_bps_q75": -0.5},
            {"slip_bps_q95": 0.5},
            {"fresh_q25": 0.5},
            {"fresh_q75": -0.5},
            {"slip_bps_q25": -10000.0},  # an artefact
            {"slip_bps_q99": 10000.0},
            {"n": 0, "fresh_n": 0, "fresh_q50": None},  # an estimate of nothing
            {"fresh_n": 0},
            {"fresh_n": 4},  # a part above its whole
            {"age_unknown_n": 2},  # parts above their whole
        ],
    ),
    "feat_router__effectiveness_sound": (
        "feat_router__effectiveness",
        ROUTER,
        [
            {"fill_ratio": 1.01},
            {"maker_fill_ratio": -0.1},
            {"fallback_ratio": 2.0},
            {"fill_known_n": 0, "fill_n": 0},  # ratios of nothing
            {"maker_known_n": 0},
            {"fallback_known_n": 0},
            {"unknown_n": 3},  # parts above their whole
            {"fill_n": 4},
        ],
    ),
    "feat_symbol__performance_sound": (
        "feat_symbol__performance",
        PERFORMANCE,
        [
            {"round_trip_n": 1},  # Sharpe of one
            {"round_trip_n": 0, "sharpe_7d": None, "sharpe_lo90": None},  # a win rate of none
            {"win_rate": 1.5},
            {"sharpe_lo90": 0.5},  # a lower bound above
            {"dd_today_pct": 0.1, "max_dd_today_pct": 0.0},
            {"max_dd_today_pct": -0.4},  # deepest less deep than now
            {"equity_usd": 0.0},
        ],
    ),
    "feat_symbol__atr_regime_sound": (
        "feat_symbol__atr_regime",
        REGIME,
        [
            {"n": 501},
            {"n": -1},
            {"n": 499},  # too few for its source
            {"n": 99, "atr_source": "short"},
            {"bar_interval": None},
            {"atr_source": "none"},  # an estimate of nothing
            {"atr_source": "fills"},
            {"atr_pct_50": -0.1},
            {"atr_pct_500": -0.1},
            {"atr_ratio": -0.1},
            {"atr_ratio": None},  # a regime of nothing
            {"regime": "unknown"},
            {"health_regime": "unknown"},
            {"regime_scale": 1.1},
            {"regime_scale": -0.1},
            # fills must not change a size
            {"atr_source": "fills", "bar_interval": None, "regime_scale": 0.5},
        ],
    ),
    "feat_symbol__atr_regime_one_venue": (
        "feat_symbol__atr_regime",
        REGIME,
        [{"venue_n": 2}],
    ),
    "core_position__reconciliation_sound": (
        "core_position__reconciliation",
        INTERVAL,
        [
            {"to_ms": T},  # backwards
            {"unexplained_qty": 1.4},  # parts that do not sum
            {"inferred_fill_n": 1},  # some of several: all or none is known
            {"unexplained_usd": -1.0},
            {"is_explained": True},  # and yet an unexplained amount
            {"to_ms": None},  # judged before it ended
            {"is_explained": None, "cause": None},
            {"cause": None},
        ],
    ),
    "core_window__attempts_sound": (
        "core_window__attempts",
        {"account": "main", "symbol": "ETHUSDT", "event_ms": T, "gross_usd": 0.0},
        [{"gross_usd": -5.0}],  # net of a short
    ),
    "feat_account__coverage_sound": (
        "feat_account__coverage",
        COVERAGE,
        [
            {"pnl_explained_ratio": 1.01, "pnl_explained_hi": 1.02},
            {"position_explained_ratio": -0.1, "status": "incomplete"},
            {"pnl_explained_hi": 0.98},  # bounds out of order, or without the ratio
            {"pnl_explained_lo": 0.995, "pnl_explained_hi": 0.999},
            {"unexplained_lo_usd": 0.2},
            {"n": 0},  # a change of no NAV
            {"unrealized_change_usd": None},  # explained by what is unknown
            {"unlogged_usd": 2.0},  # parts that do not sum
            {"inferred_fill_n": 2},
            {"status": "incomplete"},  # a status that does not follow
            {"status": "unknowable"},
            {"position_explained_ratio": 0.98},  # and yet a coverage above it
            {"coverage": 0.991},
            {"coverage": None},
            {"pnl_logged_ratio": 0.98},  # and yet a coverage above it
            {"pnl_logged_ratio": 1.01},
            {"pnl_missing_n": 1},  # a lost close, and no share of what is logged
        ],
    ),
    "feat_account__coverage_low": (
        "feat_account__coverage",
        COVERAGE,
        [{"status": "incomplete"}, {"status": "unknowable"}],
    ),
    "feat_ops__source_freshness_required": (
        "feat_ops__source_freshness",
        SOURCE,
        [{"status": "silent"}, {"status": "missing"}],
    ),
    "feat_ops__source_freshness_silent": (
        "feat_ops__source_freshness",
        {**SOURCE, "required": False},
        [{"status": "silent"}],
    ),
    "raw_lines_rejected": (
        "feat_ops__source_freshness",
        SOURCE,
        [{"rejected_24h": 11}, {"rows_24h": 0, "rejected_24h": 1}],
    ),
}


# What tells a second row from the first; by default another symbol.
OTHER_KEY: dict[str, Row] = {
    "feat_ops__source_freshness": {},
    "feat_account__coverage": {"account": "second"},
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_rows_pass(con: Con, name: str) -> None:
    table, row, _ = SOUND[name]
    assert check(con, name, {table: [row]}) == []
    assert check(con, name, {}) == []


@pytest.mark.parametrize(
    ("name", "fault"), [(name, fault) for name, (_, _, faults) in SOUND.items() for fault in faults]
)
def test_unsound_rows_are_returned(con: Con, name: str, fault: Row) -> None:
    table, row, _ = SOUND[name]
    other = {**row, **OTHER_KEY.get(table, {"symbol": "BTCUSDT"})}
    found = check(con, name, {table: [{**row, **fault}, other]})
    assert len(found) == 1
    assert {key: found[0][key] for key in row.keys() & found[0].keys()}.items() <= {
        **row,
        **fault,
    }.items()


@pytest.mark.parametrize(
    "name", [name for name in SOUND if name.startswith("feat_") and name.endswith("_sound")]
)
def test_repeated_rows_are_returned(con: Con, name: str) -> None:
    table, row, _ = SOUND[name]
    assert len(check(con, name, {table: [row, row]})) == 2


@pytest.mark.parametrize(
    ("name", "row"),
    [
        # silence of a symbol is normal -> only a whole source is judged
        ("feat_ops__source_freshness_required", {"symbol": "ETHUSDT", "status": "silent"}),
        ("feat_ops__source_freshness_silent", {"symbol": "ETHUSDT", "status": "silent"}),
        # each of the two leaves to the other what is the other's
        ("feat_ops__source_freshness_required", {"required": False, "status": "silent"}),
        ("feat_ops__source_freshness_silent", {"required": True, "status": "silent"}),
        # a source that nobody writes is no news
        ("feat_ops__source_freshness_silent", {"required": False, "status": "missing"}),
        # one in a hundred is tolerated
        ("raw_lines_rejected", {"rows_24h": 990, "rejected_24h": 10}),
    ],
)
def test_what_a_check_tolerates(con: Con, name: str, row: Row) -> None:
    assert check(con, name, {"feat_ops__source_freshness": [{**SOURCE, **row}]}) == []


# ------------------------------------------------------------------------ a row for every model


def score_faults(con: Con, rows: list[Row]) -> list[Row]:
    return check(con, "feat_symbol__scores_sound", {"feat_symbol__scores": rows})


OTHER_MODEL = {**SCORE, "model": "v5.11", "is_active": False}


def test_sound_scores_pass(con: Con) -> None:
    assert score_faults(con, [SCORE, OTHER_MODEL]) == []
    assert score_faults(con, []) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"score": 0.3},  # not the sum of its parts
        {"score": None},
        {"score": float("nan")},
        {"score": float("inf"), "dd_score": float("inf")},
        {"router_score": 0.0, "score": 0.35},
        {"maker_score": None},
        {"size_factor": 0.2499},
        {"size_factor": 2.0001},
        {"size_factor": None},
        {"coverage": 1.25},
        {"coverage": 0.75},  # a part lacks an input that is not named
        {"missing": "sharpe"},
    ],
)
def test_unsound_scores_are_returned(con: Con, fault: Row) -> None:
    (found,) = score_faults(con, [{**SCORE, **fault}, OTHER_MODEL])
    assert found["model"] == "v5.10"


@pytest.mark.parametrize(
    "rows",
    [
        [SCORE],  # a model is missing
        [SCORE, SCORE],
        [SCORE, OTHER_MODEL, OTHER_MODEL],
        [SCORE, {**OTHER_MODEL, "is_active": True}],  # two act
        [{**SCORE, "is_active": False}, OTHER_MODEL],  # none acts
    ],
)
def test_models_that_do_not_stand_once_each_are_returned(con: Con, rows: list[Row]) -> None:
    assert len(score_faults(con, rows)) == len(rows)


# ------------------------------------------------------------------------------------ core checks


def test_an_attempt_that_stands_twice_is_returned(con: Con) -> None:
    name = "core_execution__outcomes_unique"
    row = outcome(attempt_id="a1").values
    sound = [
        row,
        {**row, "attempt_id": "a2"},
        {**row, "event_ms": T + 2 * D},  # the id used again
        {**row, "account": "second"},
        {**row, "environment": "live"},
        {**row, "symbol": "BTCUSDT"},
    ]
    assert check(con, name, {OUTCOMES: sound}) == []
    (found,) = check(con, name, {OUTCOMES: [*sound, {**row, "outcome": "unknown"}]})
    assert (found["attempt_id"], found["event_ms"], found["n"]) == ("a1", T, 2)


@pytest.mark.parametrize(
    "places",
    [
        [{"venue": "binance"}, {"venue": "kraken"}],
        [{"account": "main"}, {"account": "second"}],
    ],
)
def test_one_symbol_in_two_places_is_returned(con: Con, places: list[Row]) -> None:
    name, table = "core_window__one_account_and_venue", "core_window__hourly"
    rows = [{"symbol": "ETHUSDT", "account": "main", "venue": "binance", **p} for p in places]
    (found,) = check(con, name, {table: rows})
    assert (found["symbol"], found["account_n"] + found["venue_n"]) == ("ETHUSDT", 3)
    apart = [{**row, "symbol": f"S{i}"} for i, row in enumerate(rows)]
    assert check(con, name, {table: apart}) == []


def test_a_line_of_unknown_venue_is_no_second_venue(con: Con) -> None:
    name, table = "core_window__one_account_and_venue", "core_window__hourly"
    row = {"symbol": "ETHUSDT", "account": "main"}
    rows = [{**row, "venue": "binance"}, {**row, "venue": "unknown"}]
    assert check(con, name, {table: rows}) == []


def test_two_venues_pass_where_the_key_keeps_them_apart(con: Con) -> None:
    lines = [outcome(venue="binance"), outcome(venue="kraken")]
    for symbol_key, faults in (("symbol", 1), ("venue_symbol", 0)):
        build_window(con, plan(symbol_key=symbol_key), *lines)
        found = con.sql(catalog.checks()["core_window__one_account_and_venue"].sql).fetchall()
        assert len(found) == faults


def equal_hours(con: Con, **change: Any) -> list[Row]:
    """Return what the comparison of hours with outcomes finds when one hourly row is changed."""
    lines = [
        outcome(realized_pnl_usd=2.0, notional_usd=10.0),
        outcome("unfilled"),
        outcome("close_only", realized_pnl_usd=-1.0),
        outcome("partial", symbol="BTCUSDT", notional_usd=5.0),
    ]
    build_window(con, plan(), *lines)
    hours = con.sql("FROM core_window__hourly").to_arrow_table().to_pylist()
    (mine,) = [row for row in hours if row["symbol"] == "ETHUSDT"]
    mine |= {name: mine[name] + more for name, more in change.items()}
    tables = {"core_window__hourly": hours, "core_window__outcomes": [x.values for x in lines]}
    return check(con, "core_execution__hourly_equals_outcomes", tables)


def test_hours_that_equal_their_outcomes_pass(con: Con) -> None:
    assert equal_hours(con) == []


@pytest.mark.parametrize(
    "change", [{"n": 1}, {"filled_n": -1}, {"close_n": 1}, {"pnl_usd": 0.00001}]
)
def test_hours_that_differ_from_their_outcomes_are_returned(con: Con, change: Row) -> None:
    assert [row["symbol"] for row in equal_hours(con, **change)] == ["ETHUSDT"]


def test_a_symbol_without_hours_is_returned(con: Con) -> None:
    tables = {"core_window__outcomes": [outcome().values]}
    (found,) = check(con, "core_execution__hourly_equals_outcomes", tables)
    assert (found["symbol"], found["outcome_n"], found["hourly_n"]) == ("ETHUSDT", 1, None)


SUMMED: dict[str, Row] = {
    "core_window__hourly": {
        "filled_n": 2,
        "partial_n": 1,
        "close_only_n": 1,
        "unknown_n": 3,
        "fees_known_n": 2,
        "fees_usd": 0.5,
        "slip_n": 2,
        "suspect_n": 1,
        "ack_n": 3,
        "close_n": 2,
        "pnl_known_n": 2,
        "pnl_usd": 3.0,
    },
    "core_window__closes": {"close_n": 2, "close_ms": T, "realized_pnl_usd": 3.0},
    "core_window__minutes": {
        "trade_n": 4,
        "unknown_n": 3,
        "fees_known_n": 2,
        "fees_usd": Decimal("0.5"),
        "fees_size_usd": Decimal("0.7"),
        "close_n": 2,
        "pnl_usd": Decimal(3),
        "pnl_size_usd": Decimal(3),
    },
    "core_window__slippage": {"n": 2, "suspect_n": 1},
    "core_window__acks": {"n": 3},
}


def unequal_sums(con: Con, table: str, change: Row) -> list[Row]:
    """Return what the comparison of kept sums with hours finds when one table is changed."""
    tables = {name: [{"symbol": "ETHUSDT", **row}] for name, row in SUMMED.items()}
    tables[table][0] |= change
    return check(con, "core_window__sums_equal_hourly", tables)


def test_kept_sums_that_equal_their_hours_pass(con: Con) -> None:
    assert unequal_sums(con, "core_window__minutes", {}) == []


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("core_window__minutes", {"trade_n": 5}),
        ("core_window__minutes", {"unknown_n": 2}),
        ("core_window__minutes", {"fees_known_n": 3}),
        ("core_window__minutes", {"fees_usd": Decimal("0.50001")}),
        ("core_window__slippage", {"n": 1}),
        ("core_window__minutes", {"close_n": 3}),
        ("core_window__minutes", {"pnl_usd": Decimal(6)}),
        ("core_window__closes", {"close_n": 1}),
        ("core_window__closes", {"realized_pnl_usd": 6.0}),
        ("core_window__closes", {"realized_pnl_usd": None}),
        ("core_window__closes", {"close_ms": T + 2 * D}),  # after as-of
        ("core_window__slippage", {"suspect_n": 0}),
        ("core_window__acks", {"n": 2}),
        ("core_window__hourly", {"symbol": "BTCUSDT"}),  # sums of a symbol without hours
    ],
)
def test_kept_sums_that_differ_from_their_hours_are_returned(
    con: Con, table: str, change: Row
) -> None:
    assert "ETHUSDT" in [row["symbol"] for row in unequal_sums(con, table, change)]


LOGGED: Row = {"account": "main", "day_n": T // D, "n": 2, "first_ms": T, "last_ms": T + 1}


@pytest.mark.parametrize(
    ("change", "is_sound"),
    [
        ({}, True),
        ({"n": 1}, False),  # of two attempts
        ({"n": 0}, False),
        ({"first_ms": T + 2}, False),  # after the last
        ({"first_ms": T - 1}, False),  # on another day
        ({"last_ms": T + D}, False),
    ],
)
def test_kept_counts_of_navs_must_be_possible(con: Con, change: Row, is_sound: bool) -> None:
    tables = {
        "core_window__navs": [{**LOGGED, **change}],
        "core_window__hourly": [{"account": "main", "submitted_n": 2}],
    }
    assert (check(con, "core_window__navs_sound", tables) == []) == is_sound


@pytest.mark.parametrize(
    ("change", "is_sound"),
    [
        ({}, True),
        ({"spare_n": 2}, False),  # none is left
        ({"spare_n": 0}, False),
        ({"nav_usd": 101.0}, False),  # nobody logged it
        ({"event_ms": T + D}, False),  # on that day
    ],
)
def test_repeated_navs_are_fewer_than_stand(con: Con, change: Row, is_sound: bool) -> None:
    spare = {"account": "main", "event_ms": T, "nav_usd": 100.0, "spare_n": 1}
    tables = {
        "core_window__navs": [{**LOGGED, "nav_usd": 100.0}],
        "core_window__repeated_navs": [{**spare, **change}],
    }
    assert (check(con, "core_window__repeated_navs_sound", tables) == []) == is_sound


INFERRED = {
    "account": "main",
    "environment": "paper",
    "symbol": "ETHUSDT",
    "attempt_id": "a1",
    "event_ms": T + 1,
    "to_ms": T + H,
}


@pytest.mark.parametrize(
    ("named", "fault"),
    [
        ([INFERRED, {**INFERRED, "attempt_id": "a2"}], None),
        ([INFERRED], "named 1 of 2"),
        ([], "named 0 of 2"),
        ([INFERRED, {**INFERRED, "to_ms": T + 2 * H}], "named 1 of 0"),
        ([INFERRED, INFERRED], "stands twice"),
    ],
)
def test_inferred_fills_must_be_those_that_are_counted(
    con: Con, named: list[Row], fault: str | None
) -> None:
    tables = {"core_position__reconciliation": [INTERVAL], "core_position__inferred_fills": named}
    found = check(con, "core_position__inferred_fills_sound", tables)
    assert fault in [row["fault"] for row in found] if fault else found == []


CLOSES = [
    router("a1"),
    order_fill("a1"),
    order_close("a1", at=T + H, realized_pnl_usd=2.0),
    order_close("a1", at=T + 2 * H, realized_pnl_usd=1.0),
    order_close("a1", at=T + 2 * H, realized_pnl_usd=1.0),  # the same close twice
    order_close("lone", order_id="o2", realized_pnl_usd=-0.5),
    order_close(None, order_id="o3", realized_pnl_usd=0.25),
    router("flat", status=None, notional_usd=9.0, realized_pnl_usd=4.0),  # no close of its own
]


def pnl_faults(con: Con, *lines: Line, change: str = "") -> list[Row]:
    """Return what the comparison of PnL finds in the outcomes of lines, after an SQL change."""
    build_outcomes(con, lines)
    if change:
        con.execute(change)
    wanted = catalog.checks()["core_execution__outcomes_pnl_equals_raw"]
    values = {"as_of_ms": T + D, "window_ms": 7 * D}
    found: list[Row] = con.sql(wanted.sql, params=values).to_arrow_table().to_pylist()
    return found


def test_pnl_of_every_close_passes(con: Con) -> None:
    assert pnl_faults(con, *CLOSES) == []


@pytest.mark.parametrize(
    ("change", "ids"),
    [
        # a close without its row
        (f"DELETE FROM {OUTCOMES} WHERE attempt_id = 'lone'", ["lone"]),
        (f"DELETE FROM {OUTCOMES} WHERE attempt_id = 'order:o3'", ["order:o3"]),
        # one of two closes lost
        (
            f"UPDATE {OUTCOMES} SET close_n = 1, realized_pnl_usd = 2 WHERE attempt_id = 'a1'",
            ["a1"],
        ),
        # a close counted twice
        (
            f"UPDATE {OUTCOMES} SET close_n = 3, realized_pnl_usd = 4 WHERE attempt_id = 'a1'",
            ["a1"],
        ),
        # another amount
        (f"UPDATE {OUTCOMES} SET realized_pnl_usd = 2.9 WHERE attempt_id = 'a1'", ["a1"]),
        (f"UPDATE {OUTCOMES} SET realized_pnl_usd = NULL WHERE attempt_id = 'lone'", ["lone"]),
        # in another account
        (f"UPDATE {OUTCOMES} SET account = 'x' WHERE attempt_id = 'lone'", ["lone"]),
    ],
)
def test_lost_doubled_and_changed_pnl_is_returned(con: Con, change: str, ids: list[str]) -> None:
    assert [row["attempt_id"] for row in pnl_faults(con, *CLOSES, change=change)] == ids


def test_pnl_outside_the_window_is_not_judged(con: Con) -> None:
    lines = [
        order_close("old", at=T - 6 * D),  # at the open edge
        order_close("late", at=T + D + H + 1),
        order_close("bad", realized_pnl_usd=2e9),  # no amount: NULL in the core row
        order_close("rejected", reject_reason="not_a_number:fees_total"),
    ]
    assert pnl_faults(con, *lines, change=f"DELETE FROM {OUTCOMES}") == []


def test_pnl_that_came_in_while_a_refresh_ran_is_judged(con: Con) -> None:
    lines = [order_close("just", at=T + D + H)]
    assert [x["attempt_id"] for x in pnl_faults(con, *lines, change=f"DELETE FROM {OUTCOMES}")] == [
        "just"
    ]


def test_an_id_used_again_may_have_a_flat_lines_pnl_beside_its_closes(con: Con) -> None:
    lines = [
        router("a1", status=None, notional_usd=9.0, realized_pnl_usd=4.0),
        order_close("a1", at=T + 2 * D),
    ]
    build_outcomes(con, lines)
    wanted = catalog.checks()["core_execution__outcomes_pnl_equals_raw"]
    values = {"as_of_ms": T + 3 * D, "window_ms": 7 * D}
    assert con.sql(wanted.sql, params=values).fetchall() == []


# ------------------------------------------------------------------------------------- all of them


def test_every_check_is_tried_here() -> None:
    core = {
        "core_execution__outcomes_unique",
        "core_execution__hourly_equals_outcomes",
        "core_execution__outcomes_pnl_equals_raw",
        "core_position__inferred_fills_sound",
        "core_window__one_account_and_venue",
        "core_window__sums_equal_hourly",
        "core_window__navs_sound",
        "core_window__repeated_navs_sound",
    }
    pairs = {"feat_symbol__scores_sound"}
    deciding = {  # test_checks_intel.py
        "feat_symbol__sizing_sound",
        "feat_symbol__sizing_jump",
        "feat_router__maker_offsets_sound",
        "feat_router__policies_sound",
        "feat_symbol__memory_sound",
    }
    traces = {name for name in catalog.checks() if "telemetry" in name or "_trace" in name}
    traces.add("feat_ops__alerts_sound")  # test_telemetry_checks.py
    assert {*SOUND, *core, *pairs, *deciding, *traces} == set(catalog.checks())


def test_tables_of_literal_lines_pass_every_check(con: Con) -> None:
    lines = [
        *CLOSES,
        outcome("unknown"),
        outcome(slippage_bps=3.0, notional_usd=50.0),
        raw("raw_risk__vetoes"),
    ]
    wanted = plan()
    build_window(con, wanted, *lines)
    for name in ("core_execution__hourly_equals_outcomes", "core_execution__outcomes_unique"):
        assert con.sql(catalog.checks()[name].sql).fetchall() == []
    names = (
        "feat_execution__hourly_expectancy",
        "feat_execution__slippage_quartiles",
        "feat_router__effectiveness",
        "feat_symbol__performance",
        "feat_symbol__atr_regime",
        "feat_symbol__scores",
    )
    tables = {name: run_in_order(con, name, wanted).to_pylist() for name in names}
    for name, rows in tables.items():
        assert rows
        assert check(con, f"{name}_sound", {name: rows}) == []
