-- How old the newest accepted line of each source is, in event time, and whether that is too old.
-- Grain: source, symbol
-- Units: _s seconds, _n and _24h counts
-- Source: raw_sources
-- Params: as_of_ms, source_rules; symbol * = all symbols; a source that never spoke has n = 0
WITH by_symbol AS (
    SELECT
        source,
        symbol,
        COUNT(*) AS n,
        MAX(event_ms) FILTER (reject_reason IS NULL AND event_ms <= $as_of_ms) AS last_event_ms,
        MAX(ingested_ms) AS last_bytes_ms,
        COUNT(*) FILTER (
            reject_reason IS NULL AND event_ms > $as_of_ms - 86400000 AND event_ms <= $as_of_ms
        ) AS rows_24h,
        COUNT(*) FILTER (
            reject_reason IS NOT NULL AND event_ms > $as_of_ms - 86400000 AND event_ms <= $as_of_ms
        ) AS rejected_24h,
        COUNT(*) FILTER (event_ms IS NULL) AS undated_n,
    FROM raw_sources
    GROUP BY source, symbol
),

-- A line without a time takes that of the lines before it in its log, else of those behind it: when
-- it was read says nothing, because a first reading brings years at once.
neighbours AS (
    SELECT
        source,
        symbol,
        event_ms,
        COALESCE(
            MAX(event_ms) OVER (
                PARTITION BY source, source_id
                ORDER BY line_offset
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ),
            MIN(event_ms) OVER (
                PARTITION BY source, source_id
                ORDER BY line_offset
                ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
            )
        ) AS near_ms,
    FROM raw_sources
    WHERE source_id IN (SELECT source_id FROM raw_sources WHERE event_ms IS NULL)
),

undated AS (
    SELECT
        source,
        symbol,
        COUNT(*) AS rejected_24h,
    FROM neighbours
    WHERE event_ms IS NULL
      AND near_ms > $as_of_ms - 86400000
      AND near_ms <= $as_of_ms
    GROUP BY source, symbol
),

spoken AS (
    SELECT
        b.source,
        COALESCE(b.symbol, '*') AS symbol,
        CAST(SUM(n) AS BIGINT) AS n,
        MAX(last_event_ms) AS last_event_ms,
        MAX(last_bytes_ms) AS last_bytes_ms,
        CAST(SUM(rows_24h) AS BIGINT) AS rows_24h,
        CAST(SUM(b.rejected_24h + COALESCE(u.rejected_24h, 0)) AS BIGINT) AS rejected_24h,
        CAST(SUM(undated_n) AS BIGINT) AS undated_n,
    FROM by_symbol AS b
    LEFT JOIN undated AS u
        ON u.source = b.source
       AND u.symbol IS NOT DISTINCT FROM b.symbol
    GROUP BY GROUPING SETS ((b.source, b.symbol), (b.source))
    HAVING GROUPING(b.symbol) = 1 OR b.symbol IS NOT NULL
),

wanted AS (
    SELECT source, '*' AS symbol FROM source_rules
    UNION
    SELECT source, symbol FROM spoken
)

SELECT
    w.source AS source, -- raw table the source feeds
    w.symbol AS symbol, -- instrument, * for all
    COALESCE(s.n, 0) AS n, -- lines in the window, rejected ones included
    make_timestamp(s.last_event_ms * 1000) AS last_event_at_utc, -- newest accepted event up to as-of, UTC
    ($as_of_ms - s.last_event_ms) / 1e3 AS lag_s, -- age of that event at as-of, s
    make_timestamp(s.last_bytes_ms * 1000) AS last_bytes_at_utc, -- when its newest line was read, UTC
    COALESCE(s.rows_24h, 0) AS rows_24h, -- accepted lines of the last 24 h
    COALESCE(s.rejected_24h, 0) AS rejected_24h, -- rejected lines of the last 24 h; one without a time counts where it stands in its log
    COALESCE(s.undated_n, 0) AS undated_n, -- rejected lines without a time, of all times
    r.required AS required, -- silence of this source blocks publication
    r.max_silence_s AS max_silence_s, -- allowed silence, s
    CASE
        WHEN s.last_event_ms IS NULL THEN 'missing'
        WHEN ($as_of_ms - s.last_event_ms) / 1e3 > r.max_silence_s THEN 'silent'
        ELSE 'ok'
    END AS status, -- ok, silent, or missing: nothing accepted in the window
FROM wanted AS w
INNER JOIN source_rules AS r USING (source)
LEFT JOIN spoken AS s USING (source, symbol)
ORDER BY w.source, w.symbol
