-- The outcomes in the window as of $as_of_ms, of one environment; PnL counts when its close is known.
-- Grain: account, symbol, attempt_id, event_ms
-- Units: as core_execution__outcomes
-- Source: core_execution__outcomes
-- Params: as_of_ms, window_ms, is_whole, environment, symbol_key; a view of the build, never stored
-- Of files that lie in the window whole, $is_whole, times are not read: they are most of what such a column takes.
SELECT
    * REPLACE (
        CASE WHEN $symbol_key = 'venue_symbol' THEN venue || ':' || symbol ELSE symbol END AS symbol,
        CASE WHEN close_ms <= $as_of_ms THEN realized_pnl_usd END AS realized_pnl_usd,
        CASE WHEN close_ms <= $as_of_ms THEN closed_notional_usd END AS closed_notional_usd,
        CASE WHEN close_ms <= $as_of_ms THEN close_n ELSE 0 END AS close_n
    ),
FROM core_execution__outcomes
WHERE environment = $environment
  AND ($is_whole OR (event_ms > $as_of_ms - $window_ms AND event_ms <= $as_of_ms))
