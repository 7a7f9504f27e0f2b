-- What happened to each routing attempt, and to each close that stands alone.
-- Grain: environment, account, symbol, attempt_id, event_ms
-- Units: _ms milliseconds, _usd US dollars, _px quote per unit, qty base units, _bps basis points
-- Source: raw_router__events, raw_orders__events, raw_orders__attempts, spoken_hours
-- Rebuild: the hours of rebuild_hours, from raw rows up to 72 hours around them
WITH scope AS (
    SELECT COALESCE(NULLIF(r.attempt_id, ''), 'line:' || r.line_hash) AS attempt_id
    FROM raw_router__events AS r
    WHERE r.event_ms // 3600000 * 3600000 IN (SELECT hour_ms FROM rebuild_hours)
    UNION
    SELECT COALESCE(NULLIF(e.attempt_id, ''), 'order:' || e.order_id, 'line:' || e.line_hash)
        AS attempt_id
    FROM raw_orders__events AS e
    WHERE e.event_type = 'order_close'
      AND e.event_ms // 3600000 * 3600000 IN (SELECT hour_ms FROM rebuild_hours)
),

router_lines AS (
    SELECT
        *,
        COALESCE(NULLIF(attempt_id, ''), 'line:' || line_hash) AS key_id,
        upper(COALESCE(status, '')) IN (
            'FILLED', 'CANCELED', 'CANCELLED', 'EXPIRED', 'EXPIRED_IN_MATCH', 'REJECTED'
        ) AS is_terminal,
    FROM raw_router__events
    WHERE reject_reason IS NULL
      AND COALESCE(event, '') <> 'position_close'
      AND COALESCE(NULLIF(attempt_id, ''), 'line:' || line_hash) IN (SELECT attempt_id FROM scope)
),

-- Here and below only ids with several lines go through window functions: most have one, and
-- windows over a great many groups of one row are slow.
repeated_ids AS (
    SELECT key_id FROM router_lines GROUP BY key_id HAVING COUNT(*) > 1
),

-- Router lines of one attempt, worst to best: a terminal status beats another, then the later line.
ranked_lines AS (
    SELECT
        *,
        ROW_NUMBER() OVER (
            PARTITION BY environment, account, symbol, key_id
            ORDER BY is_terminal, event_ms, source_id, line_offset
        ) AS merit,
    FROM router_lines
    WHERE key_id IN (SELECT key_id FROM repeated_ids)
),

-- An id may be used again after a day: a line stands for its attempt when none within a day beats it.
attempts AS (
    SELECT * FROM router_lines WHERE key_id NOT IN (SELECT key_id FROM repeated_ids)
    UNION ALL
    SELECT * EXCLUDE (merit, best_merit)
    FROM (
        SELECT
            *,
            MAX(merit) OVER (
                PARTITION BY environment, account, symbol, key_id
                ORDER BY event_ms
                RANGE BETWEEN 86400000 PRECEDING AND 86400000 FOLLOWING
            ) AS best_merit,
        FROM ranked_lines
    )
    WHERE merit = best_merit
),

-- An order without attempt id stands under its order id: its close counts too.
order_lines AS (
    SELECT *
    FROM (
        SELECT
            * REPLACE (
                COALESCE(NULLIF(attempt_id, ''), 'order:' || order_id, 'line:' || line_hash)
                    AS attempt_id
            ),
            CASE
                WHEN COALESCE(upper(fee_asset), 'USD')
                    IN ('USD', 'USDT', 'USDC', 'BUSD', 'FDUSD', 'TUSD', 'DAI')
                THEN fees
            END AS fees_usd,
        FROM raw_orders__events
        WHERE reject_reason IS NULL
          AND event_type IN ('order_ack', 'order_fill', 'order_close')
    )
    WHERE attempt_id IN (SELECT attempt_id FROM scope)
),

-- Everything an order line can belong to: attempts, and closes without one, each by its own time.
anchors AS (
    SELECT
        environment,
        account,
        symbol,
        key_id,
        event_ms AS anchor_ms,
        FALSE AS is_lone,
    FROM attempts
    UNION ALL
    SELECT DISTINCT
        e.environment,
        e.account,
        e.symbol,
        e.attempt_id AS key_id,
        e.event_ms AS anchor_ms,
        TRUE AS is_lone,
    FROM order_lines AS e
    WHERE e.event_type = 'order_close'
      AND NOT EXISTS (
          SELECT 1
          FROM attempts AS a
          WHERE a.environment = e.environment
            AND a.account = e.account
            AND a.symbol = e.symbol
            AND a.key_id = e.attempt_id
            AND abs(a.event_ms - e.event_ms) <= 86400000
      )
),

paired_lines AS (
    SELECT
        e.*,
        a.anchor_ms,
        a.is_lone,
    FROM order_lines AS e
    INNER JOIN anchors AS a
        ON a.environment = e.environment
       AND a.account = e.account
       AND a.symbol = e.symbol
       AND a.key_id = e.attempt_id
       AND abs(a.anchor_ms - e.event_ms) <= 86400000
),

crowded_ids AS (
    SELECT key_id FROM anchors GROUP BY key_id HAVING COUNT(*) > 1
),

order_events AS (
    SELECT * FROM paired_lines WHERE attempt_id NOT IN (SELECT key_id FROM crowded_ids)
    UNION ALL
    SELECT * FROM (
        SELECT *
        FROM paired_lines
        WHERE attempt_id IN (SELECT key_id FROM crowded_ids)
        QUALIFY ROW_NUMBER() OVER (
            PARTITION BY source_id, line_offset
            ORDER BY is_lone, abs(anchor_ms - event_ms), anchor_ms
        ) = 1
    )
),

-- order_fill lines are cumulative: the latest of each order counts.
fill_lines AS (
    SELECT
        *,
    FROM order_events
    WHERE event_type = 'order_fill'
),

refilled_ids AS (
    SELECT attempt_id FROM fill_lines GROUP BY attempt_id HAVING COUNT(*) > 1
),

order_fills AS (
    SELECT * FROM fill_lines WHERE attempt_id NOT IN (SELECT attempt_id FROM refilled_ids)
    UNION ALL
    SELECT * FROM (
        SELECT *
        FROM fill_lines
        WHERE attempt_id IN (SELECT attempt_id FROM refilled_ids)
        QUALIFY ROW_NUMBER() OVER (
            PARTITION BY environment, account, symbol, attempt_id, anchor_ms, order_id
            ORDER BY event_ms DESC, source_id DESC, line_offset DESC
        ) = 1
    )
),

fills AS (
    SELECT
        environment,
        account,
        symbol,
        attempt_id AS key_id,
        anchor_ms,
        CAST(SUM(CAST(executed_qty AS DECIMAL(38, 12))) AS DOUBLE) AS qty,
        CASE
            WHEN COUNT(*) = 1 THEN MAX(fill_px)
            ELSE CAST(SUM(CAST(executed_qty * fill_px AS DECIMAL(38, 12))) AS DOUBLE)
                / NULLIF(CAST(SUM(CAST(executed_qty AS DECIMAL(38, 12))) AS DOUBLE), 0e0)
        END AS fill_px,
        CASE
            WHEN COUNT(fees_usd) = COUNT(*)
            THEN CAST(SUM(CAST(fees_usd AS DECIMAL(38, 15))) AS DOUBLE)
        END AS fees_usd,
        MAX(COALESCE(ts_fill_last_ms, event_ms)) AS fill_at_ms,
        MAX(side) AS side,
        MAX(position_side) AS position_side,
        BOOL_AND(upper(status) = 'FILLED') FILTER (
            upper(status) IN ('FILLED', 'PARTIALLY_FILLED', 'CANCELED', 'CANCELLED', 'EXPIRED', 'EXPIRED_IN_MATCH')
        ) AS is_whole,
        BOOL_OR(is_reduce_only) AS is_reduce_only,
    FROM order_fills
    WHERE executed_qty > 0
      AND fill_px > 0
      AND executed_qty * fill_px < 1e12 -- beyond any market: a number that overflowed
    GROUP BY environment, account, symbol, attempt_id, anchor_ms
),

acks AS (
    SELECT
        environment,
        account,
        symbol,
        attempt_id AS key_id,
        anchor_ms,
        MAX(side) AS side,
        MAX(position_side) AS position_side,
        MAX(qty) AS qty,
        BOOL_OR(is_reduce_only) AS is_reduce_only,
    FROM order_events
    WHERE event_type = 'order_ack'
    GROUP BY environment, account, symbol, attempt_id, anchor_ms
),

-- A close counts once by order and time; its price is the last that its order's fills name.
order_closes AS (
    SELECT
        c.*,
        CASE WHEN c.closed_qty * f.fill_px < 1e12 THEN c.closed_qty * f.fill_px END
            AS closed_notional_usd,
    FROM order_events AS c
    LEFT JOIN order_lines AS f
        ON f.event_type = 'order_fill'
       AND f.fill_px > 0
       AND f.environment = c.environment
       AND f.account = c.account
       AND f.symbol = c.symbol
       AND f.attempt_id = c.attempt_id
       AND f.order_id = c.order_id
       AND abs(f.event_ms - c.event_ms) <= 86400000
    WHERE c.event_type = 'order_close'
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY
            c.environment, c.account, c.symbol, c.attempt_id, c.anchor_ms, c.order_id, c.event_ms
        ORDER BY
            c.source_id DESC,
            c.line_offset DESC,
            f.event_ms DESC,
            f.source_id DESC,
            f.line_offset DESC
    ) = 1
),

closes AS (
    SELECT
        c.environment,
        c.account,
        c.symbol,
        c.attempt_id AS key_id,
        c.anchor_ms,
        COUNT(*) AS close_n,
        MAX(c.event_ms) AS close_ms,
        CASE
            WHEN COUNT(c.realized_pnl_usd) = COUNT(*)
            THEN CAST(SUM(CAST(c.realized_pnl_usd AS DECIMAL(38, 15))) AS DOUBLE)
        END AS realized_pnl_usd,
        CASE
            WHEN COUNT(c.closed_qty) = COUNT(*)
            THEN CAST(SUM(CAST(c.closed_qty AS DECIMAL(38, 12))) AS DOUBLE)
        END AS closed_qty,
        CASE
            WHEN COUNT(c.closed_notional_usd) = COUNT(*)
            THEN CAST(SUM(CAST(c.closed_notional_usd AS DECIMAL(38, 12))) AS DOUBLE)
        END AS closed_notional_usd,
        CASE
            WHEN COUNT(c.fees_usd) = COUNT(*)
            THEN CAST(SUM(CAST(c.fees_usd AS DECIMAL(38, 15))) AS DOUBLE)
        END AS fees_usd,
        MAX(c.position_side) AS position_side,
        MAX(c.side) AS side,
        MAX(c.venue) AS venue,
        MAX(c.intent_id) AS intent_id,
        MAX(c.strategy) AS strategy,
        arg_max(c.position_size_after, (c.event_ms, c.source_id, c.line_offset))
            AS position_size_after,
    FROM order_closes AS c
    GROUP BY c.environment, c.account, c.symbol, c.attempt_id, c.anchor_ms
),

-- The decision: the first line of orders_attempted within a day of the attempt.
decision_lines AS (
    SELECT
        d.environment,
        d.account,
        d.symbol,
        d.attempt_id AS key_id,
        a.anchor_ms,
        d.strategy,
        d.side,
        d.price_hint,
        d.local_ms,
        d.confidence,
        d.expected_edge,
        d.qty,
        d.is_reduce_only,
        d.event_ms,
        d.source_id,
        d.line_offset,
    FROM raw_orders__attempts AS d
    INNER JOIN anchors AS a
        ON a.environment = d.environment
       AND a.account = d.account
       AND a.symbol = d.symbol
       AND a.key_id = d.attempt_id
       AND abs(a.anchor_ms - d.event_ms) <= 86400000
    WHERE d.reject_reason IS NULL
),

redecided_ids AS (
    SELECT key_id FROM decision_lines GROUP BY key_id HAVING COUNT(*) > 1
),

decisions AS (
    SELECT * FROM decision_lines WHERE key_id NOT IN (SELECT key_id FROM redecided_ids)
    UNION ALL
    SELECT * FROM (
        SELECT *
        FROM decision_lines
        WHERE key_id IN (SELECT key_id FROM redecided_ids)
        QUALIFY ROW_NUMBER() OVER (
            PARTITION BY environment, account, symbol, key_id, anchor_ms
            ORDER BY event_ms, source_id, line_offset
        ) = 1
    )
),

-- orders_executed covers an hour when it spoke within a day on both sides of it.
covered_hours AS (
    SELECT
        h.environment,
        h.account,
        h.hour_n,
        MAX(CASE WHEN s.hour_n <= h.hour_n THEN 1 ELSE 0 END) = 1
        AND MAX(CASE WHEN s.hour_n >= h.hour_n THEN 1 ELSE 0 END) = 1 AS is_covered,
    FROM (
        SELECT DISTINCT environment, account, anchor_ms // 3600000 AS hour_n FROM anchors
    ) AS h
    INNER JOIN spoken_hours AS s
        ON s.environment = h.environment
       AND s.account = h.account
       AND s.hour_n BETWEEN h.hour_n - 24 AND h.hour_n + 24
    GROUP BY h.environment, h.account, h.hour_n
),

joined AS (
    SELECT
        n.environment,
        n.account,
        n.symbol,
        n.key_id,
        n.anchor_ms,
        n.is_lone,
        COALESCE(a.venue, c.venue) AS venue,
        upper(COALESCE(a.side, f.side, k.side, c.side, d.side)) AS side,
        upper(COALESCE(c.position_side, f.position_side, k.position_side, a.position_side))
            AS position_side,
        COALESCE(a.strategy, d.strategy, c.strategy) AS strategy,
        a.route,
        COALESCE(a.intent_id, c.intent_id) AS intent_id,
        a.snapshot_id,
        upper(a.status) AS status,
        COALESCE(NULLIF(a.mark_px, 0e0), d.price_hint) AS mark_px,
        d.local_ms,
        d.confidence,
        d.expected_edge,
        a.submit_px,
        COALESCE(NULLIF(a.fill_px, 0e0), f.fill_px) AS fill_px,
        COALESCE(NULLIF(a.qty, 0e0), f.qty) AS qty,
        NULLIF(a.notional_usd, 0e0) AS notional_logged_usd,
        a.slippage_logged_bps,
        a.is_maker,
        a.started_maker,
        a.used_fallback,
        a.ack_ms,
        a.fill_ms,
        CASE
            WHEN n.is_lone THEN c.fees_usd
            WHEN COALESCE(upper(a.fee_asset), 'USD')
                IN ('USD', 'USDT', 'USDC', 'BUSD', 'FDUSD', 'TUSD', 'DAI')
                THEN COALESCE(a.fees_usd, f.fees_usd)
        END AS fees_usd,
        CASE WHEN c.key_id IS NULL THEN a.realized_pnl_usd ELSE c.realized_pnl_usd END
            AS realized_pnl_usd,
        CASE
            WHEN c.key_id IS NOT NULL THEN c.close_n
            WHEN a.realized_pnl_usd IS NOT NULL THEN 1
            ELSE 0
        END AS close_n,
        CASE
            WHEN c.key_id IS NOT NULL THEN c.close_ms
            WHEN a.realized_pnl_usd IS NOT NULL THEN n.anchor_ms
        END AS close_ms,
        c.closed_qty,
        c.closed_notional_usd,
        c.position_size_after,
        c.key_id IS NOT NULL AS has_close,
        f.key_id IS NOT NULL AS has_fill,
        COALESCE(NULLIF(d.qty, 0e0), k.qty) AS asked_qty,
        COALESCE(f.is_reduce_only, k.is_reduce_only, d.is_reduce_only) AS is_reduce_only,
        f.fill_at_ms,
        f.is_whole,
        k.key_id IS NOT NULL AS has_ack,
        COALESCE(h.is_covered, FALSE) AS is_covered,
        a.arrival_bid,
        a.arrival_ask,
        COALESCE(a.arrival_mid, (a.arrival_bid + a.arrival_ask) / 2) AS arrival_mid,
        a.reason,
    FROM anchors AS n
    LEFT JOIN attempts AS a
        ON NOT n.is_lone
       AND a.environment = n.environment
       AND a.account = n.account
       AND a.symbol = n.symbol
       AND a.key_id = n.key_id
       AND a.event_ms = n.anchor_ms
    LEFT JOIN fills AS f
        ON f.environment = n.environment
       AND f.account = n.account
       AND f.symbol = n.symbol
       AND f.key_id = n.key_id
       AND f.anchor_ms = n.anchor_ms
    LEFT JOIN acks AS k
        ON k.environment = n.environment
       AND k.account = n.account
       AND k.symbol = n.symbol
       AND k.key_id = n.key_id
       AND k.anchor_ms = n.anchor_ms
    LEFT JOIN closes AS c
        ON c.environment = n.environment
       AND c.account = n.account
       AND c.symbol = n.symbol
       AND c.key_id = n.key_id
       AND c.anchor_ms = n.anchor_ms
    LEFT JOIN decisions AS d
        ON d.environment = n.environment
       AND d.account = n.account
       AND d.symbol = n.symbol
       AND d.key_id = n.key_id
       AND d.anchor_ms = n.anchor_ms
    LEFT JOIN covered_hours AS h
        ON h.environment = n.environment
       AND h.account = n.account
       AND h.hour_n = n.anchor_ms // 3600000
    WHERE n.anchor_ms // 3600000 * 3600000 IN (SELECT hour_ms FROM rebuild_hours)
),

judged AS (
    SELECT
        *,
        CASE side WHEN 'BUY' THEN 1 WHEN 'SELL' THEN -1 END AS cost_sign,
        COALESCE(status IN ('CANCELED', 'CANCELLED', 'EXPIRED', 'EXPIRED_IN_MATCH'), FALSE) AS is_cancelled,
        CASE
            WHEN is_lone THEN 'close_only'
            WHEN fill_px > 0
                AND (
                    has_fill
                    OR status IN ('FILLED', 'PARTIALLY_FILLED')
                    OR (is_cancelled AND qty > 0)
                )
                THEN
                CASE
                    WHEN status = 'FILLED' OR is_whole THEN 'filled'
                    -- Where neither line says so, what was cancelled did not fill whole.
                    WHEN has_fill AND is_whole IS NULL AND NOT is_cancelled THEN 'filled'
                    ELSE 'partial'
                END
            -- A flat line names no status: its notional at a price says what was traded.
            WHEN status IS NULL AND notional_logged_usd > 0 AND fill_px > 0 THEN 'filled'
            WHEN is_cancelled THEN 'unfilled'
            WHEN status = 'REJECTED' THEN 'rejected'
            WHEN status IN ('ERROR', 'FAILED') THEN 'error'
            ELSE 'unknown'
        END AS outcome,
    FROM joined
),

priced AS (
    SELECT
        *,
        outcome IN ('filled', 'partial') AS is_fill,
        cost_sign IS NOT NULL AND mark_px > 0 AND fill_px > 0 AS is_recomputed,
        CASE
            WHEN outcome NOT IN ('filled', 'partial') THEN NULL
            WHEN cost_sign IS NOT NULL AND mark_px > 0 AND fill_px > 0
                THEN (fill_px - mark_px) / mark_px * 1e4 * cost_sign
            ELSE slippage_logged_bps
        END AS slippage_raw_bps,
        CASE
            WHEN outcome IN ('filled', 'partial')
            THEN COALESCE(qty * fill_px, notional_logged_usd)
        END AS notional_raw_usd,
        COALESCE(
            closed_notional_usd,
            closed_qty * fill_px,
            CASE
                WHEN close_n > 0 AND NOT has_close THEN COALESCE(notional_logged_usd, qty * fill_px)
            END
        ) AS closed_raw_usd,
    FROM judged
)

SELECT
    make_timestamp(anchor_ms * 1000) AS event_at_utc, -- time of the event, UTC
    anchor_ms AS event_ms, -- time of the event, epoch ms: the router's ts, of a lone close ts_close
    CAST(make_timestamp(anchor_ms * 1000) AS DATE) AS event_date, -- UTC day of the event
    CAST(anchor_ms // 3600000 % 24 AS INTEGER) AS hour_utc, -- UTC hour of the event, 0 to 23
    account AS account, -- account that traded
    environment AS environment, -- live, testnet, paper or backtest
    venue AS venue, -- venue traded on, unknown where no line says it
    symbol AS symbol, -- instrument
    side AS side, -- BUY or SELL
    position_side AS position_side, -- LONG, SHORT or BOTH; NULL where no order line says it
    strategy AS strategy, -- strategy that asked
    route AS route, -- route taken
    key_id AS attempt_id, -- id of the attempt; order:<id> or line:<hash> where the log gives none
    intent_id AS intent_id, -- id of the intent
    snapshot_id AS snapshot_id, -- snapshot the executor had read
    outcome AS outcome, -- filled, partial, unfilled, rejected, error, unknown or close_only
    CASE
        WHEN is_fill AND has_fill THEN TRUE
        WHEN NOT is_fill AND (has_fill OR has_ack) THEN TRUE
        WHEN is_covered THEN FALSE
    END AS is_confirmed, -- orders_executed confirms it: a fill by its order_fill; NULL = cannot be known
    mark_px AS mark_px, -- decision price, quote per unit
    CASE WHEN local_ms IS NOT NULL THEN COALESCE(fill_at_ms, anchor_ms) - local_ms END
        AS mark_age_ms, -- age of the decision price at the fill, ms
    submit_px AS submit_px, -- submitted price, quote per unit
    CASE WHEN is_fill OR is_lone THEN fill_px END AS fill_px, -- quantity-weighted fill price
    CASE WHEN is_fill THEN qty WHEN is_lone THEN COALESCE(qty, closed_qty) END AS qty, -- filled quantity, of a lone close the closed one, base units
    asked_qty AS asked_qty, -- quantity asked for, base units; the venue may round it
    is_reduce_only AS is_reduce_only, -- the order may only reduce a position; NULL = not logged
    CASE WHEN is_fill OR is_lone THEN fill_at_ms END AS fill_at_ms, -- last fill by the venue's clock, epoch ms; NULL = no order_fill
    CASE WHEN notional_raw_usd < 1e9 THEN notional_raw_usd END AS notional_usd, -- filled notional, USD
    slippage_raw_bps AS slippage_bps, -- decision-price slippage, bps, positive = cost; NULL unless filled
    CASE WHEN is_fill THEN slippage_logged_bps END AS slippage_logged_bps, -- slippage as logged, bps
    CASE
        WHEN is_fill AND is_recomputed
        THEN abs(slippage_raw_bps - slippage_logged_bps) > 0.01
    END AS is_slippage_different, -- logged slippage is over 0.01 bps away from the prices
    is_maker AS is_maker, -- the final fill was maker; NULL = not logged
    started_maker AS started_maker, -- began post-only; NULL = not logged
    used_fallback AS used_fallback, -- fell back to taker; NULL = not logged
    ack_ms AS ack_ms, -- create call to acknowledgement, ms
    fill_ms AS fill_ms, -- acknowledgement to fill, ms
    fees_usd AS fees_usd, -- fees, USD; NULL = unknown
    CASE WHEN abs(realized_pnl_usd) < 1e9 THEN realized_pnl_usd END AS realized_pnl_usd, -- realised PnL, USD, gross of fees; NULL unless that of every close is known
    CAST(close_n AS BIGINT) AS close_n, -- closes in this row
    close_ms AS close_ms, -- time of the last close, epoch ms; the PnL is known from then on
    CASE WHEN closed_raw_usd < 1e9 THEN closed_raw_usd END AS closed_notional_usd, -- notional closed, USD
    position_size_after AS position_size_after, -- signed position after the last close, base units
    arrival_mid AS arrival_mid, -- mid price on arrival, quote per unit
    CASE
        WHEN is_fill AND arrival_mid > 0
        THEN (fill_px - arrival_mid) / arrival_mid * 1e4 * cost_sign
    END AS arrival_slippage_bps, -- slippage against the arrival mid, bps, positive = cost
    CASE
        WHEN arrival_bid >= arrival_ask THEN 'crossed_arrival_book'
        WHEN abs(slippage_raw_bps) >= 5000 THEN 'slippage_out_of_range'
        WHEN notional_raw_usd >= 1e9 OR closed_raw_usd >= 1e9 OR abs(realized_pnl_usd) >= 1e9
            THEN 'amount_out_of_range'
    END AS suspect_reason, -- why the row stays out of slippage statistics
    confidence AS confidence, -- confidence of the signal, 0 to 1
    expected_edge AS expected_edge, -- expected edge as logged
    reason AS reason, -- reason for no fill
FROM priced
ORDER BY event_ms, symbol, attempt_id
