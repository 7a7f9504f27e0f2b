"""The page Strategies in a browser: over a snapshot, and over trace files without a lake."""

import json
import shutil

import polars as pl
from playwright.sync_api import Browser, expect

from dashboard import accuracy, comparison
from features.snapshot import Store, open_snapshot
from pipelines.accuracy import AccuracyAnalyzer
from tests.dashboard import browser as chrome
from tests.dashboard import homes

Z95 = 1.959963984540054
TILES = (
    "Precision LONG", "Recall LONG", "F1 LONG",
    "Precision SHORT", "Recall SHORT", "F1 SHORT",
    "Win rate", "Mean return", "Sharpe a year",
)  # fmt: skip
PANELS = ("Strategy overview", "Alerts", "Rolling performance, 30 days", "Confusion matrices",
          "Calibration", "Comparison")  # fmt: skip


def _expected(rows: pl.DataFrame, symbol: str, window: str) -> list[str]:
    """Return the values of the tiles of both strategies, in the page's order."""
    shown = []
    for name in ("intraday", "swing"):
        found = accuracy.find(rows, name, symbol, window)
        assert found is not None
        by_name = {each.name: each.value for each in accuracy.measures(found, Z95)}
        shown += [by_name[tile] for tile in TILES]
    return shown


def _tiles(tab: chrome.Tab) -> list[str]:
    return tab.page.locator('[data-testid="stMetricValue"]').all_inner_texts()


def test_strategies_repeat_the_snapshot_by_window_and_symbol(
    server: chrome.Server, chromium: Browser, store: Store
) -> None:
    current = store.current()
    assert current is not None
    with open_snapshot(store.database(current)) as con:
        rows = con.sql("FROM feat_telemetry__accuracy").pl()
        pair = con.sql("FROM feat_telemetry__comparison WHERE \"window\" = '30d'").pl()
    with chrome.tab(chromium) as tab:
        tab.open(server.address("strategies"))
        assert _tiles(tab) == _expected(rows, "*", "30d")
        n = rows.filter(strategy="swing", symbol="*", window="30d")["n"][0]
        assert f"n = {n} closed predictions" in tab.text
        assert tab.page.locator('[data-testid="stVegaLiteChart"]').count() == 4
        chart = tab.page.locator('[data-testid="stVegaLiteChart"] svg').first
        narrow = chart.get_attribute("width")
        tab.page.set_viewport_size({"width": 3000, "height": 900})  # room for ticks below a day
        expect(chart).not_to_have_attribute("width", narrow or "")
        days = tab.settle().page.locator('[data-testid="stVegaLiteChart"] .role-axis').first
        dates = days.locator(".role-axis-label text").all_text_contents()
        assert len(set(dates)) == len(dates) > 1
        tab.page.set_viewport_size({"width": chrome.WIDE, "height": 900})
        assert comparison.verdict(pair.row(0, named=True)) in tab.text
        tab.choose("Symbol", "LINKUSDT")
        tab.page.wait_for_url("**symbol=LINKUSDT*")
        tab.page.get_by_role("radio", name="all time").click()
        tab.page.wait_for_url("**window=all*")
        tile = tab.page.locator('[data-testid="stMetricValue"]').first
        expect(tile).to_have_text(_expected(rows, "LINKUSDT", "all")[0])
        assert _tiles(tab.settle()) == _expected(rows, "LINKUSDT", "all")
        saved = json.loads(tab.download("Export JSON", telling='"window": "all"'))
        assert (saved["snapshot_id"], saved["symbol"], saved["window"]) == (
            current, "LINKUSDT", "all",
        )  # fmt: skip
        assert {row["symbol"] for row in saved["tables"]["rolling"]} == {"LINKUSDT"}
        assert "LINKUSDT" in tab.download("Export CSV")
        shared = tab.page.url
        tab.open(server.address("strategies", symbol="BTCUSDT"))
        assert "No prediction of this symbol in this window" in tab.text
        assert tab.errors == []
    with chrome.tab(chromium, width=chrome.NARROW) as other:  # the address can be shared
        assert _tiles(other.open(shared)) == _expected(rows, "LINKUSDT", "all")
        assert not other.is_wider_than_window()


def test_trace_files_are_enough_for_strategies_until_there_is_a_snapshot(
    own: tuple[Store, chrome.Server], chromium: Browser
) -> None:
    store, server = own
    traces = store.root.parent / "analytics"
    shutil.rmtree(store.root, ignore_errors=True)
    homes.write_traces(traces, trades=80)
    tables = AccuracyAnalyzer().arrow_tables(traces)
    rows = pl.DataFrame(pl.from_arrow(tables["feat_telemetry__accuracy"]))
    with chrome.tab(chromium) as tab:
        tab.open(server.address("strategies"))
        titles = tab.page.locator("h3").all_inner_texts()
        assert [title for title in titles if title in PANELS] == list(PANELS)
        assert _tiles(tab) == _expected(rows, "*", "30d")
        assert tab.page.locator('[data-testid="stVegaLiteChart"]').count() == 4
        assert "Strategies shows the trace files" in tab.text
        below = accuracy.precision_alerts(rows, 0.65, 30)
        assert below.height > accuracy.precision_alerts(rows, 0.55, 30).height
        assert [text for text in below["text"] if text not in tab.text] == []
        assert "n = 160. The other pages need one: execintel refresh" in tab.text
        line = (traces / "traces_swing_0.csv").read_text().splitlines()[-1]
        with (traces / "traces_swing_0.csv").open("a") as file:
            file.write(f"{line.replace('SUIUSDT', 'BTCUSDT')}\nnot a trace\n")
        grown = "n = 161; lines left out: 1 of not_csv."
        expect(tab.page.get_by_text(grown)).to_be_visible()  # the page tells by itself
        assert (tab.errors, tab.outside, server.outside()) == ([], [], [])
    for path in traces.iterdir():
        path.unlink()
