"""The pages Data quality and Playback in a browser, over two publications of the real logs."""

import csv
import io
import json
import re
from datetime import UTC, datetime

from playwright.sync_api import Browser, expect

from features.diff import differences
from features.publications import in_force
from features.snapshot import Store, open_snapshot
from features.words import when
from tests.dashboard import browser as chrome


def test_quality_repeats_what_the_snapshot_says_of_its_input(
    server: chrome.Server, chromium: Browser, store: Store
) -> None:
    before, current = store.ids()
    with open_snapshot(store.database(current)) as con:
        sources = con.sql(
            "SELECT source, n, status FROM feat_ops__source_freshness WHERE symbol = '*'"
        ).fetchall()
        rejected = con.sql(
            "SELECT source_name, line_offset, raw_line FROM raw_orders__events"
            " WHERE reject_reason IS NOT NULL ORDER BY source_name, line_offset"
        ).fetchall()
        unexplained = con.sql(
            "SELECT COUNT(*) FROM core_position__reconciliation WHERE cause IS NOT NULL"
        ).fetchall()[0][0]
        judged = dict(
            con.sql(
                "SELECT is_explained, COUNT(*) FROM core_position__reconciliation GROUP BY ALL"
            ).fetchall()
        )
    with chrome.tab(chromium) as tab:
        tab.open(server.address("quality"))
        head, *rows = tab.cells()
        shown = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
        assert {(name, int(row["lines (n)"])) for name, row in shown.items()} == {
            (source, n) for source, n, _ in sources
        }
        assert all(shown[source]["status"].endswith(status) for source, _, status in sources)

        tab.page.get_by_role("radio", name="Quarantine").click()
        expect(tab.page.get_by_role("heading", name="Lines")).to_be_visible()
        assert f"n = {len(rejected)} lines were rejected" in tab.settle().text
        blocks = tab.page.locator('[data-testid="stCode"]')
        expect(blocks).to_have_count(10)
        for (file, offset, line), block in zip(rejected, blocks.all(), strict=False):
            assert f"{file}, offset {offset}" in tab.text
            assert block.inner_text().strip().startswith(line[:200])
        tab.page.locator('[data-testid="stPaginationPage"]', has_text="2").click()
        expect(blocks).to_have_count(len(rejected) - 10)

        tab.page.get_by_role("radio", name="Checks").click()
        expect(tab.page.get_by_role("heading", name="Refused builds")).to_be_visible()
        manifest = store.manifest(current)
        for check in manifest["checks"]:
            assert (check["cause"] in tab.text) == (check["rows"] > 0)

        tab.page.get_by_role("radio", name="Reconciliation").click()
        expect(tab.page.get_by_role("heading", name="Position changes")).to_be_visible()
        assert f"rows 1 to 20 of {unexplained}" in tab.settle().text
        _, *causes = tab.cells(1)
        counts = {cause: int(n) for cause, n, _ in causes}
        assert sum(counts.values()) == sum(judged.values())
        assert f"explain {judged[False]} of {judged[False] + judged[True]} position" in tab.text
        assert f"of {judged[None]} more it is unknown" in tab.text
        assert counts["unknown, position not seen again yet"] == judged[None]
        assert counts["explained by fills"] == judged[True]

        tab.page.get_by_role("radio", name="Snapshots").click()
        tab.page.get_by_text("Compare them").click()
        expect(tab.page.get_by_text("Changed values, at most")).to_be_visible()
        _, *tables = tab.settle().cells(1)
        assert {row[0]: [int(cell) for cell in row[1:]] for row in tables} == {
            item["table"]: [item["added"], item["removed"], item["changed"]]
            for item in differences(store, before, current)
        }
        saved = json.loads(tab.download("Export JSON"))
        assert saved["snapshot_id"] == current
        assert {row["snapshot"] for row in saved["tables"]["snapshots"]} == {before, current}
        rows_of_csv = list(csv.DictReader(io.StringIO(tab.download("Export CSV"))))
        assert {row["snapshot_id"] for row in rows_of_csv} == {current}
        assert (tab.errors, tab.outside) == ([], [])


def test_playback_shows_every_page_as_it_was_and_leads_back(
    server: chrome.Server, chromium: Browser, store: Store
) -> None:
    before, current = store.ids()
    first, second = in_force(store.root)
    with chrome.tab(chromium, width=chrome.NARROW) as tab:
        tab.open(server.address("playback"))
        cards = tab.page.locator("a.card:visible").all_inner_texts()
        assert [text.split("snapshot ")[1].split()[0] for text in cards] == [current, before]
        tab.page.locator("a.card", has_text=before).click()  # as by "Earlier"
        expect(tab.page.get_by_text("publication 1 of 2")).to_be_visible()
        tab.open(server.address("playback"))
        tab.page.get_by_role("button", name="Earlier").click()
        tab.page.wait_for_url(re.compile("at="))
        banner = f"everything below is as it was at {when(first.published_ms)}"
        expect(tab.page.get_by_text(banner)).to_be_visible()
        assert f"publication 1 of 2, made {when(first.published_ms)}" in tab.settle().text
        shared = tab.page.url.replace("playback", "strategies")
        assert not tab.is_wider_than_window()

        tab.open(shared)  # another reader, another page, the same moment
        assert banner in tab.text
        assert before in tab.text
        assert current not in tab.text
        tab.page.get_by_role("button", name="Back to now").click()
        expect(tab.page.get_by_text(banner)).to_have_count(0)
        assert current in tab.settle().text
        assert "at=" not in tab.page.url

        just_before = datetime.fromtimestamp((second.published_ms - 1) / 1e3, UTC)
        moment = just_before.isoformat(timespec="milliseconds")
        tab.open(server.address("quality", at=moment, part="Snapshots"))
        assert "Playback: everything below" in tab.text
        tab.open(server.address("quality", at="1999-01-01T00:00:00Z"))
        assert "nothing was published by then" in tab.text
        assert current in tab.text
        assert (tab.errors, tab.outside) == ([], [])
