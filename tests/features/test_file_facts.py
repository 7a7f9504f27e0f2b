"""Facts of lake files only save time: tables are the same with them, without them, and torn."""

from pathlib import Path

import pytest

from features import file_facts
from features.settings import Settings
from pipelines.refresh import RefreshReport, refresh
from pipelines.upkeep import upkeep
from tests.loads import (
    DAY_MS,
    HOUR_MS,
    START_MS,
    Line,
    all_digests,
    append,
    settings_over,
    tangled_lines,
)

PIECES = 4
# As-ofs that cut hours, move the window's start over old lines, and go back.
AS_OFS = [START_MS + days * DAY_MS + 17 * HOUR_MS // 60 for days in (4, 5, 6, 7)]


def facts_of(settings: Settings, name: str) -> list[Path]:
    return sorted(settings.home.glob(f"cache/facts/{name}-*/*.parquet"))


def pieces() -> list[list[Line]]:
    """Return lines of six days in pieces that later ones repeat ids of, with bad lines between."""
    lines = tangled_lines(11, attempts=60)
    size = len(lines) // PIECES
    made = [lines[n * size : (n + 1) * size] for n in range(PIECES)]
    for n, piece in enumerate(made):
        piece.insert(n, Line(lines[0].file, f"not JSON, piece {n}\n"))  # a line without a time
    return made


def fed(home: Path, monkeypatch: pytest.MonkeyPatch, least_rows: int) -> Settings:
    """Return the settings of a home that was fed in pieces and tended once."""
    monkeypatch.setattr(file_facts, "LEAST_ROWS", least_rows)
    settings = settings_over(home / "logs", home / "home", window_days=2)
    for n, (piece, as_of_ms) in enumerate(zip(pieces(), AS_OFS, strict=True)):
        append(home / "logs", piece)
        refresh(settings, as_of_ms=as_of_ms, now_ms=AS_OFS[-1])
        if n == 1:
            upkeep(settings, now_ms=as_of_ms)  # other files, the same rows
    return settings


def again(settings: Settings) -> RefreshReport:
    """Refresh as of a little later: nothing is new but the window."""
    return refresh(settings, as_of_ms=AS_OFS[-1] + HOUR_MS // 7, now_ms=AS_OFS[-1])


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        settings = fed(tmp_path_factory.mktemp("without"), patch, 1 << 60)
        digests = all_digests(settings.home)
        again(settings)
        return settings, digests


def test_tables_are_the_same_with_facts_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: tuple[Settings, dict[str, str]]
) -> None:
    other, expected = without
    settings = fed(tmp_path, monkeypatch, 0)
    assert facts_of(settings, "ids")
    assert facts_of(settings, "order_ids")
    assert facts_of(settings, "lines")
    assert facts_of(other, "ids") == []
    assert all_digests(settings.home) == expected
    for path in facts_of(settings, "lines"):
        path.write_bytes(path.read_bytes()[:-9])  # as a machine that stopped may leave them
    again(settings)
    assert all_digests(settings.home) == all_digests(other.home)


def test_facts_of_files_that_went_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_facts, "LEAST_ROWS", 0)
    settings = settings_over(tmp_path / "logs", tmp_path / "home")
    for piece, as_of_ms in zip(pieces(), AS_OFS, strict=True):
        append(tmp_path / "logs", piece)
        refresh(settings, as_of_ms=as_of_ms, now_ms=as_of_ms)
    stranger = facts_of(settings, "lines")[0].parent.with_name("lines-ofanotherrelease") / "x"
    stranger.parent.mkdir()
    stranger.touch()
    before = set(facts_of(settings, "lines"))
    upkeep(settings, now_ms=AS_OFS[-1])
    refresh(settings, as_of_ms=AS_OFS[-1] + 1, now_ms=AS_OFS[-1])
    after = set(facts_of(settings, "lines"))
    assert after - before  # of the merged files
    assert len(after) < len(before)
    assert not stranger.exists()
