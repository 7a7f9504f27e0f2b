-- fail: realised PnL of the core rows is not that of the order_close lines: a close was lost or counted twice
WITH raw_closes AS (
    SELECT DISTINCT
        environment,
        account,
        symbol,
        COALESCE(attempt_id, 'order:' || order_id, 'line:' || line_hash) AS attempt_id,
        order_id,
        event_ms,
        realized_pnl_usd,
    FROM raw_orders__events
    WHERE reject_reason IS NULL
      AND event_type = 'order_close'
      AND abs(realized_pnl_usd) < 1e9
      AND event_ms > $as_of_ms - $window_ms
      AND event_ms <= $as_of_ms
),

raw_sums AS (
    SELECT
        attempt_id,
        symbol,
        SUM(CAST(realized_pnl_usd AS DECIMAL(38, 12))) AS pnl_usd,
    FROM (
        SELECT
            *,
        FROM raw_closes
        QUALIFY ROW_NUMBER() OVER (
            PARTITION BY environment, account, symbol, attempt_id, order_id, event_ms
            ORDER BY realized_pnl_usd
        ) = 1
    )
    GROUP BY attempt_id, symbol
),

core_sums AS (
    SELECT
        attempt_id,
        symbol,
        SUM(CAST(realized_pnl_usd AS DECIMAL(38, 12))) AS pnl_usd,
        MAX(close_n) AS close_n,
    FROM core_execution__outcomes
    WHERE close_n > 0
    GROUP BY attempt_id, symbol
)

SELECT
    r.symbol,
    r.attempt_id,
    CAST(r.pnl_usd AS DOUBLE) AS raw_pnl_usd,
    CAST(c.pnl_usd AS DOUBLE) AS core_pnl_usd,
FROM raw_sums AS r
LEFT JOIN core_sums AS c USING (attempt_id, symbol)
WHERE c.attempt_id IS NULL
   OR (c.close_n = 1 AND abs(r.pnl_usd - c.pnl_usd) > 0.000001)
ORDER BY r.symbol, r.attempt_id
LIMIT 100
