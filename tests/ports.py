"""Ports to listen on."""

import socket
from contextlib import closing


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])
