"""How an executor writes: one function a kind of line, keys in the order of v5.10.

Put here: keys and spellings. Keep out: what happens to an order, and files.
Times are epoch microseconds; every function returns a dict that json.dumps writes as the log does.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.demo.market import SymbolSpec

Line = dict[str, Any]

HOSTNAME = "host-1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(at_us: int) -> str:
    """Write a time as the executor does: 2026-01-05T06:32:59.526000+00:00."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds")


def iso_s(at_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="seconds")


def seconds(at_us: int) -> float:
    return at_us / 1e6


@dataclass(frozen=True)
class Run:
    """A run of the executor: from its start until its restart."""

    run_id: str
    pid: int


@dataclass
class Order:
    """One order at the venue, as its lines tell it."""

    order_id: int
    client_id: str
    qty: float
    order_type: str
    status: str
    ack_us: int
    latency_ms: float
    executed_qty: float = 0.0
    avg_px: float = 0.0
    fee_usd: float = 0.0
    first_us: int = 0
    last_us: int = 0
    trade_ids: tuple[str, ...] = ()


@dataclass
class Attempt:
    """One routing attempt: what was decided, and what came of it."""

    attempt_id: str
    intent_id: str
    symbol: str
    side: str
    position_side: str
    strategy: str | None
    qty: float
    mark: float
    decided_us: int
    is_reduce: bool
    run: Run


def router_line(
    a: Attempt, *, at_us: int, route: str, submitted: float, fill_px: float, qty: float,
    notional: float, ack_ms: float, status: str, fees: float | None, slippage_bps: float,
    cancelled: bool = False,
) -> Line:  # fmt: skip
    """Write a line of order_metrics.jsonl."""
    return {
        "attempt_id": a.attempt_id,
        "venue": "binance_futures",
        "route": route,
        "prices": {"mark": a.mark, "submitted": submitted, "avg_fill": fill_px},
        "qty": {"contracts": qty, "notional_usd": notional},
        "timing_ms": {
            "decision": None,
            "submit": None,
            "ack": ack_ms,
            "fill": 0.0 if fill_px else None,
        },
        "result": {"status": status, "retries": 0, "cancelled": cancelled},
        "fees_usd": fees,
        "slippage_bps": slippage_bps,
        "intent_id": a.intent_id,
        "symbol": a.symbol,
        "side": a.side,
        "ts": seconds(at_us),
    }


def position_close_line(a: Attempt, at_us: int) -> Line:
    """Write the note that a position was closed; like the real ones it does not know the PnL."""
    return {
        "ts": seconds(at_us),
        "intent_id": a.intent_id,
        "attempt_id": a.attempt_id,
        "symbol": a.symbol,
        "side": a.side,
        "event": "position_close",
        "pnl_at_close_usd": None,
        "order_status": "FILLED",
    }


def attempt_line(a: Attempt, *, signal_us: int, nav: Line, confidence: float, edge: float) -> Line:
    """Write a line of orders_attempted.jsonl."""
    return {
        "symbol": a.symbol,
        "side": a.side,
        "attempt_id": a.attempt_id,
        "intent_id": a.intent_id,
        "qty": a.qty,
        "strategy": a.strategy,
        "signal_ts": iso_s(signal_us),
        "local_ts": seconds(a.decided_us),
        "nav_snapshot": nav,
        "run_id": a.run.run_id,
        "hostname": HOSTNAME,
        "reduce_only": a.is_reduce,
        "price_hint": a.mark,
        "decision_latency_ms": None,
        "confidence": confidence,
        "expected_edge": edge,
        "ts": iso(a.decided_us + 97),
        "event_type": "order_attempt",
        "pid": a.run.pid,
    }


def filters(spec: SymbolSpec) -> Line:
    """Return the venue's order rules of a symbol, as an acknowledgement repeats them."""
    tick = f"{10.0**-spec.price_digits:.{spec.price_digits}f}"
    step = f"{spec.step:.{spec.qty_digits}f}"
    return {
        "PRICE_FILTER": {
            "filterType": "PRICE_FILTER",
            "minPrice": tick,
            "tickSize": tick,
            "maxPrice": "1000000",
        },
        "LOT_SIZE": {
            "stepSize": step,
            "maxQty": "1000000",
            "minQty": step,
            "filterType": "LOT_SIZE",
        },
        "MARKET_LOT_SIZE": {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": step,
            "maxQty": "200000",
            "stepSize": step,
        },
        "MAX_NUM_ORDERS": {"limit": 200, "filterType": "MAX_NUM_ORDERS"},
        "MAX_NUM_ALGO_ORDERS": {"limit": 10, "filterType": "MAX_NUM_ALGO_ORDERS"},
        "MIN_NOTIONAL": {"filterType": "MIN_NOTIONAL", "notional": str(spec.min_notional_usd)},
        "PERCENT_PRICE": {
            "multiplierDecimal": "4",
            "multiplierDown": "0.9500",
            "multiplierUp": "1.0500",
            "filterType": "PERCENT_PRICE",
        },
        "POSITION_RISK_CONTROL": {
            "filterType": "POSITION_RISK_CONTROL",
            "positionControlSide": "NONE",
        },
    }


def old_ack_line(a: Attempt, order: Order, spec: SymbolSpec) -> Line:
    """Write an acknowledgement of the older generation: no attempt id, the symbol in ``raw``."""
    zero_px, zero_qty = f"{0:.{spec.price_digits}f}", f"{0:.{spec.qty_digits}f}"
    return {
        "accepted": True,
        "reason": None,
        "order_id": order.order_id,
        "price": 0.0,
        "qty": 0.0,
        "raw": {
            "orderId": order.order_id,
            "symbol": a.symbol,
            "status": "NEW",
            "clientOrderId": order.client_id,
            "price": zero_px,
            "avgPrice": "0.00",
            "origQty": f"{order.qty:.{spec.qty_digits}f}",
            "executedQty": zero_qty,
            "cumQty": zero_qty,
            "cumQuote": "0.00000",
            "timeInForce": "GTC",
            "type": order.order_type,
            "reduceOnly": a.is_reduce,
            "closePosition": False,
            "side": a.side,
            "positionSide": a.position_side,
            "stopPrice": zero_px,
            "workingType": "CONTRACT_PRICE",
            "priceProtect": False,
            "origType": order.order_type,
            "priceMatch": "NONE",
            "selfTradePreventionMode": "EXPIRE_MAKER",
            "goodTillDate": 0,
            "updateTime": order.ack_us // 1000,
        },
        "request_id": order.client_id,
        "latency_ms": order.latency_ms / 8,
        "exchange_filters_used": filters(spec),
        "rounded_qty": order.qty,
        "rounded_price": 0.0,
        "ts": iso(order.ack_us),
        "event_type": "order_ack",
        "pid": a.run.pid,
        "hostname": HOSTNAME,
    }


def executed_line(a: Attempt, order: Order, spec: SymbolSpec, context: str | None) -> Line:
    """Write the order_executed line that follows an acknowledgement of the older generation."""
    return {
        "symbol": a.symbol,
        "side": a.side,
        "client_order_id": order.client_id,
        "exchange": "binance",
        "price": "0.00",
        "qty": f"{0:.{spec.qty_digits}f}",
        "order_type": order.order_type,
        "reduce_only": a.is_reduce,
        "latency_ms": order.latency_ms,
        "status": "NEW",
        **({"context": context} if context else {}),
        "run_id": a.run.run_id,
        "hostname": HOSTNAME,
        "ts": iso(order.ack_us + 6_100),
        "event_type": "order_executed",
        "pid": a.run.pid,
    }


def ack_line(a: Attempt, order: Order) -> Line:
    """Write an acknowledgement of the newer generation."""
    return {
        "symbol": a.symbol,
        "side": a.side,
        "ts_ack": iso(order.ack_us),
        "orderId": order.order_id,
        "clientOrderId": order.client_id,
        "request_qty": order.qty,
        "order_type": order.order_type,
        "status": "NEW",
        "positionSide": a.position_side,
        **({"reduceOnly": True} if a.is_reduce else {}),
        "latency_ms": order.latency_ms,
        "attempt_id": a.attempt_id,
        "intent_id": a.intent_id,
        "event_type": "order_ack",
        "ts": iso(order.ack_us + 98),
        "pid": a.run.pid,
        "hostname": HOSTNAME,
    }


def fill_line(a: Attempt, order: Order, at_us: int) -> Line:
    """Write an order_fill: what the order has filled so far."""
    return {
        "symbol": a.symbol,
        "side": a.side,
        "ts_fill_first": iso(order.first_us),
        "ts_fill_last": iso(order.last_us),
        "orderId": order.order_id,
        "clientOrderId": order.client_id,
        "executedQty": order.executed_qty,
        "avgPrice": order.avg_px,
        "fee_total": order.fee_usd,
        "feeAsset": "USDT",
        "tradeIds": list(order.trade_ids),
        "status": order.status,
        "positionSide": a.position_side,
        **({"reduceOnly": True} if a.is_reduce else {}),
        "attempt_id": a.attempt_id,
        "intent_id": a.intent_id,
        "event_type": "order_fill",
        "ts": iso(at_us),
        "pid": a.run.pid,
        "hostname": HOSTNAME,
    }


def close_line(
    a: Attempt, order: Order, at_us: int, *, pnl: float, before: float, after: float
) -> Line:
    """Write an order_close: a position reduced by this order, with its realised PnL in USD."""
    return {
        "symbol": a.symbol,
        "ts_close": iso(order.last_us),
        "orderId": order.order_id,
        "clientOrderId": order.client_id,
        "realizedPnlUsd": pnl,
        "fees_total": order.fee_usd,
        "position_size_before": before,
        "position_size_after": after,
        "positionSide": a.position_side,
        "closed_qty": order.executed_qty,
        "attempt_id": a.attempt_id,
        "intent_id": a.intent_id,
        "event_type": "order_close",
        "ts": iso(at_us),
        "pid": a.run.pid,
        "hostname": HOSTNAME,
    }


def error_line(a: Attempt, spec: SymbolSpec, at_us: int) -> Line:
    """Write the order_error of a create call that the gateway answered with 502."""
    url = "https://testnet.binancefuture.com/fapi/v1/order"
    reduce_only = {"reduceOnly": "true"} if a.is_reduce else {}
    return {
        "exc": f"HTTPError('502 Server Error: Bad Gateway for url: {url} :: "
        "<html><head><title>502 Bad Gateway</title></head></html>')",
        "symbol": a.symbol,
        "side": a.side,
        "order_type": "MARKET",
        "price": a.mark,
        "qty": a.qty,
        "payload": {
            "symbol": a.symbol,
            "side": a.side,
            "type": "MARKET",
            "quantity": f"{a.qty:.{spec.qty_digits}f}",
            "positionSide": a.position_side,
            **reduce_only,
        },
        "dry_run": False,
        "position_side": a.position_side,
        "reduce_only": "true" if a.is_reduce else None,
        "exchange_filters_used": filters(spec),
        "ts": iso(at_us),
        "event_type": "order_error",
        "pid": a.run.pid,
        "hostname": HOSTNAME,
    }


def position_line(
    symbol: str, side: str, qty: float, entry_px: float, at_us: int, run: Run
) -> Line:
    """Write a line of position_state.jsonl: one side of a symbol in hedge mode."""
    return {
        "symbol": symbol,
        "pos_qty": qty,
        "entry_px": entry_px,
        "unrealized_pnl": None,
        "leverage": 2.0,
        "mode": side,
        "ts": iso(at_us),
        "run_id": run.run_id,
        "hostname": HOSTNAME,
        "event_type": "position_snapshot",
        "pid": run.pid,
    }


def bucket_veto_line(a: Attempt, nav: Line, at_us: int) -> Line:
    """Write the veto of an intent whose bucket of symbols is full."""
    cap = {
        "bucket": "majors" if a.symbol in ("BTCUSDT", "ETHUSDT") else "alts",
        "bucket_cap": nav["nav_usd"] * 0.2,
    }
    return {
        "symbol": a.symbol,
        "side": a.side,
        "position_side": a.position_side,
        "run_id": a.run.run_id,
        "hostname": HOSTNAME,
        "veto_reason": "bucket_cap",
        "veto_detail": {
            "intent": {
                "timestamp": iso_s(a.decided_us),
                "symbol": a.symbol,
                "timeframe": "15m",
                "signal": a.side,
                "reduceOnly": False,
                "price": a.mark,
                "capital_per_trade": 5.0,
                "leverage": 2.0,
                "cap_usd": 5.0,
                "gross_usd": 10.0,
                "min_notional": 5.0,
                "tf": "15m",
                "positionSide": "",
                "veto": [],
                "attempt_id": a.attempt_id,
                "intent_id": a.intent_id,
            },
            "nav_snapshot": nav,
            "thresholds": dict(cap),
        },
        "thresholds": cap,
        "ts": iso(at_us),
        "event_type": "risk_veto",
        "pid": a.run.pid,
    }


def leverage_veto_line(
    a: Attempt, spec: SymbolSpec, nav: Line, *, at_us: int, peak_usd: float, open_n: int
) -> Line:
    """Write the veto of a signal above the leverage cap: it never got an attempt id."""
    nav_usd = nav["nav_usd"]
    below = peak_usd - nav_usd
    return {
        "symbol": a.symbol,
        "strategy": a.strategy,
        "veto_reason": "leverage_cap",
        "original_reason": "leverage_exceeded",
        "veto_detail": {
            "reasons": ["leverage_exceeded"],
            "thresholds": {"nav_freshness_seconds": 90.0, "max_leverage": 2.0},
            "observations": {
                "notional": spec.order_usd,
                "nav_age_s": 2,
                "nav_sources_ok": True,
                **({"drawdown_abs": below} if below > 0 else {}),
                "drawdown_pct": max(0.0, below) / peak_usd * 100,
                "drawdown_peak": peak_usd,
                "drawdown_nav": nav_usd,
            },
        },
        "signal_ts": None,
        "qty_req": a.qty,
        "context": {
            "nav": nav_usd,
            "requested_notional": spec.order_usd,
            "current_gross_notional": nav["gross_usd"],
            "open_qty": 0.0,
            "lev": 3.0,
            "now": seconds(at_us),
            "open_positions_count": open_n,
            "tier": spec.tier,
            "current_tier_gross_notional": nav["gross_usd"] / 2,
            "post_trade_exposure_pct": (nav["gross_usd"] + spec.order_usd) / nav_usd * 100,
        },
        "ts": iso(at_us + 980),
        "event_type": "risk_veto",
        "pid": a.run.pid,
        "hostname": HOSTNAME,
    }
