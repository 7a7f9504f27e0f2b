"""Logs to show, made from a seed.

Put here: the making of logs. Keep out: reading them. Nothing here looks at a clock.
"""

from pipelines.demo.generate import DEMO_END_MS, DemoTruth, generate
from pipelines.demo.market import DEMO_SYMBOLS

__all__ = [
    "DEMO_END_MS",
    "DEMO_SYMBOLS",
    "DemoTruth",
    "generate",
]
