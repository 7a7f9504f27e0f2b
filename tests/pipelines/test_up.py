"""`execintel up`: the schedule publishes, nothing overlaps it, and stopping leaves no process."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import dagster as dg
import psutil
import pytest
from filelock import FileLock

from features.settings import Settings
from features.snapshot import Store
from pipelines import dagster_home, up
from tests import loads
from tests.ports import free_port
from tests.waiting import wait_until

PROGRAM = (
    "import sys; from pipelines.up import main;"
    " main(port=int(sys.argv[1]), dashboard_port=int(sys.argv[2]))"
)
# Refreshes from three seconds before a minute on, each saying when its writing began and ended
# (epoch s).
REFRESH = """
import time
from features.settings import Settings
from pipelines.refresh import Refresh, refresh
prepare, close, began, ended = Refresh.prepare, Refresh.close, [], []
Refresh.prepare = lambda run: (began.append(time.time()), prepare(run))
Refresh.close = lambda run: (close(run), ended.append(time.time()))
time.sleep((57 - time.time()) % 60)
for _ in range(1000):
    refresh(Settings())
    print(began[-1], ended[-1], flush=True)
    time.sleep(0.5)
"""


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run; one that nobody has reaped yet does not."""
    found = []
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now
            if each.is_running() and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


def listens_on(process: psutil.Process) -> set[str]:
    """Return the addresses on which a process takes connections."""
    with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now
        return {
            connection.laddr.ip
            for connection in process.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
        }
    return set()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the variables of a desk with a few logs whose schedule refreshes every minute."""
    loads.append(tmp_path / "logs", loads.tangled_lines(5, attempts=20))
    return os.environ | {
        "EXECINTEL_HOME": str(tmp_path / "home"),
        "EXECINTEL_LOG_DIR": str(tmp_path / "logs"),
        "EXECINTEL_REFRESH_CRON": "* * * * *",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "http_proxy": "http://127.0.0.1:9",  # as in a company; none knows this machine's pages
        "no_proxy": "",
        "NO_PROXY": "",
    }


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Collect processes that must not outlive the test, whatever happens in it."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        process.wait()


def test_up_publishes_by_schedule_and_stops_without_a_trace(
    environment: dict[str, str],
    tmp_path: Path,
    started: list[subprocess.Popen[bytes]],
) -> None:
    port, pages, log, spans = free_port(), free_port(), tmp_path / "up.log", tmp_path / "spans"
    ignored = (
        # As a shell that is not interactive starts what runs in its background.
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    with log.open("wb") as output:
        command = [sys.executable, "-c", ignored, "-c", PROGRAM, str(port), str(pages)]
        program = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT
        )
    started.append(program)
    wait_until(
        "an address", lambda: f"http://{up.HOST}:{port}" in log.read_text(), within_s=90, log=log
    )
    with urlopen(f"http://{up.HOST}:{port}/server_info", timeout=5) as answer:
        assert json.load(answer)["dagster_webserver_version"]
    wait_until("a dashboard", lambda: answers(f"http://{up.HOST}:{pages}/_stcore/health"), log=log)
    children = psutil.Process(program.pid).children(recursive=True)
    assert set().union(*map(listens_on, children)) == {up.HOST}

    # Command-line refreshes, one after the other, across the minute in which the schedule runs.
    with spans.open("wb") as output:
        beside = subprocess.Popen(
            [sys.executable, "-c", REFRESH], env=environment, cwd=tmp_path, stdout=output
        )
    started.append(beside)
    folder = tmp_path / "home" / "dagster"

    def scheduled() -> list[dg.RunRecord]:
        """Return the runs that ended well and began after a command-line refresh did."""
        began_s = float((spans.read_text().split() or ["inf"])[0])
        with dagster_home.opened(folder) as instance:
            ended = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
            records = instance.get_run_records(ended)
        return [record for record in records if (record.start_time or 0) >= began_s]

    wait_until("a scheduled run", lambda: bool(scheduled()), within_s=180, every_s=0.2, log=log)
    beside.kill()
    beside.wait()

    family = psutil.Process(program.pid).children(recursive=True)
    assert len(family) >= 5, "the dashboard, webserver, daemon and a code server each"
    os.kill(program.pid, signal.SIGINT)
    assert program.wait(60) == 0, log.read_text()
    assert alive(family) == []
    said = log.read_text()
    assert said.splitlines()[-1] == "stopped"
    assert re.search(
        r"^\d\d:\d\d:\d\d UTC  published \d{8}T\d{6}Z-[0-9a-f]{8}$", said, re.MULTILINE
    )
    with socket.socket() as probe:
        assert probe.connect_ex((up.HOST, port)) != 0

    assert "DEBUG" not in (folder / "logs" / "daemon.log").read_text(), "one line an event"

    with dagster_home.opened(folder) as instance:
        record = scheduled()[0]
        run_id = record.dagster_run.run_id
        assert record.dagster_run.tags["dagster/schedule_name"] == "refresh_schedule"
        # Between these two the run holds the writer lock.
        steps = [
            entry.timestamp
            for entry in instance.all_logs(run_id)
            if entry.dagster_event and entry.dagster_event.is_step_event
        ]
        event = instance.get_latest_materialization_event(dg.AssetKey("snapshot"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["outcome"].value == "published"
    published = event.asset_materialization.metadata["snapshot"].value
    store = Store(tmp_path / "home" / "snapshots")
    assert store.verify(str(published)) == []
    assert published in [entry.snapshot_id for entry in store.publications()]
    others = [tuple(map(float, line.split())) for line in spans.read_text().splitlines()]
    assert others, "the command line refreshed meanwhile"
    for began, ended in others:
        assert ended <= min(steps) or began >= max(steps)


def test_up_names_the_port_that_is_taken(tmp_path: Path) -> None:
    settings = loads.settings_over(tmp_path / "logs", tmp_path / "home")
    with socket.socket() as taken:
        taken.bind((up.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(up.UpError, match=f"port {port} .*--port"):
            up.main(port=port, settings=settings, say=lambda text: None)


def test_a_second_up_on_the_same_data_root_is_refused(tmp_path: Path) -> None:
    settings = loads.settings_over(tmp_path / "logs", tmp_path / "home")
    (tmp_path / "home").mkdir()
    with FileLock(tmp_path / "home" / "up.lock"), pytest.raises(up.UpError, match="another"):
        up.main(port=free_port(), settings=settings, say=lambda text: None)


def test_up_says_which_process_ended_by_itself_and_stops_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loads.settings_over(tmp_path / "logs", tmp_path / "home")
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    broken = [sys.executable, "-c", "raise SystemExit('no luck today')"]
    commands = {"webserver": sleeper, "daemon": broken}
    monkeypatch.setattr(up, "commands", lambda port, dashboard_port: commands)
    before = psutil.Process().children()
    with pytest.raises(up.UpError, match=r"daemon ended with code 1(?s:.*)no luck today"):
        up.main(port=free_port(), settings=settings, say=lambda text: None)
    assert psutil.Process().children() == before


# A refresh that begins when it is told to stop, and ends in its time.
LATE = """
import pathlib, signal, sys, threading
from features.settings import Settings
from pipelines.refresh import refresh
told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: told.set())
pathlib.Path(sys.argv[1]).touch()
while not told.wait(0.1):  # a signal just before does not end a wait
    pass
refresh(Settings())
"""


def test_up_tells_of_a_snapshot_that_was_published_while_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads.append(tmp_path / "logs", loads.tangled_lines(5, attempts=2, days=1))
    settings = loads.settings_over(tmp_path / "logs", tmp_path / "home")
    ready, said = tmp_path / "ready", list[str]()
    late = {"daemon": [sys.executable, "-c", LATE, str(ready)]}
    monkeypatch.setattr(up, "commands", lambda port, dashboard_port: late)
    # Its time is more than a busy machine needs for it.
    monkeypatch.setattr(up, "_stop", partial(up._stop, grace_s=120))
    is_over = threading.Event()

    def interrupt() -> None:
        while not ready.exists():
            if is_over.wait(0.05):
                return
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    try:
        up.main(port=free_port(), settings=settings, say=said.append)
    finally:
        is_over.set()
        interrupting.join()
    current = Store(settings.snapshots_root).current()
    assert current is not None
    assert said[-2].endswith(f"UTC  published {current}")
    assert said[-1] == "stopped"


def test_a_group_that_ignores_term_is_killed(tmp_path: Path) -> None:
    stubborn = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork();"
        " print('up', flush=True); time.sleep(600)"
    )
    log = tmp_path / "stubborn.log"
    child = up._start([sys.executable, "-c", stubborn], os.environ, log)
    wait_until("two processes", lambda: log.read_text().count("up") == 2, log=log)
    family = [psutil.Process(child.pid), *psutil.Process(child.pid).children()]
    up._stop({"stubborn": child}, grace_s=0.5)
    assert len(family) == 2
    assert alive(family) == []


KILLED = """
import os, pathlib, sys, time
from pipelines import up
child = up._start([sys.executable, "-c", "import time; time.sleep(600)"], os.environ,
                  pathlib.Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells of a parent's end")
def test_what_up_started_ends_though_up_itself_is_killed(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    log = tmp_path / "child.log"
    started.append(
        subprocess.Popen([sys.executable, "-c", KILLED, str(log)], stdout=subprocess.PIPE)
    )
    assert started[0].stdout is not None
    with started[0].stdout as output:
        child = psutil.Process(int(output.readline()))
    assert alive([child]) == [child]
    started[0].kill()
    wait_until("the end of its child", lambda: alive([child]) == [], log=log)


def test_the_processes_get_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "execintel.toml").write_text('log_dir = "logs"\n')
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    found = up.environment(settings, tmp_path / "dagster")
    assert found["EXECINTEL_HOME"] == str(tmp_path / "data")
    assert found["EXECINTEL_LOG_DIR"] == str(tmp_path / "logs")
    assert found["EXECINTEL_CONFIG"] == str(tmp_path / "execintel.toml")
