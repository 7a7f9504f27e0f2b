-- Whether a strategy's confidence means what it says: how often each tenth of it was right, and earned.
-- Grain: strategy, confidence_decile
-- Units: shares 0 to 1, _pct percent of the position, _bps basis points of notional, _n counts
-- Source: core_window__trace_days, feat_execution__slippage_quartiles, feat_symbol__scores
-- Params: z95; strategy * = all; over all time
-- A position pays slippage and fees twice: as measured in the snapshot's window for its symbol.
WITH costs AS (
    SELECT
        s.symbol,
        2 * (s.slip_bps_mean_w50 + f.fee_bps) / 100 AS cost_pct,
    FROM feat_execution__slippage_quartiles AS s
    INNER JOIN feat_symbol__scores AS f
        ON f.symbol = s.symbol
       AND f.model = 'v5.10'
    WHERE s.hour_utc = -1
      AND s.symbol <> '*'
      AND s.slip_bps_mean_w50 + f.fee_bps IS NOT NULL
),

rows AS (
    SELECT
        d.*,
        c.cost_pct,
    FROM core_window__trace_days AS d
    LEFT JOIN costs AS c USING (symbol)
    WHERE d.span = 'all'
      AND d.confidence_decile >= 0
),

sums AS (
    SELECT
        COALESCE(strategy, '*') AS strategy,
        confidence_decile,
        CAST(SUM(n) AS BIGINT) AS n,
        CAST(SUM(CAST(confidence AS DECIMAL(38, 18))) AS DOUBLE) AS confidence,
        CAST(SUM(confidence_correct_n) AS BIGINT) AS correct_n,
        CAST(SUM(trade_n) AS BIGINT) AS trade_n,
        CAST(SUM(CAST(return_pct AS DECIMAL(38, 18))) AS DOUBLE) AS return_pct,
        CAST(SUM(CAST(return_sq AS DECIMAL(38, 18))) AS DOUBLE) AS return_sq,
        CAST(SUM(CASE WHEN cost_pct IS NOT NULL THEN trade_n END) AS BIGINT) AS net_n,
        CAST(
            SUM(CAST(CASE WHEN cost_pct IS NOT NULL THEN return_pct END AS DECIMAL(38, 18)))
            AS DOUBLE
        ) AS net_gross_pct,
        CAST(SUM(CAST(trade_n * cost_pct AS DECIMAL(38, 15))) AS DOUBLE) AS cost_pct,
    FROM rows
    GROUP BY GROUPING SETS ((strategy, confidence_decile), (confidence_decile))
),

means AS (
    SELECT
        *,
        return_pct / NULLIF(CAST(trade_n AS DOUBLE), 0e0) AS return_avg_pct,
        sqrt(
            GREATEST(
                return_sq - return_pct * return_pct / NULLIF(CAST(trade_n AS DOUBLE), 0e0),
                0e0
            ) / NULLIF(trade_n - 1, 0) / NULLIF(trade_n, 0)
        ) AS return_stderr_pct,
    FROM sums
)

SELECT
    strategy AS strategy, -- strategy that predicted, * for all
    confidence_decile AS confidence_decile, -- tenth of confidence: 0 for 0.0 to 0.1, 9 for 0.9 to 1.0
    n AS n, -- closed predictions
    confidence / n AS confidence_avg, -- mean confidence
    correct_n / CAST(n AS DOUBLE) AS hit_ratio, -- share that was right
    wilson_lo(correct_n / CAST(n AS DOUBLE), CAST(n AS DOUBLE), $z95) AS hit_lo95, -- lower 95 % bound of it (Wilson)
    wilson_hi(correct_n / CAST(n AS DOUBLE), CAST(n AS DOUBLE), $z95) AS hit_hi95, -- upper 95 % bound of it
    trade_n AS trade_n, -- positions with a known return: n of return_avg_pct
    return_avg_pct AS return_avg_pct, -- mean return, percent
    return_stderr_pct AS return_stderr_pct, -- standard error of it, percent
    return_avg_pct - student_t975(CAST(NULLIF(GREATEST(trade_n - 1, 0), 0) AS DOUBLE)) * return_stderr_pct
        AS return_lo95, -- lower 95 % bound of the mean, percent
    return_avg_pct + student_t975(CAST(NULLIF(GREATEST(trade_n - 1, 0), 0) AS DOUBLE)) * return_stderr_pct
        AS return_hi95, -- upper 95 % bound of it, percent
    COALESCE(net_n, 0) AS net_n, -- of these positions, of symbols whose cost is measured: n of return_net_avg_pct
    cost_pct / NULLIF(CAST(net_n AS DOUBLE), 0e0) AS cost_avg_pct, -- mean measured cost of entry and exit, percent
    (net_gross_pct - cost_pct) / NULLIF(CAST(net_n AS DOUBLE), 0e0) AS return_net_avg_pct, -- mean return less that cost, percent; NULL = no cost measured
FROM means
ORDER BY strategy, confidence_decile
