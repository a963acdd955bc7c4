"""TUN devices of other sizes than the usual 1500 octets."""

import contextlib
import socket
import time

import pytest

from tests.system.lab import IPV4, IPV6, Family, Lab, Options
from tests.system.peers import (
    MEGABYTE,
    Task,
    block,
    digest_of,
    echo_server,
    pair,
    receive_digest,
    send_and_end,
)

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.leaks_checked_per_module,
    pytest.mark.parametrize(
        "module_lab",
        [Options(device_mtu=576), Options(mtu=1280), Options(mtu=9000), Options(mtu=65535)],
        indirect=True,
        ids=lambda options: f"mtu {options.device_mtu or options.mtu}",
        scope="module",
    ),
]


@pytest.fixture(params=[IPV4, IPV6], ids=lambda family: family.name)
def family(request: pytest.FixtureRequest, lab: Lab) -> Family:
    chosen: Family = request.param
    if chosen is IPV6 and device_mtu(lab) < 1280:
        pytest.skip("IPv6 needs an MTU of 1280")
    return chosen


@pytest.mark.parametrize("direction", ["up", "down"])
def test_stream_arrives_unaltered(lab: Lab, family: Family, direction: str) -> None:
    size = 50 * MEGABYTE
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            source, sink = (client, server) if direction == "up" else (server, client)
            started = time.monotonic()
            received = Task(receive_digest, sink)
            send_and_end(source, size)
            assert received.result() == (size, digest_of(size))
            assert time.monotonic() - started < 20  # each ACK delayed would make it 35


def test_segment_size_fits_into_the_device(lab: Lab, family: Family) -> None:
    """What the handshake agreed on must not need fragments."""
    headers = 40 if family is IPV4 else 60
    with lab.server.listen(family.host) as listener:
        client, server = pair(lab.client, listener)
        with client, server:
            client.sendall(b"x")
            if lab.proxy:
                assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= device_mtu(lab) - headers


@pytest.mark.parametrize("size", [0, 500, 549, 1233, 1472, 9000, 65507])
def test_datagram_returns_unaltered(lab: Lab, family: Family, size: int) -> None:
    """What fits into the device, but not into the link behind it, may cost one datagram to learn that."""
    with echo_server(lab.server, family.host) as target, lab.client.datagram(family.any) as client:
        for number in range(3):
            data = block()[number : number + size]
            assert ask(client, data, target, block()[number - 1 : number - 1 + size]) == data


def device_mtu(lab: Lab) -> int:
    return lab.options.device_mtu or lab.options.mtu


def ask(client: socket.socket, data: bytes, target: tuple[str, int], before: bytes) -> bytes:
    """Send a datagram and return the answer; after a second without one, ask once more.

    What was sent before may have been asked twice, too, and its second answer comes now.
    """
    for patience in (1, 20):
        client.settimeout(patience)
        client.sendto(data, target)
        with contextlib.suppress(TimeoutError):
            while (answer := client.recv(65536)) == before != data:
                pass
            return answer
    raise TimeoutError(f"no answer to {len(data)} octets")
