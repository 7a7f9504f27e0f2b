-- fail: a symbol lacks a model or has it twice, a score is not the sum of its parts, or a size factor is out of bounds
SELECT
    *,
FROM feat_symbol__scores
QUALIFY COUNT(*) OVER (PARTITION BY symbol, model) > 1
    OR COUNT(*) OVER (PARTITION BY symbol) <> 2
    OR COUNT(*) FILTER (is_active) OVER (PARTITION BY symbol) <> 1
    OR COALESCE(abs(score) > 100, TRUE)
    OR COALESCE(abs(score - (sharpe_score + atr_score + router_score + dd_score + fee_score)) > 1e-9, TRUE)
    OR COALESCE(abs(router_score - (maker_score + fallback_score + slip_score)) > 1e-9, TRUE)
    OR COALESCE(size_factor NOT BETWEEN $size_factor_min AND $size_factor_max, TRUE)
    OR coverage NOT BETWEEN 0 AND 1
    OR (coverage = 1) <> (missing = '')
ORDER BY symbol, model
