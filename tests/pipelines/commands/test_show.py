"""`execintel show`: unknown is a dash, every estimate stands with its n, a hold comes first."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from typing import Any

import duckdb
import pytest

from features import snapshot
from features.snapshot import Store
from features.words import on_other_environment
from pipelines.commands import common, show
from tests.loads import keep_aside, put_back
from tests.pipelines.commands.desk import Desk, attempt, enter


@pytest.fixture(scope="module")
def published(shared_desk: Desk) -> Desk:
    """Publish three fills of BTCUSDT and one ETHUSDT order that nobody looked at again."""
    unknown = {
        "prices": {"mark": 10.0, "submitted": 10.0, "avg_fill": 0.0},
        "result": {"status": "NEW", "retries": 0, "cancelled": False},
        "slippage_bps": -10000.0,
    }
    shared_desk.write(*(attempt(n) for n in (1, 2, 3)), attempt(4, "ETHUSDT", **unknown))
    assert shared_desk.refresh().exit_code == 0
    return shared_desk


@pytest.fixture(scope="module")
def two_aside(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Publish one attempt, then two, and keep both snapshots aside."""
    folder = tmp_path_factory.mktemp("two") / "desk"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        desk = enter(folder, patch)
        for n in (1, 2):
            desk.write(attempt(n))
            assert desk.refresh().exit_code == 0
    keep_aside(folder)
    return desk


@pytest.fixture
def two(two_aside: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Go to the two snapshots, put back where they were."""
    folder = two_aside.home.parent
    put_back(folder)
    return enter(folder, monkeypatch)


def row(output: str, first: str) -> list[str]:
    """Return the cells of the first table row that begins with ``first``."""
    for line in output.splitlines():
        cells = re.split(r"\s{2,}", line.strip())
        if cells[0] == first:
            return cells
    raise AssertionError(f"no row {first} in:\n{output}")


def test_header_says_what_the_snapshot_is_and_how_old(published: Desk) -> None:
    output = published.run("show").stdout
    assert f"snapshot     {published.current}" in output
    assert "as of        2025-11-06 00:00:00 UTC" in output
    assert "environment  paper, window of 7 days" in output
    assert "stale: older than 15 min; engines open nothing and only reduce" in output


def test_what_only_reads_a_snapshot_starts_without_heavy_libraries(published: Desk) -> None:
    """They take longer than all that such a command does."""
    heavy = {"dagster", "deltalake", "pandas", "polars", "pyarrow", "scipy"}
    commands = [
        ("show",),
        ("show", "BTCUSDT"),
        ("explain", "BTCUSDT"),
        ("sql", "SELECT 1"),
        ("snapshots", "list"),
        ("alerts", "list"),
        ("show", "BTCUSDT", "--snapshot", "none"),  # an error, too
    ]
    program = (
        "import sys; from pipelines.cli import app; from typer.testing import CliRunner;"
        f" codes = [CliRunner().invoke(app, words).exit_code for words in {commands}];"
        f" print(codes, {heavy} & set(sys.modules))"
    )
    environment = {
        **os.environ,
        "EXECINTEL_HOME": str(published.home),
        "EXECINTEL_SNAPSHOT_MAX_AGE_S": str(100 * 366 * 86_400),  # of a stale one the lake is asked
    }
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert result.stdout.strip() == "[0, 0, 0, 0, 0, 0, 1] set()", result.stderr


def test_what_is_switched_off_is_said_before_any_number(published: Desk) -> None:
    published.run("kill", "--reason", "exchange incident")
    published.run("disable", "BTCUSDT", "--reason", "listing changed")
    try:
        output = published.run("show").stdout
    finally:
        published.run("resume")
        published.run("enable", "BTCUSDT")
    assert re.match(
        r"KILL since 20.*: exchange incident\. Engines cancel every order and open nothing", output
    )
    assert "BTCUSDT is switched off until execintel enable: listing changed" in output
    assert "switched off" not in published.run("show").stdout


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        (["kill"], "but kill stands: engines cancel every order and open nothing"),
        (["reduce-only"], "but reduce-only stands: engines only reduce"),
        (
            ["disable", "BTCUSDT"],
            "but BTCUSDT is switched off: engines only close what they hold of it",
        ),
    ],
)
def test_a_symbols_line_says_what_engines_do_under_a_switch(
    published: Desk, monkeypatch: pytest.MonkeyPatch, switch: list[str], words: str
) -> None:
    monkeypatch.setenv("EXECINTEL_SNAPSHOT_MAX_AGE_S", str(100 * 366 * 86_400))  # else stale
    published.run(*switch)
    try:
        output = published.run("show", "BTCUSDT").stdout
        other = published.run("show", "ETHUSDT").stdout
    finally:
        published.run("resume")
        published.run("enable", "BTCUSDT")
    (line,) = [line for line in output.splitlines() if line.startswith("BTCUSDT: ")]
    assert line.endswith(words)
    assert "act on these values" not in line
    is_off = "but" in next(line for line in other.splitlines() if line.startswith("ETHUSDT: "))
    assert is_off == (switch[0] != "disable")  # a symbol's switch is of that symbol alone
    assert ", but" not in published.run("show", "BTCUSDT").stdout


def test_values_that_engines_only_note_are_not_said_to_act(
    published: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_SNAPSHOT_MAX_AGE_S", str(100 * 366 * 86_400))  # else stale
    monkeypatch.setenv("EXECINTEL_APPLY", "none")
    output = published.run("show", "BTCUSDT").stdout
    assert "Engines of paper only note size, offset and policy: they trade each target" in output
    (line,) = [line for line in output.splitlines() if line.startswith("BTCUSDT: ")]
    assert line.endswith("insufficient, few samples: engines trade without it")
    assert "only note" in published.run("explain", "BTCUSDT").stdout
    monkeypatch.setenv("EXECINTEL_APPLY", "size,policy")
    output = published.run("show", "BTCUSDT").stdout
    assert "Engines of paper only note offset: they quote 2.00 bps from mid." in output
    assert "few samples: engines size at most 1.00" in output
    monkeypatch.setenv("EXECINTEL_APPLY", "all")
    assert "only note" not in published.run("show").stdout


def test_estimates_stand_with_their_n(published: Desk) -> None:
    cells = row(published.run("show").stdout, "BTCUSDT")
    assert cells[1:10] == ["3", "3", "0", "0", "1.00 (3)", "1.50", "2.00", "2.50", "3"]


def test_counts_that_add_up_are_said_to(published: Desk) -> None:
    output = published.run("show").stdout
    assert "4 attempts = 3 fills + 0 not filled + 1 unknown. 0 closes " in output
    assert "0 round trips: the closes of a position until it is flat or turns around" in output
    assert "attempts =" not in published.run("show", "BTCUSDT").stdout


def test_what_is_before_fees_is_called_gross_and_net_needs_every_fee(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A: 2 fills and a lone close, 3 fees known; B: a fee is unknown, so its net would be best case
    with duckdb.connect() as con:
        con.execute(
            "CREATE TABLE feat_router__effectiveness AS FROM (VALUES ('A', 2), ('B', 2)) v(symbol,"
            " fill_n)"
        )
        con.execute(
            "CREATE TABLE feat_symbol__performance AS SELECT *, 0.01::DOUBLE AS return_mean,"
            " NULL AS return_lo95, NULL AS return_hi95, 1 AS round_trip_n, NULL AS sharpe_7d"
            " FROM (VALUES ('A', 1, 5.0, 1.5, 3, 1, 3.5), ('B', 1, 5.0, 1.0, 1, 0, 4.0))"
            " v(symbol, n, realized_pnl_usd, fees_usd, fees_known_n, close_only_n, net_pnl_usd)"
        )
        show._trading(con, None)
    output = capsys.readouterr().out
    assert "Trading. Before fees: gross, mean return" in output
    assert row(output, "A")[2:6] == ["5.00", "1.50 (3)", "3.50", "100.0 (1)"]
    assert row(output, "B")[2:6] == ["5.00", "1.00 (1)", "–", "100.0 (1)"]


def test_mean_return_and_expectancy_have_names_of_their_own(published: Desk) -> None:
    output = published.run("show", "BTCUSDT").stdout
    assert output.count("mean return (n)") == output.count("exp (n)") == 1
    assert "exp: expectancy, PnL before fees per notional" in output


def test_a_router_label_says_of_how_many_attempts_the_end_is_known(published: Desk) -> None:
    output = published.run("show").stdout.partition("Acting.")[2]
    assert row(output, "BTCUSDT")[3] == "unknown (3 of 3)"
    assert row(output, "ETHUSDT")[3] == "unknown (0 of 1)"


def test_a_label_that_waits_is_said_to(published: Desk) -> None:
    output = published.run("show").stdout
    assert row(output, "BTCUSDT")
    assert "a better label waits for a second snapshot; execintel explain SYMBOL" in output


def test_an_unknown_symbol_is_refused_before_anything_is_shown(published: Desk) -> None:
    assert published.run("show", "DOGEUSDT").stdout == ""


def test_unknown_is_a_dash_never_zero(published: Desk) -> None:
    cells = row(published.run("show").stdout, "ETHUSDT")
    # one attempt of unknown end, which no position confirms: no ratio, no slippage
    assert cells[1:10] == ["1", "0", "1", "0", "– (0)", "–", "–", "–", "0"]


def test_a_symbol_shows_its_24_hours(published: Desk) -> None:
    output = published.run("show", "btcusdt").stdout
    assert "ETHUSDT" not in output
    assert row(output, "10")[1:4] == ["3", "3", "300"]  # 10:54 to 10:56 UTC
    assert row(output, "23")[1:6] == ["0", "0", "–", "–", "– (0)"]
    assert (
        sum(bool(re.match(r" ?\d\d  ", line)) for line in output.splitlines()) == 48
    )  # results and slippage


def test_an_unknown_symbol_names_those_there_are(published: Desk) -> None:
    result = published.run("show", "DOGEUSDT")
    assert result.exit_code == 1
    assert "DOGEUSDT is not in this snapshot; there are: BTCUSDT, ETHUSDT" in result.stderr


def test_an_earlier_snapshot_is_shown_by_its_id_and_a_hold_comes_first(two: Desk) -> None:
    first = Store(two.home / "snapshots").ids()[0]
    earlier = two.run("show", "--snapshot", first).stdout
    assert f"{first} (not CURRENT)" in earlier
    assert row(earlier, "BTCUSDT")[1] == "1"
    assert row(two.run("show").stdout, "BTCUSDT")[1] == "2"

    two.run("snapshots", "rollback", "--reason", "fees are wrong")

    assert re.match(r"HOLD: .* fees are wrong", two.run("show").stdout)


def test_a_snapshot_without_live_values_still_shows_its_tables(two: Desk) -> None:
    (two.home / "snapshots" / two.current / "live.jsonl").unlink(missing_ok=True)
    output = two.run("show", "BTCUSDT").stdout
    assert "no health: " in output
    assert row(output, "BTCUSDT")[1] == "2"
    result = two.run("show", "BTCUSDT", "--format", "json")
    assert result.exit_code == 1
    assert "live.jsonl" in result.stderr


def test_json_of_a_symbol_that_is_not_there_names_those_there_are(published: Desk) -> None:
    result = published.run("show", "DOGEUSDT", "--format", "json")
    assert result.exit_code == 1
    assert "there are: BTCUSDT, ETHUSDT" in result.stderr


@pytest.mark.parametrize(
    ("sizing", "words"),
    [
        (
            {"pnl_coverage": 0.1619, "coverage_status": "incomplete"},
            "logs explain 16.1 % of the account's PnL and position changes (the lower), incomplete",
        ),
        # PnL at its lower bound: the share is what it is at least
        (
            {"pnl_coverage": 0.59, "coverage_status": "unknowable"},
            "logs explain at least 59.0 % of the account's PnL and position changes",
        ),
        ({"pnl_coverage": None}, "logs explain an unknown share of the account's PnL"),
    ],
)
def test_coverage_says_what_it_is_a_share_of(sizing: dict[str, Any], words: str) -> None:
    from pipelines.commands.health import coverage_line

    assert coverage_line(sizing).startswith(words)


def test_a_current_dated_ahead_is_stale_and_says_what_to_do(desk: Desk) -> None:
    desk.write(attempt(1, ts=time.time() - 600))
    assert desk.run("refresh", "--logs", str(desk.logs)).exit_code == 0
    for ahead_s, does in (
        (1_800, "engines size at most 1.00 and quote at least 2.00 bps"),  # under four times 15 min
        (58_980, "engines open nothing and only reduce"),
    ):
        as_of = common.when(common.now_ms() + 1000 * ahead_s)[:19].replace(" ", "T")
        assert desk.run("refresh", "--logs", str(desk.logs), "--as-of", as_of).exit_code == 0
        for words in (["show"], ["show", "BTCUSDT"], ["explain", "BTCUSDT"]):
            output = desk.run(*words).stdout
            assert re.search(
                r"^as of .* UTC, \d+ .*min.* ahead of this machine's clock$", output, re.M
            )
            assert f"stale: its as-of lies ahead of this machine's clock; {does}. Is the" in output
            assert "execintel refresh --publish makes one of now" in output
            assert "execintel snapshots rollback --reason" in output
            assert "snapshots resume" not in output
            assert "older than" not in output
    desk.run("snapshots", "rollback", desk.current, "--reason", "look at it")
    assert (
        "execintel snapshots resume, then execintel refresh --publish makes one of now"
        in desk.run("show").stdout
    )
    desk.run("snapshots", "resume")
    # What it says mends it.
    assert desk.run("refresh", "--logs", str(desk.logs), "--publish").exit_code == 0
    assert "stale" not in desk.run("show").stdout


def test_under_hold_what_makes_a_newer_snapshot_begins_with_a_resume(
    two: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_LOG_DIR", str(two.logs))
    two.run("snapshots", "rollback", "--reason", "fees are wrong")
    two.write(attempt(3, ts=time.time()))  # the executor is alive
    advice = "execintel snapshots resume, then execintel refresh"
    assert f"and only reduce. {advice} makes a new one" in two.run("show").stdout
    assert f"{advice} without --as-of makes one of now" in two.run("doctor").stdout
    two.run("snapshots", "resume")
    assert "and only reduce. execintel refresh makes a new one" in two.run("show").stdout
    assert "by it. execintel refresh without --as-of makes" in two.run("doctor").stdout


def test_a_current_of_another_environment_is_said_to_be_refused(
    two: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Store(two.home / "snapshots").ids()[0]
    assert "refuse it" not in two.run("show").stdout
    monkeypatch.setenv("EXECINTEL_ENVIRONMENT", "testnet")
    refused = on_other_environment("paper", "testnet")
    assert refused.startswith("This snapshot is of environment paper, configured is testnet: ")
    for words in (["show"], ["explain", "BTCUSDT"], ["reconcile"]):
        assert refused in two.run(*words).stdout
    assert "refuse it" not in two.run("show", "--snapshot", first).stdout  # no engine reads it
    two.run("snapshots", "rollback", "--reason", "look at it")
    held = on_other_environment("paper", "testnet", is_held=True)
    assert held in two.run("show").stdout


def test_a_snapshot_that_was_collected_says_where_its_decisions_are_seen(
    two: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(two.home / "snapshots")
    first, second = store.ids()
    monkeypatch.setattr(snapshot, "_KEPT_WHOLE", 1)
    monkeypatch.setattr(snapshot, "_KEPT_DAILY_DAYS", -1)
    assert store.collect_garbage(common.now_ms()) == [first]
    gone = f"snapshot {first} is kept no longer. What it decided is still shown by "
    for words in (["show"], ["show", "BTCUSDT"], ["explain", "BTCUSDT"], ["sql", "SELECT 1"],
                  ["reconcile"]):  # fmt: skip
        result = two.run(*words, "--snapshot", first)
        assert result.exit_code == 1, words
        assert gone in result.stderr
        assert result.stdout == ""
    moment = re.search(r"execintel asof SYMBOL (\S+) and by the page Playback", result.stderr)
    assert moment is not None
    assert f"the page Playback (execintel dashboard) at {moment[1]}" in result.stderr
    found = json.loads(two.run("asof", "BTCUSDT", moment[1], "--format", "json").stdout)
    assert found["snapshot_id"] == first
    assert found["engine"]["status"] == "stale"
    # A beginning that a kept one has too means that one.
    assert first[:16] == second[:16]
    assert second in two.run("show", "--snapshot", first[:16]).stdout

    shutil.rmtree(store.root / "archive")
    history_alone = two.run("show", "--snapshot", first).stderr
    assert f"execintel asof SYMBOL {moment[1]}" in history_alone
    assert "Playback" not in history_alone
    shutil.rmtree(two.home / "lake" / "hist_features")
    nothing = two.run("show", "--snapshot", first).stderr
    assert f"is called or begins with {first}" in nothing
    assert "is called or begins with none" in two.run("show", "--snapshot", "none").stderr
