"""The lake's tables: created once, committed with their transactions, listed with statistics."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from features.engines import duckdb as engine
from features.lake import (
    FORMAT_VERSION,
    DataFile,
    Lake,
    LakeDamageError,
    LakeFormatError,
    data_files,
    next_seq,
    overlapping,
    positive_63,
    utc_day,
)

SCHEMA = pa.schema(
    [
        pa.field("event_ms", pa.int64(), metadata={"comment": "time, epoch ms"}),
        pa.field("symbol", pa.string()),
        pa.field("part", pa.string()),
    ]
)


def rows(*values: tuple[int | None, str, str]) -> pa.Table:
    columns = list(zip(*values, strict=True)) if values else [(), (), ()]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], SCHEMA)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(tmp_path / "lake")
    made.prepare()
    made.ensure("raw_x__y", SCHEMA, ["part"], "a table")
    return made


def contents(lake: Lake) -> list[tuple[object, ...]]:
    with engine.connect() as con:
        engine.create_view(con, "y", lake.open("raw_x__y"))
        return con.sql("SELECT event_ms, symbol FROM y ORDER BY ALL").fetchall()


def test_a_lake_of_another_format_is_refused_with_what_to_do(lake: Lake) -> None:
    lake.prepare()  # again: nothing to do
    (lake.root / "FORMAT").write_text(f"{FORMAT_VERSION + 1}\n")
    with pytest.raises(
        LakeFormatError,
        match=r"has lake format '2', this release reads 1: use .* No command converts",
    ):
        lake.prepare()


def test_a_table_is_created_once(lake: Lake) -> None:
    lake.append(lake.open("raw_x__y"), rows((1, "A", "d1")), {})
    lake.ensure("raw_x__y", SCHEMA, ["part"], "a table")
    table = lake.open("raw_x__y")
    assert table.version() == 1  # created, appended to; nothing else was to do
    assert table.metadata().description == "a table"
    assert contents(lake) == [(1, "A")]
    fields = pa.schema(table.schema().to_arrow())
    assert fields.field("event_ms").metadata == {b"comment": b"time, epoch ms"}
    assert not lake.exists("raw_x__z")


def test_a_newer_release_brings_columns_and_other_words_for_those_there_are(lake: Lake) -> None:
    lake.append(lake.open("raw_x__y"), rows((1, "A", "d1")), {})
    newer = pa.schema(
        [
            pa.field("event_ms", pa.int64(), metadata={"comment": "when, epoch ms"}),
            *[field for field in SCHEMA if field.name != "event_ms"],
            pa.field("venue", pa.string(), metadata={"comment": "where"}),
        ]
    )
    lake.ensure("raw_x__y", newer, ["part"], "other words")
    table = Lake(lake.root).open("raw_x__y")
    assert table.metadata().description == "other words"
    fields = pa.schema(table.schema().to_arrow())
    assert fields.names == [*SCHEMA.names, "venue"]
    assert fields.field("event_ms").metadata == {b"comment": b"when, epoch ms"}
    assert fields.field("venue").metadata == {b"comment": b"where"}
    assert contents(lake) == [(1, "A")]
    version = table.version()
    lake.ensure("raw_x__y", newer, ["part"], "other words")
    assert Lake(lake.root).open("raw_x__y").version() == version


def test_a_folder_that_a_killed_run_left_without_a_commit_is_no_table(lake: Lake) -> None:
    (lake.path("raw_x__z") / "_delta_log").mkdir(parents=True)
    assert not lake.exists("raw_x__z")
    lake.ensure("raw_x__z", SCHEMA, ["part"], "a table")
    assert lake.exists("raw_x__z")


def test_a_new_column_is_added_and_older_rows_read_as_null(lake: Lake) -> None:
    lake.append(lake.open("raw_x__y"), rows((1, "A", "d1")), {})
    lake.ensure("raw_x__y", SCHEMA.append(pa.field("venue", pa.string())), ["part"], "a table")
    with engine.connect() as con:
        engine.create_view(con, "y", lake.open("raw_x__y"))
        assert con.sql("SELECT event_ms, venue FROM y").fetchall() == [(1, None)]


def test_a_snapshot_view_over_files_that_lack_a_new_column_reads_it_as_null(lake: Lake) -> None:
    lake.append(lake.open("raw_x__y"), rows((1, "A", "d1")), {})
    added = SCHEMA.append(pa.field("seen_at_utc", pa.timestamp("us", tz="UTC")))
    lake.ensure("raw_x__y", added, ["part"], "a table")
    table = lake.open("raw_x__y")
    with engine.connect() as con:
        schema = pa.schema(table.schema().to_arrow())
        engine.create_scan(con, "CREATE VIEW y", schema, [file.path for file in data_files(table)])
        relation = con.sql("SELECT event_ms, seen_at_utc FROM y")
        assert [str(kind) for kind in relation.types] == ["BIGINT", "TIMESTAMP"]
        assert relation.fetchall() == [(1, None)]


def test_each_view_shows_its_own_files_whatever_was_read_before_and_in_which_shape(
    lake: Lake,
) -> None:
    for number in range(4):  # file n holds n + 1 rows
        lake.append(lake.open("raw_x__y"), rows(*((number, "A", "d1"),) * (number + 1)), {})
    wider = SCHEMA.append(pa.field("venue", pa.string()))
    lake.ensure("raw_x__y", wider, ["part"], "a table")
    for number in (4, 5):  # since there are venues
        values = [pa.array([value] * (number + 1)) for value in (number, "A", "d1", "v")]
        lake.append(lake.open("raw_x__y"), pa.table(values, wider), {})
    table = lake.open("raw_x__y")
    by_time = {file.minimum["event_ms"]: file for file in data_files(table)}
    with engine.connect() as con:

        def shown(name: str, *times: int, **limits: Any) -> list[tuple[object, ...]]:
            engine.create_view(con, name, table, files=[by_time[t] for t in times], **limits)
            found = con.sql(f"SELECT event_ms, venue, COUNT(*) FROM {name} GROUP BY ALL ORDER BY 1")
            return found.fetchall()

        zero, one, two, three = [(n, None, n + 1) for n in range(4)]
        four, five = (4, "v", 5), (5, "v", 6)
        assert shown("a", 3, 1) == [one, three]  # both lack the column
        assert shown("b", 2, 1, 4) == [one, two, four]  # one was read before; one has the column
        assert shown("c", 5, 0) == [zero, five]
        assert shown("d", 0, 4, 2, ranges=[(2, 5)], cut=True) == [two, four]
        assert shown("e", 0, 4, 2, where="event_ms < 1 OR event_ms > 3") == [zero, four]
        limits = {"ranges": [(0, 3)], "cut": True, "where": "event_ms < 1 OR event_ms > 3"}
        assert shown("f", 0, 4, 2, **limits) == [zero]
        assert shown("g") == []
        assert shown("h", 2, 2) == [two]  # named twice, shown once
        assert con.sql("SELECT DISTINCT event_ms FROM a ORDER BY 1").fetchall() == [(1,), (3,)]
        con.execute("SET disabled_filesystems = 'LocalFileSystem'")  # no file is opened again
        assert shown("i", *range(6)) == [zero, one, two, three, four, five]


@pytest.mark.parametrize(
    ("files", "rows_n", "bytes_n", "is_held"),
    [
        (1, engine.FEW_ROWS, 1, True),  # few rows
        (1, engine.FEW_ROWS + 1, 1, False),  # more, in one file
        (20, 20 * engine.ROWS_A_FILE, 20, True),  # more, in small files
        (20, 20 * engine.ROWS_A_FILE + 1, 20, False),
        (400, engine.HELD_ROWS, 400, True),
        (400, engine.HELD_ROWS + 1, 400, False),  # too many for the memory
        (20, 20, engine.HELD_BYTES, True),
        (20, 20, engine.HELD_BYTES + 20, False),  # few rows of long texts
    ],
)
def test_few_rows_and_small_files_are_held(
    lake: Lake, files: int, rows_n: int, bytes_n: int, is_held: bool
) -> None:
    for _ in range(files if files < 100 else 2):
        lake.append(lake.open("raw_x__y"), rows((1, "A", "d1")), {})
    table = lake.open("raw_x__y")
    there = data_files(table)
    told = [  # as if they were so large
        replace(
            there[n % len(there)],
            rows=rows_n // files + (n < rows_n % files),
            bytes=bytes_n // files,
        )
        for n in range(files)
    ]
    with engine.connect() as con:
        engine.create_view(con, "y", table, files=told)
        (text,) = con.sql("SELECT sql FROM duckdb_views() WHERE view_name = 'y'").fetchall()[0]
        assert ("read_parquet" not in text) == is_held


def test_a_connection_holds_no_more_than_its_share_of_the_memory(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        lake.append(lake.open("raw_x__y"), rows((number, "A", "d1")), {})
    table = lake.open("raw_x__y")
    files = data_files(table)
    monkeypatch.setattr(engine, "HELD_BYTES", files[0].bytes + files[1].bytes)
    with engine.connect() as con:
        for name, chosen in (("a", files[:1]), ("b", files[1:2]), ("c", files[2:]), ("d", files)):
            engine.create_view(con, name, table, files=chosen)
        views = dict(con.sql("SELECT view_name, sql FROM duckdb_views()").fetchall())
        held = {name for name in "abcd" if "read_parquet" not in views[name]}
        assert held == {"a", "b"}  # and the others are read from their files
        assert con.sql("SELECT COUNT(*) FROM d").fetchall() == [(3,)]


def test_rows_and_transactions_are_of_one_commit(lake: Lake) -> None:
    table = lake.open("raw_x__y")
    assert table.transaction_version("log") is None
    lake.append(table, rows((1, "A", "d1"), (2, "B", "d2")), {"log": 700, "lines": 2})
    fresh = lake.open("raw_x__y")
    assert (fresh.transaction_version("log"), fresh.transaction_version("lines")) == (700, 2)
    assert fresh.version() == 1
    assert lake.open("raw_x__y", 0).transaction_version("log") is None
    assert data_files(lake.open("raw_x__y", 0)) == []


def test_rows_that_an_empty_entry_of_the_log_hides_are_missed(lake: Lake) -> None:
    """As a machine may leave it that lost its power; Delta reads it as a commit of nothing."""
    for number in range(3):
        lake.append(lake.open("raw_x__y"), rows((number, "A", "d1")), {"log": number})
    entry = lake.path("raw_x__y") / "_delta_log" / f"{2:020d}.json"
    kept = entry.read_bytes()
    entry.write_bytes(b"")
    assert DeltaTable(str(lake.path("raw_x__y"))).version() == 3  # nothing to see
    damaged = Lake(lake.root)
    with pytest.raises(
        LakeDamageError,
        match=r"raw_x__y holds 2 rows, and its commits brought 3: .* move the folder of raw_x__y",
    ):
        data_files(damaged.open("raw_x__y"))
    assert len(data_files(damaged.open("raw_x__y", 1))) == 1  # before it nothing is missing
    entry.write_bytes(kept)
    assert len(data_files(Lake(lake.root).open("raw_x__y"))) == 3


def test_rows_are_counted_through_every_kind_of_commit(lake: Lake) -> None:
    lake.append(lake.open("raw_x__y"), rows((1, "A", "d1"), (2, "A", "d1"), (3, "A", "d2")), {})
    lake.replace(lake.open("raw_x__y"), rows((1, "B", "d1")), ["d1"], {})
    lake.open("raw_x__y").optimize.compact()
    lake.append(lake.open("raw_x__y"), rows((4, "A", "d3")), {})
    assert lake.remove(lake.open("raw_x__y"), ["d2"]) == 1
    assert contents(lake) == [(1, "B"), (4, "A")]
    assert Lake(lake.root).open("raw_x__y").transaction_version("lake:rows") == 2


@pytest.mark.parametrize("harm", ["cut", "no checkpoint", "a gap"])
def test_a_damaged_log_is_told_with_its_table_and_what_mends_it(lake: Lake, harm: str) -> None:
    for number in range(12):  # more than ten: a checkpoint lies between
        lake.append(lake.open("raw_x__y"), rows((number, "A", "d1")), {})
    log = lake.path("raw_x__y") / "_delta_log"
    if harm == "cut":
        os.truncate(log / f"{12:020d}.json", 100)
    elif harm == "no checkpoint":
        next(log.glob("*.checkpoint.parquet")).unlink()
    else:
        (log / f"{11:020d}.json").unlink()
    with pytest.raises(LakeDamageError, match=r"raw_x__y .*move the folder of raw_x__y away"):
        data_files(Lake(lake.root).open("raw_x__y"))


def test_a_sequence_is_never_given_twice(lake: Lake) -> None:
    raw = lake.open("raw_x__y")
    assert next_seq(raw, "raw_x__y", []) == 1
    lake.append(raw, rows((1, "A", "d1")), {})
    lake.ensure("core_x__y", SCHEMA, ["part"], "made of it")
    core = lake.open("core_x__y")
    assert next_seq(raw, "raw_x__y", [core]) == 2
    lake.append(core, rows((1, "A", "d1")), {"raw_x__y": 7})  # of commits that were lost since
    assert next_seq(raw, "raw_x__y", [core]) == 8


def test_a_commit_without_rows_still_remembers_its_transactions(lake: Lake) -> None:
    lake.append(lake.open("raw_x__y"), rows(), {"log": 9})
    assert lake.open("raw_x__y").transaction_version("log") == 9
    assert contents(lake) == []


def test_transactions_outlive_compaction_and_later_commits(lake: Lake) -> None:
    for number in range(12):  # beyond a checkpoint
        lake.append(lake.open("raw_x__y"), rows((number, "A", "d1")), {f"log_{number}": number})
    lake.open("raw_x__y").optimize.compact()
    table = lake.open("raw_x__y")
    assert [table.transaction_version(f"log_{n}") for n in range(12)] == list(range(12))
    (file,) = data_files(table)
    assert (file.rows, file.minimum["event_ms"], file.maximum["event_ms"]) == (12, 0, 11)


def test_replacing_partitions_leaves_the_others_and_takes_rows_away(lake: Lake) -> None:
    lake.append(lake.open("raw_x__y"), rows((1, "A", "d1"), (2, "B", "d2"), (3, "C", "d3")), {})
    new = rows((9, "A", "d1"))
    lake.replace(lake.open("raw_x__y"), new, ["d1", "d2"], {"seen": 4})
    assert contents(lake) == [(3, "C"), (9, "A")]
    assert lake.open("raw_x__y").transaction_version("seen") == 4
    lake.replace(lake.open("raw_x__y"), rows(), [], {"seen": 5})
    assert contents(lake) == [(3, "C"), (9, "A")]
    assert lake.open("raw_x__y").transaction_version("seen") == 5


def test_an_empty_table_reads_as_an_empty_typed_relation(lake: Lake) -> None:
    with engine.connect() as con:
        engine.create_view(con, "y", lake.open("raw_x__y"))
        relation = con.sql("SELECT * FROM y")
        assert relation.columns == ["event_ms", "symbol"]
        assert [str(kind) for kind in relation.types] == ["BIGINT", "VARCHAR"]
        assert relation.fetchall() == []


def test_files_are_listed_with_partition_rows_and_statistics(lake: Lake) -> None:
    lake.append(lake.open("raw_x__y"), rows((5, "A", "d1"), (7, "B", "d1"), (None, "C", "d2")), {})
    first, second = data_files(lake.open("raw_x__y"))
    assert (first.partition, first.rows) == ({"part": "d1"}, 2)
    assert (first.minimum["event_ms"], first.maximum["event_ms"]) == (5, 7)
    assert Path(first.path).stat().st_size == first.bytes
    assert second.minimum.get("event_ms") is None


def test_files_are_listed_largest_first(lake: Lake) -> None:
    for count in (1, 3, 2):
        found = rows(*((5, "A", "d1") for _ in range(count)))
        lake.append(lake.open("raw_x__y"), found, {})
    assert [file.rows for file in data_files(lake.open("raw_x__y"))] == [3, 2, 1]


def file_of(low: int | None, high: int | None) -> DataFile:
    return DataFile("f", 1, 1, {}, {"event_ms": low}, {"event_ms": high})


@pytest.mark.parametrize(
    ("low", "high", "is_kept"),
    [
        (10, 20, True),  # holds the whole range -> kept
        (0, 9, False),  # ends before it -> left out
        (0, 10, True),  # ends with its first moment -> kept
        (15, 99, False),  # begins at its open end -> left out
        (14, 99, True),  # begins with its last moment -> kept
        (None, None, True),  # says nothing -> kept
    ],
)
def test_files_are_chosen_by_half_open_ranges(
    low: int | None, high: int | None, is_kept: bool
) -> None:
    assert bool(overlapping([file_of(low, high)], "event_ms", [(10, 15)])) is is_kept


@pytest.mark.parametrize(
    ("value", "folded"), [(0, 0), (-1, (1 << 63) - 1), (1 << 63, 0), ((1 << 64) + 5, 5)]
)
def test_numbers_fold_into_what_a_transaction_can_hold(value: int, folded: int) -> None:
    assert positive_63(value) == folded


def test_days_are_utc() -> None:
    assert utc_day(1_762_387_199_999) == "2025-11-05"
    assert utc_day(1_762_387_200_000) == "2025-11-06"


def test_a_table_of_an_older_release_takes_the_properties_and_loses_no_version(
    tmp_path: Path,
) -> None:
    lake = Lake(tmp_path / "lake")
    lake.prepare()
    path = lake.path("raw_x__y")
    DeltaTable.create(str(path), SCHEMA, partition_by=["part"])
    for n in range(1, 12):
        lake.append(lake.open("raw_x__y"), rows((n, "A", "d1")), {})
    lake.open("raw_x__y").create_checkpoint()
    long_ago = time.time() - 90 * 86_400  # Delta lets go of logs after 30 days, unless told not to
    for log in (path / "_delta_log").iterdir():
        os.utime(log, (long_ago, long_ago))
    wider = SCHEMA.append(pa.field("more", pa.int64()))
    for schema in (SCHEMA, wider):
        Lake(lake.root).ensure("raw_x__y", schema, ["part"], "a table")
    opened = Lake(lake.root).open("raw_x__y")
    assert opened.metadata().configuration["delta.checkpointInterval"] == "10"
    assert opened.version() == 14  # the properties, the description, the column
    for version in range(opened.version() + 1):
        assert DeltaTable(str(path), version=version).version() == version


def test_the_only_writer_of_a_lake_sees_its_own_commits(lake: Lake) -> None:
    mine = Lake(lake.root, is_only_writer=True)
    assert contents(mine) == []
    mine.append(mine.open("raw_x__y"), rows((1, "A", "d1")), {"a": 1})
    assert contents(mine) == [(1, "A")]
    replacing = rows((2, "B", "d1"))
    mine.replace(mine.open("raw_x__y"), replacing, ["d1"], {"a": 2})
    assert contents(mine) == [(2, "B")]
    assert mine.open("raw_x__y").transaction_version("a") == 2
    lake.append(lake.open("raw_x__y"), rows((3, "C", "d2")), {})
    assert contents(mine) == [(2, "B")], "it looked for others' commits"
