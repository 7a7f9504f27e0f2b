"""`execintel doctor`: one look at everything, exit code 1 when something needs a person."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import Result

from features.settings import Settings
from features.snapshot import Store
from live.trading.controls import Controls
from pipelines import alerts
from pipelines.commands import common
from pipelines.refresh import Refresh
from tests.pipelines.commands.desk import Desk, enter
from tests.pipelines.commands.desk import attempt as attempt_line

Line = Callable[..., str]


def _refresh_now(desk: Desk) -> None:
    result = desk.run("refresh", "--logs", str(desk.logs))
    assert result.exit_code == 0, result.output


def _read_alone() -> None:
    """Read what is new into the lake, and build nothing of it."""
    run = Refresh(Settings())
    try:
        run.prepare()
        run.read()
    finally:
        run.close()


def _plant_alert(desk: Desk, severity: str) -> None:
    """Have CURRENT hold one alert, as a required source that fell silent would."""
    _plant(
        desk,
        "INSERT INTO feat_ops__alerts BY NAME SELECT 'source_stale' AS rule,"
        f" 'raw_x' AS subject, 'open' AS status, '{severity}' AS severity, 1 AS n,"
        " 1e0 AS value, 0e0 AS threshold,"
        " 1000 AS since_ms, 'raw_x: silent.' AS text",
    )


def _plant(desk: Desk, sql: str) -> None:
    database = desk.home / "snapshots" / desk.current / "features.duckdb"
    database.chmod(0o644)
    with duckdb.connect(str(database)) as con:
        con.execute(sql)


@pytest.fixture(scope="module")
def healthy(shared_desk: Desk) -> Desk:
    """Publish one snapshot; only ever copied."""
    ago_s = time.time() - 600
    shared_desk.write(attempt_line(1, ts=ago_s), attempt_line(2, ts=ago_s + 60))
    _refresh_now(shared_desk)
    return shared_desk


@pytest.fixture
def published(healthy: Desk, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Make a healthy desk: logs configured, one snapshot just published."""
    shutil.copytree(healthy.home, desk.home, dirs_exist_ok=True)
    shutil.copytree(healthy.logs, desk.logs)
    monkeypatch.setenv("EXECINTEL_LOG_DIR", str(desk.logs))
    return desk


def test_nothing_configured_needs_a_person(desk: Desk) -> None:
    result = desk.run("doctor")
    assert result.exit_code == 1
    assert "no log folder is configured: set EXECINTEL_LOG_DIR" in result.stdout
    assert not desk.home.exists()  # looking changes nothing


def test_a_healthy_desk_is_told_so(published: Desk) -> None:
    result = published.run("doctor")
    assert result.exit_code == 0, result.stdout
    assert "healthy: nothing needs a person" in result.stdout
    assert "EXECINTEL_LOG_DIR" in result.stdout
    assert published.current in result.stdout
    assert "format 1" in result.stdout
    assert "history: 1 publication since" in result.stdout
    assert "lake/hist_features" in result.stdout


def test_a_misspelt_setting_is_noted_with_what_is_meant(
    published: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_WINDOWDAYS", "3")
    monkeypatch.setenv("EXECINTEL_VENUE_KEY", "of a venue")  # no setting, but known
    text = published.run("doctor").stdout
    assert "EXECINTEL_WINDOWDAYS is no setting: perhaps EXECINTEL_WINDOW_DAYS is meant" in text
    assert "EXECINTEL_VENUE_KEY" not in text


def test_a_misspelt_source_of_a_freshness_rule_needs_a_person(
    published: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_FRESHNESS", '{"raw_order__attempts": {"required": true}}')
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "raw_order__attempts]: no such source: perhaps raw_orders__attempts" in result.stdout


def test_unclaimed_files_are_noted(published: Desk) -> None:
    (published.logs / "metrics.txt").write_text("x")
    (published.logs / "risk_vetoes.csv").write_text("x")  # vetoes are read as .jsonl
    result = published.run("doctor")
    assert result.exit_code == 0
    assert "metrics.txt: no kind claims it" in result.stdout
    assert "risk_vetoes.csv: no kind claims it" in result.stdout


def test_what_execintel_writes_itself_beside_its_logs_is_not_noted(
    published: Desk, bars_1m: Path
) -> None:
    bars = ("--bars", str(bars_1m))
    commands = [
        ("backtest", "--symbols", "btcusdt", *bars, "--end", "2025-05-05", "--seed", "7",
         "--log-level", "ERROR"),
        ("audit", "--symbols", "BTCUSDT", "--strategies", "intraday", *bars, "--end", "2025-05-05"),
    ]  # fmt: skip
    program = (
        "from pipelines.cli import app; from typer.testing import CliRunner;"
        f" print([CliRunner().invoke(app, words).exit_code for words in {commands}])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "[0, 0]", ended.stderr
    written = {path.name for path in (published.home / "analytics").rglob("*.json")}
    assert written == {"backtest.json", "audit.json"}
    (published.home / "analytics" / "notes.json").write_text("{}")
    told = published.run("doctor").stdout
    assert re.findall(r"(\S+): no kind claims it", told) == [
        str(published.home / "analytics" / "notes.json")
    ]


def test_a_problem_with_a_file_needs_a_person(published: Desk) -> None:
    (published.logs / "orders_executed.jsonl").symlink_to("nowhere")
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "orders_executed.jsonl: a link to nowhere, which " in result.stdout


def test_lines_that_wait_for_their_newline_for_long_are_noted(published: Desk) -> None:
    line = attempt_line(3, ts=time.time() - 500).encode()
    half = attempt_line(4, ts=time.time() - 900).encode()[:-1]
    paths = {
        "order_metrics.jsonl": line[:-1],  # may still be written: not told
        "order_metrics.jsonl.1": half,
        "old/order_metrics.jsonl.2.gz": gzip.compress(line + b'{"ts": 17'),
    }
    for name, content in paths.items():
        path = published.logs / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        if name != "order_metrics.jsonl":
            os.utime(path, (1_700_000_000, 1_700_000_000))
    _read_alone()
    told = published.run("doctor").stdout.split("note: ")[1:]
    first, second = (" ".join(note.split()) for note in told if "without a newline" in note)
    assert f"order_metrics.jsonl.1 ends in {len(half)} bytes without a newline" in first
    assert "order_metrics.jsonl.2.gz ends in 9 bytes without a newline since 2023-11-14" in second
    with (published.logs / "order_metrics.jsonl.1").open("ab") as file:
        file.write(b"\n")
    _read_alone()
    assert published.run("doctor").stdout.count("without a newline") == 1


def test_a_log_that_cannot_be_opened_needs_a_person_and_is_named_once(repository: Path) -> None:
    """Run as a user without rights, in a process of its own: root may read everything."""
    script = textwrap.dedent(
        """
        import os, tempfile, time
        from pathlib import Path
        import pytest
        from tests.pipelines.commands.desk import attempt, enter

        with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
            os.chmod(root, 0o755)
            os.umask(0o022)
            patch.setenv("EXECINTEL_LOG_DIR", root + "/logs")
            desk = enter(Path(root), patch)
            ago_s = time.time() - 600
            desk.write(attempt(1, ts=ago_s), attempt(2, ts=ago_s + 60))
            assert desk.run("refresh").exit_code == desk.run("doctor").exit_code == 0
            desk.write(attempt(3, ts=ago_s), name="order_metrics.1.jsonl")
            (desk.logs / "order_metrics.1.jsonl").chmod(0)
            if os.geteuid() == 0:
                for path in (desk.home, *desk.home.rglob("*")):
                    os.chown(path, 65534, 65534)
                os.seteuid(65534)
            for word in ("refresh", "doctor"):
                result = desk.run(word)
                print(word, result.exit_code, result.output.replace(root, ""))
            if os.getuid() == 0:
                os.seteuid(0)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    what = "cannot be opened: Permission denied; give this user permission to read it\n"
    assert f"problem: /logs/order_metrics.1.jsonl: {what}" in done.stdout
    assert f"1 to mend:\n- /logs/order_metrics.1.jsonl: {what}" in done.stdout
    assert "refresh 0 " in done.stdout
    assert "doctor 1 " in done.stdout


def test_a_schedule_that_stopped_needs_a_person(
    published: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = common.now_ms()
    monkeypatch.setattr(common, "now_ms", lambda: now_ms + 3_600_000)
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "the last build is 1 h" in result.stdout


def test_a_damaged_table_of_the_lake_needs_a_person(published: Desk) -> None:
    log = published.home / "lake" / "raw_risk__vetoes" / "_delta_log"
    for entry in log.iterdir():
        entry.write_bytes(b"no json")
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "raw_risk__vetoes is no whole Delta table" in result.stdout


def test_a_broken_current_needs_a_person(published: Desk) -> None:
    database = published.home / "snapshots" / published.current / "features.duckdb"
    database.write_bytes(b"no database")
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "CURRENT cannot be opened" in result.stdout
    assert "execintel snapshots rollback" in result.stdout


def test_a_damaged_manifest_needs_a_person(published: Desk) -> None:
    manifest = published.home / "snapshots" / published.current / "manifest.json"
    manifest.write_text(manifest.read_text()[:100])
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "is damaged" in result.stdout


@pytest.fixture(scope="module")
def judged(healthy: Desk, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Any]:
    """Publish once more, with a rejected line and a required source.

    Returns what doctor says of it, and its manifest.
    """
    folder = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        desk = enter(folder, patch)
        shutil.copytree(healthy.home.parent, folder, dirs_exist_ok=True)
        patch.setenv("EXECINTEL_LOG_DIR", str(desk.logs))
        required = {"raw_router__events": {"required": True, "max_silence_s": 3600}}
        patch.setenv("EXECINTEL_FRESHNESS", json.dumps(required))
        desk.write(attempt_line(3, symbol="", ts=time.time() - 300))
        _refresh_now(desk)
        manifest = desk.home / "snapshots" / desk.current / "manifest.json"
        return desk.run("doctor"), json.loads(manifest.read_text())


def test_warnings_of_current_are_repeated_with_their_examples(judged: tuple[Result, Any]) -> None:
    result, warned = judged
    (check,) = [c for c in warned["checks"] if c["name"] == "raw_lines_rejected"]
    assert check["rows"] == 1
    assert result.exit_code == 0
    assert "check raw_lines_rejected of CURRENT, 1 row:" in result.stdout
    assert check["examples"][0] in result.stdout


def test_a_current_of_the_past_needs_a_person_though_it_was_just_built(
    desk: Desk, attempt: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_LOG_DIR", str(desk.logs))
    desk.write(attempt(1))
    desk.refresh()  # as of 2025-11-06
    result = desk.run("doctor")
    assert result.exit_code == 1
    assert "CURRENT is stale: its as-of is " in result.stdout
    assert "allowed are 15 min; engines open nothing and only reduce by it" in result.stdout
    assert "These are old logs, their newest line is of 2025-11-05 " in result.stdout
    assert "makes one of now" not in result.stdout  # it would be empty
    shown = desk.run("show").stdout
    assert "execintel refresh would find nothing in its window of 7 days" in shown
    assert "refresh makes a new one" not in shown

    log = desk.home / "lake" / "raw_router__events" / "_delta_log"
    kept = {entry: entry.read_bytes() for entry in log.iterdir() if entry.is_file()}
    for entry in kept:
        entry.write_bytes(b"no json")
    damaged = desk.run("doctor").stdout
    assert "raw_router__events is no whole Delta table" in damaged
    assert "- CURRENT is stale" in damaged
    assert f"snapshot     {desk.current}" in desk.run("show").stdout  # it needs no lake
    for entry, was in kept.items():
        entry.write_bytes(was)

    desk.write(attempt(2))  # whatever it says, the executor is alive
    alive = desk.run("doctor").stdout
    assert "old logs" not in alive
    assert "execintel refresh without --as-of makes one of now" in alive

    manifest = desk.home / "snapshots" / desk.current / "manifest.json"
    manifest.chmod(0o644)
    words = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**words, "origin": "demo"}))
    demo = desk.run("doctor")
    assert "note: CURRENT is stale" in demo.stdout
    assert "- CURRENT is stale" not in demo.stdout


@pytest.mark.parametrize("word", ["kill", "reduce-only"])
def test_a_switch_of_a_person_is_to_mend_until_it_is_ended(published: Desk, word: str) -> None:
    published.run(word, "--reason", "venue trouble")
    result = published.run("doctor")
    assert result.exit_code == 1
    assert f"1 to mend:\n- {word.upper()} since 20" in result.stdout
    assert ": venue trouble. Engines " in result.stdout
    assert "execintel resume ends it" in result.stdout
    assert "healthy" not in result.stdout
    published.run("resume")
    assert published.run("doctor").exit_code == 0


def test_a_symbol_that_is_switched_off_is_noted(published: Desk) -> None:
    published.run("disable", "BTCUSDT", "--reason", "news")
    result = published.run("doctor")
    assert result.exit_code == 0, result.stdout
    assert "note: BTCUSDT is switched off until execintel enable: news" in result.stdout


def test_a_halt_of_the_engine_and_a_torn_switch_need_a_person(published: Desk) -> None:
    folder = published.home / "control"
    Controls(folder).halt("drawdown of 6 %", now_ms=1_000)
    halted = published.run("doctor")
    assert halted.exit_code == 1
    assert "- HALT since 1970-01-01 00:00:01 UTC, by engine: drawdown of 6 %." in halted.stdout
    (folder / "controls.json").write_text("{")
    torn = published.run("doctor")
    assert torn.exit_code == 1
    assert "- KILL, by nobody named: " in torn.stdout
    assert "cannot be read" in torn.stdout


def test_what_the_logs_leave_out_is_said_in_words(published: Desk) -> None:
    unseen = published.run("doctor").stdout
    assert (
        "note: account default is unknowable: the logs explain an unknown share of its NAV change "
        "(n = 0 NAV values); no change of position was seen; a size above 1 needs 95.0 % of each. "
        "No NAV is logged: "
    ) in unseen
    _plant(
        published,
        "UPDATE feat_account__coverage SET status = 'incomplete', n = 655, coverage = 0.1617,"
        " pnl_explained_lo = 0.58954590865, pnl_explained_hi = 0.58954590865,"
        " position_explained_ratio = 0.1617, position_change_n = 599,"
        " likely_cause = 'unknown_order' WHERE day = '*'",
    )
    told = published.run("doctor").stdout
    assert (
        "note: account default is incomplete: the logs explain 58.9 % of its NAV change "
        "(n = 655 NAV values) and 16.1 % of its position changes (n = 599); a size above 1 "
        "needs 95.0 % of each. Probably missing: orders whose end nobody logged; let the executor "
        "log how every order ended. execintel reconcile lists each"
    ) in told
    assert "pnl_explained" not in told


@pytest.mark.parametrize(
    ("values", "said"),
    [
        # both shares are enough, yet NAV was seen for a small part of the time
        (
            "n = 2, pnl_explained_lo = 1, pnl_explained_hi = 1, position_explained_ratio = 1,"
            " position_change_n = 3",
            "100.0 % of its position changes (n = 3); a size above 1 needs 95.0 % of each. Its NAV "
            "values span too little",
        ),
        # nothing moved: there is no share of it
        (
            "n = 2, pnl_explained_lo = 0.9499999, pnl_explained_hi = 0.9499999,"
            " position_explained_ratio = NULL, position_change_n = 0",
            "explain 94.9 % of its NAV change (n = 2 NAV values); no change of position was seen; "
            "a size above 1 needs 95.0 % of each. 2 orders and no change of position stand in the "
            "logs: let the executor write position_state.jsonl. execintel reconcile shows it by "
            "day",
        ),
        # positions imply what two lost closes earned
        (
            "n = 2, pnl_explained_lo = 1.0, pnl_explained_hi = 1.0, position_change_n = 3,"
            " position_explained_ratio = 1.0, pnl_missing_n = 2, pnl_missing_usd = -6.5",
            "100.0 % of its position changes (n = 3), and lack the PnL of 2 of them (-6.50 USD); "
            "a size above 1 needs",
        ),
        # NAV is logged, and none of it is credible
        (
            "n = 0, nav_rejected_n = 2, pnl_explained_lo = NULL, pnl_explained_hi = NULL,"
            " position_explained_ratio = NULL, position_change_n = 0",
            "All NAV values were refused (2: 0, or far from the day's median)",
        ),
        (
            "n = 0, nav_rejected_n = 0, pnl_explained_lo = NULL, pnl_explained_hi = NULL,"
            " position_explained_ratio = NULL, position_change_n = 0",
            "No NAV is logged",
        ),
    ],
)
def test_an_account_that_cannot_be_known_is_told_why(
    published: Desk, values: str, said: str
) -> None:
    _plant(
        published,
        "UPDATE feat_account__coverage SET status = 'unknowable', coverage = NULL,"
        " nav_change_usd = 9, unrealized_first_usd = 0, unrealized_last_usd = 0,"
        f" likely_cause = NULL, {values} WHERE day = '*'",
    )
    assert said in published.run("doctor").stdout


def test_sources_say_whether_they_are_required(
    judged: tuple[Result, Any], published: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = judged[0].stdout
    assert re.search(r"raw_router__events +● ok, required", told)
    assert re.search(r"raw_risk__vetoes +▲ missing, optional", told)
    assert "note: raw_risk__vetoes has no line in the window; it is optional" in told
    assert "no source is required" not in told

    (advice,) = re.findall(
        r"no source is required, .* EXECINTEL_FRESHNESS='(.*)'", published.run("doctor").stdout
    )
    monkeypatch.setenv("EXECINTEL_FRESHNESS", advice)
    assert Settings().freshness["raw_router__events"].required


def test_critical_alerts_need_a_person_until_they_are_acknowledged(published: Desk) -> None:
    _plant_alert(published, "critical")
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "- critical alert source_stale raw_x, open since 1970-01-01" in result.stdout
    assert "execintel alerts list" in result.stdout
    alert = alerts.Alert("source_stale", "raw_x", "critical", "", 1000)
    alerts.acknowledge(published.home, alert, now_ms=2000, by="me")
    assert published.run("doctor").exit_code == 0


def test_a_lost_log_of_publications_needs_a_person_until_it_is_restored(published: Desk) -> None:
    log = published.home / "snapshots" / "published.jsonl"
    kept = log.read_bytes()
    log.unlink()
    result = published.run("doctor")
    assert result.exit_code == 1
    assert "published.jsonl is not the log whose first" in result.stdout
    assert "history: 1 publication since" in result.stdout
    log.write_bytes(kept)
    assert published.run("doctor").exit_code == 0


def test_a_warning_alone_needs_nobody(published: Desk) -> None:
    _plant_alert(published, "warning")
    assert published.run("doctor").exit_code == 0


def test_alerts_that_nobody_has_seen_are_counted(published: Desk) -> None:
    there = alerts.open_alerts(Store(published.home / "snapshots"))
    assert [each.severity for each in there] == ["warning"]  # no NAV is logged
    _plant_alert(published, "warning")
    result = published.run("doctor")
    assert "note: 2 open alerts below critical that nobody has seen: execintel alerts" in (
        result.stdout
    )
    assert "healthy: nothing needs a person" in result.stdout
    planted = alerts.Alert("source_stale", "raw_x", "warning", "", 1000)
    alerts.acknowledge(published.home, planted, now_ms=2000, by="me")
    assert "note: 1 open alert below critical that" in published.run("doctor").stdout
    alerts.acknowledge(published.home, there[0], now_ms=2000, by="me")
    assert "nobody has seen" not in published.run("doctor").stdout
    _plant_alert(published, "critical")  # to mend, and not counted twice
    assert "nobody has seen" not in published.run("doctor").stdout


def test_a_current_dated_ahead_needs_a_person(published: Desk) -> None:
    as_of = f"{common.when(common.now_ms() + 58_980_000)[:19].replace(' ', 'T')}Z"
    assert published.run("refresh", "--as-of", as_of).exit_code == 0
    result = published.run("doctor")
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("- CURRENT")]
    assert re.match(
        r"- CURRENT is stale: its as-of lies 16 h 2[12] min ahead of this machine's clock; engines "
        r"open nothing and only reduce by it\. Is the clock right\? Where it is, execintel refresh "
        r"--publish makes one of now, or execintel snapshots rollback --reason … goes back",
        line,
    )
    back = published.run("snapshots", "rollback", "--reason", "its as-of was mistyped")
    assert back.exit_code == 0
    assert "CURRENT is stale" not in published.run("doctor").stdout


def test_advice_under_hold_begins_with_a_resume(
    published: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.run("snapshots", "rollback", published.current, "--reason", "look at it")
    now_ms = common.now_ms()
    monkeypatch.setattr(common, "now_ms", lambda: now_ms + 3_600_000)
    monkeypatch.setenv("EXECINTEL_ENVIRONMENT", "testnet")
    told = published.run("doctor").stdout
    assert "running? execintel snapshots resume, then execintel refresh builds now" in told
    assert "or say execintel snapshots resume, then execintel refresh --publish" in told
    published.run("snapshots", "resume")
    told = published.run("doctor").stdout
    assert "running? execintel refresh builds now" in told
    assert "or say execintel refresh --publish" in told


def test_trading_stands_one_changed_value_a_row(
    published: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECINTEL_TRADING", '{"max_leverage": 3}')
    lines = published.run("doctor").stdout.splitlines()
    (row,) = [line for line in lines if line.startswith("trading")]
    assert row.split() == ["trading.max_leverage", "3.0", "EXECINTEL_TRADING"]
    table = lines[lines.index("") : lines.index("", 1)]
    assert max(map(len, table)) < 120 + len(str(published.logs))


def test_a_copied_root_that_reads_the_lake_of_its_original_is_noted(
    published: Desk, healthy: Desk
) -> None:
    words = f"read from {healthy.home / 'lake'}, for this data root was copied"
    said = published.run("doctor")
    assert said.exit_code == 0
    assert words in said.stdout
    assert published.run("snapshots", "relocate", str(published.home / "lake")).exit_code == 0
    assert words not in published.run("doctor").stdout
