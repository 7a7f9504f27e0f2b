"""`execintel up`: Dagster and the dashboard on this machine until Ctrl-C, and nothing left after.

Put here: starting, watching and stopping those processes. Keep out: what they run
(definitions.py), and their configuration (dagster_home.py).
"""

import ctypes
import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from features.settings import Settings, config_path
from features.snapshot import Store
from pipelines.commands import dashboard
from pipelines.dagster_home import end_abandoned, opened, prepare

HOST = "127.0.0.1"
PORT = 3000
_START_LIMIT_S = 120  # both processes import everything: about 10 s on an idle machine
_GRACE_S = 15  # for a refresh under way to end by itself
_LOG_LIMIT_BYTES = 10 << 20


class UpError(RuntimeError):
    """The processes cannot be started, or one of them ended by itself."""


def main(
    *,
    port: int = PORT,
    dashboard_port: int | None = None,
    settings: Settings | None = None,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> None:
    """Run webserver and daemon on loopback until Ctrl-C or TERM, then stop them and their children.

    With ``dashboard_port`` the dashboard too.

    Raises UpError saying what to do when a port is taken, another `up` serves this data root, or a
    process ends by itself.
    """
    settings = settings or Settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    lock = FileLock(settings.home / "up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UpError(
            f"another `execintel up` serves {settings.home}: stop that one first"
        ) from None
    # Set, not inherited: a shell starts what runs in its background with these signals ignored.
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {s: signal.signal(s, lambda number, frame: stop.set()) for s in signals}
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        _require_free(port)
        if dashboard_port is not None:
            _require_free(dashboard_port, "--dashboard-port")
        say(f"starting Dagster for {settings.home}: 10 s to a minute …")
        folder = prepare(settings.home)
        with opened(folder) as instance:
            left = end_abandoned(instance)
        if left:
            say(f"marked {len(left)} runs as failed that an earlier `execintel up` left behind")
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        env = environment(settings, folder)
        news = _news(Store(settings.snapshots_root))
        next(news)  # what stands already is none
        for name, command in commands(port, dashboard_port).items():
            children[name] = _start(command, env, logs / f"{name}.log")
        if _wait_until_up(port, children, logs, stop):
            say(f"Dagster:  http://{HOST}:{port}")
            if dashboard_port is not None:
                say(f"pages:    http://{HOST}:{dashboard_port}")
            say(f"data:     {settings.home}")
            say(f"refresh:  by schedule, {settings.refresh_cron} (UTC)")
            say(f"logs of the processes: {logs}.  Stop with Ctrl-C.")
        while not stop.wait(2):
            _require_alive(children, logs)
            for line in next(news):
                say(line)
        say(f"stopping: a refresh under way is given {_GRACE_S} s to end …")
    finally:
        _stop(children)
        for number, handler in before.items():
            signal.signal(number, handler)
        lock.release()
    for line in next(news):  # of the refresh that ended meanwhile
        say(line)
    say("stopped")


def _news(store: Store) -> Iterator[list[str]]:
    """Yield what was published or refused since the last look, as lines."""
    current = store.current()
    seen = max((build["sequence"] for build in store.rejected()), default=0)
    while True:
        lines = []
        moment = f"{dt.datetime.now(dt.UTC):%H:%M:%S} UTC"
        if store.current() != current:
            current = store.current()
            told = f"published {current}" if current else "CURRENT is gone: execintel doctor"
            lines.append(f"{moment}  {told}")
        for build in store.rejected():
            if build["sequence"] > seen:
                seen = build["sequence"]
                why = ", ".join(build["failed_checks"])
                lines.append(f"{moment}  refused {build['snapshot_id']}: {why}. execintel doctor")
        yield lines


def commands(port: int, dashboard_port: int | None = None) -> dict[str, list[str]]:
    """Return the command lines of the processes, by name."""
    where = location()
    pages = {} if dashboard_port is None else {"dashboard": dashboard.command(dashboard_port)}
    return {
        **pages,
        "webserver": [
            *(sys.executable, "-m", "dagster_webserver", "--host", HOST, "--port", str(port)),
            *where,
        ],
        "daemon": [sys.executable, "-m", "dagster._daemon", "run", *where],
    }


def location() -> list[str]:
    """Return the options that name the code location: the checkout's workspace.yaml, if it is one.

    An installed package has no workspace.yaml beside it; the module says the same.
    """
    workspace = Path(__file__).resolve().parent.parent / "workspace.yaml"
    if workspace.is_file():
        return ["-w", str(workspace)]
    return ["-m", "pipelines.definitions"]


def environment(settings: Settings, folder: Path) -> dict[str, str]:
    """Return the environment of the processes: this one's, with every path made absolute."""
    config = config_path()
    return {
        **os.environ,
        "EXECINTEL_HOME": str(settings.home),
        **({"EXECINTEL_LOG_DIR": str(settings.log_dir)} if settings.log_dir else {}),
        **({"EXECINTEL_CONFIG": str(config)} if config else {}),
        "DAGSTER_HOME": str(folder),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
    }


def _start(command: list[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that its group is everything it starts."""
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_begin,
        )


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _begin() -> None:
    """Obey signals, and end as by TERM where `up` itself is killed: Linux alone tells of that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _require_free(port: int, option: str = "--port") -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UpError(
                f"port {port} on {HOST} is taken ({error.strerror}): stop what listens there,"
                f" or choose another with {option}"
            ) from None


def _require_alive(children: Mapping[str, subprocess.Popen[bytes]], logs: Path) -> None:
    for name, child in children.items():
        if child.poll() is not None:
            log = logs / f"{name}.log"
            last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise UpError(f"{name} ended with code {child.returncode}; {log} ends with:\n{last}")


def _wait_until_up(
    port: int,
    children: Mapping[str, subprocess.Popen[bytes]],
    logs: Path,
    stop: threading.Event,
) -> bool:
    """Wait until the webserver answers; False when it was stopped before."""
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows this
    deadline = time.monotonic() + _START_LIMIT_S
    while not stop.wait(0.2):
        _require_alive(children, logs)
        try:
            with straight.open(f"http://{HOST}:{port}/server_info", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise UpError(
                    f"the webserver does not answer after {_START_LIMIT_S} s; see {logs}"
                ) from None
    return False


def _stop(children: Mapping[str, subprocess.Popen[bytes]], grace_s: float = _GRACE_S) -> None:
    """End every process: TERM to each, time for a run to end, then their groups."""
    for child in children.values():
        if child.poll() is None:
            child.terminate()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if _are_gone(children, grace_s):
            return
        for child in children.values():
            _signal_group(child.pid, number)
    _are_gone(children, grace_s)


def _are_gone(children: Mapping[str, subprocess.Popen[bytes]], limit_s: float) -> bool:
    """Wait until no process of the groups is left; False when the time is over before."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        for child in children.values():
            child.poll()  # reaps it
        if not any(_signal_group(child.pid, 0) for child in children.values()):
            return True
        time.sleep(0.1)
    return False


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; False when nobody is left in it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
