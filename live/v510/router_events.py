"""Router attempts of a published snapshot as v5.10 events; off the order path, it opens a database.

Put here: the query and the v5.10 names of its columns. Keep out: anything an order waits for.
"""

from pathlib import Path
from typing import Any

# A stand-alone close is no attempt: v5.10 had no event for it.
_EVENTS = """
SELECT
    symbol,
    event_ms / 1e3 AS ts,
    side,
    route,
    strategy,
    attempt_id,
    intent_id,
    outcome,
    is_maker AS is_maker_final,
    started_maker,
    used_fallback,
    slippage_bps,
    notional_usd AS notional,
    realized_pnl_usd AS realized_pnl,
    fees_usd,
    ack_ms
FROM core_execution__outcomes
WHERE environment = $environment
  AND event_ms > $from_ms
  AND event_ms <= $as_of_ms
  AND outcome <> 'close_only'
  AND ($symbol IS NULL OR upper(symbol) = upper($symbol) OR venue || ':' || symbol = $symbol)
ORDER BY event_ms, symbol, attempt_id
"""


def read(
    database: Path, *, environment: str, as_of_ms: int, window_days: int, symbol: str | None
) -> list[dict[str, Any]]:
    """Return the attempts in (as_of - window, as_of], oldest first; unknown values are None."""
    import duckdb  # here: importing intel.py must not load a database

    with duckdb.connect(str(database), read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        found = con.sql(
            _EVENTS,
            params={
                "environment": environment,
                "as_of_ms": as_of_ms,
                "from_ms": as_of_ms - window_days * 86_400_000,
                "symbol": symbol,
            },
        )
        names = found.columns
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
