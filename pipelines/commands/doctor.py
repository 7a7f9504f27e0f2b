"""`execintel doctor`: what is configured, found, stale, broken or held, and what to do about each.

Put here: looking and advising. Keep out: changing anything.
"""

import difflib
import os
import shutil
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from features.words import counted
from pipelines.commands import common

if TYPE_CHECKING:
    from features.settings import Settings
    from features.snapshot import Store

_FREE_SHARE = 0.05
_SHOWN = 10
_FOLDERS = (
    "lake",
    "lake/hist_features",
    "snapshots",
    "snapshots/archive",
    "cache",
    "dagster",
)


@dataclass
class Findings:
    """What needs a person (exit code 1) and what is only worth knowing."""

    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def doctor() -> None:
    """Say what is configured, found, stale, broken or held, and what to do about each.

    Example: execintel doctor || mail -s "execintel needs you" desk@example.org

    Exit code 0 when nothing needs a person, else 1. Nothing is changed.
    """
    settings = common.load_settings()
    found = Findings()
    _configured(settings)
    _misspelt(settings, found)
    _files(settings, found)
    _lake(settings, found)
    store = common.open_store(settings)
    _snapshot(settings, store, found)
    _alerts(settings, store, found)
    _switches(settings, found)
    _last_failed(store, found)
    _history(settings, found)
    _mirror()
    _disk(settings, found)
    _verdict(found)
    if found.broken:
        raise typer.Exit(1)


def _configured(settings: "Settings") -> None:
    from features.settings import Settings, config_path, variable

    config = config_path()
    named = tomllib.loads(config.read_text("utf-8")) if config else {}
    variables = {name.upper() for name in os.environ}
    rows = []
    for name in Settings.model_fields:
        if name == "secret_patterns":
            continue
        value = getattr(settings, name)
        if variable(name) in variables:
            origin = variable(name)
        elif name in named and config:
            origin = config.name
        else:
            origin = "default"
        if name == "trading":
            rows += _changed_trading(settings, origin)
        elif origin != "default" or value not in (None, (), {}):
            rows.append((name, _plain(value), origin))
    common.show_table(
        f"Configured ({config or 'no execintel.toml'})", ("setting", "value", "from"), rows, left=3
    )


def _misspelt(settings: "Settings", found: Findings) -> None:
    """Note what looks like a setting and is none: it has no effect, which nobody would see."""
    from features.settings import OTHER_VARIABLES, Settings, variable
    from pipelines.intake.kinds import RAW_TABLES

    known = {*map(variable, Settings.model_fields), *OTHER_VARIABLES}
    for name in sorted(os.environ):
        if name.upper().startswith(("EXECINTEL_", "EXEC_INTEL_")) and name.upper() not in known:
            found.notes.append(f"variable {name} is no setting{_meant(name.upper(), known)}")
    for name in sorted(set(settings.freshness) - set(RAW_TABLES)):
        found.broken.append(f"[freshness.{name}]: no such source{_meant(name, RAW_TABLES)}")


def _meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f": perhaps {near[0]} is meant" if near else ": it has no effect"


def _changed_trading(settings: "Settings", origin: str) -> list[tuple[str, str, str]]:
    usual = type(settings.trading)()
    return [
        (f"trading.{name}", _plain(value), origin)
        for name, value in settings.trading
        if value != getattr(usual, name)
    ]


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(getattr(item, "path", item)) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    return common.text(value)


def _files(settings: "Settings", found: Findings) -> None:
    from pipelines.intake import sources
    from pipelines.intake.kinds import RAW_TABLES

    folders = settings.log_folders()
    if not folders:
        found.broken.append(
            "no log folder is configured: set EXECINTEL_LOG_DIR or [[logs]] in execintel.toml"
        )
        return
    looked = sources.discover(folders)
    sizes: dict[str, list[int]] = {name: [] for name in RAW_TABLES}
    for file in looked.files:
        sizes[file.kind.table].append(file.path.stat().st_size)
    common.show_table(
        f"Found in {', '.join(str(folder.path) for folder in folders)}",
        ("raw table", "files", "bytes"),
        [(name, len(each), common.size(sum(each))) for name, each in sizes.items()],
    )
    if not looked.files:
        found.broken.append(
            "no file has the name of a log: docs/configuration.md lists the names that are read"
        )
    found.broken += [f"{problem.path}: {problem.what}" for problem in looked.problems]
    found.notes += _some(
        [f"{path}: no kind claims it, so it is not read" for path in looked.unclaimed],
        "files that no kind claims",
    )


def _some(lines: list[str], what: str) -> list[str]:
    if len(lines) <= _SHOWN:
        return lines
    return [*lines[:_SHOWN], f"… and {len(lines) - _SHOWN} more {what}"]


def _lake(settings: "Settings", found: Findings) -> None:
    from deltalake.exceptions import DeltaError

    from features.lake import FORMAT_VERSION, Lake

    marker = settings.lake_root / "FORMAT"
    if not marker.exists():
        common.say(f"lake: none yet at {settings.lake_root}; execintel refresh makes it")
        return
    version = marker.read_text().strip()
    common.say(f"lake: {settings.lake_root}, format {version}")
    if version != str(FORMAT_VERSION):
        found.broken.append(
            f"the lake has format {version}, this release reads {FORMAT_VERSION}: use the release "
            "that wrote it, or point EXECINTEL_HOME at a new folder"
        )
    lake = Lake(settings.lake_root)
    for path in sorted(lake.root.iterdir()):
        if not path.is_dir():
            continue
        try:
            lake.open(path.name)
        except DeltaError as error:
            found.broken.append(
                f"{path} is no whole Delta table ({str(error).splitlines()[0]}): restore it, or "
                "point EXECINTEL_HOME at a new folder and read the logs again"
            )


def _snapshot(settings: "Settings", store: "Store", found: Findings) -> None:
    from features.snapshot import SnapshotError

    hold = store.hold()
    if hold is not None:
        found.broken.append(
            f"publication is on HOLD since {common.when(hold.since_ms)} by {hold.by}: "
            f"{hold.reason}. When that is mended: execintel snapshots resume"
        )
    current = store.current()
    waiting = store.waiting()
    if waiting:
        causes = "; ".join(check["cause"] for check in store.held_by(waiting[-1]))
        found.broken.append(f"{len(waiting)} builds wait for a person, {waiting[-1]}: {causes}")
    if current is None:
        found.broken.append("nothing is published yet: execintel refresh")
        return
    try:
        manifest = store.manifest(current)
    except SnapshotError as error:
        found.broken.append(f"CURRENT is broken: {error}. execintel snapshots rollback --reason …")
        return
    newest = max((store.manifest(i) for i in store.ids()), key=lambda each: int(each["created_ms"]))
    published_ms = max(
        [p["published_ms"] for p in store.publications() if p["snapshot_id"] == current]
        or [manifest["created_ms"]]
    )
    common.say(
        f"CURRENT: {current}, as of {common.when(manifest['as_of_ms'])}, "
        f"published {common.when(published_ms)}; {len(store.ids())} snapshots kept"
    )
    idle_s = (common.now_ms() - max(newest["created_ms"], published_ms)) / 1000
    _age(settings, manifest, idle_s, found)
    if manifest["environment"] != settings.environment:
        found.broken.append(
            f"CURRENT is of environment {manifest['environment']}, configured is "
            f"{settings.environment}, whose builds are kept, not published: mend "
            "EXECINTEL_ENVIRONMENT, or say execintel refresh --publish"
        )
    found.broken += _missing_files(manifest["inputs"].values())
    for check in manifest["checks"]:
        if check["rows"]:
            found.notes.append(
                f"check {check['name']} of CURRENT, {counted(check['rows'], 'row')}:"
                f" {check['cause']}"
            )
            found.notes += [f"    {example}" for example in check["examples"]]
    _freshness(store, current, found)
    _coverage(store, current, found)


def _age(settings: "Settings", manifest: dict[str, Any], idle_s: float, found: Findings) -> None:
    """Tell of a schedule that stopped, else of a CURRENT whose as-of engines find too old."""
    age_s = (common.now_ms() - manifest["as_of_ms"]) / 1000
    allowed = common.span(settings.snapshot_max_age_s)
    words = (
        f"CURRENT is stale: its as-of is {common.span(age_s)} old, allowed are {allowed}; engines "
        "size at most 1.00 by it"
    )
    if age_s <= settings.snapshot_max_age_s:
        return
    if manifest["origin"] == "demo":
        found.notes.append(f"{words}. Generated demo data is old by nature")
    elif idle_s > settings.snapshot_max_age_s:
        found.broken.append(
            f"the last build is {common.span(idle_s)} old, allowed are {allowed}: is execintel up "
            "running? execintel refresh builds now"
        )
    else:
        found.broken.append(f"{words}. execintel refresh without --as-of makes one of now")


def _alerts(settings: "Settings", store: "Store", found: Findings) -> None:
    """Name the critical alerts that nobody acknowledged; a broken file was told of before."""
    import duckdb

    from features.snapshot import SnapshotError
    from pipelines import alerts

    try:
        there = alerts.open_alerts(store)
    except (duckdb.Error, SnapshotError):
        return
    waiting = [each for each in there if each.severity == "critical"]
    seen = alerts.acknowledged(settings.home)
    waiting = [each for each in waiting if not alerts.is_seen(each, seen)]
    found.broken += _some(
        [
            f"critical alert {each.key}, open since {common.when(each.since_ms)}: {each.text} "
            "execintel alerts list shows it, execintel alerts ack says that you have seen it"
            for each in waiting
        ],
        "critical alerts: execintel alerts list",
    )


def _switches(settings: "Settings", found: Findings) -> None:
    """Tell what stands over trading: a person's switch is a note, the engine's halt waits."""
    from live.controls import Controls

    state = Controls(settings.controls_root).state()
    if state.mode != "run":
        who = f" since {common.when(state.at_ms)} by {state.by}" if state.by else ""
        words = (
            f"trading stands at {state.mode}{who}: {state.reason or 'no reason given'}. "
            "execintel resume ends it"
        )
        is_of_person = state.by not in ("", "engine")
        (found.notes if is_of_person else found.broken).append(words)
    now_ms = common.now_ms()
    found.notes += [
        f"{symbol} is switched off: {entry.reason or 'no reason given'}. "
        f"execintel enable {symbol} ends it"
        for symbol, entry in sorted(state.disabled.items())
        if entry.until_ms is None or entry.until_ms > now_ms
    ]


def _coverage(store: "Store", current: str, found: Findings) -> None:
    """Say how much of each account the logs explain; a broken file was told of before."""
    import duckdb

    from features.snapshot import SnapshotError, open_snapshot

    try:
        with open_snapshot(store.database(current)) as con:
            rows = con.sql(
                "SELECT account, status, coverage, nav_change_usd, unexplained_usd,"
                " position_unexplained_usd, nav_rejected_n, likely_cause"
                " FROM feat_account__coverage WHERE day = '*' ORDER BY account"
            ).fetchall()
    except (duckdb.Error, SnapshotError):
        return
    common.show_table(
        "What the logs explain of each account, over the window; USD",
        ("account", "status", "share", "NAV change", "unexplained", "of positions", "NAVs refused"),
        [
            (
                name,
                status,
                common.UNKNOWN if share is None else f"{100 * share:.1f} %",
                common.number(nav),
                common.number(unexplained),
                common.number(moved),
                rejected,
            )
            for name, status, share, nav, unexplained, moved, rejected, _ in rows
        ],
        left=2,
    )
    found.notes += [
        f"account {row[0]} is {row[1]}: sizes stay at or below 1"
        + (f"; probably {row[7].replace('_', ' ')}" if row[7] else "")
        + ". execintel reconcile lists what is missing"
        for row in rows
        if row[1] != "complete"
    ]


def _missing_files(inputs: Iterable[dict[str, list[str]]]) -> list[str]:
    gone = [path for source in inputs for path in source["files"] if not Path(path).exists()]
    if not gone:
        return []
    return [
        f"{len(gone)} lake files of CURRENT are gone, such as {gone[0]}: moved? "
        "execintel snapshots relocate LAKE_ROOT; else execintel refresh makes a whole one"
    ]


def _freshness(store: "Store", current: str, found: Findings) -> None:
    from features.snapshot import open_snapshot

    try:
        con = open_snapshot(store.database(current))
    except Exception as error:  # whatever DuckDB finds wrong with the file, it is broken
        found.broken.append(
            f"CURRENT cannot be opened ({error}): execintel snapshots rollback --reason …"
        )
        return
    with con:
        rows = con.sql(
            "SELECT source, n, last_event_at_utc, lag_s, rejected_24h, required, max_silence_s,"
            " status FROM feat_ops__source_freshness WHERE symbol = '*' ORDER BY source"
        ).fetchall()
    common.show_table(
        "Sources as of CURRENT; rejected: lines of the 24 h before it",
        ("source", "status", "lines", "newest event, UTC", "age", "rejected"),
        [
            (
                name,
                f"{status}, required" if required else status,
                n,
                None if last is None else f"{last:%Y-%m-%d %H:%M}",
                common.span(lag),
                rejected,
            )
            for name, n, last, lag, rejected, required, _, status in rows
        ],
        left=2,
    )
    if all(last is None for _, _, last, *_ in rows):
        found.broken.append(
            "CURRENT holds no line at all: is the executor alive, EXECINTEL_LOG_DIR its folder? "
            "For old logs name a time: execintel refresh --as-of T --publish"
        )
    for name, _, last, lag, _, required, limit, status in rows:
        if status == "ok":
            continue
        words = (
            f"{name} has no line in the window"
            if last is None
            else f"{name} is silent since {common.span(lag)}, allowed are {common.span(limit)}"
        )
        if required:
            found.broken.append(f"{words} and is required: look at the executor that writes it")
        else:
            found.notes.append(f"{words}; it is not required")


def _last_failed(store: "Store", found: Findings) -> None:
    rejected = store.rejected()
    if not rejected:
        return
    last = rejected[-1]
    built = [store.manifest(i)["sequence"] for i in store.ids()]
    is_newest = last["sequence"] > max(built, default=0)
    lines = [
        f"build {last['snapshot_id']} of {common.when(last['created_ms'])} was refused"
        + (", CURRENT stays as it was" if is_newest else "; a later build passed")
    ]
    for check in last["checks"]:
        if check["name"] in last["failed_checks"]:
            lines.append(f"    {check['name']}, {counted(check['rows'], 'row')}: {check['cause']}")
            lines += [f"        {example}" for example in check["examples"]]
    if is_newest:
        lines.append("    mend the cause, then execintel refresh")
        found.broken += ["\n".join(lines)]
    else:
        found.notes += ["\n".join(lines)]


def _history(settings: "Settings", found: Findings) -> None:
    from features import history_store
    from features.lake import Lake

    try:
        kept = history_store.summary(Lake(settings.lake_root))
    except OSError as error:
        found.broken.append(
            f"the history cannot be read ({error}): restore {history_store.TABLE} below "
            f"{settings.lake_root}, or move it away to begin anew from the snapshots kept"
        )
        return
    if kept.first_ms is None:
        return
    common.say(
        f"history: {kept.publication_n} publications since {common.when(kept.first_ms)}, "
        f"kept {settings.history_days} days"
    )
    if kept.without_rows_n:
        found.notes.append(
            f"{kept.without_rows_n} publications stand in the history without rows: their "
            "snapshots were damaged before they were kept"
        )


def _mirror() -> None:
    from live.firestore_link import hedge_env, where

    found = where()
    if found is None:
        common.say("mirror: off, neither GOOGLE_CLOUD_PROJECT nor FIRESTORE_EMULATOR_HOST is set")
    else:
        common.say(f"mirror: {found}, hedge/{hedge_env()}; execintel mirror says what stands there")


def _disk(settings: "Settings", found: Findings) -> None:
    rows = []
    for name in _FOLDERS:
        folder = settings.home / name
        if folder.is_dir():
            rows.append((name, common.size(_bytes_below(folder))))
    if not rows:
        return
    disk = shutil.disk_usage(settings.home)
    rows.append(("free on this disk", common.size(disk.free)))
    common.show_table(f"Disk under {settings.home}", ("folder", "bytes"), rows)
    if disk.free < _FREE_SHARE * disk.total:
        found.broken.append(
            f"only {common.size(disk.free)} are free under {settings.home}: execintel upkeep "
            "removes what is not needed, else give it room"
        )


def _bytes_below(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except FileNotFoundError:  # a running refresh moves files
                continue
    return total


def _verdict(found: Findings) -> None:
    for note in found.notes:
        common.say(f"note: {note}")
    if not found.broken:
        common.say("healthy: nothing needs a person", style="bold green")
        return
    common.say(f"{len(found.broken)} to mend:", style="bold red")
    for fault in found.broken:
        common.say(f"- {fault}")
