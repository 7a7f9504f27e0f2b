-- The days of each accuracy window as of $as_of_ms: whole days as stored, days it cuts summed again.
-- Grain: span, strategy, symbol, day_ms, confidence_decile
-- Units: as core_telemetry__daily; span 30d, all or last100, whose rows also stand under *
-- Source: core_telemetry__daily, cut_trace_days
-- Params: as_of_ms, environment; a table of the build, never stored
SELECT
    'all' AS span,
    *,
FROM core_telemetry__daily
WHERE environment = $environment
  AND day_ms < ($as_of_ms + 1) // 86400000 * 86400000
UNION ALL BY NAME
SELECT
    '30d' AS span,
    *,
FROM core_telemetry__daily
WHERE environment = $environment
  AND day_ms > $as_of_ms - 2592000000
  AND day_ms < ($as_of_ms + 1) // 86400000 * 86400000
UNION ALL BY NAME
SELECT
    *,
FROM cut_trace_days
WHERE environment = $environment
