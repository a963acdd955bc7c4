"""A network in which there is nobody but those whom a test puts there."""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from tunproxy.testkit.flows import split
from tunproxy.testkit.script import Script
from tunproxy.upstream.base import Dialer

GRACE_SECONDS: Final = 1.0  # our choice: what servers get to hear the last words, mostly on a virtual clock

Server = Callable[[socket.socket], Awaitable[None]]


class SimulatedNetwork(Dialer):
    """A dialer whose connections end at servers of the test. Nothing leaves the process.

    What nobody serves is unreachable; TCP and UDP have servers of their own. dialled has all that was
    asked for, as ``host:port``.
    """

    def __init__(self) -> None:
        self.dialled: Final[list[str]] = []
        self._servers: Final[dict[tuple[str, int], Server]] = {}
        self._datagram_servers: Final[dict[tuple[str, int], Server]] = {}
        self._errors: Final[dict[tuple[str, int], int]] = {}
        self._tasks: Final[list[asyncio.Task[None]]] = []

    def serve(self, place: str, server: Script | Server) -> None:
        """Have a server at ``host:port``: a Script, or a coroutine function that gets a connected socket."""
        self._servers[_place(place)] = server.perform if isinstance(server, Script) else server

    def serve_datagrams(self, place: str, server: Server) -> None:
        """Have a UDP server at ``host:port``; each who connects has one to himself."""
        self._datagram_servers[_place(place)] = server

    def refuse(self, place: str, error: int = errno.ECONNREFUSED) -> None:
        """Have connections to ``host:port`` fail with this errno."""
        self._errors[_place(place)] = error

    async def connect(self, host: str, port: int) -> socket.socket:
        return await self._connect(host, port, self._servers, socket.SOCK_STREAM)

    async def connect_datagrams(self, host: str, port: int) -> socket.socket:
        return await self._connect(host, port, self._datagram_servers, socket.SOCK_DGRAM)

    async def _connect(
        self, host: str, port: int, servers: Mapping[tuple[str, int], Server], kind: int
    ) -> socket.socket:
        self.dialled.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        await asyncio.sleep(0)
        server = servers.get((host, port))
        error = self._errors.get((host, port), 0 if server else errno.EHOSTUNREACH)
        if server is None or error:
            raise OSError(error, f"{os.strerror(error)}: {self.dialled[-1]}")
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        for sock in (ours, theirs):
            sock.setblocking(False)
        self._tasks.append(asyncio.get_running_loop().create_task(_host(server, theirs)))
        return ours

    async def close(self) -> None:
        """End all servers; raises what the first of them raised, such as a script's AssertionError."""
        tasks = list(self._tasks)
        self._tasks.clear()
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, BaseException) and not isinstance(
                ended, (asyncio.CancelledError, ConnectionError)
            ):
                raise ended


async def _host(server: Server, sock: socket.socket) -> None:
    with sock:
        await server(sock)


def _place(text: str) -> tuple[str, int]:
    host, port = split(text)
    if port is None:
        raise ValueError(f"{text!r} has no port")
    return host, port
