"""What a person does: open a symbol, share its address, wait, export, go back in time."""

import csv
import io
import json
import shutil
from pathlib import Path

from playwright.sync_api import Browser, expect

from dashboard import frames, panels
from dashboard.views import health, quality
from features.snapshot import Store
from features.words import MARKS
from live.v510.health import router_part
from tests.dashboard import browser as chrome


def test_row_leads_to_the_symbol_whose_address_can_be_shared(
    server: chrome.Server, chromium: Browser
) -> None:
    with chrome.tab(chromium) as tab:
        tab.open(server.address())
        symbol = tab.cells()[2][tab.cells()[0].index("symbol")]
        tab.choose_row(1)
        tab.page.wait_for_url("**/intel?symbol=*")
        assert tab.page.url.endswith(f"symbol={symbol}")
        tab.page.get_by_text("Hourly expectancy (last 7d)").wait_for()
        tab.page.get_by_role("link", name="Execution Health").click()
        tab.page.get_by_role("heading", name=symbol).wait_for()
        assert f"symbol={symbol}" in tab.page.url
        with chrome.tab(chromium) as other:
            other.open(tab.page.url)
            assert other.page.get_by_role("heading", name=symbol).count() == 1
        assert tab.errors == []


def test_a_telephone_shows_a_card_a_symbol_that_leads_to_it(
    server: chrome.Server, chromium: Browser, store: Store
) -> None:
    first, _ = store.ids()
    with chrome.tab(chromium, width=chrome.NARROW) as tab:
        for path, leads_to in (("", "intel"), ("health", "health")):
            tab.open(server.address(path, at=first))
            card = tab.page.locator("a.card", has_text="LINKUSDT")
            expect(card).to_be_visible()
            expect(tab.page.locator('[class*="st-key-wide-"]:visible')).to_have_count(0)
            assert "size ×" in card.inner_text() or "applied ×" in card.inner_text()
            box = card.bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= chrome.NARROW
            card.press("Enter")  # by keyboard as by finger
            tab.page.wait_for_url(f"**/{leads_to}?symbol=LINKUSDT&at={first}")
            chosen = tab.page.get_by_role("combobox", name="Symbol")
            expect(chosen).to_have_value("LINKUSDT")
            assert tab.settle().page.get_by_role("heading", name="LINKUSDT").count() >= (path != "")
        tab.page.set_viewport_size({"width": chrome.WIDE, "height": 900})
        expect(tab.page.locator("a.card").first).to_be_hidden()
        assert (tab.errors, tab.outside) == ([], [])


def test_a_telephone_shows_no_table_and_all_that_it_holds(
    server: chrome.Server, chromium: Browser, store: Store
) -> None:
    first = store.ids()[0]
    pages = [
        (server.address("quality", part="Sources"), "raw_orders__events", "● ok"),
        (server.address(), "orders__events", "● ok"),
        (server.address("quality", part="Quarantine"), "raw_orders__events", "mend"),
        (server.address("intel", symbol="SUIUSDT", tab="Intel"), "23:00", "attempts"),
        (server.address("quality", part="Reconciliation"), "window", "PnL before fees"),
        (server.address("strategies"), "Precision LONG, %", "first less second"),
        (server.address("quality", part="Snapshots"), first, "warnings (n)"),
        (server.address("playback"), first, "kept whole"),
    ]
    with chrome.tab(chromium, width=chrome.NARROW) as tab:
        for url, name, value in pages:
            tab.go(url)
            card = tab.page.locator(".card:visible", has_text=name).filter(has_text=value).first
            expect(card).to_be_visible()
            assert tab.page.locator('[data-testid="stDataFrame"]:visible').count() == 0, url
            assert not tab.is_wider_than_window(), url
        assert tab.errors == []


def test_pages_without_a_symbol_say_what_to_do(server: chrome.Server, chromium: Browser) -> None:
    with chrome.tab(chromium) as tab:
        tab.open(server.address("intel", tab="Intel"))
        assert "Select a symbol to view execution intelligence." in tab.text
        tab.open(server.address("health", symbol="NOSUCHUSDT"))
        assert "NOSUCHUSDT is not in this snapshot" in tab.text
        assert "Select a symbol to view execution health." in tab.text


def test_export_holds_what_is_shown(server: chrome.Server, chromium: Browser, store: Store) -> None:
    saved = {}
    with chrome.tab(chromium) as tab:
        tab.open(server.address())
        for kind in ("JSON", "CSV"):
            saved[kind], name = tab.saved(f"Export {kind}")
            assert (store.current() or "-") in name
    document = json.loads(saved["JSON"])
    assert document["snapshot_id"] == store.current()
    rows = document["tables"]["symbols"]
    assert {row["symbol"] for row in rows} >= {"LINKUSDT", "LTCUSDT", "SUIUSDT", "WIFUSDT"}
    table = list(csv.DictReader(io.StringIO(saved["CSV"])))
    shown = [row for row in table if row["table"] == "symbols"]
    assert [row["symbol"] for row in shown] == [row["symbol"] for row in rows]
    for row, other in zip(rows, shown, strict=True):
        assert float(other["score"]) == row["score"]
        assert other["exp_now_bps"] == "" or float(other["exp_now_bps"]) == row["exp_now_bps"]


def test_past_snapshot_is_shown_on_every_page_until_left(
    server: chrome.Server, chromium: Browser, store: Store
) -> None:
    first, second = store.ids()
    with chrome.tab(chromium) as tab:
        tab.open(server.address(at=first))
        assert first in tab.text
        assert "Playback: everything below is as it was at" in tab.text
        tab.page.get_by_role("link", name="Execution Health").click()
        tab.page.get_by_role("heading", name="All symbols").wait_for()
        assert first in tab.text
        assert f"at={first}" in tab.page.url
        tab.page.get_by_role("button", name="Back to now").click()
        tab.page.get_by_text(second).wait_for()
        assert "at=" not in tab.page.url


def test_newer_snapshot_comes_by_itself_where_the_reader_stands(
    own: tuple[Store, chrome.Server], chromium: Browser, home: Path
) -> None:
    store, server = own
    shutil.rmtree(store.root, ignore_errors=True)
    shutil.copytree(home / "snapshots", store.root)
    first, second = store.ids()
    store.publish(first, now_ms=1, by="test")
    with chrome.tab(chromium, height=700) as tab:
        tab.open(server.address("intel", symbol="LINKUSDT", tab="Overview"))
        assert first in tab.text
        main = "document.querySelector('[data-testid=\"stMain\"]')"
        tab.page.evaluate(f"{main}.scrollTo(0, 200)")
        assert tab.page.evaluate(f"{main}.scrollTop") == 200
        store.publish(second, now_ms=2, by="test")
        tab.page.get_by_text(second).wait_for()
        tab.settle()
        assert tab.page.evaluate(f"{main}.scrollTop") == 200
        assert tab.page.get_by_role("tab", name="Overview").get_attribute("aria-selected") == "true"
        assert "symbol=LINKUSDT" in tab.page.url
        assert tab.errors == []


def test_columns_hold_their_longest_words(server: chrome.Server, chromium: Browser) -> None:
    sources = [
        panels.source_mark(status, is_required=is_required)
        for status in ("silent", "missing")
        for is_required in (False, True)
    ]
    router = router_part({"fallback_ratio": 1.0, "slip_q50": 100.0})  # warned of in both ways
    warnings = f"{MARKS['warn']} {', '.join(router['router_warnings'])}"
    room = [*((text, quality.STATUS_PX) for text in sources), (warnings, health.WARNINGS_PX)]
    room += [("3 of 12 unknown", health.TODAY_PX)]
    counts = ("16 of 189", "1,234 of 12,345")
    room += [(text, frames.room([text])) for text in counts]
    with chrome.tab(chromium) as tab:
        tab.open(server.address("quality"))
        for text, width in room:
            assert tab.page.evaluate(_CELL_PX, text) <= width, text
        for page in ("", "health"):
            tab.open(server.address(page))
            for wanted, there in tab.page.evaluate(_TABLES_PX):
                assert wanted <= there, page


# How wide each table is, and how much of it is in sight.
_TABLES_PX = """() => [...document.querySelectorAll('[data-testid="stDataFrame"] .dvn-scroller')]
  .map((each) => [each.scrollWidth, each.clientWidth])"""


# How wide a cell of a table draws a text, with the room at both sides.
_CELL_PX = """async (text) => {
  await document.fonts.ready;
  const style = getComputedStyle(
    document.querySelector('[data-testid="stDataFrame"] [style*="--gdg"]'));
  const of = (name) => style.getPropertyValue(`--gdg-${name}`);
  const drawn = document.createElement('canvas').getContext('2d');
  drawn.font = `${of('base-font-style')} ${of('font-family')}`;
  return drawn.measureText(text).width + 2 * parseFloat(of('cell-horizontal-padding'));
}"""
