"""Both ends of Shadowsocks for tests: keys that go together, clocks that stand still, known octets."""

import base64
import itertools
from collections.abc import Callable

from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_keys import METHODS, Keys, ServerKeys, client_keys, method_named, server_keys
from tunproxy.codecs.shadowsocks_packet import PacketClient
from tunproxy.codecs.shadowsocks_packet_server import PacketServer
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.codecs.shadowsocks_server import ShadowsocksServer
from tunproxy.codecs.shadowsocks_sessions import SessionMemory
from tunproxy.codecs.shadowsocks_stream import ShadowsocksClient

NEW = tuple(name for name in METHODS if method_named(name).is_2022)
OLD = tuple(name for name in METHODS if not method_named(name).is_2022)
WITH_USERS = tuple(name for name in METHODS if method_named(name).has_users)

NOW = 1_795_000_000.0
V4, V6 = bytes([192, 0, 2, 7]), bytes.fromhex("20010db8000000000000000000000007")
ADDRESS = emit_address(V4, 443)


def password(method: str, number: int = 1) -> str:
    """Return a password that method takes."""
    found = method_named(method)
    if not found.is_2022:
        return f"password {number}"
    return base64.b64encode(bytes([number]) * found.key_len).decode()


def keys_for(method: str, users: int = 0) -> tuple[Keys, ServerKeys]:
    """Return the keys of a client and a server; of so many users, the client is the first."""
    own = password(method)
    if not users:
        return client_keys(method, own), server_keys(method, own)
    names = {f"user {number}": password(method, 10 + number) for number in range(users)}
    return client_keys(method, f"{own}:{names['user 0']}"), server_keys(method, own, names)


def counted(start: int = 0) -> Callable[[int], bytes]:
    """Return a source of octets that are the same in each run, and never twice the same in one."""
    number = itertools.count(start)
    return lambda size: next(number).to_bytes(size, "big") if size else b""


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Ends:
    """A client and a server of one stream; more clients of the same server on demand."""

    def __init__(self, method: str, users: int = 0) -> None:
        self.keys, self.server_keys = keys_for(method, users)
        self.method = self.keys.method
        self.clock, self.server_clock = Clock(), Clock()
        self.random = counted(1000)
        self.salts = SaltMemory(self.method.is_2022)
        self.client = self.new_client()
        self.server = self.new_server()

    def new_client(self, address: bytes = ADDRESS) -> ShadowsocksClient:
        return ShadowsocksClient(self.keys, address, None, self.clock, self.random)

    def new_server(self) -> ShadowsocksServer:
        return ShadowsocksServer(self.server_keys, self.salts, self.server_clock, self.random)

    def meet(self, words: bytes = b"hello") -> None:
        """Have the server read the client's first words."""
        assert self.server.decode(self.client.encode(words)) == words


class PacketEnds:
    """A client and a server of datagrams."""

    def __init__(self, method: str, users: int = 0) -> None:
        self.keys, self.server_keys = keys_for(method, users)
        self.clock = Clock()
        self.random = counted(1000)
        self.client = self.new_client()
        self.server = PacketServer(self.server_keys, self.clock, self.random)

    def new_client(self) -> PacketClient:
        return PacketClient(self.keys, self.clock, self.random)


def server_of(ends: PacketEnds, sessions: SessionMemory) -> PacketServer:
    """Return one more server for the same clients, with a memory of its own."""
    return PacketServer(ends.server_keys, ends.clock, ends.random, sessions)
