"""Which snapshot and which symbol a command means.

Put here: the option that names a snapshot, what is said of it, a symbol as it writes it. Keep out:
what a command shows of them.
"""

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from features.words import (
    after_resume,
    aged,
    counted,
    iso,
    on_ahead,
    on_other_environment,
    on_stale,
    only_noted,
    when,
    why_stale,
)
from pipelines.commands import common

if TYPE_CHECKING:
    import duckdb

    from features.settings import Settings
    from features.snapshot import Store

_DAY_MS = 86_400_000


def _collected(settings: "Settings", store: "Store", name: str) -> str | None:
    """Say where the decisions of a published snapshot that was collected are still to be seen.

    None where ``name`` is the beginning of a snapshot that stands, or nothing of it is kept.
    """
    if any(path.name.startswith(name) for path in store.root.glob("[0-9]*")):
        return None
    made = {each.snapshot_id: each for each in store.publications()}
    found = [each for each in made.values() if each.snapshot_id.startswith(name)]
    if not found:
        return None
    last = found[-1]
    moment = iso(last.published_ms, "milliseconds")  # two may be of one second
    ways = []
    if _is_in_history(settings, last.snapshot_id, last.published_ms):
        ways.append(f"execintel asof SYMBOL {moment}")
    if (store.root / "archive" / last.snapshot_id).is_dir():
        ways.append(f"the page Playback (execintel dashboard) at {moment}")
    if not ways:
        return None
    others = f", nor is any other that begins with {name}" if len(found) > 1 else ""
    return (
        f"snapshot {last.snapshot_id} is kept no longer{others}. What it decided is still shown by "
        + " and by ".join(ways)
    )


def _is_in_history(settings: "Settings", snapshot_id: str, published_ms: int) -> bool:
    from features import history
    from features.lake import LakeDamageError

    try:
        return bool(
            history.symbols(settings.lake_root, snapshot_id=snapshot_id, available_ms=published_ms)
        )
    except (LakeDamageError, OSError):  # doctor tells of what is damaged
        return False


def _kept(context: typer.Context, name: str | None) -> str | None:
    """Return the option as it is.

    Raises CommandError where it means a snapshot that is gone, naming where it is still seen.
    """
    if name is None or context.resilient_parsing:
        return name
    settings = common.load_settings()
    if words := _collected(settings, common.open_store(settings), name):
        raise common.CommandError(words)
    return name


SnapshotOption = Annotated[
    str | None,
    typer.Option(
        "--snapshot",
        callback=_kept,
        help="A snapshot other than CURRENT, by its id or the beginning of it, such as "
        "--snapshot 20251106T000000Z; execintel snapshots list names them.",
    ),
]


def head(settings: "Settings", store: "Store", snapshot_id: str) -> None:
    """Say which snapshot it is, how old, and what was found wrong with it."""
    from live.reader import is_reduce_only
    from live.trading import controls

    manifest = store.manifest(snapshot_id)
    hold = store.hold()
    if hold is not None:
        common.say(
            f"HOLD: nothing is published since {common.when(hold.since_ms)}, by {hold.by}: "
            f"{hold.reason}. execintel snapshots resume ends it",
            style="bold red",
        )
    is_current = snapshot_id == store.current()
    if is_current:
        state = controls.Controls(settings.controls_root).state()
        for level, words in controls.notices(state, common.now_ms()):
            common.say(words, style="bold red" if level == "bad" else "yellow")
    is_demo = manifest["origin"] == "demo"
    age_s = (common.now_ms() - manifest["as_of_ms"]) / 1000
    common.say(f"snapshot     {snapshot_id}{'' if is_current else ' (not CURRENT)'}")
    common.say(f"as of        {common.when(manifest['as_of_ms'])}, {aged(age_s)}")
    common.say(
        f"environment  {manifest['environment']}, window of {manifest['window_days']} days"
        + (", generated demo data" if is_demo else "")
    )
    environment = manifest["environment"]
    if is_current and environment != settings.environment:
        common.say(
            on_other_environment(environment, settings.environment, is_held=hold is not None),
            style="bold red",
        )
    if is_current and (noted := only_noted(settings.applied(environment), environment)):
        common.say(noted, style="yellow")
    why = why_stale(age_s, settings.snapshot_max_age_s)
    if is_current and not is_demo and why is not None:
        does = on_stale(reduces_only=is_reduce_only(age_s, settings.snapshot_max_age_s))
        refresh = after_resume("execintel refresh", is_held=hold is not None)
        mend = (
            on_ahead(is_held=hold is not None)
            if age_s < 0
            else of_old_logs(settings, store) or f"{refresh} makes a new one"
        )
        common.say(f"stale: {why}; engines {does}. {mend}", style="yellow")
    for name, count in manifest["left_out"].items():
        common.say(f"left out     {count} outcomes of environment {name}", style="yellow")
    for check in manifest["checks"]:
        if check["rows"]:
            common.say(
                f"{check['severity']}: {check['name']}, {counted(check['rows'], 'row')}:"
                f" {check['cause']}",
                style="yellow",
            )


def of_old_logs(settings: "Settings", store: "Store") -> str | None:
    """Say what is right where a refresh of now would find no line in its window, else None.

    That is so where the newest line that was read is older than the window, and no log was written
    since the last build.
    """
    from features.lake import LakeDamageError
    from features.snapshot import SnapshotError

    try:
        newest_ms = common.newest_line_ms(settings)
        built_ms = max((int(store.manifest(each)["created_ms"]) for each in store.ids()), default=0)
    except (LakeDamageError, SnapshotError, OSError):  # doctor tells of what is damaged
        return None
    if newest_ms is None or common.now_ms() - newest_ms <= settings.window_days * _DAY_MS:
        return None
    if _newest_write_ms(settings) > built_ms:
        return None
    return (
        f"These are old logs, their newest line is of {when(newest_ms)}: execintel refresh would "
        f"find nothing in its window of {settings.window_days} days. To look at them this is "
        "right as it stands; to trade, let EXECINTEL_LOG_DIR name what a running executor writes"
    )


def _newest_write_ms(settings: "Settings") -> float:
    from pipelines.intake import sources

    found = sources.discover(settings.log_folders())
    times = []
    for file in found.files:
        with contextlib.suppress(OSError):  # rotated away just now
            times.append(file.path.stat().st_mtime)
    return 1000 * max(times, default=0.0)


def symbols(con: "duckdb.DuckDBPyConnection") -> list[str]:
    """Return the symbols of a snapshot, sorted."""
    rows = con.sql(
        "SELECT symbol FROM feat_router__effectiveness UNION"
        " SELECT symbol FROM feat_symbol__performance ORDER BY symbol"
    ).fetchall()
    return [name for (name,) in rows if name != "*"]


def known_symbol(con: "duckdb.DuckDBPyConnection", symbol: str) -> str:
    """Return the symbol as the snapshot writes it.

    Raises CommandError naming those there are.
    """
    known = {name.upper(): name for name in symbols(con)}
    if symbol.upper() not in known:
        there = ", ".join(known.values()) or "none"
        raise common.CommandError(f"{symbol} is not in this snapshot; there are: {there}")
    return str(known[symbol.upper()])
