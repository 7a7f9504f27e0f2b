-- fail: a tenth of confidence repeats, or its mean confidence lies outside it
SELECT
    *,
FROM feat_telemetry__calibration
QUALIFY COUNT(*) OVER (PARTITION BY strategy, confidence_decile) > 1
    OR confidence_decile NOT BETWEEN 0 AND 9
    OR confidence_avg < confidence_decile / 10.0 - 1e-9
    OR confidence_avg > (confidence_decile + 1) / 10.0 + 1e-9
    OR hit_ratio NOT BETWEEN 0 AND 1
    OR net_n > trade_n
ORDER BY strategy, confidence_decile
