"""What carries queries to a resolver, and the sockets that it does so with."""

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Final

from tunproxy.flow.ports import SocketMaker

Bootstrap = Callable[[str], Awaitable[list[str]]]  # a resolver's own name to its addresses; raises OSError


class Transport(ABC):
    """A way to one resolver. Safe for many exchanges at a time."""

    is_private = False  # nobody on the way can read it

    @abstractmethod
    async def exchange(self, query: bytes) -> bytes:
        """Return the response to query, which has its id and its question.

        Raises OSError or EOFError where the resolver cannot be reached, GarbageError where it sends something
        else. Sets no time limit of its own; may be cancelled.
        """

    async def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close what is open; exchanges under way fail."""


class Endpoint:
    """Where a resolver is: host, an address or a name; port; and address, where it is known beforehand."""

    def __init__(self, host: str, port: int, address: str = "", bootstrap: Bootstrap | None = None) -> None:
        self.host: Final = host
        self.port: Final = port
        self._address: Final = address or (host if is_address(host) else "")
        self._bootstrap: Final = bootstrap

    async def addresses(self) -> list[str]:
        """Return the resolver's addresses, at least one; raises OSError where its name leads to none."""
        if self._address:
            return [self._address]
        found = await self._bootstrap(self.host) if self._bootstrap is not None else []
        if not found:
            raise OSError(f"no address for the resolver {self.host}")
        return found


def is_address(text: str) -> bool:
    """Tell whether text is an IP address, for a link-local one with its interface behind a %."""
    address, _, scope = text.partition("%")
    try:
        socket.inet_pton(family_of(address), address)
    except OSError:
        return False
    return not scope or ":" in address


def family_of(address: str) -> socket.AddressFamily:
    """Return the family of a numeric address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def socket_address(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return what connect() wants; raises OSError for an interface that is not there."""
    address, _, scope = address.partition("%")
    if not scope:
        return address, port
    return address, port, 0, int(scope) if scope.isdigit() else socket.if_nametoindex(scope)


async def connect_udp(sockets: SocketMaker, address: str, port: int) -> socket.socket:
    """Return a UDP socket that takes datagrams of this address and port only, at a random port of ours."""
    family = family_of(address)
    sock = full_socket(sockets.udp(family), family, socket.SOCK_DGRAM)
    try:
        await asyncio.get_running_loop().sock_connect(sock, socket_address(address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def full_socket(bare: socket.socket, family: int, kind: int) -> socket.socket:
    """Return a socket with all that Python's own have, which a SocketMaker's lack."""
    sock = socket.socket(family, kind, fileno=bare.detach())
    sock.setblocking(False)
    return sock
