-- fail: counts of NAV values contradict themselves, or are of fewer attempts than the hours hold: raw or core files were damaged, or the sums kept of them in the data root's cache/facts were: delete that folder and refresh again
WITH hours AS (
    SELECT account, SUM(submitted_n) AS submitted_n
    FROM core_window__hourly
    GROUP BY account
),

logged AS (
    SELECT account, SUM(n) AS n
    FROM core_window__navs
    GROUP BY account
)

SELECT
    account,
    day_n,
    nav_usd,
    n,
    first_ms,
    last_ms,
FROM core_window__navs
WHERE n < 1
   OR first_ms > last_ms
   OR first_ms // 86400000 <> day_n
   OR last_ms // 86400000 <> day_n
UNION ALL
SELECT h.account, NULL, NULL, l.n, NULL, NULL
FROM hours AS h
LEFT JOIN logged AS l USING (account)
WHERE h.submitted_n > COALESCE(l.n, 0)
