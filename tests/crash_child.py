"""Run refreshes in processes of their own that die where told: the child of the crash tests.

`python -m tests.crash_child` imports everything once and parses the statements that the first line
of JSON on its standard input lists, then forks a process for each other line and writes that
process's id, and its exit status when it has ended.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import duckdb
import scipy.special  # noqa: F401 - a refresh imports it when it needs it, here once for all forks

import features.engines.functions  # noqa: F401 - and this
from features.engines import duckdb as engine
from features.events import Event
from pipelines.refresh import refresh
from tests.loads import settings_over


def run(
    logs: str, home: str, as_of_ms: int, phases: str, fatal: str = "", fatal_n: int = 1
) -> None:
    """Refresh, appending each event's name to ``phases``; die at the n-th event named ``fatal``."""
    seen = 0
    handle = os.open(phases, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def listen(event: Event) -> None:
        nonlocal seen
        os.write(handle, f"{event.name}\n".encode())
        seen += event.name == fatal
        if event.name == fatal and seen == fatal_n:
            os.kill(os.getpid(), signal.SIGKILL)

    os.write(handle, b"started\n")
    settings = settings_over(Path(logs), Path(home))
    report = refresh(settings, as_of_ms=as_of_ms, now_ms=as_of_ms, on_event=listen)
    os.write(handle, f"ended.{report.outcome}\n".encode())


def in_a_fork(order: dict[str, Any]) -> int:
    """Run in a forked process; returns its id. No thread of an engine is left by then."""
    child = os.fork()
    if child:
        return child
    try:
        run(**order)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def serve() -> None:
    with duckdb.connect(config={"threads": 1}) as con:  # closed before any fork
        for text in json.loads(sys.stdin.readline()):
            engine.parsed(con, text)
    for order in sys.stdin:
        child = in_a_fork(json.loads(order))
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
