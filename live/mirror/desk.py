"""What the desk that mirrors says beside a snapshot: its origin, what acts, HOLD and switches.

Put here: those fields of `snapshots/current`, to and fro, and their words. No content hash covers
them: they change while the snapshot stands. Keep out: documents of a snapshot
(documents.py), where a desk finds all this (pipelines/mirror.py).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from features.settings import DECISIONS
from features.words import only_noted, when
from live.trading import controls
from live.trading.controls import Disabled, Mode, State

UNTOLD = "whether engines act on these values is not known here"
# Characters of a reason, of those of all symbols, and symbols: a megabyte would keep the snapshot
# out.
_LONGEST, _LONGEST_TOGETHER, _MOST_OFF = 1_000, 100_000, 1_000


class Hold(msgspec.Struct, frozen=True):
    """Publication is held: since when, by whom and why."""

    since_ms: int
    by: str
    reason: str


class Desk(msgspec.Struct, frozen=True):
    """What is so at the desk that mirrors; None is not told, of ``hold`` also that there is none.

    ``applied`` are the decisions that its engines act on; ``told_ms`` is when it said all this.
    ``are_switches_unread`` where it tells switches that cannot be read here.
    """

    origin: str | None = None
    applied: tuple[str, ...] | None = None
    hold: Hold | None = None
    switches: State | None = None
    told_ms: int | None = None
    are_switches_unread: bool = False

    @property
    def is_demo(self) -> bool:
        return self.origin == "demo"


# -- as fields of `current`: times in epoch seconds ----------------------------------------------


class _Held(msgspec.Struct, frozen=True):
    since: float
    by: str
    reason: str


class _Off(msgspec.Struct, frozen=True):
    symbol: str
    reason: str
    until: float | None


class _Switches(msgspec.Struct, frozen=True):
    mode: Mode
    reason: str
    by: str
    at: float
    disabled: tuple[_Off, ...]


def fields_of(desk: Desk) -> dict[str, Any]:
    """Return a desk as fields of `current`; a long text is cut."""
    hold, state = desk.hold, desk.switches
    fields = {
        "origin": desk.origin,
        "applied": None if desk.applied is None else [n for n in DECISIONS if n in desk.applied],
        "hold": hold and _Held(hold.since_ms / 1000, _text(hold.by), _text(hold.reason)),
        "switches": state and _switches(state),
    }
    return {name: msgspec.to_builtins(value) for name, value in fields.items()}


def desk_of(current: Mapping[str, Any]) -> Desk:
    """Return what `current` tells of its desk; what another release tells otherwise is not known.

    Only a HOLD that cannot be read is one.
    """
    told_s = _read(current.get("updated_at"), float)
    told_ms = None if told_s is None else _ms(told_s)
    held = _read(current.get("hold"), _Held)
    hold = None if held is None else Hold(_ms(held.since), held.by, held.reason)
    if held is None and current.get("hold") is not None:
        hold = Hold(told_ms or 0, "unknown", "the mirror holds no reason that can be read")
    found = _read(current.get("switches"), _Switches)
    is_unread = found is None and current.get("switches") is not None
    return Desk(
        origin=_read(current.get("origin"), str),
        applied=_read(current.get("applied"), tuple[str, ...]),
        hold=hold,
        switches=None if found is None else _state(found),
        told_ms=told_ms,
        are_switches_unread=is_unread,
    )


def _read(value: Any, kind: Any) -> Any:
    """Return a value as what it must be, None where it is not that."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None


def _switches(state: State) -> _Switches | str:
    """Return switches as a field; as words that nobody can read them, where they are too many."""
    n = len(state.disabled)
    if n > _MOST_OFF:
        return f"{n} symbols are switched off: more than are told"
    longest = min(_LONGEST, _LONGEST_TOGETHER // max(n, 1))
    return _Switches(
        state.mode,
        _text(state.reason),
        _text(state.by),
        state.at_ms / 1000,
        tuple(
            _Off(
                _text(symbol, 40),
                _text(off.reason, longest),
                None if off.until_ms is None else off.until_ms / 1000,
            )
            for symbol, off in sorted(state.disabled.items())
        ),
    )


def _state(found: _Switches) -> State:
    disabled = {
        off.symbol: Disabled(off.reason, None if off.until is None else _ms(off.until))
        for off in found.disabled
    }
    return State(found.mode, found.reason, found.by, _ms(found.at), disabled=disabled)


def _text(words: str, longest: int = _LONGEST) -> str:
    return words[:longest].encode("utf-8", "replace").decode()


def _ms(seconds: float) -> int:
    return round(seconds * 1000) if abs(seconds) < 1e12 else 0


# -- in words -------------------------------------------------------------------------------------


def words_of(
    desk: Desk, environment: str, now_ms: int
) -> Iterator[tuple[Literal["bad", "warn"], str]]:
    """Say what a viewer must know of the desk before any number, as it is said there."""
    if desk.hold is not None:
        yield (
            "bad",
            f"HOLD: nothing is published since {when(desk.hold.since_ms)}, by {desk.hold.by}:"
            f" {desk.hold.reason}. execintel snapshots resume, where the snapshots are, ends it.",
        )
    stands = [] if desk.switches is None else list(controls.notices(desk.switches, now_ms))
    yield from stands
    if stands or desk.hold is not None:
        yield "warn", f"HOLD and switches are as they were mirrored at {when(desk.told_ms)}."
    if desk.are_switches_unread:
        yield "warn", "The mirror tells switches that cannot be read here: trading may be off."
    if desk.applied is None:
        yield "warn", f"The mirror does not tell on which decisions engines act: {UNTOLD}."
    elif noted := only_noted(desk.applied, environment):
        yield "warn", noted
