"""What was known when: joining past moments to the history, beside Feast's offline stores.

A history of every publication of a day at five minutes, entities at random moments of that day.
Each round asks ours and theirs in turn; the answers are compared value by value.
"""

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.load import END_MS
from benchmarks.rivals import LeftOutError, Rival, cache_folder, environment
from features.history import get_historical_features
from features.history_store import RECORDED, TABLE, Known, commit
from features.lake import Lake

EVERY_MS = 300_000
DELAY_MS = 20_000  # of a publication after its as-of
FEATURE_TABLE = "feat_router__effectiveness"
COLUMNS = (
    "fill_ratio", "maker_fill_ratio", "fallback_ratio", "reject_ratio", "error_ratio",
    "ack_ms_p50", "ack_ms_p95", "n", "fill_n", "unknown_n",
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the process's exit code."""
    args = _arguments(argv)
    if args.quick:
        args.symbols, args.publications, args.entities, args.rounds = 10, 20, 200, 1
    home = Path(tempfile.mkdtemp(prefix="execintel-bench-"))
    try:
        measure(home, args)
    finally:
        shutil.rmtree(home)
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.asof_join", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all")
    parser.add_argument("--symbols", type=int, default=250, help="symbols of a publication")
    parser.add_argument("--publications", type=int, default=288, help="publications, 5 min apart")
    parser.add_argument("--entities", type=int, default=20_000, help="(symbol, moment) rows")
    parser.add_argument("--rounds", type=int, default=5, help="of each: minimum and median")
    parser.add_argument("--dask", action="store_true", help="ask Feast's dask store as well")
    parser.add_argument(
        "--cache", type=Path, default=cache_folder(),
        help="folder of the environment that Feast is installed into",
    )  # fmt: skip
    return parser.parse_args(argv)


def measure(home: Path, args: argparse.Namespace) -> None:
    """Print what each join takes, wall and processor."""
    lake = Lake(home / "lake")
    lake.prepare()
    history = _history(args.symbols, args.publications)
    for known in history:  # as refreshes do: one at a time
        commit(lake, [known], f"history:{RECORDED}")
    merged = Lake(home / "merged")
    shutil.copytree(lake.root, merged.root)
    table = merged.open(TABLE)  # as upkeep leaves it, once a day
    table.optimize.compact()
    table.create_checkpoint()
    entities = _entities(args.symbols, args.publications, args.entities)
    rows = args.symbols * args.publications
    print(
        f"  {args.entities:,} rows × {len(COLUMNS)} features on {rows:,} rows of history;"
        f" {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        f"ours, merged by upkeep ({_files(merged)} files)": lambda: _ours(merged, entities),
        f"ours, as refreshes left it ({_files(lake)} files)": lambda: _ours(lake, entities),
    }
    answer = _ours(merged, entities)["rows"]
    rivals = _rivals(home, history, entities, args)
    out = home / "out.parquet"
    for name, rival in rivals.items():
        ways[name] = partial(rival.ask, out=str(out))
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    try:
        for _ in range(args.rounds):
            for name, ask in ways.items():
                found[name].append(ask())
                if name in rivals:
                    found[name][-1]["same"] = _compared(out, answer)
    finally:
        for rival in rivals.values():
            rival.stop()
    _print(found)


def _history(symbols: int, publications: int) -> list[Known]:
    """Return publications whose values tell which they are of."""
    names = pa.array([f"S{number:04d}USDT" for number in range(symbols)])
    made = []
    for number in range(publications):
        as_of_ms = END_MS + number * EVERY_MS
        numbers = [number + place / 1000 for place in range(symbols)]
        columns = {
            name: pa.array([value + 1000 * k for value in numbers], pa.float64())
            for k, name in enumerate(COLUMNS)
        }
        tables = {FEATURE_TABLE: pa.table({"symbol": names, **columns})}
        snapshot_id = f"bench-{number:06d}"
        made.append(Known(number + 1, RECORDED, snapshot_id, as_of_ms, as_of_ms + DELAY_MS, tables))
    return made


def _entities(symbols: int, publications: int, count: int) -> pa.Table:
    chance = random.Random(5)
    span = publications * EVERY_MS
    moments = [END_MS + DELAY_MS + chance.randrange(span) for _ in range(count)]
    names = [f"S{chance.randrange(symbols):04d}USDT" for _ in range(count)]
    return pa.table({"entity_n": range(count), "symbol": names, "timestamp_ms": moments})


def _files(lake: Lake) -> int:
    return len(lake.open(TABLE).data_files())


def _ours(lake: Lake, entities: pa.Table) -> dict[str, Any]:
    features = [f"{FEATURE_TABLE}.{column}" for column in COLUMNS]
    started, cpu = time.perf_counter(), time.process_time()
    rows = get_historical_features(entities, features, lake_root=lake.root, max_age_ms=None)
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    return {"wall_s": wall_s, "cpu_s": cpu_s, "rows": rows}


def _rivals(
    home: Path, history: list[Known], entities: pa.Table, args: argparse.Namespace
) -> dict[str, Rival]:
    """Start Feast's stores on the same rows, known from the same moments on."""
    rows = pa.concat_tables(
        table.append_column(
            "event_timestamp",
            pa.repeat(pa.scalar(known.available_ms, pa.timestamp("ms", "UTC")), table.num_rows),
        )
        for known in history
        for table in (known.tables or {}).values()
    )
    pq.write_table(rows, home / "history.parquet")
    stamped = entities.append_column(
        "event_timestamp", entities["timestamp_ms"].cast(pa.timestamp("ms", "UTC"))
    ).drop_columns(["timestamp_ms"])
    pq.write_table(stamped, home / "entities.parquet")
    started: dict[str, Rival] = {}
    for store in ("duckdb", "dask") if args.dask else ("duckdb",):
        folder = home / store
        folder.mkdir()
        try:
            started[f"Feast, {store} offline store"] = Rival(
                environment(args.cache, is_made=not args.quick),
                "feast_offline",
                folder=str(folder),
                store=store,
                history=str(home / "history.parquet"),
                entities=str(home / "entities.parquet"),
            )
        except LeftOutError as error:
            print(f"  left out: Feast, {store} offline store: {error}", flush=True)
    return started


def _compared(out: Path, ours: pa.Table) -> str:
    """Say whether both gave the same values to the same rows."""
    theirs = pq.read_table(out)
    for column in COLUMNS:
        mine = ours[f"{FEATURE_TABLE}.{column}"].combine_chunks()
        other = theirs[column].combine_chunks().cast(pa.float64())
        different = pc.sum(pc.not_equal(mine, other)).as_py() or 0
        if different or mine.null_count != other.null_count:
            return f"{column} differs in {different} rows"
    return "the same values"


def _print(found: dict[str, list[dict[str, Any]]]) -> None:
    first = next(iter(found.values()))
    ours = statistics.median(one["wall_s"] for one in first)
    ours_cpu = statistics.median(one["cpu_s"] for one in first)
    print(f"  {'seconds':<44} wall min   median  processor min   median  times")
    for name, rounds in found.items():
        wall = [one["wall_s"] for one in rounds]
        cpu = [one["cpu_s"] for one in rounds]
        times = statistics.median(wall) / ours, statistics.median(cpu) / ours_cpu
        same = {one["same"] for one in rounds if "same" in one}
        print(
            f"  {name:<44} {min(wall):>8.3f} {statistics.median(wall):>8.3f}"
            f" {min(cpu):>14.3f} {statistics.median(cpu):>8.3f}"
            f"  {times[0]:.1f} wall, {times[1]:.1f} processor {', '.join(sorted(same))}",
            flush=True,
        )
    print(f"  at the end: load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
