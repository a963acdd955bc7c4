"""DNS over UDP: a socket for each query, so that id and source port are random (RFC 5452 §9)."""

import asyncio
import socket
from typing import Final

from tunproxy.dns.answers import GarbageError
from tunproxy.dns.message import MAX_MESSAGE, is_answer_to
from tunproxy.dns.own import OwnQueries
from tunproxy.dns.transport import Endpoint, Transport, connect_udp
from tunproxy.flow.ports import SocketMaker

# our choice: responses to something else, which anybody can send who guesses our port
MAX_STRAY: Final = 16


class UdpTransport(Transport):
    """Sends one datagram, and takes the first response to it that comes back from where it went.

    own knows the query meanwhile.
    """

    def __init__(self, sockets: SocketMaker, endpoint: Endpoint, own: OwnQueries | None = None) -> None:
        self._own: Final = own if own is not None else OwnQueries()
        self._sockets: Final = sockets
        self._endpoint: Final = endpoint

    async def exchange(self, query: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        sock = await self._connect()
        with sock, self._own.sent(query):
            await loop.sock_sendall(sock, query)
            for _ in range(MAX_STRAY):
                wire = await loop.sock_recv(sock, MAX_MESSAGE)
                if is_answer_to(query, wire):
                    return wire
                if wire[:2] == query[:2]:  # from somebody who has seen the query
                    break
        raise GarbageError(f"it sent {len(wire)} octets that are no response to the query")

    async def _connect(self) -> socket.socket:
        """Return a socket to the first of the resolver's addresses that there is a route to."""
        last: OSError | None = None
        for address in await self._endpoint.addresses():
            try:
                return await connect_udp(self._sockets, address, self._endpoint.port)
            except OSError as error:
                last = error
        raise last or OSError(f"no address for the resolver {self._endpoint.host}")
