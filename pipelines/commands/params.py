"""`execintel params`: what every threshold is, and who changed what, when.

Put here: telling. Keep out: the values (features/params.toml) and their ranges.
"""

import itertools
from typing import TYPE_CHECKING, Any

import typer

from pipelines.commands import common

if TYPE_CHECKING:
    from features.params import Value
    from features.snapshot import Store

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Show the parameters of the formulas and their history. Example: execintel params show",
)


@app.command("show")
def show_params() -> None:
    """Show every parameter: its value, whether it is the default, its range and its meaning.

    Example: execintel params show

    Change one under \\[params] in execintel.toml, such as: dust_notional_usd = 10
    """
    from features import params

    settings = common.load_settings()
    values = params.load(settings.params)
    rows = []
    for name, entry in params.definitions().items():
        changed = name in settings.params
        origin = f"configured, default {entry['value']}" if changed else "default"
        rows.append((name, written(values[name]), origin, params.allowed(name), entry["what"]))
    common.show_table("Parameters", ("name", "value", "from", "allowed", "meaning"), rows, left=5)


def written(value: "Value") -> str:
    """Write a parameter's value: a number, a word, or its points."""
    if isinstance(value, float):
        return f"{value:.15g}"  # every digit: it may have been changed in any
    if isinstance(value, str):
        return value
    return " ".join(f"({x:.15g}, {y:.15g})" for x, y in value)


@app.command()
def history() -> None:
    """Show who changed which parameter or setting of the numbers, when, from what to what.

    Example: execintel params history

    Read from the manifests of kept and archived snapshots, in the order they were built.
    """
    settings = common.load_settings()
    rows = changes(manifests(common.open_store(settings)))
    if not rows:
        common.say("no parameter has changed between the snapshots that are kept or archived")
        return
    common.show_table(
        "Changed parameters", ("when", "name", "old → new", "who", "snapshot"), rows, left=5
    )


def manifests(store: "Store") -> list[dict[str, Any]]:
    """Return the manifests of kept and archived snapshots in the order they were built."""
    found = {manifest["snapshot_id"]: manifest for manifest in store.archived()}
    found |= {snapshot_id: store.manifest(snapshot_id) for snapshot_id in store.ids()}
    return sorted(found.values(), key=lambda manifest: int(manifest["sequence"]))


def changes(ordered: list[dict[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """List every change of a parameter: when, name, old → new, who, snapshot that first had it."""
    rows = []
    for before, after in itertools.pairwise(ordered):
        old, new = before["params"], after["params"]
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                rows.append(
                    (
                        common.when(after["created_ms"]),
                        name,
                        f"{common.text(old.get(name))} → {common.text(new.get(name))}",
                        after["operator"],
                        after["snapshot_id"],
                    )
                )
    return rows
