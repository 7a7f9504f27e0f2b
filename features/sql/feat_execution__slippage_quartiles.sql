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
        -- A mark from after its fill is a fault of two clocks: its age is unknown.
        mark_age_ms >= 0 AND mark_age_ms < $fresh_mark_age_ms AS is_fresh,
        COALESCE(mark_age_ms < 0, TRUE) AS is_age_unknown,
    FROM core_window__outcomes
    WHERE slippage_bps IS NOT NULL
       OR suspect_reason IS NOT NULL
),

-- One list a group: each quantile on its own would keep and sort all values again.
stats AS (
    SELECT
        symbol,
        hour_utc,
        COUNT(slip_bps) AS n,
        COUNT(slip_bps) FILTER (is_fresh) AS fresh_n,
        COUNT(slip_bps) FILTER (is_age_unknown) AS age_unknown_n,
        quantile_cont(slip_bps, [0.25, 0.5, 0.75, 0.95, 0.99]) AS quantiles,
        SUM(CAST(slip_bps AS DECIMAL(38, 15))) AS slip_bps,
        SUM(CAST(GREATEST(LEAST(slip_bps, $winsor_bps), -$winsor_bps) AS DECIMAL(38, 15))) AS winsored_bps,
        COUNT(*) FILTER (abs(slip_bps) > $winsor_bps) AS clipped_n,
        COUNT(*) FILTER (is_suspect) AS suspect_n,
        quantile_cont(slip_bps, [0.25, 0.5, 0.75]) FILTER (is_fresh) AS fresh_quantiles,
    FROM fills
    GROUP BY GROUPING SETS ((symbol, hour_utc), (symbol), (hour_utc), ())
    HAVING COUNT(*) > 0
)

SELECT
    COALESCE(symbol, '*') AS symbol, -- instrument, * for all
    COALESCE(hour_utc, -1) AS hour_utc, -- UTC hour of day, -1 for all hours
    n AS n, -- fills with slippage
    fresh_n AS fresh_n, -- of those, with a decision price younger than the limit
    age_unknown_n AS age_unknown_n, -- of those, with a decision price of unknown age: not logged, or after the fill
    quantiles[1] AS slip_bps_q25, -- first quartile, bps
    quantiles[2] AS slip_bps_q50, -- median, bps
    quantiles[3] AS slip_bps_q75, -- third quartile, bps
    quantiles[4] AS slip_bps_q95, -- 95th percentile, bps
    quantiles[5] AS slip_bps_q99, -- 99th percentile, bps
    CAST(slip_bps AS DOUBLE) / NULLIF(n, 0) AS slip_bps_mean, -- mean, bps
    CAST(winsored_bps AS DOUBLE) / NULLIF(n, 0) AS slip_bps_mean_w50, -- mean with values clipped at the limit, bps
    clipped_n AS clipped_n, -- values clipped for that mean
    suspect_n AS suspect_n, -- rows kept out as suspect
    fresh_quantiles[1] AS fresh_q25, -- first quartile of the fresh ones, bps
    fresh_quantiles[2] AS fresh_q50, -- median of the fresh ones, bps
    fresh_quantiles[3] AS fresh_q75, -- third quartile of the fresh ones, bps
FROM stats
ORDER BY symbol, hour_utc
