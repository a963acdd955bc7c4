"""An upstream whose connections go through a codec: what is on the wire is no longer what the stream says.

    client ─▶ us ─▶ codec ─▶ socket ─▶ target

With a proxy it is a ``CodedProxy``; with any other upstream the codec lies around the target's stream.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

from tunproxy.flow.codec import Codec
from tunproxy.flow.layered import Layered
from tunproxy.flow.targets import Targets
from tunproxy.flow.verdict import DIAL, DROP, OPEN, REJECT, FlowInfo, Verdict
from tunproxy.upstream.base import Dialer, Opened, OpenError, OpenUpstream, Upstream
from tunproxy.upstream.coded_proxy import CodedProxy
from tunproxy.upstream.proxy import ProxyUpstream


class CodedUpstream(OpenUpstream):
    """Another upstream, with that one's name. Carries TCP only. make returns a codec for one flow."""

    def __init__(self, inner: Upstream, make: Callable[[], Codec], targets: Targets | None = None) -> None:
        super().__init__(inner.name)
        self._inner: Final = inner
        self._make: Final = make
        self._targets: Final = targets or Targets({})

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        inner = self._inner.verdict_for(info, why)
        return inner if inner.kind == REJECT or inner.kind == DROP else self.constant(why)

    def constant(self, why: str = "") -> Verdict:
        return Verdict(OPEN, self.name, opener=self, why=why)

    def carries(self, info: FlowInfo) -> bool:
        return info.protocol == "tcp" and self._inner.carries(info)

    async def open(self, info: FlowInfo, dialer: Dialer) -> Opened:
        inner = self._inner
        if isinstance(inner, ProxyUpstream):
            return await CodedProxy(inner, self._make).open(info, dialer)
        found = await self._open(inner.verdict_for(info), info, dialer)
        opened = found if isinstance(found, Opened) else Opened(found)
        try:
            codec = self._make()
            rest = codec.decode(opened.rest) if opened.rest else b""
        except BaseException:
            opened.sock.close()
            raise
        return Opened(opened.sock, rest, codec if opened.codec is None else Layered(codec, opened.codec))

    async def _open(self, verdict: Verdict, info: FlowInfo, dialer: Dialer) -> socket.socket | Opened:
        if verdict.kind == DIAL:
            return await self._dial(verdict, info, dialer)
        if isinstance(verdict.opener, OpenUpstream):
            return await verdict.opener.open(info, dialer)
        raise OpenError(f"nobody can open {verdict}")

    async def _dial(self, verdict: Verdict, info: FlowInfo, dialer: Dialer) -> socket.socket:
        port = int(verdict.port) or int(info.target_port)
        if verdict.address:
            return await dialer.connect(verdict.address, port)
        targets = [info.target] if not info.host else await _addresses(info.host)
        ends = [self._targets.resolve(target, port) for target in targets]
        error = OSError(errno.EHOSTUNREACH, "the target is no address that a flow may go to")
        for end in ends:
            if end is not None:
                try:
                    return await dialer.connect(*end)
                except OSError as failure:
                    error = failure
        raise error


async def _addresses(host: str) -> list[bytes]:
    """Return the packed addresses of a name that a flow's target stands for. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [socket.inet_pton(family, str(address[0])) for family, _, _, _, address in found]
