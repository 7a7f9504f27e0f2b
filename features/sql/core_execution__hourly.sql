-- Counts and sums of an hour that add up to any window.
-- Grain: environment, account, venue, symbol, hour_ms
-- Units: _ms milliseconds, _usd US dollars, _bps basis points, _n counts, _sq squares
-- Source: core_execution__outcomes, raw_orders__events, raw_orders__attempts, raw_router__events, raw_risk__vetoes
-- Rebuild: the hours of rebuild_hours; $from_ms, $to_ms and $known_ms cut it to a window
WITH outcomes AS (
    SELECT
        *,
        event_ms // 3600000 * 3600000 AS hour_ms,
        outcome = 'close_only' AS is_lone,
        outcome IN ('filled', 'partial') AS is_fill,
        CASE WHEN close_ms <= $known_ms THEN realized_pnl_usd END AS pnl_usd,
        CASE
            WHEN outcome <> 'close_only' THEN notional_usd
            WHEN close_ms <= $known_ms THEN closed_notional_usd
        END AS turned_usd,
        CASE WHEN suspect_reason IS NULL THEN slippage_bps END AS slip_bps,
        outcome IN ('filled', 'partial', 'close_only') AND turned_usd > 0 AND abs(fees_usd) < 1e9 AS is_fee_priced,
    FROM core_execution__outcomes
    WHERE event_ms >= $from_ms
      AND event_ms < $to_ms
      AND event_ms // 3600000 * 3600000 IN (SELECT hour_ms FROM rebuild_hours)
),

traded AS (
    SELECT
        environment,
        account,
        venue,
        symbol,
        hour_ms,
        COUNT(*) FILTER (NOT is_lone) AS n,
        COUNT(*) FILTER (outcome = 'filled') AS filled_n,
        COUNT(*) FILTER (outcome = 'partial') AS partial_n,
        COUNT(*) FILTER (outcome = 'unfilled') AS unfilled_n,
        COUNT(*) FILTER (outcome = 'rejected') AS rejected_n,
        COUNT(*) FILTER (outcome = 'error') AS outcome_error_n,
        COUNT(*) FILTER (outcome = 'unknown') AS unknown_n,
        COUNT(*) FILTER (is_fill AND NOT is_confirmed) AS unconfirmed_n,
        COUNT(*) FILTER (is_lone) AS close_only_n,
        SUM(CASE WHEN close_ms <= $known_ms THEN close_n ELSE 0 END) AS close_n,
        COUNT(*) FILTER (
            close_ms <= $known_ms AND closed_notional_usd < $dust_notional_usd
        ) AS dust_n,
        SUM(CAST(pnl_usd AS DECIMAL(38, 15))) AS pnl_usd,
        SUM(CAST(pnl_usd AS DECIMAL(38, 15))) FILTER (NOT is_lone) AS pnl_attempts_usd,
        SUM(CASE WHEN pnl_usd IS NOT NULL THEN close_n ELSE 0 END) AS pnl_known_n,
        SUM(CAST(pnl_usd * pnl_usd AS DECIMAL(38, 12))) AS pnl_sq,
        SUM(CAST(turned_usd AS DECIMAL(38, 15))) AS notional_usd,
        SUM(CAST(turned_usd * turned_usd AS DECIMAL(38, 12))) AS notional_sq,
        SUM(CAST(pnl_usd * turned_usd AS DECIMAL(38, 12))) AS pnl_notional,
        COUNT(slip_bps) AS slip_n,
        SUM(CAST(slip_bps AS DECIMAL(38, 15))) AS slip_bps,
        SUM(CAST(slip_bps * slip_bps AS DECIMAL(38, 15))) AS slip_sq,
        SUM(CAST(GREATEST(LEAST(slip_bps, $winsor_bps), -$winsor_bps) AS DECIMAL(38, 15)))
            FILTER (slip_bps IS NOT NULL) AS slip_winsored_bps,
        COUNT(*) FILTER (suspect_reason IS NOT NULL) AS suspect_n,
        COUNT(*) FILTER (is_slippage_different) AS slip_different_n,
        COUNT(is_maker) FILTER (is_fill) AS maker_known_n,
        COUNT(*) FILTER (is_fill AND is_maker) AS maker_n,
        COUNT(*) FILTER (started_maker) AS started_maker_n,
        COUNT(used_fallback) FILTER (started_maker AND outcome <> 'unknown') AS fallback_known_n,
        COUNT(*) FILTER (started_maker AND used_fallback AND outcome <> 'unknown') AS fallback_n,
        COUNT(fees_usd) FILTER (is_fill OR is_lone) AS fees_known_n,
        SUM(CAST(fees_usd AS DECIMAL(38, 15))) FILTER (is_fill OR is_lone) AS fees_usd,
        COUNT(*) FILTER (is_fee_priced) AS priced_fees_n,
        SUM(CAST(fees_usd AS DECIMAL(38, 15))) FILTER (is_fee_priced) AS priced_fees_usd,
        SUM(CAST(turned_usd AS DECIMAL(38, 15))) FILTER (is_fee_priced) AS priced_notional_usd,
        COUNT(ack_ms) AS ack_n,
        SUM(CAST(ack_ms AS DECIMAL(38, 12))) AS ack_ms,
        MAX(close_ms) AS max_close_ms,
    FROM outcomes
    GROUP BY environment, account, venue, symbol, hour_ms
),

errors AS (
    SELECT
        environment,
        account,
        venue,
        symbol,
        event_ms // 3600000 * 3600000 AS hour_ms,
        COUNT(DISTINCT line_hash) AS order_error_n,
    FROM raw_orders__events
    WHERE reject_reason IS NULL
      AND event_type = 'order_error'
      AND event_ms >= $from_ms
      AND event_ms < $to_ms
      AND event_ms // 3600000 * 3600000 IN (SELECT hour_ms FROM rebuild_hours)
    GROUP BY environment, account, venue, symbol, hour_ms
),

-- One row per order asked for: the last line of an id within a day.
submissions AS (
    SELECT *
    FROM (
        SELECT
            environment,
            account,
            venue,
            symbol,
            attempt_id,
            event_ms,
            LEAD(event_ms) OVER (
                PARTITION BY environment, account, symbol, attempt_id
                ORDER BY event_ms, source_id, line_offset
            ) AS next_ms,
        FROM raw_orders__attempts
        WHERE reject_reason IS NULL
          AND attempt_id <> ''
          AND event_ms >= $from_ms
          AND event_ms < $to_ms
          AND attempt_id IN (
              SELECT attempt_id
              FROM raw_orders__attempts
              WHERE event_ms // 3600000 * 3600000 IN (SELECT hour_ms FROM rebuild_hours)
          )
    )
    WHERE (next_ms IS NULL OR next_ms > event_ms + 86400000)
      AND event_ms // 3600000 * 3600000 IN (SELECT hour_ms FROM rebuild_hours)
),

fates AS (
    SELECT
        s.*,
        EXISTS (
            SELECT 1
            FROM raw_router__events AS r
            WHERE r.reject_reason IS NULL
              AND COALESCE(r.event, '') <> 'position_close'
              AND r.environment = s.environment
              AND r.account = s.account
              AND r.symbol = s.symbol
              AND r.attempt_id = s.attempt_id
              AND abs(r.event_ms - s.event_ms) <= 86400000
        ) AS is_routed,
        EXISTS (
            SELECT 1
            FROM raw_risk__vetoes AS v
            WHERE v.reject_reason IS NULL
              AND v.environment = s.environment
              AND v.account = s.account
              AND v.symbol = s.symbol
              AND v.attempt_id = s.attempt_id
              AND abs(v.event_ms - s.event_ms) <= 86400000
        ) AS is_vetoed,
        EXISTS (
            SELECT 1
            FROM raw_orders__events AS o
            WHERE o.reject_reason IS NULL
              AND (o.event_type = 'order_close' OR (o.event_type = 'order_fill' AND o.executed_qty > 0))
              AND o.environment = s.environment
              AND o.account = s.account
              AND o.symbol = s.symbol
              AND o.attempt_id = s.attempt_id
              AND abs(o.event_ms - s.event_ms) <= 86400000
        ) AS is_executed,
    FROM submissions AS s
),

submitted AS (
    SELECT
        environment,
        account,
        venue,
        symbol,
        event_ms // 3600000 * 3600000 AS hour_ms,
        COUNT(*) AS submitted_n,
        COUNT(*) FILTER (NOT is_routed AND is_executed) AS unrouted_n,
        COUNT(*) FILTER (NOT is_routed AND NOT is_executed AND is_vetoed) AS vetoed_n,
        COUNT(*) FILTER (NOT is_routed AND NOT is_executed AND NOT is_vetoed) AS no_outcome_n,
    FROM fates
    GROUP BY environment, account, venue, symbol, hour_ms
),

keys AS (
    SELECT environment, account, venue, symbol, hour_ms FROM traded
    UNION
    SELECT environment, account, venue, symbol, hour_ms FROM errors
    UNION
    SELECT environment, account, venue, symbol, hour_ms FROM submitted
)

SELECT
    k.environment AS environment, -- live, testnet, paper or backtest
    k.account AS account, -- account that traded
    k.venue AS venue, -- venue traded on, unknown where no line says it
    k.symbol AS symbol, -- instrument
    k.hour_ms AS hour_ms, -- start of the hour, epoch ms UTC
    CAST(k.hour_ms // 3600000 % 24 AS INTEGER) AS hour_utc, -- UTC hour of day, 0 to 23
    CAST(COALESCE(t.n, 0) AS BIGINT) AS n, -- attempts
    CAST(COALESCE(t.filled_n, 0) AS BIGINT) AS filled_n, -- attempts filled whole
    CAST(COALESCE(t.partial_n, 0) AS BIGINT) AS partial_n, -- attempts filled in part
    CAST(COALESCE(t.unfilled_n, 0) AS BIGINT) AS unfilled_n, -- attempts ended without a fill
    CAST(COALESCE(t.rejected_n, 0) AS BIGINT) AS rejected_n, -- attempts the venue rejected
    CAST(COALESCE(t.outcome_error_n, 0) + COALESCE(e.order_error_n, 0) AS BIGINT) AS error_n, -- order errors
    CAST(COALESCE(t.unknown_n, 0) AS BIGINT) AS unknown_n, -- attempts whose end nobody logged
    CAST(COALESCE(t.unconfirmed_n, 0) AS BIGINT) AS unconfirmed_n, -- fills without an order_fill where one is due
    CAST(COALESCE(t.close_only_n, 0) AS BIGINT) AS close_only_n, -- closes without an attempt
    CAST(COALESCE(t.close_n, 0) AS BIGINT) AS close_n, -- closes
    CAST(COALESCE(t.dust_n, 0) AS BIGINT) AS dust_n, -- rows that closed less than the dust limit
    CAST(t.pnl_usd AS DOUBLE) AS pnl_usd, -- sum of realised PnL, USD
    CAST(t.pnl_attempts_usd AS DOUBLE) AS pnl_attempts_usd, -- of closes that belong to an attempt, USD
    CAST(COALESCE(t.pnl_known_n, 0) AS BIGINT) AS pnl_known_n, -- closes of orders whose PnL is known
    CAST(t.pnl_sq AS DOUBLE) AS pnl_sq, -- sum of squared PnL
    CAST(t.notional_usd AS DOUBLE) AS notional_usd, -- sum of filled notional, of lone closes the closed one, USD
    CAST(t.notional_sq AS DOUBLE) AS notional_sq, -- sum of squared notional
    CAST(t.pnl_notional AS DOUBLE) AS pnl_notional, -- sum of PnL times notional
    CAST(COALESCE(t.slip_n, 0) AS BIGINT) AS slip_n, -- fills with slippage
    CAST(t.slip_bps AS DOUBLE) AS slip_bps, -- sum of slippage, bps
    CAST(t.slip_sq AS DOUBLE) AS slip_sq, -- sum of squared slippage
    CAST(t.slip_winsored_bps AS DOUBLE) AS slip_winsored_bps, -- sum of slippage clipped at the limit, bps
    CAST(COALESCE(t.suspect_n, 0) AS BIGINT) AS suspect_n, -- rows kept out of slippage statistics
    CAST(COALESCE(t.slip_different_n, 0) AS BIGINT) AS slip_different_n, -- logged slippage off by over 0.01 bps
    CAST(COALESCE(t.maker_known_n, 0) AS BIGINT) AS maker_known_n, -- fills known to be maker or taker
    CAST(COALESCE(t.maker_n, 0) AS BIGINT) AS maker_n, -- maker fills
    CAST(COALESCE(t.started_maker_n, 0) AS BIGINT) AS started_maker_n, -- attempts begun post-only
    CAST(COALESCE(t.fallback_known_n, 0) AS BIGINT) AS fallback_known_n, -- of those that ended, known to fall back or not
    CAST(COALESCE(t.fallback_n, 0) AS BIGINT) AS fallback_n, -- of those that ended, fell back to taker
    CAST(COALESCE(t.fees_known_n, 0) AS BIGINT) AS fees_known_n, -- fills and lone closes with known fees
    CAST(t.fees_usd AS DOUBLE) AS fees_usd, -- sum of known fees, USD
    CAST(COALESCE(t.priced_fees_n, 0) AS BIGINT) AS priced_fees_n, -- of those, with a notional
    CAST(t.priced_fees_usd AS DOUBLE) AS priced_fees_usd, -- sum of their fees, USD
    CAST(t.priced_notional_usd AS DOUBLE) AS priced_notional_usd, -- sum of their notional, USD
    CAST(COALESCE(t.ack_n, 0) AS BIGINT) AS ack_n, -- attempts with a known acknowledgement time
    CAST(t.ack_ms AS DOUBLE) AS ack_ms, -- sum of acknowledgement times, ms
    CAST(COALESCE(s.submitted_n, 0) AS BIGINT) AS submitted_n, -- orders asked for, by id
    CAST(COALESCE(s.unrouted_n, 0) AS BIGINT) AS unrouted_n, -- of those, filled or closed something, though no router line tells of it
    CAST(COALESCE(s.vetoed_n, 0) AS BIGINT) AS vetoed_n, -- of those, refused by a risk gate
    CAST(COALESCE(s.no_outcome_n, 0) AS BIGINT) AS no_outcome_n, -- of those, never heard of again
    t.max_close_ms AS max_close_ms, -- latest close in the hour's rows, epoch ms
FROM keys AS k
LEFT JOIN traded AS t USING (environment, account, venue, symbol, hour_ms)
LEFT JOIN errors AS e USING (environment, account, venue, symbol, hour_ms)
LEFT JOIN submitted AS s USING (environment, account, venue, symbol, hour_ms)
ORDER BY hour_ms, symbol, venue, account, environment
