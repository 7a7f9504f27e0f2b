-- fail: one attempt stands twice in the core table: a partition was replaced in part, or two rebuilds ran at once
-- Narrows: hours
-- Hashes are grouped over all rows, the columns themselves only where a hash stands twice.
WITH hashes AS (
    SELECT hash(environment, account, symbol, attempt_id, event_ms) AS row_hash
    FROM core_execution__outcomes
    GROUP BY row_hash
    HAVING COUNT(*) > 1
)

SELECT
    environment,
    account,
    symbol,
    attempt_id,
    event_ms,
    COUNT(*) AS n,
FROM core_execution__outcomes
WHERE hash(environment, account, symbol, attempt_id, event_ms) IN (SELECT row_hash FROM hashes)
GROUP BY environment, account, symbol, attempt_id, event_ms
HAVING COUNT(*) > 1
ORDER BY event_ms
LIMIT 100
