"""How old each source is: feat_ops__source_freshness on a few literal lines."""

from typing import Any

import duckdb
import pytest

from features import build
from tests.features.sql.literal import (
    D,
    H,
    Line,
    M,
    Row,
    S,
    T,
    by_key,
    freshness,
    load_raw,
    plan,
    raw,
    run,
    source_tables_of,
)

Con = duckdb.DuckDBPyConnection

TABLE = "feat_ops__source_freshness"
ROUTER, ORDERS = "raw_router__events", "raw_orders__events"


def rows_of(con: Con, *lines: Line, **rules: tuple[bool, int]) -> dict[Any, Row]:
    """Return the table as of T over the sources that ``rules`` name: (required, max_silence_s)."""
    load_raw(con, lines)
    wanted = plan(T, freshness=freshness(**rules), inputs=dict.fromkeys(rules))
    source_tables_of(con, wanted)
    return by_key(TABLE, run(con, TABLE, **build.bound_values(wanted)).to_pylist())


@pytest.mark.parametrize(
    ("age_ms", "status"),
    [
        (0, "ok"),
        (60 * S, "ok"),  # at the limit
        (60 * S + 1, "silent"),  # a millisecond over it
        (6 * D, "silent"),
        (7 * D, "missing"),  # the window is open at its start: nothing in it
    ],
)
def test_status_at_the_limit(con: Con, age_ms: int, status: str) -> None:
    row = rows_of(con, raw(ROUTER, T - age_ms), **{ROUTER: (True, 60)})[ROUTER, "*"]
    assert (row["status"], row["required"], row["max_silence_s"]) == (status, True, 60)
    assert row["lag_s"] == (None if status == "missing" else age_ms / 1000)


def test_source_that_never_spoke_is_missing_with_nothing_known(con: Con) -> None:
    row = rows_of(con, **{ROUTER: (False, 60)})[ROUTER, "*"]
    assert (row["n"], row["status"], row["rows_24h"], row["rejected_24h"]) == (0, "missing", 0, 0)
    assert (row["last_event_at_utc"], row["lag_s"], row["last_bytes_at_utc"]) == (None, None, None)


def test_each_source_and_symbol_has_its_own_age(con: Con) -> None:
    rows = rows_of(
        con,
        raw(ROUTER, T - M, symbol="ETHUSDT"),
        raw(ROUTER, T - H, symbol="BTCUSDT"),
        raw(ORDERS, T - 2 * H, symbol="ETHUSDT"),
        **{ROUTER: (False, 600), ORDERS: (False, 86_400)},
    )
    assert {key: (row["lag_s"], row["status"]) for key, row in rows.items()} == {
        (ROUTER, "*"): (60.0, "ok"),
        (ROUTER, "ETHUSDT"): (60.0, "ok"),
        (ROUTER, "BTCUSDT"): (3600.0, "silent"),
        (ORDERS, "*"): (7200.0, "ok"),
        (ORDERS, "ETHUSDT"): (7200.0, "ok"),
    }


def test_lines_after_as_of_make_no_source_younger(con: Con) -> None:
    row = rows_of(con, raw(ROUTER, T - H), raw(ROUTER, T + 1), **{ROUTER: (False, 60)})[ROUTER, "*"]
    assert (row["lag_s"], row["rows_24h"]) == (3600.0, 1)


def test_a_source_of_rejected_lines_is_not_alive(con: Con) -> None:
    row = rows_of(
        con,
        raw(ROUTER, T - H),
        raw(ROUTER, T - S, reject_reason="not_a_number:prices.mark"),
        **{ROUTER: (True, 60)},
    )[ROUTER, "*"]
    assert (row["n"], row["lag_s"], row["status"]) == (2, 3600.0, "silent")


def test_accepted_and_rejected_lines_of_the_last_day(con: Con) -> None:
    row = rows_of(
        con,
        raw(ROUTER, T - D),  # exactly a day old -> out
        raw(ROUTER, T - D + 1),
        raw(ROUTER, T),
        raw(ROUTER, T - H, reject_reason="future_time"),
        raw(ROUTER, T - H, reject_reason="future_time"),
        raw(ROUTER, T - D, reject_reason="future_time"),
        **{ROUTER: (False, 60)},
    )[ROUTER, "*"]
    assert (row["rows_24h"], row["rejected_24h"], row["undated_n"]) == (2, 2, 0)


def broken(source_id: str, offset: int, **values: Any) -> Line:
    """Return a rejected line without a time that was read just now."""
    place = {"source_id": source_id, "line_offset": offset, "ingested_ms": T}
    return raw(ROUTER, None, reject_reason="not_json", **place, **values)


def said(source_id: str, offset: int, at: int) -> Line:
    return raw(ROUTER, at, source_id=source_id, line_offset=offset)


@pytest.mark.parametrize(
    ("lines", "rejected"),
    [
        # behind a line of an hour ago -> of the last day
        ([said("a", 0, T - H), broken("a", 10)], 1),
        # behind a line of two days ago, read only now -> not, whatever follows
        ([said("a", 0, T - 2 * D), broken("a", 10), said("a", 20, T - H)], 0),
        # at the beginning of its log -> as the line behind it
        ([broken("a", 0), said("a", 10, T - H)], 1),
        ([broken("a", 0), said("a", 10, T - 2 * D), said("a", 20, T - H)], 0),
        # several in a row -> each
        ([said("a", 0, T - H), broken("a", 10), broken("a", 20)], 2),
        # lines of another log say nothing of it
        ([broken("a", 10), said("b", 0, T - H)], 0),
        # a log whose newest lines are older than the window, read only now -> not
        ([said("a", 0, T - 90 * D), broken("a", 10)], 0),
        # a line behind which only later lines than as-of stand
        ([broken("a", 0), said("a", 10, T + H)], 0),
    ],
)
def test_a_line_without_time_is_of_its_neighbours_time(
    con: Con, lines: list[Line], rejected: int
) -> None:
    row = rows_of(con, *lines, **{ROUTER: (False, 60)})[ROUTER, "*"]
    broken_n = sum(line.values["event_ms"] is None for line in lines)
    assert (row["rejected_24h"], row["undated_n"]) == (rejected, broken_n)


def test_a_line_without_time_counts_under_its_symbol_too(con: Con) -> None:
    lines = [said("a", 0, T - H), broken("a", 10), broken("a", 20, symbol=None)]
    rows = rows_of(con, *lines, **{ROUTER: (False, 60)})
    assert rows[ROUTER, "ETHUSDT"]["rejected_24h"] == 1
    assert rows[ROUTER, "*"]["rejected_24h"] == 2


def test_lines_without_symbol_stand_under_all_symbols_alone(con: Con) -> None:
    line = raw(ROUTER, T - S, symbol=None, reject_reason="missing_symbol")
    rows = rows_of(con, line, **{ROUTER: (False, 60)})
    assert set(rows) == {(ROUTER, "*")}
    assert (rows[ROUTER, "*"]["n"], rows[ROUTER, "*"]["rejected_24h"]) == (1, 1)


def test_two_ages_are_never_mixed(con: Con) -> None:
    # read just now, but its newest event is old -> silent
    line = raw(ROUTER, T - 13 * H, ingested_ms=T)
    row = rows_of(con, line, **{ROUTER: (False, 3600)})[ROUTER, "*"]
    assert (row["status"], str(row["last_bytes_at_utc"])) == ("silent", "2025-11-05 00:00:00")
    assert str(row["last_event_at_utc"]) == "2025-11-04 11:00:00"
