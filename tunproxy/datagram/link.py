"""What is behind an open way through a proxy: how datagrams get there, and what comes back.

    SocketLink   a connected UDP socket; a header in front of each datagram
    SealedLink   the same, each datagram as a whole sealed
    StreamLink   a stream to the proxy for one target, datagrams in it one behind the other

A link does what its carrier tells it; the carrier knows when there is one, and what becomes of paths.
"""

import socket
from collections.abc import Callable

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.path import Path
from tunproxy.flow.ports import Descriptor


@mypyc_attr(native_class=True)
class Link(Descriptor):
    """Sends the datagrams of a way's paths, and brings what arrives to the client."""

    def begin(self, now: Micros) -> None:
        """Watch the descriptor from now on."""
        raise NotImplementedError

    def add(self, path: Path) -> None:
        """Take note of a path whose datagrams come."""
        raise NotImplementedError

    def send_one(self, path: Path, payload: bytes, now: Micros) -> None:
        """Send one datagram; tell the client if that cannot be."""
        raise NotImplementedError

    def send_several(self, path: Path, pieces: list[bytes | memoryview], unit: i64, now: Micros) -> None:
        """Send datagrams of unit octets, the last of which may be shorter, in as few calls as possible."""
        raise NotImplementedError

    def has_no_way(self, is_here: Callable[[str], bool]) -> bool:
        """Tell whether the descriptor is bound to what is gone (``flow.leaving``)."""
        raise NotImplementedError

    def outer_socket(self) -> socket.socket:
        """Return what leads to the proxy; it stays whose it is."""
        raise NotImplementedError

    def close(self) -> None:
        """Watch it no longer; whoever opened the descriptor closes it."""
        raise NotImplementedError
