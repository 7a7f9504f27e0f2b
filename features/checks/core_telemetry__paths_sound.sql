-- fail: a day's path ends above its peak or below its trough, or falls deeper than it reaches
SELECT
    environment,
    strategy,
    symbol,
    day_ms,
FROM core_telemetry__paths
WHERE return_pct > peak_pct
   OR return_pct < trough_pct
   OR peak_pct < 0
   OR trough_pct > 0
   OR fall_pct < -trough_pct
   OR fall_pct > (peak_pct - trough_pct) * (1 + 1e-12)
ORDER BY environment, strategy, symbol, day_ms
