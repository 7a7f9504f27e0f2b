-- warn: the logs explain too little of an account's PnL or position changes to trust what they say; execintel reconcile says what is missing, or why that cannot be known
SELECT
    account,
    status,
    likely_cause,
    pnl_explained_ratio,
    pnl_explained_lo,
    pnl_explained_hi,
    position_explained_ratio,
    position_unexplained_usd,
    unexplained_usd,
FROM feat_account__coverage
WHERE day = '*'
  AND status <> 'complete'
ORDER BY account
