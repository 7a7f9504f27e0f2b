"""Checks that look only at what changed find what they find when they look at everything."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.build import CheckResult
from features.engines import duckdb as engine
from features.lake import Lake, data_files
from features.proofs import DATED_BY, HOURLY, ORDERS, OUTCOMES, Proofs, Scope, Seen
from features.settings import Settings
from pipelines.refresh import Refresh, RefreshReport
from pipelines.upkeep import upkeep
from tests.loads import (
    DAY_MS,
    HOUR_MS,
    START_MS,
    Line,
    append,
    close_line,
    core_up_to_date,
    fill_line,
    keep_aside,
    line,
    put_back,
    router_line,
    settings_over,
    tangled_lines,
)

END_MS = START_MS + 5 * DAY_MS
TWICE_MS = START_MS + 3 * DAY_MS + 6 * HOUR_MS  # when an attempt was made that closed twice
UNIQUE = "core_execution__outcomes_unique"
PNL = "core_execution__outcomes_pnl_equals_raw"
EQUAL = "core_execution__hourly_equals_outcomes"
SUMS = "core_window__sums_equal_hourly"


def day_lines(day: int, symbol: str = "BTCUSDT") -> list[Line]:
    """Return five attempts of a day, each filled and closed."""
    made = []
    for n in range(5):
        name, at = f"{symbol[:2]}d{day}n{n}", START_MS + day * DAY_MS + n * HOUR_MS
        number = day * 100 + n
        made += [
            router_line(name, symbol, at),
            fill_line(name, symbol, at + 10, order_id=number, qty=1.0, price=100.0),
            close_line(name, symbol, at + 20, pnl=1.0 + n, order_id=number),
        ]
    return made


@contextmanager
def built(settings: Settings, as_of_ms: int) -> Iterator[tuple[Refresh, list[bool]]]:
    """Yield a refresh that is ready to be checked; for each look whether it was at changes only."""
    asked: list[bool] = []
    with core_up_to_date(settings, as_of_ms, now_ms=as_of_ms) as run:
        changes = run.proofs.changes

        def noted(scope: object) -> object:
            found = changes(scope)  # type: ignore[arg-type]
            asked.append(found is not None)
            return found

        run.proofs.changes = noted  # type: ignore[method-assign, assignment]
        run.build_features()
        yield run, asked


def failed(run: Refresh) -> set[str]:
    """Check a build; returns the names of the checks that failed."""
    return {check.name for check in run.check() if check.is_failed}


def checked(settings: Settings, as_of_ms: int) -> tuple[set[str], bool]:
    """Check a build; returns what failed and whether the checks looked only at changes."""
    with built(settings, as_of_ms) as (run, asked):
        names = failed(run)
    (is_narrow,) = asked
    return names, is_narrow


def refreshed(settings: Settings, as_of_ms: int) -> tuple[RefreshReport, bool]:
    """Refresh; returns the report and whether the checks looked only at changes."""
    with built(settings, as_of_ms) as (run, asked):
        run.check()
        run.publish()
    (is_narrow,) = asked
    return run.report, is_narrow


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish four days, so that every check has passed over them; keep them aside.

    Each fault has a symbol of its own, on the day of its table.
    """
    root = tmp_path_factory.mktemp("published")
    append(root / "desk" / "logs", [x for day in range(4) for x in day_lines(day)])
    append(root / "desk" / "logs", faulty_lines())
    made = settings_over(root / "desk" / "logs", root / "desk" / "home")
    assert refreshed(made, END_MS)[0].outcome == "published"
    keep_aside(root / "desk")
    return root / "desk"


@pytest.fixture
def settings(published: Path) -> Settings:
    """Put the published days back where they were: what has passed is remembered by its path."""
    put_back(published)
    return settings_over(published / "logs", published / "home")


def add(settings: Settings, *lines: Line) -> None:
    append(settings.home.parent / "logs", lines)


# ------------------------------------------------------------------------------- what is remembered


def test_all_is_looked_at_once_and_then_only_new_lines(settings: Settings) -> None:
    (settings.home / "cache" / "checks.json").unlink()
    assert checked(settings, END_MS + 1) == (set(), False)  # nothing is remembered
    add(settings, *day_lines(3), *day_lines(4))
    report, is_narrow = refreshed(settings, END_MS + 2)
    assert (report.outcome, is_narrow) == ("published", True)
    # these lines tell of fills and of no account
    assert [c.name for c in report.built.checks if c.rows] == ["feat_account__coverage_low"]
    upkeep(settings, now_ms=END_MS + 2)  # raw files are merged
    report, is_narrow = refreshed(settings, END_MS + 3)
    assert (report.outcome, is_narrow) == ("published", False)
    # the rows of another environment were never compared
    other = settings.model_copy(update={"environment": "live"})
    assert not checked(other, END_MS + 4)[1]


KNOWN = Scope("key", START_MS, END_MS, (), dict.fromkeys(DATED_BY, ()))


@pytest.mark.parametrize(
    ("change", "is_narrow"),
    [
        ({}, True),
        ({"as_of_ms": END_MS + DAY_MS, "since_ms": START_MS + DAY_MS}, True),
        ({"key": "other"}, False),  # other code, parameters or environment
        ({"since_ms": START_MS - 1}, False),  # rows that lay before the window
        ({"as_of_ms": END_MS - 1}, False),  # closes that were known then are not now
    ],
)
def test_memory_serves_the_same_question_about_later_windows(
    tmp_path: Path, change: dict[str, Any], is_narrow: bool
) -> None:
    proofs = Proofs(tmp_path / "checks.json")
    assert proofs.changes(KNOWN) is None
    proofs.save(KNOWN)
    assert (proofs.changes(replace(KNOWN, **change)) is not None) is is_narrow


def test_hours_that_were_cut_or_lay_ahead_are_changes(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path / "checks.json")
    proofs.save(replace(KNOWN, as_of_ms=END_MS + 5, cut_hours=(START_MS,)))
    changes = proofs.changes(replace(KNOWN, as_of_ms=END_MS + HOUR_MS, cut_hours=(END_MS,)))
    assert changes is not None
    assert changes.hours == [
        (START_MS, START_MS + HOUR_MS),
        (END_MS, END_MS + HOUR_MS + DAY_MS),
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}'])
def test_a_torn_memory_is_none(tmp_path: Path, text: str) -> None:
    proofs = Proofs(tmp_path / "checks.json")
    proofs.path.write_text(text)
    assert proofs.changes(KNOWN) is None


# ----------------------------------------------------------------------------------- what is caught


def tamper(settings: Settings, name: str, day: str, sql: str) -> None:
    """Replace a day of a core table by what ``sql`` makes of its rows."""
    lake = Lake(settings.lake_root)
    table = lake.open(name)
    (part,) = {f.partition["part"] for f in data_files(table) if day in f.path}
    schema = pa.schema(table.schema().to_arrow())
    held = pq.ParquetDataset(
        [f.path for f in data_files(table) if f.partition["part"] == part]
    ).read()
    definition = {f.partition["definition"] for f in data_files(table)}.pop()
    with duckdb.connect() as con:
        con.register("rows", held)
        changed = con.sql(sql).to_arrow_table()
    for column, value in (("part", part), ("definition", definition)):
        if column not in changed.schema.names:
            changed = changed.append_column(column, pa.array([value] * len(changed)))
    rows = changed.select(schema.names).cast(schema)
    lake.replace(table, rows, [part or ""], {})


# The second day and the third: what changed in one table makes nobody look where the other did.
DAY = "2025-11-04"
DAYS = {OUTCOMES: (1, DAY), HOURLY: (2, "2025-11-05")}


# A symbol for each fault: in which table, what is made of its rows, and how many rows of each check
# accuse it.
FAULTS: dict[str, tuple[str, str, dict[str, int]]] = {
    "S0USDT": (  # two amounts that add up to the same
        OUTCOMES,
        "SELECT * REPLACE (realized_pnl_usd + CASE attempt_id WHEN 'S0d1n1' THEN 1"
        " WHEN 'S0d1n2' THEN -1 ELSE 0 END AS realized_pnl_usd) FROM rows",
        {PNL: 2},
    ),
    "S1USDT": (  # a row twice
        OUTCOMES,
        "FROM rows UNION ALL SELECT * REPLACE ('unknown' AS outcome, 0 AS close_n,"
        " NULL AS realized_pnl_usd) FROM rows WHERE attempt_id = 'S1d1n2'",
        {UNIQUE: 1, EQUAL: 1, SUMS: 1},
    ),
    "S2USDT": (  # a row lost
        OUTCOMES,
        "FROM rows WHERE attempt_id <> 'S2d1n2'",
        {PNL: 1, EQUAL: 1, SUMS: 1},
    ),
    "S3USDT": (  # a close lost
        OUTCOMES,
        "SELECT * REPLACE (CASE WHEN attempt_id = 'S3d1n2' THEN 0 ELSE close_n END AS close_n,"
        " CASE WHEN attempt_id <> 'S3d1n2' THEN realized_pnl_usd END AS realized_pnl_usd)"
        " FROM rows",
        {PNL: 1, EQUAL: 1, SUMS: 1},
    ),
    "S4USDT": (  # a close counted twice
        OUTCOMES,
        "SELECT * REPLACE (CASE WHEN attempt_id = 'S4d1n2' THEN 2 * close_n ELSE close_n END"
        " AS close_n) FROM rows",
        {PNL: 1, EQUAL: 1, SUMS: 1},
    ),
    "S5USDT": (  # an hour's sum changed
        HOURLY,
        "SELECT * REPLACE (CASE WHEN symbol = 'S5USDT' THEN n + 1 ELSE n END AS n) FROM rows",
        {EQUAL: 1},
    ),
    "S6USDT": (  # an hour lost
        HOURLY,
        "FROM rows WHERE symbol <> 'S6USDT' OR hour_utc <> 2",
        {EQUAL: 1, SUMS: 1},
    ),
}


def faulty_lines() -> list[Line]:
    """Return the lines of each fault's symbol."""
    days = {symbol: DAYS[table][0] for symbol, (table, _, _) in FAULTS.items()}
    return [line for symbol, day in days.items() for line in day_lines(day, symbol)]


def accused(checks: Iterable[CheckResult]) -> dict[str, tuple[int, list[str]]]:
    """Return how many rows each failed check found, and the symbols of those it shows."""
    return {
        check.name: (
            check.rows,
            [
                part[7:]
                for row in check.examples
                for part in row.split(", ")
                if part[:7] == "symbol="
            ],
        )
        for check in checks
        if check.is_failed
    }


def test_faults_in_an_old_partition_are_found_beside_new_lines(settings: Settings) -> None:
    memory = (settings.home / "cache" / "checks.json").read_text()
    for table, sql, _ in FAULTS.values():
        tamper(settings, table, DAYS[table][1], sql)
    add(settings, *day_lines(4))
    found = {
        name: [symbol for symbol, (_, _, by) in FAULTS.items() for _ in range(by.get(name, 0))]
        for name in (UNIQUE, PNL, EQUAL, SUMS)
    }
    expected = {name: (len(symbols), symbols[:5]) for name, symbols in found.items()}  # in order
    with built(settings, END_MS + 1) as (run, looked_at_changes):
        assert accused(run.check()) == expected
        assert run.proofs.path.read_text() == memory  # only what passed is remembered
        run.proofs.path.unlink()  # what is not remembered is looked at whole
        assert accused(run.check()) == expected
        assert looked_at_changes == [True, False]
        assert run.publish() == "rejected"
        assert not run.proofs.path.exists()


def test_a_file_damaged_in_place_is_found(settings: Settings) -> None:
    table = Lake(settings.lake_root).open(OUTCOMES)
    (path,) = [file.path for file in data_files(table) if DAY in file.path]
    rows = pq.ParquetFile(path).read()
    pq.write_table(rows.filter(pa.array([n != 2 for n in range(len(rows))])), path)
    assert checked(settings, END_MS + 1) == ({PNL, EQUAL, SUMS}, False)


def test_a_close_that_no_rebuild_took_up_is_found(settings: Settings) -> None:
    lake = Lake(settings.lake_root)
    orders = lake.open(ORDERS)
    (path,) = [file.path for file in data_files(orders) if DAY in file.path]
    held = pq.ParquetFile(path).read()
    schema = pa.schema(orders.schema().to_arrow())
    rows = held.append_column("part", pa.array([DAY] * len(held))).select(schema.names)
    index = rows.schema.get_field_index("attempt_id")
    named = rows.set_column(index, "attempt_id", pa.array([f"new{n}" for n in range(len(rows))]))
    lake.append(orders, named.cast(schema), {})
    rows_n = sum(file.rows for file in data_files(lake.open(ORDERS)))
    for core in map(lake.open, (OUTCOMES, HOURLY)):  # they say that they have consumed it
        none = pa.schema(core.schema().to_arrow()).empty_table()
        lake.append(core, none, {f"{ORDERS}:rows": rows_n})
    assert checked(settings, END_MS + 1) == ({PNL}, True)


# --------------------------------------------------------------------------------- what is let pass


def flat_line(attempt_id: str, at: int, pnl: float) -> Line:
    return line(
        "order_metrics.jsonl",
        attempt_id=attempt_id,
        symbol="BTCUSDT",
        venue="binance_futures",
        side="BUY",
        ts=at / 1000,
        notional_usd=50.0,
        realized_pnl_usd=pnl,
    )


def test_sound_lines_pass_whether_all_or_only_changes_are_looked_at(settings: Settings) -> None:
    late_ms, day_ms = START_MS + 4 * DAY_MS, START_MS + DAY_MS
    add(settings, close_line("d9", "BTCUSDT", late_ms + HOUR_MS, pnl=1.0, order_id=9))
    assert checked(settings, END_MS + 1) == (set(), True)
    add(
        settings,
        # logged again -> the close counts once
        close_line("BTd1n0", "BTCUSDT", day_ms + 20, pnl=1.0, order_id=100),
        # logged again with another amount -> the last counts
        close_line("BTd1n1", "BTCUSDT", day_ms + HOUR_MS + 20, pnl=9.0, order_id=101),
        # a second close of an attempt -> both count
        close_line("BTd1n2", "BTCUSDT", day_ms + 3 * HOUR_MS, pnl=0.5, order_id=102),
        # a flat line's own PnL, of a new id and of one with closes -> core holds more than closes
        flat_line("flat", late_ms, 4.0),
        flat_line("BTd1n3", late_ms, 4.0),
        # a close alone -> its own row
        close_line("lone", "BTCUSDT", late_ms, pnl=-2.0, order_id=7),
        # no amount of money -> NULL in core
        close_line("vast", "BTCUSDT", late_ms, pnl=2e9, order_id=8),
        # an attempt that takes up the lone close of before -> the close moves
        router_line("d9", "BTCUSDT", late_ms),
    )
    with built(settings, END_MS + 2) as (run, looked_at_changes):
        assert failed(run) == set()
        run.proofs.path.unlink()
        assert failed(run) == set()
        assert looked_at_changes == [True, False]


# The first look is whole and the second at changes: what follows repeats the second.
@pytest.mark.parametrize("pieces", [2, pytest.param(8, marks=pytest.mark.soak)])
def test_tangled_lines_in_pieces_pass_and_a_fault_among_them_is_found(
    tmp_path: Path, pieces: int
) -> None:
    settings = settings_over(tmp_path / "logs", tmp_path / "home")
    lines = tangled_lines(0, attempts=40)
    dice = random.Random(0)
    dice.shuffle(lines)
    for piece in range(pieces):
        append(tmp_path / "logs", lines[piece::pieces])
        assert checked(settings, END_MS + piece) == (set(), piece > 0)
    with engine.connect() as con:
        engine.create_view(con, "rows", Lake(settings.lake_root).open(OUTCOMES))
        closes = con.sql(
            "SELECT attempt_id, event_date FROM rows WHERE close_n > 0 AND close_ms <= $at"
            " AND abs(realized_pnl_usd) > 1 ORDER BY ALL",
            params={"at": END_MS},
        ).fetchall()
    victim, day = dice.choice(closes)
    none = f"CASE WHEN attempt_id <> '{victim}' THEN realized_pnl_usd END AS realized_pnl_usd"
    tamper(settings, OUTCOMES, str(day), f"SELECT * REPLACE ({none}) FROM rows")
    names, is_narrow = checked(settings, END_MS + 9)
    assert is_narrow
    assert PNL in names


def test_closes_of_one_attempt_on_both_sides_of_a_limit_are_no_fault(tmp_path: Path) -> None:
    """The first close lies behind the window's beginning, the last within, or beyond as-of."""
    lines = [
        close_line("a", "ETHUSDT", TWICE_MS - 7 * HOUR_MS, pnl=-2.0, order_id=1),
        router_line("a", "ETHUSDT", TWICE_MS),
        close_line("a", "ETHUSDT", TWICE_MS + 19 * HOUR_MS, pnl=2.5, order_id=2),
        router_line("b", "ETHUSDT", TWICE_MS + 2 * DAY_MS),
    ]
    settings = settings_over(tmp_path / "logs", tmp_path / "home", window_days=3)
    append(tmp_path / "logs", lines)
    for as_of_ms in (TWICE_MS + 18 * HOUR_MS + 3 * DAY_MS, TWICE_MS - 15 * HOUR_MS // 2):
        assert checked(settings, as_of_ms) == (set(), False)


def test_a_file_of_a_root_that_may_not_be_entered_is_no_longer_the_same(tmp_path: Path) -> None:
    root = tmp_path / "copied_from"
    root.write_text("no folder")  # refused to root, too
    assert not Seen(str(root / "a.parquet"), 10, 10, 0, 1).is_same
