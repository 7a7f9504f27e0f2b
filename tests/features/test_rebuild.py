"""Rebuilding only what new rows touch gives the tables of a rebuild of everything."""

import dataclasses
import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from features import catalog, rebuild
from features.engines import duckdb as engine
from features.lake import Lake, data_files, utc_day
from features.snapshot import Store, open_snapshot
from pipelines.refresh import RefreshReport, refresh
from tests.loads import (
    DAY_MS,
    HOUR_MS,
    START_MS,
    Line,
    all_digests,
    append,
    close_line,
    core_up_to_date,
    feature_digests,
    fill_line,
    intent_line,
    keep_aside,
    lake_digests,
    order_line,
    put_back,
    router_line,
    settings_over,
    tangled_lines,
    veto_line,
)

AS_OF_MS = START_MS + 7 * DAY_MS - HOUR_MS // 2


def run(logs: Path, home: Path, **more: object) -> RefreshReport:
    return refresh(settings_over(logs, home, **more), as_of_ms=AS_OF_MS, now_ms=AS_OF_MS + HOUR_MS)


def rebuilt(
    logs: Path, home: Path, *, with_features: bool = False, **more: object
) -> dict[str, str]:
    """Read and rebuild the core tables, and publish nothing.

    With features, compute and check these too; returns their digests.
    """
    settings = settings_over(logs, home, **more)
    with core_up_to_date(settings, AS_OF_MS, now_ms=AS_OF_MS + HOUR_MS) as steps:
        if with_features:
            steps.build_features()
            assert [check.examples for check in steps.check() if check.is_failed] == []
    return steps.report.built.digests


def copy_raw(home: Path, other: Path) -> None:
    """Give another home the raw tables of this one."""
    for table in (home / "lake").glob("raw_*"):
        shutil.copytree(table, other / "lake" / table.name)


def fed_in_pieces(root: Path, pieces: list[list[Line]]) -> dict[str, str]:
    """Refresh after each piece; returns the digests of everything."""
    for piece in pieces:
        append(root / "logs", piece)
        report = run(root / "logs", root / "pieces")
        assert report.outcome == "published", [c.examples for c in report.built.failed]
    return all_digests(root / "pieces")


def fed_at_once(root: Path, home: str = "whole") -> dict[str, str]:
    report = run(root / "logs", root / home)
    assert report.outcome == "published", [c.examples for c in report.built.failed]
    return all_digests(root / home)


def cut(lines: list[Line], pieces: int) -> list[list[Line]]:
    size = -(-len(lines) // pieces)
    return [lines[start : start + size] for start in range(0, len(lines), size)]


@dataclass(frozen=True)
class Whole:
    """What one refresh made of lines: digests of its lake, and of its feature tables."""

    root: Path
    lines: list[Line]
    lake: dict[str, str]
    features: dict[str, str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Refresh once over five days of lines in no order."""
    root, lines = tmp_path_factory.mktemp("whole"), tangled_lines(0, attempts=45, days=5)
    random.Random(1000).shuffle(lines)
    append(root / "logs", lines)
    home = root / "home"
    assert run(root / "logs", home).outcome == "published"
    return Whole(root, lines, lake_digests(home), feature_digests(home))


@pytest.fixture(scope="module")
def two_of_three_aside(tmp_path_factory: pytest.TempPathFactory, whole: Whole) -> Path:
    """Read a third of the lines, publish two, and keep that aside."""
    root = tmp_path_factory.mktemp("two_of_three") / "desk"
    first, second, _ = cut(whole.lines, 3)
    append(root / "logs", first)
    rebuilt(root / "logs", root / "home")
    append(root / "logs", second)
    assert run(root / "logs", root / "home").outcome == "published"
    keep_aside(root)
    return root


@pytest.fixture
def two_of_three(two_of_three_aside: Path) -> Path:
    """Go to the two published thirds, put back where they were."""
    put_back(two_of_three_aside)
    return two_of_three_aside


def test_lines_in_any_order_and_any_pieces_give_the_tables_of_one_refresh(
    two_of_three: Path, whole: Whole
) -> None:
    append(two_of_three / "logs", cut(whole.lines, 3)[2])
    assert run(two_of_three / "logs", two_of_three / "home").outcome == "published"
    assert all_digests(two_of_three / "home") == whole.lake | whole.features


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 160))
def test_many_more_orders_and_pieces_give_the_tables_of_one_refresh(
    tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    lines = tangled_lines(seed, attempts=dice.choice((8, 30, 120)), days=dice.choice((2, 4, 7)))
    dice.shuffle(lines)
    assert fed_in_pieces(tmp_path, cut(lines, dice.choice((3, 12, 25)))) == fed_at_once(tmp_path)


T = START_MS + 3 * DAY_MS + 5 * HOUR_MS
KNOT = "sig_1"
FILL = fill_line(KNOT, "BTCUSDT", T + 900, order_id=1, qty=1.0, price=100.0)
# Orders of arrival that once gave, or could give, other rows than one refresh over everything.
ARRIVALS: dict[str, list[list[Line]]] = {
    "a close in the next day than its attempt": [
        [router_line(KNOT, "BTCUSDT", T + 18 * HOUR_MS)],
        [close_line(KNOT, "BTCUSDT", T + 20 * HOUR_MS, pnl=2.0, order_id=7)],
    ],
    "an attempt that arrives after its close": [
        [close_line(KNOT, "BTCUSDT", T + 20 * HOUR_MS, pnl=2.0, order_id=7)],
        [router_line(KNOT, "BTCUSDT", T + 18 * HOUR_MS)],
    ],
    "an acknowledgement a day after": [
        [router_line(KNOT, "BTCUSDT", T, status="NEW", fill=0.0, qty=0.0)],
        [order_line("order_ack", KNOT, "BTCUSDT", T + 23 * HOUR_MS, orderId=1)],
    ],
    "an id used again after two days, its close between them": [
        [router_line(KNOT, "BTCUSDT", T)],
        [close_line(KNOT, "BTCUSDT", T + 23 * HOUR_MS, pnl=1.0, order_id=7)],
        [router_line(KNOT, "BTCUSDT", T + 46 * HOUR_MS)],
    ],
    "a terminal retry that takes the place of an attempt on another day": [
        [router_line(KNOT, "BTCUSDT", T, status="NEW", fill=0.0, qty=0.0)],
        [router_line(KNOT, "BTCUSDT", T - 20 * HOUR_MS)],
    ],
    "a later line that frees a close from its attempt": [
        [
            router_line(KNOT, "BTCUSDT", T),
            close_line(KNOT, "BTCUSDT", T - 20 * HOUR_MS, pnl=1.0, order_id=7),
        ],
        [router_line(KNOT, "BTCUSDT", T + 22 * HOUR_MS)],
    ],
    "an order log that begins after the attempts": [
        [router_line(KNOT, "BTCUSDT", T)],
        [order_line("order_ack", "sig_2", "ETHUSDT", T + 20 * HOUR_MS, orderId=2)],
        [order_line("order_ack", "sig_3", "ETHUSDT", T - 20 * HOUR_MS, orderId=3)],
    ],
    "a veto and a routing after the order was asked for": [
        [intent_line(KNOT, "BTCUSDT", T - 1000, price=100.0)],
        [veto_line(KNOT, "BTCUSDT", T + 20 * HOUR_MS)],
        [router_line(KNOT, "BTCUSDT", T + 10 * HOUR_MS)],
    ],
    "an order asked for again, the second time after a day": [
        [intent_line(KNOT, "BTCUSDT", T, price=100.0)],
        [intent_line(KNOT, "BTCUSDT", T + 20 * HOUR_MS, price=101.0)],
        [intent_line(KNOT, "BTCUSDT", T + 45 * HOUR_MS, price=102.0)],
    ],
    "the same lines again": [[router_line(KNOT, "BTCUSDT", T), FILL], [FILL], [FILL]],
    "two closes of one millisecond with other position sizes": [
        [router_line(KNOT, "BTCUSDT", T), close_line(KNOT, "BTCUSDT", T + 9, pnl=1, order_id=7)],
        [close_line(KNOT, "BTCUSDT", T + 9, pnl=2, order_id=8, qty=0.5)],
    ],
}


def placed(made: Line, number: int) -> Line:
    """Give a line an account and a symbol of its own, so that no other story touches it."""
    fields = json.loads(made.text) | {"account": f"account_{number}"}
    fields["symbol"] = f"S{number}{fields['symbol']}"
    return Line(made.file, json.dumps(fields) + "\n")


def core_rows(home: Path, account: str) -> dict[str, list[tuple[object, ...]]]:
    con = engine.connect()
    rows = {}
    for name in ("core_execution__outcomes", "core_execution__hourly"):
        engine.create_view(con, name, Lake(home / "lake").open(name))
        found = con.sql(
            f"SELECT * FROM {name} WHERE account = $a ORDER BY ALL", params={"a": account}
        )
        rows[name] = found.fetchall()
    con.close()
    return rows


def test_stories_told_in_pieces_give_the_rows_of_one_refresh(tmp_path: Path) -> None:
    stories = list(ARRIVALS.values())
    pieces = [
        [
            placed(made, n)
            for n, story in enumerate(stories)
            for piece in story[at : at + 1]
            for made in piece
        ]
        for at in range(max(map(len, stories)))
    ]
    for number, piece in enumerate(pieces, start=1):
        append(tmp_path / "logs", piece)
        is_last = number == len(pieces)
        rebuilt(tmp_path / "logs", tmp_path / "pieces", with_features=is_last)  # and check them
    rebuilt(tmp_path / "logs", tmp_path / "whole")
    for number, story in enumerate(ARRIVALS):
        expected = core_rows(tmp_path / "whole", f"account_{number}")
        assert expected["core_execution__hourly"], story
        assert core_rows(tmp_path / "pieces", f"account_{number}") == expected, story
    assert lake_digests(tmp_path / "pieces") == lake_digests(tmp_path / "whole")


def test_a_story_told_alone_is_rebuilt_as_far_as_its_id_reaches(tmp_path: Path) -> None:
    """Beside other stories, lines of theirs touch the hours that this one must reach itself."""
    for piece in ARRIVALS["a later line that frees a close from its attempt"]:
        append(tmp_path / "logs", piece)
        rebuilt(tmp_path / "logs", tmp_path / "pieces")
    rebuilt(tmp_path / "logs", tmp_path / "whole")
    assert lake_digests(tmp_path / "pieces") == lake_digests(tmp_path / "whole")


def test_days_that_outgrow_their_partition_become_hours_with_the_same_rows(
    tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "DAY_ROWS_LIMIT", 5)  # days pass it while the pieces arrive
    logs, home = tmp_path / "logs", tmp_path / "home"
    first, second = cut(whole.lines, 2)
    append(logs, first)
    rebuilt(logs, home)
    append(logs, second)
    assert rebuilt(logs, home, with_features=True) == whole.features
    assert lake_digests(home) == whole.lake
    for table in ("core_execution__outcomes", "core_execution__hourly"):
        parts = parts_of(home, table)
        days = {part[:10] for part in parts}
        assert {len(part) for part in parts} == {10, 13}, parts
        doubled = [d for d in days if d in parts and any(p.startswith(f"{d}T") for p in parts)]
        assert doubled == []


def test_a_day_kept_in_hours_stays_so_and_takes_later_lines(
    tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, home = tmp_path / "logs", tmp_path / "home"
    first, second = cut(whole.lines, 2)
    monkeypatch.setattr(rebuild, "DAY_ROWS_LIMIT", 1)
    append(logs, first)
    rebuilt(logs, home)
    monkeypatch.setattr(rebuild, "DAY_ROWS_LIMIT", 1_000_000)
    hours = {p for p in parts_of(home, "core_execution__outcomes") if len(p) == 13}
    assert hours
    append(logs, second)
    rebuilt(logs, home)
    assert lake_digests(home) == whole.lake
    rows = Lake(home / "lake").open("core_execution__outcomes").to_pyarrow_table()
    filled = {f"{utc_day(ms)}T{ms // HOUR_MS % 24:02d}" for ms in rows["event_ms"].to_pylist()}
    days = {part[:10] for part in hours}
    parts = {part if part[:10] in days else part[:10] for part in filled}
    assert parts_of(home, "core_execution__outcomes").keys() == parts


def test_work_in_many_commits_gives_the_same_rows(
    tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "BATCH_ROWS", 1)
    copy_raw(whole.root / "home", tmp_path)
    rebuilt(whole.root / "logs", tmp_path)
    assert lake_digests(tmp_path) == whole.lake
    commits = Lake(tmp_path / "lake").open("core_execution__outcomes").version()
    assert commits >= len(parts_of(tmp_path, "core_execution__outcomes")) > 1


def parts_of(home: Path, table: str) -> dict[str, set[str]]:
    """Map each partition to the definitions that built it."""
    found: dict[str, set[str]] = {}
    for file in data_files(Lake(home / "lake").open(table)):
        found.setdefault(str(file.partition["part"]), set()).add(str(file.partition["definition"]))
    return found


def files_of(home: Path, table: str) -> dict[str, frozenset[str]]:
    """Map each partition to its files."""
    found: dict[str, set[str]] = {}
    for file in data_files(Lake(home / "lake").open(table)):
        found.setdefault(str(file.partition["part"]), set()).add(file.path)
    return {part: frozenset(paths) for part, paths in found.items()}


@pytest.fixture(scope="module")
def two_days_aside(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Build six days of lines with a window of two and keep that aside; returns digests, too."""
    root = tmp_path_factory.mktemp("two_days") / "desk"
    append(root / "logs", tangled_lines(10, attempts=30, days=6))
    digests = rebuilt(root / "logs", root / "home", with_features=True, window_days=2)
    keep_aside(root)
    return root, digests


@pytest.fixture
def two_days(two_days_aside: tuple[Path, dict[str, str]]) -> tuple[Path, Path]:
    """Go to the six days, put back where they were; returns their logs and their home."""
    root = two_days_aside[0]
    put_back(root)
    return root / "logs", root / "home"


def test_a_new_parameter_rebuilds_the_tables_that_use_it_in_the_window_alone(
    two_days: tuple[Path, Path], tmp_path: Path
) -> None:
    logs, home = two_days
    outcomes = files_of(home, "core_execution__outcomes")
    hourly = files_of(home, "core_execution__hourly")
    rebuilt(logs, home, window_days=2, params={"dust_notional_usd": 50.0})
    assert files_of(home, "core_execution__outcomes") == outcomes  # they name no parameter
    after = files_of(home, "core_execution__hourly")
    window_start, last_day = utc_day(AS_OF_MS - 2 * DAY_MS), utc_day(AS_OF_MS)
    in_window = {part for part in hourly if window_start <= part <= last_day}
    assert in_window
    assert {part for part in hourly if after[part] != hourly[part]} == in_window
    assert after.keys() == hourly.keys()
    assert min(hourly) < window_start  # there were days that had to stay
    assert all(len(built_by) == 1 for built_by in parts_of(home, "core_execution__hourly").values())
    # A longer window finds the days that stayed behind; then all is as if it had always been so.
    copy_raw(home, tmp_path)
    for each in (home, tmp_path):
        rebuilt(logs, each, window_days=7, params={"dust_notional_usd": 50.0})
    assert lake_digests(home) == lake_digests(tmp_path)


def test_new_sql_rebuilds_the_window_of_its_table_and_of_those_that_read_it(
    two_days: tuple[Path, Path],
    two_days_aside: tuple[Path, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logs, home = two_days
    names = ("core_execution__outcomes", "core_execution__hourly")
    before = {name: files_of(home, name) for name in names}
    tables = dict(catalog.tables())
    changed = tables[names[0]]
    amid = "    confidence AS confidence,"
    assert amid in changed.sql
    more = changed.sql.replace(amid, f"    confidence AS certainty, -- one more column\n{amid}")
    words = changed.columns | {"certainty": "share", "confidence": "other words for it, share"}
    tables[names[0]] = dataclasses.replace(changed, sql=more, columns=words)
    older = dict(catalog.tables())
    monkeypatch.setattr(catalog, "tables", lambda: tables)
    rebuilt(logs, home, window_days=2)
    window_start, last_day = utc_day(AS_OF_MS - 2 * DAY_MS), utc_day(AS_OF_MS)
    for name in names:
        after = files_of(home, name)
        moved = {part for part in after if after[part] != before[name].get(part)}
        assert moved == {part for part in after if window_start <= part <= last_day}
        assert moved
    table = Lake(home / "lake").open(names[0])
    rows = table.to_pyarrow_table()
    assert rows["certainty"].null_count < rows.num_rows
    comments = {field.name: field.metadata["comment"] for field in table.schema().fields}
    assert comments["confidence"] == "other words for it, share"
    # The release before is put back: it does not know the column, and builds as if nothing was.
    monkeypatch.setattr(catalog, "tables", lambda: older)
    assert rebuilt(logs, home, with_features=True, window_days=2) == two_days_aside[1]
    rows = Lake(home / "lake").open(names[0]).to_pyarrow_table()
    assert rows["certainty"].null_count == rows.num_rows


def one_more_column(table: catalog.Table, amid: str) -> catalog.Table:
    """Return what a newer release may make of a table: a column more."""
    assert table.sql.count(amid) == 1
    sql = table.sql.replace(amid, f"    7 AS lucky_n, -- one more column\n{amid}")
    return dataclasses.replace(table, sql=sql, columns=table.columns | {"lucky_n": "more"})


def test_a_column_that_a_release_brings_stands_also_where_nothing_is_to_be_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(tmp_path / "logs", tangled_lines(13, attempts=10, days=1))
    logs, home = tmp_path / "logs", tmp_path / "home"
    rebuilt(logs, home, window_days=2)  # all their hours lie before
    name = "core_execution__outcomes"
    before = files_of(home, name)
    older = catalog.tables()
    newer = {**older, name: one_more_column(older[name], "    confidence AS confidence,")}
    monkeypatch.setattr(catalog, "tables", lambda: newer)
    assert run(logs, home, window_days=2).outcome == "published"
    table = Lake(home / "lake").open(name)
    rows = table.to_pyarrow_table()
    assert rows["lucky_n"].null_count == rows.num_rows > 0
    assert files_of(home, name) == before
    rebuilt(logs, home, window_days=2)
    again = Lake(home / "lake").open(name)
    assert again.schema() == table.schema()
    assert again.version() == table.version()  # once


def test_a_column_that_no_file_of_a_raw_table_holds_stops_no_refresh(tmp_path: Path) -> None:
    """As of a release that brought it, before a line came, or after it was taken back."""
    append(tmp_path / "logs", tangled_lines(14, attempts=10, days=1))
    append(tmp_path / "logs", [veto_line("sig_vetoed", "BTCUSDT", AS_OF_MS - DAY_MS)])
    logs, home = tmp_path / "logs", tmp_path / "home"
    rebuilt(logs, home)
    lake = Lake(home / "lake")
    tables = ("raw_orders__events", "raw_risk__vetoes", "raw_market__bars")
    for table in tables:
        opened = lake.open(table)
        wider = pa.schema(opened.schema().to_arrow()).append(pa.field("lucky_n", pa.int64()))
        parts, words = opened.metadata().partition_columns, opened.metadata().description
        lake.ensure(table, wider, parts, words)
    made = order_line("order_ack", "sig_late", "BTCUSDT", AS_OF_MS - HOUR_MS, order_id=77_777)
    append(logs, [made])
    report = run(logs, home)
    assert report.outcome == "published"
    assert sum(read.accepted for read in report.intake.tables.values()) == 1
    store = Store(home / "snapshots")
    with open_snapshot(store.database(store.resolve(None))) as con:
        for table in tables:
            ((n, known),) = con.sql(f"SELECT COUNT(*), COUNT(lucky_n) FROM {table}").fetchall()
            assert (table, n > 0, known) == (table, table != "raw_market__bars", 0)


def test_nothing_new_writes_nothing(whole: Whole) -> None:
    logs, home = whole.root / "logs", whole.root / "home"
    before = [Lake(home / "lake").open(name).version() for name in rebuild.INPUTS]
    report = run(logs, home)
    assert report.outcome == "unchanged"
    assert report.core.partitions == {}
    assert before == [Lake(home / "lake").open(n).version() for n in rebuild.INPUTS]


@pytest.mark.parametrize(
    ("ranges", "joined"),
    [
        ([], []),  # nothing -> nothing
        ([(5, 9), (0, 5)], [(0, 9)]),  # half-open ranges that touch -> one
        ([(0, 9), (2, 3)], [(0, 9)]),  # one inside another -> the outer
        ([(0, 1), (2, 3)], [(0, 1), (2, 3)]),  # a gap -> both
    ],
)
def test_ranges_are_joined(ranges: list[tuple[int, int]], joined: list[tuple[int, int]]) -> None:
    assert rebuild.merged(ranges) == joined


@pytest.mark.parametrize("table", ["raw_router__events", "raw_orders__events"])
def test_a_raw_table_that_was_made_anew_is_consumed_from_its_beginning(
    two_of_three: Path, whole: Whole, tmp_path: Path, table: str
) -> None:
    """A person who lost a file of it moves it away, and has the logs read again."""
    logs, home = two_of_three / "logs", two_of_three / "home"
    (home / "lake" / table).rename(tmp_path / "damaged")
    append(logs, cut(whole.lines, 3)[2])
    rebuilt(logs, home)
    assert lake_digests(home) == whole.lake


def test_commits_of_raw_tables_that_were_lost_are_read_and_consumed_again(
    two_of_three: Path, whole: Whole
) -> None:
    """A disk forgets their last entries of the log; what was made of them remembers theirs."""
    logs, home = two_of_three / "logs", two_of_three / "home"
    lake = Lake(home / "lake")
    for name in rebuild.INPUTS:
        last = lake.open(name).version()
        (lake.path(name) / "_delta_log" / f"{last:020d}.json").unlink()
    append(logs, cut(whole.lines, 3)[2])
    assert run(logs, home).outcome == "published"
    assert all_digests(home) == whole.lake | whole.features


def test_lines_that_no_log_holds_any_more_are_gone_with_their_table(
    two_of_three: Path, tmp_path: Path
) -> None:
    logs, home = two_of_three / "logs", two_of_three / "home"
    for table in [path for path in (home / "lake").glob("raw_*") if path.name in rebuild.INPUTS]:
        table.rename(tmp_path / table.name)
    logs.rename(tmp_path / "rotated_away")
    append(logs, tangled_lines(11, attempts=10, days=1))  # of the other days nothing is left
    assert run(logs, home).outcome == "kept"  # of fewer lines
    settings = settings_over(logs, home)
    refresh(settings, as_of_ms=AS_OF_MS, now_ms=AS_OF_MS + HOUR_MS, publish=True)
    fresh = rebuilt(logs, tmp_path / "fresh", with_features=True)
    assert all_digests(home) == fresh | lake_digests(tmp_path / "fresh")
