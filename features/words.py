"""How numbers, times and foreign text are written for people, on terminals and pages alike.

Put here: pure functions from a value to a short text. Keep out: where it is shown.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import floor
from typing import Literal

UNKNOWN = "–"
_CLOCK = "this machine's clock"
Level = Literal["ok", "warn", "bad", "unknown"]
MARKS: dict[Level, str] = {"ok": "●", "warn": "▲", "bad": "■", "unknown": "○"}

# What is probably missing in an account's logs, by core_position__reconciliation.cause and
# feat_account__coverage.likely_cause: what it is, and what mends it.
_MISSING = {
    "unknown_order": (
        "orders whose end nobody logged",
        "let the executor log how every order ended",
    ),
    "restart": (
        "what happened while the executor restarted",
        "let it log what the venue did meanwhile when it starts",
    ),
    "silent_log": (
        "what happened while the logs were silent",
        "look for lost log files and an executor that hung",
    ),
    "fill_not_in_position": (
        "nothing: fills stand there that the positions do not show",
        "look for lines written twice or by a test",
    ),
    "close_outside_log": (
        "closes that no log tells of",
        "look for closes by hand, by the venue or by another program",
    ),
    "trade_outside_log": (
        "trades that no log tells of",
        "look for trades by hand or by another program",
    ),
    "close_line_missing": (
        "the PnL of closes that are logged",
        "let the executor log the realised PnL of every close",
    ),
    "funding_or_transfer": (
        "funding, or a transfer into or out of the account",
        "compare with the venue: execintel reconcile --income FILE",
    ),
    "nav_moved_without_closes": (
        "what moved NAV without a close",
        "compare with the venue: execintel reconcile --income FILE",
    ),
}

# What each guard of a size does, by its name in feat_symbol__sizing.capped_by.
_GUARDS = {
    "evidence_cap": "at most 1 until enough round trips show a gain",
    "incomplete": "at most 1 while the logs explain too little of the account",
    "clamp": "kept between the least and the most size there is, which may raise it",
    "change": "moved from the snapshot before by one step at most, which may keep it higher",
}


def when(epoch_ms: int | None) -> str:
    if epoch_ms is None:
        return UNKNOWN
    try:
        moment = dt.datetime.fromtimestamp(epoch_ms / 1000, tz=dt.UTC)
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return f"epoch ms {epoch_ms}"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def minute(epoch_ms: int) -> str:
    """Write a time for a column headed UTC."""
    return when(epoch_ms)[:16]


def iso(epoch_ms: int, unit: str = "seconds") -> str:
    """Write a moment as commands take it, cut to whole ``unit``: seconds or milliseconds."""
    moment = dt.datetime.fromtimestamp(epoch_ms / 1000, tz=dt.UTC)
    return f"{moment.replace(tzinfo=None).isoformat(timespec=unit)}Z"


def span(seconds: float | None) -> str:
    """Write a duration in its two largest units: 3 d 4 h, 5 min 2 s."""
    if seconds is None:
        return UNKNOWN
    left = round(seconds)
    if left < 0:
        return f"-{span(-left)}"
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def parse_time(words: str) -> int:
    """Return epoch ms of an ISO 8601 time; without zone it is UTC.

    Raises ValueError where it is none.
    """
    try:
        moment = dt.datetime.fromisoformat(words.strip())
    except ValueError:
        raise ValueError(
            f"{words!r} is no ISO 8601 time: write it as 2025-11-06T00:00:00Z"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return round(moment.timestamp() * 1000)


def counted(n: int, noun: str) -> str:
    """Write a count with its noun: 1 row, 2 rows."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def aged(age_s: float, clock: str = _CLOCK) -> str:
    """Write how long ago an as-of is, or how far ahead of a clock it lies."""
    return f"{span(age_s)} ago" if age_s >= 0 else f"{span(-age_s)} ahead of {clock}"


def why_stale(age_s: float, limit_s: float, clock: str = _CLOCK) -> str | None:
    """Say why engines find a snapshot of this age stale, as live/reader.py does; None: they do not.

    An as-of ahead of the clock is as stale as one beyond the limit. The words are the same while
    time passes: a page is drawn anew where its notices change.
    """
    if age_s < 0:
        return f"its as-of lies ahead of {clock}"
    return f"older than {span(limit_s)}" if age_s > limit_s else None


def after_resume(command: str, *, is_held: bool) -> str:
    """Write what to run so that something is published; under HOLD that is ended first."""
    return f"execintel snapshots resume, then {command}" if is_held else command


def on_ahead(*, is_held: bool) -> str:
    """Say what to do about a CURRENT whose as-of lies ahead of the clock."""
    refresh = after_resume("execintel refresh --publish", is_held=is_held)
    return (
        f"Is the clock right? Where it is, {refresh} makes one of now, or execintel snapshots "
        "rollback --reason … goes back to one before"
    )


def on_other_environment(there: str, asked: str, *, is_held: bool = False) -> str:
    """Say what engines do by a snapshot of another environment than theirs, and what to do."""
    refresh = after_resume("execintel refresh --publish", is_held=is_held)
    return (
        f"This snapshot is of environment {there}, configured is {asked}: engines of {asked} "
        "refuse it, open nothing and only reduce. Set EXECINTEL_ENVIRONMENT, or "
        f"{refresh} makes one of {asked}."
    )


def on_stale(*, reduces_only: bool) -> str:
    """Say what engines do by a snapshot that is too old, or too old by far."""
    if reduces_only:
        return "open nothing and only reduce"
    return "size at most 1.00 and quote at least 2.00 bps"


def on_emptied(snapshot_id: str | None) -> str:
    """Say why a build without any symbol waits, and both ways on."""
    return (
        f"{snapshot_id} holds no symbol and CURRENT does, so it is kept, not published, and "
        "CURRENT ages. Is the executor alive, and is the log folder (--logs, EXECINTEL_LOG_DIR, "
        "[[logs]]) the one that it writes to? Mend that and refresh again; if nothing was traded, "
        "execintel refresh --publish publishes it"
    )


def on_lost(snapshot_id: str | None, lost: Mapping[str, tuple[int, int]]) -> str:
    """Say why a build of fewer lines than CURRENT waits, and both ways on."""
    counts = ", ".join(f"{name} {now:,} of {before:,}" for name, (before, now) in lost.items())
    return (
        f"{snapshot_id} is made of fewer lines than CURRENT ({counts}), so it is kept, not "
        "published, and CURRENT ages. Is the lake whole, and its disk mounted? Restore it and "
        "refresh again; if the lines are lost for good, execintel refresh --publish publishes it"
    )


def likely_missing(cause: str | None) -> str:
    """Say what an account's logs probably leave out; a cause of another release as it is."""
    if cause is None:
        return UNKNOWN
    return _MISSING[cause][0] if cause in _MISSING else cause.replace("_", " ")


def mending_missing(cause: str | None) -> str:
    """Say what to do about what the logs leave out; nothing where the cause is not known."""
    return _MISSING[cause][1] if cause in _MISSING else ""


def what_is_missing(cause: str | None) -> str:
    """Say what the logs probably leave out and what to do about it, as one sentence."""
    if cause is None:
        return "What is missing cannot be told"
    mend = mending_missing(cause)
    return f"Probably missing: {likely_missing(cause)}" + (f"; {mend}" if mend else "")


def source_state(status: str, *, required: bool) -> tuple[Level, str]:
    """Return how grave a source's status is, and its words.

    A source that is required needs a person when it is silent or missing; an optional one does not.
    """
    words = f"{status}, required" if required else f"{status}, optional"
    if status == "ok":
        return "ok", words if required else status
    return "bad" if required else "warn", words


# What engines do instead of acting on a decision of the snapshot (live/trading/sizing.py).
_INSTEAD = {
    "size": "trade each target as it is",
    "offset": "quote 2.00 bps from mid",
    "policy": "route as the strategy asks",
}


def only_noted(applied: Collection[str], environment: str) -> str | None:
    """Say which decisions engines of an environment do not act on; None: on all they do."""
    noted = [name for name in _INSTEAD if name not in applied]
    if not noted:
        return None
    instead = _listed([_INSTEAD[name] for name in noted])
    return (
        f"Engines of {environment} only note {_listed(noted)}: they {instead}. EXECINTEL_APPLY "
        "decides that, and is none by default where orders go to a venue."
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def on_status(
    status: str, *, reduces_only: bool = False, acts: bool = True, is_ahead: bool = False
) -> str:
    """Say what engines do by a symbol's reading of this status; raises KeyError of another.

    With ``acts`` False they act on nothing of a snapshot, see only_noted; old ones hold back still.
    ``is_ahead`` is True where a stale one is dated ahead of the clock.
    """
    if status == "ok":
        return "engines act on these values" if acts else "engines only note these values"
    stale = "dated ahead" if is_ahead else "too old"
    why = {"stale": stale, "insufficient": "few samples", "unknown": "not there"}[status]
    if reduces_only:
        by_far = " by far" if status == "stale" else ""
        return f"{why}{by_far}: engines {on_stale(reduces_only=True)}"
    if not acts:
        return f"{why}: engines trade without it"
    if status == "unknown":
        return f"{why}: engines size at most 0.50 and quote at least 2.00 bps"
    return f"{why}: engines {on_stale(reduces_only=False)}"


def text(value: object) -> str:
    """Write a value as one line that a terminal shows and does not obey."""
    return UNKNOWN if value is None else plain(str(value))


def plain(words: str) -> str:
    """Replace control characters, which a log line may hold to steer the reader's terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)


def number(value: float | None, digits: int = 2) -> str:
    """Write a number with thousands separators; unknown is a dash, never 0."""
    if value is None:
        return UNKNOWN
    written = f"{value:,.{digits}f}"
    return written.removeprefix("-") if _is_0(written) else written


def signed(value: float | None, digits: int = 2) -> str:
    """Write a number that is added or moves both ways: what is rounded to 0 has no sign."""
    written = number(value, digits)
    return written if value is None or value <= 0 or _is_0(written) else f"+{written}"


def _is_0(written: str) -> bool:
    return float(written.replace(",", "")) == 0


def guards(capped_by: Iterable[str]) -> str:
    """Say what the guards that limited a size do; those of another release by their names alone."""
    return "; ".join(f"{name}: {_GUARDS[name]}" if name in _GUARDS else name for name in capped_by)


def share(value: float | None) -> str:
    """Write a share of 0 to 1 in percent; its tenths are never rounded up to what is needed."""
    return UNKNOWN if value is None else f"{number(floor(1000 * value + 1e-9) / 10, 1)} %"


def share_range(low: float | None, high: float | None) -> str:
    """Write the bounds of a share; one share where they are equal."""
    if low is None or high is None:
        return UNKNOWN
    return share(low) if share(low) == share(high) else f"{share(low)} to {share(high)}"


def with_n(value: float | None, n: int | None, digits: int = 2) -> str:
    """Write an estimate with the number of samples behind it: 0.98 (397)."""
    return f"{number(value, digits)} ({number(n, 0)})"


def known_of(known_n: int, n: int) -> str:
    """Write of how many samples something is known: 16 of 189."""
    return f"{known_n:,} of {n:,}"


def unknown_of(unknown_n: int | None, n: int | None) -> str:
    """Say of how many samples something is unknown: 3 of 12 unknown; nothing where it is of none.

    Snapshots of earlier releases do not hold these counts.
    """
    return f"{unknown_n:,} of {n:,} unknown" if unknown_n and n is not None else ""


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    if low is None or high is None:
        return UNKNOWN
    return f"{number(low, digits)} to {number(high, digits)}"


def ends(low: float | None, high: float | None, digits: int = 2) -> str:
    """Write an interval each end of which stays on its side of 0.

    An end that is not 0 and would be rounded to 0 is written to its first digit: -0.4 to 150.
    """
    if low is None or high is None:
        return UNKNOWN
    return f"{_end(low, digits)} to {_end(high, digits)}"


def _end(value: float, digits: int) -> str:
    written = number(value, digits)
    return f"{value:.1g}" if value and _is_0(written) else written


def size(count: float) -> str:
    """Write a number of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
