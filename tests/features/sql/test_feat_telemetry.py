"""The tables of prediction traces on literal rows: core_window__traces, core_telemetry__daily,
core_telemetry__paths, core_window__trace_days, core_window__trace_paths, core_window__trace_closes,
core_window__last_traces,
feat_telemetry__accuracy, feat_telemetry__calibration, feat_telemetry__comparison and
feat_telemetry__rolling."""

import math
from typing import Any

import duckdb
import pytest

from features import build, traces
from tests.features.sql import literal
from tests.features.sql.literal import D, H, Line, M, Row, T

Con = duckdb.DuckDBPyConnection
ACCURACY = "feat_telemetry__accuracy"
AS_OF = T + D
ROW_KEY = ("strategy", "symbol", "window")


def trace(predicted: str = "LONG", move_pct: float = 1.0, at: int = T + H, **values: Any) -> Line:
    """Return a closed trace of half an hour: the market moved, the position earned accordingly."""
    earned = {"LONG": move_pct, "SHORT": -move_pct, "NOOP": 0.0}[predicted]
    came = "LONG" if move_pct > 0.3 else "SHORT" if move_pct < -0.3 else "NOOP"
    usual: Row = {
        "strategy": "intraday",
        "predicted_direction": predicted,
        "actual_direction": came,
        "predicted_confidence": 0.7,
        "entry_price": 100.0,
        "exit_price": 100.0 + move_pct,
        "holding_period_minutes": 30.0,
        "realized_return_pct": earned,
    }
    return literal.raw("raw_telemetry__traces", at, **{**usual, **values})


def still_open(at: int = T + H, **values: Any) -> Line:
    """Return a trace of a prediction that has not ended."""
    empty = dict.fromkeys(("actual_direction", "exit_price", "realized_return_pct"))
    return trace("LONG", 1.0, at, **{**empty, "holding_period_minutes": None, **values})


def table(con: Con, name: str, *lines: Line, **choice: Any) -> list[Row]:
    """Return a table of traces over literal traces and core rows of orders."""
    literal.load_raw(con, lines)
    orders = [line.values for line in lines if line.table == literal.OUTCOMES]
    literal.create(con, literal.OUTCOMES, literal.core_schema(literal.OUTCOMES), orders)
    rows: list[Row] = literal.run_in_order(con, name, literal.plan(AS_OF, **choice)).to_pylist()
    return rows


def accuracy(con: Con, *lines: Line, **choice: Any) -> dict[tuple[str, str, str], Row]:
    rows = table(con, ACCURACY, *lines, **choice)
    return {(row["strategy"], row["symbol"], row["window"]): row for row in rows}


def all_of(con: Con, *lines: Line, **choice: Any) -> Row:
    return accuracy(con, *lines, **choice)["*", "*", "all"]


def test_counts_and_shares_of_three_labels(con: Con) -> None:
    row = all_of(
        con,
        trace("LONG", 1.0),  # right
        trace("LONG", -1.0),  # the market fell -> long_short
        trace("LONG", 0.1),  # the market stayed -> long_noop
        trace("SHORT", -2.0),  # earned 2 % as the market fell -> a correct SHORT
        trace("SHORT", 1.0),  # short_long
        trace("NOOP", 0.0),  # right, and no position
        trace("NOOP", 1.0),  # noop_long
    )
    assert row["n"] == 7
    counts = {
        k: row[k] for k in row if k.count("_") == 1 and k.split("_")[0] in ("long", "short", "noop")
    }
    assert {k: v for k, v in counts.items() if v} == {
        "long_long": 1,
        "long_short": 1,
        "long_noop": 1,
        "short_short": 1,
        "short_long": 1,
        "noop_noop": 1,
        "noop_long": 1,
    }
    assert (row["precision_long"], row["recall_long"], row["f1_long"]) == (1 / 3, 1 / 3, 1 / 3)
    assert (row["precision_short"], row["recall_short"], row["precision_noop"]) == (0.5, 0.5, 0.5)
    assert row["hit_ratio"] == 3 / 7
    assert (row["trade_n"], row["win_rate"]) == (5, 3 / 5)  # NOOP holds nothing: no trade
    assert row["profit_factor"] == pytest.approx(3.1 / 2)


def test_what_never_came_or_was_never_made_is_null(con: Con) -> None:
    row = all_of(con, trace("LONG", 1.0))
    assert row["precision_short"] is row["recall_short"] is row["f1_short"] is None
    assert (row["short_predicted_n"], row["short_actual_n"]) == (0, 0)
    assert row["profit_factor"] is row["return_std_pct"] is row["sharpe"] is None
    assert row["return_lo95"] is None  # one day is one bet
    fallen = all_of(con, trace("LONG", -1.0))
    assert (fallen["precision_long"], fallen["recall_long"], fallen["f1_long"]) == (0, None, 0)


def test_prices_judge_the_direction_and_a_log_that_differs_is_counted(con: Con) -> None:
    lines = [
        trace(
            "SHORT", -1.0, actual_direction="LONG"
        ),  # the original's label of a short that earned
        trace("LONG", 0.4, strategy="swing", actual_direction="LONG"),  # 0.4 % is no move of swing
        trace("LONG", 0.4, strategy="grid", actual_direction="LONG"),  # its threshold is not known
    ]
    rows = accuracy(con, *lines)
    assert rows["intraday", "*", "all"]["short_short"] == 1
    assert rows["swing", "*", "all"]["long_noop"] == 1
    assert rows["grid", "*", "all"]["long_long"] == 1
    assert rows["*", "*", "all"]["relabelled_n"] == 2
    params = {"swing_telemetry_threshold": 0.003}
    literal.load_raw(con, lines)
    wanted = literal.plan(AS_OF, overrides=params)
    again = literal.run_in_order(con, ACCURACY, wanted).to_pylist()
    assert [r["long_long"] for r in again if (r["strategy"], r["window"]) == ("swing", "all")] == [
        1,
        1,
    ]


def test_open_predictions_are_pending_and_in_no_ratio(con: Con) -> None:
    row = all_of(
        con,
        trace("LONG", 1.0),
        still_open(T + 2 * H),
        still_open(T + 3 * H),  # ended by the line behind it
        trace("LONG", 1.0, T + 3 * H),
        trace("LONG", -1.0, AS_OF - 10 * M),  # ends after as-of: not known yet
        trace("LONG", -1.0, AS_OF + M),  # begins after as-of
    )
    assert (row["n"], row["pending_n"], row["hit_ratio"]) == (2, 2, 1.0)


def test_a_strategy_of_open_predictions_alone_has_rows_without_numbers(con: Con) -> None:
    rows = accuracy(con, still_open(strategy="swing"))
    row = rows["swing", "ETHUSDT", "30d"]
    assert (row["n"], row["pending_n"], row["trade_n"]) == (0, 1, 0)
    known = {"n", "pending_n", "day_n", "trade_n", "confidence_n", "path_n", *ROW_KEY}
    assert {k: v for k, v in row.items() if k not in known and v is not None} == {}


def test_rejected_lines_and_other_environments_count_nowhere(con: Con) -> None:
    bad = trace("LONG", -1.0, reject_reason="confidence_out_of_range")
    row = all_of(con, trace(), bad, trace("LONG", -1.0, environment="live"))
    assert (row["n"], row["hit_ratio"]) == (1, 1.0)


def test_windows_end_at_as_of_and_begin_after_their_first_moment(con: Con) -> None:
    begin = AS_OF - 30 * D
    rows = accuracy(
        con,
        trace("LONG", 1.0, AS_OF - 30 * M),  # closes at as-of -> in
        trace("LONG", 1.0, AS_OF - 30 * M + 1),  # a millisecond later -> pending
        trace("LONG", 1.0, begin - 30 * M),  # closes as the window opens -> only in all
        trace("LONG", 1.0, begin - 30 * M + 1),
        trace("LONG", 1.0, begin + 20 * H),
    )
    assert rows["*", "*", "30d"]["n"] == 3
    assert rows["*", "*", "all"]["n"] == 4


@pytest.mark.parametrize(
    ("returns", "drawdown"),
    [
        ([1.0, 2.0], 0.0),  # never below a peak
        ([-1.0], -1.0),  # the start is a peak
        ([2.0, -3.0, 2.0], -3.0),
        ([1.0, -1.0, 2.0, -2.5, 1.0], -2.5),
    ],
)
@pytest.mark.parametrize("gap", [9 * H, 3 * D])
def test_drawdown_is_the_deepest_fall_in_order_of_time(
    con: Con, returns: list[float], drawdown: float, gap: int
) -> None:
    # within a day, over days that a path crosses, and over days without a trade
    first = AS_OF - H - gap * len(returns)
    lines = [trace("LONG", r, first + k * gap) for k, r in enumerate(returns)]
    row = all_of(con, *reversed(lines))
    assert row["max_drawdown_pct"] == pytest.approx(drawdown, abs=1e-12)
    assert row["return_sum_pct"] == pytest.approx(sum(returns), abs=1e-12)


def test_trades_that_close_at_one_moment_are_one_step(con: Con) -> None:
    lines = [trace("LONG", r, symbol=s) for r, s in ((-3.0, "A"), (2.0, "B"), (2.0, "C"))]
    rows = accuracy(con, *lines)
    assert rows["*", "*", "all"]["max_drawdown_pct"] == 0
    assert rows["*", "*", "last100"]["max_drawdown_pct"] == 0
    assert rows["*", "A", "all"]["max_drawdown_pct"] == -3


def test_the_last_100_are_the_last_to_close_of_each_group(con: Con) -> None:
    many = [trace("LONG", -1.0, T - 5 * D + k * M, symbol="A") for k in range(150)]
    few = [trace("LONG", 1.0, T + k * H, symbol="B") for k in range(3)]
    rows = accuracy(con, *many, *few)
    assert rows["*", "*", "last100"]["n"] == rows["*", "A", "last100"]["n"] == 100
    assert rows["*", "*", "last100"]["win_rate"] == 0.03  # the three of B and 97 of A
    assert rows["*", "B", "last100"]["n"] == 3
    assert rows["*", "*", "all"]["n"] == 153


def test_equal_returns_have_no_sharpe_ratio(con: Con) -> None:
    row = all_of(con, *[trace("LONG", 0.7, T - k * D) for k in range(5)])
    assert (row["return_std_pct"], row["sharpe"]) == (0, None)


def test_what_sampling_left_out_weighs_in(con: Con) -> None:
    row = all_of(con, trace(), trace("LONG", 1.0, T + 2 * H))
    assert (row["inclusion_rate"], row["path_source"]) == (1.0, "traces")
    row = all_of(
        con,
        trace(inclusion_probability=0.1),  # stands for ten
        trace("LONG", 1.0, T + 2 * H, inclusion_probability=0.5, throttled_before=4.0),  # for ten
    )
    assert (row["inclusion_rate"], row["path_source"]) == (0.1, "sampled")


# ------------------------------------------------------- sampled traces, and closes of all trades


def traded(
    return_pct: float, at: int, direction: str = "LONG", parts: int = 1, **values: Any
) -> list[Line]:
    """Return the trace of a trade of 1000 USD that ended at ``at``, and its closes."""
    entry = trace(direction, return_pct, at - 30 * M, realized_return_pct=return_pct, **values)
    earned = 10.0 * return_pct
    sold = 1000.0 + (earned if direction == "LONG" else -earned)
    closes = [
        literal.outcome(
            at=at - (parts - n) * M,
            side="SELL" if direction == "LONG" else "BUY",
            position_side=direction,
            strategy="intraday",
            realized_pnl_usd=earned / parts,
            closed_notional_usd=sold / parts,
            position_size_after=0.0 if n == parts else 1.0,
            close_ms=at - (parts - n) * M,
            symbol=values.get("symbol", "ETHUSDT"),
        )
        for n in range(1, parts + 1)
    ]
    return [entry, *closes]


TRADES: list[tuple[float, int, str, int, str]] = [
    (2.0, T - 40 * D, "LONG", 1, "ETHUSDT"),  # before the 30 days
    (1.5, T - 3 * D, "LONG", 1, "ETHUSDT"),
    (-4.0, T - 3 * D + H, "SHORT", 1, "BTCUSDT"),
    (-0.5, T - 2 * D, "LONG", 3, "ETHUSDT"),  # closed in three parts
    (3.0, T - D, "SHORT", 2, "ETHUSDT"),
    (-1.0, T + 2 * H, "LONG", 1, "BTCUSDT"),
    (0.7, T + 3 * H, "LONG", 1, "ETHUSDT"),
]
PATHS = ("return_sum_pct", "max_drawdown_pct", "profit_factor", "path_n")


def logged(*kept: int) -> list[Line]:
    """Return every close, and the traces of the trades in ``kept``, each for as many as came."""
    share = len(kept) / len(TRADES)
    lines = []
    for n, (earned, at, direction, parts, symbol) in enumerate(TRADES):
        more: Row = {"symbol": symbol, "inclusion_probability": share}
        trade, *closes = traded(earned, at, direction, parts, **more)
        lines += [trade, *closes] if n in kept else closes
    return lines


def test_path_figures_of_sampled_traces_are_those_of_all_closes(con: Con) -> None:
    full = accuracy(con, *logged(*range(len(TRADES))))
    some = accuracy(con, *logged(1, 2, 6))
    assert {row["path_source"] for row in full.values()} == {"traces"}
    assert {row["path_source"] for row in some.values()} == {"closes"}
    assert full.keys() == some.keys()
    for key, row in some.items():
        for name in PATHS:
            assert row[name] == pytest.approx(full[key][name], abs=1e-9), (key, name)
    # what describes the traces stays theirs
    everything = some["*", "*", "all"]
    assert (everything["n"], everything["trade_n"], everything["path_n"]) == (3, 3, 7)
    assert everything["inclusion_rate"] == pytest.approx(3 / 7)


def test_daily_returns_of_sampled_traces_are_those_of_all_closes(con: Con) -> None:
    name = "feat_telemetry__rolling"
    full = table(con, name, *logged(*range(len(TRADES))))
    some = table(con, name, *logged(1, 2, 6))
    assert {row["path_source"] for row in some} == {"closes"}
    # of one strategy and of all: four days over both symbols, three of each symbol
    assert len(full) == len(some) == 2 * (4 + 3 + 3)
    for mine, theirs in zip(some, full, strict=True):
        for column in ("strategy", "symbol", "day", "n"):
            assert mine[column] == theirs[column]
        for column in ("return_pct", "cumulative_return_pct"):
            assert mine[column] == pytest.approx(theirs[column], abs=1e-9)
    assert [row["inclusion_rate"] is None for row in some[:4]] == [False, True, True, False]


def test_a_symbol_that_only_closes_tell_of_is_missed_where_they_do_not_say_what_they_left(
    con: Con,
) -> None:
    whole = [
        traded(1.0, T + H, inclusion_probability=0.5),
        traded(-3.0, T + 2 * H, symbol="BTCUSDT"),
    ]
    lines = [*whole[0], *whole[1][1:]]  # of BTC there is no trace
    known = accuracy(con, *lines)["*", "*", "all"]
    assert (known["path_source"], known["path_n"], known["return_sum_pct"]) == (
        "closes", 2, pytest.approx(-2.0),
    )  # fmt: skip
    lines[-1].values["position_size_after"] = None
    unknown = accuracy(con, *lines)["*", "*", "all"]
    assert (unknown["path_source"], unknown["path_n"]) == ("sampled", 1)


def test_a_position_that_turns_around_ends_a_trade(con: Con) -> None:
    # long 1 -> sold 2 for -10 % -> short 1 -> bought 2 for +2 % -> long 1 -> sold 1 for +11 %
    turns = [("SELL", -10.0, 90.0, -1.0), ("BUY", 2.0, 98.0, 1.0), ("SELL", 11.0, 111.0, 0.0)]
    closes = [
        literal.outcome(
            at=T + (n - 2) * M,
            side=side,
            position_side="BOTH",
            strategy="intraday",
            realized_pnl_usd=pnl,
            closed_notional_usd=closed,
            position_size_after=left,
        )
        for n, (side, pnl, closed, left) in enumerate(turns)
    ]
    last = trace("LONG", 11.0, T - 30 * M, realized_return_pct=11.0, inclusion_probability=0.5)
    row = all_of(con, last, *closes)
    assert (row["path_source"], row["path_n"]) == ("closes", 3)
    assert row["return_sum_pct"] == pytest.approx(3.0)
    assert row["max_drawdown_pct"] == pytest.approx(-10.0)
    assert row["profit_factor"] == pytest.approx(1.3)


def test_a_trace_whose_close_is_not_logged_leaves_the_path_to_the_sample(con: Con) -> None:
    lines = logged(1, 2, 6)
    lost = [x for x in lines if x.table == literal.OUTCOMES and x.values["close_ms"] == T + 3 * H]
    assert len(lost) == 1
    rows = accuracy(con, *[line for line in lines if line is not lost[0]])
    sources = {key[1]: row["path_source"] for key, row in rows.items() if key[2] == "all"}
    # of the other symbol all closes are there; over both symbols they are not
    assert sources == {"*": "sampled", "ETHUSDT": "sampled", "BTCUSDT": "closes"}
    assert (rows["*", "*", "all"]["path_n"], rows["*", "*", "all"]["trade_n"]) == (3, 3)


@pytest.mark.parametrize(
    "lack",
    [
        {"realized_pnl_usd": None},
        {"closed_notional_usd": None},
        {"side": None, "position_side": None},
        {"strategy": None},  # whose it was nobody knows
        {"position_size_after": None},  # whether the trade was over nobody knows
        {"environment": "live"},
        {"close_ms": AS_OF + 1},  # not yet known
    ],
)
def test_a_close_of_unknown_return_leaves_the_path_to_the_sample(con: Con, lack: Row) -> None:
    trade, close = traded(1.0, T + H, inclusion_probability=0.5)
    close.values.update(lack)
    row = all_of(con, trade, close)
    assert (row["path_source"], row["path_n"], row["return_sum_pct"]) == ("sampled", 1, 1.0)


def test_closes_do_not_replace_traces_that_are_complete(con: Con) -> None:
    trade, close = traded(1.0, T + H)
    close.values.update(realized_pnl_usd=99.0)
    row = all_of(con, trade, close)
    assert (row["path_source"], row["return_sum_pct"]) == ("traces", 1.0)


def test_the_last_hundred_follow_the_last_hundred_closes(con: Con) -> None:
    trades = [traded(0.01 * n, T - (200 - n) * H, inclusion_probability=0.5) for n in range(150)]
    lines = [x for n, (trade, close) in enumerate(trades) for x in (trade, close)[n % 2 :]]
    row = accuracy(con, *lines)["*", "*", "last100"]
    assert (row["n"], row["path_n"], row["path_source"]) == (75, 100, "closes")
    assert row["return_sum_pct"] == pytest.approx(sum(0.01 * n for n in range(50, 150)), abs=1e-9)


def test_trades_of_one_day_widen_the_interval(con: Con) -> None:
    # Forty predictions, half of them right. Spread over the days as chance would ...
    mixed = [trace("LONG", 1.0 if k % 2 else -1.0, T - k // 4 * D + k * M) for k in range(40)]
    # ... or days that are right from morning to night, and days that are wrong.
    days = [trace("LONG", 1.0 if k // 4 % 2 else -1.0, T - k // 4 * D + k * M) for k in range(40)]
    alone, together = all_of(con, *mixed), all_of(con, *days)
    assert alone["hit_ratio"] == together["hit_ratio"] == 0.5
    assert (alone["hit_n"], alone["day_n"]) == (40, 10)
    assert together["hit_n"] == pytest.approx(9)  # ten days, one degree of freedom less
    assert together["hit_hi95"] - together["hit_lo95"] > alone["hit_hi95"] - alone["hit_lo95"]
    z, n = 1.959963984540054, 40
    middle, half = 0.5, z / (1 + z * z / n) * math.sqrt(0.25 / n + z * z / 4 / n / n)
    assert alone["hit_lo95"] == pytest.approx(middle - half, rel=1e-12)
    assert alone["hit_hi95"] == pytest.approx(middle + half, rel=1e-12)


def test_sharpe_is_annualised_by_realised_trades_and_as_us017_does(con: Con) -> None:
    lines = [trace("LONG", r, T - 10 * D + k * 5 * D) for k, r in enumerate((1.0, 3.0))]
    row = all_of(con, *lines)
    years = (5 * D + 30 * M) / (365 * D)
    ratio = 2 / math.sqrt(2)
    assert row["sharpe"] == pytest.approx(ratio * math.sqrt(2 / years), rel=1e-12)
    assert row["sharpe_us017"] == pytest.approx(ratio * math.sqrt(365 * 1440 / 30), rel=1e-12)
    swing = [trace("LONG", r, T - k * D, strategy="swing") for k, r in enumerate((1.0, 3.0))]
    assert accuracy(con, *swing)["swing", "*", "all"]["sharpe_us017"] == pytest.approx(
        ratio * math.sqrt(365), rel=1e-12
    )


# ------------------------------------------------------------------- partials, cut anywhere


def test_days_cut_anywhere_merge_to_the_same_path(con: Con) -> None:
    lines = [
        trace("LONG" if k % 3 else "SHORT", math.sin(k * 7.0), T - 2 * D + k * 3 * H + k * M)
        for k in range(24)
    ]
    literal.load_raw(con, lines)
    whole = traces.run(con, traces.PATHS).to_pylist()
    total = [r for r in whole if (r["strategy"], r["symbol"]) == ("*", "*")]
    assert len(total) >= 3
    begin = high = fall = 0.0
    for day in total:
        fall = max(fall, day["fall_pct"], high - (begin + day["trough_pct"]))
        high = max(high, begin + day["peak_pct"])
        begin += day["return_pct"]
    level = peak = deepest = 0.0
    closes = sorted((x.values["event_ms"], x.values["realized_return_pct"]) for x in lines)
    for _, earned in closes:
        level += earned
        peak = max(peak, level)
        deepest = max(deepest, peak - level)
    assert (begin, high, fall) == pytest.approx((level, peak, deepest), abs=1e-12)
    daily = traces.run(con, traces.DAILY).to_pylist()
    assert sum(row["n"] for row in daily) == 24


# ---------------------------------------------------------------------------- the other tables


def test_calibration_takes_off_what_trading_the_symbol_costs(con: Con) -> None:
    table = "feat_telemetry__calibration"
    lines = [
        trace("LONG", 1.0, predicted_confidence=0.95),
        trace("LONG", -1.0, predicted_confidence=1.0),  # the last tenth includes 1
        trace("LONG", 1.0, predicted_confidence=0.9, symbol="OTHER"),  # its cost is not known
        trace("NOOP", 0.0, predicted_confidence=0.05),  # right, no position
        trace("LONG", 1.0, predicted_confidence=None),  # in no tenth
    ]
    literal.load_raw(con, lines)
    wanted = literal.plan(AS_OF)
    literal.build_traces(con, wanted)
    costs: dict[str, Row] = {
        "feat_execution__slippage_quartiles": {"hour_utc": -1, "slip_bps_mean_w50": 3.0},
        "feat_symbol__scores": {"model": "v5.10", "fee_bps": 2.0},
    }
    for name, row in costs.items():
        schema = literal.feature_schema(name)
        literal.create(con, name, schema, [{"symbol": "ETHUSDT", **row}])
    literal.load_raw(con, lines)
    literal.build_traces(con, wanted)
    rows = {
        (row["strategy"], row["confidence_decile"]): row
        for row in literal.run(con, table, **build.bound_values(wanted)).to_pylist()
    }
    assert set(rows) == {(s, d) for s in ("*", "intraday") for d in (0, 9)}
    row = rows["intraday", 9]
    assert (row["n"], row["hit_ratio"], row["trade_n"], row["net_n"]) == (3, 2 / 3, 3, 2)
    assert row["confidence_avg"] == pytest.approx(2.85 / 3)
    assert row["cost_avg_pct"] == pytest.approx(2 * 5 / 100)  # 5 bps in and 5 bps out
    assert row["return_net_avg_pct"] == pytest.approx(0.0 - 0.1)
    assert (rows["*", 0]["trade_n"], rows["*", 0]["return_avg_pct"]) == (0, None)


def test_rolling_sums_the_days_of_a_month(con: Con) -> None:
    lines = [
        trace("LONG", 1.0, T - 40 * D),  # before the window
        trace("LONG", 1.0, T - 2 * D),
        trace("SHORT", 1.0, T - 2 * D + H),
        trace("LONG", 2.0, T, strategy="swing"),
        trace("LONG", 0.5, T, strategy="swing", symbol="BTCUSDT"),
        trace("NOOP", 0.0, T),  # no position: no row
    ]
    literal.load_raw(con, lines)
    rows = literal.run_in_order(con, "feat_telemetry__rolling", literal.plan(AS_OF)).to_pylist()
    columns = ("strategy", "symbol", "day", "n", "return_pct", "cumulative_return_pct")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("*", "*", "2025-11-03", 2, 0.0, 0.0),
        ("*", "*", "2025-11-05", 2, 2.5, 2.5),
        ("*", "BTCUSDT", "2025-11-05", 1, 0.5, 0.5),
        ("*", "ETHUSDT", "2025-11-03", 2, 0.0, 0.0),
        ("*", "ETHUSDT", "2025-11-05", 1, 2.0, 2.0),
        ("intraday", "*", "2025-11-03", 2, 0.0, 0.0),
        ("intraday", "ETHUSDT", "2025-11-03", 2, 0.0, 0.0),
        ("swing", "*", "2025-11-05", 2, 2.5, 2.5),
        ("swing", "BTCUSDT", "2025-11-05", 1, 0.5, 0.5),
        ("swing", "ETHUSDT", "2025-11-05", 1, 2.0, 2.0),
    ]


def test_comparison_without_spread_or_days_is_inconclusive(con: Con) -> None:
    lines = [trace("LONG", 1.0, T - k * D) for k in range(3)]
    lines += [trace("LONG", -1.0, T - k * D, strategy="swing") for k in range(3)]
    literal.load_raw(con, lines)
    rows = literal.run_in_order(con, "feat_telemetry__comparison", literal.plan(AS_OF)).to_pylist()
    pair = next(row for row in rows if row["window"] == "all")
    assert (pair["strategy"], pair["other_strategy"]) == ("intraday", "swing")
    assert pair["win_rate_delta"] == 1
    assert (pair["day_t"], pair["day_p"], pair["better_strategy"]) == (None, None, "inconclusive")
