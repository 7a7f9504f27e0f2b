"""The examples of the guides run."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from features.settings import Settings
from pipelines.refresh import refresh
from tests import loads

FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
AS_OF_MS = 1_762_387_000_000


def test_examples_of_the_history_guide_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    loads.append(tmp_path / "logs", loads.tangled_lines(5, attempts=30, days=3))
    settings = Settings(log_dir=tmp_path / "logs")
    refresh(settings, as_of_ms=AS_OF_MS, now_ms=AS_OF_MS + 1000)
    join, backfill = FENCE.findall((repository / "docs/history.md").read_text("utf-8"))
    names: dict[str, pl.DataFrame] = {}
    exec(join, names)
    known = names["known"]
    assert known["status"].to_list() == ["ok", "ok"]
    assert known["age_ms"].to_list() == [200_000, 500_000]
    exec(backfill, names)
    exec(join, names)
    assert known.equals(names["known"]), "a publication goes before a backfill of the same"
    assert json.loads((tmp_path / "home/writer.json").read_text())["what"] == "backfill"
