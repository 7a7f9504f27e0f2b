"""Real exchanges through ccxt: the sandbox unless ``live`` is said aloud, and never by default.

Put here: translating between ccxt's vocabulary and ours. Keep out: deciding, retrying, waiting.
Symbols are the exchange's own ids (BTCUSDT), as the logs have always had them.
"""

import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import ccxt
from msgspec import structs

from live.market import Quote
from live.venues import (
    NOT_OPEN,
    POST_ONLY,
    Account,
    Fill,
    Instrument,
    NewOrder,
    Order,
    OrderType,
    Position,
    PositionSide,
    RetryError,
    SkipError,
    Status,
    StopError,
    multiple,
)

KEY_VARIABLE, SECRET_VARIABLE = "EXECINTEL_VENUE_KEY", "EXECINTEL_VENUE_SECRET"
RECV_WINDOW_MS = 5_000  # an exchange refuses a request older than this
_CLOCK_SLACK_MS = 1_500  # more than the clock may be off while orders are sent
_BY_NUMBER = "#"  # before the exchange's own id of an order without a client id, as by hand
_SEEK_AGAIN_S = 60.0  # before the market lists are asked again for a symbol that is in none
_USD = ("USDT", "USDC", "BUSD", "FDUSD", "TUSD", "DAI", "USD")
_STATUSES: Mapping[str, Status] = {
    "NEW": "NEW",
    "PARTIALLY_FILLED": "PARTIALLY_FILLED",
    "FILLED": "FILLED",
    "CANCELED": "CANCELED",
    "EXPIRED": "EXPIRED",
    "EXPIRED_IN_MATCH": "EXPIRED",
    "REJECTED": "REJECTED",
}
_UNIFIED: Mapping[str, Status] = {
    "open": "NEW",
    "closed": "FILLED",
    "canceled": "CANCELED",
    "expired": "EXPIRED",
    "rejected": "REJECTED",
}
_SIDES: Mapping[str, PositionSide] = {"LONG": "LONG", "SHORT": "SHORT", "BOTH": "BOTH"}
_SIGNED = re.compile(r"(signature=)[0-9a-fA-F]+")
# ccxt gives Binance's codes different classes from market to market.
_POST_ONLY_CODE, _DUPLICATE_CODE = "-5022", "-4116"
_T = TypeVar("_T")
Json = Mapping[str, Any]


class CcxtVenue:
    """One account on an exchange of derivatives that ccxt knows; tested with Binance futures."""

    late_ms = RECV_WINDOW_MS + _CLOCK_SLACK_MS

    def __init__(
        self,
        exchange_id: str = "binanceusdm",
        *,
        live: bool = False,
        is_hedged: bool = False,
        api_key: str = "",
        secret: str = "",
        timeout_s: float = 5.0,
        urls: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        """Connect to the sandbox of an exchange, or with ``live`` to the exchange itself.

        Args:
            exchange_id: as ccxt names it.
            live: trade with real money. Nothing but this argument does.
            is_hedged: the account is in hedge mode; it must be as the account is set.
            timeout_s: for how long any call may wait.
            urls: base addresses by ccxt's API name in place of the exchange's, for tests.
            name: the venue's name in the logs; the exchange's id by default.

        Raises ValueError for an exchange that ccxt does not know or that has no sandbox.
        """
        kind = getattr(ccxt, exchange_id, None)
        if exchange_id not in ccxt.exchanges or kind is None:
            raise ValueError(f"{exchange_id!r} is no exchange of ccxt; see ccxt.exchanges")
        self.name = name or exchange_id
        self.is_hedged = is_hedged
        self.environment: Literal["live", "testnet"] = "live" if live else "testnet"
        self._exchange: Any = kind(
            {
                "apiKey": api_key,
                "secret": secret,
                "timeout": round(timeout_s * 1e3),
                "enableRateLimit": True,
                "options": {
                    "recvWindow": RECV_WINDOW_MS,
                    "fetchCurrencies": False,  # an account-wide call that trading has no use for
                    "warnOnFetchOpenOrdersWithoutSymbol": False,
                    "maxRetriesOnFailure": 0,  # only the router may send again
                },
            }
        )
        self._exchange.handle_errors = _by_status(self._exchange.handle_errors)
        if not live:
            _enter_sandbox(self._exchange)
        if urls is not None:
            self._exchange.urls["api"] = dict(urls)
        self._markets: dict[str, Json] = {}
        self._instruments: dict[str, Instrument] = {}
        self._sought: dict[str, float] = {}  # symbols that no list had, and when that was
        self._fills: dict[str, tuple[float, tuple[Fill, ...]]] = {}  # by client id, at which filled

    @classmethod
    def from_environment(
        cls, exchange_id: str, *, live: bool = False, timeout_s: float = 5.0
    ) -> "CcxtVenue":
        """Connect with the keys of EXECINTEL_VENUE_KEY and EXECINTEL_VENUE_SECRET.

        Raises ValueError where one is missing.
        """
        key, secret = os.environ.get(KEY_VARIABLE), os.environ.get(SECRET_VARIABLE)
        if not key or not secret:
            raise ValueError(f"{exchange_id} needs {KEY_VARIABLE} and {SECRET_VARIABLE}")
        return cls(exchange_id, live=live, api_key=key, secret=secret, timeout_s=timeout_s)

    # -- Venue -----------------------------------------------------------------------------------

    def instrument(self, symbol: str) -> Instrument:
        found = self._instruments.get(symbol)
        if found is None:
            market = self._traded(symbol)
            size = market.get("contractSize") or 1.0
            limits = market["limits"]
            found = self._instruments[symbol] = Instrument(
                symbol,
                tick=float(market["precision"]["price"]),
                step=float(market["precision"]["amount"]) * size,
                min_qty=float(limits["amount"]["min"] or market["precision"]["amount"]) * size,
                min_notional_usd=float(limits["cost"]["min"] or 0.0),
                maker_fee_bps=float(market["maker"]) * 1e4,
                taker_fee_bps=float(market["taker"]) * 1e4,
                max_leverage=float((limits.get("leverage") or {}).get("max") or float("inf")),
            )
        return found

    def quote(self, symbol: str) -> Quote:
        market_id = str(self._traded(symbol)["symbol"])
        book = self._ask("order book", self._exchange.fetch_order_book, market_id, 5)
        return self._ask("order book", _best, symbol, book)

    def create(self, order: NewOrder) -> Order:
        market = self._traded(order.symbol)
        params: dict[str, Any] = {"clientOrderId": order.client_id}
        if order.type == "post_only":
            params["postOnly"] = True
        elif order.type == "ioc":
            params["timeInForce"] = "IOC"
        if self.is_hedged:
            params["positionSide"] = order.position_side  # says by itself what reduces
        elif order.reduce_only:
            params["reduceOnly"] = True
        made = self._ask(
            "create order",
            self._exchange.create_order,
            str(market["symbol"]),
            "market" if order.type == "market" else "limit",
            order.side.lower(),
            _contracts(order.qty, market),
            order.price,
            params,
        )
        try:
            return self._ask("create order", self._order, made, order)
        except (RetryError, SkipError):
            if made["clientOrderId"] != order.client_id:
                raise
            # It stands; what became of it, such as trades that cannot be listed now, a look tells.
            standing = self._ask("create order", self._order, made, order, True)
            return structs.replace(standing, status="NEW")

    def cancel(self, symbol: str, client_id: str) -> None:
        number = client_id.removeprefix(_BY_NUMBER) if client_id.startswith(_BY_NUMBER) else None
        params = {} if number else {"clientOrderId": client_id}
        try:
            self._exchange.cancel_order(number, self._id(symbol), params)
        except ccxt.OrderNotFound as error:
            raise SkipError(f"{client_id} is no open order", reason=NOT_OPEN) from error
        except Exception as error:
            raise _translated("cancel order", error) from error

    def order(self, symbol: str, client_id: str) -> Order | None:
        try:
            found = self._exchange.fetch_order(None, self._id(symbol), {"clientOrderId": client_id})
        except ccxt.OrderNotFound:
            return None
        except Exception as error:
            raise _translated("look at order", error) from error
        return self._ask("look at order", self._order, found)

    def open_orders(self) -> Sequence[Order]:
        found = self._ask("open orders", self._exchange.fetch_open_orders)
        return [self._ask("open orders", self._order, order, None, True) for order in found]

    def positions(self) -> Sequence[Position]:
        found = self._ask("positions", self._exchange.fetch_positions)
        positions = [self._ask("positions", self._position, told) for told in found]
        return [position for position in positions if position.qty]

    def account(self) -> Account:
        return self._ask("balance", self._account)

    def server_ms(self) -> int:
        return self._ask("time", lambda: int(self._exchange.fetch_time()))

    # -- parts -----------------------------------------------------------------------------------

    def _seek(self, symbol: str) -> Json | None:
        """Return a market; one that no list has may be new since the start: they are asked anew."""
        if not self._markets:
            self._list(is_anew=False)
        since = time.monotonic() - self._sought.get(symbol, -math.inf)
        if symbol not in self._markets and since >= _SEEK_AGAIN_S:
            self._sought[symbol] = time.monotonic()
            self._list(is_anew=True)
        return self._markets.get(symbol)

    def _list(self, *, is_anew: bool) -> None:
        for market in self._ask("markets", self._exchange.load_markets, is_anew).values():
            if market.get("swap") or market["id"] not in self._markets:
                self._markets[market["id"]] = market

    def _market(self, symbol: str) -> Json:
        found = self._seek(symbol)
        if found is None:
            raise SkipError(f"{self.name} does not trade {symbol}", reason="no_market")
        return found

    def _traded(self, symbol: str) -> Json:
        """Return a market that can be opened: quantities in base units, prices in USD.

        Elsewhere, as in inverse contracts, the same numbers would be another amount of money.
        """
        market = self._market(symbol)
        is_contract = market.get("swap") or market.get("future")
        if not is_contract or not market.get("linear") or market.get("quote") not in _USD:
            raise SkipError(f"{symbol} is no linear contract quoted in USD", reason="no_market")
        return market

    def _id(self, symbol: str) -> str:
        return str(self._market(symbol)["symbol"])

    def _market_of(self, found: Json) -> Json:
        """Return the market of an order or position; of one in no list, the exchange's own id."""
        listed: Mapping[str, Json] = self._exchange.markets
        symbol = _own_symbol(found)
        return listed.get(found["symbol"]) or self._markets.get(symbol) or {"id": symbol}

    def _position(self, found: Json) -> Position:
        if found["symbol"] not in self._exchange.markets:
            self._seek(_own_symbol(found))
        market = self._market_of(found)
        is_short = found["side"] == "short"
        qty = _finite(found["contracts"]) * _size(market)
        if qty and found["side"] not in ("long", "short"):
            raise ValueError(f"{market['id']}: a position of {qty} without a side")
        side: PositionSide = "SHORT" if is_short else "LONG"
        return Position(
            str(market["id"]),
            side if self.is_hedged else "BOTH",
            -qty if is_short else qty,
            _finite(found["entryPrice"] or 0.0),
            _finite(found["markPrice"] or found["entryPrice"] or 0.0),
        )

    def _account(self) -> Account:
        balance = self._exchange.fetch_balance()
        info = balance["info"]
        if isinstance(info, Mapping) and "totalMarginBalance" in info:
            equity, cash = _finite(info["totalMarginBalance"]), _finite(info["totalWalletBalance"])
        else:
            total = balance["total"]
            cash = sum([_finite(total[asset]) for asset in _USD if asset in total])
            found = self._exchange.fetch_positions()
            equity = cash + sum([_finite(p["unrealizedPnl"] or 0.0) for p in found])
        return Account(_now_ms(), equity, cash)

    def _order(self, found: Json, sent: NewOrder | None = None, is_standing: bool = False) -> Order:
        """Translate an order; of one that filled, its trades are asked for.

        Of one that ``is_standing`` they are not, and it is open whatever its status is called: a
        kill has to cancel it.
        """
        market = self._market_of(found)
        raw = _raw(found)
        status = _STATUSES.get(str(raw.get("status"))) or _UNIFIED.get(found["status"])
        if status is None and not is_standing:
            raise ValueError(f"status {found['status']!r} of order {found['id']} is not known")
        status = status or "NEW"
        qty = float(found["amount"] or 0.0) * _size(market)
        filled = float(found["filled"] or 0.0) * _size(market)
        client_id = str(found["clientOrderId"] or f"{_BY_NUMBER}{found['id']}")
        number = str(found["id"])
        fills = () if is_standing else self._trades(market, client_id, number, qty, filled)
        if status == "NEW" and filled:
            status = "PARTIALLY_FILLED"
        is_post_only = bool(found.get("postOnly"))
        kind: OrderType = (
            sent.type if sent else
            "market" if found["type"] == "market" else "post_only" if is_post_only else "ioc"
        )  # fmt: skip
        is_refused = kind == "post_only" and status == "EXPIRED" and not filled
        told_side = str(raw.get("positionSide") or "BOTH")
        position_side: PositionSide = _SIDES.get(told_side, "BOTH")
        return Order(
            client_id=client_id,
            order_id=number,
            symbol=str(market["id"]),
            side="BUY" if found["side"] == "buy" else "SELL",
            type=kind,
            qty=qty,
            price=float(found["price"]) if found["price"] and kind != "market" else None,
            reduce_only=bool(found.get("reduceOnly")),
            position_side=position_side,
            status=status,
            created_ms=int(found["timestamp"] or _now_ms()),
            updated_ms=int(found.get("lastUpdateTimestamp") or found["timestamp"] or _now_ms()),
            fills=fills,
            reason=POST_ONLY if is_refused else None,
        )

    def _trades(
        self, market: Json, client_id: str, order_id: str, qty: float, filled: float
    ) -> tuple[Fill, ...]:
        """Return an order's trades, each once.

        Raises RetryError while the exchange does not list all of them yet, or more than the order.
        """
        if not filled:
            return ()
        kept = self._fills.get(client_id)
        if kept is not None and kept[0] == filled:
            return kept[1]
        size = _size(market)
        trades = self._ask(
            "trades", self._exchange.fetch_my_trades, market["symbol"], None, None,
            {"orderId": order_id},
        )  # fmt: skip
        own = {str(trade["id"]): trade for trade in trades if str(trade["order"]) == order_id}
        fills = tuple(
            Fill(
                trade_id, int(trade["timestamp"]), _finite(trade["price"]),
                _finite(trade["amount"]) * size, _fee_usd(trade), trade["takerOrMaker"] == "maker",
            )
            for trade_id, trade in own.items()
        )  # fmt: skip
        listed = sum([fill.qty for fill in fills])
        if listed < filled * (1 - 1e-9):
            raise RetryError(f"{client_id}: {listed} of {filled} are listed as trades so far")
        if listed > max(qty, filled) * (1 + 1e-9):  # the order may have filled on since it was told
            raise RetryError(f"{client_id}: trades of {listed} are listed for an order of {qty}")
        self._fills[client_id] = (filled, fills)
        return fills

    def _ask(self, what: str, call: Callable[..., _T], *args: Any) -> _T:
        try:
            return call(*args)
        except Exception as error:
            raise _translated(what, error) from error


def _translated(what: str, error: Exception) -> RetryError | SkipError | StopError:
    """Say what a failure means for the caller; what is not understood may have acted."""
    if isinstance(error, RetryError | SkipError | StopError):
        return error
    text = _SIGNED.sub(r"\1…", f"{what}: {type(error).__name__}: {error}")
    if isinstance(error, ccxt.NetworkError):  # before its text: a 5xx may name any code
        return RetryError(text)
    if isinstance(error, ccxt.AuthenticationError):
        return StopError(text)
    is_crossing = isinstance(error, ccxt.OrderImmediatelyFillable | ccxt.OrderNotFillable)
    if is_crossing or _POST_ONLY_CODE in text:
        return SkipError(text, reason=POST_ONLY)
    if isinstance(error, ccxt.InsufficientFunds):
        return SkipError(text, reason="margin")
    is_duplicate = isinstance(error, ccxt.DuplicateOrderId) or _DUPLICATE_CODE in text
    if isinstance(error, ccxt.ExchangeError) and not is_duplicate:
        return SkipError(text)
    return RetryError(text)


def _by_status(handle_errors: Callable[..., Any]) -> Callable[..., Any]:
    """Let a 5xx be an outcome that nobody knows, whatever code its body names.

    ccxt looks at the code first: one that it has no class for counts as refused, and one that says
    "no such order" as an order that never stood.
    """

    def judged(status: int, reason: str, url: str, method: str, *rest: Any) -> Any:
        if status >= 500:
            raise ccxt.ExchangeNotAvailable(f"{method} {url} {status} {reason} {rest[1]}")
        return handle_errors(status, reason, url, method, *rest)

    return judged


def _enter_sandbox(exchange: Any) -> None:
    """Point at the exchange's demonstration venue, else its test network.

    Raises ValueError where it has neither.
    """
    if exchange.urls.get("demo"):
        exchange.enable_demo_trading(True)
    elif exchange.urls.get("test"):
        exchange.set_sandbox_mode(True)
    else:
        raise ValueError(
            f"{exchange.id} has no sandbox: it can only be traded live, which has to be said"
        )


def _raw(found: Json) -> Json:
    """Return what the exchange itself said."""
    return found["info"] if isinstance(found["info"], Mapping) else {}


def _own_symbol(found: Json) -> str:
    return str(_raw(found).get("symbol") or found["symbol"])


def _size(market: Json) -> float:
    return float(market.get("contractSize") or 1.0)


def _contracts(qty: float, market: Json) -> float:
    """Return an allowed quantity in contracts, a whole number of steps.

    ccxt cuts what goes beyond a step, and 0.29 / 0.01 is 28.999999999999996.
    """
    step = float(market["precision"]["amount"])
    return multiple(round(qty / _size(market) / step), step)


def _finite(value: Any) -> float:
    """Return a number; ValueError or TypeError where an exchange says none, "" or NaN."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no number to reckon with")
    return number


def _best(symbol: str, book: Json) -> Quote:
    """Return the best bid and offer of a book; a crossed one is for the gates to refuse."""
    if not book["bids"] or not book["asks"]:
        raise SkipError(f"{symbol}: one side of the book is empty", reason="no_market")
    (bid, bid_size, *_), (ask, ask_size, *_) = book["bids"][0], book["asks"][0]
    if not (0 < bid < math.inf and 0 < ask < math.inf):
        raise SkipError(f"{symbol}: {bid} / {ask} are no prices", reason="no_market")
    return Quote(symbol, int(book["timestamp"] or _now_ms()), bid, ask, bid_size, ask_size)


def _fee_usd(trade: Json) -> float | None:
    fee = trade.get("fee") or {}
    if fee.get("cost") is None or fee.get("currency") not in _USD:
        return None
    return float(fee["cost"])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
