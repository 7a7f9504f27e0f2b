"""Pages that need no more than the shared root: each opens and is clean."""

import pytest
from playwright.sync_api import Browser

from tests.dashboard import browser as chrome


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("", "Overview"),
        ("intel", "Execution Intelligence"),
        ("health", "Execution Health"),
        ("strategies", "Strategies"),
        ("quality", "Data quality"),
        ("playback", "Playback"),
    ],
)
def test_page_opens_without_error_or_outside_call(
    server: chrome.Server, chromium: Browser, path: str, title: str
) -> None:
    with chrome.tab(chromium) as tab:
        tab.open(server.address(path))
        assert tab.page.locator("h1").inner_text() == title
        assert "fresh" in tab.text
        assert tab.errors == []
        assert tab.outside == []
