"""The one place where sockets of the packet path are made, so that none ever comes back into the device."""

import errno
import socket
from _socket import socket as raw_socket  # without the wrapper's interpreted code: once per connection
from typing import Final, cast, final

from mypy_extensions import mypyc_attr

from tunproxy.flow.ports import SocketMaker

_STREAM: Final = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
_DATAGRAM: Final = int(socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

# constants of ours cost nothing, attributes of a module a look-up
_SOL_SOCKET: Final = int(socket.SOL_SOCKET)
_SO_OOBINLINE: Final = int(socket.SO_OOBINLINE)
_SO_MARK: Final = int(socket.SO_MARK)
_SO_BINDTODEVICE: Final = int(socket.SO_BINDTODEVICE)

# linux/udp.h, linux/in.h, linux/in6.h: not in every Python's socket module
_SOL_UDP: Final = 17
_UDP_GRO: Final = 104
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_INET6: Final = int(socket.AF_INET6)

# our choice: room for the bursts of a GSO sender; the kernel caps it at net.core.[rw]mem_max
_UDP_BUFFER: Final = 4 << 20


@final
@mypyc_attr(native_class=True)
class KernelSockets(SocketMaker):
    """Sockets that carry the mark, or are bound to the interface, that keeps them out of the device.

    mark 0 and interface "" leave them as they are (the worker's user keeps them out then). The sockets are
    of the socket module's inner kind, which has all the methods but is no context manager.
    """

    def __init__(self, mark: int, interface: str) -> None:
        self._mark: Final = mark
        self._interface: Final = interface.encode()

    def tcp(self, family: int) -> socket.socket:
        sock = raw_socket(family, _STREAM, 0)
        sock.setsockopt(_SOL_SOCKET, _SO_OOBINLINE, 1)  # urgent data stays in its place in the stream
        return self._kept_out(sock)

    def udp(self, family: int) -> socket.socket:
        sock = raw_socket(family, _DATAGRAM, 0)
        _report_errors(sock, family)
        try:
            sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        except OSError as error:  # before Linux 5.0
            if error.errno != errno.ENOPROTOOPT:
                raise
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UDP_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UDP_BUFFER)
        return self._kept_out(sock)

    def ping(self, family: int) -> socket.socket:
        protocol = socket.IPPROTO_ICMPV6 if family == _INET6 else socket.IPPROTO_ICMP
        sock = raw_socket(family, _DATAGRAM, protocol)
        _report_errors(sock, family)
        return self._kept_out(sock)

    def _kept_out(self, sock: raw_socket) -> socket.socket:
        if self._mark:
            sock.setsockopt(_SOL_SOCKET, _SO_MARK, self._mark)
        if self._interface:
            sock.setsockopt(_SOL_SOCKET, _SO_BINDTODEVICE, self._interface)
        return cast(socket.socket, sock)


def _report_errors(sock: raw_socket, family: int) -> None:
    """Have ICMP errors come back on the socket's error queue, with the address they are about."""
    if family == _INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
