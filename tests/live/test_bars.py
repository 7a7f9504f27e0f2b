"""Bars out of files, in time order; and trading hours."""

import datetime as dt
import gzip
import itertools
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from live.market import Bar, Signal, nyse
from live.market import bars as bar_files
from live.market.bars import BarFileError
from live.market.sessions import FLAT_BEFORE_MS, US_EQUITY, FlatAtClose

HEADER = "date,open,high,low,close,volume\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def test_a_time_without_zone_is_utc_and_a_bar_is_known_at_its_end(tmp_path: Path) -> None:
    path = write(tmp_path, "SPY_1d.csv.gz", HEADER + "1998-01-02,97.3,97.5,96.5,97.4,2150000\n")
    (bar,) = bar_files.read(path)
    assert bar == Bar("SPY", 883_699_200_000, 86_400_000, 97.3, 97.5, 96.5, 97.4, 2_150_000.0)
    assert bar.close_ms == 883_785_600_000


def test_files_are_merged_by_close_and_symbol(tmp_path: Path) -> None:
    minute = "2025-05-04 15:{:02}:00+00:00,1,2,1,2,5\n"
    write(tmp_path, "B_1m.csv", HEADER + "".join(map(minute.format, (0, 1, 4))))
    write(tmp_path, "A_1m.csv.gz", HEADER + "".join(map(minute.format, (1, 2))))
    write(tmp_path, "C_5m.csv", HEADER + minute.format(0))
    paths = bar_files.find(tmp_path, ["B", "A", "C"]).values()
    seen: list[tuple[int, int]] = []
    groups = list(bar_files.merged(paths, lambda done, total: seen.append((done, total))))
    at = [(group[0].close_ms // 60_000 % 60, [bar.symbol for bar in group]) for group in groups]
    assert at == [(1, ["B"]), (2, ["A", "B"]), (3, ["A"]), (5, ["B", "C"])]
    assert seen[-1][0] == seen[-1][1] == sum(path.stat().st_size for path in paths)


def test_real_bars_come_whole_and_in_order(bars_1m: Path) -> None:
    paths = bar_files.find(bars_1m, ["ETHUSDT", "BTCUSDT"], "1m").values()
    closes, count = [], 0
    for group in itertools.islice(bar_files.merged(paths), 20_000):
        assert [bar.symbol for bar in group] == ["BTCUSDT", "ETHUSDT"]
        closes.append(group[0].close_ms)
        count += len(group)
    assert count == 40_000
    assert closes == sorted(set(closes))


def test_written_bars_are_read_again(tmp_path: Path) -> None:
    bars = [Bar("X", 60_000 * n, 60_000, 1.1, 1.3, 1.05, 1.2 + n / 100, 3.5) for n in range(5)]
    bar_files.write(tmp_path / "X_1m.csv", bars)
    assert list(bar_files.read(tmp_path / "X_1m.csv")) == bars


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("2025-05-04 15:00,1,2,1,x,5\n", "line 2: 2025-05-04 15:00,1,2,1,x,5: could not convert"),
        ("2025-05-04 15:00,1,2\n", "line 2: 2025-05-04 15:00,1,2: list index"),
        ("yesterday,1,2,1,2,5\n", "line 2: yesterday"),
        ("2025-05-04 15:00,1,1.5,1,2,5\n", "high, low and volume do not fit"),
        ("2025-05-04 15:00,1,nan,1,2,5\n", "high, low and volume do not fit"),
        ("2025-05-04 15:00,1,2,0,2,5\n", "high, low and volume do not fit"),
        ("2025-05-04 15:01,1,2,1,2,5\n" * 2, "line 3: 2025-05-04 15:01 is not later than the bar"),
    ],
)
def test_a_line_that_is_no_bar_is_named(tmp_path: Path, lines: str, said: str) -> None:
    path = write(tmp_path, "X_1m.csv", HEADER + lines)
    with pytest.raises(BarFileError, match=said):
        list(bar_files.read(path))


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "X_1m.csv.gz", HEADER + "2025-05-04 15:00,1,2,1,2,5\n" * 50)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(BarFileError, match=r"X_1m\.csv\.gz"):
        list(bar_files.read(path))


def test_missing_bars_are_named_with_what_there_is(tmp_path: Path) -> None:
    write(tmp_path, "ETHUSDT_1m.csv", HEADER)
    with pytest.raises(BarFileError, match=r"no 1h bars of BTCUSDT; it holds 1m: ETHUSDT$"):
        bar_files.find(tmp_path, ["BTCUSDT"], "1h")
    with pytest.raises(BarFileError, match=r"is no folder: .* such as BTCUSDT_1m\.csv\.gz"):
        bar_files.find(tmp_path / "nowhere", ["BTCUSDT"])
    write(tmp_path, "BTCUSDT.csv", HEADER)
    with pytest.raises(BarFileError, match=r"an interval \(1m, 5m, .*such as BTCUSDT_1m\.csv"):
        list(bar_files.read(tmp_path / "BTCUSDT.csv"))


# ---------------------------------------------------------------------------------------- sessions


class Always:
    """A strategy that calls LONG at every bar."""

    name = "always"
    threshold = 0.003

    def on_bar(self, bar: Bar) -> Signal | None:
        return Signal(
            strategy="always", symbol=bar.symbol, direction="LONG", at_ms=bar.close_ms,
            price=bar.close, confidence=0.7, stop_loss=1.0,
        )  # fmt: skip


def test_a_session_of_us_equity_is_390_minutes_in_winter_and_in_summer(
    bars_equity_1m: Path,
) -> None:
    bars = list(bar_files.read(bars_equity_1m / "SPY_1m.csv.gz"))
    held = [bar for bar in bars if US_EQUITY.holds(bar)]
    assert len(held) == 3 * 390  # 3 days, pre- and post-market left out
    assert (held[0].open_ms // 60_000 % 1_440, held[-1].close_ms // 60_000 % 1_440) == (810, 1_200)
    opens, closes = US_EQUITY.bounds_ms(1_389_700_800_000)  # 2014-01-14 12:00 UTC, winter
    assert (opens // 60_000 % 1_440, closes // 60_000 % 1_440) == (870, 1_260)


def test_a_strategy_is_flat_before_the_close_and_silent_until_the_next_day(
    bars_equity_1m: Path,
) -> None:
    bars = [b for b in bar_files.read(bars_equity_1m / "SPY_1m.csv.gz") if US_EQUITY.holds(b)]
    strategy = FlatAtClose(Always(), US_EQUITY)
    made = [(bar, strategy.on_bar(bar)) for bar in bars]
    ends = [signal for _, signal in made if signal and signal.direction == "NOOP"]
    assert [(s.reason, s.wants_maker, s.confidence, s.stop_loss) for s in ends] == [
        ("session_close", False, 0.7, None)
    ] * 3
    for end in ends:
        assert US_EQUITY.bounds_ms(end.at_ms)[1] - end.at_ms == FLAT_BEFORE_MS
    late = [s for b, s in made if b.close_ms > US_EQUITY.bounds_ms(b.open_ms)[1] - FLAT_BEFORE_MS]
    assert late == [None] * len(late)


def bars_of(day: str, first: str, last: str, minutes: int = 1) -> list[Bar]:
    """Return bars of SPY that open within these New York times of a day."""
    zone = ZoneInfo("America/New_York")
    first_ms, last_ms = (
        round(dt.datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=zone).timestamp() * 1000)
        for time in (first, last)
    )
    return [
        Bar("SPY", ms, minutes * 60_000, 600.0, 600.5, 599.5, 600.0, 1e4)
        for ms in range(first_ms, last_ms, minutes * 60_000)
    ]


def test_every_day_of_the_sample_is_open_and_no_other_is(bars_1d: Path) -> None:
    traded = {
        dt.datetime.fromtimestamp(bar.open_ms / 1000, dt.UTC).date()
        for bar in bar_files.read(bars_1d / "SPY_1d.csv.gz")
    }
    first, last = min(traded), max(traded)
    days = [first + dt.timedelta(n) for n in range((last - first).days + 1)]
    assert len(traded) == 5849
    assert [day for day in days if nyse.is_open(day) is not (day in traded)] == []


@pytest.mark.parametrize(
    ("day", "is_open", "is_half"),
    [
        ("2024-07-03", True, True),  # a Wednesday before the holiday
        ("2026-07-03", False, False),  # the holiday itself: the 4th is a Saturday
        ("2025-11-28", True, True),  # the day after Thanksgiving
        ("2025-12-24", True, True),
        ("2021-12-24", False, False),  # Christmas of a Saturday
        ("2021-12-31", True, False),  # New Year of a Saturday is not kept on Friday
        ("2022-06-20", False, False),  # Juneteenth of a Sunday
        ("2021-06-18", True, False),  # not yet a holiday
        ("2025-01-09", False, False),  # mourning
        ("2025-11-29", False, False),  # a Saturday
    ],
)
def test_holidays_and_half_days_are_those_the_exchange_names(
    day: str, is_open: bool, is_half: bool
) -> None:
    date = dt.date.fromisoformat(day)
    assert (nyse.is_open(date), nyse.closes_early(date)) == (is_open, is_half)


def test_a_half_day_ends_flat_at_its_own_close() -> None:
    bars = bars_of("2025-11-28", "09:00", "16:30")
    held = [bar for bar in bars if US_EQUITY.holds(bar)]
    assert len(held) == 210  # 9:30 to 13:00
    strategy = FlatAtClose(Always(), US_EQUITY)
    made = [(bar, strategy.on_bar(bar)) for bar in bars]
    spoken = [bar for bar, signal in made if signal]
    assert spoken[0].open_ms == held[0].open_ms
    (end,) = [signal for _, signal in made if signal and signal.direction == "NOOP"]
    assert end.at_ms == held[-1].close_ms - FLAT_BEFORE_MS == spoken[-1].close_ms


@pytest.mark.parametrize(
    ("first", "minutes", "before_close"),
    [
        ("09:30", 1, 5),
        ("09:30", 5, 5),
        ("09:30", 15, 15),  # the next bar ends with the market, when nothing can be closed
        ("09:30", 60, 30),  # 15:30; the one after it ends at 16:30
        ("10:00", 60, 60),  # 15:00
        ("09:30", 3, 6),  # 15:54; the next ends at 15:57
    ],
)
def test_longer_bars_end_flat_while_the_market_is_open(
    first: str, minutes: int, before_close: int
) -> None:
    strategy = FlatAtClose(Always(), US_EQUITY)
    bars = bars_of("2025-11-26", first, "18:00", minutes)
    made = [signal for bar in bars if (signal := strategy.on_bar(bar))]
    assert [signal.direction for signal in made].count("NOOP") == 1
    assert made[-1].direction == "NOOP"
    ends = dt.datetime(2025, 11, 26, 21, tzinfo=dt.UTC).timestamp() * 1000
    assert ends - made[-1].at_ms == before_close * 60_000


def test_on_a_day_without_trading_nothing_is_said_and_what_was_held_is_closed() -> None:
    strategy = FlatAtClose(Always(), US_EQUITY)
    for bar in bars_of("2025-11-26", "09:30", "12:00"):  # a day that breaks off
        strategy.on_bar(bar)
    thanksgiving = bars_of("2025-11-27", "04:00", "20:00")
    assert not any(US_EQUITY.holds(bar) for bar in thanksgiving)
    made = [signal for bar in thanksgiving if (signal := strategy.on_bar(bar))]
    assert [signal.reason for signal in made] == ["session_close"]


def test_a_day_that_breaks_off_is_closed_at_the_next_bar_there_is(bars_equity_1m: Path) -> None:
    bars = [b for b in bar_files.read(bars_equity_1m / "SPY_1m.csv.gz") if US_EQUITY.holds(b)]
    strategy = FlatAtClose(Always(), US_EQUITY)
    broken = bars[:200] + bars[390:400]  # half a day, then the next
    made = [strategy.on_bar(bar) for bar in broken]
    assert [s.direction for s in made if s][199:202] == ["LONG", "NOOP", "LONG"]
