"""Strategies: what they call on known bars, what their confidence means, and adding one."""

import itertools
import math
import random
import re
from pathlib import Path

import pytest

from live.market import Bar, Signal
from live.market import bars as bar_files
from live.strategies import Strategy, available, make
from live.strategies.calibration import Calibration, Call
from live.strategies.intraday import Intraday
from live.strategies.swing import Swing

START_MS = 1_762_300_800_000
MINUTE_MS = 60_000


def bar(number: int, close: float, *, half_range: float = 0.05, symbol: str = "BTCUSDT") -> Bar:
    """Return the one-minute bar of a minute, its range around its close."""
    return Bar(
        symbol, START_MS + number * MINUTE_MS, MINUTE_MS,
        close, close + half_range, close - half_range, close, 10.0,
    )  # fmt: skip


def walk(count: int, seed: int, symbol: str = "BTCUSDT") -> list[Bar]:
    """Return bars of a random walk of 0.1 % a minute."""
    rng, price, made = random.Random(seed), 100.0, []
    for number in range(count):
        price *= math.exp(rng.gauss(0, 0.001))
        made.append(bar(number, price, symbol=symbol))
    return made


def signals(strategy: Strategy, bars: list[Bar]) -> list[Signal]:
    return [signal for each in bars if (signal := strategy.on_bar(each))]


# -------------------------------------------------------------------------------------- intraday


def test_intraday_calls_long_above_the_hours_range_and_ends_after_its_holding_time() -> None:
    flat = [bar(number, 100.0) for number in range(60)]
    after = [bar(number, 100.2) for number in range(60, 130)]
    call, end = signals(Intraday(), [*flat, *after])
    assert (call.direction, call.at_ms, call.price) == ("LONG", flat[-1].close_ms + 60_000, 100.2)
    assert call.confidence == pytest.approx(1 / 3)  # nothing is known yet
    assert call.expected_edge is None
    # mean true range 0.1, holding time 60 bars: 0.1 · √60 = 0.775
    assert call.stop_loss == pytest.approx(100.2 - 0.7746, abs=1e-3)
    assert call.take_profit == pytest.approx(100.2 + 1.5 * 0.7746, abs=1e-3)
    assert call.features["breakout_atr"] == pytest.approx((100.2 - 100.05) / 0.1)
    assert (end.direction, end.reason, end.at_ms) == ("NOOP", "time_exit", call.at_ms + 3_600_000)


def test_intraday_calls_short_below_the_range_and_nothing_within_it() -> None:
    flat = [bar(number, 100.0) for number in range(70)]
    assert signals(Intraday(), flat) == []
    call = signals(Intraday(), [*flat, bar(70, 99.8)])[0]
    assert call.direction == "SHORT"
    assert call.stop_loss is not None
    assert call.take_profit is not None
    assert call.stop_loss > call.price > call.take_profit


def test_intraday_forgets_a_range_from_before_a_gap() -> None:
    flat = [bar(number, 100.0) for number in range(60)]
    next_day = bar(60 + 1_000, 105.0)
    assert signals(Intraday(), [*flat, next_day]) == []


# ----------------------------------------------------------------------------------------- swing


def hourly(closes: list[float]) -> list[Bar]:
    return [
        Bar("SPY", START_MS + n * 3_600_000, 3_600_000, close, close + 0.5, close - 0.5, close, 1)
        for n, close in enumerate(closes)
    ]


def test_swing_turns_with_its_averages_and_not_at_every_touch() -> None:
    rise = [100.0 + n for n in range(60)]
    fall = [160.0 - n for n in range(60)]
    first, second = signals(Swing(), hourly(rise + fall))
    assert (first.direction, second.direction) == ("LONG", "SHORT")
    assert second.reason == "trend_turn"
    # its first call won (131 → about 148): one hit of one call of LONG, none of SHORT yet
    assert [first.confidence, second.confidence] == pytest.approx([1 / 3, 1 / 3])
    third = signals(Swing(), hourly(rise + fall + rise))[-1]
    assert third.direction == "LONG"
    assert third.confidence == pytest.approx(2 / 4)


def test_swing_makes_its_long_bars_of_fine_ones() -> None:
    fine = walk(60 * 200, seed=3)
    hours = [list(g) for _, g in itertools.groupby(fine, lambda bar: bar.open_ms // 3_600_000)]
    long = [
        Bar("BTCUSDT", g[0].open_ms, 3_600_000, g[0].open, max(b.high for b in g),
            min(b.low for b in g), g[-1].close, sum(b.volume for b in g))
        for g in hours
    ]  # fmt: skip
    assert len(long) == 200
    from_fine, from_long = signals(Swing(), fine), signals(Swing(), long)
    assert len(from_long) > 2
    assert from_fine == from_long


# -------------------------------------------------------------------------------------- confidence


def test_confidence_is_the_share_of_earlier_calls_that_came_true_drawn_to_one_third() -> None:
    calibration = Calibration(0.003)
    ends = [100.4, 100.2, 99.0, 101.0]  # right, too little, wrong, right
    for number, end in enumerate(ends):
        assert calibration.expected_edge("up") is None if number == 0 else True
        calibration.settle(Call("LONG", 100.0, "up"), end)
    calibration.settle(Call("SHORT", 100.0, "down"), 99.0)
    assert calibration.confidence("up") == pytest.approx((2 + 1) / (4 + 3))
    assert calibration.expected_edge("up") == pytest.approx((0.004 + 0.002 - 0.01 + 0.01) / 4)
    assert calibration.confidence("down") == pytest.approx((1 + 1) / (1 + 3))
    assert calibration.confidence("unheard of") == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", ["intraday", "swing"])
def test_confidence_is_calibrated_on_a_market_where_a_rule_cannot_know(name: str) -> None:
    """On many bars of a random walk the mean confidence is the share of calls that came true."""
    (strategy,) = make(name, {"intraday": 0.003, "swing": 0.003})
    bars = walk(30_000, seed=11)
    made = signals(strategy, bars)
    calls = [(a, b) for a, b in itertools.pairwise(made) if a.direction != "NOOP"]
    assert len(calls) > 100 if name == "intraday" else len(calls) > 10
    hits = [
        (b.price / a.price - 1) * (1 if a.direction == "LONG" else -1) > 0.003 for a, b in calls
    ]
    mean = sum(a.confidence for a, _ in calls) / len(calls)
    share = sum(hits) / len(hits)
    stderr = math.sqrt(share * (1 - share) / len(hits))
    assert abs(mean - share) < 4 * stderr
    assert all(0 < a.confidence < 1 for a, _ in calls)


# ------------------------------------------------------------------------------------- any of them


@pytest.mark.parametrize("name", ["intraday", "swing"])
def test_no_signal_depends_on_a_later_bar(name: str) -> None:
    bars = walk(6_000, seed=5)
    known, later = bars[:3_000], walk(6_000, seed=6)[3_000:]
    (one,), (other,) = make(name, {}), make(name, {})
    upto = known[-1].close_ms
    a = [s for s in signals(one, bars) if s.at_ms <= upto]
    b = [s for s in signals(other, [*known, *later]) if s.at_ms <= upto]
    assert a
    assert a == b


@pytest.mark.parametrize("name", ["intraday", "swing"])
def test_real_bars_give_calls_whose_stops_stand_on_the_right_side(name: str, bars_1m: Path) -> None:
    (strategy,) = make(name, {})
    made = signals(strategy, list(bar_files.read(bars_1m / "SOLUSDT_1m.csv.gz"))[:20_000])
    calls = [signal for signal in made if signal.direction != "NOOP"]
    assert len(calls) > 5
    for call in calls:
        assert call.stop_loss is not None
        assert call.take_profit is not None
        ordered = [call.stop_loss, call.price, call.take_profit]
        assert ordered == sorted(ordered, reverse=call.direction == "SHORT")


def test_a_third_strategy_is_one_file_as_the_guide_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    guide = (repository / "docs" / "backtesting.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "my_desk").mkdir()
    (tmp_path / "my_desk" / "contrarian.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    (third,) = make("my_desk.contrarian", {"contrarian": 0.004})
    assert (third.name, third.threshold) == ("contrarian", 0.004)
    made = signals(third, [bar(n, 100.0 if n < 5 else 98.5) for n in range(90)])
    assert [(s.direction, s.price) for s in made] == [("LONG", 98.5), ("NOOP", 98.5)]
    assert made[1].at_ms - made[0].at_ms == 3_600_000


def test_names_are_those_of_the_files_and_both_is_two_of_them() -> None:
    assert available() == ("intraday", "swing")
    assert [s.name for s in make("both", {"swing": 0.01})] == ["intraday", "swing"]
    assert make("both", {"swing": 0.01})[1].threshold == 0.01


@pytest.mark.parametrize("name", ["momentum", "my.desk", "calibration"])
def test_an_unknown_strategy_is_named_with_those_there_are(name: str) -> None:
    with pytest.raises(ValueError, match=r"there is no strategy '.*'; there are intraday, swing"):
        make(name, {})
