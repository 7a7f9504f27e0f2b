"""`python -m dashboard`, what `execintel dashboard` starts: a server whose imports are done.

Put here: checking the flags before a server stands, and starting it. Keep out: what they mean
(settings.py). `streamlit run dashboard/app.py -- …` does the same, its first page comes later.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboard import settings
from features.setting_faults import BadSettingError

HOST = "127.0.0.1"
# What the first page would wait for.
_WAITED_FOR = ("altair", "polars", "dashboard.session", "dashboard.views.overview",
               "dashboard.views.intel", "dashboard.views.health")  # fmt: skip


def command(words: Sequence[str], *, port: int | None = None) -> list[str]:
    """Return the arguments of streamlit that serve the pages on loopback."""
    app = Path(__file__).with_name("app.py")
    return [
        *("streamlit", "run", str(app), "--server.address", HOST),
        *(() if port is None else ("--server.port", str(port))),
        *("--browser.gatherUsageStats", "false", "--", *words),
    ]


def main(argv: Sequence[str]) -> int:
    """Serve the pages until stopped; 2 and one line on stderr where a flag or setting is bad."""
    own = argparse.ArgumentParser(
        prog="python -m dashboard", parents=[settings.parser()], description=__doc__
    )
    own.add_argument("--port", type=int, help="port on this machine; without it Streamlit's")
    ports = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    ports.add_argument("--port", type=int)
    if {"-h", "--help"} & set(argv):
        own.parse_args(argv)
    mine, words = ports.parse_known_args(argv)
    try:
        settings.load(words)
    except BadSettingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    os.environ.setdefault("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false")
    for name in _WAITED_FOR:
        importlib.import_module(name)
    from streamlit.web import cli

    sys.argv = command(words, port=mine.port)
    cli.main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
