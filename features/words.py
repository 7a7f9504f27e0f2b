"""How numbers, times and foreign text are written for people, on terminals and pages alike.

Put here: pure functions from a value to a short text. Keep out: where it is shown.
"""

import datetime as dt

UNKNOWN = "–"


def when(epoch_ms: int | None) -> str:
    if epoch_ms is None:
        return UNKNOWN
    moment = dt.datetime.fromtimestamp(epoch_ms / 1000, tz=dt.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def minute(epoch_ms: int) -> str:
    """Write a time for a column headed UTC."""
    return when(epoch_ms)[:16]


def span(seconds: float | None) -> str:
    """Write a duration in its two largest units: 3 d 4 h, 5 min 2 s."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0:
        return f"-{span(-seconds)}"
    left = round(seconds)
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
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def on_stale(*, reduces_only: bool) -> str:
    """Say what engines do by a snapshot that is too old, or too old by far."""
    if reduces_only:
        return "open nothing and only reduce"
    return "size at most 1.00 and quote at least 2.00 bps"


def on_status(status: str, *, reduces_only: bool = False) -> str:
    """Say what engines do by a symbol's reading of this status; raises KeyError of another."""
    if status == "ok":
        return "engines act on these values"
    why = {"stale": "too old", "insufficient": "few samples", "unknown": "not there"}[status]
    if reduces_only:
        by_far = " by far" if status == "stale" else ""
        return f"{why}{by_far}: engines {on_stale(reduces_only=True)}"
    most = "0.50" if status == "unknown" else "1.00"
    return f"{why}: engines size at most {most} and quote at least 2.00 bps"


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
    return written.removeprefix("-") if float(written.replace(",", "")) == 0 else written


def with_n(value: float | None, n: int | None, digits: int = 2) -> str:
    """Write an estimate with the number of samples behind it: 0.98 (397)."""
    return f"{number(value, digits)} ({number(n, 0)})"


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    if low is None or high is None:
        return UNKNOWN
    return f"{number(low, digits)} to {number(high, digits)}"


def size(count: float) -> str:
    """Write a number of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
