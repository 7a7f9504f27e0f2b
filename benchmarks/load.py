"""A load of the real shape for benchmarks: attempts with their orders, as raw rows or as log lines.

Put here: what one attempt writes to each log. Keep out: measuring. Time and numbers depend on the
attempt's number alone, so every run meets the same load.
"""

import datetime as dt
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from features.lake import Lake
from pipelines.intake import decode
from pipelines.intake.intake import DIGEST, DUPLICATES, LINES, ensure_tables
from pipelines.intake.kinds import ATTEMPTS, ORDERS, ROUTER, Kind

DAY_MS = 86_400_000
WINDOW_MS = 7 * DAY_MS
END_MS = int(dt.datetime(2026, 3, 9, 12, tzinfo=dt.UTC).timestamp()) * 1000  # of the window
ACCOUNT, ENVIRONMENT, VENUE = "default", "paper", "binance_futures"
LOGS = {
    ROUTER: "order_metrics.jsonl",
    ORDERS: "orders_executed.jsonl",
    ATTEMPTS: "orders_attempted.jsonl",
}
_PIECE = 100_000  # attempts whose lines are in memory at once

# Of ten attempts six fill, two are cancelled, one is rejected, one stays NEW; every fourth fill
# closes a position, a third of SOLUSDT's in part. Each attempt is asked for and acknowledged once.
_FACTS = """
SELECT
    i,
    $first_ms + CAST((i - $first) * $step_ms AS BIGINT) AS ms,
    'sig_' || left(md5(CAST(i AS VARCHAR)), 14) AS attempt_id,
    'ord_' || left(md5('i' || i), 10) AS intent_id,
    CAST(8000000000000 + i AS VARCHAR) AS order_id,
    ['BTCUSDT', 'ETHUSDT', 'SOLUSDT', 'SUIUSDT', 'LTCUSDT', 'LINKUSDT', 'WIFUSDT',
     'DOGEUSDT'][CAST(1 + i % 8 AS BIGINT)] AS symbol,
    CASE WHEN hash(i) % 2 = 0 THEN 'BUY' ELSE 'SELL' END AS side,
    CASE WHEN hash(i) % 2 = 0 THEN 'LONG' ELSE 'SHORT' END AS position_side,
    CASE WHEN i % 10 < 6 THEN 'FILLED' WHEN i % 10 < 8 THEN 'CANCELED'
         WHEN i % 10 = 8 THEN 'REJECTED' ELSE 'NEW' END AS status,
    i % 10 < 6 AS is_fill,
    i % 10 < 6 AND hash(i + 7) % 4 = 0 AS is_close,
    i % 8 = 2 AND hash(i + 6) % 3 = 0 AS is_part,
    round(100 * (1 + i % 8) * (1 + (hash(i + 1) % 1000) / 1e4), 4) AS mark_px,
    round(mark_px * (1 + (CAST(hash(i + 2) % 2001 AS DOUBLE) - 1000) / 1e6), 6) AS px,
    round(0.01 + (hash(i + 3) % 1000) / 1e3, 3) AS qty,
    round(5 + (hash(i + 4) % 40000) / 1e3, 9) AS ack_ms,
    round((CAST(hash(i + 5) % 4001 AS DOUBLE) - 1950) / 1e3, 6) AS pnl_usd,
FROM (SELECT unnest(range($first, $first + $n)) AS i)
"""

_LINES = {
    ROUTER: """
        SELECT ms, {'attempt_id': attempt_id, 'venue': 'binance_futures', 'route': 'market',
            'prices': {'mark': mark_px, 'submitted': mark_px,
                       'avg_fill': CASE WHEN is_fill THEN px END},
            'qty': {'contracts': CASE WHEN is_fill THEN qty END,
                    'notional_usd': CASE WHEN is_fill THEN qty * px END},
            'timing_ms': {'decision': NULL, 'submit': NULL, 'ack': ack_ms, 'fill': NULL},
            'result': {'status': status, 'retries': 0, 'cancelled': status = 'CANCELED'},
            'fees_usd': CASE WHEN is_fill THEN qty * px * 4e-4 END,
            'slippage_bps': CASE WHEN is_fill THEN
                (px - mark_px) / mark_px * 1e4 * CASE WHEN side = 'SELL' THEN -1 ELSE 1 END END,
            'intent_id': intent_id, 'symbol': symbol, 'side': side, 'ts': ms / 1e3} AS line
        FROM facts""",
    ORDERS: """
        SELECT ms - 50 AS ms, {'event_type': 'order_ack', 'attempt_id': attempt_id,
            'intent_id': intent_id, 'symbol': symbol, 'side': side, 'positionSide': position_side,
            'orderId': order_id, 'clientOrderId': 'c' || order_id, 'request_qty': qty,
            'order_type': 'MARKET', 'status': 'NEW', 'ts_ack': (ms - 50) / 1e3, 'executedQty': NULL,
            'avgPrice': NULL, 'fee_total': NULL, 'feeAsset': NULL, 'realizedPnlUsd': NULL,
            'closed_qty': NULL, 'position_size_after': NULL, 'ts': (ms - 50) / 1e3} AS line
        FROM facts
        UNION ALL
        SELECT ms - 20, {'event_type': 'order_fill', 'attempt_id': attempt_id,
            'intent_id': intent_id, 'symbol': symbol, 'side': side, 'positionSide': position_side,
            'orderId': order_id, 'clientOrderId': 'c' || order_id, 'request_qty': qty,
            'order_type': 'MARKET', 'status': 'FILLED', 'ts_ack': NULL, 'executedQty': qty,
            'avgPrice': px, 'fee_total': qty * px * 4e-4, 'feeAsset': 'USDT',
            'realizedPnlUsd': NULL, 'closed_qty': NULL, 'position_size_after': NULL,
            'ts': (ms - 20) / 1e3}
        FROM facts WHERE is_fill
        UNION ALL
        SELECT ms + 500, {'event_type': 'order_close', 'attempt_id': attempt_id,
            'intent_id': intent_id, 'symbol': symbol, 'side': side, 'positionSide': position_side,
            'orderId': order_id, 'clientOrderId': 'c' || order_id, 'request_qty': qty,
            'order_type': 'MARKET', 'status': 'FILLED', 'ts_ack': NULL, 'executedQty': NULL,
            'avgPrice': NULL, 'fee_total': qty * px * 4e-4, 'feeAsset': 'USDT',
            'realizedPnlUsd': pnl_usd, 'closed_qty': qty,
            'position_size_after': CASE WHEN is_part THEN qty ELSE 0e0 END,
            'ts': (ms + 500) / 1e3}
        FROM facts WHERE is_close""",
    ATTEMPTS: """
        SELECT ms - 100 AS ms, {'symbol': symbol, 'side': side, 'qty': qty, 'strategy': 'momentum',
            'attempt_id': attempt_id, 'intent_id': intent_id, 'price_hint': mark_px,
            'signal_ts': (ms - 400) / 1e3, 'local_ts': (ms - 150) / 1e3, 'confidence': 0.7e0,
            'nav_snapshot': {'nav_usd': 2500 + i % 7, 'gross_usd': 100.0}, 'reduce_only': is_close,
            'ts': (ms - 100) / 1e3, 'event_type': 'order_attempt'} AS line
        FROM facts""",
}


@dataclass(frozen=True)
class Load:
    """A steady flow of ``outcomes`` attempts in seven days; attempt numbers run on after END_MS."""

    outcomes: int

    @property
    def step_ms(self) -> float:
        return WINDOW_MS / self.outcomes

    def end_ms(self, first: int) -> int:
        """Return the time at which attempt ``first`` begins."""
        return END_MS - WINDOW_MS + int(first * self.step_ms)

    def facts(self, con: duckdb.DuckDBPyConnection, first: int, n: int) -> None:
        """Set up ``n`` attempts from number ``first`` on as the temporary table facts."""
        values = {"first": first, "n": n, "first_ms": self.end_ms(first), "step_ms": self.step_ms}
        rows = con.sql(_FACTS, params=values).to_arrow_table()
        con.register("facts", rows)


def log_lines(con: duckdb.DuckDBPyConnection, kind: Kind) -> list[str]:
    """Return the lines that the attempts in facts write to one log, in time order."""
    query = f"SELECT CAST(to_json(line) AS VARCHAR) FROM ({_LINES[kind]}) ORDER BY ms"
    lines: list[str] = con.sql(query).to_arrow_table().column(0).to_pylist()
    return lines


def append_logs(
    load: Load, folder: Path, first: int, n: int, kinds: Iterable[Kind] = tuple(LOGS)
) -> int:
    """Append what ``n`` attempts write to the logs of ``kinds`` in a folder; returns the bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    with duckdb.connect(":memory:") as con:
        for begin in range(first, first + n, _PIECE):
            load.facts(con, begin, min(_PIECE, first + n - begin))
            for kind in kinds:
                text = "".join(line + "\n" for line in log_lines(con, kind)).encode()
                with (folder / LOGS[kind]).open("ab") as file:
                    written += file.write(text)
    return written


def fill_lake(load: Load, lake: Lake, *, commits: int = 168) -> None:
    """Write the window's raw rows straight into the lake, ``commits`` commits a table.

    Text for ten million attempts would be 15 GB: the rows are those that intake makes of the
    lines (tests/test_benchmarks.py holds one against the other), without the detour.
    """
    lake.prepare()
    ensure_tables(lake)
    con = duckdb.connect(":memory:")
    con.execute("SET memory_limit = '1GB'")
    edges = [load.outcomes * k // commits for k in range(commits + 1)]
    handles = {kind: lake.open(kind.table) for kind in LOGS}
    totals = dict.fromkeys(LOGS, 0)
    for first, end in itertools.pairwise(edges):
        load.facts(con, first, end - first)
        for kind, table in handles.items():
            seq = table.version() + 1
            rows = raw_rows(con, kind, ingest_seq=seq)
            totals[kind] += rows.num_rows
            marks = {LINES: totals[kind], DUPLICATES: 0, DIGEST: totals[kind]}
            lake.append(table, rows, marks)
            table.update_incremental()
    con.close()


def raw_rows(con: duckdb.DuckDBPyConnection, kind: Kind, *, ingest_seq: int) -> pa.Table:
    """Return the raw rows of the attempts in facts, in time order, in the raw table's schema."""
    values = {
        "event_ms": "CAST(round(ts * 1e3) AS BIGINT)",
        "ingest_seq": str(ingest_seq),
        "source_id": "'load'",
        "line_offset": f"{ingest_seq * 1_000_000_000} + 400 * ROW_NUMBER() OVER (ORDER BY ms)",
        "source_name": f"'{LOGS[kind]}'",
        "line_hash": f"CAST(hash(ms, attempt_id, '{kind.table}', {_TYPE[kind]}) >> 1 AS BIGINT)",
        "ingested_ms": "CAST(round(ts * 1e3) AS BIGINT) + 60000",
        "event_at_utc": "make_timestamptz(CAST(round(ts * 1e6) AS BIGINT))",
        "account": f"'{ACCOUNT}'",
        "environment": f"'{ENVIRONMENT}'",
        "venue": f"'{VENUE}'",
        "nulled_n": "0",
        "part": "strftime(make_timestamp(CAST(round(ts * 1e6) AS BIGINT)), '%Y-%m-%d')",
        **_DECODED[kind],
    }
    schema = decode.raw_schema(kind)
    columns = ", ".join(f'{values.get(n, "NULL")} AS "{n}"' for n in schema.names)
    query = f"SELECT {columns} FROM (SELECT ms, unnest(line) FROM ({_LINES[kind]})) ORDER BY ms"
    return con.sql(query).to_arrow_table().cast(schema)


_TYPE = {ROUTER: "''", ORDERS: "event_type", ATTEMPTS: "''"}
_SAME = {name: name for name in ("symbol", "attempt_id", "intent_id", "side")}
_DECODED = {
    ROUTER: {
        **_SAME,
        "route": "route",
        "status": "result.status",
        "mark_px": "prices.mark",
        "submit_px": "prices.submitted",
        "fill_px": "prices.avg_fill",
        "qty": "qty.contracts",
        "notional_usd": "qty.notional_usd",
        "ack_ms": "timing_ms.ack",
        "is_cancelled": "result.cancelled",
        "retries": "result.retries",
        "fees_usd": "fees_usd",
        "slippage_logged_bps": "slippage_bps",
    },
    ORDERS: {
        **_SAME,
        "event_type": "event_type",
        "position_side": "positionSide",
        "order_id": "orderId",
        "client_order_id": "clientOrderId",
        "status": "status",
        "order_type": "order_type",
        "qty": "request_qty",
        "executed_qty": "executedQty",
        "fill_px": "avgPrice",
        "fees": "fee_total",
        "fee_asset": "feeAsset",
        "realized_pnl_usd": "realizedPnlUsd",
        "closed_qty": "closed_qty",
        "position_size_after": "position_size_after",
        "ts_ack_ms": "CAST(round(ts_ack * 1e3) AS BIGINT)",
    },
    ATTEMPTS: {
        **_SAME,
        "strategy": "strategy",
        "qty": "qty",
        "price_hint": "price_hint",
        "signal_ms": "CAST(round(signal_ts * 1e3) AS BIGINT)",
        "local_ms": "CAST(round(local_ts * 1e3) AS BIGINT)",
        "confidence": "confidence",
        "nav_usd": "nav_snapshot.nav_usd",
        "gross_usd": "nav_snapshot.gross_usd",
        "is_reduce_only": "reduce_only",
    },
}
