"""Measurements against what a desk would use instead, as ratios within one run.

Put here: one module a subject with main(argv). Keep out: tests (tests/test_benchmarks.py runs these
with tiny sizes) and thresholds: a benchmark reports, it does not judge.
"""
