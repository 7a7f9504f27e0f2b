"""The examples of the guides run."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from features.settings import Settings
from features.snapshot import Store, open_snapshot
from pipelines.intake.kinds import KINDS, Kind
from pipelines.refresh import refresh
from tests import loads

LOGS = {
    f"{stem}.jsonl": next(kind for kind in KINDS if kind.file_name.match(f"{stem}.jsonl"))
    for stem in (
        "order_metrics", "orders_executed", "orders_attempted", "risk_vetoes", "position_state",
    )
}  # fmt: skip
EXAMPLE = re.compile(r"```json (\S+)\n(.*?)```", re.DOTALL)
TYPES = {
    "text": "text", "number": "number", "amount": "number, not below 0", "flag": "true or false",
    "time_ms": "time", "json": "object or list",
}  # fmt: skip
FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
AS_OF_MS = 1_762_387_000_000


def table_of(kind: Kind) -> str:
    """Write the keys of a log's lines as its guide has them."""
    head = [("time", kind.event_keys, "time", "of the event; required")]
    head.append(("symbol", kind.symbol_keys, "text", "instrument; required"))
    rows = head + [
        (column.name, column.keys, TYPES[column.type], column.comment)
        for column in kind.columns
        if not column.within
    ]
    lines = ["| keys, the first that is there | value | column | meaning |", "|---|---|---|---|"]
    for name, keys, value, meaning in rows:
        shown = ", ".join(f"`{key}`" for key in keys)
        lines.append(f"| {shown} | {value} | {name} | {meaning} |")
    return "\n".join(lines) + "\n"


def test_the_guide_to_the_logs_names_the_keys_that_are_read(repository: Path) -> None:
    text = (repository / "docs/logs.md").read_text("utf-8")
    told = dict(re.findall(r"^## (\S+)\n\n(.*?)(?=\n## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert told == {name: table_of(kind) for name, kind in LOGS.items()}


def test_the_lines_of_the_guide_to_the_logs_are_a_whole_trade(
    repository: Path, tmp_path: Path
) -> None:
    text = (repository / "docs/logs.md").read_text("utf-8")
    examples = dict(EXAMPLE.findall(text))
    assert examples.keys() == LOGS.keys()
    (tmp_path / "logs").mkdir()
    for name, lines in examples.items():
        (tmp_path / "logs" / name).write_text(lines)
    as_of_ms = 1_767_250_000_000
    settings = Settings(home=tmp_path / "home", log_dir=tmp_path / "logs")
    report = refresh(settings, as_of_ms=as_of_ms, now_ms=as_of_ms)
    assert report.outcome == "published"
    read = {name: (t.accepted, t.rejected) for name, t in report.intake.tables.items()}
    assert read == {LOGS[name].table: (lines.count("\n"), 0) for name, lines in examples.items()}
    store = Store(tmp_path / "home/snapshots")
    with open_snapshot(store.database(store.resolve(None))) as con:

        def rows(sql: str) -> list[tuple[object, ...]]:
            return con.sql(sql).fetchall()

        assert rows(
            "SELECT outcome, is_confirmed, slippage_bps > -3, mark_age_ms, realized_pnl_usd"
            " FROM core_execution__outcomes ORDER BY event_ms"
        ) == [("filled", True, True, 1889, None), ("filled", True, True, 50, 1.683)]
        assert rows("SELECT status, position_unexplained_n FROM feat_account__coverage") == [
            ("complete", 0), ("complete", 0),
        ]  # fmt: skip
        assert rows("SELECT SUM(nulled_n) FROM raw_risk__vetoes") == [(0,)]


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
