-- How far from mid to quote a maker order, by hour of the day, with every adjustment.
-- Grain: symbol, hour_utc
-- Units: _bps basis points, of mid in offsets; _ratio shares 0 to 1; exp_* dollars per dollar of notional
-- Source: feat_symbol__scores, feat_router__policies, feat_execution__hourly_expectancy
-- Params: offset_*, policy_min_n; what quotes closer needs policy_min_n samples, what quotes wider needs none
WITH hours AS (
    SELECT
        hour_utc,
    FROM (
        VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11),
        (12), (13), (14), (15), (16), (17), (18), (19), (20), (21), (22), (23)
    ) AS v (hour_utc)
),

-- No infinity and no NaN gets past a comparison with a bound.
inputs AS (
    SELECT
        p.symbol,
        CAST(h.hour_utc AS BIGINT) AS hour_utc,
        p.n,
        p.regime,
        p.acting_regime,
        p.regime_n,
        p.maker_fill_ratio,
        p.maker_known_n,
        p.fallback_ratio,
        p.acting_fallback_ratio,
        p.fallback_known_n,
        p.slip_bps_q50,
        p.acting_slip_bps,
        p.slip_n,
        s.maker_fill_ratio AS v510_maker,
        s.fallback_ratio AS v510_fallback,
        s.slip_bps_q50 AS v510_slip,
        COALESCE(e.close_n, 0) AS close_n,
        -- An hour without a close earned nothing that is known.
        CASE WHEN e.close_n > 0 AND abs(e.exp_per_notional) < 1e15 THEN e.exp_per_notional END
            AS exp_per_notional,
        CASE WHEN abs(e.exp_lo95) < 1e15 THEN e.exp_lo95 END AS exp_lo95,
        CASE WHEN abs(e.exp_hi95) < 1e15 THEN e.exp_hi95 END AS exp_hi95,
    FROM feat_router__policies AS p
    CROSS JOIN hours AS h
    INNER JOIN feat_symbol__scores AS s
        ON s.symbol = p.symbol
       AND s.is_active
    LEFT JOIN feat_execution__hourly_expectancy AS e
        ON e.symbol = p.symbol
       AND e.hour_utc = h.hour_utc
),

adjusted AS (
    SELECT
        *,
        CASE acting_regime WHEN 'quiet' THEN $offset_quiet_bps WHEN 'hot' THEN $offset_hot_bps WHEN 'panic' THEN $offset_panic_bps ELSE 0e0 END
            AS regime_bps,
        CASE
            WHEN maker_fill_ratio > $offset_maker_above AND maker_known_n >= $policy_min_n AND v510_maker > $offset_maker_above
            THEN $offset_maker_bps
            ELSE 0e0
        END AS maker_bps,
        CASE WHEN acting_fallback_ratio > $offset_fallback_above THEN $offset_fallback_bps ELSE 0e0 END AS fallback_bps,
        CASE WHEN acting_fallback_ratio > $offset_fallback_high_above THEN $offset_fallback_high_bps ELSE 0e0 END
            AS fallback_high_bps,
        CASE
            WHEN acting_slip_bps > $offset_slip_above_bps THEN $offset_slip_bps
            WHEN acting_slip_bps < $offset_calm_below_bps AND slip_n >= $policy_min_n THEN $offset_calm_bps
            ELSE 0e0
        END AS slip_bps_adj,
        CASE
            WHEN close_n >= $offset_hour_min_n AND exp_per_notional > 0 AND exp_lo95 > 0 THEN $offset_hour_gain_bps
            WHEN close_n >= $offset_hour_min_n AND exp_per_notional < 0 AND exp_hi95 < 0 THEN $offset_hour_loss_bps
            ELSE 0e0
        END AS hour_bps,
        $offset_base_bps
        + CASE regime WHEN 'quiet' THEN $offset_quiet_bps WHEN 'hot' THEN $offset_hot_bps WHEN 'panic' THEN $offset_panic_bps ELSE 0e0 END
        + CASE WHEN v510_maker > $offset_maker_above THEN $offset_maker_bps ELSE 0e0 END
        + CASE WHEN v510_fallback > $offset_fallback_above THEN $offset_fallback_bps ELSE 0e0 END
        + CASE WHEN v510_fallback > $offset_fallback_high_above THEN $offset_fallback_high_bps ELSE 0e0 END
        + CASE
            WHEN v510_slip > $offset_slip_above_bps THEN $offset_slip_bps
            WHEN v510_slip < $offset_calm_below_bps THEN $offset_calm_bps
            ELSE 0e0
        END
        + CASE
            WHEN exp_per_notional > 0 THEN $offset_hour_gain_bps
            WHEN exp_per_notional < 0 THEN $offset_hour_loss_bps
            ELSE 0e0
        END AS v510_bps,
    FROM inputs
)

SELECT
    symbol AS symbol, -- instrument
    hour_utc AS hour_utc, -- UTC hour of day, 0 to 23
    n AS n, -- attempts in all hours
    LEAST(
        GREATEST(
            $offset_base_bps + regime_bps + maker_bps + fallback_bps + fallback_high_bps + slip_bps_adj + hour_bps,
            $offset_min_bps
        ),
        $offset_max_bps
    ) AS offset_bps, -- distance from mid that acts, bps: a buy quotes below it, a sell above; before fees
    LEAST(GREATEST(v510_bps, $offset_min_bps), $offset_max_bps) AS offset_v510_bps, -- the same by the numbers alone, as v5.10, bps
    $offset_base_bps AS base_bps, -- before any adjustment, bps
    regime_bps AS regime_bps, -- added by the volatility regime that acts, bps
    maker_bps AS maker_bps, -- by the maker fill ratio, bps
    fallback_bps AS fallback_bps, -- by the fallback ratio, bps
    fallback_high_bps AS fallback_high_bps, -- by a very high fallback ratio as well, bps
    slip_bps_adj AS slip_bps_adj, -- by median slippage, bps
    hour_bps AS hour_bps, -- by what the hour earns, where its evidence is enough, bps
    acting_regime AS regime, -- the volatility regime that acts
    regime_n AS regime_n, -- bars behind it
    maker_fill_ratio AS maker_fill_ratio, -- share of fills that were maker; NULL = unknown
    maker_known_n AS maker_known_n, -- fills behind it
    fallback_ratio AS fallback_ratio, -- share of maker attempts that fell back; NULL = unknown
    fallback_known_n AS fallback_known_n, -- maker attempts behind it
    slip_bps_q50 AS slip_bps_q50, -- median slippage, bps; NULL = unknown
    slip_n AS slip_n, -- fills behind it
    exp_per_notional AS exp_per_notional, -- what the hour earned per dollar of notional, before fees; NULL = unknown, as without a close
    exp_lo95 AS exp_lo95, -- lower 95 % bound of it
    exp_hi95 AS exp_hi95, -- upper 95 % bound of it
    close_n AS close_n, -- closes behind it
FROM adjusted
ORDER BY symbol, hour_utc
