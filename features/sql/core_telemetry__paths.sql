-- How summed returns moved within a day: sum, peak, trough and deepest fall, which merge day by day.
-- Grain: environment, strategy, symbol, day_ms
-- Units: _ms epoch milliseconds UTC, _pct percent points of summed returns, _n counts
-- Source: core_window__traces
-- Rebuild: the months of new traces; $from_ms and $to_ms cut it to a part of a day; none was held longer than $longest_ms; * = all
-- Trades of several symbols interleave in a day, so a path over all of them needs its own rows.
WITH steps AS (
    SELECT
        environment,
        strategy,
        symbol,
        day_ms,
        COUNT(*) AS n,
        COUNT(*) FILTER (is_correct) AS correct_n,
        COUNT(*) FILTER (is_trade) AS trade_n,
        list(close_ms) FILTER (is_trade) AS times,
        list(return_pct) FILTER (is_trade) AS returns,
    FROM core_window__traces
    WHERE close_ms >= $from_ms
      AND close_ms < $to_ms
      AND event_ms BETWEEN $from_ms - $longest_ms AND $to_ms -- the same again, for files to be skipped by
    GROUP BY environment, strategy, symbol, day_ms
),

counts AS (
    SELECT
        environment,
        COALESCE(strategy, '*') AS strategy,
        COALESCE(symbol, '*') AS symbol,
        day_ms,
        SUM(n) AS n,
        SUM(correct_n) AS correct_n,
        SUM(trade_n) AS trade_n,
    FROM steps
    GROUP BY GROUPING SETS (
        (environment, day_ms, strategy, symbol),
        (environment, day_ms, strategy),
        (environment, day_ms, symbol),
        (environment, day_ms)
    )
),

days AS (
    SELECT
        environment,
        day_ms,
        day_paths(
            list({'strategy': strategy, 'symbol': symbol, 'times': times, 'returns': returns})
        ) AS paths,
    FROM steps
    WHERE trade_n > 0
    GROUP BY environment, day_ms
),

followed AS (
    SELECT
        environment,
        day_ms,
        unnest(paths) AS p,
    FROM days
),

paths AS (
    SELECT
        environment,
        day_ms,
        struct_extract(p, 'strategy') AS strategy,
        struct_extract(p, 'symbol') AS symbol,
        struct_extract(p, 'return_pct') AS return_pct,
        struct_extract(p, 'peak_pct') AS peak_pct,
        struct_extract(p, 'trough_pct') AS trough_pct,
        struct_extract(p, 'fall_pct') AS fall_pct,
    FROM followed
)

SELECT
    c.environment AS environment, -- live, testnet, paper or backtest
    c.strategy AS strategy, -- strategy that predicted, * for all
    c.symbol AS symbol, -- instrument, * for all
    c.day_ms AS day_ms, -- UTC day of the exits, epoch ms
    CAST(c.n AS BIGINT) AS n, -- closed predictions
    CAST(c.correct_n AS BIGINT) AS correct_n, -- of these, right
    CAST(c.trade_n AS BIGINT) AS trade_n, -- positions with a known return
    COALESCE(p.return_pct, 0e0) AS return_pct, -- sum of their returns, percent
    COALESCE(p.peak_pct, 0e0) AS peak_pct, -- highest point of the running sum from the day's start, percent, at least 0
    COALESCE(p.trough_pct, 0e0) AS trough_pct, -- lowest point of it, percent, at most 0
    COALESCE(p.fall_pct, 0e0) AS fall_pct, -- deepest fall from a peak of the day, percent, at least 0
FROM counts AS c
LEFT JOIN paths AS p USING (environment, day_ms, strategy, symbol)
ORDER BY environment, strategy, symbol, day_ms
