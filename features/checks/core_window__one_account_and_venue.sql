-- fail: a symbol has two venues or accounts in the window; set symbol_key = "venue_symbol", or give each account its own home
SELECT
    symbol,
    COUNT(DISTINCT account) AS account_n,
    COUNT(DISTINCT NULLIF(venue, 'unknown')) AS venue_n,
    MIN(account) AS one_account,
    MAX(account) AS other_account,
    MIN(NULLIF(venue, 'unknown')) AS one_venue,
    MAX(NULLIF(venue, 'unknown')) AS other_venue,
FROM core_window__hourly
GROUP BY symbol
HAVING COUNT(DISTINCT account) > 1
    OR COUNT(DISTINCT NULLIF(venue, 'unknown')) > 1
ORDER BY symbol
