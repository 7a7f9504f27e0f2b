"""`python -m tests.dashboard.pictures HOME FOLDER [docs]`: every page at both widths, as pictures.

Put here: which pages, at which symbol; with `docs` the few small ones that the README shows. Keep
out: what is right on them (the tests). HOME is a data root, such as `execintel demo` makes.
"""

import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from features.snapshot import Store
from tests.dashboard import browser as chrome

PAGES = ("", "intel", "health", "strategies", "quality", "playback")


# name, page, its tab, width, height, scheme
SHOWN = (
    ("overview", "", "", chrome.WIDE, 880, "light"),
    ("intelligence", "intel", "Intel", chrome.WIDE, 1050, "light"),
    ("heatmap", "intel", "Overview", 900, 1460, "dark"),
    ("phone", "health", "", chrome.NARROW, 880, "dark"),
)


def main(home: Path, folder: Path, *, is_docs: bool = False) -> None:
    """Write NAME-WIDTH.png for every page, light, and the first two dark; or what is SHOWN."""
    store = Store(home / "snapshots")
    symbol = sorted(_symbols(store))[0]
    folder.mkdir(parents=True, exist_ok=True)
    variables = {"EXECINTEL_SNAPSHOT_MAX_AGE_S": str(100 * 366 * 86_400)}
    with chrome.serving(home, variables=variables) as server, chrome.browsing() as browser:
        if is_docs:
            _docs(server, browser, folder, symbol)
            return
        for scheme, pages in (("light", PAGES), ("dark", PAGES[:2])):
            for width in (chrome.WIDE, chrome.NARROW):
                with chrome.tab(browser, width=width, scheme=scheme) as tab:
                    for page in pages:
                        tab.open(server.address(page, symbol=symbol))
                        name = f"{page or 'overview'}-{width}{'-dark' * (scheme == 'dark')}.png"
                        tab.shot(folder / name)
                        print(folder / name, tab.errors or "")


def _docs(server: chrome.Server, browser: Browser, folder: Path, symbol: str) -> None:
    for name, page, tab_name, width, height, scheme in SHOWN:
        with chrome.tab(browser, width=width, height=height, scheme=scheme) as tab:
            params = {"symbol": symbol, **({"tab": tab_name} if tab_name else {})}
            tab.open(server.address(page, **(params if page else {})))
            tab.page.wait_for_timeout(500)
            path = folder / f"dashboard-{name}.png"
            tab.page.screenshot(path=str(path))
        with Image.open(path) as whole:  # flat colours: a palette keeps them and is small
            small = whole.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
        small.save(path, optimize=True)
        print(path, path.stat().st_size)


def _symbols(store: Store) -> list[str]:
    from live.snapshot.published import load_published

    snapshot_id = store.resolve(None)
    environment = store.manifest(snapshot_id)["environment"]
    return list(load_published(store.root, snapshot_id, environment).symbols)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), is_docs="docs" in sys.argv[3:])
