-- How much of an account's change in NAV and positions its logs explain, by day and over the window.
-- Grain: account, day
-- Units: _usd US dollars, _ratio shares 0 to 1, _n counts
-- Source: core_position__reconciliation, core_window__closes, core_window__outcomes, core_window__minutes, core_window__navs, core_window__repeated_navs, core_window__hourly, core_window__attempts, core_window__funding, raw_market__bars
-- Params: as_of_ms, window_ms, environment, symbol_key, equity_tolerance, mark_tolerance, min_pnl_coverage; day * = the window
WITH navs AS (
    SELECT
        account,
        day_n,
        nav_usd,
        SUM(n) AS n,
        MIN(first_ms) AS first_ms,
        MAX(last_ms) AS last_ms,
    FROM (
        SELECT account, day_n, nav_usd, n, first_ms, last_ms FROM core_window__navs
        UNION ALL
        SELECT account, event_ms // 86400000, nav_usd, -spare_n, NULL, NULL FROM core_window__repeated_navs
    )
    GROUP BY account, day_n, nav_usd
),

-- Of n values the median lies at (n - 1) / 2, counted from 0: on a value, or between two.
ranked AS (
    SELECT
        account,
        day_n,
        nav_usd,
        SUM(n) OVER (PARTITION BY account, day_n ORDER BY nav_usd) AS upto_n,
        (SUM(n) OVER (PARTITION BY account, day_n) - 1) * 0.5e0 AS place,
    FROM navs
    WHERE nav_usd > 0
),

medians AS (
    SELECT
        account,
        day_n,
        MIN(nav_usd) FILTER (upto_n > floor(place)) AS low_usd,
        MIN(nav_usd) FILTER (upto_n > ceil(place)) AS high_usd,
        low_usd + (high_usd - low_usd) * 0.5e0 AS median_usd,
    FROM ranked
    GROUP BY account, day_n
),

days AS (
    SELECT account, day_n FROM navs
    UNION
    SELECT account, hour_ms // 86400000 FROM core_window__hourly WHERE n + close_only_n > 0
    UNION
    SELECT account, COALESCE(to_ms, from_ms) // 86400000 FROM core_position__reconciliation
),

-- -1 is the window.
periods AS (
    SELECT
        account,
        day_n,
        GREATEST(day_n * 86400000 - 1, $as_of_ms - $window_ms) AS after_ms,
        LEAST(day_n * 86400000 + 86399999, $as_of_ms) AS until_ms,
    FROM days
    UNION ALL
    SELECT account, -1, $as_of_ms - $window_ms, $as_of_ms FROM days GROUP BY account
),

judged_navs AS (
    SELECT
        n.*,
        COALESCE(
            n.nav_usd > 0 AND abs(n.nav_usd - m.median_usd) <= $equity_tolerance * m.median_usd, FALSE
        ) AS is_accepted,
    FROM navs AS n
    LEFT JOIN medians AS m USING (account, day_n)
    WHERE n.nav_usd IS NOT NULL
),

nav_counts AS (
    SELECT
        account,
        COALESCE(day_n, -1) AS day_n,
        CAST(COALESCE(SUM(n) FILTER (is_accepted), 0) AS BIGINT) AS nav_n,
        CAST(COALESCE(SUM(n) FILTER (NOT is_accepted), 0) AS BIGINT) AS nav_rejected_n,
        MIN(first_ms) FILTER (is_accepted) AS first_ms,
        MAX(last_ms) FILTER (is_accepted) AS last_ms,
    FROM judged_navs
    GROUP BY GROUPING SETS ((account, day_n), (account))
),

-- The few moments at which unrealised PnL must be known: where a period's NAV begins and ends. Only their
-- rows are read whole: exposure by symbol would be most of what a window of attempts holds.
points AS (
    SELECT account, first_ms AS at_ms FROM nav_counts WHERE first_ms IS NOT NULL
    UNION
    SELECT account, last_ms FROM nav_counts WHERE last_ms IS NOT NULL
),

point_lines AS (
    SELECT
        p.account,
        p.at_ms,
        arg_min(a.nav_usd, (a.source_id, a.line_offset)) AS nav_earlier_usd,
        arg_max(a.nav_usd, (a.source_id, a.line_offset)) AS nav_later_usd,
        arg_min(a.venue, (a.source_id, a.line_offset)) AS venue,
        arg_min(a.gross_usd, (a.source_id, a.line_offset)) AS gross_usd,
        arg_min(COALESCE(a.symbol_gross_json, '{}'), (a.source_id, a.line_offset)) AS gross_json,
    FROM points AS p
    INNER JOIN core_window__attempts AS a
        ON a.account = p.account
       AND a.event_ms = p.at_ms
    INNER JOIN judged_navs AS n
        ON n.account = p.account
       AND n.day_n = p.at_ms // 86400000
       AND n.nav_usd = a.nav_usd
       AND n.is_accepted
    GROUP BY p.account, p.at_ms
),

nav_ends AS (
    SELECT
        c.*,
        f.nav_earlier_usd AS first_usd,
        l.nav_later_usd AS last_usd,
    FROM nav_counts AS c
    LEFT JOIN point_lines AS f
        ON f.account = c.account
       AND f.at_ms = c.first_ms
    LEFT JOIN point_lines AS l
        ON l.account = c.account
       AND l.at_ms = c.last_ms
),

named_exposures AS (
    SELECT account, at_ms, venue, gross_json, unnest(json_keys(gross_json)) AS name
    FROM point_lines
),

point_exposures AS (
    SELECT
        account,
        at_ms,
        CASE WHEN $symbol_key = 'venue_symbol' THEN venue || ':' || name ELSE name END AS symbol,
        name,
        -- A pointer: a path would fail on a name with a quotation mark, and every build with it.
        TRY_CAST(
            json_extract_string(gross_json, '/' || replace(replace(name, '~', '~0'), '/', '~1')) AS DOUBLE
        ) AS exposure_usd,
    FROM named_exposures
),

-- Each side as last seen before each point; a sighting says nothing of a position that traded since.
held AS (
    SELECT
        e.account,
        e.at_ms,
        e.symbol,
        r.position_side,
        e.exposure_usd,
        arg_max(CASE WHEN r.to_ms <= e.at_ms THEN r.qty_after ELSE r.qty_before END, r.from_ms) AS qty,
        arg_max(
            CASE WHEN r.to_ms <= e.at_ms THEN r.entry_px_after ELSE r.entry_px_before END, r.from_ms
        ) AS entry_px,
        arg_max(
            COALESCE((r.to_ms IS NULL OR r.to_ms > e.at_ms) AND r.first_order_ms <= e.at_ms, FALSE),
            r.from_ms
        ) AS is_stale,
    FROM point_exposures AS e
    INNER JOIN core_position__reconciliation AS r
        ON r.account = e.account
       AND r.symbol = e.symbol
       AND r.position_side <> 'GROSS'
       AND r.from_ms <= e.at_ms
    WHERE e.exposure_usd > 0
    GROUP BY e.account, e.at_ms, e.symbol, r.position_side, e.exposure_usd
),

-- Amounts and prices are known by minutes. Only of the few in which a NAV stands, or which the window cuts, must it be
-- known what came before that moment and what after.
exact_minutes AS (
    SELECT at_ms // 60000 AS minute_n FROM points
    UNION
    SELECT unnest([($as_of_ms - $window_ms) // 60000, $as_of_ms // 60000])
),

minutes AS (
    SELECT *
    FROM core_window__minutes
    WHERE minute_n > ($as_of_ms - $window_ms) // 60000
      AND minute_n < $as_of_ms // 60000
      AND minute_n NOT IN (SELECT minute_n FROM exact_minutes)
),

-- The hours of the day in which their orders were tried: files of other hours are never read.
exact_hours AS (
    SELECT DISTINCT unnest(range(m.tried_first_ms // 3600000, m.tried_last_ms // 3600000 + 1)) % 24 AS hour_utc
    FROM core_window__minutes AS m
    SEMI JOIN exact_minutes USING (minute_n)
),

exact_trades AS (
    SELECT
        account,
        symbol,
        COALESCE(fill_at_ms, event_ms) AS at_ms,
        outcome,
        fees_usd,
        COALESCE(fill_px, mark_px) AS px,
    FROM core_window__outcomes
    WHERE COALESCE(fill_at_ms, event_ms) // 60000 IN (SELECT minute_n FROM exact_minutes)
      AND hour_utc IN (SELECT hour_utc FROM exact_hours)
),

-- Of what was held at those moments, to see by: exposure over quantity must be a price of that time.
priced AS (
    SELECT account, symbol, priced_ms AS at_ms, last_px AS px
    FROM core_window__minutes
    WHERE last_px > 0
      AND minute_n NOT IN (SELECT minute_n FROM exact_minutes)
    UNION ALL
    SELECT account, symbol, at_ms, px FROM exact_trades WHERE px > 0
),

marks AS (
    SELECT account, at_ms, symbol, arg_max(px, (priced_ms, px)) AS mark_px -- of two prices at once, the higher
    FROM (
        SELECT e.account, e.at_ms, e.symbol, p.at_ms AS priced_ms, p.px
        FROM point_exposures AS e
        INNER JOIN priced AS p
            ON p.account = e.account
           AND p.symbol = e.symbol
           AND p.at_ms <= e.at_ms
           AND p.at_ms // 3600000 >= e.at_ms // 3600000 - 6
        UNION ALL
        SELECT e.account, e.at_ms, e.symbol, b.event_ms, b.close
        FROM point_exposures AS e
        INNER JOIN raw_market__bars AS b
            ON b.symbol = e.name
           AND b.event_ms > e.at_ms - 25200000
           AND b.event_ms < e.at_ms - 3600000 -- closed by then, whatever its interval below an hour
        WHERE b.reject_reason IS NULL
          AND b.environment = $environment
          AND b.bar_interval IN ('1m', '5m', '15m', '1h')
          AND b.close > 0
          AND b.event_ms > $as_of_ms - $window_ms - 25200000
          AND b.event_ms < $as_of_ms
    )
    GROUP BY account, at_ms, symbol
),

-- Unrealised PnL from exposure and entry: the venue's mark is the exposure over the quantity.
symbol_values AS (
    SELECT
        h.account,
        h.at_ms,
        h.symbol,
        CASE
            WHEN NOT BOOL_OR(h.is_stale)
                AND BOOL_AND(h.qty = 0 OR h.entry_px > 0)
                AND abs(h.exposure_usd / NULLIF(SUM(abs(h.qty)), 0) / MAX(m.mark_px) - 1) <= $mark_tolerance
            THEN SUM(h.qty * (h.exposure_usd / held_qty - h.entry_px))
        END AS unrealized_usd,
    FROM (
        SELECT
            *,
            SUM(abs(qty)) OVER (PARTITION BY account, at_ms, symbol) AS held_qty,
        FROM held
    ) AS h
    LEFT JOIN marks AS m
        ON m.account = h.account
       AND m.at_ms = h.at_ms
       AND m.symbol = h.symbol
    GROUP BY h.account, h.at_ms, h.symbol, h.exposure_usd
),

moved_prices AS (
    SELECT account, symbol, MAX(high_px) / MIN(low_px) - 1 AS reach
    FROM core_window__minutes
    WHERE low_px > 0
    GROUP BY account, symbol
),

point_values AS (
    SELECT
        l.account,
        l.at_ms,
        CASE
            WHEN l.gross_usd = 0 THEN 0e0
            WHEN COUNT(e.symbol) FILTER (e.exposure_usd > 0) = 0 THEN NULL
            WHEN COUNT(e.symbol) FILTER (e.exposure_usd IS NULL OR (e.exposure_usd > 0 AND v.unrealized_usd IS NULL)) = 0
            THEN CAST(SUM(CAST(v.unrealized_usd AS DECIMAL(38, 12))) AS DOUBLE)
        END AS unrealized_usd,
        -- A position opened within the window at a price that the logs name gained or lost no more.
        CASE
            WHEN l.gross_usd = 0 THEN 0e0
            WHEN COUNT(e.symbol) FILTER (e.exposure_usd > 0) > 0
                AND COUNT(e.symbol) FILTER (e.exposure_usd IS NULL OR (e.exposure_usd > 0 AND r.reach IS NULL)) = 0
            THEN CAST(SUM(CAST(e.exposure_usd * r.reach AS DECIMAL(38, 12))) AS DOUBLE)
        END AS reach_usd,
    FROM point_lines AS l
    LEFT JOIN point_exposures AS e
        ON e.account = l.account
       AND e.at_ms = l.at_ms
    LEFT JOIN symbol_values AS v
        ON v.account = l.account
       AND v.at_ms = l.at_ms
       AND v.symbol = e.symbol
    LEFT JOIN moved_prices AS r
        ON r.account = l.account
       AND r.symbol = e.symbol
    GROUP BY l.account, l.at_ms, l.gross_usd
),

-- Every amount that changes NAV at the moment it does: PnL at its close, fees at their fill.
dated AS (
    SELECT
        account,
        minute_n * 60000 AS at_ms,
        trade_n,
        unknown_n,
        close_n,
        pnl_known_n AS pnl_n,
        fees_known_n AS fee_n,
        0 AS funding_n,
        pnl_usd AS realized_pnl_usd,
        fees_usd,
        CAST(NULL AS DECIMAL(38, 15)) AS funding_usd,
        COALESCE(pnl_usd, 0) - COALESCE(fees_usd, 0) AS net_usd,
        COALESCE(pnl_size_usd, 0) + COALESCE(fees_size_usd, 0) AS flow_usd,
    FROM minutes
    UNION ALL
    SELECT
        account,
        at_ms,
        CASE WHEN outcome <> 'unknown' THEN 1 ELSE 0 END,
        CASE WHEN outcome = 'unknown' THEN 1 ELSE 0 END,
        0,
        0,
        CASE WHEN outcome <> 'unknown' AND fees_usd IS NOT NULL THEN 1 ELSE 0 END,
        0,
        NULL,
        CASE WHEN outcome <> 'unknown' THEN CAST(fees_usd AS DECIMAL(38, 15)) END,
        NULL,
        CASE WHEN outcome <> 'unknown' THEN -CAST(fees_usd AS DECIMAL(38, 15)) END,
        CASE WHEN outcome <> 'unknown' THEN abs(CAST(fees_usd AS DECIMAL(38, 15))) END,
    FROM exact_trades
    WHERE outcome IN ('filled', 'partial', 'close_only', 'unknown')
      AND at_ms > $as_of_ms - $window_ms
      AND at_ms <= $as_of_ms
    UNION ALL
    SELECT
        account,
        close_ms,
        0,
        0,
        close_n,
        CASE WHEN realized_pnl_usd IS NOT NULL THEN close_n ELSE 0 END,
        0,
        0,
        CAST(realized_pnl_usd AS DECIMAL(38, 15)),
        NULL,
        NULL,
        CAST(realized_pnl_usd AS DECIMAL(38, 15)),
        abs(CAST(realized_pnl_usd AS DECIMAL(38, 15))),
    FROM core_window__closes
    WHERE close_ms > $as_of_ms - $window_ms
      AND close_ms <= $as_of_ms
      AND close_ms // 60000 IN (SELECT minute_n FROM exact_minutes)
    UNION ALL
    SELECT
        account,
        event_ms,
        0,
        0,
        0,
        0,
        0,
        1,
        NULL,
        NULL,
        CAST(funding_usd AS DECIMAL(38, 15)),
        CAST(funding_usd AS DECIMAL(38, 15)),
        abs(CAST(funding_usd AS DECIMAL(38, 15))),
    FROM core_window__funding
),

-- What falls outside the first and the last NAV does not show in their difference.
day_sums AS (
    SELECT
        d.account,
        d.at_ms // 86400000 AS day_n,
        SUM(d.trade_n) AS trade_n,
        SUM(d.unknown_n) AS unknown_n,
        SUM(d.close_n) AS close_n,
        SUM(d.pnl_n) AS pnl_known_n,
        SUM(d.fee_n) AS fees_known_n,
        SUM(d.funding_n) AS funding_n,
        SUM(d.realized_pnl_usd) AS realized_pnl_usd,
        SUM(d.fees_usd) AS fees_usd,
        SUM(d.funding_usd) AS funding_usd,
        SUM(d.net_usd) FILTER (d.at_ms <= n.first_ms OR d.at_ms > n.last_ms) AS outside_usd,
        SUM(d.net_usd) FILTER (d.at_ms <= w.first_ms OR d.at_ms > w.last_ms) AS window_outside_usd,
        SUM(d.flow_usd) AS flow_usd,
        SUM(d.flow_usd) FILTER (d.at_ms <= n.first_ms OR d.at_ms > n.last_ms) AS unseen_usd,
        SUM(d.flow_usd) FILTER (d.at_ms <= w.first_ms OR d.at_ms > w.last_ms) AS window_unseen_usd,
    FROM dated AS d
    LEFT JOIN nav_ends AS n
        ON n.account = d.account
       AND n.day_n = d.at_ms // 86400000
    LEFT JOIN nav_ends AS w
        ON w.account = d.account
       AND w.day_n = -1
    GROUP BY d.account, d.at_ms // 86400000
),

sums AS (
    SELECT
        account,
        COALESCE(day_n, -1) AS day_n,
        CAST(SUM(trade_n) AS BIGINT) AS trade_n,
        CAST(SUM(unknown_n) AS BIGINT) AS unknown_n,
        CAST(SUM(close_n) AS BIGINT) AS close_n,
        CAST(SUM(pnl_known_n) AS BIGINT) AS pnl_known_n,
        CAST(SUM(fees_known_n) AS BIGINT) AS fees_known_n,
        CAST(SUM(funding_n) AS BIGINT) AS funding_n,
        CAST(SUM(realized_pnl_usd) AS DOUBLE) AS realized_pnl_usd,
        CAST(SUM(fees_usd) AS DOUBLE) AS fees_usd,
        CAST(SUM(funding_usd) AS DOUBLE) AS funding_usd,
        CAST(
            CASE WHEN GROUPING(day_n) = 1 THEN SUM(window_outside_usd) ELSE SUM(outside_usd) END
            AS DOUBLE
        ) AS outside_usd,
        CAST(
            CASE WHEN GROUPING(day_n) = 1 THEN SUM(window_unseen_usd) ELSE SUM(unseen_usd) END
            AS DOUBLE
        ) / NULLIF(CAST(SUM(flow_usd) AS DOUBLE), 0e0) AS unseen_ratio,
        CAST(SUM(flow_usd) AS DOUBLE) AS flow_usd,
    FROM day_sums
    GROUP BY GROUPING SETS ((account, day_n), (account))
),

-- A change belongs to the day in which it was seen.
changes AS (
    SELECT
        p.account,
        p.day_n,
        r.cause,
        COUNT(*) AS change_n,
        COUNT(*) FILTER (NOT r.is_explained) AS unexplained_n,
        COUNT(*) FILTER (NOT r.is_explained AND r.unexplained_usd IS NULL) AS unvalued_n,
        SUM(CAST(r.explained_usd AS DECIMAL(38, 12))) AS explained_usd,
        SUM(CAST(r.unexplained_usd AS DECIMAL(38, 12))) AS unexplained_usd,
        SUM(r.inferred_fill_n) AS inferred_fill_n,
        SUM(CAST(r.pnl_missing_usd AS DECIMAL(38, 12))) AS pnl_missing_usd,
        -- Of positions that became smaller: an entry price that was rounded also moves others. A close is logged after
        -- its fill: for a minute it may be on its way.
        SUM(CAST(r.pnl_missing_usd AS DECIMAL(38, 12))) FILTER (
            r.qty_before * (r.qty_after - r.qty_before) < 0 AND r.to_ms <= $as_of_ms - 60000
        ) AS pnl_lost_usd,
    FROM periods AS p
    INNER JOIN core_position__reconciliation AS r
        ON r.account = p.account
       AND r.to_ms > p.after_ms
       AND r.to_ms <= p.until_ms
    WHERE r.is_explained IS NOT NULL
    GROUP BY p.account, p.day_n, r.cause
),

positions AS (
    SELECT
        account,
        day_n,
        CAST(SUM(change_n) AS BIGINT) AS change_n,
        CAST(SUM(unexplained_n) AS BIGINT) AS unexplained_n,
        CAST(SUM(unvalued_n) AS BIGINT) AS unvalued_n,
        CAST(SUM(explained_usd) AS DOUBLE) AS explained_usd,
        CAST(SUM(unexplained_usd) AS DOUBLE) AS unexplained_usd,
        CAST(SUM(inferred_fill_n) AS BIGINT) AS inferred_fill_n,
        CAST(COALESCE(SUM(change_n) FILTER (cause = 'close_line_missing'), 0) AS BIGINT) AS pnl_missing_n,
        CAST(SUM(pnl_missing_usd) FILTER (cause = 'close_line_missing') AS DOUBLE) AS pnl_missing_usd,
        CAST(SUM(pnl_lost_usd) FILTER (cause = 'close_line_missing') AS DOUBLE) AS pnl_lost_usd,
        -- Of the causes of unexplained changes the one that moved most, as far as changes have a price.
        arg_min(cause, (-COALESCE(unexplained_usd, 0), -unexplained_n, cause)) FILTER (unexplained_n > 0)
            AS main_cause,
    FROM changes
    GROUP BY account, day_n
),

joined AS (
    SELECT
        p.account,
        p.day_n,
        COALESCE(n.nav_n, 0) AS nav_n,
        COALESCE(n.nav_rejected_n, 0) AS nav_rejected_n,
        n.first_usd,
        n.last_usd,
        n.first_ms,
        n.last_ms,
        CASE WHEN n.first_ms < n.last_ms THEN n.last_usd - n.first_usd END AS nav_change_usd,
        COALESCE(s.trade_n, 0) AS trade_n,
        COALESCE(s.unknown_n, 0) AS unknown_n,
        COALESCE(s.close_n, 0) AS close_n,
        COALESCE(s.pnl_known_n, 0) AS pnl_known_n,
        COALESCE(s.fees_known_n, 0) AS fees_known_n,
        COALESCE(s.funding_n, 0) AS funding_n,
        CASE WHEN COALESCE(s.close_n, 0) = 0 THEN 0e0 ELSE s.realized_pnl_usd END AS realized_pnl_usd,
        CASE WHEN COALESCE(s.trade_n, 0) = 0 THEN 0e0 ELSE s.fees_usd END AS fees_usd,
        s.funding_usd,
        CASE WHEN n.first_ms IS NOT NULL THEN COALESCE(s.outside_usd, 0e0) END AS outside_usd,
        COALESCE(s.unseen_ratio, 0e0) AS unseen_ratio,
        f.unrealized_usd AS unrealized_first_usd,
        l.unrealized_usd AS unrealized_last_usd,
        l.unrealized_usd - f.unrealized_usd AS unrealized_change_usd,
        f.reach_usd AS reach_first_usd,
        l.reach_usd AS reach_last_usd,
        COALESCE(c.change_n, 0) AS change_n,
        COALESCE(c.unexplained_n, 0) AS unexplained_n,
        COALESCE(c.unvalued_n, 0) AS unvalued_n,
        COALESCE(c.explained_usd, 0e0) AS position_explained_usd,
        COALESCE(c.unexplained_usd, 0e0) AS position_unexplained_usd,
        COALESCE(c.inferred_fill_n, 0) AS inferred_fill_n,
        COALESCE(c.pnl_missing_n, 0) AS pnl_missing_n,
        c.pnl_missing_usd,
        COALESCE(s.flow_usd, 0e0)
            / NULLIF(COALESCE(s.flow_usd, 0e0) + COALESCE(abs(c.pnl_lost_usd), 0e0), 0e0) AS logged_ratio,
        c.main_cause,
    FROM periods AS p
    LEFT JOIN nav_ends AS n
        ON n.account = p.account
       AND n.day_n = p.day_n
    LEFT JOIN sums AS s
        ON s.account = p.account
       AND s.day_n = p.day_n
    LEFT JOIN positions AS c
        ON c.account = p.account
       AND c.day_n = p.day_n
    LEFT JOIN point_values AS f
        ON f.account = p.account
       AND f.at_ms = n.first_ms
    LEFT JOIN point_values AS l
        ON l.account = p.account
       AND l.at_ms = n.last_ms
),

explained AS (
    SELECT
        *,
        COALESCE(realized_pnl_usd, 0e0) - COALESCE(fees_usd, 0e0) + COALESCE(funding_usd, 0e0)
            - outside_usd AS logged_net_usd,
        abs(COALESCE(realized_pnl_usd, 0e0)) + abs(COALESCE(fees_usd, 0e0))
            + abs(COALESCE(funding_usd, 0e0)) AS logged_flow_usd,
    FROM joined
),

unexplained AS (
    SELECT
        *,
        nav_change_usd - logged_net_usd AS unlogged_usd,
        nav_change_usd - logged_net_usd - unrealized_change_usd AS unexplained_usd,
        -- Bounds: unrealised PnL where it is known, else as far as prices reached.
        nav_change_usd - logged_net_usd
            - COALESCE(unrealized_last_usd, reach_last_usd)
            + COALESCE(unrealized_first_usd, -reach_first_usd) AS unexplained_lo_usd,
        nav_change_usd - logged_net_usd
            - COALESCE(unrealized_last_usd, -reach_last_usd)
            + COALESCE(unrealized_first_usd, reach_first_usd) AS unexplained_hi_usd,
        GREATEST(
            abs(nav_change_usd), logged_flow_usd + COALESCE(abs(unrealized_change_usd), 0e0)
        ) AS scale_usd,
    FROM explained
),

rated AS (
    SELECT
        *,
        CASE
            WHEN abs(unexplained_usd) < 5e-7 THEN 1e0
            WHEN scale_usd > 0 AND unexplained_usd IS NOT NULL
                THEN GREATEST(1 - abs(unexplained_usd) / scale_usd, 0e0)
        END AS pnl_ratio,
        -- The least and the most that may be unexplained; GREATEST and LEAST pass over NULL.
        CASE
            WHEN unexplained_lo_usd <= 0 AND unexplained_hi_usd >= 0 THEN 0e0
            WHEN unexplained_lo_usd IS NOT NULL AND unexplained_hi_usd IS NOT NULL
                THEN LEAST(abs(unexplained_lo_usd), abs(unexplained_hi_usd))
        END AS least_usd,
        CASE
            WHEN unexplained_lo_usd IS NOT NULL AND unexplained_hi_usd IS NOT NULL
                THEN GREATEST(abs(unexplained_lo_usd), abs(unexplained_hi_usd))
        END AS most_usd,
        -- The most it can be where a change without a price has no notional.
        position_explained_usd
            / NULLIF(position_explained_usd + position_unexplained_usd, 0e0) AS position_hi,
        CASE WHEN unvalued_n = 0 THEN position_hi END AS position_ratio,
    FROM unexplained
),

bounded AS (
    SELECT
        *,
        CASE
            WHEN pnl_ratio IS NOT NULL THEN pnl_ratio
            WHEN scale_usd > 0 AND most_usd IS NOT NULL THEN GREATEST(1 - most_usd / scale_usd, 0e0)
        END AS pnl_ratio_lo,
        CASE
            WHEN pnl_ratio IS NOT NULL THEN pnl_ratio
            WHEN scale_usd > 0 AND least_usd IS NOT NULL THEN GREATEST(1 - least_usd / scale_usd, 0e0)
        END AS pnl_ratio_hi,
        -- Nothing traded and nothing moved: there is nothing to explain.
        CASE WHEN trade_n + unknown_n + change_n = 0 THEN 1e0 ELSE position_ratio END AS moves_ratio,
    FROM rated
),

-- NAV values that span too little of what was logged prove nothing of the rest.
judged AS (
    SELECT
        *,
        CASE
            WHEN pnl_ratio_lo IS NOT NULL AND moves_ratio IS NOT NULL AND unseen_ratio <= 1 - $min_pnl_coverage
            THEN LEAST(pnl_ratio_lo, moves_ratio, COALESCE(logged_ratio, 1e0))
        END AS coverage,
    FROM bounded
)

SELECT
    account AS account, -- account
    CASE WHEN day_n < 0 THEN '*' ELSE strftime(make_timestamp(day_n * 86400000000), '%Y-%m-%d') END
        AS day, -- UTC day, * for the window
    nav_n AS n, -- NAV values logged and accepted
    nav_rejected_n AS nav_rejected_n, -- NAV values rejected: not above 0, or too far from the day's median
    make_timestamp(first_ms * 1000) AS nav_first_at_utc, -- first accepted NAV, UTC
    make_timestamp(last_ms * 1000) AS nav_last_at_utc, -- last accepted NAV, UTC
    first_usd AS nav_first_usd, -- first accepted NAV, USD
    last_usd AS nav_last_usd, -- last accepted NAV, USD
    nav_change_usd AS nav_change_usd, -- last less first, USD; NULL = fewer than two moments
    close_n AS close_n, -- closes logged
    pnl_known_n AS pnl_known_n, -- closes of orders whose PnL is known
    realized_pnl_usd AS realized_pnl_usd, -- realised PnL logged, gross of fees, USD; 0 = no close logged (close_n 0), NULL = closes, none with a PnL
    trade_n AS trade_n, -- fills and lone closes logged
    fees_known_n AS fees_known_n, -- of those, with known fees
    fees_usd AS fees_usd, -- known fees, USD; NULL = none known
    funding_n AS funding_n, -- funding payments logged
    funding_usd AS funding_usd, -- funding logged, USD, positive = received; NULL = none logged
    outside_usd AS outside_usd, -- logged PnL less fees, and funding, before the first or after the last NAV, USD: not in the NAV change; NULL = no NAV
    unrealized_first_usd AS unrealized_first_usd, -- unrealised PnL at the first NAV, USD; 0 = flat, NULL = unknown
    unrealized_last_usd AS unrealized_last_usd, -- unrealised PnL at the last NAV, USD
    unrealized_change_usd AS unrealized_change_usd, -- change of unrealised PnL, USD
    unlogged_usd AS unlogged_usd, -- NAV change that no logged PnL, fee or funding accounts for, unrealised PnL included, USD
    unexplained_usd AS unexplained_usd, -- of that, what unrealised PnL does not explain either, USD; NULL = unknown
    COALESCE(unexplained_usd, unexplained_lo_usd) AS unexplained_lo_usd, -- least it can be, as far as logged prices reach, USD
    COALESCE(unexplained_usd, unexplained_hi_usd) AS unexplained_hi_usd, -- most it can be, USD
    pnl_ratio AS pnl_explained_ratio, -- 1 - unexplained / larger of NAV change and its logged parts; NULL = unrealised PnL unknown
    pnl_ratio_lo AS pnl_explained_lo, -- least that ratio can be
    pnl_ratio_hi AS pnl_explained_hi, -- most that ratio can be
    change_n AS position_change_n, -- position changes seen
    unexplained_n AS position_unexplained_n, -- of those, not explained by fills
    position_explained_usd AS position_explained_usd, -- notional of fills between sightings, USD
    position_unexplained_usd AS position_unexplained_usd, -- notional of changes that no fill explains, USD
    position_ratio AS position_explained_ratio, -- explained / both; NULL = nothing to explain, or a change has no price
    unknown_n AS unknown_n, -- orders whose end nobody logged
    inferred_fill_n AS inferred_fill_n, -- of those, filled as the position shows
    pnl_missing_n AS pnl_missing_n, -- position changes whose realised PnL is not logged
    pnl_missing_usd AS pnl_missing_usd, -- realised PnL of those, USD; NULL = none
    logged_ratio AS pnl_logged_ratio, -- PnL, fees and funding logged, by size / (that + PnL that positions show to be lost, net); NULL = neither
    coverage AS coverage, -- the smallest share: of PnL at its lower bound, of positions, of what is logged; NULL = unknown
    CASE
        WHEN coverage >= $min_pnl_coverage THEN 'complete'
        WHEN pnl_ratio_hi < $min_pnl_coverage
            OR position_hi < $min_pnl_coverage
            OR logged_ratio < $min_pnl_coverage
        THEN 'incomplete'
        ELSE 'unknowable'
    END AS status, -- complete, incomplete (the logs explain too little) or unknowable
    CASE
        WHEN unexplained_n > 0 THEN main_cause
        WHEN pnl_missing_n > 0 THEN 'close_line_missing'
        WHEN abs(unexplained_usd) > 1e-2 THEN 'funding_or_transfer'
        WHEN unexplained_lo_usd > 1e-2 OR unexplained_hi_usd < -1e-2 THEN 'nav_moved_without_closes'
    END AS likely_cause, -- what is probably missing: the cause in core_position__reconciliation that moved most USD as far as changes have a price, else funding_or_transfer or nav_moved_without_closes; NULL = nothing or not known
FROM judged
ORDER BY account, day
