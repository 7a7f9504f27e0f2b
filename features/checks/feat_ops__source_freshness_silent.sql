-- warn: a source is silent for longer than its limit; look at the executor that writes it
SELECT
    source,
    symbol,
    status,
    lag_s,
    max_silence_s,
FROM feat_ops__source_freshness
WHERE symbol = '*'
  AND NOT required
  AND status = 'silent'
ORDER BY source
