-- fail: a day repeats, or the days of a strategy and symbol do not sum to its 30 days
WITH summed AS (
    SELECT
        strategy,
        symbol,
        SUM(n) AS n,
        SUM(return_pct) AS return_pct,
        COUNT(*) - COUNT(DISTINCT day) AS repeated_n,
    FROM feat_telemetry__rolling
    GROUP BY strategy, symbol
)

SELECT
    a.strategy,
    a.symbol,
    a.path_n,
    s.n,
    a.return_sum_pct,
    s.return_pct,
FROM feat_telemetry__accuracy AS a
LEFT JOIN summed AS s USING (strategy, symbol)
WHERE a.window = '30d'
  AND a.path_n > 0
  AND (
      s.n IS DISTINCT FROM a.path_n
      OR s.repeated_n > 0
      OR abs(s.return_pct - a.return_sum_pct) > 1e-9 * (1 + a.path_n)
  )
ORDER BY a.strategy, a.symbol
