"""Equal rows give equal digests, and nothing else does."""

from itertools import combinations
from pathlib import Path

import duckdb
import pytest

from features.digest import file_digest, table_digest

ROWS = "(VALUES (1, 'a', 0.5e0, NULL), (2, NULL, 1.5e0, TRUE), (3, '', NULL, FALSE)) t(k, s, x, b)"


def digest_of(sql: str, grain: tuple[str, ...] = ("k",)) -> str:
    with duckdb.connect() as con:
        return table_digest(con, sql, grain)


@pytest.mark.parametrize(
    "same",
    [
        f"(SELECT * FROM {ROWS} ORDER BY k DESC)",  # another order -> sorted by grain
        f"(SELECT * FROM {ROWS} WHERE k < 2 UNION ALL SELECT * FROM {ROWS} WHERE k >= 2)",  # pieces
        f"(SELECT k, s, x + 0e0 AS x, b FROM {ROWS})",  # another way to the same values
    ],
)
def test_equal_rows_have_equal_digests(same: str) -> None:
    assert digest_of(same) == digest_of(f"(SELECT * FROM {ROWS})")


def test_zero_has_no_sign() -> None:
    assert digest_of("(SELECT 1 AS k, -0e0 AS x)") == digest_of("(SELECT 1 AS k, 0e0 AS x)")


# Each differs from every other in one thing.
DIFFERENT = [
    f"(SELECT * FROM {ROWS})",
    f"(SELECT k, s, x FROM {ROWS})",  # a column less
    f"(SELECT s, k, x, b FROM {ROWS})",  # another order of columns
    f"(SELECT k, s AS r, x, b FROM {ROWS})",  # another name
    f"(SELECT k, s, CAST(x AS FLOAT) AS x, b FROM {ROWS})",  # another type, equal values
    f"(SELECT k, COALESCE(s, '') AS s, x, b FROM {ROWS})",  # '' is not NULL
    f"(SELECT k, s, COALESCE(x, 0e0) AS x, b FROM {ROWS})",  # 0 is not NULL
    f"(SELECT k, s, x, COALESCE(b, FALSE) AS b FROM {ROWS})",  # false is not NULL
    f"(SELECT k, s, nextafter(x, 9e0) AS x, b FROM {ROWS})",  # the smallest step of a double
    f"(SELECT * FROM {ROWS} WHERE k < 3)",  # a row less
    f"(SELECT * FROM {ROWS} UNION ALL SELECT * FROM {ROWS} WHERE k = 3)",  # a row twice
    f"(SELECT * FROM {ROWS} WHERE FALSE)",  # no row
]


def test_different_rows_have_different_digests() -> None:
    digests = {sql: digest_of(sql) for sql in DIFFERENT}
    equal = [pair for pair in combinations(DIFFERENT, 2) if digests[pair[0]] == digests[pair[1]]]
    assert equal == []


def test_text_does_not_flow_from_row_to_row() -> None:
    left = "(VALUES (1, 'ab'), (2, 'c')) t(k, s)"
    right = "(VALUES (1, 'a'), (2, 'bc')) t(k, s)"
    assert digest_of(left) != digest_of(right)


def test_every_type_of_the_lake_is_digested() -> None:
    typed = (
        "(SELECT 1::BIGINT AS k, 2::INTEGER AS i, 'é€' AS s, TRUE AS b, 1.5::DOUBLE AS x,"
        " DATE '2025-11-05' AS d, TIMESTAMP '2025-11-05 00:00:00.000001' AS t)"
    )
    later = typed.replace("000001", "000002")
    other_day = typed.replace("DATE '2025-11-05'", "DATE '2025-11-06'")
    assert len({digest_of(sql) for sql in (typed, later, other_day)}) == 3


def test_many_batches_and_threads_give_the_digest_of_one() -> None:
    rows = "(SELECT range AS k, 'r' || range AS s, range / 7e0 AS x FROM range(200000))"
    with duckdb.connect() as con:
        con.execute("SET threads = 1")
        one = table_digest(con, rows, ("k",))
        con.execute("SET threads = 4")
        con.execute("SET preserve_insertion_order = false")
        assert table_digest(con, rows, ("k",)) == one


def test_a_file_digest_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
