"""A loopback server that speaks the few Binance futures endpoints an engine uses.

Put here: the exchange's side, with a paper venue behind it. Keep out: expectations. It checks keys
and signatures as the exchange does, so that a client that does not sign fails here too.
"""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from live.clock import RealClock
from live.market import Quote
from live.venues import NewOrder, Order, SkipError
from live.venues.paper import PaperConfig, PaperVenue
from tests.live.trading import SYMBOLS

KEY, SECRET = "test-key", "test-secret"
Query = dict[str, str]
Answer = tuple[int, Any]


class Exchange:
    """The state behind the server: a paper venue, and faults that a test asks for."""

    def __init__(self, *, is_hedged: bool = False) -> None:
        self.clock = RealClock()
        self.paper = PaperVenue(
            self.clock, instruments=SYMBOLS, is_hedged=is_hedged,
            config=PaperConfig(latency_ms=0, slippage_bps=0.0),
        )  # fmt: skip
        self.quote(100_000.0)
        self.lock = threading.Lock()
        self.calls: list[tuple[str, str]] = []
        self.fault: Callable[[str, str, Query], Answer | None] = lambda method, path, query: None
        self.after: Callable[[str, str], Answer | None] = lambda method, path: None
        self.clock_ahead_ms = 0

    def quote(self, mid: float, half: float = 0.05) -> None:
        self.paper.on_quote(Quote("BTCUSDT", self.clock.now_ms(), mid - half, mid + half, 1.0, 1.0))

    def answer(self, method: str, path: str, query: Query, key: str | None, text: str) -> Answer:
        self.calls.append((method, path))
        found = self.fault(method, path, query)
        if found is not None:
            return found
        name = path.rsplit("/", 1)[-1]
        if name in ("time", "exchangeInfo", "depth"):
            return 200, getattr(self, f"_{name}")(query)
        signed, _, signature = text.partition("&signature=")
        expected = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()
        if key != KEY:
            return 401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
        if signature != expected:
            return 400, {"code": -1022, "msg": "Signature for this request is not valid."}
        try:
            done = 200, getattr(self, f"_{method.lower()}_{name}")(query)
        except SkipError as error:
            done = 400, {"code": int(error.reason), "msg": str(error)}
        return self.after(method, path) or done

    # -- public ----------------------------------------------------------------------------------

    def _time(self, query: Query) -> Any:
        return {"serverTime": self.clock.now_ms() + self.clock_ahead_ms}

    def _exchangeInfo(self, query: Query) -> Any:
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10", "minPrice": "0.10",
             "maxPrice": "1000000"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
            {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.001", "minQty": "0.001",
             "maxQty": "120"},
            {"filterType": "MIN_NOTIONAL", "notional": "100"},
        ]  # fmt: skip
        return {
            "timezone": "UTC", "serverTime": self.clock.now_ms(), "rateLimits": [], "assets": [],
            "symbols": [{
                "symbol": "BTCUSDT", "pair": "BTCUSDT", "contractType": "PERPETUAL",
                "deliveryDate": 4133404800000, "onboardDate": 1569398400000, "status": "TRADING",
                "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT",
                "pricePrecision": 2, "quantityPrecision": 3, "underlyingType": "COIN",
                "underlyingSubType": [], "filters": filters,
                "orderTypes": ["LIMIT", "MARKET"], "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
            }],
        }  # fmt: skip

    def _depth(self, query: Query) -> Any:
        quote = self.paper.quote(query["symbol"])
        return {
            "lastUpdateId": 1, "E": quote.at_ms, "T": quote.at_ms,
            "bids": [[str(quote.bid), "1"]], "asks": [[str(quote.ask), "1"]],
        }  # fmt: skip

    # -- signed ----------------------------------------------------------------------------------

    def _post_order(self, query: Query) -> Any:
        if query["newClientOrderId"] in self.paper._orders:
            raise SkipError("ClientOrderId is duplicated.", reason="-4116")
        side = query.get("positionSide", "BOTH")
        if (side == "BOTH") is self.paper.is_hedged:
            raise SkipError("Order's position side does not match.", reason="-4061")
        if self.paper.is_hedged and "reduceOnly" in query:
            raise SkipError("Parameter 'reduceonly' sent when not required.", reason="-1106")
        tif = query.get("timeInForce")
        kind = "market" if query["type"] == "MARKET" else "post_only" if tif == "GTX" else "ioc"
        quote = self.paper.quote(query["symbol"])
        price = float(query["price"]) if "price" in query else None
        if kind == "post_only" and price is not None and self._crosses(query, price, quote):
            raise SkipError("Post Only order will be rejected.", reason="-5022")
        order = self.paper.create(
            NewOrder(
                query["newClientOrderId"], query["symbol"], query["side"],  # type: ignore[arg-type]
                kind, float(query["quantity"]), price,  # type: ignore[arg-type]
                query.get("reduceOnly") == "true", side,  # type: ignore[arg-type]
            )
        )  # fmt: skip
        return self._told(order, tif)

    def _crosses(self, query: Query, price: float, quote: Quote) -> bool:
        return price >= quote.ask if query["side"] == "BUY" else price <= quote.bid

    def _get_order(self, query: Query) -> Any:
        found = self.paper.order(query["symbol"], query["origClientOrderId"])
        if found is None:
            raise SkipError("Order does not exist.", reason="-2013")
        return self._told(found)

    def _delete_order(self, query: Query) -> Any:
        numbers = {order.order_id: order.client_id for order in self.paper.open_orders()}
        client_id = query.get("origClientOrderId") or numbers.get(query.get("orderId", ""), "")
        try:
            self.paper.cancel(query["symbol"], client_id)
        except SkipError:
            raise SkipError("Unknown order sent.", reason="-2011") from None
        return self._get_order({**query, "origClientOrderId": client_id})

    def _get_openOrders(self, query: Query) -> Any:
        return [self._told(order) for order in self.paper.open_orders()]

    def _get_userTrades(self, query: Query) -> Any:
        return [
            {
                "symbol": order.symbol, "id": int(fill.trade_id), "orderId": int(order.order_id),
                "side": order.side, "price": str(fill.price), "qty": str(fill.qty),
                "realizedPnl": "0", "quoteQty": str(fill.price * fill.qty),
                "commission": str(fill.fee_usd), "commissionAsset": "USDT", "time": fill.at_ms,
                "positionSide": order.position_side, "buyer": order.side == "BUY",
                "maker": fill.is_maker,
            }
            for order in [live.order() for live in self.paper._orders.values()]
            if order.order_id == query["orderId"]
            for fill in order.fills
        ]  # fmt: skip

    def _get_positionRisk(self, query: Query) -> Any:
        return [
            {
                "symbol": p.symbol, "positionSide": p.position_side, "positionAmt": str(p.qty),
                "entryPrice": str(p.entry_price), "breakEvenPrice": str(p.entry_price),
                "markPrice": str(p.mark), "unRealizedProfit": str(p.qty * (p.mark - p.entry_price)),
                "liquidationPrice": "0", "isolatedMargin": "0", "notional": str(p.qty * p.mark),
                "marginAsset": "USDT", "isolatedWallet": "0", "initialMargin": "1",
                "maintMargin": "1", "positionInitialMargin": "1", "openOrderInitialMargin": "0",
                "adl": 1, "bidNotional": "0", "askNotional": "0", "updateTime": 1,
                "leverage": "20", "marginType": "cross",
            }
            for p in self.paper.positions()
        ]  # fmt: skip

    def _get_leverageBracket(self, query: Query) -> Any:
        bracket = {
            "bracket": 1, "initialLeverage": 125, "notionalCap": 50000, "notionalFloor": 0,
            "maintMarginRatio": 0.004, "cum": 0.0,
        }  # fmt: skip
        return [{"symbol": "BTCUSDT", "brackets": [bracket]}]

    def _get_account(self, query: Query) -> Any:
        found = self.paper.account()
        return {
            "totalWalletBalance": str(found.balance_usd), "assets": [], "positions": [],
            "totalMarginBalance": str(found.equity_usd),
            "totalUnrealizedProfit": str(found.equity_usd - found.balance_usd),
        }  # fmt: skip

    def _told(self, order: Order, tif: str | None = None) -> Any:
        tif = tif or {"post_only": "GTX", "ioc": "IOC"}.get(order.type, "GTC")
        filled = order.filled_qty
        quote = sum([fill.price * fill.qty for fill in order.fills])
        return {
            "orderId": int(order.order_id), "symbol": order.symbol, "status": order.status,
            "clientOrderId": order.client_id, "price": str(order.price or 0),
            "avgPrice": str(quote / filled if filled else 0), "origQty": str(order.qty),
            "executedQty": str(filled), "cumQuote": str(quote), "timeInForce": tif,
            "type": "MARKET" if order.type == "market" else "LIMIT", "side": order.side,
            "reduceOnly": order.reduce_only, "closePosition": False,
            "positionSide": order.position_side,
            "stopPrice": "0", "workingType": "CONTRACT_PRICE", "priceProtect": False,
            "origType": "MARKET" if order.type == "market" else "LIMIT",
            "time": order.created_ms, "updateTime": order.updated_ms,
        }  # fmt: skip


@contextmanager
def serving(exchange: Exchange) -> Iterator[dict[str, str]]:
    """Serve an exchange on a free port of 127.0.0.1; gives ccxt's addresses of it."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(length).decode() or parts.query
            query = {name: values[0] for name, values in parse_qs(text).items()}
            with exchange.lock:
                code, body = exchange.answer(
                    self.command, parts.path, query, self.headers.get("X-MBX-APIKEY"), text
                )
            if code == 0:  # hang, or drop the connection
                time.sleep(float(body))
                self.close_connection = True
                return
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do_PUT = _serve

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    base = f"http://127.0.0.1:{server.server_port}"
    names = ("fapiPublic", "fapiPublicV2", "fapiPublicV3", "fapiPrivate", "fapiPrivateV2",
             "fapiPrivateV3")  # fmt: skip
    try:
        yield {name: f"{base}/fapi/v{name[-1] if name[-1].isdigit() else 1}" for name in names}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
