-- Which values of NAV the attempts in the window logged, by day, and when first and last.
-- Grain: account, day_n, nav_usd; rows of several files, which add up
-- Units: _usd US dollars, _ms epoch milliseconds, _n counts
-- Source: core_window__attempts
-- Params: none
-- Adds up: over files of raw_orders__attempts
SELECT
    account AS account, -- account that asked
    event_ms // 86400000 AS day_n, -- UTC day, since 1970
    nav_usd AS nav_usd, -- NAV logged, USD; NULL = none
    COUNT(*) AS n, -- attempts that logged it
    MIN(source_id) AS first_source, -- the first of the sources of their lines, in order of their ids
    MAX(source_id) AS last_source, -- the last of them
    MIN(event_ms) AS first_ms, -- the first of them
    MAX(event_ms) AS last_ms, -- the last of them
FROM core_window__attempts
GROUP BY account, event_ms // 86400000, nav_usd
