"""The order path and the trading engine: what reads the published snapshot, and what trades by it.

Put here: the entries by which others come in (reader, intel, engine, run, backtest, telemetry,
firestore_mirror). Keep out: computing tables (features/), schedules (pipelines/), pages.
"""
