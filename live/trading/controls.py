"""The switches a person holds over the engine: one small file, checked before every order.

Put here: reading and setting them, and their words for people. Keep out: the gates that obey them
(gates.py). A file that cannot be read, or goes away while a switch stands, counts as kill: somebody
meant something by it.
"""

import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import msgspec
from filelock import FileLock, Timeout

from features.words import when

Mode = Literal["run", "reduce_only", "halt", "kill"]
FILE = "controls.json"
_MOST_BYTES = 1 << 20
_LOCK_S = 10.0
_URGENT_S = 1.0  # a kill, and the engine's halt, do not wait for somebody who hangs
_log = logging.getLogger(__name__)


class Disabled(msgspec.Struct, frozen=True):
    """A symbol that is switched off; ``until_ms`` None is until a person enables it."""

    reason: str
    until_ms: int | None = None

    def is_off(self, now_ms: int) -> bool:
        return self.until_ms is None or self.until_ms > now_ms


class ChangedError(RuntimeError):
    """The switches are others than the person looked at who wants to change them."""


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says. ``resumed_ms`` is when a person last took responsibility."""

    mode: Mode = "run"
    reason: str = ""
    by: str = ""
    at_ms: int = 0
    resumed_ms: int = 0
    disabled: dict[str, Disabled] = {}

    def off(self, symbol: str, now_ms: int) -> Disabled | None:
        """Return why a symbol is switched off, if it is; a person writes it in capitals."""
        for name in (symbol, symbol.upper()):
            entry = self.disabled.get(name)
            if entry is not None and entry.is_off(now_ms):
                return entry
        return None


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
    if state.off(symbol, now_ms) is not None:
        return f"but {symbol} is switched off: engines only close what they hold of it"
    return None


_decode = msgspec.json.Decoder(State).decode


def _decoded(text: bytes) -> State:
    if b'"mode"' not in text:
        raise ValueError("it names no mode")
    json.loads(text, object_pairs_hook=_named_once)
    return _decode(text)


def _named_once(pairs: list[tuple[str, object]]) -> None:
    """Refuse what a hand wrote twice: of two modes or two entries the last would count unseen."""
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"it names {name} twice")
        seen.add(name)


class Controls:
    """The control file of one data root."""

    def __init__(self, folder: Path | None, *, keeps_halts: bool = False) -> None:
        """Hold the switches below ``folder``, made when one is first set; None: in memory only.

        With ``keeps_halts`` the engine's own halt stays in this process, as where past bars are
        replayed: it would halt every engine of the folder, at a time long ago.
        """
        self._keeps_halts = keeps_halts
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
        if state.resumed_ms != own.resumed_ms:
            self._own = None
            return state
        return own

    def _read(self) -> State:
        if self._folder is None:
            return self._state
        try:
            found = os.stat(self._name)
            mark: tuple[int, ...] | None = (found.st_mtime_ns, found.st_ino, found.st_size)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
                return State("kill", f"{self._path} cannot be read: it is no control file")
        except FileNotFoundError:
            if self._state.mode != "run" or self._state.disabled or self._path.is_symlink():
                return State("kill", f"{self._path} is gone; execintel resume writes it anew")
            mark = None
        except OSError as error:
            return State("kill", f"{self._path} cannot be looked at: {error}")
        if mark == self._seen and mark != ():
            return self._state
        try:
            self._state = State() if mark is None else _decoded(self._path.read_bytes())
            self._seen = mark
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            self._seen = ()
            self._state = State("kill", f"{self._path} cannot be read: {error}")
        return self._state

    def set(
        self,
        mode: Mode,
        reason: str,
        *,
        by: str,
        now_ms: int | None = None,
        looked_at: State | None = None,
    ) -> State:
        """Set the mode and return what now stands; ``run`` is what a person's resume sets.

        Only that ends a kill or a halt: reduce-only, which is less, leaves them. Raises
        ChangedError where a resume would end another than the one ``looked_at``.
        """
        at_ms = _now_ms() if now_ms is None else now_ms

        def change(state: State) -> State:
            if mode == "reduce_only" and state.mode in ("kill", "halt"):
                return state
            resumed_ms = state.resumed_ms
            if mode == "run":
                if looked_at is not None and _stands(state) != _stands(looked_at):
                    raise ChangedError(f"{word(state.mode)} by {state.by} was set meanwhile")
                resumed_ms = max(at_ms, resumed_ms + 1)  # also where a clock went back
            return msgspec.structs.replace(
                state, mode=mode, reason=_clean(reason), by=by, at_ms=at_ms, resumed_ms=resumed_ms
            )

        return self._change(change, is_kill=mode == "kill")

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

        if self._keeps_halts:
            self._own = change(self.state())
            return self.state()
        try:
            return self._change(change, wait_s=_URGENT_S)
        except (OSError, Timeout) as error:
            _log.error(
                "%s cannot be written, the halt ends with this process: %s", self._path, error
            )
            self._own = change(self._read())
            return self.state()

    def disable(self, symbol: str, reason: str, until_ms: int | None) -> State:
        """Switch a symbol off."""
        entry = Disabled(_clean(reason), until_ms)
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

    def _change(
        self, change: Callable[[State], State], *, is_kill: bool = False, wait_s: float = _LOCK_S
    ) -> State:
        if self._folder is None:
            self._state = change(self._state)
            return self._state
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone(is_kill=is_kill, wait_s=wait_s):
            state = change(self.state())
            try:
                self._replace(_encoded(state))
            except OSError as error:
                if not is_kill:
                    raise
                _log.warning("%s is written without a copy: %s", self._path, error)
                self._overwrite(state)
        return self.state()

    @contextmanager
    def _alone(self, *, is_kill: bool, wait_s: float) -> Iterator[None]:
        """Hold the lock of the file; a kill is written also where another does not give it."""
        lock = FileLock(f"{self._name}.lock")
        try:
            lock.acquire(timeout=_URGENT_S if is_kill else wait_s)
        except (OSError, Timeout) as error:
            if not is_kill:
                raise
            _log.warning("%s is written without its lock: %s", self._path, error)
        try:
            yield
        finally:
            lock.release()

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

    def _overwrite(self, state: State) -> None:
        """Kill where a full disk holds no second file: in the room of this one.

        If need be without its reason, for what is switched off by symbol must stay. Where that
        fails too, nothing is left of the file: empty it counts as kill.
        """
        short = msgspec.structs.replace(state, reason="", by="")
        with open(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644), "wb", 0) as file:
            for text in (_encoded(state), _encoded(short)):
                if os.fstat(file.fileno()).st_size == len(text):
                    text += b"\n"  # or a reader might take it for the file before
                try:
                    file.seek(0)
                    if file.write(text) == len(text):
                        file.truncate()
                        os.fsync(file.fileno())
                        return
                except OSError:
                    continue
            file.truncate(0)


def _stands(state: State) -> tuple[Mode, int]:
    return state.mode, state.at_ms


def _clean(text: str) -> str:
    """Return a text that JSON holds: shells give bytes that are no UTF-8 as half characters."""
    return text.encode("utf-8", "replace").decode()


def _encoded(state: State) -> bytes:
    return json.dumps(msgspec.to_builtins(state), indent=1).encode() + b"\n"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
