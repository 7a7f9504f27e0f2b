"""Real exchanges through ccxt: the sandbox unless ``live`` is said aloud, and never by default.

Put here: translating between ccxt's vocabulary and ours. Keep out: deciding, retrying, waiting.
Symbols are the exchange's own ids (BTCUSDT), as the logs have always had them.
"""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import ccxt

from live.market import Quote
from live.venues import (
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
)

KEY_VARIABLE, SECRET_VARIABLE = "EXECINTEL_VENUE_KEY", "EXECINTEL_VENUE_SECRET"
RECV_WINDOW_MS = 5_000  # an exchange refuses a request older than this
_CLOCK_SLACK_MS = 1_500  # more than the clock may be off while orders are sent
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
            market = self._market(symbol)
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
        book = self._ask("order book", self._exchange.fetch_order_book, self._id(symbol), 5)
        if not book["bids"] or not book["asks"]:
            raise SkipError(f"{symbol}: one side of the book is empty", reason="no_market")
        (bid, bid_size, *_), (ask, ask_size, *_) = book["bids"][0], book["asks"][0]
        return Quote(symbol, int(book["timestamp"] or _now_ms()), bid, ask, bid_size, ask_size)

    def create(self, order: NewOrder) -> Order:
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
            self._id(order.symbol),
            "market" if order.type == "market" else "limit",
            order.side.lower(),
            order.qty / self._size(order.symbol),
            order.price,
            params,
        )
        return self._ask("create order", self._order, made, order)

    def cancel(self, symbol: str, client_id: str) -> None:
        try:
            self._exchange.cancel_order(None, self._id(symbol), {"clientOrderId": client_id})
        except ccxt.OrderNotFound as error:
            raise SkipError(f"{client_id} is no open order", reason="not_open") from error
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
        return [self._ask("open orders", self._order, order, None, False) for order in found]

    def positions(self) -> Sequence[Position]:
        positions = []
        for found in self._ask("positions", self._exchange.fetch_positions):
            market = self._exchange.markets[found["symbol"]]
            qty = float(found["contracts"] or 0.0) * (market.get("contractSize") or 1.0)
            if qty:
                is_short = found["side"] == "short"
                signed = -qty if is_short else qty
                side: PositionSide = "SHORT" if is_short else "LONG"
                positions.append(
                    Position(
                        market["id"], side if self.is_hedged else "BOTH", signed,
                        float(found["entryPrice"] or 0.0),
                        float(found["markPrice"] or found["entryPrice"] or 0.0),
                    )
                )  # fmt: skip
        return positions

    def account(self) -> Account:
        balance = self._ask("balance", self._exchange.fetch_balance)
        info = balance["info"]
        if isinstance(info, Mapping) and "totalMarginBalance" in info:
            equity, cash = float(info["totalMarginBalance"]), float(info["totalWalletBalance"])
        else:
            cash = sum([float(balance["total"].get(asset) or 0.0) for asset in _USD])
            found = self._ask("positions", self._exchange.fetch_positions)
            equity = cash + sum([float(p["unrealizedPnl"] or 0.0) for p in found])
        return Account(_now_ms(), equity, cash)

    def server_ms(self) -> int:
        return int(self._ask("time", self._exchange.fetch_time))

    # -- parts -----------------------------------------------------------------------------------

    def _market(self, symbol: str) -> Json:
        if not self._markets:
            for market in self._ask("markets", self._exchange.load_markets).values():
                if market.get("swap") or market["id"] not in self._markets:
                    self._markets[market["id"]] = market
        found = self._markets.get(symbol)
        if found is None:
            raise SkipError(f"{self.name} does not trade {symbol}", reason="no_market")
        return found

    def _id(self, symbol: str) -> str:
        return str(self._market(symbol)["symbol"])

    def _size(self, symbol: str) -> float:
        return float(self._market(symbol).get("contractSize") or 1.0)

    def _order(self, found: Json, sent: NewOrder | None = None, has_fills: bool = True) -> Order:
        """Translate an order; of one that filled, its trades are asked for."""
        symbol = str(self._exchange.markets[found["symbol"]]["id"])
        raw = found["info"] if isinstance(found["info"], Mapping) else {}
        status = _STATUSES.get(str(raw.get("status"))) or _UNIFIED[found["status"]]
        filled = float(found["filled"] or 0.0) * self._size(symbol)
        client_id = str(found["clientOrderId"])
        fills = self._trades(symbol, client_id, str(found["id"]), filled) if has_fills else ()
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
            order_id=str(found["id"]),
            symbol=symbol,
            side="BUY" if found["side"] == "buy" else "SELL",
            type=kind,
            qty=float(found["amount"] or 0.0) * self._size(symbol),
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
        self, symbol: str, client_id: str, order_id: str, filled: float
    ) -> tuple[Fill, ...]:
        """Return an order's trades.

        Raises RetryError while the exchange does not list all of them yet.
        """
        if not filled:
            return ()
        kept = self._fills.get(client_id)
        if kept is not None and kept[0] == filled:
            return kept[1]
        size = self._size(symbol)
        trades = self._ask(
            "trades", self._exchange.fetch_my_trades, self._id(symbol), None, None,
            {"orderId": order_id},
        )  # fmt: skip
        fills = tuple(
            Fill(
                str(trade["id"]), int(trade["timestamp"]), float(trade["price"]),
                float(trade["amount"]) * size, _fee_usd(trade), trade["takerOrMaker"] == "maker",
            )
            for trade in trades
            if str(trade["order"]) == order_id
        )  # fmt: skip
        listed = sum([fill.qty for fill in fills])
        if listed < filled * (1 - 1e-9):
            raise RetryError(f"{client_id}: {listed} of {filled} are listed as trades so far")
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


def _fee_usd(trade: Json) -> float | None:
    fee = trade.get("fee") or {}
    if fee.get("cost") is None or fee.get("currency") not in _USD:
        return None
    return float(fee["cost"])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
