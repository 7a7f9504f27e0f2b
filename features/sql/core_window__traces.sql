-- The closed predictions, judged: what was predicted, what the market did, what the trade earned.
-- Grain: source_id, line_offset
-- Units: _ms epoch milliseconds UTC, _pct percent, _min minutes, confidence 0 to 1
-- Source: raw_telemetry__traces
-- Params: intraday_telemetry_threshold, swing_telemetry_threshold; a view, never stored
WITH lines AS (
    SELECT
        *,
        event_ms + CAST(round(holding_period_minutes * 6e4) AS BIGINT) AS closed_at_ms,
        CASE WHEN entry_price > 0 THEN exit_price / entry_price - 1 END AS market_move,
        CASE strategy
            WHEN 'intraday' THEN $intraday_telemetry_threshold
            WHEN 'swing' THEN $swing_telemetry_threshold
        END AS move_threshold,
    FROM raw_telemetry__traces
    WHERE reject_reason IS NULL
      AND exit_price > 0
),

-- The market's direction, not the position's: a short that earned is right when the price fell.
judged AS (
    SELECT
        *,
        CASE
            WHEN market_move IS NULL OR move_threshold IS NULL THEN actual_direction
            WHEN market_move > move_threshold THEN 'LONG'
            WHEN market_move < -move_threshold THEN 'SHORT'
            ELSE 'NOOP'
        END AS market_direction,
    FROM lines
)

SELECT
    source_id AS source_id, -- log the prediction came from
    line_offset AS line_offset, -- its place there
    ingest_seq AS ingest_seq, -- number of the commit that brought it
    environment AS environment, -- live, testnet, paper or backtest
    strategy AS strategy, -- strategy that predicted
    symbol AS symbol, -- instrument
    event_ms AS event_ms, -- entry, epoch ms
    closed_at_ms AS close_ms, -- exit, epoch ms; the outcome is known from then on
    closed_at_ms // 86400000 * 86400000 AS day_ms, -- UTC day of the exit, epoch ms
    predicted_direction AS predicted, -- LONG, SHORT or NOOP
    market_direction AS actual, -- the market's direction by the prices and the strategy's threshold, else as logged
    predicted_direction = market_direction AS is_correct, -- the prediction was right
    actual_direction <> market_direction AS is_relabelled, -- the log says another direction than the prices
    predicted_direction <> 'NOOP' AND realized_return_pct IS NOT NULL AS is_trade, -- a position was held and its return is known
    CASE WHEN predicted_direction <> 'NOOP' THEN realized_return_pct END AS return_pct, -- realised return of the position, percent
    holding_period_minutes AS holding_min, -- holding time, minutes
    predicted_confidence AS confidence, -- confidence, 0 to 1; NULL = not logged
    CAST(
        CASE
            WHEN predicted_confidence < 1 THEN floor(predicted_confidence * 10)
            WHEN predicted_confidence = 1 THEN 9
        END
        AS INTEGER
    ) AS confidence_decile, -- 0 to 9; 9 includes 1.0
    (1 + COALESCE(throttled_before, 0e0)) / COALESCE(inclusion_probability, 1e0) AS represented_n, -- trades it stands for: more than 1 where telemetry samples or throttles
FROM judged
