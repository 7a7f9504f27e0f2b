-- fail: core_telemetry__daily and core_telemetry__paths do not add up to the traces they sum: one was rebuilt without the other
WITH from_traces AS (
    SELECT
        COUNT(*) AS n,
        COUNT(*) FILTER (is_trade) AS trade_n,
        CAST(COALESCE(SUM(CAST(return_pct AS DECIMAL(38, 18))), 0) AS DOUBLE) AS return_pct,
    FROM core_window__traces
    WHERE environment = $environment
      AND close_ms <= $as_of_ms
),

from_days AS (
    SELECT
        COALESCE(SUM(n), 0) AS n,
        COALESCE(SUM(trade_n), 0) AS trade_n,
        CAST(COALESCE(SUM(CAST(return_pct AS DECIMAL(38, 18))), 0) AS DOUBLE) AS return_pct,
    FROM core_window__trace_days
    WHERE span = 'all'
),

from_paths AS (
    SELECT
        COALESCE(SUM(n), 0) AS n,
        COALESCE(SUM(trade_n), 0) AS trade_n,
        CAST(COALESCE(SUM(CAST(return_pct AS DECIMAL(38, 18))), 0) AS DOUBLE) AS return_pct,
    FROM core_window__trace_paths
    WHERE span = 'all'
      AND strategy = '*'
      AND symbol = '*'
)

SELECT
    t.n AS trace_n,
    d.n AS daily_n,
    p.n AS path_n,
    t.return_pct AS trace_return_pct,
    d.return_pct AS daily_return_pct,
    p.return_pct AS path_return_pct,
FROM from_traces AS t
CROSS JOIN from_days AS d
CROSS JOIN from_paths AS p
WHERE d.n <> t.n
   OR p.n <> t.n
   OR d.trade_n <> t.trade_n
   OR p.trade_n <> t.trade_n
   OR abs(d.return_pct - t.return_pct) > 1e-9 * (1 + t.n)
   OR abs(p.return_pct - t.return_pct) > 1e-9 * (1 + t.n)
ORDER BY trace_n
