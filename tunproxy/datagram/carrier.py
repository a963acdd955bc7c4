"""What the datagrams of a path go through: a socket of ours, a way through a proxy, or a place to wait.

The table sees no difference, so that finding a path is all that it has to do for a datagram.
"""

import socket
from collections.abc import Callable
from typing import Final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.path import Path
from tunproxy.datagram.room import Guest

SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103  # linux/udp.h

# our choices
ANY_UNIT: Final[i64] = 65_536
MAX_PATHS: Final[i64] = 1024  # targets and peers of one carrier that are remembered


@mypyc_attr(native_class=True)
class Carrier(Guest):
    """Has paths, by what their upstream end is called; key is unlike that of any other guest."""

    def __init__(self, key: bytes, client: bytes, limit: Micros, now: Micros) -> None:
        super().__init__(key, client, limit, now)
        self.paths: Final[dict[bytes, Path]] = {}
        self.is_open: bool = True  # datagrams go on at once
        self.segment: i64 = 0  # the socket's UDP_SEGMENT
        self.max_unit: i64 = ANY_UNIT  # largest datagrams that the kernel cuts for us

    def heir(self, path: Path) -> Path | None:
        """Return where datagrams of path go on: itself, or what came in its place; None for nowhere."""
        return path

    def flush(self, path: Path, now: Micros) -> None:
        """Send what path has gathered."""
        raise NotImplementedError

    def send(
        self, path: Path, payload: bytes | memoryview, size: i64, unit: i64, traits: i64, now: Micros
    ) -> None:
        """Send payload, which has size octets, as datagrams of unit octets, or as one datagram for unit 0."""
        raise NotImplementedError

    def has_no_way(self, is_here: Callable[[str], bool]) -> bool:
        """Tell whether what it sends through is bound to what is gone (``flow.leaving``)."""
        return False

    def close(self) -> None:
        """Leave, and forget all paths; what waits to be sent is not."""
        raise NotImplementedError

    def set_segment(self, sock: socket.socket, unit: i64) -> bool:
        """Set the size at which the kernel cuts what we send, 0 for none; return whether it can do that."""
        try:
            sock.setsockopt(SOL_UDP, UDP_SEGMENT, int(unit))
        except OSError:  # before Linux 4.18
            self.max_unit = 0
            return False
        self.segment = unit
        return True


def count_datagrams(size: i64, unit: i64) -> i64:
    """Return how many datagrams size octets are, cut every unit octets; unit 0 stands for one datagram."""
    return max((size + unit - 1) // unit, 1) if unit > 0 else 1
