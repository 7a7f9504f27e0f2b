-- How slippage against the decision price is distributed, by symbol and hour of the day.
-- Grain: symbol, hour_utc
-- Units: _bps basis points of the decision price, positive = cost
-- Source: core_window__outcomes
-- Params: fresh_mark_age_ms, winsor_bps; symbol * = all symbols, hour_utc -1 = all hours
WITH fills AS (
    SELECT
        symbol,
        hour_utc,
        CASE WHEN suspect_reason IS NULL THEN slippage_bps END AS slip_bps,
        suspect_reason IS NOT NULL AS is_suspect,
        mark_age_ms < $fresh_mark_age_ms AS is_fresh,
    FROM core_window__outcomes
    WHERE slippage_bps IS NOT NULL
       OR suspect_reason IS NOT NULL
)

SELECT
    COALESCE(symbol, '*') AS symbol, -- instrument, * for all
    COALESCE(hour_utc, -1) AS hour_utc, -- UTC hour of day, -1 for all hours
    COUNT(slip_bps) AS n, -- fills with slippage
    COUNT(slip_bps) FILTER (is_fresh) AS fresh_n, -- of those, with a decision price younger than the limit
    quantile_cont(slip_bps, 0.25) AS slip_bps_q25, -- first quartile, bps
    quantile_cont(slip_bps, 0.5) AS slip_bps_q50, -- median, bps
    quantile_cont(slip_bps, 0.75) AS slip_bps_q75, -- third quartile, bps
    quantile_cont(slip_bps, 0.95) AS slip_bps_q95, -- 95th percentile, bps
    quantile_cont(slip_bps, 0.99) AS slip_bps_q99, -- 99th percentile, bps
    CAST(SUM(CAST(slip_bps AS DECIMAL(38, 15))) AS DOUBLE) / NULLIF(COUNT(slip_bps), 0)
        AS slip_bps_mean, -- mean, bps
    CAST(SUM(CAST(GREATEST(LEAST(slip_bps, $winsor_bps), -$winsor_bps) AS DECIMAL(38, 15))) AS DOUBLE)
        / NULLIF(COUNT(slip_bps), 0) AS slip_bps_mean_w50, -- mean with values clipped at the limit, bps
    COUNT(*) FILTER (abs(slip_bps) > $winsor_bps) AS clipped_n, -- values clipped for that mean
    COUNT(*) FILTER (is_suspect) AS suspect_n, -- rows kept out as suspect
    quantile_cont(slip_bps, 0.25) FILTER (is_fresh) AS fresh_q25, -- first quartile of the fresh ones, bps
    quantile_cont(slip_bps, 0.5) FILTER (is_fresh) AS fresh_q50, -- median of the fresh ones, bps
    quantile_cont(slip_bps, 0.75) FILTER (is_fresh) AS fresh_q75, -- third quartile of the fresh ones, bps
FROM fills
GROUP BY GROUPING SETS ((symbol, hour_utc), (symbol), (hour_utc), ())
HAVING COUNT(*) > 0
ORDER BY symbol, hour_utc
