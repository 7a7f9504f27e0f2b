"""Logs to show and to measure with, made from a seed: `generate` and, for volume, `generate_load`.

Put here: the making of logs. Keep out: reading them. Nothing here looks at a clock.
"""

from pipelines.demo.generate import DEMO_END_MS, DemoTruth, generate
from pipelines.demo.load import LoadTruth, append_load, generate_load
from pipelines.demo.market import DEMO_SYMBOLS

__all__ = [
    "DEMO_END_MS",
    "DEMO_SYMBOLS",
    "DemoTruth",
    "LoadTruth",
    "append_load",
    "generate",
    "generate_load",
]
