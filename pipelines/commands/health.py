"""The execution health document of a snapshot, and how it reads on a terminal.

Put here: which reading a snapshot gives, and its lines. Keep out: the document
(live/v510/health.py).
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from features.words import guards, on_status, signed
from pipelines.commands import common
from pipelines.commands.common import number, with_n

if TYPE_CHECKING:
    from features.settings import Settings
    from features.snapshot import Store
    from live.snapshot.reading import Reading
    from live.v510.answers import Read, Toggle

Document = dict[str, Any]


@dataclass(frozen=True)
class Readings:
    """The readings of a snapshot, and why a symbol is switched off; None: nobody tells."""

    read: "Read"
    toggle: "Toggle | None" = None

    def __call__(self, symbol: str) -> "Reading":
        return self.read(symbol)


def style_of(status: str) -> str:
    return "green" if status == "ok" else "yellow"


def reads(settings: "Settings", store: "Store", snapshot_id: str) -> Readings:
    """Return what an engine that starts now reads from CURRENT; of others, what it read then.

    Generated data is old by nature: of a demonstration, what it would have read then. The switches
    are those that stand now, and so are CURRENT's alone.
    """
    from live.reader import SnapshotReader
    from live.snapshot.published import reads_as_published
    from live.trading.controls import Controls
    from live.v510.answers import toggle_of

    toggle = None
    if snapshot_id == store.current():
        toggle = toggle_of(Controls(settings.controls_root).state(), common.now_ms())
    manifest = store.manifest(snapshot_id)
    if is_past(store, snapshot_id):
        read = reads_as_published(store.root, snapshot_id, manifest["environment"])
        return Readings(read, toggle)

    reader = SnapshotReader(
        store.root, environment=manifest["environment"], max_age_s=settings.snapshot_max_age_s
    )
    if reader.problem is not None:
        raise common.CommandError(reader.problem)
    return Readings(reader.read, toggle)


def is_past(store: "Store", snapshot_id: str) -> bool:
    """Tell whether a snapshot is shown as it was when new: others than CURRENT, and generated."""
    return snapshot_id != store.current() or store.manifest(snapshot_id)["origin"] == "demo"


def document(read: Readings, symbol: str | None) -> Document:
    """Return the health document of a symbol, of all together for None."""
    from live import intel

    with intel.answering_from(read, toggle=read.toggle):
        return intel.compute_execution_health(symbol)


def documents(read: Readings, symbol: str) -> tuple[Document, Document, bool]:
    """Return a symbol's health document, its score, and whether engines only reduce it."""
    from live import intel

    found = read(symbol)
    with intel.answering_from(lambda _: found, toggle=read.toggle):
        health = intel.compute_execution_health(symbol)
        return health, intel.compute_symbol_score(symbol), found.reduce_only


def print_health(
    found: Document,
    score: Document,
    only_reduces: bool,
    *,
    is_past: bool = False,
    overruled: str | None = None,
    acts: bool | None = True,
    is_ahead: bool = False,
) -> None:
    """Print a symbol's document as a few lines, warnings in yellow.

    ``overruled`` is what engines do instead of acting on it, because of a switch. ``acts`` is False
    where they act on nothing of a snapshot, None where that is not known. ``is_ahead``: it is dated
    ahead of the clock.
    """
    from live.mirror.desk import UNTOLD

    words = on_status(
        found["status"], reduces_only=only_reduces, acts=bool(acts), is_ahead=is_ahead
    )
    if acts is None and not only_reduces:  # that they do whatever else they act on
        words = UNTOLD
    words = overruled or words
    style = "yellow" if overruled else style_of(found["status"])
    then = "when this snapshot was new: " if is_past else ""
    common.say()
    common.say(f"{found['symbol']}: {then}{found['status']}, {words}", style=f"bold {style}")
    common.show_fields(
        (
            ("size", _size(found["sizing"])),
            *[("", guards([name])) for name in found["sizing"]["capped_by"]],
            ("", coverage_line(found["sizing"])),
            ("score", _score(score)),
            ("router", _router(found["router"])),
            ("", _ratios(found["router"])),
            ("", _slippage(found["router"])),
            ("risk", _risk(found["risk"], found["sizing"])),
            ("volatility", _vol(found["vol"])),
        )
    )
    for flag in (*found["router"]["router_warnings"], *found["risk"]["risk_flags"]):
        common.say(f"warning     {flag}", style="yellow")


def _size(sizing: Document) -> str:
    limits = ", ".join(sizing["capped_by"])
    return (
        f"{number(sizing['applied_size_factor'])} × target"
        f" (Sharpe {number(sizing['size_mult_sharpe'])} × regime"
        f" {number(sizing['size_mult_regime'])} × score {number(sizing['intel_size_factor'])}"
        f" = {number(sizing['final_size_factor'])}" + (f"; limited by {limits})" if limits else ")")
    )


def coverage_line(sizing: Document) -> str:
    """Say which share of the account the logs explain, and of what."""
    share = sizing.get("pnl_coverage")
    status = sizing.get("coverage_status") or "unknowable"
    known = "an unknown share" if share is None else common.share(share)
    if share is not None and status == "unknowable":
        known = f"at least {known}"
    return (
        f"logs explain {known} of the account's PnL and position changes (the lower), {status}:"
        " execintel reconcile"
    )


def _score(score: Document) -> str:
    parts = score["components"]
    missing = f"; missing {', '.join(score['missing'])}" if score["missing"] else ""
    return (
        f"{signed(score['score'])} by {score['model'] or common.UNKNOWN}"
        f" (Sharpe {signed(parts['sharpe_score'])}, ATR {signed(parts['atr_score'])},"
        f" router {signed(parts['router_score'])}, drawdown {signed(parts['dd_score'])}){missing}"
    )


def _router(router: Document) -> str:
    from features.explain import MAKER_FIRST

    hour = time.gmtime().tm_hour
    return (
        f"{router['policy_quality']}, {MAKER_FIRST[router['policy_maker_first']]},"
        f" {router['policy_taker_bias']}; offset at {hour:02d} UTC"
        f" {number(router['maker_offset_bps'])} bps"
    )


def _ratios(router: Document) -> str:
    return (
        f"maker fills {with_n(router['maker_fill_ratio'], router.get('maker_known_n'))},"
        f" fallback {with_n(router['fallback_ratio'], router.get('fallback_known_n'))}"
    )


def _slippage(router: Document) -> str:
    quartiles = " / ".join(number(router[name]) for name in ("slip_q25", "slip_q50", "slip_q75"))
    return f"slippage quartiles {quartiles} bps ({number(router.get('slip_n'), 0)})"


def _risk(risk: Document, sizing: Document) -> str:
    sharpe = f"before fees {with_n(sizing['sharpe_7d'], sizing.get('round_trip_n'))}"
    dd = risk["dd_today_pct"]
    drawdown = f"drawdown today {number(dd)} %" if dd is not None else "drawdown today unknown"
    off = ", switched off" if risk["toggle_active"] else ""
    return f"Sharpe {sharpe} {risk['sharpe_state']}, {drawdown}{off}"


def _vol(vol: Document) -> str:
    if vol["atr_ratio"] is None:
        return str(vol["atr_regime"])
    source = {"fills": "fills", "short": "bars, fewer than 500"}.get(vol["atr_source"], "bars")
    return (
        f"{vol['atr_regime']}, ATR {number(vol['atr_now'])} % now over {number(vol['atr_med'])} %,"
        f" ratio {number(vol['atr_ratio'])} ({number(vol['n'], 0)} {source})"
    )
