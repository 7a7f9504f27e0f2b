"""`execintel asof`: what was in force at a moment, with its ages, and never what came later."""

import csv
import io
import json
import re
import shutil
from typing import Any

import pytest

from features import history, history_store, snapshot
from features.lake import Lake
from features.lock import writer_lock
from features.snapshot import Store
from pipelines.commands import common
from tests.live import files
from tests.pipelines.commands.desk import AS_OF, Desk, attempt

AS_OF_MS = common.parse_time(AS_OF)


@pytest.fixture(scope="module")
def twice(shared_desk: Desk) -> Desk:
    """Publish three attempts, then five with another symbol."""
    shared_desk.write(*(attempt(n) for n in (1, 2, 3)))
    assert shared_desk.refresh().exit_code == 0
    shared_desk.write(attempt(4), attempt(5, "ETHUSDT"))
    assert shared_desk.refresh().exit_code == 0
    return shared_desk


@pytest.fixture
def copied(twice: Desk, desk: Desk) -> Desk:
    """Go to a copy of both publications, which a test may change."""
    shutil.copytree(twice.home, desk.home)
    return desk


def published(desk: Desk) -> list[dict[str, Any]]:
    lines = (desk.home / "snapshots" / "published.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def iso(epoch_ms: int) -> str:
    return f"{common.when(epoch_ms)[:19].replace(' ', 'T')}.{epoch_ms % 1000:03d}Z"


def seen(desk: Desk, symbol: str, moment: str) -> dict[str, Any]:
    result = desk.run("asof", symbol, moment, "--format", "json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_moment_sees_the_snapshot_in_force_then_with_its_ages(twice: Desk) -> None:
    first, second = published(twice)
    for entry, moment_ms, attempts in (
        (first, first["published_ms"], 3),  # the very millisecond -> known
        (first, second["published_ms"] - 1, 3),  # the second is not published yet -> the first
        (second, second["published_ms"], 4),
    ):
        found = seen(twice, "btcusdt", iso(moment_ms))
        assert found["snapshot_id"] == entry["snapshot_id"]
        assert (found["symbol"], found["availability"]) == ("BTCUSDT", "recorded")
        assert (found["as_of_ms"], found["available_ms"]) == (AS_OF_MS, entry["published_ms"])
        assert found["age_ms"] == moment_ms - AS_OF_MS
        (row,) = found["tables"]["feat_router__effectiveness"]
        assert (row["n"], row["maker_fill_ratio"]) == (attempts, None)


def test_values_are_those_of_the_snapshot_of_every_model_and_the_moments_hour(
    twice: Desk,
) -> None:
    second = published(twice)[1]
    found = seen(twice, "BTCUSDT", iso(second["published_ms"]))
    quartiles = {row["hour_utc"]: row for row in found["tables"][QUARTILES]}
    asked = twice.ask(f"SELECT * FROM {QUARTILES} WHERE symbol = 'BTCUSDT' AND hour_utc = -1")
    assert [{"symbol": "BTCUSDT", **quartiles[-1]}] == asked
    assert quartiles.keys() <= {-1, second["published_ms"] // 3_600_000 % 24}
    models = [row["model"] for row in found["tables"]["feat_symbol__scores"]]
    assert models == ["v5.10", "v5.11"]
    assert "feat_ops__source_freshness" not in found["tables"]  # not of a symbol alone


QUARTILES = "feat_execution__slippage_quartiles"


def test_hours_of_the_moment_are_shown(twice: Desk) -> None:
    with writer_lock(twice.home, "test"):
        history.append(
            Lake(twice.home / "lake"),
            history_store.tables_of(Store(twice.home / "snapshots").database(twice.current)),
            snapshot_id="backfill",
            as_of_ms=AS_OF_MS,
        )
    # 10:54 to 10:58 UTC were the attempts; nobody published anything that day.
    found = seen(twice, "BTCUSDT", "2025-11-06T10:30:00Z")
    assert (found["snapshot_id"], found["availability"]) == ("backfill", "simulated")
    assert found["available_ms"] == AS_OF_MS + 60_000
    (row,) = found["tables"]["feat_execution__hourly_expectancy"]
    assert (row["hour_utc"], row["n"]) == (10, 4)
    assert (
        seen(twice, "BTCUSDT", "2025-11-06T11:30")["tables"]["feat_execution__hourly_expectancy"]
        == []
    )
    assert "nothing of snapshot backfill is kept" in found["engine"]["problem"]
    output = twice.run("asof", "BTCUSDT", "2025-11-06T10:30:00Z").stdout
    assert "snapshot     backfill, simulated" in output
    assert "10 h 30 min old at T" in output
    assert "available    since 2025-11-06 00:01:00 UTC, 10 h 29 min before T" in output
    assert "engines      cannot be told: nothing of snapshot backfill is kept" in output
    assert re.search(r"^column +all hours +10 UTC +meaning", output, re.MULTILINE)
    assert re.search(r"^slip_bps_q50 +2.5 +2.5 +median, bps", output, re.MULTILINE)
    assert re.search(r"^maker_fill_ratio +– ", output, re.MULTILINE)


def test_csv_has_a_line_per_value(twice: Desk) -> None:
    second = published(twice)[1]
    moment = iso(second["published_ms"])
    text = twice.run("asof", "ETHUSDT", moment, "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["snapshot_id"] for row in rows} == {second["snapshot_id"]}
    by_name = {(row["feature"], row["hour_utc"], row["model"]): row["value"] for row in rows}
    assert by_name["feat_router__effectiveness.n", "", ""] == "1"
    assert by_name["feat_router__effectiveness.maker_fill_ratio", "", ""] == ""
    assert float(by_name[f"{QUARTILES}.slip_bps_q50", "-1", ""]) == pytest.approx(5.0)
    scored = [by_name["feat_symbol__scores.score", "", model] for model in ("v5.10", "v5.11")]
    assert [float(text) for text in scored] == pytest.approx([0.0, -0.15])  # 5 bps: 4..6 → 0..−0.3


@pytest.mark.parametrize(
    ("symbol", "moment", "words"),
    [
        ("BTCUSDT", "2020-01-01", r"nothing was known at 2020.*name a moment from 20\d\d-.*Z on"),
        ("BTCUSDT", "2020-01-01", r"refresh --as-of 2020-01-01T00:00:00Z computes what they say"),
        ("DOGEUSDT", None, r"has no row of it; there are: BTCUSDT$"),
        ("ETHUSDT", None, r"ETHUSDT was unknown at .*, in force then"),  # it came later
        ("BTCUSDT", "2999-01-01", "is not over: name a past moment, .* execintel show"),
        ("BTCUSDT", "yesterday", "'yesterday' is no ISO 8601 time"),
    ],
)
def test_what_cannot_be_answered_says_why_and_what_to_do(
    twice: Desk, symbol: str, moment: str | None, words: str
) -> None:
    first = published(twice)[0]
    result = twice.run("asof", symbol, moment or iso(first["published_ms"]))
    assert result.exit_code == 1
    assert re.search(words, result.stderr.strip()), result.stderr


def test_the_moment_that_the_error_names_is_answered(twice: Desk) -> None:
    stderr = twice.run("asof", "BTCUSDT", "2020-01-01").stderr
    match = re.search(r"from (\S+) on", stderr)
    assert match is not None
    assert common.parse_time(match[1]) >= published(twice)[0]["published_ms"]


def test_nothing_published_says_how_to_begin(desk: Desk) -> None:
    result = desk.run("asof", "BTCUSDT", AS_OF)
    assert result.exit_code == 1
    assert "nothing is published under" in result.stderr
    assert "execintel refresh" in result.stderr


def test_a_publication_that_the_history_lacks_is_not_passed_over(copied: Desk) -> None:
    store = Store(copied.home / "snapshots")
    later_ms = published(copied)[-1]["published_ms"] + 1
    store.publish(copied.current, now_ms=later_ms, by="a run killed before it kept history")
    folder = store.path("20251106T000001Z-00000000")
    folder.mkdir()
    (folder / "manifest.json").write_text('{"sequence": 9, "snapshot_id": "x"}')
    store.publish(folder.name, now_ms=later_ms + 1, by="another")
    result = copied.run("asof", "BTCUSDT", iso(later_ms + 1))
    assert result.exit_code == 1
    assert f"snapshot {folder.name} was in force" in result.stderr
    assert "execintel refresh adds" in result.stderr


# -- what an engine made of it ---------------------------------------------------------------------


def test_engines_of_then_are_told_by_the_age_of_the_snapshot_also_once_it_was_collected(
    copied: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = published(copied)[0]["snapshot_id"]
    data = files.snapshot_bytes(first, [files.line()], as_of_ms=AS_OF_MS)
    files.write(copied.home / "snapshots", first, data)
    moment_ms = published(copied)[0]["published_ms"]
    age_s = (moment_ms - AS_OF_MS) / 1000
    for max_age_s, status, reduce_only, size in (
        (age_s + 1, "ok", False, 1.25),  # its own value
        (age_s - 1, "stale", False, 1.0),  # too old: at most 1
        (age_s / 4 - 1, "stale", True, 1.0),  # four times too old: nothing may be opened
    ):
        monkeypatch.setenv("EXECINTEL_SNAPSHOT_MAX_AGE_S", str(int(max_age_s)))
        engine = seen(copied, "BTCUSDT", iso(moment_ms))["engine"]
        found = (engine["status"], engine["reduce_only"], engine["size_factor"])
        assert found == (status, reduce_only, size)
    output = copied.run("asof", "BTCUSDT", iso(moment_ms)).stdout
    assert "engines      stale, too old" in output
    assert "engines open nothing and only reduce" in output
    assert "size 1.00 × target; offset at" in output

    before = seen(copied, "BTCUSDT", iso(moment_ms))
    monkeypatch.setattr(snapshot, "_KEPT_WHOLE", 1)
    store = Store(copied.home / "snapshots")
    assert store.collect_garbage(common.now_ms()) == [first]
    assert not store.path(first).exists()
    assert seen(copied, "BTCUSDT", iso(moment_ms)) == before


def test_nobody_trades_all_symbols_together(twice: Desk) -> None:
    moment = iso(published(twice)[1]["published_ms"])
    assert seen(twice, "*", moment)["engine"] is None
    assert seen(twice, "BTCUSDT", moment)["engine"]["status"] == "stale"
    output = twice.run("asof", "*", moment).stdout
    assert "engines" not in output.partition("feat_")[0]
    assert "router" not in output.partition("feat_")[0]
    assert re.search(r"^n +5 ", output, re.MULTILINE)  # its values stand there
    assert "engines      stale" in twice.run("asof", "BTCUSDT", moment).stdout


def test_an_as_of_after_the_moment_is_said_to_lie_ahead(copied: Desk) -> None:
    copied.write(attempt(6))
    as_of = common.when(common.now_ms() + 58_980_000)[:19].replace(" ", "T")
    words = ("refresh", "--logs", str(copied.logs), "--as-of", as_of, "--publish")  # it is empty
    assert copied.run(*words).exit_code == 0
    output = copied.run("asof", "*", iso(published(copied)[-1]["published_ms"])).stdout
    assert re.search(r"^as of .* UTC, 16 h 2[12] min ahead of T$", output, re.MULTILINE)
