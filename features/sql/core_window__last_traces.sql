-- The last 100 closed predictions as of $as_of_ms of each strategy and symbol, and of all of either.
-- Grain: strategy, symbol, source_id, line_offset
-- Units: as core_window__traces; strategy or symbol * = all
-- Source: core_window__traces, core_telemetry__daily, cut_trace_days
-- Params: as_of_ms, environment; a table of the build, never stored
WITH days AS (
    SELECT strategy, symbol, day_ms, n
    FROM core_telemetry__daily
    WHERE environment = $environment
      AND day_ms < ($as_of_ms + 1) // 86400000 * 86400000
    UNION ALL
    SELECT strategy, symbol, day_ms, n
    FROM cut_trace_days
    WHERE span = 'all'
      AND environment = $environment
),

by_day AS (
    SELECT strategy, symbol, day_ms, SUM(n) AS n
    FROM days
    GROUP BY strategy, symbol, day_ms
),

-- Days that may hold one of the last 100: behind them stand fewer.
recent_days AS (
    SELECT strategy, symbol, day_ms
    FROM (
        SELECT
            *,
            SUM(n) OVER (
                PARTITION BY strategy, symbol
                ORDER BY day_ms DESC
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS later_n,
        FROM by_day
    )
    WHERE COALESCE(later_n, 0) < 100
),

-- The last 100 of all symbols are among the last 100 of each.
own AS (
    SELECT *
    FROM (
        SELECT
            t.*,
            ROW_NUMBER() OVER (
                PARTITION BY t.strategy, t.symbol
                ORDER BY t.close_ms DESC, t.event_ms DESC, t.source_id, t.line_offset DESC
            ) AS place_n,
        FROM core_window__traces AS t
        INNER JOIN recent_days AS d USING (strategy, symbol, day_ms)
        WHERE t.environment = $environment
          AND t.close_ms <= $as_of_ms
    )
    WHERE place_n <= 100
),

sets AS (
    SELECT every_strategy, every_symbol
    FROM (VALUES (FALSE, FALSE), (TRUE, FALSE), (FALSE, TRUE), (TRUE, TRUE))
        AS s (every_strategy, every_symbol)
),

spread AS (
    SELECT
        o.* EXCLUDE (place_n) REPLACE (
            CASE WHEN s.every_strategy THEN '*' ELSE o.strategy END AS strategy,
            CASE WHEN s.every_symbol THEN '*' ELSE o.symbol END AS symbol
        ),
    FROM own AS o
    CROSS JOIN sets AS s
)

SELECT
    * EXCLUDE (place_n),
FROM (
    SELECT
        *,
        ROW_NUMBER() OVER (
            PARTITION BY strategy, symbol
            ORDER BY close_ms DESC, event_ms DESC, source_id, line_offset DESC
        ) AS place_n,
    FROM spread
)
WHERE place_n <= 100
