"""Connects what upstreams ask for, on an asyncio loop, with sockets that never come back into the device."""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from tunproxy import clock
from tunproxy.flow.ports import SocketMaker
from tunproxy.upstream.base import Dialer


class AsyncDialer(Dialer):
    """Connects the sockets of a SocketMaker on an asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sockets: SocketMaker) -> None:
        self._loop: Final = loop
        self._sockets: Final = sockets

    async def connect(self, host: str, port: int) -> socket.socket:
        error = OSError(errno.EHOSTUNREACH, f"no address for {host!r}")
        for family, address in await self._addresses(host, port):
            sock = self._socket(family)
            try:
                await self._loop.sock_connect(sock, address)
                return sock
            except OSError as failure:
                sock.close()
                error = _in_words(failure)
            except BaseException:
                sock.close()
                raise
        raise error

    async def connect_datagrams(self, host: str, port: int) -> socket.socket:
        error = OSError(errno.EHOSTUNREACH, f"no address for {host!r}")
        for family, address in await self._addresses(host, port):
            bare = self._sockets.udp(family)
            sock = socket.socket(family, socket.SOCK_DGRAM, fileno=bare.detach())
            sock.setblocking(False)
            try:
                sock.connect(address)
                return sock
            except OSError as failure:
                sock.close()
                error = failure
        raise error

    async def _addresses(self, host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                socket.inet_pton(family, host)
            except OSError:
                continue
            return [(family, (host, port))]
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(family, (str(address[0]), port)) for family, _, _, _, address in found]

    def _socket(self, family: int) -> socket.socket:
        """Return a socket with all that Python's own have, which a SocketMaker's lack."""
        bare = self._sockets.tcp(family)
        sock = socket.socket(family, socket.SOCK_STREAM, fileno=bare.detach())
        sock.setblocking(False)
        return sock


def _in_words(error: OSError) -> OSError:
    """Return asyncio's error with what is wrong in its words, where it had the address."""
    return OSError(error.errno, os.strerror(error.errno).lower()) if error.errno else error


class NotingDialer(Dialer):
    """Does what dialer does, and tells of each attempt: where, microseconds, what went wrong or ""."""

    def __init__(self, dialer: Dialer, tell: Callable[[str, int, str], None]) -> None:
        self._dialer: Final = dialer
        self._tell: Final = tell

    async def connect(self, host: str, port: int) -> socket.socket:
        return await self._noted(host, port, self._dialer.connect(host, port))

    async def connect_datagrams(self, host: str, port: int) -> socket.socket:
        return await self._noted(host, port, self._dialer.connect_datagrams(host, port))

    async def _noted(self, host: str, port: int, trying: Awaitable[socket.socket]) -> socket.socket:
        began_at = clock.now()
        failure = "given up"
        try:
            sock = await trying
            failure = ""
            return sock
        except OSError as error:
            failure = os.strerror(error.errno).lower() if error.errno else str(error)
            raise
        finally:
            place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self._tell(place, int(clock.now() - began_at), failure)
