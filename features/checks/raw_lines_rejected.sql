-- warn: more than one line in a hundred of the last day was rejected; execintel quarantine says why
SELECT
    source,
    rows_24h,
    rejected_24h,
FROM feat_ops__source_freshness
WHERE symbol = '*'
  AND rejected_24h > 0.01 * (rows_24h + rejected_24h)
ORDER BY source
