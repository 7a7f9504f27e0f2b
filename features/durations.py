"""Lengths of time in milliseconds, as all times of the lake are.

Put here: those that several modules count by. Keep out: limits of one of them.
"""

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FOREVER_MS = 1 << 53  # before and behind every moment
