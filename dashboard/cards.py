"""One of two forms of the same rows: a table on a wide page, a list of cards on a telephone.

Put here: how a card looks, and which form a page of which width shows. Keep out: what stands on it
(views/). The server does not know the width: both are sent, the browser shows one.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

import streamlit as st

from dashboard.panels import clip
from features.words import number

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


@dataclass(frozen=True)
class Fact:
    """One value of a card with the number of samples behind it."""

    label: str
    value: str
    n: int | None = None


@dataclass(frozen=True)
class Card:
    """One row: whose it is, its status behind a shape, its values."""

    title: str
    status: str
    facts: tuple[Fact, ...]
    choices: Mapping[str, str] | None = None  # of the page that the card leads to


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


def _drawn(card: Card, page: str) -> str:
    facts = "".join(
        f"<span><small>{escape(fact.label)}</small> <b>{escape(clip(fact.value, _LONG))}</b>"
        + (f" <small>n {number(fact.n, 0)}</small>" if fact.n is not None else "")
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
