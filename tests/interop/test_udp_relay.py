"""UDP of a whole host through ``tunproxy relay``: connect-udp in the clear and inside TLS, and Shadowsocks.

The picture is in ``proxies``; the relay is one of the proxies there. A rule sends each port its own way.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator

import dns.message
import pytest

from tests.interop.datagrams import (
    UDP_SEGMENT,
    WAIT,
    both_families,
    client_of,
    exchange,
    refusal,
    resolve,
    serve,
)
from tests.interop.proxied import Up, about
from tests.interop.proxies import TARGET, TARGET6, ProxyLab
from tests.interop.relays import (
    PASSWORD,
    RELAY,
    SHADOW,
    SHADOW_METHOD,
    SHADOW_PASSWORD,
    USER,
    Relay,
    start_open_relay,
    start_relay,
)
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import UPLINK, WORLD_IPV4, eventually
from tests.system.peers import block
from tunproxy.relay.passwords import make_hash

pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.needs("openssl", "setpriv"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

PLAIN, TLS, SHADOWED, OPENED, STRANGER, WEB_ONLY, NAMES = range(7300, 7307)
OPEN_PORT, WEB_PORT = 2110, 2111
SIZES = (0, 1, 100, 548, 1200, 1400, 15_000)
ways = pytest.mark.parametrize("port", [PLAIN, TLS, SHADOWED], ids=["connect-udp", "in-tls", "shadowsocks"])
streams = pytest.mark.parametrize("port", [PLAIN, TLS], ids=["connect-udp", "in-tls"])


def configuration(ca_file: object) -> str:
    """Return a tunproxy.toml with every way."""
    login = f'user = "{USER}"\npassword = {json.dumps(PASSWORD)}\n'
    at = f'server = "{WORLD_IPV4}"\nport'
    return f"""
default = "direct"
rules = [
  "DST-PORT,{PLAIN},plain", "DST-PORT,{NAMES},plain", "DST-PORT,{TLS},tls", "DST-PORT,{SHADOWED},shadow",
  "DST-PORT,{OPENED},open", "DST-PORT,{STRANGER},stranger", "DST-PORT,{WEB_ONLY},web-only",
  "DST-PORT,{WEB_ONLY},shadow",
]
[upstreams.plain]
type = "http"
{at} = {RELAY}
{login}udp = true
[upstreams.tls]
type = "https"
{at} = {RELAY}
ca_file = "{ca_file}"
{login}udp = true
[upstreams.shadow]
type = "shadowsocks"
{at} = {SHADOW}
method = "{SHADOW_METHOD}"
password = "{SHADOW_PASSWORD}"
[upstreams.open]
type = "http"
{at} = {OPEN_PORT}
udp = true
[upstreams.stranger]
type = "http"
{at} = {RELAY}
user = "joe"
password = "not his"
udp = true
[upstreams.web-only]
type = "http"
{at} = {WEB_PORT}
udp = true
"""


class World:
    """The lab with a relay and another one, and one tunproxy before them."""

    def __init__(self, lab: ProxyLab, stack: contextlib.ExitStack) -> None:
        self.lab = lab
        lab.host.ip("link", "set", UPLINK, "mtu", "65535")  # some servers send no fragments
        lab.world.ip("link", "set", "in", "mtu", "65535")
        self.relay: Relay = start_relay(lab, make_hash("fish"))
        self.other: Relay = start_open_relay(lab, OPEN_PORT)
        for address in (TARGET, TARGET6):
            for port in (PLAIN, TLS, SHADOWED, OPENED, STRANGER, WEB_ONLY):
                serve(stack.enter_context(lab.world.datagram(address, port)), lambda data: data)
        serve(stack.enter_context(lab.world.datagram(TARGET, NAMES)), resolve)
        self.web = stack.enter_context(lab.world.listen(WORLD_IPV4, WEB_PORT))
        for relay in (self.relay, self.other):
            relay.await_ready()
        config = lab.settings("tunproxy.toml", configuration(lab.certificate))
        self.up = Up(lab, "--config", config, "--tun", f"udr{os.getpid()}", name="up-udp-relay")

    def close(self) -> None:
        self.up.stop()
        for relay in (self.relay, self.other):
            relay.stop()
            assert "Traceback" not in relay.output(), relay.output()

    def client(self, target: str) -> socket.socket:
        return client_of(self.lab, target)

    def said(self, port: int, words: str) -> int:
        """Count the lines about flows to a port that have these words."""
        return sum(words in line for line in about(self.up.lines(), port))


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with contextlib.ExitStack() as stack, ProxyLab() as lab:
        world = World(lab, stack)
        yield world
        world.close()


@pytest.fixture
def world(made: World) -> Iterator[World]:
    yield made
    made.up.check()


@ways
@both_families
def test_datagrams_of_each_size_come_back_whole(world: World, port: int, target: str) -> None:
    with world.client(target) as client:
        for number, size in enumerate(SIZES):
            exchange(client, target, port, block()[number : number + size])


@streams
def test_largest_datagram_comes_back_whole(world: World, port: int) -> None:
    with world.client(TARGET) as client:
        exchange(client, TARGET, port, block()[:65_507])


@ways
def test_segmented_sends_arrive_as_separate_datagrams(world: World, port: int) -> None:
    with world.client(TARGET) as client:
        sent = [bytes([number]) * 1200 for number in range(30)] + [b"z" * 700]
        client.connect((TARGET, port))
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1200)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        client.send(b"".join(sent))
        got = [client.recv(2000) for _ in sent]
        assert got == sent


@ways
def test_many_clients_each_get_their_own_answers(world: World, port: int) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(world.client(TARGET)) for _ in range(30)]
        for number, client in enumerate(clients):
            client.sendto(b"%d" % number, (TARGET, port))
        for number, client in enumerate(clients):
            assert client.recv(100) == b"%d" % number


def test_one_client_to_two_families_and_ports_gets_each_answer_from_its_target(world: World) -> None:
    with world.client(TARGET) as client:
        for port in (PLAIN, TLS, SHADOWED, OPENED):
            client.sendto(b"%d" % port, (TARGET, port))
        heard = {client.recvfrom(100) for _ in range(4)}
        assert heard == {(b"%d" % port, (TARGET, port)) for port in (PLAIN, TLS, SHADOWED, OPENED)}


@pytest.mark.needs("dig")
def test_dig_gets_its_answer(world: World) -> None:
    done = world.lab.run("dig", f"@{TARGET}", "-p", str(NAMES), "www.example.com", "+short", "+tries=1")
    assert done.stdout.strip() == "203.0.113.80", done


def test_names_are_resolved(world: World) -> None:
    with world.client(TARGET) as client:
        question = dns.message.make_query("www.example.com", "A")
        client.sendto(question.to_wire(), (TARGET, NAMES))
        assert str(dns.message.from_wire(client.recv(4096)).answer[0][0]) == "203.0.113.80"


def test_relay_that_is_gone_refuses_and_comes_back(world: World) -> None:
    with world.client(TARGET) as client, world.client(TARGET) as bystander:
        client.connect((TARGET, OPENED))
        client.send(b"before")
        assert client.recv(100) == b"before"
        exchange(bystander, TARGET, PLAIN, b"mine")
        world.other.kill()
        client.settimeout(0.5)
        assert refusal(client) < WAIT
        words = "cannot reach the proxy: connection refused"
        assert eventually(lambda: world.said(OPENED, words) > 0, 20)
        exchange(bystander, TARGET, PLAIN, b"mine still")
        world.other = start_open_relay(world.lab, OPEN_PORT)
        world.other.await_ready()

        def is_back() -> bool:
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                client.send(b"after")
                return client.recv(100) == b"after"
            return False

        assert eventually(is_back, WAIT)


def test_wrong_password_refuses_and_is_told(world: World) -> None:
    with world.client(TARGET) as client, world.client(TARGET) as bystander:
        client.connect((TARGET, STRANGER))
        client.settimeout(0.5)
        assert refusal(client) < WAIT
        words = "upstream stranger: the proxy wants another user or password (407)"
        assert eventually(lambda: world.said(STRANGER, words) == 1, 20)
        exchange(bystander, TARGET, PLAIN, b"mine")


def test_proxy_that_knows_no_connect_udp_refuses_once_and_then_the_next_rule_holds(world: World) -> None:
    with world.client(TARGET) as client:
        client.connect((TARGET, WEB_ONLY))
        client.send(b"hello")
        with world.web.accept()[0] as conn:
            head = b""
            while b"\r\n\r\n" not in head:
                head += (heard := conn.recv(4096))
                assert heard, head
            conn.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
        words = "the proxy carries no UDP (connect-udp): 404 Not Found"
        assert eventually(lambda: world.said(WEB_ONLY, words) == 1, 20)
        client.settimeout(WAIT)
        client.send(b"by another way")
        assert client.recv(100) == b"by another way"
