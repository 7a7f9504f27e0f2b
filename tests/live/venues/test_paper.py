"""The paper venue: what fills, at what price, when; by bars, and by quotes and trades."""

from pathlib import Path
from typing import Any

import pytest

from features.settings import Trading
from live.clock import SimulatedClock
from live.market import Print, Quote
from live.venues import POST_ONLY, NewOrder, Order, SkipError
from live.venues.paper import PaperConfig, PaperVenue, paper_venue
from tests.live.trading import BTC, MINUTE_MS, START_MS, SYMBOLS, Desk, Restless, bar, walk

P = 100_000.0


class Market:
    """A paper venue and the bars it walks through."""

    def __init__(self, **config: Any) -> None:
        self.clock = SimulatedClock(START_MS)
        self.venue = PaperVenue(
            self.clock, config=PaperConfig(**{"slippage_bps": 0.0, **config}), instruments=SYMBOLS
        )
        self.minute = 0
        self.walk(P)

    def walk(self, *prices: float, volume: float = 1e6) -> None:
        one = bar("BTCUSDT", self.minute, *prices, volume=volume)
        self.venue.begin([one])
        self.clock.move_to(one.close_ms)
        self.minute += 1

    def send(self, client_id: str = "a", **values: Any) -> Order:
        usual: dict[str, Any] = {
            "symbol": "BTCUSDT", "side": "BUY", "type": "post_only", "qty": 0.01, "price": 99_900.0,
        }  # fmt: skip
        return self.venue.create(NewOrder(client_id, **{**usual, **values}))

    def see(self, client_id: str = "a") -> Order:
        found = self.venue.order("BTCUSDT", client_id)
        assert found is not None
        return found


@pytest.mark.parametrize(
    ("prices", "status"),
    [
        ((P, P, 99_900.1, P), "NEW"),  # never reached
        ((P, P, 99_900.0, P), "NEW"),  # touched: others were there before
        ((P, P, 99_899.9, P), "FILLED"),  # traded through
        ((99_800.0, P, 99_800.0, P), "EXPIRED"),  # opened below: it would have crossed
    ],
)
def test_post_only_fills_only_when_traded_through(prices: Any, status: str) -> None:
    market = Market()
    market.send()
    market.walk(*prices)
    assert market.see().status == status
    assert [fill.price for fill in market.see().fills] == ([99_900.0] if status == "FILLED" else [])


def test_sell_is_filled_by_a_rise_through_it() -> None:
    market = Market()
    market.send(side="SELL", price=100_100.0)
    market.walk(P, 100_100.0, P, P)
    assert market.see().status == "NEW"
    market.walk(P, 100_100.1, P, P)
    assert market.see().status == "FILLED"


def test_post_only_that_would_cross_is_refused() -> None:
    market = Market()
    market.send(price=100_010.0)  # the ask stands at 100,010
    market.walk(P)
    assert (market.see().status, market.see().reason) == ("EXPIRED", POST_ONLY)


def test_takers_get_the_touch_of_the_next_bar_and_pay_the_taker_fee() -> None:
    market = Market()
    market.send(type="market", price=None)
    assert market.see().status == "NEW"  # the last bar is over
    market.walk(P)
    (fill,) = market.see().fills
    assert fill.price == 100_010.0
    assert fill.fee_usd == pytest.approx(0.01 * 100_010.0 * 5e-4)
    assert fill.is_maker is False
    assert fill.at_ms == START_MS + MINUTE_MS + 50  # latency after the signal


def test_fees_of_the_settings_count_whatever_the_rules_and_the_config_say() -> None:
    """Of a symbol whose rules are given, and of one whose are not."""
    trading = Trading(maker_fee_bps=2.0, taker_fee_bps=12.0, paper_equity_usd=5_000)
    clock = SimulatedClock(START_MS)
    rough = PaperConfig(latency_ms=1, maker_fee_bps=3.0)
    venue = paper_venue(
        clock, trading, seed=0, config=rough, instruments={"BTCUSDT": BTC}, environment="backtest"
    )
    for symbol in ("BTCUSDT", "SOLUSDT"):
        venue.on_quote(Quote(symbol, START_MS, 99.9, 100.1))
        venue.create(NewOrder(symbol, symbol, "BUY", "market", 0.5, None))
    clock.wait_ms(10)
    for symbol in ("BTCUSDT", "SOLUSDT"):
        order = venue.order(symbol, symbol)
        assert order is not None
        (fill,) = order.fills
        assert fill.fee_usd == pytest.approx(fill.price * 0.5 * 12e-4)
        assert venue.instrument(symbol).maker_fee_bps == 2.0
    assert venue.instrument("BTCUSDT").step == BTC.step
    assert (venue.config.latency_ms, venue.environment) == (1, "backtest")
    assert venue.account().balance_usd == pytest.approx(5_000, abs=1)


def test_maker_earns_the_rebate_at_its_own_price() -> None:
    market = Market()
    market.send()
    market.walk(P, P, 99_800.0, P)
    (fill,) = market.see().fills
    assert (fill.is_maker, fill.price) == (True, 99_900.0)
    assert fill.fee_usd == pytest.approx(-0.01 * 99_900.0 * 1e-4)
    assert START_MS + MINUTE_MS + 50 < fill.at_ms < START_MS + 2 * MINUTE_MS


def test_resting_orders_get_only_their_share_of_a_bars_volume() -> None:
    market = Market(participation=0.1)
    market.send(qty=1.0)
    market.walk(P, P, 99_800.0, P, volume=4.0)
    assert market.see().filled_qty == pytest.approx(0.4)
    assert market.see().status == "PARTIALLY_FILLED"
    market.walk(99_950.0, 99_950.0, 99_800.0, P, volume=100.0)
    assert market.see().status == "FILLED"


def test_order_sent_to_a_closed_market_waits_for_its_open() -> None:
    market = Market()
    market.send(type="market", price=None)
    market.clock.move_to(START_MS + 600 * MINUTE_MS)  # a night
    assert market.see().status == "NEW"
    market.minute = 600
    market.walk(101_000.0)
    assert market.see().fills[0].price == pytest.approx(101_010.1)


def test_cancel_takes_its_time_and_a_fill_may_come_before() -> None:
    market = Market(latency_ms=30_000)
    market.send()
    market.walk(P)  # arrived
    market.venue.cancel("BTCUSDT", "a")
    assert market.see().status == "NEW"
    market.walk(P, P, 99_000.0, 99_000.0)  # falls through within 20 s
    assert market.see().status == "FILLED"
    with pytest.raises(SkipError, match="no open order"):
        market.venue.cancel("BTCUSDT", "a")


def test_reduce_only_never_turns_a_position() -> None:
    market = Market()
    market.send(type="market", price=None)
    market.walk(P)
    market.send("b", side="SELL", type="market", price=None, qty=0.05, reduce_only=True)
    market.send("c", side="SELL", type="market", price=None, qty=0.05, reduce_only=True)
    market.walk(P)
    assert market.see("b").filled_qty == pytest.approx(0.01)
    assert market.see("c").reason == "reduce_only"
    assert market.venue.positions() == []


def test_client_id_is_taken_once() -> None:
    market = Market()
    market.send()
    with pytest.raises(SkipError, match="used before"):
        market.send()


@pytest.mark.parametrize("qty", [0.0005, 0.0015])
def test_quantity_off_the_lot_is_refused(qty: float) -> None:
    with pytest.raises(SkipError, match="no allowed quantity"):
        Market().send(qty=qty)


def test_quotes_and_trades_fill_a_resting_order_as_they_come() -> None:
    clock = SimulatedClock(START_MS)
    venue = PaperVenue(clock, instruments=SYMBOLS)
    venue.on_quote(Quote("BTCUSDT", START_MS, 99_999.9, 100_000.0))
    venue.create(NewOrder("a", "BTCUSDT", "BUY", "post_only", 0.02, 99_990.0))
    clock.move_to(START_MS + 100)
    venue.on_print(Print("BTCUSDT", clock.true_ms, 99_990.0, 5.0, "SELL"))  # at it -> queue
    found = venue.order("BTCUSDT", "a")
    assert found is not None
    assert found.status == "NEW"
    venue.on_print(Print("BTCUSDT", clock.true_ms, 99_989.9, 0.005, "SELL"))  # through it, small
    found = venue.order("BTCUSDT", "a")
    assert found is not None
    assert found.filled_qty == 0.005
    venue.on_quote(Quote("BTCUSDT", clock.true_ms, 99_980.0, 99_985.0))  # the ask is below it
    found = venue.order("BTCUSDT", "a")
    assert found is not None
    assert (found.status, found.filled_qty) == ("FILLED", 0.02)


def run(root: Path, seed: int, trade_seed: int) -> bytes:
    rough = PaperConfig(partial_rate=0.3, reject_rate=0.1)
    desk = Desk(root, Restless(trade_seed, rate=0.5), config=rough, seed=seed)
    desk.play(*walk(trade_seed, 60))
    desk.engine.close()
    return b"".join(path.read_bytes() for path in sorted((root / "logs").glob("*.jsonl")))


def test_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    first = run(tmp_path / "a", 1, 4)
    assert run(tmp_path / "b", 1, 4) == first
    assert run(tmp_path / "c", 2, 4) != first


def test_future_bars_change_no_past_order(tmp_path: Path) -> None:
    orders = []
    for name, shift in (("a", 1.0), ("b", 1.07)):
        desk = Desk(tmp_path / name, Restless(9, rate=0.5))
        for one in walk(9, 60):
            minute = (one.open_ms - START_MS) // MINUTE_MS
            factor = shift if minute >= 40 else 1.0
            desk.play(
                bar(
                    "BTCUSDT",
                    minute,
                    *[p * factor for p in (one.open, one.high, one.low, one.close)],
                )
            )
            if minute == 39:
                lines = [
                    desk.lines(n) for n in ("order_metrics", "orders_executed", "orders_attempted")
                ]
                orders.append(lines)
    assert orders[0] == orders[1]
    assert len(orders[0][0]) > 8


def test_real_quotes_and_trades_fill_makers_only_below_the_market(quotes_btc: Path) -> None:
    """Replay the recorded book: every maker fill must be a price the market traded beyond."""
    import duckdb

    files = {n: str(quotes_btc / f"usdm_btcusdt_20240808_{n}.parquet") for n in ("bbo", "trades")}
    with duckdb.connect() as con:
        rows = con.execute(
            "SELECT exch_ms, 0, bid, ask, bid_sz, ask_sz FROM read_parquet($bbo) UNION ALL "
            "SELECT exch_ms, 1, price, qty, CAST(buyer_is_maker AS DOUBLE), 0 "
            "FROM read_parquet($trades) ORDER BY 1, 2 LIMIT 20000",
            files,
        ).fetchall()
    clock = SimulatedClock(rows[0][0])
    venue = PaperVenue(clock, instruments=SYMBOLS)
    lows: dict[str, float] = {}
    open_ids: list[str] = []
    for n, (at_ms, kind, a, b, c, d) in enumerate(rows):
        clock.move_to(at_ms)
        if kind == 0:
            venue.on_quote(Quote("BTCUSDT", at_ms, a, b, c, d))
        else:
            venue.on_print(Print("BTCUSDT", at_ms, a, b, "SELL" if c else "BUY"))
        for client_id in open_ids:
            price = b if kind == 0 else a
            lows[client_id] = min(lows.get(client_id, price), price)
        if n % 500 == 10:
            quote = venue.quote("BTCUSDT")
            client_id = f"m{n}"
            venue.create(NewOrder(client_id, "BTCUSDT", "BUY", "post_only", 0.01, quote.bid))
            open_ids.append(client_id)
    orders = [venue.order("BTCUSDT", client_id) for client_id in open_ids]
    filled = [order for order in orders if order and order.fills]
    unfilled = [order for order in orders if order and order.status == "NEW"]
    assert len(filled) > 5
    for order in filled:
        assert order.price is not None
        assert lows[order.client_id] < order.price
        assert all(fill.price == order.price and fill.is_maker for fill in order.fills)
    for order in unfilled:
        assert order.price is not None
        assert lows.get(order.client_id, 1e9) >= order.price
