"""What the engine owns, logs and is paid adds up, by sums that share no code with it."""

import datetime as dt
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from live.trading.attempt import Attempt
from live.venues.paper import PaperConfig
from pipelines.refresh import refresh
from tests.live.independent_book import fifo_pnl
from tests.live.trading import MINUTE_MS, START_MS, Desk, Restless, walk

ROUGH = PaperConfig(
    latency_ms=70, partial_rate=0.4, reject_rate=0.1, queue_ms=30_000, slippage_bps=1.0
)
BARS = 150
START_USD = 10_000.0


def traded(
    root: Path, seed: int, *, is_hedged: bool = False, **trading: Any
) -> tuple[Desk, list[Attempt]]:
    """Let two strategies trade two symbols of one account at random; returns every attempt."""
    desk = Desk(
        root, Restless(seed, "fast", 0.3), Restless(seed, "slow", 0.1), config=ROUGH, seed=seed,
        is_hedged=is_hedged, max_orders_minute=1000, max_orders_hour=1000, **trading,
    )  # fmt: skip
    attempts: dict[str, Attempt] = {}
    save = desk.engine.executor.save

    def keep(attempt: Attempt, *args: Any, **kwargs: Any) -> bool:
        attempts[attempt.attempt_id] = attempt
        return save(attempt, *args, **kwargs)

    desk.engine.executor.save = keep  # type: ignore[method-assign]
    for pair in zip(walk(seed, BARS), walk(seed, BARS, "ETHUSDT", 4_000.0), strict=True):
        desk.engine.on_bars(pair)
    desk.engine.close()
    return desk, list(attempts.values())


def latest(fills: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last order_fill of each order: the lines are cumulative."""
    return list({line["orderId"]: line for line in fills}.values())


# Of three seeds the account is in hedge mode.
ACCOUNTS = [(seed, seed >= 6) for seed in range(9)]


@pytest.mark.parametrize(("seed", "is_hedged"), ACCOUNTS)
def test_cash_inventory_and_fees_balance(tmp_path: Path, seed: int, is_hedged: bool) -> None:
    desk, _ = traded(tmp_path, seed, is_hedged=is_hedged)
    fills = latest(desk.orders("order_fill"))
    assert len(fills) > 30
    cash = START_USD
    held: Counter[str] = Counter()
    for line in fills:
        sign = 1 if line["side"] == "BUY" else -1
        cash -= sign * line["executedQty"] * line["avgPrice"] + line["fee_total"]
        held[line["symbol"]] += sign * line["executedQty"]
    sides = {p.position_side for p in desk.paper.positions()}
    assert sides <= ({"LONG", "SHORT"} if is_hedged else {"BOTH"})
    marks = {p.symbol: p.mark for p in desk.paper.positions()}
    worth = sum([qty * marks.get(symbol, 0.0) for symbol, qty in held.items()])
    assert cash + worth == pytest.approx(desk.paper.account().equity_usd, abs=1e-6)
    for symbol, qty in held.items():
        assert qty == pytest.approx(desk.engine.executor.lots.net().get(symbol, 0.0), abs=1e-9)


@pytest.mark.parametrize(("seed", "is_hedged"), ACCOUNTS)
def test_logged_pnl_is_that_of_an_independent_fifo(
    tmp_path: Path, seed: int, is_hedged: bool
) -> None:
    desk, _ = traded(tmp_path, seed, is_hedged=is_hedged)
    logged = sum([line["realizedPnlUsd"] for line in desk.orders("order_close")])
    assert logged == pytest.approx(fifo_pnl(desk.orders("order_fill")), abs=1e-6)
    assert len(desk.orders("order_close")) > 10


@pytest.mark.parametrize("seed", range(8))
def test_every_attempt_that_sent_an_order_ends_in_one_line(tmp_path: Path, seed: int) -> None:
    desk, attempts = traded(tmp_path, seed)
    sent = {attempt.attempt_id for attempt in attempts if attempt.legs}
    vetoed = {attempt.attempt_id for attempt in attempts if not attempt.legs}
    ended = Counter(line["attempt_id"] for line in desk.outcomes())
    assert ended == dict.fromkeys(sent, 1)
    assert vetoed == {line["attempt_id"] for line in desk.lines("risk_vetoes")} - sent
    assert {line["attempt_id"] for line in desk.lines("orders_attempted")} == sent | vetoed
    assert {line["result"]["status"] for line in desk.outcomes()} >= {
        "FILLED", "PARTIALLY_FILLED", "REJECTED",
    }  # fmt: skip


@pytest.mark.parametrize(("seed", "is_hedged"), [(1, False), (4, False), (7, True)])
def test_a_position_is_said_as_the_fills_logged_until_then_sum_to(
    tmp_path: Path, seed: int, is_hedged: bool
) -> None:
    desk, attempts = traded(tmp_path, seed, is_hedged=is_hedged)
    fills = latest(desk.orders("order_fill"))
    spans = [
        (a.symbol, legs[0].first_ms, max(leg.last_ms for leg in legs))
        for a in attempts
        if (legs := [leg for leg in a.legs if leg.filled])
    ]
    assert sum(last > first for _, first, last in spans) > 5, "some fill at several moments"
    states = desk.lines("position_state")
    assert len(states) > 30
    for state in {(x["symbol"], x["mode"], x["ts"]): x for x in states}.values():
        held = sum(
            fill["executedQty"] if fill["side"] == "BUY" else -fill["executedQty"]
            for fill in fills
            if (fill["symbol"], fill["positionSide"]) == (state["symbol"], state["mode"])
            and fill["ts_fill_last"] <= state["ts"]
        )
        assert state["pos_qty"] == pytest.approx(held, abs=1e-9), state
        at_ms = dt.datetime.fromisoformat(state["ts"]).timestamp() * 1000
        between = [x for x in spans if x[0] == state["symbol"] and x[1] <= at_ms < x[2]]
        assert not between, "an order that is filling has no state yet"


def test_trades_of_strategies_sum_to_the_lots_of_the_account(tmp_path: Path) -> None:
    desk, _ = traded(tmp_path, 3)
    executor = desk.engine.executor
    for symbol in ("BTCUSDT", "ETHUSDT"):
        sleeves = sum([s.qty for (_, name), s in executor.sleeves.items() if name == symbol])
        assert sleeves == pytest.approx(executor.lots.qty(symbol, "BOTH"), abs=1e-9)
    closed = sum([trade.pnl_usd for trade in desk.closed])
    fees = sum([trade.fees_usd or 0.0 for trade in desk.closed])
    open_cost = sum(
        [s.opened_usd * (1 if s.direction == "LONG" else -1) for s in executor.sleeves.values()]
    )
    open_proceeds = sum(
        [s.closed_usd * (1 if s.direction == "LONG" else -1) for s in executor.sleeves.values()]
    )
    open_fees = sum([s.fees_usd or 0.0 for s in executor.sleeves.values()])
    cash = START_USD + closed - fees - open_cost + open_proceeds - open_fees
    assert cash == pytest.approx(desk.paper.cash_usd, abs=1e-6)


def test_intake_and_core_compute_what_the_engine_knew(tmp_path: Path) -> None:
    desk, attempts = traded(tmp_path, 5)
    settings = desk.settings.model_copy(update={"log_dir": tmp_path / "logs"})
    as_of_ms = START_MS + (BARS + 60) * MINUTE_MS
    report = refresh(settings, as_of_ms=as_of_ms, now_ms=as_of_ms, publish=True)
    assert report.snapshot_id is not None
    database = settings.snapshots_root / report.snapshot_id / "features.duckdb"
    with duckdb.connect(str(database), read_only=True) as con:
        rejected = [
            con.execute(f"SELECT count(*) FROM {t} WHERE reject_reason IS NOT NULL").fetchone()
            for t in ("raw_router__events", "raw_orders__events", "raw_orders__attempts",
                      "raw_risk__vetoes", "raw_positions__states")
        ]  # fmt: skip
        found = con.execute("SELECT * FROM core_execution__outcomes")
        names = [column[0] for column in found.description or ()]
        rows = {
            row["attempt_id"]: row
            for row in (dict(zip(names, r, strict=True)) for r in found.fetchall())
        }
        changes = con.execute(
            "SELECT is_explained, unexplained_qty, pnl_missing_usd, cause"
            " FROM core_position__reconciliation WHERE to_ms IS NOT NULL"
        ).fetchall()
    assert rejected == [(0,)] * 5, "the intake accepts every line"

    sent = {a.attempt_id: a for a in attempts if a.legs}
    flips = {f"{a.attempt_id}_reduce": a for a in attempts if a.reduced}
    assert set(rows) == set(sent) | set(flips)
    for attempt_id, a in sent.items():
        row = rows[attempt_id]
        legs = a.own_legs
        filled_usd = sum([leg.filled_usd for leg in legs])
        assert row["outcome"] == expected_outcome(a), attempt_id
        assert (row["account"], row["environment"], row["venue"]) == ("default", "paper", "paper")
        assert (row["strategy"], row["side"]) == (a.strategy, a.side)
        assert row["confidence"] == a.signal.confidence
        assert row["started_maker"] is a.started_maker
        assert row["used_fallback"] is a.used_fallback
        assert row["snapshot_id"] == "s1"
        if a.filled:
            assert row["qty"] == pytest.approx(a.filled, abs=1e-9)
            assert row["fill_px"] == pytest.approx(filled_usd / a.filled, rel=1e-9)
            assert row["notional_usd"] == pytest.approx(filled_usd, rel=1e-9)
            fees = sum([leg.fee_usd or 0.0 for leg in legs])
            assert row["fees_usd"] == pytest.approx(fees, abs=1e-9)
            sign = 1 if a.side == "BUY" else -1
            slippage = (filled_usd / a.filled / a.mark - 1) * 1e4 * sign
            assert row["slippage_bps"] == pytest.approx(slippage, abs=1e-6)
            assert row["is_slippage_different"] is False
            assert row["is_confirmed"] is True
            last_ms = max(leg.last_ms for leg in legs)
            assert row["mark_age_ms"] == last_ms - a.decided_ms
        realized = sum([leg.realized_usd for leg in legs])
        if any(leg.closed_qty for leg in legs):
            assert row["realized_pnl_usd"] == pytest.approx(realized, abs=1e-9)
            closed = sum([leg.closed_qty for leg in legs])
            closed_usd = sum([leg.closed_qty * leg.price_now for leg in legs])
            assert row["closed_notional_usd"] == pytest.approx(closed_usd, rel=1e-6)
            assert closed > 0
        else:
            assert row["realized_pnl_usd"] is None
    for attempt_id, a in flips.items():
        row = rows[attempt_id]
        assert row["outcome"] == "close_only"
        legs = [leg for leg in a.legs if leg.kind == "reduce"]
        realized = sum([leg.realized_usd for leg in legs])
        assert row["realized_pnl_usd"] == pytest.approx(realized, abs=1e-9)
        assert row["fees_usd"] == pytest.approx(sum([leg.fee_usd or 0 for leg in legs]), abs=1e-9)
    assert len(changes) > 30
    for is_explained, unexplained_qty, pnl_missing_usd, cause in changes:
        assert (is_explained, cause) == (True, None)
        assert unexplained_qty == pytest.approx(0.0, abs=1e-6)
        assert pnl_missing_usd == pytest.approx(0.0, abs=1e-6)
    total = sum([row["realized_pnl_usd"] or 0.0 for row in rows.values()])
    assert total == pytest.approx(fifo_pnl(desk.orders("order_fill")), abs=1e-6)


def expected_outcome(a: Attempt) -> str:
    """Say how an attempt ended, from its orders alone."""
    if a.filled:
        return "filled" if a.filled >= a.qty - 1e-9 else "partial"
    if not a.own_legs:
        return "unfilled"  # a flip that did not get past closing the old position
    return {"REJECTED": "rejected", "LOST": "error"}.get(str(a.own_legs[-1].status), "unfilled")
