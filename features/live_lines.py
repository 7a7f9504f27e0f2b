"""Write live.jsonl: all that an engine needs of a snapshot, one line a symbol behind an index.

Put here: the lines, from the feature tables of a finished build; docs/live-jsonl.md describes them.
Keep out: reading them (live/), computing any value (sql/). Equal tables give equal bytes.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import duckdb

FILE = "live.jsonl"
FORMAT = 1
ALL = "*"
HOURS = 24

Row = dict[str, Any]

_SCORE = (
    "model", "score", "sharpe", "sharpe_score", "atr_ratio", "atr_score", "router_score", "dd_pct",
    "dd_score", "fee_bps", "missing", "coverage",
)  # fmt: skip
_SIZE = (
    "n", "intel_size_factor", "sharpe_mult", "regime_scale", "inverse_vol", "product_v510",
    "evidence_cap", "pnl_coverage", "coverage_status", "incomplete", "final_size_factor",
    "capped_by",
)  # fmt: skip
_REGIME = (
    "n", "regime", "health_regime", "atr_pct_50", "atr_pct_500", "atr_ratio", "atr_source",
    "bar_interval",
)  # fmt: skip
_ROUTER = (
    "n", "fill_n", "fill_known_n", "fill_ratio", "unknown_n", "maker_known_n", "maker_fill_ratio",
    "started_maker_n", "fallback_known_n", "fallback_ratio",
)  # fmt: skip
_POLICY = ("n", "quality", "maker_first", "taker_bias")
_RISK = (
    "n", "sharpe_7d", "sharpe_lo90", "dd_today_pct", "max_dd_today_pct", "equity_usd", "dd_n",
    "dd_unknown_n",
)  # fmt: skip
_HOUR = (
    "fill_n", "close_n", "exp_per_notional", "exp_stderr", "exp_lo95", "exp_hi95",
    "exp_net_per_notional", "exp_shrunk", "slip_n", "slip_bps_avg", "slip_bps_stderr",
)  # fmt: skip
_LISTS = ("missing", "capped_by")  # comma-separated in the tables


def live_lines(
    con: duckdb.DuckDBPyConnection, schema: str, header: Mapping[str, Any], min_n: int
) -> bytes:
    """Return the bytes of live.jsonl.

    Args:
        con: a connection that sees the build's feature tables.
        schema: where they stand, such as ``snapshot.main``.
        header: snapshot_id, as_of_ms, window_days, environment, account and symbol_key.
        min_n: attempts from which on a line has status ok.
    """
    tables = _Tables(con, schema)
    place = {"as_of_ms": header["as_of_ms"], "snapshot_id": header["snapshot_id"]}
    lines = {}
    for symbol in tables.symbols():
        body = _line(tables, symbol, min_n)
        named = {"symbol": symbol, **place, **body}
        lines[symbol] = json.dumps(named, separators=(",", ":"), allow_nan=False).encode()
    return b"".join(line + b"\n" for line in (_first_line(header, lines), *lines.values()))


class _Tables:
    """The rows of the tables that a line is made of, by symbol."""

    def __init__(self, con: duckdb.DuckDBPyConnection, schema: str) -> None:
        self._con = con
        self._schema = schema
        self.score = self._by_symbol("feat_symbol__scores", "WHERE is_active")
        self.size = self._by_symbol("feat_symbol__sizing")
        self.regime = self._by_symbol("feat_symbol__atr_regime")
        self.router = self._by_symbol("feat_router__effectiveness")
        self.policy = self._by_symbol("feat_router__policies")
        self.risk = self._by_symbol("feat_symbol__performance")
        self.slip = self._by_symbol("feat_execution__slippage_quartiles", "WHERE hour_utc = -1")
        self.offsets = self._by_hour("feat_router__maker_offsets")
        self.hours = self._by_hour("feat_execution__hourly_expectancy")

    def symbols(self) -> list[str]:
        """Return what has a line: all together first, then every symbol with a size, sorted."""
        together = [ALL] if ALL in self.router else []
        return [*together, *sorted(self.size)]

    def _rows(self, table: str, rest: str = "") -> list[Row]:
        found = self._con.execute(f"FROM {self._schema}.{table} {rest} ORDER BY ALL")
        names = [column[0] for column in found.description or ()]
        return [
            {name: _plain(value) for name, value in zip(names, row, strict=True)}
            for row in found.fetchall()
        ]

    def _by_symbol(self, table: str, rest: str = "") -> dict[str, Row]:
        return {row["symbol"]: row for row in self._rows(table, rest)}

    def _by_hour(self, table: str) -> dict[str, dict[int, Row]]:
        found: dict[str, dict[int, Row]] = {}
        for row in self._rows(table):
            found.setdefault(row["symbol"], {})[row["hour_utc"]] = row
        return found


def _line(tables: _Tables, symbol: str, min_n: int) -> Row:
    router = tables.router.get(symbol)
    n = router["n"] if router else 0
    hours = {str(h): _hour(row) for h, row in sorted(tables.hours.get(symbol, {}).items())}
    line: Row = {"n": n, "status": "ok" if n >= min_n else "insufficient"}
    if symbol == ALL:
        return {**line, "router": _router(router, tables.slip.get(symbol)), "hourly": hours}
    policy = tables.policy[symbol]
    return {
        **line,
        "score": _part(tables.score[symbol], _SCORE),
        "size": _part(tables.size[symbol], _SIZE),
        "regime": _part(tables.regime.get(symbol), _REGIME),
        "router": _router(router, tables.slip.get(symbol)),
        "policy": {
            **_part(policy, _POLICY),
            "regime": policy["acting_regime"],
            "reason": policy["reason"],
        },
        "risk": _part(tables.risk.get(symbol), _RISK),
        "offsets_bps": [tables.offsets[symbol][hour]["offset_bps"] for hour in range(HOURS)],
        "hourly": hours,
    }


def _part(row: Row | None, names: Iterable[str]) -> Row:
    """Return some columns of a row; of no row, n = 0 and nothing known."""
    if row is None:
        return {name: 0 if name == "n" else None for name in names}
    return {
        name: [part for part in row[name].split(",") if part] if name in _LISTS else row[name]
        for name in names
    }


def _router(row: Row | None, slip: Row | None) -> Row:
    known = _part(row, (*_ROUTER, "ack_ms_p50", "ack_ms_p95"))
    slips = slip or {"n": 0}
    quartiles = {f"slip_{q}": slips.get(f"slip_bps_{q}") for q in ("q25", "q50", "q75")}
    acks = {name: known.pop(name) for name in ("ack_ms_p50", "ack_ms_p95")}
    counts = {name: known[name] or 0 for name in known if name.endswith("_n")}
    return {**known, **counts, "slip_n": slips["n"], **quartiles, **acks}


def _hour(row: Row) -> Row:
    return {"count": row["n"], **_part(row, _HOUR)}


def _plain(value: Any) -> Any:
    """Write what is no finite number as unknown, which is all JSON has, and -0 as the 0 it is."""
    if isinstance(value, float):
        return value + 0.0 if math.isfinite(value) else None
    return value


def _first_line(header: Mapping[str, Any], lines: Mapping[str, bytes]) -> bytes:
    """Return the index: where each line stands, counted from the start of the file, and its digest.

    Its own length decides the offsets in it, so it is written until that no longer changes.
    """
    first, length = b"", -1
    while len(first) != length:
        length = len(first)
        index, offset = {}, length + 1
        for symbol, line in lines.items():
            index[symbol] = [offset, len(line), hashlib.sha256(line).hexdigest()]
            offset += len(line) + 1
        values = {"format": FORMAT, **header, "index": index}
        text = json.dumps(values, separators=(",", ":"), allow_nan=False).encode()
        body = text.removesuffix(b"}")
        first = body + b',"index_sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'"}'
    return first
