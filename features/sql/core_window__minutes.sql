-- What the outcomes of the window did to an account's NAV in the minute in which they did, at which prices, and when
-- attempts were made.
-- Grain: account, symbol, minute_n; rows of several files, which add up
-- Units: _usd US dollars, _px quote per unit, _ms epoch milliseconds, _n counts
-- Source: core_window__outcomes
-- Params: none
-- Adds up: over files of core_execution__outcomes; minutes may lie outside the window, whose attempts the rows are of
WITH moves AS (
    SELECT
        account,
        symbol,
        COALESCE(fill_at_ms, event_ms) AS at_ms,
        outcome IN ('filled', 'partial', 'close_only') AS is_trade,
        outcome = 'unknown' AS is_unknown,
        CASE WHEN is_trade THEN CAST(fees_usd AS DECIMAL(38, 15)) END AS fees_usd,
        CASE WHEN COALESCE(fill_px, mark_px) > 0 THEN COALESCE(fill_px, mark_px) END AS px,
        NULL AS close_n,
        NULL AS pnl_usd,
        event_ms AS tried_ms,
        NULL AS asked_ms,
    FROM core_window__outcomes
    UNION ALL
    SELECT
        account,
        symbol,
        close_ms,
        FALSE,
        FALSE,
        NULL,
        NULL,
        close_n,
        CAST(realized_pnl_usd AS DECIMAL(38, 15)),
        NULL,
        NULL,
    FROM core_window__outcomes
    WHERE close_n > 0
    UNION ALL
    SELECT account, symbol, event_ms, FALSE, FALSE, NULL, NULL, NULL, NULL, NULL, event_ms
    FROM core_window__outcomes
)

SELECT
    account AS account, -- account that traded
    symbol AS symbol, -- instrument
    at_ms // 60000 AS minute_n, -- minute of the attempt, of its fill or of its close, since 1970
    COUNT(*) FILTER (is_trade) AS trade_n, -- fills and lone closes
    COUNT(*) FILTER (is_unknown) AS unknown_n, -- orders whose end nobody logged
    COUNT(fees_usd) AS fees_known_n, -- fills and lone closes with known fees
    SUM(fees_usd) AS fees_usd, -- known fees, USD
    SUM(abs(fees_usd)) AS fees_size_usd, -- the same without their sign, USD
    CAST(COALESCE(SUM(close_n), 0) AS BIGINT) AS close_n, -- closes
    CAST(COALESCE(SUM(close_n) FILTER (pnl_usd IS NOT NULL), 0) AS BIGINT) AS pnl_known_n, -- closes of orders whose PnL is known
    SUM(pnl_usd) AS pnl_usd, -- realised PnL, USD
    SUM(abs(pnl_usd)) AS pnl_size_usd, -- the same without its sign, USD
    MIN(px) AS low_px, -- lowest price of a fill, else of a decision
    MAX(px) AS high_px, -- highest such price
    MAX(at_ms) FILTER (px IS NOT NULL) AS priced_ms, -- when the last such price was
    arg_max(px, (at_ms, px)) AS last_px, -- that price; of two at once, the higher
    MIN(tried_ms) AS tried_first_ms, -- first attempt that filled in the minute, or whose end is not dated and that was made in it, epoch ms
    MAX(tried_ms) AS tried_last_ms, -- last such attempt
    MIN(asked_ms) AS asked_first_ms, -- first attempt of the minute
    MAX(asked_ms) AS asked_last_ms, -- last attempt of the minute
FROM moves
GROUP BY account, symbol, at_ms // 60000
