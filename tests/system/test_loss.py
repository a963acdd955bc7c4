"""Loss, corruption, outages and a narrow link, on either side of tunproxy.

    client 10.96.0.2 == near link == host, with tunproxy == far link == server

On the near link our own TCP has to recover, on the far link the kernel's. Offloads are off where packets
are dropped, so that a drop is one packet of 1500 octets.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.system.lab import CLIENT_END, DOWNLINK, HOST_END, IPV4, UPLINK, Family, Lab, Options
from tests.system.namespace import Namespace
from tests.system.peers import (
    BLOCK,
    MEGABYTE,
    Task,
    accept,
    digest_of,
    echo_server,
    pair,
    receive_digest,
    receive_exactly,
    send_and_end,
    send_stream,
)

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.parametrize(
        "module_lab", [Options(behind_router=True)], indirect=True, ids=["routed"], scope="module"
    ),
]

LINKS = pytest.mark.parametrize("link", ["near", "far"])
DIRECTIONS = pytest.mark.parametrize("direction", ["up", "down"])


@pytest.fixture(scope="module", autouse=True)
def patience(module_lab: Lab) -> None:
    """Let connection attempts be repeated as often as usual."""
    for namespace in (module_lab.client, module_lab.host):
        namespace.sysctl("net/ipv4/tcp_syn_retries", "6")


@LINKS
@DIRECTIONS
def test_two_percent_loss_stream_arrives_unaltered(
    lab: Lab, family: Family, link: str, direction: str
) -> None:
    with every_packet(lab, link, "numgen random mod 1000 < 20 drop"):
        transfer(lab, family, direction, 20 * MEGABYTE, seconds=60)


@LINKS
def test_ten_percent_loss_both_directions_arrive_unaltered(lab: Lab, link: str) -> None:
    size = MEGABYTE
    with (
        every_packet(lab, link, "numgen random mod 1000 < 100 drop"),
        lab.server.listen(IPV4.host) as listener,
    ):
        client, server = pair(lab.client, listener)
        with client, server:
            received = [Task(receive_digest, end) for end in (client, server)]
            sent = [Task(send_and_end, end, size) for end in (client, server)]
            assert [task.result(60) for task in received] == [(size, digest_of(size))] * 2
            for task in sent:
                task.result()


@LINKS
def test_ten_percent_loss_every_connection_is_made_and_ended(lab: Lab, link: str) -> None:
    """SYN, SYN-ACK, FIN and the last ACK get lost too; 200 requests of one line all succeed."""
    stop = threading.Event()
    loss = every_packet(lab, link, "numgen random mod 1000 < 100 drop")
    with loss, lab.server.listen(IPV4.host) as listener:
        listener.settimeout(0.2)
        server = Task(answer_lines, listener, stop)

        def ask(number: int) -> None:
            with lab.client.connect_to(listener, 40) as client:
                client.sendall(b"%d\n" % number)
                assert receive_exactly(client, 100) == b"%d\n" % number

        with ThreadPoolExecutor(50) as pool:
            list(pool.map(ask, range(200)))
        stop.set()
        server.result()


@LINKS
def test_loss_of_some_datagrams_leaves_the_others_whole(lab: Lab, family: Family, link: str) -> None:
    with (
        echo_server(lab.server, family.host) as target,
        lab.client.datagram(family.any) as client,
        every_packet(lab, link, "numgen random mod 1000 < 50 drop"),
    ):
        for number in range(500):
            client.sendto(number.to_bytes(4, "big") * 300, target)
            time.sleep(0.0005)
        answered: list[int] = []
        with asking(client, target) as last:  # which overtakes none of those before
            while (data := client.recv(2000)) != last:
                assert data == data[:4] * 300
                answered.append(int.from_bytes(data[:4], "big"))
    assert answered == sorted(set(answered))
    assert len(answered) > 350


@DIRECTIONS
def test_corrupted_segments_are_caught_by_the_checksum(lab: Lab, family: Family, direction: str) -> None:
    """Two octets of one payload in a hundred are overwritten; nobody computed that into the checksum."""
    with (
        unsummed(lab),
        every_packet(lab, "near", "meta l4proto tcp numgen random mod 100 < 1 @th,320,16 set 0x4141"),
    ):
        transfer(lab, family, direction, 20 * MEGABYTE, seconds=60)


def test_corrupted_datagrams_are_dropped(lab: Lab, family: Family) -> None:
    with (
        unsummed(lab),
        every_packet(lab, "near", "meta l4proto udp numgen inc mod 2 == 0 @th,320,16 set 0x4141"),
        lab.server.datagram(family.host) as server,
        lab.client.datagram(family.any) as client,
    ):
        for number in range(50):
            client.sendto(number.to_bytes(1, "big") * 200, server.getsockname()[:2])
        arrived = []
        with asking(client, server.getsockname()[:2]) as last:
            while (data := server.recv(1000)) != last:
                arrived.append(data)
    assert all(data == data[:1] * 200 for data in arrived)
    assert len(arrived) == 25


@LINKS
@DIRECTIONS
def test_short_outage_transfer_goes_on_afterwards(lab: Lab, link: str, direction: str) -> None:
    is_over = threading.Event()
    with lab.server.listen(IPV4.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            source, sink = (client, server) if direction == "up" else (server, client)
            sender = Task(send_until, source, is_over)
            received = Task(receive_digest, sink)
            time.sleep(0.05)
            with every_packet(lab, link, "drop", offloads=True):
                time.sleep(1.2)
                assert received.is_running()
            is_over.set()
            size = sender.result()
            assert received.result(30) == (size, digest_of(size))


@LINKS
@DIRECTIONS
def test_narrow_link_is_filled_and_nothing_lost(lab: Lab, link: str, direction: str) -> None:
    """100 Mbit/s behind a buffer of 20 ms in both directions: 12 MB need a second, and little more.

    Of four transfers one must pass without a stall of the machine.
    """
    ends = ends_of(lab, link)
    for namespace, device in ends:
        namespace.run("tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", "100mbit", "burst", "64k",
                      "latency", "20ms")  # fmt: skip
    took = []
    try:
        while len(took) < 4 and min(took, default=3.0) >= 3:
            took.append(transfer(lab, IPV4, direction, 12 * MEGABYTE, seconds=20))
    finally:
        for namespace, device in ends:
            namespace.run("tc", "qdisc", "delete", "dev", device, "root")
    assert min(took) < 3, f"12 MB at 100 Mbit/s took {took} s"


def transfer(lab: Lab, family: Family, direction: str, size: int, *, seconds: float) -> float:
    """Carry a stream of size octets and check it; return how long it took."""
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            source, sink = (client, server) if direction == "up" else (server, client)
            started = time.monotonic()
            sender = Task(send_and_end, source, size)
            received = Task(receive_digest, sink)
            assert received.result(seconds) == (size, digest_of(size))
            sender.result()
            return time.monotonic() - started


def send_until(source: socket.socket, is_over: threading.Event) -> int:
    """Send blocks of the stream, the last one after is_over, and end; return how many octets there were."""
    size, is_last = 0, False
    while not is_last:
        is_last = is_over.is_set()
        send_stream(source, BLOCK)
        size += BLOCK
    source.shutdown(socket.SHUT_WR)
    return size


@contextlib.contextmanager
def asking(client: socket.socket, target: tuple[str, int]) -> Iterator[bytes]:
    """Send a datagram to target again and again meanwhile, as some of them are lost; yield what is in it."""
    is_answered, last = threading.Event(), b"the last one"

    def ask() -> None:
        while not is_answered.wait(0.05):
            client.sendto(last, target)

    asker = Task(ask)
    try:
        yield last
    finally:
        is_answered.set()
        asker.result()


def ends_of(lab: Lab, link: str) -> list[tuple[Namespace, str]]:
    if link == "near":
        return [(lab.client, CLIENT_END), (lab.host, HOST_END)]
    return [(lab.host, UPLINK), (lab.server, DOWNLINK)]


@contextlib.contextmanager
def every_packet(lab: Lab, link: str, rule: str, *, offloads: bool = False) -> Iterator[None]:
    """Apply a rule at both ends of a link, to what arrives there; it must have matched something."""
    matched = []
    with contextlib.ExitStack() as stack:
        for namespace, device in ends_of(lab, link):
            if not offloads:
                namespace.offloads(device, "off")
                stack.callback(namespace.offloads, device, "on")
            matched.append(stack.enter_context(lab.filtering(namespace, device, rule)))
        yield
        assert sum(count() for count in matched) > 0, "the rule hit no packet"


@contextlib.contextmanager
def unsummed(lab: Lab) -> Iterator[None]:
    """Make both ends of the near link compute checksums in software, so that a corruption shows."""
    ends = ends_of(lab, "near")
    for state in ("off", "on"):
        for namespace, device in ends:
            namespace.run("ethtool", "-K", device, "tx", state, "rx", state)
        if state == "off":
            yield


def answer_lines(listener: socket.socket, stop: threading.Event) -> None:
    """Answer each connection's line with itself, each in a thread of its own, until told to stop."""
    with ThreadPoolExecutor(50) as pool:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                pool.submit(answer_line, accept(listener, timeout=40))


def answer_line(server: socket.socket) -> None:
    with server, contextlib.suppress(ConnectionError, TimeoutError):
        server.sendall(server.recv(100))
