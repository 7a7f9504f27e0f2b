-- The paths of returns of each accuracy window as of $as_of_ms: whole days as stored, days it cuts followed again.
-- Grain: span, strategy, symbol, day_ms
-- Units: as core_telemetry__paths; span 30d or all
-- Source: core_telemetry__paths, cut_trace_paths
-- Params: as_of_ms, environment; a table of the build, never stored
SELECT
    'all' AS span,
    *,
FROM core_telemetry__paths
WHERE environment = $environment
  AND day_ms < ($as_of_ms + 1) // 86400000 * 86400000
UNION ALL BY NAME
SELECT
    '30d' AS span,
    *,
FROM core_telemetry__paths
WHERE environment = $environment
  AND day_ms > $as_of_ms - 2592000000
  AND day_ms < ($as_of_ms + 1) // 86400000 * 86400000
UNION ALL BY NAME
SELECT
    *,
FROM cut_trace_paths
WHERE environment = $environment
