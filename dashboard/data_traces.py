"""The accuracy tables over trace files, where there is no snapshot yet; reads as data.py does.

Put here: when they are computed anew. Keep out: computing them (pipelines/accuracy.py).
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from features.settings import Settings

_Files = tuple[tuple[Path, int, int], ...]  # path, bytes, time of change


@dataclass(frozen=True)
class TraceTables:
    """The feat_telemetry__ tables over the trace files of a folder, as of their newest exit.

    ``n`` counts the traces that are used, ``rejected`` the lines that are not, by reason.
    """

    folder: Path
    tables: Mapping[str, pl.DataFrame]
    params: Mapping[str, Any]
    n: int
    rejected: Mapping[str, int]
    as_of_ms: int | None


class TraceFolder:
    """A folder of trace files; its tables are computed again when a file changed."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self._files: _Files = ()
        self._tables: TraceTables | None = None
        self.problem: str | None = None  # of the files as they are now; the tables are older ones
        self._lock = threading.Lock()

    def read(self) -> TraceTables | None:
        """Return the tables over the files as they are now; None where there is no trace file."""
        from pipelines.accuracy import TraceError

        with self._lock:
            try:
                files = self._found()
                if files != self._files:
                    self._files = files
                    self.problem = None
                    self._tables = self._compute() if files else None
            except (TraceError, OSError) as error:  # one may still be written
                self.problem = f"Trace files in {self._folder}: {error}"
            return self._tables

    def _found(self) -> _Files:
        from pipelines.accuracy import TraceError, trace_files

        try:
            stats = [(file.path, file.path.stat()) for file in trace_files(self._folder)]
        except TraceError:
            return ()
        return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)

    def _compute(self) -> TraceTables:
        from pipelines.accuracy import AccuracyAnalyzer

        analyzer = AccuracyAnalyzer(
            self._settings.params, memory_limit_mb=self._settings.memory_limit_mb
        )
        loaded = analyzer.load_traces(self._folder)
        tables = {
            name: pl.DataFrame(pl.from_arrow(rows))
            for name, rows in analyzer.arrow_tables(loaded).items()
        }
        newest = tables["feat_telemetry__accuracy"]["last_ms"].max()
        return TraceTables(
            self._folder,
            tables,
            analyzer.params,
            len(loaded),
            loaded.rejected,
            newest if isinstance(newest, int) else None,
        )
