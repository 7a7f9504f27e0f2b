-- fail: a funding payment lies outside the window or has no amount: raw files were damaged
SELECT
    account,
    symbol,
    event_ms,
    funding_usd,
FROM core_window__funding
WHERE event_ms <= $as_of_ms - $window_ms
   OR event_ms > $as_of_ms
   OR hour_utc NOT BETWEEN 0 AND 23
   OR funding_usd IS NULL
ORDER BY account, symbol, event_ms
