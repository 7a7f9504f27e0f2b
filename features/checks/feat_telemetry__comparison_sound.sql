-- fail: a pair repeats, or a strategy is called better without a leader and an interval that excludes 0
SELECT
    *,
FROM feat_telemetry__comparison AS c
QUALIFY COUNT(*) OVER (PARTITION BY c.window, c.strategy, c.other_strategy) > 1
    OR c.strategy >= c.other_strategy
    OR better_strategy NOT IN (c.strategy, c.other_strategy, 'inconclusive')
    OR (better_strategy <> 'inconclusive' AND better_strategy IS DISTINCT FROM composite_leader)
    OR (better_strategy <> 'inconclusive' AND COALESCE(day_lo95 <= 0 AND day_hi95 >= 0, TRUE))
    OR day_p NOT BETWEEN 0 AND 1
    OR trade_p NOT BETWEEN 0 AND 1
ORDER BY c.window, c.strategy, c.other_strategy
