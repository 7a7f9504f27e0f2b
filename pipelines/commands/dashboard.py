"""`execintel dashboard`: the pages on this machine, until Ctrl-C.

Put here: its options, as words for the process that serves. Keep out: the pages (dashboard/), which
pipelines do not know.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import common

PORT = 8501
_LAST_PORT = 65_535
HOST = "127.0.0.1"  # of dashboard/__main__.py, which pipelines do not know


def dashboard(
    port: Annotated[
        int, typer.Option(help="Port on this machine, such as --port 8502.", min=1, max=_LAST_PORT)
    ] = PORT,
    telemetry_dir: Annotated[
        Path | None,
        typer.Option(
            help="A data root other than EXECINTEL_HOME, or a folder inside one, such as "
            "--telemetry-dir data/analytics."
        ),
    ] = None,
    refresh_interval: Annotated[
        float | None,
        typer.Option(help="Seconds between two looks for a newer snapshot, such as 10."),
    ] = None,
    alert_precision_threshold: Annotated[
        float | None, typer.Option(help="Precision below which is alerted, such as 0.6.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="local, or firestore for what is mirrored: --source firestore."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML with settings under their environment names: --config d.yaml."),
    ] = None,
) -> None:
    """Serve the dashboard on this machine until Ctrl-C: it reads snapshots and changes nothing.

    Example: execintel dashboard --port 8502 --refresh-interval 10

    Only this machine reaches it, and it calls nobody; dashboard/README.md shows every page.
    """
    common.load_settings()  # a bad one is told before anything starts
    flags = {
        "--telemetry-dir": telemetry_dir,
        "--refresh-interval": refresh_interval,
        "--alert-precision-threshold": alert_precision_threshold,
        "--source": source,
        "--config": config,
    }
    _require_free(port)
    words = [f"{name}={value}" for name, value in flags.items() if value is not None]
    sys.stdout.flush()
    os.execv(sys.executable, command(port, words))


def command(port: int, words: list[str] | None = None) -> list[str]:
    """Return the command line of the process that serves the pages."""
    return [sys.executable, "-m", "dashboard", "--port", str(port), *(words or [])]


def _require_free(port: int) -> None:
    """Raise CommandError, naming a port that is free, where pages cannot be served at this one."""
    trouble = _trouble(port)
    if trouble is None:
        return
    free = next((each for each in range(port + 1, _LAST_PORT + 1) if not _trouble(each)), PORT)
    raise common.CommandError(
        f"port {port} on {HOST} cannot be used ({trouble}): stop what listens there, or choose "
        f"another, such as execintel dashboard --port {free}"
    )


def _trouble(port: int) -> str | None:
    """Say why nothing can listen at a port of this machine, None where it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.strerror or str(error)
    return None
