"""`execintel mirror` and `show --source firestore`: what a person sees of the mirror."""

import json
import re

import pytest

from tests.live import mirrors
from tests.pipelines.commands.desk import Desk, attempt


@pytest.fixture(scope="module")
def published(shared_desk: Desk) -> Desk:
    """Publish two snapshots that differ in one attempt of BTCUSDT."""
    shared_desk.write(*(attempt(n) for n in (1, 2, 3)), attempt(4, "ETHUSDT"))
    assert shared_desk.refresh().exit_code == 0
    shared_desk.write(attempt(5))
    assert shared_desk.refresh("--as-of", "2025-11-06T00:05:00Z").exit_code == 0
    return shared_desk


@pytest.fixture(autouse=True)
def _at_home(published: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", str(published.home))


def rows(output: str) -> dict[str, list[str]]:
    """Return the cells of every line by its first."""
    cells = [re.split(r"\s{2,}", line.strip()) for line in output.splitlines()]
    return {first: rest for first, *rest in cells}


def test_off_is_said_by_every_command_and_nothing_is_written(published: Desk) -> None:
    for words in (["mirror"], ["mirror", "--once"], ["show", "--source", "firestore"]):
        result = published.run(*words)
        assert result.exit_code == 1
        assert "mirroring is off: GOOGLE_CLOUD_PROJECT and FIRESTORE_EMULATOR_HOST" in result.stderr


def test_a_dry_run_tells_documents_bytes_and_what_a_day_takes(published: Desk) -> None:
    result = published.run("mirror", "--dry-run")
    assert result.exit_code == 0
    found = rows(result.stdout)
    assert found["execution_intel"][0] == "2"
    assert found["execution_health"][0] == "2"
    assert found["snapshots"][0] == "1"
    assert found["snapshots: nothing changes"] == ["288", "1%"]
    # all five of five: 288 × 5 = 1,440 of 20,000
    assert found["snapshots: every document changes"] == ["1,440", "7%"]
    assert found["executor: every symbol is active"] == ["576", "3%"]  # 2 × 86,400 / 300
    step = int(found["snapshots: as the last 1 steps did"][0].replace(",", ""))
    assert step in {288 * documents for documents in (2, 3, 4, 5)}
    assert "free of charge" in result.stdout
    assert "NOT free" in published.run("mirror", "--dry-run", "--refreshes", "86400").stdout


def test_once_mirrors_and_then_all_of_it_stands_there(published: Desk, firestore: str) -> None:
    assert rows(published.run("mirror", "--dry-run").stdout)["execution_intel"][-1] == "2"
    done = published.run("mirror", "--once").stdout
    assert f"published {published.current}: 5 documents written, 0 deleted, 0 stood there" in done
    assert "unchanged" in published.run("mirror", "--once").stdout
    assert "which holds it already" in published.run("mirror", "--dry-run").stdout
    assert sorted(mirrors.stored()) == [
        "execution_health/BTCUSDT", "execution_health/ETHUSDT", "execution_intel/BTCUSDT",
        "execution_intel/ETHUSDT", "snapshots/current",
    ]  # fmt: skip
    state = published.run("mirror").stdout
    assert f"snapshot     {published.current}" in state
    assert "CURRENT      is what is mirrored" in state


def test_what_is_mirrored_is_shown_as_the_snapshot_would_be(
    published: Desk, firestore: str
) -> None:
    assert published.run("mirror", "--once").exit_code == 0
    shown = published.run("show", "--source", "firestore").stdout
    assert f"snapshot     {published.current}" in shown
    assert "stale: older than 15 min" in shown
    assert rows(shown)["BTCUSDT"][0] == "4"
    one = published.run("show", "btcusdt", "--source", "firestore").stdout
    assert rows(one)["10"][:2] == ["4", "4"]  # 10:54 to 10:58 UTC
    assert rows(one)["23"][:3] == ["0", "0", "– (0)"]
    for symbol in (["BTCUSDT"], []):
        local = published.run("show", *symbol, "--format", "json").stdout
        remote = published.run("show", *symbol, "--format", "json", "--source", "firestore").stdout
        assert json.loads(remote) == json.loads(local)


def test_what_is_not_mirrored_is_named(published: Desk, firestore: str) -> None:
    assert "nothing is mirrored yet" in published.run("mirror").stderr
    published.run("mirror", "--once")
    result = published.run("show", "NOPE", "--source", "firestore")
    assert "NOPE is not mirrored; there are: BTCUSDT, ETHUSDT" in result.stderr
    result = published.run("show", "--source", "firestore", "--snapshot", published.current)
    assert "the mirror holds the newest snapshot only" in result.stderr
    assert "give one of them" in published.run("mirror", "--once", "--dry-run").stderr
