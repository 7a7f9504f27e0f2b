"""Reconcile positions and NAV: 10 million outcomes with 1 million position states, in seconds.

Beside it what a person would write for the first question alone, how much of each change of
position the fills explain: Polars' join_asof with two groupings, and a loop over rows with bisect
on a twentieth of the outcomes. Put here: the load, made in DuckDB, and what is timed on it.
Keep out: what the tables mean.
"""

import argparse
import bisect
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from benchmarks.memory import peak_mb
from features import catalog, params, window_sums
from features.durations import DAY_MS
from features.engines import duckdb as engine
from pipelines.intake.decode import PART_COLUMN, raw_schema
from pipelines.intake.kinds import KINDS

AS_OF_MS = 1_767_830_400_000  # 2026-01-08T00:00:00Z
WINDOW_MS = 7 * DAY_MS
TABLES = ("core_position__reconciliation", "feat_account__coverage")
LOOP_PART = 20  # the loop gets so much less, by symbols; its time grows with the rows

_VALUES = {
    **params.load({}),
    "as_of_ms": AS_OF_MS,
    "window_ms": WINDOW_MS,
    "is_whole": False,
    "environment": "paper",
    "symbol_key": "symbol",
}

# Every symbol's orders lie evenly over the window and take turns to open and to close; one in
# twenty was never looked at again. A state follows every tenth order, and tells what all before it
# came to. An attempt in ten sees NAV and exposure.
_LOAD = """
CREATE TEMP TABLE orders AS
SELECT
    i % $symbols AS symbol_n,
    i // $symbols AS order_n,
    $as_of_ms - $window_ms + 1
    + CAST(floor(i * ($window_ms - 2000.0) / $outcomes) AS BIGINT) AS at_ms,
    i // $symbols % 2 = 0 AS is_open,
FROM range($outcomes) AS t(i);

CREATE TEMP TABLE core_window__outcomes AS
SELECT
    'main' AS account, 'paper' AS environment, 'binance' AS venue, 'S' || symbol_n AS symbol,
    'a' || symbol_n || '_' || order_n AS attempt_id,
    CASE WHEN order_n % 20 = 7 THEN 'unknown' ELSE 'filled' END AS outcome,
    at_ms AS event_ms, CASE WHEN order_n % 20 <> 7 THEN at_ms END AS fill_at_ms,
    CASE WHEN is_open THEN 'BUY' ELSE 'SELL' END AS side, 'LONG' AS position_side,
    NOT is_open AS is_reduce_only, 2e0 AS asked_qty, 100e0 AS mark_px,
    CASE WHEN order_n % 20 <> 7 THEN 2e0 END AS qty,
    CASE WHEN order_n % 20 <> 7 THEN CASE WHEN is_open THEN 100e0 ELSE 101e0 END END AS fill_px,
    CASE WHEN order_n % 20 <> 7 THEN 0.1 END AS fees_usd,
    CASE WHEN NOT is_open AND order_n % 20 <> 7 THEN 1 ELSE 0 END AS close_n,
    CASE WHEN NOT is_open AND order_n % 20 <> 7 THEN at_ms END AS close_ms,
    CASE WHEN NOT is_open AND order_n % 20 <> 7 THEN 2e0 END AS realized_pnl_usd,
    CASE WHEN NOT is_open AND order_n % 20 <> 7 THEN 202e0 END AS closed_notional_usd,
    CASE WHEN NOT is_open AND order_n % 20 <> 7 THEN 0e0 END AS position_size_after,
    at_ms // 3600000 % 24 AS hour_utc, CAST(NULL AS DOUBLE) AS slippage_bps,
    CAST(NULL AS VARCHAR) AS suspect_reason, CAST(NULL AS BIGINT) AS mark_age_ms,
    CAST(NULL AS DOUBLE) AS ack_ms,
FROM orders;

CREATE TEMP TABLE core_window__hourly AS
SELECT account, event_ms // 3600000 * 3600000 AS hour_ms, COUNT(*) AS n, 0 AS close_only_n
FROM core_window__outcomes GROUP BY ALL;

INSERT INTO raw_positions__states BY NAME
SELECT
    'main' AS account, 'paper' AS environment, 'binance' AS venue, 'S' || symbol_n AS symbol,
    'LONG' AS position_side, at_ms + 1 AS event_ms, CASE WHEN is_open THEN 2e0 ELSE 0e0 END
        AS position_qty, CASE WHEN is_open THEN 100e0 ELSE 0e0 END AS entry_px, 'r1' AS run_id,
    'states' AS source_id, at_ms AS line_offset,
FROM orders WHERE order_n % 10 = 8;

INSERT INTO raw_orders__attempts BY NAME
SELECT
    'main' AS account, 'paper' AS environment, 'binance' AS venue, 'S' || symbol_n AS symbol,
    'a' || symbol_n || '_' || order_n AS attempt_id, at_ms - 1 AS event_ms,
    10000e0 + order_n % 7 AS nav_usd, 200e0 AS gross_usd,
    '{"S' || symbol_n || '": 200.0}' AS symbol_gross_json, 100e0 AS price_hint,
    'attempts' AS source_id, at_ms AS line_offset,
FROM orders WHERE order_n % 10 = 3;
"""


def main(argv: Sequence[str]) -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks reconcile", description=__doc__)
    parser.add_argument("--outcomes", type=int, default=10_000_000)
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the outcomes")
    options = parser.parse_args(argv)
    outcomes = options.outcomes // (100 if options.quick else 1)
    with engine.connect(memory_limit_mb=2048) as con:
        for kind in KINDS:
            schema = raw_schema(kind)
            empty = schema.remove(schema.get_field_index(PART_COLUMN)).empty_table()
            con.register("empty_rows", empty)
            con.execute(f"CREATE OR REPLACE TEMP TABLE {kind.table} AS FROM empty_rows")
            con.unregister("empty_rows")
        load = {
            "as_of_ms": AS_OF_MS,
            "window_ms": WINDOW_MS,
            "outcomes": outcomes,
            "symbols": options.symbols,
        }
        for statement in _LOAD.split(";"):
            if statement.strip():
                con.execute(engine.inline(statement, load))
        ((states,),) = con.sql("SELECT COUNT(*) FROM raw_positions__states").fetchall()
        print(f"{outcomes:,} outcomes, {states:,} position states, {options.symbols} symbols")
        window_sums.create_views(con, _VALUES, ["raw_orders__attempts"])
        sums = partial(window_sums.create_tables, con, _VALUES)  # a build keeps those of files
        _, total_s, total_cpu_s = _timed(sums)
        print(f"{'sums of the window':32} {total_s:6.2f} s ({total_cpu_s:.2f} s of processor)")
        for name in TABLES:
            rows, wall_s, cpu_s = _timed(partial(_run, con, name))
            total_s, total_cpu_s = total_s + wall_s, total_cpu_s + cpu_s
            print(f"{name:32} {wall_s:6.2f} s ({cpu_s:.2f} s of processor), {rows.num_rows:,} rows")
            con.register("rows_of_table", rows)
            con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM rows_of_table")
            con.unregister("rows_of_table")
            if name == TABLES[0]:
                positions_cpu_s = cpu_s
        print(
            f"{'all':32} {total_s:6.2f} s ({total_cpu_s:.2f} s of processor), {peak_mb():,.0f} MB"
        )
        ((ours,),) = con.sql(
            "SELECT COUNT(*) FROM core_position__reconciliation"
            " WHERE NOT is_explained AND position_side <> 'GROSS'"
        ).fetchall()
        _beside(con, ours, positions_cpu_s, options.symbols)
    return 0


def _beside(con: duckdb.DuckDBPyConnection, ours: int, ours_cpu_s: float, symbols: int) -> None:
    """Time the two other ways over the same rows; reading them out of DuckDB is not counted."""
    fills, states = (con.sql(sql).pl() for sql in (_FILLS, _STATES))
    found, _, cpu_s = _timed(lambda: _polars(fills, states))
    print(
        f"{'Polars join_asof, positions':32} {cpu_s / ours_cpu_s:6.1f} times our positions'"
        f" ({cpu_s:.2f} s of processor), {found:,} changes unexplained; ours {ours:,}"
    )
    few = [f"S{n}" for n in range(max(1, symbols // LOOP_PART))]
    part = [frame.filter(pl.col("symbol").is_in(few)) for frame in (fills, states)]
    share = len(part[0]) / len(fills)
    lists = [frame.rows() for frame in part]
    found, _, cpu_s = _timed(lambda: _loop(*lists))
    print(
        f"{'loop over rows with bisect':32} {cpu_s / share / ours_cpu_s:6.1f} times our positions'"
        f" ({cpu_s:.2f} s of processor for {share:.1%} of the fills, scaled up)"
    )


_FILLS = """
SELECT symbol, fill_at_ms AS at_ms, CASE WHEN side = 'BUY' THEN qty ELSE -qty END AS qty
FROM core_window__outcomes WHERE outcome = 'filled' ORDER BY at_ms
"""
_STATES = """
SELECT symbol, event_ms AS at_ms, position_qty AS qty FROM raw_positions__states ORDER BY at_ms
"""


def _polars(fills: pl.DataFrame, states: pl.DataFrame) -> int:
    """Return how many changes of position the fills do not explain."""
    seen = states.with_row_index("state_n").with_columns(
        pl.col("qty").diff().over("symbol").alias("change")
    )
    near = fills.join_asof(
        seen.drop("qty"), on="at_ms", by="symbol", strategy="forward", check_sortedness=False
    )
    explained = near.group_by("state_n").agg(pl.col("qty").sum().alias("explained"))
    rest = seen.join(explained, on="state_n", how="left").select(
        (pl.col("change") - pl.col("explained").fill_null(0.0)).abs() > 1e-6
    )
    return int(rest.to_series().sum())  # null, before the first state, is not


def _loop(fills: list[tuple[str, int, float]], states: list[tuple[str, int, float]]) -> int:
    """Return the same from lists of rows."""
    times: dict[str, list[int]] = defaultdict(list)
    held: dict[str, list[float]] = defaultdict(list)
    for symbol, at_ms, qty in states:
        times[symbol].append(at_ms)
        held[symbol].append(qty)
    explained: dict[tuple[str, int], float] = defaultdict(float)
    for symbol, at_ms, qty in fills:
        explained[symbol, bisect.bisect_left(times[symbol], at_ms)] += qty
    return sum(
        abs(after - before - explained[symbol, n]) > 1e-6
        for symbol, each in held.items()
        for n, (before, after) in enumerate(pairwise(each), start=1)
    )


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Run it; returns its result, wall seconds and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def _run(con: duckdb.DuckDBPyConnection, name: str) -> pa.Table:
    table = catalog.tables()[name]
    relation = con.sql(table.sql, params=engine.bind(table.sql, table.params, _VALUES))
    return relation.to_arrow_table()


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
