"""The accuracy tables on a month of real bars equal scikit-learn, SciPy and plain Python."""

import csv
import dataclasses
import gzip
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from features import catalog
from features.lake import Lake
from features.snapshot import Store, open_snapshot
from pipelines.accuracy import AccuracyAnalyzer
from pipelines.refresh import refresh
from tests import independent_accuracy as independent
from tests.independent_accuracy import DAY_MS, HEADER, Trade
from tests.loads import (
    all_digests,
    append,
    core_up_to_date,
    lake_digests,
    settings_over,
    tangled_lines,
)

MINUTE_MS = 60_000
GRAIN = ("environment", "strategy", "symbol", "day_ms", "confidence_decile")
# Momentum over so many minutes, looked at every so often, held so long.
RULES = {"intraday": (30, 97, 60), "swing": (480, 731, 960)}


def read_bars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return (opening epoch ms, close) of each symbol's minutes."""
    bars = {}
    for path in sorted(folder.glob("*_1m.csv.gz")):
        with gzip.open(path, "rt") as file:
            rows = list(csv.DictReader(file))
        bars[path.name.partition("_")[0]] = [
            (_epoch_ms(row["date"]), float(row["close"])) for row in rows
        ]
    return bars


def _epoch_ms(text: str) -> int:
    import datetime as dt

    moment = dt.datetime.fromisoformat(text)
    return round(moment.replace(tzinfo=moment.tzinfo or dt.UTC).timestamp() * 1000)


def predict(bars: dict[str, list[tuple[int, float]]]) -> list[Trade]:
    """Trade a plain momentum rule over the bars: what moved goes on, what did not stays."""
    trades = []
    for strategy, (back, every, hold) in RULES.items():
        for symbol, minutes in bars.items():
            for at in range(back, len(minutes) - hold, every):
                moved = minutes[at][1] / minutes[at - back][1] - 1
                limit = independent.THRESHOLDS[strategy] / 2
                predicted = "LONG" if moved > limit else "SHORT" if moved < -limit else "NOOP"
                (entry_ms, entry), (close_ms, exit_) = minutes[at], minutes[at + hold]
                gain = (exit_ / entry - 1) * 100
                trades.append(
                    Trade(
                        entry_ms=entry_ms,
                        close_ms=close_ms,
                        symbol=symbol,
                        strategy=strategy,
                        predicted=predicted,
                        confidence=round(min(1.0, 0.4 + abs(moved) * 40), 4),
                        entry=entry,
                        exit=exit_,
                        minutes=(close_ms - entry_ms) / MINUTE_MS,
                        return_pct=0.0
                        if predicted == "NOOP"
                        else gain * (1 - 2 * (predicted == "SHORT")),
                    )
                )
    return trades


def write(folder: Path, trades: Iterable[Trade]) -> None:
    """Append trades to the trace file of their strategy."""
    folder.mkdir(parents=True, exist_ok=True)
    for trade in trades:
        path = folder / f"traces_{trade.strategy}_0.csv"
        with path.open("a") as file:
            file.write(trade.csv() if file.tell() else HEADER + trade.csv())


@dataclass(frozen=True)
class Desk:
    """Trades of the real month, and the snapshot over their traces, read in pieces."""

    root: Path
    trades: list[Trade]
    as_of_ms: int

    @property
    def home(self) -> Path:
        return self.root / "pieces"

    def rows(self, table: str) -> list[dict[str, Any]]:
        store = Store(self.home / "snapshots")
        with open_snapshot(store.database(store.resolve(None))) as con:
            found: list[dict[str, Any]] = con.sql(f"FROM {table}").to_arrow_table().to_pylist()
        return found


def computed(
    logs: Path, home: Path, as_of_ms: int, now_ms: int, *, is_core_alone: bool = False
) -> dict[str, str]:
    """Read new lines, rebuild the core and compute what traces decide, as a refresh does.

    Returns digests of all tables of traces, or nothing of the core alone.
    """
    with core_up_to_date(settings_over(logs, home), as_of_ms, now_ms=now_ms) as run:
        if is_core_alone:
            return {}
        features = run.build_features({name for name in catalog.tables() if of_traces(name)})
    digests = lake_digests(home) | features.digests
    return {name: digest for name, digest in digests.items() if of_traces(name)}


def of_traces(name: str) -> bool:
    return "telemetry" in name


@pytest.fixture(scope="module")
def desk(bars_1m: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    root = tmp_path_factory.mktemp("accuracy")
    trades = sorted(predict(read_bars(bars_1m)), key=lambda t: t.close_ms)
    # The windows cut days, and the last trades close after as-of.
    as_of_ms = trades[-400].close_ms + 7 * MINUTE_MS
    for third in range(3):
        write(root / "logs", trades[third::3])  # out of order across pieces: days come back
        times = as_of_ms + third - 2, as_of_ms + 40 * DAY_MS
        if third < 2:
            computed(root / "logs", root / "pieces", *times, is_core_alone=True)
    as_of_ms, now_ms = times
    settings = settings_over(root / "logs", root / "pieces")
    report = refresh(settings, as_of_ms=as_of_ms, now_ms=now_ms)
    assert report.outcome == "published", [c.examples for c in report.built.failed]
    return Desk(root, trades, as_of_ms)


def chosen(desk: Desk, strategy: str, symbol: str) -> list[Trade]:
    return [t for t in desk.trades if strategy in ("*", t.strategy) and symbol in ("*", t.symbol)]


def close(found: Any, expected: Any) -> bool:
    if expected is None or found is None:
        return found is None and expected is None
    return math.isclose(found, expected, rel_tol=1e-12, abs_tol=1e-12)


def test_every_metric_equals_an_independent_calculation(desk: Desk) -> None:
    rows = desk.rows("feat_telemetry__accuracy")
    assert len(rows) == 3 * 3 * 7  # windows, two strategies and all, six symbols and all
    for row in rows:
        mine = chosen(desk, row["strategy"], row["symbol"])
        expected = independent.accuracy(independent.windows(mine, desk.as_of_ms)[row["window"]])
        if row["window"] == "last100" and row["symbol"] == "*":
            continue  # several close at one moment: which of them is the hundredth is no one's
        assert expected["n"] > 20
        wrong = {k: (row[k], v) for k, v in expected.items() if not close(row[k], v)}
        assert not wrong, (row["strategy"], row["symbol"], row["window"])


def test_comparison_equals_welch_of_scipy(desk: Desk) -> None:
    for row in desk.rows("feat_telemetry__comparison"):
        if row["window"] == "last100":
            continue
        pair = [
            independent.windows(chosen(desk, name, "*"), desk.as_of_ms)[row["window"]]
            for name in (row["strategy"], row["other_strategy"])
        ]
        days = independent.welch(*(independent.daily_sums(trades) for trades in pair))
        single = independent.welch(
            *([t.return_pct for t in trades if t.predicted != "NOOP"] for trades in pair)
        )
        wrong = {k: (row[f"day_{k}"], v) for k, v in days.items() if not close(row[f"day_{k}"], v)}
        wrong |= {
            k: (row[f"trade_{k}"], v) for k, v in single.items() if not close(row[f"trade_{k}"], v)
        }
        assert not wrong, row["window"]


def test_partials_fed_in_pieces_are_those_from_scratch(desk: Desk) -> None:
    now_ms = desk.as_of_ms + 40 * DAY_MS
    whole = computed(desk.root / "logs", desk.root / "whole", desk.as_of_ms, now_ms)
    assert len(whole) >= 7
    pieces = all_digests(desk.home)
    assert {name: pieces[name] for name in pieces if of_traces(name)} == whole


def test_traces_read_anew_take_the_place_of_those_there_were(desk: Desk, tmp_path: Path) -> None:
    """A person who lost a file of the raw table moves it away; its logs hold only May."""
    shutil.copytree(desk.home, tmp_path / "home")
    (tmp_path / "home/lake/raw_telemetry__traces").rename(tmp_path / "damaged")
    write(tmp_path / "logs", desk.trades[: len(desk.trades) // 2])  # none of the last month
    times = desk.as_of_ms + 1, desk.as_of_ms + 40 * DAY_MS
    anew = computed(tmp_path / "logs", tmp_path / "home", *times)
    assert len(anew) >= 7
    assert anew == computed(tmp_path / "logs", tmp_path / "whole", *times)


def test_a_release_may_bring_a_column_and_be_taken_back(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = catalog.tables()
    name, amid = "core_telemetry__daily", "    COUNT(*) AS n,"
    assert amid in older[name].sql
    more = older[name].sql.replace(amid, f"    7 AS lucky_n, -- one more column\n{amid}")
    words = older[name].columns | {"lucky_n": "one more column", "n": "other words"}
    newer = {**older, name: dataclasses.replace(older[name], sql=more, columns=words)}
    write(tmp_path / "logs", desk.trades[:200])
    last_ms = desk.trades[199].close_ms
    written = []
    for number, tables in enumerate((older, newer, older)):
        monkeypatch.setattr(catalog, "tables", lambda tables=tables: tables)
        at_ms = last_ms + 1 + number
        if number:
            report = refresh(
                settings_over(tmp_path / "logs", tmp_path / "home"), as_of_ms=at_ms, now_ms=at_ms
            )
            assert report.outcome == "published", [c.examples for c in report.built.failed]
        else:  # what is there before
            computed(tmp_path / "logs", tmp_path / "home", at_ms, at_ms, is_core_alone=True)
        rows = Lake(tmp_path / "home/lake").open(name).to_pyarrow_table()
        lucky = set(rows["lucky_n"].to_pylist()) if number else set()
        rows = rows.select([c for c in rows.column_names if c not in ("lucky_n", "definition")])
        written.append((lucky, rows))
    assert [lucky for lucky, _ in written] == [set(), {7}, {None}]
    first, *others = (rows.sort_by([(c, "ascending") for c in GRAIN]) for _, rows in written)
    assert all(rows.equals(first) for rows in others)


def test_a_column_that_a_release_brings_is_there_for_the_first_traces(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = catalog.tables()
    name = "core_telemetry__daily"
    sql = older[name].sql.replace("    COUNT(*) AS n,", "    7 AS lucky_n,\n    COUNT(*) AS n,")
    words = older[name].columns | {"lucky_n": "one more column"}
    newer = {**older, name: dataclasses.replace(older[name], sql=sql, columns=words)}
    append(tmp_path / "logs", tangled_lines(15, attempts=5, days=1))
    first_ms = desk.trades[0].close_ms
    for number, tables in enumerate((older, newer)):
        monkeypatch.setattr(catalog, "tables", lambda tables=tables: tables)
        if number:
            write(tmp_path / "logs", desk.trades[:50])
        at_ms = first_ms + 40 * DAY_MS + number
        computed(tmp_path / "logs", tmp_path / "home", at_ms, at_ms, is_core_alone=True)
    rows = Lake(tmp_path / "home/lake").open(name).to_pyarrow_table()
    assert set(rows["lucky_n"].to_pylist()) == {7}


def test_files_answer_as_the_snapshot_does(desk: Desk) -> None:
    analyzer = AccuracyAnalyzer()
    known = [t for t in desk.trades if t.close_ms <= desk.as_of_ms]
    write(desk.root / "known", known)
    found = analyzer.tables(analyzer.load_traces(desk.root / "known"))["feat_telemetry__accuracy"]
    expected = {
        (row["strategy"], row["symbol"]): row
        for row in desk.rows("feat_telemetry__accuracy")
        if row["window"] == "all"
    }
    for row in found:
        if row["window"] == "all":
            of_lake = {**expected[row["strategy"], row["symbol"]], "pending_n": 0}
            assert row == of_lake


def test_trades_that_close_after_as_of_are_pending(desk: Desk) -> None:
    row = next(
        r
        for r in desk.rows("feat_telemetry__accuracy")
        if (r["strategy"], r["symbol"], r["window"]) == ("*", "*", "all")
    )
    open_then = [
        t for t in desk.trades if t.close_ms > desk.as_of_ms and t.entry_ms <= desk.as_of_ms
    ]
    assert row["pending_n"] == len(open_then) > 0
    assert row["n"] + len([t for t in desk.trades if t.close_ms > desk.as_of_ms]) == len(
        desk.trades
    )
