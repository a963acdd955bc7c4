"""Everything a plugin may use: ``from tunproxy.plugin.api import hookimpl``."""

from tunproxy.codecs import dictionary as zstd_dictionaries
from tunproxy.codecs import named as named_codecs
from tunproxy.codecs.capsule_framing import CapsuleFraming
from tunproxy.codecs.shadowsocks_address import emit_address as shadowsocks_address
from tunproxy.codecs.shadowsocks_keys import Keys as ShadowsocksKeys
from tunproxy.codecs.shadowsocks_keys import ShadowsocksError
from tunproxy.codecs.shadowsocks_keys import client_keys as shadowsocks_keys
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.codecs.shadowsocks_seal import ShadowsocksSeal
from tunproxy.codecs.shadowsocks_stream import ShadowsocksClient
from tunproxy.datagram.socks_framing import AddressFraming, SocksFraming
from tunproxy.errors import ConfigError, OptionError
from tunproxy.flow.codec import MOST_DECODED, Codec, CodecError
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.framing import Framing, Source
from tunproxy.flow.seal import Seal
from tunproxy.flow.stream_framing import StreamFraming
from tunproxy.flow.verdict import DIAL, DROP, REJECT, FlowInfo, Verdict
from tunproxy.logs.about import about as log_fields
from tunproxy.plugin.contributions import CodecType, Command, Resolver, Route, RuleKind, RuleTest
from tunproxy.plugin.hookspecs import hookimpl
from tunproxy.plugin.records import FlowClosed, FlowOpened, StreamObserver, StreamPiece
from tunproxy.progress import showing as showing_progress
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
from tunproxy.upstream.datagrams import DatagramStream, DatagramUpstream, DatagramWay
from tunproxy.upstream.group import Group, GroupOptions
from tunproxy.upstream.health import Plan
from tunproxy.upstream.knowledge import IPV6, NAMES, UDP
from tunproxy.upstream.option_file import OptionFile
from tunproxy.upstream.probe import TEST_URL
from tunproxy.upstream.proxy import Chained, ProxyUpstream, hold, reach, reach_datagrams
from tunproxy.upstream.relayed import Relayed
from tunproxy.upstream.tls import start_tls
from tunproxy.upstream.tls_client import TlsClient
from tunproxy.upstream.tls_options import TlsOptions, tls_client
from tunproxy.upstream.types import UpstreamType

__all__ = [
    "DIAL",
    "DROP",
    "IPV6",
    "MOST_DECODED",
    "NAMES",
    "REFUSED",
    "REJECT",
    "SILENT",
    "TEST_URL",
    "UDP",
    "UNREACHABLE",
    "AddressFraming",
    "CapsuleFraming",
    "Chained",
    "Codec",
    "CodecError",
    "CodecType",
    "Command",
    "ConfigError",
    "Conversation",
    "DatagramStream",
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
    "OptionError",
    "OptionFile",
    "Plan",
    "ProxyUpstream",
    "Relayed",
    "Resolver",
    "Route",
    "RuleKind",
    "RuleTest",
    "SaltMemory",
    "Seal",
    "Secret",
    "ShadowsocksClient",
    "ShadowsocksError",
    "ShadowsocksKeys",
    "ShadowsocksSeal",
    "SocksFraming",
    "Source",
    "StreamFraming",
    "StreamObserver",
    "StreamPiece",
    "TlsClient",
    "TlsOptions",
    "Unreached",
    "Upstream",
    "UpstreamType",
    "Verdict",
    "hold",
    "hookimpl",
    "log_fields",
    "named_codecs",
    "reach",
    "reach_datagrams",
    "shadowsocks_address",
    "shadowsocks_keys",
    "showing_progress",
    "start_tls",
    "tls_client",
    "zstd_dictionaries",
]
