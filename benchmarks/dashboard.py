"""The dashboard in a real browser: first paint, page switch, charts, refresh, sessions, memory.

200 symbols and 30 days are generated, read and published once. Times are those of a person: from
the click or address to what can be read. Needs a Chromium and the packages of the tests.
"""

import argparse
import csv
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import psutil
from playwright.sync_api import Browser, TimeoutError
from rich.console import Console
from rich.table import Table

from features.settings import Settings
from features.snapshot import Store
from pipelines.refresh import refresh
from tests import loads
from tests.dashboard import browser as chrome
from tests.live import files

_END_MS = loads.START_MS + 7 * loads.DAY_MS
_FRESH = {"EXECINTEL_SNAPSHOT_MAX_AGE_S": "3000000000", "EXECINTEL_WINDOW_DAYS": "30"}
_TARGETS = {
    "first number, cold": 3.0,
    "first number, warm": 1.5,
    "page switch": 0.5,
    "charts drawn, switch": 2.0,
    "refresh": 0.5,
}
_LOST_MS = 15_000
_NUMBER = '[data-testid="stMetricValue"]'
# Notes when the app ran: a refresh lasts from the run that saw it to the text being there.
_WATCH = """
window.runs = [];
new MutationObserver(() => {
  const app = document.querySelector('[data-testid="stApp"]');
  const state = app && app.getAttribute('data-test-script-state');
  if (!window.runs.length || window.runs[window.runs.length - 1][1] !== state)
    window.runs.push([performance.now(), state]);
}).observe(document, {subtree: true, childList: true, attributes: true});
"""


def main(argv: list[str] | None = None) -> int:
    """Measure and print the table; returns the exit code."""
    options = _arguments(argv)
    try:
        chrome.chromium()
    except chrome.NoChromiumError as error:
        print(error)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="execintel-bench-", dir=options.home))
    try:
        _measure(folder, options)
    finally:
        shutil.rmtree(folder)
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all")
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--attempts", type=int, default=20, help="a symbol and day")
    parser.add_argument("--repeat", type=int, default=10, help="of each time: the median")
    parser.add_argument("--cold", type=int, default=3, help="servers started for the cold paint")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5.0, help="that they last")
    parser.add_argument("--changes", type=int, default=500, help="snapshot changes for memory")
    parser.add_argument("--home", type=Path, help="folder to work in (default: temporary)")
    options = parser.parse_args(argv)
    if options.quick:
        options.symbols, options.days, options.attempts = 20, 3, 5
        options.repeat, options.cold, options.sessions = 2, 1, 3
        options.minutes, options.changes = 0.1, 5
    return options


def _measure(folder: Path, options: argparse.Namespace) -> None:
    started_s = time.monotonic()
    store = _home(folder, options)
    size = store.database(store.ids()[0]).stat().st_size / 1e6
    print(
        f"{options.symbols} symbols, {options.days} days, {options.attempts} attempts a symbol and"
        f" day: published in {time.monotonic() - started_s:.0f} s, database {size:.1f} MB"
    )
    times: dict[str, list[float]] = {}
    with chrome.browsing() as browser:
        for _ in range(options.cold):
            with chrome.serving(folder / "home", variables=_FRESH, is_ready=True) as server:
                times.setdefault("first number, cold", []).extend(_paint(browser, server))
        flags = ("--refresh-interval", "5")
        with chrome.serving(folder / "home", *flags, variables=_FRESH, is_ready=True) as server:
            _times(browser, server, store, options.repeat, times)
            _report(times)
        with chrome.serving(folder / "home", variables=_FRESH, is_ready=True) as server:
            _sessions(browser, server, options)
            _memory(browser, server, store, options.changes)


def _report(times: dict[str, list[float]]) -> None:
    table = Table("what", "n", "median s", "worst s", "asked s")
    for name, found in times.items():
        target = _TARGETS.get(name)
        table.add_row(
            name, str(len(found)), f"{statistics.median(found):.2f}", f"{max(found):.2f}",
            "–" if target is None else f"{target:.1f}",
        )  # fmt: skip
    Console().print(table)


# -- times ----------------------------------------------------------------------------------------


def _paint(browser: Browser, server: chrome.Server, visits: int = 1) -> list[float]:
    """Return seconds from the address to the first number: of each visit in a new browser."""
    found = []
    with _tab(browser) as tab:
        for _ in range(visits):
            began = time.perf_counter()
            tab.page.goto(server.address())
            tab.page.wait_for_selector(_NUMBER)
            found.append(time.perf_counter() - began)
            tab.settle()
    return found


def _tab(browser: Browser) -> AbstractContextManager[chrome.Tab]:
    return chrome.tab(browser, is_new=True)


def _timed(act: Callable[..., object], *words: object) -> float:
    began = time.perf_counter()
    act(*words)
    return time.perf_counter() - began


def _times(
    browser: Browser,
    server: chrome.Server,
    store: Store,
    repeat: int,
    times: dict[str, list[float]],
) -> None:
    def note(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds)

    symbol = _name(1)
    first, *again = _paint(browser, server, 1 + repeat)
    note("first number, new browser", first)
    for seconds in again:
        note("first number, warm", seconds)
    with _tab(browser) as tab:
        for _ in range(repeat):
            address = server.address("intel", symbol=symbol)
            note("charts drawn, address", _timed(tab.open, address))
    with _tab(browser) as tab:
        tab.page.add_init_script(_WATCH)
        tab.open(server.address(symbol=symbol))
        for _ in range(repeat):
            for link in ("Execution Health", "Overview"):
                note("page switch", _timed(_switch, tab, link))
                tab.settle()
            note("charts drawn, switch", _timed(_charts, tab))
            _switch(tab, "Overview")
            tab.settle()
        for number in range(max(2, repeat // 3)):
            tab.page.evaluate("window.runs = []")
            name = _publish(store, 9000 + number)
            tab.page.get_by_text(name).wait_for()
            note("refresh", _last_run(tab))
            tab.settle()
        assert not tab.errors, tab.errors


def _switch(tab: chrome.Tab, link: str) -> None:
    tab.page.get_by_role("link", name=link).click()
    tab.page.locator("h1").get_by_text(link, exact=True).wait_for()


def _charts(tab: chrome.Tab) -> None:
    _switch(tab, "Execution Intelligence")
    tab.page.wait_for_selector('[data-testid="stVegaLiteChart"] .marks')
    tab.settle()


def _last_run(tab: chrome.Tab) -> float:
    """Return seconds from the run that met the new snapshot to now, when its name is there."""
    now, runs = tab.page.evaluate("[performance.now(), window.runs]")
    began = [at for at, state in runs if state == "running"]
    return float(now - began[0]) / 1000 if began else 0.0


# -- many sessions, many snapshots ----------------------------------------------------------------


def _sessions(browser: Browser, server: chrome.Server, options: argparse.Namespace) -> None:
    pages = ("Overview", "Execution Intelligence", "Execution Health", "Strategies")
    dice, waits, errors, lost = random.Random(7), [], 0, 0
    process = psutil.Process(server.process.pid)
    opened = [_tab(browser) for _ in range(options.sessions)]
    tabs = [each.__enter__() for each in opened]
    try:
        for tab in tabs:
            tab.open(server.address(symbol=_name(dice.randrange(options.symbols))))
            tab.page.set_default_timeout(_LOST_MS)
        until_s = time.monotonic() + 60 * options.minutes
        cpu = process.cpu_times()
        while time.monotonic() < until_s:
            tab = dice.choice(tabs)
            page = dice.choice(pages)
            try:
                waits.append(_timed(_switch, tab, page))
                tab.settle()
            except TimeoutError:  # counted, and the page loaded again as a person would
                lost += 1
                tab.page.reload()
        spent = process.cpu_times()
        errors = sum(len(tab.errors) for tab in tabs)
        errors += sum(
            tab.page.locator('[data-testid="stException"]').count() for tab in tabs
        ) + server.log.read_text().count("Traceback")
    finally:
        for each in opened:
            each.__exit__(None, None, None)
    busy = (spent.user + spent.system - cpu.user - cpu.system) / (60 * options.minutes)
    waits.sort()
    print(
        f"{options.sessions} sessions for {options.minutes:g} min: {len(waits)} page switches,"
        f" median {statistics.median(waits):.2f} s, p95 {waits[int(0.95 * len(waits))]:.2f} s,"
        f" server busy {busy:.2f} of a core, {process.memory_info().rss / 1e6:.0f} MB,"
        f" {errors} errors, {lost} page switches not answered within {_LOST_MS / 1000:g} s"
    )


def _memory(browser: Browser, server: chrome.Server, store: Store, changes: int) -> None:
    process = psutil.Process(server.process.pid)
    marks = sorted({max(1, changes * part // 10) for part in (1, 2, 3, 5, 7, 10)})
    seen = []
    with _tab(browser) as tab:
        for number in range(1, changes + 1):
            name = _publish(store, number)
            tab.open(server.address(symbol=_name(number % 5)))
            tab.page.get_by_text(name).wait_for()
            if number in marks:
                seen.append(f"{number}: {process.memory_info().rss / 1e6:.0f}")
        assert not tab.errors, tab.errors
    print(f"MB of the server after so many snapshot changes: {', '.join(seen)}")


# -- what is shown --------------------------------------------------------------------------------


def _name(number: int) -> str:
    return f"SYM{number:03d}USDT"


def _home(folder: Path, options: argparse.Namespace) -> Store:
    """Generate logs and bars, read them and publish one snapshot."""
    dice = random.Random(11)
    logs = folder / "logs"
    step_ms = loads.DAY_MS // options.attempts
    for number in range(options.symbols):
        lines = []
        for n in range(options.days * options.attempts):
            at_ms = _END_MS - (n + 1) * step_ms + dice.randrange(step_ms)
            attempt = f"a{number}_{n}"
            mark = 100 + dice.random()
            lines.append(
                loads.router_line(
                    attempt,
                    _name(number),
                    at_ms,
                    mark=mark,
                    fill=mark * (1 + dice.gauss(0, 4e-4)),
                )
            )
            if n % 4 == 0:
                pnl, order_id = dice.gauss(0.01, 1), number * 100_000 + n
                lines.append(
                    loads.close_line(
                        attempt, _name(number), at_ms + 1000, pnl=pnl, order_id=order_id
                    )
                )
        loads.append(logs, lines)
        _bars(folder / "logs" / f"{_name(number)}_15m.csv", dice, min(options.days, 8))
    settings = Settings.model_validate(
        {"home": folder / "home", "log_dir": logs, "window_days": 30}
    )
    report = refresh(settings, as_of_ms=_END_MS)
    assert report.outcome == "published", report
    return Store(settings.snapshots_root)


def _bars(path: Path, dice: random.Random, days: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("date", "open", "high", "low", "close", "volume"))
        price = 100.0
        for n in range(days * 96, 0, -1):
            at = datetime.fromtimestamp((_END_MS - n * 900_000) / 1000, tz=UTC)
            high, low = (
                price * (1 + abs(dice.gauss(0, 1e-3))),
                price * (1 - abs(dice.gauss(0, 1e-3))),
            )
            writer.writerow((at.isoformat(sep=" "), price, high, low, price, 1.0))
            price *= 1 + dice.gauss(0, 5e-4)


def _publish(store: Store, number: int) -> str:
    """Publish the first snapshot again under another name; returns it. The copy before goes."""
    first = store.ids()[0]
    name = f"{first.partition('-')[0]}-{number:08x}"
    texts = (store.path(first) / "live.jsonl").read_text("utf-8").splitlines()
    header, *lines = [json.loads(text) for text in texts]
    named = {key: header[key] for key in ("as_of_ms", "environment", "account", "window_days")}
    store.path(name).mkdir()
    data = files.snapshot_bytes(name, [{**line, "snapshot_id": name} for line in lines], **named)
    (store.path(name) / "live.jsonl").write_bytes(data)
    shutil.copyfile(store.database(first), store.database(name))
    manifest = store.manifest(first) | {"snapshot_id": name}
    (store.path(name) / "manifest.json").write_text(json.dumps(manifest))
    before = store.current()
    files.name_current(store.root, f"{name}\n")
    if before not in (None, first):
        shutil.rmtree(store.path(str(before)))
    return name


if __name__ == "__main__":
    raise SystemExit(main())
