"""Ports of loopback for servers that tests start."""

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """Below the ports that the kernel gives away: nobody else gets it before its server binds it."""
    while True:
        port = random.SystemRandom().randint(20_000, 32_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
