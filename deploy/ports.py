"""Free TCP ports on this machine's loopback interface.

A port that is free now may be taken before a server binds it; whoever asks must be ready to ask
again. Ports below 32768 are handed out, out of the way of outgoing connections.
"""

import random
import socket

HOST = "127.0.0.1"
LOWEST, HIGHEST = 10_240, 32_767


def is_free(port: int) -> bool:
    """Whether a server could bind the port now."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int = 1, partner: int = 0) -> int:
    """The first of `count` consecutive free ports; each port + `partner` is free as well.

    Raises OSError where none is found.
    """
    for _ in range(1000):
        first = random.randint(LOWEST, HIGHEST - partner - count)
        wanted = range(first, first + count)
        if all(is_free(port) and is_free(port + partner) for port in wanted):
            return first
    raise OSError("no free ports")


def listen(port: int) -> socket.socket:
    """A listening socket on the port (0 = any free one). Raises OSError where it is taken."""
    listener = socket.socket()
    try:
        # A port whose last connections are still winding down counts as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener
