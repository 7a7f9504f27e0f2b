"""What the intake reads: one Kind per raw table, with its file names and its columns.

Put here: which key of a log line becomes which column. Keep out: reading, decoding and writing.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

Type = Literal["text", "number", "amount", "flag", "time_ms", "json"]
# text     as written, secrets redacted    json      the value's JSON text, secrets redacted
# number   any finite number               amount    a number that may not be negative
# flag     true or false                   time_ms   epoch seconds, milliseconds or ISO 8601


@dataclass(frozen=True)
class Column:
    """One column of a raw table: the first of ``keys`` with a non-null value, as ``type``.

    With ``within``, a number that the JSON of another column holds, wherever that came from.
    """

    name: str
    type: Type
    keys: tuple[str, ...]
    comment: str
    within: str = ""


@dataclass(frozen=True)
class Rule:
    """Why a line that can be read is rejected all the same.

    ``sql`` is true of such a line; it names columns of the kind, event_ms, and $ingested_ms.
    """

    reason: str
    sql: str


@dataclass(frozen=True)
class Kind:
    """One source kind: file names, the raw table they feed, and the columns of its lines.

    ``file_name`` may capture groups named as columns; they fill a column whose key is absent.
    ``event_keys`` are tried in order for the time of the event. ``partition`` is the calendar
    unit one folder of the table holds. ``rules`` judge lines whose fields can all be read.
    """

    table: str
    comment: str
    file_name: re.Pattern[str]
    columns: tuple[Column, ...]
    event_keys: tuple[str, ...]
    symbol_keys: tuple[str, ...] = ("symbol",)
    format: Literal["jsonl", "csv"] = "jsonl"
    partition: Literal["day", "year"] = "day"
    identity_groups: tuple[str, ...] = field(default=())
    rules: tuple[Rule, ...] = ()


def _rotated(stem: str) -> re.Pattern[str]:
    """Match NAME.jsonl, NAME.N.jsonl, NAME.jsonl.N and NAME.jsonl-DATE, each also with .gz.

    Other endings stay unclaimed: NAME.jsonl.zst holds no lines that can be read.
    """
    date = r"(?P<dated>-[\w:-]+(?:\.\d+)*|\.\d{4}-[\w:-]+)"
    return re.compile(
        rf"^{stem}(?:\.(?P<before>\d+))?\.jsonl(?:\.(?P<after>\d+)|{date})?(?:\.gz)?$"
    )


def _col(name: str, kind: Type, comment: str, *keys: str) -> Column:
    return Column(name, kind, keys or (name,), comment)


ROUTER = Kind(
    table="raw_router__events",
    comment="One row per line of order_metrics.jsonl: a routing attempt or a position_close note.",
    file_name=_rotated("order_metrics"),
    event_keys=("ts",),
    columns=(
        _col("event", "text", "position_close for a note, NULL for an attempt"),
        _col("attempt_id", "text", "id of the routing attempt"),
        _col("intent_id", "text", "id of the intent that the attempt serves"),
        _col("side", "text", "BUY or SELL"),
        _col("position_side", "text", "LONG, SHORT or BOTH", "position_side", "positionSide"),
        _col("strategy", "text", "strategy that asked"),
        _col("route", "text", "route taken: market, limit, maker"),
        _col("snapshot_id", "text", "snapshot the executor had read"),
        _col(
            "status", "text", "order status as last seen", "result.status", "status", "order_status"
        ),
        _col("mark_px", "amount", "decision price, quote per unit", "prices.mark", "mark_px"),
        _col("submit_px", "amount", "submitted price", "prices.submitted", "submit_px"),
        _col("fill_px", "amount", "average fill price", "prices.avg_fill", "fill_px", "avg_fill"),
        _col("qty", "amount", "filled quantity, base units", "qty.contracts", "contracts"),
        _col(
            "notional_usd",
            "amount",
            "filled notional, USD",
            "qty.notional_usd",
            "notional",
            "notional_usd",
        ),
        _col("ack_ms", "number", "create call to acknowledgement, ms", "timing_ms.ack", "ack_ms"),
        _col("fill_ms", "number", "acknowledgement to fill, ms", "timing_ms.fill", "fill_ms"),
        _col("decision_latency_ms", "number", "signal to decision, ms", "timing_ms.decision"),
        _col("submit_latency_ms", "number", "decision to create call, ms", "timing_ms.submit"),
        _col("is_cancelled", "flag", "the order was cancelled", "result.cancelled"),
        _col("retries", "number", "retries of the create call", "result.retries", "retries"),
        _col(
            "fees_usd",
            "number",
            "fees, USD",
            "fees_usd",
            "fee_total",
            "fees",
            "fee",
            "commission",
        ),
        _col("fee_asset", "text", "asset of the fees; NULL = USD", "feeAsset", "fee_asset"),
        _col(
            "slippage_logged_bps",
            "number",
            "slippage as logged, bps, positive is a cost",
            "slippage_bps",
            "slippage",
        ),
        _col(
            "realized_pnl_usd",
            "number",
            "realised PnL of a flat line, USD",
            "realized_pnl",
            "realized_pnl_usd",
            "realizedPnlUsd",
            "pnl_usd",
            "pnl",
        ),
        _col("pnl_at_close_usd", "number", "PnL of a position_close note, USD"),
        _col("is_maker", "flag", "the final fill was maker", "is_maker_final", "is_maker"),
        _col("started_maker", "flag", "began post-only", "started_maker", "maker_start"),
        _col("used_fallback", "flag", "fell back from maker to taker"),
        _col("reason", "text", "reason for no fill"),
        _col("arrival_bid", "amount", "best bid on arrival", "arrival.bid"),
        _col("arrival_ask", "amount", "best ask on arrival", "arrival.ask"),
        _col("arrival_mid", "amount", "mid price on arrival", "arrival.mid"),
        _col("arrival_ms", "time_ms", "time of the arrival quote", "arrival.ts"),
        _col("decision_ms", "time_ms", "time of the decision", "decision_ts"),
        _col("submit_at_ms", "time_ms", "time of submission", "submit_ts"),
        _col("ack_at_ms", "time_ms", "time of acknowledgement", "ack_ts"),
        _col("fill_at_ms", "time_ms", "time of the last fill", "fill_ts"),
        _col("maker_offset_bps", "number", "maker offset used, bps"),
        _col("policy_json", "json", "router policy at decision", "policy"),
        _col("size_json", "json", "sizing factors at decision", "size"),
    ),
)

ORDERS = Kind(
    table="raw_orders__events",
    comment="One row per line of orders_executed.jsonl: acknowledgements, fills, closes, errors.",
    file_name=_rotated("orders_executed"),
    event_keys=("ts_close", "ts", "local_ts"),
    symbol_keys=("symbol", "raw.symbol"),
    columns=(
        _col("event_type", "text", "order_ack, order_fill, order_close, order_error, …"),
        _col("attempt_id", "text", "id of the routing attempt"),
        _col("intent_id", "text", "id of the intent"),
        _col("order_id", "text", "venue order id", "orderId", "order_id", "raw.orderId"),
        _col(
            "client_order_id",
            "text",
            "client order id",
            "clientOrderId",
            "client_order_id",
            "raw.clientOrderId",
        ),
        _col("side", "text", "BUY or SELL", "side", "raw.side"),
        _col(
            "position_side",
            "text",
            "LONG, SHORT or BOTH",
            "positionSide",
            "position_side",
            "raw.positionSide",
        ),
        _col("strategy", "text", "strategy that asked"),
        _col("status", "text", "order status", "status", "raw.status"),
        _col("order_type", "text", "MARKET, LIMIT", "order_type", "raw.type"),
        _col("qty", "amount", "order quantity, base units", "qty", "request_qty"),
        _col("price", "amount", "order price, quote per unit"),
        _col(
            "executed_qty", "amount", "cumulative filled quantity", "executedQty", "raw.executedQty"
        ),
        _col("fill_px", "amount", "average fill price", "avgPrice", "raw.avgPrice"),
        _col("fees", "number", "fees of the order in fee_asset", "fee_total", "fees_total"),
        _col("fee_asset", "text", "asset the fee was paid in", "feeAsset", "fee_asset"),
        _col("realized_pnl_usd", "number", "realised PnL of a close, USD", "realizedPnlUsd"),
        _col("closed_qty", "amount", "quantity closed, base units"),
        _col("position_size_before", "number", "signed position before the close"),
        _col("position_size_after", "number", "signed position after the close"),
        _col("ts_ack_ms", "time_ms", "time of acknowledgement", "ts_ack"),
        _col("ts_fill_first_ms", "time_ms", "time of the first fill", "ts_fill_first"),
        _col("ts_fill_last_ms", "time_ms", "time of the last fill", "ts_fill_last"),
        _col("ts_close_ms", "time_ms", "time of the close", "ts_close"),
        _col("latency_ms", "number", "latency of the create call, ms"),
        _col(
            "funding_usd",
            "number",
            "funding paid (negative) or received, USD",
            "funding_usd",
            "fundingFee",
        ),
        _col("is_reduce_only", "flag", "reduce-only order", "reduceOnly", "reduce_only"),
        _col("trade_ids_json", "json", "venue trade ids", "tradeIds"),
        _col("reason", "text", "rejection or error text", "reason", "exc"),
    ),
)

ATTEMPTS = Kind(
    table="raw_orders__attempts",
    comment="One row per line of orders_attempted.jsonl: an order the strategy asked for.",
    file_name=_rotated("orders_attempted"),
    event_keys=("ts", "local_ts"),
    columns=(
        _col("attempt_id", "text", "id of the routing attempt"),
        _col("intent_id", "text", "id of the intent"),
        _col("side", "text", "BUY or SELL"),
        _col("strategy", "text", "strategy that asked"),
        _col("qty", "amount", "quantity asked for, base units"),
        _col("price_hint", "amount", "price when the order was decided, quote per unit"),
        _col("signal_ms", "time_ms", "time of the signal", "signal_ts"),
        _col("local_ms", "time_ms", "time of the decision by the executor's clock", "local_ts"),
        _col("confidence", "number", "confidence of the signal, 0 to 1"),
        _col("expected_edge", "number", "expected edge as logged"),
        _col("decision_latency_ms", "number", "signal to decision, ms"),
        _col("nav_usd", "number", "account NAV, USD", "nav_snapshot.nav_usd"),
        _col("gross_usd", "number", "gross exposure, USD", "nav_snapshot.gross_usd"),
        _col(
            "symbol_gross_json",
            "json",
            "gross exposure by symbol, USD",
            "nav_snapshot.symbol_gross_usd",
        ),
        _col("is_reduce_only", "flag", "reduce-only order", "reduce_only", "reduceOnly"),
    ),
)

VETOES = Kind(
    table="raw_risk__vetoes",
    comment="One row per line of risk_vetoes.jsonl: an order the risk gates refused.",
    file_name=_rotated("risk_vetoes"),
    event_keys=("ts",),
    columns=(
        _col(
            "attempt_id", "text", "id of the attempt", "attempt_id", "veto_detail.intent.attempt_id"
        ),
        _col("intent_id", "text", "id of the intent", "intent_id", "veto_detail.intent.intent_id"),
        _col("side", "text", "BUY or SELL"),
        _col("position_side", "text", "LONG, SHORT or BOTH"),
        _col("strategy", "text", "strategy that asked"),
        _col("veto_reason", "text", "gate that refused"),
        _col("original_reason", "text", "reason as first given"),
        _col("qty_requested", "amount", "quantity asked for, base units", "qty_req"),
    ),
)

POSITIONS = Kind(
    table="raw_positions__states",
    comment="One row per line of position_state.jsonl: a position as the executor saw it.",
    file_name=_rotated("position_state"),
    event_keys=("ts",),
    columns=(
        _col("position_side", "text", "LONG, SHORT or BOTH", "mode", "position_side"),
        _col("strategy", "text", "strategy that holds it"),
        _col("position_qty", "number", "signed position, base units", "pos_qty"),
        _col("entry_px", "amount", "average entry price, quote per unit"),
        _col("unrealized_pnl_usd", "number", "unrealised PnL, USD", "unrealized_pnl"),
        _col("leverage", "number", "leverage of the position"),
        _col("run_id", "text", "executor run, changes on restart"),
    ),
)

_TRACE_COLUMNS = (
    _col("strategy", "text", "strategy that predicted"),
    _col("predicted_direction", "text", "LONG, SHORT or NOOP"),
    _col("actual_direction", "text", "the market's direction: LONG, SHORT or NOOP"),
    _col("predicted_confidence", "number", "confidence, 0 to 1"),
    _col("entry_price", "amount", "entry price, quote per unit"),
    _col("exit_price", "amount", "exit price, quote per unit"),
    _col("holding_period_minutes", "amount", "holding time, minutes"),
    _col("realized_return_pct", "number", "realised return, percent"),
    _col("features_json", "json", "features of the signal", "features_json", "features"),
    _col("metadata_json", "json", "exit reason, stops, times", "metadata_json", "metadata"),
    # Telemetry that samples says so in the metadata, which is one cell of CSV.
    Column(
        "inclusion_probability",
        "number",
        (),
        "chance that such a trade was logged; NULL = 1",
        within="metadata_json",
    ),
    Column(
        "throttled_before",
        "number",
        (),
        "trades that this one took the place of, because they closed too soon after another",
        within="metadata_json",
    ),
)
# A prediction without exit, outcome and return is pending: kept, and no part of any statistic.
_IS_CLOSED = "COALESCE(exit_price > 0 OR actual_direction <> '' OR realized_return_pct <> 0, FALSE)"
_DIRECTIONS = "('LONG', 'SHORT', 'NOOP')"
_TRACE_RULES = (
    Rule("missing_strategy", "COALESCE(trim(strategy), '') IN ('', '*')"),
    Rule(
        "unknown_direction:predicted_direction",
        f"COALESCE(predicted_direction, '') NOT IN {_DIRECTIONS}",
    ),
    Rule("missing_exit", f"{_IS_CLOSED} AND COALESCE(exit_price, 0) = 0"),
    Rule(
        "unknown_direction:actual_direction",
        f"{_IS_CLOSED} AND COALESCE(actual_direction, '') NOT IN {_DIRECTIONS}",
    ),
    Rule(
        "missing_return",
        f"{_IS_CLOSED} AND realized_return_pct IS NULL AND predicted_direction <> 'NOOP'",
    ),
    Rule("confidence_out_of_range", "NOT predicted_confidence BETWEEN 0 AND 1"),
    Rule(
        "sampling_out_of_range",
        "inclusion_probability <= 0 OR inclusion_probability > 1 OR throttled_before < 0",
    ),
    # A trade that ends after it was read never ended; one without a duration ended at no time.
    Rule(
        "impossible_holding_time",
        f"{_IS_CLOSED} AND (holding_period_minutes IS NULL"
        " OR event_ms + holding_period_minutes * 6e4 > $ingested_ms + 86400000)",
    ),
    Rule("impossible_return", "abs(realized_return_pct) >= 10000"),
)

TRACES_CSV = Kind(
    table="raw_telemetry__traces",
    comment="One row per prediction trace of a closed trade.",
    file_name=re.compile(r"^traces_(?P<strategy>[A-Za-z0-9-]+)_(?P<seq>\w+)\.csv(?:\.gz)?$"),
    event_keys=("timestamp",),
    columns=_TRACE_COLUMNS,
    rules=_TRACE_RULES,
    format="csv",
    partition="year",  # a backtest writes years of trades in one file
    identity_groups=("strategy", "seq"),
)

TRACES_JSONL = Kind(
    table="raw_telemetry__traces",
    comment=TRACES_CSV.comment,
    file_name=re.compile(r"^traces_(?P<strategy>[A-Za-z0-9-]+)_(?P<seq>\w+)\.jsonl(?:\.gz)?$"),
    event_keys=("timestamp",),
    columns=_TRACE_COLUMNS,
    rules=_TRACE_RULES,
    partition="year",
)

BARS = Kind(
    table="raw_market__bars",
    comment="One row per bar; its time is the opening of the bar.",
    file_name=re.compile(
        r"^(?P<symbol>[A-Za-z0-9:._-]+)_(?P<bar_interval>1m|5m|15m|1h|4h|1d)\.csv(?:\.gz)?$"
    ),
    event_keys=("date", "timestamp"),
    columns=(
        _col("bar_interval", "text", "length of the bar: 1m, 5m, 15m, 1h, 4h, 1d"),
        _col("open", "amount", "first price, quote per unit"),
        _col("high", "amount", "highest price"),
        _col("low", "amount", "lowest price"),
        _col("close", "amount", "last price"),
        _col("volume", "amount", "base units traded"),
    ),
    format="csv",
    partition="year",
    identity_groups=("symbol", "bar_interval"),
)

KINDS: tuple[Kind, ...] = (
    ROUTER,
    ORDERS,
    ATTEMPTS,
    VETOES,
    POSITIONS,
    TRACES_CSV,
    TRACES_JSONL,
    BARS,
)
RAW_TABLES: tuple[str, ...] = tuple(dict.fromkeys(kind.table for kind in KINDS))


def kind_of(file_name: str) -> tuple[Kind, dict[str, str]] | None:
    """Name the kind that claims a file name, with the values its name carries, or None."""
    for kind in KINDS:
        match = kind.file_name.match(file_name)
        if match:
            return kind, {k: v for k, v in match.groupdict().items() if v is not None}
    return None
