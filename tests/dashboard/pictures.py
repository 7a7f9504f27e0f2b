"""`python -m tests.dashboard.pictures HOME FOLDER`: a picture of every page at both widths.

Put here: which pages, at which symbol. Keep out: what is right on them (the tests). HOME is a data
root, such as the one that `execintel demo` makes.
"""

import sys
from pathlib import Path

from features.snapshot import Store
from tests.dashboard import browser as chrome

PAGES = ("", "intel", "health", "strategies", "quality", "playback")


def main(home: Path, folder: Path) -> None:
    """Write NAME-WIDTH.png for every page, light, and the first two dark."""
    store = Store(home / "snapshots")
    symbol = sorted(_symbols(store))[0]
    folder.mkdir(parents=True, exist_ok=True)
    variables = {"EXECINTEL_SNAPSHOT_MAX_AGE_S": str(100 * 366 * 86_400)}
    with chrome.serving(home, variables=variables) as server, chrome.browsing() as browser:
        for scheme, pages in (("light", PAGES), ("dark", PAGES[:2])):
            for width in (chrome.WIDE, chrome.NARROW):
                with chrome.tab(browser, width=width, scheme=scheme) as tab:
                    for page in pages:
                        tab.open(server.address(page, symbol=symbol))
                        name = f"{page or 'overview'}-{width}{'-dark' * (scheme == 'dark')}.png"
                        tab.shot(folder / name)
                        print(folder / name, tab.errors or "")


def _symbols(store: Store) -> list[str]:
    from live.published import load_published

    snapshot_id = store.resolve(None)
    environment = store.manifest(snapshot_id)["environment"]
    return list(load_published(store.root, snapshot_id, environment).symbols)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
