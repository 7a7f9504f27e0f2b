"""`execintel dashboard`: the pages on this machine, until Ctrl-C.

Put here: its options, as words for the process that serves. Keep out: the pages (dashboard/), which
pipelines do not know.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import common

PORT = 8501


def dashboard(
    port: Annotated[
        int, typer.Option(help="Port on this machine, such as --port 8502.", min=1, max=65535)
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
    words = [f"{name}={value}" for name, value in flags.items() if value is not None]
    sys.stdout.flush()
    os.execv(sys.executable, command(port, words))


def command(port: int, words: list[str] | None = None) -> list[str]:
    """Return the command line of the process that serves the pages."""
    return [sys.executable, "-m", "dashboard", "--port", str(port), *(words or [])]
