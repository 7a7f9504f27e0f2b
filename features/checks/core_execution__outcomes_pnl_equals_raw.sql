-- fail: realised PnL of the core rows is not that of the order_close lines: a close was lost or counted twice
-- Narrows: closes
WITH raw_lines AS (
    SELECT
        environment,
        account,
        symbol,
        COALESCE(NULLIF(attempt_id, ''), 'order:' || order_id, 'line:' || line_hash) AS attempt_id,
        order_id,
        event_ms,
        source_id,
        line_offset,
        realized_pnl_usd,
    FROM raw_orders__events
    WHERE reject_reason IS NULL
      AND event_type = 'order_close'
),

-- Most ids close once: only the others are deduplicated and summed.
closed_again AS (
    SELECT attempt_id FROM raw_lines GROUP BY attempt_id HAVING COUNT(*) > 1
),

raw_closes AS (
    SELECT *
    FROM raw_lines
    WHERE attempt_id IN (SELECT attempt_id FROM closed_again)
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY environment, account, symbol, attempt_id, order_id, event_ms
        ORDER BY source_id DESC, line_offset DESC
    ) = 1
),

-- Ids all of whose closes lie in the window: those of others may stand in rows outside it. The hour
-- behind as-of is judged too, because lines come in while a refresh runs.
raw_sums AS (
    SELECT
        environment,
        account,
        symbol,
        attempt_id,
        1 AS close_n,
        TRUE AS is_known,
        COALESCE(CAST(realized_pnl_usd AS DECIMAL(38, 12)), 0) AS pnl_usd,
    FROM raw_lines
    WHERE attempt_id NOT IN (SELECT attempt_id FROM closed_again)
      AND event_ms > $as_of_ms - $window_ms
      AND event_ms <= $as_of_ms + 3600000
      AND COALESCE(abs(realized_pnl_usd), 0e0) < 1e9
    UNION ALL
    SELECT
        environment,
        account,
        symbol,
        attempt_id,
        COUNT(*) AS close_n,
        COUNT(realized_pnl_usd) = COUNT(*) AS is_known,
        COALESCE(SUM(CAST(realized_pnl_usd AS DECIMAL(38, 12))), 0) AS pnl_usd,
    FROM raw_closes
    GROUP BY environment, account, symbol, attempt_id
    HAVING MIN(event_ms) > $as_of_ms - $window_ms
       AND MAX(event_ms) <= $as_of_ms + 3600000
       AND COALESCE(SUM(abs(realized_pnl_usd)), 0e0) < 1e9
),

core_sums AS (
    SELECT
        environment,
        account,
        symbol,
        attempt_id,
        SUM(close_n) AS close_n,
        COALESCE(SUM(CAST(realized_pnl_usd AS DECIMAL(38, 12))), 0) AS pnl_usd,
    FROM core_execution__outcomes
    WHERE close_n > 0
      AND close_ms > $as_of_ms - $window_ms
    GROUP BY environment, account, symbol, attempt_id
)

SELECT
    r.environment,
    r.account,
    r.symbol,
    r.attempt_id,
    r.close_n AS raw_close_n,
    c.close_n AS core_close_n,
    CAST(r.pnl_usd AS DOUBLE) AS raw_pnl_usd,
    CAST(c.pnl_usd AS DOUBLE) AS core_pnl_usd,
FROM raw_sums AS r
LEFT JOIN core_sums AS c USING (environment, account, symbol, attempt_id)
WHERE c.attempt_id IS NULL
   OR c.close_n < r.close_n
   -- Of several closes of an attempt, one whose PnL nobody logged leaves their sum unknown.
   OR (c.close_n = r.close_n AND r.is_known AND abs(r.pnl_usd - c.pnl_usd) > 0.000001)
   -- An id used again may have a flat line's own PnL beside its closes.
   OR (
       c.close_n > r.close_n
       AND NOT EXISTS (
           SELECT 1
           FROM raw_router__events AS f
           WHERE f.attempt_id = r.attempt_id
             AND f.realized_pnl_usd IS NOT NULL
       )
   )
ORDER BY r.symbol, r.attempt_id
LIMIT 100
