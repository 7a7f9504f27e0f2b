"""What stands beside an estimate on every page: its samples, its sign, a dash for the unknown.

Put here: literal snapshots in a browser. Keep out: those of the real logs (test_numbers.py).
"""

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from playwright.sync_api import Browser

from features.snapshot import Store
from tests.dashboard import browser as chrome
from tests.dashboard.conftest import TESTNET
from tests.live import files

_NAMES = ("20251105T000000Z-aaa", "20251105T060000Z-bbb")
_PERFORMANCE = """
CREATE TABLE feat_symbol__performance AS FROM (VALUES
    ('FEWUSDT', 0, 0, 0, 0e0, -0.1e0, 16, 0, NULL),  -- no close -> nothing was earned or lost
    ('OLDUSDT', 6, 0, 6, 6e0, 5.88e0, 3, 6, 1e0),  -- fees of 3 of 12 fills -> no net
    ('TINYUSDT', 6, 1, 6, 0.004e0, -0.004e0, 13, 6, 1e0)  -- fees of 12 fills and a lone close
) AS t(symbol, n, close_only_n, pnl_known_n, realized_pnl_usd, net_pnl_usd, fees_known_n,
    round_trip_n, win_rate)
"""


def lines() -> list[dict[str, Any]]:
    """Return a symbol of few known ends, told by fills; one of an earlier release; a tiny one."""
    fills = {"atr_source": "fills", "n": 12, "bar_interval": None}
    tiny = {"score": -0.004, "sharpe_score": -0.004, "dd_score": 0.004, "dd_pct": -0.0001}
    today: dict[str, Any] = {"dd_today_pct": -0.0001, "dd_n": 12, "dd_unknown_n": 3}
    return [
        files.line(
            "FEWUSDT", n=189, router={"n": 189, "unknown_n": 173, "fill_n": 16, "slip_q50": -0.004},
            regime=fills, risk=today, score=tiny,
        ),
        files.line("OLDUSDT", router={"fill_n": 12}, risk={"dd_n": None, "dd_unknown_n": None}),
        files.line("TINYUSDT", router={"fill_n": 12}, risk={"dd_n": 12, "dd_unknown_n": 0}),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def literal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, chrome.Server]]:
    """Run a dashboard over two snapshots, published forwards, back and forwards again."""
    home = tmp_path_factory.mktemp("counts") / "home"
    store = Store(home / "snapshots")
    manifest = {
        "environment": "testnet", "origin": "demo", "inputs": {}, "checks": [], "params": {},
        "tables": {"feat_symbol__performance": {"rows": 3}},
    }  # fmt: skip
    for n, name in enumerate(_NAMES):
        path = files.write(
            store.root, name, files.snapshot_bytes(name, lines(), environment="testnet")
        )
        whole = {**manifest, "snapshot_id": name, "sequence": n, "as_of_ms": files.T_MS}
        path.with_name("manifest.json").write_text(json.dumps(whole))
        with duckdb.connect(str(store.database(name))) as con:
            con.execute(_PERFORMANCE)
    for n, name in enumerate((*_NAMES, *_NAMES)):
        store.publish(name, now_ms=files.T_MS + n * 3_600_000, by="test")
    with chrome.serving(home, "--refresh-interval", "300", variables=TESTNET) as running:
        yield store, running


def rows_of(tab: chrome.Tab, table: int = 0) -> dict[str, dict[str, str]]:
    head, *rows = tab.cells(table)
    found = [dict(zip(head, row, strict=True)) for row in rows]
    return {row[head[0]]: row for row in found}


def beside(tab: chrome.Tab, label: str) -> tuple[str, str]:
    """Return what a tile shows and what stands below it."""
    tile = tab.page.locator('[data-testid="stMetric"]').filter(
        has=tab.page.locator('[data-testid="stMetricLabel"]', has_text=label)
    )
    words = tile.locator("xpath=ancestor::*[@data-testid='stVerticalBlock'][1]").first.inner_text()
    _, value, *note = [line for line in words.splitlines() if line.strip()]
    return value, " ".join(note)


def test_tables_name_the_samples_that_are_known_and_what_they_are(
    literal: tuple[Store, chrome.Server], chromium: Browser
) -> None:
    _, server = literal
    with chrome.tab(chromium) as tab:
        tab.open(server.address())
        row = rows_of(tab)["FEWUSDT"]
        assert (row["known of n"], row["score"], row["slip q50"]) == ("16 of 189", "0", "0")
        tab.go(server.address("health"))
        acts, rests_on = rows_of(tab), rows_of(tab, 1)
        assert {name: row["n today"] for name, row in acts.items()} == {
            "FEWUSDT": "3 of 12 unknown", "OLDUSDT": "", "TINYUSDT": "12",
        }  # fmt: skip
        few = acts["FEWUSDT"]
        assert (few["known of n"], few["dd today"]) == ("16 of 189", "0")
        assert (rests_on["FEWUSDT"]["regime"], rests_on["FEWUSDT"]["n ATR"]) == (
            "○ normal", "12 fills",
        )  # fmt: skip
        assert (rests_on["OLDUSDT"]["regime"], rests_on["OLDUSDT"]["n ATR"]) == (
            "● normal", "700 bars",
        )  # fmt: skip
        assert tab.errors == []


def test_cards_of_a_telephone_name_them_too(
    literal: tuple[Store, chrome.Server], chromium: Browser
) -> None:
    _, server = literal
    with chrome.tab(chromium, width=chrome.NARROW) as tab:
        tab.open(server.address())
        words = " ".join(tab.page.locator("a.card", has_text="FEWUSDT").inner_text().split())
        assert "score 0.00 n 16 of 189" in words
        assert "maker first, prefer maker n 16 of 189" in words
        tab.go(server.address("health"))
        words = " ".join(tab.page.locator("a.card", has_text="FEWUSDT").inner_text().split())
        assert "dd today, % 0.000 n 3 of 12 unknown" in words
        assert "router ● good n 16 of 189" in words
        assert "regime ○ normal n 12 fills" in words


def test_tiles_of_health_name_their_samples_and_know_what_the_terminal_knows(
    literal: tuple[Store, chrome.Server], chromium: Browser
) -> None:
    _, server = literal
    with chrome.tab(chromium, height=3000) as tab:
        tab.open(server.address("health", symbol="FEWUSDT"))
        assert beside(tab, "Quality") == ("good", "n = 16 of 189")
        assert beside(tab, "Offset at") == ("1.50 bps", "n = 16 of 189")
        assert beside(tab, "Drawdown today") == ("0.000 %", "n = 12, 3 of 12 unknown")
        assert beside(tab, "ATR ratio") == ("1.00", "n = 12 fills")
        assert beside(tab, "PnL, USD") == ("–", "before fees, n = 0 of known PnL")
        assert beside(tab, "Net PnL, USD") == ("–", "less fees, n = 16 of 16 known")
        tab.open(server.address("health", symbol="OLDUSDT"))
        assert beside(tab, "Drawdown today") == ("-0.500 %", "")
        assert tab.metric("PnL, USD") == "+6.00"
        assert beside(tab, "Net PnL, USD") == ("–", "less fees, n = 3 of 12 known")
        tab.open(server.address("health", symbol="TINYUSDT"))
        assert beside(tab, "Drawdown today") == ("-0.500 %", "n = 12")
        assert tab.metric("PnL, USD") == "0.00"
        assert beside(tab, "Net PnL, USD") == ("0.00", "less fees, n = 13 of 13 known")
        assert tab.errors == []


def test_parts_of_a_score_carry_the_samples_that_the_lines_for_engines_keep(
    literal: tuple[Store, chrome.Server], chromium: Browser
) -> None:
    _, server = literal
    with chrome.tab(chromium, height=4000) as tab:
        tab.open(server.address("intel", symbol="FEWUSDT"))  # as of an archived one: no steps
        assert beside(tab, "Symbol score") == ("0.00", "n = 16 of 189")
        assert beside(tab, "Router") == ("good", "n = 16 of 189")
        assert beside(tab, "ATR regime") == ("normal", "n = 12 fills")
        assert beside(tab, "Sharpe adds") == ("0.00", "of 1.00, n = 60")
        assert beside(tab, "ATR ratio adds") == ("+0.10", "of 1.00, n = 12 fills")
        assert beside(tab, "Router adds") == ("+0.15", "n = 16 of 189")
        assert beside(tab, "Drawdown adds") == ("0.00", "of 0.00 %, n = 12, 3 of 12 unknown")
        assert "○ normal" in tab.text  # of fills: nothing that is well
        tab.open(server.address("intel", symbol="OLDUSDT"))
        assert beside(tab, "Drawdown adds") == ("0.00", "of -0.50 %, n not kept")
        assert tab.text.count("n not kept") == 1
        assert tab.errors == []


def test_a_snapshot_published_twice_is_shown_once_and_a_rollback_is_named(
    literal: tuple[Store, chrome.Server], chromium: Browser
) -> None:
    _, server = literal
    first, second = _NAMES
    with chrome.tab(chromium) as tab:
        for at, place in (("2025-11-05T02:30:00Z", 1), ("2025-11-05T00:30:00Z", 3), ("", 0)):
            tab.open(server.address("playback", **({"at": at} if at else {})))
            head, *rows = tab.cells()
            found = [dict(zip(head, row, strict=True)) for row in rows]
            assert [row["snapshot"] for row in found] == [second, first, second, first]
            marked = [row["shown"] for row in found]
            assert marked == ["● shown" if n == place else "" for n in range(4)], at
            assert [row["change"] for row in found] == ["published again", "rollback", "", ""]
        assert tab.errors == []
