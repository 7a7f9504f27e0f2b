-- fail: one attempt stands twice in the core table: a partition was replaced in part, or two rebuilds ran at once
SELECT
    environment,
    account,
    symbol,
    attempt_id,
    event_ms,
    COUNT(*) AS n,
FROM core_execution__outcomes
GROUP BY environment, account, symbol, attempt_id, event_ms
HAVING COUNT(*) > 1
ORDER BY event_ms
LIMIT 100
