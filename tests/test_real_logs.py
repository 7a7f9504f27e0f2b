"""Hold the product against real logs: literals first, then every column of every table.

Put here: what a refresh over the recorded testnet run must give, to 1e-9.
Keep out: the calculation itself (tests/independent.py), generated logs.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests import independent as ind

Row = dict[str, Any]

CLOSE = 1e-9
DAY_END = "2025-11-06T00:00:00Z"
LATER = "2025-11-08T14:52:00Z"  # its window starts inside an hour
MID_FLIP = "2025-11-05T11:56:33Z"  # between an attempt at :31 and its `_reduce` close at :34
AS_OFS = (DAY_END, LATER, MID_FLIP)

# symbol: attempts, fills, slip q25, q50, q75, mean, as of DAY_END
TABLE = {
    "LINKUSDT": (111, 24, -4.713203958, 0.334716830, 5.197370398, 0.402056466),
    "LTCUSDT": (214, 41, -4.633920297, 1.153402537, 3.479874725, -0.968900741),
    "SUIUSDT": (101, 23, -3.195006721, 0.492780762, 11.842056426, 8.643198869),
    "WIFUSDT": (96, 17, -7.171886206, -0.125447313, 7.109004739, -6.916556576),
    "BTCUSDT": (10, 10, 0.0, 0.0, 0.0, 0.0),
}
SLIPPAGE_COLUMNS = ("slip_bps_q25", "slip_bps_q50", "slip_bps_q75", "slip_bps_mean")
PNL_OF_ATTEMPTS = {
    "LINKUSDT": 5.20354,
    "LTCUSDT": 5.02951,
    "SUIUSDT": 3.27420,
    "WIFUSDT": 3.64042,
}
PNL_OF_LONE_CLOSES = {"LINKUSDT": 0.00158, "SUIUSDT": 0.00078}

WINDOW_ATTEMPTS = {"LINKUSDT": 85, "LTCUSDT": 176, "SUIUSDT": 78, "WIFUSDT": 74, "BTCUSDT": 6}
MID_FLIP_PNL = {"LINKUSDT": 3.92968, "WIFUSDT": 3.4807, "SUIUSDT": 3.15246}

OUTCOME_COLUMNS = (
    "event_ms",
    "side",
    "position_side",
    "outcome",
    "is_confirmed",
    "mark_px",
    "mark_age_ms",
    "fill_px",
    "qty",
    "notional_usd",
    "slippage_bps",
    "is_maker",
    "started_maker",
    "used_fallback",
    "ack_ms",
    "fees_usd",
    "realized_pnl_usd",
    "closed_notional_usd",
    "close_ms",
)


@pytest.fixture(scope="module")
def rows(router_logs: Path) -> list[Row]:
    """Return the outcomes of the whole recorded run, calculated independently."""
    return ind.outcomes(router_logs)


def at(as_of: str) -> int:
    """Return epoch ms of an ISO time, which must be one."""
    time_ms = ind.epoch_ms(as_of)
    assert time_ms is not None
    return time_ms


# ---------------------------------------------------------------- the independent calculation


def test_percentile_interpolates_linearly() -> None:
    # between 2 and 10 at (4 - 1) * 0.75 = 2.25 -> 2 + 0.25 * 8
    assert ind.percentile([10.0, 0.0, 1.0, 2.0], 0.75) == 4.0
    assert ind.percentile([], 0.5) is None


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        (1762330296.8444571, 1762330296844),  # seconds, microseconds cut to ms
        (1762330296844, 1762330296844),  # above 1e12 -> already ms
        ("2025-11-05T08:06:30.957999+00:00", 1762329990957),
        ("2025-11-05T08:06:30.957", 1762329990957),  # no zone -> UTC
        ("2025-11-05T09:06:30.957+01:00", 1762329990957),
        ("soon", None),
        (True, None),  # a boolean is not a time
    ],
)
def test_epoch_ms_reads_every_kind_of_time(value: Any, expected_ms: int | None) -> None:
    assert ind.epoch_ms(value) == expected_ms


@pytest.mark.parametrize("symbol", TABLE)
def test_independent_slippage_and_counts_are_those_of_the_contract(
    router_logs: Path, rows: list[Row], symbol: str
) -> None:
    attempts, fills, *slippage = TABLE[symbol]
    router = ind.router_effectiveness(router_logs, rows, at(DAY_END))[symbol]
    quartiles = ind.slippage_quartiles(rows, at(DAY_END))[(symbol, -1)]
    assert (router["n"], router["fill_n"], quartiles["n"]) == (attempts, fills, fills)
    assert [quartiles[c] for c in SLIPPAGE_COLUMNS] == pytest.approx(slippage, abs=CLOSE)


def test_independent_outcomes_of_the_whole_run(rows: list[Row]) -> None:
    counts = Counter(r["outcome"] for r in rows)
    assert counts == {"unknown": 417, "filled": 115, "close_only": 2}
    assert counts.total() - counts["close_only"] == 532


def test_independent_unknown_attempts_are_in_no_ratio(router_logs: Path, rows: list[Row]) -> None:
    every = ind.router_effectiveness(router_logs, rows, at(DAY_END))[ind.ALL]
    assert (every["n"], every["unknown_n"], every["fill_known_n"]) == (532, 417, 115)
    assert every["fill_ratio"] == 1.0
    unknown = [r for r in rows if r["outcome"] == "unknown"]
    columns = ("slippage_bps", "fill_px", "qty", "notional_usd", "fees_usd", "realized_pnl_usd")
    assert {r[c] for r in unknown for c in columns} == {None}


def test_position_close_lines_are_not_attempts(router_logs: Path) -> None:
    lines = ind.read_logs(router_logs)["order_metrics"]
    assert (len(lines), sum(x.get("event") == "position_close" for x in lines)) == (543, 11)


def test_fills_without_an_order_fill_line_are_the_ten_unconfirmed(rows: list[Row]) -> None:
    unconfirmed = [r for r in rows if r["outcome"] == "filled" and r["is_confirmed"] is False]
    assert [r["symbol"] for r in unconfirmed] == ["BTCUSDT"] * 10
    assert {r["fill_px"] for r in unconfirmed} == {60000.0}


def test_six_of_the_unconfirmed_fills_were_acknowledged(router_logs: Path, rows: list[Row]) -> None:
    # why an ack must not confirm a fill: order ids 1 and 2 of six attempts, no order_fill
    unconfirmed = {r["attempt_id"] for r in rows if r["symbol"] == "BTCUSDT"}
    acks = [
        x
        for x in ind.read_logs(router_logs)["orders_executed"]
        if x["event_type"] == "order_ack" and x.get("attempt_id") in unconfirmed
    ]
    assert [str(x["orderId"]) for x in acks] == ["2"] * 6


def test_order_errors_and_acks_without_symbol_are_counted(router_logs: Path) -> None:
    assert len(ind.order_errors(router_logs)) == 42
    assert ind.lines_without_symbol(router_logs, "order_ack") == 18


def test_attempts_that_never_reached_the_router_are_counted(router_logs: Path) -> None:
    fates = Counter(s["fate"] for s in ind.submissions(router_logs))
    assert fates == {"routed": 531, "vetoed": 11, "no_outcome": 32}
    assert fates["vetoed"] + fates["no_outcome"] == 43


def test_every_close_counts_in_pnl_and_two_have_no_attempt(
    router_logs: Path, rows: list[Row]
) -> None:
    table = ind.symbol_performance(router_logs, rows, at(DAY_END))
    assert sum(r["n"] for r in table.values()) == 13
    assert sum(r["close_only_n"] for r in table.values()) == 2
    for symbol, pnl_usd in PNL_OF_ATTEMPTS.items():
        assert table[symbol]["realized_pnl_attempts_usd"] == pytest.approx(pnl_usd, abs=CLOSE)
        all_usd = pnl_usd + PNL_OF_LONE_CLOSES.get(symbol, 0.0)
        assert table[symbol]["realized_pnl_usd"] == pytest.approx(all_usd, abs=CLOSE)


def test_closes_of_a_few_cents_are_dust_and_no_round_trips(
    router_logs: Path, rows: list[Row]
) -> None:
    table = ind.symbol_performance(router_logs, rows, at(DAY_END))
    counts = {s: (r["n"], r["dust_n"], r["round_trip_n"]) for s, r in table.items()}
    assert counts == {
        "BTCUSDT": (0, 0, 0),
        "LINKUSDT": (4, 1, 3),
        "LTCUSDT": (1, 0, 1),
        "SUIUSDT": (6, 1, 5),
        "WIFUSDT": (2, 0, 2),
    }


def test_no_slippage_is_near_the_artefact(rows: list[Row]) -> None:
    known = [abs(r["slippage_bps"]) for r in rows if r["slippage_bps"] is not None]
    assert len(known) == 115
    assert max(known) < 112.0


def test_zero_and_doubled_nav_values_are_rejected_and_counted(router_logs: Path) -> None:
    found = ind.equity(router_logs, at(DAY_END))
    assert found["equity_usd"] == pytest.approx(2395.09229443, abs=CLOSE)
    assert (found["used_n"], found["rejected_24h_n"]) == (113, 0)
    # all of the run before as-of, against the same median
    assert (found["zero_n"], found["far_n"]) == (543, 153)
    assert 4988.0 < min(found["far_usd"]) <= max(found["far_usd"]) < 5011.0


def test_independent_window_that_starts_inside_an_hour(router_logs: Path, rows: list[Row]) -> None:
    table = ind.router_effectiveness(router_logs, rows, at(LATER))
    counts = {s: r["n"] for s, r in table.items() if s != ind.ALL}
    assert counts == WINDOW_ATTEMPTS


def test_independent_window_that_ends_between_a_fill_and_its_reduce_leg(
    router_logs: Path, rows: list[Row]
) -> None:
    table = ind.symbol_performance(router_logs, rows, at(MID_FLIP))
    for symbol, pnl_usd in MID_FLIP_PNL.items():
        assert table[symbol]["realized_pnl_usd"] == pytest.approx(pnl_usd, abs=CLOSE)


# ---------------------------------------------------------------- the product


@pytest.fixture(scope="module")
def snapshot_at(
    router_logs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], duckdb.DuckDBPyConnection]]:
    """Return a function of as_of that refreshes, publishes and opens features.duckdb read-only."""
    from features.settings import Settings
    from pipelines.refresh import refresh

    opened: dict[str, duckdb.DuckDBPyConnection] = {}

    def snapshot(as_of: str) -> duckdb.DuckDBPyConnection:
        if as_of not in opened:
            home = tmp_path_factory.mktemp("home")
            settings = Settings(home=home, log_dir=router_logs, environment="testnet", threads=None)
            refresh(settings, as_of_ms=at(as_of), publish=True)
            snapshots = home / "snapshots"
            current = (snapshots / "CURRENT").read_text().strip()
            path = snapshots / current / "features.duckdb"
            opened[as_of] = duckdb.connect(str(path), read_only=True)
        return opened[as_of]

    yield snapshot
    for connection in opened.values():
        connection.close()


def fetch(
    connection: duckdb.DuckDBPyConnection, table: str, key: tuple[str, ...]
) -> dict[tuple[Any, ...], Row]:
    """Return {key values: row as dict} of a whole table; fails where a key repeats."""
    result = connection.execute(f'SELECT * FROM "{table}"')
    names = [column[0] for column in result.description]
    rows = [dict(zip(names, values, strict=True)) for values in result.fetchall()]
    keyed = {tuple(row[k] for k in key): row for row in rows}
    assert len(keyed) == len(rows), f"{table} has several rows of one {key}"
    return keyed


def is_same(expected: Any, actual: Any) -> bool:
    """Return whether two cells agree: None only with None, numbers to 1e-9, the rest exactly."""
    if expected is None or actual is None:
        return expected is actual
    if isinstance(expected, bool) or isinstance(actual, bool):
        return isinstance(expected, bool) and isinstance(actual, bool) and expected == actual
    if isinstance(expected, int | float):
        return math.isfinite(float(actual)) and abs(expected - float(actual)) <= CLOSE
    return bool(expected == actual)


def differences(
    expected: Mapping[Any, Row], actual: Mapping[Any, Row], columns: tuple[str, ...]
) -> list[str]:
    """Return one line per missing row and per cell that differs."""
    found = [f"{key}: no such row" for key in expected if key not in actual]
    for key, row in expected.items():
        for column in columns:
            if key in actual and not is_same(row[column], actual[key][column]):
                found.append(f"{key} {column}: {row[column]} here, {actual[key][column]} there")
    return found


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (None, 0.0, False),  # unknown is not zero
        (0.0, None, False),
        (0.0, -0.0, True),
        (1.0, 1.0 + 5e-10, True),
        (1.0, 1.0 + 2e-9, False),
        (1.0, math.nan, False),
        (True, 1, False),  # a flag is not a number
        ("filled", "filled", True),
    ],
)
def test_comparison_tells_cells_apart(expected: Any, actual: Any, same: bool) -> None:
    assert is_same(expected, actual) is same


@pytest.mark.parametrize("as_of", AS_OFS)
def test_hourly_expectancy_equals_the_independent_one(
    snapshot_at: Callable[[str], duckdb.DuckDBPyConnection],
    router_logs: Path,
    rows: list[Row],
    as_of: str,
) -> None:
    expected = ind.hourly_expectancy(rows, ind.funding(router_logs), at(as_of))
    table = fetch(snapshot_at(as_of), "feat_execution__hourly_expectancy", ("symbol", "hour_utc"))
    assert differences(expected, table, tuple(expected[(ind.ALL, 8)])) == []
    assert set(table) == set(expected)


@pytest.mark.parametrize("as_of", AS_OFS)
def test_slippage_quartiles_equal_the_independent_ones(
    snapshot_at: Callable[[str], duckdb.DuckDBPyConnection], rows: list[Row], as_of: str
) -> None:
    expected = ind.slippage_quartiles(rows, at(as_of))
    table = fetch(snapshot_at(as_of), "feat_execution__slippage_quartiles", ("symbol", "hour_utc"))
    # hours with attempts but no fill may stand there, with n = 0 and every estimate NULL
    padded = {key: expected.get(key, ind.NO_SLIPPAGE) for key in {*expected, *table}}
    assert differences(padded, table, tuple(ind.NO_SLIPPAGE)) == []


@pytest.mark.parametrize("as_of", AS_OFS)
def test_router_effectiveness_equals_the_independent_one(
    snapshot_at: Callable[[str], duckdb.DuckDBPyConnection],
    router_logs: Path,
    rows: list[Row],
    as_of: str,
) -> None:
    expected = ind.router_effectiveness(router_logs, rows, at(as_of))
    keyed = {(symbol,): row for symbol, row in expected.items()}
    table = fetch(snapshot_at(as_of), "feat_router__effectiveness", ("symbol",))
    # symbols that were only vetoed may stand there, with nothing counted
    padded = {key: keyed.get(key, ind.NO_ROUTER) for key in {*keyed, *table}}
    assert differences(padded, table, tuple(ind.NO_ROUTER)) == []


@pytest.mark.parametrize("as_of", AS_OFS)
def test_symbol_performance_equals_the_independent_one(
    snapshot_at: Callable[[str], duckdb.DuckDBPyConnection],
    router_logs: Path,
    rows: list[Row],
    as_of: str,
) -> None:
    expected = ind.symbol_performance(router_logs, rows, at(as_of))
    keyed = {(symbol,): row for symbol, row in expected.items()}
    table = fetch(snapshot_at(as_of), "feat_symbol__performance", ("symbol",))
    assert differences(keyed, table, tuple(expected["LINKUSDT"])) == []
    assert set(table) == set(keyed)


@pytest.mark.parametrize("as_of", AS_OFS)
def test_outcomes_in_the_window_equal_the_independent_ones(
    snapshot_at: Callable[[str], duckdb.DuckDBPyConnection], rows: list[Row], as_of: str
) -> None:
    key = ("symbol", "attempt_id")
    table = fetch(snapshot_at(as_of), "core_execution__outcomes", key)
    expected = {(r["symbol"], r["attempt_id"]): r for r in ind.in_window(rows, at(as_of))}
    visible = {tuple(r[k] for k in key): r for r in ind.in_window(table.values(), at(as_of))}
    assert differences(expected, visible, OUTCOME_COLUMNS) == []
    assert set(visible) == set(expected)


@pytest.mark.parametrize("symbol", TABLE)
def test_published_slippage_and_counts_are_those_of_the_contract(
    snapshot_at: Callable[[str], duckdb.DuckDBPyConnection], symbol: str
) -> None:
    connection = snapshot_at(DAY_END)
    attempts, fills, *slippage = TABLE[symbol]
    router = fetch(connection, "feat_router__effectiveness", ("symbol",))[(symbol,)]
    quartiles = fetch(connection, "feat_execution__slippage_quartiles", ("symbol", "hour_utc"))[
        (symbol, -1)
    ]
    assert (router["n"], router["fill_n"], quartiles["n"]) == (attempts, fills, fills)
    assert [quartiles[c] for c in SLIPPAGE_COLUMNS] == pytest.approx(slippage, abs=CLOSE)


def test_published_errors_of_the_whole_run_are_forty_two(
    snapshot_at: Callable[[str], duckdb.DuckDBPyConnection], router_logs: Path
) -> None:
    result = snapshot_at(DAY_END).execute("SELECT SUM(error_n) FROM core_execution__hourly")
    assert result.fetchone() == (len(ind.order_errors(router_logs)),)


def test_published_rejections_are_the_acks_without_symbol(
    snapshot_at: Callable[[str], duckdb.DuckDBPyConnection],
) -> None:
    result = snapshot_at(DAY_END).execute(
        "SELECT COUNT(*) FROM raw_orders__events WHERE reject_reason IS NOT NULL"
    )
    assert result.fetchone() == (18,)


def test_published_window_that_starts_inside_an_hour(
    snapshot_at: Callable[[str], duckdb.DuckDBPyConnection],
) -> None:
    table = fetch(snapshot_at(LATER), "feat_router__effectiveness", ("symbol",))
    assert {s: table[(s,)]["n"] for s in WINDOW_ATTEMPTS} == WINDOW_ATTEMPTS


def test_published_window_that_ends_between_a_fill_and_its_reduce_leg(
    snapshot_at: Callable[[str], duckdb.DuckDBPyConnection],
) -> None:
    table = fetch(snapshot_at(MID_FLIP), "feat_symbol__performance", ("symbol",))
    found = {s: table[(s,)]["realized_pnl_usd"] for s in MID_FLIP_PNL}
    assert found == pytest.approx(MID_FLIP_PNL, abs=CLOSE)
