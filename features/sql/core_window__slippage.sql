-- How many fills of the window fell into which bin of slippage, by symbol and hour of the day.
-- Grain: symbol, hour_utc, bin; rows of several files, which add up
-- Units: _n counts; bin numbers grow with slippage, NULL = none
-- Source: core_window__outcomes
-- Params: fresh_mark_age_ms, winsor_bps
-- Adds up: over files of core_execution__outcomes
WITH fills AS (
    SELECT
        symbol,
        hour_utc,
        CASE WHEN suspect_reason IS NULL THEN slippage_bps END AS slip_bps,
        suspect_reason IS NOT NULL AS is_suspect,
        -- A mark from after its fill is a fault of two clocks: its age is unknown.
        COALESCE(mark_age_ms >= 0 AND mark_age_ms < $fresh_mark_age_ms, FALSE) AS is_fresh,
        COALESCE(mark_age_ms < 0, TRUE) AS is_age_unknown,
    FROM core_window__outcomes
    WHERE slippage_bps IS NOT NULL
       OR suspect_reason IS NOT NULL
)

SELECT
    symbol AS symbol, -- instrument
    hour_utc AS hour_utc, -- UTC hour of day
    fine_bin(slip_bps) AS bin, -- number of the bin; NULL = suspect fills
    COUNT(slip_bps) AS n, -- fills with slippage
    COUNT(slip_bps) FILTER (is_fresh) AS fresh_n, -- of those, with a decision price younger than the limit
    COUNT(slip_bps) FILTER (is_age_unknown) AS age_unknown_n, -- of those, with a decision price of unknown age
    COUNT(*) FILTER (abs(slip_bps) > $winsor_bps) AS clipped_n, -- of those, clipped for the winsorised mean
    COUNT(*) FILTER (is_suspect) AS suspect_n, -- rows kept out as suspect
FROM fills
GROUP BY symbol, hour_utc, fine_bin(slip_bps)
