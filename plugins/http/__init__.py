"""HTTP upstreams: CONNECT, in the clear or inside TLS."""

import ssl
from dataclasses import dataclass
from typing import Final

from tunproxy.plugin.api import (
    NAMES,
    ConfigError,
    Conversation,
    FlowInfo,
    ProxyUpstream,
    Secret,
    Upstream,
    UpstreamType,
    hookimpl,
)

from .connect import ConnectConversation, authority_of, basic_login


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """An HTTP proxy; user and password are for Basic authentication (RFC 7617)."""

    server: str
    port: int = 8080
    user: str = ""
    password: Secret = Secret("")  # noqa: RUF009  # a Secret never changes


@dataclass(frozen=True, kw_only=True)
class HttpsOptions:
    """The same inside TLS. The certificate must be good for server_name, or else for server.

    ca_file holds the certificates to trust instead of the system's.
    """

    server: str
    port: int = 443
    user: str = ""
    password: Secret = Secret("")  # noqa: RUF009
    server_name: str = ""
    ca_file: str = ""


class HttpUpstream(ProxyUpstream):
    """A proxy that is asked to CONNECT; login is the value of Proxy-Authorization, or ""."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        login: str,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> None:
        super().__init__(name, host, port, tls=tls, server_name=server_name)
        self._login: Final = login
        self.knowledge.declare(NAMES, True)

    def converse(self, info: FlowInfo) -> Conversation:
        return ConnectConversation(authority_of(info), self._login)


@hookimpl
def contribute_upstream_types() -> list[UpstreamType]:
    """Contribute ``http`` and ``https``."""
    return [UpstreamType("http", HttpOptions, _http), UpstreamType("https", HttpsOptions, _https)]


def _http(name: str, options: HttpOptions) -> Upstream:
    login = basic_login(name, options.user, options.password)
    return HttpUpstream(name, options.server, options.port, login)


def _https(name: str, options: HttpsOptions) -> Upstream:
    try:
        context = ssl.create_default_context(cafile=options.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"upstream {name!r}: cannot read ca_file {options.ca_file!r}: {error}") from error
    context.set_alpn_protocols(["http/1.1"])
    login = basic_login(name, options.user, options.password)
    return HttpUpstream(
        name, options.server, options.port, login, tls=context, server_name=options.server_name
    )
