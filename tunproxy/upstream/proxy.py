"""Upstreams that are proxies: one server, and a conversation with it about each flow.

The conversation is sans I/O (``flow.conversation``). Where the server is an address, the packet path holds
it by itself, inside its own epoll; where it is a name, or speaks TLS, a coroutine does. The upstream is the
same for both.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from tunproxy.errors import ConfigError
from tunproxy.flow.codec import Codec
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.verdict import CONVERSE, FlowInfo, Verdict
from tunproxy.upstream.base import Dialer, Opened, OpenError, OpenUpstream, Unreached
from tunproxy.upstream.failures import errno_of
from tunproxy.upstream.tls import start_tls

# our choices
READ_SIZE: Final = 4096
MAX_WORDS: Final = 65_536  # octets that a proxy may say before it comes to the point


class ProxyUpstream(OpenUpstream):
    """A proxy at host (an address or a name) and port, inside TLS where a context is given.

    server_name is whom the certificate must be good for, host unless given. Raises ConfigError where these
    make no sense.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> None:
        super().__init__(name)
        if not host:
            raise ConfigError(f"upstream {name!r}: no server is given")
        if not _can_be_a_host(host):
            raise ConfigError(f"upstream {name!r}: {host!r} is neither an address nor a name")
        if not 1 <= port <= 0xFFFF:
            raise ConfigError(f"upstream {name!r}: {port} is not a port (1 to 65535)")
        self.host: Final = host.strip("[]")
        self.port: Final = port
        self.tls: Final = tls
        self.server_name: Final = server_name or self.host
        self.is_address: Final = _is_address(self.host)

    @property
    def dialled(self) -> str:
        """The name of the upstream whose server is dialled: this one's, unless others are on the way."""
        return self.name

    @abstractmethod
    def converse(self, info: FlowInfo) -> Conversation:
        """Return the conversation that asks the proxy for info's target. Raises as conversations do."""

    def constant(self, why: str = "") -> Verdict:
        if self.is_address and self.tls is None:
            return Verdict(CONVERSE, self.name, self.host, self.port, opener=self, why=why)
        return super().constant(why)

    async def open(self, info: FlowInfo, dialer: Dialer) -> Opened:
        sock = await reach(self, dialer)
        try:
            codec = None if self.tls is None else await start_tls(sock, self.tls, self.server_name)
            rest = await hold(self.converse(info), sock, codec)
        except BaseException:
            sock.close()
            raise
        return Opened(sock, rest, codec)


async def reach(proxy: ProxyUpstream, dialer: Dialer) -> socket.socket:
    """Return a socket that is connected to the proxy; raises Unreached."""
    try:
        return await dialer.connect(proxy.host, proxy.port)
    except OSError as error:
        number = None if isinstance(error, socket.gaierror) else error.errno
        why = str(error.strerror or error) if number is None else os.strerror(number)  # asyncio adds its own
        raise Unreached(f"cannot reach the proxy: {why.lower()}", errno_of(error)) from error


async def hold(conversation: Conversation, sock: socket.socket, codec: Codec | None = None) -> bytes:
    """Hold conversation over sock, which is connected; return the target's first octets, if any came.

    Raises what the conversation raises, and OpenError where the proxy hangs up or never comes to the point.
    """
    loop = asyncio.get_running_loop()
    words = conversation.begin()
    heard = 0
    while True:
        if words:
            await loop.sock_sendall(sock, words if codec is None else codec.encode(words) + codec.flush())
        if conversation.is_over:
            return conversation.rest
        data = await loop.sock_recv(sock, READ_SIZE)
        heard += len(data)
        if not data:
            raise OpenError("the proxy hung up in the middle of the conversation")
        if heard > MAX_WORDS:
            raise OpenError(f"the proxy has said {heard} octets and not come to the point")
        if codec is not None:
            data = codec.decode(data)
        words = conversation.heard(data) if data else b""


class Chained(Conversation):
    """Several conversations in a row on one socket: each reaches the next proxy through the last."""

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        super().__init__()
        self._left: Final = list(conversations)

    def begin(self) -> bytes:
        return self._advance(self._left[0].begin())

    def heard(self, data: bytes) -> bytes:
        return self._advance(self._left[0].heard(data))

    def _advance(self, words: bytes) -> bytes:
        """Go on to the next conversation where one is over; what came too early is the next one's."""
        while self._left[0].is_over:
            rest = self._left.pop(0).rest
            if not self._left:
                self.is_over = True
                self.rest = rest
                break
            words += self._left[0].begin()
            if rest:
                words += self._left[0].heard(rest)
        return words


def _can_be_a_host(host: str) -> bool:
    """Tell whether a resolver may be asked for host: Python's raises more than OSError for the rest."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return host.isprintable() and not set(" /@") & set(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
