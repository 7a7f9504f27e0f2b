"""Which snapshot answers the v5.10 calls: one reader for the process, and one generation per call.

Put here: choosing and pinning the source of intel.py. Keep out: what is answered (intel.py).
"""

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from live.reader import SnapshotReader
from live.snapshot.reading import Reading
from live.snapshot.records import ALL, Header

if TYPE_CHECKING:
    from live.trading.controls import State

Read = Callable[[str], Reading]
Toggle = Callable[[str], Mapping[str, Any] | None]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Source:
    """The reader of the process and the executor's switches."""

    def __init__(self) -> None:
        self.root: Path | None = None
        self.reader: SnapshotReader | None = None
        self.toggle: Toggle | None = None


class _Call(threading.local):
    """What this thread's outermost call has read, so that its parts rest on one snapshot."""

    def __init__(self) -> None:
        self.read: Read | None = None
        self.toggle: Toggle | None = None
        self.readings: dict[str, Reading] | None = None


_source = _Source()
_call = _Call()


def configure(
    root: str | os.PathLike[str],
    *,
    environment: str,
    max_age_s: float = 900.0,
    clock: Callable[[], float] = time.time,
    toggle: Toggle | None = None,
) -> SnapshotReader:
    """Answer every v5.10 call of this process from the snapshots below a data root.

    Args:
        root: the folder that EXECINTEL_HOME names; its snapshots are below ``snapshots``.
        environment: whose snapshots to serve: live, testnet, paper or backtest.
        max_age_s: seconds after its as-of from which on a snapshot is stale.
        clock: seconds since 1970.
        toggle: gives why a symbol is switched off, or None where it is on.

    Returns the reader. Without a call, the first question makes one from EXECINTEL_HOME,
    EXECINTEL_ENVIRONMENT and EXECINTEL_SNAPSHOT_MAX_AGE_S, with their usual defaults.
    """
    folder = Path(root).expanduser().absolute() / "snapshots"
    reader = SnapshotReader(folder, environment=environment, max_age_s=max_age_s, clock=clock)
    _source.root, _source.reader, _source.toggle = folder, reader, toggle
    return reader


def default_reader() -> SnapshotReader:
    """Return the reader of the process, made from the environment at its first use."""
    reader = _source.reader
    if reader is None:
        reader = configure(
            os.environ.get("EXECINTEL_HOME") or "data",
            environment=os.environ.get("EXECINTEL_ENVIRONMENT") or "paper",
            max_age_s=_seconds("EXECINTEL_SNAPSHOT_MAX_AGE_S", 900.0),
            toggle=_source.toggle,
        )
    return reader


def _seconds(name: str, usual: float) -> float:
    text = os.environ.get(name)
    try:
        return float(text) if text else usual
    except ValueError:
        raise ValueError(f"{name} = {text!r}: a number of seconds is needed") from None


def reading(symbol: str | None) -> Reading:
    """Return what is known of a symbol, of all for None; within one call always the same."""
    readings = _call.readings
    if readings is None:
        return _read(symbol or ALL)
    name = symbol or ALL
    if name not in readings:
        readings[name] = _read(name)
    return readings[name]


def _read(name: str) -> Reading:
    read = _call.read or default_reader().read
    found = read(name)
    if found.record is None and not name.isupper():
        found = read(name.upper())  # v5.10 asked in any case; keys with a venue keep theirs
    return found


def toggle(symbol: str) -> tuple[bool | None, Mapping[str, Any] | None]:
    """Return whether a symbol is switched off and why; (None, None) where nobody says."""
    ask = _call.toggle or _source.toggle
    if ask is None:
        return None, None
    why = ask(symbol)
    return why is not None, why


def toggle_of(switches: "State | None", now_ms: int) -> Toggle | None:
    """Return what tells why a symbol is off by the switches of a control file.

    None where nobody can tell: of no switches, and of a kill that nobody set, which stands for a
    file that cannot be read.
    """
    if switches is None or (switches.mode != "run" and not switches.at_ms):
        return None

    def why(symbol: str) -> Mapping[str, Any] | None:
        off = switches.off(symbol, now_ms)
        if off is None:
            return None
        return {"reason": off.reason, "until": off.until_ms and off.until_ms / 1000}

    return why


def one_snapshot(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Make a call and all that it asks rest on one reading of each symbol."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if _call.readings is not None:
            return function(*args, **kwargs)
        _call.readings = {}
        try:
            return function(*args, **kwargs)
        finally:
            _call.readings = None

    return call


@contextmanager
def answering_from(read: Read, *, toggle: Toggle | None = None) -> Iterator[None]:
    """Answer this thread's calls in the block from another source, such as an older snapshot.

    ``toggle`` gives why a symbol is switched off; without it those of ``configure`` answer.
    """
    before = _call.read, _call.toggle, _call.readings
    _call.read, _call.toggle, _call.readings = read, toggle, None
    try:
        yield
    finally:
        _call.read, _call.toggle, _call.readings = before


def current_database() -> tuple[Path, Header] | None:
    """Return the database and header of the snapshot that is served; None before there is one."""
    header = default_reader().header
    if header is None or _source.root is None:
        return None
    return _source.root / header.snapshot_id / "features.duckdb", header
