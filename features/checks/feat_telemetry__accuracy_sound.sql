-- fail: a row repeats, counts do not add up, a share leaves 0 to 1, or an estimate stands without samples
SELECT
    *,
FROM feat_telemetry__accuracy AS a
QUALIFY COUNT(*) OVER (PARTITION BY a.strategy, a.symbol, a.window) > 1
    OR n <> COALESCE(long_predicted_n + short_predicted_n + noop_predicted_n, 0)
    OR n <> COALESCE(long_actual_n + short_actual_n + noop_actual_n, 0)
    OR trade_n > n
    OR (a.window = 'last100' AND n > 100)
    OR (n = 0 AND COALESCE(hit_ratio, win_rate, return_avg_pct, brier, max_drawdown_pct) IS NOT NULL)
    OR (trade_n < 2 AND COALESCE(return_std_pct, sharpe) IS NOT NULL)
    OR hit_ratio NOT BETWEEN hit_lo95 - 1e-12 AND hit_hi95 + 1e-12
    OR hit_lo95 NOT BETWEEN 0 AND 1
    OR hit_hi95 NOT BETWEEN 0 AND 1
    OR win_rate NOT BETWEEN 0 AND 1
    OR brier NOT BETWEEN 0 AND 1
    OR ece NOT BETWEEN -1e-12 AND 1
    OR max_drawdown_pct > 0
    OR profit_factor < 0
    OR (n > 0) <> (path_source IS NOT NULL)
    OR (path_source <> 'closes' AND path_n <> trade_n)
    OR (path_source = 'closes' AND a.window <> '30d' AND path_n < trade_n)
    OR inclusion_rate > 1 + 1e-9
ORDER BY a.strategy, a.symbol, a.window
