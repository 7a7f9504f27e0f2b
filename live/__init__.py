"""The order path: what a trading engine reads from the published snapshot, in microseconds.

Put here: reading snapshots and deciding with them. Keep out: computing tables (features/),
schedules (pipelines/), pages.
"""
