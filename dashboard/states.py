"""What is said first on every page: no snapshot, stale, held, refused, a dead source, the past.

Put here: the words of each state, worst first. Keep out: how they look (panels.py).
"""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dashboard.settings import DashboardSettings
from features.snapshot import Store
from features.words import (
    Level,
    after_resume,
    counted,
    on_other_environment,
    on_stale,
    on_status,
    only_noted,
    span,
    when,
    why_stale,
)
from live.reader import is_reduce_only
from live.trading import controls

DEMONSTRATION = (
    "Demonstration: the age of generated data is not judged, every status below is that of when"
    " this snapshot was new."
)

if TYPE_CHECKING:
    from dashboard.data import Held, Status
    from dashboard.data_traces import TraceTables


@dataclass(frozen=True)
class Notice:
    """One thing to know before any number: ``bad`` needs a person, ``warn`` is worth knowing."""

    level: Level
    text: str


def notices_of(
    settings: DashboardSettings,
    store: Store | None,
    held: "Held | None",
    status: "Status",
    *,
    problem: str | None = None,
    past_ms: int | None = None,
    is_mirror: bool = False,
    age_s: float = 0.0,
    symbols: Collection[str] | None = None,
    traces: "TraceTables | None" = None,
    switches: controls.State | None = None,
) -> tuple[Notice, ...]:
    """Return what stands before the numbers.

    ``store`` and ``switches`` are None where what is true only now is left out.

    ``age_s`` counts up to the moment shown; ``symbols`` are the snapshot's, None without one.
    """
    found: list[Notice] = []
    if past_ms is not None:
        found.append(Notice("warn", f"Playback: everything below is as it was at {when(past_ms)}."))
    if problem is not None:
        where = "mirror" if is_mirror else "newest snapshot"
        shown = "nothing can be shown" if status == "none" else "shown is the last good one"
        found.append(Notice("bad", f"The {where} cannot be read, {shown}. {problem}"))
    elif status == "none":
        found.append(_nothing(settings) if traces is None else _trace_files(traces))
    if switches is not None:
        found += _switches(switches)
    if store is not None:
        found += _publication(store, held)
    if symbols is not None:
        is_demo = held is not None and held.manifest["origin"] == "demo"
        found += _age(settings, age_s, is_demo=is_demo, is_past=past_ms is not None)
        if not symbols:
            limit_s = float(settings.base.snapshot_max_age_s)
            found.append(_empty(reduces_only=is_reduce_only(age_s, limit_s)))
    if held is not None:
        is_held = store is not None and store.hold() is not None
        found += _environment(settings, held, is_held=is_held)
        if past_ms is None:
            found += _only_noted(settings, held)
        found += _sources(held)
    return tuple(found)


def _empty(*, reduces_only: bool) -> Notice:
    does = on_status("unknown", reduces_only=reduces_only)
    return Notice(
        "bad",
        "This snapshot holds no symbol: no attempt of an order lies within its window. Whichever"
        f" one is asked for is {does}; no alert can speak of it. execintel doctor says which logs"
        " are missing; for old logs name a time: execintel refresh --as-of T --publish; execintel"
        " snapshots rollback --reason … takes the snapshot before back, and stops publication"
        " until execintel snapshots resume.",
    )


def _age(
    settings: DashboardSettings, age_s: float, *, is_demo: bool, is_past: bool
) -> Iterator[Notice]:
    """Say what engines do by a snapshot of this age; that of generated data is not judged."""
    limit_s = float(settings.base.snapshot_max_age_s)
    why = why_stale(age_s, limit_s, *(["the moment shown"] if is_past else []))
    does = on_stale(reduces_only=is_reduce_only(age_s, limit_s))
    if is_demo:
        moment = "at this moment" if is_past else "today"
        would = (
            f" An engine reading this folder {moment} would treat it as stale ({why}) and {does}."
        )
        yield Notice(
            "warn",
            f"{DEMONSTRATION}{would if why else ''}",
        )
    elif why is not None:
        until = "until it is reached" if age_s < 0 else "until a newer snapshot comes"
        says = "what to do" if age_s < 0 else "why there is none"
        yield Notice("bad", f"Stale: {why}. Engines {does} {until}. execintel doctor says {says}.")


def _switches(state: controls.State) -> Iterator[Notice]:
    """Say what a person or the engine itself switched off."""
    for level, text in controls.notices(state, time.time_ns() // 1_000_000):
        yield Notice(level, text)


def _environment(settings: DashboardSettings, held: "Held", *, is_held: bool) -> Iterator[Notice]:
    there, asked = held.manifest["environment"], settings.base.environment
    if there != asked:
        yield Notice("bad", on_other_environment(there, asked, is_held=is_held))


def _only_noted(settings: DashboardSettings, held: "Held") -> Iterator[Notice]:
    environment = held.manifest["environment"]
    if words := only_noted(settings.base.applied(environment), environment):
        yield Notice("warn", words)


def _nothing(settings: DashboardSettings) -> Notice:
    root = settings.base.snapshots_root
    if lost := Store(root).lost_current():
        return Notice("bad", lost)
    return Notice(
        "unknown",
        f"No snapshot yet under {root}. Run execintel refresh, or execintel demo for a generated"
        " one; this page shows it by itself.",
    )


def _trace_files(traces: "TraceTables") -> Notice:
    """Say what the page Strategies is computed from, and what of the files was left out."""
    left_out = ", ".join(f"{n} of {reason}" for reason, n in sorted(traces.rejected.items()))
    return Notice(
        "warn",
        f"No snapshot yet: Strategies shows the trace files in {traces.folder}, n = {traces.n}"
        + (f"; lines left out: {left_out}" if left_out else "")
        + ". The other pages need one: execintel refresh.",
    )


def _publication(store: Store, held: "Held | None") -> Iterator[Notice]:
    hold = store.hold()
    if hold is not None:
        yield Notice(
            "bad",
            f"HOLD: nothing is published since {when(hold.since_ms)}, by {hold.by}:"
            f" {hold.reason}. execintel snapshots resume ends it.",
        )
    shown = 0 if held is None else int(held.manifest["sequence"])
    refused = [each for each in store.rejected() if each["sequence"] > shown]
    if refused:
        stays = "nothing is published yet" if held is None else "the snapshot below stays"
        yield Notice("bad", _refusal(refused[-1], stays, is_held=hold is not None))


def _refusal(build: dict[str, Any], stays: str, *, is_held: bool) -> str:
    refresh = after_resume("execintel refresh", is_held=is_held)
    causes = [
        f"{check['name']}, {counted(check['rows'], 'row')}: {check['cause']}"
        for check in build["checks"]
        if check["name"] in build["failed_checks"]
    ]
    return (
        f"The last build, of {when(build['created_ms'])}, was refused and {stays}."
        f" {'; '.join(causes)}. Mend the cause, then {refresh}."
    )


def _sources(held: "Held") -> Iterator[Notice]:
    rows = held.table("feat_ops__source_freshness")
    if rows.is_empty():
        return
    for row in rows.filter(symbol="*").sort("source").iter_rows(named=True):
        if row["required"] and row["status"] != "ok":
            lag = row["lag_s"]
            words = "has no line"
            if lag is not None:
                words = f"was silent for {span(lag)} when the snapshot was made"
            yield Notice(
                "bad",
                f"Source {row['source']} {words} and is required: look at what writes it.",
            )
