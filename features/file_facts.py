"""What is known of single files of the lake: computed once, because a file never changes.

Put here: computing facts of files and keeping them. Keep out: what a fact says (its caller's SQL).
"""

import contextlib
import hashlib
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from features.engines import duckdb as engine
from features.engines import functions
from features.lake import DataFile

LEAST_ROWS = 300_000  # fewer are read again sooner than facts of them are kept


@dataclass(frozen=True)
class Fact:
    """A SELECT over ``file_rows``, the rows of one file; ``name`` is a folder's."""

    name: str
    sql: str

    @property
    def folder(self) -> str:
        """Name the folder by all that decides the facts in it."""
        # What hash() returns may change with the engine.
        text = "\n".join([duckdb.__version__, *functions.MACROS, self.sql])
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass
class FileFacts:
    """Facts of lake files, a small Parquet file each, below ``root``.

    Only a shortcut: facts that are missing, damaged, or of a file that changed are computed. A fact
    is named by its lake file, how many rows it has, and a sum of its bytes: Parquet reads most
    damage as numbers.
    """

    root: Path
    compared: dict[str, dict[str, bool]] = field(default_factory=dict)  # facts that share an id
    _used: dict[str, dict[str, str]] = field(default_factory=dict)  # by folder and lake file

    def is_worth(self, files: Iterable[DataFile]) -> bool:
        """Tell whether the files hold so many rows that facts of them save time."""
        return sum(file.rows for file in files) >= LEAST_ROWS

    def of(
        self,
        con: duckdb.DuckDBPyConnection,
        fact: Fact,
        schema: pa.Schema,
        files: Sequence[DataFile],
    ) -> list[str]:
        """Return the path of each file's fact, computing those that are missing."""
        folder = str(self.root / fact.folder)
        used = self._used.setdefault(fact.folder, {})
        unchecked = [file for file in files if file.path not in used]
        if unchecked:
            os.makedirs(folder, exist_ok=True)
            # Names of two parts are of a release that did not count rows.
            names = [name for name in os.listdir(folder) if name.count("-") == 2]
            kept = {name.partition("-")[0]: f"{folder}/{name}" for name in names}
            for file in unchecked:
                identity = _identity(file)
                path = kept.get(identity, "")
                if not _is_sound(path):
                    path = _compute(con, fact, schema, file, Path(folder, identity))
                used[file.path] = path
        return [used[file.path] for file in files]

    def forget_others(self) -> None:
        """Remove all of the facts that this run used but those it used, also of other releases."""
        for folder, used in self._used.items():
            kept = set(used.values())
            for path in self.root.glob(f"{folder.rpartition('-')[0]}-*/*"):
                if str(path) not in kept:
                    with contextlib.suppress(OSError):  # it takes room, and nothing else
                        path.unlink()


def _identity(file: DataFile) -> str:
    stat = os.stat(file.path)
    text = f"{file.path}\n{stat.st_size}\n{stat.st_mtime_ns}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _is_sound(path: str) -> bool:
    """Tell whether a fact's bytes are still those that its name sums up."""
    found = _sum(path)
    return found != "" and path.endswith(f"-{found}.parquet")


def _sum(path: str) -> str:
    """Sum up a file's bytes; one that cannot be read, or holds none, has no sum."""
    try:
        with open(path, "rb", buffering=0) as file:
            content = file.read()
    except OSError:
        return ""
    return f"{zlib.crc32(content):08x}" if content else ""


def _compute(
    con: duckdb.DuckDBPyConnection, fact: Fact, schema: pa.Schema, file: DataFile, stem: Path
) -> str:
    engine.create_scan(con, "CREATE OR REPLACE TEMP VIEW file_rows", schema, [file.path])
    draft = stem.with_suffix(".tmp")
    copied = con.execute(f"COPY ({fact.sql}) TO {engine.literal(str(draft))} (FORMAT parquet)")
    ((rows_n,),) = copied.fetchall()
    return str(draft.replace(stem.with_name(f"{stem.name}-{rows_n}-{_sum(str(draft))}.parquet")))


def union(paths: Sequence[str], columns: str) -> str:
    """Write the SELECT of ``columns`` over facts; ``filename`` is each row's path."""
    quoted = ", ".join(engine.literal(path) for path in paths)
    return f"SELECT {columns} FROM read_parquet([{quoted}], filename = true)"


def rows_of(paths: Iterable[str]) -> int:
    """Count the rows of facts, by what their names say of them."""
    return sum(int(Path(path).stem.split("-")[1]) for path in paths)
