"""The real app in a process of its own, and a real Chromium looking at it.

Put here: starting and stopping both, what a page says, what was wrong. Keep out: what it should
say. Without a Chromium the tests skip and say so.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import TimeoutError as TooLateError

from tests.ports import free_port

HOST = "127.0.0.1"
REPOSITORY = Path(__file__).resolve().parent.parent.parent
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}",
)
_START_LIMIT_S = 180.0
WIDE, NARROW = 1280, 400
expect.set_options(timeout=30_000)  # a busy machine is no fault of the page
# All of it at once: before the first run the app is not running either, and has no title yet.
_SETTLED = """() => {
  const all = (css) => document.querySelectorAll(css).length;
  return all('[data-testid="stApp"][data-test-script-state="notRunning"]')
    && all('[data-testid="stMain"] :is(h1, [data-testid="stAlert"])')
    && !all('[data-testid="stSkeleton"]')
    && all('[data-testid="stVegaLiteChart"]') === all('[data-testid="stVegaLiteChart"] .marks');
}"""
_CELLS = """(grid) => [...grid.querySelectorAll("table tr")].map(
  (row) => [...row.querySelectorAll("th, td")].map((cell) => cell.textContent))"""
_TITLE_OF = """(url) => [...document.querySelectorAll(
    '[data-testid="stSidebarNavLink"], [data-testid="stTopNavLink"]')]
  .find((link) => new URL(link.href).pathname === new URL(url).pathname)?.textContent ?? null"""
_GO = """(url) => {
  history.pushState(null, "", url);
  window.dispatchEvent(new PopStateEvent("popstate", {state: null}));
}"""
_HERE = (HOST, "localhost", "::1", "0.0.0.0", "")


class NoChromiumError(Exception):
    """There is no Chromium on this machine that starts; the text says what was tried."""


def chromium() -> str:
    """Return the path of the system's Chromium; raises NoChromiumError."""
    for name in _NAMES:
        path = shutil.which(name)
        if path:
            return path
    raise NoChromiumError(f"no chromium: none of {', '.join(_NAMES)} is on the path")


@dataclass
class Server:
    """A running dashboard."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    audit: Path

    def outside(self) -> list[str]:
        """Return what the process connected to, or looked up, beyond this machine."""
        lines = self.audit.read_text().splitlines() if self.audit.exists() else []
        return [line for line in lines if not any(f"'{name}'" in line for name in _HERE)]

    def address(self, page: str = "", **params: str) -> str:
        """Return the address of a page."""
        return f"{self.url}/{page}" + (f"?{urlencode(params)}" if params else "")


@contextmanager
def serving(
    home: Path, *flags: str, variables: Mapping[str, str] | None = None, is_ready: bool = False
) -> Iterator[Server]:
    """Run the dashboard over a data root until the block ends; ``flags`` stand behind `--`.

    With ``is_ready`` as `execintel dashboard` does, else as `streamlit run dashboard/app.py`.
    """
    port = free_port()
    app = REPOSITORY / "dashboard" / "app.py"
    plain = [*("streamlit", "run", str(app), "--server.port", str(port), "--")]
    own = ["dashboard", "--port", str(port)]
    command = [sys.executable, "-m", *(own if is_ready else plain), *flags]
    folder = Path(tempfile.mkdtemp(prefix="dashboard-"))
    log, audit = folder / "log", folder / "audit"
    paths = (str(Path(__file__).with_name("audited")), os.environ.get("PYTHONPATH", ""))
    audited = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "EXECINTEL_TEST_AUDIT": str(audit),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=home.parent,  # it must not matter where it is started
            env={**os.environ, **audited, "EXECINTEL_HOME": str(home), **(variables or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(f"http://{HOST}:{port}/_stcore/health", process, log)
        yield Server(f"http://{HOST}:{port}", process, log, audit)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        shutil.rmtree(folder)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, f"the dashboard ended:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"no dashboard in time:\n{log.read_text()}"
            time.sleep(0.05)


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run a headless Chromium with a fresh profile; raises NoChromiumError."""
    path = chromium()
    with sync_playwright() as play:
        try:
            browser = play.chromium.launch(executable_path=path, args=list(_FLAGS))
        except PlaywrightError as error:  # such as one that may not read its profile's folder
            why = error.message.splitlines()[0]
            raise NoChromiumError(f"no chromium: {path} does not start: {why}") from error
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Tab:
    """One page with what went wrong on it and what it asked for from outside."""

    page: Page
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def open(self, url: str) -> "Tab":
        """Open an address and wait until the page is drawn."""
        self.page.goto(url)
        return self.settle()

    def go(self, url: str) -> "Tab":
        """Go to another page of the open app as the browser's history does: nothing is loaded anew.

        A new title tells that the server has begun to draw it. Where there is none, as on a tab
        without a page, the address is opened.
        """
        title = self.page.evaluate(_TITLE_OF, url)
        if title is None or self.page.locator("h1").all_inner_texts() == [title]:
            return self.open(url)
        self.page.evaluate(_GO, url)
        self.page.wait_for_function(
            "(title) => document.querySelector('h1')?.innerText === title", arg=title
        )
        return self.settle()

    def settle(self) -> "Tab":
        """Wait until the server has drawn all of the page, its charts too."""
        self.page.wait_for_function(_SETTLED)
        return self

    @property
    def text(self) -> str:
        """Return what is written on the page, tables left out: those are in ``cells``."""
        return self.page.locator('[data-testid="stMain"]').inner_text()

    def metric(self, label: str) -> str:
        """Return the value of the metric of a label."""
        found = self.page.locator('[data-testid="stMetric"]').filter(
            has=self.page.locator('[data-testid="stMetricLabel"]', has_text=label)
        )
        return found.locator('[data-testid="stMetricValue"]').first.inner_text()

    def cells(self, table: int = 0) -> list[list[str]]:
        """Return the cells of a table as a screen reader gets them, header row first."""
        grid = self.page.locator('[data-testid="stDataFrame"]').nth(table)
        grid.locator("table tr").first.wait_for(state="attached")
        found: list[list[str]] = grid.evaluate(_CELLS)
        return found

    def choose(self, label: str, option: str) -> None:
        """Choose an option of a box by its label."""
        self.page.get_by_role("combobox", name=label).click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def download(self, button: str, *, telling: str = "") -> str:
        """Press a button that saves a file; returns what the file holds."""
        return self.saved(button, telling=telling)[0]

    def saved(self, button: str, *, telling: str = "") -> tuple[str, str]:
        """Press a button that saves a file; returns what the file holds, and its name.

        Right after a choice a button may still be that of the page before: it is pressed again, up
        to ten times, where the file does not hold ``telling`` or none comes, as of a button that is
        drawn anew while it is pressed.
        """
        text, name = None, ""
        for _ in range(10):
            with suppress(TooLateError), self.page.expect_download(timeout=15_000) as saving:
                self.page.get_by_role("button", name=button).click()
                text = Path(saving.value.path()).read_text("utf-8")
                name = saving.value.suggested_filename
            if text is not None and telling in text:
                break
            self.page.wait_for_timeout(300)
        assert text is not None, f"nothing came of pressing {button} ten times"
        return text, name

    def choose_row(self, row: int, table: int = 0) -> None:
        """Click the box in front of a row of a table, the first being 0."""
        box = self.page.locator('[data-testid="stDataFrame"]').nth(table).bounding_box()
        assert box is not None
        self.page.mouse.click(box["x"] + 16, box["y"] + 35 * (row + 1) + 17)

    def is_wider_than_window(self) -> bool:
        """Tell whether the reader would have to scroll sideways, once tables found their width."""
        try:
            self.page.wait_for_function(
                "(() => { const m = document.querySelector('[data-testid=\"stMain\"]');"
                " return m.scrollWidth <= m.clientWidth + 1; })()",
                timeout=5_000,
            )
        except TooLateError:
            return True
        return False

    def shot(self, path: Path) -> None:
        """Take a picture of the whole page."""
        height = self.page.evaluate(
            "(() => { const m = document.querySelector('[data-testid=\"stMain\"]');"
            " return Math.ceil(m.scrollHeight) + 8; })()"
        )
        size = self.page.viewport_size
        assert size is not None
        self.page.set_viewport_size({"width": size["width"], "height": min(int(height), 6000)})
        self.settle()
        self.page.wait_for_timeout(400)  # charts are drawn anew at the new size
        self.page.screenshot(path=str(path))
        self.page.set_viewport_size(size)


def _is_probe(message: ConsoleMessage) -> bool:
    """Tell Streamlit's search for its own base path, which is answered 404 below a page's name."""
    return "/_stcore/" in message.location.get("url", "")


@contextmanager
def tab(
    browser: Browser,
    *,
    width: int = WIDE,
    height: int = 900,
    scheme: str = "light",
    is_new: bool = False,
) -> Iterator[Tab]:
    """Open a tab; what it asks for beyond loopback is written down, and the browser finds nobody.

    Tabs of one scheme share cache and storage as those of a person do; ``is_new`` has its own.
    """
    shared = [c for c in browser.contexts if getattr(c, "scheme", None) == scheme]
    if shared and not is_new:
        context = shared[0]
    else:
        dark: Literal["dark", "light"] = "dark" if scheme == "dark" else "light"
        context = browser.new_context(color_scheme=dark)
        setattr(context, "scheme", None if is_new else scheme)  # noqa: B010
    opened = Tab(context.new_page())
    opened.page.set_viewport_size({"width": width, "height": height})

    def note(request: Request) -> None:
        if not request.url.startswith((f"http://{HOST}:", "data:", "blob:")):
            opened.outside.append(request.url)

    opened.page.on("request", note)
    opened.page.on(
        "console",
        lambda m: opened.errors.append(m.text) if m.type == "error" and not _is_probe(m) else None,
    )
    opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.page.set_default_timeout(30_000)
    try:
        yield opened
    finally:
        opened.page.close()
        if is_new:
            context.close()
