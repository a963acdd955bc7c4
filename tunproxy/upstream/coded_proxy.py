"""A proxy to which everything goes through a codec: a proxy still, and so a hop like any other.

    client ─▶ us ─▶ [the proxy's TLS] ─▶ codec ─▶ socket ─▶ proxy ─▶ target, or the next hop

The codec lies around everything, the conversation included: whoever is at the other end of the socket has the
same. The conversation is the proxy's own.
"""

import socket
from collections.abc import Callable
from typing import Final

from tunproxy.flow.codec import Codec, CodecError
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.layered import Layered
from tunproxy.flow.verdict import FlowInfo
from tunproxy.upstream.base import Dialer, Opened, OpenError
from tunproxy.upstream.knowledge import IPV6, NAMES, UDP
from tunproxy.upstream.proxy import ProxyUpstream

# Who answers with anything else has not got the codec, as a rule: the two options are mixed up easily.
_HINT: Final = 'has it the same codec? with tunproxy relay, codecs of type "http" agrees on one'


class CodedProxy(ProxyUpstream):
    """Another proxy, with that one's name. Carries TCP only. make returns a codec for one connection."""

    def __init__(self, inner: ProxyUpstream, make: Callable[[], Codec]) -> None:
        super().__init__(inner.name, inner.host, inner.port, tls=inner.tls, server_name=inner.server_name)
        self._inner: Final = inner
        self._make: Final = make
        self.is_bare = False
        self.knowledge.declare(UDP, False)
        for ability in (NAMES, IPV6):
            fact = inner.knowledge.fact(ability)
            if fact is not None and fact.how == "declared":
                self.knowledge.declare(ability, fact.has)

    @property
    def dialled(self) -> str:
        return self._inner.dialled

    def carries(self, info: FlowInfo) -> bool:
        return super().carries(info) and self._inner.carries(info)

    def converse(self, info: FlowInfo) -> Conversation:
        return self._inner.converse(info)

    async def open(self, info: FlowInfo, dialer: Dialer) -> Opened:
        try:
            return await super().open(info, dialer)
        except CodecError as error:
            raise OpenError(f"{error} ({_HINT})") from error

    async def secure(
        self, sock: socket.socket, under: Codec | None = None, early: bytes = b"", *, with_tls: bool = True
    ) -> Codec | None:
        codec = self._make()
        clear = codec.decode(early) if early else b""
        lower = codec if under is None else Layered(codec, under)
        return await super().secure(sock, lower, clear, with_tls=with_tls)
