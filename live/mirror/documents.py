"""The documents that a snapshot is in Firestore, as plain values, and the way back to records.

Put here: names, shapes, limits and hashes of documents. Keep out: writing and reading them
(firestore_mirror.py, source.py). What Firestore cannot hold is refused here, by name.
"""

import datetime as dt
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from live import intel
from live.mirror.desk import Desk, fields_of
from live.snapshot.generation import Generation
from live.snapshot.published import PublishedError, reads_of
from live.snapshot.reading import Reading
from live.snapshot.records import ALL, Record

Document = dict[str, Any]

INTEL = "execution_intel"
HEALTH = "execution_health"
LARGEST_BYTES = 1_048_576  # of one document
_LONGEST_NAME = 1_500  # bytes of a document's id or a field's name
_DEEPEST = 20
_INTEGERS = range(-(2**63), 2**63)
_HASH_DIGITS = 32  # 128 bits: `current` holds one for every document

# What a content hash leaves out: it changes with every snapshot, or is the executor's own.
STAMPS = ("snapshot_id", "as_of", "updated_at", "executor")


class DocumentError(ValueError):
    """Firestore cannot hold this; the message says which document, what of it, and the limit."""


# -- names --------------------------------------------------------------------------------------


def document_id(name: str) -> str:
    """Return a name as Firestore can store it, its odd characters as %XX; ``name_of`` undoes it."""
    try:
        written = quote(name, safe=" !$&'()*+,:;=@[]^{|}~")
    except UnicodeEncodeError as error:
        raise DocumentError(f"{name!r} is no text: {error}") from None
    if written in (".", ".."):
        written = written.replace(".", "%2E")
    if re.fullmatch("__.*__", written):
        written = "%5F" + written[1:]
    if not 0 < len(written) <= _LONGEST_NAME:
        raise DocumentError(
            f"{name[:40]!r} has {len(written)} bytes as a document's name,"
            f" allowed are 1 to {_LONGEST_NAME}"
        )
    return written


def name_of(document_id: str) -> str:
    """Return the name that a document's id stands for."""
    return unquote(document_id)


def path_of(collection: str, symbol: str) -> str:
    """Return where a symbol's document stands below its environment."""
    return f"{collection}/{document_id(symbol)}"


# -- values -------------------------------------------------------------------------------------


def clean(value: Any, where: str = "document", depth: int = 0) -> Any:
    """Return a value as Firestore can store it.

    Keys become text, numpy's numbers and arrays Python's, decimals floats; what is no finite
    number becomes None. Raises DocumentError for anything that cannot be stored as what it is.
    """
    if value is None or isinstance(value, bool | bytes):
        return value
    if hasattr(value, "tolist"):  # numpy, without importing it
        return clean(value.tolist(), where, depth)
    if isinstance(value, int):
        if value not in _INTEGERS:
            raise DocumentError(f"{where} = {value} does not fit into 64 bits")
        return int(value)
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value
    if isinstance(value, Mapping | list | tuple) and depth >= _DEEPEST:
        raise DocumentError(f"{where} lies deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        return _map(value, where, depth)
    if isinstance(value, list | tuple):
        if any(isinstance(item, list | tuple) for item in value):
            raise DocumentError(f"{where} holds a list in a list, which Firestore cannot store")
        return [clean(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise DocumentError(
        f"{where} is a {type(value).__name__}, which Firestore cannot store: write it as a number,"
        " text, list or map, a time with its zone"
    )


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DocumentError(f"{where} is no text: {error}") from None
    return str.__str__(value)  # of a text enumeration its text, not its name


def _map(value: Mapping[Any, Any], where: str, depth: int) -> Document:
    plain: Document = {}
    for key, item in value.items():
        name = _text(str(key), f"a name in {where}")
        if not 0 < len(name.encode()) <= _LONGEST_NAME or re.fullmatch("__.*__", name):
            raise DocumentError(
                f"{where} has a field named {name[:40]!r}: names have 1 to {_LONGEST_NAME} bytes"
                " and are not __…__"
            )
        if name in plain:
            raise DocumentError(f"{where} has two fields that are {name!r} as text")
        plain[name] = clean(item, f"{where}.{name}", depth + 1)
    return plain


def size_of(value: Any) -> int:
    """Return the bytes Firestore counts for a value, as its documentation adds them up."""
    if isinstance(value, str):
        return len(value.encode()) + 1
    if isinstance(value, Mapping):
        return 32 + sum(size_of(name) + size_of(item) for name, item in value.items())
    if isinstance(value, list | tuple):
        return sum(map(size_of, value))
    if isinstance(value, bytes):
        return len(value)
    return 1 if value is None or isinstance(value, bool) else 8


def document_size(path: str, document: Document) -> int:
    """Return the bytes Firestore counts for a document; the path is complete.

    Raises DocumentError when it is larger than a document may be.
    """
    found = 16 + sum(size_of(part) for part in path.split("/")) + size_of(document)
    if found > LARGEST_BYTES:
        raise DocumentError(
            f"{path} would have {found:,} bytes, a Firestore document may have"
            f" {LARGEST_BYTES:,}: nothing of it is written"
        )
    return found


def content_hash(document: Document) -> str:
    """Return what two documents of equal content share, whichever snapshots they came with."""
    content = {name: value for name, value in document.items() if name not in STAMPS}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


# -- a generation -------------------------------------------------------------------------------


class Documents(msgspec.Struct, frozen=True):
    """All documents of one generation by path, with their hashes and what ``current`` says."""

    documents: dict[str, Document]
    hashes: dict[str, str]
    current: Document  # without updated_at
    total_bytes: int  # with `current`, as Firestore counts them


def documents_of(generation: Generation, env: str, desk: Desk | None = None) -> Documents:
    """Build every document of a snapshot; `current` tells what ``desk`` does.

    Raises DocumentError where one cannot be stored, there are too many for one ``current``, or a
    line of the snapshot is damaged.
    """
    documents: dict[str, Document] = {}
    read = reads_of(generation, age_s=0.0, max_age_s=math.inf)  # as when it was new: no clock
    try:
        readings = [read(symbol) for symbol in generation.header.index]
    except PublishedError as error:
        raise DocumentError(str(error)) from error
    equity_usd = _common_equity_usd(readings)
    stamps = {"snapshot_id": generation.snapshot_id, "as_of": generation.as_of_ms / 1000}
    every: Document | None = None
    for reading in readings:
        assert reading.record is not None  # it stands in the index
        symbol = reading.symbol
        if symbol == ALL:
            every = intel_document(reading.record)
            continue
        intelligence = intel_document(reading.record)
        if equity_usd is not None and intelligence["risk"] is not None:
            del intelligence["risk"]["equity_usd"]
        for collection, made in ((INTEL, intelligence), (HEALTH, health_document(reading))):
            path = path_of(collection, symbol)
            documents[path] = clean({**made, "env": env, **stamps}, path)
    hashes = {path: content_hash(document) for path, document in documents.items()}
    header = generation.header
    current = clean(
        {
            **stamps,
            "environment": header.environment,
            "account": header.account,
            "window_days": header.window_days,
            "symbol_key": header.symbol_key,
            "env": env,
            "equity_usd": equity_usd,
            "all": every,
            "docs": hashes,
            **fields_of(desk or Desk()),
        },
        "snapshots/current",
    )
    sizes = [
        document_size(f"hedge/{env}/{path}", {**document, "updated_at": 0})
        for path, document in [*documents.items(), ("snapshots/current", current)]
    ]
    return Documents(documents, hashes, current, sum(sizes))


def _common_equity_usd(readings: Iterable[Reading]) -> float | None:
    """Return the account's equity where all symbols share it: then it stands once, in `current`.

    It moves with every trade, and would have every document of the account written again.
    """
    records = [reading.record for reading in readings]
    values = {record.risk.equity_usd for record in records if record and record.risk}
    return values.pop() if len(values) == 1 else None


def intel_document(record: Record) -> Document:
    """Return a record as the document execution_intel: the v5.10 names first, nothing left out."""
    values = msgspec.to_builtins(record, str_keys=True)
    score, size = values["score"], values["size"]
    return {
        "symbol": record.symbol,
        "score": score and score.pop("score"),
        "components": score,
        "hourly_expectancy": values["hourly"],
        "size_factor": size and size.pop("final_size_factor"),
        "size": size,
        "maker_offset_bps": _by_hour(record.offsets_bps),
        "policy": values["policy"],
        "regime": values["regime"],
        "router": values["router"],
        "risk": values["risk"],
        "n": record.n,
        "status": record.status,
    }


def record_of(document: Mapping[str, Any], current: Mapping[str, Any]) -> Record:
    """Return the record that a document execution_intel was made of.

    An unchanged document keeps the stamps of an older snapshot: those of ``current`` count.
    Raises msgspec.ValidationError or KeyError for a document of another shape.
    """
    score, size, risk = document["components"], document["size"], document["risk"]
    offsets = document["maker_offset_bps"]
    values = {
        **{name: document[name] for name in ("symbol", "n", "status")},
        **{name: document[name] for name in ("policy", "regime", "router")},
        "risk": None if risk is None else {"equity_usd": current["equity_usd"], **risk},
        "snapshot_id": current["snapshot_id"],
        "as_of_ms": as_of_ms(current),
        "score": None if score is None else {**score, "score": document["score"]},
        "size": None if size is None else {**size, "final_size_factor": document["size_factor"]},
        "offsets_bps": None if offsets is None else [offsets[str(h)] for h in range(len(offsets))],
        "hourly": document["hourly_expectancy"],
    }
    return msgspec.convert(values, Record, str_keys=True)


def as_of_ms(current: Mapping[str, Any]) -> int:
    """Return the as-of of a `current` in epoch ms; it stands there in seconds."""
    return round(float(current["as_of"]) * 1000)


def health_document(reading: Reading) -> Document:
    """Return the execution health document of a reading, its maker offset for every hour.

    A mirrored document is read at any hour; v5.10's is of the hour in which it was computed.
    """
    with intel.answering_from(lambda symbol: reading):
        document = intel.compute_execution_health(reading.symbol)
    del document["as_of_ms"]  # `as_of` says it
    document["router"]["maker_offset_bps"] = _by_hour(reading.acting.offsets_bps)
    return document


def _by_hour(offsets_bps: tuple[float | None, ...] | None) -> Document | None:
    if offsets_bps is None:
        return None
    return {str(hour): bps for hour, bps in enumerate(offsets_bps)}
