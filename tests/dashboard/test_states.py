"""States that a page must be made for: nothing yet, stale, held, refused, damaged, a dead source,
the mirror out of reach, and text of logs that would be obeyed."""

import json
import shutil
from pathlib import Path

import duckdb
import pytest
from playwright.sync_api import Browser, expect

from features.publications import in_force
from features.settings import Freshness
from features.snapshot import Store, open_snapshot
from features.words import when
from live.firestore_mirror import publish_snapshot
from live.mirror.desk import UNTOLD, Desk, Hold
from live.snapshot.published import load_published
from live.trading.controls import Disabled, State
from pipelines.refresh import refresh
from tests import loads
from tests.dashboard import browser as chrome
from tests.dashboard import homes
from tests.dashboard.conftest import FRESH
from tests.live import files
from tests.test_real_logs import at


def test_states_in_the_order_of_a_bad_day(
    own: tuple[Store, chrome.Server], chromium: Browser, home: Path
) -> None:
    store, server = own
    shutil.rmtree(store.root, ignore_errors=True)
    with chrome.tab(chromium) as tab:
        tab.open(server.address())
        assert "○ no snapshot" in tab.text
        assert "No snapshot yet under" in tab.text
        assert "execintel demo" in tab.text

        shutil.copytree(home / "snapshots", store.root)  # the page shows it by itself
        second = store.ids()[-1]
        tab.page.get_by_text(second).wait_for()
        tab.settle()
        assert "■ stale" in tab.text
        assert "Engines open nothing and only reduce" in tab.text
        shown = [row[tab.cells()[0].index("status")] for row in tab.cells()[1:]]
        assert set(shown) == {"■ stale"}

        store.set_hold(now_ms=1_762_300_800_000, by="ann", reason="venue is *down*")
        manifest = store.manifest(second) | {"sequence": 99, "failed_checks": ["outcomes_unique"]}
        failed = {"name": "outcomes_unique", "rows": 3, "cause": "one key twice", "examples": []}
        manifest["checks"] = [failed]
        refused = store.root / "rejected" / "20251107T000000Z-bad"
        refused.mkdir(parents=True)
        (refused / "manifest.json").write_text(json.dumps(manifest))
        tab.open(server.address("health"))
        assert "HOLD: nothing is published since 2025-11-05 00:00:00 UTC, by ann" in tab.text
        assert "venue is *down*" in tab.text
        assert "was refused and the snapshot below stays" in tab.text
        assert "outcomes_unique, 3 rows: one key twice" in tab.text
        assert tab.errors == []
        assert tab.outside == []


def test_damaged_snapshot_and_dead_source_are_said_first(
    own: tuple[Store, chrome.Server], chromium: Browser, home: Path
) -> None:
    store, server = own
    shutil.rmtree(store.root, ignore_errors=True)
    shutil.copytree(home / "snapshots", store.root)
    first, second = store.ids()
    silent, damaged = f"{first[:-8]}51111111", f"{second[:-8]}dddddddd"
    homes.rename(store, first, silent)
    with duckdb.connect(str(store.database(silent))) as con:
        con.execute(
            "UPDATE feat_ops__source_freshness SET required = true, status = 'silent'"
            " WHERE source = 'raw_router__events' AND symbol = '*'"
        )
    store.publish(silent, now_ms=1, by="test")
    with chrome.tab(chromium) as tab:
        tab.open(server.address())
        assert "Source raw_router__events was silent for" in tab.text
        assert "■ silent, required" in [row[1] for row in tab.cells(1)]

        shutil.copytree(store.path(second), store.path(damaged))
        (store.path(damaged) / "live.jsonl").write_bytes(b"{")
        (store.root / "CURRENT").write_text(damaged)
        tab.page.get_by_text("shown is the last good one").wait_for()
        assert silent in tab.text
        assert tab.errors == []


def test_pages_say_who_has_seen_an_alert_and_not_before_it_was_seen(
    chromium: Browser, home: Path, tmp_path: Path
) -> None:
    shutil.copytree(home / "snapshots", tmp_path / "snapshots")
    store = Store(tmp_path / "snapshots")
    with open_snapshot(store.database(store.resolve(None))) as con:
        alerts = con.sql("SELECT rule, subject, since_ms FROM feat_ops__alerts").fetchall()
    first, second = in_force(store.root)
    made = {
        "at_ms": second.published_ms,
        "by": "ann@desk pid 7",
        "note": "*known*",
        "severity": "warning",
    }
    entries = [
        made | {"key": f"{rule} {subject}", "since_ms": since_ms}
        for rule, subject, since_ms in alerts
    ]
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "acknowledged.jsonl").write_text(
        "".join(json.dumps(entry) + "\n" for entry in entries)
    )
    by = f"seen by ann@desk, {when(second.published_ms)}"
    with chrome.serving(tmp_path, variables=FRESH) as server, chrome.tab(chromium) as tab:
        for page in ("", "strategies"):
            tab.open(server.address(page))
            text = tab.text.replace("\N{WORD JOINER}", "")
            assert f"● {by}: *known*" in text, page  # of intraday SHORT, a warning
            # Of intraday LONG, which is critical.
            assert f"▲ {by} as warning, before it grew worse: *known*" in text, page
            if not page:
                saved = json.loads(tab.download("Export JSON"))["tables"]["alerts"]
                told = {(a["seen_by"], a["seen_ms"], a["seen_as"], a["seen_note"]) for a in saved}
                assert told == {("ann@desk", second.published_ms, "warning", "*known*")}
                assert len(saved) == len(alerts)
        tab.open(server.address(at=first.snapshot_id))
        assert "intraday LONG" in tab.text
        assert "seen by ann" not in tab.text  # it was seen later
        earlier = json.loads(tab.download("Export JSON"))["tables"]["alerts"]
        assert {alert["seen_by"] for alert in earlier} == {None}
        assert (tab.errors, tab.outside) == ([], [])


def test_demonstration_and_empty_snapshot_do_not_look_well(
    own: tuple[Store, chrome.Server], chromium: Browser
) -> None:
    store, server = own
    shutil.rmtree(store.root, ignore_errors=True)
    tables = {"feat_ops__alerts": {"rows": 0}}
    manifest = {"environment": "testnet", "tables": tables, "inputs": {}, "checks": []}
    with chrome.tab(chromium) as tab:
        for n, (origin, lines) in enumerate((("demo", [files.line()]), ("logs", []))):
            name = f"20251105T00000{n}Z-abc"
            path = files.publish(store.root, name, lines, environment="testnet")
            path.with_name("manifest.json").write_text(
                json.dumps({**manifest, "snapshot_id": name, "origin": origin, "sequence": n})
            )
            with duckdb.connect(str(store.database(name))) as con:
                con.execute("CREATE TABLE feat_ops__alerts (rule VARCHAR)")
            tab.open(server.address("health", symbol="BTCUSDT"))
            if origin == "demo":
                assert "when this snapshot was new: engines act on these values" in tab.text
                tab.open(server.address())
                assert "▲ demo" in tab.text
                assert "0 not ok when new" in tab.text
                assert "would treat it as stale" in tab.text
        tab.open(server.address())
        assert "■ empty" in tab.text
        assert "This snapshot holds no symbol" in tab.text
        assert "nothing to act on" in tab.text
        assert "● fresh" not in tab.text
        assert "No symbol, so no alert of one" in tab.text
        assert tab.errors == []


def test_mirror_out_of_reach_is_said(chromium: Browser, tmp_path: Path) -> None:
    nobody = {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:9", "GOOGLE_CLOUD_PROJECT": "none"}
    with (
        chrome.serving(tmp_path, "--source", "firestore", variables=nobody) as server,
        chrome.tab(chromium) as tab,
    ):
        tab.open(server.address())
        assert "The mirror cannot be read, nothing can be shown. emulator 127.0.0.1:9" in tab.text
        assert "○ no snapshot" in tab.text
        for page in ("strategies", "quality", "playback"):
            tab.go(server.address(page))
            assert "The mirror cannot be read, nothing can be shown" in tab.text, page
        assert "the mirror holds the newest snapshot only" in tab.text
        assert tab.errors == []


def test_mirror_shows_what_its_documents_hold_and_names_what_they_lack(
    firestore: str, chromium: Browser, store: Store, tmp_path: Path
) -> None:
    snapshot_id = store.current() or ""
    generation = load_published(store.root, snapshot_id, "testnet")
    assert publish_snapshot(generation).outcome == "published"
    score = generation.entry("SUIUSDT").record.score.score  # type: ignore[union-attr]
    flags = ("--source=firestore", "--refresh-interval=5")
    with (
        chrome.serving(tmp_path, *flags, variables=FRESH) as server,
        chrome.tab(chromium) as tab,
    ):
        tab.open(server.address())
        assert "● fresh\n\nas of 2025-11-06 00:00:00 UTC" in tab.text
        assert [row[0] for row in tab.cells()[1:]] == sorted(generation.symbols)
        assert "Sources are not shown: that needs the snapshot's database" in tab.text
        tab.open(server.address("intel", symbol="SUIUSDT"))
        assert tab.metric("Symbol score") == f"{score:+.2f}"
        assert "Steps and slippage by hour are not shown" in tab.text
        tab.open(server.address("health", symbol="SUIUSDT"))
        assert tab.metric("Slippage q50")
        assert f"● ok\n\n{UNTOLD}" in tab.text
        assert "no switch known" in tab.text
        assert tab.errors == []

        hold = Hold(1_762_300_800_000, "ann", "venue is *down*")
        off = State(disabled={"SUIUSDT": Disabled("delisted")})
        assert publish_snapshot(generation, desk=Desk("logs", (), hold, off)).written == 1
        tab.page.get_by_text("HOLD: nothing is published").wait_for()  # the page shows it by itself
        tab.settle()
        assert "since 2025-11-05 00:00:00 UTC, by ann: venue is *down*." in tab.text
        assert "Engines of testnet only note size, offset and policy" in tab.text
        assert "but SUIUSDT is switched off: engines only close what they hold of it" in tab.text
        assert "■ symbol_disabled" in tab.text
        assert "no switch known" not in tab.text
        assert "engines act on these values" not in tab.text
        assert tab.errors == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--refresh-interval", "2"), "allowed: 5 to 300"),
        (("--alert-precision-threshold", "x"), "dashboard_alert_precision_threshold = 'x'"),
    ],
)
def test_bad_flag_is_told_before_a_server_stands(
    flags: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from dashboard.__main__ import main

    assert main(flags) == 2
    assert words in capsys.readouterr().err


def test_hostile_text_shows_as_text_and_runs_nothing(
    own: tuple[Store, chrome.Server], chromium: Browser, router_logs: Path, tmp_path: Path
) -> None:
    store, server = own
    settings = homes.hostile(router_logs, tmp_path)
    required = {"raw_router__events": Freshness(required=True)}
    dead = settings.model_copy(update={"freshness": required})
    refused = refresh(dead, as_of_ms=at(homes.SECOND) + 3 * loads.DAY_MS)
    assert refused.outcome == "rejected"
    shutil.rmtree(store.root, ignore_errors=True)
    shutil.copytree(settings.snapshots_root, store.root)
    script, markdown = homes.SCRIPT.upper(), homes.MARKDOWN.upper()  # as the intake has symbols
    pages = {
        server.address(): homes.SCRIPT[:50],
        server.address("intel", symbol=script, tab="Overview"): script[:50],
        server.address("intel", symbol=markdown, tab="Intel"): markdown[:50],
        server.address("health", symbol=script): script[:50],
        server.address("health", symbol=homes.LONG): "A" * 50,
        server.address("strategies"): homes.SCRIPT[:50],
        server.address("quality", part="Quarantine"): "10,000 characters",
        server.address("quality", part="Checks"): "feat_ops__source_freshness_required",
        server.address("quality", part="Reconciliation"): homes.MARKDOWN[:40],
        server.address("playback", at=homes.SCRIPT): homes.SCRIPT,
    }
    with chrome.tab(chromium) as tab:
        for url, text in pages.items():
            tab.open(url)
            where = url[:80]
            boxes = tab.page.locator("input").evaluate_all("all => all.map(each => each.value)")
            assert text in "\n".join([tab.text.replace("\N{WORD JOINER}", ""), *boxes]), where
            assert "was refused and the snapshot below stays" in tab.text, where
            assert tab.page.evaluate("window.hit") is None, where
            assert tab.page.locator(_INJECTED).count() == 0, where
            links = tab.page.locator("a").evaluate_all("all => all.map(a => a.hostname)")
            assert set(links) <= {chrome.HOST}, where
            assert not tab.is_wider_than_window(), where
            if "Quarantine" in url:
                code = tab.page.locator('[data-testid="stCode"]').first
                expect(code).to_contain_text(homes.SCRIPT)
        assert (tab.errors, tab.outside, server.outside()) == ([], [], [])


# An image, a formula, a colour or a link that a text of a log made. A card's own link names the
# symbol, encoded; that it and every other leads nowhere else is asserted of all.
_INJECTED = ", ".join(
    f"[data-testid='stMain'] {each}"
    for each in ("img", ".katex", ".stMarkdownColoredText", "a:not(.card)[href*='evil.example' i]")
)
