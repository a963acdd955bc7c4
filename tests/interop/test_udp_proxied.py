"""UDP of a whole host through SOCKS proxies that people run: ``tunproxy up --upstream``."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.rrset
import pytest

from tests.interop.datagrams import UDP_SEGMENT, WAIT, both_families, client_of, refusal, resolve, serve
from tests.interop.proxies import KINDS, TARGET, TARGET6, ProxyLab
from tests.system.conftest import can_make_namespaces
from tests.system.peers import block

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(not can_make_namespaces(), reason="needs root")]

ECHO, NAMES = 7000, 5300
HEADER4 = 10  # octets that SOCKS 5 puts in front of a datagram to an IPv4 target
LARGEST = {
    "dante": 65_507 - HEADER4,
    "sing-box": 16_000,
}  # sing-box cuts what is over 16 KiB
PROXIES = [
    pytest.param("dante", marks=pytest.mark.needs("danted")),
    pytest.param("sing-box", marks=pytest.mark.needs()),
]


@dataclass
class Through:
    """A host whose traffic goes through a proxy, and the process that sees to it."""

    lab: ProxyLab
    proxy: str
    process: "subprocess.Popen[str]"

    def client(self, target: str) -> socket.socket:
        return client_of(self.lab, target)

    def descriptors(self) -> int:
        """Count the open descriptors of tunproxy's processes."""
        pids = [self.process.pid]
        for pid in pids:
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                pids.extend(int(child) for child in file.read().split())
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


@pytest.fixture(scope="module")
def lab() -> Iterator[ProxyLab]:
    with ProxyLab() as made, contextlib.ExitStack() as stack:
        for target in (TARGET, TARGET6):
            serve(stack.enter_context(made.world.datagram(target, ECHO)), lambda data: data)
        serve(stack.enter_context(made.world.datagram(TARGET, NAMES)), resolve)
        yield made


@pytest.fixture(scope="module", params=PROXIES)
def through(lab: ProxyLab, request: pytest.FixtureRequest) -> Iterator[Through]:
    process = lab.start_up("--upstream", lab.url(request.param), "--udp-timeout", "5")
    found = Through(lab, request.param, process)
    yield found
    process.terminate()
    _, output = process.communicate(timeout=20)
    assert process.returncode == 0, output
    assert "Traceback" not in output, output


def exchange(client: socket.socket, target: str, data: bytes) -> bytes:
    client.sendto(data, (target, ECHO))
    answer, source = client.recvfrom(65536)
    assert source[:2] == (target, ECHO)
    return answer


def test_names_are_resolved(through: Through) -> None:
    with through.client(TARGET) as client:
        question = dns.message.make_query("www.example.com", "A")
        client.sendto(question.to_wire(), (TARGET, NAMES))
        answer = dns.message.from_wire(client.recv(4096))
        assert answer.flags & dns.flags.QR
        assert answer.id == question.id
        assert str(answer.answer[0][0]) == "203.0.113.80"


@both_families
@pytest.mark.parametrize("size", [1, 1200, 1472, 9000, 60_000])
def test_datagram_of_each_size_comes_back_whole(through: Through, target: str, size: int) -> None:
    size = min(size, LARGEST[through.proxy])
    with through.client(target) as client:
        for number in range(3):
            data = block()[number : number + size]
            assert exchange(client, target, data) == data


def test_largest_datagram_that_a_proxy_can_take_comes_back_whole(through: Through) -> None:
    with through.client(TARGET) as client:
        data = block()[: LARGEST[through.proxy]]
        assert exchange(client, TARGET, data) == data


def test_larger_datagram_is_refused_at_once(through: Through) -> None:
    with through.client(TARGET) as client:
        client.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
        client.connect((TARGET, ECHO))
        client.send(block()[:65_507])
        with pytest.raises(OSError, match="Message too long"):
            client.recv(65536)


@both_families
def test_one_client_to_200_targets_gets_each_answer_from_its_target(through: Through, target: str) -> None:
    with contextlib.ExitStack() as stack, through.client(target) as client:
        servers = [stack.enter_context(through.lab.world.datagram(target)) for _ in range(200)]
        for server in servers:
            server.settimeout(WAIT)
        sources = set()
        for server in servers:
            address = server.getsockname()[:2]
            client.sendto(repr(address).encode(), address)
            data, source = server.recvfrom(100)
            assert data == repr(address).encode()
            server.sendto(data, source)
            sources.add(source[:2])
        for _ in servers:
            data, source = client.recvfrom(100)
            assert data == repr(source[:2]).encode()
        assert len(sources) == 1, "the mapping is one for all targets"


@both_families
@pytest.mark.parametrize("last", [1200, 700])
def test_segmented_sends_arrive_as_separate_datagrams(through: Through, target: str, last: int) -> None:
    with through.client(target) as client:
        sent = [bytes([number]) * 1200 for number in range(30)] + [b"z" * last]
        client.connect((target, ECHO))
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1200)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        client.send(b"".join(sent))
        got = [client.recv(2000) for _ in sent]
        assert got == sent


def test_many_clients_each_get_their_own_answers(through: Through) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(through.client(TARGET)) for _ in range(100)]
        for number, client in enumerate(clients):
            client.sendto(b"%d" % number, (TARGET, ECHO))
        for number, client in enumerate(clients):
            assert client.recv(100) == b"%d" % number


def test_silent_flows_leave_nothing_behind(through: Through) -> None:
    with through.client(TARGET) as client:
        before = until_steady(through)
        for _ in range(3):
            with contextlib.ExitStack() as stack:
                for _ in range(30):
                    exchange(stack.enter_context(through.client(TARGET)), TARGET, b"hello")
        assert through.descriptors() > before
        exchange(client, TARGET, b"hello")
        until = time.monotonic() + 30
        while through.descriptors() > before and time.monotonic() < until:
            time.sleep(0.2)
        assert through.descriptors() <= before


def until_steady(through: Through) -> int:
    """Return how many descriptors are open once all flows have gone."""
    lowest = through.descriptors()
    until = time.monotonic() + 12
    while time.monotonic() < until:
        time.sleep(0.5)
        lowest = min(lowest, through.descriptors())
    return lowest


def test_proxy_that_is_killed_refuses_and_comes_back(through: Through) -> None:
    """Who had a way is told at once; and the next datagram goes a new way once there is a proxy again."""
    program = KINDS[through.proxy].program
    with through.client(TARGET) as client:
        client.connect((TARGET, ECHO))
        client.send(b"before")
        assert client.recv(100) == b"before"
        through.lab.kill_proxy(program)
        client.settimeout(0.5)
        assert refusal(client) < WAIT
        assert through.process.poll() is None
        through.lab.run_proxy(program)
        until = time.monotonic() + WAIT
        answer = b""
        while answer != b"after" and time.monotonic() < until:
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                client.send(b"after")
                answer = client.recv(100)
        assert answer == b"after"
