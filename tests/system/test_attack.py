"""Garbage in the TUN: it is dropped, the flows beside it notice nothing, and tunproxy lives on."""

import contextlib
import errno
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.system import malformed
from tests.system.lab import DOWNLINK, IPV4, IPV6, TUN, UPLINK, Family, Lab
from tests.system.peers import (
    MEGABYTE,
    Task,
    block,
    digest_of,
    echo_server,
    pair,
    receive_digest,
    receive_exactly,
    send_and_end,
)

pytestmark = [pytest.mark.timeout(60), pytest.mark.leaks_checked_per_module]

ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
PACKET_VNET_HDR = 15  # linux/if_packet.h
SOL_PACKET = 263
PORT = 40000  # the source of what is forged; no socket has it


@pytest.mark.parametrize("kind", ["odd_ip", "odd_ipv6", "odd_udp_and_icmp", "random"])
def test_malformed_packets_leave_a_running_flow_alone(lab: Lab, family: Family, kind: str) -> None:
    four, six = (IPV4.tun, IPV4.host), (IPV6.tun, IPV6.host)
    packets: dict[str, Callable[[], Iterable[bytes]]] = {
        "odd_ip": lambda: malformed.odd_ip(*four),
        "odd_ipv6": lambda: malformed.odd_ipv6(*six),
        "odd_udp_and_icmp": lambda: [*malformed.odd_udp_and_icmp(*four), *malformed.odd_udp_and_icmp(*six)],
        "random": lambda: (random.Random(seed).randbytes(1 + seed % 1500) for seed in range(3000)),
    }
    with flow_that_must_survive(lab, family):
        inject(lab, packets[kind]())


def test_odd_segments_leave_a_running_flow_alone(lab: Lab, family: Family) -> None:
    with lab.server.listen(family.host) as listener, flow_that_must_survive(lab, family):
        target = listener.getsockname()[:2]
        for port in (target[1], 9):
            inject(lab, malformed.odd_tcp((family.tun, PORT), (target[0], port)))


def test_mutated_packets_leave_a_running_flow_alone(lab: Lab, family: Family) -> None:
    """Octets of good packets are replaced by others: some still make sense, most do not."""
    source, target = (family.tun, PORT), (family.host, 9)
    good = [
        malformed.tcp(source, target, malformed.ACK, payload=b"x" * 100),
        malformed.tcp(source, target, malformed.SYN, options=b"\x02\x04\x05\xb4\x04\x02\x08\x0a" + b"\0" * 8),
        malformed.udp(source, target, b"x" * 100),
        malformed.udp(source, (family.host, 53), b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\0\0\1\0\1"),
    ]
    with flow_that_must_survive(lab, family):
        inject(lab, malformed.mutations(good, 5000, seed=2))


def test_forged_segments_for_a_live_flow_do_not_end_it(lab: Lab, family: Family) -> None:
    """Who knows the ports but not the sequence numbers can neither reset nor insert (RFC 5961)."""
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            inject(lab, malformed.against_flow(client.getsockname()[:2], server.getsockname()[:2]))
            for source, sink in ((client, server), (server, client)):
                source.sendall(b"still here")
                assert receive_exactly(sink, 10) == b"still here"
            received = Task(receive_digest, server)
            send_and_end(client, 10 * MEGABYTE)
            assert received.result() == (10 * MEGABYTE, digest_of(10 * MEGABYTE))


def test_odd_offload_headers_leave_a_running_flow_alone(lab: Lab, family: Family) -> None:
    """A packet socket states sizes and offsets for segmentation itself; the kernel lets some pass."""
    source, target = (family.tun, PORT), (family.host, 9)
    head = 40 if family is IPV6 else 20
    segment = malformed.tcp(source, target, malformed.ACK, payload=b"x" * 8000)
    datagram = malformed.udp(source, target, b"y" * 8000)
    headers = [
        (flags, kind, size, start, offset)
        for flags in (0, 1, 2)
        for kind in (0, 1, 3, 4, 5, 0x81)
        for size in (0, 1, 88, 1448, 65535)
        for start, offset in ((head, 16), (head, 6), (0, 0), (head + 1, 16), (7990, 8))
    ]
    with flow_that_must_survive(lab, family):
        for packet in (segment, datagram):
            inject(lab, (vnet_header(*header) + packet for header in headers), vnet=True)


def test_flood_of_connection_attempts_leaves_a_running_flow_alone(lab: Lab, family: Family) -> None:
    """20,000 SYNs from forged ports to a closed one; each is answered or dropped, none is kept."""
    syns = (
        malformed.tcp((family.tun, 1024 + number), (family.host, 9), malformed.SYN, seq=number)
        for number in range(20_000)
    )
    with flow_that_must_survive(lab, family):
        inject(lab, syns)
    with pytest.raises(ConnectionRefusedError):
        lab.client.connect(family.host, 9)


@contextlib.contextmanager
def flow_that_must_survive(lab: Lab, family: Family) -> Iterator[None]:
    """Exchange data over TCP meanwhile, and datagrams afterwards; all of it must arrive as it was sent."""
    stop = threading.Event()
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            echo, exchange = Task(echo_stream, server), Task(exchange_blocks, client, stop)
            try:
                yield
            finally:
                stop.set()
            assert exchange.result() > 0
            echo.result()
    with echo_server(lab.server, family.host) as target, lab.client.datagram(family.any) as datagrams:
        for size in (10, 3000):
            datagrams.sendto(block()[:size], target)
            assert datagrams.recv(4000) == block()[:size]


def exchange_blocks(sock: socket.socket, stop: threading.Event) -> int:
    """Send blocks and compare what returns, until told to stop, and at least one; return how many."""
    count = 0
    while count == 0 or not stop.is_set():
        data = block()[count : count + 50_000]
        sock.sendall(data)
        assert receive_exactly(sock, len(data)) == data
        count += 1
    sock.shutdown(socket.SHUT_WR)
    return count


def echo_stream(sock: socket.socket) -> None:
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def inject(lab: Lab, packets: Iterable[bytes], *, vnet: bool = False) -> None:
    """Put packets into the TUN as if the kernel had routed them there; without tunproxy, onto the link."""
    device, before = (TUN, b"") if lab.proxy else (UPLINK, ethernet_header(lab))
    sent = 0
    with lab.host.make_socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        if vnet:
            sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        for packet in packets:
            head, body = (packet[:10], packet[10:]) if vnet else (b"", packet)
            proto = ETH_P_IPV6 if body[0] >> 4 == 6 else ETH_P_IP
            sent += send_packet(sock, head + before + body, (device, proto))
    assert sent > 0


def send_packet(sock: socket.socket, packet: bytes, where: tuple[str, int]) -> bool:
    """Send one packet, again while the device's queue is full; return False where the kernel refuses it."""
    for _ in range(50):
        try:
            sock.sendto(packet, where)
            return True
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                return False
            time.sleep(0.001)
    return False


def ethernet_header(lab: Lab) -> bytes:
    listing = [namespace.ip("-o", "link", "show", "dev", device)
               for namespace, device in ((lab.server, DOWNLINK), (lab.host, UPLINK))]  # fmt: skip
    return (
        b"".join(bytes.fromhex(line.split("link/ether ")[1].split()[0].replace(":", "")) for line in listing)
        + b"\x08\0"
    )


def vnet_header(flags: int, kind: int, size: int, start: int, offset: int) -> bytes:
    """Build a virtio_net_hdr in this machine's byte order (linux/virtio_net.h)."""
    return struct.pack("=BBHHHH", flags, kind, 40, size, start, offset)
