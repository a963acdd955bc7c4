"""What coroutines of upstreams answered, examined before the packet path uses it; closed where it is in vain.

Plugins write these coroutines: whatever they return, nothing but a sentence about it may come of it.
"""

import asyncio
import errno
import os
import socket
import ssl
from _socket import socket as raw_socket  # what socket.socket extends, and all that a flow needs

from tunproxy.flow.codec import Codec
from tunproxy.flow.framing import Framing
from tunproxy.flow.seal import Seal
from tunproxy.flow.stream_framing import StreamFraming
from tunproxy.upstream.base import Opened
from tunproxy.upstream.datagrams import DatagramStream, DatagramWay


def socket_in(answer: object) -> socket.socket:
    """Return answer if it is a socket; raises TypeError."""
    if not isinstance(answer, raw_socket):
        raise TypeError(f"open() returned {answer!r}, not a socket")
    return answer  # type: ignore[return-value]  # a raw socket does for a flow


def check_stream(opened: Opened, loop: asyncio.AbstractEventLoop) -> None:
    """Raise TypeError or ValueError, saying why, if a flow cannot use what was opened."""
    sock = socket_in(opened.sock)
    if sock.type != socket.SOCK_STREAM or isinstance(sock, ssl.SSLSocket):
        raise ValueError(f"open() returned {sock!r}, not a plain stream")
    if sock.gettimeout() != 0:
        raise ValueError("open() returned a blocking socket (setblocking(False))")
    if not isinstance(opened.rest, bytes):
        raise TypeError(f"open() returned {opened.rest!r} as octets of the target")
    if opened.codec is not None and not isinstance(opened.codec, Codec):
        raise TypeError(f"open() returned {opened.codec!r} as codec")
    try:
        sock.getpeername()
    except OSError as error:
        own = sock.getsockname()
        if isinstance(own, tuple) and own[1]:  # it was: some proxies say yes before they know, and reset then
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from error
        raise ValueError(f"open() returned a socket that is not connected: {error}") from error
    try:
        loop.remove_reader(sock.fileno())
        loop.remove_writer(sock.fileno())
    except RuntimeError as error:
        raise ValueError("open() returned a socket that an asyncio transport uses") from error


def discard_stream(answer: object) -> None:
    """Close what was returned in vain, where it is, or holds, a socket."""
    sock = answer.sock if isinstance(answer, Opened) else answer
    if isinstance(sock, raw_socket):
        sock.close()


def check_way(answer: object, is_per_target: bool) -> None:
    """Raise TypeError or ValueError, saying why, if the packet path cannot use what was opened."""
    if isinstance(answer, DatagramStream) and is_per_target:
        if not isinstance(answer.framing, StreamFraming):
            raise TypeError(f"open_datagrams() returned {answer.framing!r} as framing")
        if not isinstance(answer.rest, bytes):
            raise TypeError(f"open_datagrams() returned {answer.rest!r} as octets of the proxy")
        if answer.codec is not None and not isinstance(answer.codec, Codec):
            raise TypeError(f"open_datagrams() returned {answer.codec!r} as codec")
        _check_socket(answer.sock, socket.SOCK_STREAM, "a plain stream")
        return
    if not isinstance(answer, DatagramWay) or is_per_target:
        wanted = "DatagramStream" if is_per_target else "DatagramWay"
        raise TypeError(f"open_datagrams() returned {answer!r}, not a {wanted}")
    if not isinstance(answer.framing, Framing):
        raise TypeError(f"open_datagrams() returned {answer.framing!r} as framing")
    if answer.seal is not None and not isinstance(answer.seal, Seal):
        raise TypeError(f"open_datagrams() returned {answer.seal!r} as seal")
    if answer.control is not None and answer.control.gettimeout() != 0:
        raise ValueError("open_datagrams() returned a blocking stream (setblocking(False))")
    _check_socket(answer.sock, socket.SOCK_DGRAM, "a UDP socket")


def _check_socket(sock: object, kind: int, wanted: str) -> None:
    if not isinstance(sock, raw_socket) or sock.type != kind or isinstance(sock, ssl.SSLSocket):
        raise ValueError(f"open_datagrams() returned {sock!r}, not {wanted}")
    if sock.gettimeout() != 0:
        raise ValueError("open_datagrams() returned a blocking socket (setblocking(False))")
    try:
        sock.getpeername()
    except OSError as error:
        raise ValueError(f"open_datagrams() returned a socket that is not connected: {error}") from error


def discard_way(answer: object) -> None:
    """Close what was returned in vain."""
    if isinstance(answer, (DatagramWay, DatagramStream)):
        control = answer.control if isinstance(answer, DatagramWay) else None
        for sock in (answer.sock, control):
            if isinstance(sock, raw_socket):
                sock.close()
