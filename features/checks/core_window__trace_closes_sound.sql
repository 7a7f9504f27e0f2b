-- fail: a trade stands twice, has no return, or closed after as-of
SELECT
    strategy,
    symbol,
    account,
    of_strategy,
    of_symbol,
    position_side,
    trip_n,
    close_ms,
    return_pct,
FROM core_window__trace_closes
QUALIFY COUNT(*) OVER (
        PARTITION BY strategy, symbol, account, of_strategy, of_symbol, position_side, trip_n
    ) > 1
    OR return_pct IS NULL
    OR position_side IS NULL
    OR close_ms > $as_of_ms
ORDER BY close_ms, strategy, symbol
LIMIT 100
