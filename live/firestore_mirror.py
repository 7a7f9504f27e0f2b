"""Write to Firestore: one document at a time, or a whole generation; bounded, never raising.

Put here: the calls, their client, and what their failures lead to. Keep out: what stands in the
documents (mirror/documents.py), the order in which a generation is written
(mirror/publication.py), reading (mirror/source.py). Nothing here belongs on the order path.
"""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from live.mirror import link
from live.mirror.breaker import Breaker
from live.mirror.desk import Desk
from live.mirror.documents import (
    HEALTH,
    INTEL,
    Document,
    DocumentError,
    Documents,
    clean,
    document_id,
    document_size,
    documents_of,
    path_of,
)
from live.mirror.link import OffError, bounds, hedge_env, root_of
from live.mirror.publication import (
    Difference,
    Outcome,
    Publication,
    Published,
    current_of,
    difference,
)
from live.snapshot.generation import Generation

if TYPE_CHECKING:
    from google.cloud.firestore import Client

ROUTER_METRICS = "router_metrics"
SYMBOL_TOGGLES = "symbol_toggles"
SNAPSHOT_S = 10.0  # for all calls of one snapshot

_log = logging.getLogger(__name__)


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
    link.require()
    meant = link.variables()
    client = _process.client
    if client is None or _process.client_of != meant:
        client = link.open_client()
        _process.client, _process.client_of = client, meant
    return client


def state() -> dict[str, Any]:
    """Return what a metric or page shows: calls done, failed, skipped, refused; the last error."""
    breaker = _process.breaker
    return {
        "where": link.where(),
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
    generation: Generation,
    *,
    desk: Desk | None = None,
    verify: bool | None = None,
    deadline_s: float | None = None,
) -> Published:
    """Write all documents of a generation that differ from what stands there, `current` last.

    Up to 500 writes are one batch, which Firestore applies as a whole. More batches begin with a
    mark in `current`, so that neither reader nor next publisher trusts what a crash left half.

    Args:
        generation: what ``live.snapshot.generation.load`` gave.
        desk: what `current` tells beside it, and is written again for where it alone changed; None
            tells nothing.
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
        link.require()
        documents = documents_of(generation, hedge_env(), desk)
    except OffError as error:
        return Published("off", snapshot_id, str(error))
    except DocumentError as error:
        _refuse("snapshots/current", error)
        return Published("refused", snapshot_id, str(error))
    breaker = _process.breaker
    if not breaker.allows():
        return Published("waiting", snapshot_id, f"not tried again yet: {breaker.last_error}")
    try:
        run = Publication(get_client(), documents, started_s + (deadline_s or SNAPSHOT_S))
        published = run.publish(verify)
    except Exception as error:  # a mirror that fails must never stop what it mirrors
        outcome = _fail("snapshots/current", error)
        detail = f"{type(error).__name__}: {error}"
        return Published(outcome, snapshot_id, detail, seconds=time.monotonic() - started_s)
    breaker.succeeded()
    _process.refused.pop("snapshots/current", None)
    return msgspec.structs.replace(published, seconds=time.monotonic() - started_s)


def compare(documents: Documents) -> Difference:
    """Return what a generation would write now; raises what the client does."""
    found = current_of(root_of(get_client())).get(**bounds())
    return difference(documents, found.to_dict() or {})
