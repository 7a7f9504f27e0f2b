"""`execintel snapshots`: what is kept, how it differs, going back, and proving it.

Put here: asking the store and telling. Keep out: every change to the store (features/snapshot.py).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from features.words import after_resume, counted
from pipelines.commands import common
from pipelines.operator import operator

if TYPE_CHECKING:
    from features.snapshot import Store

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="List, compare, take back and prove snapshots. Example: execintel snapshots list",
)

Id = Annotated[
    str | None,
    typer.Argument(
        help="A snapshot's id or the beginning of it, such as 20251106T000000Z; default: CURRENT."
    ),
]
_WAIT_S = 60.0


@app.command("list")
def list_snapshots() -> None:
    """List the snapshots that are kept, oldest build first, and the builds a check refused.

    Example: execintel snapshots list
    """
    settings = common.load_settings()
    store = common.open_store(settings)
    published = {p.snapshot_id for p in store.publications()}
    current = store.current()
    rows = []
    for snapshot_id in store.ids():
        manifest = store.manifest(snapshot_id)
        state = "published" if snapshot_id in published else _why_kept(manifest)
        rows.append(_row(manifest, "CURRENT" if snapshot_id == current else state))
    for manifest in store.rejected():
        rows.append(_row(manifest, f"refused by {', '.join(manifest['failed_checks'])}"))
    if not rows and current is None:
        common.say(f"no snapshot under {store.root}: execintel refresh makes the first")
        return
    common.show_table(
        f"Snapshots under {store.root}",
        ("snapshot", "state", "environment", "as of, UTC", "built, UTC", "number"),
        rows,
        left=3,
    )
    hold = store.hold()
    if current not in (None, *store.ids()):
        refresh = after_resume("execintel refresh", is_held=hold is not None)
        common.say(
            f"CURRENT names {current}, which cannot be read: {refresh} makes another, "
            "execintel snapshots rollback --reason … goes back",
            style="bold red",
        )
    if hold is not None:
        common.say(
            f"HOLD since {common.when(hold.since_ms)} by {hold.by}: {hold.reason}. "
            "execintel snapshots resume ends it",
            style="bold red",
        )


def _why_kept(manifest: dict[str, Any]) -> str:
    held = ", ".join(manifest.get("held_checks", []))
    return f"held by {held}" if held else "kept, never published"


def _row(manifest: dict[str, object], state: str) -> tuple[object, ...]:
    as_of_ms, created_ms = manifest["as_of_ms"], manifest["created_ms"]
    assert isinstance(as_of_ms, int)
    assert isinstance(created_ms, int)
    return (
        manifest["snapshot_id"],
        state,
        manifest["environment"],
        common.minute(as_of_ms),
        common.minute(created_ms),
        manifest["sequence"],
    )


@app.command()
def diff(
    before: Annotated[
        str | None,
        typer.Argument(
            help="The older snapshot's id, or the beginning of it: 20251105T; default: the one "
            "built before the newer."
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Argument(
            help="The newer snapshot's id, or the beginning of it: 20251106T; default: the newest."
        ),
    ] = None,
    examples: Annotated[
        int,
        typer.Option(help="Changed values to show of each table, such as --examples 20.", min=0),
    ] = 5,
) -> None:
    """Say which rows of which tables differ between two snapshots, with examples.

    Example: execintel snapshots diff, or execintel snapshots diff 20251105T 20251106T

    Without ids it compares the last two that were built; execintel snapshots list names them.
    """
    from features.diff import differences

    settings = common.load_settings()
    store = common.open_store(settings)
    ids = _two(store, before, after)
    if before is None or after is None:
        common.say(f"{ids[0]} → {ids[1]}")
    is_equal = True
    for item in differences(store, *ids):
        is_equal = False
        common.say(
            f"{item['table']}: {counted(item['added'], 'row')} added, {item['removed']:,} removed, "
            f"{item['changed']:,} changed"
        )
        for key, column, old, new in item["examples"][:examples]:
            named = ", ".join(str(part) for part in key)
            common.say(f"    {named}: {column} {_moved(column, old, new)}")
    if is_equal:
        common.say(f"{ids[0]} and {ids[1]} hold equal rows in every table")


def _two(store: "Store", before: str | None, after: str | None) -> tuple[str, str]:
    """Return the two snapshots to compare: the last two built, unless they are named."""
    built = store.ids()
    newer = store.resolve(after) if after or not built else built[-1]
    if before is not None:
        return store.resolve(before), newer
    earlier = built[: built.index(newer)]
    if not earlier:
        raise common.CommandError(
            f"there is none before {newer} to compare it with: execintel refresh makes the next"
        )
    return earlier[-1], newer


_DIGITS = {"bps": 2, "usd": 2, "pct": 2, "ratio": 3, "s": 1}  # of a column's unit
_YEAR_2001_MS = 1_000_000_000_000
_SIGNIFICANT = 4  # of a number without unit


def _moved(column: str, old: object, new: object) -> str:
    """Write a changed value in as many digits as its unit deserves, more where it moved less."""
    if column.endswith("_ms") and isinstance(old, int) and isinstance(new, int):
        are_moments = min(old, new) > _YEAR_2001_MS  # else durations
        return f"{common.when(old)} → {common.when(new)}" if are_moments else f"{old} → {new}"
    if not (isinstance(old, float) and isinstance(new, float)):
        return f"{_value(old)} → {_value(new)}"
    digits = next((_DIGITS[part] for part in column.split("_") if part in _DIGITS), None)
    for more in range(16):
        spec = f",.{_SIGNIFICANT + more}g" if digits is None else f",.{digits + more}f"
        was, now = format(old, spec), format(new, spec)
        if was != now:
            return f"{was} → {now}"
    return f"{old!r} → {new!r}"


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else common.text(value)


@app.command()
def rollback(
    snapshot: Annotated[
        str | None,
        typer.Argument(
            help="Where to go back to, such as 20251105T; default: what was published before "
            "CURRENT and not taken back since."
        ),
    ] = None,
    reason: Annotated[
        str,
        typer.Option(
            help='Why, for those who meet the hold, such as --reason "fees of the 5th are wrong".'
        ),
    ] = "",
) -> None:
    """Point CURRENT at an earlier snapshot and hold publication until you resume it.

    Example: execintel snapshots rollback --reason "fees of the 5th are wrong"

    Refresh goes on building and keeps what it builds, but publishes nothing.
    """
    from features import history_store
    from features.lake import Lake
    from features.lock import writer_lock

    if not reason.strip():
        raise common.CommandError(
            'a rollback needs its reason: --reason "why", for those after you'
        )
    settings = common.load_settings()
    store = common.open_store(settings)
    with writer_lock(settings.home, "rollback", wait_s=_WAIT_S):
        before = store.resolve(None)
        now = store.rollback(snapshot, now_ms=common.now_ms(), by=operator(), reason=reason.strip())
        history_store.catch_up(Lake(settings.lake_root), store)
    went = f"went back from {before} to" if now != before else "stays"
    common.say(f"CURRENT {went} {now}; publication is on HOLD")
    _tell_content(store.manifest(now))
    common.say("when the cause is mended: execintel snapshots resume, then execintel refresh")


def _tell_content(manifest: dict[str, Any]) -> None:
    """Say how much a snapshot holds: one may have been published before the first order."""
    from features.manifest import symbol_count

    tables = manifest["tables"]
    row_n = sum(table["rows"] for table in tables.values())
    symbol_n = symbol_count(manifest)
    words = (
        f"it holds {symbol_n} symbols and {row_n} rows, as of {common.when(manifest['as_of_ms'])}"
    )
    if symbol_n:
        common.say(words)
    else:
        common.say(
            f"{words}: readers find no symbol in it. To go elsewhere: execintel snapshots list, "
            "then execintel snapshots rollback ID --reason …",
            style="yellow",
        )


@app.command()
def publish(
    snapshot: Annotated[
        str | None,
        typer.Argument(
            help="A build that was kept or that a check holds, by its id or the beginning of it, "
            "such as 20251106T000000Z; default: the newest that waits."
        ),
    ] = None,
) -> None:
    """Publish a build that waits for a person: look at it first, this releases it.

    Example: execintel snapshots diff 20251105T 20251106T && execintel snapshots publish 20251106T

    A check holds a build whose sizes jump against the snapshot before (parameter hold_changes; by
    default in live environments only). Later builds are then measured against the released one.
    """
    from features import history_store
    from features.lake import Lake
    from features.lock import writer_lock

    settings = common.load_settings()
    store = common.open_store(settings)
    with writer_lock(settings.home, "snapshots publish", wait_s=_WAIT_S):
        now = store.release(snapshot, now_ms=common.now_ms(), by=operator())
        history_store.catch_up(Lake(settings.lake_root), store)
    common.say(f"published {now}", style="bold green")


@app.command()
def resume() -> None:
    """End a hold: the next refresh publishes again.

    Example: execintel snapshots resume && execintel refresh
    """
    from features.lock import writer_lock

    settings = common.load_settings()
    store = common.open_store(settings)
    with writer_lock(settings.home, "resume", wait_s=_WAIT_S):
        hold = store.resume()
    if hold is None:
        common.say("there was no hold: refresh publishes")
    else:
        common.say(
            f"the hold of {hold.by} since {common.when(hold.since_ms)} is over ({hold.reason}); "
            "execintel refresh publishes the next snapshot"
        )


@app.command()
def verify(
    snapshot: Id = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every kept snapshot: execintel snapshots verify --all.")
    ] = False,
) -> None:
    """Compare a snapshot's files, tables and inputs with its manifest; exit code 1 on a fault.

    Example: execintel snapshots verify --all
    """
    store = common.open_store(common.load_settings())
    fault_n = 0
    for snapshot_id in common.each(_chosen(store, snapshot, every), "verifying"):
        faults = store.verify(snapshot_id)
        fault_n += len(faults)
        if not faults:
            common.say(f"{snapshot_id}: every file and table is as published")
        for fault in faults:
            common.complain(f"{snapshot_id}: {fault}")
    if fault_n:
        common.complain(
            "where files of the lake were moved, execintel snapshots relocate LAKE_ROOT mends it; "
            "else go back to a whole one: execintel snapshots rollback --reason …"
        )
        raise typer.Exit(1)


@app.command()
def rebuild(snapshot: Id = None) -> None:
    """Compute a snapshot again from the lines it came from and compare digests, table by table.

    Example: execintel snapshots rebuild 20251106T000000Z

    Nothing is changed. Other code than the snapshot's is refused, naming both.
    Exit code 1 when a digest differs.
    """
    from features.lock import writer_lock
    from features.reproduce import rebuild_snapshot

    settings = common.load_settings()
    store = common.open_store(settings)
    snapshot_id = store.resolve(snapshot)
    scratch = settings.home / "cache" / "rebuild"
    with (
        writer_lock(settings.home, "snapshots rebuild", wait_s=_WAIT_S),
        common.progress() as listen,
    ):
        tables = rebuild_snapshot(store, settings, snapshot_id, scratch, listen)
    common.show_table(
        f"{snapshot_id} computed again",
        ("table", "digest", "in the manifest", "computed", "rows"),
        [
            (t.table, "equal" if t.is_equal else "DIFFERS", t.expected[:16], t.found[:16], t.rows)
            for t in tables
        ],
        left=4,
    )
    if not all(table.is_equal for table in tables):
        raise common.CommandError(
            f"{snapshot_id} could not be reproduced: its lake was changed from outside, "
            "or the build is not deterministic on this machine"
        )
    common.say("every table has the same rows as when it was published")


@app.command()
def relocate(
    lake_root: Annotated[
        Path,
        typer.Argument(help="The lake's folder as it is now, such as /srv/execintel/lake."),
    ],
    snapshot: Annotated[
        str | None,
        typer.Option(help="Only this one, such as --snapshot 20251106T; default: every one."),
    ] = None,
) -> None:
    """Point the raw and core views of snapshots at a lake that was moved.

    Example: execintel snapshots relocate /srv/execintel/lake
    """
    from features.lock import writer_lock

    settings = common.load_settings()
    store = common.open_store(settings)
    root = lake_root.expanduser().absolute()
    if not root.is_dir():
        raise common.CommandError(f"{root} is no folder: name the one that holds raw_… and core_…")
    with writer_lock(settings.home, "relocate", wait_s=_WAIT_S):
        chosen = _chosen(store, snapshot, every=snapshot is None)
        for snapshot_id in common.each(chosen, "relocating"):
            count = store.relocate(snapshot_id, root)
            common.say(f"{snapshot_id}: {count} views read from {root}")


def _chosen(store: "Store", snapshot: str | None, every: bool) -> list[str]:
    if not every:
        return [store.resolve(snapshot)]
    if snapshot is not None:
        raise common.CommandError("name one snapshot or say --all, not both")
    ids = store.ids()
    if not ids:
        store.resolve(None)  # raises, saying what to do
    return ids
