"""HTTP upstreams: CONNECT, and connect-udp for datagrams, in the clear or inside TLS."""

import socket
from dataclasses import dataclass, replace
from typing import Final

from tunproxy.plugin.api import (
    NAMES,
    UDP,
    CapsuleFraming,
    Conversation,
    DatagramStream,
    DatagramUpstream,
    Dialer,
    FlowInfo,
    OptionError,
    OptionFile,
    ProxyUpstream,
    Secret,
    TlsClient,
    TlsOptions,
    Upstream,
    UpstreamType,
    hold,
    hookimpl,
    reach,
    tls_client,
)

from .connect import ConnectConversation, Wishes, authority_of, basic_login, wishes_of
from .connect_udp import UdpConversation

PROTOCOLS: Final = ("http/1.1",)  # what we tell a proxy inside TLS that we speak (RFC 7301)


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """An HTTP proxy; user and password are for Basic authentication (RFC 7617).

    codecs are what streams may be in where the proxy knows them, as ``tunproxy relay`` does, best first.
    udp says that it knows connect-udp (RFC 9298), as that does, too.
    """

    server: str
    port: int = 8080
    user: str = ""
    password: Secret = Secret("")  # noqa: RUF009  # a Secret never changes
    codecs: str | tuple[str, ...] = ()
    dictionary: OptionFile | None = None
    zstd_level: int | None = None
    gzip_level: int | None = None
    compress_secrets: bool = False
    udp: bool = False
    tls: TlsOptions | bool = False


@dataclass(frozen=True, kw_only=True)
class HttpsOptions:
    """The same inside TLS. server_name and ca_file are those of tls, for short."""

    server: str
    port: int = 443
    user: str = ""
    password: Secret = Secret("")  # noqa: RUF009
    server_name: str = ""
    ca_file: OptionFile | None = None
    codecs: str | tuple[str, ...] = ()
    dictionary: OptionFile | None = None
    zstd_level: int | None = None
    gzip_level: int | None = None
    compress_secrets: bool = False
    udp: bool = False
    tls: TlsOptions | bool = True


class HttpUpstream(ProxyUpstream, DatagramUpstream):
    """A proxy that is asked to CONNECT; login is the value of Proxy-Authorization, or ""."""

    is_per_target = True

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        login: str,
        *,
        tls: TlsClient | None = None,
        wishes: Wishes | None = None,
        has_udp: bool = False,
    ) -> None:
        super().__init__(name, host, port, tls=tls)
        self._login: Final = login
        self._wishes: Final = wishes
        self.knowledge.declare(NAMES, True)
        self.knowledge.declare(UDP, has_udp)

    def converse(self, info: FlowInfo) -> Conversation:
        return ConnectConversation(authority_of(info), self._login, self._wishes)

    async def open_datagrams(self, info: FlowInfo, dialer: Dialer) -> DatagramStream:
        sock = await reach(self, dialer)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            codec = await self.secure(sock)
            host = f"[{self.host}]" if ":" in self.host else self.host
            talk = UdpConversation(f"{host}:{self.port}", info, self._login)
            rest = await hold(talk, sock, codec)
        except BaseException:
            sock.close()
            raise
        return DatagramStream(sock, CapsuleFraming(), rest, codec)


@hookimpl
def contribute_upstream_types() -> list[UpstreamType]:
    """Contribute ``http`` and ``https``."""
    return [UpstreamType("http", HttpOptions, _http), UpstreamType("https", HttpsOptions, _https)]


def _http(name: str, options: HttpOptions) -> Upstream:
    login = basic_login(name, options.user, options.password)
    tls = tls_client(options.tls, PROTOCOLS)
    return HttpUpstream(
        name, options.server, options.port, login, tls=tls, wishes=_wishes(name, options), has_udp=options.udp
    )


def _https(name: str, options: HttpsOptions) -> Upstream:
    if options.tls is False:
        raise OptionError(f"upstream {name!r}: https without TLS (type http has none)", "tls")
    tls = TlsOptions() if options.tls is True else options.tls
    for short in ("server_name", "ca_file"):
        value = getattr(options, short)
        if value and getattr(tls, short):
            raise OptionError(f"upstream {name!r}: {short} is given twice, once in tls", short)
        if value:
            tls = replace(tls, **{short: value})
    login = basic_login(name, options.user, options.password)
    client = tls_client(tls, PROTOCOLS)
    return HttpUpstream(
        name,
        options.server,
        options.port,
        login,
        tls=client,
        wishes=_wishes(name, options),
        has_udp=options.udp,
    )


def _wishes(name: str, options: HttpOptions | HttpsOptions) -> Wishes | None:
    return wishes_of(
        name,
        options.codecs,
        options.dictionary,
        zstd_level=options.zstd_level,
        gzip_level=options.gzip_level,
        compress_secrets=options.compress_secrets,
    )
