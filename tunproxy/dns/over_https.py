"""DNS over HTTPS (RFC 8484), with POST on connections that stay open.

aiohttp speaks HTTP/1.1. It gets its sockets from us, and the resolver's addresses too, so that it looks up
nothing and connects to nobody by itself.
"""

import socket
import ssl
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tunproxy.dns.answers import GarbageError
from tunproxy.dns.message import MAX_MESSAGE, is_answer_to
from tunproxy.dns.transport import Endpoint, Transport, family_of, full_socket
from tunproxy.flow.ports import SocketMaker

_TYPE: Final = "application/dns-message"
_MAX_CONNECTIONS: Final = 8  # our choice: HTTP/1.1 answers one query at a time on each


class HttpsTransport(Transport):
    """Posts queries to url, whose host is endpoint's."""

    is_private = True

    def __init__(self, sockets: SocketMaker, endpoint: Endpoint, url: str, context: ssl.SSLContext) -> None:
        self._sockets: Final = sockets
        self._endpoint: Final = endpoint
        self._url: Final = url
        self._context: Final = context
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, query: bytes) -> bytes:
        if self._session is None:  # within the loop
            self._session = self._open()
        sent = b"\0\0" + query[2:]  # RFC 8484 §4.1: HTTP tells responses apart
        try:
            try:
                wire = await self._post(self._session, sent)
            except aiohttp.ServerDisconnectedError:  # an idle connection, which it may close any time
                wire = await self._post(self._session, sent)
        except aiohttp.ClientError as error:
            if isinstance(error, OSError):
                raise
            raise ConnectionResetError(str(error) or type(error).__name__) from error
        if not is_answer_to(sent, wire):
            raise GarbageError(f"it sent {len(wire)} octets that are no response to the query")
        return query[:2] + wire[2:]

    async def _post(self, session: aiohttp.ClientSession, query: bytes) -> bytes:
        """Return the body of the response to one POST; raises GarbageError and ClientError."""
        headers = {"Content-Type": _TYPE, "Accept": _TYPE}
        async with session.post(self._url, data=query, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise GarbageError(f"it answered with HTTP status {response.status}")
            if response.content_type != _TYPE:
                raise GarbageError(f"it answered with {response.content_type}")
            return await _read(response)

    async def close(self) -> None:
        session, self._session = self._session, None  # a query that comes meanwhile opens another
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=_Known(self._endpoint),
            ssl=self._context,
            limit=_MAX_CONNECTIONS,
            use_dns_cache=False,
            socket_factory=self._socket,
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
        )

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family = int(address[0])
        return full_socket(self._sockets.tcp(family), family, socket.SOCK_STREAM)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body; raises GarbageError where it is longer than a message."""
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_MESSAGE:
            raise GarbageError(f"it answered with more than {MAX_MESSAGE} octets")
    return body


class _Known(AbstractResolver):
    """Names the endpoint's addresses, and nobody else's."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint: Final = endpoint

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._endpoint.addresses()
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=family_of(address),
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        pass
