"""Shadowsocks servers: every flow is a connection of its own, encrypted from its first octet on.

    client ─▶ us ─▶ codec ─▶ socket ─▶ server ─▶ target

There is nothing to agree on: the target goes out in front of what the client says first, and a server that
cannot read it says nothing, or hangs up.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from tunproxy.plugin.api import (
    IPV6,
    NAMES,
    UDP,
    AddressFraming,
    Conversation,
    DatagramUpstream,
    DatagramWay,
    Dialer,
    FlowInfo,
    OpenError,
    OptionError,
    ProxyUpstream,
    SaltMemory,
    Secret,
    ShadowsocksClient,
    ShadowsocksError,
    ShadowsocksKeys,
    ShadowsocksSeal,
    Upstream,
    UpstreamType,
    reach_datagrams,
    shadowsocks_address,
    shadowsocks_keys,
)

PORT: Final = 8388  # what most servers are set to
MOST_SALTS: Final = 20_000  # that are remembered of a server, twice (2017): 4 MB at most


@dataclass(frozen=True, kw_only=True)
class ShadowsocksOptions:
    """A Shadowsocks server. The password of a 2022 method is a key in base64, or several with : between.

    udp says whether the server carries UDP, which nobody can find out.
    """

    server: str
    port: int = PORT
    method: str
    password: Secret = Secret("")  # noqa: RUF009  # a Secret never changes
    udp: bool = True


@dataclass(frozen=True, kw_only=True)
class SsUrlOptions:
    """The same as a URL says it (SIP002): user is the method, or method and password in base64."""

    server: str
    port: int = PORT
    user: str = ""
    password: Secret = Secret("")  # noqa: RUF009
    plugin: str = ""
    udp: bool = True


class ShadowsocksUpstream(ProxyUpstream, DatagramUpstream):
    """A Shadowsocks server, which is asked for names where they are known."""

    encryption = "Shadowsocks"

    def __init__(self, name: str, host: str, port: int, keys: ShadowsocksKeys, *, has_udp: bool) -> None:
        super().__init__(name, host, port)
        self.keys: Final = keys
        self._salts: Final = SaltMemory(keys.method.is_2022, MOST_SALTS)
        self.knowledge.declare(NAMES, True)
        self.knowledge.declare(IPV6, True)
        self.knowledge.declare(UDP, has_udp)  # a server that has it not says nothing

    def converse(self, info: FlowInfo) -> Conversation:
        return ShadowsocksConversation(self.keys, info, self._salts)

    async def open_datagrams(self, info: FlowInfo, dialer: Dialer) -> DatagramWay:
        sock = await reach_datagrams(self, dialer)
        return DatagramWay(sock, AddressFraming(), seal=ShadowsocksSeal(self.keys))


class ShadowsocksConversation(Conversation):
    """Over before it begins: what it brings is the codec."""

    def __init__(self, keys: ShadowsocksKeys, info: FlowInfo, salts: SaltMemory) -> None:
        super().__init__()
        try:
            address = shadowsocks_address(info.target, info.target_port, info.host)
        except ShadowsocksError as error:
            raise OpenError(str(error)) from error
        self.codec = ShadowsocksClient(keys, address, salts)
        self.is_over = True

    def begin(self) -> bytes:
        return b""

    def heard(self, data: bytes) -> bytes:
        raise AssertionError("nothing is said, so nothing is answered")


def _shadowsocks(name: str, options: ShadowsocksOptions) -> Upstream:
    return _upstream(name, options, options.method, options.password.reveal())


def _ss(name: str, options: SsUrlOptions) -> Upstream:
    if options.plugin:
        why = f"upstream {name!r}: there are no Shadowsocks plugins here ({options.plugin!r})"
        raise OptionError(why, "plugin")
    method, password = options.user, options.password.reveal()
    if not password:
        method, password = _decoded(name, options.user)
    return _upstream(name, options, method, password)


def _upstream(name: str, options: ShadowsocksOptions | SsUrlOptions, method: str, password: str) -> Upstream:
    try:
        keys = shadowsocks_keys(method, password)
    except OptionError as error:
        raise OptionError(f"upstream {name!r}: {error}", *error.path) from error
    return ShadowsocksUpstream(name, options.server, options.port, keys, has_udp=options.udp)


def _decoded(name: str, user: str) -> tuple[str, str]:
    """Return method and password, which SIP002 has in base64 for the URL, with or without = at the end."""
    text = user.rstrip("=")
    try:
        both = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        both = ""
    method, colon, password = both.partition(":")
    if not colon:  # what was meant as a password may stand anywhere
        why = "it must be like ss://method:password@host:port, or have base64 in front of the @ (SIP002)"
        raise OptionError(f"cannot use the URL of upstream {name!r}: {why}", "user")
    return method, password


SHADOWSOCKS: Final = UpstreamType("shadowsocks", ShadowsocksOptions, _shadowsocks)
SS: Final = UpstreamType("ss", SsUrlOptions, _ss, has_tag=True)
