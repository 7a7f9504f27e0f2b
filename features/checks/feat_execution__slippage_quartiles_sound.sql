-- fail: quartiles out of order, beyond 5000 bps, or given without a fill: an artefact of an unfilled order got in
SELECT
    *,
FROM feat_execution__slippage_quartiles
QUALIFY COUNT(*) OVER (PARTITION BY symbol, hour_utc) > 1
    OR slip_bps_q25 > slip_bps_q50
    OR slip_bps_q50 > slip_bps_q75
    OR slip_bps_q75 > slip_bps_q95
    OR fresh_q25 > fresh_q50
    OR fresh_q50 > fresh_q75
    OR abs(slip_bps_q25) >= 5000
    OR abs(slip_bps_q99) >= 5000
    OR (n = 0 AND slip_bps_q50 IS NOT NULL)
    OR (fresh_n = 0 AND fresh_q50 IS NOT NULL)
    OR fresh_n + age_unknown_n > n
ORDER BY symbol, hour_utc
