"""Read a mirrored snapshot from Firestore: the readings that a local snapshot gives, or the last.

Put here: when a mirrored generation is whole. Keep out: what is made of one (reader.py), how it was
written (firestore_mirror.py). For remote eyes, not for the order path.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from live.mirror import link
from live.mirror.desk import Desk, desk_of
from live.mirror.documents import INTEL, as_of_ms, content_hash, name_of, record_of
from live.mirror.link import bounds, hedge_env, root_of
from live.mirror.publication import current_of, read_documents, relative
from live.reader import SnapshotReader, State
from live.snapshot.acting import entry_of
from live.snapshot.generation import Generation
from live.snapshot.published import reads_of
from live.snapshot.reading import ReaderEvent, Reading
from live.snapshot.records import ALL, FORMAT, Header, Place, Record

if TYPE_CHECKING:
    from google.cloud.firestore import Client

# The client's own listener (on_snapshot) is not used: while a server is away it reconnects without
# a pause, a thread a try, also after it was closed. One read a look is 8,640 a day.
POLL_S = 10.0
_LOOK_S = 10.0  # for all calls of one look
_TRIES = 3  # when a generation was published while we read the one before
_NOWHERE = Place(0, 0, "")


class _NotWhole(Exception):
    """Some documents are not those that `current` names."""


class _Mirrored(Generation):
    """A mirrored generation, and what its desk said when `current` was read last."""

    desk = Desk()


class FirestoreSource(SnapshotReader):
    """The newest whole generation that is mirrored below hedge/{env}, for any number of threads.

    ``read``, ``symbols``, ``header``, ``health`` and ``problem`` are those of a SnapshotReader. A
    document counts only with the hash that ``snapshots/current`` names; until all do, the last
    whole generation is served, and nothing before there was one. ``problem`` says so. ``desk`` is
    what `current` tells beside it.
    """

    def __init__(
        self,
        *,
        environment: str,
        max_age_s: float = 900.0,
        poll_s: float = POLL_S,
        clock: Callable[[], float] = time.time,
        on_event: Callable[[ReaderEvent], None] | None = None,
    ) -> None:
        """Look once, for up to 10 s; ``follow`` then keeps up with what is published.

        Args:
            environment: whose snapshots to serve: live, testnet, paper or backtest.
            max_age_s: seconds after its as-of from which on a snapshot is stale.
            poll_s: seconds between two looks of ``follow``.
            clock: seconds since 1970.
            on_event: called with every change; by default it is logged.

        Raises OffError where no Firestore is configured.
        """
        self._where = link.require()
        self._env = hedge_env()
        self._poll_s = poll_s
        self._client: Client | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._looking = threading.Lock()  # between a `look` of a caller and one of the thread
        self._contents: dict[str, tuple[str, Mapping[str, Any]]] = {}  # by path: hash, document
        self._hashes: Mapping[str, Any] = {}  # by path, of the generation that is served
        self._found: tuple[_Mirrored | None, str | None] = (None, None)  # with what is wrong
        self._wanted = environment
        self._receive()
        super().__init__(
            Path("firestore"),
            environment=environment,
            max_age_s=max_age_s,
            clock=clock,
            on_event=on_event,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def follow(self) -> None:
        """Keep up in the background: look for changes at every poll."""
        self._thread = threading.Thread(target=self._run, name="firestore-source", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following; what was read stays."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(_LOOK_S)
        self._disconnect()

    def look(self) -> None:
        """Read what is new, for up to 10 s; what cannot be read now stands in ``problem``."""
        self._receive()
        self._check()

    def _receive(self) -> None:
        with self._looking:
            served, _ = self._found
            try:
                self._found = (self._read_generation(served), None)
            except _NotWhole as found:
                self._found = (served, str(found))
            except Exception as error:
                # Whatever the network or a foreign document does, what was whole stays served.
                self._found = (served, f"{self._where}: {type(error).__name__}: {error}")
                self._disconnect()

    def _look(self, before: State) -> State:
        whole, problem = self._found
        generation = whole or before.generation
        if generation is before.generation and problem == before.problem:
            return before
        return State(generation, (), generation.snapshot_id, None, problem)

    # -- what stands beside the readings ---------------------------------------------------------

    @property
    def desk(self) -> Desk:
        """Return what the desk that mirrors said of what is served."""
        generation = self._state.generation
        return generation.desk if isinstance(generation, _Mirrored) else Desk()

    def read_as_new(self, symbol: str) -> Reading:
        """Return what an engine read of a symbol when the snapshot was new.

        Generated data is old by nature, and shown by this.
        """
        generation = self._state.generation
        if not generation.snapshot_id:
            return self.read(symbol)
        return reads_of(generation, age_s=0.0, max_age_s=math.inf)(symbol)

    # -- keeping up ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped.wait(self._poll_s):
            self.look()

    def _disconnect(self) -> None:
        """Forget the connection: the next look begins on a new one, without an old one's waits."""
        self._client = None

    # -- one generation --------------------------------------------------------------------------

    def _read_generation(self, served: _Mirrored | None) -> _Mirrored:
        """Return the generation that `current` names, with what its desk says now.

        Raises _NotWhole when its documents are not all there, and what the client raises.
        """
        until_s = time.monotonic() + _LOOK_S
        for attempt in range(1, _TRIES + 1):
            current = self._read_current(until_s)
            is_served = served is not None and served.snapshot_id == current["snapshot_id"]
            if served is not None and is_served and self._hashes == current["docs"]:
                served.desk = desk_of(current)
                return served
            wrong = self._fetch(current["docs"], until_s)
            if not wrong:
                generation = self._generation(current)
                self._hashes = current["docs"]
                return generation
            if attempt == _TRIES:
                raise _NotWhole(self._torn(current, wrong))
        raise AssertionError("the last attempt returns or raises")

    def _read_current(self, until_s: float) -> dict[str, Any]:
        if self._client is None:
            self._client = link.open_client()
        reference = current_of(root_of(self._client, self._env))
        current = reference.get(**bounds(until_s)).to_dict()
        if current is None:
            raise _NotWhole(
                f"{self._where}: {reference.path} is not there, so nothing is mirrored yet;"
                " execintel mirror --once, where the snapshots are, does it"
            )
        if not isinstance(current.get("docs"), dict):
            raise _NotWhole(f"{self._where}: the first generation is being written")
        if current.get("environment") != self._wanted:
            raise _NotWhole(
                f"{self._where}: {reference.path} is of environment {current.get('environment')},"
                f" this reader serves {self._wanted}"
            )
        return current

    def _fetch(self, hashes: Mapping[str, str], until_s: float) -> list[str]:
        """Read the documents that changed; returns the paths that are not as `current` names."""
        wanted = {p: digest for p, digest in hashes.items() if p.startswith(f"{INTEL}/")}
        self._contents = {p: kept for p, kept in self._contents.items() if p in wanted}
        missing = [p for p, digest in wanted.items() if self._kept(p) != digest]
        assert self._client is not None  # `_read_current` opened it
        root = root_of(self._client, self._env)
        for found in read_documents(self._client, root, missing, until_s):
            content = found.to_dict()
            path = relative(found.reference, root)
            if content is not None and content_hash(content) == wanted[path]:
                self._contents[path] = (wanted[path], content)
        return [p for p in missing if self._kept(p) != wanted[p]]

    def _kept(self, path: str) -> str | None:
        kept = self._contents.get(path)
        return kept and kept[0]

    def _torn(self, current: Mapping[str, Any], wrong: list[str]) -> str:
        writing = current.get("unfinished")
        why = f"{writing} is being written" if writing else "somebody else has changed them"
        return (
            f"{self._where}: {len(wrong)} of {len(current['docs'])} documents are not those of"
            f" {current['snapshot_id']} ({why}), such as {wrong[0]}"
        )

    def _generation(self, current: Mapping[str, Any]) -> _Mirrored:
        records: dict[str, Record] = {}
        if current["all"] is not None:
            records[ALL] = record_of(current["all"], current)
        for path, (_, content) in sorted(self._contents.items()):
            symbol = name_of(path.removeprefix(f"{INTEL}/"))
            records[symbol] = record_of(content, current)
        generation = _Mirrored(_header(current, dict.fromkeys(records, _NOWHERE)), b"", None)
        generation.desk = desk_of(current)
        generation.entries = {symbol: entry_of(record) for symbol, record in records.items()}
        return generation


def _header(current: Mapping[str, Any], index: dict[str, Place]) -> Header:
    """Return the header of the live.jsonl that was mirrored, without the places of its lines."""
    return Header(
        FORMAT,
        current["snapshot_id"],
        as_of_ms(current),
        current["window_days"],
        current["environment"],
        current["account"],
        current["symbol_key"],
        index,
        "",
    )
