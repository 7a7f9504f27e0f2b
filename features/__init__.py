"""What the numbers are: SQL-file tables, their checks, and the snapshots that carry them.

Put here: pure functions of inputs, parameters and a time.
Keep out: Dagster, clocks, the environment, pages.
"""
