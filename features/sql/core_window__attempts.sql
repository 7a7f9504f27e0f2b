-- What the attempts in the window as of $as_of_ms, of one environment, saw of NAV, exposure and price.
-- Grain: source_id, line_offset
-- Units: _ms epoch milliseconds, _usd US dollars, price quote per unit
-- Source: raw_orders__attempts
-- Params: as_of_ms, window_ms, is_whole, environment; a view of the build, never stored
SELECT
    account AS account, -- account that asked
    venue AS venue, -- venue asked
    symbol AS symbol, -- instrument, as the line names it
    event_ms AS event_ms, -- when, epoch ms
    nav_usd AS nav_usd, -- NAV seen, USD
    gross_usd AS gross_usd, -- gross exposure of the account, USD
    symbol_gross_json AS symbol_gross_json, -- gross exposure by symbol, USD, as JSON
    price_hint AS price_hint, -- decision price, quote per unit
    source_id AS source_id, -- source of the line
    line_offset AS line_offset, -- where it begins in its source
FROM raw_orders__attempts
WHERE reject_reason IS NULL
  AND environment = $environment
  AND ($is_whole OR (event_ms > $as_of_ms - $window_ms AND event_ms <= $as_of_ms))
