"""Which snapshot and which symbol a command means.

Put here: the option that names a snapshot, what is said of it, a symbol as it writes it. Keep out:
what a command shows of them.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from features.words import counted, on_stale
from pipelines.commands import common

if TYPE_CHECKING:
    import duckdb

    from features.settings import Settings
    from features.snapshot import Store

SnapshotOption = Annotated[
    str | None,
    typer.Option(
        "--snapshot",
        help="A snapshot other than CURRENT, by its id or the beginning of it, such as "
        "--snapshot 20251106T000000Z; execintel snapshots list names them.",
    ),
]


def head(settings: "Settings", store: "Store", snapshot_id: str) -> None:
    """Say which snapshot it is, how old, and what was found wrong with it."""
    from live import controls
    from live.reader import is_reduce_only

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
    common.say(f"as of        {common.when(manifest['as_of_ms'])}, {common.span(age_s)} ago")
    common.say(
        f"environment  {manifest['environment']}, window of {manifest['window_days']} days"
        + (", generated demo data" if is_demo else "")
    )
    if is_current and not is_demo and age_s > settings.snapshot_max_age_s:
        does = on_stale(reduces_only=is_reduce_only(age_s, settings.snapshot_max_age_s))
        common.say(
            f"stale: older than {common.span(settings.snapshot_max_age_s)}; engines {does}."
            " execintel refresh makes a new one",
            style="yellow",
        )
    for name, count in manifest["left_out"].items():
        common.say(f"left out     {count} outcomes of environment {name}", style="yellow")
    for check in manifest["checks"]:
        if check["rows"]:
            common.say(
                f"{check['severity']}: {check['name']}, {counted(check['rows'], 'row')}:"
                f" {check['cause']}",
                style="yellow",
            )


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
