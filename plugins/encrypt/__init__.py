"""Upstreams whose streams are encrypted on their way: Shadowsocks servers, and servers that speak TLS."""

from tunproxy.plugin.api import UpstreamType, hookimpl

from .shadowsocks import SHADOWSOCKS, SS
from .tls import TLS_SERVER


@hookimpl
def contribute_upstream_types() -> list[UpstreamType]:
    """Contribute ``shadowsocks``, and ``ss`` as its URLs have it (SIP002); and ``tls``."""
    return [SHADOWSOCKS, SS, TLS_SERVER]
