"""The corpus of bad and odd files; the good files beside them are always read."""

import gzip
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from pipelines.intake.kinds import kind_of
from tests.pipelines.intake.desk import BARS, ROUTER, TRACES, Desk, line

NAME = "order_metrics.jsonl"
HEADER = b"date,open,high,low,close,volume\n"
THREE = line("a") + line("b") + line("c")


def beside(desk: Desk) -> None:
    """Put a good file beside the bad one."""
    desk.write("good/orders_attempted.jsonl", line("good"))


def only_problem(desk: Desk, **settings: Any) -> tuple[str, str]:
    """Run, hold that the good file was read, and return the name and words of the one problem."""
    report = desk.run(**settings)
    assert desk.counts(report, "raw_orders__attempts") == (1, 1, 0, 0)
    assert len(report.problems) == 1, report.problems
    return report.problems[0].path.name, report.problems[0].what


def test_gzip_that_is_cut_gives_the_lines_before(desk: Desk) -> None:
    beside(desk)
    data = gzip.compress(THREE)
    desk.write(NAME + ".gz", data[:-9])  # whole content, no check sum
    name, what = only_problem(desk)
    assert name == NAME + ".gz"
    assert "ended before the end-of-stream marker" in what
    assert desk.ids() == ["a", "b", "c"]


def test_gzip_cut_before_its_first_line_is_named(desk: Desk) -> None:
    beside(desk)
    desk.write(NAME + ".gz", gzip.compress(THREE)[:20])
    assert "lines before the damage were read" in only_problem(desk)[1]
    assert desk.rows() == []


def test_gzip_with_a_wrong_check_sum_is_named(desk: Desk) -> None:
    beside(desk)
    data = bytearray(gzip.compress(THREE))
    data[-8] ^= 0xFF
    desk.write(NAME + ".gz", bytes(data))
    what = only_problem(desk)[1]
    assert "CRC check failed" in what
    assert "nothing of it was read" in what
    assert desk.rows() == []
    desk.write(NAME + ".gz", gzip.compress(THREE))
    assert desk.counts(desk.run()) == (3, 3, 0, 0)


def test_gzip_with_a_torn_middle_is_not_believed(desk: Desk) -> None:
    """Behind the tear it decodes to lines that look right and never were."""
    beside(desk)
    lines = b"".join(line(f"a{n:05}", note=random.Random(n).random()) for n in range(5000))
    data = bytearray(gzip.compress(lines))
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    desk.write(NAME + ".gz", bytes(data))
    assert "nothing of it was read" in only_problem(desk)[1]
    assert desk.rows() == []


def test_a_gz_that_is_no_gzip_is_named(desk: Desk) -> None:
    beside(desk)
    desk.write(NAME + ".gz", THREE)
    assert "Not a gzipped file" in only_problem(desk)[1]
    assert desk.rows() == []


def test_gzip_under_a_plain_name_is_quarantined(desk: Desk) -> None:
    beside(desk)
    desk.write(NAME, gzip.compress(os.urandom(20_000)) + b"\n")
    report = desk.run()
    assert report.problems == []
    counts = report.tables[ROUTER]
    assert counts.accepted == 0
    assert counts.rejected == counts.lines > 50
    assert set(counts.reasons) <= {"not_utf8", "not_json", "blank_line"}


def test_empty_files_are_no_problem(desk: Desk) -> None:
    beside(desk)
    for name in (NAME, "order_metrics.1.jsonl.gz", "AUSDT_1m.csv", "BUSDT_1m.csv.gz"):
        desk.write(name, b"")
    desk.write("order_metrics.2.jsonl", b"\xef\xbb\xbf")
    desk.write("CUSDT_1m.csv", HEADER)
    report = desk.run()
    assert report.lines == 1
    assert report.problems == []


def test_utf_16_is_quarantined_line_by_line(desk: Desk) -> None:
    desk.write(NAME, (line("a") + line("b") + line("c")).decode().encode("utf-16"))
    report = desk.run()
    assert desk.counts(report) == (3, 0, 3, 0)
    assert report.tables[ROUTER].reasons == {"not_json": 2, "not_utf8": 1}


def test_utf_16_csv_is_named_and_quarantined(desk: Desk) -> None:
    desk.write("AUSDT_1d.csv", (HEADER + b"2025-11-05,1,1,1,1,1\n").decode().encode("utf-16"))
    report = desk.run()
    assert report.tables[BARS].reasons == {"missing_header": 1, "not_utf8": 1}
    assert "no header" in report.problems[0].what


def test_a_binary_file_is_quarantined(desk: Desk) -> None:
    noise = random.Random(7).randbytes(100_000)
    desk.write(NAME, noise + b"\n" + line("good"))
    report = desk.run()
    found = report.tables[ROUTER]
    assert (found.lines, found.accepted) == (noise.count(b"\n") + 2, 1)
    assert desk.rows()[-1]["attempt_id"] == "good"


def test_a_folder_with_the_name_of_a_log_is_named_and_searched(desk: Desk) -> None:
    beside(desk)
    desk.write("order_metrics.jsonl/order_metrics.jsonl", THREE)
    assert only_problem(desk) == (NAME, "a folder with the name of a log: rename it")
    assert desk.ids() == ["a", "b", "c"]


def test_links_that_lead_nowhere_are_named(desk: Desk) -> None:
    beside(desk)
    (desk.logs / NAME).symlink_to(desk.root / "gone.jsonl")
    name, what = only_problem(desk)
    assert name == NAME
    assert "which leads to no file" in what


def test_links_in_a_circle_are_named(desk: Desk) -> None:
    beside(desk)
    (desk.logs / NAME).symlink_to(desk.logs / "order_metrics.1.jsonl")
    (desk.logs / "order_metrics.1.jsonl").symlink_to(desk.logs / NAME)
    report = desk.run()
    assert {p.path.name for p in report.problems} <= {NAME, "order_metrics.1.jsonl"}
    assert all("which leads to no file" in p.what for p in report.problems)
    assert report.problems
    assert report.lines == 1


def test_a_pipe_is_not_waited_for(desk: Desk) -> None:
    beside(desk)
    os.mkfifo(desk.logs / NAME)
    assert only_problem(desk) == (NAME, "not a regular file: logs are read from files only")


def test_files_and_folders_without_permission_are_named(repository: Path) -> None:
    """Run as a user without rights, in a process of its own: root may read everything."""
    script = textwrap.dedent(
        """
        import os, sys, tempfile
        from pathlib import Path
        from tests.pipelines.intake.desk import Desk, line

        with tempfile.TemporaryDirectory() as root:
            os.chmod(root, 0o755)
            os.umask(0o022)
            warm = Desk(Path(root, "warm"))
            warm.write("order_metrics.jsonl", line("x"))
            warm.run()
            desk = Desk(Path(root, "desk"))
            desk.write("orders_attempted.jsonl", line("good"))
            closed = desk.write("order_metrics.jsonl", line("closed"))
            folder = desk.write("closed/order_metrics.jsonl", line("closed too")).parent
            (desk.root / "home").mkdir()
            closed.chmod(0)
            folder.chmod(0)
            if os.geteuid() == 0:
                os.chown(desk.root / "home", 65534, 65534)
                os.seteuid(65534)
            report = desk.run()
            for problem in sorted(report.problems, key=str):
                print(problem.path.name, "|", problem.what.replace(str(desk.root), ""))
            print(report.lines)
            if os.getuid() == 0:
                os.seteuid(0)
            folder.chmod(0o755)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "closed | not readable: Permission denied; give this user permission to it",
        "order_metrics.jsonl | cannot be opened: Permission denied; give this user permission to "
        "read it",
        "1",
    ]


def test_a_folder_that_does_not_exist_is_named(desk: Desk) -> None:
    beside(desk)
    missing = desk.root / "gone"
    assert only_problem(desk, logs=[{"path": missing}]) == (
        "gone",
        "this log folder does not exist",
    )


def test_a_file_that_vanishes_while_the_run_goes_on_is_named(desk: Desk) -> None:
    desk.write(NAME, THREE)
    late = desk.write("risk_vetoes.jsonl", line("v"))
    report = desk.run(listen=lambda event: late.unlink(missing_ok=True))
    assert [(p.path, p.what[:8]) for p in report.problems] == [(late, "vanished")]
    assert desk.counts(report) == (3, 3, 0, 0)


def test_csv_lines_stand_for_themselves(desk: Desk) -> None:
    desk.write(
        "AUSDT_1m.csv",
        HEADER
        + b"2025-11-05 00:00:00+00:00,1,2,0.5,1.5,10\n"  # good
        + b"2025-11-05 00:01:00+00:00,1,2,0.5,1.5\n"  # a cell short
        + b"2025-11-05 00:02:00+00:00,1,2,0.5,1.5,10,11\n"  # a cell more
        + b'2025-11-05 00:03:00+00:00,"1,2,0.5,1.5,10\n'  # a quote that is never closed
        + b'"2025-11-05 00:04:00+00:00","1",2,0.5,1.5,10\n'  # quoted, good
        + b"2025-11-05 00:05:00+00:00,x,2,0.5,1.5,10\n"
        + b"2025-11-05 00:06:00+00:00,-1,2,0.5,1.5,10\n"
        + b"2025-11-05 00:07:00+00:00,,2,0.5,1.5,nan\n"  # unknown values, good
        + b",1,2,0.5,1.5,10\n"
        + b"soon,1,2,0.5,1.5,10\n"
        + b"\n"
        + b"2025-11-05 00:08:00+00:00,1,2,0.5,1.5,\xff\n"
        + b"2025-11-05 00:09:00+00:00,1,2,0.5,1.5,10\n",  # good
    )
    report = desk.run()
    assert report.tables[BARS].reasons == {
        "blank_line": 1,
        "missing_time": 1,
        "negative:open": 1,
        "not_a_number:open": 1,
        "not_csv": 3,
        "not_utf8": 1,
        "unparseable_time": 1,
    }
    good = [r for r in desk.rows(BARS) if r["reject_reason"] is None]
    assert [(r["open"], r["volume"], r["nulled_n"]) for r in good] == [
        (1.0, 10.0, 0),
        (1.0, 10.0, 0),
        (None, None, 1),
        (1.0, 10.0, 0),
    ]
    assert {(r["symbol"], r["bar_interval"]) for r in good} == {("AUSDT", "1m")}


def test_csv_without_a_header_is_named_and_quarantined_whole(desk: Desk) -> None:
    beside(desk)
    desk.write("AUSDT_1m.csv", b"2025-11-05,1,1,1,1,1\n2025-11-06,1,1,1,1,1\n")
    name, what = only_problem(desk)
    assert name == "AUSDT_1m.csv"
    assert "its first line names no column date or timestamp" in what
    assert [row["reject_reason"] for row in desk.rows(BARS)] == ["missing_header"] * 2
    desk.write("AUSDT_1m.csv", HEADER + b"2025-11-05,1,1,1,1,1\n2025-11-06,1,1,1,1,1\n")
    assert desk.counts(desk.run(), BARS) == (2, 2, 0, 0)


def test_csv_columns_may_stand_in_any_order_and_case_and_unknown_ones_are_kept(desk: Desk) -> None:
    desk.write(
        "AUSDT_1m.csv",
        b'Volume,"Date",open,high,low,close,trades,Note\n7,2025-11-05,1,2,0.5,1.5,42,\n',
    )
    desk.run()
    row = desk.rows(BARS)[0]
    assert (row["volume"], row["event_ms"]) == (7.0, 1_762_300_800_000)
    assert row["extra_json"] == '{"trades": "42"}'


def test_daily_bars_of_twenty_years_are_few_files(desk: Desk) -> None:
    days = [
        f"{year}-{month:02}-{day:02}"
        for year in range(2005, 2025)
        for month in range(1, 13)
        for day in range(1, 29)
    ]
    desk.write("SPY_1d.csv", HEADER + b"".join(f"{day},1,2,0.5,1.5,10\n".encode() for day in days))
    report = desk.run()
    assert desk.counts(report, BARS) == (6720, 6720, 0, 0)
    files = list(desk.lake.path(BARS).glob("part=*/*.parquet"))
    assert 20 <= len(files) <= 60
    assert {f.parent.name for f in files} == {f"part={year}" for year in range(2005, 2025)}


def test_traces_of_a_long_backtest_are_few_files(desk: Desk) -> None:
    days = [f"20{year:02}-{month:02}-01" for year in range(5, 25) for month in range(1, 13)]
    lines = b"".join(f'{{"timestamp": "{day}", "symbol": "A"}}\n'.encode() for day in days)
    desk.write("traces_swing_001.jsonl", lines)
    desk.run()
    assert len(desk.rows(TRACES)) == 240
    assert len(list(desk.lake.path(TRACES).glob("part=*/*.parquet"))) <= 60


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("order_metrics.jsonl", ROUTER),
        ("order_metrics.12.jsonl", ROUTER),
        ("order_metrics.12.jsonl.gz", ROUTER),
        ("order_metrics.jsonl.3", ROUTER),
        ("order_metrics.jsonl.3.gz", ROUTER),
        ("order_metrics.jsonl-20251105", ROUTER),
        ("order_metrics.jsonl-20251105.gz", ROUTER),
        ("order_metrics.jsonl-2025-11-05T08:00:00.1.gz", ROUTER),
        ("order_metrics.jsonl.2025-11-05", ROUTER),
        ("order_metrics.jsonl.2025-11-05_08.gz", ROUTER),
        ("orders_executed.jsonl", "raw_orders__events"),
        ("orders_attempted.jsonl", "raw_orders__attempts"),
        ("risk_vetoes.jsonl", "raw_risk__vetoes"),
        ("position_state.jsonl", "raw_positions__states"),
        ("traces_swing_001.csv.gz", TRACES),
        ("traces_swing_001.jsonl", TRACES),
        ("BTCUSDT_15m.csv", BARS),
        ("BTC-USDT:PERP_1d.csv.gz", BARS),
        ("order_metrics.jsonl.zst", None),
        ("order_metrics.jsonl-20251105.zst", None),
        ("order_metrics.jsonl.tmp", None),
        ("order_metrics.jsonl.swp", None),
        ("order_metrics.json", None),
        ("old_order_metrics.jsonl", None),
        ("BTCUSDT_7m.csv", None),
        ("notes.txt", None),
    ],
)
def test_names_are_claimed_by_their_kind(name: str, table: str | None) -> None:
    claim = kind_of(name)
    assert (claim[0].table if claim else None) == table


def test_files_that_no_kind_claims_are_listed(desk: Desk) -> None:
    beside(desk)
    stray = desk.write("order_metrics.jsonl.zst", b"x")
    assert desk.run().unclaimed == [str(stray)]


def test_an_empty_folder_is_no_problem(desk: Desk) -> None:
    report = desk.run()
    assert (report.lines, report.tables, report.problems) == (0, {}, [])
