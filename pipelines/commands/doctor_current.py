"""What `execintel doctor` says of CURRENT and of what stands over it: holds, alerts, switches.

Put here: looking and advising. Keep out: changing anything; this machine (doctor_machine.py).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.words import (
    MARKS,
    after_resume,
    aged,
    counted,
    on_ahead,
    on_emptied,
    on_lost,
    on_stale,
    share_range,
    source_state,
    what_is_missing,
    why_stale,
)
from pipelines.commands import common
from pipelines.commands.chosen import of_old_logs
from pipelines.commands.findings import Findings, some

if TYPE_CHECKING:
    from features.settings import Settings
    from features.snapshot import Store


def snapshot(settings: "Settings", store: "Store", found: Findings) -> None:
    from features.manifest import is_emptied, lost_lines
    from features.snapshot import SnapshotError

    hold = store.hold()
    is_held = hold is not None
    first = ". Publication is on HOLD: execintel snapshots resume first" if is_held else ""
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
        found.broken.append(store.lost_current() or "nothing is published yet: execintel refresh")
        return
    try:
        manifest = store.manifest(current)
    except SnapshotError as error:
        found.broken.append(f"CURRENT is broken: {error}. execintel snapshots rollback --reason …")
        return
    newest = max((store.manifest(i) for i in store.ids()), key=lambda each: int(each["created_ms"]))
    published_ms = max(
        [p.published_ms for p in store.publications() if p.snapshot_id == current]
        or [manifest["created_ms"]]
    )
    common.say(
        f"CURRENT: {current}, as of {common.when(manifest['as_of_ms'])}, "
        f"published {common.when(published_ms)}; {len(store.ids())} snapshots kept"
    )
    idle_s = (common.now_ms() - max(newest["created_ms"], published_ms)) / 1000
    _age(settings, store, manifest, idle_s, found, is_held=is_held)
    if manifest["environment"] != settings.environment:
        found.broken.append(
            f"CURRENT is of environment {manifest['environment']}, configured is "
            f"{settings.environment}, whose builds are kept, not published: mend "
            "EXECINTEL_ENVIRONMENT, or say "
            + after_resume("execintel refresh --publish", is_held=is_held)
        )
    is_next = (
        newest["environment"] == manifest["environment"]
        and newest["as_of_ms"] > manifest["as_of_ms"]
    )
    if is_next and (lost := lost_lines(newest, manifest)):
        found.broken.append(on_lost(newest["snapshot_id"], lost) + first)
    elif is_next and is_emptied(newest, manifest):
        found.broken.append(on_emptied(newest["snapshot_id"]) + first)
    missing = _missing_files(manifest["inputs"].values())
    found.broken += missing
    if not missing and Path(manifest["lake_root"]).resolve() != settings.lake_root:
        found.notes.append(
            f"raw and core tables of CURRENT are read from {manifest['lake_root']}, for this data "
            f"root was copied: execintel snapshots relocate {settings.lake_root} reads its own"
        )
    for check in manifest["checks"]:
        if check["rows"] and check["name"] != "feat_account__coverage_low":  # _coverage tells of it
            found.notes.append(
                f"check {check['name']} of CURRENT, {counted(check['rows'], 'row')}:"
                f" {check['cause']}"
            )
            found.notes += [f"    {example}" for example in check["examples"]]
    _freshness(store, current, found)
    _coverage(store, current, manifest["params"]["min_pnl_coverage"], found)


def _age(
    settings: "Settings",
    store: "Store",
    manifest: dict[str, Any],
    idle_s: float,
    found: Findings,
    *,
    is_held: bool,
) -> None:
    """Tell of an as-of ahead of the clock, of old logs, of a schedule that stopped, else of age."""
    from live.reader import is_reduce_only

    age_s = (common.now_ms() - manifest["as_of_ms"]) / 1000
    if why_stale(age_s, settings.snapshot_max_age_s) is None:
        return
    allowed = common.span(settings.snapshot_max_age_s)
    does = on_stale(reduces_only=is_reduce_only(age_s, settings.snapshot_max_age_s))
    at = (
        f"lies {aged(age_s)}"
        if age_s < 0
        else f"is {common.span(age_s)} old, allowed are {allowed}"
    )
    words = f"CURRENT is stale: its as-of {at}; engines {does} by it"
    if manifest["origin"] == "demo":
        nature = "" if age_s < 0 else ". Generated demo data is old by nature"
        found.notes.append(f"{words}{nature}")
    elif age_s < 0:
        found.broken.append(f"{words}. {on_ahead(is_held=is_held)}")
    elif (old := of_old_logs(settings, store)) is not None:
        found.broken.append(f"{words}. {old}")
    elif idle_s > settings.snapshot_max_age_s:
        found.broken.append(
            f"the last build is {common.span(idle_s)} old, allowed are {allowed}: is execintel up "
            f"running? {after_resume('execintel refresh', is_held=is_held)} builds now"
        )
    else:
        refresh = after_resume("execintel refresh without --as-of", is_held=is_held)
        found.broken.append(f"{words}. {refresh} makes one of now")


def alerts(settings: "Settings", store: "Store", found: Findings) -> None:
    """Name the critical alerts that nobody acknowledged, count the others.

    A broken file was told of before.
    """
    import duckdb

    from features.acknowledgements import acknowledged
    from features.snapshot import SnapshotError
    from pipelines import alerts

    try:
        there = alerts.open_alerts(store)
    except (duckdb.Error, SnapshotError):
        return
    seen = acknowledged(settings.home)
    unseen = [each for each in there if not alerts.is_seen(each, seen)]
    waiting = [each for each in unseen if each.severity == "critical"]
    if minor_n := len(unseen) - len(waiting):
        found.notes.append(
            f"{counted(minor_n, 'open alert')} below critical that nobody has seen: execintel "
            "alerts list"
        )
    found.broken += some(
        [
            f"critical alert {each.key}, open since {common.when(each.since_ms)}: {each.text} "
            "execintel alerts list shows it, execintel alerts ack says that you have seen it"
            for each in waiting
        ],
        "critical alerts: execintel alerts list",
    )


def switches(settings: "Settings", found: Findings) -> None:
    """Tell what stands over trading: over all of it waits for a resume, over a symbol is a note."""
    from live.trading.controls import Controls, notices

    state = Controls(settings.controls_root).state()
    for level, words in notices(state, common.now_ms()):
        (found.broken if level == "bad" else found.notes).append(words)


def _coverage(store: "Store", current: str, needed: float, found: Findings) -> None:
    """Say how much of each account the logs explain; a broken file was told of before."""
    import duckdb

    from features.snapshot import SnapshotError, open_snapshot
    from pipelines.commands.unknowable import unknowable

    try:
        with open_snapshot(store.database(current)) as con:
            rows = con.sql(
                "SELECT account, status, coverage, nav_change_usd, unexplained_usd,"
                " position_unexplained_usd, nav_rejected_n, pnl_explained_lo, pnl_explained_hi, n,"
                " position_explained_ratio, position_change_n, pnl_missing_n, pnl_missing_usd,"
                " likely_cause"
                " FROM feat_account__coverage WHERE day = '*' ORDER BY account"
            ).fetchall()
            reasons = unknowable(con, needed)
    except (duckdb.Error, SnapshotError):
        return
    common.show_table(
        "What the logs explain of each account, over the window; USD",
        ("account", "status", "share", "NAV change", "of it unexplained",
         "positions moved unexplained", "NAVs refused"),
        [
            (name, status, common.share(coverage), common.number(nav), common.number(unexplained),
             common.number(moved), rejected)
            for name, status, coverage, nav, unexplained, moved, rejected, *_ in rows
        ],
        left=2,
    )  # fmt: skip
    for name, status, *rest in rows:
        if status == "complete":
            continue
        low, high, nav_n, moves, change_n, lost_n, lost_usd, cause = rest[5:]
        of_nav = "an unknown share" if low is None else share_range(low, high)
        of_moves = "an unknown share" if moves is None else common.share(moves)
        moved = f"{of_moves} of its position changes (n = {change_n})"
        lost = f", and lack the PnL of {lost_n} of them ({common.number(lost_usd)} USD)"
        why = reasons.get(name) if cause is None else None
        missing = ". ".join(why) if why else what_is_missing(cause)
        where = "lists each" if cause else "shows it by day"
        found.notes.append(
            f"account {name} is {status}: the logs explain {of_nav} of its NAV change "
            f"(n = {nav_n} NAV values)"
            f"{f' and {moved}' if change_n else '; no change of position was seen'}"
            f"{lost if lost_n else ''}; a size above 1 needs {common.share(needed)} of each. "
            f"{missing}. execintel reconcile {where}"
        )


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
                _marked(status, required),
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
            found.notes.append(f"{words}; it is optional")
    if not any(required for *_, required, _, _ in rows):
        found.notes.append(
            "no source is required, so none that falls silent keeps a build from publication: for "
            "the one that must not, say [freshness.raw_router__events] required = true in "
            'execintel.toml, or EXECINTEL_FRESHNESS=\'{"raw_router__events": {"required": true}}\''
        )


def _marked(status: str, required: bool) -> str:
    level, words = source_state(status, required=required)
    return f"{MARKS[level]} {words}"


def last_failed(store: "Store", found: Findings) -> None:
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
        refresh = after_resume("execintel refresh", is_held=store.hold() is not None)
        lines.append(f"    mend the cause, then {refresh}")
        found.broken += ["\n".join(lines)]
    else:
        found.notes += ["\n".join(lines)]
