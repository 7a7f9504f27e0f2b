-- fail: a day repeats, a ratio is out of 0 to 1 or its bounds, the parts of a NAV change do not sum to it, or a status does not follow
SELECT
    *,
FROM feat_account__coverage
QUALIFY COUNT(*) OVER (PARTITION BY account, day) > 1
    OR pnl_explained_ratio NOT BETWEEN 0 AND 1
    OR position_explained_ratio NOT BETWEEN 0 AND 1
    OR pnl_logged_ratio NOT BETWEEN 0 AND 1
    OR (pnl_missing_n > 0 AND pnl_logged_ratio IS NULL)
    OR pnl_explained_lo > pnl_explained_hi
    OR pnl_explained_ratio NOT BETWEEN pnl_explained_lo AND pnl_explained_hi
    OR unexplained_lo_usd > unexplained_hi_usd
    OR (n = 0 AND nav_change_usd IS NOT NULL)
    OR (unrealized_change_usd IS NULL AND unexplained_usd IS NOT NULL)
    OR abs(unlogged_usd - unexplained_usd - unrealized_change_usd) > 1e-6
    OR (day = '*' AND inferred_fill_n > unknown_n)
    OR (status = 'complete') <> COALESCE(coverage >= $min_pnl_coverage, FALSE)
    OR coverage > pnl_explained_lo
    OR coverage > position_explained_ratio
    OR coverage > pnl_logged_ratio
ORDER BY account, day
