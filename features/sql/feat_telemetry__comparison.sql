-- Pairs of strategies side by side: what differs, and whether the difference is more than chance.
-- Grain: window, strategy, other_strategy
-- Units: _delta strategy less other_strategy; _pct percent; _day_ of daily sums of returns, _trade_ of single returns
-- Source: feat_telemetry__accuracy, core_window__trace_days
-- Params: none; Welch's t test, bounds of 95 %; strategy stands before other_strategy in the alphabet
-- Trades of one day share its market: the test that decides takes each day's sum as one observation.
WITH days AS (
    SELECT
        span,
        strategy,
        day_ms,
        CAST(SUM(CAST(return_pct AS DECIMAL(38, 18))) AS DOUBLE) AS return_pct,
    FROM core_window__trace_days
    WHERE span <> 'last100'
       OR (symbol = '*' AND strategy <> '*')
    GROUP BY span, strategy, day_ms
    HAVING SUM(trade_n) > 0
),

day_means AS (
    SELECT
        span,
        strategy,
        COUNT(*) AS day_n,
        CAST(SUM(CAST(return_pct AS DECIMAL(38, 18))) AS DOUBLE) / COUNT(*) AS day_mean,
    FROM days
    GROUP BY span, strategy
),

-- Deviations are summed around the mean: a sum of squares less a square would lose their digits.
day_stats AS (
    SELECT
        m.span,
        m.strategy,
        m.day_n,
        m.day_mean,
        CAST(SUM(CAST(pow(d.return_pct - m.day_mean, 2) AS DECIMAL(38, 22))) AS DOUBLE)
            / NULLIF(m.day_n - 1, 0) AS day_var,
    FROM day_means AS m
    INNER JOIN days AS d USING (span, strategy)
    GROUP BY m.span, m.strategy, m.day_n, m.day_mean
),

strategies AS (
    SELECT
        a.*,
        a.window AS span,
        s.day_n AS bet_day_n,
        s.day_mean,
        s.day_var / s.day_n AS day_se2,
        pow(a.return_std_pct, 2) / NULLIF(a.trade_n, 0) AS trade_se2,
        0.4 * a.sharpe + 0.3 * a.precision_long + 0.3 * a.win_rate AS composite,
    FROM feat_telemetry__accuracy AS a
    LEFT JOIN day_stats AS s
        ON s.span = a.window
       AND s.strategy = a.strategy
    WHERE a.symbol = '*'
      AND a.strategy <> '*'
),

pairs AS (
    SELECT
        a.span AS span,
        a.strategy AS strategy,
        b.strategy AS other_strategy,
        a.n AS n,
        b.n AS other_n,
        a.trade_n AS trade_n,
        b.trade_n AS other_trade_n,
        COALESCE(a.bet_day_n, 0) AS bet_day_n,
        COALESCE(b.bet_day_n, 0) AS other_bet_day_n,
        a.precision_long - b.precision_long AS precision_delta,
        a.recall_long - b.recall_long AS recall_delta,
        a.f1_long - b.f1_long AS f1_delta,
        a.sharpe - b.sharpe AS sharpe_delta,
        a.win_rate - b.win_rate AS win_rate_delta,
        a.return_avg_pct - b.return_avg_pct AS return_delta_pct,
        a.composite AS composite,
        b.composite AS other_composite,
        a.day_mean - b.day_mean AS day_delta_pct,
        sqrt(a.day_se2 + b.day_se2) AS day_se,
        pow(a.day_se2 + b.day_se2, 2) / NULLIF(
            pow(a.day_se2, 2) / NULLIF(a.bet_day_n - 1, 0)
            + pow(b.day_se2, 2) / NULLIF(b.bet_day_n - 1, 0),
            0e0
        ) AS day_df,
        sqrt(a.trade_se2 + b.trade_se2) AS trade_se,
        pow(a.trade_se2 + b.trade_se2, 2) / NULLIF(
            pow(a.trade_se2, 2) / NULLIF(a.trade_n - 1, 0)
            + pow(b.trade_se2, 2) / NULLIF(b.trade_n - 1, 0),
            0e0
        ) AS trade_df,
    FROM strategies AS a
    INNER JOIN strategies AS b
        ON b.span = a.span
       AND b.strategy > a.strategy
),

tested AS (
    SELECT
        *,
        CASE
            WHEN composite > other_composite THEN strategy
            WHEN composite < other_composite THEN other_strategy
        END AS composite_leader,
        day_delta_pct - student_t975(day_df) * day_se AS day_lo95,
        day_delta_pct + student_t975(day_df) * day_se AS day_hi95,
    FROM pairs
)

SELECT
    span AS window, -- 30d, all, or last100: the last 100 to close; write it "window" in SQL
    strategy AS strategy, -- first strategy of the pair
    other_strategy AS other_strategy, -- the strategy it is compared with
    n AS n, -- closed predictions of the first
    other_n AS other_n, -- closed predictions of the other
    trade_n AS trade_n, -- positions with a known return of the first
    other_trade_n AS other_trade_n, -- the same of the other
    bet_day_n AS bet_day_n, -- days on which the first closed some: n of the test that decides
    other_bet_day_n AS other_bet_day_n, -- the same of the other
    precision_delta AS precision_delta, -- difference of precision_long
    recall_delta AS recall_delta, -- difference of recall_long
    f1_delta AS f1_delta, -- difference of f1_long
    sharpe_delta AS sharpe_delta, -- difference of sharpe
    win_rate_delta AS win_rate_delta, -- difference of win_rate
    return_delta_pct AS return_delta_pct, -- difference of the mean return of a trade, percent
    composite AS composite, -- 0.4 sharpe + 0.3 precision_long + 0.3 win_rate of the first
    other_composite AS other_composite, -- the same of the other
    composite_leader AS composite_leader, -- strategy with the higher composite; NULL = equal or unknown
    day_delta_pct AS day_delta_pct, -- difference of the mean daily sum of returns, percent
    day_delta_pct / NULLIF(day_se, 0e0) AS day_t, -- Welch's t of it
    day_df AS day_df, -- its degrees of freedom
    student_t_p(day_delta_pct / NULLIF(day_se, 0e0), day_df) AS day_p, -- its two-sided p-value
    day_lo95 AS day_lo95, -- lower 95 % bound of day_delta_pct, percent
    day_hi95 AS day_hi95, -- upper 95 % bound of it, percent
    return_delta_pct / NULLIF(trade_se, 0e0) AS trade_t, -- Welch's t of return_delta_pct, trades as if independent (US-017)
    trade_df AS trade_df, -- its degrees of freedom
    student_t_p(return_delta_pct / NULLIF(trade_se, 0e0), trade_df) AS trade_p, -- its two-sided p-value
    return_delta_pct - student_t975(trade_df) * trade_se AS trade_lo95, -- lower 95 % bound of return_delta_pct, percent
    return_delta_pct + student_t975(trade_df) * trade_se AS trade_hi95, -- upper 95 % bound of it, percent
    CASE
        WHEN composite_leader = strategy AND day_lo95 > 0 THEN strategy
        WHEN composite_leader = other_strategy AND day_hi95 < 0 THEN other_strategy
        ELSE 'inconclusive'
    END AS better_strategy, -- the leader where the daily test excludes chance, else inconclusive
FROM tested
ORDER BY span, strategy, other_strategy
