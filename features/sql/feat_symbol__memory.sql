-- What the next snapshot remembers of this one: the size and label that acted, and when each input was last known.
-- Grain: symbol
-- Units: size_factor a factor of the target, _bps basis points, _ratio shares 0 to 1, _ms epoch milliseconds
-- Source: feat_symbol__scores, feat_symbol__sizing, feat_symbol__atr_regime, feat_router__policies, previous_memory
-- Params: as_of_ms, memory_ms
WITH remembered AS (
    SELECT
        s.symbol,
        s.n,
        $as_of_ms AS decided_ms,
        TRUE AS is_listed,
        z.final_size_factor AS size_factor,
        p.quality,
        p.candidate_quality,
        p.acting_fallback_ratio AS fallback_ratio,
        CASE
            WHEN p.fallback_ratio IS NOT NULL AND p.acting_fallback_ratio = GREATEST(p.fallback_ratio, s.fallback_ratio)
            THEN $as_of_ms
            ELSE m.fallback_at_ms
        END AS fallback_at_ms,
        p.acting_slip_bps AS slip_bps_q50,
        CASE
            WHEN p.slip_bps_q50 IS NOT NULL AND p.acting_slip_bps = GREATEST(p.slip_bps_q50, s.slip_bps_q50)
            THEN $as_of_ms
            ELSE m.slip_at_ms
        END AS slip_at_ms,
        p.acting_regime AS regime,
        CASE WHEN p.regime = p.acting_regime THEN $as_of_ms ELSE m.regime_at_ms END AS regime_at_ms,
        CASE WHEN s.sharpe IS NOT NULL THEN $as_of_ms ELSE m.sharpe_at_ms END AS sharpe_at_ms,
        CASE WHEN s.atr_ratio IS NOT NULL THEN $as_of_ms ELSE m.atr_at_ms END AS atr_at_ms,
        CASE WHEN a.atr_source = 'bars' THEN $as_of_ms ELSE m.bars_at_ms END AS bars_at_ms,
        CASE WHEN s.maker_fill_ratio IS NOT NULL THEN $as_of_ms ELSE m.maker_at_ms END AS maker_at_ms,
        CASE WHEN s.dd_pct IS NOT NULL THEN $as_of_ms ELSE m.dd_at_ms END AS dd_at_ms,
        CASE WHEN s.fee_bps IS NOT NULL THEN $as_of_ms ELSE m.fee_at_ms END AS fee_at_ms,
        CASE WHEN z.daily_vol IS NOT NULL THEN $as_of_ms ELSE m.vol_at_ms END AS vol_at_ms,
        -- The best within memory: a coverage that fell holds sizes until it is as good again.
        CASE
            WHEN m.coverage_at_ms > $as_of_ms - $memory_ms AND m.pnl_coverage > COALESCE(z.pnl_coverage, 0e0)
            THEN m.pnl_coverage
            ELSE z.pnl_coverage
        END AS pnl_coverage,
        CASE
            WHEN m.coverage_at_ms > $as_of_ms - $memory_ms AND m.pnl_coverage > COALESCE(z.pnl_coverage, 0e0)
            THEN m.coverage_at_ms
            WHEN z.pnl_coverage IS NOT NULL THEN $as_of_ms
        END AS coverage_at_ms,
    FROM feat_symbol__scores AS s
    INNER JOIN feat_symbol__sizing AS z USING (symbol)
    INNER JOIN feat_router__policies AS p USING (symbol)
    LEFT JOIN feat_symbol__atr_regime AS a USING (symbol)
    LEFT JOIN previous_memory AS m USING (symbol)
    WHERE s.is_active
    UNION ALL
    -- A symbol that comes back within memory is met as it was left.
    SELECT
        symbol,
        0 AS n,
        decided_ms,
        FALSE AS is_listed,
        size_factor,
        quality,
        candidate_quality,
        fallback_ratio,
        fallback_at_ms,
        slip_bps_q50,
        slip_at_ms,
        regime,
        regime_at_ms,
        sharpe_at_ms,
        atr_at_ms,
        bars_at_ms,
        maker_at_ms,
        dd_at_ms,
        fee_at_ms,
        vol_at_ms,
        pnl_coverage,
        coverage_at_ms,
    FROM previous_memory
    WHERE decided_ms > $as_of_ms - $memory_ms
      AND symbol NOT IN (SELECT symbol FROM feat_symbol__scores)
)

SELECT
    symbol AS symbol, -- instrument
    CAST(n AS BIGINT) AS n, -- attempts; 0 where the symbol is only remembered
    CAST(decided_ms AS BIGINT) AS decided_ms, -- as-of of the snapshot that decided
    is_listed AS is_listed, -- that is this snapshot
    size_factor AS size_factor, -- final_size_factor
    quality AS quality, -- label that acted
    candidate_quality AS candidate_quality, -- label of that snapshot by itself
    fallback_ratio AS fallback_ratio, -- fallback ratio that acted; NULL = unknown
    CAST(fallback_at_ms AS BIGINT) AS fallback_at_ms, -- when it was measured
    slip_bps_q50 AS slip_bps_q50, -- median slippage that acted, bps; NULL = unknown
    CAST(slip_at_ms AS BIGINT) AS slip_at_ms, -- when it was measured
    regime AS regime, -- volatility regime that acted
    CAST(regime_at_ms AS BIGINT) AS regime_at_ms, -- when it was measured
    CAST(sharpe_at_ms AS BIGINT) AS sharpe_at_ms, -- when the Sharpe ratio was last known; NULL = never within memory
    CAST(atr_at_ms AS BIGINT) AS atr_at_ms, -- the same of the ATR ratio of bars
    CAST(bars_at_ms AS BIGINT) AS bars_at_ms, -- the same of 500 bars: fewer make a panic look normal
    CAST(maker_at_ms AS BIGINT) AS maker_at_ms, -- of the maker fill ratio
    CAST(dd_at_ms AS BIGINT) AS dd_at_ms, -- of the drawdown
    CAST(fee_at_ms AS BIGINT) AS fee_at_ms, -- of fees
    CAST(vol_at_ms AS BIGINT) AS vol_at_ms, -- of the realised volatility
    pnl_coverage AS pnl_coverage, -- best coverage of the account within memory; NULL = never known
    CAST(coverage_at_ms AS BIGINT) AS coverage_at_ms, -- when that was
FROM remembered
ORDER BY symbol
