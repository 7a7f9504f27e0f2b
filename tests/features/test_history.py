"""History: every publication once, and a moment sees what was CURRENT then, never more."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from features import history, history_store, publications
from features.history_store import HistoryError
from features.lake import Lake
from features.snapshot import DATABASE, MANIFEST, Store

T0 = 1_762_128_000_000  # 2025-11-03T00:00:00Z
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
SCORES = "feat_symbol__performance.sharpe_7d"
HOURLY = "feat_execution__hourly_expectancy.exp_shrunk"

Values = Mapping[str, float | None]


@dataclass
class Desk:
    """A data root whose snapshots hold a Sharpe ratio a symbol, and one hour's expectancy."""

    home: Path
    made: int = 0
    databases: dict[str, bytes] = field(default_factory=dict)  # by content: making one takes long

    @property
    def store(self) -> Store:
        return Store(self.home / "snapshots")

    @property
    def lake(self) -> Lake:
        return Lake(self.home / "lake")

    def build(self, values: Values, as_of_ms: int, more: str = "") -> str:
        """Lay down a whole snapshot; returns its id."""
        self.made += 1
        moment = dt.datetime.fromtimestamp(as_of_ms / 1000, tz=dt.UTC)
        snapshot_id = f"{moment:%Y%m%dT%H%M%SZ}-{self.made:08x}"
        folder = self.store.path(snapshot_id)
        folder.mkdir(parents=True)
        path, content = folder / DATABASE, f"{values}{more}"
        if content not in self.databases:
            with duckdb.connect(str(path)) as con:
                for name, rows in tables_of(values).items():
                    con.register("rows", rows)
                    extra = more if name == "feat_symbol__performance" else ""
                    con.execute(f"CREATE TABLE {name} AS SELECT *{extra} FROM rows")
            self.databases[content] = path.read_bytes()
        path.write_bytes(self.databases[content])
        manifest = {"snapshot_id": snapshot_id, "sequence": self.made, "as_of_ms": as_of_ms}
        (folder / MANIFEST).write_text(json.dumps(manifest))
        return snapshot_id

    def publish(self, values: Values, as_of_ms: int, at_ms: int, more: str = "") -> str:
        snapshot_id = self.build(values, as_of_ms, more)
        self.store.publish(snapshot_id, now_ms=at_ms, by="ann")
        return snapshot_id

    def keep(self) -> int:
        return history_store.catch_up(self.lake, self.store)

    def ask(
        self,
        *asked: tuple[str, int],
        features: tuple[str, ...] = (SCORES,),
        max_age_ms: int | None = None,
        **more: Any,
    ) -> list[dict[str, Any]]:
        entities = pa.table(
            {
                "symbol": pa.array([symbol for symbol, _ in asked], pa.string()),
                "timestamp_ms": pa.array([moment for _, moment in asked], pa.int64()),
            }
        )
        found = history.get_historical_features(
            entities, features, lake_root=self.lake.root, max_age_ms=max_age_ms, **more
        )
        assert isinstance(found, pa.Table)
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows

    def said(self, *asked: tuple[str, int], **more: Any) -> list[tuple[Any, str]]:
        """Return (Sharpe ratio, status) of each (symbol, moment)."""
        return [(row[SCORES], row["status"]) for row in self.ask(*asked, **more)]


def tables_of(values: Values) -> dict[str, pa.Table]:
    names = pa.array(list(values), pa.string())
    numbers = pa.array(list(values.values()), pa.float64())
    hours = pa.array([3] * len(values), pa.int32())
    return {
        "feat_symbol__performance": pa.table({"symbol": names, "sharpe_7d": numbers}),
        "feat_execution__hourly_expectancy": pa.table(
            {"symbol": names, "hour_utc": hours, "exp_shrunk": numbers}
        ),
    }


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def kept(desk: Desk) -> list[tuple[str, int]]:
    """Return (snapshot, available_ms) of every publication in the history, in order."""
    files = [
        f.path
        for f in desk.lake.open(history_store.TABLE).data_files()
        if f.partition["feature_table"] == history_store.PUBLICATIONS
    ]
    with duckdb.connect() as con:
        return con.sql(
            "SELECT snapshot_id, available_ms"
            f" FROM read_parquet({files}, hive_partitioning = false) ORDER BY publication_n"
        ).fetchall()


# -- what a moment sees ----------------------------------------------------------------------------


def test_a_moment_sees_the_snapshot_that_was_current_then(desk: Desk) -> None:
    first = desk.publish({"BTCUSDT": 1.0}, T0, T0 + 7)
    desk.publish({"BTCUSDT": 2.0}, T0 + HOUR, T0 + HOUR + 7)
    assert desk.keep() == 2
    rows = desk.ask(
        ("BTCUSDT", T0 + 6),  # a millisecond before the first was published -> unknown
        ("BTCUSDT", T0 + 7),  # the very millisecond -> known
        ("BTCUSDT", T0 + HOUR + 6),  # as of the hour, not published yet -> still the first
        ("BTCUSDT", T0 + HOUR + 7),
    )
    assert [(row[SCORES], row["status"]) for row in rows] == [
        (None, "unknown"),
        (1.0, "ok"),
        (1.0, "ok"),
        (2.0, "ok"),
    ]
    assert rows[2]["snapshot_id"] == first
    assert (rows[2]["as_of_ms"], rows[2]["available_ms"]) == (T0, T0 + 7)
    assert rows[2]["age_ms"] == HOUR + 6
    assert rows[2]["availability"] == "recorded"


def test_rows_come_back_in_their_order_with_their_own_columns(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0, "ETHUSDT": 5.0}, T0, T0)
    desk.keep()
    entities = pl.DataFrame(
        {
            "order_id": [3, 1, 2, 1],
            "symbol": ["ETHUSDT", "BTCUSDT", "ETHUSDT", "BTCUSDT"],
            "timestamp": [
                dt.datetime(2025, 11, 3, 0, 0, 5, tzinfo=dt.UTC),
                dt.datetime(2025, 11, 2, 0, 0, 5, tzinfo=dt.UTC),
                dt.datetime(2025, 11, 3, 0, 0, 1, tzinfo=dt.UTC),
                dt.datetime(2025, 11, 3, 0, 0, 0, tzinfo=dt.UTC),
            ],
        }
    )
    found = history.get_historical_features(
        entities, [SCORES], lake_root=desk.lake.root, max_age_ms=None
    )
    assert isinstance(found, pl.DataFrame)
    assert found["order_id"].to_list() == [3, 1, 2, 1]
    assert found[SCORES].to_list() == [5.0, None, 5.0, 1.0]
    assert found["timestamp"].equals(entities["timestamp"])


def test_part_of_a_millisecond_before_publication_is_before_it(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0}, T0, T0 + 7)
    desk.keep()
    entities = pa.table(
        {
            "symbol": ["BTCUSDT", "BTCUSDT"],
            "timestamp": pa.array(
                [T0 * 1000 + 6_999, T0 * 1000 + 7_000], pa.timestamp("us", "UTC")
            ),
        }
    )
    found = history.get_historical_features(
        entities, [SCORES], lake_root=desk.lake.root, max_age_ms=None
    )
    assert isinstance(found, pa.Table)
    assert found["status"].to_pylist() == ["unknown", "ok"]


def test_age_is_counted_from_as_of_and_limits_what_is_given(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0}, T0, T0 + MINUTE)
    desk.keep()
    rows = desk.ask(
        ("BTCUSDT", T0 + 15 * MINUTE),  # as old as allowed -> ok
        ("BTCUSDT", T0 + 15 * MINUTE + 1),  # a millisecond older -> no value, but which and how old
        max_age_ms=15 * MINUTE,
    )
    assert [(row[SCORES], row["status"]) for row in rows] == [(1.0, "ok"), (None, "too_old")]
    assert rows[1]["age_ms"] == 15 * MINUTE + 1
    assert rows[1]["snapshot_id"] is not None


def test_a_symbol_that_left_is_unknown_though_an_older_snapshot_had_it(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0, "ETHUSDT": 5.0}, T0, T0)
    desk.publish({"BTCUSDT": 2.0}, T0 + HOUR, T0 + HOUR)
    desk.publish({}, T0 + 2 * HOUR, T0 + 2 * HOUR)  # a snapshot without any row
    desk.keep()
    assert desk.said(
        ("ETHUSDT", T0 + HOUR - 1), ("ETHUSDT", T0 + HOUR), ("BTCUSDT", T0 + 2 * HOUR)
    ) == [(5.0, "ok"), (None, "unknown"), (None, "unknown")]


def test_a_rollback_is_a_publication_too(desk: Desk) -> None:
    first = desk.publish({"BTCUSDT": 1.0}, T0, T0)
    desk.publish({"BTCUSDT": 9.0}, T0 + HOUR, T0 + HOUR)
    desk.keep()
    desk.store.rollback(None, now_ms=T0 + HOUR + MINUTE, by="ann", reason="wrong fees")
    assert desk.keep() == 1
    rows = desk.ask(("BTCUSDT", T0 + HOUR), ("BTCUSDT", T0 + HOUR + MINUTE))
    assert [row[SCORES] for row in rows] == [9.0, 1.0]
    assert (rows[1]["snapshot_id"], rows[1]["as_of_ms"]) == (first, T0)
    assert rows[1]["available_ms"] == T0 + HOUR + MINUTE


def test_where_a_clock_was_set_back_the_order_of_publication_counts(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0}, T0, T0 + 10 * DAY)  # a clock ten days ahead
    desk.publish({"BTCUSDT": 2.0}, T0 + HOUR, T0 + HOUR)  # set right
    desk.keep()
    assert desk.said(("BTCUSDT", T0 + HOUR - 1), ("BTCUSDT", T0 + HOUR), ("BTCUSDT", T0 + 11 * DAY))
    assert desk.said(("BTCUSDT", T0 + HOUR - 1)) == [(None, "unknown")]
    assert desk.said(("BTCUSDT", T0 + 11 * DAY)) == [(2.0, "ok")]


def test_hour_tables_answer_for_the_moments_hour_or_the_one_named(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.5}, T0, T0)  # its expectancy is of hour 3
    desk.keep()
    asked = (("BTCUSDT", T0 + 3 * HOUR - 1), ("BTCUSDT", T0 + 3 * HOUR))
    rows = desk.ask(*asked, features=(HOURLY, SCORES))
    assert [(row[HOURLY], row[SCORES], row["status"]) for row in rows] == [
        (None, 1.5, "ok"),  # the other table had a row -> ok
        (1.5, 1.5, "ok"),
    ]
    assert [row["status"] for row in desk.ask(*asked, features=(HOURLY,))] == ["unknown", "ok"]
    named = desk.ask(*asked, features=(HOURLY,), keys={"hour_utc": 3})
    assert [row[HOURLY] for row in named] == [1.5, 1.5]


def test_moments_and_symbols_that_are_null_are_unknown(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0}, T0, T0)
    desk.keep()
    entities = pa.table(
        {
            "symbol": pa.array(["BTCUSDT", None], pa.string()),
            "timestamp_ms": pa.array([None, T0], pa.int64()),
        }
    )
    found = history.get_historical_features(
        entities, [SCORES], lake_root=desk.lake.root, max_age_ms=None
    )
    assert isinstance(found, pa.Table)
    assert found["status"].to_pylist() == ["unknown", "unknown"]


def test_without_any_history_everything_is_unknown(desk: Desk) -> None:
    assert desk.said(("BTCUSDT", T0)) == [(None, "unknown")]
    assert desk.ask() == []


@pytest.mark.parametrize(
    ("features", "columns", "more", "message"),
    [
        (("feat_symbol__performance.nope",), {}, {}, "no feature.*sharpe_7d"),
        (("feat_nope.x",), {}, {}, "there are: feat_"),
        (("feat_ops__source_freshness.lag_s",), {}, {}, "row per source, symbol: name one"),
        ((SCORES,), {}, {"keys": {"model": "v5.10"}}, "has a key 'model'"),
        ((SCORES,), {"status": ["x"]}, {}, "column status, which the answer needs"),
        ((SCORES,), {"timestamp_ms": [1.5]}, {}, "timestamp_ms is double"),
        ((SCORES,), {"timestamp_ms": None}, {}, "need a column timestamp_ms"),
        ((SCORES,), {"symbol": None}, {}, "need a column symbol"),
    ],
)
def test_what_cannot_be_answered_is_named(
    desk: Desk,
    features: tuple[str, ...],
    columns: dict[str, Any],
    more: dict[str, Any],
    message: str,
) -> None:
    given_columns: dict[str, Any] = {"symbol": ["BTCUSDT"], "timestamp_ms": [T0], **columns}
    entities = pa.table({n: v for n, v in given_columns.items() if v is not None})
    with pytest.raises(HistoryError, match=message):
        history.get_historical_features(
            entities, features, lake_root=desk.lake.root, max_age_ms=None, **more
        )


# -- what nobody published -------------------------------------------------------------------------


def test_a_backfill_is_known_a_minute_after_its_as_of_and_says_that_it_is_simulated(
    desk: Desk,
) -> None:
    rows = tables_of({"BTCUSDT": 4.0})
    assert history.append(desk.lake, rows, snapshot_id="back", as_of_ms=T0)
    assert not history.append(desk.lake, rows, snapshot_id="back", as_of_ms=T0)  # again -> once
    found = desk.ask(("BTCUSDT", T0 + 59_999), ("BTCUSDT", T0 + 60_000))
    assert [(row[SCORES], row["availability"]) for row in found] == [
        (None, None),
        (4.0, "simulated"),
    ]
    assert len(kept(desk)) == 1


def test_a_backtest_gives_its_own_clock(desk: Desk) -> None:
    rows = tables_of({"BTCUSDT": 4.0})
    history.append(desk.lake, rows, snapshot_id="a", as_of_ms=T0, available_ms=T0 + 5)
    assert desk.said(("BTCUSDT", T0 + 4), ("BTCUSDT", T0 + 5)) == [(None, "unknown"), (4.0, "ok")]


def test_what_was_recorded_goes_before_what_is_simulated(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0}, T0, T0)
    desk.keep()
    later = tables_of({"BTCUSDT": 4.0})
    history.append(desk.lake, later, snapshot_id="b", as_of_ms=T0 + HOUR, available_ms=T0 + HOUR)
    moment = ("BTCUSDT", T0 + HOUR + MINUTE)
    assert desk.said(moment) == [(1.0, "ok")]
    assert desk.said(moment, max_age_ms=MINUTE) == [(4.0, "ok")]  # the recorded one is too old
    assert desk.said(moment, max_age_ms=MINUTE, simulated=False) == [(None, "too_old")]


# -- keeping -------------------------------------------------------------------------------------


def test_a_publication_is_kept_once_however_often_it_is_looked_for(desk: Desk) -> None:
    ids = [desk.publish({"BTCUSDT": 1.0}, T0 + n, T0 + n) for n in range(3)]
    assert [desk.keep(), desk.keep()] == [3, 0]
    ids.append(desk.publish({"BTCUSDT": 1.0}, T0 + 9, T0 + 9))
    assert [desk.keep(), desk.keep()] == [1, 0]
    assert [name for name, _ in kept(desk)] == ids


def test_many_publications_to_catch_up_become_few_commits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_store, "_BATCH", 3)
    for n in range(7):
        desk.publish({"BTCUSDT": float(n)}, T0 + n * 20 * DAY, T0 + n * 20 * DAY)  # several months
    before = desk.keep()
    assert (before, len(kept(desk))) == (7, 7)
    asked = [("BTCUSDT", T0 + n * 20 * DAY) for n in range(7)]
    assert [value for value, _ in desk.said(*asked)] == [float(n) for n in range(7)]


def test_history_outlives_the_snapshot(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0}, T0, T0)
    desk.keep()
    for path in desk.store.path(desk.store.resolve(None)).iterdir():
        path.unlink()
    assert desk.said(("BTCUSDT", T0)) == [(1.0, "ok")]


def test_a_damaged_snapshot_hides_its_predecessor_and_stops_nothing(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0}, T0, T0)
    broken = desk.publish({"BTCUSDT": 2.0}, T0 + HOUR, T0 + HOUR)
    desk.store.database(broken).write_bytes(b"no database")
    desk.publish({"BTCUSDT": 3.0}, T0 + 2 * HOUR, T0 + 2 * HOUR)
    assert desk.keep() == 3
    asked = [("BTCUSDT", T0 + n * HOUR) for n in range(3)]
    assert desk.said(*asked) == [(1.0, "ok"), (None, "unknown"), (3.0, "ok")]


def test_a_publication_that_was_killed_before_current_moved_never_counts(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0}, T0, T0)
    current = (desk.store.root / "CURRENT").read_text()
    lost = desk.publish({"BTCUSDT": 2.0}, T0 + HOUR, T0 + HOUR)
    (desk.store.root / "CURRENT").write_text(current)  # as the kill left it
    assert desk.keep() == 1
    assert desk.said(("BTCUSDT", T0 + HOUR)) == [(1.0, "ok")]
    desk.publish({"BTCUSDT": 3.0}, T0 + 2 * HOUR, T0 + 2 * HOUR)
    assert desk.keep() == 1
    assert desk.said(("BTCUSDT", T0 + HOUR), ("BTCUSDT", T0 + 2 * HOUR)) == [
        (1.0, "ok"),
        (3.0, "ok"),
    ]
    assert lost not in [name for name, _ in kept(desk)]


def test_new_columns_are_taken_and_are_null_before(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0}, T0, T0)
    desk.keep()
    desk.publish({"BTCUSDT": 2.0}, T0 + HOUR, T0 + HOUR, more=", 7::INTEGER AS win_rate")
    desk.keep()
    desk.publish({"BTCUSDT": 3.0}, T0 + 2 * HOUR, T0 + 2 * HOUR)
    desk.keep()
    name = "feat_symbol__performance.win_rate"
    asked = [("BTCUSDT", T0 + n * HOUR) for n in range(3)]
    assert [row[name] for row in desk.ask(*asked, features=(name,))] == [None, 7, None]


def test_a_column_that_changes_its_type_is_refused_by_name(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0}, T0, T0, more=", 'high' AS regime")
    desk.keep()
    desk.publish({"BTCUSDT": 2.0}, T0 + 1, T0 + 1, more=", 7 AS regime")
    with pytest.raises(HistoryError, match=r"performance\.regime is int64 and stands .* string"):
        desk.keep()


def test_a_column_named_as_the_historys_own_is_refused(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0}, T0, T0, more=", 5 AS available_ms")
    with pytest.raises(HistoryError, match=r"performance\.available_ms has a name"):
        desk.keep()


@pytest.mark.parametrize("cut", [slice(0, 1), slice(0, 2)])
def test_another_log_of_publications_is_named(desk: Desk, cut: slice) -> None:
    for n in range(2):
        desk.publish({"BTCUSDT": 1.0}, T0 + n, T0 + n)
    desk.keep()
    log = desk.store.root / "published.jsonl"
    lines = log.read_text().splitlines(keepends=True)[cut]  # shorter, or as long but moved
    log.write_text("\n" + "".join(lines))
    with pytest.raises(HistoryError, match="is not the log whose first"):
        desk.keep()


def test_a_log_of_publications_that_is_gone_is_named(desk: Desk) -> None:
    desk.publish({"BTCUSDT": 1.0}, T0, T0)
    desk.keep()
    (desk.store.root / "published.jsonl").unlink()
    with pytest.raises(HistoryError, match="is not the log whose first"):
        desk.keep()


def test_a_summary_counts_publications_and_those_without_rows(desk: Desk) -> None:
    assert history_store.summary(desk.lake) == history_store.Summary(0, None, 0)
    desk.publish({"BTCUSDT": 1.0}, T0, T0)
    broken = desk.publish({"BTCUSDT": 2.0}, T0 + HOUR, T0 + HOUR)
    desk.store.database(broken).unlink()
    desk.keep()
    assert history_store.summary(desk.lake) == history_store.Summary(2, T0, 1)


def test_whole_months_are_forgotten(desk: Desk) -> None:
    for n in range(4):
        desk.publish({"BTCUSDT": float(n)}, T0 + n * 30 * DAY, T0 + n * 30 * DAY)
        desk.keep()
    assert history_store.forget(desk.lake, T0) == 0
    # Published on the 3rd of November and of December, the 2nd of January, the 1st of February.
    assert history_store.forget(desk.lake, T0 + 61 * DAY) > 0  # 3rd of January
    asked = [("BTCUSDT", T0 + n * 30 * DAY) for n in range(4)]
    assert [value for value, _ in desk.said(*asked)] == [None, None, 2.0, 3.0]
    desk.publish({"BTCUSDT": 9.0}, T0 + 200 * DAY, T0 + 200 * DAY)
    assert desk.keep() == 1  # and what was kept is still known to have been


# -- no look-ahead ---------------------------------------------------------------------------------

OFFSETS = st.integers(-3 * HOUR, 5 * HOUR)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
ROWS = st.sampled_from(
    (
        {},
        {"BTCUSDT": 1.0},
        {"ETHUSDT": 2.0},
        {"BTCUSDT": 3.0, "ETHUSDT": None},
        {"ETHUSDT": 4.0, "BTCUSDT": 5.0},
    )
)
DATABASES: dict[str, bytes] = {}


@st.composite
def stories(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Draw what a desk does, in order: publications with any delay, rollbacks, kills, backfills."""
    story: list[tuple[Any, ...]] = []
    clock = T0
    for _ in range(draw(st.integers(1, 7))):
        clock += draw(st.sampled_from((0, 1, MINUTE, HOUR, -MINUTE)))  # also set back
        kind = draw(
            st.sampled_from(("publish", "publish", "publish", "rollback", "killed", "append"))
        )
        as_of_ms = clock + draw(OFFSETS)
        story.append(
            (kind, draw(ROWS), as_of_ms, clock, draw(st.integers(0, 5)), draw(st.booleans()))
        )
    return story


ONE, OTHER = {"BTCUSDT": 1.0}, {"BTCUSDT": 3.0, "ETHUSDT": None}


STORY: dict[str, st.SearchStrategy[Any]] = {
    "story": stories(),
    "moments": st.lists(
        st.tuples(st.sampled_from(SYMBOLS), st.integers(-HOUR, 8 * HOUR)), min_size=1, max_size=20
    ),
    "max_age_ms": st.sampled_from((None, MINUTE, HOUR, 4 * HOUR)),
}


# Each asks up to twenty questions of up to seven events; the rarest orders are written down.
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(**STORY)
@example(  # two simulated at one moment: the later of them
    story=[("append", ONE, T0, T0, 0, True), ("append", OTHER, T0, T0, 0, True)],
    moments=[("BTCUSDT", 0)],
    max_age_ms=None,
)
@example(  # as old as it may be, beside a younger simulated one
    story=[("publish", ONE, T0, T0, 0, True), ("append", OTHER, T0 + 1, T0 + 1, 0, True)],
    moments=[("BTCUSDT", HOUR)],
    max_age_ms=HOUR,
)
@example(  # too old, beside a simulated one that is as old as it may be
    story=[("publish", ONE, T0 - 1, T0, 0, True), ("append", OTHER, T0, T0, 0, True)],
    moments=[("BTCUSDT", HOUR)],
    max_age_ms=HOUR,
)
def test_no_row_that_became_available_later_is_ever_returned(
    tmp_path_factory: pytest.TempPathFactory,
    story: list[tuple[Any, ...]],
    moments: list[tuple[str, int]],
    max_age_ms: int | None,
) -> None:
    judge(tmp_path_factory.mktemp("desk"), story, moments, max_age_ms)


@pytest.mark.soak
@settings(
    max_examples=500,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(**STORY)
def test_no_row_of_many_more_stories_became_available_later(
    tmp_path_factory: pytest.TempPathFactory,
    story: list[tuple[Any, ...]],
    moments: list[tuple[str, int]],
    max_age_ms: int | None,
) -> None:
    judge(tmp_path_factory.mktemp("desk"), story, moments, max_age_ms)


def judge(
    home: Path,
    story: list[tuple[Any, ...]],
    moments: list[tuple[str, int]],
    max_age_ms: int | None,
) -> None:
    """Compare what the history answers after a story with a plain search of its events."""
    desk = Desk(home, databases=DATABASES)
    events = enact(desk, story)
    asked = [(symbol, T0 + offset) for symbol, offset in moments]
    for row, (symbol, moment) in zip(desk.ask(*asked, max_age_ms=max_age_ms), asked, strict=True):
        assert row["available_ms"] is None or row["available_ms"] <= moment
        event = known_at(events, moment, max_age_ms)
        told = (row[SCORES], row["snapshot_id"], row["available_ms"], row["status"])
        if event is None:
            assert told == (None, None, None, "unknown")
            continue
        is_fresh = max_age_ms is None or moment - event.as_of_ms <= max_age_ms
        has_row = symbol in event.values
        status = ("ok" if has_row else "unknown") if is_fresh else "too_old"
        value = event.values.get(symbol) if is_fresh else None
        assert told == (value, event.snapshot_id, event.available_ms, status)


@dataclass(frozen=True)
class Event:
    """What the story made known, for the plain search."""

    snapshot_id: str
    values: Values
    as_of_ms: int
    available_ms: int
    is_recorded: bool


def enact(desk: Desk, story: list[tuple[Any, ...]]) -> list[Event]:
    built: dict[str, tuple[Values, int]] = {}
    events: list[Event] = []
    for number, (kind, values, as_of_ms, clock, choice, keeps) in enumerate(story):
        if kind == "append":
            name = f"simulated-{number}"
            history.append(
                desk.lake,
                tables_of(values),
                snapshot_id=name,
                as_of_ms=as_of_ms,
                available_ms=clock,
            )
            events.append(Event(name, values, as_of_ms, clock, False))
            continue
        if kind == "rollback" and built:
            name = sorted(built)[choice % len(built)]
        else:
            name = desk.build(values, as_of_ms)
            built[name] = (values, as_of_ms)
        before = desk.store.current()
        desk.store.publish(name, now_ms=clock, by="ann")
        if kind == "killed" and before is not None and before != name:
            (desk.store.root / "CURRENT").write_text(before + "\n")
        else:
            events.append(Event(name, *built[name], clock, True))
        if keeps:
            desk.keep()
    desk.keep()
    return events


def known_at(events: list[Event], moment: int, max_age_ms: int | None) -> Event | None:
    """Search event by event: the last recorded, unless only a simulated one is young enough."""
    recorded = simulated = None
    for event in events:
        if event.available_ms > moment:
            continue
        if event.is_recorded:
            recorded = event
        elif simulated is None or event.available_ms >= simulated.available_ms:
            simulated = event
    for known in (recorded, simulated):
        if known and (max_age_ms is None or moment - known.as_of_ms <= max_age_ms):
            return known
    return recorded or simulated


def test_publications_at_a_moment_are_those_of_the_history(desk: Desk) -> None:
    assert publications.at(desk.store.root, T0) is None
    ids = [desk.publish({"BTCUSDT": 1.0}, T0 + n * HOUR, T0 + n * HOUR) for n in range(2)]
    desk.store.rollback(None, now_ms=T0 + 3 * HOUR, by="ann", reason="test")
    found = [publications.at(desk.store.root, T0 + n * HOUR) for n in (-1, 0, 1, 2, 3)]
    assert [each and each.snapshot_id for each in found] == [None, ids[0], ids[1], ids[1], ids[0]]
