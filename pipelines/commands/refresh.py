"""`execintel refresh`: the whole way from new log lines to a published snapshot.

Put here: asking for a refresh and telling how it ended. Keep out: its steps (pipelines/refresh.py).
"""

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from features.words import counted
from pipelines.commands import common

if TYPE_CHECKING:
    from features.settings import Settings
    from features.snapshot import Store
    from pipelines.refresh import RefreshReport

_AHEAD_LIMIT_MS = 86_400_000  # a later as-of would keep every true snapshot from publication


def refresh(
    logs: Annotated[
        Path | None,
        typer.Option(
            help="Folder of logs, searched with its subfolders, in place of EXECINTEL_LOG_DIR, "
            "such as --logs /var/log/executor. Logs are only read."
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            help="End of the windows, ISO 8601, UTC unless it names a zone, such as "
            "--as-of 2025-11-06T00:00:00Z. Default: now."
        ),
    ] = None,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish",
            help="Publish also when CURRENT is of a later as-of, of another environment, or holds "
            "symbols where the build holds none, such as when going back on purpose: "
            "--as-of 2025-11-05T00:00:00Z --publish.",
        ),
    ] = False,
) -> None:
    """Read what the logs have new, compute every table and publish one snapshot.

    Example: execintel refresh --logs /var/log/executor --as-of 2025-11-06T00:00:00Z

    Run it as often as you like: a line counts once, and an equal snapshot is not made twice.
    In live environments a build whose sizes jump waits until a person looks and says execintel
    snapshots publish. Exit code 1 when a check refused the build, or it holds no symbol and
    CURRENT does, or is made of fewer lines: CURRENT then stays as it was. 1 too when a named log
    folder does not exist or is a file (what the others hold is published), or none is configured.
    """
    from pipelines.refresh import refresh as run

    if logs is not None and not logs.expanduser().is_dir():
        raise common.CommandError(f"--logs {logs}: {common.no_folder(logs.expanduser())}")
    settings = common.load_settings(**({"log_dir": logs} if logs is not None else {}))
    as_of_ms = common.parse_time(as_of) if as_of is not None else None
    if as_of_ms is not None and as_of_ms > common.now_ms() + _AHEAD_LIMIT_MS:
        raise common.CommandError(
            f"--as-of {as_of} lies more than a day ahead: nothing could be published after it"
        )
    with common.progress() as listen:
        report = run(settings, as_of_ms=as_of_ms, publish=publish, on_event=listen)
    tell(report, settings)
    missing = [folder.path for folder in settings.log_folders() if not folder.path.is_dir()]
    for path in missing:
        what = "is a file: name its folder" if path.exists() else "does not exist: create it"
        common.complain(
            f"{path} is named as a log folder and {what}, or mend --logs, EXECINTEL_LOG_DIR or "
            "the path under [[logs]]"
        )
    is_unset = not settings.log_folders()
    if missing or is_unset or report.outcome == "rejected" or report.doubt is not None:
        raise typer.Exit(1)


def tell(report: "RefreshReport", settings: "Settings") -> None:
    """Print what a refresh read, rebuilt and published."""
    read = {name: t for name, t in sorted(report.intake.tables.items()) if t.lines}
    if read:
        common.show_table(
            "New lines",
            ("table", "read", "accepted", "rejected", "duplicates"),
            [(n, t.lines, t.accepted, t.rejected, t.duplicates) for n, t in read.items()],
        )
        if any(table.rejected for table in read.values()):
            common.say("Rejected lines are kept: execintel quarantine shows them and how to mend.")
    for name, count in sorted(report.core.partitions.items()):
        common.say(f"{name}: {count} partitions rebuilt, {report.core.rows.get(name, 0)} rows")
    for problem in report.intake.problems:
        common.say(f"problem: {problem.path}: {problem.what}", style="yellow")
    _tell_outcome(report, settings, has_new=bool(read))
    for check in report.built.checks:
        if check.rows and check.severity == "warn":
            common.say(
                f"warning: {check.name}, {counted(check.rows, 'row')}: {check.cause}",
                style="yellow",
            )


def _tell_where(report: "RefreshReport", settings: "Settings") -> None:
    """Say where no log was found, and what to do."""
    looked = ", ".join(str(folder.path) for folder in settings.log_folders())
    common.say(
        f"no log found. Looked in: {looked}"
        if looked
        else "no log found: no log folder is configured. Set EXECINTEL_LOG_DIR, add [[logs]] to "
        "execintel.toml, or pass --logs DIR",
        style="yellow",
    )
    for path in report.intake.unclaimed[:5]:
        common.say(f"not a log by its name: {path}; docs/configuration.md lists the names")


def _tell_outcome(report: "RefreshReport", settings: "Settings", *, has_new: bool) -> None:
    name = report.snapshot_id
    if not report.intake.tables:  # no file that a kind claims
        _tell_where(report, settings)
    if report.outcome == "empty":
        common.say("no log lines yet, nothing published")
    elif report.outcome == "unchanged":
        rows = "new rows lie outside its reach" if has_new else "no new rows"
        common.say(f"{rows}, no new snapshot: {name} stands")
    elif report.outcome == "published":
        spent = sum(report.seconds.values())
        common.say(f"published {name} in {spent:.1f} s", style="bold green")
        _tell_emptiness(report, settings)
    elif report.doubt is not None:
        more = "" if report.lost else f". {_why_empty(report, settings)}"
        common.say(f"{report.doubt}{more}", style="yellow")
    elif report.outcome == "kept":
        current = common.open_store(settings).current()
        why = (
            f"it is of environment {settings.environment}, CURRENT ({current}) of "
            f"{report.other_environment}"
            if report.other_environment
            else f"it is older than CURRENT ({current})"
        )
        common.say(f"kept {name}, not published: {why}; --publish publishes it all the same")
    elif report.outcome == "held":
        _tell_hold(report, settings)
    elif report.outcome == "rejected":
        _tell_rejection(report)


def _tell_hold(report: "RefreshReport", settings: "Settings") -> None:
    """Say who or what keeps a build from publication, and what ends that."""
    store = common.open_store(settings)
    hold = store.hold()
    name = str(report.snapshot_id)
    if hold is not None:
        common.say(
            f"kept {name}, not published: publication is on HOLD since "
            f"{common.when(hold.since_ms)} by {hold.by}: {hold.reason}. "
            "execintel snapshots resume ends the hold",
            style="yellow",
        )
        return
    common.say(f"kept {name}, not published: it waits for a person", style="yellow")
    for check in store.held_by(name):
        common.say(f"  {check['name']}: {check['cause']}", style="yellow")
        for example in check["examples"]:
            common.say(f"    {example}")
    common.say(
        f"see what changed: execintel snapshots diff {store.current()} {name}; "
        f"if it is right: execintel snapshots publish {name}"
    )


def _tell_emptiness(report: "RefreshReport", settings: "Settings") -> None:
    """Say that a published snapshot holds no symbol, how to see older lines, how to go back."""
    from features.manifest import symbol_count

    store = common.open_store(settings)
    # Not from the report: of a build that stood before this run it has no rows.
    if symbol_count(store.manifest(str(report.snapshot_id))):
        return
    why = _why_empty(report, settings)
    common.say(f"but it is empty, CURRENT now holds no symbol. {why}", style="yellow")
    lost = _held_before(store)
    if lost is not None:
        common.say(
            f"{lost['snapshot_id']}, CURRENT before, holds {symbol_count(lost)} symbols: "
            f"execintel snapshots rollback {lost['snapshot_id']} --reason … takes CURRENT back",
            style="yellow",
        )


def _why_empty(report: "RefreshReport", settings: "Settings") -> str:
    """Say why a build holds no symbol, and how to see older lines."""
    manifest = common.open_store(settings).manifest(str(report.snapshot_id))
    words = (
        f"There is no attempt of environment {manifest['environment']} in the "
        f"{manifest['window_days']} days before its as-of. "
    )
    newest = _newest_router_ms(settings)
    if newest is None:
        return f"{words}No router line of it was read yet: look for order_metrics.jsonl"
    after = dt.datetime.fromtimestamp(newest // 1000 + 1, tz=dt.UTC)
    return (
        f"{words}The newest router line of it is of {common.when(newest)}: for old logs name a "
        f"time, execintel refresh --as-of {after:%Y-%m-%dT%H:%M:%SZ} --publish"
    )


def _newest_router_ms(settings: "Settings") -> int | None:
    """Return the time of the newest router line of the environment, or None without one."""
    import duckdb

    from features.lake import Lake, data_files

    paths = [file.path for file in data_files(Lake(settings.lake_root).open("raw_router__events"))]
    if not paths:
        return None
    with duckdb.connect() as con:
        found = con.execute(
            "SELECT max(event_ms) FROM read_parquet(?, hive_partitioning = false)"
            " WHERE environment = ?",
            [paths, settings.environment],
        ).fetchone()
    return found[0] if found else None


def _held_before(store: "Store") -> dict[str, Any] | None:
    """Return the manifest of what was CURRENT before, or None when that held no symbol either."""
    from features.manifest import symbol_count
    from features.snapshot import SnapshotError

    published = store.publications()
    if len(published) < 2:
        return None
    try:
        before = store.manifest(published[-2].snapshot_id)
    except SnapshotError:
        return None  # removed or damaged: there is no way back to it
    return before if symbol_count(before) else None


def _tell_rejection(report: "RefreshReport") -> None:
    common.complain(
        f"rejected {report.snapshot_id}: {len(report.built.failed)} checks failed; "
        "CURRENT stays as it was"
    )
    for check in report.built.failed:
        common.complain(f"  {check.name}, {counted(check.rows, 'row')}: {check.cause}")
        for example in check.examples:
            common.complain(f"    {example}")
    common.complain("mend the cause and refresh again; execintel doctor repeats this")
