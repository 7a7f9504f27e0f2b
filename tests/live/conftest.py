from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from live import intel
from live.v510 import answers
from tests.live import files
from tests.live.files import Line, T

Publish = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_snapshot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Begin each test with no reader of the process and a home that does not exist."""
    monkeypatch.setattr(answers, "_source", answers._Source())
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path / "nowhere"))


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = T + 10

    def __call__(self) -> float:
        return self.now_s


class Intel:
    """A data root whose snapshots answer the v5.10 calls, and its clock."""

    def __init__(self, home: Path) -> None:
        self.root = home / "snapshots"
        self.clock = Clock()
        self.published = 0
        self.choice: dict[str, Any] = {}
        self.home = home

    def publish(self, *lines: Line, **header: Any) -> str:
        """Publish these lines as the next snapshot and answer from it."""
        self.published += 1
        snapshot_id = f"20251105T{self.published:06}Z-aaaaaaaa"
        files.publish(self.root, snapshot_id, lines, **header)
        self.clock.now_s += 1
        if self.published == 1:
            intel.configure(self.home, environment="paper", clock=self.clock)
        return snapshot_id


@pytest.fixture
def published(tmp_path: Path) -> Intel:
    return Intel(tmp_path / "home")
