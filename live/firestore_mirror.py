"""Write to Firestore: one document at a time, or a whole generation; bounded, never raising.

Put here: what is written and in which order. Keep out: what stands in the documents
(mirror_documents.py), reading them (firestore_source.py). Nothing here belongs on the order path.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from live import firestore_link
from live.breaker import Breaker
from live.firestore_link import OffError, bounds, hedge_env, root_of
from live.generation import DamagedError, Generation
from live.mirror_documents import (
    HEALTH,
    INTEL,
    Document,
    DocumentError,
    Documents,
    clean,
    content_hash,
    document_id,
    document_size,
    documents_of,
    path_of,
)

if TYPE_CHECKING:
    from google.cloud.firestore import Client, DocumentReference, DocumentSnapshot

ROUTER_METRICS = "router_metrics"
SYMBOL_TOGGLES = "symbol_toggles"
SNAPSHOT_S = 10.0  # for all calls of one snapshot
BATCH_WRITES = 500  # the service takes no more; the emulator does
_BATCH_BYTES = 4_000_000  # as Firestore counts; on the wire up to twice that, allowed are 10 MiB
_READ_AT_ONCE = 300  # documents
_DAY_S = 86_400
_TRIES = 3  # when another publisher was faster

Outcome = Literal["published", "unchanged", "off", "waiting", "refused", "failed"]
_log = logging.getLogger(__name__)


class Published(msgspec.Struct, frozen=True):
    """What became of a generation.

    ``outcome`` is published, unchanged (this very snapshot stands there), off (not configured),
    waiting (the breaker is open), refused (it cannot be stored) or failed; ``detail`` says why.
    """

    outcome: Outcome
    snapshot_id: str
    detail: str = ""
    written: int = 0  # documents, `current` among them
    deleted: int = 0
    skipped: int = 0  # documents that stand there already
    batches: int = 0
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return self.outcome in ("published", "unchanged")


class _Conflict(Exception):
    """Another publisher replaced `current` between our look and our write."""


class _Process:
    """The client of this process, its breaker, and what was refused last."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.client_of: tuple[str | None, ...] = ()
        self.breaker = Breaker("the Firestore mirror", on_open=self.forget_client)
        self.refused: dict[str, str] = {}  # by path, so that each is logged once
        self.refused_n = 0

    def forget_client(self) -> None:
        """Begin the next try on a new connection: an old one waits ever longer by itself."""
        self.client = None


_process = _Process()


def get_client() -> "Client":
    """Return this process's Firestore client.

    Raises OffError when neither GOOGLE_CLOUD_PROJECT nor FIRESTORE_EMULATOR_HOST is set.
    """
    firestore_link.require()
    meant = firestore_link.variables()
    client = _process.client
    if client is None or _process.client_of != meant:
        client = firestore_link.open_client()
        _process.client, _process.client_of = client, meant
    return client


def state() -> dict[str, Any]:
    """Return what a metric or page shows: calls done, failed, skipped, refused; the last error."""
    breaker = _process.breaker
    return {
        "where": firestore_link.where(),
        "is_open": breaker.is_open,
        "refused": _process.refused_n,
        "last_error": breaker.last_error,
        **msgspec.structs.asdict(breaker.counts),
    }


def is_failing() -> bool:
    """Tell whether the last call failed because Firestore did not work."""
    return _process.breaker.last_error is not None


# -- one document -------------------------------------------------------------------------------


def publish_execution_intel(symbol: str, payload: Mapping[str, Any]) -> bool:
    """Mirror a symbol's execution intelligence to hedge/{env}/execution_intel/{symbol}.

    Fields of the payload replace those that stand there, maps as a whole; other fields stay.
    ``symbol``, ``env`` and ``updated_at`` (epoch s) are added. Takes up to 2 s and never raises:
    failures are counted and logged. Returns whether it was written.
    """
    return _publish_one(INTEL, symbol, payload)


def publish_execution_health(symbol: str, payload: Mapping[str, Any]) -> bool:
    """Mirror a symbol's execution health document, as ``publish_execution_intel`` does."""
    return _publish_one(HEALTH, symbol, payload)


def publish_router_metrics(symbol: str, payload: Mapping[str, Any]) -> bool:
    """Mirror a symbol's router metrics, as ``publish_execution_intel`` does."""
    return _publish_one(ROUTER_METRICS, symbol, payload)


def publish_symbol_toggle(symbol: str, payload: Mapping[str, Any]) -> bool:
    """Mirror whether and why a symbol is switched off, as ``publish_execution_intel`` does."""
    return _publish_one(SYMBOL_TOGGLES, symbol, payload)


def _publish_one(collection: str, symbol: str, payload: Mapping[str, Any]) -> bool:
    env = hedge_env()
    where = f"{collection}/{symbol}"
    try:
        data = clean(payload, where)
        data = {"symbol": symbol, "env": env, "updated_at": int(time.time()), **data}
        document_size(f"hedge/{env}/{path_of(collection, symbol)}", data)
    except DocumentError as error:
        _refuse(where, error)
        return False
    if not _process.breaker.allows():
        return False
    try:
        client = get_client()
        reference = root_of(client, env).collection(collection).document(document_id(symbol))
        reference.set(data, merge=_field_paths(data), **bounds())
    except OffError:
        return False
    except Exception as error:  # whatever the network does, the caller goes on
        _fail(where, error)
        return False
    _process.breaker.succeeded()
    _process.refused.pop(where, None)
    return True


def has_generation() -> bool | None:
    """Tell whether a snapshot is mirrored here; None when that cannot be found out now."""
    if not _process.breaker.allows():
        return None
    try:
        current = current_of(root_of(get_client()))
        found = current.get(field_paths=["snapshot_id"], **bounds())
    except OffError:
        return None
    except Exception as error:  # whatever the network does, the caller goes on
        _process.breaker.failed(error)
        return None
    _process.breaker.succeeded()
    return bool(found.exists)


def _field_paths(data: Document) -> list[str]:
    """Name each field of a document, so that its map is replaced instead of mixed with the old."""
    from google.cloud.firestore_v1.field_path import FieldPath

    return [FieldPath(name).to_api_repr() for name in data]


def _fail(where: str, error: Exception) -> Outcome:
    """Count a failed call: as Firestore's no to this document, or as Firestore not working."""
    from google.api_core.exceptions import InvalidArgument

    if isinstance(error, InvalidArgument):
        _process.breaker.succeeded()  # it answered
        _refuse(where, error)
        return "refused"
    _process.breaker.failed(error)
    return "failed"


def _refuse(where: str, error: Exception) -> None:
    words = str(error)
    _process.refused_n += 1
    if _process.refused.get(where) != words:
        _process.refused[where] = words
        _log.error("not mirrored: %s", words)


# -- a generation -------------------------------------------------------------------------------


def publish_snapshot(
    generation: Generation, *, verify: bool | None = None, deadline_s: float | None = None
) -> Published:
    """Write all documents of a generation that differ from what stands there, `current` last.

    Up to 500 writes are one batch, which Firestore applies as a whole. More batches begin with a
    mark in `current`, so that neither reader nor next publisher trusts what a crash left half.

    Args:
        generation: what ``live.generation.load`` gave.
        verify: read every document back first and mend those that differ; by default with the
            first publication of a UTC day. Otherwise the hashes in `current` are believed, unless
            the last publication did not come to its end.
        deadline_s: for all calls together, 10 by default; one call has 2 s, and 10 ms more for
            each document.

    Never raises; the result says what happened.
    """
    started_s = time.monotonic()
    snapshot_id = generation.snapshot_id
    try:
        firestore_link.require()
        documents = documents_of(generation, hedge_env())
    except OffError as error:
        return Published("off", snapshot_id, str(error))
    except (DocumentError, DamagedError) as error:
        _refuse("snapshots/current", error)
        return Published("refused", snapshot_id, str(error))
    breaker = _process.breaker
    if not breaker.allows():
        return Published("waiting", snapshot_id, f"not tried again yet: {breaker.last_error}")
    try:
        run = _Publication(get_client(), documents, started_s + (deadline_s or SNAPSHOT_S))
        published = run.publish(verify)
    except Exception as error:  # a mirror that fails must never stop what it mirrors
        outcome = _fail("snapshots/current", error)
        detail = f"{type(error).__name__}: {error}"
        return Published(outcome, snapshot_id, detail, seconds=time.monotonic() - started_s)
    breaker.succeeded()
    _process.refused.pop("snapshots/current", None)
    return msgspec.structs.replace(published, seconds=time.monotonic() - started_s)


class Difference(msgspec.Struct, frozen=True):
    """What a mirror lacks of a generation: documents to write and to delete, by path."""

    changed: list[str]
    gone: list[str]
    is_same: bool  # nothing at all is to be written, not even `current`


def difference(
    documents: Documents, old: Mapping[str, Any], known: Mapping[str, str]
) -> Difference:
    """Compare a generation with the `current` that stands and the hashes known of its documents."""
    changed = [path for path, digest in documents.hashes.items() if known.get(path) != digest]
    gone = [path for path in _hashes_in(old) if path not in documents.hashes]
    is_same = not changed and not gone
    is_same = is_same and all(old.get(k) == v for k, v in documents.current.items())
    return Difference(changed, gone, is_same and "unfinished" not in old)


def compare(documents: Documents) -> Difference:
    """Return what a generation would write now; raises what the client does."""
    found = current_of(root_of(get_client())).get(**bounds())
    old = found.to_dict() or {}
    return difference(documents, old, {} if "unfinished" in old else _hashes_in(old))


def _hashes_in(current: Mapping[str, Any]) -> dict[str, str]:
    found = current.get("docs")
    return found if isinstance(found, dict) else {}


class _Publication:
    """One generation on its way to Firestore."""

    def __init__(self, client: "Client", documents: Documents, until_s: float) -> None:
        self._client = client
        self._documents = documents
        self._until_s = until_s
        self._root = root_of(client)
        self._current = current_of(self._root)
        self._now = int(time.time())

    def publish(self, verify: bool | None) -> Published:
        for _ in range(_TRIES):
            found = self._current.get(**bounds(self._until_s))
            old = found.to_dict() or {}
            known = _hashes_in(old)
            if "unfinished" in old or (self._is_due(old) if verify is None else verify):
                known = self._stored_hashes()
            todo = difference(self._documents, old, known)
            skipped = len(self._documents.hashes) - len(todo.changed)
            snapshot_id = self._documents.current["snapshot_id"]
            if todo.is_same:
                return Published("unchanged", snapshot_id, skipped=skipped)
            try:
                batches = self._write(todo, found)
            except _Conflict:
                continue
            return Published(
                "published",
                snapshot_id,
                written=len(todo.changed) + batches,
                deleted=len(todo.gone),
                skipped=skipped,
                batches=batches,
            )
        raise TimeoutError(f"another publisher was faster {_TRIES} times")

    def _is_due(self, old: Document) -> bool:
        last = old.get("updated_at")
        return not isinstance(last, int) or last // _DAY_S != self._now // _DAY_S

    def _stored_hashes(self) -> dict[str, str]:
        """Read the documents back and return the hashes of what really stands there."""
        stored: dict[str, str] = {}
        paths = self._documents.hashes
        for document in read_documents(self._client, self._root, paths, self._until_s):
            content = document.to_dict()
            if content is not None:
                stored[relative(document.reference, self._root)] = content_hash(content)
        return stored

    def _write(self, todo: Difference, found: "DocumentSnapshot[Any]") -> int:
        from google.api_core import exceptions

        exists, written_at = found.exists, found.update_time
        final = {**self._documents.current, "updated_at": self._now}
        batches = list(self._batches(todo))
        for number, paths in enumerate(batches, start=1):
            batch = self._client.batch()
            for path in paths:
                document = self._documents.documents.get(path)
                reference = self._client.document(f"{self._root.path}/{path}")
                if document is None:
                    batch.delete(reference)
                else:
                    batch.set(reference, {**document, "updated_at": self._now})
            mark = {"unfinished": final["snapshot_id"]}
            self._put_current(batch, final if number == len(batches) else mark, exists, written_at)
            try:
                results = batch.commit(**bounds(self._until_s, len(paths)))
            except (exceptions.FailedPrecondition, exceptions.AlreadyExists) as error:
                raise _Conflict from error
            exists, written_at = True, results[-1].update_time
        return len(batches)

    def _put_current(self, batch: Any, fields: Document, exists: bool, written_at: Any) -> None:
        """Add `current` to a batch, last, so that it fails whole if somebody else touched that."""
        from google.cloud.firestore import DELETE_FIELD

        if not exists:
            batch.create(self._current, fields)
            return
        if "docs" in fields:
            fields = {**fields, "unfinished": DELETE_FIELD}
        option = self._client.write_option(last_update_time=written_at)
        batch.update(self._current, fields, option=option)

    def _batches(self, todo: Difference) -> Iterator[list[str]]:
        """Cut what is to be written, room for `current` left in each."""
        batch: list[str] = []
        batch_bytes = 0
        for path in [*todo.changed, *todo.gone]:
            document = self._documents.documents.get(path, {})
            added = document_size(path, document)
            if batch and (len(batch) + 1 >= BATCH_WRITES or batch_bytes + added > _BATCH_BYTES):
                yield batch
                batch, batch_bytes = [], 0
            batch.append(path)
            batch_bytes += added
        yield batch


def current_of(root: "DocumentReference") -> "DocumentReference":
    """Return the document that names the generation, and every document of it by its hash."""
    found: DocumentReference = root.collection("snapshots").document("current")
    return found


def relative(reference: "DocumentReference", root: "DocumentReference") -> str:
    """Return a document's path below its environment, as `current` writes it."""
    return str(reference.path).removeprefix(f"{root.path}/")


def read_documents(
    client: "Client", root: "DocumentReference", paths: Iterable[str], until_s: float
) -> Iterator["DocumentSnapshot[Any]"]:
    """Read documents by their paths below ``root``, some hundred a call; absent ones too."""
    references = [client.document(f"{root.path}/{path}") for path in paths]
    for start in range(0, len(references), _READ_AT_ONCE):
        some = references[start : start + _READ_AT_ONCE]
        yield from client.get_all(some, **bounds(until_s, len(some)))
