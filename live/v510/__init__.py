"""Behind live.intel: the rules of the v5.10 release, and snapshots as answers to its calls.

Put here: one module per kind of answer. Keep out: the calls themselves (live.intel).
"""
