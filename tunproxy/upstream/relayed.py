"""A proxy behind a proxy behind a proxy: each is asked, through those before it, for the next one.

    we ─▶ hop 1 ─▶ hop 2 ─▶ … ─▶ hop n ─▶ target

Where the first hop is an address and none of them has TLS or another codec, the packet path holds all the
conversations by itself, one after the other; else a coroutine does, and the codecs lie in each other.
"""

import itertools
import socket
import ssl
from collections.abc import Sequence
from typing import Final

from tunproxy.errors import OptionError
from tunproxy.flow.codec import Codec
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.verdict import CONVERSE, OPEN, FlowInfo, Verdict
from tunproxy.upstream.base import Dialer, Opened, OpenError, Unreached
from tunproxy.upstream.failures import errno_of, learn_from
from tunproxy.upstream.group import ARROW
from tunproxy.upstream.knowledge import NAMES
from tunproxy.upstream.proxy import Chained, ProxyUpstream, around, hold, reach
from tunproxy.upstream.tls_faults import tls_words


class Relayed(ProxyUpstream):
    """Several proxies in a row as one. It has the last one's name, and carries TCP only.

    Raises OptionError where a hop would have to resolve the name of the next one and cannot.
    """

    def __init__(self, hops: Sequence[ProxyUpstream]) -> None:
        first, last = hops[0], hops[-1]
        super().__init__(last.name, first.host, first.port, tls=first.tls, server_name=first.server_name)
        for at, (hop, following) in enumerate(itertools.pairwise(hops), 1):
            if not following.is_address and hop.knowledge.has(NAMES) is False:
                why = f"and {following.name!r} is at {following.host!r} (give that one's address)"
                raise OptionError(f"upstream {hop.name!r} resolves no names, {why}", "members", at)
        self.hops: Final = tuple(hops)

    @property
    def dialled(self) -> str:
        return self.hops[0].name

    def constant(self, why: str = "") -> Verdict:
        chain = ARROW.join(hop.name for hop in self.hops)
        if self.is_address and all(hop.is_bare for hop in self.hops):
            return Verdict(CONVERSE, self.name, self.host, self.port, self, why, chain)
        return Verdict(OPEN, self.name, opener=self, why=why, chain=chain)

    def carries(self, info: FlowInfo) -> bool:
        return info.protocol == "tcp" and self.hops[-1].carries(info)

    def converse(self, info: FlowInfo) -> Conversation:
        return _Relaying(self.hops, info)

    async def open(self, info: FlowInfo, dialer: Dialer) -> Opened:
        first = self.hops[0]
        try:
            sock = await reach(first, dialer)
        except Unreached as error:
            raise Unreached(str(error), error.errno, who=first.name) from error
        codec: Codec | None = None
        rest = b""
        try:
            for at, hop in enumerate(self.hops):
                codec = await _secured(hop, sock, codec, rest)
                asking = _Asking(self.hops, at, info)
                rest = await hold(asking, sock, codec)
                codec = around(codec, asking)
        except BaseException:
            sock.close()
            raise
        return Opened(sock, rest, codec)


async def _secured(
    hop: ProxyUpstream, sock: socket.socket, codec: Codec | None, early: bytes
) -> Codec | None:
    """Put what hop wants onto sock, around codec. Failures say which hop it was."""
    try:
        return await hop.secure(sock, codec, early)
    except OpenError as error:
        raise OpenError(f"{hop.name}: {error}", error.errno, who=hop.name) from error
    except ssl.SSLError as error:
        raise OpenError(f"{hop.name}: {tls_words(error)}", who=hop.name) from error


class _Asking(Conversation):
    """What is said to one of several hops. Its failures say which one it was."""

    def __init__(self, hops: Sequence[ProxyUpstream], at: int, info: FlowInfo) -> None:
        super().__init__()
        self._hop: Final = hops[at]
        self._next: Final = hops[at + 1] if at + 1 < len(hops) else None
        self._talk: Final = self._hop.converse(info if self._next is None else _towards(self._next, info))

    def begin(self) -> bytes:
        words = self._talk.begin()
        self._look()
        return words

    def heard(self, data: bytes) -> bytes:
        try:
            words = self._talk.heard(data)
        except OpenError as error:
            learn_from(self._hop, error)
            raise OpenError(f"{self._hop.name}: {error}", error.errno, who=self._hop.name) from error
        except OSError as error:
            if self._next is None:
                raise
            why = f"{self._hop.name} cannot reach {self._next.name}: {error.strerror or error}"
            raise Unreached(why, errno_of(error), who=self._next.name) from error
        self._look()
        return words

    def _look(self) -> None:
        self.is_over, self.rest, self.codec = self._talk.is_over, self._talk.rest, self._talk.codec


class _Relaying(Chained):
    """All that is said, from the first hop to the last."""

    def __init__(self, hops: Sequence[ProxyUpstream], info: FlowInfo) -> None:
        super().__init__([_Asking(hops, at, info) for at in range(len(hops))])


def _towards(proxy: ProxyUpstream, info: FlowInfo) -> FlowInfo:
    """Return the flow that reaches a proxy, as the one before it is asked for it."""
    if not proxy.is_address:
        return FlowInfo("tcp", info.client, info.client_port, bytes(4), proxy.port, proxy.host)
    family = socket.AF_INET6 if ":" in proxy.host else socket.AF_INET
    return FlowInfo("tcp", info.client, info.client_port, socket.inet_pton(family, proxy.host), proxy.port)
