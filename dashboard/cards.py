"""One of two forms of the same rows: a table on a wide page, a list of cards on a telephone.

Put here: how a card looks, and which form a page of which width shows. Keep out: what stands on it
(views/). The server does not know the width: both are sent, the browser shows one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import urlencode

import polars as pl
import streamlit as st

from dashboard import panels
from dashboard.panels import clip
from features.words import UNKNOWN, number

PAGE_ROWS = 25  # both forms of 50 rows would take the browser half again as long as the table alone
_LONG = 200  # characters of a value: warnings and guards are lists
_STYLE = """<style>
@media (max-width: 640px) { .st-key-wide-KEY { display: none } }
@media (min-width: 640.1px) { .st-key-narrow-KEY { display: none } }
.card { display: block; padding: .5rem .2rem; border-bottom: 1px solid #8888; color: inherit;
  text-decoration: none }
a.card:focus-visible { outline: 2px solid #1f86c7 }
.card p { display: flex; justify-content: space-between; margin: 0; gap: 1rem }
.card > div { display: flex; flex-wrap: wrap; gap: 0 .9rem; font-size: .85rem }
.card small { opacity: .75; font-size: .8rem }
</style>"""


Choices = Mapping[str, str] | None  # of a page, as its address names them
Links = tuple[str, Sequence[Choices]]


@dataclass(frozen=True)
class Fact:
    """One value of a card with the number of samples behind it, or words that say it."""

    label: str
    value: str
    n: int | str | None = None


@dataclass(frozen=True)
class Card:
    """One row: whose it is, its status behind a shape, its values."""

    title: str
    status: str
    facts: tuple[Fact, ...]
    choices: Choices = None  # of the page that the card leads to


@contextmanager
def wide(key: str) -> Iterator[None]:
    """Show what follows on wide pages only."""
    with st.container(key=f"wide-{key}"):
        yield


def narrow(key: str, cards: Iterable[Card], *, page: str = "") -> None:
    """Show cards on narrow pages only; each with choices is a link to ``page``, by keyboard too."""
    with st.container(key=f"narrow-{key}"):
        style = _STYLE.replace("KEY", key.replace(" ", "-"))  # as Streamlit makes a class of a key
        st.html(style + "".join(_drawn(card, page) for card in cards))


def either(
    frame: pl.DataFrame,
    *,
    key: str,
    title: str,
    status: str = "",
    page_rows: int = PAGE_ROWS,
    links: Links | None = None,
    **more: Any,
) -> None:
    """Show a frame by pages: a table where it is wide, else a card a row, named by two columns.

    ``links`` names the page that cards lead to and what each row chooses on it; ``more`` goes to
    the table. Every other column is a fact of the card, but for those that say nothing.
    """
    page = panels.paged(frame, key=key, page_rows=page_rows)
    with wide(key):
        panels.table(page, key=key, page_rows=max(page.height, 1), **more)
    heads = {name: each for name, each in more.get("columns", {}).items() if isinstance(each, str)}
    leads_to, chosen = links or ("", [None] * page.height)
    rows = zip(page.iter_rows(named=True), chosen, strict=True)
    drawn = [_of_row(row, title, status, heads, choices) for row, choices in rows]
    narrow(key, drawn, page=leads_to)


def _of_row(
    row: Mapping[str, Any], title: str, status: str, heads: Mapping[str, str], choices: Choices
) -> Card:
    facts = [
        Fact(heads.get(name, name), written(value))
        for name, value in row.items()
        if name not in (title, status) and value != ""
    ]
    named = written(row[status]) if status else ""
    return Card(written(row[title]), named, tuple(facts), choices)


def written(value: object) -> str:
    """Write a cell as a table does: whole numbers whole, others to four digits at most.

    What four digits would make 0 is written to six of its own.
    """
    if isinstance(value, float):
        if 0 < abs(value) < 0.0001:
            return f"{value:.6g}"
        return number(value, 4).rstrip("0").rstrip(".")
    if isinstance(value, int):
        return number(value, 0)
    return UNKNOWN if value is None else str(value)


def _drawn(card: Card, page: str) -> str:
    facts = "".join(
        f"<span><small>{escape(fact.label)}</small> <b>{escape(clip(fact.value, _LONG))}</b>"
        + (f" <small>n {_n(fact.n)}</small>" if fact.n is not None else "")
        + "</span>"
        for fact in card.facts
    )
    drawn = (
        f"<p><b>{escape(clip(card.title))}</b><span>{escape(card.status)}</span></p>"
        f"<div>{facts}</div>"
    )
    if card.choices is None:
        return f'<div class="card">{drawn}</div>'
    return f'<a class="card" href="{escape(f"{page}?{urlencode(card.choices)}")}">{drawn}</a>'


def _n(n: int | str) -> str:
    return escape(n) if isinstance(n, str) else number(n, 0)
