"""Alerts reach a person once, delivery never delays a refresh for long, silence can be noticed."""

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from features.acknowledgements import acknowledged
from features.build import Built, CheckResult
from features.settings import Settings
from features.snapshot import Hold, Store
from pipelines.alerts import Alert, acknowledge, deliver, publication_alerts
from pipelines.cli import app
from pipelines.demo.example_traces import write_example_traces
from pipelines.refresh import RefreshReport, refresh
from tests.waiting import wait_until

# Apprise imports a module that Python 3.13 drops; it does without it there.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
NOW_MS = 1_763_000_000_000
HOUR_MS = 3_600_000
STALE = Alert("source_stale", "raw_router__events", "warning", "silent for 30 h", NOW_MS)
BROKEN = Alert("router_broken", "BTCUSDT", "critical", "the router is broken", NOW_MS)


@dataclass
class Service:
    """A web service on this machine that keeps what it is sent, or hangs."""

    port: int
    got: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    hangs: threading.Event = field(default_factory=threading.Event)
    freed: threading.Event = field(default_factory=threading.Event)
    status: int = 200

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/hook"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.got]


@pytest.fixture
def service() -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if found.hangs.is_set():
                found.freed.wait(20)
            if found.status == 200:
                found.got.append(json.loads(body))
            self.send_response(found.status)
            self.end_headers()

        def do_GET(self) -> None:
            found.calls.append(self.path)
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Service(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.freed.set()
    server.shutdown()
    server.server_close()
    thread.join()


def settings_of(home: Path, service: Service, **more: Any) -> Settings:
    # A first message loads half of Apprise: on a busy machine that takes its time.
    values = {"home": home, "alert_urls": [service.url], "alert_timeout_s": 60, **more}
    return Settings.model_validate(values)


def test_an_alert_is_told_once_and_that_it_is_over(tmp_path: Path, service: Service) -> None:
    settings = settings_of(tmp_path, service)
    for minute in range(3):
        found = deliver(settings, [STALE, BROKEN], now_ms=NOW_MS + minute * 300_000)
        assert found.problems == []
    assert len(service.got) == 1
    assert "2 opened" in service.got[0]["title"]
    assert "WARNING silent for 30 h" in service.got[0]["message"]
    assert service.got[0]["type"] == "failure"  # one of them is critical
    deliver(settings, [STALE], now_ms=NOW_MS + 900_000)
    assert "1 over" in service.got[1]["title"]
    assert service.got[1]["message"].startswith("over: router_broken BTCUSDT\nmessage ")
    deliver(settings, [STALE], now_ms=NOW_MS + 1_200_000)
    assert len(service.got) == 2


def test_what_comes_and_goes_is_told_again_after_an_hour_or_when_it_is_worse(
    tmp_path: Path, service: Service
) -> None:
    settings = settings_of(tmp_path, service)
    deliver(settings, [STALE], now_ms=NOW_MS)
    deliver(settings, [], now_ms=NOW_MS + 300_000)
    deliver(settings, [STALE], now_ms=NOW_MS + 600_000)
    assert len(service.got) == 2  # opened, over; back within the hour: quiet
    worse = replace(STALE, severity="critical")
    deliver(settings, [worse], now_ms=NOW_MS + 900_000)
    assert "1 opened" in service.titles[2]
    deliver(settings, [], now_ms=NOW_MS + 2 * HOUR_MS)
    deliver(settings, [STALE], now_ms=NOW_MS + 3 * HOUR_MS)
    assert [t.rpartition(": ")[2] for t in service.titles[3:]] == ["1 over", "1 opened"]


def test_what_came_back_quietly_is_told_when_the_hour_is_over(
    tmp_path: Path, service: Service
) -> None:
    settings = settings_of(tmp_path, service)
    minute = 60_000
    for at, alerts_ in ((0, [STALE]), (5, []), (10, [STALE]), (15, []), (20, [STALE])):
        deliver(settings, alerts_, now_ms=NOW_MS + at * minute)
    words = [t.rpartition(": ")[2] for t in service.titles]
    assert words == ["1 opened", "1 over"]  # what nobody was told of is not over either
    deliver(settings, [STALE], now_ms=NOW_MS + 65 * minute)
    assert "1 opened" in service.titles[2]  # it stayed: a person last heard that it was over
    deliver(settings, [STALE], now_ms=NOW_MS + 70 * minute)
    assert len(service.got) == 3


def test_what_is_acknowledged_or_minor_is_not_told(tmp_path: Path, service: Service) -> None:
    settings = settings_of(tmp_path, service, alert_min_severity="critical")
    acknowledge(tmp_path, BROKEN, now_ms=NOW_MS, by="ann")
    deliver(settings, [STALE, BROKEN], now_ms=NOW_MS)
    assert service.got == []
    again = replace(BROKEN, since_ms=NOW_MS + HOUR_MS)  # another time it opened
    deliver(settings, [again], now_ms=NOW_MS + HOUR_MS)
    assert len(service.got) == 1
    acknowledge(tmp_path, STALE, now_ms=NOW_MS, by="ann")
    deliver(settings, [again, replace(STALE, severity="critical")], now_ms=NOW_MS + HOUR_MS)
    assert len(service.got) == 2  # ann saw a warning, not this
    with (tmp_path / "alerts" / "acknowledged.jsonl").open("a") as file:
        file.write('{"key": "router_')  # torn: acknowledges nothing, hides nothing
    assert list(acknowledged(tmp_path)) == [
        ("router_broken BTCUSDT", NOW_MS),
        ("source_stale raw_router__events", NOW_MS),
    ]


def test_what_did_not_arrive_is_tried_again_for_that_address_alone(
    tmp_path: Path, service: Service
) -> None:
    dead = "json://127.0.0.1:1/hook"
    settings = settings_of(tmp_path, service, alert_urls=[dead, service.url])
    found = deliver(settings, [BROKEN], now_ms=NOW_MS)
    assert found.sent == 1
    assert found.problems == ["json://… did not take the alert; tried again next time"]
    service.status = 500
    deliver(settings, [STALE, BROKEN], now_ms=NOW_MS + 1)
    service.status = 200
    deliver(settings, [STALE, BROKEN], now_ms=NOW_MS + 2)
    assert [t.rpartition(": ")[2] for t in service.titles] == ["1 opened", "1 opened"]
    assert "silent" in service.got[1]["message"]


def test_a_service_that_hangs_delays_by_the_timeout_alone(tmp_path: Path, service: Service) -> None:
    settings = settings_of(tmp_path, service, alert_timeout_s=0.3)
    service.hangs.set()
    started = time.monotonic()
    found = deliver(settings, [BROKEN], now_ms=NOW_MS)
    assert time.monotonic() - started < 5
    assert found.sent == 0
    assert len(found.problems) == 1


def test_a_service_that_answers_late_is_not_told_again(tmp_path: Path, service: Service) -> None:
    settings = settings_of(tmp_path, service, alert_timeout_s=0.3)
    service.hangs.set()
    assert len(deliver(settings, [BROKEN], now_ms=NOW_MS).problems) == 1
    told = tmp_path / "alerts" / "told.json"
    before = told.read_text()
    service.hangs.clear()
    service.freed.set()  # now it takes the message
    wait_until("it is known to be told", lambda: told.read_text() != before)
    with FileLock(tmp_path / "alerts" / "told.lock", timeout=10):
        pass  # whoever wrote it has ended
    again = deliver(settings, [BROKEN], now_ms=NOW_MS + 300_000)
    assert (again.sent, again.problems, len(service.got)) == (0, [], 1)


def test_a_message_told_twice_is_known_by_its_id(tmp_path: Path, service: Service) -> None:
    settings = settings_of(tmp_path, service)
    for alert in (BROKEN, BROKEN, STALE):  # as by processes that ended before the answer came
        (tmp_path / "alerts" / "told.json").unlink(missing_ok=True)
        deliver(settings, [alert], now_ms=NOW_MS)
    first, second, other = (m["message"].rpartition("message ")[2] for m in service.got)
    assert first == second != other


def test_damage_of_the_memory_tells_twice_rather_than_never(
    tmp_path: Path, service: Service
) -> None:
    settings = settings_of(tmp_path, service)
    deliver(settings, [BROKEN], now_ms=NOW_MS)
    (tmp_path / "alerts" / "told.json").write_text("{")
    deliver(settings, [BROKEN], now_ms=NOW_MS)
    assert len(service.got) == 2


def test_a_build_without_any_symbol_waits_for_a_person() -> None:
    report = RefreshReport(outcome="kept", is_emptied=True, snapshot_id="20260108T000000Z-00000000")
    (alert,) = publication_alerts(report, NOW_MS)
    assert (alert.rule, alert.severity, alert.since_ms) == ("publication_held", "warning", NOW_MS)
    assert "20260108T000000Z-00000000 holds no symbol and CURRENT does" in alert.text
    fewer = RefreshReport(outcome="kept", lost={"raw_x": (5, 1)}, snapshot_id="20260108T000000Z-0")
    (alert,) = publication_alerts(fewer, NOW_MS)
    assert "made of fewer lines than CURRENT (raw_x 1 of 5)" in alert.text
    older = RefreshReport(outcome="kept", snapshot_id="20260108T000000Z-00000000")
    assert publication_alerts(older, NOW_MS) == []  # asked for by a person: nothing to tell


def test_under_hold_a_message_begins_with_the_resume() -> None:
    def text(report: RefreshReport, hold: Hold | None) -> str:
        (alert,) = publication_alerts(report, NOW_MS, hold)
        assert (alert.rule, alert.severity) == ("publication_held", "warning")
        return alert.text

    hold = Hold(NOW_MS, "ann@desk", "fees are wrong")
    check = CheckResult("feat_symbol__sizing_jumped", "hold", "sizes jump", 2)
    waits = RefreshReport(outcome="held", built=Built(checks=[check]))
    publish = "execintel snapshots list, then execintel snapshots publish."
    assert text(RefreshReport(outcome="held"), hold) == (
        "A snapshot waits for a person: HOLD is set by ann@desk (fees are wrong). "
        "execintel snapshots resume, then execintel refresh."
    )
    assert text(waits, None).endswith(f"sizing_jumped: sizes jump. {publish}")
    assert text(waits, hold).endswith(
        f"(fees are wrong); feat_symbol__sizing_jumped: sizes jump. execintel snapshots resume, "
        f"then {publish}"
    )
    assert text(RefreshReport(outcome="held"), None).endswith(f"a check holds it. {publish}")


# ------------------------------------------------------------------------------- after a refresh


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    write_example_traces(tmp_path / "logs" / "analytics", days=40)
    return tmp_path / "logs"


def test_a_refresh_tells_beats_and_goes_on_without_its_services(
    tmp_path: Path, logs: Path, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "home"
    settings = settings_of(
        home, service, log_dir=logs, heartbeat_url=f"http://127.0.0.1:{service.port}/alive"
    )
    as_of_ms = 1_760_054_400_000  # 2025-10-10, where the traces end
    first = refresh(settings, as_of_ms=as_of_ms, now_ms=NOW_MS)
    assert first.outcome == "published"
    assert service.calls == ["/alive"]
    assert json.loads((home / "heartbeat.json").read_text()) == {
        "at_ms": NOW_MS,
        "outcome": "published",
        "is_alive": True,
    }
    told = service.got[0]["message"]
    assert "intraday LONG: precision over 30 days is 0." in told

    service.status = 500
    second = refresh(settings, as_of_ms=as_of_ms + 300_000, now_ms=NOW_MS + 300_000)
    assert second.outcome == "published"
    assert "heartbeat_url http://…: HTTPError" in caplog.text
    service.status = 200
    # A clock that went back: what is built is older than CURRENT and stays beside it.
    service.calls.clear()
    assert refresh(settings, as_of_ms=as_of_ms, now_ms=NOW_MS).outcome == "kept"
    assert service.calls == []
    # A required source that is missing refuses the build: told, and no sign of life.
    rule = {"raw_router__events": {"required": True, "max_silence_s": 60}}
    strict = settings_of(
        home,
        service,
        log_dir=logs,
        freshness=rule,
        heartbeat_url=f"http://127.0.0.1:{service.port}/alive",
    )
    service.calls.clear()
    rejected = refresh(strict, as_of_ms=as_of_ms + 600_000, now_ms=NOW_MS + 600_000)
    assert rejected.outcome == "rejected"
    assert service.calls == []
    assert json.loads((home / "heartbeat.json").read_text())["is_alive"] is False
    assert "No new snapshot is published: feat_ops__source_freshness" in service.got[-1]["message"]


def test_a_refresh_under_hold_tells_of_it_and_what_ends_it(
    tmp_path: Path, logs: Path, service: Service
) -> None:
    settings = settings_of(tmp_path / "home", service, log_dir=logs)
    as_of_ms = 1_760_054_400_000  # 2025-10-10, where the traces end
    refresh(settings, as_of_ms=as_of_ms, now_ms=NOW_MS)
    Store(settings.snapshots_root).set_hold(now_ms=NOW_MS, by="ann@desk", reason="look at it")
    held = refresh(settings, as_of_ms=as_of_ms + 300_000, now_ms=NOW_MS + 300_000)
    assert held.outcome == "held"
    assert (
        "HOLD is set by ann@desk (look at it). execintel snapshots resume, then execintel re"
        in (service.got[-1]["message"])
    )


def test_commands_list_acknowledge_and_try(
    tmp_path: Path, logs: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXECINTEL_HOME", str(home))
    run = CliRunner().invoke
    assert "no address is configured" in run(app, ["alerts", "test"]).output
    refresh(Settings(log_dir=logs), as_of_ms=1_760_054_400_000, now_ms=NOW_MS)
    listed = run(app, ["alerts", "list"]).output
    assert "precision_below_threshold  intraday LONG" in listed
    assert "nobody" in listed
    assert "which chance may explain" in listed or "more than chance explains" in listed
    wrong = run(app, ["alerts", "ack", "drawdown", "BTCUSDT"])
    assert wrong.exit_code == 1
    assert "no open alert drawdown BTCUSDT; there are: precision" in wrong.output
    words = ["alerts", "ack", "precision_below_threshold", "intraday LONG", "--note", "known"]
    assert "acknowledged precision_below_threshold intraday LONG" in run(app, words).output
    (seen,) = re.findall(r"^  seen by (.*)$", run(app, ["alerts", "list"]).output, re.MULTILINE)
    assert re.fullmatch(r"\S.*@\S+, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: known", seen)
    monkeypatch.setenv("EXECINTEL_ALERT_URLS", json.dumps([service.url, "nonsense://x"]))
    tried = run(app, ["alerts", "test"])
    assert tried.exit_code == 1
    assert "address 1 took it" in tried.output
    assert "nonsense://… is no address that Apprise knows" in tried.output
    assert "EXECINTEL" not in service.got[0]["message"]
    assert service.url not in run(app, ["doctor"]).output
