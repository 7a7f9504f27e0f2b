-- fail: the bars of a symbol name two venues, whose prices would be mixed: keep one, or set symbol_key = "venue_symbol"
SELECT
    symbol,
    venue_n,
    bar_interval,
FROM feat_symbol__atr_regime
WHERE venue_n > 1
ORDER BY symbol
