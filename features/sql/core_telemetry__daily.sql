-- Counts and sums of closed predictions by the day they closed, that add up to any span of days.
-- Grain: environment, strategy, symbol, day_ms, confidence_decile
-- Units: _ms epoch milliseconds UTC, _pct percent, _min minutes, _n counts, _sq squares
-- Source: core_window__traces
-- Rebuild: the months of new traces; $from_ms and $to_ms cut it to a part of a day; none was held longer than $longest_ms
SELECT
    environment AS environment, -- live, testnet, paper or backtest
    strategy AS strategy, -- strategy that predicted
    symbol AS symbol, -- instrument
    day_ms AS day_ms, -- UTC day of the exit, epoch ms
    COALESCE(confidence_decile, -1) AS confidence_decile, -- 0 to 9; -1 = confidence not logged
    COUNT(*) AS n, -- closed predictions
    COUNT(*) FILTER (predicted = 'LONG' AND actual = 'LONG') AS long_long, -- predicted LONG, market LONG
    COUNT(*) FILTER (predicted = 'LONG' AND actual = 'SHORT') AS long_short, -- predicted LONG, market SHORT
    COUNT(*) FILTER (predicted = 'LONG' AND actual = 'NOOP') AS long_noop, -- predicted LONG, market NOOP
    COUNT(*) FILTER (predicted = 'SHORT' AND actual = 'LONG') AS short_long, -- predicted SHORT, market LONG
    COUNT(*) FILTER (predicted = 'SHORT' AND actual = 'SHORT') AS short_short, -- predicted SHORT, market SHORT
    COUNT(*) FILTER (predicted = 'SHORT' AND actual = 'NOOP') AS short_noop, -- predicted SHORT, market NOOP
    COUNT(*) FILTER (predicted = 'NOOP' AND actual = 'LONG') AS noop_long, -- predicted NOOP, market LONG
    COUNT(*) FILTER (predicted = 'NOOP' AND actual = 'SHORT') AS noop_short, -- predicted NOOP, market SHORT
    COUNT(*) FILTER (predicted = 'NOOP' AND actual = 'NOOP') AS noop_noop, -- predicted NOOP, market NOOP
    COUNT(*) FILTER (is_relabelled) AS relabelled_n, -- logged direction contradicts the prices
    COUNT(*) FILTER (is_trade) AS trade_n, -- of these, positions with a known return
    COUNT(*) FILTER (is_trade AND return_pct > 0) AS win_n, -- of these, above 0
    CAST(COALESCE(SUM(CAST(return_pct AS DECIMAL(38, 18))), 0) AS DOUBLE) AS return_pct, -- sum of returns, percent
    CAST(COALESCE(SUM(CAST(return_pct * return_pct AS DECIMAL(38, 18))), 0) AS DOUBLE) AS return_sq, -- sum of squared returns
    CAST(COALESCE(SUM(CAST(GREATEST(return_pct, 0e0) AS DECIMAL(38, 18))), 0) AS DOUBLE) AS gain_pct, -- sum of returns above 0, percent
    CAST(COALESCE(SUM(CAST(GREATEST(-return_pct, 0e0) AS DECIMAL(38, 18))), 0) AS DOUBLE) AS loss_pct, -- sum of losses, percent, at least 0
    CAST(COALESCE(SUM(CAST(CASE WHEN is_trade THEN holding_min END AS DECIMAL(38, 9))), 0) AS DOUBLE) AS holding_min, -- sum of the positions' holding times, minutes
    COUNT(confidence) AS confidence_n, -- predictions with a confidence
    CAST(COALESCE(SUM(CAST(confidence AS DECIMAL(38, 18))), 0) AS DOUBLE) AS confidence, -- sum of confidences
    COUNT(*) FILTER (is_correct AND confidence IS NOT NULL) AS confidence_correct_n, -- of these, right
    CAST(
        COALESCE(
            SUM(
                CAST(
                    pow(confidence - CASE WHEN is_correct THEN 1e0 ELSE 0e0 END, 2)
                    AS DECIMAL(38, 18)
                )
            ),
            0
        ) AS DOUBLE
    ) AS brier_sum, -- sum of squared distances of confidence from being right (1) or wrong (0)
    COUNT(*) FILTER (represented_n > 1) AS sampled_n, -- predictions of which only a share was logged
    CAST(SUM(CAST(represented_n AS DECIMAL(38, 9))) AS DOUBLE) AS represented_n, -- trades they stand for
    MIN(event_ms) AS first_ms, -- first entry, epoch ms
    MAX(close_ms) AS last_ms, -- last exit, epoch ms
FROM core_window__traces
WHERE close_ms >= $from_ms
  AND close_ms < $to_ms
  AND event_ms BETWEEN $from_ms - $longest_ms AND $to_ms -- the same again, for files to be skipped by
GROUP BY environment, strategy, symbol, day_ms, confidence_decile
ORDER BY environment, strategy, symbol, day_ms, confidence_decile
