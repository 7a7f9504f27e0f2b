-- How slippage against the decision price is distributed, by symbol and hour of the day.
-- Grain: symbol, hour_utc
-- Units: _bps basis points of the decision price, positive = cost
-- Source: core_window__outcomes, core_window__slippage, core_window__hourly
-- Params: fresh_mark_age_ms; symbol * = all symbols, hour_utc -1 = all hours
-- The window never stands in memory: fills are counted by bins of slippage, then only the bins that a quantile falls
-- into are read, value by value. Each quantile is exact; the bins' width is a matter of speed.
WITH bins AS (
    SELECT
        COALESCE(symbol, '*') AS symbol,
        COALESCE(hour_utc, -1) AS hour_utc,
        bin,
        CAST(SUM(n) AS BIGINT) AS n,
        CAST(SUM(fresh_n) AS BIGINT) AS fresh_n,
        CAST(SUM(age_unknown_n) AS BIGINT) AS age_unknown_n,
        CAST(SUM(clipped_n) AS BIGINT) AS clipped_n,
        CAST(SUM(suspect_n) AS BIGINT) AS suspect_n,
    FROM core_window__slippage
    GROUP BY GROUPING SETS ((symbol, hour_utc, bin), (symbol, bin), (hour_utc, bin), (bin))
),

counts AS (
    SELECT
        symbol,
        hour_utc,
        CAST(SUM(n) AS BIGINT) AS n,
        CAST(SUM(fresh_n) AS BIGINT) AS fresh_n,
        CAST(SUM(age_unknown_n) AS BIGINT) AS age_unknown_n,
        CAST(SUM(clipped_n) AS BIGINT) AS clipped_n,
        CAST(SUM(suspect_n) AS BIGINT) AS suspect_n,
    FROM bins
    GROUP BY symbol, hour_utc
),

-- Of n values the quantile q lies at (n - 1) * q, counted from 0: on a value, or between two.
places AS (
    SELECT
        c.symbol,
        c.hour_utc,
        p.is_fresh,
        p.q,
        (CASE WHEN p.is_fresh THEN c.fresh_n ELSE c.n END - 1) * p.q AS place,
    FROM counts AS c
    CROSS JOIN (
        VALUES
            (FALSE, 0.25e0), (FALSE, 0.5e0), (FALSE, 0.75e0), (FALSE, 0.95e0), (FALSE, 0.99e0),
            (TRUE, 0.25e0), (TRUE, 0.5e0), (TRUE, 0.75e0)
    ) AS p (is_fresh, q)
    WHERE CASE WHEN p.is_fresh THEN c.fresh_n ELSE c.n END > 0
),

stacked AS (
    SELECT
        symbol,
        hour_utc,
        bin,
        n,
        fresh_n,
        SUM(n) OVER in_order AS upto_n,
        SUM(fresh_n) OVER in_order AS fresh_upto_n,
    FROM bins
    WHERE n > 0
    WINDOW in_order AS (PARTITION BY symbol, hour_utc ORDER BY bin)
),

wanted AS (
    SELECT
        p.*,
        s.bin,
        CASE WHEN p.is_fresh THEN s.fresh_upto_n - s.fresh_n ELSE s.upto_n - s.n END AS below_n,
    FROM places AS p
    INNER JOIN stacked AS s
        ON s.symbol = p.symbol
       AND s.hour_utc = p.hour_utc
       AND CASE WHEN p.is_fresh THEN s.fresh_n ELSE s.n END > 0
       AND CASE WHEN p.is_fresh THEN s.fresh_upto_n ELSE s.upto_n END > floor(p.place)
       AND CASE WHEN p.is_fresh THEN s.fresh_upto_n - s.fresh_n ELSE s.upto_n - s.n END <= ceil(p.place)
),

wanted_cells AS (
    SELECT DISTINCT
        c.symbol,
        c.hour_utc,
        c.bin,
    FROM bins AS c
    INNER JOIN (SELECT DISTINCT symbol, hour_utc, bin FROM wanted) AS w
        ON w.bin = c.bin
       AND w.symbol IN (c.symbol, '*')
       AND w.hour_utc IN (c.hour_utc, -1)
    WHERE c.symbol <> '*'
      AND c.hour_utc >= 0
),

cell_values AS (
    SELECT
        f.symbol,
        f.hour_utc,
        c.bin,
        f.slippage_bps AS slip_bps,
        COUNT(*) AS n,
        COUNT(*) FILTER (f.mark_age_ms >= 0 AND f.mark_age_ms < $fresh_mark_age_ms) AS fresh_n,
    FROM core_window__outcomes AS f
    INNER JOIN wanted_cells AS c
        ON c.symbol = f.symbol
       AND c.hour_utc = f.hour_utc
       AND c.bin = fine_bin(f.slippage_bps)
    WHERE f.suspect_reason IS NULL
    GROUP BY f.symbol, f.hour_utc, c.bin, f.slippage_bps
),

bin_values AS (
    SELECT
        COALESCE(symbol, '*') AS symbol,
        COALESCE(hour_utc, -1) AS hour_utc,
        bin,
        slip_bps,
        SUM(n) AS n,
        SUM(fresh_n) AS fresh_n,
    FROM cell_values
    GROUP BY GROUPING SETS (
        (symbol, hour_utc, bin, slip_bps), (symbol, bin, slip_bps), (hour_utc, bin, slip_bps), (bin, slip_bps)
    )
),

near_values AS (
    SELECT
        w.symbol,
        w.hour_utc,
        w.is_fresh,
        w.q,
        w.place,
        v.slip_bps,
        w.below_n + SUM(CASE WHEN w.is_fresh THEN v.fresh_n ELSE v.n END) OVER (
            PARTITION BY w.symbol, w.hour_utc, w.is_fresh, w.q, w.bin ORDER BY v.slip_bps
        ) AS upto_n,
    FROM wanted AS w
    INNER JOIN bin_values AS v USING (symbol, hour_utc, bin)
),

quantiles AS (
    SELECT
        symbol,
        hour_utc,
        is_fresh,
        q,
        MIN(slip_bps) FILTER (upto_n > floor(place)) AS low_bps,
        MIN(slip_bps) FILTER (upto_n > ceil(place)) AS high_bps,
        low_bps + (high_bps - low_bps) * (place - floor(place)) AS quantile_bps,
    FROM near_values
    GROUP BY symbol, hour_utc, is_fresh, q, place
),

spread AS (
    SELECT
        symbol,
        hour_utc,
        MAX(quantile_bps) FILTER (q = 0.25e0 AND NOT is_fresh) AS q25,
        MAX(quantile_bps) FILTER (q = 0.5e0 AND NOT is_fresh) AS q50,
        MAX(quantile_bps) FILTER (q = 0.75e0 AND NOT is_fresh) AS q75,
        MAX(quantile_bps) FILTER (q = 0.95e0 AND NOT is_fresh) AS q95,
        MAX(quantile_bps) FILTER (q = 0.99e0 AND NOT is_fresh) AS q99,
        MAX(quantile_bps) FILTER (q = 0.25e0 AND is_fresh) AS fresh_q25,
        MAX(quantile_bps) FILTER (q = 0.5e0 AND is_fresh) AS fresh_q50,
        MAX(quantile_bps) FILTER (q = 0.75e0 AND is_fresh) AS fresh_q75,
    FROM quantiles
    GROUP BY symbol, hour_utc
),

sums AS (
    SELECT
        COALESCE(symbol, '*') AS symbol,
        COALESCE(hour_utc, -1) AS hour_utc,
        CAST(SUM(CAST(slip_bps AS DECIMAL(38, 15))) AS DOUBLE) AS slip_bps,
        CAST(SUM(CAST(slip_winsored_bps AS DECIMAL(38, 15))) AS DOUBLE) AS winsored_bps,
    FROM core_window__hourly
    GROUP BY GROUPING SETS ((symbol, hour_utc), (symbol), (hour_utc), ())
)

SELECT
    c.symbol AS symbol, -- instrument, * for all
    c.hour_utc AS hour_utc, -- UTC hour of day, -1 for all hours
    c.n AS n, -- fills with slippage
    c.fresh_n AS fresh_n, -- of those, with a decision price younger than the limit
    c.age_unknown_n AS age_unknown_n, -- of those, with a decision price of unknown age: not logged, or after the fill
    q.q25 AS slip_bps_q25, -- first quartile, bps
    q.q50 AS slip_bps_q50, -- median, bps
    q.q75 AS slip_bps_q75, -- third quartile, bps
    q.q95 AS slip_bps_q95, -- 95th percentile, bps
    q.q99 AS slip_bps_q99, -- 99th percentile, bps
    s.slip_bps / NULLIF(c.n, 0) AS slip_bps_mean, -- mean, bps
    s.winsored_bps / NULLIF(c.n, 0) AS slip_bps_mean_w50, -- mean with values clipped at the limit, bps
    c.clipped_n AS clipped_n, -- values clipped for that mean
    c.suspect_n AS suspect_n, -- rows kept out as suspect
    q.fresh_q25 AS fresh_q25, -- first quartile of the fresh ones, bps
    q.fresh_q50 AS fresh_q50, -- median of the fresh ones, bps
    q.fresh_q75 AS fresh_q75, -- third quartile of the fresh ones, bps
FROM counts AS c
LEFT JOIN spread AS q USING (symbol, hour_utc)
LEFT JOIN sums AS s USING (symbol, hour_utc)
ORDER BY symbol, hour_utc
