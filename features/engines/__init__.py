"""Engines that run the SQL files: DuckDB is the default.

Put here: connection, registration and execution.
Keep out: which tables there are (catalog.py, build.py).
"""
