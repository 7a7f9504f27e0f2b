"""Fixtures of the command tests: a data root of one test, or of one file that only reads it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pipelines.commands import desk as desks
from tests.pipelines.commands.desk import Desk, enter


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Make an empty data root, name a log folder that is not there yet, and go elsewhere."""
    return enter(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def shared_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Make the same for all tests of a file, which only read what one refresh made."""
    with pytest.MonkeyPatch.context() as patch:
        yield enter(tmp_path_factory.mktemp("desk"), patch)


@pytest.fixture(scope="module")
def published_twice(shared_desk: Desk) -> Desk:
    """Publish two snapshots that differ in one attempt of BTCUSDT."""
    shared_desk.write(*(desks.attempt(n) for n in (1, 2, 3)), desks.attempt(4, "ETHUSDT"))
    assert shared_desk.refresh().exit_code == 0
    shared_desk.write(desks.attempt(5))
    assert shared_desk.refresh("--as-of", "2025-11-06T00:05:00Z").exit_code == 0
    return shared_desk


@pytest.fixture
def attempt() -> Callable[..., str]:
    """Return what writes a router line."""
    return desks.attempt
