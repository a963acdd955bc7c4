"""One client from its first octet to its flow: which protocol, who, where to, and an honest answer."""

import asyncio
import logging
import socket
import ssl
from typing import Final

from tunproxy.flow.layered import Layered
from tunproxy.relay import http_connect, socks
from tunproxy.relay.connect_udp import UdpTunnel
from tunproxy.relay.failures import BAD, LIMIT, LOGIN, UNSUPPORTED, HungUp, RequestFailed
from tunproxy.relay.limits import Account
from tunproxy.relay.metrics import OPEN
from tunproxy.relay.requests import ASSOCIATE, CONNECT, CONNECT_UDP, Request
from tunproxy.relay.service import Service
from tunproxy.relay.socks_udp import Association
from tunproxy.relay.stream import READ_SIZE, Stream
from tunproxy.relay.stream_bound import StreamBound
from tunproxy.relay.tls_server import CLIENT_HELLO

# our choices
LAST_WORDS: Final = 2.0  # seconds to take an answer, and to end
MAX_UNREAD: Final = 1 << 20  # octets that a refused client may still have been sending


_log: Final = logging.getLogger(__name__)


class Connection:
    """One client's connection. ``serve`` ends when its flow begins, or when there is none."""

    def __init__(self, service: Service, sock: socket.socket, peer: str) -> None:
        self.peer: Final = peer
        self._service: Final = service
        self._stream: Final = Stream(sock, peer)
        self._is_socks = False
        self._is_ours = True  # the socket: else its flow closes it
        self._what = ""  # the flow that is asked for, for people

    def turn_away(self) -> None:
        """End without a word."""
        self._stream.sock.close()

    async def serve(self) -> None:
        """Never raises but when cancelled."""
        service, stream = self._service, self._stream
        try:
            async with asyncio.timeout(service.config.limits.handshake):
                request = await self._hear()
            if request is not None:
                await self._fulfil(request)
        except TimeoutError:
            self._on_fault("too-slow", "the client takes too long to ask")
        except HungUp:
            service.tally.on_outcome("hung-up")
        except ssl.SSLError as error:
            self._on_fault("tls", f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}")
        except socks.LoginFailed as error:
            self._on_fault(LOGIN, str(error))
            await self._linger()
        except RequestFailed as failure:
            await self._refuse(failure)
        except OSError:
            service.tally.on_outcome("hung-up")
        except Exception:  # one client's, and nobody else's
            _log.exception("client %s: this should not have happened", self.peer)
        finally:
            if self._is_ours:
                stream.sock.close()
                service.tally.add(OPEN, -1)

    async def _hear(self) -> Request | None:
        """Return what the client asks for; None where it speaks nothing that is spoken here."""
        service, stream = self._service, self._stream
        await stream.need(1)
        tls = service.config.tls
        if stream.rest[0] == CLIENT_HELLO and service.tls is not None:
            await stream.start_tls(service.tls)
            await stream.need(1)
        elif tls is not None and tls.required:
            self._on_fault("garbage", "the client does not speak TLS, which is required")
            return None
        first = stream.rest[0]
        if first == socks.VERSION:
            self._is_socks = True
            return await socks.understand(stream, service.users)
        if 0x41 <= first <= 0x5A:  # HTTP's methods are written in capitals
            return await http_connect.understand(await http_connect.read_head(stream), service.users)
        self._on_fault("garbage", f"the client speaks no protocol of ours (first octet 0x{first:02x})")
        return None

    async def _fulfil(self, request: Request) -> None:
        service = self._service
        service.tally.on_request(request.protocol)
        account = service.accounts[request.user]
        kind = "" if request.command == CONNECT else " (UDP)"
        target = "" if request.command == ASSOCIATE else f" -> {request}"
        self._what = f"{account.name} {self.peer}{target}{kind}"
        if not account.begin():
            raise RequestFailed(LIMIT, f"user {request.user!r} has as many connections as it may")
        try:
            if request.command == CONNECT:
                await self._connect(request, account)
            elif request.command == CONNECT_UDP:
                await self._connect_udp(request, account)
            else:
                await self._associate(request, account)
        finally:
            if self._is_ours:
                account.end()

    async def _connect(self, request: Request, account: Account) -> None:
        service, stream = self._service, self._stream
        chosen = service.choose_codec(request.codecs)
        target = await service.dialer.connect(request.host, request.port)
        try:
            if self._is_socks:
                words = socks.granted(target.getsockname()[:2])
            else:
                words = http_connect.granted(request, "" if chosen is None else str(chosen))
            unsaid = stream.say_at_once(words)
            if unsaid:
                async with asyncio.timeout(service.config.limits.handshake):
                    await stream.say_rest(unsaid)
            codec, early = stream.codec, stream.rest
            if chosen is not None:
                made = service.make_codec(chosen)
                try:
                    early = made.decode(early) if early else b""
                except Exception as error:
                    raise RequestFailed(BAD, f"the stream is spoiled: {error}") from error
                codec = made if codec is None else Layered(made, codec)
        except BaseException:
            target.close()
            raise
        self._is_ours = False
        service.note("flow %s: opened%s", self._what, "" if chosen is None else f" ({chosen})")
        service.carry(self._what, account, stream.sock, codec, target, early)

    async def _connect_udp(self, request: Request, account: Account) -> None:
        service = self._service
        ends = await service.dialer.allowed(request.host, request.port)
        tunnel = UdpTunnel(self._stream, ends[0], request.port, account, service)
        try:
            async with asyncio.timeout(service.config.limits.handshake):
                await self._stream.say(http_connect.granted(request))
            service.tally.on_outcome("opened")
            await self._noted(tunnel)
        finally:
            tunnel.close()

    async def _associate(self, request: Request, account: Account) -> None:
        if self._stream.is_encrypted:  # its datagrams would not be
            raise RequestFailed(UNSUPPORTED, "no datagrams beside a connection that is encrypted")
        association = Association(self._stream, account, self._service)
        try:
            async with asyncio.timeout(self._service.config.limits.handshake):
                await self._stream.say(socks.granted(association.bound))
            self._service.tally.on_outcome("opened")
            await self._noted(association)
        finally:
            association.close()

    async def _noted(self, bound: StreamBound) -> None:
        """Have datagrams carried until their stream ends."""
        loop, service = asyncio.get_running_loop(), self._service
        began_at = loop.time()
        service.note("flow %s: opened", self._what)
        try:
            await bound.run()
        finally:
            service.note("flow %s: over (%.1f s)", self._what, loop.time() - began_at)

    def _on_fault(self, outcome: str, why: str) -> None:
        self._service.tally.on_outcome(outcome)
        self._service.complaints.take(self._stream.peer, why)

    async def _refuse(self, failure: RequestFailed) -> None:
        """Say why, and see to it that it arrives: octets that nobody reads would turn it into a reset."""
        service = self._service
        service.tally.on_outcome(failure.kind)
        if self._what:
            service.note("flow %s: refused: %s", self._what, failure)
        if failure.kind in (BAD, LOGIN, LIMIT):
            service.complaints.take(self.peer, str(failure))
        elif not self._what:
            service.note("%s: refused: %s", self.peer, failure)
        words = socks.refused(failure) if self._is_socks else http_connect.refused(failure)
        try:
            async with asyncio.timeout(LAST_WORDS):
                await self._stream.say(words)
        except (OSError, TimeoutError):
            return
        await self._linger()

    async def _linger(self) -> None:
        """End, and read what the client still sends until it ends as well."""
        loop = asyncio.get_running_loop()
        self._stream.finish()
        unread = 0
        try:
            async with asyncio.timeout(LAST_WORDS):
                while unread < MAX_UNREAD:
                    data = await loop.sock_recv(self._stream.sock, READ_SIZE)
                    if not data:
                        return
                    unread += len(data)
        except (OSError, TimeoutError):
            pass
