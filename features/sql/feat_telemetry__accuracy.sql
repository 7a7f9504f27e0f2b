-- How often each strategy was right and what that earned, by symbol and window.
-- Grain: strategy, symbol, window
-- Units: _pct percent of the position (of summed returns: percent points), _n counts, shares 0 to 1
-- Source: core_window__trace_days, core_window__trace_paths, core_window__trace_closes, core_window__last_traces, core_window__traces, raw_telemetry__traces
-- Params: z95, us017_year_days, us017_day_minutes, as_of_ms, environment; strategy or symbol * = all; windows of exits
WITH sets AS (
    SELECT every_strategy, every_symbol
    FROM (VALUES (FALSE, FALSE), (TRUE, FALSE), (FALSE, TRUE), (TRUE, TRUE))
        AS s (every_strategy, every_symbol)
),

-- The last 100 of all are no sum of the last 100 of each: they come with rows of their own.
parts AS (
    SELECT
        d.* REPLACE (
            CASE WHEN s.every_strategy THEN '*' ELSE d.strategy END AS strategy,
            CASE WHEN s.every_symbol THEN '*' ELSE d.symbol END AS symbol
        ),
    FROM core_window__trace_days AS d
    INNER JOIN sets AS s
        ON d.span <> 'last100'
        OR NOT (s.every_strategy OR s.every_symbol)
),

days AS (
    SELECT
        span,
        strategy,
        symbol,
        day_ms,
        SUM(n) AS n,
        SUM(long_long + short_short + noop_noop) AS correct_n,
        SUM(trade_n) AS trade_n,
        CAST(SUM(CAST(return_pct AS DECIMAL(38, 18))) AS DOUBLE) AS return_pct,
    FROM parts
    GROUP BY span, strategy, symbol, day_ms
),

sums AS (
    SELECT
        span,
        strategy,
        symbol,
        CAST(SUM(n) AS BIGINT) AS n,
        CAST(SUM(long_long) AS BIGINT) AS long_long,
        CAST(SUM(long_short) AS BIGINT) AS long_short,
        CAST(SUM(long_noop) AS BIGINT) AS long_noop,
        CAST(SUM(short_long) AS BIGINT) AS short_long,
        CAST(SUM(short_short) AS BIGINT) AS short_short,
        CAST(SUM(short_noop) AS BIGINT) AS short_noop,
        CAST(SUM(noop_long) AS BIGINT) AS noop_long,
        CAST(SUM(noop_short) AS BIGINT) AS noop_short,
        CAST(SUM(noop_noop) AS BIGINT) AS noop_noop,
        CAST(SUM(relabelled_n) AS BIGINT) AS relabelled_n,
        CAST(SUM(trade_n) AS BIGINT) AS trade_n,
        CAST(SUM(win_n) AS BIGINT) AS win_n,
        CAST(SUM(CAST(return_pct AS DECIMAL(38, 18))) AS DOUBLE) AS return_pct,
        CAST(SUM(CAST(return_sq AS DECIMAL(38, 18))) AS DOUBLE) AS return_sq,
        CAST(SUM(CAST(gain_pct AS DECIMAL(38, 18))) AS DOUBLE) AS gain_pct,
        CAST(SUM(CAST(loss_pct AS DECIMAL(38, 18))) AS DOUBLE) AS loss_pct,
        CAST(SUM(CAST(holding_min AS DECIMAL(38, 9))) AS DOUBLE) AS holding_min,
        CAST(SUM(confidence_n) AS BIGINT) AS confidence_n,
        CAST(SUM(CAST(brier_sum AS DECIMAL(38, 18))) AS DOUBLE) AS brier_sum,
        CAST(SUM(sampled_n) AS BIGINT) AS sampled_n,
        CAST(SUM(CAST(represented_n AS DECIMAL(38, 9))) AS DOUBLE) AS represented_n,
        MIN(first_ms) AS first_ms,
        MAX(last_ms) AS last_ms,
    FROM parts
    GROUP BY span, strategy, symbol
),

means AS (
    SELECT
        *,
        long_long + long_short + long_noop AS long_predicted_n,
        short_long + short_short + short_noop AS short_predicted_n,
        noop_long + noop_short + noop_noop AS noop_predicted_n,
        long_long + short_long + noop_long AS long_actual_n,
        long_short + short_short + noop_short AS short_actual_n,
        long_noop + short_noop + noop_noop AS noop_actual_n,
        (long_long + short_short + noop_noop) / CAST(n AS DOUBLE) AS hit_ratio,
        return_pct / NULLIF(CAST(trade_n AS DOUBLE), 0e0) AS return_avg_pct,
        return_sq - return_pct * return_pct / NULLIF(CAST(trade_n AS DOUBLE), 0e0) AS return_dev,
        (last_ms - first_ms) / 31536e6 AS span_years,
    FROM sums
),

-- Trades of one day share its market: they are one bet of many parts, so deviations are of days.
clusters AS (
    SELECT
        m.span,
        m.strategy,
        m.symbol,
        COUNT(*) AS day_n,
        COUNT(*) FILTER (d.trade_n > 0) AS trade_day_n,
        CAST(SUM(CAST(pow(d.correct_n - m.hit_ratio * d.n, 2) AS DECIMAL(38, 12))) AS DOUBLE)
            AS hit_dev,
        CAST(
            SUM(CAST(pow(d.return_pct - m.return_avg_pct * d.trade_n, 2) AS DECIMAL(38, 18)))
            AS DOUBLE
        ) AS day_dev,
    FROM means AS m
    INNER JOIN days AS d USING (span, strategy, symbol)
    GROUP BY m.span, m.strategy, m.symbol
),

-- As many independent predictions would leave the hit ratio as uncertain as these days do.
judged AS (
    SELECT
        m.*,
        c.day_n,
        c.trade_day_n,
        LEAST(
            CAST(m.n AS DOUBLE),
            COALESCE(
                m.hit_ratio * (1 - m.hit_ratio) * m.n * m.n
                    / NULLIF(c.hit_dev * c.day_n / NULLIF(c.day_n - 1, 0), 0e0),
                m.n
            )
        ) AS hit_n,
        CASE
            WHEN m.trade_n < 2 THEN NULL
            -- equal returns: what is left of their squares is rounding
            WHEN m.return_dev <= 1e-12 * m.return_sq THEN 0e0
            ELSE sqrt(m.return_dev / (m.trade_n - 1))
        END AS return_std_pct,
        -- days as bets, but never surer than single trades would be
        CASE
            WHEN c.trade_day_n < 2 THEN NULL
            ELSE GREATEST(
                sqrt(c.day_dev * c.trade_day_n / (c.trade_day_n - 1)) / m.trade_n,
                sqrt(GREATEST(m.return_dev, 0e0) / (m.trade_n - 1) / m.trade_n)
            )
        END AS return_stderr_pct,
    FROM means AS m
    INNER JOIN clusters AS c USING (span, strategy, symbol)
),

bins AS (
    SELECT
        span,
        strategy,
        symbol,
        confidence_decile,
        CAST(SUM(confidence_correct_n) AS DOUBLE)
            - CAST(SUM(CAST(confidence AS DECIMAL(38, 18))) AS DOUBLE) AS gap,
    FROM parts
    WHERE confidence_decile >= 0
    GROUP BY span, strategy, symbol, confidence_decile
),

calibration AS (
    SELECT
        span,
        strategy,
        symbol,
        CAST(SUM(CAST(abs(gap) AS DECIMAL(38, 15))) AS DOUBLE) AS gap_sum,
    FROM bins
    GROUP BY span, strategy, symbol
),

-- A day begins where the days before it ended: sums, peaks and troughs of days merge to a path.
begun AS (
    SELECT
        *,
        CAST(
            COALESCE(
                SUM(CAST(return_pct AS DECIMAL(38, 18))) OVER (
                    PARTITION BY span, strategy, symbol
                    ORDER BY day_ms
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ),
                0
            ) AS DOUBLE
        ) AS begin_pct,
    FROM core_window__trace_paths
),

peaked AS (
    SELECT
        *,
        GREATEST(
            0e0,
            MAX(begin_pct + peak_pct) OVER (
                PARTITION BY span, strategy, symbol
                ORDER BY day_ms
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            )
        ) AS high_pct,
    FROM begun
),

falls AS (
    SELECT
        span,
        strategy,
        symbol,
        MAX(GREATEST(fall_pct, high_pct - begin_pct - trough_pct)) AS fall_pct,
    FROM peaked
    GROUP BY span, strategy, symbol
    UNION ALL
    SELECT
        'last100',
        strategy,
        symbol,
        struct_extract(
            path(
                list(close_ms) FILTER (is_trade),
                list(return_pct) FILTER (is_trade)
            ),
            'fall_pct'
        ),
    FROM core_window__last_traces
    GROUP BY strategy, symbol
),

-- What sampled traces cannot follow, the closes of all trades may.
closed_paths AS (
    SELECT
        w.span,
        c.strategy,
        c.symbol,
        COUNT(*) AS trade_n,
        CAST(SUM(CAST(c.return_pct AS DECIMAL(38, 18))) AS DOUBLE) AS return_pct,
        CAST(SUM(CAST(GREATEST(c.return_pct, 0e0) AS DECIMAL(38, 18))) AS DOUBLE) AS gain_pct,
        CAST(SUM(CAST(GREATEST(-c.return_pct, 0e0) AS DECIMAL(38, 18))) AS DOUBLE) AS loss_pct,
        struct_extract(path(list(c.close_ms), list(c.return_pct)), 'fall_pct') AS fall_pct,
    FROM core_window__trace_closes AS c
    INNER JOIN (VALUES ('all'), ('30d'), ('last100')) AS w (span)
        ON w.span = 'all'
        OR (w.span = '30d' AND c.close_ms > $as_of_ms - 2592000000)
        OR (w.span = 'last100' AND c.latest_n <= 100)
    GROUP BY w.span, c.strategy, c.symbol
),

paths AS (
    SELECT
        j.span,
        j.strategy,
        j.symbol,
        CASE
            WHEN j.sampled_n > 0 AND c.span IS NOT NULL THEN 'closes'
            WHEN j.sampled_n > 0 THEN 'sampled'
            ELSE 'traces'
        END AS path_source,
        CASE WHEN path_source = 'closes' THEN c.trade_n ELSE j.trade_n END AS trade_n,
        CASE WHEN path_source = 'closes' THEN c.return_pct ELSE j.return_pct END AS return_pct,
        CASE WHEN path_source = 'closes' THEN c.gain_pct ELSE j.gain_pct END AS gain_pct,
        CASE WHEN path_source = 'closes' THEN c.loss_pct ELSE j.loss_pct END AS loss_pct,
        CASE WHEN path_source = 'closes' THEN c.fall_pct ELSE f.fall_pct END AS fall_pct,
    FROM judged AS j
    LEFT JOIN falls AS f USING (span, strategy, symbol)
    LEFT JOIN closed_paths AS c USING (span, strategy, symbol)
),

-- Predictions that had not ended by as-of, whether or not a later line says how they did.
waiting AS (
    SELECT
        strategy,
        symbol,
    FROM raw_telemetry__traces AS w
    WHERE reject_reason IS NULL
      AND environment = $environment
      AND event_ms <= $as_of_ms
      AND COALESCE(exit_price, 0) = 0
      AND NOT EXISTS (
          SELECT 1
          FROM core_window__traces AS t
          WHERE t.environment = w.environment
            AND t.strategy = w.strategy
            AND t.symbol = w.symbol
            AND t.event_ms = w.event_ms
            AND t.predicted = w.predicted_direction
      )
    UNION ALL
    SELECT
        strategy,
        symbol,
    FROM core_window__traces
    WHERE environment = $environment
      AND event_ms <= $as_of_ms
      AND close_ms > $as_of_ms
),

pending AS (
    SELECT
        COALESCE(strategy, '*') AS strategy,
        COALESCE(symbol, '*') AS symbol,
        COUNT(*) AS pending_n,
    FROM waiting
    GROUP BY GROUPING SETS ((strategy, symbol), (strategy), (symbol), ())
    HAVING COUNT(*) > 0
),

spans AS (
    SELECT span
    FROM (VALUES ('30d'), ('all'), ('last100')) AS s (span)
),

keys AS (
    SELECT span, strategy, symbol FROM judged
    UNION
    SELECT s.span, p.strategy, p.symbol FROM pending AS p CROSS JOIN spans AS s
)

SELECT
    k.strategy AS strategy, -- strategy that predicted, * for all
    k.symbol AS symbol, -- instrument, * for all
    k.span AS window, -- 30d, all, or last100: the last 100 to close; write it "window" in SQL
    COALESCE(j.n, 0) AS n, -- closed predictions
    COALESCE(p.pending_n, 0) AS pending_n, -- predictions not ended at as-of; in no other number
    COALESCE(j.day_n, 0) AS day_n, -- UTC days on which some closed
    j.long_long AS long_long, -- predicted LONG, market LONG
    j.long_short AS long_short, -- predicted LONG, market SHORT
    j.long_noop AS long_noop, -- predicted LONG, market NOOP
    j.short_long AS short_long, -- predicted SHORT, market LONG
    j.short_short AS short_short, -- predicted SHORT, market SHORT: also a short that earned
    j.short_noop AS short_noop, -- predicted SHORT, market NOOP
    j.noop_long AS noop_long, -- predicted NOOP, market LONG
    j.noop_short AS noop_short, -- predicted NOOP, market SHORT
    j.noop_noop AS noop_noop, -- predicted NOOP, market NOOP
    j.relabelled_n AS relabelled_n, -- predictions whose logged direction the prices contradict
    j.long_predicted_n AS long_predicted_n, -- LONG predictions: n of precision_long
    j.short_predicted_n AS short_predicted_n, -- SHORT predictions: n of precision_short
    j.noop_predicted_n AS noop_predicted_n, -- NOOP predictions: n of precision_noop
    j.long_actual_n AS long_actual_n, -- times the market went LONG: n of recall_long
    j.short_actual_n AS short_actual_n, -- times the market went SHORT: n of recall_short
    j.noop_actual_n AS noop_actual_n, -- times the market stayed: n of recall_noop
    j.long_long / NULLIF(CAST(j.long_predicted_n AS DOUBLE), 0e0) AS precision_long, -- share of LONG predictions that were right; NULL = none made
    j.short_short / NULLIF(CAST(j.short_predicted_n AS DOUBLE), 0e0) AS precision_short, -- the same of SHORT
    j.noop_noop / NULLIF(CAST(j.noop_predicted_n AS DOUBLE), 0e0) AS precision_noop, -- the same of NOOP
    wilson_lo(j.long_long / NULLIF(CAST(j.long_predicted_n AS DOUBLE), 0e0), j.long_predicted_n * j.hit_n / j.n, $z95)
        AS precision_long_lo95, -- lower 95 % bound of precision_long (Wilson, days as in hit_n)
    wilson_hi(j.long_long / NULLIF(CAST(j.long_predicted_n AS DOUBLE), 0e0), j.long_predicted_n * j.hit_n / j.n, $z95)
        AS precision_long_hi95, -- upper 95 % bound of it
    wilson_lo(j.short_short / NULLIF(CAST(j.short_predicted_n AS DOUBLE), 0e0), j.short_predicted_n * j.hit_n / j.n, $z95)
        AS precision_short_lo95, -- lower 95 % bound of precision_short
    wilson_hi(j.short_short / NULLIF(CAST(j.short_predicted_n AS DOUBLE), 0e0), j.short_predicted_n * j.hit_n / j.n, $z95)
        AS precision_short_hi95, -- upper 95 % bound of it
    j.long_long / NULLIF(CAST(j.long_actual_n AS DOUBLE), 0e0) AS recall_long, -- share of LONG markets that were predicted; NULL = none came
    j.short_short / NULLIF(CAST(j.short_actual_n AS DOUBLE), 0e0) AS recall_short, -- the same of SHORT
    j.noop_noop / NULLIF(CAST(j.noop_actual_n AS DOUBLE), 0e0) AS recall_noop, -- the same of NOOP
    2 * j.long_long / NULLIF(CAST(j.long_predicted_n + j.long_actual_n AS DOUBLE), 0e0) AS f1_long, -- harmonic mean of both; NULL = neither made nor came
    2 * j.short_short / NULLIF(CAST(j.short_predicted_n + j.short_actual_n AS DOUBLE), 0e0) AS f1_short, -- the same of SHORT
    2 * j.noop_noop / NULLIF(CAST(j.noop_predicted_n + j.noop_actual_n AS DOUBLE), 0e0) AS f1_noop, -- the same of NOOP
    j.hit_ratio AS hit_ratio, -- share of predictions that were right
    j.hit_n AS hit_n, -- independent predictions as uncertain as these days: at most n
    wilson_lo(j.hit_ratio, j.hit_n, $z95) AS hit_lo95, -- lower 95 % bound of hit_ratio (Wilson at hit_n)
    wilson_hi(j.hit_ratio, j.hit_n, $z95) AS hit_hi95, -- upper 95 % bound of it
    COALESCE(j.trade_n, 0) AS trade_n, -- positions with a known return: n of all returns
    j.win_n / NULLIF(CAST(j.trade_n AS DOUBLE), 0e0) AS win_rate, -- share of positions that earned
    wilson_lo(j.win_n / NULLIF(CAST(j.trade_n AS DOUBLE), 0e0), j.trade_n * j.hit_n / j.n, $z95) AS win_lo95, -- lower 95 % bound of win_rate (Wilson, days as in hit_n)
    wilson_hi(j.win_n / NULLIF(CAST(j.trade_n AS DOUBLE), 0e0), j.trade_n * j.hit_n / j.n, $z95) AS win_hi95, -- upper 95 % bound of it
    CASE WHEN h.trade_n > 0 THEN h.return_pct END AS return_sum_pct, -- sum of the returns, percent; of path_n trades
    j.return_avg_pct AS return_avg_pct, -- mean return, percent
    j.return_std_pct AS return_std_pct, -- standard deviation of a return, percent
    j.return_stderr_pct AS return_stderr_pct, -- standard error of the mean with days as bets, percent
    j.return_avg_pct - student_t975(CAST(NULLIF(j.trade_day_n - 1, 0) AS DOUBLE)) * j.return_stderr_pct
        AS return_lo95, -- lower 95 % bound of the mean, percent
    j.return_avg_pct + student_t975(CAST(NULLIF(j.trade_day_n - 1, 0) AS DOUBLE)) * j.return_stderr_pct
        AS return_hi95, -- upper 95 % bound of it, percent
    CASE WHEN j.span_years > 1e0 / 365 THEN j.trade_n / j.span_years END AS trades_per_year, -- positions a year over the span; NULL under a day
    CASE WHEN j.span_years > 1e0 / 365 THEN
        j.return_avg_pct / NULLIF(j.return_std_pct, 0e0) * sqrt(j.trade_n / j.span_years)
    END AS sharpe, -- mean / deviation, annualised by trades_per_year
    CASE WHEN j.span_years > 1e0 / 365 THEN
        sqrt((1 + pow(j.return_avg_pct / NULLIF(j.return_std_pct, 0e0), 2) / 2) / j.trade_n)
            * sqrt(j.trade_n / j.span_years)
    END AS sharpe_stderr, -- standard error of it (Lo 2002, trades as if independent)
    j.return_avg_pct / NULLIF(j.return_std_pct, 0e0) * sqrt(
        $us017_year_days
            * CASE
                WHEN k.strategy = 'swing' THEN 1e0
                ELSE $us017_day_minutes / NULLIF(j.holding_min / j.trade_n, 0e0)
            END
    ) AS sharpe_us017, -- annualised as US-017 does, as if positions followed each other without a pause
    CASE WHEN h.trade_n > 0 THEN -h.fall_pct END AS max_drawdown_pct, -- deepest fall of the summed returns from their peak, percent points, at most 0; of path_n trades
    h.gain_pct / NULLIF(h.loss_pct, 0e0) AS profit_factor, -- gains / losses; NULL without a loss; of path_n trades
    j.holding_min / NULLIF(CAST(j.trade_n AS DOUBLE), 0e0) AS holding_min_avg, -- mean holding time, minutes
    COALESCE(j.confidence_n, 0) AS confidence_n, -- predictions with a confidence: n of brier and ece
    j.brier_sum / NULLIF(CAST(j.confidence_n AS DOUBLE), 0e0) AS brier, -- mean squared distance of confidence from being right
    c.gap_sum / NULLIF(CAST(j.confidence_n AS DOUBLE), 0e0) AS ece, -- expected calibration error over ten equal bins of confidence
    j.n / j.represented_n AS inclusion_rate, -- share of such trades that have a trace; below 1 the traces are a sample
    h.path_source AS path_source, -- what sum, drawdown and profit factor follow: traces (all have one), closes (sampled traces, but every close is logged) or sampled (only the sample)
    COALESCE(h.trade_n, 0) AS path_n, -- trades that these are of
    j.first_ms AS first_ms, -- first entry, epoch ms
    j.last_ms AS last_ms, -- last exit, epoch ms
FROM keys AS k
LEFT JOIN judged AS j USING (span, strategy, symbol)
LEFT JOIN pending AS p USING (strategy, symbol)
LEFT JOIN calibration AS c USING (span, strategy, symbol)
LEFT JOIN paths AS h USING (span, strategy, symbol)
ORDER BY k.strategy, k.symbol, k.span
