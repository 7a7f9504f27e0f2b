"""A log folder and a lake of its own, for tests of the intake.

Put here: writing logs, running the intake, reading raw rows back. Keep out: what is expected.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from features.events import Event
from features.lake import Lake, data_files
from features.settings import Settings
from pipelines.intake import intake

NOW_MS = 1_763_000_000_000  # 2025-11-13T02:13:20Z, when lines are read
TS = 1_762_330_296.5  # 2025-11-05T08:11:36.5Z, when they were written
ROUTER = "raw_router__events"
ORDERS = "raw_orders__events"
ATTEMPTS = "raw_orders__attempts"
VETOES = "raw_risk__vetoes"
POSITIONS = "raw_positions__states"
TRACES = "raw_telemetry__traces"
BARS = "raw_market__bars"

Row = dict[str, Any]


def line(attempt_id: str = "a", **fields: Any) -> bytes:
    """Write one good line of order_metrics.jsonl, with ``fields`` over it."""
    values = {"attempt_id": attempt_id, "symbol": "BTCUSDT", "side": "BUY", "ts": TS, **fields}
    return json.dumps(values).encode() + b"\n"


def line_hashes(path: str) -> list[int]:
    """Return the hash of every row of a raw file."""
    found: list[int] = pq.ParquetFile(path).read(["line_hash"])["line_hash"].to_pylist()
    return found


@dataclass
class Desk:
    """A folder ``logs`` beside a home ``home``."""

    root: Path
    now_ms: int = NOW_MS

    def __post_init__(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def lake(self) -> Lake:
        return Lake(self.root / "home" / "lake")

    def settings(self, **values: Any) -> Settings:
        return Settings(home=self.root / "home", **{"log_dir": self.logs, **values})

    def write(self, name: str, data: bytes) -> Path:
        path = self.logs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def append(self, name: str, data: bytes) -> None:
        with (self.logs / name).open("ab") as file:
            file.write(data)

    def run(
        self,
        *,
        tables: set[str] | None = None,
        listen: Callable[[Event], None] = lambda event: None,
        **settings: Any,
    ) -> intake.IntakeReport:
        """Run the intake once, and hold what every run must hold."""
        lake = self.lake
        lake.prepare()
        intake.ensure_tables(lake)
        report = intake.ingest(
            lake, self.settings(**settings), now_ms=self.now_ms, tables=tables, listen=listen
        )
        for counts in report.tables.values():
            assert counts.lines == counts.accepted + counts.rejected + counts.duplicates
            assert counts.rejected == sum(counts.reasons.values())
        self.check_totals()
        return report

    def counts(self, report: intake.IntakeReport, table: str = ROUTER) -> tuple[int, int, int, int]:
        """Return (lines, accepted, rejected, duplicates) of one table."""
        found = report.tables[table]
        return found.lines, found.accepted, found.rejected, found.duplicates

    def check_totals(self) -> None:
        """Hold the running totals of every raw table against its rows."""
        for folder in sorted(self.lake.root.iterdir()):
            if not folder.is_dir():
                continue
            table = self.lake.open(folder.name)
            lines = table.transaction_version(intake.LINES) or 0
            duplicates = table.transaction_version(intake.DUPLICATES) or 0
            files = data_files(table)
            hashes = [number for file in files for number in line_hashes(file.path)]
            assert len(hashes) == lines - duplicates, folder.name
            digest = sum(hashes) & ((1 << 63) - 1)
            assert digest == (table.transaction_version(intake.DIGEST) or 0), folder.name
            assert sum(file.rows for file in files) == len(hashes), folder.name

    def rows(self, table: str = ROUTER) -> list[Row]:
        """Return the rows of a raw table in the order of their sources and offsets."""
        paths = [file.path for file in data_files(self.lake.open(table))]
        if not paths:
            return []
        with duckdb.connect() as con:
            rows: list[Row] = (
                con.sql(
                    "SELECT * EXCLUDE (event_at_utc),"
                    " strftime(event_at_utc AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%f') AS at_utc"
                    " FROM read_parquet($paths, union_by_name = true, hive_partitioning = true,"
                    " hive_types = {'part': VARCHAR})"
                    " ORDER BY ingest_seq, source_id, line_offset",
                    params={"paths": paths},
                )
                .to_arrow_table()
                .to_pylist()
            )
        return rows

    def ids(self, table: str = ROUTER) -> list[str]:
        """Return the attempt ids of a raw table, sorted."""
        return sorted(row["attempt_id"] for row in self.rows(table))
