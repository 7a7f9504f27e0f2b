-- What moved each position between two moments it was seen, and how much of that the logged fills explain.
-- Grain: account, environment, symbol, position_side, from_ms
-- Units: _ms epoch milliseconds, _qty base units, _usd US dollars, _px quote per unit, _n counts
-- Source: raw_positions__states, core_window__attempts, core_window__outcomes, core_window__minutes
-- Params: as_of_ms, window_ms, environment, symbol_key, exposure_tolerance, silence_ms; computed by every build, over its window
WITH state_lines AS (
    SELECT
        account,
        CASE WHEN $symbol_key = 'venue_symbol' THEN venue || ':' || symbol ELSE symbol END AS symbol,
        CASE WHEN upper(position_side) IN ('LONG', 'SHORT') THEN upper(position_side) ELSE 'BOTH' END
            AS position_side,
        event_ms AS at_ms,
        -- Some logs write a short position without its sign.
        CASE WHEN upper(position_side) = 'SHORT' THEN -abs(position_qty) ELSE position_qty END AS qty,
        entry_px,
        run_id,
        source_id,
        line_offset,
    FROM raw_positions__states
    WHERE reject_reason IS NULL
      AND environment = $environment
      AND position_qty IS NOT NULL
      AND event_ms > $as_of_ms - $window_ms
      AND event_ms <= $as_of_ms
),

-- Of several states of one millisecond the last line counts.
states AS (
    SELECT
        account,
        symbol,
        position_side,
        at_ms,
        arg_max(qty, (source_id, line_offset)) AS qty,
        arg_max(COALESCE(entry_px, 0e0), (source_id, line_offset)) AS entry_px,
        arg_max(COALESCE(run_id, ''), (source_id, line_offset)) AS run_id,
    FROM state_lines
    GROUP BY account, symbol, position_side, at_ms
),

spans AS (
    SELECT
        account,
        symbol,
        MIN(at_ms) AS first_ms,
        MAX(at_ms) AS last_ms,
        BOOL_OR(position_side <> 'BOTH') AS is_hedged,
    FROM states
    GROUP BY account, symbol
),

-- Where no state was written, an attempt on the symbol tells the exposure just before it: gross, in
-- USD, at a price that is the attempt's own.
exposure_lines AS (
    SELECT
        account,
        CASE WHEN $symbol_key = 'venue_symbol' THEN venue || ':' || symbol ELSE symbol END AS symbol,
        event_ms AS at_ms,
        CASE
            WHEN gross_usd = 0 THEN 0e0
            WHEN symbol_gross_json IS NOT NULL
            -- Not named is not held; named without a number is unknown.
            THEN CASE
                WHEN json_exists(symbol_gross_json, '/' || replace(replace(symbol, '~', '~0'), '/', '~1'))
                THEN TRY_CAST(
                    json_extract_string(
                        symbol_gross_json, '/' || replace(replace(symbol, '~', '~0'), '/', '~1')
                    ) AS DOUBLE
                )
                ELSE 0e0
            END
        END / price_hint AS qty,
        price_hint,
        source_id,
        line_offset,
    -- Apart, because files say of a column at a time that they hold none: what else was seen tells no exposure.
    FROM (
        SELECT * FROM core_window__attempts WHERE gross_usd = 0
        UNION ALL
        SELECT * FROM core_window__attempts
        WHERE symbol_gross_json IS NOT NULL
          AND gross_usd IS DISTINCT FROM 0
    )
    WHERE nav_usd > 0
      AND price_hint > 0
),

exposures AS (
    SELECT
        e.account,
        e.symbol,
        e.at_ms,
        arg_max(e.qty, (e.source_id, e.line_offset)) AS qty,
        arg_max(e.price_hint, (e.source_id, e.line_offset)) AS px,
    FROM exposure_lines AS e
    LEFT JOIN spans AS s USING (account, symbol)
    WHERE e.qty IS NOT NULL
      AND COALESCE(e.at_ms < s.first_ms OR e.at_ms > s.last_ms, TRUE)
      AND COALESCE(s.is_hedged, TRUE) -- of a net position the gross exposure does not tell the side
    GROUP BY e.account, e.symbol, e.at_ms
),

-- An exposure of nothing just before the first state says that every side was flat.
flats AS (
    SELECT e.account, e.symbol, MAX(e.at_ms) AS at_ms
    FROM exposures AS e
    INNER JOIN spans AS s USING (account, symbol)
    WHERE e.at_ms < s.first_ms
    GROUP BY e.account, e.symbol
    HAVING arg_max(e.qty, e.at_ms) = 0
),

sightings AS (
    SELECT
        account,
        symbol,
        position_side,
        at_ms,
        qty,
        entry_px AS px,
        run_id,
        FALSE AS is_end,
    FROM states
    UNION ALL
    SELECT f.account, f.symbol, s.position_side, f.at_ms, 0e0, 0e0, NULL, FALSE
    FROM flats AS f
    INNER JOIN (SELECT DISTINCT account, symbol, position_side FROM states) AS s
        USING (account, symbol)
    UNION ALL
    SELECT account, symbol, 'GROSS', at_ms, qty, px, '', FALSE FROM exposures
    UNION ALL
    -- After the last sighting nothing is known: what traded then waits for the next one.
    SELECT account, symbol, position_side, $as_of_ms + 1, NULL, NULL, NULL, TRUE
    FROM states GROUP BY account, symbol, position_side
    UNION ALL
    SELECT account, symbol, 'GROSS', $as_of_ms + 1, NULL, NULL, NULL, TRUE
    FROM exposures GROUP BY account, symbol
    UNION ALL
    -- From the first state on, states tell: the exposure before it is not held against later ones.
    SELECT e.account, e.symbol, 'GROSS', s.first_ms, NULL, NULL, NULL, TRUE
    FROM exposures AS e
    INNER JOIN spans AS s USING (account, symbol)
    GROUP BY e.account, e.symbol, s.first_ms
),

-- Numbers for the keys: joining ten million outcomes by three texts takes twice as long.
keys AS (
    SELECT
        account,
        symbol,
        position_side,
        ROW_NUMBER() OVER (ORDER BY account, symbol, position_side) AS key_n,
    FROM sightings
    GROUP BY account, symbol, position_side
),

intervals AS (
    SELECT
        k.key_n,
        s.at_ms AS to_ms,
        s.qty AS qty_after,
        s.px AS px_after,
        s.is_end,
        LAG(s.at_ms) OVER later AS from_ms,
        LAG(s.qty) OVER later AS qty_before,
        LAG(s.px) OVER later AS px_before,
        COALESCE(s.run_id <> LAG(s.run_id) OVER later, FALSE) AS is_restart,
    FROM sightings AS s
    INNER JOIN keys AS k USING (account, symbol, position_side)
    WINDOW later AS (PARTITION BY k.key_n ORDER BY s.at_ms)
),

-- Under which key an order that opens long, opens short, or does either, counts; where exposure tells
-- too, it counts a second time under that.
sides AS (
    SELECT
        k.account,
        k.symbol,
        k.position_side = 'GROSS' AS is_gross,
        COALESCE(s.is_hedged, FALSE) AS is_hedged,
        MAX(k.key_n) FILTER (k.position_side = 'LONG') AS long_n,
        MAX(k.key_n) FILTER (k.position_side = 'SHORT') AS short_n,
        MAX(k.key_n) FILTER (k.position_side IN ('BOTH', 'GROSS')) AS both_n,
        s.first_ms,
        s.last_ms,
    FROM keys AS k
    LEFT JOIN spans AS s USING (account, symbol)
    GROUP BY k.account, k.symbol, k.position_side = 'GROSS', s.is_hedged, s.first_ms, s.last_ms
),

orders AS (
    SELECT
        s.is_gross,
        s.is_hedged,
        s.long_n,
        s.short_n,
        s.both_n,
        o.outcome = 'unknown' AS is_unknown,
        COALESCE(o.fill_at_ms, o.event_ms) AS at_ms,
        o.fill_px,
        o.realized_pnl_usd,
        CASE
            WHEN o.side = 'BUY' THEN 1
            WHEN o.side = 'SELL' THEN -1
            WHEN o.outcome = 'close_only' AND o.position_side = 'LONG' THEN -1
            WHEN o.outcome = 'close_only' AND o.position_side = 'SHORT' THEN 1
        END AS sign,
        COALESCE(o.is_reduce_only, FALSE) OR o.close_n > 0 AS is_reduce,
        o.position_side,
        CASE WHEN o.outcome = 'unknown' THEN o.asked_qty ELSE o.qty END AS size_qty,
    FROM core_window__outcomes AS o
    INNER JOIN sides AS s USING (account, symbol)
    WHERE o.outcome IN ('filled', 'partial', 'close_only', 'unknown')
      AND (
          NOT s.is_gross
          OR s.first_ms IS NULL
          OR COALESCE(o.fill_at_ms, o.event_ms) <= s.first_ms
          OR COALESCE(o.fill_at_ms, o.event_ms) > s.last_ms
      )
),

moves AS (
    SELECT
        CASE
            WHEN is_gross OR NOT is_hedged THEN both_n
            WHEN position_side = 'LONG' THEN long_n
            WHEN position_side = 'SHORT' THEN short_n
            WHEN (sign > 0) <> is_reduce THEN long_n
            ELSE short_n
        END AS key_n,
        at_ms,
        is_unknown,
        CASE WHEN NOT is_gross THEN sign WHEN is_reduce THEN -1 ELSE 1 END * size_qty AS moved_qty,
        fill_px,
        realized_pnl_usd,
    FROM orders
),

-- Of an order's own quarter of an hour only few intervals must be looked at: a join on it is three
-- times as fast as looking for the nearest of all.
slots AS (
    SELECT
        key_n,
        from_ms,
        to_ms,
        unnest(range(from_ms // 900000, to_ms // 900000 + 1)) AS slot_n,
    FROM intervals
    WHERE qty_before IS NOT NULL
),

-- An order belongs to the first sighting at or after it.
sums AS (
    SELECT
        i.key_n,
        i.to_ms,
        COUNT(*) FILTER (NOT m.is_unknown) AS fill_n,
        COUNT(*) FILTER (NOT m.is_unknown AND (m.moved_qty IS NULL OR m.fill_px IS NULL)) AS unpriced_n,
        SUM(CAST(m.moved_qty AS DECIMAL(38, 12))) FILTER (NOT m.is_unknown) AS explained_qty,
        SUM(CAST(abs(m.moved_qty) AS DECIMAL(38, 12))) FILTER (NOT m.is_unknown) AS traded_qty,
        SUM(CAST(m.moved_qty * m.fill_px AS DECIMAL(38, 12))) FILTER (NOT m.is_unknown) AS cost_usd,
        SUM(CAST(abs(m.moved_qty) * m.fill_px AS DECIMAL(38, 12))) FILTER (NOT m.is_unknown)
            AS traded_usd,
        SUM(CAST(m.realized_pnl_usd AS DECIMAL(38, 15))) AS pnl_logged_usd,
        COUNT(*) FILTER (m.is_unknown) AS unknown_n,
        COUNT(m.moved_qty) FILTER (m.is_unknown) AS asked_n,
        SUM(CAST(m.moved_qty AS DECIMAL(38, 12))) FILTER (m.is_unknown) AS unknown_qty,
        MIN(CAST(abs(m.moved_qty) AS DECIMAL(38, 12))) FILTER (m.is_unknown) AS smallest_qty,
        MIN(m.at_ms) AS first_order_ms,
    FROM moves AS m
    INNER JOIN slots AS i
        ON i.key_n = m.key_n
       AND i.slot_n = m.at_ms // 900000
       AND i.from_ms < m.at_ms
       AND i.to_ms >= m.at_ms
    GROUP BY i.key_n, i.to_ms
),

judged AS (
    SELECT
        i.*,
        i.qty_after - i.qty_before AS change_qty,
        COALESCE(s.fill_n, 0) AS fill_n,
        CAST(COALESCE(s.explained_qty, 0) AS DOUBLE) AS explained_qty,
        i.qty_after - i.qty_before - CAST(COALESCE(s.explained_qty, 0) AS DOUBLE) AS unexplained_qty,
        CAST(COALESCE(s.traded_qty, 0) AS DOUBLE) AS traded_qty,
        CAST(COALESCE(s.traded_usd, 0) AS DOUBLE) AS traded_usd,
        COALESCE(s.unpriced_n, 0) AS unpriced_n,
        CAST(COALESCE(s.cost_usd, 0) AS DOUBLE) AS cost_usd,
        CAST(COALESCE(s.pnl_logged_usd, 0) AS DOUBLE) AS pnl_logged_usd,
        COALESCE(s.unknown_n, 0) AS unknown_n,
        s.asked_n,
        CAST(s.unknown_qty AS DOUBLE) AS unknown_qty,
        CAST(s.smallest_qty AS DOUBLE) AS smallest_qty,
        s.first_order_ms,
        k.account,
        k.symbol,
        k.position_side,
        k.position_side = 'GROSS' AS is_gross,
    FROM intervals AS i
    INNER JOIN keys AS k USING (key_n)
    LEFT JOIN sums AS s
        ON s.key_n = i.key_n
       AND s.to_ms = i.to_ms
    WHERE i.qty_before IS NOT NULL
      AND (i.qty_after IS DISTINCT FROM i.qty_before OR s.key_n IS NOT NULL)
),

sized AS (
    SELECT
        *,
        COALESCE(NULLIF(px_before, 0e0), NULLIF(px_after, 0e0), traded_usd / NULLIF(traded_qty, 0e0))
            AS ref_px,
        CASE
            WHEN NOT is_end
            THEN abs(unexplained_qty) <= 1e-9 + CASE
                -- Of exposure the price is in doubt, whatever was traded in between is not.
                WHEN is_gross THEN GREATEST(abs(qty_before), abs(qty_after)) * $exposure_tolerance
                ELSE GREATEST(abs(qty_before), abs(qty_after), traded_qty) * 1e-6
            END
        END AS is_explained,
        -- A venue rounds small orders up to its minimum, which the sample shows to double them.
        COALESCE(
            unexplained_qty / NULLIF(unknown_qty, 0e0)
                BETWEEN 1 - 0.5 * smallest_qty / abs(unknown_qty)
                AND 1 + 1.1 * smallest_qty / abs(unknown_qty)
            AND asked_n = unknown_n
            AND abs(unknown_qty) >= smallest_qty,
            FALSE
        ) AS is_confirmed,
    FROM judged
),

-- Realised PnL follows from the position alone: what its cost basis changed by, less what was paid.
valued AS (
    SELECT
        *,
        CASE
            WHEN is_explained
                AND NOT is_gross
                AND unpriced_n = 0
                AND (qty_before = 0 OR px_before > 0)
                AND (qty_after = 0 OR px_after > 0)
            THEN qty_after * px_after - qty_before * px_before - cost_usd
        END AS pnl_implied_usd,
    FROM sized
),

-- When an account's logs said anything, by quarter of an hour, and where they fell silent.
voices AS (
    SELECT account, MIN(at_ms) AS first_ms, MAX(at_ms) AS last_ms
    FROM state_lines GROUP BY account, at_ms // 900000
    UNION ALL
    SELECT account, MIN(asked_first_ms), MAX(asked_last_ms)
    FROM core_window__minutes
    WHERE asked_first_ms IS NOT NULL
    GROUP BY account, minute_n // 15
),

silences AS (
    SELECT account, last_ms AS from_ms, next_ms AS to_ms
    FROM (
        SELECT
            account,
            MAX(last_ms) OVER (
                PARTITION BY account ORDER BY first_ms, last_ms
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS last_ms,
            LEAD(first_ms) OVER (PARTITION BY account ORDER BY first_ms, last_ms) AS next_ms,
        FROM voices
    )
    WHERE next_ms - last_ms >= $silence_ms
),

silent AS (
    SELECT DISTINCT v.key_n, v.to_ms
    FROM valued AS v
    INNER JOIN silences AS q
        ON q.account = v.account
       AND q.from_ms >= v.from_ms
       AND q.to_ms <= v.to_ms
    WHERE NOT v.is_explained
)

SELECT
    v.account AS account, -- account that holds the position
    $environment AS environment, -- live, testnet, paper or backtest
    v.symbol AS symbol, -- instrument
    v.position_side AS position_side, -- LONG or SHORT of a hedged position, BOTH of a net one, GROSS where only exposure is known
    v.from_ms AS from_ms, -- the position was seen, epoch ms; orders after it count
    CASE WHEN NOT v.is_end THEN v.to_ms END AS to_ms, -- and was seen again, epoch ms; NULL = not yet
    v.qty_before AS qty_before, -- signed position first seen, base units; GROSS: exposure over price
    v.qty_after AS qty_after, -- signed position seen again, base units
    CASE WHEN NOT v.is_gross THEN v.px_before END AS entry_px_before, -- entry price first seen, quote per unit
    CASE WHEN NOT v.is_gross THEN v.px_after END AS entry_px_after, -- entry price seen again, quote per unit
    v.change_qty AS change_qty, -- how far it moved, base units
    CAST(v.fill_n AS BIGINT) AS fill_n, -- fills and lone closes logged between
    v.explained_qty AS explained_qty, -- signed quantity of those, base units
    v.unexplained_qty AS unexplained_qty, -- change that no fill explains, base units
    v.is_explained AS is_explained, -- the fills explain the change; NULL = not yet seen again
    v.traded_usd AS explained_usd, -- notional of the fills, USD
    CASE WHEN NOT v.is_explained THEN abs(v.unexplained_qty) * v.ref_px END AS unexplained_usd, -- notional of the unexplained change at the entry price, USD; NULL = none
    CAST(v.unknown_n AS BIGINT) AS unknown_n, -- orders between whose end nobody logged
    v.unknown_qty AS unknown_qty, -- signed quantity they asked for, base units
    CAST(CASE WHEN v.is_confirmed THEN v.unknown_n ELSE 0 END AS BIGINT) AS inferred_fill_n, -- of those, filled as the position shows
    v.pnl_implied_usd AS pnl_implied_usd, -- realised PnL that position and entry price imply, USD; NULL = cannot be known
    v.pnl_logged_usd AS pnl_logged_usd, -- realised PnL logged between, USD
    v.pnl_implied_usd - v.pnl_logged_usd AS pnl_missing_usd, -- implied and not logged, USD
    v.is_restart AS is_restart, -- the executor restarted between
    v.first_order_ms AS first_order_ms, -- first order between, epoch ms
    CASE
        WHEN v.is_end THEN NULL
        WHEN v.is_explained
            AND abs(v.pnl_implied_usd - v.pnl_logged_usd) > 1e-2 + 1e-5 * v.traded_usd
            THEN 'close_line_missing'
        WHEN v.is_explained THEN NULL
        WHEN v.is_confirmed THEN 'unknown_order'
        WHEN v.is_restart THEN 'restart'
        WHEN q.key_n IS NOT NULL THEN 'silent_log'
        WHEN v.unexplained_qty * v.explained_qty < 0
            AND abs(v.unexplained_qty) <= v.traded_qty * (1 + 1e-6)
            THEN 'fill_not_in_position'
        WHEN abs(v.qty_after) < abs(v.qty_before) AND v.unexplained_qty * v.qty_before < 0
            THEN 'close_outside_log'
        ELSE 'trade_outside_log'
    END AS cause, -- unknown_order, restart, silent_log, fill_not_in_position, close_outside_log, trade_outside_log or close_line_missing; NULL = explained
FROM valued AS v
LEFT JOIN silent AS q
    ON q.key_n = v.key_n
   AND q.to_ms = v.to_ms
ORDER BY from_ms, symbol, position_side, account
