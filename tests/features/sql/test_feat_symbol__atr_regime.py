"""How much prices move now against usual: feat_symbol__atr_regime on literal bars and fills."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import build
from tests.features.sql.literal import D, H, Line, M, Row, T, features, order, outcome, plan, raw

Con = duckdb.DuckDBPyConnection

TABLE = "feat_symbol__atr_regime"
BARS = "raw_market__bars"
Q = 15 * M
AS_OF = T + D
MS = {"1m": M, "5m": 5 * M, "15m": Q, "1h": H, "4h": 4 * H, "1d": D}
UNKNOWN = {
    "bar_interval": None,
    "atr_pct_50": None,
    "atr_pct_500": None,
    "atr_ratio": None,
    "regime": "unknown",
    "health_regime": "unknown",
    "atr_source": "none",
    "regime_scale": 1.0,
}


def bar(at: int, price: float, true_range: float = 0.0, length: str = "15m", **more: Any) -> Line:
    """Return a bar around its last price: half of its range above, half below."""
    half = true_range / 2
    row = {"open": price, "high": price + half, "low": price - half, "close": price}
    return raw(BARS, at, **{"bar_interval": length, **row, **more})


def run_of(
    ranges: Sequence[float], close: float = 100.0, end: int = AS_OF, **more: Any
) -> list[Line]:
    """Return consecutive 15-minute bars of these ranges, and one before them, closed at ``end``."""
    first = end - (len(ranges) + 1) * Q
    return [bar(first + k * Q, close, r, **more) for k, r in enumerate([0.0, *ranges])]


def of(con: Con, *lines: Line, **choice: Any) -> Row:
    """Return the row of the one symbol."""
    return features(con, TABLE, *lines, **{"as_of_ms": AS_OF, **choice})["ETHUSDT"]


def utc(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).replace(tzinfo=None)


# ---------------------------------------------------------------------------------------- regimes


# 450 ranges of the first, then 50 of the second, percent: second / (0.9 first + 0.1 second)
RATIOS: list[tuple[str, float, float, float, str, str, float]] = [
    ("all quiet", 95.0, 5.0, 5 / 86, "quiet", "quiet", 0.75),
    ("just below 0.5", 19.0, 8.99, 8.99 / 17.999, "quiet", "quiet", 0.75),
    ("0.5", 19.0, 9.0, 0.5, "normal", "quiet", 0.75),
    ("just below 0.7", 93.0, 62.99, 62.99 / 89.999, "normal", "quiet", 0.75),
    ("0.7", 93.0, 63.0, 0.7, "normal", "normal", 1.0),
    ("1", 10.0, 10.0, 1.0, "normal", "normal", 1.0),
    ("just below 1.5", 17.0, 26.99, 26.99 / 17.999, "normal", "normal", 1.0),
    ("1.5", 17.0, 27.0, 1.5, "hot", "hot", 0.5),
    ("just below 2.5", 5.0, 14.99, 14.99 / 5.999, "hot", "hot", 0.5),
    ("2.5", 5.0, 15.0, 2.5, "panic", "panic", 0.25),
    ("beyond", 1.0, 90.0, 90 / 9.9, "panic", "panic", 0.25),
]


def test_regimes_begin_at_their_thresholds(con: Con) -> None:
    lines = [
        line
        for name, usual, now, *_ in RATIOS
        for line in run_of([usual] * 450 + [now] * 50, symbol=name)
    ]
    rows = features(con, TABLE, *lines, as_of_ms=AS_OF)
    for name, usual, now, ratio, regime, health, scale in RATIOS:
        row = rows[name]
        assert (row["n"], row["atr_source"], row["bar_interval"]) == (500, "bars", "15m")
        assert row["atr_pct_50"] == pytest.approx(now, rel=1e-14)
        assert row["atr_pct_500"] == pytest.approx(0.9 * usual + 0.1 * now, rel=1e-14)
        assert row["atr_ratio"] == pytest.approx(ratio, rel=1e-14), name
        assert (row["regime"], row["health_regime"]) == (regime, health), name
        assert row["regime_scale"] == scale, name


def test_thresholds_and_scales_are_parameters(con: Con) -> None:
    lines = run_of([5.0] * 450 + [15.0] * 50)
    row = of(con, *lines, overrides={"regime_panic_from": 2.6, "regime_scale_hot": 0.4})
    assert (row["regime"], row["regime_scale"]) == ("hot", 0.4)
    row = of(con, *lines, overrides={"regime_scale_panic": 0.1})
    assert (row["regime"], row["regime_scale"]) == ("panic", 0.1)


def test_prices_that_stand_still_have_no_ratio(con: Con) -> None:
    row = of(con, *run_of([0.0] * 500))
    assert (row["atr_pct_50"], row["atr_pct_500"], row["atr_ratio"]) == (0.0, 0.0, None)
    assert (row["regime"], row["health_regime"], row["regime_scale"]) == ("unknown", "unknown", 1.0)


def test_true_range_reaches_from_the_close_before(con: Con) -> None:
    lines = run_of([2.0] * 98)
    lines += [
        bar(AS_OF, 110.0, 2.0),  # up by 10 from 100 to 109..111 -> 11
        bar(AS_OF + Q, 100.0, 4.0),  # down by 10 from 110 to 98..102 -> 12
    ]
    row = of(con, *lines, as_of_ms=AS_OF + 2 * Q)
    assert row["n"] == 100
    mean_range, mean_close = (48 * 2 + 11 + 12) / 50, (49 * 100 + 110) / 50
    assert row["atr_pct_50"] == pytest.approx(100 * mean_range / mean_close, rel=1e-14)


# ------------------------------------------------------------------------------------ how many


@pytest.mark.parametrize(
    ("ranges", "source"),
    [
        (501, "bars"),  # the oldest is beyond the 500
        (500, "bars"),  # 501 closes
        (499, "short"),
        (100, "short"),  # 101 closes
    ],
)
def test_ratio_needs_a_hundred_bars_and_is_short_below_five_hundred(
    con: Con, ranges: int, source: str
) -> None:
    old = min(ranges, 500) - 50
    row = of(con, *run_of([1.0] * (ranges - 50) + [3.0] * 50))
    assert (row["n"], row["atr_source"]) == (min(ranges, 500), source)
    assert row["atr_pct_50"] == pytest.approx(3.0, rel=1e-14)
    assert row["atr_pct_500"] == pytest.approx((old + 150) / (old + 50), rel=1e-14)
    assert (row["regime"] != "unknown", row["regime_scale"] < 1) == (True, True)


@pytest.mark.parametrize("ranges", [99, 50, 1, 0])
def test_below_a_hundred_bars_nothing_is_known(con: Con, ranges: int) -> None:
    row = of(con, *run_of([1.0] * ranges))
    assert {**UNKNOWN, "bar_interval": "15m"}.items() <= row.items()
    assert row["n"] == ranges
    assert row["last_bar_at_utc"] == utc(AS_OF)


def test_gaps_are_stepped_over(con: Con) -> None:
    whole = run_of([1.0] * 100 + [2.0] * 50)
    day_before = [
        Line(line.table, {**line.values, "event_ms": line.values["event_ms"] - (k < 80) * D})
        for k, line in enumerate(whole)
    ]
    assert of(con, *day_before) == of(con, *whole)


# -------------------------------------------------------------------------------------- which bars


def test_only_closed_bars_count(con: Con) -> None:
    lines = [*run_of([1.0] * 100), bar(AS_OF, 100.0, 50.0)]
    before = of(con, *lines, as_of_ms=AS_OF + Q - 1)
    assert before == of(con, *run_of([1.0] * 100))
    after = of(con, *lines, as_of_ms=AS_OF + Q)
    assert (after["n"], after["last_bar_at_utc"]) == (101, utc(AS_OF + Q))
    assert after["atr_pct_50"] == pytest.approx((49 * 1 + 50) / 50, rel=1e-14)


def test_a_coarser_bar_that_is_open_makes_no_closed_bar(con: Con) -> None:
    # 15-minute bars from 1-minute bars up to 00:08: the bar of 00:00 is not closed
    lines = [*run_of([1.0] * 100), *(bar(AS_OF + k * M, 100.0, 9.0, "1m") for k in range(8))]
    assert of(con, *lines, as_of_ms=AS_OF + 8 * M) == of(con, *run_of([1.0] * 100))


def test_a_bar_off_its_grid_is_not_seen_before_it_closed(con: Con) -> None:
    # from 23:50 to 00:05, though the quarter of an hour that it begins in ends at midnight
    lines = [*run_of([1.0] * 100, end=AS_OF - Q), bar(AS_OF - 10 * M, 100.0, 50.0)]
    assert of(con, *lines)["n"] == 100
    assert of(con, *lines, as_of_ms=AS_OF + 5 * M)["n"] == 101


def test_of_a_bar_read_twice_the_last_reading_counts(con: Con) -> None:
    usual = run_of([1.0] * 99, end=AS_OF - Q)
    read = {"symbol": "ETHUSDT"}
    readings = [
        bar(AS_OF - Q, 100.0, 2.0, ingest_seq=2, source_id="z", line_offset=900, **read),
        bar(AS_OF - Q, 100.0, 3.0, ingest_seq=3, source_id="a", line_offset=100, **read),
        bar(AS_OF - Q, 100.0, 4.0, ingest_seq=3, source_id="b", line_offset=50, **read),
        bar(AS_OF - Q, 100.0, 6.0, ingest_seq=3, source_id="b", line_offset=60, **read),
    ]
    for count, last in ((1, 2.0), (2, 3.0), (3, 4.0), (4, 6.0)):
        for lines in ([*usual, *readings[:count]], [*reversed(readings[:count]), *usual]):
            row = of(con, *lines)
            assert row["n"] == 100
            assert row["atr_pct_50"] == pytest.approx((49 + last) / 50, rel=1e-14)


@pytest.mark.parametrize(
    "odd",
    [
        {"reject_reason": "not_a_number:close"},
        {"environment": "live"},
        {"symbol": "BTCUSDT"},
        {"close": None},
        {"high": None},
        {"low": None},
        {"close": 0.0},
        {"low": 0.0},
        {"high": 90.0, "low": 95.0},  # upside down
        {"bar_interval": None},
    ],
)
def test_lines_that_are_no_bar_of_the_symbol_are_left_out(con: Con, odd: Row) -> None:
    lines = [*run_of([1.0] * 100, end=AS_OF - Q), bar(AS_OF - Q, 100.0, 50.0, **odd)]
    row = of(con, *lines)
    assert (row["n"], row["last_bar_at_utc"]) == (100, utc(AS_OF - Q))


@pytest.mark.parametrize(("interval", "reach_days"), [("15m", 5), ("1h", 20), ("1m", 0)])
def test_bars_are_looked_for_far_enough_back_and_no_further(
    con: Con, interval: str, reach_days: int
) -> None:
    first = plan(as_of_ms=AS_OF, atr_bar_interval=interval).bars_from_ms
    # five times the length of the bars for nights and weekends, a week for holidays
    assert AS_OF - first == 5 * 501 * MS[interval] + 7 * D
    assert AS_OF - first >= (reach_days + 7) * D
    new = [
        bar(AS_OF - (k + 1) * MS[interval], 100.0, 1.0, interval) for k in range(100)
    ]  # 99 ranges
    inside = of(con, bar(first, 100.0, 1.0, interval), *new, atr_bar_interval=interval)
    before = of(con, bar(first - M, 100.0, 1.0, interval), *new, atr_bar_interval=interval)
    assert (inside["n"], before["n"]) == (100, 99)


def test_bars_of_long_ago_say_nothing_of_now(con: Con) -> None:
    lines = [*run_of([5.0] * 450 + [15.0] * 50), outcome(at=T, fill_px=100.0)]
    limit = 345_600_000  # a long weekend
    last = of(con, *lines, as_of_ms=AS_OF + limit)
    assert (last["regime"], last["regime_scale"]) == ("panic", 0.25)
    late = of(con, *lines, as_of_ms=AS_OF + limit + 1)
    assert UNKNOWN.items() <= late.items()
    assert late["last_bar_at_utc"] == utc(AS_OF)
    later = of(con, *lines, as_of_ms=AS_OF + limit + 1, overrides={"bar_max_age_ms": limit + 1})
    assert later == last


# -------------------------------------------------------------------------------------- resampling


def test_bars_are_made_of_finer_ones(con: Con) -> None:
    lines = run_of([1.0] * 99, end=AS_OF - Q)
    lines += [
        bar(AS_OF - Q, 100.0, 2.0, "1m"),  # 99 to 101
        bar(AS_OF - 12 * M, 106.0, 2.0, "1m"),  # 105 to 107: the highest
        bar(AS_OF - 8 * M, 98.0, 6.0, "1m"),  # 95 to 101: the lowest
        bar(AS_OF - 3 * M, 103.0, 0.5, "1m"),  # the last close
    ]
    row = of(con, *lines)
    assert row["n"] == 100
    mean_range, mean_close = (49 * 1 + 107 - 95) / 50, (49 * 100 + 103) / 50
    assert row["atr_pct_50"] == pytest.approx(100 * mean_range / mean_close, rel=1e-14)


@pytest.mark.parametrize(
    ("interval", "used"),
    [
        ("1m", {"1m"}),
        ("5m", {"1m", "5m"}),
        ("15m", {"1m", "5m", "15m"}),
        ("1h", {*MS} - {"4h", "1d"}),
    ],
)
def test_bars_that_do_not_divide_the_interval_are_left_out(
    con: Con, interval: str, used: set[str]
) -> None:
    step = MS[interval]
    for length in MS:
        width = max(step, MS[length])
        lines = [bar(AS_OF - (k + 1) * width, 100.0, 1.0, length) for k in range(130)]
        rows = features(con, TABLE, *lines, as_of_ms=AS_OF, atr_bar_interval=interval)
        assert ("ETHUSDT" in rows) == (length in used), length
        if length in used:
            assert (rows["ETHUSDT"]["n"], rows["ETHUSDT"]["bar_interval"]) == (129, interval)


def test_the_finest_bars_count_unless_coarser_ones_know_more(con: Con) -> None:
    usual = run_of([1.0] * 99, end=AS_OF - Q)
    coarse = bar(AS_OF - Q, 100.0, 8.0)
    fine = [bar(AS_OF - Q + k * 5 * M, 100.0, 2.0, "5m") for k in range(3)]
    finest = [bar(AS_OF - Q + k * M, 100.0, 4.0, "1m") for k in range(15)]

    def last_range(*lines: Line) -> float:
        return float(of(con, *usual, *lines)["atr_pct_50"]) * 50 - 49

    assert last_range(coarse, *fine, *finest) == pytest.approx(4.0)
    assert last_range(coarse, *fine, *finest[1:]) == pytest.approx(2.0)  # a minute is missing
    assert last_range(coarse, *fine[1:], *finest[1:]) == pytest.approx(8.0)
    assert last_range(*fine[1:], *finest[1:]) == pytest.approx(4.0)  # 14 of 15 against 10


# -------------------------------------------------------------------------------------- from fills


def test_fills_stand_in_where_there_are_no_bars_and_never_change_size(con: Con) -> None:
    prices = [100.0, 100.0, 101.0, 99.0]
    row = of(con, *(outcome(at=T + k, fill_px=px) for k, px in enumerate(prices)))
    assert (row["n"], row["atr_source"], row["bar_interval"]) == (3, "fills", None)
    assert row["atr_pct_50"] == pytest.approx(100 * (0 + 1 + 2) / (100 + 101 + 99), rel=1e-14)
    assert row["atr_pct_500"] == row["atr_pct_50"]
    assert (row["regime"], row["health_regime"], row["regime_scale"]) == ("normal", "normal", 1.0)
    assert row["last_bar_at_utc"] is None


@pytest.mark.parametrize(
    ("usual", "now", "regime", "health"),
    [(8.0, 1.0, "quiet", "quiet"), (93.0, 60.0, "normal", "quiet"), (1.0, 9.0, "panic", "panic")],
)
def test_a_regime_of_fills_is_shown_without_a_scale(
    con: Con, usual: float, now: float, regime: str, health: str
) -> None:
    steps = [usual] * 450 + [now] * 50
    prices = [500.0, *(500 + (k % 2) * step for k, step in enumerate(steps, start=1))]
    row = of(con, *(outcome(at=T + k, fill_px=px) for k, px in enumerate(prices)))
    assert (row["n"], row["atr_source"]) == (500, "fills")
    assert (row["regime"], row["health_regime"], row["regime_scale"]) == (regime, health, 1.0)


def test_of_many_fills_the_last_five_hundred_changes_count(con: Con) -> None:
    prices = [1.0, 900.0, *(500.0 + k % 2 for k in range(500))]  # two jumps before 499 changes
    row = of(con, *(outcome(at=T + k, fill_px=px) for k, px in enumerate(prices)))
    assert row["n"] == 500
    ranges, closes = 400.0 + 499, 250 * 500.0 + 250 * 501.0
    assert row["atr_pct_500"] == pytest.approx(100 * ranges / closes, rel=1e-14)


@pytest.mark.parametrize("prices", [[], [100.0], [100.0, None], [100.0, 0.0]])
def test_fewer_than_two_prices_are_unknown(con: Con, prices: list[float | None]) -> None:
    lines = [outcome(at=T + k, fill_px=px) for k, px in enumerate(prices)]
    row = of(con, outcome("unknown"), *lines)
    assert (row["n"], UNKNOWN.items() <= row.items()) == (0, True)


def test_fills_at_one_time_stand_in_the_order_of_their_ids(con: Con) -> None:
    lines = [
        outcome(at=T, attempt_id=i, fill_px=px)
        for i, px in zip("abc", (1.0, 2.0, 4.0), strict=True)
    ]
    for shuffled in (lines, lines[::-1]):
        assert of(con, *shuffled)["atr_pct_50"] == pytest.approx(100 * 3 / 6, rel=1e-14)


def test_fills_outside_the_window_do_not_count(con: Con) -> None:
    lines = [outcome(at=AS_OF - 7 * D, fill_px=50.0), outcome(at=AS_OF + 1, fill_px=70.0)]
    row = of(con, *lines, outcome(fill_px=100.0))
    assert (row["n"], row["atr_source"]) == (0, "none")


def test_too_few_bars_are_not_mended_by_fills(con: Con) -> None:
    lines = [outcome(at=T + k, fill_px=100.0 + k) for k in range(5)]
    assert of(con, *lines)["atr_source"] == "fills"
    row = of(con, *lines, *run_of([1.0] * 99))
    assert (row["n"], row["atr_source"], row["regime"]) == (99, "none", "unknown")


# ----------------------------------------------------------------------------------------- symbols


def test_symbols_that_trade_and_symbols_with_bars_alone_stand_here(con: Con) -> None:
    rows = features(
        con,
        TABLE,
        *run_of([1.0] * 100, symbol="BARS"),
        outcome("unknown", symbol="TRADED"),
        order("order_error", None, symbol="ERRORS"),
        as_of_ms=AS_OF,
    )
    assert set(rows) == {"BARS", "TRADED", "ERRORS"}
    assert rows["BARS"]["atr_source"] == "short"
    assert UNKNOWN.items() <= rows["TRADED"].items()


def test_nothing_gives_no_rows(con: Con) -> None:
    assert features(con, TABLE) == {}


def test_two_venues_are_told_or_kept_apart(con: Con) -> None:
    here = run_of([1.0] * 100, venue="binance")
    there = run_of([2.0] * 100, venue="kraken")
    nowhere = run_of([1.0] * 100, venue=None)
    assert of(con, *here)["venue_n"] == 1
    assert of(con, *here, *nowhere)["venue_n"] == 1
    assert of(con, *here, *there)["venue_n"] == 2
    rows = features(con, TABLE, *here, *there, *nowhere, as_of_ms=AS_OF, symbol_key="venue_symbol")
    assert {name: row["venue_n"] for name, row in rows.items()} == {
        "binance:ETHUSDT": 1,
        "kraken:ETHUSDT": 1,
        "unknown:ETHUSDT": 0,
    }
    assert rows["kraken:ETHUSDT"]["atr_pct_50"] == pytest.approx(2.0)


# -------------------------------------------------------------------------------------- properties

CASE = st.tuples(
    st.integers(101, 130),
    st.sampled_from(["5m", "15m"]),
    st.floats(1e-6, 1e9),
    st.integers(0, 1000),
)


def bars_at_random(count: int, length: str, level: float, seed: int) -> list[Line]:
    """Return bars of a random walk with gaps and bars read twice, in any order."""
    rng = random.Random(seed)
    lines = []
    price = level
    at = AS_OF - count * Q * 2
    for _ in range(count * (Q // MS[length])):
        at += MS[length] * (1 if rng.random() < 0.9 else 2)
        price *= 1 + rng.uniform(-0.01, 0.01)
        high, low = price * (1 + rng.random() / 100), price * (1 - rng.random() / 100)
        close = rng.uniform(low, high)
        lines.append(raw(BARS, at, bar_interval=length, high=high, low=low, close=close))
        if rng.random() < 0.05:
            again = {"high": high * 1.01, "low": low, "close": close, "ingest_seq": 2}
            lines.append(raw(BARS, at, bar_interval=length, **again))
    rng.shuffle(lines)
    return lines


@settings(max_examples=5)
@given(case=CASE)
def test_the_same_bars_in_any_order_give_the_same_row_within_its_bounds(
    con: Con, case: tuple[int, str, float, int]
) -> None:
    lines = bars_at_random(*case)
    row = of(con, *lines)
    assert of(con, *lines[::2], *lines[1::2]) == row
    assert row["atr_source"] in ("short", "bars")
    assert 0 < row["atr_pct_50"] < 100
    assert row["atr_ratio"] == row["atr_pct_50"] / row["atr_pct_500"]
    assert row["regime_scale"] in (0.25, 0.5, 0.75, 1.0)


def test_intervals_are_those_of_the_setting() -> None:
    from features.settings import Settings

    assert {name: MS[name] for name in ("1m", "5m", "15m", "1h")} == build.BAR_MS
    for name in build.BAR_MS:
        assert Settings.model_validate({"atr_bar_interval": name}).atr_bar_interval == name
