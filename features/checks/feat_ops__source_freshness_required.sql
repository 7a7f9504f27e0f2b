-- fail: a source that the configuration calls required is silent for longer than it allows
SELECT
    source,
    symbol,
    status,
    lag_s,
    max_silence_s,
FROM feat_ops__source_freshness
WHERE symbol = '*'
  AND required
  AND status <> 'ok'
ORDER BY source
