-- The trades that order_close lines tell of, where traces are only a sample of them, by strategy and symbol and over all.
-- Grain: strategy, symbol, account, of_strategy, of_symbol, position_side, trip_n
-- Units: _ms epoch milliseconds, _pct percent of what the entry cost
-- Source: core_execution__outcomes, core_window__traces
-- Params: as_of_ms, environment; a table of the build over all history; strategy or symbol * = all
-- Only where every trade that has a trace is among them, and not fewer trades than traces stand for: where one is
-- missing, others will be too. A few that lost both trace and close are not seen.
WITH traced AS (
    SELECT
        strategy,
        symbol,
        close_ms,
        is_trade,
        represented_n,
        represented_n > 1 AS is_sampled,
    FROM core_window__traces
    WHERE environment = $environment
      AND close_ms <= $as_of_ms
),

sampled AS (
    SELECT DISTINCT strategy
    FROM traced
    WHERE is_sampled
),

sided AS (
    SELECT
        *,
        CASE
            WHEN position_side IN ('LONG', 'SHORT') THEN position_side
            WHEN side = 'SELL' THEN 'LONG'
            WHEN side = 'BUY' THEN 'SHORT'
        END AS held_side,
        COALESCE(ends_position(position_size_after, side, position_side, closed_notional_usd), FALSE)
            AS ends_trade,
    FROM core_execution__outcomes
    WHERE close_n > 0
      AND environment = $environment
      AND close_ms <= $as_of_ms
      AND strategy IN (SELECT strategy FROM sampled)
),

-- A trade ends with the close after which the position is flat, or turned; a close that does not say what it left ends
-- none, and its strategy and symbol are incomplete. Like a trace's, a trade's return is of what the entry cost:
-- what the exit brought, less what it earned.
closes AS (
    SELECT
        account,
        strategy,
        symbol,
        held_side,
        close_ms,
        realized_pnl_usd,
        CASE
            WHEN held_side = 'LONG' THEN closed_notional_usd - realized_pnl_usd
            WHEN held_side = 'SHORT' THEN closed_notional_usd + realized_pnl_usd
        END AS entry_usd,
        position_size_after IS NULL AS is_left_unknown,
        ends_trade,
        COALESCE(
            SUM(CASE WHEN ends_trade THEN 1 ELSE 0 END) OVER (
                PARTITION BY account, strategy, symbol, held_side
                ORDER BY close_ms, event_ms, attempt_id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ),
            0
        ) AS trip_n,
    FROM sided
),

trips AS (
    SELECT
        account,
        strategy,
        symbol,
        held_side,
        trip_n,
        MAX(close_ms) AS close_ms,
        CASE
            WHEN COUNT(*) = COUNT(realized_pnl_usd) AND COUNT(*) = COUNT(entry_usd) AND MIN(entry_usd) > 0
            THEN 1e2 * CAST(SUM(CAST(realized_pnl_usd AS DECIMAL(38, 15))) AS DOUBLE)
                / CAST(SUM(CAST(entry_usd AS DECIMAL(38, 15))) AS DOUBLE)
        END AS return_pct,
    FROM closes
    GROUP BY account, strategy, symbol, held_side, trip_n
    HAVING BOOL_OR(ends_trade)
),

-- A trace's exit is its last fill by the engine's clock, a close's by the venue's: within a second.
seconds AS (
    SELECT DISTINCT
        t.strategy,
        t.symbol,
        t.close_ms // 1000 + near.step_n AS second_n,
    FROM trips AS t
    CROSS JOIN (VALUES (-1), (0), (1)) AS near (step_n)
),

incomplete AS (
    SELECT t.strategy, t.symbol
    FROM traced AS t
    LEFT JOIN seconds AS s
        ON s.strategy = t.strategy
       AND s.symbol = t.symbol
       AND s.second_n = t.close_ms // 1000
    WHERE t.is_trade
      AND s.second_n IS NULL
    UNION
    SELECT strategy, symbol FROM trips WHERE return_pct IS NULL
    UNION
    SELECT strategy, symbol FROM closes WHERE is_left_unknown
    UNION
    -- Fewer trades than the traces stand for, less two standard errors of that estimate.
    SELECT strategy, symbol
    FROM (
        SELECT
            strategy,
            symbol,
            CAST(represented_n AS DECIMAL(38, 9)) AS trace_n,
            CAST(represented_n * (represented_n - 1e0) AS DECIMAL(38, 9)) AS trace_var,
            0 AS trip_n,
        FROM traced
        WHERE is_trade
        UNION ALL
        SELECT strategy, symbol, 0, 0, 1 FROM trips
    )
    GROUP BY strategy, symbol
    HAVING CAST(SUM(trace_n) AS DOUBLE) - 2e0 * sqrt(greatest(CAST(SUM(trace_var) AS DOUBLE), 0e0))
        > SUM(trip_n) + 1e-6
),

cells AS (
    SELECT strategy, symbol FROM traced
    UNION
    SELECT strategy, symbol FROM closes
),

sets AS (
    SELECT every_strategy, every_symbol
    FROM (VALUES (FALSE, FALSE), (TRUE, FALSE), (FALSE, TRUE), (TRUE, TRUE))
        AS s (every_strategy, every_symbol)
),

complete AS (
    SELECT
        CASE WHEN s.every_strategy THEN '*' ELSE c.strategy END AS strategy,
        CASE WHEN s.every_symbol THEN '*' ELSE c.symbol END AS symbol,
    FROM cells AS c
    CROSS JOIN sets AS s
    LEFT JOIN incomplete AS i
        ON i.strategy = c.strategy
       AND i.symbol = c.symbol
    GROUP BY 1, 2
    HAVING COUNT(i.strategy) = 0
),

spread AS (
    SELECT
        CASE WHEN s.every_strategy THEN '*' ELSE t.strategy END AS strategy,
        CASE WHEN s.every_symbol THEN '*' ELSE t.symbol END AS symbol,
        t.account,
        t.strategy AS of_strategy,
        t.symbol AS of_symbol,
        t.held_side,
        t.trip_n,
        t.close_ms,
        t.return_pct,
    FROM trips AS t
    CROSS JOIN sets AS s
)

SELECT
    t.strategy AS strategy, -- strategy that traded, * for all
    t.symbol AS symbol, -- instrument, * for all
    t.account AS account, -- account that traded
    t.of_strategy AS of_strategy, -- strategy that traded
    t.of_symbol AS of_symbol, -- instrument
    t.held_side AS position_side, -- LONG or SHORT
    CAST(t.trip_n AS BIGINT) AS trip_n, -- number of the trade among those
    t.close_ms AS close_ms, -- last close of the trade, epoch ms
    t.close_ms // 86400000 * 86400000 AS day_ms, -- UTC day of it, epoch ms
    t.return_pct AS return_pct, -- realised PnL over what the entry cost, percent, before fees
    CAST(
        ROW_NUMBER() OVER (
            PARTITION BY t.strategy, t.symbol
            ORDER BY t.close_ms DESC, t.of_strategy, t.of_symbol, t.account, t.held_side, t.trip_n
        )
        AS BIGINT
    ) AS latest_n, -- 1 for the latest of its strategy and symbol
FROM spread AS t
INNER JOIN complete AS c USING (strategy, symbol)
ORDER BY strategy, symbol, close_ms, account, of_strategy, of_symbol, position_side, trip_n
