-- warn: an attempt saw an exposure below 0: gross exposure is a size; the executor writes a net one, and reconciliation misreads it
SELECT
    account,
    symbol,
    event_ms,
    gross_usd,
FROM core_window__attempts
WHERE gross_usd < 0
ORDER BY event_ms, symbol
LIMIT 100
