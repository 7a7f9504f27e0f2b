"""Who runs this: the name under which publications, switches and acknowledgements are written down.

Put here: naming the account and the process. Keep out: who may do what.
"""

import getpass
import os
import socket


def user() -> str:
    """Name the account; by its number where it has no name, as in a container run with --user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the first before Python 3.13
        return f"uid {os.getuid()}"


def operator() -> str:
    """Name who runs this: user, host and process."""
    return f"{user()}@{socket.gethostname()} pid {os.getpid()}"
