"""The switches a person holds over the engine: one small file, checked before every order.

Put here: reading and setting them, and their words for people. Keep out: the gates that obey them
(gates.py). A file that is there and cannot be read counts as kill: somebody meant something by it.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
from filelock import FileLock, Timeout

from features.words import when

Mode = Literal["run", "reduce_only", "halt", "kill"]
FILE = "controls.json"
_log = logging.getLogger(__name__)


class Disabled(msgspec.Struct, frozen=True):
    """A symbol that is switched off; ``until_ms`` None is until a person enables it."""

    reason: str
    until_ms: int | None = None

    def is_off(self, now_ms: int) -> bool:
        return self.until_ms is None or self.until_ms > now_ms


class State(msgspec.Struct, frozen=True):
    """What the file says. ``resumed_ms`` is when a person last took responsibility."""

    mode: Mode = "run"
    reason: str = ""
    by: str = ""
    at_ms: int = 0
    resumed_ms: int = 0
    disabled: dict[str, Disabled] = {}


_DOES = {
    "reduce_only": "only reduce",
    "halt": "cancel every order and open nothing",
    "kill": "cancel every order and open nothing",
}


def word(mode: Mode) -> str:
    """Return how a mode is written for people."""
    return mode.replace("_", "-")


def standing(mode: Mode) -> str:
    """Say whether an engine in this mode trades."""
    return "trading allowed" if mode == "run" else f"{word(mode)}, engines {_DOES[mode]}"


def notices(state: State, now_ms: int) -> Iterator[tuple[Literal["bad", "warn"], str]]:
    """Say what is switched off: all trading is bad, single symbols are worth knowing."""
    if state.mode != "run":
        since = f" since {when(state.at_ms)}" if state.at_ms else ""
        why = f"by {state.by or 'nobody named'}: {state.reason or 'no reason given'}"
        yield (
            "bad",
            f"{word(state.mode).upper()}{since}, {why}. Engines {_DOES[state.mode]}."
            " execintel resume ends it.",
        )
    for symbol, off in sorted(state.disabled.items()):
        if off.is_off(now_ms):
            until = (
                "until execintel enable" if off.until_ms is None else f"until {when(off.until_ms)}"
            )
            yield "warn", f"{symbol} is switched off {until}: {off.reason or 'no reason given'}"


def overruling(state: State, symbol: str, now_ms: int) -> str | None:
    """Say what engines do of a symbol instead of acting on a snapshot; None: nothing is off."""
    if state.mode != "run":
        return f"but {word(state.mode)} stands: engines {_DOES[state.mode]}"
    off = state.disabled.get(symbol)
    if off is not None and off.is_off(now_ms):
        return f"but {symbol} is switched off: engines only close what they hold of it"
    return None


_decode = msgspec.json.Decoder(State).decode


class Controls:
    """The control file of one data root."""

    def __init__(self, folder: Path | None) -> None:
        """Hold the switches below ``folder``, made when one is first set; None: in memory only."""
        self._folder = folder
        self._path = folder / FILE if folder else Path(FILE)
        self._name = os.fspath(self._path)
        self._seen: tuple[int, ...] | None = ()
        self._state = State()
        self._own: State | None = None  # the engine's halt, where it could not be written

    def prepare(self) -> "Controls":
        """Make the folder while there is room: on a full disk a kill needs it."""
        if self._folder is not None:
            with suppress(OSError):  # who kills is told
                self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def state(self) -> State:
        """Return the switches as they stand now: one stat, and a read when the file changed."""
        state = self._read()
        own = self._own
        if own is None or state.mode == "kill":
            return state
        if state.resumed_ms > own.at_ms:
            self._own = None
            return state
        return own

    def _read(self) -> State:
        if self._folder is None:
            return self._state
        try:
            found = os.stat(self._name)
            mark: tuple[int, ...] | None = (found.st_mtime_ns, found.st_ino, found.st_size)
        except FileNotFoundError:
            mark = None
        except OSError as error:
            return State("kill", f"{self._path} cannot be looked at: {error}")
        if mark == self._seen and mark != ():
            return self._state
        try:
            self._state = State() if mark is None else _decode(self._path.read_bytes())
            self._seen = mark
        except (OSError, msgspec.MsgspecError) as error:
            self._seen = ()
            self._state = State("kill", f"{self._path} cannot be read: {error}")
        return self._state

    def set(self, mode: Mode, reason: str, *, by: str, now_ms: int | None = None) -> State:
        """Set the mode and return what now stands; ``run`` is what a person's resume sets."""
        at_ms = _now_ms() if now_ms is None else now_ms

        def change(state: State) -> State:
            resumed_ms = at_ms if mode == "run" else state.resumed_ms
            return msgspec.structs.replace(
                state, mode=mode, reason=reason, by=by, at_ms=at_ms, resumed_ms=resumed_ms
            )

        return self._change(change)

    def halt(self, reason: str, *, now_ms: int) -> State:
        """Halt for the engine; a kill that stands stays.

        Where the file cannot be written the halt stands in memory, until a resume after it.
        """

        def change(state: State) -> State:
            if state.mode in ("kill", "halt"):
                return state
            return msgspec.structs.replace(
                state, mode="halt", reason=reason, by="engine", at_ms=now_ms
            )

        try:
            return self._change(change)
        except (OSError, Timeout) as error:
            _log.error(
                "%s cannot be written, the halt ends with this process: %s", self._path, error
            )
            self._own = change(self._read())
            return self.state()

    def disable(self, symbol: str, reason: str, until_ms: int | None) -> State:
        """Switch a symbol off."""
        entry = Disabled(reason, until_ms)
        return self._change(
            lambda state: msgspec.structs.replace(state, disabled={**state.disabled, symbol: entry})
        )

    def enable(self, symbol: str) -> State:
        """Switch a symbol on again."""
        return self._change(
            lambda state: msgspec.structs.replace(
                state, disabled={s: d for s, d in state.disabled.items() if s != symbol}
            )
        )

    def _change(self, change: Callable[[State], State]) -> State:
        if self._folder is None:
            self._state = change(self._state)
            return self._state
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / (FILE + ".lock"), timeout=10):
            state = change(self.state())
            text = json.dumps(msgspec.to_builtins(state), indent=1).encode() + b"\n"
            try:
                self._replace(text)
            except OSError as error:
                if state.mode != "kill":
                    raise
                _log.warning("%s is written without a copy: %s", self._path, error)
                self._overwrite(text)
        return self.state()

    def _replace(self, text: bytes) -> None:
        draft = self._path.with_suffix(".tmp")
        try:
            with draft.open("wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError:
            with suppress(OSError):
                draft.unlink()
            raise

    def _overwrite(self, kill: bytes) -> None:
        """Kill where a full disk holds no second file: in the room of this one.

        Where that fails too, none of it is left: an empty file counts as kill.
        """
        with open(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644), "wb", 0) as file:
            try:
                if os.fstat(file.fileno()).st_size == len(kill):
                    kill += b"\n"  # what _read looks at is never the same after a change
                file.write(kill)
                file.truncate(len(kill))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(0)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
