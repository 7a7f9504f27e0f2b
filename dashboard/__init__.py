"""The pages: they read the newest snapshot, show it with its age and n, and compute nothing.

Put here: what a person looks at. Keep out: any number's definition (features/sql).
"""
