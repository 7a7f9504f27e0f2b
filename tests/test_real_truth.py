"""Hold reconciliation and coverage against real logs, recomputed in plain Python.

Put here: what the recorded testnet run leaves unexplained. Keep out: generated logs.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import pytest

from features.settings import Settings
from pipelines.refresh import refresh

Row = dict[str, Any]

END_MS = 1_762_387_200_000  # 2025-11-06T00:00:00Z
WINDOW_MS = 7 * 86_400_000


@pytest.fixture(scope="module")
def snapshot(
    router_logs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[duckdb.DuckDBPyConnection]:
    settings = Settings(
        home=tmp_path_factory.mktemp("real"), log_dir=router_logs, environment="testnet"
    )
    report = refresh(settings, as_of_ms=END_MS, now_ms=END_MS)
    assert report.outcome == "published"
    assert report.snapshot_id is not None
    database = settings.snapshots_root / report.snapshot_id / "features.duckdb"
    with duckdb.connect(str(database), read_only=True) as con:
        yield con


@pytest.fixture(scope="module")
def coverage(snapshot: duckdb.DuckDBPyConnection) -> dict[str, Row]:
    rows = snapshot.sql("FROM feat_account__coverage").to_arrow_table().to_pylist()
    return {row["day"]: row for row in rows}


# ------------------------------------------------------------------------- plain Python, on lines


def read(folder: Path, name: str) -> list[Row]:
    return [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]


def ms(stamp: Any) -> int:
    """Return epoch ms of epoch seconds or an ISO time, cut to the millisecond."""
    if isinstance(stamp, str):
        stamp = datetime.fromisoformat(stamp).timestamp()
    return int(round(stamp * 1e6) // 1000)


def day_of(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"


def order_fills(folder: Path) -> list[Row]:
    """Return the last fill line of each order, with its signed quantity."""
    last = {}
    for line in read(folder, "orders_executed.jsonl"):
        if line["event_type"] == "order_fill":
            last[line["orderId"]] = line
    for line in last.values():
        line["signed"] = line["executedQty"] * (1 if line["side"] == "BUY" else -1)
        line["at_ms"] = ms(line["ts_fill_last"])
    return list(last.values())


def navs(folder: Path) -> dict[str, list[tuple[int, float, Row]]]:
    """Return the NAV values of each day of the window, in time order."""
    found = defaultdict(list)
    for line in read(folder, "orders_attempted.jsonl"):
        at_ms = ms(line["ts"])
        if "nav_snapshot" in line and END_MS - WINDOW_MS < at_ms <= END_MS:
            found[day_of(at_ms)].append((at_ms, line["nav_snapshot"]["nav_usd"], line))
    return {day: sorted(values, key=lambda each: each[0]) for day, values in found.items()}


def accepted(values: list[tuple[int, float, Row]]) -> list[tuple[int, float, Row]]:
    middle = median(nav for _, nav, _ in values if nav > 0)
    return [each for each in values if each[1] > 0 and abs(each[1] - middle) <= 0.2 * middle]


def jumps(folder: Path) -> list[tuple[str, str, int, int, float, bool]]:
    """Return changes between states of one side that fills do not sum to."""
    states: dict[tuple[str, str], list[tuple[int, float, Any]]] = defaultdict(list)
    for line in read(folder, "position_state.jsonl"):
        at_ms = ms(line["ts"])
        if at_ms > END_MS - WINDOW_MS:
            state = (at_ms, line["pos_qty"], line.get("run_id"))
            states[line["symbol"], line["mode"]].append(state)
    fills = order_fills(folder)
    found = []
    for (symbol, side), seen in states.items():
        seen.sort(key=lambda each: each[0])
        for (from_ms, before, run), (to_ms, after, next_run) in pairwise(seen):
            filled = sum(
                x["signed"]
                for x in fills
                if (x["symbol"], x["positionSide"]) == (symbol, side)
                and from_ms < x["at_ms"] <= to_ms
            )
            left = after - before - filled
            if abs(left) > 1e-6:
                found.append((symbol, side, from_ms, to_ms, left, run != next_run))
    return sorted(found, key=lambda each: (each[2], each[0], each[1]))


def confirmations(folder: Path) -> dict[str, dict[str, bool]]:
    """Return of each symbol's NEW orders, by id, whether exposure confirms them.

    Others are left out. An order is checked by the exposure that its own attempt saw and that of
    the next attempt on the symbol, both over their own price. It is confirmed when the quantity
    moved in its direction by at least half and at most 2.1 times what was asked: the venue rounds
    up to its minimum. Two orders in one interval are confirmed by the quantity of both, or not.
    """
    sightings = defaultdict(list)
    asked: dict[str, Row] = {}
    for line in read(folder, "orders_attempted.jsonl"):
        at_ms = ms(line["ts"])
        snapshot = line.get("nav_snapshot") or {}
        if at_ms <= END_MS - WINDOW_MS:
            continue
        if "attempt_id" in line:
            asked.setdefault(line["attempt_id"], line)
        if snapshot.get("nav_usd", 0) > 0 and line.get("price_hint"):
            usd = (snapshot.get("symbol_gross_usd") or {}).get(line["symbol"], 0.0)
            sightings[line["symbol"]].append((at_ms, usd / line["price_hint"]))
    found: dict[str, dict[str, bool]] = defaultdict(dict)
    for symbol, seen in sightings.items():
        seen.sort()
        orders = [
            (ms(x["ts"]), x["attempt_id"], asked.get(x["attempt_id"]))
            for x in read(folder, "order_metrics.jsonl")
            if "event" not in x and x["symbol"] == symbol and x["result"]["status"] == "NEW"
        ]
        for (from_ms, before), (to_ms, after) in pairwise(seen):
            within = {x: order for at_ms, x, order in orders if from_ms < at_ms <= to_ms}
            between = list(within.values())
            if not between:
                continue
            if any(order is None for order in between):
                found[symbol] |= dict.fromkeys(within, False)
                continue
            sizes = [
                -order["qty"] if order.get("reduce_only") else order["qty"]
                for order in between
                if order is not None
            ]
            least, ratio = min(map(abs, sizes)), (after - before) / sum(sizes)
            slack = least / abs(sum(sizes))
            is_confirmed = 1 - 0.5 * slack <= ratio <= 1 + 1.1 * slack
            found[symbol] |= dict.fromkeys(within, is_confirmed)
    return found


def unrealised(folder: Path, at_ms: int, gross: dict[str, float]) -> float:
    """Return unrealised PnL from the last state of each side and the exposure, USD."""
    states: dict[str, dict[str, Row]] = defaultdict(dict)
    for line in read(folder, "position_state.jsonl"):
        if ms(line["ts"]) <= at_ms:
            states[line["symbol"]][line["mode"]] = line
    total = 0.0
    for symbol, usd in gross.items():
        held = [x for x in states[symbol].values() if x["pos_qty"]]
        mark = usd / sum(abs(x["pos_qty"]) for x in held)
        total += sum(x["pos_qty"] * (mark - x["entry_px"]) for x in held)
    return total


# ------------------------------------------------------------------------------------------ figures


def test_nav_of_every_day_is_that_of_the_lines(router_logs: Path, coverage: dict[str, Row]) -> None:
    by_day = navs(router_logs)
    assert set(by_day) == set(coverage) - {"*"}
    for day, values in by_day.items():
        kept, row = accepted(values), coverage[day]
        assert (row["n"], row["nav_rejected_n"]) == (len(kept), len(values) - len(kept))
        assert (row["nav_first_usd"], row["nav_last_usd"]) == (kept[0][1], kept[-1][1])


def test_the_fall_of_3_november_is_unexplained(router_logs: Path, coverage: dict[str, Row]) -> None:
    closes = [
        x
        for x in read(router_logs, "orders_executed.jsonl")
        if x["event_type"] == "order_close" and x["ts_close"].startswith("2025-11-03")
    ]
    assert closes == []
    row = coverage["2025-11-03"]
    assert (round(row["nav_first_usd"], 1), round(row["nav_last_usd"], 1)) == (2409.5, 2313.1)
    assert row["unlogged_usd"] == pytest.approx(-96.44774883, abs=1e-8)
    assert (row["close_n"], row["trade_n"], row["realized_pnl_usd"]) == (0, 0, 0.0)
    # positions stood open at both ends and no state says at what price: bounds, and no ratio
    assert (row["unexplained_usd"], row["pnl_explained_ratio"]) == (None, None)
    assert row["unexplained_lo_usd"] < row["unlogged_usd"] < row["unexplained_hi_usd"]
    assert (row["position_explained_ratio"], row["status"]) == (0.0, "incomplete")


def test_5_november_earned_more_by_its_closes_than_nav_did(
    router_logs: Path, coverage: dict[str, Row]
) -> None:
    row, fills = coverage["2025-11-05"], order_fills(router_logs)
    closes = [
        x for x in read(router_logs, "orders_executed.jsonl") if x["event_type"] == "order_close"
    ]
    assert all(day_of(x["at_ms"]) == "2025-11-05" for x in fills)
    pnl, fees = sum(x["realizedPnlUsd"] for x in closes), sum(x["fee_total"] for x in fills)
    assert (round(pnl, 2), round(fees, 2)) == (17.15, 6.09)
    assert row["realized_pnl_usd"] == pytest.approx(pnl, abs=1e-9)
    assert row["fees_usd"] == pytest.approx(fees, abs=1e-9)
    assert row["nav_change_usd"] == pytest.approx(-3.50898972, abs=1e-8)

    at_ms, _, last = navs(router_logs)["2025-11-05"][-1]
    change = unrealised(router_logs, at_ms, last["nav_snapshot"]["symbol_gross_usd"])
    assert row["unrealized_change_usd"] == pytest.approx(change, abs=1e-9)  # it began flat
    unexplained = row["nav_change_usd"] - pnl + fees - change
    assert row["unexplained_usd"] == pytest.approx(unexplained, abs=1e-9)
    assert round(unexplained, 2) == -7.43
    ratio = 1 - abs(unexplained) / (pnl + fees + abs(change))
    assert row["pnl_explained_ratio"] == pytest.approx(ratio, abs=1e-12)
    assert row["status"] == "incomplete"


def test_the_account_is_incomplete(coverage: dict[str, Row]) -> None:
    row = coverage["*"]
    assert row["status"] == "incomplete"
    assert row["coverage"] == row["position_explained_ratio"] < row["pnl_explained_ratio"] < 0.95


def test_every_jump_that_no_fill_explains_is_listed(
    router_logs: Path, snapshot: duckdb.DuckDBPyConnection
) -> None:
    rows = snapshot.sql(
        "SELECT symbol, position_side, from_ms, to_ms, unexplained_qty, is_restart"
        " FROM core_position__reconciliation"
        " WHERE NOT is_explained AND position_side <> 'GROSS'"
        " ORDER BY from_ms, symbol, position_side"
    ).fetchall()
    expected = jumps(router_logs)
    assert len(expected) == 20
    assert [row[:4] for row in rows] == [each[:4] for each in expected]
    assert [row[4] for row in rows] == pytest.approx([each[4] for each in expected], abs=1e-9)
    # the executor restarted over all but one of them
    assert [row[5] for row in rows] == [each[5] for each in expected]
    assert sum(each[5] for each in expected) == 19


def test_new_market_orders_are_confirmed_by_exposure_in_nearly_all_cases(
    router_logs: Path, snapshot: duckdb.DuckDBPyConnection
) -> None:
    found = confirmations(router_logs)
    checked = sum(map(len, found.values()))
    confirmed = sum(sum(each.values()) for each in found.values())
    assert (checked, confirmed) == (417, 411)
    rows = snapshot.sql(
        "SELECT symbol, unknown_n, inferred_fill_n, fill_n, fill_ratio"
        " FROM feat_router__effectiveness"
    ).fetchall()
    by_symbol = {row[0]: row[1:] for row in rows}
    assert by_symbol["*"][:2] == (417, 411)
    for symbol, each in found.items():
        assert by_symbol[symbol][1] == sum(each.values())
    # an inferred fill is no fill: the ratio is of what is known
    assert by_symbol["*"][2:] == (115, 1.0)


def test_each_order_that_exposure_confirms_is_marked_and_no_other(
    router_logs: Path, snapshot: duckdb.DuckDBPyConnection
) -> None:
    found = confirmations(router_logs)
    expected = {(symbol, x) for symbol, each in found.items() for x, is_so in each.items() if is_so}
    assert len(expected) == 411
    rows = snapshot.sql(
        "SELECT f.symbol, f.attempt_id, f.confirmed_by, o.outcome, o.fill_px, o.qty, o.slippage_bps"
        " FROM core_position__inferred_fills AS f"
        " LEFT JOIN core_execution__outcomes AS o"
        " USING (account, environment, symbol, attempt_id, event_ms)"
    ).fetchall()
    assert len(rows) == 411
    assert {row[:2] for row in rows} == expected
    # marked beside the outcome, which stays of unknown end, without a price
    assert {row[2:] for row in rows} == {("exposure", "unknown", None, None, None)}


def test_logged_closes_earn_what_positions_imply(snapshot: duckdb.DuckDBPyConnection) -> None:
    rows = snapshot.sql(
        "SELECT COUNT(*), MAX(abs(pnl_missing_usd)) FROM core_position__reconciliation"
        " WHERE pnl_missing_usd IS NOT NULL"
    ).fetchall()
    ((count, worst),) = rows
    assert count == 89
    assert worst < 1e-3  # averages of fills are rounded, entry prices too
