-- fail: an alert repeats, stands without samples where its rule needs some, or began after as-of
SELECT
    *,
FROM feat_ops__alerts
QUALIFY COUNT(*) OVER (PARTITION BY rule, subject) > 1
    OR since_ms > $as_of_ms
    OR status NOT IN ('opened', 'open', 'cleared')
    OR severity NOT IN ('critical', 'warning')
    OR (status = 'opened' AND since_ms <> $as_of_ms)
    OR (n < $alert_min_n AND (rule LIKE 'precision%' OR rule LIKE '%fell'))
    OR text IS NULL
ORDER BY rule, subject
