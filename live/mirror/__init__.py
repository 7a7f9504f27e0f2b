"""Snapshots in Firestore: the documents, how they get there whole, and how they are read again.

Put here: all that knows Firestore, but for live.firestore_mirror, which keeps its v5.10 name. Keep
out: the order path, which never waits for a mirror.
"""
