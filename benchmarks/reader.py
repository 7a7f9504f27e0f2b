"""One symbol's record on the order path: the reader beside Feast, Redis, DuckDB and the log itself.

Also what the reader costs while snapshots change: an open loop at 1 kHz, in which a late answer
makes the next one late, first reads after a change, and importing it.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.load import END_MS, LOGS, WINDOW_MS, Load, append_logs
from benchmarks.rivals import LeftOutError, Rival, cache_folder, environment, redis_server
from benchmarks.rivals_child import percentiles, round_robin
from live.reader import SnapshotReader
from live.v510 import rules
from pipelines.intake.kinds import ROUTER
from tests.live import files

RATE_HZ = 1000
_FOREVER_S = 1e9  # of the reader's age: the load is made once
Answers = dict[str, list[dict[str, Any]]]


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the process's exit code."""
    args = _arguments(argv)
    if args.quick:
        args.symbols, args.rounds, args.seconds, args.log_lines = 20, 1, 1, 200
    if args.publish:
        _publish(args.publish, args.symbols, args.seconds)
        return 0
    home = Path(tempfile.mkdtemp(prefix="execintel-bench-"))
    try:
        root = home / "snapshots"
        symbols = [f"S{number:04d}USDT" for number in range(args.symbols)]
        path = files.publish(root, _name(0), _lines(symbols, 0), as_of_ms=END_MS)
        size = path.stat().st_size / len(symbols)
        print(f"  {len(symbols)} symbols, {size:,.0f} bytes each; {_machine()}", flush=True)
        side_by_side(home, path, symbols, args)
        first_reads(home, symbols, args.rounds * 5)
        open_loop(home, symbols, args.rounds, args.seconds)
        imported(3 if args.quick else 9)
    finally:
        shutil.rmtree(home)
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reader", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all")
    parser.add_argument("--symbols", type=int, default=1000, help="symbols of a snapshot")
    parser.add_argument(
        "--rounds", type=int, default=5, help="of each measurement: minimum, median"
    )
    parser.add_argument("--seconds", type=int, default=10, help="of an open loop, a snapshot each")
    parser.add_argument(
        "--log-lines", type=int, default=10_000, help="router lines of the log that is parsed"
    )
    parser.add_argument(
        "--cache", type=Path, default=cache_folder(),
        help="folder of the environment that Feast and the Redis client are installed into",
    )  # fmt: skip
    parser.add_argument("--publish", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _machine() -> str:
    return f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"


def _name(number: int) -> str:
    return f"20260309T{number:06d}Z-bbbbbbbb"


def _lines(symbols: Sequence[str], number: int) -> list[files.Line]:
    return [files.line(symbol, n=400 + number) for symbol in symbols]


def _reader(root: Path) -> SnapshotReader:
    return SnapshotReader(root, environment="paper", max_age_s=_FOREVER_S)


# -- side by side ---------------------------------------------------------------------------------


def side_by_side(home: Path, path: Path, symbols: list[str], args: argparse.Namespace) -> None:
    """Print what one symbol's full record takes from each; a round asks each in turn."""
    records = home / "records.jsonl"
    records.write_bytes(path.read_bytes().partition(b"\n")[2])
    many, few = (2_000, 20) if args.quick else (100_000, 500)
    with ExitStack() as stack:
        ways: dict[str, Callable[[], dict[str, Any]]] = {}
        read = _reader(path.parent.parent).read
        for symbol in symbols:
            read(symbol)
        ways["SnapshotReader"] = _timed(read, symbols, many)
        ways["two looks at the clock, nothing between"] = _timed(lambda symbol: None, symbols, many)
        for name, add in (("Feast", _add_feast), ("Redis", _add_redis)):
            try:
                python = environment(args.cache, is_made=not args.quick)
                ways |= add(python, stack, home, records, few)
            except LeftOutError as error:
                print(f"  left out: {name}: {error}", flush=True)
        database = _database(home / "features.duckdb", records)
        con = stack.enter_context(duckdb.connect(str(database), read_only=True))
        con.execute("SET threads = 1")  # a second one only makes so small a query wait
        ways["DuckDB, read-only, one query a table"] = _timed(_from_duckdb(con), symbols, few)
        log = home / "logs" / LOGS[ROUTER]
        append_logs(Load(args.log_lines), log.parent, 0, args.log_lines)
        ways[f"v5.10, parsing {args.log_lines:,} log lines"] = _timed(
            lambda symbol: from_log(log, symbol, END_MS / 1000), ["BTCUSDT"], 3
        )
        found: Answers = {name: [] for name in ways}
        for _ in range(args.rounds):
            for name, measure in list(ways.items()):
                try:
                    found[name].append(measure())
                except LeftOutError as error:
                    print(f"  left out: {name}: {error}", flush=True)
                    del ways[name], found[name]
    _print_answers(found)


def _add_feast(
    python: Path, stack: ExitStack, home: Path, records: Path, few: int
) -> dict[str, Callable[[], dict[str, Any]]]:
    folder = home / "feast"
    folder.mkdir()
    feast = Rival(python, "feast_online", folder=str(folder), records=str(records))
    stack.callback(feast.stop)
    store = "Feast, SQLite online store"
    return {
        f"{store}, the record as one text": lambda: feast.ask(what="whole", count=few),
        f"{store}, {feast.about['features']} features": lambda: feast.ask(
            what="wide", count=max(few // 10, 10)
        ),
    }


def _add_redis(
    python: Path, stack: ExitStack, home: Path, records: Path, few: int
) -> dict[str, Callable[[], dict[str, Any]]]:
    port = stack.enter_context(redis_server(home))
    redis = Rival(python, "redis", port=port, records=str(records))
    stack.callback(redis.stop)
    server = f"Redis {redis.about['version']} on loopback"
    return {
        f"{server}, bytes only": lambda: redis.ask(what="bytes", count=few * 4),
        f"{server}, decoded by json": lambda: redis.ask(what="decoded", count=few * 4),
    }


def _timed(
    read: Callable[[str], Any], symbols: list[str], count: int
) -> Callable[[], dict[str, Any]]:
    names = round_robin(symbols)
    return lambda: percentiles(read, names, count)


def _print_answers(found: Answers) -> None:
    """Print minimum and median over the rounds; the ratio is that of the medians."""
    ours = statistics.median(one["p50"] for one in found["SnapshotReader"])
    print(
        "\n  one symbol's full record, µs                        p50 min  p50 med      p99  times"
    )
    for name, rounds in found.items():
        p50 = [one["p50"] for one in rounds]
        p99 = statistics.median(one["p99"] for one in rounds)
        median = statistics.median(p50)
        print(
            f"  {name:<50} {min(p50):>9,.2f} {median:>8,.2f} {p99:>8,.1f} {median / ours:>6,.0f}",
            flush=True,
        )


def _database(path: Path, records: Path) -> Path:
    """Write the records as tables: one of each part, one of the hours, one of the offsets."""
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    tables: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        key = {"symbol": line["symbol"]}
        for part, values in line.items():
            if part == "hourly":
                rows = [{**key, "hour_utc": int(hour), **row} for hour, row in values.items()]
            elif part == "offsets_bps":
                rows = [{**key, "hour_utc": n, "offset_bps": bps} for n, bps in enumerate(values)]
            elif isinstance(values, dict):
                rows = [{**key, **values}]
            else:
                continue
            tables.setdefault(part, []).extend(rows)
    head = ("symbol", "n", "status", "snapshot_id", "as_of_ms")
    tables["head"] = [{name: line[name] for name in head} for line in lines]
    with duckdb.connect(str(path)) as con:
        for name, rows in tables.items():
            con.register("rows", pa.Table.from_pylist(rows))
            con.execute(f"CREATE TABLE feat_{name} AS SELECT * FROM rows ORDER BY symbol")
            con.unregister("rows")
    return path


def _from_duckdb(con: duckdb.DuckDBPyConnection) -> Callable[[str], Any]:
    names = [name for (name,) in con.sql("SELECT table_name FROM duckdb_tables()").fetchall()]
    queries = [f"SELECT * FROM {name} WHERE symbol = ?" for name in names]
    return lambda symbol: [con.execute(query, [symbol]).fetchall() for query in queries]


def from_log(log: Path, symbol: str, now_s: float) -> dict[str, Any]:
    """Read a symbol's week out of the log and aggregate it, as v5.10 did at every question."""
    events = []
    with log.open() as lines:
        for line in lines:
            event = json.loads(line)
            if event["symbol"] == symbol and now_s - WINDOW_MS / 1000 <= event["ts"] <= now_s:
                events.append({**event, "notional": (event.get("qty") or {}).get("notional_usd")})
    slips = [event["slippage_bps"] for event in events if event["slippage_bps"] is not None]
    acks = [event["timing_ms"]["ack"] for event in events]
    effectiveness = {
        "slip_q25_50_75": statistics.quantiles(slips, n=4) if len(slips) > 1 else None,
        "ack_ms_p50": statistics.median(acks) if acks else None,
    }
    return {"hourly": rules.hourly(events), **effectiveness, "n": len(events)}


# -- while snapshots change -----------------------------------------------------------------------


def first_reads(home: Path, symbols: list[str], swaps: int) -> None:
    """Print what the read that meets a new snapshot takes, and each symbol's first after it."""
    root = home / "swaps"
    files.publish(root, _name(0), _lines(symbols, 0), as_of_ms=END_MS)
    reader = _reader(root)
    meeting, firsts, cpu = [], [], []
    for number in range(1, swaps + 1):
        for symbol in symbols:
            reader.read(symbol)
        files.publish(root, _name(number), _lines(symbols, number), as_of_ms=END_MS)
        time.sleep(0.12)  # CURRENT is due to be looked at
        for place, symbol in enumerate(symbols):
            cpu_ns, started = time.thread_time_ns(), time.perf_counter_ns()
            snapshot_id = reader.read(symbol).snapshot_id
            spent = time.perf_counter_ns() - started
            assert snapshot_id == _name(number)
            if place == 0:
                meeting.append(spent / 1e3)
            else:
                firsts.append(spent / 1e3)
                cpu.append((time.thread_time_ns() - cpu_ns) / 1e3)
    print(
        f"\n  {swaps} new snapshots: the read that meets one takes {min(meeting):,.0f} µs at least,"
        f" {statistics.median(meeting):,.0f} in the median;\n  a symbol's first read after it"
        f" {_spread(firsts)} µs, of the processor {_spread(cpu)} µs",
        flush=True,
    )


def _spread(values: list[float]) -> str:
    return f"{_at(values, 50):,.1f} (p50), {_at(values, 99):,.1f} (p99)"


def _at(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def open_loop(home: Path, symbols: list[str], rounds: int, seconds: int) -> None:
    """Print latencies at 1 kHz at rest and with a new snapshot every second."""
    rows = []
    for number in range(rounds):
        root = home / f"loop-{number}"
        files.publish(root, _name(0), _lines(symbols, 0), as_of_ms=END_MS)
        reader = _reader(root)
        for symbol in symbols:
            reader.read(symbol)
        rest = _loop(reader, symbols, seconds)
        words = [sys.executable, "-m", "benchmarks.reader", "--publish", str(root)]
        words += ["--symbols", str(len(symbols)), "--seconds", str(seconds)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as publisher:
            assert publisher.stdin is not None
            assert publisher.stdout is not None
            publisher.stdout.readline()  # it has made what it will publish
            publisher.stdin.write(b"go\n")
            publisher.stdin.flush()
            swaps = _loop(reader, symbols, seconds)
        rows.append((rest, swaps))
    print(f"\n  open loop at 1 kHz, {seconds} s a round: µs from when a read was due to its answer")
    print(
        "  round    rest p50     p99   swaps p50     p99    p99.9      max   p99 above rest   new"
    )
    for number, (rest, swaps) in enumerate(rows):
        late, late_swaps = rest["late"], swaps["late"]
        above = _at(late_swaps, 99) - _at(late, 99)
        print(
            f"  {number:>5} {_at(late, 50):>11,.1f} {_at(late, 99):>7,.1f}"
            f" {_at(late_swaps, 50):>11,.1f} {_at(late_swaps, 99):>7,.1f}"
            f" {_at(late_swaps, 99.9):>8,.0f} {max(late_swaps):>8,.0f} {above:>16,.1f}"
            f" {swaps['new']:>5}",
            flush=True,
        )
    more = [_at(s["late"], 99) - _at(r["late"], 99) for r, s in rows]
    cpu = [_at(queued(s["cpu"]), 99) - _at(queued(r["cpu"]), 99) for r, s in rows]
    worst = statistics.median(max(queued(s["cpu"])) for _, s in rows)
    closed = statistics.median(_at(s["cpu"], 99) for _, s in rows)
    print(
        f"  p99 above rest: {min(more):,.1f} at least,"
        f" {statistics.median(more):,.1f} in the median\n"
        f"  by the thread's own processor time, which nothing else on the machine moves:"
        f" {min(cpu):,.1f} and {statistics.median(cpu):,.1f};\n"
        f"  the longest {worst:,.0f}. A closed loop would say p99 {closed:,.1f}",
        flush=True,
    )


def queued(service: list[float]) -> list[float]:
    """Return how late each read is when these times of service queue up at the clock's beats."""
    free, late = 0.0, []
    for beat, took in enumerate(service):
        due = beat * 1e6 / RATE_HZ
        free = max(free, due) + took
        late.append(free - due)
    return late


def _loop(reader: SnapshotReader, symbols: list[str], seconds: int) -> dict[str, Any]:
    """Read at the beats of a clock that does not wait; µs late, taken and of the processor."""
    chance = random.Random(3)
    order = [chance.choice(symbols) for _ in range(seconds * RATE_HZ)]
    late, took, cpu = [], [], []
    now, step_ns = time.perf_counter_ns, 10**9 // RATE_HZ
    before = reader.read(symbols[0]).snapshot_id
    new = 0
    begun = now() + step_ns
    for beat, symbol in enumerate(order):
        due = begun + beat * step_ns
        while now() < due:
            pass  # sleeping would measure the system's timer
        cpu_ns, started = time.thread_time_ns(), now()
        snapshot_id = reader.read(symbol).snapshot_id
        ended = now()
        cpu.append((time.thread_time_ns() - cpu_ns) / 1e3)
        late.append((ended - due) / 1e3)
        took.append((ended - started) / 1e3)
        new += snapshot_id != before
        before = snapshot_id
    return {"late": late, "took": took, "cpu": cpu, "new": new}


def _publish(root: Path, count: int, seconds: int) -> None:
    """Publish a new snapshot every second, made beforehand: its making is not the reader's."""
    symbols = [f"S{number:04d}USDT" for number in range(count)]
    made = [
        (name, files.snapshot_bytes(name, _lines(symbols, number), as_of_ms=END_MS))
        for number, name in ((number, _name(number)) for number in range(1, seconds + 1))
    ]
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.monotonic()
    for number, (name, data) in enumerate(made):
        time.sleep(max(0.0, begun + number + 0.5 - time.monotonic()))
        files.write(root, name, data)
        files.name_current(root, name + "\n")


# -- importing ------------------------------------------------------------------------------------

_IMPORT = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import live.reader
print(1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu))
"""


def imported(times: int) -> None:
    """Print what importing the reader takes in a fresh interpreter, compiled before."""
    spent = []
    for _ in range(times + 1):
        words = [sys.executable, "-c", _IMPORT]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        spent.append([float(word) for word in done.stdout.split()])
    wall, cpu = (list(column) for column in zip(*spent[1:], strict=True))
    print(
        f"\n  importing the reader: {min(wall):.0f} ms at least,"
        f" {statistics.median(wall):.0f} in the median;"
        f" of the processor {min(cpu):.0f} and {statistics.median(cpu):.0f}"
        f"\n  at the end: {_machine()}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
