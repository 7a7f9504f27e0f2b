"""A build: what identifies it, what it leaves out, and the comments of features.duckdb."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from features import build, catalog, params
from features.engines import duckdb as engine
from features.lake import Lake
from features.memory import Before
from features.reproduce import rebuild_snapshot
from features.settings import Freshness, Settings
from features.snapshot import Store, open_snapshot
from pipelines.intake import decode
from pipelines.intake.kinds import KINDS, RAW_TABLES
from pipelines.refresh import Refresh, refresh
from tests.features.sql import literal
from tests.loads import DAY_MS, START_MS, append, router_line, settings_over, tangled_lines

FEATURES = [table.name for table in catalog.computed()]
CORE = [
    "core_execution__outcomes",
    "core_execution__hourly",
    "core_telemetry__daily",
    "core_telemetry__paths",
]
AS_OF_MS = START_MS + 6 * DAY_MS


@contextmanager
def spied_threads() -> Iterator[dict[str, set[int | None]]]:
    """Yield the threads that engines take meanwhile, by who opens them."""
    asked: dict[str, set[int | None]] = {}

    def spied(place: str, connect: Callable[..., Any]) -> Callable[..., Any]:
        def connected(*given: Any, **named: Any) -> Any:
            con = connect(*given, **named)
            threads = con.execute("SELECT current_setting('threads')").fetchone()
            asked.setdefault(place, set()).update(threads)
            return con

        return connected

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "connect", spied("engine", engine.connect))
        patch.setattr(decode, "connect", spied("decode", decode.connect))
        yield asked


@pytest.fixture(scope="module")
def asked_threads() -> dict[str, set[int | None]]:
    """Return the threads that engines took when the snapshot was built with three."""
    return {}


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, asked_threads: dict[str, set[int | None]]
) -> tuple[Settings, Path]:
    """Publish one snapshot over a small tangled load; returns its settings and its database."""
    root = tmp_path_factory.mktemp("built")
    append(root / "logs", tangled_lines(7, attempts=25))
    settings = settings_over(root / "logs", root / "home")
    on_three = settings_over(root / "logs", root / "home", threads=3)
    with spied_threads() as asked:
        report = refresh(on_three, as_of_ms=AS_OF_MS, now_ms=AS_OF_MS, publish=True)
    asked_threads |= asked
    store = Store(settings.snapshots_root)
    current = store.resolve(None)
    assert current is not None, report
    return settings, store.database(current)


# --------------------------------------------------------------------------------------- comments


def comments_of(database: Path, name: str) -> tuple[str, dict[str, str]]:
    """Return the comment of a table or view of a snapshot, and those of its columns."""
    with open_snapshot(database) as con:
        ((text,),) = con.sql(
            "SELECT comment FROM duckdb_tables() WHERE table_name = $name"
            " UNION ALL SELECT comment FROM duckdb_views() WHERE view_name = $name",
            params={"name": name},
        ).fetchall()
        columns = con.sql(
            "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = $name",
            params={"name": name},
        ).fetchall()
        held = con.sql(f"FROM {name} LIMIT 0").columns
    assert [column for column, _ in columns] == held
    return text, dict(columns)


@pytest.mark.parametrize("name", FEATURES)
def test_feature_tables_carry_the_comments_of_their_files(
    built: tuple[Settings, Path], name: str
) -> None:
    table = catalog.tables()[name]
    assert comments_of(built[1], name) == (table.comment, table.columns)


@pytest.mark.parametrize("name", CORE)
def test_core_views_carry_the_comments_of_their_files(
    built: tuple[Settings, Path], name: str
) -> None:
    table = catalog.tables()[name]
    assert comments_of(built[1], name) == (table.comment, table.columns)


@pytest.mark.parametrize("name", RAW_TABLES)
def test_raw_views_carry_the_comments_of_their_kind(
    built: tuple[Settings, Path], name: str
) -> None:
    text, columns = comments_of(built[1], name)
    (comment,) = {kind.comment for kind in KINDS if kind.table == name}
    assert text == comment
    assert all(columns.values())


def test_snapshot_holds_the_feature_tables_and_views_over_the_lake(
    built: tuple[Settings, Path],
) -> None:
    with open_snapshot(built[1]) as con:
        tables = {row[0] for row in con.sql("SELECT table_name FROM duckdb_tables()").fetchall()}
        views = {
            row[0]
            for row in con.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        }
        assert tables == {*FEATURES, "previous_alerts", "previous_memory"}
        assert views == {*RAW_TABLES, *CORE}
        times = [
            kind
            for view in sorted(views)
            for kind in con.sql(f"FROM {view} LIMIT 0").types
            if str(kind).startswith("TIMESTAMP")
        ]
    # the hour of a time with a zone would depend on the reader
    assert {str(kind) for kind in times} == {"TIMESTAMP"}


def test_lake_schema_carries_comments(built: tuple[Settings, Path]) -> None:
    lake = Lake(built[0].lake_root)
    for name in CORE:
        metadata = lake.open(name).metadata()
        assert metadata.description == catalog.tables()[name].comment


# --------------------------------------------------------------------------------------- identity


def an_input(name: str, digest: str = "aa", rows: int = 3, version: int = 1) -> build.Input:
    return build.Input(table=name, version=version, rows=rows, digest=digest, files=())


def a_plan(**change: Any) -> build.Plan:
    plan = literal.plan(
        inputs={
            "raw_router__events": an_input("raw_router__events"),
            "core_execution__outcomes": an_input("core_execution__outcomes"),
        },
        freshness={"raw_router__events": Freshness()},
    )
    return replace(plan, **change)


def test_equal_plans_have_one_identity() -> None:
    assert a_plan().identity == a_plan().identity
    assert len(a_plan().identity) == 8


@pytest.mark.parametrize(
    "change",
    [
        {"as_of_ms": literal.T + 1},
        {"before": Before("read", "20251105T000000Z-00000000", "aa")},
        {"before": Before("lost", "20251105T000000Z-00000000")},
        {"code": "0.1.0+other"},
        {"environment": "live"},
        {"window_days": 3},
        {"symbol_key": "venue_symbol"},
        {"equity_usd": 100.0},
        {"atr_bar_interval": "1h"},
        {"params": params.load({"score_model": "v5.11"})},
        {"params": params.load({"v511_fee": [[5.0, 0.0], [21.0, -0.3]]})},
        {"params": params.load({"winsor_bps": 60.0})},
        {"freshness": {"raw_router__events": Freshness(required=True)}},
        {"freshness": {"raw_router__events": Freshness(max_silence_s=60)}},
        {"inputs": {"raw_router__events": an_input("raw_router__events", digest="bb")}},
        {"inputs": {"raw_router__events": an_input("raw_router__events", rows=4)}},
    ],
)
def test_whatever_decides_a_number_decides_the_identity(change: dict[str, Any]) -> None:
    assert a_plan(**change).identity != a_plan().identity


@pytest.mark.parametrize(
    "inputs",
    [
        # a compaction writes a new version of the same content
        {"raw_router__events": an_input("raw_router__events", version=9)},
        # core tables follow from raw ones: however often they were rebuilt
        {
            "raw_router__events": an_input("raw_router__events"),
            "core_execution__outcomes": an_input("core_execution__outcomes", digest="zz"),
        },
    ],
)
def test_what_decides_no_number_leaves_the_identity(inputs: dict[str, build.Input]) -> None:
    assert a_plan(inputs=inputs).identity == a_plan().identity


def test_a_parameter_written_as_another_type_is_the_same_plan() -> None:
    assert a_plan(params=params.load({"fresh_mark_age_ms": 5000.0})).identity == a_plan().identity


def test_every_value_that_a_person_may_change_is_shown() -> None:
    shown = a_plan().parameters()
    assert set(params.definitions()) <= set(shown)
    assert (shown["environment"], shown["window_days"]) == ("paper", 7)
    assert shown["freshness.raw_router__events.max_silence_s"] == 86_400


def test_code_version_names_the_release_and_the_files() -> None:
    release, _, digest = build.code_version().partition("+")
    assert release.count(".") == 2
    assert len(digest) == 12


# ---------------------------------------------------------------------------------- what is built


def test_engines_of_a_refresh_and_a_rebuild_take_the_threads_of_the_settings(
    built: tuple[Settings, Path], asked_threads: dict[str, set[int | None]], tmp_path: Path
) -> None:
    settings, database = built
    assert asked_threads == {"engine": {3}, "decode": {3}}
    on_three = settings.model_copy(update={"threads": 3})
    with spied_threads() as asked:
        rebuild_snapshot(
            Store(settings.snapshots_root), on_three, database.parent.name, tmp_path / "scratch"
        )
    assert asked == {"engine": {3}}


def test_a_long_statement_prints_no_bar_among_what_a_program_prints() -> None:
    """DuckDB shows one after two seconds in a program that is no file, such as of python -c."""
    program = (
        "import duckdb; from features.engines.duckdb import connect;"
        " from pipelines.intake import decode;"
        " print(*(con.execute(\"SELECT current_setting('enable_progress_bar')\").fetchone()[0]"
        " for con in (duckdb.connect(), connect(), decode.connect([]))))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.split() == ["True", "False", "False"], run.stderr


def test_plan_reads_the_newest_version_of_every_table(built: tuple[Settings, Path]) -> None:
    settings, _ = built
    lake = Lake(settings.lake_root)
    plan = build.plan_build(lake, settings, RAW_TABLES, AS_OF_MS)
    assert set(plan.inputs) == {*RAW_TABLES, *CORE}
    for name, source in plan.inputs.items():
        assert source.version == lake.open(name).version()
        assert source.rows == sum(file.rows for file in source.files)


def test_plan_reads_named_versions_where_asked(built: tuple[Settings, Path]) -> None:
    settings, _ = built
    versions = {"raw_router__events": 0}
    plan = build.plan_build(Lake(settings.lake_root), settings, RAW_TABLES, AS_OF_MS, versions)
    assert {name: source.version for name, source in plan.inputs.items()} == versions
    assert plan.inputs["raw_router__events"].rows == 0


def test_a_misspelt_source_of_freshness_is_named(built: tuple[Settings, Path]) -> None:
    # its rule would never be broken, however long the source is silent
    settings = built[0].model_copy(update={"freshness": {"raw_router_events": Freshness()}})
    with pytest.raises(params.ParameterError, match=r"raw_router_events\]: no such source"):
        build.plan_build(Lake(settings.lake_root), settings, RAW_TABLES, AS_OF_MS)


@dataclass(frozen=True)
class Again:
    """A second build over the published lake: one table and what it reads, then all of them."""

    con: duckdb.DuckDBPyConnection
    plan: build.Plan
    one: build.Built
    every: build.Built


ONE = "feat_router__effectiveness"


@pytest.fixture(scope="module")
def again(
    built: tuple[Settings, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Again]:
    settings, _ = built
    lake = Lake(settings.lake_root)
    plan = build.plan_build(lake, settings, RAW_TABLES, AS_OF_MS)
    with build.open_database(tmp_path_factory.mktemp("again") / "t.duckdb", settings) as con:
        one = build.run_tables(con, lake, plan, names={ONE})
        yield Again(con, plan, one, build.run_tables(con, lake, plan))


def test_only_the_named_tables_are_built(again: Again) -> None:
    # and what it reads
    read = {"core_position__inferred_fills", "core_position__reconciliation"}
    assert set(again.one.rows) == {ONE, *read}
    assert set(again.every.rows) == set(FEATURES)
    assert again.every.digests[ONE] == again.one.digests[ONE]


def test_outcomes_of_other_environments_are_counted_as_left_out(tmp_path: Path) -> None:
    append(tmp_path / "paper", [router_line("p1", "BTCUSDT", AS_OF_MS - 1000)])
    append(tmp_path / "live", [router_line(f"l{n}", "BTCUSDT", AS_OF_MS - n) for n in range(3)])
    folders = [
        {"path": tmp_path / name, "environment": name, "venue": "binance"}
        for name in ("paper", "live")
    ]
    settings = Settings.model_validate({"home": tmp_path / "home", "logs": folders})
    refresh(settings, as_of_ms=AS_OF_MS, now_ms=AS_OF_MS, publish=True)
    store = Store(settings.snapshots_root)
    current = store.resolve(None)
    assert current is not None
    assert store.manifest(current)["left_out"] == {"live": 3}
    with open_snapshot(store.database(current)) as con:
        found = con.sql("SELECT n FROM feat_router__effectiveness WHERE symbol = '*'").fetchall()
    assert found == [(1,)]


@pytest.mark.parametrize(
    ("severity", "rows", "is_failed", "is_held"),
    [
        ("fail", 1, True, False),
        ("hold", 1, False, True),
        ("warn", 1, False, False),
        ("fail", 0, False, False),
        ("hold", 0, False, False),
    ],
)
def test_check_fails_or_holds_by_rows_and_severity(
    severity: str, rows: int, is_failed: bool, is_held: bool
) -> None:
    result = build.CheckResult("c", severity, "because", rows)
    assert (result.is_failed, result.is_held) == (is_failed, is_held)


def test_checks_name_their_rows(built: tuple[Settings, Path], again: Again) -> None:
    lake = Lake(built[0].lake_root)
    sound = build.run_checks(again.con, lake, again.plan)
    table = "snapshot.main.feat_symbol__performance"
    again.con.execute("BEGIN")
    again.con.execute(f"UPDATE {table} SET win_rate = 2 WHERE symbol = 'BTCUSDT'")
    planted = build.run_checks(again.con, lake, again.plan)
    again.con.execute("ROLLBACK")
    assert {result.name for result in sound} == set(catalog.checks())
    assert not any(result.is_failed for result in sound)
    (failed,) = [result for result in planted if result.is_failed]
    assert (failed.name, failed.rows) == ("feat_symbol__performance_sound", 1)
    assert "symbol=BTCUSDT" in failed.examples[0]
    assert "win_rate=2.0" in failed.examples[0]


def test_parameters_without_a_value_are_named() -> None:
    with pytest.raises(KeyError, match=r"no value for \$as_of_ms in: SELECT"):
        engine.bind("SELECT $as_of_ms", ("as_of_ms",), {})


def test_a_statement_that_comes_again_reads_what_stands_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_PARSED_AT_MOST", 1)  # every other text is forgotten
    sql = "SELECT n + $more AS sum FROM t"
    for kind, n, more in (("INTEGER", 1, 2), ("DOUBLE", 0.5, 1)):
        with duckdb.connect() as con:  # also over a column of another type
            engine.run(con, f"CREATE TABLE t AS SELECT CAST({n} AS {kind}) AS n")
            for _ in range(2):
                assert engine.run(con, sql, {"more": more}).fetchall() == [(n + more,)]
    assert len(engine._PARSED) == 1


def test_comment_holds_what_sql_would_end(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "t.duckdb")) as con:
        con.execute('CREATE TABLE t ("odd ""name" INTEGER)')
        build.comment(con, "t", "TABLE", "it's; a table", {'odd "name': "it's a column"})
        found = con.sql("SELECT comment FROM duckdb_columns() WHERE table_name = 't'").fetchall()
    assert found == [("it's a column",)]


# ------------------------------------------------------------------------------------------- bars

QUARTER_MS = 900_000
BARS = [  # opening, high, low, close of seven days of a swinging price
    (AS_OF_MS - (672 - k) * QUARTER_MS, 101.0 + k % 7, 99.0 - k % 5, 100.0 + k % 3)
    for k in range(672)
]


def write_bars(path: Path, bars: list[tuple[int, float, float, float]]) -> None:
    """Append bars to a file, with a header where it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if not file.tell():
            file.write("date,open,high,low,close,volume\n")
        for opened_ms, high, low, close in bars:
            file.write(f"{opened_ms},{close},{high},{low},{close},1\n")


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Read bars in four runs, the last of another file that tells some of them anew; publish."""
    root = tmp_path_factory.mktemp("fed")
    append(root / "logs", [router_line("a1", "BTCUSDT", AS_OF_MS - 1000)])
    settings = settings_over(root / "logs", root / "home", window_days=1)
    for start, end in ((0, 250), (250, 400), (400, None)):
        write_bars(root / "logs" / "BTCUSDT_15m.csv", BARS[start:end])
        run = Refresh(settings, as_of_ms=AS_OF_MS, now_ms=AS_OF_MS)
        run.prepare()
        run.read()
        run.close()
    again = [(at, high + 1, low, close) for at, high, low, close in BARS[600:640]]
    write_bars(root / "logs" / "again" / "BTCUSDT_15m.csv", again)
    report = refresh(settings, as_of_ms=AS_OF_MS, now_ms=AS_OF_MS, publish=True)
    assert report.outcome == "published"
    return settings


def regime_of(settings: Settings) -> tuple[str, dict[str, Any]]:
    """Return the digest of the volatility table over the lake as it is, and its one row."""
    lake = Lake(settings.lake_root)
    plan = build.plan_build(lake, settings, RAW_TABLES, AS_OF_MS)
    with build.open_database(settings.home / "again.duckdb", settings) as con:
        built = build.run_tables(con, lake, plan, names={"feat_symbol__atr_regime"})
        (row,) = con.sql("FROM feat_symbol__atr_regime").to_arrow_table().to_pylist()
    (settings.home / "again.duckdb").unlink()
    return built.digests["feat_symbol__atr_regime"], row


def test_bars_are_read_from_before_the_window_whatever_the_files(fed: Settings) -> None:
    digest, row = regime_of(fed)
    told = [*BARS[:600], *((t, h + 1, low, c) for t, h, low, c in BARS[600:640]), *BARS[640:]]
    ranges = [
        max(high, before) - min(low, before)
        for (_, _, _, before), (_, high, low, _) in pairwise(told)
    ]
    closes = [close for *_, close in told]
    assert (row["n"], row["atr_source"]) == (500, "bars")
    for count in (50, 500):
        expected = 100 * sum(ranges[-count:]) / sum(closes[-count:])
        assert row[f"atr_pct_{count}"] == pytest.approx(expected, rel=1e-12)

    table = Lake(fed.lake_root).open("raw_market__bars")
    before = len(table.file_uris())
    table.optimize.compact()
    assert len(Lake(fed.lake_root).open("raw_market__bars").file_uris()) < before
    assert regime_of(fed) == (digest, row)


def test_tables_over_bars_are_computed_again_equal(fed: Settings, tmp_path: Path) -> None:
    store = Store(fed.snapshots_root)
    current = store.resolve(None)
    assert current is not None
    # the interval comes from the manifest, not from today's settings
    now = fed.model_copy(update={"atr_bar_interval": "1h", "params": {"score_model": "v5.11"}})
    found = rebuild_snapshot(store, now, current, tmp_path / "scratch")
    assert {each.table for each in found} == {*FEATURES, "live.jsonl"}
    assert [each.table for each in found if not each.is_equal] == []
