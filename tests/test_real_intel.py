"""Hold the intelligence tables against real logs and bars: every column, to 1e-9.

Put here: what a build over recorded logs and minute bars must give; a section a table.
Keep out: the calculation itself (tests/independent_intel.py), generated logs.
"""

import csv
import gzip
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest

from features import build
from features.digest import table_digest
from features.lake import Lake
from features.memory import MEMORY, NOTHING, Before
from features.settings import Settings
from pipelines.intake.kinds import RAW_TABLES
from tests import independent as ind
from tests import independent_intel as intel
from tests.independent import Row
from tests.loads import core_up_to_date
from tests.test_real_logs import AS_OFS, DAY_END, LATER, at, differences, fetch

Build = Callable[..., duckdb.DuckDBPyConnection]

# Here the last bar closes: moved to the end of a day, it closes with the logs.
BARS_END = "2025-06-03T15:30:00Z"


def shifted(folder: Path, into: Path, by_ms: int) -> Path:
    """Write the minute bars of a folder again as if they had opened ``by_ms`` later."""
    into.mkdir()

    @cache  # the files are of the same minutes
    def moved(date: str) -> str:
        return datetime.fromtimestamp((at(date) + by_ms) / 1000, tz=UTC).isoformat(sep=" ")

    for path in sorted(folder.glob("*_1m.csv.gz")):
        with gzip.open(path, "rt", newline="") as file:
            header, *rows = csv.reader(file)
        date = header.index("date")
        with (into / path.name.removesuffix(".gz")).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows([*row[:date], moved(row[date]), *row[date + 1 :]] for row in rows)
    return into


def read(home: Path, *folders: Path) -> Settings:
    """Read folders of one environment into a new home and build its core tables."""
    logs = [{"path": folder, "environment": "testnet"} for folder in folders]
    settings = Settings.model_validate({"home": home, "environment": "testnet", "logs": logs})
    with core_up_to_date(settings, at(DAY_END)):
        return settings


def builder(settings: Settings, root: Path) -> Build:
    """Return a function of as_of and settings that builds the feature tables and keeps them.

    ``only`` builds that table and what it reads, without the checks, which read them all.
    """

    @cache
    def built(as_of: str, *, only: str | None = None, **choice: str) -> duckdb.DuckDBPyConnection:
        mine = settings.model_copy(update=choice)
        lake = Lake(mine.lake_root)
        plan = build.plan_build(lake, mine, RAW_TABLES, at(as_of))
        name = "".join(filter(str.isalnum, f"{as_of}{only}{sorted(choice.items())}"))
        con = build.open_database(root / f"{name}.duckdb", mine)
        build.run_tables(con, lake, plan, None if only is None else {only})
        if only is None:
            results = build.run_checks(con, lake, plan)
            assert not [check for check in results if check.is_failed]
        return con

    return built


@pytest.fixture(scope="module")
def bars_at(bars_1m: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build over the minute bars alone, at times within their span."""
    root = tmp_path_factory.mktemp("bars")
    return builder(read(root / "home", bars_1m), root)


@pytest.fixture(scope="module")
def intel_home(
    router_logs: Path, bars_1m: Path, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """Read the logs and the minute bars moved to end with them."""
    root = tmp_path_factory.mktemp("intel")
    bars = shifted(bars_1m, root / "bars", at(DAY_END) - at(BARS_END))
    return read(root / "home", router_logs, bars)


@pytest.fixture(scope="module")
def intel_at(intel_home: Settings, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build over the logs and these bars."""
    return builder(intel_home, tmp_path_factory.mktemp("builds"))


@pytest.fixture(scope="module")
def logs_at(router_logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build over the logs alone: no bars anywhere."""
    root = tmp_path_factory.mktemp("logs")
    return builder(read(root / "home", router_logs), root)


@pytest.fixture(scope="module")
def rows(router_logs: Path) -> list[Row]:
    """Return the outcomes of the whole recorded run, calculated independently."""
    return ind.outcomes(router_logs)


@pytest.fixture(scope="module")
def minutes(bars_1m: Path) -> dict[str, dict[int, intel.Bar]]:
    """Return the minute bars as recorded."""
    return intel.minute_bars(bars_1m)


@pytest.fixture(scope="module")
def late_minutes(
    minutes: dict[str, dict[int, intel.Bar]],
) -> dict[str, dict[int, intel.Bar]]:
    """Return the minute bars moved to end with the logs."""
    by_ms = at(DAY_END) - at(BARS_END)
    return {s: {t + by_ms: bar for t, bar in bars.items()} for s, bars in minutes.items()}


# ---------------------------------------------------------------- volatility regime

REGIMES = "feat_symbol__atr_regime"
REGIME_COLUMNS = tuple(intel.NO_REGIME)
CHECKED = ("2025-05-05T12:00:00Z", "2025-05-05T18:07:31Z", "2025-06-03T15:30:00Z")  # a source each
BAR_AS_OFS = [
    ("2025-05-05T12:00:00Z", "none"),  # 82 bars of 15 minutes
    ("2025-05-05T18:07:31Z", "short"),  # in the middle of a bar
    ("2025-05-11T07:37:12Z", "bars"),
    ("2025-05-20T00:00:00Z", "bars"),
    ("2025-06-03T15:30:00Z", "bars"),  # the last bar has just closed
    ("2025-06-05T00:00:00Z", "bars"),  # nothing new for a day and a half
    ("2025-06-07T15:30:01Z", "none"),  # nothing new for too long
]


@pytest.mark.parametrize("interval", ["15m", "1h"])
@pytest.mark.parametrize(("as_of", "source"), BAR_AS_OFS)
def test_regimes_from_minute_bars_equal_the_independent_ones(
    bars_at: Build,
    minutes: dict[str, dict[int, intel.Bar]],
    interval: str,
    as_of: str,
    source: str,
) -> None:
    expected = intel.atr_regimes(minutes, [], interval, at(as_of))
    only = None if interval == "15m" and as_of in CHECKED else REGIMES
    con = bars_at(as_of, only=only, atr_bar_interval=interval)
    table = fetch(con, REGIMES, ("symbol",))
    found = {symbol: row for (symbol,), row in table.items()}
    # bars that ended too long ago are listed with nothing known
    padded = {symbol: expected.get(symbol, intel.NO_REGIME) for symbol in minutes}
    assert differences(padded, found, REGIME_COLUMNS) == []
    assert set(found) == set(minutes)
    if interval == "15m":
        assert {row["atr_source"] for row in found.values()} == {source}


def test_an_hour_of_bars_needs_more_time_for_as_many(bars_at: Build) -> None:
    sources = {
        as_of: {
            row[0]
            for row in bars_at(as_of, only=REGIMES, atr_bar_interval="1h")
            .sql("SELECT atr_source FROM feat_symbol__atr_regime")
            .fetchall()
        }
        for as_of in ("2025-05-05T18:07:31Z", "2025-05-20T00:00:00Z", "2025-06-03T15:30:00Z")
    }
    assert list(sources.values()) == [{"none"}, {"short"}, {"bars"}]


@pytest.mark.parametrize("as_of", AS_OFS)
def test_regimes_from_fills_equal_the_independent_ones(
    logs_at: Build, rows: list[Row], as_of: str
) -> None:
    expected = intel.atr_regimes({}, rows, "15m", at(as_of))
    table = fetch(logs_at(as_of, only=REGIMES), REGIMES, ("symbol",))
    found = {symbol: row for (symbol,), row in table.items()}
    assert differences(expected, found, REGIME_COLUMNS) == []
    assert {row["atr_source"] for row in expected.values()} == {"fills"}
    # symbols whose orders only failed may stand there, with nothing known
    assert all(found[s]["atr_source"] == "none" for s in set(found) - set(expected))


def test_regimes_from_bars_and_fills_side_by_side(
    intel_at: Build,
    rows: list[Row],
    late_minutes: dict[str, dict[int, intel.Bar]],
) -> None:
    expected = intel.atr_regimes(late_minutes, rows, "15m", at(DAY_END))
    table = fetch(intel_at(DAY_END, only=SCORES), REGIMES, ("symbol",))
    found = {symbol: row for (symbol,), row in table.items()}
    assert differences(expected, found, REGIME_COLUMNS) == []
    assert (found["LTCUSDT"]["atr_source"], found["WIFUSDT"]["atr_source"]) == ("bars", "fills")


# ---------------------------------------------------------------- symbol score

SCORES = "feat_symbol__scores"


def expected_scores(
    folder: Path,
    rows: list[Row],
    minutes: dict[str, dict[int, intel.Bar]],
    as_of_ms: int,
    regimes: dict[str, Row] | None = None,
) -> dict[tuple[str, str], Row]:
    return intel.symbol_scores(
        rows,
        ind.router_effectiveness(folder, rows, as_of_ms),
        ind.slippage_quartiles(rows, as_of_ms),
        ind.symbol_performance(folder, rows, as_of_ms),
        regimes or intel.atr_regimes(minutes, rows, "15m", as_of_ms),
        as_of_ms,
    )


@pytest.mark.parametrize("as_of", AS_OFS)
def test_scores_equal_the_independent_ones(
    intel_at: Build,
    router_logs: Path,
    rows: list[Row],
    late_minutes: dict[str, dict[int, intel.Bar]],
    as_of: str,
) -> None:
    expected = expected_scores(router_logs, rows, late_minutes, at(as_of))
    table = fetch(intel_at(as_of, only=SCORES), SCORES, ("symbol", "model"))
    assert differences(expected, table, tuple(expected["LTCUSDT", "v5.10"])) == []
    assert set(table) == set(expected)
    assert expected["LTCUSDT", "v5.10"]["atr_ratio"] is not None


def test_scores_without_bars_equal_the_independent_ones(
    logs_at: Build, router_logs: Path, rows: list[Row]
) -> None:
    expected = expected_scores(router_logs, rows, {}, at(DAY_END))
    table = fetch(logs_at(DAY_END, only=SCORES), SCORES, ("symbol", "model"))
    assert differences(expected, table, tuple(expected["LTCUSDT", "v5.10"])) == []
    assert all("atr_ratio" in row["missing"].split(",") for row in table.values())


# ---------------------------------------------------------------- size, policy, offset


BEFORE_MS = 300_000  # as far apart as the schedule's refreshes
DECIDING = (
    ("feat_symbol__sizing", ("symbol",)),
    ("feat_router__policies", ("symbol",)),
    ("feat_router__maker_offsets", ("symbol", "hour_utc")),
    ("feat_symbol__memory", ("symbol",)),
)


def deciding(
    folder: Path,
    rows: list[Row],
    minutes: dict[str, dict[int, intel.Bar]],
    memory: dict[str, Row],
    as_of_ms: int,
    target: float = 0.0,
    coverage: float | None = None,
) -> dict[str, dict[Any, Row]]:
    """Return the tables that decide how to trade, calculated from log lines and bars alone.

    ``coverage`` of the account is given: tests/test_real_truth.py holds it against the lines.
    """
    regimes = intel.atr_regimes(minutes, rows, "15m", as_of_ms)
    performance = ind.symbol_performance(folder, rows, as_of_ms)
    scores = expected_scores(folder, rows, minutes, as_of_ms, regimes)
    for score in scores.values():
        score["fallback_known_n"] = 0  # no order of the recorded run began as maker
    sizes = intel.symbol_sizes(
        scores, performance, regimes, minutes, memory, as_of_ms, target, coverage
    )
    policies = intel.router_policies(scores, regimes, memory, as_of_ms)
    hours = ind.hourly_expectancy(rows, ind.funding(folder), as_of_ms)
    return {
        "feat_symbol__sizing": sizes,
        "feat_router__policies": policies,
        "feat_router__maker_offsets": intel.maker_offsets(policies, hours),
        "feat_symbol__memory": intel.memories(scores, sizes, policies, regimes, memory, as_of_ms),
    }


def chain(
    settings: Settings, root: Path, as_ofs: Iterable[int], **choice: Any
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Build at each time, every build remembering the one before it."""
    mine = settings.model_copy(update=choice)
    lake, before = Lake(mine.lake_root), NOTHING
    for as_of_ms in as_ofs:
        plan = build.plan_build(lake, mine, RAW_TABLES, as_of_ms, before=before)
        con = build.open_database(root / f"{as_of_ms}{plan.identity}.duckdb", mine)
        build.run_tables(con, lake, plan)
        results = build.run_checks(con, lake, plan)
        assert [check.name for check in results if check.is_failed] == []
        yield con
        remembered = con.table(MEMORY).to_arrow_table()
        before = Before("read", str(as_of_ms), table_digest(con, MEMORY, ("symbol",)), remembered)


# A target moves sizes alone, in every build alike: what is remembered of them takes two.
@pytest.mark.parametrize(
    ("target", "builds_n"), [(0.0, 5), (0.03, 2), pytest.param(0.03, 5, marks=pytest.mark.soak)]
)
def test_what_decides_equals_the_independent_one_from_snapshot_to_snapshot(
    router_logs: Path,
    bars_1m: Path,
    rows: list[Row],
    late_minutes: dict[str, dict[int, intel.Bar]],
    intel_home: Settings,
    tmp_path: Path,
    target: float,
    builds_n: int,
) -> None:
    end_ms = at(DAY_END)
    # five minutes, an hour, over a week later: by then everything is forgotten
    as_ofs = [end_ms - BEFORE_MS, end_ms, end_ms + 5, at(LATER), end_ms + 9 * 86_400_000]
    as_ofs = as_ofs[:builds_n]
    memory: dict[str, Row] = {}
    sizes = set()
    builds = chain(intel_home, tmp_path, as_ofs, params={"target_daily_vol": target})
    for as_of_ms, con in zip(as_ofs, builds, strict=True):
        told = con.sql("SELECT coverage FROM feat_account__coverage WHERE day = '*'").fetchall()
        coverage = told[0][0] if told else None
        expected = deciding(router_logs, rows, late_minutes, memory, as_of_ms, target, coverage)
        for name, grain in DECIDING:
            table = fetch(con, name, grain)
            found = {key[0] if len(key) == 1 else key: row for key, row in table.items()}
            mine = expected[name]
            assert set(found) == set(mine), name
            if mine:
                columns = tuple(next(iter(mine.values())))
                assert differences(mine, found, columns) == [], (name, as_of_ms)
                said = {"reason"} if name == "feat_router__policies" else set()
                assert {*columns, *grain, *said} == set(next(iter(found.values())))
        memory = expected["feat_symbol__memory"]
        sizes |= {row["final_size_factor"] for row in expected["feat_symbol__sizing"].values()}
    assert len(sizes) > 3  # not all of them at a bound


@pytest.mark.parametrize("as_of", ["2025-05-12T09:00:00Z", "2025-06-03T15:30:00Z"])
def test_daily_volatility_of_minute_bars_equals_the_independent_one(
    minutes: dict[str, dict[int, intel.Bar]], as_of: str
) -> None:
    assert len(minutes) == 6
    for mine in minutes.values():
        found = intel.daily_volatility(mine, at(as_of))
        assert found["daily_vol_n"] == 168
        assert 0.005 < found["daily_vol"] < 0.2
