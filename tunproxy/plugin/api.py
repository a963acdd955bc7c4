"""Everything a plugin may use: ``from tunproxy.plugin.api import hookimpl``."""

from tunproxy.datagram.socks_framing import SocksFraming
from tunproxy.errors import ConfigError
from tunproxy.flow.codec import Codec
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.framing import Framing, Source
from tunproxy.flow.verdict import DIAL, DROP, REJECT, FlowInfo, Verdict
from tunproxy.plugin.contributions import CodecType, Command, Resolver, Route, RuleKind, RuleTest
from tunproxy.plugin.hookspecs import hookimpl
from tunproxy.plugin.records import FlowClosed, FlowOpened, StreamObserver, StreamPiece
from tunproxy.rules.facts import Facts
from tunproxy.secret import Secret
from tunproxy.upstream.base import (
    REFUSED,
    SILENT,
    UNREACHABLE,
    Dialer,
    DialUpstream,
    Opened,
    OpenError,
    OpenUpstream,
    Unreached,
    Upstream,
)
from tunproxy.upstream.datagrams import DatagramUpstream, DatagramWay
from tunproxy.upstream.group import Group, GroupOptions
from tunproxy.upstream.health import Plan
from tunproxy.upstream.knowledge import IPV6, NAMES, UDP
from tunproxy.upstream.probe import TEST_URL
from tunproxy.upstream.proxy import Chained, ProxyUpstream, hold, reach
from tunproxy.upstream.relayed import Relayed
from tunproxy.upstream.tls import start_tls
from tunproxy.upstream.types import UpstreamType

__all__ = [
    "DIAL",
    "DROP",
    "IPV6",
    "NAMES",
    "REFUSED",
    "REJECT",
    "SILENT",
    "TEST_URL",
    "UDP",
    "UNREACHABLE",
    "Chained",
    "Codec",
    "CodecType",
    "Command",
    "ConfigError",
    "Conversation",
    "DatagramUpstream",
    "DatagramWay",
    "DialUpstream",
    "Dialer",
    "Facts",
    "FlowClosed",
    "FlowInfo",
    "FlowOpened",
    "Framing",
    "Group",
    "GroupOptions",
    "OpenError",
    "OpenUpstream",
    "Opened",
    "Plan",
    "ProxyUpstream",
    "Relayed",
    "Resolver",
    "Route",
    "RuleKind",
    "RuleTest",
    "Secret",
    "SocksFraming",
    "Source",
    "StreamObserver",
    "StreamPiece",
    "Unreached",
    "Upstream",
    "UpstreamType",
    "Verdict",
    "hold",
    "hookimpl",
    "reach",
    "start_tls",
]
