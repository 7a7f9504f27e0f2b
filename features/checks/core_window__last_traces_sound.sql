-- fail: more than 100 traces stand for the last 100, or one closes after as-of
SELECT
    strategy,
    symbol,
    COUNT(*) AS n,
FROM core_window__last_traces
GROUP BY strategy, symbol
HAVING COUNT(*) > 100
    OR MAX(close_ms) > $as_of_ms
ORDER BY strategy, symbol
