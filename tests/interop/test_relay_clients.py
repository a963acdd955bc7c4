"""``tunproxy relay`` as the server of other people's clients. The picture is in ``relay_clients``."""

import contextlib
import hashlib
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.interop.datagrams import serve as serve_datagrams
from tests.interop.proxied import serve_streams, until_end
from tests.interop.proxies import TARGET, TARGET6, ProxyLab
from tests.interop.relay_clients import (
    Datagrams,
    Way,
    connect,
    every,
    exactly,
    start_clients,
    start_relays,
)
from tests.interop.relays import Relay, start_relay
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import HOST_IPV4, eventually
from tests.system.namespace import Program
from tests.system.peers import MEGABYTE, block
from tunproxy.relay.passwords import make_hash

pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.needs("openssl", "setpriv"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

PORT = 7400
SIZE = 3 * MEGABYTE
FLOWS = 100


def hash_of(words: bytes) -> bytes:
    return hashlib.blake2b(words).hexdigest().encode()


def answer(conn: socket.socket) -> None:
    """Hear as many octets as the first eight say, or all for 0; say their hash, and as many others."""
    size = left = int.from_bytes(exactly(conn, 8), "big")
    hasher = hashlib.blake2b()
    while (left or not size) and (data := conn.recv(min(left, 1 << 18) if size else 1 << 18)):
        hasher.update(data)
        left -= len(data)
    conn.sendall(hasher.hexdigest().encode() + answer_to(size))


def answer_to(size: int) -> bytes:
    return block()[7919 : 7919 + size]


class World:
    """The lab with targets, relays and clients."""

    def __init__(self, lab: ProxyLab, stack: contextlib.ExitStack) -> None:
        self.lab = lab
        for address in (TARGET, TARGET6):
            serve_streams(stack.enter_context(lab.world.listen(address, PORT)), answer)
            serve_datagrams(stack.enter_context(lab.world.datagram(address, PORT)), lambda data: data[::-1])
        self.relays: dict[str, Relay] = start_relays(lab, workers=2)
        self.relays["https"] = self.relays["socks5"] = start_relay(lab, make_hash("fish"))
        stack.callback(self._stop)
        self.clients: dict[str, Program] = {}
        for relay in self.relays.values():
            relay.await_ready()
        self.clients = start_clients(lab)

    def has(self, way: Way) -> bool:
        return way.program in self.clients or way.name in self.clients

    def relay_of(self, way: Way) -> Relay:
        return self.relays[way.kind.removesuffix("-wrong")]

    def flows_of(self, way: Way) -> int:
        """Return how many flows to the targets the relay has begun."""
        return self.relay_of(way).output().count(f":{PORT}: opened")

    def connect(self, way: Way, target: str = TARGET) -> socket.socket:
        return connect(self.lab.host, way.port, target, PORT)

    def check(self) -> None:
        """Fail where a relay has said what a healthy one never says."""
        for name, relay in self.relays.items():
            output = relay.output()
            assert relay.is_alive(), (name, output)
            assert "should not have happened" not in output, (name, output)
            assert "Traceback" not in output, (name, output)

    def _stop(self) -> None:
        for program in self.clients.values():
            program.stop()
        for relay in {id(each): each for each in self.relays.values()}.values():
            relay.kill()


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with ProxyLab() as lab, contextlib.ExitStack() as stack:
        made = World(lab, stack)
        yield made
        made.check()


@pytest.fixture
def world(running: World, way: Way) -> World:
    if not running.has(way):
        pytest.skip(f"not installed: {way.program}")
    return running


@pytest.mark.parametrize("way", every())
@pytest.mark.parametrize("target", [TARGET, TARGET6], ids=["ipv4", "ipv6"])
def test_megabytes_each_way_arrive_unaltered(world: World, way: Way, target: str) -> None:
    words = block()[1009 : 1009 + SIZE]
    before = world.flows_of(way)
    with world.connect(way, target) as client:
        client.sendall(SIZE.to_bytes(8, "big") + words)
        assert until_end(client) == hash_of(words) + answer_to(SIZE)
    assert eventually(lambda: world.flows_of(way) == before + 1, 20)


# ss-local, and sing-box as a Shadowsocks client, close both directions when one has ended, whoever serves
@pytest.mark.parametrize("way", [*every("mihomo"), *every("sing-box", shadowsocks=False)])
def test_half_closed_stream_is_answered(world: World, way: Way) -> None:
    words = block()[:MEGABYTE]
    with world.connect(way) as client:
        client.sendall(bytes(8) + words)
        client.shutdown(socket.SHUT_WR)
        assert until_end(client) == hash_of(words)


@pytest.mark.parametrize("way", every())
def test_hundred_flows_at_once_arrive_unaltered(world: World, way: Way) -> None:
    words = [block()[1009 * number : 1009 * number + 20_000 + 503 * number] for number in range(FLOWS)]
    with contextlib.ExitStack() as stack:
        with ThreadPoolExecutor(20) as pool:
            clients = list(pool.map(lambda _: stack.enter_context(world.connect(way)), words))
        for client, each in zip(clients, words, strict=True):
            client.sendall(len(each).to_bytes(8, "big") + each)
        for client, each in zip(clients, words, strict=True):
            assert until_end(client) == hash_of(each) + answer_to(len(each))


@pytest.mark.parametrize("way", every(datagrams=True))
@pytest.mark.parametrize("target", [TARGET, TARGET6], ids=["ipv4", "ipv6"])
def test_datagrams_arrive_unaltered(world: World, way: Way, target: str) -> None:
    with contextlib.closing(Datagrams(world.lab.host, way.port, target, PORT)) as client:
        for size in (1, 100, 548, 1200, 1380):
            payload = block()[size : 2 * size]
            assert client.exchange(payload) == payload[::-1]


@pytest.mark.parametrize("way", every(wrong=True))
def test_client_with_another_key_is_told_nothing_and_the_log_says_why(world: World, way: Way) -> None:
    relay = world.relay_of(way)
    before = len(relay.output())
    with contextlib.suppress(ConnectionError), world.connect(way) as client:
        client.sendall(bytes(8) + b"hello")
        client.shutdown(socket.SHUT_WR)
        assert until_end(client) == b""
    said = re.compile(rf"{re.escape(HOST_IPV4)}:.*Shadowsocks: wrong password or method")
    assert eventually(lambda: said.search(relay.output(), before), 20), relay.output()[before:]
