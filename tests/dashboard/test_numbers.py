"""Numbers on a page are those of the snapshot: read back from the page, read from disk apart."""

import json
from typing import Any

import duckdb
import pytest
from playwright.sync_api import Browser

from features.snapshot import Store
from tests.dashboard import browser as chrome

Line = dict[str, Any]


@pytest.fixture(scope="module")
def lines(store: Store) -> dict[str, Line]:
    """Return the lines of CURRENT by symbol, as any language would read them."""
    path = store.path(store.current() or "") / "live.jsonl"
    found = [json.loads(text) for text in path.read_text("utf-8").splitlines()[1:]]
    return {line["symbol"]: line for line in found}


def near(value: float | None) -> Any:
    """Compare what is written to two digits, or is not rounded at all, as in a table's cells."""
    return value if value is None else pytest.approx(value, abs=0.005 + 1e-9)


def number(text: str) -> float | None:
    """Return the number that a text writes, None for a dash; units and signs are dropped."""
    bare = text.replace(",", "").replace("×", "").replace("bps", "").replace("%", "").strip()
    return None if bare in ("–", "None", "") else float(bare)


def known_of_n(line: Line) -> str:
    """Write of how many attempts the end is known."""
    return f"{line['n'] - line['router']['unknown_n']} of {line['n']}"


def _is_hour(row: dict[str, str], name: str, hour: Line) -> None:
    """Expect what an hour earned, its interval to one digit and its closes; none tells nothing."""
    known = bool(hour["close_n"])
    assert number(row[name]) == near(1e4 * hour["exp_per_notional"] if known else None)
    assert number(row["n closes"]) == hour["close_n"]
    ends = [hour["exp_lo95"], hour["exp_hi95"]] if known else [None]
    bps = [round(1e4 * end, 1) + 0 for end in ends if end is not None]
    digits = 0 if any(abs(end) >= 100 for end in bps) else 1  # the cell holds no more
    written = [f"{round(1e4 * end, digits) + 0:,.{digits}f}" for end in ends if end is not None]
    assert row["95 %"] == (" to ".join(written) or "–")


def test_overview_shows_the_snapshots_numbers(
    server: chrome.Server, chromium: Browser, lines: dict[str, Line]
) -> None:
    with chrome.tab(chromium, width=1900) as tab:  # a table draws what is in sight
        tab.open(server.address())
        everything = lines["*"]["router"]
        assert tab.metric("Symbols") == str(len(lines) - 1)
        assert number(tab.metric("Attempts")) == everything["n"]
        assert number(tab.metric("Slippage q50")) == near(everything["slip_q50"])
        known = f"n = {everything['fill_known_n']} of {everything['n']}"
        assert f"of those whose end is known, {known}" in tab.text
        assert f"n = {everything['slip_n']}" in tab.text
        head, *rows = tab.cells()
        assert len(rows) == len(lines) - 1
        (expected,) = (name for name in head if name.startswith("exp. "))
        hour = str(int(expected.split()[1]))  # of now, as the head says
        for cells in rows:
            row = dict(zip(head, cells, strict=True))
            line = lines[row["symbol"]]
            _is_hour(row, expected, line["hourly"].get(hour, {"close_n": 0}))
            assert row["status"].split()[1] == line["status"]
            assert number(row["score"]) == near(line["score"]["score"])
            assert row["known of n"] == known_of_n(line)
            assert number(row["n trips"]) == line["size"]["n"]
            assert number(row["slip q50"]) == near(line["router"]["slip_q50"])
            assert number(row["n fills"]) == line["router"]["slip_n"]
            if line["status"] == "ok":
                assert number(row["size ×"]) == near(line["size"]["final_size_factor"])
                assert row["router"].split()[1] == line["policy"]["quality"]
                assert len(set(line["offsets_bps"])) > 1 or number(row["offset"]) == round(
                    line["offsets_bps"][0], 2
                )


def test_symbol_shows_the_snapshots_numbers_and_parts_that_add_up(
    server: chrome.Server, chromium: Browser, lines: dict[str, Line], store: Store
) -> None:
    line = lines["SUIUSDT"]
    with chrome.tab(chromium, width=1900, height=4000) as tab:
        tab.open(server.address("intel", symbol="SUIUSDT"))
        assert number(tab.metric("Symbol score")) == near(line["score"]["score"])
        assert number(tab.metric("Size factor")) == near(line["size"]["final_size_factor"])
        assert number(tab.metric("ATR ratio")) == near(line["regime"]["atr_ratio"])
        assert f"n = {line['regime']['n']} bars · bar interval 15m" in tab.text
        assert line["policy"]["reason"] in tab.text
        size = line["size"]
        assert f"product {size['product_v510']:.2f}" in tab.text
        assert f"engines apply {size['final_size_factor']:.2f}" in tab.text

        steps = [row[3] for row in tab.cells(0)[1:]]
        *parts, total = [float(step) for step in steps]
        assert sum(parts) == pytest.approx(total, abs=0.005 * len(parts))
        assert total == near(line["score"]["score"])

        head, *hours = tab.cells(1)
        for cells in hours:
            row = dict(zip(head, cells, strict=True))
            hour = line["hourly"].get(str(int(row["UTC hour"].removesuffix(":00"))))
            if hour is None:
                assert number(row["n attempts"]) == 0
                continue
            assert number(row["n attempts"]) == hour["count"]
            assert number(row["n closes"]) == hour["close_n"]
            expected = 1e4 * hour["exp_per_notional"] if hour["close_n"] else None
            assert number(row["expectancy"]) == near(expected)
        assert sum(hour["close_n"] for hour in line["hourly"].values()) > 0  # something was held

        database = store.database(store.current() or "")
        with duckdb.connect(str(database), read_only=True) as con:
            ((fills,),) = con.sql(
                "SELECT SUM(n) FROM feat_execution__slippage_quartiles"
                " WHERE symbol = 'SUIUSDT' AND hour_utc >= 0"
            ).fetchall()
        assert f"n = {fills} fills." in tab.text


def test_health_shows_the_snapshots_numbers(
    server: chrome.Server, chromium: Browser, lines: dict[str, Line], store: Store
) -> None:
    with duckdb.connect(str(store.database(store.current() or "")), read_only=True) as con:
        ((gross, net, wins, known_n),) = con.sql(
            "SELECT realized_pnl_usd, net_pnl_usd, win_rate, pnl_known_n"
            " FROM feat_symbol__performance WHERE symbol = 'LTCUSDT'"
        ).fetchall()
    with chrome.tab(chromium, width=2400) as tab:
        tab.open(server.address("health", symbol="LTCUSDT"))
        head, *rows = tab.cells()
        for cells in rows:
            row = dict(zip(head, cells, strict=True))
            line = lines[row["symbol"]]
            assert row["known of n"] == known_of_n(line)
            assert row["n today"] == str(line["risk"]["dd_n"])  # all of them known
            assert number(row["product ×"]) == near(line["size"]["product_v510"])
        mine = lines["LTCUSDT"]
        assert number(tab.metric("Drawdown today")) == near(mine["risk"]["dd_today_pct"])
        assert number(tab.metric("Applied")) == near(mine["size"]["final_size_factor"])
        assert gross is not None
        assert number(tab.metric("PnL, USD")) == near(gross)
        assert number(tab.metric("Net PnL, USD")) == near(net)
        assert number(tab.metric("Win rate")) == near(wins)
        assert f"before fees, n = {known_n} of known PnL" in tab.text
