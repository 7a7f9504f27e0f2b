-- fail: a symbol repeats, an ATR stands without its bars, or a regime or scale does not follow from the ratio
SELECT
    *,
FROM feat_symbol__atr_regime
QUALIFY COUNT(*) OVER (PARTITION BY symbol) > 1
    OR n NOT BETWEEN 0 AND 500
    OR atr_pct_50 < 0
    OR atr_pct_500 < 0
    OR atr_ratio < 0
    OR (atr_source = 'bars') <> (n = 500 AND bar_interval IS NOT NULL)
    OR (atr_source = 'short') <> (n BETWEEN 100 AND 499 AND bar_interval IS NOT NULL)
    OR (atr_source = 'none') <> (atr_pct_50 IS NULL)
    OR (regime = 'unknown') <> (atr_ratio IS NULL)
    OR (health_regime = 'unknown') <> (atr_ratio IS NULL)
    OR regime_scale NOT BETWEEN 0 AND 1
    OR (atr_source NOT IN ('bars', 'short') AND regime_scale <> 1)
ORDER BY symbol
