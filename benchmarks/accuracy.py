"""Accuracy tables over prediction traces, beside a loop over trace objects with scikit-learn.

Every measured piece runs in a process of its own. The loop is what US-017's analyzer did: lists out
of objects, scikit-learn's precision, recall, F1 and confusion matrix, numpy for returns; for every
strategy, symbol and window that the tables hold. Making the objects is not counted.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.memory import peak_mb
from features import catalog, params, rebuild, traces
from features.engines import duckdb as engine
from features.lake import Lake
from pipelines.accuracy import NO_ORDERS
from pipelines.intake import decode
from pipelines.intake.kinds import TRACES_CSV

END_MS = 1_762_344_000_000  # 2025-11-05T12:00:00Z: a window that cuts days
DAY_MS = 86_400_000
STRATEGIES, SYMBOLS = ("intraday", "swing"), ("BTCUSDT", "ETHUSDT", "SOLUSDT", "SUIUSDT", "LTCUSDT")
LABELS = ("LONG", "SHORT", "NOOP")
CHUNK = 500_000


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the process's exit code."""
    args = _arguments(argv)
    if args.piece:
        print(json.dumps(_piece(args.piece, args.home, args.traces)))
        return 0
    for count in [20_000] if args.quick else [int(n) for n in str(args.traces).split(",")]:
        home = Path(tempfile.mkdtemp(prefix="execintel-bench-", dir=args.home))
        try:
            measure(count, home, with_loop=count <= args.loop_up_to)
        finally:
            shutil.rmtree(home)
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all")
    parser.add_argument("--traces", default="500000,5000000", help="traces, several by commas")
    parser.add_argument(
        "--loop-up-to", type=int, default=500_000, help="largest size that the loop is run with"
    )
    parser.add_argument("--home", type=Path, help="folder to work in; emptied again")
    parser.add_argument("--piece", choices=["scratch", "refresh", "loop"], help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def measure(count: int, home: Path, *, with_loop: bool) -> None:
    """Print the figures of one size."""
    lake = Lake(home / "lake")
    lake.prepare()
    write(lake, rows(count, seed=1), seq=1)
    print(f"\n{count:,} traces over a year, 2 strategies, 5 symbols", flush=True)
    ours = _run("scratch", home, count)
    _show("all from the raw traces: daily sums and paths, then the tables", ours)
    write(lake, rows(5_000, seed=2, days=1), seq=2)
    _show("5,000 new traces of the last day: one month again", _run("refresh", home, count))
    if with_loop:
        theirs = _run("loop", home, count)
        ratio = theirs["cpu_s"] / ours["cpu_s"]
        _show(f"loop over objects with scikit-learn ({ratio:.1f} times ours, processor)", theirs)
        pairs = [(key, theirs["answer"][key], ours["answer"][key]) for key in theirs["answer"]]
        off = [pair for pair in pairs if abs(pair[1] - pair[2]) > 1e-12]
        print(f"    {len(pairs) - len(off)} of {len(pairs)} precisions are the same", flush=True)


def rows(count: int, seed: int, days: int = 365) -> Iterator[pa.Table]:
    """Yield raw rows, at most CHUNK at a time, as the intake would decode them."""
    dice = np.random.default_rng(seed)
    schema = decode.raw_schema(TRACES_CSV)
    for first in range(0, count, CHUNK):
        n = min(CHUNK, count - first)
        span = days * DAY_MS * n // count
        begin = END_MS - days * DAY_MS + days * DAY_MS * first // count
        entry_ms = np.sort(begin + dice.integers(0, max(span, 1), n))
        minutes = dice.integers(1, 240, n).astype(float)
        predicted = np.array(LABELS)[dice.choice(3, n, p=[0.5, 0.45, 0.05])]
        move = dice.normal(0.0001, 0.006, n)
        strategy = np.array(STRATEGIES)[dice.choice(2, n, p=[0.8, 0.2])]
        limit = np.where(strategy == "intraday", 0.003, 0.005)
        entry = 100 + dice.random(n)
        exit_price = entry * (1 + move)
        came = exit_price / entry - 1
        values: dict[str, Any] = {
            "event_ms": entry_ms,
            "ingest_seq": np.full(n, seed),
            "symbol": np.array(SYMBOLS)[dice.integers(0, len(SYMBOLS), n)],
            "source_id": np.full(n, f"seed {seed}"),
            "line_offset": first + np.arange(n),
            "line_hash": dice.integers(0, 2**62, n),
            "environment": np.full(n, "backtest"),
            "strategy": strategy,
            "predicted_direction": predicted,
            "actual_direction": np.where(
                came > limit, "LONG", np.where(came < -limit, "SHORT", "NOOP")
            ),
            "predicted_confidence": dice.random(n),
            "entry_price": entry,
            "exit_price": exit_price,
            "holding_period_minutes": minutes,
            "realized_return_pct": 100 * move * np.where(predicted == "SHORT", -1.0, 1.0),
            "features_json": np.full(n, "{}"),
            "metadata_json": np.full(n, "{}"),
            "part": entry_ms.astype("datetime64[ms]").astype("datetime64[Y]").astype(str),
        }
        yield pa.table(
            [
                pa.array(values[f.name], f.type) if f.name in values else pa.nulls(n, f.type)
                for f in schema
            ],
            schema=schema.remove_metadata(),
        )


def write(lake: Lake, tables: Iterator[pa.Table], seq: int) -> None:
    """Append raw rows to the lake."""
    lake.ensure(traces.RAW, decode.raw_schema(TRACES_CSV), [decode.PART_COLUMN], "")
    for table in tables:
        lake.append(lake.open(traces.RAW), table, {"bench": seq})


def _run(piece: str, home: Path, count: int) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.accuracy", "--piece", piece]
    words += ["--home", str(home), "--traces", str(count)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _piece(name: str, home: Path, count: str) -> dict[str, Any]:
    lake = Lake(home / "lake")
    if name == "loop":
        objects = list(_objects(lake))
        started, cpu = time.perf_counter(), time.process_time()
        answer = _loop(objects)
    else:
        started, cpu = time.perf_counter(), time.process_time()
        answer = _ours(lake)
    return {
        "answer": answer,
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": peak_mb(),
    }


def _ours(lake: Lake) -> dict[str, float]:
    """Bring the stored sums up to the traces and compute every table of accuracy."""
    values: dict[str, Any] = {**params.load({}), "as_of_ms": END_MS, "environment": "backtest"}
    with engine.connect(memory_limit_mb=512) as con:
        names = {n: rebuild.definition_of(catalog.tables()[n], values) for n in traces.STORED}
        traces.rebuild(lake, con, values, names)
        for name in (traces.RAW, *traces.STORED):
            engine.create_view(con, name, lake.open(name))
        con.execute(NO_ORDERS)
        traces.set_up(con, values)
        for name in ("accuracy", "rolling", "comparison"):
            table = catalog.tables()[f"feat_telemetry__{name}"]
            bound = engine.bind(table.sql, table.params, values)
            con.register(table.name, con.sql(table.sql, params=bound).to_arrow_table())
        found = con.sql(
            'SELECT strategy, symbol, "window", precision_long FROM feat_telemetry__accuracy'
        ).fetchall()
    return {" ".join(row[:3]): row[3] for row in found}


# ------------------------------------------------------------------------------------- the loop


@dataclass
class Trace:
    """One object a trace, as the original kept them."""

    timestamp_ms: int
    symbol: str
    strategy: str
    predicted_direction: str
    actual_direction: str
    predicted_confidence: float
    holding_period_minutes: float
    realized_return_pct: float


def _objects(lake: Lake) -> Iterator[Trace]:
    names = ["event_ms", "symbol", "strategy", "predicted_direction", "actual_direction"]
    names += ["predicted_confidence", "holding_period_minutes", "realized_return_pct"]
    for file in lake.open(traces.RAW).data_files():
        table = pq.read_table(file.path, columns=[*names, "ingest_seq"], partitioning=None)
        for batch in table.to_batches(max_chunksize=50_000):
            first = batch.filter(pc.equal(batch.column("ingest_seq"), 1))
            columns = [first.column(name).to_pylist() for name in names]
            yield from (Trace(*row) for row in zip(*columns, strict=True))


def _loop(objects: list[Trace]) -> dict[str, float]:
    from sklearn import metrics

    def close_ms(trace: Trace) -> float:
        return trace.timestamp_ms + trace.holding_period_minutes * 60_000

    objects = sorted((t for t in objects if close_ms(t) <= END_MS), key=close_ms)
    answer = {}
    for strategy in ("*", *STRATEGIES):
        for symbol in ("*", *SYMBOLS):
            own = [
                t for t in objects if strategy in ("*", t.strategy) and symbol in ("*", t.symbol)
            ]
            recent = [t for t in own if close_ms(t) > END_MS - 30 * DAY_MS]
            for window, group in (("all", own), ("30d", recent), ("last100", own[-100:])):
                came = [t.actual_direction for t in group]
                said = [t.predicted_direction for t in group]
                precision, _, _, _ = metrics.precision_recall_fscore_support(
                    came, said, labels=LABELS, zero_division=0
                )
                metrics.confusion_matrix(came, said, labels=LABELS)
                returns = np.array([t.realized_return_pct for t in group])
                right = [a == b for a, b in zip(came, said, strict=True)]
                metrics.brier_score_loss(right, [t.predicted_confidence for t in group])
                sums = np.cumsum(returns)
                (np.maximum.accumulate(sums) - sums).max()
                _ = returns.mean(), returns.std(ddof=1), (returns > 0).mean()
                _ = np.mean([t.holding_period_minutes for t in group])
                answer[f"{strategy} {symbol} {window}"] = float(precision[0])
    return answer


def _show(label: str, run: dict[str, Any]) -> None:
    print(
        f"  {label}: {run['wall_s']:.2f} s wall, {run['cpu_s']:.2f} s processor,"
        f" peak {run['peak_mb']:.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
