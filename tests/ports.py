"""Ports of this machine for servers that are told theirs: nobody takes one before it is bound.

Put here: choosing. Keep out: servers. A port that the kernel chose for a moment is one that it may
give to any connection, and to the next who asks, in the seconds until the server has begun.
"""

import itertools
import os
import socket

_HOST = "127.0.0.1"
# Below what kernels give to connections (from 32,768 on Linux, 49,152 elsewhere). Workers of a run
# have numbers that follow one another, so each has ports of its own.
_FIRST, _COUNT, _EACH = 20_000, 12_000, 64
_steps = itertools.count()


def free_port() -> int:
    """Return a port that nobody listens on, another one at every call of this process."""
    for step in _steps:
        port = _FIRST + (os.getpid() * _EACH + step) % _COUNT
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue  # somebody's
        return port
    raise AssertionError("there is always another step")
