"""`execintel snapshots`: list, compare, go back, resume, verify, rebuild, relocate."""

import json
import re
import shutil
from pathlib import Path

import pytest

from features import build, history_store
from features.lake import Lake
from pipelines.commands import snapshots
from tests.loads import keep_aside, put_back
from tests.pipelines.commands.desk import Desk, attempt, enter


def publish_two(desk: Desk) -> tuple[Desk, str, str]:
    """Publish two snapshots and return their ids."""
    desk.write(attempt(1), attempt(2))
    assert desk.refresh().exit_code == 0
    first = desk.current
    desk.write(attempt(3))
    assert desk.refresh().exit_code == 0
    return desk, first, desk.current


@pytest.fixture(scope="module")
def two_aside(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, str, str]:
    """Publish two snapshots once and keep them aside."""
    folder = tmp_path_factory.mktemp("two") / "desk"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        made = publish_two(enter(folder, patch))
    keep_aside(folder)
    return made


@pytest.fixture
def two(two_aside: tuple[Desk, str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[Desk, str, str]:
    """Go to the two snapshots, put back where they were."""
    folder = two_aside[0].home.parent
    put_back(folder)
    enter(folder, monkeypatch)
    return two_aside


def test_list_names_current_and_the_others(two: tuple[Desk, str, str]) -> None:
    desk, first, second = two
    lines = desk.run("snapshots", "list").stdout.splitlines()
    assert any(first in line and "published" in line for line in lines)
    assert any(second in line and "CURRENT" in line for line in lines)


def test_diff_counts_and_quotes_changed_values(two: tuple[Desk, str, str]) -> None:
    desk, first, second = two
    output = desk.run("snapshots", "diff", first, second).stdout
    assert "feat_router__effectiveness: 0 rows added, 0 removed, 2 changed" in output
    assert "BTCUSDT: n 2 → 3" in output
    whole = desk.run("snapshots", "diff", first, second, "--examples", "1000").stdout
    assert not re.search(r"\d\.\d{9}", whole), "more digits than a person reads"


@pytest.mark.parametrize(
    ("column", "old", "new", "said"),
    [
        ("slip_bps_q50", 1.23456789012345, 2.5, "1.23 → 2.50"),
        ("offset_bps", 1.8000000000000003, 2.0, "1.80 → 2.00"),
        ("unexplained_usd", -12.470549018605038, 63089.16053330764, "-12.47 → 63,089.16"),
        ("fill_ratio", 0.98123456, 0.98123999, "0.98123 → 0.98124"),  # digits that differ
        ("lag_s", 618.02, 78.4, "618.0 → 78.4"),
        ("sharpe", None, 0.1234567890123, "– → 0.123457"),
        ("sharpe", 1.0, 1.0000000000000002, "1 → 1.0000000000000002"),
        ("sharpe", float("nan"), 1.0, "nan → 1"),
        ("n", 2, 3, "2 → 3"),
        ("ack_ms", 20, 30, "20 → 30"),
        (
            "since_ms",
            1767225600000,
            1767225601000,
            "2026-01-01 00:00:00 UTC → 2026-01-01 00:00:01 UTC",
        ),
        ("status", "ok", "silent", "ok → silent"),
    ],
)
def test_a_changed_value_has_the_digits_of_its_unit(
    column: str, old: object, new: object, said: str
) -> None:
    assert snapshots._moved(column, old, new) == said


def test_diff_without_ids_compares_the_last_two(two: tuple[Desk, str, str]) -> None:
    desk, first, second = two
    named = desk.run("snapshots", "diff", first, second).stdout
    assert desk.run("snapshots", "diff").stdout == f"{first} → {second}\n{named}"
    to_newest = desk.run("snapshots", "diff", second).stdout
    assert f"{second} and {second} hold equal rows in every table" in to_newest
    alone = desk.run("snapshots", "rollback", "--reason", "one is left")
    assert alone.exit_code == 0
    shutil.rmtree(desk.home / "snapshots" / second)
    one = desk.run("snapshots", "diff")
    assert one.exit_code == 1
    assert f"there is none before {first} to compare it with" in one.stderr


def test_list_says_that_current_names_nothing(two: tuple[Desk, str, str]) -> None:
    desk, _, second = two
    (desk.home / "snapshots" / "CURRENT").write_text("hello")
    listed = desk.run("snapshots", "list").stdout
    assert "CURRENT names hello, which cannot be read" in listed
    assert second in listed


def test_diff_of_equal_snapshots_says_so(two: tuple[Desk, str, str]) -> None:
    desk, first, _ = two
    same = desk.run("snapshots", "diff", first, first)
    assert "hold equal rows in every table" in same.stdout


def test_rollback_holds_publication_until_resume(two: tuple[Desk, str, str]) -> None:
    desk, first, _ = two
    assert "needs its reason" in desk.run("snapshots", "rollback").stderr
    back = desk.run("snapshots", "rollback", "--reason", "fees are wrong")
    assert back.exit_code == 0, back.output
    assert desk.current == first
    assert "fees are wrong" in desk.run("snapshots", "list").stdout
    assert history_store.summary(Lake(desk.home / "lake")).publication_n == 3  # known at once

    desk.write(attempt(4))
    held = desk.refresh()
    assert held.exit_code == 0
    assert "on HOLD" in held.stdout
    assert "fees are wrong" in held.stdout
    assert desk.current == first
    doctor = desk.run("doctor")
    assert doctor.exit_code == 1
    assert "execintel snapshots resume" in doctor.stdout

    assert "is over (fees are wrong)" in desk.run("snapshots", "resume").stdout
    assert "there was no hold" in desk.run("snapshots", "resume").stdout
    assert "published" in desk.refresh().stdout
    assert desk.current != first


def test_rollback_says_what_it_came_to(desk: Desk) -> None:
    desk.write(attempt(1), attempt(2, "ETHUSDT"))
    early = ("refresh", "--logs", str(desk.logs), "--as-of", "2025-11-05T10:00:00Z")
    assert desk.run(*early).exit_code == 0  # before the first attempt: published, but empty
    empty = desk.current
    for hour in ("12", "13"):
        as_of = f"2025-11-05T{hour}:00:00Z"
        assert desk.run("refresh", "--logs", str(desk.logs), "--as-of", as_of).exit_code == 0

    back = desk.run("snapshots", "rollback", "--reason", "bad")
    assert "it holds 2 symbols and " in back.stdout
    assert "as of 2025-11-05 12:00:00 UTC" in back.stdout
    assert "no symbol" not in back.stdout

    further = desk.run("snapshots", "rollback", "--reason", "worse")
    assert desk.current == empty
    assert "it holds 0 symbols" in further.stdout
    assert "readers find no symbol in it" in further.stdout


def test_verify_finds_a_changed_file(two: tuple[Desk, str, str]) -> None:
    desk, first, second = two
    assert desk.run("snapshots", "verify", "--all").exit_code == 0
    database = desk.home / "snapshots" / first / "features.duckdb"
    database.write_bytes(database.read_bytes() + b"x")

    assert desk.run("snapshots", "verify").exit_code == 0  # CURRENT is the other one
    result = desk.run("snapshots", "verify", "--all")

    assert result.exit_code == 1
    assert f"{first}: " in result.stderr
    assert "has other bytes than when it was published" in result.stderr
    assert f"{second}: every file and table is as published" in result.stdout
    both = desk.run("snapshots", "verify", first, "--all")
    assert "name one snapshot or say --all" in both.stderr


def test_rebuild_gives_the_same_digests_by_the_manifest_also_after_upkeep(
    two: tuple[Desk, str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    desk, first, _ = two
    assert desk.run("upkeep").exit_code == 0
    earlier = desk.run("snapshots", "rebuild", first)
    # Environment and parameters come from the manifest, whatever is configured.
    monkeypatch.setenv("EXECINTEL_ENVIRONMENT", "live")
    monkeypatch.setenv("EXECINTEL_WINDOW_DAYS", "1")
    config = tmp_path / "other.toml"
    config.write_text("[params]\nwinsor_bps = 1.5\n")
    monkeypatch.setenv("EXECINTEL_CONFIG", str(config))
    for result in (earlier, desk.run("snapshots", "rebuild")):
        assert result.exit_code == 0, result.output
        assert "DIFFERS" not in result.stdout
        assert "every table has the same rows" in result.stdout
    assert not (desk.home / "cache" / "rebuild").exists()


def test_rebuild_finds_a_table_that_differs(two: tuple[Desk, str, str]) -> None:
    desk, _, second = two
    path = desk.home / "snapshots" / second / "manifest.json"
    whole = path.read_text()
    manifest = json.loads(whole)
    manifest["tables"]["feat_router__effectiveness"]["sha256"] = "0" * 64
    path.write_text(json.dumps(manifest))
    result = desk.run("snapshots", "rebuild")
    path.write_text(whole)
    assert result.exit_code == 1
    assert "DIFFERS" in result.stdout
    assert "could not be reproduced" in result.stderr


def test_rebuild_with_other_code_refuses_and_names_both(
    two: tuple[Desk, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, _, _ = two
    here = build.code_version()
    monkeypatch.setattr(build, "code_version", lambda: "9.9.9+abcdef")
    result = desk.run("snapshots", "rebuild")
    assert result.exit_code == 1
    assert f"was built by code {here}, this is 9.9.9+abcdef" in result.stderr


def test_rebuild_says_when_a_file_or_a_version_is_gone(two: tuple[Desk, str, str]) -> None:
    desk, _, _ = two
    table = desk.home / "lake" / "raw_router__events"
    for path in table.rglob("part=*/*.parquet"):
        path.unlink()
    no_file = desk.run("snapshots", "rebuild")
    assert no_file.exit_code == 1
    assert "a file of its inputs is gone" in no_file.stderr

    shutil.rmtree(table / "_delta_log")
    no_version = desk.run("snapshots", "rebuild")
    assert no_version.exit_code == 1
    assert "raw_router__events cannot be opened at version" in no_version.stderr


def test_relocate_points_the_views_at_a_moved_lake(two: tuple[Desk, str, str]) -> None:
    desk, _, _ = two
    moved = desk.home / "elsewhere"
    (desk.home / "lake").rename(moved)
    broken = desk.run("sql", "SELECT COUNT(*) FROM raw_router__events")
    assert broken.exit_code == 1
    assert "relocate" in desk.run("doctor").stdout

    result = desk.run("snapshots", "relocate", str(moved))

    assert result.exit_code == 0, result.output
    assert desk.ask("SELECT COUNT(*) AS n FROM raw_router__events") == [{"n": 3}]
    assert desk.run("snapshots", "verify", "--all").exit_code == 0
    nowhere = desk.run("snapshots", "relocate", "nowhere")
    assert nowhere.exit_code == 1
    assert "is no folder" in nowhere.stderr


def test_a_build_whose_sizes_jump_waits_until_it_is_published(desk: Desk) -> None:
    Path("execintel.toml").write_text('[params]\nhold_changes = "always"\n')
    desk.write(attempt(1), attempt(2))
    assert desk.refresh("--as-of", "2025-11-05T23:00:00Z").exit_code == 0
    first = desk.current
    desk.write(*(attempt(n, symbol=f"NEW{n}USDT") for n in range(3, 8)))
    held = desk.refresh()
    assert held.exit_code == 0
    assert "it waits for a person" in held.stdout
    assert "feat_symbol__sizing_jump" in held.stdout
    assert desk.current == first
    assert "held by feat_symbol__sizing_jump" in desk.run("snapshots", "list").stdout
    assert "1 builds wait for a person" in desk.run("doctor").output
    released = desk.run("snapshots", "publish")
    assert released.exit_code == 0, released.output
    assert desk.current != first
    assert f"published {desk.current}" in released.stdout
    assert "no new snapshot" in desk.refresh().stdout
    again = desk.run("snapshots", "publish")
    assert again.exit_code == 1
    assert "no build waits for a person" in again.output
