-- What a person should look at now, since when, why and what to do; and what is over since the last snapshot.
-- Grain: rule, subject
-- Units: value and threshold in the rule's own unit, as text says; _ms epoch milliseconds UTC
-- Source: feat_telemetry__accuracy, feat_router__policies, feat_symbol__performance, feat_account__coverage, feat_ops__source_freshness, previous_alerts
-- Params: dashboard_alert_precision_threshold, alert_*, policy_broken_*, policy_degraded_*, v510_dd_deep_pct, min_pnl_coverage, as_of_ms
WITH recent AS (
    SELECT *
    FROM feat_telemetry__accuracy AS a
    WHERE a.symbol = '*'
      AND a.strategy <> '*'
      AND a.window = '30d'
),

last AS (
    SELECT
        l.*,
        w.precision_long AS all_precision_long,
        w.precision_short AS all_precision_short,
        w.win_rate AS all_win_rate,
        w.sharpe AS all_sharpe,
    FROM feat_telemetry__accuracy AS l
    INNER JOIN feat_telemetry__accuracy AS w
        ON w.strategy = l.strategy
       AND w.symbol = l.symbol
       AND w.window = 'all'
    WHERE l.symbol = '*'
      AND l.strategy <> '*'
      AND l.window = 'last100'
),

accuracy_values AS (
    SELECT
        'precision_below_threshold' AS rule,
        strategy || ' LONG' AS subject,
        long_predicted_n AS n,
        precision_long AS value,
        $dashboard_alert_precision_threshold AS threshold,
        precision_long_hi95 < $dashboard_alert_precision_threshold AS is_sure,
        'precision over 30 days' AS what,
    FROM recent
    UNION ALL
    SELECT
        'precision_below_threshold',
        strategy || ' SHORT',
        short_predicted_n,
        precision_short,
        $dashboard_alert_precision_threshold,
        precision_short_hi95 < $dashboard_alert_precision_threshold,
        'precision over 30 days',
    FROM recent
    UNION ALL
    SELECT
        'precision_fell',
        strategy || ' LONG',
        long_predicted_n,
        precision_long,
        all_precision_long - $alert_share_drop,
        precision_long_hi95 < all_precision_long,
        'precision of the last 100',
    FROM last
    UNION ALL
    SELECT
        'precision_fell',
        strategy || ' SHORT',
        short_predicted_n,
        precision_short,
        all_precision_short - $alert_share_drop,
        precision_short_hi95 < all_precision_short,
        'precision of the last 100',
    FROM last
    UNION ALL
    SELECT
        'win_rate_fell',
        strategy,
        trade_n,
        win_rate,
        all_win_rate - $alert_share_drop,
        win_hi95 < all_win_rate,
        'win rate of the last 100',
    FROM last
    UNION ALL
    SELECT
        'sharpe_fell',
        strategy,
        trade_n,
        sharpe,
        all_sharpe - $alert_sharpe_drop,
        sharpe + 2 * sharpe_stderr < all_sharpe,
        'Sharpe ratio of the last 100',
    FROM last
),

accuracy_alerts AS (
    SELECT
        rule,
        subject,
        n,
        value,
        threshold,
        CASE WHEN is_sure THEN 'critical' ELSE 'warning' END AS severity,
        subject || ': ' || what || ' is ' || CAST(round(value, 3) AS VARCHAR) || ' (n = '
            || CAST(n AS VARCHAR) || '), below ' || CAST(round(threshold, 3) AS VARCHAR)
            || CASE WHEN is_sure THEN ', more than chance explains. ' ELSE ', which chance may explain. ' END
            || CASE
                WHEN is_sure THEN 'Trade it smaller or stop it, and look at feat_telemetry__calibration.'
                ELSE 'Watch it; do not change anything for this alone.'
            END AS text,
    FROM accuracy_values
    WHERE n >= $alert_min_n
      AND value < threshold
),

router_alerts AS (
    SELECT
        'router_' || quality AS rule,
        symbol AS subject,
        n,
        CASE WHEN acting_fallback_ratio >= most_fallback THEN acting_fallback_ratio ELSE acting_slip_bps END AS value,
        CASE WHEN acting_fallback_ratio >= most_fallback THEN most_fallback ELSE most_slip_bps END AS threshold,
        CASE WHEN quality = 'broken' THEN 'critical' ELSE 'warning' END AS severity,
        symbol || ': the router is ' || quality || ' (' || reason || '; n = ' || CAST(n AS VARCHAR)
            || '). Look at its fallbacks and slippage: execintel explain ' || symbol || '.' AS text,
    FROM (
        SELECT
            *,
            CASE quality WHEN 'broken' THEN $policy_broken_fallback ELSE $policy_degraded_fallback END AS most_fallback,
            CASE quality WHEN 'broken' THEN $policy_broken_slip_bps ELSE $policy_degraded_slip_bps END AS most_slip_bps,
        FROM feat_router__policies
    )
    WHERE quality IN ('degraded', 'broken')
),

drawdown_alerts AS (
    SELECT
        'drawdown' AS rule,
        symbol AS subject,
        dd_n AS n,
        dd_today_pct AS value,
        $alert_drawdown_pct AS threshold,
        CASE WHEN dd_today_pct <= $v510_dd_deep_pct THEN 'critical' ELSE 'warning' END AS severity,
        symbol || ': realised PnL fell ' || CAST(round(-dd_today_pct, 2) AS VARCHAR)
            || ' % of equity from its peak today (n = ' || CAST(dd_n AS VARCHAR)
            || ' closes today' || CASE WHEN dd_unknown_n > 0
                THEN ', ' || CAST(dd_unknown_n AS VARCHAR) || ' of them of unknown PnL' ELSE '' END
            || '). Look at its last closes, reduce or halt it.' AS text,
    FROM feat_symbol__performance
    WHERE dd_today_pct <= $alert_drawdown_pct
),

source_alerts AS (
    SELECT
        'source_stale' AS rule,
        source AS subject,
        n,
        lag_s AS value,
        CAST(max_silence_s AS DOUBLE) AS threshold,
        CASE WHEN required THEN 'critical' ELSE 'warning' END AS severity,
        source || ': ' || CASE
            WHEN status = 'missing' THEN 'no line in the window'
            ELSE 'silent for ' || CAST(round(lag_s / 3600, 1) AS VARCHAR) || ' h'
        END || ', allowed are ' || CAST(round(max_silence_s / 3600e0, 1) AS VARCHAR)
            || ' h. Look at the program that writes it, and at its disk.' AS text,
    FROM feat_ops__source_freshness
    WHERE symbol = '*'
      AND (status = 'silent' OR (status = 'missing' AND required))
    UNION ALL
    SELECT
        'lines_rejected',
        source,
        rows_24h + rejected_24h,
        rejected_24h / CAST(rows_24h + rejected_24h AS DOUBLE),
        $alert_rejected_share,
        'warning',
        source || ': ' || CAST(rejected_24h AS VARCHAR) || ' of '
            || CAST(rows_24h + rejected_24h AS VARCHAR)
            || ' lines of 24 h are in quarantine. execintel quarantine says why and how to mend.',
    FROM feat_ops__source_freshness
    WHERE symbol = '*'
      AND rejected_24h > $alert_rejected_share * (rows_24h + rejected_24h)
),

coverage_alerts AS (
    SELECT
        'coverage_incomplete' AS rule,
        account AS subject,
        n,
        coverage AS value,
        $min_pnl_coverage AS threshold,
        'warning' AS severity,
        'Account ' || account || CASE
            WHEN coverage IS NOT NULL
                -- Never rounded up to what is needed.
                THEN ': the logs explain ' || CAST(floor(1e3 * coverage + 1e-9) / 10 AS VARCHAR) || ' % of its PnL and position changes (n = ' || CAST(n AS VARCHAR) || ' NAV values, '
                    || CAST(COALESCE(position_change_n, 0) AS VARCHAR) || ' position changes), needed are '
                    || CAST(round(100 * $min_pnl_coverage, 1) AS VARCHAR) || ' %'
            WHEN status = 'incomplete' THEN ': the logs explain too little of its PnL or position changes'
            ELSE ': how much of its PnL and position changes the logs explain cannot be known'
        END || '. Sizes stay at most 1. execintel reconcile ' || CASE status
            WHEN 'unknowable' THEN 'says why.'
            ELSE 'shows how much is missing, and what as far as the logs tell.'
        END AS text,
    FROM feat_account__coverage
    WHERE day = '*'
      AND status <> 'complete'
),

seen AS (
    SELECT * FROM accuracy_alerts
    UNION ALL
    SELECT * FROM router_alerts
    UNION ALL
    SELECT * FROM drawdown_alerts
    UNION ALL
    SELECT * FROM source_alerts
    UNION ALL
    SELECT * FROM coverage_alerts
),

were AS (
    SELECT *
    FROM previous_alerts
    WHERE status IN ('opened', 'open')
),

alerts AS (
    SELECT
        s.*,
        CASE WHEN w.rule IS NULL THEN 'opened' ELSE 'open' END AS status,
        COALESCE(w.since_ms, $as_of_ms) AS since_ms,
    FROM seen AS s
    LEFT JOIN were AS w USING (rule, subject)
    UNION ALL BY NAME
    SELECT
        rule,
        subject,
        n,
        value,
        threshold,
        severity,
        text,
        'cleared' AS status,
        since_ms,
    FROM were AS w
    WHERE NOT EXISTS (SELECT 1 FROM seen AS s WHERE s.rule = w.rule AND s.subject = w.subject)
)

SELECT
    rule AS rule, -- which rule speaks, such as precision_below_threshold
    subject AS subject, -- of what: a strategy and direction, a symbol, a source
    status AS status, -- opened: new in this snapshot; open: since an earlier one; cleared: was open in the last
    severity AS severity, -- critical or warning
    CAST(n AS BIGINT) AS n, -- samples behind value
    value AS value, -- what was found; of a cleared alert, what was found last
    threshold AS threshold, -- what it is held against
    since_ms AS since_ms, -- as-of of the snapshot that opened it, epoch ms
    text AS text, -- what was found and what to do
FROM alerts
ORDER BY rule, subject
