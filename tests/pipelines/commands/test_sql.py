"""`execintel sql`: every table of the snapshot can be asked, and nothing else can be reached."""

import csv
import hashlib
import io
import json
import signal
import threading
import time
from pathlib import Path

import duckdb
import pytest

from pipelines.commands import sql
from tests.pipelines.commands.desk import Desk, attempt


@pytest.fixture(scope="module")
def published(shared_desk: Desk) -> Desk:
    """Publish one snapshot of three attempts and a rejected line."""
    shared_desk.write(*(attempt(n) for n in range(3)), "no json\n")
    assert shared_desk.refresh().exit_code == 0
    return shared_desk


def contents(folder: Path) -> dict[str, str]:
    """Digest every file below a folder."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def lake_file(desk: Desk) -> str:
    manifest = json.loads((desk.home / "snapshots" / desk.current / "manifest.json").read_text())
    files: list[str] = manifest["inputs"]["raw_router__events"]["files"]
    return files[0]


def test_feature_core_and_raw_tables_answer(published: Desk) -> None:
    assert published.ask("SELECT n FROM feat_router__effectiveness WHERE symbol = '*'") == [
        {"n": 3}
    ]
    assert published.ask("SELECT COUNT(*) AS n FROM core_execution__outcomes") == [{"n": 3}]
    assert published.ask("SELECT COUNT(*) AS n FROM raw_router__events") == [{"n": 4}]
    assert published.ask("SELECT COUNT(*) AS n FROM raw_risk__vetoes") == [{"n": 0}]


def test_a_query_takes_no_more_memory_than_it_may(
    published: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_MEMORY_LIMIT_MB", "256")
    # 256,000,000 bytes as DuckDB writes them; without a limit of ours it is most of the machine's
    assert published.ask("SELECT current_setting('memory_limit') AS mb") == [{"mb": "244.1 MiB"}]
    too_much = (
        "SELECT COUNT(DISTINCT i || 'a long name of a row of some sort') FROM range(9000000) t(i)"
    )
    refused = published.run("sql", too_much)
    assert refused.exit_code == 1
    assert "EXECINTEL_MEMORY_LIMIT_MB = 256 is all it may take" in refused.stderr


@pytest.mark.parametrize(
    "query",
    [
        "SHOW TABLES",
        "DESCRIBE feat_router__effectiveness",
        "VALUES (1)",
        "FROM range(3);",
        "SELECT 1 -- x",
    ],
)
def test_statements_that_only_read_are_answered(published: Desk, query: str) -> None:
    assert published.ask(query)


def test_formats(published: Desk) -> None:
    query = "SELECT 'a,b' AS x, NULL AS y, TIMESTAMP '2025-11-06 00:00:00' AS z"
    table = published.run("sql", query).stdout
    assert "a,b" in table
    assert "–" in table
    rows = list(csv.reader(io.StringIO(published.run("sql", query, "--format", "csv").stdout)))
    assert rows == [["x", "y", "z"], ["a,b", "", "2025-11-06 00:00:00"]]
    assert published.ask(query) == [{"x": "a,b", "y": None, "z": "2025-11-06 00:00:00"}]


def test_people_read_eight_digits_and_programs_all(published: Desk) -> None:
    query = "SELECT 0.0043980118217317584::DOUBLE AS x, 63089.16::DOUBLE AS y"
    cells = published.run("sql", query).stdout.splitlines()[-2].split()
    assert cells == ["0.0043980118", "63089.16"]
    line = published.run("sql", query, "--format", "csv").stdout.splitlines()[1]
    assert line == "0.0043980118217317584,63089.16"


def test_no_program_meets_nan_or_infinity(published: Desk) -> None:
    query = """SELECT 'nan'::DOUBLE AS a, '-inf'::DOUBLE AS b, 1.5e0 AS c,
        ['inf'::DOUBLE, 2e0] AS d, {'x': 'nan'::FLOAT} AS e, MAP {1: 'inf'::DOUBLE} AS f"""
    text = published.run("sql", query, "--format", "json").stdout
    (row,) = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    expected = {"a": None, "b": None, "c": 1.5, "d": [None, 2.0], "e": {"x": None}}
    assert row == {**expected, "f": {"1": None}}
    line = published.run("sql", query, "--format", "csv").stdout.splitlines()[1]
    assert line.startswith(",,1.5,")
    assert "inf" not in line
    assert "nan" not in line


def test_an_error_of_the_query_is_told_without_a_traceback(published: Desk) -> None:
    result = published.run("sql", "SELECT nope FROM feat_router__effectiveness")
    assert result.exit_code == 1
    assert "nope" in result.stderr
    assert "Traceback" not in result.stderr


def test_of_a_lake_that_was_moved_the_answer_says_how_to_find_it(published: Desk) -> None:
    (published.home / "lake").rename(published.home / "moved")
    try:
        result = published.run("sql", "SELECT COUNT(*) FROM raw_router__events")
    finally:
        (published.home / "moved").rename(published.home / "lake")
    assert result.exit_code == 1
    assert "lake files are gone" in result.stderr
    assert "execintel snapshots relocate LAKE_ROOT" in result.stderr


def test_ctrl_c_ends_a_query_that_would_take_hours() -> None:
    main = threading.main_thread().ident
    assert main is not None
    interruption = threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT))
    # A shell that is not interactive lets what runs in its background ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    started_s = time.monotonic()
    try:
        with duckdb.connect() as con:
            hours = con.sql("SELECT SUM(a.range * b.range) FROM range(1000000000) a, range(1000) b")
            interruption.start()
            with pytest.raises(KeyboardInterrupt, match=r"^$"):
                sql._rows(con, hours)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started_s < 60


# {lake}: a file of the snapshot's own lake; {db}: its database; {tmp}: a folder anyone may write to
FORBIDDEN = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_parquet('https://example.org/x.parquet')",
    "SELECT * FROM read_csv('s3://bucket/x.csv')",
    "SELECT getenv('PATH')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "ATTACH '{tmp}/other.duckdb'",
    "ATTACH '{lake}' AS own (READ_WRITE)",
    "COPY (SELECT 1) TO '{tmp}/x.csv'",
    "COPY (SELECT 1) TO '{lake}' (FORMAT parquet, USE_TMP_FILE false)",
    "COPY (SELECT 1) TO '{db}' (USE_TMP_FILE false)",
    # DuckDB lets a WITH clause write
    "WITH a AS (COPY (SELECT 1) TO '{lake}' (USE_TMP_FILE false)) SELECT 1",
    "WITH a AS (COPY (SELECT 1) TO '{db}' (USE_TMP_FILE false)) FROM a",
    "WITH a AS (INSERT INTO feat_router__effectiveness (symbol) VALUES ('X') RETURNING *) FROM a",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}' (USE_TMP_FILE false)",
    "PREPARE p AS COPY (SELECT 1) TO '{lake}' (USE_TMP_FILE false)",
    "EXPORT DATABASE '{tmp}/export'",
    "CREATE TABLE t (x INT)",
    "DROP TABLE feat_router__effectiveness",
    "DELETE FROM feat_router__effectiveness",
    "UPDATE feat_router__effectiveness SET n = 0",
    "SET enable_external_access = true",
    "SET allowed_paths = ['/etc/passwd']",
    "RESET lock_configuration",
    "PRAGMA temp_directory = '{tmp}'",
    "SELECT 1; DROP TABLE feat_router__effectiveness",
    "SELECT 1) UNION ALL (SELECT 2",
    "",
]


@pytest.mark.parametrize("query", FORBIDDEN)
def test_nothing_but_reading_the_snapshot_is_possible(
    published: Desk, tmp_path: Path, query: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    database = published.home / "snapshots" / published.current / "features.duckdb"
    before = contents(published.home)

    result = published.run("sql", query.format(lake=lake_file(published), db=database, tmp=outside))

    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert contents(published.home) == before
    assert list(outside.iterdir()) == []


def test_variables_of_the_program_are_out_of_reach(published: Desk) -> None:
    assert published.run("sql", "SELECT * FROM rows").exit_code == 1
    assert published.run("sql", "SELECT * FROM files").exit_code == 1
