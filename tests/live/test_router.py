"""Maker first where wished and allowed, then taker for the rest, one line for every attempt."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from features.settings import Trading
from live.market import Direction, Quote
from live.snapshot.acting import Acting
from live.snapshot.reading import Reading
from live.trading.router import collar_price, limit_price
from live.venues import POST_ONLY, NewOrder, Order, SkipError
from live.venues.paper import PaperConfig, PaperVenue
from tests.live.trading import BTC, READY, START_MS, Desk, Script, bar, reading

P = 100_000.0
QUOTE = Quote("BTCUSDT", START_MS, 99_990.0, 100_010.0)
FLAT = [bar("BTCUSDT", n, P) for n in range(12)]
DIP = (P, P, 99_900.0, P)  # trades through a bid a few bps below


def dipping(minute: int) -> Any:
    return bar("BTCUSDT", minute, *DIP)


class Crossing(PaperVenue):
    """A paper venue that refuses so many post-only orders."""

    refusals = 0
    raises = False

    def create(self, order: NewOrder) -> Order:
        if order.type != "post_only" or self.refusals == 0:
            return super().create(order)
        self.refusals -= 1
        if self.raises:
            raise SkipError("-5022: would execute immediately", reason=POST_ONLY)
        found = super().create(order)
        live = self._orders[order.client_id]
        self._end(live, "EXPIRED", found.created_ms, POST_ONLY)
        return live.order()


def crossing(desk: Desk, refusals: int, *, raises: bool) -> None:
    desk.venue = Crossing(desk.clock, instruments=desk.paper._instruments)
    desk.venue.refusals, desk.venue.raises = refusals, raises
    desk.paper = desk.venue
    desk.start()


# -- prices -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "offset_bps", "price"),
    [
        ("BUY", 2.0, 99_990.0),  # mid 100000 less 2 bps, plus the rebate of 1 bps
        ("SELL", 2.0, 100_010.0),
        ("BUY", 8.0, 99_930.0),
        ("SELL", 8.0, 100_070.0),
    ],
)
def test_limit_price_is_mid_less_offset_then_fee(
    side: Any, offset_bps: float, price: float
) -> None:
    assert limit_price(BTC, QUOTE, side, offset_bps) == price


def test_limit_price_never_reaches_the_other_side() -> None:
    thin = Quote("BTCUSDT", START_MS, 99_999.9, 100_000.0)
    assert limit_price(BTC, thin, "BUY", 0.5) <= 99_999.9
    assert limit_price(BTC, thin, "SELL", 0.5) >= 100_000.0


def test_collar_is_rounded_towards_the_market() -> None:
    assert collar_price(BTC, QUOTE, "BUY", 50.0) == 100_500.0
    assert collar_price(BTC, QUOTE, "SELL", 50.0) == 99_500.0


# -- routes -------------------------------------------------------------------------------------


def routes(desk: Desk) -> list[tuple[str, bool, bool, Any]]:
    return [
        (x["result"]["status"], x["started_maker"], x["used_fallback"], x["is_maker_final"])
        for x in desk.outcomes()
    ]


def test_maker_order_that_is_traded_through_is_filled_at_its_price(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}))
    desk.play(FLAT[0], dipping(1), FLAT[2])
    assert routes(desk) == [("FILLED", True, False, True)]
    line = desk.outcomes()[0]
    assert line["prices"]["avg_fill"] == line["prices"]["submitted"] == 99_990.0
    assert line["fees_usd"] == pytest.approx(-0.01 * 99_990.0 * 1e-4)  # a rebate
    assert line["slippage_bps"] == pytest.approx(-1.0)
    assert line["route"] == "maker"


def test_maker_order_that_nobody_meets_falls_back_after_its_window(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}))
    desk.play(*FLAT[:4])
    assert routes(desk) == [("FILLED", True, True, False)]
    maker, taker = desk.orders("order_ack")
    assert taker["price"] == 100_500.0  # the collar
    sent_s = desk.outcomes()[0]["submit_ts"]
    assert desk.outcomes()[0]["fill_ts"] - sent_s == pytest.approx(60.15, abs=0.2)
    assert (maker["timeInForce"], taker["timeInForce"]) == ("GTX", "IOC")


def test_fallback_takes_only_what_is_left(tmp_path: Path) -> None:
    config = PaperConfig(partial_rate=1.0, queue_ms=10**9)  # one part, never more
    desk = Desk(tmp_path, Script({0: "LONG"}), config=config, maker_min_fill=1.0)
    desk.play(FLAT[0], dipping(1))
    part = desk.position
    assert 0 < part < 0.01
    desk.play(*FLAT[2:5])
    maker, taker = desk.orders("order_ack")
    assert taker["request_qty"] == pytest.approx(maker["request_qty"] - part)
    assert desk.outcomes()[0]["qty"]["contracts"] == pytest.approx(desk.position)


def test_order_that_is_filling_gets_as_long_again(tmp_path: Path) -> None:
    config = PaperConfig(partial_rate=1.0, queue_ms=10**9)
    for share, minutes in ((0.001, 2), (1.0, 1)):  # what counts as filling
        desk = Desk(tmp_path / str(share), Script({0: "LONG"}), config=config, maker_min_fill=share)
        desk.play(FLAT[0], dipping(1), *FLAT[2:6])
        waited_s = desk.outcomes()[0]["ts"] - desk.outcomes()[0]["submit_ts"]
        assert waited_s == pytest.approx(60 * minutes, abs=1)


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize(
    ("refusals", "route", "makers"),
    [(1, ("FILLED", True, False, True), 2), (2, ("FILLED", True, True, False), 2)],
)
def test_post_only_refusal_reprices_once_then_takes(
    tmp_path: Path, raises: bool, refusals: int, route: Any, makers: int
) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}))
    crossing(desk, refusals, raises=raises)
    desk.play(FLAT[0], dipping(1), FLAT[2])
    assert routes(desk) == [route]
    assert desk.outcomes()[0]["result"]["retries"] == refusals


@pytest.mark.parametrize(
    ("wants", "acting", "direction", "maker"),
    [
        (True, READY, "LONG", True),
        (False, READY, "LONG", False),  # the strategy does not wish it
        (True, Acting(1.0, (2.0,) * 24, "broken", False, "prefer_taker"), "LONG", False),
        (True, Acting(1.0, (2.0,) * 24, "unknown", None, "balanced"), "LONG", True),
    ],
)
def test_maker_first_needs_wish_and_permission(
    tmp_path: Path, wants: bool, acting: Acting, direction: Any, maker: bool
) -> None:
    def read(symbol: str) -> Reading:
        return reading(symbol, acting=acting)

    desk = Desk(tmp_path, Script({0: direction}, wants_maker=wants), read=read)
    desk.play(*FLAT[:4])
    assert desk.outcomes()[0]["started_maker"] is maker


def test_closing_takes_at_once_and_only_reduces(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 3: "NOOP"}))
    desk.play(FLAT[0], dipping(1), *FLAT[2:6])
    assert routes(desk)[1] == ("FILLED", False, False, False)
    ack = desk.orders("order_ack")[-1]
    assert ack["reduceOnly"] is True
    assert ack["order_type"] == "MARKET"
    assert desk.position == 0


def test_policy_that_prefers_to_take_waits_half_as_long(tmp_path: Path) -> None:
    acting = Acting(1.0, (2.0,) * 24, "degraded", True, "prefer_taker")
    desk = Desk(tmp_path, Script({0: "LONG"}), read=lambda s: reading(s, acting=acting))
    desk.play(*FLAT[:4])
    line = desk.outcomes()[0]
    assert line["fill_ts"] - line["submit_ts"] == pytest.approx(30.15, abs=0.2)


def test_flip_closes_the_old_position_as_a_leg_of_its_own(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 3: "SHORT"}, wants_maker=False))
    desk.play(*FLAT[:6])
    assert desk.position == pytest.approx(-0.01)
    second = desk.outcomes()[1]
    close = desk.orders("order_close")[0]
    assert close["attempt_id"] == f"{second['attempt_id']}_reduce"
    assert close["position_size_before"] == pytest.approx(0.01)
    assert close["position_size_after"] == 0
    assert close["realizedPnlUsd"] < 0  # bought at the ask, sold at the bid
    assert [x["attempt_id"] for x in desk.outcomes()].count(f"{second['attempt_id']}_reduce") == 0
    assert second["qty"]["contracts"] == pytest.approx(0.01)
    assert [trade.direction for trade in desk.closed] == ["LONG"]
    assert desk.closed[0].exit_reason == "flip"


@pytest.mark.parametrize(
    ("other", "mine", "back", "closed", "sizes"),
    [
        # my short of 0.01 stands against another's long of 0.01: buying it back closes nothing of
        # the account's net position, which was flat, so the venue would refuse a reduce-only order
        ("LONG", "SHORT", "LONG", 0.0, (0.0, 0.01)),
        ("SHORT", "LONG", "SHORT", 0.0, (0.0, -0.01)),
        # both long: selling mine closes half of the net position
        ("LONG", "LONG", "SHORT", 0.01, (0.02, 0.01)),
    ],
)
def test_flip_in_a_net_position_that_another_strategy_holds_has_its_reduce_leg(
    tmp_path: Path,
    other: Direction,
    mine: Direction,
    back: Direction,
    closed: float,
    sizes: tuple[float, float],
) -> None:
    desk = Desk(
        tmp_path,
        Script({0: other}, name="other", wants_maker=False),
        Script({1: mine, 4: back}, name="mine", wants_maker=False),
    )
    desk.play(*FLAT[:9])
    first, second, flip = desk.outcomes()
    assert (flip["strategy"], flip["result"]["status"], flip["reason"]) == ("mine", "FILLED", None)
    leg_id = f"{flip['attempt_id']}_reduce"
    fills = {x["attempt_id"]: x for x in desk.orders("order_fill")}
    assert list(fills) == [
        first["attempt_id"], second["attempt_id"], leg_id, flip["attempt_id"],
    ]  # fmt: skip
    assert fills[leg_id]["executedQty"] == fills[flip["attempt_id"]]["executedQty"] == 0.01
    assert fills[leg_id]["side"] == flip["side"]
    assert ("reduceOnly" in fills[leg_id]) is bool(closed)
    (close,) = [x for x in desk.orders("order_close") if x["attempt_id"] == leg_id]
    assert close["closed_qty"] == closed
    assert (close["position_size_before"], close["position_size_after"]) == sizes
    assert (close["realizedPnlUsd"] == 0) is not bool(closed)
    assert close["fees_total"] == fills[leg_id]["fee_total"] > 0
    sign = 1 if other == "LONG" else -1
    assert desk.position == pytest.approx(0.01 * sign + 0.01 * (1 if back == "LONG" else -1))
    assert [(t.strategy, t.direction, t.exit_reason) for t in desk.closed] == [
        ("mine", mine, "flip")
    ]


def test_reduce_leg_that_adds_to_the_account_is_no_reducing_order_to_the_gates(
    tmp_path: Path,
) -> None:
    desk = Desk(
        tmp_path,
        Script({0: "LONG"}, name="other", wants_maker=False),
        Script({1: "SHORT", 4: "LONG"}, name="mine", wants_maker=False),
    )
    desk.play(*FLAT[:4])
    desk.controls.set("reduce_only", "test", by="test", now_ms=desk.clock.now_ms())
    desk.play(*FLAT[4:7])
    assert desk.vetoes()[:1] == ["reduce_only"]
    assert desk.position == 0  # nothing was added


def test_taker_never_pays_more_than_its_collar(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}, wants_maker=False), collar_bps=5.0)
    desk.play(FLAT[0], bar("BTCUSDT", 1, P * 1.001))  # the market ran away while the order went
    assert desk.position == 0
    line = desk.outcomes()[0]
    assert (line["result"]["status"], line["reason"]) == ("EXPIRED", "collar")
    assert line["slippage_bps"] is None
    assert line["prices"]["avg_fill"] is None


def test_market_orders_are_looked_at_until_they_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 2: "NOOP"}, wants_maker=False))
    desk.play(*FLAT[:3])
    assert len(desk.outcomes()) == 1  # the close waits for the market
    desk.play(FLAT[3])
    assert [x["result"]["status"] for x in desk.outcomes()] == ["FILLED", "FILLED"]
    assert {x["result"]["status"] for x in desk.outcomes()}.isdisjoint({"NEW"})


def test_change_of_mind_cancels_without_taking(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG", 1: "SHORT"}), maker_window_s=600)
    desk.play(*FLAT[:4])
    lines = desk.outcomes()
    assert (lines[0]["result"]["status"], lines[0]["reason"]) == ("CANCELED", "superseded")
    assert lines[0]["used_fallback"] is False
    assert desk.orders("order_ack")[1]["side"] == "SELL"


def test_refused_order_ends_rejected_with_its_reason(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}), config=PaperConfig(reject_rate=1.0))
    desk.play(*FLAT[:3])
    line = desk.outcomes()[0]
    assert (line["result"]["status"], line["reason"]) == ("REJECTED", "rejected")
    assert len(desk.orders("order_error")) == 1


def test_target_below_one_step_is_refused_by_its_gate_and_is_no_order_that_did_not_fill(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path, Script({0: "LONG"}), gross_target_usd=50.0)  # a step is 100 USD
    desk.play(*FLAT[:4])
    assert desk.vetoes() == ["lot_size"]
    assert desk.outcomes() == []
    assert not desk.engine.executor.is_busy


def test_flip_to_less_than_one_step_closes_and_says_which_gate_stopped_the_rest(
    tmp_path: Path,
) -> None:
    says: dict[int, Direction] = {0: "LONG", 3: "SHORT"}
    desk = Desk(tmp_path, Script(says, wants_maker=False))
    desk.play(*FLAT[:3])
    desk.engine.executor._trading = Trading(gross_target_usd=50.0)
    desk.play(*FLAT[3:8])
    assert desk.position == 0
    assert desk.vetoes() == ["lot_size"]
    assert [x["reason"] for x in desk.outcomes()] == [None, "veto:lot_size"]


@pytest.mark.parametrize(("reason", "is_told"), [("rejected", True), ("not_open", False)])
def test_cancel_that_is_refused_is_told_unless_nothing_is_open(
    tmp_path: Path, reason: str, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[float] = []

    class Refusing(PaperVenue):
        def cancel(self, symbol: str, client_id: str) -> None:
            asked.append(desk.clock.elapsed_ms())
            raise SkipError("-1102: a parameter is missing", reason=reason)

    desk = Desk(tmp_path, Script({0: "LONG"}))
    desk.venue = desk.paper = Refusing(desk.clock, instruments=desk.paper._instruments)
    desk.start()
    desk.play(*FLAT[:3])  # its window is over in the second minute
    assert len(desk.paper.open_orders()) == 1
    between = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert len(between) > 10  # it goes on asking
    assert min(between) >= 1_000  # however often the order is looked at
    assert ("is not cancelled yet, trying again: -1102" in caplog.text) is is_told


def test_context_of_the_decision_stands_in_every_line(tmp_path: Path) -> None:
    acting = Acting(0.8, (3.0,) * 24, "good", True, "prefer_maker")
    desk = Desk(tmp_path, Script({0: "LONG"}), read=lambda s: reading(s, acting=acting))
    desk.play(FLAT[0], dipping(1))
    contexts = [
        line["router_ctx"]
        for line in [*desk.outcomes(), *desk.lines("orders_attempted"), *desk.orders("order_ack")]
    ]
    assert len(contexts) == 3
    for found in contexts:
        assert found["snapshot_id"] == "s1"
        assert found["policy"] == {
            "quality": "good", "maker_first": True, "taker_bias": "prefer_maker",
        }  # fmt: skip
        assert found["maker_offset_bps"] == 3.0
        assert found["size"]["final"] == 0.8
        assert found["applied"] == ["size", "offset", "policy"]
    assert desk.outcomes()[0]["size"]["gross_target"] == 1_000.0
    assert desk.outcomes()[0]["qty"]["contracts"] == 0.008


def test_stop_and_target_close_the_trade_and_say_so(tmp_path: Path) -> None:
    for mark, reason in ((99_000.0, "stop_loss"), (101_500.0, "take_profit")):
        more = {"stop_loss": 99_500.0, "take_profit": 101_000.0}
        desk = Desk(tmp_path / reason, Script({0: "LONG"}, wants_maker=False, more=more))
        desk.play(*FLAT[:2], bar("BTCUSDT", 2, mark), bar("BTCUSDT", 3, mark))
        assert desk.position == 0
        assert [trade.exit_reason for trade in desk.closed] == [reason]
        assert desk.closed[0].signal.direction == "LONG"
