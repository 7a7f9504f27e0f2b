"""`execintel mirror`: whether the snapshot is in Firestore, what that takes, and doing it now.

Put here: asking and telling. Keep out: documents (live/), estimates (pipelines/mirror.py).
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands import common
from pipelines.commands.common import number

if TYPE_CHECKING:
    from features.settings import Settings
    from features.snapshot import Store
    from live.mirror.documents import Documents

_PATIENCE_S = 60.0  # a person waits; a refresh gives it 10


def mirror(
    once: Annotated[
        bool,
        typer.Option("--once", help="Write CURRENT now, reading back and mending what stands."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what would be written, its bytes, and whether a day of it is free of charge.",
        ),
    ] = False,
    refreshes: Annotated[
        int,
        typer.Option(
            help="With --dry-run: snapshots a day, such as 288 for one every 5 minutes.",
            min=1,
            max=86_400,
        ),
    ] = 288,
) -> None:
    """Tell what is mirrored in Firestore; with --once mirror the newest snapshot now.

    Example: GOOGLE_CLOUD_PROJECT=my-project execintel mirror --dry-run

    On when GOOGLE_CLOUD_PROJECT or FIRESTORE_EMULATOR_HOST is set, below hedge/HEDGE_ENV. The
    schedule of execintel up mirrors after every snapshot; docs/mirror.md describes the documents.
    """
    settings = common.load_settings()
    store = common.open_store(settings)
    if once and dry_run:
        raise common.CommandError("--once writes, --dry-run does not: give one of them")
    if once:
        _once(settings, store)
    elif dry_run:
        _dry_run(settings, store, refreshes)
    else:
        _state(settings, store)


def _once(settings: "Settings", store: "Store") -> None:
    from pipelines.mirror import mirror_current

    with common.counting("mirroring"):
        done = mirror_current(store, settings, verify=True, deadline_s=_PATIENCE_S)
    if not done.is_good:
        why = "" if done.outcome == "off" else f" ({done.outcome})"
        raise common.CommandError(f"not mirrored{why}: {done.detail}")
    common.say(
        f"{done.outcome} {done.snapshot_id}: {done.written} documents written, {done.deleted}"
        f" deleted, {done.skipped} stood there, in {done.seconds:.1f} s"
    )


def _state(settings: "Settings", store: "Store") -> None:
    from live.mirror.desk import fields_of
    from pipelines.commands import mirrored
    from pipelines.mirror import desk_of

    with mirrored.open_source(settings) as source:
        header = source.header
        if header is None:
            raise common.CommandError(f"nothing whole is mirrored: {source.problem}")
        mirrored.head(settings, source, header)
    current = store.current()
    if current is None:
        common.say(f"CURRENT      none under {store.root}")
    elif current != header.snapshot_id:
        common.say(f"CURRENT      {current}: execintel mirror --once mirrors it", style="yellow")
    elif fields_of(desk_of(store, current, settings)) != fields_of(source.desk):
        common.say(
            "CURRENT      is what is mirrored; HOLD, a switch or which decisions act has changed"
            " since: execintel mirror --once mirrors it",
            style="yellow",
        )
    else:
        common.say("CURRENT      is what is mirrored")


def _dry_run(settings: "Settings", store: "Store", refreshes: int) -> None:
    from live.mirror.documents import DocumentError, documents_of
    from live.mirror.link import hedge_env
    from pipelines.mirror import NotMirrorableError, desk_of, generation_of

    try:
        generation = generation_of(store, store.current())
        desk = desk_of(store, generation.snapshot_id, settings)
        documents = documents_of(generation, hedge_env(), desk)
    except (NotMirrorableError, DocumentError) as error:
        raise common.CommandError(f"not mirrored: {error}") from error
    common.say(f"snapshot     {generation.snapshot_id}")
    _what(documents)
    _day(settings, store, documents, refreshes)


def _what(documents: "Documents") -> None:
    from live.mirror.documents import document_size
    from live.mirror.link import hedge_env

    written, against = _to_write(documents)
    common.say(f"mirror       {against}")
    rows: dict[str, list[int]] = {}
    env = hedge_env()
    everything = [*documents.documents.items(), ("snapshots/current", documents.current)]
    for path, document in everything:
        size = document_size(f"hedge/{env}/{path}", document)
        row = rows.setdefault(path.partition("/")[0], [0, 0, 0, 0])
        row[0] += 1
        row[1] += size
        row[2] = max(row[2], size)
        row[3] += path in written
    common.show_table(
        f"Documents below hedge/{env}; bytes as Firestore counts them, one may have 1.0 MB",
        ("collection", "documents", "bytes", "largest", "would be written"),
        [
            (name, count, common.size(total), common.size(largest), changed)
            for name, (count, total, largest, changed) in rows.items()
        ],
    )


def _to_write(documents: "Documents") -> tuple[set[str], str]:
    """Return the paths that would be written and against what was compared."""
    from live.firestore_mirror import compare
    from live.mirror import link

    everything = {*documents.hashes, "snapshots/current"}
    where = link.where()
    if where is None:
        return everything, "off: as if written to an empty one; set GOOGLE_CLOUD_PROJECT"
    try:
        todo = compare(documents)
    except Exception as error:
        # Whatever the client meets, a dry run still says what an empty mirror would take.
        return everything, f"{where} cannot be read, as if empty: {type(error).__name__}: {error}"
    if todo.is_same:
        return set(), f"{where}, which holds it already"
    return {*todo.changed, "snapshots/current"}, f"{where}, {len(todo.gone)} would be deleted"


def _day(settings: "Settings", store: "Store", documents: "Documents", refreshes: int) -> None:
    from live.mirror.link import hedge_env
    from pipelines import mirror as day

    with common.counting("comparing the last snapshots"):
        measured = day.measure(store, hedge_env())
    loads = day.writes_a_day(
        documents,
        measured,
        refreshes=refreshes,
        interval_s=settings.exec_intel_publish_interval_s,
    )
    rows: list[tuple[Any, ...]] = [
        (load.case, number(load.writes, 0), f"{load.share:.0%}") for load in loads
    ]
    reads = day.reads_a_day(documents, measured, refreshes=refreshes)
    rows.append(
        ("one viewer that follows, reads", number(reads, 0), f"{reads / day.FREE_READS_A_DAY:.0%}")
    )
    stored = documents.total_bytes
    rows.append(("bytes stored", common.size(stored), f"{stored / day.FREE_BYTES:.2%}"))
    common.show_table(
        f"A day of {refreshes} snapshots; free: {day.FREE_WRITES_A_DAY:,} writes,"
        f" {day.FREE_READS_A_DAY:,} reads a day, 1 GiB stored, without its indexes",
        ("what", "a day", "of the free quota"),
        rows,
    )
    usual = loads[1]  # as measured, else every document
    total = usual.writes + loads[-1].writes
    holds = total <= day.FREE_WRITES_A_DAY and reads <= day.FREE_READS_A_DAY
    common.say(
        f"{'free of charge' if holds else 'NOT free of charge'}:"
        f" {number(total, 0)} writes a day, {usual.case.partition(': ')[2]},"
        " every symbol active",
        style="green" if holds else "yellow",
    )
