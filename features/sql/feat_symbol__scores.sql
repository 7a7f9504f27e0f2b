-- How good a symbol is to trade, by both models, with every part of the score and what it lacks.
-- Grain: symbol, model
-- Units: _score and score points, size_factor a factor, _bps basis points, _pct percent of equity
-- Source: feat_router__effectiveness, feat_symbol__performance, feat_symbol__atr_regime, feat_execution__slippage_quartiles, core_window__hourly
-- Params: score_model, exclude_stacked, v510_*, v511_* (knots), size_factor_min, size_factor_max
WITH symbols AS (
    SELECT symbol FROM feat_router__effectiveness WHERE symbol <> '*'
    UNION
    SELECT symbol FROM feat_symbol__performance
),

fees AS (
    SELECT
        symbol,
        CAST(SUM(priced_fees_n) AS BIGINT) AS fee_n,
        1e4 * CAST(SUM(CAST(priced_fees_usd AS DECIMAL(38, 15))) AS DOUBLE)
            / NULLIF(CAST(SUM(CAST(priced_notional_usd AS DECIMAL(38, 15))) AS DOUBLE), 0e0) AS fee_bps,
    FROM core_window__hourly
    GROUP BY symbol
),

-- No infinity and no NaN gets past a comparison with a bound.
inputs AS (
    SELECT
        s.symbol,
        COALESCE(e.n, 0) AS n,
        COALESCE(p.round_trip_n, 0) AS round_trip_n,
        COALESCE(e.maker_known_n, 0) AS maker_known_n,
        COALESCE(e.fallback_known_n, 0) AS fallback_known_n,
        COALESCE(q.n, 0) AS slip_n,
        COALESCE(f.fee_n, 0) AS fee_n,
        CASE WHEN abs(p.sharpe_7d) < 1e15 THEN p.sharpe_7d END AS sharpe,
        CASE WHEN a.atr_source IN ('bars', 'short') AND abs(a.atr_ratio) < 1e15 THEN a.atr_ratio END AS atr_ratio,
        CASE WHEN abs(e.maker_fill_ratio) <= 1 THEN e.maker_fill_ratio END AS maker_fill_ratio,
        CASE WHEN abs(e.fallback_ratio) <= 1 THEN e.fallback_ratio END AS fallback_ratio,
        CASE WHEN abs(q.slip_bps_q50) < 1e15 THEN q.slip_bps_q50 END AS slip_bps_q50,
        CASE WHEN abs(p.dd_today_pct) < 1e15 THEN p.dd_today_pct END AS dd_pct,
        CASE WHEN abs(f.fee_bps) < 1e15 THEN f.fee_bps END AS fee_bps,
    FROM symbols AS s
    LEFT JOIN feat_router__effectiveness AS e USING (symbol)
    LEFT JOIN feat_symbol__performance AS p USING (symbol)
    LEFT JOIN feat_symbol__atr_regime AS a USING (symbol)
    LEFT JOIN feat_execution__slippage_quartiles AS q
        ON q.symbol = s.symbol
       AND q.hour_utc = -1
    LEFT JOIN fees AS f
        ON f.symbol = s.symbol
),

segments AS (
    SELECT
        param,
        x,
        y,
        MIN(x) OVER (PARTITION BY param) AS first_x,
        LEAD(x) OVER (PARTITION BY param ORDER BY x) AS next_x,
        LEAD(y) OVER (PARTITION BY param ORDER BY x) AS next_y,
    FROM param_knots
),

terms AS (
    SELECT symbol, 'v511_sharpe' AS param, sharpe AS x FROM inputs
    UNION ALL
    SELECT symbol, 'v511_atr_ratio' AS param, atr_ratio AS x FROM inputs
    UNION ALL
    SELECT symbol, 'v511_maker' AS param, maker_fill_ratio AS x FROM inputs
    UNION ALL
    SELECT symbol, 'v511_fallback' AS param, fallback_ratio AS x FROM inputs
    UNION ALL
    SELECT symbol, 'v511_slip' AS param, slip_bps_q50 AS x FROM inputs
    UNION ALL
    SELECT symbol, 'v511_dd' AS param, dd_pct AS x FROM inputs
    UNION ALL
    SELECT symbol, 'v511_fee' AS param, fee_bps AS x FROM inputs
),

points AS (
    SELECT
        t.symbol,
        t.param,
        g.y + COALESCE((g.next_y - g.y) * (GREATEST(t.x, g.first_x) - g.x) / (g.next_x - g.x), 0e0) AS score,
    FROM terms AS t
    INNER JOIN segments AS g
        ON g.param = t.param
       AND GREATEST(t.x, g.first_x) >= g.x
       AND (g.next_x IS NULL OR t.x < g.next_x)
),

lines AS (
    SELECT
        symbol,
        MAX(score) FILTER (param = 'v511_sharpe' AND $exclude_stacked = 'off') AS sharpe_score,
        MAX(score) FILTER (param = 'v511_atr_ratio' AND $exclude_stacked = 'off') AS atr_score,
        MAX(score) FILTER (param = 'v511_maker') AS maker_score,
        MAX(score) FILTER (param = 'v511_fallback') AS fallback_score,
        MAX(score) FILTER (param = 'v511_slip') AS slip_score,
        MAX(score) FILTER (param = 'v511_dd') AS dd_score,
        MAX(score) FILTER (param = 'v511_fee') AS fee_score,
    FROM points
    GROUP BY symbol
),

parts AS (
    SELECT
        i.*,
        'v5.10' AS model,
        FALSE AS is_excluded,
        CASE
            WHEN sharpe IS NULL THEN 0e0
            WHEN sharpe <= $v510_sharpe_low THEN -1e0
            WHEN sharpe >= $v510_sharpe_high THEN 1e0
            ELSE sharpe / 2e0
        END AS sharpe_score,
        CASE
            WHEN atr_ratio < $v510_atr_quiet_below THEN $v510_atr_quiet_score
            WHEN atr_ratio > $v510_atr_wild_above THEN $v510_atr_wild_score
            WHEN atr_ratio BETWEEN $v510_atr_calm_from AND $v510_atr_calm_to THEN $v510_atr_calm_score
            ELSE 0e0
        END AS atr_score,
        COALESCE((maker_fill_ratio - 0.5e0) * $v510_maker_weight, 0e0) AS maker_score,
        CASE
            WHEN fallback_ratio > $v510_fallback_free THEN $v510_fallback_free - fallback_ratio
            ELSE 0e0
        END AS fallback_score,
        CASE WHEN slip_bps_q50 > $v510_slip_above_bps THEN $v510_slip_score ELSE 0e0 END AS slip_score,
        CASE
            WHEN dd_pct <= $v510_dd_deep_pct THEN $v510_dd_deep_score
            WHEN dd_pct <= $v510_dd_pct THEN $v510_dd_score
            WHEN dd_pct >= $v510_gain_pct THEN $v510_gain_score
            ELSE 0e0
        END AS dd_score,
        0e0 AS fee_score,
    FROM inputs AS i
    UNION ALL
    SELECT
        i.*,
        'v5.11' AS model,
        $exclude_stacked = 'on' AS is_excluded,
        COALESCE(l.sharpe_score, 0e0) AS sharpe_score,
        COALESCE(l.atr_score, 0e0) AS atr_score,
        COALESCE(l.maker_score, 0e0) AS maker_score,
        COALESCE(l.fallback_score, 0e0) AS fallback_score,
        COALESCE(l.slip_score, 0e0) AS slip_score,
        COALESCE(l.dd_score, 0e0) AS dd_score,
        COALESCE(l.fee_score, 0e0) AS fee_score,
    FROM inputs AS i
    LEFT JOIN lines AS l USING (symbol)
),

scored AS (
    SELECT
        *,
        maker_score + fallback_score + slip_score AS router_score,
        sharpe_score + atr_score + (maker_score + fallback_score + slip_score) + dd_score + fee_score AS score,
    FROM parts
),

sized AS (
    SELECT
        s.*,
        CASE
            WHEN s.model = 'v5.11'
            THEN g.y + COALESCE((g.next_y - g.y) * (GREATEST(s.score, g.first_x) - g.x) / (g.next_x - g.x), 0e0)
            WHEN s.score <= $v510_size_low_score THEN $v510_size_low
            WHEN s.score >= $v510_size_high_score THEN $v510_size_high
            ELSE 1e0 + $v510_size_slope * s.score
        END AS size_factor,
    FROM scored AS s
    LEFT JOIN segments AS g
        ON s.model = 'v5.11'
       AND g.param = 'v511_size'
       AND GREATEST(s.score, g.first_x) >= g.x
       AND (g.next_x IS NULL OR s.score < g.next_x)
)

SELECT
    symbol AS symbol, -- instrument
    model AS model, -- v5.10: steps, kept as they were; v5.11: the same without jumps, with fees
    n AS n, -- attempts
    model = $score_model AS is_active, -- the parameter score_model names this model: it acts
    score AS score, -- sum of the parts
    LEAST(GREATEST(size_factor, $size_factor_min), $size_factor_max) AS size_factor, -- what the score would make of a size, before any guard
    sharpe AS sharpe, -- sharpe_7d; NULL = unknown
    sharpe_score AS sharpe_score, -- part of the score by Sharpe
    atr_ratio AS atr_ratio, -- ATR ratio from bars; NULL = unknown or from fills
    atr_score AS atr_score, -- part by volatility
    maker_fill_ratio AS maker_fill_ratio, -- share of fills that were maker; NULL = unknown
    maker_score AS maker_score, -- part by it
    fallback_ratio AS fallback_ratio, -- share of maker attempts that fell back; NULL = unknown
    fallback_score AS fallback_score, -- part by it
    slip_bps_q50 AS slip_bps_q50, -- median slippage, bps; NULL = unknown
    slip_score AS slip_score, -- part by it
    router_score AS router_score, -- maker_score + fallback_score + slip_score
    dd_pct AS dd_pct, -- dd_today_pct, percent of equity; NULL = unknown
    dd_score AS dd_score, -- part by drawdown
    fee_bps AS fee_bps, -- known fees of fills and lone closes, bps of their notional; NULL = unknown
    fee_score AS fee_score, -- part by fees; v5.10 has none
    concat_ws(
        ',',
        CASE WHEN sharpe IS NULL AND NOT is_excluded THEN 'sharpe' END,
        CASE WHEN atr_ratio IS NULL AND NOT is_excluded THEN 'atr_ratio' END,
        CASE WHEN maker_fill_ratio IS NULL THEN 'maker_fill_ratio' END,
        CASE WHEN fallback_ratio IS NULL THEN 'fallback_ratio' END,
        CASE WHEN slip_bps_q50 IS NULL THEN 'slip_bps_q50' END,
        CASE WHEN dd_pct IS NULL THEN 'dd_pct' END,
        CASE WHEN fee_bps IS NULL AND model = 'v5.11' THEN 'fee_bps' END
    ) AS missing, -- inputs of the model that are unknown and contribute 0, comma-separated
    (
        CASE WHEN sharpe IS NOT NULL AND NOT is_excluded THEN 1e0 ELSE 0e0 END
        + CASE WHEN atr_ratio IS NOT NULL AND NOT is_excluded THEN 1e0 ELSE 0e0 END
        + CASE WHEN maker_fill_ratio + fallback_ratio + slip_bps_q50 IS NOT NULL THEN 1e0 ELSE 0e0 END
        + CASE WHEN dd_pct IS NOT NULL THEN 1e0 ELSE 0e0 END
        + CASE WHEN fee_bps IS NOT NULL AND model = 'v5.11' THEN 1e0 ELSE 0e0 END
    ) / (
        4e0
        + CASE WHEN model = 'v5.11' THEN 1e0 ELSE 0e0 END
        - CASE WHEN is_excluded THEN 2e0 ELSE 0e0 END
    ) AS coverage, -- share of the model's parts whose inputs are all known
    CASE WHEN is_excluded THEN 'sharpe,atr_ratio' ELSE '' END AS excluded, -- inputs left to the sizing, comma-separated
    round_trip_n AS round_trip_n, -- round trips behind sharpe
    maker_known_n AS maker_known_n, -- fills behind maker_fill_ratio
    fallback_known_n AS fallback_known_n, -- attempts behind fallback_ratio
    slip_n AS slip_n, -- fills behind slip_bps_q50
    fee_n AS fee_n, -- fills and lone closes behind fee_bps
FROM sized
ORDER BY symbol, model
