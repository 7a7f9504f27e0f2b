-- hold: sizes jump against the snapshot before, or that cannot be read any more; look, then execintel snapshots publish
WITH sizes AS (
    SELECT
        symbol,
        COALESCE(b.size_factor, $size_unknown) AS size_before, -- engines take as much where a symbol is not there
        COALESCE(s.final_size_factor, $size_unknown) AS size_now,
    FROM (SELECT * FROM previous_memory WHERE is_listed) AS b
    FULL JOIN feat_symbol__sizing AS s USING (symbol)
),

jumps AS (
    SELECT
        COUNT(*) AS symbol_n,
        COUNT(*) FILTER (abs(size_now - size_before) > $hold_change_share * size_before * (1 + 1e-9)) AS jumped_n,
        CAST(SUM(CAST(size_before AS DECIMAL(38, 15))) AS DOUBLE) AS gross_before,
        CAST(SUM(CAST(size_now AS DECIMAL(38, 15))) AS DOUBLE) AS gross_now,
    FROM sizes
)

SELECT
    $before_state AS memory,
    jumped_n,
    symbol_n,
    gross_before,
    gross_now,
FROM jumps
WHERE ($hold_changes = 'always' OR ($hold_changes = 'live' AND $environment = 'live'))
  AND (
      $before_state = 'lost'
      OR (
          $before_state = 'read'
          AND (
              jumped_n > $hold_symbol_share * symbol_n
              OR abs(gross_now - gross_before) > $hold_change_share * gross_before * (1 + 1e-9)
          )
      )
  )
ORDER BY memory
