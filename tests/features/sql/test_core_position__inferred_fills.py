"""Which orders of unknown end filled: core_position__inferred_fills on a few literal rows."""

from typing import Any

import duckdb
import pytest

from tests.features.sql.literal import H, Line, M, Row, S, T, check, features
from tests.features.sql.test_core_position__reconciliation import exposure, fill, state, unknown

Con = duckdb.DuckDBPyConnection

TABLE = "core_position__inferred_fills"


def inferred(con: Con, *lines: Line, **choice: Any) -> list[Row]:
    """Return the inferred fills, which must be as many as the reconciliation counts."""
    rows = list(features(con, TABLE, *lines, **choice).values())
    intervals = con.sql("FROM core_position__reconciliation").to_arrow_table().to_pylist()
    tables = {"core_position__reconciliation": intervals, TABLE: rows}
    assert check(con, "core_position__inferred_fills_sound", tables) == []
    return rows


def ids(con: Con, *lines: Line, **choice: Any) -> list[str]:
    return sorted(row["attempt_id"] for row in inferred(con, *lines, **choice))


def test_an_order_that_the_position_confirms_is_named_with_what_was_seen(con: Con) -> None:
    (row,) = inferred(con, state(T, 0.0), unknown(T + S, 2.0, attempt_id="a"), state(T + M, 2.0))
    assert (row["attempt_id"], row["event_ms"], row["side"]) == ("a", T + S, "BUY")
    assert (row["asked_qty"], row["confirmed_by"], row["together_n"]) == (2.0, "position", 1)
    assert (row["from_ms"], row["to_ms"]) == (T, T + M)


def test_an_inferred_fill_has_no_price_and_no_slippage(con: Con) -> None:
    (row,) = inferred(con, state(T, 0.0), unknown(T + S), state(T + M, 1.0))
    assert [name for name in row if "px" in name or "slip" in name or "usd" in name] == []


def test_orders_that_nothing_confirms_are_not_named(con: Con) -> None:
    lines = [
        state(T, 0.0),
        unknown(T + S, 9.0),  # far more than the change
        fill(T + 2 * S, attempt_id="known"),  # its end is known
        state(T + M, 1.0),
        unknown(T + 2 * M),  # not seen again
    ]
    assert inferred(con, *lines) == []


def test_an_order_is_named_by_the_interval_it_lies_in(con: Con) -> None:
    lines = [
        unknown(T, attempt_id="before"),  # at the first sighting: seen in it
        state(T, 0.0),
        unknown(T + M, attempt_id="at its end"),
        state(T + M, 1.0),
        unknown(T + M + 1, attempt_id="after"),
        state(T + 3 * H, 1.0),  # did not fill
    ]
    assert ids(con, *lines) == ["at its end"]


def test_an_interval_over_many_quarters_of_an_hour_names_each_order_once(con: Con) -> None:
    orders = [unknown(T + n * 10 * M, attempt_id=f"a{n}") for n in range(1, 18)]
    assert len(ids(con, state(T, 0.0), *orders, state(T + 3 * H, 17.0))) == 17


@pytest.mark.parametrize(
    ("order", "side"),
    [
        ({"position_side": "SHORT", "side": "SELL"}, "SHORT"),
        ({"position_side": None, "side": "SELL"}, "SHORT"),
        ({"position_side": None, "side": "BUY"}, "LONG"),
        ({"position_side": None, "side": "BUY", "is_reduce_only": True}, "SHORT"),
    ],
)
def test_long_and_short_are_told_apart(con: Con, order: Row, side: str) -> None:
    # both sides changed as if by an order of 1; one order was given
    up = 1.0 if order["side"] == "BUY" else -1.0
    lines = [
        state(T, 5.0),
        state(T, -5.0, side="SHORT"),
        unknown(T + S, attempt_id="a", **order),
        state(T + M, 5.0 + (up if side == "LONG" else 0.0)),
        state(T + M, -5.0 + (up if side == "SHORT" else 0.0), side="SHORT"),
    ]
    assert ids(con, *lines) == ["a"]
    lines[3], lines[4] = state(T + M, 5.0), state(T + M, -5.0, side="SHORT")
    assert ids(con, *lines) == []


def test_a_net_position_confirms_either_side(con: Con) -> None:
    order = unknown(T + S, attempt_id="a", side="SELL", position_side=None)
    assert ids(con, state(T, 0.5, side="BOTH"), order, state(T + M, -0.5, side="BOTH")) == ["a"]


def test_exposure_confirms_and_says_that_it_was_exposure(con: Con) -> None:
    (row,) = inferred(con, exposure(T, 0.0), unknown(T + S), exposure(T + M, 101.0, 101.0))
    assert (row["confirmed_by"], row["together_n"]) == ("exposure", 1)


def test_accounts_and_symbols_are_kept_apart(con: Con) -> None:
    lines = [state(T, 0.0), unknown(T + S, attempt_id="own"), state(T + M, 1.0)]
    strangers = [unknown(T + S, symbol="BTCUSDT"), unknown(T + S, account="second")]
    assert ids(con, *lines, *strangers) == ["own"]
