-- NAV values of the window that stand in more than one line of one moment, as where two logs overlap: one is enough.
-- Grain: account, event_ms, nav_usd
-- Units: _usd US dollars, _ms epoch milliseconds, _n counts
-- Source: core_window__navs, core_window__attempts
-- Params: none; a table of the build, never stored
-- Lines are only read of values that two sources logged on one day: of one log read once none is.
WITH told_twice AS (
    SELECT account, day_n, nav_usd
    FROM core_window__navs
    WHERE nav_usd IS NOT NULL
    GROUP BY account, day_n, nav_usd
    HAVING MIN(first_source) < MAX(last_source)
)

SELECT
    a.account AS account, -- account that asked
    a.event_ms AS event_ms, -- when, epoch ms
    a.nav_usd AS nav_usd, -- NAV logged, USD
    COUNT(*) - 1 AS spare_n, -- lines beyond the first
FROM core_window__attempts AS a
INNER JOIN told_twice AS t
    ON t.account = a.account
   AND t.nav_usd = a.nav_usd
   AND t.day_n = a.event_ms // 86400000
GROUP BY a.account, a.event_ms, a.nav_usd
HAVING COUNT(*) > 1
