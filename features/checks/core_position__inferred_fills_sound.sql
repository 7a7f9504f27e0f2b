-- fail: an inferred fill stands twice, or not as many are named as the reconciliation counts
SELECT
    account,
    symbol,
    attempt_id,
    event_ms,
    'stands twice' AS fault,
FROM core_position__inferred_fills
GROUP BY account, environment, symbol, attempt_id, event_ms
HAVING COUNT(*) > 1
UNION ALL
SELECT
    account,
    symbol,
    MIN(attempt_id),
    to_ms,
    'named ' || COUNT(attempt_id) || ' of ' || SUM(counted_n),
FROM (
    SELECT account, symbol, attempt_id, to_ms, 0 AS counted_n
    FROM core_position__inferred_fills
    UNION ALL
    SELECT account, symbol, NULL, to_ms, inferred_fill_n
    FROM core_position__reconciliation
    WHERE inferred_fill_n > 0
)
GROUP BY account, symbol, to_ms
HAVING COUNT(attempt_id) <> SUM(counted_n)
ORDER BY event_ms, symbol, attempt_id
LIMIT 100
