"""A venue's own exports as reference: read by a mapping file, held against the logs line by line.

Put here: reading.py (CSV to entries), matching.py (entries against log items), and one TOML file
a venue. Keep out: where the logs' items come from (commands/reconcile.py).
"""
