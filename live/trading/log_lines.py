"""The log lines of an engine: keys and spellings as v5.10 wrote them, and what ours adds.

Put here: one function a kind of line. Keep out: files (journal.py), deciding. What an attempt did
not learn is null or left out, never 0.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from live.trading.attempt import Attempt, Leg
from live.trading.sizing import RouterCtx

Line = dict[str, Any]
Place = Mapping[str, str]  # account, environment, venue, run_id: on every line

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS: dict[str, str] = {  # a leg that never stood or is not known has no status of a venue
    "LOST": "ERROR",
    "UNKNOWN": "UNKNOWN",
}


def iso(at_ms: int) -> str:
    """Write a time as v5.10 did: 2026-01-05T06:32:59.526000+00:00."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="microseconds")


def attempted(place: Place, a: Attempt, nav: Line, *, at_ms: int) -> Line:
    """Write a line of orders_attempted.jsonl: what was decided, before any order is sent."""
    signal = a.signal
    return {
        "symbol": a.symbol,
        "side": a.side,
        "attempt_id": a.attempt_id,
        "intent_id": a.intent_id,
        "qty": a.qty,
        "strategy": a.strategy,
        "signal_ts": iso(signal.at_ms),
        "local_ts": a.decided_ms / 1e3,
        "nav_snapshot": nav,
        "reduce_only": a.is_reducing,
        "price_hint": a.mark,
        "decision_latency_ms": float(a.decided_ms - signal.at_ms),
        "confidence": signal.confidence,
        "expected_edge": signal.expected_edge,
        "router_ctx": ctx(a.ctx),
        "ts": iso(at_ms),
        "event_type": "order_attempt",
        **place,
    }


def router(place: Place, a: Attempt) -> Line:
    """Write the one line of order_metrics.jsonl that says how an attempt ended."""
    legs = a.own_legs
    filled = a.filled
    filled_usd = sum([leg.filled_usd for leg in legs])
    price = filled_usd / filled if filled else None
    fees = [leg.fee_usd for leg in legs if leg.filled]
    first = next((leg for leg in legs if leg.ack_ms is not None), None)
    last_fill_ms = max([leg.last_ms for leg in legs], default=0) or None
    first_fill_ms = min([leg.first_ms for leg in legs if leg.first_ms], default=None)
    last_filled = next((leg for leg in reversed(legs) if leg.filled), None)
    sign = 1.0 if a.side == "BUY" else -1.0
    ended_ms = a.ended_ms or a.decided_ms
    return {
        "attempt_id": a.attempt_id,
        "intent_id": a.intent_id,
        "route": "maker" if a.started_maker else "market",
        "symbol": a.symbol,
        "side": a.side,
        "positionSide": a.position_side,
        "strategy": a.strategy,
        "ts": ended_ms / 1e3,
        "prices": {
            "mark": a.mark,
            "submitted": next((leg.price for leg in legs if leg.price is not None), None),
            "avg_fill": price,
        },
        "qty": {"contracts": filled, "notional_usd": filled_usd},
        "timing_ms": {
            "decision": float(a.decided_ms - a.signal.at_ms),
            "submit": float(legs[0].sent_ms - a.decided_ms) if legs else None,
            "ack": first.latency_ms if first else None,
            "fill": float(first_fill_ms - first.ack_ms)
            if first and first.ack_ms is not None and first_fill_ms
            else None,
        },
        "result": {
            "status": status(a),
            "retries": a.retries + a.rejections,
            "cancelled": any(leg.status == "CANCELED" for leg in legs),
        },
        "fees_usd": sum(fees) if fees and None not in fees else None,
        "slippage_bps": (price - a.mark) / a.mark * 1e4 * sign if price and a.mark else None,
        "is_maker_final": last_filled.maker_qty > 0 if last_filled else None,
        "started_maker": a.started_maker,
        "used_fallback": a.used_fallback,
        "reduce_only": a.is_reducing,
        "reason": a.reason,
        "arrival": {**msgspec.to_builtins(a.arrival), "mid": a.arrival.mid} if a.arrival else None,
        "decision_ts": a.decided_ms / 1e3,
        "submit_ts": legs[0].sent_ms / 1e3 if legs else None,
        "ack_ts": first.ack_ms / 1e3 if first and first.ack_ms is not None else None,
        "fill_ts": last_fill_ms / 1e3 if last_fill_ms else None,
        "snapshot_id": a.ctx.snapshot_id,
        "maker_offset_bps": a.ctx.maker_offset_bps if a.started_maker else None,
        "policy": msgspec.to_builtins(a.ctx.policy),
        "size": msgspec.to_builtins(a.ctx.size),
        "router_ctx": ctx(a.ctx),
        **place,
    }


def status(a: Attempt) -> str:
    """Return the status of a whole attempt: of its fills, else of its last order."""
    legs = a.own_legs
    if a.filled and a.filled >= a.qty * (1 - 1e-9):
        return "FILLED"
    if any(leg.status == "UNKNOWN" for leg in legs):
        return "PARTIALLY_FILLED" if a.filled else "UNKNOWN"
    if a.filled:
        return "PARTIALLY_FILLED"
    last = legs[-1].status if legs else None
    return _TEXTS.get(last, last) if last else "CANCELED"


def ack(place: Place, a: Attempt, leg: Leg) -> Line:
    """Write an order_ack: the venue knows the order."""
    return {
        "symbol": a.symbol,
        "side": leg.side,
        "ts_ack": iso(leg.ack_ms or leg.sent_ms),
        **_order(a, leg),
        "request_qty": leg.qty,
        "price": leg.price,
        "order_type": "MARKET" if leg.type == "market" else "LIMIT",
        "timeInForce": {"post_only": "GTX", "ioc": "IOC"}.get(leg.type),
        "status": "NEW",
        "latency_ms": leg.latency_ms,
        "event_type": "order_ack",
        "ts": iso(leg.ack_ms or leg.sent_ms),
        "router_ctx": ctx(a.ctx),
        **place,
    }


def fill(place: Place, a: Attempt, leg: Leg, *, at_ms: int) -> Line:
    """Write an order_fill: what an order has filled so far."""
    return {
        "symbol": a.symbol,
        "side": leg.side,
        "ts_fill_first": iso(leg.first_ms),
        "ts_fill_last": iso(leg.last_ms),
        **_order(a, leg),
        "executedQty": leg.filled,
        "avgPrice": leg.price_now,
        "fee_total": leg.fee_usd,
        "feeAsset": "USDT",
        "tradeIds": list(leg.trade_ids),
        "status": "FILLED" if leg.left <= leg.qty * 1e-9 else "PARTIALLY_FILLED",
        "event_type": "order_fill",
        "ts": iso(at_ms),
        **place,
    }


def close(place: Place, a: Attempt, leg: Leg, *, at_ms: int) -> Line:
    """Write an order_close: what an order closed of a position, with its realised PnL."""
    return {
        "symbol": a.symbol,
        "side": leg.side,
        "ts_close": iso(leg.last_ms),
        **_order(a, leg),
        "realizedPnlUsd": leg.realized_usd,
        "fees_total": leg.fee_usd,
        "position_size_before": leg.size_before,
        "position_size_after": leg.size_after,
        "closed_qty": leg.closed_qty,
        "strategy": a.strategy,
        "event_type": "order_close",
        "ts": iso(at_ms),
        **place,
    }


def error(place: Place, a: Attempt, leg: Leg, message: str, *, at_ms: int) -> Line:
    """Write an order_error: a create call that was refused or that nobody answered."""
    return {
        "symbol": a.symbol,
        "side": leg.side,
        "exc": message,
        "clientOrderId": leg.client_id,
        "attempt_id": a.attempt_id,
        "intent_id": a.intent_id,
        "qty": leg.qty,
        "price": leg.price,
        "reduce_only": leg.reduce_only,
        "event_type": "order_error",
        "ts": iso(at_ms),
        **place,
    }


def veto(
    place: Place, *, symbol: str, side: str, strategy: str, attempt_id: str | None,
    intent_id: str | None, gate: str, why: str, qty: float, at_ms: int, seen: Line,
) -> Line:  # fmt: skip
    """Write a line of risk_vetoes.jsonl: which gate refused an order, and on what it judged."""
    return {
        "symbol": symbol,
        "side": side,
        "strategy": strategy,
        "attempt_id": attempt_id,
        "intent_id": intent_id,
        "veto_reason": gate,
        "original_reason": why,
        "qty_req": qty,
        "context": seen,
        "event_type": "risk_veto",
        "ts": at_ms / 1e3,
        **place,
    }


def position(
    place: Place, *, symbol: str, position_side: str, qty: float, entry_px: float,
    unrealized_usd: float | None, at_ms: int,
) -> Line:  # fmt: skip
    """Write a line of position_state.jsonl."""
    return {
        "symbol": symbol,
        "pos_qty": qty,
        "entry_px": entry_px,
        "unrealized_pnl": unrealized_usd,
        "mode": position_side,
        "ts": iso(at_ms),
        "event_type": "position_snapshot",
        **place,
    }


def ctx(context: RouterCtx) -> Line:
    """Write the decision context."""
    found: Line = msgspec.to_builtins(context)
    return found


def _order(a: Attempt, leg: Leg) -> Line:
    is_flip = leg.kind == "reduce"
    return {
        "orderId": leg.order_id,
        "clientOrderId": leg.client_id,
        "positionSide": leg.position_side,
        **({"reduceOnly": True} if leg.reduce_only else {}),
        "attempt_id": a.attempt_id + "_reduce" if is_flip else a.attempt_id,
        "intent_id": a.intent_id,
    }
