-- fail: a ratio outside 0 to 1, a ratio of nothing, or parts that exceed their whole
SELECT
    *,
FROM feat_router__effectiveness
QUALIFY COUNT(*) OVER (PARTITION BY symbol) > 1
    OR fill_ratio NOT BETWEEN 0 AND 1
    OR maker_fill_ratio NOT BETWEEN 0 AND 1
    OR fallback_ratio NOT BETWEEN 0 AND 1
    OR (fill_known_n = 0 AND fill_ratio IS NOT NULL)
    OR (maker_known_n = 0 AND maker_fill_ratio IS NOT NULL)
    OR (fallback_known_n = 0 AND fallback_ratio IS NOT NULL)
    OR fill_known_n + unknown_n > n
    OR fill_n > fill_known_n
ORDER BY symbol
