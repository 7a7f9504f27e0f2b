"""US-017 FR-7: every page renders from files, at both widths, and nothing calls the outside."""

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


def test_dashboard_loads_cached_data(server: chrome.Server, chromium: Browser) -> None:
    with chrome.tab(chromium) as tab:
        for path, title in PAGES.items():
            tab.open(server.address(path, symbol="LINKUSDT"))
            assert tab.page.locator("h1").inner_text() == title
            assert "● fresh" in tab.text, title
            assert "2025-11-06 00:00:00 UTC" in tab.text, title
            assert "met a fault" not in tab.text, title
            assert not tab.is_wider_than_window(), title
            tab.page.set_viewport_size({"width": chrome.NARROW, "height": 900})
            tab.settle()
            assert not tab.is_wider_than_window(), f"{title} on a phone"
            tab.page.set_viewport_size({"width": chrome.WIDE, "height": 900})
        assert tab.errors == []
        assert tab.outside == []
    assert server.outside() == []
    assert server.audit.exists()  # it did listen
    assert "Traceback" not in server.log.read_text()
