"""TLS with a server that takes it off and passes on what is inside, such as stunnel or a load balancer.

client ─▶ us ─▶ TLS ─▶ server ─▶ whoever stands behind it, whatever the flow's target was
"""

from dataclasses import dataclass

from tunproxy.plugin.api import (
    Conversation,
    FlowInfo,
    OptionError,
    ProxyUpstream,
    TlsOptions,
    Upstream,
    UpstreamType,
    tls_client,
)


@dataclass(frozen=True, kw_only=True)
class TlsServerOptions:
    """A server that is told nothing but the stream."""

    server: str
    port: int
    tls: TlsOptions | bool = True


class Silence(Conversation):
    """Asks for nothing."""

    def begin(self) -> bytes:
        self.is_over = True
        return b""


class TlsServer(ProxyUpstream):
    """A server that knows by itself where the stream goes."""

    def converse(self, info: FlowInfo) -> Conversation:
        return Silence()


def _tls(name: str, options: TlsServerOptions) -> Upstream:
    if options.tls is False:
        raise OptionError(f"upstream {name!r}: type tls without TLS (leave tls = false out)", "tls")
    return TlsServer(name, options.server, options.port, tls=tls_client(options.tls))


TLS_SERVER = UpstreamType("tls", TlsServerOptions, _tls)
