-- fail: closes, or outcomes summed by minute or by bin, disagree with their hours: core files were damaged or rebuilt in part, or the sums kept of them in the data root's cache/facts were: delete that folder and refresh again
WITH hours AS (
    SELECT
        symbol,
        SUM(filled_n + partial_n + close_only_n) AS trade_n,
        SUM(unknown_n) AS unknown_n,
        SUM(fees_known_n) AS fees_known_n,
        SUM(fees_usd) AS fees_usd,
        SUM(slip_n) AS slip_n,
        SUM(suspect_n) AS suspect_n,
        SUM(ack_n) AS ack_n,
        SUM(close_n) AS close_n,
        SUM(pnl_known_n) AS pnl_known_n,
        SUM(pnl_usd) AS pnl_usd,
    FROM core_window__hourly
    GROUP BY symbol
),

minutes AS (
    SELECT
        symbol,
        SUM(trade_n) AS trade_n,
        SUM(unknown_n) AS unknown_n,
        SUM(fees_known_n) AS fees_known_n,
        CAST(SUM(fees_usd) AS DOUBLE) AS fees_usd,
        CAST(SUM(fees_size_usd) AS DOUBLE) AS fees_size_usd,
        SUM(close_n) AS close_n,
        CAST(SUM(pnl_usd) AS DOUBLE) AS pnl_usd,
        CAST(SUM(pnl_size_usd) AS DOUBLE) AS pnl_size_usd,
    FROM core_window__minutes
    GROUP BY symbol
),

slippage AS (
    SELECT symbol, SUM(n) AS slip_n, SUM(suspect_n) AS suspect_n
    FROM core_window__slippage
    GROUP BY symbol
),

acks AS (
    SELECT symbol, SUM(n) AS ack_n
    FROM core_window__acks
    GROUP BY symbol
),

closes AS (
    SELECT
        symbol,
        SUM(close_n) FILTER (close_ms <= $as_of_ms) AS close_n,
        SUM(close_n) FILTER (close_ms <= $as_of_ms AND realized_pnl_usd IS NOT NULL) AS pnl_known_n,
        SUM(realized_pnl_usd) FILTER (close_ms <= $as_of_ms) AS pnl_usd,
        SUM(close_n) AS all_close_n,
        SUM(realized_pnl_usd) AS all_pnl_usd,
    FROM core_window__closes
    GROUP BY symbol
)

SELECT
    symbol,
    h.trade_n AS hour_trade_n,
    m.trade_n AS minute_trade_n,
    h.unknown_n AS hour_unknown_n,
    m.unknown_n AS minute_unknown_n,
    h.fees_known_n AS hour_fees_known_n,
    m.fees_known_n AS minute_fees_known_n,
    h.fees_usd AS hour_fees_usd,
    m.fees_usd AS minute_fees_usd,
    h.slip_n AS hour_slip_n,
    s.slip_n AS bin_slip_n,
    h.suspect_n AS hour_suspect_n,
    s.suspect_n AS bin_suspect_n,
    h.ack_n AS hour_ack_n,
    a.ack_n AS bin_ack_n,
    h.close_n AS hour_close_n,
    c.close_n AS row_close_n,
    h.pnl_usd AS hour_pnl_usd,
    c.pnl_usd AS row_pnl_usd,
FROM hours AS h
FULL JOIN minutes AS m USING (symbol)
FULL JOIN slippage AS s USING (symbol)
FULL JOIN acks AS a USING (symbol)
FULL JOIN closes AS c USING (symbol)
WHERE COALESCE(h.trade_n, 0) <> COALESCE(m.trade_n, 0)
   OR COALESCE(h.unknown_n, 0) <> COALESCE(m.unknown_n, 0)
   OR COALESCE(h.fees_known_n, 0) <> COALESCE(m.fees_known_n, 0)
   OR abs(COALESCE(h.fees_usd, 0) - COALESCE(m.fees_usd, 0)) > 1e-6 + 1e-9 * COALESCE(m.fees_size_usd, 0)
   OR COALESCE(h.slip_n, 0) <> COALESCE(s.slip_n, 0)
   OR COALESCE(h.suspect_n, 0) <> COALESCE(s.suspect_n, 0)
   OR COALESCE(h.ack_n, 0) <> COALESCE(a.ack_n, 0)
   OR COALESCE(h.close_n, 0) <> COALESCE(c.close_n, 0)
   OR COALESCE(h.pnl_known_n, 0) <> COALESCE(c.pnl_known_n, 0)
   OR abs(COALESCE(h.pnl_usd, 0) - COALESCE(c.pnl_usd, 0)) > 1e-6 + 1e-9 * COALESCE(m.pnl_size_usd, 0)
   OR COALESCE(m.close_n, 0) <> COALESCE(c.all_close_n, 0)
   OR abs(COALESCE(m.pnl_usd, 0) - COALESCE(c.all_pnl_usd, 0)) > 1e-6 + 1e-9 * COALESCE(m.pnl_size_usd, 0)
ORDER BY symbol
