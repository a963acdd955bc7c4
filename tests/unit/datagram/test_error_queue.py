"""The error queue of real sockets."""

import errno
import socket
import struct

from tests.unit.datagram.world import Sockets, needs_ipv6
from tests.unit.wire.frames import packed
from tunproxy.datagram.error_queue import FROM_ICMP, FROM_ICMP6, QueuedError, read_error


def refused(host: str) -> tuple[socket.socket, int]:
    """Return a socket that has sent to a closed port of host, and the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as other:
        other.bind((host, 0))
        port = other.getsockname()[1]
    sock = Sockets().udp(family)
    sock.sendto(b"anybody?", (host, port))
    return sock, port


def test_refused_datagram_is_reported() -> None:
    sock, port = refused("127.0.0.1")
    with sock:
        error = read_error(sock)
        assert error is not None
        assert (error.errno, error.origin, error.kind, error.code) == (errno.ECONNREFUSED, FROM_ICMP, 3, 3)
        assert (error.host, error.port, error.payload) == ("127.0.0.1", port, b"anybody?")
        assert error.reporter == packed("127.0.0.1")
        assert read_error(sock) is None


@needs_ipv6
def test_refused_datagram_is_reported_ipv6() -> None:
    sock, port = refused("::1")
    with sock:
        error = read_error(sock)
        assert error is not None
        assert (error.errno, error.origin, error.kind, error.code) == (errno.ECONNREFUSED, FROM_ICMP6, 1, 4)
        assert (error.host, error.port, error.payload) == ("::1", port, b"anybody?")
        assert error.reporter == packed("::1")


def test_report_without_a_reporter_has_none() -> None:
    error = QueuedError(struct.pack("<IBBBxII", 90, 1, 0, 0, 1400, 0), "192.0.2.1", 1, b"")
    assert (error.errno, error.info, error.reporter) == (90, 1400, b"")
    error = QueuedError(struct.pack("<IBBBxIIHH", 90, 1, 0, 0, 1400, 0, 0, 0), "192.0.2.1", 1, b"")
    assert error.reporter == b""
