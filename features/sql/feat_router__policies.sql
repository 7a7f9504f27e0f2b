-- How the router should trade a symbol: a label of its quality by evidence and memory, and what follows from it.
-- Grain: symbol
-- Units: _ratio shares 0 to 1, _bps basis points, _n counts
-- Source: feat_symbol__scores, feat_router__effectiveness, feat_symbol__atr_regime, core_window__outcomes, previous_memory
-- Params: policy_*, wilson_z90, unconfirmed_fills, memory_ms, as_of_ms, environment
WITH scores AS (
    SELECT * FROM feat_symbol__scores WHERE is_active
),

-- What stays of a symbol's samples when the fills go that nobody confirmed.
attempts AS (
    SELECT
        symbol,
        outcome IN ('filled', 'partial') AS is_fill,
        outcome IN ('filled', 'partial') AND NOT COALESCE(is_confirmed, TRUE) AS is_left_out,
        outcome <> 'unknown' AS is_ended,
        is_maker,
        started_maker,
        used_fallback,
        CASE WHEN suspect_reason IS NULL THEN slippage_bps END AS slip_bps,
    FROM core_window__outcomes
    WHERE ($unconfirmed_fills = 'out' OR ($unconfirmed_fills = 'out_live' AND $environment = 'live'))
      AND symbol IN (SELECT symbol FROM feat_router__effectiveness WHERE unconfirmed_n > 0)
),

recounted AS (
    SELECT
        symbol,
        COUNT(*) FILTER (is_left_out) AS left_out_n,
        COUNT(is_maker) FILTER (is_fill AND NOT is_left_out) AS maker_known_n,
        COUNT(*) FILTER (is_fill AND is_maker AND NOT is_left_out) AS maker_n,
        COUNT(used_fallback) FILTER (started_maker AND is_ended AND NOT is_left_out) AS fallback_known_n,
        COUNT(*) FILTER (started_maker AND used_fallback AND is_ended AND NOT is_left_out) AS fallback_n,
        COUNT(slip_bps) FILTER (NOT is_left_out) AS slip_n,
        quantile_cont(slip_bps, 0.5) FILTER (NOT is_left_out) AS slip_bps_q50,
    FROM attempts
    GROUP BY symbol
),

inputs AS (
    SELECT
        s.symbol,
        s.n,
        CASE WHEN r.symbol IS NULL THEN s.maker_fill_ratio ELSE r.maker_n / NULLIF(CAST(r.maker_known_n AS DOUBLE), 0e0) END
            AS maker_fill_ratio,
        COALESCE(r.maker_known_n, s.maker_known_n) AS maker_known_n,
        CASE WHEN r.symbol IS NULL THEN s.fallback_ratio ELSE r.fallback_n / NULLIF(CAST(r.fallback_known_n AS DOUBLE), 0e0) END
            AS fallback_ratio,
        COALESCE(r.fallback_known_n, s.fallback_known_n) AS fallback_known_n,
        CASE WHEN r.symbol IS NULL THEN s.slip_bps_q50 ELSE r.slip_bps_q50 END AS slip_bps_q50,
        COALESCE(r.slip_n, s.slip_n) AS slip_n,
        COALESCE(r.left_out_n, 0) AS left_out_n,
        s.maker_fill_ratio AS v510_maker,
        s.fallback_ratio AS v510_fallback,
        s.slip_bps_q50 AS v510_slip,
        COALESCE(a.regime, 'unknown') AS regime,
        COALESCE(a.n, 0) AS regime_n,
        a.atr_source IN ('bars', 'short') AND a.regime <> 'unknown' AS is_of_bars,
        a.atr_source = 'short' AS is_short,
    FROM scores AS s
    LEFT JOIN recounted AS r USING (symbol)
    LEFT JOIN feat_symbol__atr_regime AS a USING (symbol)
),

before AS (
    SELECT
        symbol,
        quality,
        candidate_quality,
        CASE WHEN fallback_at_ms > $as_of_ms - $memory_ms THEN fallback_ratio END AS fallback_ratio,
        CASE WHEN slip_at_ms > $as_of_ms - $memory_ms THEN slip_bps_q50 END AS slip_bps_q50,
        CASE WHEN regime_at_ms > $as_of_ms - $memory_ms THEN regime END AS regime,
        bars_at_ms > $as_of_ms - $memory_ms AS had_bars,
    FROM previous_memory
    WHERE decided_ms > $as_of_ms - $memory_ms
),

-- With few samples, or none, the worse of what is measured and what is remembered; of unconfirmed fills, the worse of
-- with and without them.
acting AS (
    SELECT
        i.*,
        b.quality AS previous_quality,
        b.candidate_quality AS previous_candidate,
        CASE
            WHEN i.fallback_ratio IS NOT NULL AND i.fallback_known_n >= $policy_min_n THEN i.fallback_ratio
            ELSE GREATEST(i.fallback_ratio, b.fallback_ratio)
        END AS sure_fallback_ratio,
        CASE
            WHEN i.slip_bps_q50 IS NOT NULL AND i.slip_n >= $policy_min_n THEN i.slip_bps_q50
            ELSE GREATEST(i.slip_bps_q50, b.slip_bps_q50)
        END AS sure_slip_bps,
        -- Fills that nobody confirmed make nothing look better, neither by being there nor by being left out.
        GREATEST(sure_fallback_ratio, i.v510_fallback) AS acting_fallback_ratio,
        GREATEST(sure_slip_bps, i.v510_slip) AS acting_slip_bps,
        CASE
            -- Where 500 bars were, fewer are a loss: they make a panic look normal.
            WHEN i.is_of_bars AND NOT (i.is_short AND COALESCE(b.had_bars, FALSE)) THEN i.regime
            WHEN 'panic' IN (i.regime, COALESCE(b.regime, '')) THEN 'panic'
            WHEN 'hot' IN (i.regime, COALESCE(b.regime, '')) THEN 'hot'
            WHEN i.regime = 'normal' THEN 'normal'
            ELSE 'unknown'
        END AS acting_regime,
        i.fallback_ratio + $wilson_z90 * $wilson_z90 / (2e0 * NULLIF(i.fallback_known_n, 0)) AS wilson_middle,
        $wilson_z90 * sqrt(
            GREATEST(i.fallback_ratio * (1e0 - i.fallback_ratio), 0e0) / NULLIF(i.fallback_known_n, 0)
            + pow($wilson_z90 / (2e0 * NULLIF(i.fallback_known_n, 0)), 2)
        ) AS wilson_half,
        1e0 + $wilson_z90 * $wilson_z90 / NULLIF(i.fallback_known_n, 0) AS wilson_whole,
    FROM inputs AS i
    LEFT JOIN before AS b USING (symbol)
),

-- 0 broken, 1 degraded, 2 unknown, 3 ok, 4 good: from the tightest to the loosest.
ranked AS (
    SELECT
        *,
        CASE
            WHEN acting_fallback_ratio >= $policy_broken_fallback OR acting_slip_bps >= $policy_broken_slip_bps THEN 0
            WHEN acting_fallback_ratio >= $policy_degraded_fallback OR acting_slip_bps >= $policy_degraded_slip_bps THEN 1
            WHEN maker_fill_ratio IS NULL AND sure_fallback_ratio IS NULL AND sure_slip_bps IS NULL THEN 2
            WHEN maker_fill_ratio >= $policy_good_maker AND maker_known_n >= $policy_min_n
                AND fallback_ratio <= $policy_good_fallback AND fallback_known_n >= $policy_min_n
                AND slip_bps_q50 <= $policy_good_slip_bps AND slip_n >= $policy_min_n
                AND v510_maker >= $policy_good_maker
                AND v510_fallback <= $policy_good_fallback
                AND v510_slip <= $policy_good_slip_bps
                THEN 4
            ELSE 3
        END AS candidate_rank,
        CASE
            WHEN v510_fallback >= $policy_broken_fallback OR v510_slip >= $policy_broken_slip_bps THEN 'broken'
            WHEN v510_fallback >= $policy_degraded_fallback OR v510_slip >= $policy_degraded_slip_bps THEN 'degraded'
            WHEN v510_maker >= $policy_good_maker
                AND v510_fallback <= $policy_good_fallback
                AND v510_slip <= $policy_good_slip_bps
                THEN 'good'
            ELSE 'ok'
        END AS quality_v510,
        CASE previous_quality WHEN 'broken' THEN 0 WHEN 'degraded' THEN 1 WHEN 'ok' THEN 3 WHEN 'good' THEN 4 ELSE 2 END
            AS previous_rank,
        CASE previous_candidate WHEN 'broken' THEN 0 WHEN 'degraded' THEN 1 WHEN 'ok' THEN 3 WHEN 'good' THEN 4 ELSE 2 END
            AS previous_candidate_rank,
    FROM acting
),

-- Worse acts at once; better only as far as the snapshot before saw it too.
labelled AS (
    SELECT
        *,
        CASE candidate_rank WHEN 0 THEN 'broken' WHEN 1 THEN 'degraded' WHEN 2 THEN 'unknown' WHEN 3 THEN 'ok' ELSE 'good' END
            AS candidate_quality,
        CASE LEAST(candidate_rank, GREATEST(previous_rank, previous_candidate_rank))
            WHEN 0 THEN 'broken' WHEN 1 THEN 'degraded' WHEN 2 THEN 'unknown' WHEN 3 THEN 'ok' ELSE 'good'
        END AS quality,
    FROM ranked
)

SELECT
    symbol AS symbol, -- instrument
    n AS n, -- attempts
    quality AS quality, -- broken, degraded, unknown, ok or good: the label that acts
    CASE
        WHEN quality = 'unknown' THEN CAST(NULL AS BOOLEAN)
        ELSE quality <> 'broken' AND NOT (quality = 'degraded' AND acting_regime = 'panic')
    END AS maker_first, -- try a maker order first; NULL = left to the strategy
    CASE
        WHEN acting_regime = 'panic' OR quality IN ('broken', 'degraded') THEN 'prefer_taker'
        WHEN quality = 'good' THEN 'prefer_maker'
        ELSE 'balanced'
    END AS taker_bias, -- prefer_taker, balanced or prefer_maker
    regime AS regime, -- volatility regime of this snapshot
    concat_ws(
        '; ',
        'quality=' || quality,
        'regime=' || acting_regime,
        CASE WHEN acting_fallback_ratio >= $policy_degraded_fallback THEN 'too many fallbacks' END,
        CASE WHEN acting_slip_bps >= $policy_degraded_slip_bps THEN 'too much slippage' END,
        CASE WHEN quality = 'good' THEN 'maker orders fill well' END,
        CASE WHEN candidate_rank = 2 THEN 'nothing known of the router' END,
        CASE WHEN quality <> candidate_quality THEN candidate_quality || ' waits for a second snapshot' END,
        CASE WHEN acting_regime = 'panic' THEN 'panic takes' END
    ) AS reason, -- why, in words
    quality_v510 AS quality_v510, -- the label of the numbers alone, as v5.10: no evidence, no memory
    candidate_quality AS candidate_quality, -- what this snapshot by itself would say
    previous_quality AS previous_quality, -- the label that acted before; NULL = none is remembered
    maker_fill_ratio AS maker_fill_ratio, -- share of fills that were maker; NULL = unknown
    maker_known_n AS maker_known_n, -- fills behind it
    fallback_ratio AS fallback_ratio, -- share of maker attempts that fell back; NULL = unknown
    CASE WHEN fallback_known_n > 0 THEN GREATEST((wilson_middle - wilson_half) / wilson_whole, 0e0) END
        AS fallback_lo90, -- lower one-sided 90 % Wilson bound of it
    CASE WHEN fallback_known_n > 0 THEN LEAST((wilson_middle + wilson_half) / wilson_whole, 1e0) END
        AS fallback_hi90, -- upper one-sided 90 % Wilson bound of it
    fallback_known_n AS fallback_known_n, -- maker attempts behind it
    slip_bps_q50 AS slip_bps_q50, -- median slippage, bps; NULL = unknown
    slip_n AS slip_n, -- fills behind it
    regime_n AS regime_n, -- bars behind the regime
    left_out_n AS left_out_n, -- unconfirmed fills that were left out
    acting_fallback_ratio AS acting_fallback_ratio, -- what the label takes: not below that of all fills, with few samples not below what is remembered
    acting_slip_bps AS acting_slip_bps, -- the same of slippage, bps
    acting_regime AS acting_regime, -- the regime that acts: of bars; else hot or panic of fills or memory
FROM labelled
ORDER BY symbol
