"""A process that trades on paper until it is killed; started by test_journal.py.

Put here: what the child does. Keep out: expectations. Arguments: root, seed, bars, home of faults.
"""

import sys
import time
from pathlib import Path

from tests.live.trading import Desk, Restless, walk


def main(root: str, seed: str, bars: str, pause_s: str) -> None:
    """Trade ``bars`` bars; the minute in which an earlier process was killed is not replayed."""
    desk = Desk(Path(root), Restless(int(seed), rate=0.6))
    print("trading", flush=True)
    for one in walk(int(seed), int(bars)):
        desk.engine.on_bar(one)
        time.sleep(float(pause_s))
    desk.engine.close()
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
