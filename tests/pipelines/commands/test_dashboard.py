"""`execintel dashboard`: what keeps pages from being served is told before anything starts."""

import re
import socket

from dashboard.__main__ import HOST
from pipelines.commands import dashboard
from tests.pipelines.commands.desk import Desk
from tests.ports import free_port


def test_a_port_in_use_names_another_that_is_free(desk: Desk) -> None:
    port = free_port()
    with socket.socket() as server, socket.socket() as beside:
        server.bind((HOST, port))
        server.listen()
        if dashboard._trouble(port + 1) is None:
            beside.bind((HOST, port + 1))
            beside.listen()
        result = desk.run("dashboard", "--port", str(port))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"port {port} on {HOST} cannot be used (Address already in use): stop what" in (
        result.stderr
    )
    named = re.search(r"such as execintel dashboard --port (\d+)$", result.stderr.strip())
    assert named is not None
    assert int(named[1]) > port + 1  # that one was taken, too
    assert dashboard._trouble(int(named[1])) is None


def test_it_asks_where_the_pages_are_served() -> None:
    assert dashboard.HOST == HOST
