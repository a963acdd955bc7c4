"""What flows cost while they idle, and what is left of them afterwards: memory and descriptors, by count.

TUNPROXY_CONNECTIONS=100000 makes the sequence of connections longer than fits between other tests.
"""

import contextlib
import os
import resource
import select
import socket
import time
from collections.abc import Iterator

import pytest

from tests.system.lab import IPV4, Lab
from tests.system.namespace import Namespace
from tests.system.proxy import Proxy
from tunproxy import version

MOST_IDLE = 10_000 if version.is_compiled() else 2_000
PER_IDLE_FLOW = 4096 if version.is_compiled() else 2 * 4096  # octets; objects of Python cost more
SEQUENCE = int(os.environ.get("TUNPROXY_CONNECTIONS", "20000" if version.is_compiled() else "3000"))
WARM = 2_000  # connections after which what is allocated once has been
SOURCES = 1_000
SPARE = 500  # descriptors of this process that are not the test's
SLACK = 0.10
SETTLED = 64 << 10  # octets by which memory moves while nothing happens

pytestmark = [pytest.mark.timeout(60 + SEQUENCE // 200), pytest.mark.leaks_checked_per_module]


@pytest.fixture
def many_ports(lab: Lab) -> Iterator[None]:
    """Let the host have more ports than connections, and use those again that wait for nothing."""
    with contextlib.ExitStack() as stack:
        for key, value in (("ip_local_port_range", "1024 65535"), ("tcp_tw_reuse", "1")):
            stack.enter_context(lab.host.changed(f"net/ipv4/{key}", value))
        yield


def test_idle_connection_costs_at_most_four_kilobytes(lab: Lab, many_ports: None) -> None:
    """Each has carried data both ways before; all of them still work in the end."""
    count = min(MOST_IDLE, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE) // 2)
    with contextlib.ExitStack() as stack, lab.server.listen(IPV4.host) as listener:
        connections = [stack.enter_context(contextlib.closing(Connection(lab.client, listener)))
                       for _ in range(200)]  # fmt: skip
        before = settled(lab.proxy)
        while len(connections) < count:
            connections.append(stack.enter_context(contextlib.closing(Connection(lab.client, listener))))
        each = (settled(lab.proxy) - before) / (count - 200)
        assert each <= PER_IDLE_FLOW, f"{each:.0f} octets for each of {count} idle connections"
        for number in range(0, count, 97):
            connections[number].exchange()


def test_connections_in_sequence_leave_nothing_behind(lab: Lab, many_ports: None) -> None:
    with lab.server.listen(IPV4.hosts[0]) as first, lab.server.listen(IPV4.hosts[1]) as second:
        for number in range(WARM):
            Connection(lab.client, (first, second)[number % 2]).close()
        before = settled(lab.proxy)
        for number in range(SEQUENCE):
            Connection(lab.client, (first, second)[number % 2]).close()
    if lab.proxy is None:
        return
    assert lab.proxy.leaked(20) == 0
    after = settled(lab.proxy)
    assert after <= before * (1 + SLACK), f"{before >> 10} kB, then {after >> 10} kB"


def test_thousand_udp_sources_are_answered_and_forgotten(lab: Lab) -> None:
    """All ask within one time-out; when it is over, their descriptors are closed.

    They ask once more where that took longer, as on a machine that stood still meanwhile.
    """
    turn, held, is_within = 0, 0, False
    with contextlib.ExitStack() as stack, lab.server.datagram(IPV4.host) as server:
        target = server.getsockname()[:2]
        clients = [stack.enter_context(lab.client.datagram(IPV4.any)) for _ in range(SOURCES)]
        while turn < 2 or (turn < 10 and not is_within):
            began, sources = time.monotonic(), set()
            for number, client in enumerate(clients):
                client.sendto(b"%d %d" % (turn, number), target)
                data, source = server.recvfrom(100)
                server.sendto(data, source)
                sources.add(source)
            for number, client in enumerate(clients):
                assert client.recv(100) == b"%d %d" % (turn, number)
            if lab.proxy is not None:
                held = lab.proxy.leaked(0)
            is_within = time.monotonic() - began < lab.options.udp_timeout
            turn += 1
        assert len(sources) == SOURCES
        if lab.proxy is not None:
            assert held >= SOURCES // 2, "they were closed before their time"
            assert lab.proxy.leaked(lab.options.udp_timeout + 20) == 0


class Connection:
    """Both ends of one connection that has carried an octet each way."""

    def __init__(self, namespace: Namespace, listener: socket.socket) -> None:
        self._client = namespace.connect_to(listener)
        try:
            if not select.select([listener], [], [], 20)[0]:
                raise TimeoutError("nothing to accept")
            self._server, _ = listener.accept()
        except BaseException:
            self._client.close()
            raise
        self._server.settimeout(20)
        self.exchange()

    def exchange(self) -> None:
        self._client.send(b"?")
        assert self._server.recv(10) == b"?"
        self._server.send(b"!")
        assert self._client.recv(10) == b"!"

    def close(self) -> None:
        """End both directions, the client's first, and wait for it: nothing of it is under way any more."""
        with self._client, self._server:
            if self._client.fileno() < 0:
                return
            self._client.shutdown(socket.SHUT_WR)
            assert self._server.recv(10) == b""
            self._server.shutdown(socket.SHUT_WR)
            assert self._client.recv(10) == b""


def settled(proxy: Proxy | None) -> int:
    """Return the memory that the proxy holds once it does not change any more."""
    if proxy is None:
        return 0
    found = proxy.resident()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        time.sleep(0.3)
        before, found = found, proxy.resident()
        if abs(found - before) <= SETTLED:
            break
    return found
