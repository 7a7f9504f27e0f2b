-- How large to trade a symbol: the v5.10 factors, their product, and each guard after it in order.
-- Grain: symbol
-- Units: factors of the target size; daily_vol a fraction of price; _n counts
-- Source: feat_symbol__scores, feat_symbol__performance, feat_symbol__atr_regime, feat_account__coverage, core_window__hourly, raw_market__bars, previous_memory
-- Params: sharpe_mult_*, target_daily_vol, vol_min_returns, bar_max_age_ms, bars_from_ms, evidence_min_round_trips, min_pnl_coverage, coverage_slack, size_*, memory_ms, as_of_ms, environment, symbol_key
WITH scores AS (
    SELECT * FROM feat_symbol__scores WHERE is_active
),

-- Of a symbol that several accounts trade, the account that explains least counts. What was executed without a router
-- line is in no ratio and in no cost.
coverage AS (
    SELECT
        a.symbol,
        CASE WHEN COUNT(c.coverage) = COUNT(*) THEN LEAST(MIN(c.coverage), MIN(a.routed_ratio)) END AS pnl_coverage,
        CASE
            WHEN MIN(a.routed_ratio) < $min_pnl_coverage THEN 'incomplete'
            WHEN BOOL_AND(COALESCE(c.status = 'complete', FALSE)) THEN 'complete'
            WHEN BOOL_OR(COALESCE(c.status = 'incomplete', FALSE)) THEN 'incomplete'
            ELSE 'unknowable'
        END AS coverage_status,
    FROM (
        SELECT
            symbol,
            account,
            SUM(filled_n + partial_n + unrouted_n) AS executed_n,
            COALESCE(SUM(filled_n + partial_n) / NULLIF(CAST(executed_n AS DOUBLE), 0e0), 1e0) AS routed_ratio,
        FROM core_window__hourly
        GROUP BY symbol, account
    ) AS a
    LEFT JOIN feat_account__coverage AS c
        ON c.account = a.account
       AND c.day = '*'
    GROUP BY a.symbol
),

-- Bars by the hour in which they close. Nothing is read where no target volatility is set.
hour_bars AS (
    SELECT
        CASE WHEN $symbol_key = 'venue_symbol' THEN COALESCE(venue, 'unknown') || ':' || symbol ELSE symbol END
            AS symbol,
        event_ms + read_ms AS closed_ms,
        (event_ms + read_ms - 1) // 3600000 AS hour_n,
        read_ms,
        close,
        ingest_seq,
        source_id,
        line_offset,
    FROM (
        SELECT
            *,
            CASE bar_interval
                WHEN '1m' THEN 60000
                WHEN '5m' THEN 300000
                WHEN '15m' THEN 900000
                WHEN '1h' THEN 3600000
            END AS read_ms,
        FROM raw_market__bars
        WHERE $target_daily_vol > 0
          AND reject_reason IS NULL
          AND environment = $environment
          AND event_ms >= $bars_from_ms
          AND event_ms < $as_of_ms
          AND low > 0
          AND high >= low
          AND close > 0
          AND close < 1e15
    )
),

hour_closes AS (
    SELECT
        symbol,
        hour_n,
        arg_max(close, (closed_ms, -read_ms, ingest_seq, source_id, line_offset)) AS close,
    FROM hour_bars
    WHERE (hour_n + 1) * 3600000 <= $as_of_ms
    GROUP BY symbol, hour_n
),

hour_returns AS (
    SELECT
        symbol,
        hour_n,
        ln(close / LAG(close) OVER (PARTITION BY symbol ORDER BY hour_n)) AS return,
        LAG(hour_n) OVER (PARTITION BY symbol ORDER BY hour_n) AS from_hour_n,
        ROW_NUMBER() OVER (PARTITION BY symbol ORDER BY hour_n DESC) AS back_n,
    FROM hour_closes
),

-- Around the mean, as the deviations of feat_symbol__performance.
return_means AS (
    SELECT
        symbol,
        COUNT(return) AS daily_vol_n,
        MAX(hour_n) AS last_hour_n,
        MAX(hour_n) - MIN(from_hour_n) AS span_hours,
        CAST(SUM(CAST(return AS DECIMAL(38, 18))) AS DOUBLE) / NULLIF(COUNT(return), 0) AS return_mean,
    FROM hour_returns
    WHERE back_n <= $vol_min_returns
    GROUP BY symbol
),

-- Hourly variance times the returns in a day, of which a venue that closes has fewer than 24.
volatility AS (
    SELECT
        m.symbol,
        m.daily_vol_n,
        CASE
            WHEN m.daily_vol_n >= $vol_min_returns
                AND (m.last_hour_n + 1) * 3600000 >= $as_of_ms - $bar_max_age_ms
            THEN sqrt(
                CAST(SUM(CAST((r.return - m.return_mean) * (r.return - m.return_mean) AS DECIMAL(38, 24))) AS DOUBLE)
                / (m.daily_vol_n - 1)
                * m.daily_vol_n * 24 / m.span_hours
            )
        END AS daily_vol,
    FROM return_means AS m
    INNER JOIN hour_returns AS r
        ON r.symbol = m.symbol
       AND r.back_n <= $vol_min_returns
    GROUP BY m.symbol, m.daily_vol_n, m.last_hour_n, m.span_hours
),

before AS (
    SELECT
        *,
        $as_of_ms - $memory_ms AS since_ms,
    FROM previous_memory
    WHERE decided_ms > $as_of_ms - $memory_ms
),

-- No infinity and no NaN gets past a comparison with a bound.
inputs AS (
    SELECT
        s.symbol,
        s.round_trip_n AS n,
        CASE WHEN s.size_factor BETWEEN 0 AND $size_factor_max THEN s.size_factor ELSE $size_unknown END
            AS intel_size_factor,
        s.sharpe AS sharpe_7d,
        CASE WHEN abs(p.sharpe_lo90) < 1e15 THEN p.sharpe_lo90 END AS sharpe_lo90,
        CASE WHEN a.regime_scale BETWEEN 0 AND 1 THEN a.regime_scale ELSE 1e0 END AS regime_scale,
        v.daily_vol,
        COALESCE(v.daily_vol_n, 0) AS daily_vol_n,
        c.pnl_coverage,
        COALESCE(c.coverage_status, 'unknowable') AS coverage_status,
        COALESCE(NOT c.pnl_coverage >= $min_pnl_coverage, TRUE) AS incomplete,
        CASE WHEN b.size_factor BETWEEN 0 AND $size_factor_max THEN b.size_factor END AS previous_size_factor,
        COALESCE(
            b.coverage_at_ms > b.since_ms
            AND b.pnl_coverage - COALESCE(c.pnl_coverage, 0e0) > $coverage_slack,
            FALSE
        )
            OR COALESCE(b.sharpe_at_ms > b.since_ms AND s.sharpe IS NULL, FALSE)
            OR COALESCE(b.atr_at_ms > b.since_ms AND s.atr_ratio IS NULL, FALSE)
            OR COALESCE(b.bars_at_ms > b.since_ms AND a.atr_source IS DISTINCT FROM 'bars', FALSE)
            OR COALESCE(b.maker_at_ms > b.since_ms AND s.maker_fill_ratio IS NULL, FALSE)
            OR COALESCE(b.fallback_at_ms > b.since_ms AND s.fallback_ratio IS NULL, FALSE)
            OR COALESCE(b.slip_at_ms > b.since_ms AND s.slip_bps_q50 IS NULL, FALSE)
            OR COALESCE(b.dd_at_ms > b.since_ms AND s.dd_pct IS NULL, FALSE)
            OR COALESCE(b.fee_at_ms > b.since_ms AND s.fee_bps IS NULL AND s.model = 'v5.11', FALSE)
            OR COALESCE(b.vol_at_ms > b.since_ms AND v.daily_vol IS NULL AND $target_daily_vol > 0, FALSE)
            AS is_input_lost,
    FROM scores AS s
    LEFT JOIN feat_symbol__performance AS p USING (symbol)
    LEFT JOIN feat_symbol__atr_regime AS a USING (symbol)
    LEFT JOIN volatility AS v USING (symbol)
    LEFT JOIN coverage AS c USING (symbol)
    LEFT JOIN before AS b USING (symbol)
),

factors AS (
    SELECT
        *,
        $sharpe_mult_low
        + ($sharpe_mult_high - $sharpe_mult_low)
        * (LEAST(GREATEST(COALESCE(sharpe_7d, 0e0), $sharpe_mult_floor), $sharpe_mult_top) - $sharpe_mult_floor)
        / ($sharpe_mult_top - $sharpe_mult_floor) AS sharpe_mult,
        CASE
            WHEN $target_daily_vol > 0 AND daily_vol IS NOT NULL
            THEN LEAST(
                GREATEST(COALESCE($target_daily_vol / NULLIF(daily_vol, 0e0), $size_factor_max), $size_factor_min),
                $size_factor_max
            )
            ELSE 1e0
        END AS inverse_vol,
        COALESCE(n >= $evidence_min_round_trips AND sharpe_lo90 > 0, FALSE) AS is_evident,
    FROM inputs
),

products AS (
    SELECT
        *,
        inverse_vol * regime_scale * sharpe_mult * intel_size_factor AS product_v510,
    FROM factors
),

capped AS (
    SELECT
        *,
        CASE WHEN is_evident THEN product_v510 ELSE LEAST(product_v510, 1e0) END AS after_evidence,
        CASE WHEN is_evident AND NOT incomplete THEN product_v510 ELSE LEAST(product_v510, 1e0) END AS after_incomplete,
        CASE WHEN is_evident AND NOT incomplete THEN $size_factor_max ELSE 1e0 END AS cap,
    FROM products
),

clamped AS (
    SELECT
        *,
        LEAST(GREATEST(after_incomplete, $size_factor_min), $size_factor_max) AS after_clamp,
        CASE
            WHEN previous_size_factor IS NULL THEN $size_first_max
            WHEN is_input_lost THEN previous_size_factor
            ELSE previous_size_factor * (1e0 + $size_change_max)
        END AS highest,
        -- Falling slowly never lifts a size above what evidence and coverage allow.
        CASE
            WHEN previous_size_factor IS NULL THEN 0e0
            ELSE LEAST(previous_size_factor * (1e0 - $size_change_max), cap)
        END AS lowest,
    FROM capped
),

changed AS (
    SELECT
        *,
        LEAST(GREATEST(after_clamp, lowest), highest) AS after_change,
    FROM clamped
)

SELECT
    symbol AS symbol, -- instrument
    n AS n, -- round trips behind sharpe_7d
    intel_size_factor AS intel_size_factor, -- by the score of the acting model
    sharpe_7d AS sharpe_7d, -- mean / deviation of round trips' returns; NULL = unknown
    sharpe_lo90 AS sharpe_lo90, -- one-sided 90 % lower bound of it
    sharpe_mult AS sharpe_mult, -- multiplier by the Sharpe ratio; of an unknown one as of 0
    regime_scale AS regime_scale, -- scale of the health regime; 1 where it is unknown or of fills
    daily_vol AS daily_vol, -- realised standard deviation of a day's return; NULL = unknown, or no target is set
    daily_vol_n AS daily_vol_n, -- hourly returns behind it
    inverse_vol AS inverse_vol, -- target over realised volatility; 1 without a target or with too few returns
    product_v510 AS product_v510, -- inverse_vol × regime_scale × sharpe_mult × intel_size_factor
    CASE WHEN is_evident THEN $size_factor_max ELSE 1e0 END AS evidence_cap, -- the most that the evidence allows
    after_evidence AS after_evidence, -- the product under it
    pnl_coverage AS pnl_coverage, -- share of the account's PnL and position changes that the logs explain, or of executed orders that have their router line, the smaller; NULL = unknown
    coverage_status AS coverage_status, -- complete, incomplete or unknowable, as feat_account__coverage says; incomplete where too few executed orders have their router line
    incomplete AS incomplete, -- that share is too small or unknown: at most 1
    after_incomplete AS after_incomplete, -- the factor under that
    after_clamp AS after_clamp, -- within the hard bounds
    previous_size_factor AS previous_size_factor, -- final_size_factor of the snapshot before; NULL = none is remembered
    is_input_lost AS is_input_lost, -- an input is unknown now that was known within memory, or coverage fell: not above the snapshot before
    after_change AS after_change, -- within the greatest change from the snapshot before
    LEAST(GREATEST(after_change, $size_factor_min), $size_factor_max) AS final_size_factor, -- what targets are multiplied by
    concat_ws(
        ',',
        CASE WHEN after_evidence <> product_v510 THEN 'evidence_cap' END,
        CASE WHEN after_incomplete <> after_evidence THEN 'incomplete' END,
        CASE WHEN after_clamp <> after_incomplete THEN 'clamp' END,
        CASE WHEN after_change <> after_clamp THEN 'change' END
    ) AS capped_by, -- guards that changed the factor, in order, comma-separated
FROM changed
ORDER BY symbol
