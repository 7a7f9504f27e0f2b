"""`execintel kill`, `reduce-only`, `resume`, `disable`, `enable`: a person's switches over trading.

Put here: setting them and saying what now stands. Keep out: what they stop (live/trading/gates.py).
"""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from filelock import Timeout

from live.trading.controls import ChangedError, Controls, Mode, State, notices, word
from pipelines.commands import common
from pipelines.operator import user

if TYPE_CHECKING:
    from features.settings import Settings

_TRACES = ("state", "lake/FORMAT", "snapshots/CURRENT")  # of an engine, of a refresh

Reason = Annotated[str, typer.Option(help="Why; it stands in every veto, so say it well.")]


def kill(reason: Reason = "") -> None:
    """Stop all trading at once: cancel every open order, send none until resume.

    Example: execintel kill --reason "venue halts withdrawals"

    Engines of execintel live on this data root look before every order and in every turn, a running
    one cancels within a second, also orders placed by hand. Open positions stay as they are. The
    switch survives restarts. An executor of your own has to ask: docs/trading.md says how.
    """
    _set("kill", reason)


def reduce_only(reason: Reason = "") -> None:
    """Let engines only close or shrink positions until resume; a kill or a halt stays.

    Example: execintel reduce-only --reason "before the upgrade"
    """
    _set("reduce_only", reason)


def resume(reason: Reason = "") -> None:
    """End kill, halt or reduce-only: trading goes on.

    Example: execintel resume --reason "loss understood, position checked"

    Drawdown is measured anew from here. Where the venue's positions differ from the engine's, the
    engine adopts the venue's.
    """
    _set("run", reason)


def disable(
    symbol: Annotated[str, typer.Argument(help="The symbol, such as BTCUSDT.")],
    reason: Reason = "",
    minutes: Annotated[
        float | None,
        typer.Option(help="For how long; without it until enable.", min=0.1, max=5_256_000),
    ] = None,
) -> None:
    """Switch a symbol off: engines only close what they hold of it.

    Example: execintel disable SUIUSDT --minutes 240 --reason "listing news"
    """
    until_ms = None if minutes is None else common.now_ms() + round(minutes * 60_000)
    settings, name = _settings(), symbol.upper()
    with _told(f"{name} is not switched off"):
        after = Controls(settings.controls_root).disable(name, reason, until_ms)
    _say(after, settings)
    _warn_of_unknown(settings, name)


def enable(symbol: Annotated[str, typer.Argument(help="The symbol, such as BTCUSDT.")]) -> None:
    """Switch a symbol on again.

    Example: execintel enable SUIUSDT
    """
    settings, name = _settings(), symbol.upper()
    controls = Controls(settings.controls_root)
    if name not in controls.state().disabled:
        off = ", ".join(sorted(controls.state().disabled)) or "no symbol"
        raise common.CommandError(f"{name} is not switched off; off: {off}")
    with _told(f"{name} is still switched off"):
        after = controls.enable(name)
    _say(after, settings)


def _settings() -> "Settings":
    from features.settings import SettingsOfSwitches

    return common.load_settings(kind=SettingsOfSwitches)


@contextmanager
def _told(what_stands: str) -> Iterator[None]:
    """Say what stands where the control file cannot be written, and what stops an engine then."""
    try:
        yield
    except ChangedError as error:
        raise common.CommandError(
            f"{error}: look, and if it shall end all the same, execintel resume again"
        ) from error
    except (OSError, Timeout) as error:
        if common.home_trouble(error):
            raise  # told as of every command
        raise common.CommandError(
            f"{what_stands}: the control file cannot be written: {error}\nWhat ends an engine now "
            "is Ctrl-C or SIGTERM: it cancels its open orders first"
        ) from error


def _set(mode: Mode, reason: str) -> None:
    settings = _settings()
    controls = Controls(settings.controls_root)
    before = controls.state()
    with _told(f"{word(before.mode)} still stands"):
        after = controls.set(mode, reason, by=user(), now_ms=common.now_ms(), looked_at=before)
    if mode == "reduce_only" and after.mode != mode:
        raise common.CommandError(
            f"{word(after.mode)} still stands, and reduce-only would loosen it: engines would send "
            "orders that close. execintel resume ends it first"
        )
    common.say(f"{word(before.mode)} → {word(after.mode)}")
    if mode == "run":
        if before.mode == "kill" and not before.at_ms:  # not a person's: what _read makes of it
            common.say(
                "warning: which symbols were switched off is not known any more: execintel disable "
                "them again"
            )
        common.say(f"trading goes on: {reason or 'no reason given'}")
    _say(after, settings)


def _warn_of_unknown(settings: "Settings", symbol: str) -> None:
    """Warn of a symbol that CURRENT does not hold: misspelt, it stops nothing."""
    import duckdb

    from features.snapshot import SnapshotError, open_snapshot
    from pipelines.commands.chosen import symbols

    store = common.open_store(settings)
    current = store.current()
    if current is None:
        return
    try:
        with open_snapshot(store.database(current)) as con:
            known = symbols(con)
    except (duckdb.Error, SnapshotError):  # doctor tells of it; the switch stands
        return
    if symbol in {each.upper() for each in known}:
        return
    near = difflib.get_close_matches(symbol, known, n=5) or known[:5]
    common.complain(
        f"warning: {symbol} is not in the newest snapshot; near it: {', '.join(near) or 'none'}. "
        f"Where it is misspelt: execintel enable {symbol}, then disable the right one"
    )


def _say(state: State, settings: "Settings") -> None:
    root = settings.home.absolute()
    common.say(f"data root: {root}")
    if not any((root / name).exists() for name in _TRACES):
        common.complain(
            f"warning: {root} holds no journal, no lake and no snapshot: does EXECINTEL_HOME name "
            "the engine's data root? An engine of another root does not see this switch"
        )
    standing = list(notices(state, common.now_ms()))
    for level, words in standing:
        common.say(words, style="bold red" if level == "bad" else "yellow")
    if not standing:
        common.say("nothing is switched off")
