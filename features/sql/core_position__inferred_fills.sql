-- The orders of unknown end that filled all the same, as the position or exposure after them shows.
-- Grain: account, environment, symbol, attempt_id, event_ms
-- Units: _ms epoch milliseconds, _qty base units, _n counts
-- Source: core_position__reconciliation, core_window__outcomes
-- Params: none; join it to core_execution__outcomes by its grain. Counts only: it has no price, and how much filled is not known
WITH orders AS (
    SELECT
        account,
        symbol,
        attempt_id,
        event_ms,
        side,
        asked_qty,
        -- Where long and short are held apart, an order that names neither counts as its side says.
        CASE
            WHEN position_side IN ('LONG', 'SHORT') THEN position_side
            WHEN side NOT IN ('BUY', 'SELL') THEN 'SHORT'
            WHEN (side = 'BUY') <> (COALESCE(is_reduce_only, FALSE) OR close_n > 0) THEN 'LONG'
            ELSE 'SHORT'
        END AS held_side,
    FROM core_window__outcomes
    WHERE outcome = 'unknown'
),

-- By quarters of an hour: of an order's own only few intervals must be looked at.
slots AS (
    SELECT
        account,
        environment,
        symbol,
        position_side,
        from_ms,
        to_ms,
        inferred_fill_n,
        unnest(range(from_ms // 900000, to_ms // 900000 + 1)) AS slot_n,
    FROM core_position__reconciliation
    WHERE inferred_fill_n > 0
)

SELECT
    o.account AS account, -- account that traded
    i.environment AS environment, -- live, testnet, paper or backtest
    o.symbol AS symbol, -- instrument
    o.attempt_id AS attempt_id, -- id of the attempt
    o.event_ms AS event_ms, -- time of the attempt, epoch ms
    o.side AS side, -- BUY or SELL
    o.asked_qty AS asked_qty, -- quantity asked for, base units; the venue may have filled another
    CASE WHEN i.position_side = 'GROSS' THEN 'exposure' ELSE 'position' END AS confirmed_by, -- what confirms it: a position seen, or only the exposure that attempts saw
    i.from_ms AS from_ms, -- seen before the order, epoch ms
    i.to_ms AS to_ms, -- and after it, epoch ms; known from then on
    i.inferred_fill_n AS together_n, -- orders that one change confirms together
FROM orders AS o
INNER JOIN slots AS i
    ON i.account = o.account
   AND i.symbol = o.symbol
   AND i.slot_n = o.event_ms // 900000
   AND i.from_ms < o.event_ms
   AND i.to_ms >= o.event_ms
   AND (i.position_side IN ('BOTH', 'GROSS') OR i.position_side = o.held_side)
ORDER BY event_ms, symbol, attempt_id, account
