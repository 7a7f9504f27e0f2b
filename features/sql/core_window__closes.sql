-- The orders of the window that closed something, with what the close earned and left.
-- Grain: account, symbol, position_side, event_ms, close_ms; orders of one millisecond repeat it
-- Units: _usd US dollars, _ms epoch milliseconds, _n counts, sizes in base units
-- Source: core_window__outcomes
-- Params: none; closes after as-of are among them
-- Adds up: over files of core_execution__outcomes; a view, because rows are many
SELECT
    account AS account, -- account that traded
    symbol AS symbol, -- instrument
    position_side AS position_side, -- LONG, SHORT or BOTH; NULL where no order line says it
    event_ms AS event_ms, -- when the order was decided, epoch ms
    close_ms AS close_ms, -- when it closed last, epoch ms
    close_n AS close_n, -- closes
    position_size_after AS position_size_after, -- position left, base units; NULL = not logged
    COALESCE(ends_position(position_size_after, side, position_side, closed_notional_usd), TRUE)
        AS ends_position, -- whether that position was no more: none is left, or one on the other side; TRUE where unknown
    realized_pnl_usd AS realized_pnl_usd, -- realised PnL, USD; NULL = unknown
    closed_notional_usd AS closed_notional_usd, -- notional closed, USD; NULL = unknown
FROM core_window__outcomes
WHERE close_n > 0
