"""Lines of a router log into Parquet: ours against a json loop, an orjson loop and Polars.

Each contender runs in a process of its own over the same file. The loops do the same work: validate
the fields, hash every line, keep rejected ones, write Parquet. Polars only parses and writes; it
keeps no offsets and no hashes, and one bad line stops it.
"""

import argparse
import hashlib
import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.load import LOGS, Load, append_logs
from benchmarks.memory import peak_mb
from features.lake import Lake
from features.settings import Settings
from pipelines.intake.intake import ensure_tables, ingest
from pipelines.intake.kinds import ROUTER

WHAT = "a million lines of a router log into Parquet"
_LOOP_BATCH = 100_000  # rows a loop holds before it writes them
_TEXTS = ("attempt_id", "intent_id", "venue", "route", "symbol", "side")
_NUMBERS = (
    ("prices", "mark"),
    ("prices", "submitted"),
    ("prices", "avg_fill"),
    ("qty", "contracts"),
    ("qty", "notional_usd"),
    ("timing_ms", "decision"),
    ("timing_ms", "submit"),
    ("timing_ms", "ack"),
    ("timing_ms", "fill"),
    ("result", "retries"),
)
_FLAT_NUMBERS = ("fees_usd", "slippage_bps")
_AMOUNTS = {"prices.mark", "prices.submitted", "prices.avg_fill", "qty.contracts"}


def _ours(log: Path, out: Path) -> int:
    settings = Settings(home=out, log_dir=log.parent)
    lake = Lake(settings.lake_root)
    lake.prepare()
    ensure_tables(lake)
    report = ingest(lake, settings, now_ms=time.time_ns() // 1_000_000)
    return report.lines


def _loop(log: Path, out: Path, loads: Callable[[bytes], Any]) -> int:
    out.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    lines = offset = 0
    with log.open("rb") as file:
        for line in file:
            rows.append(_validated(line, offset, loads))
            offset += len(line)
            lines += 1
            if len(rows) == _LOOP_BATCH:
                pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), out / f"{lines}.parquet")
                rows = []
    if rows:
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), out / f"{lines}.parquet")
    return lines


_SCHEMA = pa.schema(
    [
        ("line_offset", pa.int64()),
        ("line_hash", pa.string()),
        ("reject_reason", pa.string()),
        ("raw_line", pa.string()),
        ("event_ms", pa.int64()),
        ("status", pa.string()),
        *((name, pa.string()) for name in _TEXTS),
        *((f"{parent}.{name}", pa.float64()) for parent, name in _NUMBERS),
        *((name, pa.float64()) for name in _FLAT_NUMBERS),
    ]
)


def _validated(line: bytes, offset: int, loads: Callable[[bytes], Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"line_offset": offset, "line_hash": hashlib.md5(line).hexdigest()}
    try:
        fields = loads(line)
        row |= _fields(fields)
    except (ValueError, TypeError, AttributeError) as error:
        row["reject_reason"] = str(error)
        row["raw_line"] = line.decode("utf-8", "replace")
    return row


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    stamp = fields.get("ts")
    if not isinstance(stamp, int | float) or isinstance(stamp, bool):
        raise TypeError("missing or unparseable time")
    if not fields.get("symbol"):
        raise ValueError("missing symbol")
    row: dict[str, Any] = {"event_ms": int(stamp * 1000)}
    for name in _TEXTS:
        row[name] = fields.get(name)
    row["symbol"] = row["symbol"].upper()
    row["status"] = (fields.get("result") or {}).get("status")
    for parent, name in _NUMBERS:
        row[f"{parent}.{name}"] = _number(f"{parent}.{name}", (fields.get(parent) or {}).get(name))
    for name in _FLAT_NUMBERS:
        row[name] = _number(name, fields.get(name))
    return row


def _number(key: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"not a number: {key}")
    number = float(value)
    if key in _AMOUNTS and number < 0:
        raise ValueError(f"negative: {key}")
    return number


def _json(log: Path, out: Path) -> int:
    return _loop(log, out, json.loads)


def _orjson(log: Path, out: Path) -> int:
    return _loop(log, out, orjson.loads)


def _polars(log: Path, out: Path) -> int:
    out.mkdir(parents=True)
    target = out / "lines.parquet"
    pl.scan_ndjson(log, infer_schema_length=10_000).sink_parquet(target)
    return int(pq.ParquetFile(target).metadata.num_rows)


CONTENDERS: dict[str, Callable[[Path, Path], int]] = {
    "execintel": _ours,
    "json.loads loop": _json,
    "orjson loop": _orjson,
    "Polars scan_ndjson (does less)": _polars,
}


def _measured(name: str, log: Path, out: Path, results: Any) -> None:
    """Run one contender; imports are done before the clock starts."""
    started, cpu = time.perf_counter(), time.process_time()
    lines = CONTENDERS[name](log, out)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    results.put((lines, seconds, peak_mb(), cpu_s))


def main(argv: list[str]) -> None:
    """Measure every contender; print times, ratios to ours, lines a second and peak memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks intake", description=WHAT)
    parser.add_argument("--lines", type=int, default=1_000_000, help="lines of the log")
    parser.add_argument("--quick", action="store_true", help="20,000 lines: does it run at all?")
    parser.add_argument("--only", action="append", choices=list(CONTENDERS), help="one contender")
    options = parser.parse_args(argv)
    wanted = 20_000 if options.quick else options.lines
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="execintel-bench-"))
    context = multiprocessing.get_context("spawn")
    found: dict[str, tuple[int, float, float, float]] = {}
    try:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("generating", total=None)
            append_logs(Load(wanted), folder / "logs", 0, wanted, kinds=(ROUTER,))
            log = folder / "logs" / LOGS[ROUTER]
            for name in options.only or CONTENDERS:
                progress.update(task, description=name)
                results = context.Queue()
                out = folder / "out"
                child = context.Process(target=_measured, args=(name, log, out, results))
                child.start()
                found[name] = results.get()
                child.join()
                shutil.rmtree(out)
        size_mb = log.stat().st_size / 1e6
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lines = next(iter(found.values()))[0]
    table = Table(title=f"{lines:,} lines, {size_mb:,.0f} MB, into Parquet")
    for heading in ("", "seconds", "of ours", "processor s", "of ours", "lines/s", "peak MB"):
        table.add_column(heading, justify="left" if not heading else "right")
    _, ours, _, ours_cpu = found.get("execintel", next(iter(found.values())))
    for name, (count, seconds, held_mb, cpu_s) in found.items():
        table.add_row(
            name,
            f"{seconds:.2f}",
            f"{seconds / ours:.2f} ×",
            f"{cpu_s:.2f}",
            f"{cpu_s / ours_cpu:.2f} ×",
            f"{count / seconds:,.0f}",
            f"{held_mb:,.0f}",
        )
    console.print(table)
