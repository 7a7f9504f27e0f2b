"""`execintel demo`: everything once, in a root of its own: a simulated week, or your own logs.

Put here: that root, and what to try next. Keep out: the simulation (pipelines/demo).
"""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from features.durations import DAY_MS
from pipelines.commands import common
from pipelines.commands.refresh import tell
from pipelines.commands.show import print_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from features.events import Listener
    from features.settings import Settings
    from pipelines.intake.intake import TableIntake
    from pipelines.refresh import Refresh, RefreshReport

_MARKER = "DEMO.json"  # names a root that a demo made, and so may remove
_MINUTE_MS = 60_000
_STEP_MS = 5 * _MINUTE_MS  # as far apart as the schedule's refreshes


def demo(
    logs: Annotated[
        Path | None,
        typer.Option(
            help="Your own logs instead of a simulated week, such as --logs /var/log/executor; "
            "they are only read and get a root apart from the simulated one."
        ),
    ] = None,
    faults: Annotated[
        bool,
        typer.Option(
            "--faults",
            help="Generated logs of an executor as v5.10 wrote them, with the faults of real ones: "
            "bad, torn and repeated lines, rotation, orders never looked at again.",
        ),
    ] = False,
) -> None:
    """Trade a simulated week on paper, compute every table of it, publish and show the snapshot.

    Example: execintel demo, or execintel demo --logs /var/log/executor

    The second half of the week trades on snapshots of the first. Works below EXECINTEL_HOME/demo
    (own logs: demo-logs) and touches nothing else.
    """
    if logs is not None:
        _demo_of_logs(logs.expanduser().absolute())
    elif faults:
        _demo_of_generated()
    else:
        _demo_of_a_week()


def _demo_of_a_week() -> None:
    from live.results import tied
    from pipelines.demo.week import MAX_AGE_S, REFRESH_HOURS, trade_week

    root = common.load_settings().home / "demo"
    _renew(root, {"logs": "simulated"}, always=True)
    settings = generated_settings(root, snapshot_max_age_s=MAX_AGE_S)
    with common.counting("trading a simulated week") as count:
        week = trade_week(settings, end_ms=_end_ms(), on_progress=count)
    common.say(
        f"the paper engine traded a simulated week in {root / 'logs'}: {week.minute_bars:,} bars "
        f"of a minute, {week.trades:,} trades of its strategies from entry to exit, "
        f"{week.net_usd:,.2f} USD after fees"
    )
    common.say(tied(week.equity_change_usd, week.net_usd, week.open_usd))
    first, second = week.orders
    common.say(
        f"in its first half no snapshot was published yet: {first:,} orders, by fixed defaults. In "
        f"its second half a new snapshot came every {REFRESH_HOURS} hours, {week.snapshots} in "
        f"all: {second:,} orders, {week.orders_with_snapshot[1]:,} of them sized and routed by the "
        "newest one"
    )
    _run(settings, week.end_ms, week.read)


def _end_ms() -> int:
    """Return the end of what is generated: a clock before it would call its lines future ones."""
    from pipelines.demo import DEMO_END_MS

    return min(DEMO_END_MS, common.now_ms() // DAY_MS * DAY_MS)


def _demo_of_generated() -> None:
    from pipelines.demo import generate

    root = common.load_settings().home / "demo"
    _renew(root, {"logs": "generated"}, always=True)
    folder = root / "logs"
    with common.counting("generating logs") as count:
        made = generate(folder, end_ms=_end_ms(), on_progress=count)
    common.say(f"generated a week of logs in {folder}: {sum(made.attempts.values())} attempts")
    _run(generated_settings(root), made.end_ms)


def generated_settings(root: Path, **overrides: Any) -> "Settings":
    """Return settings that no variable and no configuration file bends: generated data is alike."""
    from features.settings import Settings

    defaults = {
        name: setting.get_default(call_default_factory=True)
        for name, setting in Settings.model_fields.items()
    }
    return common.load_settings(
        **defaults | {"home": root, "log_dir": root / "logs", "origin": "demo"} | overrides
    )


def _demo_of_logs(logs: Path) -> None:
    if not logs.is_dir():
        raise common.CommandError(f"--logs {logs}: {common.no_folder(logs)}")
    root = common.load_settings().home / "demo-logs"
    _renew(root, {"logs": str(logs)}, always=False)
    settings = common.load_settings(home=root, log_dir=logs, logs=())
    _run(settings, None)


def _renew(root: Path, marker: dict[str, str], *, always: bool) -> None:
    """Make an empty root, or keep one that holds the same logs; only a demo's root is removed."""
    note = root / _MARKER
    doomed = root.with_name(f".{root.name}-removed")
    if doomed.exists():  # an earlier run was interrupted
        shutil.rmtree(doomed)
    if note.exists():
        if not always and json.loads(note.read_text()) == marker:
            return
        held = ", ".join(sorted(path.name for path in root.iterdir() if path.name != _MARKER))
        common.say(f"removing {root}, made by an earlier demo, with its {held or 'nothing'}")
        root.rename(doomed)  # interrupted, it leaves no half root that looks whole
        shutil.rmtree(doomed)
    elif root.exists() and any(root.iterdir()):
        raise common.CommandError(
            f"{root} was not made by a demo: move it away, or set EXECINTEL_HOME to another folder"
        )
    root.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(marker))


def _run(
    settings: "Settings", end_ms: int | None, read: "Mapping[str, TableIntake] | None" = None
) -> None:
    """Refresh as of ``end_ms``, or of the newest line, and show what came of it.

    One refresh stands before it, five minutes earlier: sizes and labels remember a snapshot. What
    the demonstration ``read`` before these two counts among the lines, too.
    """
    from features.lock import writer_lock

    with writer_lock(settings.home, "demo", wait_s=0), common.progress() as listen:
        first = _refresh(settings, end_ms, _STEP_MS, listen)
        report = _refresh(settings, end_ms, 0, listen)
    report.intake.tables, report.core = first.intake.tables, first.core
    for table, earlier in (read or {}).items():
        report.intake.tables[table].add(earlier)
    tell(report, settings)
    if first.outcome == report.outcome == "published":
        common.say(
            f"and before it {first.snapshot_id}, as of five minutes earlier: a size moves, and a "
            "label gets better, only against a snapshot published before"
        )
    if settings.origin != "demo" and "environment" not in settings.model_fields_set:
        common.say(
            f"environment {settings.environment} is a default, nobody said it: lines that name "
            "none count as that. EXECINTEL_ENVIRONMENT=live says it (or testnet, paper, backtest)",
            style="yellow",
        )
    if report.outcome in ("empty", "rejected"):
        raise typer.Exit(1)
    print_snapshot(settings, common.open_store(settings), None, None)
    _next_steps(settings)


def _refresh(
    settings: "Settings", end_ms: int | None, back_ms: int, listen: "Listener"
) -> "RefreshReport":
    """Refresh as of ``back_ms`` before ``end_ms`` or, without one, before the newest line."""
    from pipelines.refresh import Refresh

    run = Refresh(settings, publish_older=not back_ms, listen=listen)
    return run.all_steps(lambda: (end_ms or _end_of_logs(run) or run.as_of_ms) - back_ms)


def _end_of_logs(run: "Refresh") -> int | None:
    """Return the end of the minute of the newest line that was read, or None without one."""
    newest_ms = common.newest_line_ms(run.settings)
    if newest_ms is None:
        return None
    return min((newest_ms // _MINUTE_MS + 1) * _MINUTE_MS, run.now_ms)


def _next_steps(settings: "Settings") -> None:
    from features.snapshot import open_snapshot

    store = common.open_store(settings)
    with open_snapshot(store.database(store.resolve(None))) as con:
        names = con.sql(
            "SELECT symbol FROM feat_router__effectiveness WHERE symbol <> '*'"
            " ORDER BY n DESC, symbol LIMIT 1"
        ).fetchall()
    program = _program()
    where: dict[str, object] = {
        "EXECINTEL_HOME": settings.home,
        "EXECINTEL_LOG_DIR": settings.log_dir,
    }
    if settings.origin == "demo":
        where["EXECINTEL_ORIGIN"] = "demo"
        where["EXECINTEL_SNAPSHOT_MAX_AGE_S"] = settings.snapshot_max_age_s
    common.say()
    common.say("Try next:", style="bold")
    common.say(
        "  export " + " ".join(f"{name}={shlex.quote(str(value))}" for name, value in where.items())
    )
    for (symbol,) in names:
        common.say(f"  {program} show {shlex.quote(symbol)}")
    common.say(
        f'  {program} sql "SELECT symbol, hour_utc, n AS attempts, fill_n, close_n, exp_shrunk FROM'
        ' feat_execution__hourly_expectancy ORDER BY exp_shrunk DESC NULLS LAST LIMIT 5"'
    )
    common.say(f"  {program} quarantine")
    common.say(f"  {program} snapshots rebuild")
    common.say(f"  {program} doctor")


def _program() -> str:
    """Return how this command is called from here: by name, or by path where PATH lacks it."""
    if shutil.which("execintel"):
        return "execintel"
    called = Path(sys.argv[0]).absolute()
    if called.name != "execintel":
        return f"{shlex.quote(sys.executable)} -m pipelines.cli"
    short = os.path.relpath(called)
    return shlex.quote(str(called) if short.startswith("..") else short)
