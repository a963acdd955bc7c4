"""The upstreams: where the proxy is, and which conversation is held with it."""

from typing import Final

from tunproxy.plugin.api import (
    IPV6,
    NAMES,
    UDP,
    Conversation,
    DatagramUpstream,
    DatagramWay,
    Dialer,
    FlowInfo,
    OpenError,
    ProxyUpstream,
    SocksFraming,
    TlsClient,
    hold,
    reach,
)

from .relay_address import refuse_strays, relay_address
from .version4 import Socks4Conversation
from .version5 import CONNECT, UDP_ASSOCIATE, Socks5Conversation


class Socks4Upstream(ProxyUpstream):
    """A SOCKS 4 proxy; has_names says that it speaks 4a and resolves names."""

    def __init__(
        self, name: str, host: str, port: int, user: str, *, has_names: bool, tls: TlsClient | None = None
    ) -> None:
        super().__init__(name, host, port, tls=tls)
        self._user: Final = user
        self._has_names: Final = has_names
        self.knowledge.declare(NAMES, has_names)
        self.knowledge.declare(IPV6, False)

    def converse(self, info: FlowInfo) -> Conversation:
        host = info.host if self._has_names else ""
        return Socks4Conversation(info.target, info.target_port, host, self._user)


class Socks5Upstream(ProxyUpstream, DatagramUpstream):
    """A SOCKS 5 proxy; login is user and password, both "" where it asks for none.

    Where has_udp does not say that it carries none, whether it does is found out.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        login: tuple[str, str],
        *,
        does_pipeline: bool = False,
        has_udp: bool = True,
        tls: TlsClient | None = None,
    ) -> None:
        super().__init__(name, host, port, tls=tls)
        self._login: Final = login
        self._does_pipeline: Final = does_pipeline
        self.knowledge.declare(NAMES, True)
        if not has_udp:
            self.knowledge.declare(UDP, False)

    def converse(self, info: FlowInfo) -> Conversation:
        return Socks5Conversation(
            CONNECT,
            info.target,
            info.target_port,
            info.host if info.host and self.knowledge.has(NAMES) is not False else "",
            self._login,
            does_pipeline=self._does_pipeline,
        )

    async def open_datagrams(self, info: FlowInfo, dialer: Dialer) -> DatagramWay:
        control = await reach(self, dialer)
        try:
            # Where we send from is not known yet, and a router on the way may change it: zeroes (§4).
            talk = Socks5Conversation(
                UDP_ASSOCIATE, bytes(4), 0, "", self._login, does_pipeline=self._does_pipeline
            )
            await hold(talk, control)
            server = control.getpeername()[0]
            sock = await dialer.connect_datagrams(*relay_address(talk.bound, talk.bound_kind, server))
            try:
                refuse_strays(sock.getpeername()[0], server)  # names may lead anywhere
            except OpenError:
                sock.close()
                raise
            return DatagramWay(sock, SocksFraming(), control)
        except BaseException:
            control.close()
            raise
