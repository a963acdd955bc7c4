"""UDP of a whole host through Shadowsocks servers that people run: ``tunproxy up`` with a configuration.

The picture is in ``shadowsocks``. At each target's port somebody sends back what comes, or answers dig.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

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
from tests.interop.shadowsocks import (
    FIRST_SERVER,
    FIRST_TARGET,
    WAYS,
    Way,
    configuration,
    every,
    password_of,
    start_servers,
    upstream,
)
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import TUNPROXY, UPLINK, WORLD_IPV4, eventually
from tests.system.peers import block

pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

WRONG, WRONG_2022, FORGED, NOT_THERE, STREAMS, STREAMS_ONLY = range(FIRST_TARGET + 90, FIRST_TARGET + 96)
FORGER_PORT, FREE_PORT = FIRST_SERVER + 90, FIRST_SERVER + 91
MANY = range(FIRST_TARGET + 100, FIRST_TARGET + 130)  # targets of one client, ten for each program
SIZES = (0, 1, 100, 548, 1200, 1400)
LARGE = {"ss-server": 2_700, "sing-box": 15_000, "mihomo": 15_000}  # near what each has room for
OF_MANY = ("ss-server-aes-256-gcm", "sing-box-2022-blake3-aes-256-gcm", "mihomo-2022-blake3-aes-128-gcm")


def one_of_each() -> list[object]:
    """Return one way of each program, as parameters of a test."""
    return [param for param in every() if getattr(param, "id", "") in OF_MANY]


def answer(data: bytes) -> bytes:
    """Send back what came; answer a question for an address where it is dig's (which sets RD and AD)."""
    return resolve(data) if data[2:6] == b"\x01\x20\x00\x01" else data


class World:
    """The lab with all its servers and targets, and one tunproxy before them."""

    def __init__(self, lab: ProxyLab, stack: contextlib.ExitStack) -> None:
        self.lab = lab
        lab.host.ip("link", "set", UPLINK, "mtu", "65535")  # some servers send no fragments
        lab.world.ip("link", "set", "in", "mtu", "65535")
        self.logs: dict[str, Path] = start_servers(lab)
        for address in (TARGET, TARGET6):
            for port in (*(way.target for way in WAYS), WRONG, WRONG_2022, STREAMS, STREAMS_ONLY):
                serve(stack.enter_context(lab.world.datagram(address, port)), answer)
        forger = stack.enter_context(lab.world.datagram(WORLD_IPV4, FORGER_PORT))
        serve(forger, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
        old, new = "aes-256-gcm", "2022-blake3-aes-256-gcm"
        ports = {way.method: way.port for way in WAYS if way.program == "sing-box" and not way.has_users}
        extra = [
            upstream("wrong", ports[old], old, "another password"),
            upstream("wrong-2022", ports[new], new, password_of(new, "mallory")),
            upstream("forger", FORGER_PORT, old, password_of(old)),
            upstream("not-there", FREE_PORT, old, password_of(old)),
            upstream("streams", ports[old], old, password_of(old)) + "udp = false\n",
        ]
        rules = [
            f"DST-PORT,{WRONG},wrong",
            f"DST-PORT,{WRONG_2022},wrong-2022",
            f"DST-PORT,{FORGED},forger",
            f"DST-PORT,{NOT_THERE},not-there",
            f"DST-PORT,{STREAMS},streams",
            f"DST-PORT,{STREAMS},{OF_MANY[1]}",
            f"DST-PORT,{STREAMS_ONLY},streams",
            f"DST-PORT,{STREAMS_ONLY},REJECT",
        ]
        for number, name in enumerate(OF_MANY):
            rules += [f"DST-PORT,{port},{name}" for port in MANY[number * 10 : number * 10 + 10]]
        text = configuration("\n".join(extra), rules)
        self.tun = f"ssu{os.getpid()}"
        config = lab.settings("tunproxy.toml", text)
        self.up = Up(lab, "--config", config, "--tun", self.tun, name="up-udp-shadowsocks")

    def need(self, way: Way) -> Way:
        if way.program not in self.logs and way.name not in self.logs:
            pytest.skip(f"not installed: {way.program}")
        return way

    def client(self, target: str) -> socket.socket:
        return client_of(self.lab, target)

    def drops(self, reason: str) -> int:
        """Return how many packets have been dropped for a reason."""
        done = self.lab.run(*TUNPROXY, "status", "--tun", self.tun, "--json")
        assert done.returncode == 0, done
        return int(json.loads(done.stdout)["drops"][reason])

    def said(self, port: int, words: str) -> int:
        """Count the lines about flows to a port that have these words."""
        return sum(words in line for line in about(self.up.lines(), port))


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with contextlib.ExitStack() as stack, ProxyLab() as lab:
        world = World(lab, stack)
        yield world
        world.up.stop()


@pytest.fixture
def world(made: World) -> Iterator[World]:
    yield made
    made.up.check()


@pytest.mark.parametrize("way", every())
def test_datagrams_of_each_size_come_back_whole(world: World, way: Way) -> None:
    for target in (TARGET, TARGET6):
        with world.client(target) as client:
            for number, size in enumerate((*SIZES, LARGE[way.program])):
                exchange(client, target, world.need(way).target, block()[number : number + size])


@pytest.mark.needs("dig")
@pytest.mark.parametrize("way", one_of_each())
def test_dig_gets_its_answer(world: World, way: Way) -> None:
    port = str(world.need(way).target)
    done = world.lab.run("dig", f"@{TARGET}", "-p", port, "www.example.com", "+short", "+tries=1", "+time=10")
    assert done.stdout.strip() == "203.0.113.80", done


@both_families
@pytest.mark.parametrize("way", one_of_each())
def test_segmented_sends_arrive_as_separate_datagrams(world: World, way: Way, target: str) -> None:
    with world.client(target) as client:
        sent = [bytes([number]) * 1200 for number in range(30)] + [b"z" * 700]
        client.connect((target, world.need(way).target))
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1200)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        client.send(b"".join(sent))
        got = [client.recv(2000) for _ in sent]
        assert got == sent


@both_families
@pytest.mark.parametrize("way", one_of_each())
def test_mapping_is_one_for_all_targets_and_strangers_get_through(
    world: World, way: Way, target: str
) -> None:
    number = OF_MANY.index(world.need(way).name)
    with contextlib.ExitStack() as stack, world.client(target) as client:
        sources = set()
        for port in MANY[number * 10 : number * 10 + 10]:
            server = stack.enter_context(world.lab.world.datagram(target, port))
            server.settimeout(WAIT)
            client.sendto(b"%d" % port, (target, port))
            data, source = server.recvfrom(100)
            assert data == b"%d" % port
            server.sendto(data, source)
            assert client.recvfrom(100)[1][:2] == (target, port)
            sources.add(source[:2])
        assert len(sources) == 1, "the mapping is one for all targets"
        stranger = stack.enter_context(world.lab.world.datagram(target))
        stranger.sendto(b"hello", sources.pop())
        data, source = client.recvfrom(100)
        assert (data, source[:2]) == (b"hello", stranger.getsockname()[:2])


def test_many_clients_each_get_their_own_answers(world: World) -> None:
    way = world.need(WAYS[-1])
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(world.client(TARGET)) for _ in range(100)]
        for number, client in enumerate(clients):
            client.sendto(b"%d" % number, (TARGET, way.target))
        for number, client in enumerate(clients):
            assert client.recv(100) == b"%d" % number


@pytest.mark.needs("ss-server")
def test_server_that_is_gone_refuses_and_comes_back(world: World) -> None:
    way = next(way for way in WAYS if way.program == "ss-server" and way.name not in OF_MANY)
    other = world.need(WAYS[-1])
    program = world.lab.programs[way.name]
    with world.client(TARGET) as client, world.client(TARGET) as bystander:
        client.connect((TARGET, way.target))
        client.send(b"before")
        assert client.recv(100) == b"before"
        exchange(bystander, TARGET, other.target, b"mine")
        program.process.kill()
        program.process.wait(20)
        client.settimeout(0.5)
        assert refusal(client) < WAIT
        words = "cannot reach the proxy: connection refused"
        assert eventually(lambda: world.said(way.target, words) > 0, 20)
        exchange(bystander, TARGET, other.target, b"mine still")
        log = world.lab.scratch / "again.log"
        world.lab.programs[way.name] = world.lab.world.spawn(*program.process.args, log=log)

        def is_back() -> bool:
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                client.send(b"after")
                return client.recv(100) == b"after"
            return False

        assert eventually(is_back, WAIT)


# what is wrong, and what is said of it


def test_wrong_password_is_silence_and_a_line_and_others_do_not_notice(world: World) -> None:
    other = world.need(next(way for way in WAYS if way.program == "sing-box" and way.method == "aes-256-gcm"))
    with world.client(TARGET) as client, world.client(TARGET) as bystander:
        ports = {WRONG: "wrong", WRONG_2022: "wrong-2022"}
        for port in ports:
            client.sendto(b"anybody there", (TARGET, port))
        for port, name in ports.items():
            words = f"upstream {name}: no datagram has come back for 5 s"
            assert eventually(lambda port=port, words=words: world.said(port, words) == 1, 30)
        exchange(bystander, TARGET, other.target, b"mine")
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)


def test_forged_answers_are_dropped_counted_and_told_once(world: World) -> None:
    other = world.need(WAYS[-1])
    before = world.drops("bad-seal")
    with world.client(TARGET) as client, world.client(TARGET) as bystander:
        for number in range(10):
            client.sendto(b"%d" % number, (TARGET, FORGED))
        assert eventually(lambda: world.drops("bad-seal") == before + 10, 20)
        words = "upstream forger: wrong password or method"
        assert eventually(lambda: world.said(FORGED, words) == 1, 20)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)
        exchange(bystander, TARGET, other.target, b"mine")


def test_server_that_is_not_there_refuses(world: World) -> None:
    with world.client(TARGET) as client:
        client.connect((TARGET, NOT_THERE))
        client.settimeout(0.5)
        assert refusal(client) < WAIT
        words = "upstream not-there: cannot reach the proxy: connection refused"
        assert eventually(lambda: world.said(NOT_THERE, words) > 0, 20)


# rules


def test_flow_goes_by_the_next_rule_where_the_upstream_has_no_udp(world: World) -> None:
    with world.client(TARGET) as client:
        exchange(client, TARGET, STREAMS, b"by another way")


def test_flow_is_refused_where_no_other_rule_has_a_way(world: World) -> None:
    with world.client(TARGET) as client:
        client.connect((TARGET, STREAMS_ONLY))
        client.settimeout(0.5)
        assert refusal(client) < WAIT
