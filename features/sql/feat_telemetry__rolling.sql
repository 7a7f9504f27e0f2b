-- What each strategy's closed positions returned, day by day over the last 30 days.
-- Grain: strategy, symbol, day
-- Units: _pct percent of the position, summed; _n counts
-- Source: core_window__trace_paths, core_window__trace_days
-- Params: none; strategy or symbol * = all; days without a closed position have no row
WITH paths AS (
    SELECT
        strategy,
        symbol,
        day_ms,
        CAST(SUM(trade_n) AS BIGINT) AS n,
        CAST(SUM(CAST(return_pct AS DECIMAL(38, 18))) AS DOUBLE) AS return_pct,
    FROM core_window__trace_paths
    WHERE span = '30d'
    GROUP BY strategy, symbol, day_ms
    HAVING SUM(trade_n) > 0
),

logged AS (
    SELECT
        COALESCE(strategy, '*') AS strategy,
        COALESCE(symbol, '*') AS symbol,
        day_ms,
        SUM(n) / NULLIF(CAST(SUM(CAST(represented_n AS DECIMAL(38, 9))) AS DOUBLE), 0e0)
            AS inclusion_rate,
    FROM core_window__trace_days
    WHERE span = '30d'
    GROUP BY GROUPING SETS (
        (strategy, symbol, day_ms),
        (strategy, day_ms),
        (symbol, day_ms),
        (day_ms)
    )
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
    l.inclusion_rate AS inclusion_rate, -- share of such trades that were logged; below 1 the sums are of a sample
FROM paths AS p
INNER JOIN logged AS l USING (strategy, symbol, day_ms)
ORDER BY p.strategy, p.symbol, p.day_ms
