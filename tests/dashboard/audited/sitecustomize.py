"""Python loads this at its start in a process whose PYTHONPATH names the folder: it writes down
every address that the process asks for or connects to, in the file of EXECINTEL_TEST_AUDIT."""

import os
import sys
from typing import Any

_EVENTS = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")
_file = os.open(os.environ["EXECINTEL_TEST_AUDIT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def _write_down(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _EVENTS:
        asked = arguments[1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        os.write(_file, f"{event} {asked!r}\n".encode())


sys.addaudithook(_write_down)
