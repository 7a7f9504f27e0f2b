-- How much a symbol's price moves now against what it usually does, and the regime that this makes.
-- Grain: symbol
-- Units: _pct percent of price; regime_scale a factor of size
-- Source: raw_market__bars, core_window__hourly, core_window__outcomes
-- Params: bar_interval, bar_ms, bars_from_ms, as_of_ms, environment, symbol_key, bar_max_age_ms, regime_*, health_quiet_below
WITH read_bars AS NOT MATERIALIZED (
    SELECT
        CASE WHEN $symbol_key = 'venue_symbol' THEN COALESCE(venue, 'unknown') || ':' || symbol ELSE symbol END
            AS symbol,
        NULLIF(venue, 'unknown') AS venue,
        event_ms,
        event_ms // $bar_ms AS bar_n,
        CASE bar_interval
            WHEN '1m' THEN 60000
            WHEN '5m' THEN 300000
            WHEN '15m' THEN 900000
            WHEN '1h' THEN 3600000
        END AS read_ms,
        high,
        low,
        close,
        ingest_seq,
        source_id,
        line_offset,
    FROM raw_market__bars
    WHERE reject_reason IS NULL
      AND environment = $environment
      AND event_ms >= $bars_from_ms
      AND event_ms < $as_of_ms
      AND low > 0
      AND high >= low
      AND close > 0
),

-- A bar off its grid may end after the one that it is part of: it must have closed as well.
closed_bars AS NOT MATERIALIZED (
    SELECT
        *,
    FROM read_bars
    WHERE $bar_ms % read_ms = 0
      AND event_ms + read_ms <= $as_of_ms
      AND (bar_n + 1) * $bar_ms <= $as_of_ms
),

bar_times AS (
    SELECT
        symbol,
        bar_n,
        MIN(venue) AS first_venue,
        MAX(venue) AS last_venue,
    FROM closed_bars
    GROUP BY symbol, bar_n
),

-- 500 true ranges need as many closes and one before; far more minutes may stand.
newest_bars AS (
    SELECT
        symbol,
        bar_n,
    FROM bar_times
    QUALIFY ROW_NUMBER() OVER (PARTITION BY symbol ORDER BY bar_n DESC) <= 501
),

-- Of a bar read twice the last reading counts.
bars_once AS (
    SELECT
        c.*,
    FROM closed_bars AS c
    INNER JOIN newest_bars AS n USING (symbol, bar_n)
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY c.symbol, c.read_ms, c.event_ms
        ORDER BY c.ingest_seq DESC, c.source_id DESC, c.line_offset DESC
    ) = 1
),

resampled AS (
    SELECT
        symbol,
        bar_n,
        read_ms,
        MAX(high) AS high,
        MIN(low) AS low,
        arg_max(close, event_ms) AS close,
        COUNT(*) * read_ms AS covered_ms,
    FROM bars_once
    GROUP BY symbol, bar_n, read_ms
),

-- The finest bars make the bar, unless coarser ones know more of its time.
bars AS (
    SELECT
        *,
    FROM resampled
    QUALIFY ROW_NUMBER() OVER (PARTITION BY symbol, bar_n ORDER BY covered_ms DESC, read_ms) = 1
),

bar_spans AS (
    SELECT
        symbol,
        (MAX(bar_n) + 1) * $bar_ms AS last_bar_ms,
        (MAX(bar_n) + 1) * $bar_ms >= $as_of_ms - $bar_max_age_ms AS has_bars,
        CASE
            WHEN MIN(first_venue) < MAX(last_venue) THEN 2
            WHEN MAX(last_venue) IS NOT NULL THEN 1
            ELSE 0
        END AS venue_n,
    FROM bar_times
    GROUP BY symbol
),

-- Where there are no bars, fills stand in: the newest of them, back to the hour that makes them enough.
fills_back AS (
    SELECT
        symbol,
        hour_ms,
        SUM(filled_n + partial_n) OVER (
            PARTITION BY symbol ORDER BY hour_ms DESC
            RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS fill_n,
    FROM core_window__hourly
    WHERE symbol NOT IN (SELECT symbol FROM bar_spans WHERE has_bars)
),

fill_cuts AS (
    SELECT
        symbol,
        COALESCE(MAX(hour_ms) FILTER (fill_n >= 501), MIN(hour_ms)) AS from_ms,
    FROM fills_back
    GROUP BY symbol
),

-- A fill is a bar of one price.
points AS (
    SELECT
        symbol,
        TRUE AS is_bar,
        bar_n AS at_n,
        '' AS tie,
        high,
        low,
        close,
    FROM bars
    UNION ALL
    SELECT
        symbol,
        FALSE AS is_bar,
        event_ms AS at_n,
        attempt_id AS tie,
        fill_px AS high,
        fill_px AS low,
        fill_px AS close,
    FROM core_window__outcomes AS o
    INNER JOIN fill_cuts AS c USING (symbol)
    WHERE o.fill_px > 0
      AND o.event_ms >= c.from_ms
),

ranges AS (
    SELECT
        symbol,
        is_bar,
        close,
        GREATEST(high, LAG(close) OVER oldest_first) - LEAST(low, LAG(close) OVER oldest_first) AS true_range,
        LAG(close) OVER oldest_first IS NOT NULL AS has_range,
        ROW_NUMBER() OVER newest_first AS back_n,
    FROM points
    WINDOW
        oldest_first AS (PARTITION BY symbol, is_bar ORDER BY at_n, tie),
        newest_first AS (PARTITION BY symbol, is_bar ORDER BY at_n DESC, tie DESC)
),

sums AS (
    SELECT
        symbol,
        is_bar,
        COUNT(*) FILTER (has_range) AS n,
        CAST(SUM(CAST(true_range AS DECIMAL(38, 20))) FILTER (has_range AND back_n <= 50) AS DOUBLE) AS range_50,
        CAST(SUM(CAST(close AS DECIMAL(38, 20))) FILTER (has_range AND back_n <= 50) AS DOUBLE) AS close_50,
        CAST(SUM(CAST(true_range AS DECIMAL(38, 20))) FILTER (has_range) AS DOUBLE) AS range_500,
        CAST(SUM(CAST(close AS DECIMAL(38, 20))) FILTER (has_range) AS DOUBLE) AS close_500,
    FROM ranges
    WHERE back_n <= 500
    GROUP BY symbol, is_bar
),

symbols AS (
    SELECT symbol FROM core_window__hourly
    UNION
    SELECT symbol FROM points
),

chosen AS (
    SELECT
        s.symbol,
        COALESCE(u.n, 0) AS n,
        COALESCE(b.has_bars, FALSE) AS has_bars,
        b.last_bar_ms,
        COALESCE(b.venue_n, 0) AS venue_n,
        CASE
            WHEN b.has_bars AND u.n = 500 THEN 'bars'
            WHEN b.has_bars AND u.n >= 100 THEN 'short'
            WHEN b.has_bars THEN 'none'
            WHEN u.n > 0 THEN 'fills'
            ELSE 'none'
        END AS atr_source,
        100 * u.range_50 / NULLIF(u.close_50, 0e0) AS atr_pct_50,
        100 * u.range_500 / NULLIF(u.close_500, 0e0) AS atr_pct_500,
    FROM symbols AS s
    LEFT JOIN bar_spans AS b USING (symbol)
    LEFT JOIN sums AS u
        ON u.symbol = s.symbol
       AND u.is_bar = COALESCE(b.has_bars, FALSE)
),

known AS (
    SELECT
        symbol,
        n,
        has_bars,
        last_bar_ms,
        venue_n,
        atr_source,
        CASE WHEN atr_source <> 'none' THEN atr_pct_50 END AS atr_pct_50,
        CASE WHEN atr_source <> 'none' THEN atr_pct_500 END AS atr_pct_500,
        CASE WHEN atr_source <> 'none' THEN atr_pct_50 / NULLIF(atr_pct_500, 0e0) END AS atr_ratio,
        atr_source IN ('bars', 'short') AS is_of_bars,
    FROM chosen
)

SELECT
    symbol AS symbol, -- instrument
    n AS n, -- bars with a true range among the last 500; changes of price where fills stand in
    CASE WHEN has_bars THEN $bar_interval END AS bar_interval, -- length of the bars; NULL without bars
    atr_pct_50 AS atr_pct_50, -- mean true range of the last 50 bars, percent of their mean close
    atr_pct_500 AS atr_pct_500, -- the same of the last 500, or of all there are, percent
    atr_ratio AS atr_ratio, -- atr_pct_50 / atr_pct_500
    CASE
        WHEN atr_ratio IS NULL THEN 'unknown'
        WHEN atr_ratio < $regime_quiet_below THEN 'quiet'
        WHEN atr_ratio < $regime_hot_from THEN 'normal'
        WHEN atr_ratio < $regime_panic_from THEN 'hot'
        ELSE 'panic'
    END AS regime, -- for offset and policy: quiet, normal, hot, panic or unknown
    CASE
        WHEN atr_ratio IS NULL THEN 'unknown'
        WHEN atr_ratio < $health_quiet_below THEN 'quiet'
        WHEN atr_ratio < $regime_hot_from THEN 'normal'
        WHEN atr_ratio < $regime_panic_from THEN 'hot'
        ELSE 'panic'
    END AS health_regime, -- for health and size: quiet from another threshold
    atr_source AS atr_source, -- bars; short: 100 to 499 bars; fills: from fill prices; none
    CASE
        WHEN atr_ratio IS NULL OR NOT is_of_bars THEN 1e0
        WHEN atr_ratio < $health_quiet_below THEN $regime_scale_quiet
        WHEN atr_ratio < $regime_hot_from THEN 1e0
        WHEN atr_ratio < $regime_panic_from THEN $regime_scale_hot
        ELSE $regime_scale_panic
    END AS regime_scale, -- size factor of the health regime; 1 where it is unknown or of fills
    make_timestamp(last_bar_ms * 1000) AS last_bar_at_utc, -- close of the newest closed bar, UTC; NULL without
    venue_n AS venue_n, -- venues that its bars name, 2 = two or more: their prices would be mixed
FROM known
ORDER BY symbol
