"""`execintel show --source firestore`: what is mirrored, as tables a person can read.

Put here: choosing and formatting what a reading holds. Keep out: reading it (live/).
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from features.words import aged, ends, why_stale
from pipelines.commands import common, health
from pipelines.commands.common import interval, number, with_n

if TYPE_CHECKING:
    from features.settings import Settings
    from live.mirror.source import FirestoreSource
    from live.snapshot.reading import Reading
    from live.snapshot.records import Header
    from live.v510.answers import Read


def open_source(settings: "Settings") -> "FirestoreSource":
    """Open the mirror of this environment; raises CommandError where none is configured."""
    from live.mirror.link import OffError
    from live.mirror.source import FirestoreSource

    try:
        return FirestoreSource(
            environment=settings.environment,
            max_age_s=settings.snapshot_max_age_s,
            on_event=lambda event: None,  # what it would log stands on the screen
        )
    except OffError as error:
        raise common.CommandError(f"{error}; docs/mirror.md says what they mean") from error


def show(settings: "Settings", symbol: str | None, *, is_json: bool) -> None:
    """Print what is mirrored, or one symbol of it with its health and hours."""
    from live.trading.controls import overruling
    from live.v510.answers import toggle_of

    with open_source(settings) as source:
        header = source.header
        if header is None:
            raise common.CommandError(f"nothing whole is mirrored: {source.problem}")
        named = None if symbol is None else _known(source, symbol)
        desk, now_ms = source.desk, common.now_ms()
        toggle = toggle_of(desk.switches, now_ms)
        overruled = None
        if desk.switches is not None and named is not None:
            overruled = overruling(desk.switches, named, now_ms)
        # Generated data is old by nature: it is shown as engines read it when it was new.
        read = health.Readings(source.read_as_new if desk.is_demo else source.read, toggle)
        if is_json:
            found = health.document(read, named)
            common.say(json.dumps(found, indent=1, allow_nan=False))
            return
        head(settings, source, header)
        if named is None:
            _all(read, source.symbols)
            return
        health.print_health(
            *health.documents(read, named),
            is_past=desk.is_demo,
            overruled=overruled,
            acts=None if desk.applied is None else bool(desk.applied),
            is_ahead=read(named).is_ahead,
        )
        _hours(read(named))


def head(settings: "Settings", source: "FirestoreSource", header: "Header") -> None:
    """Say which snapshot is mirrored, how old it is, and what keeps a newer one from being read."""
    from live.mirror.desk import words_of
    from live.mirror.link import hedge_env, where

    served, desk = source.health(), source.desk
    for level, words in words_of(desk, header.environment, common.now_ms()):
        common.say(words, style="bold red" if level == "bad" else "yellow")
    common.say(f"mirror       {where()}, hedge/{hedge_env()}")
    common.say(f"snapshot     {header.snapshot_id}")
    common.say(f"as of        {common.when(header.as_of_ms)}, {aged(served.age_s or 0.0)}")
    common.say(
        f"environment  {header.environment}, window of {header.window_days} days"
        + (", generated demo data" if desk.is_demo else "")
    )
    if served.problem is not None:
        common.say(f"problem      {served.problem}", style="yellow")
    why = why_stale(served.age_s or 0.0, settings.snapshot_max_age_s)
    if why is not None and not desk.is_demo:
        common.say(
            f"stale: {why}; does the pipeline publish, and mirror? execintel doctor there",
            style="yellow",
        )


def _known(source: "FirestoreSource", symbol: str) -> str:
    known = {name.upper(): name for name in source.symbols}
    if symbol.upper() not in known:
        there = ", ".join(known.values()) or "none"
        raise common.CommandError(f"{symbol} is not mirrored; there are: {there}")
    return known[symbol.upper()]


def _all(read: "Read", symbols: Iterable[str]) -> None:
    from live.snapshot.records import Router
    from live.v510 import of_reading

    rows: list[tuple[Any, ...]] = []
    for symbol in sorted(symbols):
        reading = read(symbol)
        record, acting = reading.record, reading.acting
        if record is None:
            continue
        score, router = of_reading.score(reading), record.router or Router()
        low, high = min(acting.offsets_bps), max(acting.offsets_bps)
        rows.append(
            (
                symbol,
                record.n,
                number(None if score is None else score.score),
                with_n(acting.size_factor, of_reading.size(reading).n),
                number(low) if low == high else interval(low, high),
                f"{acting.quality} ({router.n - router.unknown_n:,} of {router.n:,})",
                common.MAKER_FIRST[acting.maker_first],
                acting.taker_bias,
                reading.status,
            )
        )
    common.show_table(
        "Acting. size: factor of the target, n round trips; router: label of its quality, which"
        " rests on the attempts whose end is known; offset: bps from mid over the hours",
        ("symbol", "attempts", "score", "size (n)", "offset", "router (known of n)", "maker first",
         "taker bias", "status"),
        rows,
        has_words=True,
    )  # fmt: skip


def _hours(reading: "Reading") -> None:
    from live.snapshot.records import Hour

    record = reading.record
    hours = (record and record.hourly) or {}
    rows = []
    for hour in range(24):
        row = hours.get(hour, Hour())
        rows.append(
            (
                f"{hour:02d}",
                row.count,
                row.fill_n,
                with_n(_bps(row.exp_per_notional) if row.close_n else None, row.close_n, 1),
                ends(_bps(row.exp_lo95), _bps(row.exp_hi95), 1),
                number(_bps(row.exp_shrunk), 1),
                with_n(row.slip_bps_avg, row.slip_n),
                number(reading.acting.offsets_bps[hour]),
            )
        )
    common.show_table(
        f"{reading.symbol} by UTC hour. exp: expectancy, PnL before fees per notional, bps; "
        "n closes",
        ("hour", "attempts", "fills", "exp (n)", "95 % bounds", "shrunk", "slippage (n)", "offset"),
        rows,
    )


def _bps(fraction: float | None) -> float | None:
    return None if fraction is None else fraction * 1e4
