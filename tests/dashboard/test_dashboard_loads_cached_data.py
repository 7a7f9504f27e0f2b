"""US-017 FR-7: every panel renders from files, and nothing calls the outside."""

from pathlib import Path

from playwright.sync_api import Browser

from tests.dashboard import browser as chrome

PAGES = {
    "": "Overview",
    "intel": "Execution Intelligence",
    "health": "Execution Health",
    "strategies": "Strategies",
    "quality": "Data quality",
    "playback": "Playback",
}


def test_dashboard_loads_cached_data(server: chrome.Server, chromium: Browser, home: Path) -> None:
    for width in (chrome.WIDE, chrome.NARROW):
        with chrome.tab(chromium, width=width) as tab:
            for path, title in PAGES.items():
                tab.open(server.address(path, symbol="LINKUSDT"))
                where = f"{title} at {width} pixels"
                assert tab.page.locator("h1").inner_text() == title
                assert "● fresh" in tab.text, where
                assert "2025-11-06 00:00:00 UTC" in tab.text, where
                assert tab.page.locator('[data-testid="stException"]').count() == 0, where
                assert not tab.is_wider_than_window(), where
            assert tab.errors == []
            assert tab.outside == []
    assert server.outside() == []
    assert server.audit.exists()  # it did listen
    assert "Traceback" not in server.log.read_text()
