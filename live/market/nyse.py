"""Days on which US stock exchanges are closed, or close early, by the exchange's own rules.

Put here: the calendar of New York. Keep out: opening hours and what is done at a close
(sessions.py). Source: New York Stock Exchange, Rule 7.2 and "Holidays & Trading Hours"; closings
that no rule tells are listed. Half days are those of the rule in force since 2013.
"""

import datetime as dt
from functools import lru_cache

EARLY_CLOSE = dt.time(13, 0)
_DAY = dt.timedelta(days=1)
_MONDAY, _THURSDAY, _SATURDAY, _SUNDAY = 0, 3, 5, 6
UNSCHEDULED = frozenset(
    dt.date.fromisoformat(day)
    for day in (
        "2001-09-11", "2001-09-12", "2001-09-13", "2001-09-14",  # attacks of 11 September
        "2004-06-11", "2007-01-02", "2018-12-05", "2025-01-09",  # mourning a president
        "2012-10-29", "2012-10-30",  # hurricane
    )
)  # fmt: skip


def is_open(day: dt.date) -> bool:
    """Tell whether the exchange trades on a day."""
    return day.weekday() < _SATURDAY and day not in holidays(day.year)


def closes_early(day: dt.date) -> bool:
    """Tell whether an open day ends at ``EARLY_CLOSE``.

    They are 3 July, the day after Thanksgiving, and 24 December, where the exchange is open.
    """
    is_eve = (day.month, day.day) in ((7, 3), (12, 24))
    return is_open(day) and (is_eve or day - _DAY == _nth(day.year, 11, _THURSDAY, 4))


@lru_cache(maxsize=64)
def holidays(year: int) -> frozenset[dt.date]:
    """Return the weekdays of a year on which the exchange is closed."""
    fixed = [dt.date(year, 7, 4), dt.date(year, 12, 25)]
    if year >= 2022:
        fixed.append(dt.date(year, 6, 19))
    found = {_observed(day) for day in fixed}
    new_year = dt.date(year, 1, 1)
    if new_year.weekday() != _SATURDAY:  # the Friday before ends a year's books
        found.add(_observed(new_year))
    found |= {
        _nth(year, 1, _MONDAY, 3),  # Martin Luther King, since 1998
        _nth(year, 2, _MONDAY, 3),  # Washington's birthday
        easter(year) - 2 * _DAY,
        _nth(year, 6, _MONDAY, 1) - 7 * _DAY,  # the last Monday of May
        _nth(year, 9, _MONDAY, 1),
        _nth(year, 11, _THURSDAY, 4),
    }
    return frozenset(found | {day for day in UNSCHEDULED if day.year == year})


def easter(year: int) -> dt.date:
    """Return Easter Sunday of the Gregorian calendar (Butcher's algorithm)."""
    golden, century, of_century = year % 19, year // 100, year % 100
    shift = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - century // 4 - shift + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (of_century // 4) - epact - of_century % 4) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return dt.date(year, month, day + 1)


def _observed(day: dt.date) -> dt.date:
    """Return the weekday on which a holiday is kept: Friday for Saturday, Monday for Sunday."""
    if day.weekday() == _SATURDAY:
        return day - _DAY
    return day + _DAY if day.weekday() == _SUNDAY else day


def _nth(year: int, month: int, weekday: int, n: int) -> dt.date:
    """Return the n-th such weekday of a month."""
    first = dt.date(year, month, 1)
    return first + ((weekday - first.weekday()) % 7 + 7 * (n - 1)) * _DAY
