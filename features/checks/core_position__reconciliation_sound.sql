-- fail: an interval stands twice or runs backwards, its change is not what fills explain and do not, or it infers more fills than unknown orders
SELECT
    account,
    symbol,
    position_side,
    from_ms,
    to_ms,
    change_qty,
    explained_qty,
    unexplained_qty,
    cause,
FROM core_position__reconciliation
QUALIFY COUNT(*) OVER (PARTITION BY account, environment, symbol, position_side, from_ms) > 1
    OR to_ms <= from_ms
    OR abs(change_qty - explained_qty - unexplained_qty) > 1e-6 * (1 + abs(change_qty) + abs(explained_qty))
    OR inferred_fill_n NOT IN (0, unknown_n)
    OR unexplained_usd < 0
    OR (is_explained AND unexplained_usd IS NOT NULL)
    OR (is_explained IS NULL) <> (to_ms IS NULL)
    OR (NOT is_explained AND cause IS NULL)
ORDER BY from_ms, symbol, position_side
LIMIT 100
