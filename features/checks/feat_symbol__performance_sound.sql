-- fail: a symbol repeats, a statistic stands without samples, or a drawdown is above zero
SELECT
    *,
FROM feat_symbol__performance
QUALIFY COUNT(*) OVER (PARTITION BY symbol) > 1
    OR (round_trip_n < 2 AND sharpe_7d IS NOT NULL)
    OR (round_trip_n = 0 AND win_rate IS NOT NULL)
    OR win_rate NOT BETWEEN 0 AND 1
    OR sharpe_lo90 > sharpe_7d
    OR dd_today_pct > 0
    OR max_dd_today_pct > dd_today_pct
    OR equity_usd <= 0
ORDER BY symbol
