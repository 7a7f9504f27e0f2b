-- fail: a day repeats, or the days of a strategy do not sum to its 30 days
WITH summed AS (
    SELECT
        strategy,
        SUM(n) AS n,
        SUM(return_pct) AS return_pct,
        COUNT(*) - COUNT(DISTINCT day) AS repeated_n,
    FROM feat_telemetry__rolling
    GROUP BY strategy
)

SELECT
    a.strategy,
    a.path_n,
    s.n,
    a.return_sum_pct,
    s.return_pct,
FROM feat_telemetry__accuracy AS a
LEFT JOIN summed AS s USING (strategy)
WHERE a.symbol = '*'
  AND a.window = '30d'
  AND a.path_n > 0
  AND (
      s.n IS DISTINCT FROM a.path_n
      OR s.repeated_n > 0
      OR abs(s.return_pct - a.return_sum_pct) > 1e-9 * (1 + a.path_n)
  )
ORDER BY a.strategy
