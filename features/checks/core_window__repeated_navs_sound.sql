-- fail: more NAV values are taken for repeated than stand: raw files were damaged, or the sums kept of them in the data root's cache/facts were: delete that folder and refresh again
WITH logged AS (
    SELECT account, day_n, nav_usd, SUM(n) AS n
    FROM core_window__navs
    GROUP BY account, day_n, nav_usd
),

spare AS (
    SELECT account, event_ms // 86400000 AS day_n, nav_usd, SUM(spare_n) AS spare_n, MIN(spare_n) AS least_n
    FROM core_window__repeated_navs
    GROUP BY account, event_ms // 86400000, nav_usd
)

SELECT
    s.account,
    s.day_n,
    s.nav_usd,
    l.n,
    s.spare_n,
FROM spare AS s
LEFT JOIN logged AS l USING (account, day_n, nav_usd)
WHERE s.spare_n >= COALESCE(l.n, 0)
   OR s.least_n < 1
ORDER BY account, day_n, nav_usd
