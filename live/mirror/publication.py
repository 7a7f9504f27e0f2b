"""One generation on its way to Firestore: what of it is missing there, in which batches it goes.

Put here: the order of writes and what a crash between them leaves. Keep out: documents
(documents.py), when to try at all and what a failure means (firestore_mirror.py).
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from live.mirror.documents import Document, Documents, content_hash, document_size
from live.mirror.link import bounds, root_of

if TYPE_CHECKING:
    from google.cloud.firestore import Client, DocumentReference, DocumentSnapshot

BATCH_WRITES = 500  # the service takes no more; the emulator does
_BATCH_BYTES = 4_000_000  # as Firestore counts; on the wire up to twice that, allowed are 10 MiB
_READ_AT_ONCE = 300  # documents
_DAY_S = 86_400
_TRIES = 3  # when another publisher was faster

Outcome = Literal["published", "unchanged", "off", "waiting", "refused", "failed"]


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


class Difference(msgspec.Struct, frozen=True):
    """What a mirror lacks of a generation: documents to write and to delete, by path."""

    changed: list[str]
    gone: list[str]
    is_same: bool  # nothing at all is to be written, not even `current`


def difference(
    documents: Documents, old: Mapping[str, Any], stored: Mapping[str, str] | None = None
) -> Difference:
    """Compare a generation with the `current` that stands.

    ``stored`` are the hashes of what really stands there; where they were not read, those in
    `current` are believed, unless a publication did not come to its end.
    """
    known = stored
    if known is None:
        known = {} if "unfinished" in old else _hashes_in(old)
    changed = [path for path, digest in documents.hashes.items() if known.get(path) != digest]
    listed = [*_hashes_in(old), *_adding_in(old)]
    gone = [path for path in dict.fromkeys(listed) if path not in documents.hashes]
    is_same = not changed and not gone
    is_same = is_same and all(old.get(k) == v for k, v in documents.current.items())
    return Difference(changed, gone, is_same and "unfinished" not in old)


def _hashes_in(current: Mapping[str, Any]) -> dict[str, str]:
    found = current.get("docs")
    return found if isinstance(found, dict) else {}


def _adding_in(current: Mapping[str, Any]) -> list[str]:
    """Return what publications that did not come to their end may have added."""
    found = current.get("adding")
    return found if isinstance(found, list) else []


class Publication:
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
            stored = None
            if "unfinished" in old or (self._is_due(old) if verify is None else verify):
                stored = self._stored_hashes()
            todo = difference(self._documents, old, stored)
            skipped = len(self._documents.hashes) - len(todo.changed)
            snapshot_id = self._documents.current["snapshot_id"]
            if todo.is_same:
                return Published("unchanged", snapshot_id, skipped=skipped)
            adding = {path for path in todo.changed if path not in _hashes_in(old)}
            mark = {"unfinished": snapshot_id, "adding": sorted({*_adding_in(old), *adding})}
            try:
                batches = self._write(todo, mark, found)
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

    def _write(self, todo: Difference, mark: Document, found: "DocumentSnapshot[Any]") -> int:
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
            fields = {**fields, "unfinished": DELETE_FIELD, "adding": DELETE_FIELD}
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
