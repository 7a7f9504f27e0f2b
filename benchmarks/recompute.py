"""What a desk would write instead of a refresh: compute everything again, with SQL or a script.

Put here: the competitors of benchmarks/refresh.py. Both take the last line of an attempt, the last
of each order's fills and the sum of its closes, and group as the feature tables do. They leave out
what docs/benchmarks.md lists: confirmations, decision prices' ages, checks, digests, snapshots.
"""

from pathlib import Path

import duckdb
import polars as pl

from benchmarks.load import LOGS, WINDOW_MS
from pipelines.intake.kinds import ORDERS, ROUTER

Answer = dict[str, tuple[int, float, float]]  # symbol → attempts, realised PnL (USD), median slip


_OUTCOMES = """
CREATE TEMP TABLE outcomes AS
WITH attempts AS (
    SELECT * FROM router WHERE event_ms > $since_ms AND event_ms <= $as_of_ms
    QUALIFY ROW_NUMBER() OVER (PARTITION BY attempt_id ORDER BY event_ms DESC) = 1
),
fills AS (
    SELECT attempt_id, SUM(fees) AS fees FROM (
        SELECT * FROM orders WHERE event_type = 'order_fill'
        QUALIFY ROW_NUMBER() OVER (PARTITION BY attempt_id, order_id ORDER BY event_ms DESC) = 1
    ) GROUP BY attempt_id
),
closes AS (
    SELECT attempt_id, SUM(realized_pnl_usd) AS pnl_usd, SUM(closed_qty) AS closed_qty
    FROM orders WHERE event_type = 'order_close' AND event_ms <= $as_of_ms GROUP BY attempt_id
)
SELECT a.symbol, a.event_ms // 3600000 % 24 AS hour_utc, a.status = 'FILLED' AS is_fill,
    a.status <> 'NEW' AS is_known, a.qty * a.fill_px AS notional_usd, c.pnl_usd,
    CASE WHEN a.status = 'FILLED' THEN (a.fill_px - a.mark_px) / a.mark_px * 1e4
        * CASE WHEN a.side = 'SELL' THEN -1 ELSE 1 END END AS slip_bps,
    a.ack_ms, COALESCE(a.fees_usd, f.fees) AS fees_usd,
    c.pnl_usd / NULLIF(c.closed_qty * a.fill_px, 0) AS return
FROM attempts AS a LEFT JOIN fills AS f USING (attempt_id) LEFT JOIN closes AS c USING (attempt_id)
"""
_TABLES = (
    "SELECT symbol, hour_utc, COUNT(*), SUM(pnl_usd), SUM(notional_usd), SUM(fees_usd),"
    " SUM(pnl_usd) / SUM(notional_usd), AVG(slip_bps), STDDEV(slip_bps)"
    " FROM outcomes GROUP BY GROUPING SETS ((symbol, hour_utc), (hour_utc))",
    "SELECT symbol, hour_utc, COUNT(slip_bps), AVG(slip_bps),"
    " quantile_cont(slip_bps, [0.25, 0.5, 0.75, 0.95, 0.99]) FROM outcomes"
    " GROUP BY GROUPING SETS ((symbol, hour_utc), (symbol), (hour_utc), ())",
    "SELECT symbol, COUNT(*), COUNT(*) FILTER (is_fill), COUNT(*) FILTER (is_known),"
    " quantile_cont(ack_ms, [0.5, 0.95]) FROM outcomes GROUP BY GROUPING SETS ((symbol), ())",
    "SELECT symbol, SUM(pnl_usd), SUM(fees_usd), AVG(return), STDDEV(return),"
    " COUNT(*) FILTER (return > 0) FROM outcomes GROUP BY symbol",
)


def with_duckdb(lake_root: Path, as_of_ms: int, spill: Path) -> Answer:
    """Compute the groupings from the raw Parquet files with plain DuckDB SQL."""
    con = duckdb.connect(":memory:")
    con.execute("SET memory_limit = '1GB'")
    con.execute(f"SET temp_directory = '{spill}'")
    con.execute("SET preserve_insertion_order = false")
    for name, kind in (("router", ROUTER), ("orders", ORDERS)):
        files = f"{lake_root}/{kind.table}/part=*/*.parquet"
        con.execute(
            f"CREATE VIEW {name} AS FROM read_parquet('{files}') WHERE reject_reason IS NULL"
        )
    span = {"as_of_ms": as_of_ms, "since_ms": as_of_ms - WINDOW_MS}
    con.execute(_OUTCOMES, span)
    for query in _TABLES:
        con.execute(query).fetchall()
    rows = con.execute(
        "SELECT symbol, COUNT(*), SUM(pnl_usd), quantile_cont(slip_bps, 0.5)"
        " FROM outcomes GROUP BY symbol"
    ).fetchall()
    con.close()
    return {symbol: (n, pnl, slip) for symbol, n, pnl, slip in rows}


def with_polars(lake_root: Path, as_of_ms: int) -> Answer:
    """Compute the groupings from the raw Parquet files with Polars."""
    router = pl.scan_parquet(f"{lake_root}/{ROUTER.table}/part=*/*.parquet").select(
        "attempt_id", "event_ms", "symbol", "side", "status", "mark_px", "fill_px", "qty",
        "ack_ms", "fees_usd",
    )  # fmt: skip
    orders = pl.scan_parquet(f"{lake_root}/{ORDERS.table}/part=*/*.parquet").select(
        "attempt_id", "event_ms", "event_type", "order_id", "fees", "realized_pnl_usd",
        "closed_qty",
    )  # fmt: skip
    return _polars_groups(router, orders, as_of_ms)


def with_polars_from_logs(logs: Path, as_of_ms: int) -> Answer:
    """Compute the groupings from the log text with Polars: no table in between."""
    router = pl.scan_ndjson(logs / LOGS[ROUTER], infer_schema_length=1000).select(
        "attempt_id",
        (pl.col("ts") * 1000).round().cast(pl.Int64).alias("event_ms"),
        "symbol",
        "side",
        pl.col("result").struct.field("status"),
        pl.col("prices").struct.field("mark").alias("mark_px"),
        pl.col("prices").struct.field("avg_fill").alias("fill_px"),
        pl.col("qty").struct.field("contracts").alias("qty"),
        pl.col("timing_ms").struct.field("ack").alias("ack_ms"),
        "fees_usd",
    )
    orders = pl.scan_ndjson(logs / LOGS[ORDERS], infer_schema_length=1000).select(
        "attempt_id",
        (pl.col("ts") * 1000).round().cast(pl.Int64).alias("event_ms"),
        "event_type",
        pl.col("orderId").alias("order_id"),
        pl.col("fee_total").alias("fees"),
        pl.col("realizedPnlUsd").alias("realized_pnl_usd"),
        "closed_qty",
    )
    return _polars_groups(router, orders, as_of_ms)


def _polars_groups(router: pl.LazyFrame, orders: pl.LazyFrame, as_of_ms: int) -> Answer:
    is_fill = pl.col("status") == "FILLED"
    attempts = (
        router.filter(pl.col("event_ms").is_between(as_of_ms - WINDOW_MS + 1, as_of_ms))
        .sort("event_ms")
        .unique("attempt_id", keep="last")
    )
    fills = (
        orders.filter(pl.col("event_type") == "order_fill")
        .sort("event_ms")
        .unique(["attempt_id", "order_id"], keep="last")
        .group_by("attempt_id")
        .agg(pl.col("fees").sum())
    )
    closes = (
        orders.filter((pl.col("event_type") == "order_close") & (pl.col("event_ms") <= as_of_ms))
        .group_by("attempt_id")
        .agg(pl.col("realized_pnl_usd").sum().alias("pnl_usd"), pl.col("closed_qty").sum())
    )
    sign = pl.when(pl.col("side") == "SELL").then(-1).otherwise(1)
    outcomes = (
        attempts.join(fills, on="attempt_id", how="left")
        .join(closes, on="attempt_id", how="left")
        .select(
            "symbol",
            (pl.col("event_ms") // 3_600_000 % 24).alias("hour_utc"),
            is_fill.alias("is_fill"),
            (pl.col("status") != "NEW").alias("is_known"),
            (pl.col("qty") * pl.col("fill_px")).alias("notional_usd"),
            "pnl_usd",
            pl.when(is_fill)
            .then((pl.col("fill_px") - pl.col("mark_px")) / pl.col("mark_px") * 1e4 * sign)
            .alias("slip_bps"),
            "ack_ms",
            pl.coalesce("fees_usd", "fees").alias("fees_usd"),
            (pl.col("pnl_usd") / (pl.col("closed_qty") * pl.col("fill_px"))).alias("return"),
        )
        .collect()
    )
    sums = [pl.len(), pl.col("pnl_usd", "notional_usd", "fees_usd").sum()]
    slips = [pl.col("slip_bps").count().alias("n"), pl.col("slip_bps").mean().alias("mean")]
    slips += [
        pl.col("slip_bps").quantile(q, interpolation="linear").alias(f"q{q}")
        for q in (0.25, 0.5, 0.75, 0.95, 0.99)
    ]
    acks = [
        pl.col("ack_ms").quantile(q, interpolation="linear").alias(f"a{q}") for q in (0.5, 0.95)
    ]
    for keys in (["symbol", "hour_utc"], ["hour_utc"]):
        outcomes.group_by(keys).agg(*sums)
    for keys in (["symbol", "hour_utc"], ["hour_utc"], ["symbol"]):
        outcomes.group_by(keys).agg(*slips)
    outcomes.select(*slips)
    outcomes.group_by("symbol").agg(pl.col("is_fill", "is_known").sum(), *acks)
    outcomes.group_by("symbol").agg(
        pl.col("pnl_usd", "fees_usd").sum(),
        pl.col("return").mean().alias("mean"),
        pl.col("return").std().alias("std"),
    )
    found = outcomes.group_by("symbol").agg(
        pl.len().alias("n"),
        pl.col("pnl_usd").sum(),
        pl.col("slip_bps").quantile(0.5, interpolation="linear"),
    )
    return {symbol: (n, pnl, slip) for symbol, n, pnl, slip in found.iter_rows()}
