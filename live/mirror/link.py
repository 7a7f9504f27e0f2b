"""How this process reaches Firestore: whether it should, where, and within which time.

Put here: variables, the client and the bounds of a call. Keep out: documents. The client library
is imported when a client is made: whoever does not mirror does not pay for it.
"""

import os
import time
from typing import TYPE_CHECKING, Any

from live.mirror.documents import document_id

if TYPE_CHECKING:
    from google.cloud.firestore import Client, DocumentReference

CALL_S = 2.0
_DOCUMENT_S = 0.01
PROJECT_VARIABLE = "GOOGLE_CLOUD_PROJECT"
EMULATOR_VARIABLE = "FIRESTORE_EMULATOR_HOST"
ENV_VARIABLE = "HEDGE_ENV"
ROOT = "hedge"


class OffError(Exception):
    """Nothing says which Firestore to use: mirroring is off."""


def where() -> str | None:
    """Say which Firestore is meant; None when mirroring is off."""
    emulator, project = os.environ.get(EMULATOR_VARIABLE), os.environ.get(PROJECT_VARIABLE)
    if emulator:
        return f"emulator {emulator}"
    return f"project {project}" if project else None


def require() -> str:
    """Return which Firestore is meant; raises OffError when none is."""
    found = where()
    if found is None:
        raise OffError(
            f"mirroring is off: {PROJECT_VARIABLE} and {EMULATOR_VARIABLE} are both unset"
        )
    return found


def variables() -> tuple[str | None, ...]:
    """Return what decides which Firestore a client talks to."""
    return os.environ.get(EMULATOR_VARIABLE), os.environ.get(PROJECT_VARIABLE)


def hedge_env() -> str:
    """Return the environment below which documents stand."""
    return os.environ.get(ENV_VARIABLE) or "dev"


def open_client() -> "Client":
    """Return a new client; its credentials are those that Google's library finds.

    Raises OffError when mirroring is off, and what the library raises without credentials.
    """
    require()
    from google.cloud import firestore

    return firestore.Client(project=os.environ.get(PROJECT_VARIABLE) or None)


def root_of(client: "Client", env: str | None = None) -> "DocumentReference":
    """Return the document below which everything of an environment stands."""
    return client.collection(ROOT).document(document_id(env or hedge_env()))


def bounds(until_s: float | None = None, documents: int = 0) -> dict[str, Any]:
    """Return the arguments that bound a call, its retries included.

    A call has 2 s, 10 ms more for each document it carries, and ends at ``until_s`` of
    ``time.monotonic`` at the latest. Without ``retry`` the library would go on for a minute after
    ``timeout`` has passed. Raises TimeoutError when no time is left.
    """
    from google.api_core import exceptions
    from google.api_core.retry import Retry, if_exception_type

    passing = if_exception_type(exceptions.ServiceUnavailable, exceptions.Aborted)
    timeout_s = CALL_S + documents * _DOCUMENT_S
    if until_s is not None:
        timeout_s = min(timeout_s, until_s - time.monotonic())
        if timeout_s <= 0:
            raise TimeoutError("the time for all calls of one snapshot has passed")
    retry = Retry(predicate=passing, initial=0.1, maximum=0.5, timeout=timeout_s)
    return {"timeout": timeout_s, "retry": retry}
