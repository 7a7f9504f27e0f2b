-- fail: a symbol has not 24 hours, an offset is out of bounds, or it is not the sum of its parts
SELECT
    *,
FROM feat_router__maker_offsets
QUALIFY COUNT(*) OVER (PARTITION BY symbol) <> 24
    OR COUNT(*) OVER (PARTITION BY symbol, hour_utc) > 1
    OR hour_utc NOT BETWEEN 0 AND 23
    OR COALESCE(offset_bps NOT BETWEEN $offset_min_bps AND $offset_max_bps, TRUE)
    OR COALESCE(offset_v510_bps NOT BETWEEN $offset_min_bps AND $offset_max_bps, TRUE)
    OR (offset_bps > $offset_min_bps
        AND offset_bps < $offset_max_bps
        AND abs(
            offset_bps
            - (base_bps + regime_bps + maker_bps + fallback_bps + fallback_high_bps + slip_bps_adj + hour_bps)
        ) > 1e-9)
    OR (hour_bps <> 0 AND close_n < $offset_hour_min_n)
    OR (maker_known_n = 0 AND maker_fill_ratio IS NOT NULL)
    OR (fallback_known_n = 0 AND fallback_ratio IS NOT NULL)
    OR (slip_n = 0 AND slip_bps_q50 IS NOT NULL)
    OR (close_n = 0 AND (exp_per_notional IS NOT NULL OR exp_lo95 IS NOT NULL))
ORDER BY symbol, hour_utc
