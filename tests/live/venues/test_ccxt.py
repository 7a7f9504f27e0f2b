"""The real ccxt client against a loopback server that answers as Binance futures do."""

import itertools
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest

from features.settings import Settings
from live.engine import Engine
from live.market import Bar, Direction, Quote, Signal
from live.trading.controls import Controls
from live.venues import POST_ONLY, NewOrder, RetryError, SkipError, StopError
from live.venues.ccxt_venue import CcxtVenue
from tests.live.trading import Script, reading
from tests.live.venues.exchange import KEY, SECRET, Answer, Exchange, Query, serving

QTY = 0.01
TIMEOUT_MS, HANG_S = 500, 5.0  # of a client that does not wait, and of an exchange that hangs


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def venue(exchange: Exchange) -> Iterator[CcxtVenue]:
    with serving(exchange) as urls:
        yield connect(urls)


def connect(urls: dict[str, str], **values: Any) -> CcxtVenue:
    # A busy machine is no fault of the exchange.
    usual: dict[str, Any] = {"api_key": KEY, "secret": SECRET, "timeout_s": 30.0}
    venue = CcxtVenue(urls=urls, **{**usual, **values})
    venue._exchange.enableRateLimit = False  # a loopback server has no limit
    return venue


def new(client_id: str = "a", **values: Any) -> NewOrder:
    usual: dict[str, Any] = {
        "symbol": "BTCUSDT", "side": "BUY", "type": "ioc", "qty": QTY, "price": 100_500.0,
    }  # fmt: skip
    return NewOrder(client_id, **{**usual, **values})


# -- where it connects --------------------------------------------------------------------------


def test_nothing_but_live_leaves_the_sandbox() -> None:
    sandbox = CcxtVenue("binanceusdm")
    assert sandbox.environment == "testnet"
    assert all("demo" in url for url in sandbox._exchange.urls["api"].values())
    real = CcxtVenue("binanceusdm", live=True)
    assert real.environment == "live"
    assert real._exchange.urls["api"]["fapiPrivate"].startswith("https://fapi.binance.com")


def test_exchange_without_sandbox_is_refused_unless_live() -> None:
    without = next(
        name for name in ccxt.exchanges
        if not getattr(ccxt, name)().urls.get("test") and not getattr(ccxt, name)().urls.get("demo")
    )  # fmt: skip
    with pytest.raises(ValueError, match="has no sandbox"):
        CcxtVenue(without)


def test_unknown_exchange_and_missing_keys_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'nowhere' is no exchange of ccxt"):
        CcxtVenue("nowhere")
    monkeypatch.delenv("EXECINTEL_VENUE_KEY", raising=False)
    with pytest.raises(ValueError, match="binanceusdm needs EXECINTEL_VENUE_KEY"):
        CcxtVenue.from_environment("binanceusdm")


# -- calls --------------------------------------------------------------------------------------


def test_rules_of_a_symbol_come_from_the_exchange(venue: CcxtVenue) -> None:
    found = venue.instrument("BTCUSDT")
    assert (found.tick, found.step, found.min_qty) == (0.1, 0.001, 0.001)
    assert found.min_notional_usd == 100
    with pytest.raises(SkipError, match="does not trade NOUSDT"):
        venue.instrument("NOUSDT")


def test_taker_order_is_created_filled_and_charged(venue: CcxtVenue) -> None:
    made = venue.create(new())
    assert made.status == "FILLED"
    (fill,) = made.fills
    assert fill.price == pytest.approx(100_000.1)
    assert (fill.qty, fill.is_maker) == (QTY, False)
    assert fill.fee_usd is not None
    assert fill.fee_usd == pytest.approx(QTY * 100_000.1 * 5e-4)
    (position,) = venue.positions()
    assert (position.symbol, position.qty) == ("BTCUSDT", QTY)
    account = venue.account()
    assert account.equity_usd == pytest.approx(10_000 - fill.fee_usd - QTY * 0.1, abs=1e-6)


def test_post_only_rests_and_is_cancelled_only_when_the_venue_says_so(venue: CcxtVenue) -> None:
    made = venue.create(new(type="post_only", price=99_500.0))
    assert (made.status, made.type) == ("NEW", "post_only")
    assert [order.client_id for order in venue.open_orders()] == ["a"]
    venue.cancel("BTCUSDT", "a")
    found = venue.order("BTCUSDT", "a")
    assert found is not None
    assert found.status == "CANCELED"
    with pytest.raises(SkipError, match="no open order"):
        venue.cancel("BTCUSDT", "a")


def test_post_only_that_crosses_says_post_only(venue: CcxtVenue) -> None:
    with pytest.raises(SkipError, match="-5022") as caught:
        venue.create(new(type="post_only", price=100_100.0))
    assert caught.value.reason == POST_ONLY
    assert venue.order("BTCUSDT", "a") is None


@pytest.mark.parametrize(
    ("contract", "step"), [(0.01, "1"), (0.001, "0.1"), (1.0, "0.001"), (10.0, "1")]
)
def test_allowed_quantity_goes_out_as_it_is_whatever_a_contract_holds(
    venue: CcxtVenue, contract: float, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = venue._traded("BTCUSDT")
    changed = {
        **market, "contractSize": contract, "precision": {"amount": float(step), "price": 0.1},
        "limits": {**market["limits"], "amount": {"min": float(step), "max": None}},
    }  # fmt: skip
    venue._exchange.markets[market["symbol"]] = venue._markets["BTCUSDT"] = changed
    rules = venue.instrument("BTCUSDT")
    sent: list[Decimal] = []

    def cut(symbol: str, kind: str, side: str, amount: float, *rest: Any) -> None:
        sent.append(Decimal(venue._exchange.amount_to_precision(symbol, amount)))
        raise ccxt.InsufficientFunds("enough is seen")

    monkeypatch.setattr(venue._exchange, "create_order", cut)
    counts = [*range(1, 2_000), 1_234_567, 123_456_789]
    for count in counts:
        with pytest.raises(SkipError, match="enough is seen"):
            venue.create(new(qty=rules.floor_qty((count + 0.3) * contract * float(step))))
    assert sent == [count * Decimal(step) for count in counts]


def test_second_create_of_one_id_is_to_be_looked_up_not_skipped(venue: CcxtVenue) -> None:
    venue.create(new())
    with pytest.raises(RetryError, match="-4116"):
        venue.create(new())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((503, {"code": -1000, "msg": "Service unavailable"}), RetryError),
        ((502, b"<html>Bad Gateway</html>"), RetryError),
        ((504, b""), RetryError),
        ((503, {"code": -9999, "msg": "A code that ccxt has no class for."}), RetryError),
        ((500, {"code": -2010, "msg": "NEW_ORDER_REJECTED"}), RetryError),  # may stand all the same
        ((502, {"code": -5022, "msg": "Post Only order will be rejected."}), RetryError),
        ((408, {"code": -1007, "msg": "Timeout waiting; execution status unknown."}), RetryError),
        ((429, {"code": -1003, "msg": "Too many requests."}), RetryError),
        ((400, {"code": -1021, "msg": "Timestamp is outside of the recvWindow."}), RetryError),
        ((200, b"this is no JSON"), RetryError),
        ((0, 0.0), RetryError),  # the connection is dropped
        ((0, HANG_S), RetryError),  # no answer within the timeout
        ((400, {"code": -2019, "msg": "Margin is insufficient."}), SkipError),
        ((400, {"code": -4164, "msg": "Order's notional must be no smaller than 100"}), SkipError),
        ((400, {"code": -2022, "msg": "ReduceOnly Order is rejected."}), SkipError),
        ((401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions."}), StopError),
    ],
)  # fmt: skip
def test_failure_says_what_to_do_next(
    exchange: Exchange, venue: CcxtVenue, answer: Answer, error: type[Exception]
) -> None:
    venue.instrument("BTCUSDT")
    if answer == (0, HANG_S):
        venue._exchange.timeout = TIMEOUT_MS
    exchange.fault = lambda method, path, query: answer if path.endswith("/order") else None
    started = time.monotonic()
    with pytest.raises(error, match="create order") as caught:
        venue.create(new())
    assert time.monotonic() - started < 3.0
    assert "signature=" not in str(caught.value) or "signature=…" in str(caught.value)


def test_wrong_secret_stops(exchange: Exchange) -> None:
    with serving(exchange) as urls:
        venue = connect(urls, api_key="other")
        with pytest.raises(StopError, match="-2015"):
            venue.account()


def test_hedge_mode_keeps_long_and_short_apart() -> None:
    exchange = Exchange(is_hedged=True)
    with serving(exchange) as urls:
        venue = connect(urls, is_hedged=True)
        venue.create(new("a", position_side="LONG"))
        venue.create(new("b", side="SELL", type="market", price=None, position_side="SHORT"))
        found = {p.position_side: p.qty for p in venue.positions()}
        assert found == {"LONG": QTY, "SHORT": -QTY}
        close = new(
            "c", side="SELL", type="market", price=None, reduce_only=True, position_side="LONG"
        )
        assert venue.create(close).position_side == "LONG"
        assert [p.position_side for p in venue.positions()] == ["SHORT"]
        with pytest.raises(SkipError, match="-4061"):  # an account in the other mode
            connect(urls).create(new("d"))


def test_fill_without_its_trades_is_not_told_yet(exchange: Exchange, venue: CcxtVenue) -> None:
    venue.instrument("BTCUSDT")
    exchange.fault = lambda method, path, query: (200, []) if "userTrades" in path else None
    made = venue.create(new())  # it was created, whatever is listed of it
    assert (made.status, made.fills) == ("NEW", ())
    with pytest.raises(RetryError, match=r"0 of 0\.01 are listed"):
        venue.order("BTCUSDT", "a")
    exchange.fault = lambda method, path, query: None
    found = venue.order("BTCUSDT", "a")
    assert found is not None
    assert (found.status, [fill.qty for fill in found.fills]) == ("FILLED", [QTY])


def test_trade_listed_twice_counts_once(exchange: Exchange, venue: CcxtVenue) -> None:
    listed = exchange._get_userTrades
    exchange._get_userTrades = lambda query: listed(query) * 2  # type: ignore[method-assign]
    assert [fill.qty for fill in venue.create(new()).fills] == [QTY]


def test_trades_of_more_than_the_order_are_not_believed(
    exchange: Exchange, venue: CcxtVenue
) -> None:
    listed = exchange._get_userTrades
    exchange._get_userTrades = lambda query: [  # type: ignore[method-assign]
        {**trade, "id": n} for n, trade in enumerate(listed(query) * 2)
    ]
    assert venue.create(new()).fills == ()
    with pytest.raises(RetryError, match=r"trades of 0\.02 are listed for an order of 0\.01"):
        venue.order("BTCUSDT", "a")


# -- what cannot be understood ------------------------------------------------------------------


@pytest.mark.parametrize("told", [{"symbol": "NEWUSDT"}, {"status": "NEW_INSURANCE"}])
def test_open_order_that_is_not_understood_hides_no_other(
    exchange: Exchange, venue: CcxtVenue, told: dict[str, str]
) -> None:
    venue.create(new("a", type="post_only", price=99_500.0))
    venue.create(new("b", type="post_only", price=99_400.0))
    listed = exchange._get_openOrders
    exchange._get_openOrders = lambda query: [  # type: ignore[method-assign]
        {**order, **told} if order["clientOrderId"] == "b" else order for order in listed(query)
    ]
    found = {order.client_id: (order.symbol, order.status) for order in venue.open_orders()}
    assert found == {"a": ("BTCUSDT", "NEW"), "b": (told.get("symbol", "BTCUSDT"), "NEW")}


def test_kill_cancels_an_order_of_a_symbol_listed_after_the_start(
    tmp_path: Path, exchange: Exchange, venue: CcxtVenue
) -> None:
    trader = Trader(tmp_path, exchange, venue)
    trader.engine.step()
    venue.create(new(type="post_only", price=99_500.0))
    list_new(exchange)
    exchange.paper.on_quote(Quote("NEWUSDT", exchange.clock.now_ms(), 1.0, 1.1))
    exchange.paper.create(NewOrder("by_hand", "NEWUSDT", "BUY", "post_only", 5.0, 0.9))
    Controls(tmp_path / "control").set("kill", "test", by="me", now_ms=exchange.clock.now_ms())
    trader.engine.step()
    assert exchange.paper.open_orders() == []


def test_open_order_without_a_client_id_is_cancelled_by_its_number(
    exchange: Exchange, venue: CcxtVenue
) -> None:
    venue.create(new("a", type="post_only", price=99_500.0))
    listed = exchange._get_openOrders
    exchange._get_openOrders = lambda query: [  # type: ignore[method-assign]
        {**order, "clientOrderId": ""} for order in listed(query)
    ]
    (order,) = venue.open_orders()
    assert order.client_id == f"#{order.order_id}"
    venue.cancel(order.symbol, order.client_id)
    assert exchange.paper.open_orders() == []


def list_new(exchange: Exchange) -> None:
    """Let the exchange list a symbol that it did not at the start."""
    before = exchange._exchangeInfo({})
    new_one = {**before["symbols"][0], "symbol": "NEWUSDT", "pair": "NEWUSDT", "baseAsset": "NEW"}
    before["symbols"].append(new_one)
    exchange._exchangeInfo = lambda query: before  # type: ignore[method-assign]


@pytest.mark.parametrize("is_listed", [True, False])  # False: in no list even then
def test_position_in_a_symbol_unknown_at_the_start_is_told(
    exchange: Exchange, venue: CcxtVenue, is_listed: bool
) -> None:
    venue.create(new())
    if is_listed:
        list_new(exchange)
    told = exchange._get_positionRisk
    exchange._get_positionRisk = lambda query: [  # type: ignore[method-assign]
        {**position, "symbol": "NEWUSDT"} for position in told(query)
    ]
    assert [(p.symbol, p.qty) for p in venue.positions()] == [("NEWUSDT", QTY)]


@pytest.mark.parametrize("value", [None, "", "NaN", "Infinity"])
def test_numbers_that_are_none_are_asked_for_again(
    exchange: Exchange, venue: CcxtVenue, value: str | None
) -> None:
    venue.create(new())
    account, positions = exchange._get_account, exchange._get_positionRisk
    exchange._get_account = lambda query: {  # type: ignore[method-assign]
        **account(query), "totalMarginBalance": value,
    }  # fmt: skip
    exchange._get_positionRisk = lambda query: [  # type: ignore[method-assign]
        {**position, "positionAmt": value, "notional": value} for position in positions(query)
    ]
    with pytest.raises(RetryError, match="balance"):
        venue.account()
    with pytest.raises(RetryError, match="positions"):
        venue.positions()


@pytest.mark.parametrize(("bid", "ask"), [("NaN", "1"), ("1", "NaN"), ("0", "1"), ("1", "inf")])
def test_book_without_prices_is_no_quote(
    exchange: Exchange, venue: CcxtVenue, bid: str, ask: str
) -> None:
    body = {"lastUpdateId": 1, "E": 1, "T": 1, "bids": [[bid, "1"]], "asks": [[ask, "1"]]}
    exchange._depth = lambda query: body  # type: ignore[method-assign]
    with pytest.raises(SkipError, match="are no prices"):
        venue.quote("BTCUSDT")


@pytest.mark.parametrize(
    ("symbol", "quote", "settle", "is_linear"),
    [
        ("XRPUSD", "USD", "XRP", False),  # contracts of 1 USD, whatever the price
        ("ETHBTC", "BTC", "USDT", True),  # a price in BTC
        ("BTCEUR", "EUR", "EUR", True),
    ],
)
def test_contract_that_is_not_sized_in_usd_is_refused(
    venue: CcxtVenue, symbol: str, quote: str, settle: str, is_linear: bool
) -> None:
    venue.instrument("BTCUSDT")
    usual = venue._markets["BTCUSDT"]
    venue._markets[symbol] = {
        **usual, "id": symbol, "quote": quote, "settle": settle, "linear": is_linear,
        "inverse": not is_linear,
    }  # fmt: skip
    for call in (venue.instrument, venue.quote, lambda s: venue.create(new(symbol=s))):
        with pytest.raises(SkipError, match="no linear contract quoted in USD"):
            call(symbol)


# -- the whole engine ---------------------------------------------------------------------------


class Trader:
    """An engine over ccxt, the loopback server and the machine's clock."""

    def __init__(self, root: Path, exchange: Exchange, venue: CcxtVenue, **trading: Any) -> None:
        self.exchange, self.root, self.venue = exchange, root, venue
        self.settings = Settings(
            home=root / "home", apply="all",
            # The clock is as far off as an answer took: on a busy machine that is no fault of it.
            trading={
                "maker_window_s": 1, "loop_ms": 20, "shutdown_s": 3, "clock_stop_ms": 60_000,
                **trading,
            },
        )  # fmt: skip
        self.script = Script({}, name="script")
        self.start()

    def start(self) -> None:
        self.engine = Engine(
            self.venue, [self.script], reading, settings=self.settings, clock=self.exchange.clock,
            log_dir=self.root / "logs", state_dir=self.root / "state",
            controls=Controls(self.root / "control"),
        )  # fmt: skip

    def want(self, direction: Direction, *, wants_maker: bool = False) -> None:
        now_ms = self.exchange.clock.now_ms()
        self.engine.step()
        self.engine.executor.act(
            Signal("script", "BTCUSDT", direction, now_ms, 100_000.0, 0.6, None, wants_maker)
        )

    def settle(self, seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while self.engine.executor.is_busy and time.monotonic() < until:
            with self.exchange.lock:
                self.exchange.quote(100_000.0)
            self.engine.step()
            time.sleep(0.02)
        assert not self.engine.executor.is_busy

    def outcomes(self) -> list[tuple[Any, ...]]:
        path = self.root / "logs" / "order_metrics.jsonl"
        lines = [json.loads(text) for text in path.read_text().splitlines()]
        return [
            (x["result"]["status"], x["started_maker"], x["used_fallback"], x["qty"]["contracts"])
            for x in lines
        ]

    @property
    def position(self) -> float:
        return sum([p.qty for p in self.exchange.paper.positions()])


def test_engine_trades_maker_first_and_closes_over_ccxt(
    tmp_path: Path, exchange: Exchange, venue: CcxtVenue
) -> None:
    trader = Trader(tmp_path, exchange, venue)
    trader.want("LONG", wants_maker=True)
    trader.settle()
    trader.want("NOOP")
    trader.settle()
    assert trader.outcomes() == [("FILLED", True, True, QTY), ("FILLED", False, False, QTY)]
    assert trader.position == 0
    assert trader.engine.executor.is_reconciled


def test_trades_listed_later_than_the_order_are_booked_and_no_error_is_told(
    tmp_path: Path, exchange: Exchange, venue: CcxtVenue
) -> None:
    trader = Trader(tmp_path, exchange, venue)
    listed, asked = exchange._get_userTrades, itertools.count()
    exchange._get_userTrades = lambda query: [  # type: ignore[method-assign]
        trade for trade in listed(query) if next(asked)
    ]
    trader.want("LONG")
    trader.settle()
    assert trader.outcomes() == [("FILLED", False, False, QTY)]
    lines = (tmp_path / "logs" / "orders_executed.jsonl").read_text().splitlines()
    assert [json.loads(line)["event_type"] for line in lines] == ["order_ack", "order_fill"]


@pytest.mark.parametrize("status", [400, 403, 418, 500])
def test_trades_that_are_refused_for_now_make_no_order_a_refused_one(
    tmp_path: Path, exchange: Exchange, venue: CcxtVenue, status: int
) -> None:
    trader = Trader(tmp_path, exchange, venue)
    refused = itertools.count()

    def fault(method: str, path: str, query: Query) -> Answer | None:
        if "userTrades" not in path or next(refused):
            return None
        return status, {"code": -1102, "msg": "A mandatory parameter was not sent."}

    exchange.fault = fault
    trader.want("LONG")
    trader.settle()
    assert trader.outcomes() == [("FILLED", False, False, QTY)]
    assert trader.position == QTY
    assert trader.engine.executor.is_reconciled


def test_order_that_cannot_be_looked_up_now_is_not_one_that_never_stood(
    exchange: Exchange, venue: CcxtVenue
) -> None:
    venue.create(new())
    gone = (503, {"code": -2013, "msg": "Order does not exist."})
    exchange.fault = lambda method, path, query: gone if method == "GET" else None
    with pytest.raises(RetryError, match="look at order"):
        venue.order("BTCUSDT", "a")


@pytest.mark.parametrize(
    "answer", [(503, b""), (503, {"code": -9999, "msg": "no class for it"}), (0, HANG_S), (0, 0.0)]
)
def test_create_that_stands_unanswered_is_found_by_its_id(
    tmp_path: Path, exchange: Exchange, venue: CcxtVenue, answer: Answer
) -> None:
    trader = Trader(tmp_path, exchange, venue)
    lost = [answer]
    exchange.after = lambda method, path: lost.pop() if method == "POST" and lost else None
    trader.engine.step()
    if answer == (0, HANG_S):
        venue._exchange.timeout = TIMEOUT_MS
    trader.want("LONG")
    venue._exchange.timeout = 30_000
    trader.settle()
    assert trader.position == pytest.approx(QTY)
    assert trader.outcomes() == [("FILLED", False, False, QTY)]
    assert exchange.calls.count(("POST", "/fapi/v1/order")) == 1


def test_create_that_never_arrived_is_sent_again_once_it_cannot_arrive(
    tmp_path: Path, exchange: Exchange, venue: CcxtVenue
) -> None:
    venue.late_ms = 1_000  # the exchange's window, shortened for the test
    trader = Trader(tmp_path, exchange, venue)
    lost = [(503, b"")]

    def fault(method: str, path: str, query: Query) -> Answer | None:
        return lost.pop() if method == "POST" and lost else None

    exchange.fault = fault
    started = time.monotonic()
    trader.want("LONG")
    trader.settle()
    assert time.monotonic() - started > 1.0
    assert trader.position == pytest.approx(QTY)
    assert exchange.calls.count(("POST", "/fapi/v1/order")) == 2


def test_clock_ahead_of_the_venue_opens_nothing(
    tmp_path: Path, exchange: Exchange, venue: CcxtVenue
) -> None:
    exchange.clock_ahead_ms = -16_000
    trader = Trader(tmp_path, exchange, venue, clock_stop_ms=10_000)
    trader.want("LONG")
    trader.settle()
    assert trader.position == 0
    assert '"clock_offset"' in (tmp_path / "logs" / "risk_vetoes.jsonl").read_text()


def test_refused_key_halts_until_a_person_resumes(
    tmp_path: Path, exchange: Exchange, venue: CcxtVenue
) -> None:
    trader = Trader(tmp_path, exchange, venue)
    trader.engine.step()
    exchange.fault = lambda method, path, query: (
        (401, {"code": -2015, "msg": "Invalid API-key."}) if "account" in path else None
    )
    trader.engine.step()
    assert Controls(tmp_path / "control").state().mode == "halt"


def test_bars_drive_a_live_engine_too(tmp_path: Path, exchange: Exchange, venue: CcxtVenue) -> None:
    trader = Trader(tmp_path, exchange, venue)

    class Buy:
        name, threshold = "buy", 0.003

        def on_bar(self, bar: Bar) -> Signal:
            return Signal("buy", bar.symbol, "LONG", bar.close_ms, bar.close, 0.6, None, False)

    trader.script = Buy()  # type: ignore[assignment]
    trader.start()
    now_ms = exchange.clock.now_ms()
    trader.engine.on_bar(Bar("BTCUSDT", now_ms - 60_000, 60_000, 1e5, 1e5, 1e5, 1e5, 1.0))
    trader.settle()
    assert trader.position == pytest.approx(QTY)
