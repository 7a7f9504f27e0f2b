"""What one reader of the pages has chosen: the symbol and the moment, kept in the address.

Put here: reading and writing query parameters and session state. Keep out: what they choose among
(data.py), controls (panels.py).
"""

import gc
import sys
from typing import Any, NoReturn

import streamlit as st

from dashboard.data import Source, View, open_source
from dashboard.data_kept import Kept
from dashboard.settings import DashboardSettings, load

KEPT = ("symbol", "at")  # what goes along from page to page


@st.cache_resource(show_spinner=False)
def settings() -> DashboardSettings:
    """Return the settings of the process; raises BadSettingError."""
    return load(sys.argv[1:])


@st.cache_resource(show_spinner="Reading the newest snapshot …")
def source() -> Source:
    """Return where all sessions of the process read; raises OffError."""
    opened = open_source(settings())
    # Streamlit collects garbage after every run of a page. The modules, loaded by now and there to
    # stay, would be looked through each time: a tenth of a second.
    gc.freeze()
    return opened


def kept() -> Kept | None:
    """Return what is kept of all snapshots here; None where the mirror is read."""
    return source().kept


def view() -> View:
    """Return what this session looks at now."""
    return source().view(st.session_state.get("at"))


def carry() -> None:
    """Keep the choices of this session in the address of whatever page is shown."""
    for name in KEPT:
        if name in st.query_params:
            st.session_state[name] = st.query_params[name]
        elif st.session_state.get(name):
            st.query_params[name] = st.session_state[name]


def register(pages: dict[str, Any]) -> None:
    """Remember the pages of this run by name, so that one can lead to another."""
    st.session_state["pages"] = pages


def go(name: str, **choices: str) -> NoReturn:
    """Open a page with these choices, keeping the others."""
    st.session_state.update(choices)
    kept = {key: st.session_state[key] for key in KEPT if st.session_state.get(key)}
    st.switch_page(st.session_state["pages"][name], query_params=kept)


def choices(symbol: str) -> dict[str, str]:
    """Return what the address of a page names so that it shows a symbol at the moment chosen."""
    at = st.session_state.get("at")
    return {"symbol": symbol} | ({"at": at} if at else {})


def symbol() -> str | None:
    """Return the symbol that is chosen."""
    return st.session_state.get("symbol")


def choose(name: str | None) -> None:
    """Choose a symbol for every page."""
    _set("symbol", name)


def play_back(at: str) -> None:
    """Look at a past moment, an ISO 8601 time or a snapshot's id, on every page."""
    _set("at", at)


def leave_past() -> None:
    """Look at the present again."""
    _set("at", None)


def _set(name: str, value: str | None) -> None:
    st.session_state[name] = value
    if value is None:
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = value
