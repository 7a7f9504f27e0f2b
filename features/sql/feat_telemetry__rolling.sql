-- What each strategy's closed positions returned, day by day over the last 30 days.
-- Grain: strategy, symbol, day
-- Units: _pct percent of the position, summed; _n counts
-- Source: core_window__trace_paths, core_window__trace_closes, core_window__trace_days
-- Params: as_of_ms; strategy or symbol * = all; days without a closed position have no row
WITH logged AS (
    SELECT
        COALESCE(strategy, '*') AS strategy,
        COALESCE(symbol, '*') AS symbol,
        day_ms,
        SUM(n) AS n,
        SUM(sampled_n) AS sampled_n,
        CAST(SUM(CAST(represented_n AS DECIMAL(38, 9))) AS DOUBLE) AS represented_n,
    FROM core_window__trace_days
    WHERE span = '30d'
    GROUP BY GROUPING SETS (
        (strategy, symbol, day_ms),
        (strategy, day_ms),
        (symbol, day_ms),
        (day_ms)
    )
),

-- Where traces are a sample and every close is logged, the closes tell.
closed AS (
    SELECT
        strategy,
        symbol,
        day_ms,
        COUNT(*) AS n,
        CAST(SUM(CAST(return_pct AS DECIMAL(38, 18))) AS DOUBLE) AS return_pct,
    FROM core_window__trace_closes
    WHERE close_ms > $as_of_ms - 2592000000
      AND (strategy, symbol) IN (
          SELECT (strategy, symbol) FROM logged GROUP BY strategy, symbol HAVING SUM(sampled_n) > 0
      )
    GROUP BY strategy, symbol, day_ms
),

sources AS (
    SELECT
        strategy,
        symbol,
        CASE
            WHEN (strategy, symbol) IN (SELECT (strategy, symbol) FROM closed) THEN 'closes'
            WHEN SUM(sampled_n) > 0 THEN 'sampled'
            ELSE 'traces'
        END AS path_source,
    FROM logged
    GROUP BY strategy, symbol
),

paths AS (
    SELECT
        strategy,
        symbol,
        day_ms,
        CAST(SUM(trade_n) AS BIGINT) AS n,
        CAST(SUM(CAST(return_pct AS DECIMAL(38, 18))) AS DOUBLE) AS return_pct,
    FROM core_window__trace_paths
    WHERE span = '30d'
      AND (strategy, symbol) NOT IN (SELECT (strategy, symbol) FROM closed)
    GROUP BY strategy, symbol, day_ms
    HAVING SUM(trade_n) > 0
    UNION ALL
    SELECT strategy, symbol, day_ms, n, return_pct FROM closed
)

SELECT
    p.strategy AS strategy, -- strategy that predicted, * for all
    p.symbol AS symbol, -- instrument, * for all
    strftime(make_timestamp(p.day_ms * 1000), '%Y-%m-%d') AS day, -- UTC day of the exits as YYYY-MM-DD; the first and the last may be cut by the window
    p.n AS n, -- positions that closed on the day
    p.return_pct AS return_pct, -- sum of their returns, percent
    CAST(
        SUM(CAST(p.return_pct AS DECIMAL(38, 18))) OVER (
            PARTITION BY p.strategy, p.symbol
            ORDER BY p.day_ms
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS DOUBLE
    ) AS cumulative_return_pct, -- sum of returns since the window began, percent
    l.n / NULLIF(l.represented_n, 0e0) AS inclusion_rate, -- share of such trades that have a trace; NULL = no trace of the day
    q.path_source AS path_source, -- what the sums follow: traces (all have one), closes (sampled traces, but every close is logged) or sampled (only the sample)
FROM paths AS p
INNER JOIN sources AS q USING (strategy, symbol)
LEFT JOIN logged AS l USING (strategy, symbol, day_ms)
ORDER BY p.strategy, p.symbol, p.day_ms
