"""`execintel upkeep` and `execintel up`: housekeeping, and the schedule on this machine.

Put here: starting them and telling how they ended. Keep out: what they do.
"""

from typing import Annotated

import typer

from pipelines.commands import common, dashboard


def upkeep() -> None:
    """Merge the lake's small files and remove what no kept snapshot needs.

    Example: execintel upkeep

    The schedule of execintel up does this every three hours. A schedule of your
    own should too: a day of refreshes left unmerged doubles the time of the next.
    No number changes, every kept snapshot stays whole: CURRENT, the newest 288,
    and the newest of each UTC day for 30 days. Of older ones that were published
    manifest and lines for engines stay for a year.
    """
    from pipelines.upkeep import upkeep as run

    settings = common.load_settings()
    with common.counting("tending lake and snapshots"):
        report = run(settings, now_ms=common.now_ms())
    common.say(f"snapshots removed: {len(report.snapshots_removed)} (their manifests are archived)")
    if report.history_files_removed:
        common.say(f"history: {report.history_files_removed} files of forgotten months removed")
    for name in report.snapshots_damaged:
        common.say(
            f"the manifest of {name} is damaged: restore it or remove its folder; until then "
            "no file of the lake is removed, because nobody knows which ones it needs"
        )
    names = sorted(report.files_compacted.keys() | report.files_removed.keys())
    common.show_table(
        "Files",
        ("table", "merged", "removed", "log entries removed"),
        [
            (
                name,
                report.files_compacted.get(name),
                report.files_removed.get(name),
                report.log_files_removed.get(name),
            )
            for name in names
        ],
    )
    common.say(f"disk: {common.size(report.bytes_before)} → {common.size(report.bytes_after)}")
    if report.bytes_after > report.bytes_before:
        common.say(
            "files that were merged stay beside the merged ones while a kept snapshot needs them"
        )


def up(
    port: Annotated[
        int,
        typer.Option(
            help="Port of Dagster's pages on this machine, such as --port 3100.", min=1, max=65535
        ),
    ] = 3000,
    dashboard_port: Annotated[
        int,
        typer.Option(
            help="Port of the dashboard, such as --dashboard-port 8502; 0 starts none.",
            min=0,
            max=65535,
        ),
    ] = dashboard.PORT,
) -> None:
    """Refresh by schedule under Dagster, with its pages and the dashboard here, until Ctrl-C.

    Example: EXECINTEL_LOG_DIR=/var/log/executor execintel up --port 3100
    """
    from pipelines.up import UpError, main

    settings = common.load_settings()
    try:
        main(port=port, dashboard_port=dashboard_port or None, settings=settings)
    except UpError as error:
        raise common.CommandError(f"{error}") from error
