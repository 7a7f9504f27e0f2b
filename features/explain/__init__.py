"""Why a symbol's size, score, offset and policy are what they are, from the tables that decided.

Put here: which input met which rule and what that changed. Keep out: computing any of it (sql/),
writing it for people (commands, pages).
"""

from typing import Any

import duckdb

from features.explain.router import MAKER_FIRST, offset_part, policy_part
from features.explain.size import score_part, size_part
from features.explain.steps import Line, Params, Part, Row

__all__ = ["MAKER_FIRST", "Line", "Part", "explain"]


def explain(
    con: duckdb.DuckDBPyConnection, symbol: str, hour_utc: int, params: Params
) -> tuple[Part, ...]:
    """Return size, score, offset and policy of a symbol, step by step.

    Args:
        con: a published snapshot's database.
        symbol: a symbol of feat_symbol__sizing.
        hour_utc: the UTC hour of day whose offset is meant.
        params: the parameters of that snapshot, as its manifest names them.

    Raises LookupError naming the table when a table or the symbol's row is missing.
    """
    models = {row["model"]: row for row in _rows(con, "feat_symbol__scores", symbol=symbol)}
    active = next((row for row in models.values() if row["is_active"]), None)
    if active is None:
        raise LookupError(f"feat_symbol__scores has no row of {symbol}")
    regime = _row(con, "feat_symbol__atr_regime", symbol=symbol)
    sizing = _row(con, "feat_symbol__sizing", symbol=symbol)
    offset = _row(con, "feat_router__maker_offsets", symbol=symbol, hour_utc=hour_utc)
    policy = _row(con, "feat_router__policies", symbol=symbol)
    risk = _rows(con, "feat_symbol__performance", symbol=symbol)
    return (
        size_part(sizing, regime, active, params),
        score_part(active, models, params, risk[0] if risk else None),
        offset_part(offset, policy, params),
        policy_part(policy, params),
    )


def _rows(con: duckdb.DuckDBPyConnection, table: str, **key: Any) -> list[Row]:
    where = " AND ".join(f"{name} = ${name}" for name in key)
    try:
        found = con.sql(f"FROM {table} WHERE {where}", params=key)
    except duckdb.CatalogException:
        raise LookupError(f"this snapshot has no table {table}") from None
    names = found.columns
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _row(con: duckdb.DuckDBPyConnection, table: str, **key: Any) -> Row:
    rows = _rows(con, table, **key)
    if not rows:
        raise LookupError(f"{table} has no row of {key['symbol']}")
    return rows[0]
