-- The funding that the order logs of the window tell, each payment once.
-- Grain: account, symbol, event_ms; payments of one millisecond repeat it
-- Units: _usd US dollars, _ms epoch milliseconds
-- Source: raw_orders__events
-- Params: as_of_ms, window_ms, environment, symbol_key; a table of the build, never stored
-- A line that stands twice counts once; of a close that was told twice the last line counts, as for its PnL.
SELECT
    account AS account, -- account that paid
    CASE WHEN $symbol_key = 'venue_symbol' THEN venue || ':' || symbol ELSE symbol END AS symbol, -- instrument
    event_type AS event_type, -- kind of the line that tells it
    event_ms AS event_ms, -- when it was paid, epoch ms
    event_ms // 3600000 % 24 AS hour_utc, -- UTC hour of day of that, 0 to 23
    funding_usd AS funding_usd, -- funding, USD, positive = received
FROM raw_orders__events
WHERE reject_reason IS NULL
  AND environment = $environment
  AND funding_usd IS NOT NULL
  AND event_ms > $as_of_ms - $window_ms
  AND event_ms <= $as_of_ms
QUALIFY ROW_NUMBER() OVER (
    PARTITION BY
        account, symbol, event_type, event_ms, order_id,
        CASE WHEN event_type <> 'order_close' OR order_id IS NULL THEN line_hash END
    ORDER BY source_id DESC, line_offset DESC
) = 1
