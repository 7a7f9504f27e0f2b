-- fail: a row of daily sums repeats, its nine counts do not add up, or it counts more trades than predictions
SELECT
    *,
FROM core_telemetry__daily
QUALIFY COUNT(*) OVER (PARTITION BY environment, strategy, symbol, day_ms, confidence_decile) > 1
    OR n <> long_long + long_short + long_noop + short_long + short_short + short_noop
        + noop_long + noop_short + noop_noop
    OR trade_n > n
    OR win_n > trade_n
    OR confidence_n > n
    OR represented_n < n * (1 - 1e-9)
    OR confidence_decile NOT BETWEEN -1 AND 9
ORDER BY environment, strategy, symbol, day_ms, confidence_decile
