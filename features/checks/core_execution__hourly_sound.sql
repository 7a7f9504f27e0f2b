-- fail: an hour stands twice, or its parts exceed its attempts: a partition was replaced in part, or two rebuilds ran at once
SELECT
    environment,
    account,
    venue,
    symbol,
    hour_ms,
    n,
FROM core_execution__hourly
QUALIFY COUNT(*) OVER (PARTITION BY environment, account, venue, symbol, hour_ms) > 1
    OR hour_ms % 3600000 <> 0
    OR filled_n + partial_n + unfilled_n + rejected_n + unknown_n > n
    OR (close_n = 0 AND pnl_usd <> 0)
    OR (slip_n = 0 AND slip_bps IS NOT NULL)
ORDER BY hour_ms, symbol, venue, account, environment
LIMIT 100
