"""Why it cannot be known how much of an account its logs explain, and which log would tell.

Put here: reading the reasons off a snapshot's feat_account__coverage. Keep out: judging coverage
(its SQL); what is missing where that is known (features/words.py).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from features.words import counted

if TYPE_CHECKING:
    import duckdb

_ACCOUNTS = """
SELECT
    c.account, c.n, c.nav_rejected_n, c.nav_change_usd,
    c.unrealized_first_usd, c.unrealized_last_usd, c.pnl_explained_lo,
    c.trade_n + c.unknown_n, c.position_change_n, c.position_explained_ratio, c.coverage,
    EXISTS (
        FROM core_position__reconciliation AS r
        WHERE r.account = c.account AND r.position_side <> 'GROSS'
    ),
    EXISTS (
        FROM raw_orders__attempts AS a
        WHERE a.account = c.account AND a.symbol_gross_json IS NOT NULL
    )
FROM feat_account__coverage AS c
WHERE c.day = '*' AND c.status = 'unknowable'
ORDER BY c.account
"""


@dataclass(frozen=True)
class Account:
    """What a window's coverage row says of an account, as far as it decides what can be known."""

    name: str
    nav_n: int
    nav_rejected_n: int
    nav_change_usd: float | None
    unrealized_first_usd: float | None
    unrealized_last_usd: float | None
    pnl_explained_lo: float | None
    order_n: int
    change_n: int
    position_explained_ratio: float | None
    coverage: float | None
    has_states: bool
    has_gross: bool  # exposure by symbol beside NAV


def unknowable(con: "duckdb.DuckDBPyConnection", needed: float) -> dict[str, list[str]]:
    """Return why of each account that is unknowable; ``needed`` is the least coverage, 0 to 1."""
    accounts = [Account(*row) for row in con.sql(_ACCOUNTS).fetchall()]
    return {account.name: reasons(account, needed) for account in accounts}


def reasons(account: Account, needed: float) -> list[str]:
    """Say what keeps an account's coverage from being known, each with the log that would tell."""
    found = [_of_nav(account), _of_unrealized(account, needed), _of_positions(account)]
    told = [words for words in found if words is not None]
    if not told and account.coverage is None:
        return [
            "Its NAV values span too little of what was logged: "
            "let the executor write one with every attempt"
        ]
    return told


def _of_nav(account: Account) -> str | None:
    if account.nav_n == 0 and account.nav_rejected_n:
        return (
            f"All NAV values were refused ({account.nav_rejected_n}: 0, or far from the day's "
            "median): let the executor write what the venue says"
        )
    if account.nav_n == 0:
        return "No NAV is logged: let the executor write nav_snapshot in orders_attempted.jsonl"
    if account.nav_change_usd is None:
        return (
            "All NAV values are of one moment: let the executor write nav_snapshot in "
            "orders_attempted.jsonl with every attempt"
        )
    return None


def _of_unrealized(account: Account, needed: float) -> str | None:
    ends = {"first": account.unrealized_first_usd, "last": account.unrealized_last_usd}
    unknown = [end for end, usd in ends.items() if usd is None]
    is_enough = (account.pnl_explained_lo or 0.0) >= needed  # whatever it was
    if account.nav_change_usd is None or not unknown or is_enough:
        return None
    words = f"Unrealised PnL at its {' and its '.join(unknown)} NAV is not known"
    if not account.has_states:
        return (
            f"{words}, as positions are not logged: let the executor write position_state.jsonl, "
            "with entry prices"
        )
    if not account.has_gross:
        return (
            f"{words}: no NAV says what was held at it. Let the executor write gross_usd and "
            "symbol_gross_usd beside nav_usd in nav_snapshot of orders_attempted.jsonl"
        )
    return (
        f"{words}: position_state.jsonl names no entry price of what was held then, or orders "
        "touched it since, or exposure over quantity is no price of those hours. Let the executor "
        "write it after every fill"
    )


def _of_positions(account: Account) -> str | None:
    if account.position_explained_ratio is not None or account.order_n + account.change_n == 0:
        return None
    if account.change_n:
        return (
            "A change of its positions has no price: let the executor write position_state.jsonl "
            "with entry prices"
        )
    words = f"{counted(account.order_n, 'order')} and no change of position stand in the logs"
    if not account.has_states:
        return f"{words}: let the executor write position_state.jsonl"
    return f"{words}: let the executor write position_state.jsonl after every fill"
