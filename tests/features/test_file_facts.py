"""Facts of lake files only save time: tables are the same with them, without them, and torn."""

import re
from pathlib import Path

import pytest

from features import file_facts, rebuild, window_sums
from features.settings import Settings
from features.snapshot import Store, open_snapshot
from pipelines.refresh import Refresh, refresh
from pipelines.upkeep import upkeep
from tests.loads import (
    DAY_MS,
    HOUR_MS,
    START_MS,
    Line,
    all_digests,
    append,
    close_line,
    core_up_to_date,
    intent_line,
    lake_digests,
    order_line,
    router_line,
    settings_over,
    tangled_lines,
)

PIECES = 3
# As-ofs that cut hours, move the window's start over old lines, and go back.
AS_OFS = [START_MS + days * DAY_MS + 17 * HOUR_MS // 60 for days in (4, 6, 7)]

pytestmark = pytest.mark.usefixtures("every_processor")


def facts_of(settings: Settings, name: str) -> list[Path]:
    return sorted(settings.home.glob(f"cache/facts/{name}-*/*.parquet"))


def pieces() -> list[list[Line]]:
    """Return lines of six days in pieces that later ones repeat ids of, with bad lines between."""
    lines = tangled_lines(11, attempts=20)
    size = len(lines) // PIECES
    made = [lines[n * size : (n + 1) * size] for n in range(PIECES)]
    for n, piece in enumerate(made):
        piece.insert(n, Line(lines[0].file, f"not JSON, piece {n}\n"))  # a line without a time
    return made


def computed(settings: Settings, as_of_ms: int, *, with_features: bool = True) -> dict[str, str]:
    """Read new lines, compute every table and publish none; returns digests of feature tables."""
    with core_up_to_date(settings, as_of_ms, now_ms=AS_OFS[-1]) as run:
        if with_features:
            run.build_features()
    return run.report.built.digests


def again(settings: Settings, later_ms: int) -> None:
    """Refresh as of the last as-of or a little later."""
    report = refresh(settings, as_of_ms=AS_OFS[-1] + later_ms, now_ms=AS_OFS[-1])
    assert report.outcome == "published"


def test_tables_are_the_same_with_facts_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_facts, "LEAST_ROWS", 1 << 60)
    other = settings_over(tmp_path / "logs", tmp_path / "without", window_days=2)
    append(tmp_path / "logs", [line for piece in pieces() for line in piece])
    expected = computed(other, AS_OFS[-1]) | lake_digests(other.home)
    assert facts_of(other, "lines") == []

    monkeypatch.setattr(file_facts, "LEAST_ROWS", 0)
    (tmp_path / "logs").rename(tmp_path / "read")  # and come once more, in pieces
    settings = settings_over(tmp_path / "logs", tmp_path / "with", window_days=2)
    for n, (piece, as_of_ms) in enumerate(zip(pieces(), AS_OFS, strict=True)):
        append(tmp_path / "logs", piece)
        found = computed(settings, as_of_ms, with_features=n > 0)
        if n == 1:
            upkeep(settings, now_ms=as_of_ms)  # other files, the same rows
    assert facts_of(settings, "ids")
    assert facts_of(settings, "order_ids")
    assert facts_of(settings, "core_window__closes")
    assert facts_of(settings, "core_window__minutes")
    assert facts_of(settings, "core_window__slippage")
    assert facts_of(settings, "core_window__acks")
    assert facts_of(settings, "core_window__navs")
    assert found | lake_digests(settings.home) == expected
    kept = facts_of(settings, "lines")
    for path in kept:
        path.write_bytes(path.read_bytes()[:-9])  # as a machine that stopped may leave them
    for path in facts_of(settings, "core_window__minutes"):  # as a disk that forgets may
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 64
        path.write_bytes(content)
    emptied = facts_of(settings, "core_window__navs")[0]
    emptied.unlink()
    name = emptied.stem.rpartition("-")[0]
    emptied.with_name(f"{name}-00000000.parquet").touch()  # CRC-32 of nothing
    older = facts_of(settings, "core_window__acks")[0]  # as a release named them that had no count
    older = older.rename(older.with_name(re.sub(r"-\d+-", "-", older.name)))
    stranger = kept[0].parent.with_name("lines-ofanotherrelease") / "x.parquet"
    stranger.parent.mkdir()
    stranger.touch()
    monkeypatch.setattr(window_sums, "MANY_ROWS", 0)  # sums are read from their files
    again(settings, 0)
    assert all_digests(settings.home) == expected
    assert not stranger.exists()
    assert not older.exists()
    upkeep(settings, now_ms=AS_OFS[-1])
    again(settings, HOUR_MS // 6)
    merged = facts_of(settings, "lines")
    assert set(merged) - set(kept)
    assert len(merged) < len(kept)


def test_navs_of_a_log_that_overlaps_another_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_facts, "LEAST_ROWS", 0)
    settings = settings_over(tmp_path / "logs", tmp_path / "home", window_days=9)
    lines = [line for piece in pieces() for line in piece]
    append(tmp_path / "logs", lines)
    again(settings, later_ms=0)
    before = nav_counts(settings)
    assert max(before) > 10
    asked = [line for line in lines if line.file == "orders_attempted.jsonl"]
    append(tmp_path / "logs" / "copy", asked[len(asked) // 3 :])
    again(settings, later_ms=1)
    assert facts_of(settings, "core_window__navs")
    assert nav_counts(settings) == before
    monkeypatch.setattr(file_facts, "LEAST_ROWS", 1 << 60)  # and without facts
    again(settings, later_ms=2)
    assert nav_counts(settings) == before


def nav_counts(settings: Settings) -> list[int]:
    """Return how many NAV values count in each day, in the window, and for each symbol."""
    store = Store(settings.snapshots_root)
    counts = (
        "SELECT n FROM feat_account__coverage UNION ALL SELECT nav_n FROM feat_symbol__performance"
    )
    with open_snapshot(store.database(store.resolve(None))) as con:
        return sorted(n for (n,) in con.sql(counts).fetchall())


def test_held_sums_and_sums_in_files_follow_each_other_on_one_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Dagster run may build again when rows have become many."""
    monkeypatch.setattr(file_facts, "LEAST_ROWS", 1)
    settings = settings_over(tmp_path / "logs", tmp_path / "home", window_days=2)
    append(tmp_path / "logs", pieces()[0])
    run = Refresh(settings, as_of_ms=AS_OFS[0], now_ms=AS_OFS[0])
    found = []
    try:
        run.prepare()
        run.read()
        run.rebuild_core()
        for many_rows in (1 << 60, 0, 1 << 60):
            monkeypatch.setattr(window_sums, "MANY_ROWS", many_rows)
            found.append(run.build_features().digests)
    finally:
        run.close()
    assert facts_of(settings, "core_window__acks")
    assert found[0] == found[1] == found[2]


def test_kin_in_other_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt's lines come one by one, in hours apart, and the window begins between two."""
    monkeypatch.setattr(file_facts, "LEAST_ROWS", 1)
    monkeypatch.setattr(rebuild, "DAY_ROWS_LIMIT", 0)  # parts of an hour: nothing comes by chance
    asked_ms = START_MS + 2 * DAY_MS + 58 * HOUR_MS // 60
    pieces = [
        [
            router_line("old", "ETHUSDT", asked_ms - 70 * HOUR_MS),  # beyond reach of the close
            # orders_executed speaks an hour before the close: only its id leads to its attempt
            order_line("order_ack", "other", "ETHUSDT", asked_ms + 5 * HOUR_MS),
            *(intent_line(each, "ETHUSDT", asked_ms, price=100.0) for each in "ab"),
        ],
        [router_line("a", "ETHUSDT", asked_ms + HOUR_MS // 5)],
        [close_line("a", "ETHUSDT", asked_ms + 6 * HOUR_MS, pnl=2.0, order_id=1)],
    ]
    settings = settings_over(tmp_path / "logs", tmp_path / "home", window_days=2)
    as_of_ms = asked_ms + 2 * DAY_MS - HOUR_MS // 30  # the window cuts the hour asked in
    for piece in pieces:
        append(tmp_path / "logs", piece)
        computed(settings, as_of_ms, with_features=False)
    assert refresh(settings, as_of_ms=as_of_ms, now_ms=AS_OFS[-1]).outcome == "published"
    store = Store(settings.snapshots_root)
    with open_snapshot(store.database(store.resolve(None))) as con:
        heard = con.execute(
            "SELECT submitted_n, no_outcome_n FROM feat_router__effectiveness WHERE symbol = '*'"
        ).fetchall()
        closes = con.execute(
            "SELECT close_n FROM core_execution__outcomes WHERE attempt_id = 'a'"
        ).fetchall()
    # The router's line stands in a file behind the hour that is cut, the close far behind both.
    assert (heard, closes) == ([(2, 1)], [(1,)])
