"""How much memory a process held.

Put here: reading it. Keep out: what is measured.
"""

import resource
from pathlib import Path


def peak_mb() -> float:
    """Return the most memory this process held, MB; ru_maxrss would begin with the parent's."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
