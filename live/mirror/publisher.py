"""The executor's side of the mirror: a background thread that publishes what orders are made with.

Put here: when which symbol is due. Keep out: how it is written (firestore_mirror.py). The order
path meets this only in `submit`, which neither waits nor locks.
"""

import logging
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from features.settings import DECISIONS
from live import firestore_mirror
from live.mirror import link
from live.mirror.documents import health_document, intel_document
from live.snapshot.reading import Reading
from live.trading.controls import State
from live.v510.answers import Read

Publish = Callable[[str, Mapping[str, Any]], bool]

_WAITING = 1_000  # documents that may wait, one of each kind and symbol
_TICK_S = 1.0  # how soon a newly active symbol or a submitted document is noticed
_GAP_S = 0.02  # between two documents, so that encoding them does not hold the interpreter in a row
_log = logging.getLogger(__name__)


class PublisherCounts(msgspec.Struct, frozen=True):
    """Documents since the start: written, not written, dropped because too many waited."""

    published: int = 0
    failed: int = 0
    dropped: int = 0


class PeriodicPublisher:
    """Publishes each active symbol once an interval, spread evenly over it.

    What it writes is the field ``executor`` of execution_intel/{symbol}, the values orders are made
    with, and router_metrics/{symbol}, where they changed. Where no snapshot is mirrored, the
    symbol's whole documents of intelligence and health are written too. symbol_toggles/{symbol} is
    written within seconds of a change.
    """

    def __init__(
        self,
        read: Read,
        symbols: Callable[[], Iterable[str]],
        *,
        interval_s: float = 300.0,
        switches: Callable[[], State] | None = None,
        applied: Collection[str] = DECISIONS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing runs before ``start``.

        Args:
            read: a SnapshotReader's ``read``; nothing is computed beside it.
            symbols: gives the active symbols, from another thread: hand out a finished tuple.
            interval_s: EXEC_INTEL_PUBLISH_INTERVAL_S, 30 to 3600.
            switches: a Controls' ``state``, not one that another thread asks; None has none.
            applied: which of size, offset and policy orders are made with; the others are noted.
            clock: seconds since 1970.

        Raises ValueError for an interval that is not above 0.
        """
        if not interval_s > 0:
            raise ValueError(f"interval_s = {interval_s}: must be above 0")
        self._read = read
        self._symbols = symbols
        self._interval_s = interval_s
        self._switches = switches
        self._applied = [name for name in DECISIONS if name in applied]
        self._clock = clock
        self._told_toggles: dict[str, Mapping[str, Any]] = {}
        self._told_metrics: dict[str, Mapping[str, Any]] = {}
        self._waiting: dict[tuple[Publish, str], Mapping[str, Any]] = {}
        self._done: dict[str, int] = {}  # by symbol, the interval it was last published in
        self._is_mirrored = False  # until a generation was seen there
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._published = self._failed = 0  # changed by the thread alone
        self._dropped = 0  # changed by who submits alone

    def start(self) -> bool:
        """Start the thread; call it before the loop, for it loads the client library.

        Returns False, and says so once, where mirroring is off.
        """
        found = link.where()
        if found is None:
            _log.info("mirroring is off: no Firestore is configured")
            return False
        import google.cloud.firestore  # noqa: F401 - here, for a second of imports would stall orders

        _log.info("mirroring active symbols to %s every %.0f s", found, self._interval_s)
        self._thread = threading.Thread(target=self._run, name="firestore-publisher", daemon=True)
        self._thread.start()
        return True

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop the thread; a call under way is given some time to end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def submit(self, publish: Publish, symbol: str, payload: Mapping[str, Any]) -> None:
        """Have a document published soon, such as ``publish_symbol_toggle`` with its payload.

        Returns at once. While Firestore fails it waits, and a newer one of the same kind and
        symbol takes its place. The payload is not to be changed afterwards.
        """
        if len(self._waiting) >= _WAITING and (publish, symbol) not in self._waiting:
            self._dropped += 1
            return
        self._waiting[publish, symbol] = payload

    @property
    def counts(self) -> PublisherCounts:
        return PublisherCounts(self._published, self._failed, self._dropped)

    def _run(self) -> None:
        while not self._stop.wait(min(_TICK_S, self._interval_s / 10)):
            try:
                self._publish_submitted()
                self._publish_toggles()
                self._publish_due()
            except Exception:
                # The executor goes on without a mirror, the mirror after whatever this was.
                _log.exception("the mirror's thread met a fault")

    def _publish_submitted(self) -> None:
        for publish, symbol in list(self._waiting):
            if self._stop.is_set():
                return
            payload = self._waiting.pop((publish, symbol))
            is_published = publish(symbol, payload)
            if is_published or not firestore_mirror.is_failing():  # refused ones do not come back
                self._tally(is_published)
            else:
                self._waiting.setdefault((publish, symbol), payload)  # unless there is a newer one
                return

    def _publish_due(self) -> None:
        for symbol in self._symbols():
            # The symbol's own moment within every interval: they neither meet nor drift.
            shift = zlib.crc32(symbol.encode("utf-8", "replace")) / 2**32
            interval = int(self._clock() / self._interval_s - shift)
            if self._stop.is_set():
                return
            if self._done.get(symbol) == interval:
                continue
            is_first = symbol not in self._done
            self._done[symbol] = interval
            if not is_first:  # a symbol's first moment comes within the first interval
                self._tally(self._publish(symbol))
                self._publish_metrics(symbol)
                self._stop.wait(_GAP_S)

    def _publish(self, symbol: str) -> bool:
        reading = self._read(symbol)
        payload: dict[str, Any] = {
            "executor": executor_field(reading, self._applied, self._clock())
        }
        if reading.record is not None and not self._mirrored():
            stamps = {"snapshot_id": reading.snapshot_id, "as_of": reading.record.as_of_ms / 1000}
            payload |= intel_document(reading.record) | stamps
            health = health_document(reading) | stamps
            self._tally(firestore_mirror.publish_execution_health(symbol, health))
        return firestore_mirror.publish_execution_intel(symbol, payload)

    def _publish_metrics(self, symbol: str) -> None:
        reading = self._read(symbol)
        if reading.record is None or reading.record.router is None:
            return
        metrics = msgspec.structs.asdict(reading.record.router)
        if metrics == self._told_metrics.get(symbol):
            return
        stamps = {"snapshot_id": reading.snapshot_id, "as_of": reading.record.as_of_ms / 1000}
        is_published = firestore_mirror.publish_router_metrics(symbol, metrics | stamps)
        if is_published:
            self._told_metrics[symbol] = metrics
        self._tally(is_published)

    def _publish_toggles(self) -> None:
        """Write the switch of each active symbol that changed; the first time that of all."""
        if self._switches is None:
            return
        state = self._switches()
        now_ms = int(self._clock() * 1000)
        for symbol in {*self._symbols(), *state.disabled, *self._told_toggles}:
            fields = toggle_fields(state, symbol, now_ms)
            if self._stop.is_set():
                return
            if fields == self._told_toggles.get(symbol):
                continue
            is_published = firestore_mirror.publish_symbol_toggle(symbol, fields)
            if not is_published and firestore_mirror.is_failing():
                return  # tried again in a while
            self._told_toggles[symbol] = fields  # a refused one does not come back
            self._tally(is_published)

    def _mirrored(self) -> bool:
        """Tell whether a generation stands there, whose documents are not ours to write."""
        if not self._is_mirrored:
            found = firestore_mirror.has_generation()
            self._is_mirrored = found is True
            return found is not False
        return True

    def _tally(self, is_published: bool) -> None:
        if is_published:
            self._published += 1
        else:
            self._failed += 1


def executor_field(reading: Reading, applied: Sequence[str], now_s: float) -> dict[str, Any]:
    """Return what a snapshot has orders of a symbol be made with now, and which of it they are.

    The offset is that of this UTC hour.
    """
    acting = reading.acting
    return {
        "status": reading.status,
        "reduce_only": reading.reduce_only,
        "applied": list(applied),
        "snapshot_id": reading.snapshot_id,
        "as_of": None if reading.as_of_ms is None else reading.as_of_ms / 1000,
        "size_factor": acting.size_factor,
        "maker_offset_bps": acting.offsets_bps[int(now_s // 3600 % 24)],
        "policy": {
            "quality": acting.quality,
            "maker_first": acting.maker_first,
            "taker_bias": acting.taker_bias,
        },
        "lost": list(reading.lost),
        "updated_at": int(now_s),
    }


def toggle_fields(state: State, symbol: str, now_ms: int) -> dict[str, Any]:
    """Return whether a symbol is switched off now, and what the engine as a whole may do."""
    entry = state.off(symbol, now_ms)
    return {
        "disabled": entry is not None,
        "reason": entry.reason if entry else None,
        "until": entry.until_ms / 1000 if entry and entry.until_ms is not None else None,
        "mode": state.mode,
        "mode_reason": state.reason or None,
    }
