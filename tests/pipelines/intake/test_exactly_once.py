"""Every line once, whatever happens to the file it stands in."""

import gzip
import os
import shutil
from pathlib import Path

import pytest

from features.events import Event
from features.settings import LogFolder
from pipelines.intake import lines
from tests.pipelines.intake.desk import ATTEMPTS, BARS, ORDERS, ROUTER, TRACES, Desk, line

NAME = "order_metrics.jsonl"


def some(first: int, count: int) -> bytes:
    return b"".join(line(f"a{n:04}") for n in range(first, first + count))


def ids(first: int, count: int) -> list[str]:
    return [f"a{n:04}" for n in range(first, first + count)]


def test_the_same_files_again_bring_no_rows_and_no_commit(desk: Desk) -> None:
    desk.write(NAME, some(0, 5))
    assert desk.counts(desk.run()) == (5, 5, 0, 0)
    version = desk.lake.open(ROUTER).version()
    report = desk.run()
    assert report.lines == 0
    assert report.problems == []
    assert desk.lake.open(ROUTER).version() == version
    assert desk.ids() == ids(0, 5)


def test_the_memory_of_seen_files_is_only_a_shortcut(desk: Desk) -> None:
    desk.write(NAME, some(0, 5))
    desk.run()
    memory = desk.root / "home" / "cache" / "files.json"
    for content in (
        "",
        "[]",
        "{",
        '{"%s": [1]}' % (desk.logs / NAME),
        '{"%s": 7}' % (desk.logs / NAME),
    ):
        memory.write_text(content)
        assert desk.run().lines == 0
    memory.unlink()
    assert desk.run().lines == 0
    assert desk.ids() == ids(0, 5)


def test_a_half_line_waits_for_its_end(desk: Desk) -> None:
    desk.write(NAME, some(0, 1))
    desk.run()
    whole = some(1, 3)
    desk.append(NAME, whole[:-20])
    assert desk.counts(desk.run()) == (2, 2, 0, 0)
    assert desk.run().lines == 0
    desk.append(NAME, whole[-20:])
    assert desk.counts(desk.run()) == (1, 1, 0, 0)
    assert desk.ids() == ids(0, 4)


def test_a_file_without_a_whole_line_is_no_source_yet(desk: Desk) -> None:
    desk.write(NAME, some(0, 1)[:-1])
    assert desk.run().lines == 0
    desk.append(NAME, b"\n")
    assert desk.counts(desk.run()) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    "rotated",
    [
        "order_metrics.1.jsonl",
        "order_metrics.jsonl.1",
        "order_metrics.jsonl-20251105",
        "order_metrics.jsonl-2025-11-05T08:00:00",
        "order_metrics.jsonl.2025-11-05",
        "old/order_metrics.jsonl",
    ],
)
def test_a_renamed_file_goes_on_where_it_stopped(desk: Desk, rotated: str) -> None:
    desk.write(NAME, some(0, 3))
    desk.run()
    desk.append(NAME, some(3, 2))  # written between the last run and the rotation
    (desk.logs / rotated).parent.mkdir(exist_ok=True)
    (desk.logs / NAME).rename(desk.logs / rotated)
    desk.write(NAME, some(5, 2))
    assert desk.counts(desk.run()) == (4, 4, 0, 0)
    assert desk.ids() == ids(0, 7)
    assert desk.run().lines == 0


@pytest.mark.parametrize("rotated", ["order_metrics.1.jsonl.gz", "order_metrics.jsonl.1.gz"])
def test_a_compressed_file_goes_on_where_it_stopped(desk: Desk, rotated: str) -> None:
    desk.write(NAME, some(0, 200))
    desk.run()
    desk.append(NAME, some(200, 2))
    desk.write(rotated, gzip.compress((desk.logs / NAME).read_bytes()))
    desk.write(NAME, some(202, 1))
    assert desk.counts(desk.run()) == (3, 3, 0, 0)
    assert desk.ids() == ids(0, 203)
    assert desk.run().lines == 0


def test_rotations_are_read_oldest_first(desk: Desk) -> None:
    desk.write("order_metrics.2.jsonl", some(0, 1))
    desk.write("order_metrics.1.jsonl", some(1, 1))
    desk.write("order_metrics.jsonl-20251104", some(2, 1))
    desk.write(NAME, some(3, 1))
    desk.run()
    rows = sorted(desk.rows(), key=lambda row: row["ingest_seq"])
    assert [row["attempt_id"] for row in rows] == ids(0, 4)


def test_copy_and_truncate_loses_nothing_and_doubles_nothing(desk: Desk) -> None:
    desk.write(NAME, some(0, 100))
    desk.run()
    desk.append(NAME, some(100, 5))
    shutil.copy(desk.logs / NAME, desk.logs / "order_metrics.1.jsonl")
    os.truncate(desk.logs / NAME, 0)
    assert desk.counts(desk.run()) == (5, 5, 0, 0)
    desk.append(NAME, some(105, 3))
    assert desk.counts(desk.run()) == (3, 3, 0, 0)
    desk.append(NAME, some(108, 400))  # beyond the length it had before
    assert desk.counts(desk.run()) == (400, 400, 0, 0)
    assert desk.ids() == ids(0, 508)


def test_a_copy_beside_the_file_brings_nothing(desk: Desk) -> None:
    desk.write(NAME, some(0, 50))
    desk.run()
    shutil.copy(desk.logs / NAME, desk.logs / "order_metrics.1.jsonl")
    assert desk.run().lines == 0
    desk.append(NAME, some(50, 1))
    assert desk.counts(desk.run()) == (1, 1, 0, 0)
    assert desk.ids() == ids(0, 51)


def test_a_copy_is_read_once_also_in_the_first_run(desk: Desk) -> None:
    desk.write(NAME, some(0, 50))
    desk.write("elsewhere/order_metrics.jsonl", some(0, 50))
    assert desk.counts(desk.run()) == (50, 50, 0, 0)


def test_a_copy_that_grew_further_goes_on_from_the_shared_end(desk: Desk) -> None:
    desk.write("a/order_metrics.jsonl", some(0, 50))
    desk.write("b/order_metrics.jsonl", some(0, 60))
    assert desk.counts(desk.run()) == (60, 60, 0, 0)


def test_an_old_shorter_copy_is_read_again_and_its_lines_are_known(desk: Desk) -> None:
    desk.write(NAME, some(0, 50))
    desk.run()
    desk.write("backup/order_metrics.jsonl", some(0, 20))
    report = desk.run()
    assert desk.counts(report) == (20, 0, 0, 20)
    assert [p.path.parent.name for p in report.problems] == ["backup"]
    assert "shorter than the" in report.problems[0].what
    assert desk.ids() == ids(0, 50)
    report = desk.run()
    assert (report.lines, report.problems) == (0, [])


def test_a_file_rewritten_shorter_is_read_from_its_beginning(desk: Desk) -> None:
    desk.write(NAME, some(0, 30))
    desk.run()
    desk.write(NAME, some(0, 5) + some(90, 4))
    report = desk.run()
    assert desk.counts(report) == (9, 4, 0, 5)
    assert [p.what[:12] for p in report.problems] == ["shorter than"]
    desk.append(NAME, some(94, 1))
    assert desk.counts(desk.run()) == (1, 1, 0, 0)
    assert desk.ids() == ids(0, 30) + ids(90, 5)


def test_repeated_rejected_lines_are_dropped_and_counted_too(desk: Desk) -> None:
    desk.write(NAME, some(0, 3) + b"not json\n" + some(3, 3))
    assert desk.counts(desk.run()) == (7, 6, 1, 0)
    desk.write(NAME, some(0, 3) + b"not json\nnor this\n")
    assert desk.counts(desk.run()) == (5, 0, 1, 4)


def test_equal_lines_within_one_reading_are_all_kept(desk: Desk) -> None:
    desk.write(NAME, some(0, 1) * 3)
    assert desk.counts(desk.run()) == (3, 3, 0, 0)


def test_an_equal_first_line_does_not_make_two_files_one(desk: Desk) -> None:
    start = b'{"event": "start", "symbol": "ANY", "ts": 1762330000}\n'
    desk.write("order_metrics.1.jsonl", start + some(0, 10))
    desk.write(NAME, start + some(10, 40))
    assert desk.counts(desk.run()) == (52, 51, 0, 1)
    desk.append("order_metrics.1.jsonl", some(50, 1))
    desk.append(NAME, some(51, 1))
    assert desk.counts(desk.run()) == (2, 2, 0, 0)
    found = [row["attempt_id"] for row in desk.rows() if row["attempt_id"]]
    assert sorted(found) == ids(0, 52)


def test_equal_lines_of_two_kinds_are_two_sources(desk: Desk) -> None:
    desk.write(NAME, some(0, 2))
    desk.write("orders_executed.jsonl", some(0, 2))
    report = desk.run()
    assert desk.counts(report, ROUTER) == (2, 2, 0, 0)
    assert desk.counts(report, ORDERS) == (2, 2, 0, 0)


def test_equal_csv_files_of_two_symbols_are_two_sources(desk: Desk) -> None:
    bars = b"date,open,high,low,close,volume\n2025-11-05,1,1,1,1,0\n"
    for name in ("AUSDT_1m.csv", "BUSDT_1m.csv", "AUSDT_5m.csv"):
        desk.write(name, bars)
    assert desk.counts(desk.run(), BARS) == (3, 3, 0, 0)
    found = sorted((row["symbol"], row["bar_interval"]) for row in desk.rows(BARS))
    assert found == [("AUSDT", "1m"), ("AUSDT", "5m"), ("BUSDT", "1m")]


def test_a_growing_csv_file_goes_on_where_it_stopped(desk: Desk) -> None:
    desk.write("AUSDT_1m.csv", b"date,open,high,low,close,volume\n")
    assert desk.run().lines == 0
    desk.append("AUSDT_1m.csv", b"2025-11-05 00:00:00,1,1,1,1,0\n2025-11-05 00:01:00,2,2,")
    assert desk.counts(desk.run(), BARS) == (1, 1, 0, 0)
    desk.append("AUSDT_1m.csv", b"2,2,0\n")
    assert desk.counts(desk.run(), BARS) == (1, 1, 0, 0)
    assert [row["open"] for row in desk.rows(BARS)] == [1.0, 2.0]


def test_a_byte_order_mark_is_dropped(desk: Desk) -> None:
    desk.write(NAME, b"\xef\xbb\xbf" + some(0, 2))
    desk.write(
        "AUSDT_1d.csv", b"\xef\xbb\xbfdate,open,high,low,close,volume\n2025-11-05,1,1,1,1,0\n"
    )
    report = desk.run()
    assert desk.counts(report) == (2, 2, 0, 0)
    assert desk.counts(report, BARS) == (1, 1, 0, 0)
    assert [row["line_offset"] for row in desk.rows()] == [3, 3 + len(some(0, 1))]
    desk.append(NAME, some(2, 1))
    assert desk.counts(desk.run()) == (1, 1, 0, 0)


def test_carriage_returns_belong_to_the_line_end(desk: Desk) -> None:
    desk.write(NAME, some(0, 3).replace(b"\n", b"\r\n"))
    desk.write("AUSDT_1d.csv", b"date,open,high,low,close,volume\r\n2025-11-05,1,1,1,1,7\r\n")
    report = desk.run()
    assert desk.counts(report) == (3, 3, 0, 0)
    assert desk.rows(BARS)[0]["volume"] == 7.0
    size = len(some(0, 1)) + 1
    assert [row["line_offset"] for row in desk.rows()] == [0, size, 2 * size]


def test_line_ends_do_not_change_what_a_line_is(desk: Desk) -> None:
    desk.write(NAME, some(0, 30))
    desk.run()
    desk.write(NAME, some(0, 20).replace(b"\n", b"\r\n"))  # shorter, saved by an editor
    assert desk.counts(desk.run()) == (20, 0, 0, 20)


def test_blank_lines_are_counted_and_kept_as_rejected(desk: Desk) -> None:
    desk.write(NAME, b"\n" + some(0, 1) + b"\n   \n" + some(1, 1))
    report = desk.run()
    assert desk.counts(report) == (5, 2, 3, 0)
    assert report.tables[ROUTER].reasons == {"blank_line": 3}


def test_a_compressed_file_that_is_being_written_is_read_as_far_as_it_goes(desk: Desk) -> None:
    whole = gzip.compress(
        os.urandom(4000).hex().encode().join([some(0, 400), b"\n"]) + some(400, 400)
    )
    path = desk.write("order_metrics.1.jsonl.gz", whole[: len(whole) // 2])
    first = desk.run()
    assert [p.path for p in first.problems] == [path]
    assert "lines before the damage were read" in first.problems[0].what
    read = first.tables[ROUTER].lines
    assert 400 <= read < 801
    again = desk.run()
    assert again.lines == 0
    assert len(again.problems) == 1, "it is still broken, and still said so"
    path.write_bytes(whole)
    last = desk.run()
    assert last.problems == []
    assert last.tables[ROUTER].lines == 801 - read
    assert last.tables[ROUTER].duplicates == 0
    assert len(desk.rows()) == 801


def test_a_compressed_file_in_several_members_is_one_source(desk: Desk) -> None:
    name = "order_metrics.jsonl.gz"
    desk.write(name, gzip.compress(some(0, 3)))
    desk.run()
    desk.append(name, gzip.compress(some(3, 2)))
    assert desk.counts(desk.run()) == (2, 2, 0, 0)
    assert desk.ids() == ids(0, 5)


def test_links_are_followed_once(desk: Desk, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "order_metrics.jsonl").write_bytes(some(0, 3))
    (desk.logs / "today").symlink_to(real, target_is_directory=True)
    (desk.logs / "again").symlink_to(real, target_is_directory=True)
    (desk.logs / NAME).symlink_to(real / "order_metrics.jsonl")
    (real / "up").symlink_to(desk.logs, target_is_directory=True)
    report = desk.run()
    assert desk.counts(report) == (3, 3, 0, 0)
    assert report.problems == []


def test_overlapping_folders_are_read_once(desk: Desk) -> None:
    desk.write("desk1/order_metrics.jsonl", some(0, 3))
    folders = [{"path": desk.logs / "desk1", "account": "one"}]
    assert desk.counts(desk.run(logs=folders)) == (3, 3, 0, 0)
    assert {row["account"] for row in desk.rows()} == {"one"}


def test_only_the_tables_asked_for_are_read(desk: Desk) -> None:
    desk.write(NAME, some(0, 2))
    desk.write("orders_attempted.jsonl", some(0, 2))
    report = desk.run(tables={ATTEMPTS})
    assert set(report.tables) == {ATTEMPTS}
    assert desk.rows(ROUTER) == []
    assert desk.counts(desk.run()) == (2, 2, 0, 0)
    assert desk.run(tables={ATTEMPTS}).lines == 0
    assert desk.run().lines == 0


@pytest.mark.parametrize("moment", ["intake.before_commit", "intake.committed"])
# The first commit makes the source; every later one meets what the second meets.
@pytest.mark.parametrize("hit", [1, 2, pytest.param(3, marks=pytest.mark.soak)])
def test_a_run_that_dies_at_a_commit_is_made_up_for_by_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, moment: str, hit: int
) -> None:
    monkeypatch.setattr(lines, "CHUNK_LINES", 10)
    desk.write(NAME, some(0, 45))
    met = 0

    def die(event: Event) -> None:
        nonlocal met
        met += event.name == moment
        if met == hit:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        desk.run(listen=die)
    done = len(desk.rows())
    assert done == 10 * (hit if moment == "intake.committed" else hit - 1)
    assert desk.counts(desk.run()) == (45 - done, 45 - done, 0, 0)
    assert desk.ids() == ids(0, 45)


def test_progress_adds_up_to_the_bytes_found(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "CHUNK_LINES", 10)
    desk.write(NAME, some(0, 45))
    desk.write("orders_attempted.jsonl", some(0, 5))
    events: list[Event] = []
    desk.run(listen=events.append)
    total = [event.total for event in events if event.name == "intake.found"]
    done = [event.done or 0 for event in events if event.name == "intake.committed"]
    assert total == [sum(done)] == [len(some(0, 50))]
    assert len(done) == 6


def test_a_home_with_spaces_and_marks_works(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "my desk, größer (2) +")
    desk.write(NAME, some(0, 5))
    desk.run()
    desk.write(NAME, some(0, 2))
    assert desk.counts(desk.run()) == (2, 0, 0, 2)
    assert desk.ids() == ids(0, 5)


def test_a_shared_home_keeps_accounts_and_environments_apart(desk: Desk) -> None:
    desk.write("main/order_metrics.jsonl", some(0, 1))
    desk.write("main/backtest_7/order_metrics.jsonl", some(1, 1))
    desk.write("hedge/order_metrics.jsonl", some(2, 1) + line("a0003", env="LIVE", exchange="okx"))
    folders = [
        {"path": desk.logs / "main", "account": "main", "environment": "live", "venue": "binance"},
        {"path": desk.logs / "hedge", "account": "hedge", "environment": "testnet"},
    ]
    desk.run(logs=folders, log_dir=None)
    found = {
        row["attempt_id"]: (row["account"], row["environment"], row["venue"]) for row in desk.rows()
    }
    assert found == {
        "a0000": ("main", "live", "binance"),
        "a0001": ("main", "backtest", "binance"),
        "a0002": ("hedge", "testnet", "unknown"),
        "a0003": ("hedge", "live", "okx"),
    }


def test_traces_are_read_from_both_formats(desk: Desk) -> None:
    desk.write(
        "analytics/traces_swing_001.csv",
        b"timestamp,symbol,strategy,predicted_direction,realized_return_pct,features_json\n"
        b'2025-11-05T08:00:00Z,btcusdt,swing,LONG,1.5,"{""atr"": 0.4, ""s"": ""a,b""}"\n',
    )
    desk.write(
        "analytics/traces_intraday_001.jsonl",
        b'{"timestamp": "2025-11-05T08:00:00Z", "symbol": "ETHUSDT", "features": {"atr": 0.5}}\n',
    )
    desk.run()
    found = [
        (r["symbol"], r["strategy"], r["realized_return_pct"], r["features_json"])
        for r in sorted(desk.rows(TRACES), key=lambda row: str(row["symbol"]))
    ]
    assert found == [
        ("BTCUSDT", "swing", 1.5, '{"atr": 0.4, "s": "a,b"}'),
        ("ETHUSDT", "intraday", None, '{"atr":0.5}'),
    ]


# --------------------------------------------------------------------------- who a log belongs to


def folders(desk: Desk, **places: dict[str, str]) -> tuple[LogFolder, ...]:
    return tuple(LogFolder(path=desk.logs / name, **place) for name, place in places.items())


@pytest.mark.parametrize(
    ("other", "column"),
    [({"account": "second"}, "account"), ({"environment": "testnet"}, "environment")],
)
def test_equal_logs_of_two_owners_are_two_sources(
    desk: Desk, other: dict[str, str], column: str
) -> None:
    logs = folders(desk, a={}, b=other)
    desk.write(f"a/{NAME}", some(0, 3))
    desk.write(f"b/{NAME}", some(0, 3))
    assert desk.counts(desk.run(log_dir=None, logs=logs)) == (6, 6, 0, 0)
    assert desk.ids() == sorted(ids(0, 3) * 2)
    assert len({(row["source_id"], row[column]) for row in desk.rows()}) == 2

    # each goes on where it stopped, also renamed, and nothing is read twice
    desk.append(f"a/{NAME}", some(3, 1))
    desk.append(f"b/{NAME}", some(3, 2))
    (desk.logs / "b" / NAME).rename(desk.logs / "b" / "order_metrics.1.jsonl")
    assert desk.counts(desk.run(log_dir=None, logs=logs)) == (3, 3, 0, 0)
    (desk.root / "home" / "cache" / "files.json").unlink()
    assert desk.run(log_dir=None, logs=logs).lines == 0
    assert desk.run(log_dir=None, logs=logs[::-1]).lines == 0


def test_equal_logs_of_one_owner_are_one_source(desk: Desk) -> None:
    desk.write(f"a/{NAME}", some(0, 3))
    desk.write(f"b/{NAME}", some(0, 3))
    assert desk.counts(desk.run(log_dir=None, logs=folders(desk, a={}, b={}))) == (3, 3, 0, 0)


def test_a_log_whose_account_was_given_another_name_goes_on(desk: Desk) -> None:
    desk.write(f"a/{NAME}", some(0, 3))
    desk.run(log_dir=None, logs=folders(desk, a={"account": "old"}))
    desk.append(f"a/{NAME}", some(3, 1))
    renamed = folders(desk, a={"account": "new"})
    assert desk.counts(desk.run(log_dir=None, logs=renamed)) == (1, 1, 0, 0)
    assert [row["account"] for row in desk.rows()] == ["old"] * 3 + ["new"]


def test_an_owner_whose_folder_is_away_keeps_its_source(desk: Desk) -> None:
    logs = folders(desk, a={}, b={"account": "second"})
    desk.write(f"a/{NAME}", some(0, 3))
    desk.run(log_dir=None, logs=logs)
    (desk.logs / "a").rename(desk.root / "unmounted")
    desk.write(f"b/{NAME}", some(0, 3))
    assert desk.counts(desk.run(log_dir=None, logs=logs)) == (3, 3, 0, 0)
    (desk.root / "unmounted").rename(desk.logs / "a")
    assert desk.run(log_dir=None, logs=logs).lines == 0


def test_a_backtest_with_the_bytes_of_a_real_log_is_a_source_of_its_own(desk: Desk) -> None:
    desk.write(NAME, some(0, 2))
    desk.write(f"backtest_1/{NAME}", some(0, 2))
    assert desk.counts(desk.run()) == (4, 4, 0, 0)
    assert {row["environment"] for row in desk.rows()} == {"paper", "backtest"}
