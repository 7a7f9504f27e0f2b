-- fail: an hour repeats, counts nothing yet estimates something, or its bounds do not enclose its estimate
SELECT
    symbol,
    hour_utc,
    n,
    close_n,
    slip_n,
    exp_per_notional,
    slip_bps_avg,
FROM feat_execution__hourly_expectancy
QUALIFY COUNT(*) OVER (PARTITION BY symbol, hour_utc) > 1
    OR hour_utc NOT BETWEEN 0 AND 23
    OR (notional_usd = 0 AND exp_per_notional IS NOT NULL)
    OR (slip_n = 0 AND slip_bps_avg IS NOT NULL)
    OR (funding_n = 0) <> (funding_usd IS NULL)
    OR (close_n < 2 AND exp_stderr IS NOT NULL)
    OR exp_lo95 > exp_per_notional
    OR exp_hi95 < exp_per_notional
    OR abs(slip_bps_avg) >= 5000
    OR shrink_weight NOT BETWEEN 0 AND 1
ORDER BY symbol, hour_utc
