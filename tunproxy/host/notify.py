"""Telling the service manager how far we are (sd_notify(3)), where one has started us and asked for that.

NOTIFY_SOCKET    a datagram socket: a path, or with @ in front an abstract name
WATCHDOG_USEC    within how many microseconds it wants to hear that we are well, and
WATCHDOG_PID     from which process (sd_watchdog_enabled(3))
"""

import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Final

VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
MAX_STATUS: Final = 1000  # our choice, in characters: it is one line of `systemctl status`


def notify(state: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send a state, such as ``READY=1``; return whether anybody was told. Never raises, never waits."""
    path = environment.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
            sock.send(state.encode())
    except (OSError, ValueError):  # ValueError: a path with a null octet in it
        return False
    return True


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """Return within how many seconds the service manager wants to hear of this process; 0: it does not."""
    usec = environment.get("WATCHDOG_USEC", "")
    pid = environment.get("WATCHDOG_PID", str(os.getpid()))
    if not (usec.isascii() and usec.isdigit()) or pid != str(os.getpid()):
        return 0.0
    return int(usec) / 1_000_000


class ServiceManager:
    """Whoever started this process as a service; without one, nobody listens, and nothing happens."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment: Final = {name: environment[name] for name in VARIABLES if name in environment}
        self.watchdog_seconds: Final = watchdog_seconds(self._environment)
        self.is_reloading = False

    def ready(self, status: str) -> None:
        """Say that we serve: after the start, or after a reload, however that went."""
        self.is_reloading = False
        self._tell("READY=1", _status(status))

    def reloading(self) -> None:
        """Say that we read our configuration again, until ``ready``."""
        self.is_reloading = True
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Say that we are about to end."""
        self._tell("STOPPING=1", _status(status))

    def alive(self) -> None:
        """Say that we are well; wanted every ``watchdog_seconds`` where that is not 0."""
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        notify("\n".join(lines), self._environment)


def take_service_manager(environment: MutableMapping[str, str] = os.environ) -> ServiceManager:
    """Return the service manager that environment names, and forget it there: no child speaks for us."""
    found = ServiceManager(environment)
    for name in VARIABLES:
        environment.pop(name, None)
    return found


def _status(text: str) -> str:
    """Return the assignment that shows text; what has several lines becomes one."""
    return f"STATUS={' '.join(text.split())[:MAX_STATUS]}"
