"""UDP through the whole machine: every size, many ports, segmentation offload, errors, mappings."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.system.lab import IPV4, Family, Lab, Options
from tests.system.peers import block, echo_server

UDP_TIMEOUT = 6  # seconds, in which a thousand exchanges are over even on a machine that stands still for two
IDLE = 7.5  # seconds: longer than that

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.leaks_checked_per_module,
    pytest.mark.parametrize(
        "module_lab", [Options(udp_timeout=UDP_TIMEOUT)], indirect=True, ids=["patient"], scope="module"
    ),
]

UDP_SEGMENT, UDP_GRO = 103, 104  # linux/udp.h
SO_NO_CHECK = 11
IP_RECVERR, IPV6_RECVERR = 11, 25
CLOSED_PORT = 9


@pytest.mark.parametrize("size", [0, 1, 1200, 1472, 1473, 9000, 65507])
def test_echo_of_each_size_returns_unaltered(lab: Lab, family: Family, size: int) -> None:
    """From 1473 octets on the kernel sends fragments into the TUN, and needs fragments back."""
    with echo_server(lab.server, family.host) as target, lab.client.datagram(family.any) as client:
        for number in range(5):
            data = block()[number : number + size]
            client.sendto(data, target)
            assert client.recvfrom(65536)[0] == data


def test_one_thousand_source_ports_each_get_their_own_answer(lab: Lab, family: Family) -> None:
    with contextlib.ExitStack() as stack, lab.server.datagram(family.host) as server:
        clients = [stack.enter_context(lab.client.datagram(family.any)) for _ in range(1000)]
        sources = set()
        for number, client in enumerate(clients):
            client.sendto(number.to_bytes(4, "big"), server.getsockname()[:2])
            data, source = server.recvfrom(100)
            server.sendto(data, source)
            sources.add(source[:2])
        assert len(sources) == 1000
        for number, client in enumerate(clients):
            assert client.recv(100) == number.to_bytes(4, "big")


def test_one_socket_to_many_targets_gets_each_answer_from_its_target(lab: Lab, family: Family) -> None:
    with contextlib.ExitStack() as stack, lab.client.datagram(family.any) as client:
        servers = [stack.enter_context(lab.server.datagram(host)) for host in family.hosts for _ in range(20)]
        for server in servers:
            target = server.getsockname()[:2]
            client.sendto(repr(target).encode(), target)
        for server in servers:
            data, source = server.recvfrom(100)
            server.sendto(data, source)
        for _ in servers:
            data, source = client.recvfrom(100)
            assert data == repr(source[:2]).encode()


def test_sustained_exchange_keeps_order_and_loses_nothing(lab: Lab, family: Family) -> None:
    """4,000 datagrams with 40 under way at a time, which fits into every buffer on the way."""
    with echo_server(lab.server, family.host) as target, lab.client.datagram(family.any) as client:
        client.connect(target)
        sent = 0
        for number in range(4000):
            while sent < min(4000, number + 40):
                client.send(sent.to_bytes(4, "big") + block()[:1196])
                sent += 1
            assert client.recv(2000) == number.to_bytes(4, "big") + block()[:1196]


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("last", [1200, 1, 700])
def test_segmented_send_arrives_as_separate_datagrams(
    lab: Lab, family: Family, direction: str, last: int
) -> None:
    """UDP_SEGMENT hands the kernel many datagrams at once; the boundaries must survive."""
    with associated(lab, family) as (client, server):
        source, sink = (client, server) if direction == "up" else (server, client)
        source.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1200)
        for number in range(20):
            data = block()[number : number + 40 * 1200 + last]
            source.send(data)
            assert [sink.recv(2000) for _ in range(41)] == [
                data[at : at + 1200] for at in range(0, len(data), 1200)
            ]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_coalescing_receiver_gets_the_same_datagrams(lab: Lab, family: Family, direction: str) -> None:
    """A UDP_GRO socket may be given several datagrams at once, with their common size beside them."""
    with associated(lab, family) as (client, server):
        source, sink = (client, server) if direction == "up" else (server, client)
        sink.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
        source.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1000)
        for number in range(20):
            data = block()[number : number + 30 * 1000 + 10]
            source.send(data)
            received: list[bytes] = []
            while len(received) < 31:
                received += receive_coalesced(sink)
            assert received == [data[at : at + 1000] for at in range(0, len(data), 1000)]


def test_closed_port_is_refused(lab: Lab, family: Family) -> None:
    """An ICMP port unreachable comes back and is what the application's socket needs to see."""
    for _ in range(5):
        with lab.client.make_socket(family.af, socket.SOCK_DGRAM) as client:
            client.connect((family.host, CLOSED_PORT))
            client.send(b"anyone?")
            with pytest.raises(ConnectionRefusedError):
                client.recv(1)


def test_closed_port_error_names_the_refused_target(lab: Lab, family: Family) -> None:
    """One socket, two targets: the error belongs to one, the other goes on."""
    level, option = (
        (socket.IPPROTO_IP, IP_RECVERR)
        if family.af == socket.AF_INET
        else (socket.IPPROTO_IPV6, IPV6_RECVERR)
    )
    with echo_server(lab.server, family.host) as target, lab.client.datagram(family.any) as client:
        client.setsockopt(level, option, 1)
        client.sendto(b"anyone?", (family.hosts[1], CLOSED_PORT))
        with pytest.raises(ConnectionRefusedError):
            client.recv(1)
        data, _, _, refused = client.recvmsg(100, 512, socket.MSG_ERRQUEUE)
        assert refused[:2] == (family.hosts[1], CLOSED_PORT)
        assert data == b"anyone?"
        client.sendto(b"hello", target)
        assert client.recv(100) == b"hello"


def test_closed_port_that_opens_later_is_reached(lab: Lab, family: Family) -> None:
    with lab.client.datagram(family.any) as client:
        client.connect((family.host, 7777))
        client.send(b"first")
        with pytest.raises(ConnectionRefusedError):
            client.recv(1)
        with lab.server.datagram(family.host, 7777) as server:
            client.send(b"second")
            data, source = server.recvfrom(100)
            assert data == b"second"
            server.sendto(b"answer", source)
            assert client.recv(100) == b"answer"


def test_mapping_is_the_same_for_every_target_and_open_to_all(lab: Lab, family: Family) -> None:
    """Endpoint-independent mapping and filtering (RFC 4787 §4.1, §5): what games and calls stand on."""
    with contextlib.ExitStack() as stack, lab.client.datagram(family.any) as client:
        first, second, third = (stack.enter_context(lab.server.datagram(host)) for host in family.hosts)
        sources = []
        for server in (first, second):
            client.sendto(b"who am i?", server.getsockname()[:2])
            sources.append(server.recvfrom(100)[1][:2])
        assert sources[0] == sources[1]
        third.sendto(b"i heard of you", sources[0])
        data, source = client.recvfrom(100)
        assert (data, source[:2]) == (b"i heard of you", third.getsockname()[:2])
        client.sendto(b"pleased", source)
        assert third.recvfrom(100)[1][:2] == sources[0]


def test_silent_association_is_forgotten_and_made_anew(lab: Lab, family: Family) -> None:
    with echo_server(lab.server, family.host) as target, lab.client.datagram(family.any) as client:
        client.sendto(b"before", target)
        assert client.recv(100) == b"before"
        time.sleep(IDLE)
        client.sendto(b"after", target)
        assert client.recv(100) == b"after"


def test_datagram_without_checksum_is_delivered(lab: Lab) -> None:
    """IPv4 allows a checksum of zero: not computed (RFC 768)."""
    with echo_server(lab.server, IPV4.host) as target, lab.client.datagram(IPV4.any) as client:
        client.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        for size in (10, 5000):
            client.sendto(block()[:size], target)
            assert client.recv(10000) == block()[:size]


def test_server_that_only_sends_is_received(lab: Lab, family: Family) -> None:
    """One request, a thousand datagrams back, at a pace that no buffer on the way must drop."""
    with associated(lab, family) as (client, server):
        for number in range(1000):
            server.send(number.to_bytes(4, "big"))
            if number % 20 == 19:
                received = [int.from_bytes(client.recv(100), "big") for _ in range(20)]
                assert received == list(range(number - 19, number + 1))


@contextlib.contextmanager
def associated(lab: Lab, family: Family) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield a client and a server socket that are connected to each other as each sees the other."""
    with lab.client.datagram(family.any) as client, lab.server.datagram(family.host) as server:
        client.connect(server.getsockname()[:2])
        client.send(b"first")
        server.connect(server.recvfrom(100)[1][:2])
        yield client, server


def receive_coalesced(sock: socket.socket) -> list[bytes]:
    """Return the datagrams of one receive, split where the kernel says."""
    data, ancillary, _, _ = sock.recvmsg(65536, 128)
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_UDP, UDP_GRO):
            size = struct.unpack("i", value)[0]
            return [data[at : at + size] for at in range(0, len(data), size)]
    return [data]
