-- What an hour of the day earned per dollar traded, and what its fills cost.
-- Grain: symbol, hour_utc
-- Units: exp_* dollars of PnL per dollar of notional, _usd US dollars, _bps basis points
-- Source: core_window__hourly, core_window__funding
-- Params: shrink_attempts; symbol * is the sum over symbols; only hours with rows
-- Funding counts in the hour it was paid; * also has that of symbols which traded nothing in that hour.
WITH hours AS (
    SELECT
        COALESCE(symbol, '*') AS symbol,
        hour_utc,
        SUM(n) AS n,
        SUM(filled_n + partial_n) AS fill_n,
        SUM(close_n) AS close_n,
        SUM(pnl_known_n) AS pnl_known_n,
        SUM(close_only_n) AS close_only_n,
        CAST(SUM(CAST(pnl_usd AS DECIMAL(38, 15))) AS DOUBLE) AS pnl_usd,
        CAST(SUM(CAST(pnl_sq AS DECIMAL(38, 12))) AS DOUBLE) AS pnl_sq,
        CAST(SUM(CAST(notional_usd AS DECIMAL(38, 15))) AS DOUBLE) AS notional_usd,
        CAST(SUM(CAST(notional_sq AS DECIMAL(38, 12))) AS DOUBLE) AS notional_sq,
        CAST(SUM(CAST(pnl_notional AS DECIMAL(38, 12))) AS DOUBLE) AS pnl_notional,
        CAST(SUM(CAST(fees_usd AS DECIMAL(38, 15))) AS DOUBLE) AS fees_usd,
        SUM(fees_known_n) AS fees_known_n,
        SUM(slip_n) AS slip_n,
        CAST(SUM(CAST(slip_bps AS DECIMAL(38, 15))) AS DOUBLE) AS slip_bps,
        CAST(SUM(CAST(slip_sq AS DECIMAL(38, 15))) AS DOUBLE) AS slip_sq,
    FROM core_window__hourly
    GROUP BY GROUPING SETS ((symbol, hour_utc), (hour_utc))
    HAVING SUM(n + close_n) > 0
),

whole AS (
    SELECT
        symbol,
        CAST(SUM(CAST(pnl_usd AS DECIMAL(38, 15))) AS DOUBLE) AS pnl_usd,
        CAST(SUM(CAST(notional_usd AS DECIMAL(38, 15))) AS DOUBLE) AS notional_usd,
        SUM(n) AS n,
        SUM(close_n) AS close_n,
        SUM(pnl_known_n) AS pnl_known_n,
    FROM hours
    GROUP BY symbol
),

funding AS (
    SELECT
        COALESCE(symbol, '*') AS symbol,
        hour_utc,
        COUNT(*) AS funding_n,
        CAST(SUM(CAST(funding_usd AS DECIMAL(38, 15))) AS DOUBLE) AS funding_usd,
    FROM core_window__funding
    GROUP BY GROUPING SETS ((symbol, hour_utc), (hour_utc))
),

ratios AS (
    SELECT
        h.*,
        COALESCE(f.funding_n, 0) AS funding_n,
        f.funding_usd,
        -- no close is no PnL; closes whose PnL nobody logged are unknown
        CASE WHEN h.close_n = 0 THEN 0e0 ELSE h.pnl_usd END AS earned_usd,
        CASE
            WHEN h.pnl_known_n = h.close_n THEN earned_usd / NULLIF(h.notional_usd, 0e0)
        END AS exp_per_notional,
        CASE
            WHEN w.close_n = 0 THEN 0e0
            WHEN w.pnl_known_n = w.close_n THEN w.pnl_usd
        END / NULLIF(w.notional_usd, 0e0) AS exp_whole,
        COALESCE(h.notional_usd, 0e0) / NULLIF(
            COALESCE(h.notional_usd, 0e0)
            + $shrink_attempts * w.notional_usd / NULLIF(w.n, 0),
            0e0
        ) AS shrink_weight,
    FROM hours AS h
    INNER JOIN whole AS w USING (symbol)
    LEFT JOIN funding AS f USING (symbol, hour_utc)
),

errors AS (
    SELECT
        *,
        -- delta method for a ratio of sums, with as many degrees of freedom as closes allow
        CASE
            WHEN close_n >= 2 AND exp_per_notional IS NOT NULL
            THEN sqrt(
                GREATEST(
                    COALESCE(pnl_sq, 0e0)
                    - 2 * exp_per_notional * COALESCE(pnl_notional, 0e0)
                    + exp_per_notional * exp_per_notional * notional_sq,
                    0e0
                )
                * close_n / (close_n - 1)
            ) / notional_usd
        END AS exp_stderr,
        CASE WHEN close_n >= 2 THEN student_t975(CAST(close_n - 1 AS DOUBLE)) END AS t975,
        slip_bps / NULLIF(slip_n, 0) AS slip_bps_avg,
    FROM ratios
)

SELECT
    symbol AS symbol, -- instrument, * for all
    hour_utc AS hour_utc, -- UTC hour of day, 0 to 23
    CAST(n AS BIGINT) AS n, -- attempts
    CAST(fill_n AS BIGINT) AS fill_n, -- attempts that filled, whole or in part
    earned_usd AS pnl_usd, -- realised PnL of the closes counted in pnl_known_n, USD; NULL = none known
    COALESCE(notional_usd, 0e0) AS notional_usd, -- filled notional, and what closes without an attempt closed, USD
    CAST(close_n AS BIGINT) AS close_n, -- closes
    CAST(pnl_known_n AS BIGINT) AS pnl_known_n, -- closes of orders whose PnL is known
    exp_per_notional AS exp_per_notional, -- PnL before fees per dollar of notional; NULL without notional, or unless the PnL of every close is known
    CASE
        WHEN fees_known_n = fill_n + close_only_n AND pnl_known_n = close_n
        THEN (earned_usd - COALESCE(fees_usd, 0e0) + COALESCE(funding_usd, 0e0)) / NULLIF(notional_usd, 0e0)
    END AS exp_net_per_notional, -- the same less fees, with the funding that is logged; NULL unless the fees of every fill are known too
    CAST(fees_known_n AS BIGINT) AS fees_known_n, -- fills and lone closes with known fees
    CAST(funding_n AS BIGINT) AS funding_n, -- funding payments logged in that hour of day
    funding_usd AS funding_usd, -- their sum, USD, positive = received; NULL = none logged
    exp_stderr AS exp_stderr, -- standard error of exp_per_notional; NULL where that is, and below 2 closes
    exp_per_notional - t975 * exp_stderr AS exp_lo95, -- lower 95 % bound, Student's t
    exp_per_notional + t975 * exp_stderr AS exp_hi95, -- upper 95 % bound
    CASE
        WHEN COALESCE(shrink_weight, 0e0) = 0 THEN exp_whole
        ELSE shrink_weight * exp_per_notional + (1 - shrink_weight) * exp_whole
    END AS exp_shrunk, -- expectancy drawn towards all hours of the symbol
    shrink_weight AS shrink_weight, -- weight of the hour itself, 0 to 1
    CAST(slip_n AS BIGINT) AS slip_n, -- fills with slippage
    slip_bps_avg AS slip_bps_avg, -- mean slippage, bps, positive = cost
    CASE
        WHEN slip_n >= 2
        THEN sqrt(
            GREATEST(slip_sq - slip_n * slip_bps_avg * slip_bps_avg, 0e0) / (slip_n - 1) / slip_n
        )
    END AS slip_bps_stderr, -- standard error of slip_bps_avg; NULL below 2 fills
    CASE
        WHEN slip_n >= 2
        THEN slip_bps_avg - student_t975(CAST(slip_n - 1 AS DOUBLE)) * sqrt(
            GREATEST(slip_sq - slip_n * slip_bps_avg * slip_bps_avg, 0e0) / (slip_n - 1) / slip_n
        )
    END AS slip_bps_lo95, -- lower 95 % bound of slip_bps_avg
    CASE
        WHEN slip_n >= 2
        THEN slip_bps_avg + student_t975(CAST(slip_n - 1 AS DOUBLE)) * sqrt(
            GREATEST(slip_sq - slip_n * slip_bps_avg * slip_bps_avg, 0e0) / (slip_n - 1) / slip_n
        )
    END AS slip_bps_hi95, -- upper 95 % bound of slip_bps_avg
FROM errors
ORDER BY symbol, hour_utc
