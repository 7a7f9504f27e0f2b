"""Digests of tables and files: equal rows give equal digests, however they were computed or stored.

Put here: hashing. Keep out: what is hashed and why.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from features.engines.text import identifier

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa  # who opens a snapshot and digests none of its tables need not wait for it

_BATCH_ROWS = 65_536


def table_digest(con: duckdb.DuckDBPyConnection, relation: str, grain: tuple[str, ...]) -> str:
    """Return the SHA-256 of a relation's rows sorted by ``grain``, column by column.

    Batches, threads, files and compaction do not matter; column names, types and NULLs do.
    """
    order = ", ".join(identifier(column) for column in grain)
    rows = con.sql(f"SELECT * FROM {relation} ORDER BY {order}").to_arrow_reader(_BATCH_ROWS)
    names = rows.schema.names
    digests = {name: [hashlib.sha256() for _ in range(3)] for name in names}
    for batch in rows:
        for name in names:
            for digest, part in zip(digests[name], _bytes(batch.column(name)), strict=True):
                digest.update(part)
    whole = hashlib.sha256()
    for field in rows.schema:
        whole.update(f"{field.name}:{field.type}\n".encode())
        for digest in digests[field.name]:
            whole.update(digest.digest())
    return whole.hexdigest()


def _bytes(column: "pa.Array") -> tuple[bytes, bytes, bytes]:
    """Write validity, lengths and values, so that joined batches give the bytes of one batch."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    present = _values(pc.is_valid(column).cast(pa.uint8()))
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        lengths = _values(pc.binary_length(column).cast(pa.int64())) * present
        text = "".join(filter(None, column.to_pylist())).encode()
        return present.tobytes(), lengths.tobytes(), text
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        column = column.cast(pa.int64() if pa.types.is_timestamp(column.type) else pa.int32())
    numbers = _values(column)
    values = np.where(present, numbers, numbers.dtype.type(0))
    return present.tobytes(), b"", (values + 0).tobytes()  # -0.0 + 0 is 0.0: the two compare equal


def _values(column: "pa.Array") -> "np.ndarray[Any, Any]":
    """Return numbers as numpy has them, of a NULL anything.

    pyarrow's own ways import pandas, and a Ctrl-C in the midst of that is lost or hangs.
    """
    import numpy as np

    kind = np.dtype(column.type.to_pandas_dtype())
    return np.frombuffer(column.buffers()[1], kind, len(column), column.offset * kind.itemsize)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
