"""`execintel mirror` and `show --source firestore`: what a person sees of the mirror."""

import json
import re
import shutil
from pathlib import Path

import pytest

from live.firestore_mirror import get_client
from tests.live import mirrors
from tests.pipelines.commands.desk import Desk, attempt


@pytest.fixture(scope="module")
def published(published_twice: Desk) -> Desk:
    return published_twice


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


@pytest.mark.parametrize("is_current", [True, False])
def test_a_dry_run_over_a_damaged_line_says_so_or_compares_the_others(
    published: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_current: bool
) -> None:
    home = tmp_path / "home"
    shutil.copytree(published.home / "snapshots", home / "snapshots")
    monkeypatch.setenv("EXECINTEL_HOME", str(home))
    names = sorted(path.name for path in (home / "snapshots").iterdir() if path.name[0] == "2")
    line = home / "snapshots" / names[-1 if is_current else 0] / "live.jsonl"
    line.write_bytes(line.read_bytes()[:-40] + b"x" + line.read_bytes()[-39:])
    result = published.run("mirror", "--dry-run")
    assert result.exit_code == (1 if is_current else 0)
    assert ("execintel snapshots verify names the damage" in result.stderr) == is_current
    assert "as the last" not in result.stdout  # there is nothing whole to compare with


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


# -- what stands at the desk ----------------------------------------------------------------------


@pytest.fixture
def own(published: Desk, firestore: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Mirror a copy of the snapshots, for a test that changes what is in force; they are fresh."""
    home = tmp_path / "home"
    shutil.copytree(published.home / "snapshots", home / "snapshots")
    monkeypatch.setenv("EXECINTEL_HOME", str(home))
    monkeypatch.setenv("EXECINTEL_SNAPSHOT_MAX_AGE_S", str(100 * 366 * 86_400))
    desk = Desk(home, published.logs)
    assert desk.run("mirror", "--once").exit_code == 0
    return desk


def remote(desk: Desk, *words: str) -> str:
    result = desk.run("show", *words, "--source", "firestore")
    assert result.exit_code == 0, result.output
    return result.stdout


def line_of(output: str, symbol: str) -> str:
    return next(line for line in output.splitlines() if line.startswith(f"{symbol}: "))


def test_a_rollbacks_hold_is_mirrored_and_ends_with_it(own: Desk) -> None:
    last = own.current
    assert "HOLD" not in remote(own)
    done = own.run("snapshots", "rollback", "--reason", "wrong fees")
    assert done.exit_code == 0, done.output
    assert own.current != last
    assert f"{own.current}: execintel mirror --once mirrors it" in own.run("mirror").stdout
    assert own.run("mirror", "--once").exit_code == 0
    for output in (remote(own), remote(own, "BTCUSDT"), own.run("mirror").stdout):
        assert re.match(
            r"HOLD: nothing is published since 20\S+ \S+ UTC, by .+: wrong fees\.", output
        )
        assert "HOLD and switches are as they were mirrored at 20" in output
        assert own.current in output
    assert "unchanged" in own.run("mirror", "--once").stdout
    # HOLD alone changes: CURRENT stays
    assert own.run("snapshots", "resume").exit_code == 0
    assert "HOLD, a switch or which decisions act has changed since" in own.run("mirror").stdout
    assert rows(own.run("mirror", "--dry-run").stdout)["snapshots"][-1] == "1"
    assert f"published {own.current}: 1 documents written" in own.run("mirror", "--once").stdout
    assert "HOLD" not in remote(own)
    assert own.run("mirror").stdout.endswith("CURRENT      is what is mirrored\n")


def test_values_that_are_only_noted_are_not_said_to_act_from_afar(
    own: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = "Engines of paper only note size, offset and policy"
    assert "only note" not in remote(own, "BTCUSDT")
    monkeypatch.setenv("EXECINTEL_APPLY", "none")
    assert noted not in remote(own, "BTCUSDT")  # what counts is set at the desk that mirrors
    assert own.run("mirror", "--once").exit_code == 0
    monkeypatch.delenv("EXECINTEL_APPLY")
    output = remote(own, "BTCUSDT")
    assert noted in output
    monkeypatch.setenv("EXECINTEL_APPLY", "none")
    local = own.run("show", "BTCUSDT").stdout
    assert line_of(output, "BTCUSDT") == line_of(local, "BTCUSDT")
    monkeypatch.setenv("EXECINTEL_APPLY", "size")
    assert own.run("mirror", "--once").exit_code == 0
    assert "Engines of paper only note offset and policy" in remote(own)


def test_a_mirror_that_does_not_tell_what_acts_is_not_guessed_at(own: Desk) -> None:
    from google.cloud.firestore import DELETE_FIELD

    current = get_client().document("hedge/dev/snapshots/current")
    current.update(dict.fromkeys(("origin", "applied", "hold", "switches"), DELETE_FIELD))
    output = remote(own, "BTCUSDT")
    assert line_of(output, "BTCUSDT").endswith(
        ", whether engines act on these values is not known here"
    )
    assert "The mirror does not tell on which decisions engines act" in output
    assert "act on these values," not in output
    found = json.loads(remote(own, "BTCUSDT", "--format", "json"))
    assert found["risk"]["toggle_active"] is None


def test_switches_are_the_same_from_afar(own: Desk) -> None:
    own.run("disable", "BTCUSDT", "--reason", "delisted")
    own.run("reduce-only", "--reason", "drill")
    assert own.run("mirror", "--once").exit_code == 0
    for symbol in ("BTCUSDT", "ETHUSDT"):
        there = remote(own, symbol, "--format", "json")
        local = own.run("show", symbol, "--format", "json").stdout
        assert json.loads(there) == json.loads(local)
    output = remote(own, "BTCUSDT")
    assert re.match(r"REDUCE-ONLY since 20.*: drill\. Engines only reduce", output)
    assert "BTCUSDT is switched off until execintel enable: delisted" in output
    assert line_of(output, "BTCUSDT").endswith("but reduce-only stands: engines only reduce")
    assert "warning     symbol_disabled" in output
    own.run("resume")
    assert own.run("mirror", "--once").exit_code == 0
    assert line_of(remote(own, "BTCUSDT"), "BTCUSDT").endswith(
        "but BTCUSDT is switched off: engines only close what they hold of it"
    )


def test_generated_data_is_told_as_such_from_afar(
    desk: Desk, firestore: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_HOME", str(desk.home))
    monkeypatch.setenv("EXECINTEL_ORIGIN", "demo")
    desk.write(*(attempt(n) for n in (1, 2, 3)))
    assert desk.refresh().exit_code == 0
    assert desk.run("mirror", "--once").exit_code == 0
    monkeypatch.delenv("EXECINTEL_ORIGIN")
    output = remote(desk, "BTCUSDT")
    assert "environment  paper, window of 7 days, generated demo data" in output
    assert "stale" not in output  # old by nature
    assert line_of(output, "BTCUSDT") == line_of(desk.run("show", "BTCUSDT").stdout, "BTCUSDT")
    assert "BTCUSDT: when this snapshot was new: insufficient" in output
    there = remote(desk, "BTCUSDT", "--format", "json")
    local = desk.run("show", "BTCUSDT", "--format", "json").stdout
    assert json.loads(there) == json.loads(local)
