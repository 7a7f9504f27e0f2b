"""Write live.jsonl files of literal values, without the program that publishes them.

Put here: snapshots as an engine meets them. Keep out: what a reader makes of them.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Line = dict[str, Any]
T_MS = 1_762_300_800_000  # 2025-11-05T00:00:00Z, the as-of of most snapshots
T = T_MS / 1000


def line(symbol: str = "BTCUSDT", **parts: Any) -> Line:
    """Return a line that knows everything; ``parts`` replace whole parts or fields of a part."""
    usual: Line = {
        "symbol": symbol,
        "n": 400,
        "status": "ok",
        "score": {
            "model": "v5.10", "score": 0.75, "sharpe": 1.0, "sharpe_score": 0.5,
            "atr_ratio": 1.0, "atr_score": 0.1, "router_score": 0.15, "dd_pct": -0.5,
            "dd_score": 0.0, "fee_bps": 2.5, "missing": [], "coverage": 1.0,
        },
        "size": {
            "n": 60, "intel_size_factor": 1.225, "sharpe_mult": 1.125, "regime_scale": 1.0,
            "inverse_vol": 1.0, "product_v510": 1.378125, "evidence_cap": None,
            "incomplete": False, "final_size_factor": 1.25, "capped_by": ["change"],
        },
        "regime": {
            "n": 700, "regime": "normal", "health_regime": "normal", "atr_pct_50": 0.4,
            "atr_pct_500": 0.4, "atr_ratio": 1.0, "atr_source": "bars", "bar_interval": "15m",
        },
        "router": {
            "n": 400, "fill_n": 200, "fill_known_n": 390, "fill_ratio": 0.5128205128205128,
            "unknown_n": 10, "maker_known_n": 200, "maker_fill_ratio": 0.8,
            "started_maker_n": 150, "fallback_known_n": 140, "fallback_ratio": 0.2,
            "slip_n": 200, "slip_q25": -0.5, "slip_q50": 0.8, "slip_q75": 2.0,
            "ack_ms_p50": 35.0, "ack_ms_p95": 90.5,
        },
        "policy": {
            "n": 400, "quality": "good", "maker_first": True, "taker_bias": "prefer_maker",
            "regime": "normal", "reason": "quality=good; regime=normal",
        },
        "risk": {
            "n": 62, "sharpe_7d": 1.0, "sharpe_lo90": 0.5, "dd_today_pct": -0.5,
            "max_dd_today_pct": -0.75, "equity_usd": 2500.0, "dd_n": 9, "dd_unknown_n": 0,
        },
        "offsets_bps": [1.5] * 24,
        "hourly": {str(hour): hour_line() for hour in range(24)},
    }  # fmt: skip
    for name, value in parts.items():
        part = usual.get(name)
        is_change = isinstance(part, dict) and isinstance(value, dict) and name != "hourly"
        usual[name] = {**part, **value} if is_change and part else value
    return usual


def hour_line(**values: Any) -> Line:
    """Return what a line says of one hour."""
    usual = {
        "count": 17, "fill_n": 9, "close_n": 4, "exp_per_notional": 0.0004,
        "exp_stderr": 0.0001, "exp_lo95": 0.0001, "exp_hi95": 0.0007,
        "exp_net_per_notional": None, "exp_shrunk": 0.0003, "slip_n": 9,
        "slip_bps_avg": 0.75, "slip_bps_stderr": 0.25,
    }  # fmt: skip
    return {**usual, **values}


def snapshot_bytes(
    snapshot_id: str, lines: Iterable[Line], *, as_of_ms: int = T_MS, **header: Any
) -> bytes:
    """Return the bytes of a live.jsonl; its lines are of ``snapshot_id`` unless they say so."""
    bodies = {}
    for values in lines:
        whole = {"as_of_ms": as_of_ms, "snapshot_id": snapshot_id, **values}
        bodies[values["symbol"]] = json.dumps(whole, separators=(",", ":")).encode()
    first, length = b"", -1
    while len(first) != length:  # the offsets' digits decide how long the first line is
        length = len(first)
        first = _first_line(snapshot_id, as_of_ms, header, bodies, length + 1)
    return b"".join(body + b"\n" for body in (first, *bodies.values()))


def _first_line(
    snapshot_id: str, as_of_ms: int, header: Line, bodies: dict[str, bytes], start: int
) -> bytes:
    index, offset = {}, start
    for symbol, body in bodies.items():
        index[symbol] = [offset, len(body), hashlib.sha256(body).hexdigest()]
        offset += len(body) + 1
    values = {
        "format": 1,
        "snapshot_id": snapshot_id,
        "as_of_ms": as_of_ms,
        "window_days": 7,
        "environment": "paper",
        "account": "main",
        "symbol_key": "symbol",
        **header,
        "index": index,
    }
    text = json.dumps(values, separators=(",", ":")).encode().removesuffix(b"}")
    return text + b',"index_sha256":"' + hashlib.sha256(text).hexdigest().encode() + b'"}'


def write(root: Path, snapshot_id: str, data: bytes) -> Path:
    """Write a snapshot's live.jsonl without publishing it; returns its path."""
    folder = root / snapshot_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "live.jsonl").write_bytes(data)
    return folder / "live.jsonl"


def name_current(root: Path, text: str) -> None:
    """Replace CURRENT at once, as the publisher does."""
    root.mkdir(parents=True, exist_ok=True)
    draft = root / f".CURRENT-{os.getpid()}"
    draft.write_text(text)
    draft.replace(root / "CURRENT")


def publish(
    root: Path,
    snapshot_id: str,
    lines: Iterable[Line],
    *,
    as_of_ms: int = T_MS,
    previous: str | None = None,
    **header: Any,
) -> Path:
    """Publish a snapshot of these lines; returns its live.jsonl.

    It has a manifest where there is a ``previous`` one to be named in it.
    """
    path = write(root, snapshot_id, snapshot_bytes(snapshot_id, lines, as_of_ms=as_of_ms, **header))
    if previous is not None:
        (path.parent / "manifest.json").write_text(json.dumps({"previous": previous}))
    name_current(root, snapshot_id + "\n")
    return path
