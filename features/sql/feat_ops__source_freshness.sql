-- How old the newest accepted line of each source is, in event time, and whether that is too old.
-- Grain: source, symbol
-- Units: _s seconds, _n and _24h counts
-- Source: raw_sources
-- Params: as_of_ms, source_rules; symbol * = all symbols; a source that never spoke has n = 0
WITH by_symbol AS (
    SELECT
        source,
        symbol,
        SUM(n) AS n,
        MAX(event_ms) AS last_event_ms,
        MAX(ingested_ms) AS last_bytes_ms,
        SUM(n - rejected_n) FILTER (is_recent) AS rows_24h,
        SUM(rejected_n) FILTER (is_recent) AS rejected_24h,
        SUM(n) FILTER (first_ms IS NULL) AS undated_n,
    FROM raw_sources
    GROUP BY source, symbol
),

-- A line without a time takes that of the lines before it in its log, else of those behind it: when
-- it was read says nothing, because a first reading brings years at once.
logs AS (
    SELECT
        source,
        source_id,
        MIN(first_ms) AS first_ms,
        MIN(line_offset) FILTER (is_recent) AS recent_offset,
    FROM raw_sources
    WHERE first_ms IS NOT NULL
    GROUP BY source, source_id
),

undated AS (
    SELECT
        u.source,
        u.symbol,
        COUNT(*) AS rejected_24h,
    FROM raw_sources AS u
    INNER JOIN logs AS l USING (source, source_id)
    WHERE u.first_ms IS NULL
      AND (u.line_offset > l.recent_offset OR l.first_ms > $as_of_ms - 86400000)
    GROUP BY u.source, u.symbol
),

spoken AS (
    SELECT
        b.source,
        COALESCE(b.symbol, '*') AS symbol,
        CAST(SUM(n) AS BIGINT) AS n,
        MAX(last_event_ms) AS last_event_ms,
        MAX(last_bytes_ms) AS last_bytes_ms,
        CAST(SUM(COALESCE(rows_24h, 0)) AS BIGINT) AS rows_24h,
        CAST(SUM(COALESCE(b.rejected_24h, 0) + COALESCE(u.rejected_24h, 0)) AS BIGINT) AS rejected_24h,
        CAST(SUM(COALESCE(undated_n, 0)) AS BIGINT) AS undated_n,
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
