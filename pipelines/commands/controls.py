"""`execintel kill`, `reduce-only`, `resume`, `disable`, `enable`: a person's switches over trading.

Put here: setting them and saying what now stands. Keep out: what they stop (live/gates.py).
"""

import datetime as dt
import getpass
from typing import Annotated

import typer

from live.controls import Controls, Mode, State
from pipelines.commands import common

Reason = Annotated[str, typer.Option(help="Why; it stands in every veto, so say it well.")]


def kill(reason: Reason = "") -> None:
    """Stop all trading at once: cancel every open order, send none until resume.

    Example: execintel kill --reason "venue halts withdrawals"

    Engines look before every order and in every turn, a running one cancels within a second. Open
    positions stay as they are. The switch survives restarts.
    """
    _set("kill", reason)


def reduce_only(reason: Reason = "") -> None:
    """Let engines only close or shrink positions until resume.

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
        float | None, typer.Option(help="For how long; without it until enable.", min=0.1)
    ] = None,
) -> None:
    """Switch a symbol off: engines only close what they hold of it.

    Example: execintel disable SUIUSDT --minutes 240 --reason "listing news"
    """
    until_ms = None if minutes is None else common.now_ms() + round(minutes * 60_000)
    _say(_controls().disable(symbol.upper(), reason, until_ms))


def enable(symbol: Annotated[str, typer.Argument(help="The symbol, such as BTCUSDT.")]) -> None:
    """Switch a symbol on again.

    Example: execintel enable SUIUSDT
    """
    controls, name = _controls(), symbol.upper()
    if name not in controls.state().disabled:
        off = ", ".join(sorted(controls.state().disabled)) or "no symbol"
        raise common.CommandError(f"{name} is not switched off; off: {off}")
    _say(controls.enable(name))


def _controls() -> Controls:
    return Controls(common.load_settings().controls_root)


def _set(mode: Mode, reason: str) -> None:
    controls = _controls()
    before = controls.state()
    after = controls.set(mode, reason, by=getpass.getuser(), now_ms=common.now_ms())
    common.say(f"{before.mode} → {after.mode}")
    _say(after)


def _say(state: State) -> None:
    why = f": {state.reason}" if state.reason else ""
    common.say(f"trading: {state.mode}{why}")
    for symbol, entry in sorted(state.disabled.items()):
        until = "until enabled" if entry.until_ms is None else f"until {_utc(entry.until_ms)}"
        common.say(f"{symbol} is off {until}: {entry.reason or 'no reason given'}")


def _utc(at_ms: int) -> str:
    return dt.datetime.fromtimestamp(at_ms / 1e3, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
