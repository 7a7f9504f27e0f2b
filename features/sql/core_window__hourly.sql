-- The hourly sums of the window as of $as_of_ms: whole hours as stored, edge hours summed from outcomes.
-- Grain: account, venue, symbol, hour_ms
-- Units: as core_execution__hourly
-- Source: core_execution__hourly, edge_hours
-- Params: as_of_ms, window_ms, environment, symbol_key; a view of the build, never stored
SELECT
    * REPLACE (
        CASE WHEN $symbol_key = 'venue_symbol' THEN venue || ':' || symbol ELSE symbol END AS symbol
    ),
FROM (
    SELECT * FROM core_execution__hourly
    WHERE hour_ms > $as_of_ms - $window_ms
      AND hour_ms + 3600000 <= $as_of_ms + 1
      AND hour_ms NOT IN (SELECT hour_ms FROM edge_hours)
    UNION ALL BY NAME
    SELECT * FROM edge_hours
)
WHERE environment = $environment
