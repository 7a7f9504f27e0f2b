"""The lines of live.jsonl, format 1, as frozen values: docs/live-jsonl.md describes each field.

Put here: shapes and the bounds a line must keep. Keep out: what an engine may do with them
(acting.py). A field that a line lacks is None, as one that is null: both mean unknown.
"""

from typing import Annotated, Literal

import msgspec

FORMAT = 1
ALL = "*"  # the line over all symbols
HOURS = 24

# gc=False: what comes from JSON holds no cycle, so the collector need not look at it.

Quality = Literal["broken", "degraded", "unknown", "ok", "good"]
TakerBias = Literal["prefer_taker", "balanced", "prefer_maker"]
SizeFactor = Annotated[float, msgspec.Meta(ge=0.0, le=10.0)]
OffsetBps = Annotated[float, msgspec.Meta(ge=0.5, le=8.0)]


class Place(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Where a symbol's line stands: bytes from the start of the file, without its newline."""

    offset: int
    length: int
    sha256: str


class Header(msgspec.Struct, frozen=True, gc=False):
    """The first line: of which snapshot the file is and where each symbol's line stands."""

    format: int
    snapshot_id: str
    as_of_ms: int
    window_days: int
    environment: str
    account: str
    symbol_key: str
    index: dict[str, Place]
    index_sha256: str


class Score(msgspec.Struct, frozen=True, gc=False):
    """The symbol's score by the acting model, with its components."""

    model: str | None = None
    score: float | None = None
    sharpe: float | None = None
    sharpe_score: float | None = None
    atr_ratio: float | None = None
    atr_score: float | None = None
    router_score: float | None = None
    dd_pct: float | None = None
    dd_score: float | None = None
    fee_bps: float | None = None
    missing: tuple[str, ...] = ()
    coverage: float | None = None


class Size(msgspec.Struct, frozen=True, gc=False):
    """Every factor of the size; n counts round trips."""

    n: int = 0
    intel_size_factor: float | None = None
    sharpe_mult: float | None = None
    regime_scale: float | None = None
    inverse_vol: float | None = None
    product_v510: float | None = None
    evidence_cap: float | None = None
    pnl_coverage: float | None = None
    coverage_status: str | None = None
    incomplete: bool | None = None
    final_size_factor: SizeFactor | None = None
    capped_by: tuple[str, ...] = ()


class Regime(msgspec.Struct, frozen=True, gc=False):
    """Volatility regimes; n counts bars."""

    n: int = 0
    regime: str | None = None
    health_regime: str | None = None
    atr_pct_50: float | None = None
    atr_pct_500: float | None = None
    atr_ratio: float | None = None
    atr_source: str | None = None
    bar_interval: str | None = None


class Router(msgspec.Struct, frozen=True, gc=False):
    """How orders ended and what they slipped; n counts attempts."""

    n: int = 0
    fill_n: int = 0
    fill_known_n: int = 0
    fill_ratio: float | None = None
    unknown_n: int = 0
    maker_known_n: int = 0
    maker_fill_ratio: float | None = None
    started_maker_n: int = 0
    fallback_known_n: int = 0
    fallback_ratio: float | None = None
    slip_n: int = 0
    slip_q25: float | None = None
    slip_q50: float | None = None
    slip_q75: float | None = None
    ack_ms_p50: float | None = None
    ack_ms_p95: float | None = None


class Policy(msgspec.Struct, frozen=True, gc=False):
    """How the router should trade the symbol; maker_first None leaves it to the strategy."""

    n: int = 0
    quality: Quality | None = None
    maker_first: bool | None = None
    taker_bias: TakerBias | None = None
    regime: str | None = None
    reason: str | None = None


class Risk(msgspec.Struct, frozen=True, gc=False):
    """Realised risk; n counts closes of the window, dd_n those of today."""

    n: int = 0
    sharpe_7d: float | None = None
    sharpe_lo90: float | None = None
    dd_today_pct: float | None = None
    max_dd_today_pct: float | None = None
    equity_usd: float | None = None
    dd_n: int | None = None  # None in lines of a release that did not write it
    dd_unknown_n: int | None = None


class Hour(msgspec.Struct, frozen=True, gc=False):
    """One UTC hour of day; count counts attempts."""

    count: int = 0
    fill_n: int = 0
    close_n: int = 0
    exp_per_notional: float | None = None
    exp_stderr: float | None = None
    exp_lo95: float | None = None
    exp_hi95: float | None = None
    exp_net_per_notional: float | None = None
    exp_shrunk: float | None = None
    slip_n: int = 0
    slip_bps_avg: float | None = None
    slip_bps_stderr: float | None = None


class Record(msgspec.Struct, frozen=True, gc=False):
    """All that a snapshot says of one symbol, or of all together (then only router and hourly)."""

    symbol: str
    as_of_ms: int
    snapshot_id: str
    n: int
    status: Literal["ok", "insufficient"]
    score: Score | None = None
    size: Size | None = None
    regime: Regime | None = None
    router: Router | None = None
    policy: Policy | None = None
    risk: Risk | None = None
    offsets_bps: tuple[OffsetBps | None, ...] | None = None
    hourly: dict[int, Hour] | None = None
