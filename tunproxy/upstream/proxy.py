"""Upstreams that are proxies: one server, and a conversation with it about each flow.

The conversation is sans I/O (``flow.conversation``). Where the server is an address, the packet path holds
it by itself, inside its own epoll; where it is a name, or speaks TLS, a coroutine does. The upstream is the
same for both.
"""

import asyncio
import ipaddress
import logging
import os
import socket
import ssl
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from tunproxy.errors import OptionError
from tunproxy.flow.codec import Codec
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.layered import Layered, decode_all
from tunproxy.flow.verdict import CONVERSE, FlowInfo, Verdict
from tunproxy.logs.about import about
from tunproxy.upstream.base import Dialer, Opened, OpenError, OpenUpstream, Unreached
from tunproxy.upstream.failures import errno_of
from tunproxy.upstream.tls import NoTlsError, start_tls
from tunproxy.upstream.tls_client import TlsClient, client_of

_log: Final = logging.getLogger(__name__)

# our choices
READ_SIZE: Final = 4096
MAX_WORDS: Final = 65_536  # octets that a proxy may say before it comes to the point


class ProxyUpstream(OpenUpstream):
    """A proxy at host (an address or a name) and port, inside TLS where a client or a context is given.

    server_name is whom the certificate must be good for, host unless given. Raises OptionError where these
    make no sense.
    """

    encryption: str = ""  # the name, for people, of what its conversations encrypt streams with
    is_bare: bool  # nothing but the conversation is on the socket: the packet path can hold it by itself

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | TlsClient | None = None,
        server_name: str = "",
    ) -> None:
        super().__init__(name)
        if not host:
            raise OptionError(f"upstream {name!r}: no server is given", "server")
        if not _can_be_a_host(host):
            why = f"{host!r} is neither an address nor a name{_hint_about(host)}"
            raise OptionError(f"upstream {name!r}: {why}", "server")
        if not 1 <= port <= 0xFFFF:
            raise OptionError(f"upstream {name!r}: {port} is not a port (1 to 65535)", "port")
        self.host: Final = host.strip("[]")
        self.port: Final = port
        self.tls: Final = None if tls is None else client_of(tls)
        self.server_name: Final = server_name or (self.tls.server_name if self.tls else "") or self.host
        self.cautions = self.tls.warnings if self.tls else ()
        self.is_address: Final = is_address(self.host)
        self.is_bare = tls is None
        self._is_plain_told = False

    @property
    def dialled(self) -> str:
        """The name of the upstream whose server is dialled: this one's, unless others are on the way."""
        return self.name

    @abstractmethod
    def converse(self, info: FlowInfo) -> Conversation:
        """Return the conversation that asks the proxy for info's target. Raises as conversations do."""

    def constant(self, why: str = "") -> Verdict:
        if self.is_address and self.is_bare:
            return Verdict(CONVERSE, self.name, self.host, self.port, opener=self, why=why)
        return super().constant(why)

    async def open(self, info: FlowInfo, dialer: Dialer) -> Opened:
        sock = await reach(self, dialer)
        try:
            codec = await self.secure(sock)
            conversation = self.converse(info)
            try:
                rest = await hold(conversation, sock, codec)
            except ConnectionResetError:
                if codec is not None:
                    codec.on_reset()
                raise
        except NoTlsError:
            sock.close()
            if self.tls is None or not self.tls.allows_plain:
                raise
            return await self._open_plainly(info, dialer)
        except BaseException:
            sock.close()
            raise
        return Opened(sock, rest, around(codec, conversation))

    async def secure(
        self, sock: socket.socket, under: Codec | None = None, early: bytes = b"", *, with_tls: bool = True
    ) -> Codec | None:
        """Put onto sock, which leads to the proxy, what stands between it and us; return it all.

        under is a codec that is there already, and early what has been read through it and is not for us.
        Raises what start_tls raises, OpenError where somebody spoke too early.
        """
        if self.tls is not None and with_tls:
            return await start_tls(sock, self.tls, self.server_name, under=under, early=early)
        if early:
            raise OpenError("it spoke before it was asked")
        return under

    async def _open_plainly(self, info: FlowInfo, dialer: Dialer) -> Opened:
        """Do without TLS, as the user allows, and tell so once."""
        if not self._is_plain_told:
            self._is_plain_told = True
            words = "upstream %s: speaks no TLS, so its flows go in the clear (allow-plain)"
            _log.warning(words, self.name, extra=about(upstream=self.name))
        sock = await reach(self, dialer)
        try:
            codec = await self.secure(sock, with_tls=False)
            conversation = self.converse(info)
            rest = await hold(conversation, sock, codec)
        except BaseException:
            sock.close()
            raise
        return Opened(sock, rest, around(codec, conversation))


async def reach(proxy: ProxyUpstream, dialer: Dialer) -> socket.socket:
    """Return a socket that is connected to the proxy; raises Unreached."""
    try:
        return await dialer.connect(proxy.host, proxy.port)
    except OSError as error:
        raise _unreached(error) from error


async def reach_datagrams(proxy: ProxyUpstream, dialer: Dialer) -> socket.socket:
    """Return a UDP socket that is connected to the proxy's port; raises Unreached."""
    try:
        return await dialer.connect_datagrams(proxy.host, proxy.port)
    except OSError as error:
        raise _unreached(error) from error


def _unreached(error: OSError) -> Unreached:
    number = None if isinstance(error, socket.gaierror) else error.errno
    why = str(error.strerror or error) if number is None else os.strerror(number)  # asyncio adds its own
    return Unreached(f"cannot reach the proxy: {why.lower()}", errno_of(error))


async def hold(conversation: Conversation, sock: socket.socket, codec: Codec | None = None) -> bytes:
    """Hold conversation over sock, which is connected; return the target's first octets, if any came.

    Raises what the conversation raises, and OpenError where the proxy hangs up or never comes to the point.
    """
    loop = asyncio.get_running_loop()
    words = conversation.begin()
    early = b""
    if codec is not None and codec.has_more():  # what came with the end of a handshake
        early = codec.decode(b"")
    heard = len(early)
    while True:
        if words:
            await loop.sock_sendall(sock, words if codec is None else codec.conceal(words))
        if conversation.is_over:
            if early and conversation.codec is not None:
                early = conversation.codec.decode(early)
            return conversation.rest + early
        data, early = early, b""
        if not data and codec is not None and codec.has_more():
            data = codec.decode(b"")
            heard += len(data)
        elif not data:
            data = await loop.sock_recv(sock, READ_SIZE)
            heard += len(data)
            if not data:
                raise OpenError("the proxy hung up in the middle of the conversation")
            if codec is not None:
                data = codec.decode(data)
        if heard > MAX_WORDS:
            raise OpenError(f"the proxy has said {heard} octets and not come to the point")
        words = conversation.heard(data) if data else b""


def around(codec: Codec | None, conversation: Conversation) -> Codec | None:
    """Return what lies on the socket once a conversation is over: what it has brought, around codec."""
    own = conversation.codec
    if own is None or codec is None:
        return codec if own is None else own
    return Layered(own, codec)


class Chained(Conversation):
    """Several conversations in a row on one socket: each reaches the next proxy through the last.

    Where one brings a codec, all that follow go through it.
    """

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        super().__init__()
        self._left: Final = list(conversations)

    def begin(self) -> bytes:
        return self._advance(self._left[0].begin())

    def heard(self, data: bytes) -> bytes:
        if self.codec is not None:
            data = decode_all(self.codec, data)
            if not data:
                return b""
        return self._advance(self._left[0].heard(data))

    def _advance(self, words: bytes) -> bytes:
        """Go on to the next conversation where one is over; what came too early is the next one's."""
        words = self._coded(words)
        while self._left[0].is_over:
            last = self._left.pop(0)
            rest = last.rest
            self.codec = around(self.codec, last)
            if not self._left:
                self.is_over = True
                self.rest = rest
                break
            words += self._coded(self._left[0].begin())
            if rest:
                words += self._coded(self._left[0].heard(rest))
        return words

    def _coded(self, words: bytes) -> bytes:
        """Return words as they go onto the socket."""
        return self.codec.conceal(words) if words and self.codec is not None else words


def _can_be_a_host(host: str) -> bool:
    """Tell whether a resolver may be asked for host: Python's raises more than OSError for the rest."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    if ":" in host and not is_address(host.strip("[]")):
        return False
    return host.isprintable() and not set(" /@") & set(host)


def _hint_about(host: str) -> str:
    """Return what to do with what somebody wrote for a host; "" where nothing comes to mind."""
    if "://" in host or "@" in host:
        return " (a URL stands on the command line: --upstream; here its parts are options of their own)"
    name, colon, port = host.rpartition(":")
    return f" (write server = {name!r}, port = {port})" if colon and port.isdecimal() and name else ""


def is_address(host: str) -> bool:
    """Tell whether host is an address, not a name; a link-local one may have its zone behind it."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
