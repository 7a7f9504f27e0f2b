-- fail: a symbol repeats or is forgotten, or what the next snapshot is to remember is not what acted in this one
SELECT
    s.symbol,
    m.symbol AS remembered_symbol,
    m.is_listed,
    m.decided_ms,
    s.final_size_factor,
    m.size_factor,
    p.quality,
    m.quality AS remembered_quality,
FROM feat_symbol__memory AS m
FULL JOIN feat_symbol__sizing AS s USING (symbol)
LEFT JOIN feat_router__policies AS p ON p.symbol = s.symbol
QUALIFY COUNT(*) OVER (PARTITION BY COALESCE(m.symbol, s.symbol)) > 1
    OR m.symbol IS NULL
    OR m.is_listed <> (s.symbol IS NOT NULL)
    OR m.decided_ms > $as_of_ms
    OR (m.is_listed AND m.decided_ms <> $as_of_ms)
    OR (m.is_listed AND COALESCE(m.size_factor <> s.final_size_factor, TRUE))
    OR (m.is_listed AND COALESCE(m.quality <> p.quality, TRUE))
ORDER BY s.symbol, remembered_symbol
