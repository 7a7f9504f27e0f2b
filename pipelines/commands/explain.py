"""`execintel explain`: why a symbol's size, score, offset and policy are what they are.

Put here: writing the steps for people. Keep out: the steps themselves (features/explain).
"""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands import common
from pipelines.commands.chosen import SnapshotOption, head, known_symbol

if TYPE_CHECKING:
    from features.explain import Part

_HEADINGS = {
    "size": "Size",
    "score": "Score",
    "offset": "Maker offset",
    "policy": "Router policy",
}


def explain(
    symbol: Annotated[str, typer.Argument(help="One symbol, such as BTCUSDT.")],
    hour: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=23,
            help="UTC hour of day whose maker offset is meant; by default the hour now.",
        ),
    ] = None,
    snapshot: SnapshotOption = None,
) -> None:
    """Explain a symbol's size, score, maker offset and router policy, step by step.

    Example: execintel explain BTCUSDT --hour 14

    Each step shows an input with its sample size n, the rule on it and what the rule made of it; >
    marks the rules that changed something. Unknown is a dash.
    """
    from features.explain import explain as steps
    from features.snapshot import open_snapshot

    settings = common.load_settings()
    store = common.open_store(settings)
    snapshot_id = store.resolve(snapshot)
    params = store.manifest(snapshot_id)["params"]
    hour_utc = int(time.time() // 3600 % 24) if hour is None else hour
    with open_snapshot(store.database(snapshot_id)) as con:
        name = known_symbol(con, symbol)
        try:
            parts = steps(con, name, hour_utc, params)
        except LookupError as error:
            raise common.CommandError(
                f"{error.args[0]}; execintel refresh makes a new one"
            ) from error
    head(settings, store, snapshot_id)
    for part in parts:
        _print(name, part)


def _print(symbol: str, part: "Part") -> None:
    from features.explain import words

    rows = [
        (
            (">" if line.is_fired else " ") + " " + line.what,
            words.measured(line),
            common.number(line.n, 0) if line.n is not None else "",
            words.effect(line.effect, part.effect),
            line.rule,
        )
        for line in part.lines
    ]
    common.show_table(
        f"{_HEADINGS[part.name]} of {symbol}: {part.answer}",
        ("  step", "input", "n", part.effect, "rule"),
        rows,
        has_words=True,
        styles=["bold" if line.is_fired else "" for line in part.lines],
    )
    for note in part.notes:
        common.say(f"  {note}")
