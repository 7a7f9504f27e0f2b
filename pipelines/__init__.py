"""Everything that runs on a schedule or by command: intake, refresh, Dagster, the command line.

Put here: files, clocks, processes and the order of steps.
Keep out: what a number means (features/).
"""
