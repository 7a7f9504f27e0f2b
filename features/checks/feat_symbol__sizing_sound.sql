-- fail: a symbol repeats or lacks its size, a factor is out of bounds, or a guard let more through than it may
SELECT
    *,
FROM feat_symbol__sizing
QUALIFY COUNT(*) OVER (PARTITION BY symbol) > 1
    OR COALESCE(final_size_factor NOT BETWEEN $size_factor_min AND $size_factor_max, TRUE)
    OR COALESCE(abs(product_v510 - inverse_vol * regime_scale * sharpe_mult * intel_size_factor) > 1e-9, TRUE)
    OR COALESCE(sharpe_mult NOT BETWEEN $sharpe_mult_low AND $sharpe_mult_high, TRUE)
    OR COALESCE(regime_scale NOT BETWEEN 0 AND 1, TRUE)
    OR COALESCE(inverse_vol NOT BETWEEN $size_factor_min AND $size_factor_max, TRUE)
    OR (final_size_factor > GREATEST(1, $size_factor_min)
        AND (incomplete OR n < $evidence_min_round_trips OR COALESCE(sharpe_lo90 <= 0, TRUE)))
    OR (previous_size_factor IS NULL AND final_size_factor > GREATEST($size_first_max, $size_factor_min))
    OR (final_size_factor > $size_factor_min AND final_size_factor > previous_size_factor * (1 + $size_change_max) + 1e-9)
    OR (final_size_factor > $size_factor_min AND is_input_lost AND final_size_factor > previous_size_factor)
    OR (n < 2 AND sharpe_7d IS NOT NULL)
    OR (daily_vol_n = 0 AND daily_vol IS NOT NULL)
    OR (capped_by = '' AND final_size_factor <> product_v510)
ORDER BY symbol
