-- fail: a symbol repeats, a label is none of the five, few samples promoted one, or its routing does not follow
SELECT
    *,
FROM feat_router__policies
QUALIFY COUNT(*) OVER (PARTITION BY symbol) > 1
    OR COALESCE(quality NOT IN ('broken', 'degraded', 'unknown', 'ok', 'good'), TRUE)
    OR COALESCE(taker_bias NOT IN ('prefer_taker', 'balanced', 'prefer_maker'), TRUE)
    OR (quality = 'unknown') <> (maker_first IS NULL)
    OR (quality = 'broken' AND maker_first)
    OR (quality IN ('broken', 'degraded') AND taker_bias <> 'prefer_taker')
    OR (acting_regime = 'panic' AND taker_bias <> 'prefer_taker')
    OR (taker_bias = 'prefer_maker' AND quality <> 'good')
    OR (candidate_quality = 'good' AND LEAST(maker_known_n, fallback_known_n, slip_n) < $policy_min_n)
    OR (previous_quality IS NULL AND quality IN ('ok', 'good'))
    OR (fallback_lo90 >= $policy_broken_fallback AND quality <> 'broken')
    OR (fallback_lo90 >= $policy_degraded_fallback AND quality NOT IN ('broken', 'degraded'))
    OR COALESCE(fallback_lo90 > fallback_hi90, FALSE)
    OR (maker_known_n = 0 AND maker_fill_ratio IS NOT NULL)
    OR (fallback_known_n = 0 AND fallback_ratio IS NOT NULL)
    OR (slip_n = 0 AND slip_bps_q50 IS NOT NULL)
ORDER BY symbol
