"""Ends a supervisor that has begun, as whoever has started it would, and no earlier."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_when_ready() -> Iterator[socket.socket]:
    """Have SIGTERM sent to this process when it says that it serves; yield what the service manager hears.

    A worker that sent it itself might do so before the supervisor has heard of it, which then never serves.
    For a network namespace of the test's own.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0tunproxy-test")
        os.environ["NOTIFY_SOCKET"] = "@tunproxy-test"
        supervisor, pid = os.getpid(), os.fork()
        if pid == 0:
            try:
                manager.settimeout(60)
                manager.recv(1, socket.MSG_PEEK)
                os.kill(supervisor, signal.SIGTERM)
            finally:
                os._exit(0)
        yield manager
        os.waitpid(pid, 0)
