"""One published root, one dashboard over it and one browser for all tests of the pages."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import Browser

from features.snapshot import Store
from tests.dashboard import browser as chrome
from tests.dashboard import homes

# Recorded logs are old: on these pages they count as fresh. A test of stale pages sets it anew.
TESTNET = {"EXECINTEL_ENVIRONMENT": "testnet", "EXECINTEL_APPLY": "all"}
FRESH = {**TESTNET, "EXECINTEL_SNAPSHOT_MAX_AGE_S": str(100 * 366 * 86_400)}


@pytest.fixture(scope="session")
def home(
    router_logs: Path, bars_1m: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Path:
    """Return a data root with two publications of the real logs; never written to by a test."""
    shared = tmp_path_factory.getbasetemp()
    root = (shared if worker_id == "master" else shared.parent) / "dashboard"
    with FileLock(f"{root}.lock"):  # the other worker of this run wants the same
        if not (root / "done").exists():
            shutil.rmtree(root, ignore_errors=True)  # what a worker left that failed here
            root.mkdir()
            homes.real(router_logs, bars_1m, root)
            (root / "done").touch()
    return root / "home"


@pytest.fixture(scope="session")
def store(home: Path) -> Store:
    return Store(home / "snapshots")


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[chrome.Server]:
    """Run the dashboard over the shared root, as fresh."""
    with chrome.serving(home, "--refresh-interval", "5", variables=FRESH) as running:
        yield running


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, chrome.Server]]:
    """Run a dashboard with the usual greatest age over a root that each test fills for itself."""
    root = tmp_path_factory.mktemp("own") / "home"
    traces = root / "analytics"  # without a snapshot its trace files are shown
    traces.mkdir(parents=True)
    flags = ["--refresh-interval=5", "--alert-precision-threshold=0.65"]
    flags += ["--telemetry-dir", str(traces)]
    with chrome.serving(root, *flags, variables=TESTNET) as running:
        yield Store(root / "snapshots"), running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Run one browser for a file, or skip where there is none.

    Not for the session: while it is there its event loop runs in this thread, where no other test
    could run one of its own.
    """
    try:
        with chrome.browsing() as running:
            yield running
    except chrome.NoChromiumError as error:
        pytest.skip(str(error))  # .ci/run allows this reason only where there is none
