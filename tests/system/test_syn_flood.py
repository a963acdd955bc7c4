"""A SYN flood from forged addresses: those who mean it still connect, and what it costs is bounded.

lab addresses that nobody has ── 20,000 SYNs ─▶ tun0 ─ [tunproxy] ─▶ server: silent, listening or closed
a real client ─────────── connect, request ──▶ tun0 ─ [tunproxy] ─▶ server: another listener
"""

import errno
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.system import malformed
from tests.system.lab import IPV4, TUN, Family, Lab
from tests.system.peers import Task, pair, receive_exactly
from tests.system.proxy import Proxy

pytestmark = pytest.mark.timeout(60)

SYNS, MOST_SYNS = 20_000, 200_000
MOST_EMBRYOS = 1024  # tunproxy.flow.admission: flows whose client has proved nothing
OTHERS = 40  # descriptors of the real clients, and of the process itself
KEPT = 24 << 20  # octets: 1024 flows and the allocator's reserve; 20,000 flows would be 100 MB
OPTIONS = (
    b"\x02\x04\x05\xb4\x04\x02\x08\x0a" + b"\0\0\0\7\0\0\0\0" + b"\x01\x03\x03\x07"
)  # what a kernel offers


@pytest.mark.parametrize("where", ["silent", "listening", "closed"])
def test_flood_real_clients_connect_and_little_is_held(lab: Lab, family: Family, where: str) -> None:
    proxy = lab.proxy
    if proxy is None:
        pytest.skip("a test of tunproxy, not of the kernel")
    descriptors, resident = proxy.descriptors(), proxy.resident()
    most = connects = 0
    is_enough = threading.Event()
    with lab.server.listen(family.host) as listener:
        victim = lab.server.listen(family.host)
        target = (family.silent if where == "silent" else family.host, victim.getsockname()[1])
        if where == "closed":
            victim.close()
        with victim:
            flooding = Task(flood, lab, forged(family, target), is_enough)
            while flooding.is_running():
                request(lab, listener)
                connects += flooding.is_running()
                most = max(most, proxy.descriptors())
                is_enough.set()
            assert flooding.result() >= SYNS
            most = max(most, proxy.descriptors())
            request(lab, listener)  # after it as well, with all that it has left behind
    assert connects > 0, "no connect came through while the flood lasted"
    assert most - descriptors <= MOST_EMBRYOS + OTHERS
    assert where != "silent" or most - descriptors >= MOST_EMBRYOS // 2, "the flood never arrived"
    assert eventually_back(proxy, descriptors), "descriptors of the flood are held"
    assert proxy.resident() - resident < KEPT


def test_flow_that_was_there_before_survives_the_flood(lab: Lab, family: Family) -> None:
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            is_enough = threading.Event()
            flooding = Task(flood, lab, forged(family, (family.silent, 80)), is_enough)
            exchanges = 0
            while flooding.is_running():
                client.sendall(b"question")
                assert receive_exactly(server, 8) == b"question"
                server.sendall(b"answer")
                assert receive_exactly(client, 6) == b"answer"
                exchanges += flooding.is_running()
                is_enough.set()
            assert exchanges > 0


def request(lab: Lab, listener: socket.socket) -> None:
    """Connect, ask and be answered."""
    client, server = pair(lab.client, listener)
    with client, server:
        client.sendall(b"question")
        assert receive_exactly(server, 8) == b"question"
        server.sendall(b"answer")
        server.shutdown(socket.SHUT_WR)
        assert receive_exactly(client, 100) == b"answer"


def forged(family: Family, target: tuple[str, int]) -> Iterator[bytes]:
    """Yield SYNs from addresses of the lab that nobody has, so that nobody resets what is answered."""
    base = "10.97.1" if family is IPV4 else "fd97:1:"
    for number in range(MOST_SYNS):
        last = 2 + number % 250
        source = f"{base}.{last}" if family is IPV4 else f"{base}:{last:x}"
        port = 1024 + number % SYNS
        yield malformed.tcp((source, port), target, malformed.SYN, seq=number, options=OPTIONS)


def flood(lab: Lab, packets: Iterator[bytes], is_enough: threading.Event) -> int:
    """Put packets into the TUN as if the kernel had routed them there; return how many there were.

    These are SYNS, or as many as it takes until is_enough, as on a machine that stands still meanwhile.
    It lasts a second or more, and waits where the device's queue is full: what the kernel drops there nobody
    can answer.
    """
    count = 0
    with lab.host.make_socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        for packet in packets:
            proto = 0x86DD if packet[0] >> 4 == 6 else 0x0800
            while True:
                try:
                    sock.sendto(packet, (TUN, proto))
                    break
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    time.sleep(0.02)
            count += 1
            if count >= SYNS and is_enough.is_set():
                break
            if count % 100 == 0:
                time.sleep(0.005)
    return count


def eventually_back(proxy: Proxy, descriptors: int) -> bool:
    """Wait until no more than so many descriptors are open."""
    until = time.monotonic() + 15
    while proxy.descriptors() > descriptors:
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
