"""The dashboard: `execintel dashboard`, or `streamlit run dashboard/app.py -- --help`'s flags.

Put here: which pages there are. Keep out: everything on them (views/).
"""

import importlib
import logging

import streamlit as st

from dashboard import session
from features.setting_faults import BadSettingError
from live.mirror.link import OffError

_log = logging.getLogger(__name__)
PAGES = (
    ("overview", "Overview"),
    ("intel", "Execution Intelligence"),
    ("health", "Execution Health"),
    ("strategies", "Strategies"),
    ("quality", "Data quality"),
    ("playback", "Playback"),
)
# The theme has no setting for the sides: tables want the width.
STYLE = (
    "<style>[data-testid='stMainBlockContainer'] {padding-left: clamp(1rem, 1.5vw, 2.5rem);"
    " padding-right: clamp(1rem, 1.5vw, 2.5rem)}</style>"
)
# Drawn here: an emoji or a material icon would be fetched from outside.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" '
    'rx="6" fill="#1f4e79"/><path d="M5 22l7-8 6 5 9-11" fill="none" stroke="#fff" '
    'stroke-width="3"/></svg>'
)


def page(name: str, title: str, *, is_first: bool) -> "st.Page":
    """Return a page that imports its file when it is first shown."""

    def run() -> None:
        try:
            importlib.import_module(f"dashboard.views.{name}").render(session.view())
        except Exception:
            _log.exception("the page %s failed", title)
            st.error("■ This page met a fault; the server's log says which. Reload to try again.")

    return st.Page(run, title=title, url_path="" if is_first else name, default=is_first)


def main() -> None:
    """Show the page that the address names."""
    st.set_page_config(page_title="execintel", page_icon=ICON, layout="wide")
    st.html(STYLE)
    pages = {name: page(name, title, is_first=not i) for i, (name, title) in enumerate(PAGES)}
    session.register(pages)
    chosen = st.navigation(list(pages.values()), position="top")
    try:
        session.source()
    except (BadSettingError, OffError) as error:
        st.error("■ The dashboard cannot start with these settings.")
        st.text(str(error))
        return
    session.carry()
    chosen.run()


main()
