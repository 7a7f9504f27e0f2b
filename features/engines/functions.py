"""What the SQL files use beyond DuckDB's own functions: intervals, p-values, paths of returns.

Put here: functions of one row's values, vectorised. Keep out: what the numbers mean (sql/).
"""

from importlib import import_module
from itertools import pairwise, product
from threading import Thread
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from duckdb.func import PythonUDFType

_PATH = pa.struct(
    [(name, pa.float64()) for name in ("return_pct", "peak_pct", "trough_pct", "fall_pct")]
)
_DAY_PATH = pa.struct([("strategy", pa.string()), ("symbol", pa.string()), *_PATH])
_DAY = "STRUCT(strategy VARCHAR, symbol VARCHAR, times BIGINT[], returns DOUBLE[])[]"

# Bounds of a share k of n (Wilson 1927) at the normal quantile z; n need not be whole, because
# trades of one day count as fewer than they are. 0 of 0 has no bounds.
_WILSON = """
CREATE OR REPLACE TEMP MACRO wilson_{end}(share, n, z) AS
    CASE WHEN n > 0 THEN
        {limit}(
            {bound},
            (share + z * z / (2 * n) {sign} z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
            / (1 + z * z / n)
        )
    END
"""


# Bins of values, by their quarter root: finer near 0, where a tight market has all its slippage in
# basis points and a near venue all its milliseconds. Sums by bins are kept (file_facts.py), so that
# a definition here decides which.
_FINE_BIN = """
CREATE OR REPLACE TEMP MACRO fine_bin(value) AS
    CAST(floor(sign(value) * sqrt(sqrt(abs(value))) * 400) AS BIGINT)
"""
# Whether a close left its position flat, or on the other side, where a venue nets long and short;
# NULL where it does not say what it left.
_ENDS_POSITION = """
CREATE OR REPLACE TEMP MACRO ends_position(size_after, side, position_side, closed_usd) AS
    abs(size_after) <= 1e-9
    OR (
        COALESCE(position_side, 'BOTH') = 'BOTH'
        AND closed_usd IS DISTINCT FROM 0
        AND size_after * CASE side WHEN 'BUY' THEN 1 WHEN 'SELL' THEN -1 ELSE 0 END > 0
    )
"""
MACROS = (
    _WILSON.format(end="lo", limit="GREATEST", bound="0e0", sign="-"),
    _WILSON.format(end="hi", limit="LEAST", bound="1e0", sign="+"),
    _FINE_BIN,
    _ENDS_POSITION,
)


def register(con: duckdb.DuckDBPyConnection) -> None:
    """Add the functions to a connection."""
    con.create_function("student_t975", _t975, ["DOUBLE"], "DOUBLE", type=PythonUDFType.ARROW)
    con.create_function(
        "student_t_p", _t_p, ["DOUBLE", "DOUBLE"], "DOUBLE", type=PythonUDFType.ARROW
    )
    con.create_function(
        "path", path, ["BIGINT[]", "DOUBLE[]"], _sql_struct(_PATH), type=PythonUDFType.ARROW
    )
    con.create_function(
        "day_paths", day_paths, [_DAY], f"{_sql_struct(_DAY_PATH)}[]", type=PythonUDFType.ARROW
    )
    for macro in MACROS:
        con.execute(macro)


def import_early() -> Thread:
    """Let a thread import what the functions compute with, a fifth of a second of Python's.

    A build sets up what it reads meanwhile, which is the engine's work, and joins the thread before
    a statement calls them: Ctrl-C while the engine imports leaves a lock that nobody gives back. A
    process forked within that time would wait for ever when it imports SciPy itself: fork before or
    later.
    """
    thread = Thread(target=import_module, args=("scipy.special",), name="import-scipy", daemon=True)
    thread.start()
    return thread


def _sql_struct(fields: pa.StructType) -> str:
    kinds = {pa.string(): "VARCHAR", pa.float64(): "DOUBLE"}
    return f"STRUCT({', '.join(f'{field.name} {kinds[field.type]}' for field in fields)})"


def _t975(degrees: pa.Array) -> pa.Array:
    """Return the 97.5 % quantile of Student's t; degrees of freedom above 0."""
    from scipy import special  # takes long to import, which most commands can do without

    return pa.array(special.stdtrit(degrees.to_numpy(zero_copy_only=False), 0.975))


def _t_p(t: pa.Array, degrees: pa.Array) -> pa.Array:
    """Return the two-sided p-value of t with these degrees of freedom."""
    from scipy import special

    beyond = -np.abs(t.to_numpy(zero_copy_only=False))
    return pa.array(2 * special.stdtr(degrees.to_numpy(zero_copy_only=False), beyond))


def path(times: pa.Array, returns: pa.Array) -> pa.Array:
    """Follow the running sum of each list of returns in order of their times, from 0.

    Both lists of a row are as long. Returns the sum's last value, its peak (at least 0), its trough
    (at most 0) and its deepest fall from a peak (at least 0). Trades that close at one moment are
    one step: their order is unknown.
    """
    bounds, moments = _lists(times)
    _, values = _lists(returns)
    found = np.zeros((len(times), 4))
    for row, (first, end) in enumerate(pairwise(bounds.tolist())):
        order = first + _in_order(moments[first:end], values[first:end])
        found[row] = _follow(moments[order], values[order])
    columns = [pa.array(column) for column in found.T]
    return pa.StructArray.from_arrays(columns, fields=list(_PATH))


def day_paths(days: pa.Array) -> pa.Array:
    """Follow the returns of each day as ``path`` does: of each cell, of all with one of its names.

    A cell is {strategy, symbol, times, returns}. Returns for every day a list of {strategy, symbol}
    and what ``path`` finds, * for all. A day is sorted once, not once for each of the four.
    """
    bounds, cells = _lists(days)
    starts, moments = _lists(cells.field("times"))
    _, values = _lists(cells.field("returns"))
    names = {n: cells.field(n).to_numpy(zero_copy_only=False) for n in ("strategy", "symbol")}
    ends, keys, found = [0], [], []
    for first, end in pairwise(bounds.tolist()):
        begin = starts[first]
        of_cell = np.repeat(np.arange(end - first), np.diff(starts[first : end + 1]))
        order = _in_order(moments[begin : starts[end]], values[begin : starts[end]])
        of_cell, order = of_cell[order], begin + order
        in_order = moments[order], values[order]
        own = [
            (str(a), str(b)) for a, b in zip(*(n[first:end] for n in names.values()), strict=True)
        ]
        for every_strategy, every_symbol in product((False, True), repeat=2):
            groups = [("*" if every_strategy else a, "*" if every_symbol else b) for a, b in own]
            places = {key: n for n, key in enumerate(sorted(set(groups)))}
            group = np.array([places[key] for key in groups], np.int32)[of_cell]
            by_group = np.argsort(group, kind="stable")
            edges = np.searchsorted(group[by_group], np.arange(len(places) + 1))
            steps = [column[by_group] for column in in_order]
            keys += list(places)
            found += [_follow(*(each[a:b] for each in steps)) for a, b in pairwise(edges)]
        ends.append(len(keys))
    columns = [pa.array([key[n] for key in keys], pa.string()) for n in (0, 1)]
    columns += [pa.array(column) for column in np.array(found).reshape(-1, 4).T]
    rows = pa.StructArray.from_arrays(columns, fields=list(_DAY_PATH))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), rows)


def _lists(lists: pa.Array) -> tuple[npt.NDArray[np.int32], Any]:
    """Return where each list begins, and last where all end, and what stands in them."""
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks()
    bounds = lists.offsets.to_numpy()
    inner = lists.flatten()
    is_plain = not pa.types.is_nested(inner.type)
    return bounds - bounds[0], inner.to_numpy(zero_copy_only=False) if is_plain else inner


def _in_order(
    moments: npt.NDArray[np.int64], returns: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Order by time; of one moment by return, which makes sums the same in any order of rows."""
    order = np.argsort(moments)
    is_next = np.diff(moments[order]) == 0
    if is_next.any():
        is_tied = np.append(is_next, False) | np.append(False, is_next)
        tied = order[is_tied]
        order[is_tied] = tied[np.lexsort((returns[tied], moments[tied]))]
    return order


def _follow(
    moments: npt.NDArray[np.int64], returns: npt.NDArray[np.float64]
) -> tuple[float, float, float, float]:
    """Return sum, peak, trough and deepest fall of returns that stand in order."""
    if not len(returns):
        return 0.0, 0.0, 0.0, 0.0
    sums = np.cumsum(returns)[np.append(np.diff(moments) != 0, True)]
    peaks = np.maximum(np.maximum.accumulate(sums), 0.0)
    return sums[-1], peaks[-1], min(float(sums.min()), 0.0), float((peaks - sums).max())
