-- What a symbol's closed trades earned before fees, with the Sharpe ratio; fees, net PnL and today's drawdown beside it.
-- Grain: symbol
-- Units: _usd US dollars, _pct percent of equity; a return is realised PnL / closed notional, before fees
-- Source: core_window__closes, core_window__outcomes, core_window__hourly, core_window__attempts, core_window__navs, core_window__repeated_navs, raw_orders__attempts
-- Params: window_ms, dust_notional_usd, equity_tolerance, sharpe_z90, equity_usd, as_of_ms
WITH close_rows AS (
    SELECT
        account,
        symbol,
        COALESCE(position_side, 'BOTH') AS position_side,
        event_ms,
        close_ms,
        position_size_after,
        ends_position,
        realized_pnl_usd,
        closed_notional_usd,
    FROM core_window__closes
    WHERE close_ms <= $as_of_ms
),

-- Where every close ends its position each is a trip of its own, in whatever order: the others alone are sorted.
partly_closed AS (
    SELECT DISTINCT account, symbol, position_side
    FROM close_rows
    WHERE NOT ends_position
),

-- A round trip ends with the close after which its position is flat, or turned around. Of closes at one time the larger
-- position came first; closes that also agree in what they earned may change places.
ordered AS (
    SELECT
        *,
        ends_position AND COALESCE(LAG(ends_position) OVER in_order, TRUE) AS is_whole_trip,
    FROM close_rows
    SEMI JOIN partly_closed USING (account, symbol, position_side)
    WINDOW in_order AS (
        PARTITION BY account, symbol, position_side
        ORDER BY close_ms, event_ms, abs(position_size_after) DESC, realized_pnl_usd, closed_notional_usd
    )
),

whole_trips AS NOT MATERIALIZED (
    SELECT symbol, realized_pnl_usd, closed_notional_usd
    FROM close_rows
    ANTI JOIN partly_closed USING (account, symbol, position_side)
    UNION ALL
    SELECT symbol, realized_pnl_usd, closed_notional_usd
    FROM ordered
    WHERE is_whole_trip
),

-- Most trips are one close: only the others are numbered and summed.
partial_closes AS (
    SELECT
        *,
        COALESCE(
            SUM(CASE WHEN ends_position THEN 1 ELSE 0 END) OVER (
                PARTITION BY account, symbol, position_side
                ORDER BY close_ms, event_ms, abs(position_size_after) DESC, realized_pnl_usd, closed_notional_usd
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ),
            0
        ) AS trip_n,
    FROM ordered
    WHERE NOT is_whole_trip
),

trips AS (
    SELECT
        symbol,
        realized_pnl_usd AS pnl_usd,
        realized_pnl_usd / closed_notional_usd AS return,
    FROM whole_trips
    WHERE closed_notional_usd > 0
      AND closed_notional_usd >= $dust_notional_usd
      AND abs(realized_pnl_usd) < 100 * closed_notional_usd -- 10,000 % is a fault of the log, no return
    UNION ALL
    SELECT
        symbol,
        CAST(SUM(CAST(realized_pnl_usd AS DECIMAL(38, 15))) AS DOUBLE) AS pnl_usd,
        CAST(SUM(CAST(realized_pnl_usd AS DECIMAL(38, 15))) AS DOUBLE)
            / NULLIF(CAST(SUM(CAST(closed_notional_usd AS DECIMAL(38, 15))) AS DOUBLE), 0e0) AS return,
    FROM partial_closes
    WHERE closed_notional_usd IS NULL
       OR (closed_notional_usd > 0 AND closed_notional_usd >= $dust_notional_usd)
    GROUP BY account, symbol, position_side, trip_n
    -- What one of its closes earned is unknown: so is what the trip earned.
    HAVING COUNT(*) = COUNT(*) FILTER (abs(realized_pnl_usd) < 100 * closed_notional_usd)
),

-- Returns are summed in whole trillionths, whose squares add up exactly in 128 bits, in any order: below 100 each, there
-- is room for billions of them.
return_sums AS (
    SELECT
        symbol,
        COUNT(return) AS n,
        SUM(CAST(round(return * 1e12) AS BIGINT)) AS sum_e12,
        SUM(CAST(round(return * 1e12) AS HUGEINT) * CAST(round(return * 1e12) AS HUGEINT)) AS squares_e24,
        COUNT(*) FILTER (pnl_usd > 0) AS win_n,
        CAST(SUM(CAST(GREATEST(pnl_usd, 0e0) AS DECIMAL(38, 15))) AS DOUBLE) AS gain_usd,
        CAST(SUM(CAST(GREATEST(-pnl_usd, 0e0) AS DECIMAL(38, 15))) AS DOUBLE) AS loss_usd,
    FROM trips
    GROUP BY symbol
),

-- The squares are moved to around the mean's whole trillionth before they become a float: then only digits that count
-- are left. What the mean has beyond it is below one.
return_stats AS (
    SELECT
        symbol,
        n AS round_trip_n,
        CAST(sum_e12 AS DOUBLE) / 1e12 / NULLIF(n, 0) AS return_mean,
        win_n,
        gain_usd,
        loss_usd,
        sum_e12 // n AS mean_e12,
        CAST(sum_e12 - n * mean_e12 AS DOUBLE) AS beyond,
        CASE
            WHEN n >= 2
            THEN sqrt(
                (
                    CAST(squares_e24 - 2 * mean_e12 * sum_e12 + n * mean_e12 * mean_e12 AS DOUBLE)
                    - beyond * beyond / n
                ) / (n - 1)
            ) / 1e12
        END AS return_std,
    FROM return_sums
),

sums AS (
    SELECT
        symbol,
        CASE WHEN MIN(account) = MAX(account) THEN MAX(account) END AS account,
        CAST(SUM(close_n) AS BIGINT) AS n,
        CAST(SUM(dust_n) AS BIGINT) AS dust_n,
        CAST(SUM(close_only_n) AS BIGINT) AS close_only_n,
        CAST(SUM(pnl_known_n) AS BIGINT) AS pnl_known_n,
        CAST(SUM(CAST(pnl_usd AS DECIMAL(38, 15))) AS DOUBLE) AS realized_pnl_usd,
        CAST(SUM(CAST(pnl_attempts_usd AS DECIMAL(38, 15))) AS DOUBLE) AS realized_pnl_attempts_usd,
        CAST(SUM(CAST(fees_usd AS DECIMAL(38, 15))) AS DOUBLE) AS fees_usd,
        CAST(SUM(fees_known_n) AS BIGINT) AS fees_known_n,
    FROM core_window__hourly
    WHERE n + close_only_n > 0
    GROUP BY symbol
),

recent_navs AS (
    SELECT
        account,
        nav_usd,
    FROM core_window__attempts
    ANTI JOIN core_window__repeated_navs USING (account, event_ms, nav_usd)
    WHERE nav_usd > 0
      AND event_ms > $as_of_ms - 86400000
    UNION ALL
    SELECT
        account,
        nav_usd,
    FROM core_window__repeated_navs
    WHERE nav_usd > 0
      AND event_ms > $as_of_ms - 86400000
),

medians AS (
    SELECT
        account,
        quantile_cont(nav_usd, 0.5) AS median_usd,
    FROM recent_navs
    GROUP BY account
),

equities AS (
    SELECT
        n.account,
        quantile_cont(n.nav_usd, 0.5) AS equity_usd,
        COUNT(*) AS nav_n,
    FROM recent_navs AS n
    INNER JOIN medians AS m USING (account)
    WHERE abs(n.nav_usd - m.median_usd) <= $equity_tolerance * m.median_usd
    GROUP BY n.account
),

-- Of all history: the window's values are counted, only older ones are read one by one, each line for itself: to tell
-- which of them two logs hold would take a sort of all history.
navs AS NOT MATERIALIZED (
    SELECT
        account,
        nav_usd,
        n,
    FROM core_window__navs
    UNION ALL
    SELECT
        account,
        nav_usd,
        -spare_n AS n,
    FROM core_window__repeated_navs
    UNION ALL
    SELECT
        account,
        nav_usd,
        1 AS n,
    FROM raw_orders__attempts
    WHERE reject_reason IS NULL
      AND environment = $environment
      AND nav_usd IS NOT NULL
      AND event_ms <= $as_of_ms - $window_ms
),

nav_faults AS (
    SELECT
        n.account,
        CAST(SUM(n.n) AS BIGINT) AS nav_rejected_n,
    FROM navs AS n
    LEFT JOIN medians AS m USING (account)
    WHERE n.nav_usd <= 0
       OR abs(n.nav_usd - m.median_usd) > $equity_tolerance * m.median_usd
    GROUP BY n.account
),

-- What is earned or paid today, when it is: PnL by the close, fees by the fill; what falls into one millisecond is one
-- step. A close of today may belong to an attempt of yesterday.
moves AS (
    SELECT
        symbol,
        close_ms AS at_ms,
        realized_pnl_usd AS net_usd,
    FROM core_window__closes
    WHERE event_ms >= ($as_of_ms - 1) // 86400000 * 86400000 - 86400000
      AND close_ms >= ($as_of_ms - 1) // 86400000 * 86400000
      AND close_ms <= $as_of_ms
      AND realized_pnl_usd IS NOT NULL
    UNION ALL
    SELECT
        symbol,
        event_ms AS at_ms,
        -fees_usd AS net_usd,
    FROM core_window__outcomes
    WHERE event_ms >= ($as_of_ms - 1) // 86400000 * 86400000
      AND outcome IN ('filled', 'partial', 'close_only')
      AND fees_usd IS NOT NULL
),

-- Falls are sums in order of time, to a billionth of a dollar: what was lost and won back leaves none.
drawdowns AS (
    SELECT
        symbol,
        round(followed.return_pct - followed.peak_pct, 9) + 0e0 AS last_fall_usd,
        round(-followed.fall_pct, 9) + 0e0 AS deepest_fall_usd, -- 0, never -0
    FROM (
        SELECT symbol, path(list(at_ms), list(net_usd)) AS followed -- in dollars, as the amounts are
        FROM moves GROUP BY symbol
    )
),

-- A close of today whose PnL is unknown may be a loss: that nothing fell is then not known.
closes_today AS (
    SELECT
        symbol,
        COUNT(close_ms) AS n,
        COUNT(close_ms) FILTER (realized_pnl_usd IS NULL) AS unknown_n,
    FROM core_window__closes
    WHERE close_ms >= ($as_of_ms - 1) // 86400000 * 86400000
      AND close_ms <= $as_of_ms
    GROUP BY symbol
)

SELECT
    s.symbol AS symbol, -- instrument
    s.n AS n, -- closes
    COALESCE(r.round_trip_n, 0) AS round_trip_n, -- exits above the dust limit; n of the returns
    s.dust_n AS dust_n, -- closes below the dust limit: in PnL, in no statistic of returns
    s.close_only_n AS close_only_n, -- closes without an attempt
    CASE WHEN s.n = 0 THEN 0e0 ELSE s.realized_pnl_usd END AS realized_pnl_usd, -- realised PnL of the closes, before fees, USD; 0 = no close, NULL = closes, none of known PnL
    CASE WHEN s.n = s.close_only_n THEN 0e0 ELSE s.realized_pnl_attempts_usd END
        AS realized_pnl_attempts_usd, -- of closes that belong to an attempt, before fees, USD; 0 and NULL likewise
    s.pnl_known_n AS pnl_known_n, -- closes of orders whose PnL is known
    s.fees_usd AS fees_usd, -- known fees of all fills, entries too, USD; NULL = none known
    s.fees_known_n AS fees_known_n, -- fills and lone closes with known fees
    CASE WHEN s.n = 0 THEN 0e0 ELSE s.realized_pnl_usd END - s.fees_usd AS net_pnl_usd, -- realised PnL less known fees, USD: read it with fees_known_n
    s.fees_usd / NULLIF(s.realized_pnl_usd, 0e0) AS fee_pnl_ratio, -- fees per dollar of PnL before them
    r.return_mean AS return_mean, -- mean return of a round trip before fees, fraction of closed notional
    r.return_std AS return_std, -- its standard deviation
    r.return_std / sqrt(r.round_trip_n) AS return_stderr, -- standard error of return_mean
    r.return_mean - student_t975(CAST(NULLIF(r.round_trip_n - 1, 0) AS DOUBLE))
        * r.return_std / sqrt(r.round_trip_n) AS return_lo95, -- lower 95 % bound of return_mean
    r.return_mean + student_t975(CAST(NULLIF(r.round_trip_n - 1, 0) AS DOUBLE))
        * r.return_std / sqrt(r.round_trip_n) AS return_hi95, -- upper 95 % bound of return_mean
    r.return_mean / NULLIF(r.return_std, 0e0) AS sharpe_7d, -- mean / deviation of returns before fees, not annualised
    r.return_mean / NULLIF(r.return_std, 0e0) - $sharpe_z90 * sqrt(
        (1 + pow(r.return_mean / NULLIF(r.return_std, 0e0), 2) / 2) / r.round_trip_n
    ) AS sharpe_lo90, -- one-sided 90 % lower bound of it (Lo 2002)
    r.win_n / NULLIF(CAST(r.round_trip_n AS DOUBLE), 0e0) AS win_rate, -- share of round trips with a gain before fees
    r.gain_usd / NULLIF(r.loss_usd, 0e0) AS profit_factor, -- gains / losses, both before fees; NULL without a loss
    COALESCE(e.equity_usd, $equity_usd) AS equity_usd, -- account equity, USD: 24 h median of logged NAV; without any the setting equity_usd
    COALESCE(e.nav_n, 0) AS nav_n, -- NAV values of the 24 h that equity is the median of; one that two logs hold counts once
    COALESCE(f.nav_rejected_n, 0) AS nav_rejected_n, -- NAV values up to as-of rejected: 0 or too far from that median; before the window, lines
    CASE WHEN COALESCE(u.unknown_n, 0) = 0 OR d.last_fall_usd < 0 THEN
        100 * COALESCE(d.last_fall_usd, 0e0) / COALESCE(e.equity_usd, $equity_usd)
    END AS dd_today_pct, -- fall from today's peak of realised net PnL, percent of equity, at most 0; NULL = no known fall, and PnL of today unknown
    CASE WHEN COALESCE(u.unknown_n, 0) = 0 OR d.deepest_fall_usd < 0 THEN
        100 * COALESCE(d.deepest_fall_usd, 0e0) / COALESCE(e.equity_usd, $equity_usd)
    END AS max_dd_today_pct, -- deepest such fall today, percent of equity, at most 0; NULL likewise
    COALESCE(u.n, 0) AS dd_n, -- orders with closes of today
    COALESCE(u.unknown_n, 0) AS dd_unknown_n, -- of those, of unknown PnL: the fall is of the others, and at least so deep
FROM sums AS s
LEFT JOIN return_stats AS r USING (symbol)
LEFT JOIN drawdowns AS d USING (symbol)
LEFT JOIN closes_today AS u USING (symbol)
LEFT JOIN equities AS e USING (account)
LEFT JOIN nav_faults AS f USING (account)
ORDER BY s.symbol
