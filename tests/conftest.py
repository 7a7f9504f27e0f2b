"""Fixtures every test may use: where the real input lies, an environment without surprises.

Put here: paths and process-wide settings. Keep out: data itself, and helpers of one test file.
"""

import gc
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path

import psutil
import pytest
import typer.main
import typer.testing
from hypothesis import HealthCheck, settings

import features.settings
from tests.emulator import Emulator, NoEmulatorError

REPOSITORY = Path(__file__).resolve().parent.parent
TEST_DATA_VARIABLE = "EXECINTEL_TEST_DATA"

# Settings of the person who runs the tests must neither change a result nor be written to.
_THEIRS = (
    "EXECINTEL_", "EXEC_INTEL_", "HEDGE_", "INTRADAY_TELEMETRY_", "SWING_TELEMETRY_",
    "LIVE_TELEMETRY_", "DASHBOARD_", "DAGSTER_", "STREAMLIT_",
    "FIRESTORE_EMULATOR_HOST", "GOOGLE_",  # a test must not reach a real Firestore
)  # fmt: skip
for _name in list(os.environ):
    if _name.upper().startswith(_THEIRS) and _name != TEST_DATA_VARIABLE:  # read in any case
        del os.environ[_name]
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost,::1"  # servers of tests


def _config_path(found: Callable[[], Path | None] = features.settings.config_path) -> Path | None:
    """Find the configuration of a test, not that of a person who keeps one beside the code."""
    path = found()
    is_theirs = path == REPOSITORY / "execintel.toml" and not os.environ.get("EXECINTEL_CONFIG")
    return None if is_theirs else path


features.settings.config_path = _config_path

# An example that waited for a busy machine is no counter-example. In CI examples stay the same.
settings.register_profile(
    "execintel", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("execintel")

_MEMORY = Path("/dev/shm")
_MEMORY_BYTES = 4 << 30  # ten times what a run holds at once
_WORKER_BYTES = 3 << 29  # a worker, its emulator and its share of dashboards
_MOST_WORKERS = 12
_OURS = "execintel-tests-"
_OWN = _MEMORY / f"{_OURS}{os.getpid()}"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let the workers of a run share what the machine has; campaigns take all of it.

    Each takes one thread for the engine, but for tests of determinism and on real logs. What tests
    write stands in memory where there is plenty: each would wait for the disk at every commit.
    """
    if config.option.markexpr != "not soak":
        return
    os.environ["EXECINTEL_THREADS"] = "1"
    is_ours = hasattr(config, "workerinput") or config.option.basetemp
    if is_ours or not os.access(_MEMORY, os.W_OK):
        return
    for left in _MEMORY.glob(f"{_OURS}[0-9]*"):
        if not psutil.pid_exists(int(left.name.removeprefix(_OURS))):  # its run was killed
            shutil.rmtree(left, ignore_errors=True)
    free = min(shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available)
    if free >= _MEMORY_BYTES:
        config.option.basetemp = str(_OWN)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give the memory back, also what failed tests wrote: ``--basetemp`` keeps that."""
    if config.option.basetemp == str(_OWN):
        shutil.rmtree(_OWN, ignore_errors=True)


@pytest.fixture
def every_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine take a thread for each processor, as it does at a desk."""
    monkeypatch.delenv("EXECINTEL_THREADS", raising=False)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run three workers on two processors: they often wait, for pages and for schedules.

    Not more than the memory holds, nor than the longest file leaves something to do.
    """
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 2
    fit = psutil.virtual_memory().available // _WORKER_BYTES
    return int(max(2, min(processors * 3 // 2, fit, _MOST_WORKERS)))


# The files whose tests take longest, longest first. A file belongs to one worker (make test): one
# that begins last would leave the others idle.
_LONGEST = (
    "pipelines/test_definitions.py",
    "pipelines/test_up.py",
    "test_crash.py",
    "features/test_snapshot.py",
    "features/test_rebuild.py",
    "dashboard/test_states.py",
    "pipelines/test_upkeep.py",
    "pipelines/commands/test_refresh.py",
    "test_determinism.py",
    "pipelines/commands/test_doctor.py",
    "test_real_intel.py",
    "features/test_file_facts.py",
    "test_benchmarks.py",
    "dashboard/test_use.py",
    "features/test_proofs.py",
    "features/test_before.py",
    "pipelines/intake/test_exactly_once.py",
    "pipelines/test_week.py",
    "pipelines/commands/test_show.py",
    "live/test_backtest.py",
    "pipelines/commands/test_snapshots.py",
    "test_strategy_comparison.py",
    "dashboard/test_quality_page.py",
    "dashboard/test_counts.py",
    "dashboard/test_strategies.py",
    "pipelines/commands/test_demo.py",
    "features/test_build.py",
    "test_accuracy.py",
    "live/test_faults.py",
    "live/test_mirror_under_fire.py",
    "test_readers.py",
)


# What CliRunner calls for each command: the commands of an app stay what they are.
typer.testing._get_command = cache(typer.main.get_command)  # type: ignore[attr-defined]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without looking for garbage: what they allocate stays, and is never looked at.

    Looking took a third of the time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 50, 100)  # rows of independent calculations are no garbage
        gc.enable()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # the interpreter ends as it always does


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    ranks = {REPOSITORY / "tests" / name: rank for rank, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))  # the others stay as they are


def _shared_data(name: str) -> Path:
    """Locate one folder of real input, or skip the test saying where it was looked for."""
    named = os.environ.get(TEST_DATA_VARIABLE)
    root = Path(named).resolve() if named else REPOSITORY.parent / "shared" / "data"
    folder = root / name
    if folder.is_dir():
        return folder
    if named:  # a wrong variable is a fault, not a machine without data
        pytest.fail(f"{TEST_DATA_VARIABLE}={named} holds no folder {name}: mend or unset it")
    # .ci/run allows this reason, by its first three words, only where the data is not there.
    pytest.skip(
        f"no test data: {name} is not in ../shared/data and {TEST_DATA_VARIABLE} is not set"
    )


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of this repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def router_logs() -> Path:
    """Folder of v5.10 executor logs, testnet, 2025-10-18 to 2025-11-05. Never written to."""
    return _shared_data("router_logs")


@pytest.fixture(scope="session")
def bars_1m() -> Path:
    """Folder of 1-minute OHLCV of six perpetuals, bar-open time in UTC. Never written to."""
    return _shared_data("bars_1m")


@pytest.fixture(scope="session")
def bars_1d() -> Path:
    """Folder of daily OHLCV of SPY and IBM, 1998 to 2021. Never written to."""
    return _shared_data("bars_1d")


@pytest.fixture(scope="session")
def bars_equity_1m() -> Path:
    """Folder of 1-minute OHLCV of SPY and IBM, extended hours included, UTC. Never written to."""
    return _shared_data("bars_equity_1m")


@pytest.fixture(scope="session")
def quotes_btc() -> Path:
    """Folder of BTCUSDT perpetual best bid/offer and trades, 2024-08-08. Never written to."""
    return _shared_data("quotes_btc")


# ---------------------------------------------------------------------------------------- Firestore

_projects = itertools.count(1)


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """Start the Firestore emulator, one for each process that runs tests."""
    try:
        started = Emulator()
    except NoEmulatorError as error:
        pytest.skip(str(error))  # .ci/run allows this reason only where there is none
    yield started
    started.kill()


@pytest.fixture
def firestore(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """Switch mirroring on, to an empty project of the emulator; returns the project."""
    from live import firestore_mirror
    from live.mirror import link

    project = f"test-{next(_projects)}"
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator.host)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", project)
    monkeypatch.setattr(firestore_mirror, "_process", firestore_mirror._Process())
    monkeypatch.setattr(link, "CALL_S", 30.0)  # a busy machine is no fault of the mirror
    monkeypatch.setattr(firestore_mirror, "SNAPSHOT_S", 60.0)
    return project
