"""The v5.10.1 calls of the dashboard: what an engine would be told, under the names of then.

Put here: those names. Keep out: the answers (live/intel.py). Within `view.answering()` they rest on
that view's snapshot, elsewhere on the newest one below EXECINTEL_HOME.
"""

from typing import Any

from live.intel import (
    compute_execution_health,
    compute_symbol_score,
    hourly_expectancy,
    router_effectiveness_7d,
)


def get_symbol_score(symbol: str) -> dict[str, Any]:
    """Return ``symbol``, ``score`` and ``components``; ``missing`` names the unknown inputs."""
    return compute_symbol_score(symbol)


def get_hourly_expectancy(symbol: str | None = None) -> dict[int, dict[str, Any]]:
    """Return count, expectancy and slippage by UTC hour; None: all symbols together."""
    return hourly_expectancy(symbol)


def execution_kpis(symbol: str | None = None) -> dict[str, Any]:
    """Return fill, maker and fallback ratios, slippage quartiles and latency, each with its n."""
    return router_effectiveness_7d(symbol)


def execution_health(symbol: str | None = None) -> dict[str, Any]:
    """Return the health document of a symbol; None: its router part over all symbols."""
    return compute_execution_health(symbol)
