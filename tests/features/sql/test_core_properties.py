"""What holds for any lines: core_execution__outcomes and core_execution__hourly on random ones."""

from decimal import Decimal
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from features import catalog
from tests.features.sql.literal import (
    OUTCOMES,
    D,
    H,
    Line,
    Row,
    S,
    T,
    asked,
    build_outcomes,
    hourly,
    order,
    order_close,
    order_fill,
    outcomes,
    rebuild_hours,
    router,
    run,
)

Con = duckdb.DuckDBPyConnection

CENTS = st.integers(-1000, 1000).map(lambda n: n / 100)
STATUS = st.sampled_from(["NEW", "FILLED", "PARTIALLY_FILLED", "CANCELED", "REJECTED", None])
# Few ids, orders and times, so that lines meet; gaps around a day, where joins end.
PLACE = {
    "attempt_id": st.sampled_from(["a1", "a2", "a3"]),
    "at": st.one_of(
        st.integers(0, 4).map(lambda n: T + n * 20 * H),
        st.sampled_from([T + D, T + D - 1, T + D + 1, T + 2 * D + 1]),
        st.integers(T, T + 4 * D),
    ),
    "account": st.sampled_from(["main", "main", "second"]),
}
ORDER = {**PLACE, "order_id": st.sampled_from(["o1", "o2", None])}
LINES = st.lists(
    st.one_of(
        st.builds(router, status=STATUS, notional_usd=st.sampled_from([None, 50.0]), **PLACE),
        st.builds(order_fill, executed_qty=st.sampled_from([0.0, 1.0, 2.5]), **ORDER),
        st.builds(
            order_close,
            realized_pnl_usd=CENTS,
            **{**ORDER, "attempt_id": st.sampled_from(["a1", "a2", "a3", None])},
        ),
        st.builds(lambda **place: order("order_ack", **place), **ORDER),
        st.builds(asked, **PLACE),
    ),
    max_size=25,
)
KEY = catalog.tables()[OUTCOMES].grain


def cents(value: float | None) -> Decimal:
    return Decimal(0) if value is None else round(Decimal(value), 6)


def distinct_pnl(lines: list[Line]) -> Decimal:
    """Sum the PnL of order_close lines, each order and time once, the last line of it."""
    last: dict[tuple[Any, ...], tuple[int, float]] = {}
    for line in lines:
        row = line.values
        if row.get("event_type") == "order_close":
            own = None if row["attempt_id"] or row["order_id"] else row["line_hash"]
            key = (row["account"], row["attempt_id"], row["order_id"], row["event_ms"], own)
            last[key] = max(last.get(key, (0, 0.0)), (row["line_offset"], row["realized_pnl_usd"]))
    return sum((cents(pnl) for _, pnl in last.values()), Decimal(0))


@settings(max_examples=15)
@given(lines=LINES, order_of=st.randoms(use_true_random=False))
def test_outcomes_of_any_lines(con: Con, lines: list[Line], order_of: Any) -> None:
    rows = outcomes(con, *lines)

    # one row per key
    keys = [tuple(row[name] for name in KEY) for row in rows]
    assert len(set(keys)) == len(keys)

    # no PnL lost, none counted twice
    assert sum((cents(row["realized_pnl_usd"]) for row in rows), Decimal(0)) == distinct_pnl(lines)

    # only a fill estimates anything, and every fill has a price or a flat line's notional
    for row in rows:
        is_fill = row["outcome"] in ("filled", "partial")
        assert is_fill or (row["slippage_bps"], row["notional_usd"]) == (None, None)
        assert not is_fill or row["fill_px"] or row["notional_usd"]

    # the order in which lines lie in files does not matter
    shuffled = list(lines)
    order_of.shuffle(shuffled)
    assert outcomes(con, *shuffled) == rows


@settings(max_examples=6)
@given(lines=LINES)
def test_outcomes_rebuilt_in_two_halves_are_those_rebuilt_at_once(
    con: Con, lines: list[Line]
) -> None:
    whole = outcomes(con, *lines)
    hours = sorted({line.values["event_ms"] // H for line in lines})
    parts: list[Row] = []
    for half in (hours[::2], hours[1::2]):
        rebuild_hours(con, [hour * H for hour in half])
        parts += run(con, OUTCOMES).to_pylist()
    assert sorted(parts, key=str) == sorted(whole, key=str)


@settings(max_examples=6)
@given(lines=LINES)
def test_hourly_sums_are_those_of_the_outcomes(con: Con, lines: list[Line]) -> None:
    hours = hourly(con, *lines)
    rows = con.sql(f"FROM {OUTCOMES}").to_arrow_table().to_pylist()
    attempts = [row for row in rows if row["outcome"] != "close_only"]
    assert sum(row["n"] for row in hours) == len(attempts)
    kinds = ("filled_n", "partial_n", "unfilled_n", "rejected_n", "unknown_n")
    assert sum(row[kind] for row in hours for kind in kinds) == len(attempts)
    assert sum(row["close_n"] for row in hours) == sum(row["close_n"] for row in rows)
    assert sum(cents(row["pnl_usd"]) for row in hours) == sum(
        cents(row["realized_pnl_usd"]) for row in rows
    )
    for row in hours:
        for whole, part in (
            ("n", "unknown_n"),
            ("maker_known_n", "maker_n"),
            ("started_maker_n", "fallback_known_n"),
            ("fallback_known_n", "fallback_n"),
            ("submitted_n", "unrouted_n"),
            ("submitted_n", "vetoed_n"),
            ("submitted_n", "no_outcome_n"),
        ):
            assert 0 <= row[part] <= row[whole]


@settings(max_examples=6)
@given(lines=LINES)
def test_the_pnl_check_agrees_with_any_outcomes(con: Con, lines: list[Line]) -> None:
    build_outcomes(con, lines)
    check = catalog.checks()["core_execution__outcomes_pnl_equals_raw"]
    values = {"as_of_ms": T + 6 * D, "window_ms": 7 * D - S}
    assert con.sql(check.sql, params=values).fetchall() == []
