-- fail: hourly sums disagree with the outcomes they sum: one of the two was rebuilt without the other
-- Narrows: hours
WITH from_outcomes AS (
    SELECT
        symbol,
        COUNT(*) FILTER (outcome <> 'close_only') AS n,
        COUNT(*) FILTER (outcome IN ('filled', 'partial')) AS fill_n,
        SUM(close_n) AS close_n,
        COALESCE(SUM(CAST(realized_pnl_usd AS DECIMAL(38, 12))), 0) AS pnl_usd,
    FROM core_window__outcomes
    GROUP BY symbol
),

from_hours AS (
    SELECT
        symbol,
        SUM(n) AS n,
        SUM(filled_n + partial_n) AS fill_n,
        SUM(close_n) AS close_n,
        COALESCE(SUM(CAST(pnl_usd AS DECIMAL(38, 12))), 0) AS pnl_usd,
    FROM core_window__hourly
    GROUP BY symbol
)

SELECT
    COALESCE(o.symbol, h.symbol) AS symbol,
    o.n AS outcome_n,
    h.n AS hourly_n,
    o.close_n AS outcome_close_n,
    h.close_n AS hourly_close_n,
    CAST(o.pnl_usd AS DOUBLE) AS outcome_pnl_usd,
    CAST(h.pnl_usd AS DOUBLE) AS hourly_pnl_usd,
FROM from_outcomes AS o
FULL JOIN from_hours AS h USING (symbol)
WHERE COALESCE(o.n, 0) <> COALESCE(h.n, 0)
   OR COALESCE(o.fill_n, 0) <> COALESCE(h.fill_n, 0)
   OR COALESCE(o.close_n, 0) <> COALESCE(h.close_n, 0)
   OR abs(COALESCE(o.pnl_usd, 0) - COALESCE(h.pnl_usd, 0)) > 0.000001
ORDER BY symbol
