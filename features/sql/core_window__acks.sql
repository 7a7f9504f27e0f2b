-- How many attempts of the window fell into which bin of time to the venue's acknowledgement, by symbol.
-- Grain: symbol, bin; rows of several files, which add up
-- Units: _n counts; bin numbers grow with the time
-- Source: core_window__outcomes
-- Params: none
-- Adds up: over files of core_execution__outcomes
SELECT
    symbol AS symbol, -- instrument
    fine_bin(ack_ms) AS bin, -- number of the bin
    COUNT(*) AS n, -- attempts with a known time
FROM core_window__outcomes
WHERE ack_ms IS NOT NULL
GROUP BY symbol, fine_bin(ack_ms)
