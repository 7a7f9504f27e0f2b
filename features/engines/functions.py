"""What the SQL files use beyond DuckDB's own functions: intervals, p-values, paths of returns.

Put here: functions of one row's values, vectorised. Keep out: what the numbers mean (sql/).
"""

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from duckdb.func import PythonUDFType

_STEPS = "STRUCT(close_ms BIGINT, return_pct DOUBLE)[]"
_PATH = pa.struct(
    [(name, pa.float64()) for name in ("return_pct", "peak_pct", "trough_pct", "fall_pct")]
)

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


def register(con: duckdb.DuckDBPyConnection) -> None:
    """Add the functions to a connection."""
    con.create_function("student_t975", _t975, ["DOUBLE"], "DOUBLE", type=PythonUDFType.ARROW)
    con.create_function(
        "student_t_p", _t_p, ["DOUBLE", "DOUBLE"], "DOUBLE", type=PythonUDFType.ARROW
    )
    con.create_function("path", path, [_STEPS], _sql_struct(), type=PythonUDFType.ARROW)
    con.execute(_WILSON.format(end="lo", limit="GREATEST", bound="0e0", sign="-"))
    con.execute(_WILSON.format(end="hi", limit="LEAST", bound="1e0", sign="+"))


def _sql_struct() -> str:
    return f"STRUCT({', '.join(f'{field.name} DOUBLE' for field in _PATH)})"


def _t975(degrees: pa.Array) -> pa.Array:
    """Return the 97.5 % quantile of Student's t; degrees of freedom above 0."""
    from scipy import special  # takes long to import, which most commands can do without

    return pa.array(special.stdtrit(degrees.to_numpy(zero_copy_only=False), 0.975))


def _t_p(t: pa.Array, degrees: pa.Array) -> pa.Array:
    """Return the two-sided p-value of t with these degrees of freedom."""
    from scipy import special

    beyond = -np.abs(t.to_numpy(zero_copy_only=False))
    return pa.array(2 * special.stdtr(degrees.to_numpy(zero_copy_only=False), beyond))


def path(steps: pa.Array) -> pa.Array:
    """Follow the running sum of each list of returns in order of time, from 0.

    Returns its last value, its peak (at least 0), its trough (at most 0) and its deepest fall from
    a peak (at least 0). Trades that close at one moment are one step: their order is unknown.
    """
    if isinstance(steps, pa.ChunkedArray):
        steps = steps.combine_chunks()
    bounds = steps.offsets.to_numpy()
    inner = steps.flatten()
    # One complex sort orders by time, then by return, which makes sums the same in any row order.
    points = np.empty(len(inner), np.complex128)
    points.real = inner.field("close_ms").to_numpy(zero_copy_only=False)
    points.imag = inner.field("return_pct").to_numpy(zero_copy_only=False)
    found = np.zeros((len(steps), 4))
    for row, (first, end) in enumerate(
        zip(bounds[:-1] - bounds[0], bounds[1:] - bounds[0], strict=True)
    ):
        if end > first:
            found[row] = _follow(points[first:end])
    columns = [pa.array(column) for column in found.T]
    return pa.StructArray.from_arrays(columns, fields=list(_PATH))


def _follow(points: npt.NDArray[np.complex128]) -> tuple[float, float, float, float]:
    points = np.sort(points, kind="stable")
    sums = np.cumsum(points.imag)
    is_last = np.append(points.real[1:] != points.real[:-1], True)
    sums = sums[is_last]
    peaks = np.maximum(np.maximum.accumulate(sums), 0.0)
    return sums[-1], peaks[-1], min(float(sums.min()), 0.0), float((peaks - sums).max())
