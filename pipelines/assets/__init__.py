"""Dagster assets, one per table, each about ten lines: call, check, MaterializeResult.

Keep out: SQL, arithmetic and input or output; they stand in features/ and pipelines/intake/.
"""
