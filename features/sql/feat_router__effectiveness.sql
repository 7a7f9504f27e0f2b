-- How well the router works: what fills, as maker or after a fallback, and how fast the venue answers.
-- Grain: symbol
-- Units: _ratio shares 0 to 1, _n counts, _ms milliseconds
-- Source: core_window__hourly, core_window__outcomes, core_window__acks, core_position__inferred_fills
-- Params: none; symbol * = all symbols
WITH counts AS (
    SELECT
        COALESCE(symbol, '*') AS symbol,
        SUM(n) AS n,
        SUM(filled_n + partial_n) AS fill_n,
        SUM(filled_n + partial_n + unfilled_n + rejected_n) AS fill_known_n,
        SUM(unknown_n) AS unknown_n,
        SUM(unconfirmed_n) AS unconfirmed_n,
        SUM(maker_known_n) AS maker_known_n,
        SUM(maker_n) AS maker_n,
        SUM(started_maker_n) AS started_maker_n,
        SUM(fallback_known_n) AS fallback_known_n,
        SUM(fallback_n) AS fallback_n,
        SUM(submitted_n) AS submitted_n,
        SUM(unrouted_n) AS unrouted_n,
        SUM(vetoed_n) AS vetoed_n,
        SUM(no_outcome_n) AS no_outcome_n,
        SUM(rejected_n) AS rejected_n,
        SUM(error_n) AS error_n,
        SUM(slip_different_n) AS slip_different_n,
    FROM core_window__hourly
    GROUP BY GROUPING SETS ((symbol), ())
    HAVING COUNT(*) > 0
),

-- Attempts are counted by bins of time to acknowledgement, then only the bins that a quantile falls into are read, value
-- by value. Of n values the quantile q lies at (n - 1) * q, counted from 0: on a value, or between two.
ack_bins AS (
    SELECT
        *,
        SUM(n) OVER (PARTITION BY symbol ORDER BY bin) AS upto_n,
        SUM(n) OVER (PARTITION BY symbol) AS ack_n,
    FROM (
        SELECT COALESCE(symbol, '*') AS symbol, bin, CAST(SUM(n) AS BIGINT) AS n
        FROM core_window__acks
        GROUP BY GROUPING SETS ((symbol, bin), (bin))
    )
),

wanted AS (
    SELECT
        b.symbol,
        b.bin,
        p.q,
        (b.ack_n - 1) * p.q AS place,
        b.upto_n - b.n AS below_n,
    FROM ack_bins AS b
    CROSS JOIN (VALUES (0.5e0), (0.95e0)) AS p (q)
    WHERE b.upto_n > floor((b.ack_n - 1) * p.q)
      AND b.upto_n - b.n <= ceil((b.ack_n - 1) * p.q)
),

near_values AS (
    SELECT
        w.symbol,
        w.q,
        w.place,
        v.ack_ms,
        w.below_n + SUM(v.n) OVER (PARTITION BY w.symbol, w.q, w.bin ORDER BY v.ack_ms) AS upto_n,
    FROM wanted AS w
    INNER JOIN (
        SELECT
            COALESCE(symbol, '*') AS symbol,
            fine_bin(ack_ms) AS bin,
            ack_ms,
            COUNT(*) AS n,
        FROM core_window__outcomes
        WHERE fine_bin(ack_ms) IN (SELECT bin FROM wanted)
        GROUP BY GROUPING SETS ((symbol, fine_bin(ack_ms), ack_ms), (fine_bin(ack_ms), ack_ms))
    ) AS v USING (symbol, bin)
),

quantiles AS (
    SELECT
        symbol,
        q,
        MIN(ack_ms) FILTER (upto_n > floor(place)) AS low_ms,
        MIN(ack_ms) FILTER (upto_n > ceil(place)) AS high_ms,
        low_ms + (high_ms - low_ms) * (place - floor(place)) AS quantile_ms,
    FROM near_values
    GROUP BY symbol, q, place
),

acks AS (
    SELECT
        b.symbol,
        MAX(b.ack_n) AS ack_n,
        MAX(q.quantile_ms) FILTER (q.q = 0.5e0) AS p50,
        MAX(q.quantile_ms) FILTER (q.q = 0.95e0) AS p95,
    FROM ack_bins AS b
    INNER JOIN quantiles AS q USING (symbol)
    GROUP BY b.symbol
),

inferred AS (
    SELECT
        COALESCE(symbol, '*') AS symbol,
        COUNT(attempt_id) AS inferred_fill_n,
    FROM core_position__inferred_fills
    GROUP BY GROUPING SETS ((symbol), ())
)

SELECT
    c.symbol AS symbol, -- instrument, * for all
    CAST(c.n AS BIGINT) AS n, -- attempts
    CAST(c.fill_n AS BIGINT) AS fill_n, -- attempts that filled, whole or in part
    CAST(c.fill_known_n AS BIGINT) AS fill_known_n, -- attempts known to have filled, whole or in part, not filled or been rejected; not those that ended in an error
    CAST(COALESCE(i.inferred_fill_n, 0) AS BIGINT) AS inferred_fill_n, -- of the unknown, those that filled as position or exposure shows; in no ratio, no price, no slippage
    c.fill_n / NULLIF(CAST(c.fill_known_n AS DOUBLE), 0e0) AS fill_ratio, -- fill_n / fill_known_n
    CAST(c.unknown_n AS BIGINT) AS unknown_n, -- attempts whose end nobody logged; in no ratio
    CAST(c.unconfirmed_n AS BIGINT) AS unconfirmed_n, -- fills that orders_executed should confirm and does not
    CAST(c.maker_known_n AS BIGINT) AS maker_known_n, -- fills known to be maker or taker
    c.maker_n / NULLIF(CAST(c.maker_known_n AS DOUBLE), 0e0) AS maker_fill_ratio, -- maker share of those
    CAST(c.started_maker_n AS BIGINT) AS started_maker_n, -- attempts begun post-only
    CAST(c.fallback_known_n AS BIGINT) AS fallback_known_n, -- of those that ended, known to fall back or not
    c.fallback_n / NULLIF(CAST(c.fallback_known_n AS DOUBLE), 0e0) AS fallback_ratio, -- share that fell back to taker
    CAST(c.submitted_n AS BIGINT) AS submitted_n, -- orders asked for, by id
    CAST(c.unrouted_n AS BIGINT) AS unrouted_n, -- of those, filled or closed something, though no router line tells of it: in no other count here
    CAST(c.vetoed_n AS BIGINT) AS vetoed_n, -- of those, refused by a risk gate
    CAST(c.no_outcome_n AS BIGINT) AS no_outcome_n, -- of those, never heard of again
    CAST(c.rejected_n AS BIGINT) AS rejected_n, -- attempts the venue rejected
    CAST(c.error_n AS BIGINT) AS error_n, -- order errors
    c.rejected_n / NULLIF(CAST(c.fill_known_n AS DOUBLE), 0e0) AS reject_ratio, -- rejected_n / fill_known_n
    c.error_n / NULLIF(CAST(c.fill_known_n + c.error_n AS DOUBLE), 0e0)
        AS error_ratio, -- error_n / (fill_known_n + error_n)
    CAST(c.slip_different_n AS BIGINT) AS slip_different_n, -- logged slippage over 0.01 bps off the prices
    CAST(COALESCE(a.ack_n, 0) AS BIGINT) AS ack_n, -- attempts with a known acknowledgement time
    a.p50 AS ack_ms_p50, -- median time to acknowledgement, ms
    a.p95 AS ack_ms_p95, -- 95th percentile of it, ms
FROM counts AS c
LEFT JOIN acks AS a USING (symbol)
LEFT JOIN inferred AS i USING (symbol)
ORDER BY c.symbol
