"""Proxies that misbehave: clients meet what they would have met directly, and people get one line.

What each of them does, and what is to become of it, is in ``hostile``.
"""

import errno
import socket
from collections.abc import Iterator

import pytest

from tests.interop.hostile import CASES, HELLO, NEVER, PORTS, Case, HostileProxies
from tests.interop.proxied import ECHO, Up, about, exchange, serve
from tests.interop.proxies import TARGET, ProxyLab
from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import WORLD_IPV4, eventually

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.needs("nginx", "microsocks"),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

SILENT = 3.0  # seconds after which a client that hears nothing takes it for silence
PATIENCE = 20.0  # seconds for everything else


@pytest.fixture(scope="module")
def lab() -> Iterator[ProxyLab]:
    with ProxyLab() as made:
        proxies = HostileProxies(made.world, WORLD_IPV4)
        for _ in serve(made):
            yield made
        proxies.stop()


@pytest.fixture(scope="module")
def running(lab: ProxyLab) -> Iterator[Up]:
    """Everything goes through an honest proxy, but each port of PORTS through the one that listens there."""
    port = lab.url("microsocks").rpartition(":")[2]
    lines = ['default = "honest"', "rules = ["]
    lines += [f'  "DST-PORT,{port},p{port}",' for port in PORTS.values()]
    lines += ["]", "[upstreams.honest]", 'type = "socks5"', f'server = "{WORLD_IPV4}"', f"port = {port}"]
    for case in [*CASES, *NEVER]:
        port = PORTS[case.name]
        lines += [
            f"[upstreams.p{port}]",
            f'type = "{case.kind}"',
            f'server = "{WORLD_IPV4}"',
            f"port = {port}",
        ]
    with Up(lab, "--config", lab.settings("tunproxy.toml", "\n".join(lines))) as made:
        yield made
        made.check()


@pytest.fixture
def up(lab: ProxyLab, running: Up) -> Iterator[Up]:
    """The running one, through which another flow goes on while the test runs."""
    with lab.host.connect(TARGET, ECHO, timeout=PATIENCE) as other:
        assert exchange(other, b"before" * 1000) == b"before" * 1000
        yield running
        assert exchange(other, b"after" * 1000) == b"after" * 1000


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_client_meets_the_truth(lab: ProxyLab, up: Up, case: Case) -> None:
    port = PORTS[case.name]
    before = up.descriptors()
    if case.meets:
        with pytest.raises(OSError) as caught:  # noqa: PT011  # the number is what matters
            lab.host.connect(TARGET, port, timeout=SILENT if case.meets == errno.ETIMEDOUT else PATIENCE)
        assert number_of(caught.value) == case.meets
    else:
        with lab.host.connect(TARGET, port, timeout=PATIENCE) as client:
            heard = b""
            while data := client.recv(100):
                heard += data
            assert heard == HELLO
    assert up.has_at_most(before, 40 if case.meets == errno.ETIMEDOUT else 20)
    assert not case.told or eventually(lambda: about(up.lines(), port)), up.lines()
    told = about(up.lines(), port)
    assert len(told) == (1 if case.told else 0), told
    assert not told or case.told in told[0]


def test_silent_proxies_are_given_up(lab: ProxyLab, up: Up) -> None:
    before = up.descriptors()
    for case in NEVER:
        with pytest.raises(TimeoutError):
            lab.host.connect(TARGET, PORTS[case.name], timeout=SILENT)
    for case in NEVER:
        assert eventually(lambda port=PORTS[case.name]: about(up.lines(), port), 40), up.lines()
        told = about(up.lines(), PORTS[case.name])
        assert len(told) == 1
        assert case.told in told[0]
    assert up.has_at_most(before)


def test_two_hundred_clients_of_a_silent_proxy_keep_nobody_waiting(lab: ProxyLab, up: Up) -> None:
    waiting: list[socket.socket] = []
    try:
        for _ in range(200):
            client = lab.host.make_socket()
            client.setblocking(False)
            assert client.connect_ex((TARGET, PORTS[NEVER[0].name])) == errno.EINPROGRESS
            waiting.append(client)
        for _ in range(20):
            with lab.host.connect(TARGET, ECHO, timeout=10) as other:  # the silent one is given 30
                assert exchange(other, b"x" * 1000) == b"x" * 1000
    finally:
        for client in waiting:
            client.close()


def test_the_same_complaint_is_told_once(lab: ProxyLab, up: Up) -> None:
    case = next(case for case in CASES if case.name == "wants a login")
    port = PORTS[case.name]
    before = len(about(up.lines(), port))
    for _ in range(100):
        with pytest.raises(ConnectionRefusedError):
            lab.host.connect(TARGET, port, timeout=PATIENCE)
    assert len(about(up.lines(), port)) <= before + 1
    summary = f"upstream p{port}: the proxy wants a login"
    assert eventually(lambda: any("more flows" in line and summary in line for line in up.lines()), 25)


def number_of(error: OSError) -> int | None:
    return errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno
