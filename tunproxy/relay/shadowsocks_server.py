"""Shadowsocks over TCP, as the server: the target stands inside the stream, and nothing is ever answered.

Who has not got the key learns nothing: not that this is Shadowsocks, and not how far it came. What cannot be
read is read on in silence until the time for a request is over (SIP022 §3.1.3).
"""

import asyncio
import logging
import socket
from typing import Final

from tunproxy.codecs.shadowsocks_keys import ServerKeys
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.codecs.shadowsocks_server import ShadowsocksServer
from tunproxy.flow.codec import CodecError
from tunproxy.flow.framing import Source
from tunproxy.relay.failures import LIMIT, RequestFailed
from tunproxy.relay.metrics import OPEN
from tunproxy.relay.pump import RESET
from tunproxy.relay.requests import CONNECT, Request
from tunproxy.relay.service import SHADOWSOCKS, Service, shadowsocks_keys
from tunproxy.relay.settings import RelayConfig
from tunproxy.relay.stream import read

_log: Final = logging.getLogger(__name__)


class ShadowsocksServing:
    """What all connections of a listener share: the keys, and the memory of what has been said before."""

    def __init__(self, config: RelayConfig, service: Service, salts: SaltMemory) -> None:
        self.keys: Final[ServerKeys] = shadowsocks_keys(config)
        self.salts: Final = salts
        self._service: Final = service

    def connection(self, sock: socket.socket, peer: str) -> "ShadowsocksConnection":
        """Return the connection of one client."""
        return ShadowsocksConnection(self, self._service, sock, peer)


class ShadowsocksConnection:
    """One client's connection. ``serve`` ends when its flow begins, or when there is none."""

    def __init__(self, serving: ShadowsocksServing, service: Service, sock: socket.socket, peer: str) -> None:
        self.peer: Final = peer
        self._service: Final = service
        self._sock: Final = sock
        self._codec: Final = ShadowsocksServer(serving.keys, serving.salts)
        self._is_ours = True  # the socket: else its flow closes it
        self._what = peer  # for people: the flow, once its target is known

    def turn_away(self) -> None:
        """End without a word."""
        self._sock.close()

    async def serve(self) -> None:
        """Never raises but when cancelled."""
        tally = self._service.tally
        try:
            async with asyncio.timeout(self._service.config.limits.handshake):
                early = await self._hear()
            if early is not None:
                await self._fulfil(early)
        except TimeoutError:
            tally.on_outcome("too-slow")
        except RequestFailed as failure:
            tally.on_outcome(failure.kind)
            self._service.note("flow %s: refused: %s", self._what, failure)
            self._reset()
        except OSError:
            tally.on_outcome("hung-up")
        except Exception:  # one client's, and nobody else's
            _log.exception("client %s: this should not have happened", self.peer)
        finally:
            if self._is_ours:
                self._sock.close()
                tally.add(OPEN, -1)

    async def _hear(self) -> bytes | None:
        """Return the first octets of the stream, once its target is known; None where there is none."""
        codec = self._codec
        early = b""
        while codec.target is None:
            data = await read(self._sock)
            if not data:
                self._service.tally.on_outcome("hung-up")
                return None
            try:
                early += codec.decode(data)
            except CodecError as error:
                self._service.tally.on_outcome("garbage")
                self._service.complaints.take(self.peer, f"Shadowsocks: {error}")
                while await read(self._sock):
                    pass
                return None
        return early

    async def _fulfil(self, early: bytes) -> None:
        service, source = self._service, self._codec.target
        assert source is not None
        service.tally.on_request(SHADOWSOCKS)
        user = self._codec.user
        account = service.accounts[f"{SHADOWSOCKS}:{user}" if user else SHADOWSOCKS]
        request = Request(CONNECT, SHADOWSOCKS, host_of(source), source.port, account.name)
        self._what = f"{account.name} {self.peer} -> {request}"
        if not account.begin():
            raise RequestFailed(LIMIT, f"user {account.name!r} has as many connections as it may")
        try:
            target = await service.dialer.connect(request.host, request.port)
        except BaseException:
            account.end()
            raise
        self._is_ours = False
        service.note("flow %s: opened", self._what)
        service.carry(self._what, account, self._sock, self._codec, target, early)

    def _reset(self) -> None:
        """Let closing be a reset: an end would look like the target's."""
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        except OSError:
            pass


def host_of(source: Source) -> str:
    """Return the target as text."""
    if source.name:
        return source.name
    return socket.inet_ntop(socket.AF_INET if len(source.address) == 4 else socket.AF_INET6, source.address)
