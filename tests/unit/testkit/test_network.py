"""A network with nobody in it but those whom a test puts there."""

import asyncio
import errno
import socket
from collections.abc import Iterator

import pytest

from tunproxy.testkit.network import SimulatedNetwork
from tunproxy.testkit.script import Script
from tunproxy.testkit.virtual import VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


async def ask(network: SimulatedNetwork, host: str, port: int, words: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with await network.connect(host, port) as sock:
        assert sock.gettimeout() == 0
        assert sock.getpeername() is not None
        await loop.sock_sendall(sock, words)
        return await loop.sock_recv(sock, 100)


def test_connect_reaches_the_server_of_that_place(loop: VirtualLoop) -> None:
    network = SimulatedNetwork()
    network.serve("192.0.2.1:80", Script().expects(b"who").sends(b"one"))
    network.serve("[2001:db8::1]:80", Script().expects(b"who").sends(b"six"))
    network.serve("proxy.example:80", Script().expects(b"who").sends(b"name"))
    answers = [
        loop.run(ask(network, host, 80, b"who")) for host in ("192.0.2.1", "2001:db8::1", "proxy.example")
    ]
    loop.run(network.close())
    assert answers == [b"one", b"six", b"name"]
    assert network.dialled == ["192.0.2.1:80", "[2001:db8::1]:80", "proxy.example:80"]


def test_connect_where_nobody_is_fails_as_networks_do(loop: VirtualLoop) -> None:
    network = SimulatedNetwork()
    network.refuse("192.0.2.1:80")
    for host, number in (("192.0.2.1", errno.ECONNREFUSED), ("192.0.2.2", errno.EHOSTUNREACH)):
        with pytest.raises(OSError, match=host) as raised:
            loop.run(network.connect(host, 80))
        assert raised.value.errno == number


def test_connect_datagrams_has_servers_of_its_own(loop: VirtualLoop) -> None:
    async def echo(sock: socket.socket) -> None:
        running = asyncio.get_running_loop()
        while True:
            await running.sock_sendall(sock, await running.sock_recv(sock, 2000))

    async def two() -> list[bytes]:
        running = asyncio.get_running_loop()
        with await network.connect_datagrams("192.0.2.1", 53) as sock:
            await running.sock_sendall(sock, b"a")
            await running.sock_sendall(sock, b"b")
            return [await running.sock_recv(sock, 2000) for _ in range(2)]

    network = SimulatedNetwork()
    network.serve_datagrams("192.0.2.1:53", echo)
    assert loop.run(two()) == [b"a", b"b"]
    with pytest.raises(OSError, match="No route"):
        loop.run(network.connect("192.0.2.1", 53))
    loop.run(network.close())


def test_close_tells_what_a_server_objected_to(loop: VirtualLoop) -> None:
    network = SimulatedNetwork()
    network.serve("192.0.2.1:80", Script().expects(b"other"))
    assert loop.run(ask(network, "192.0.2.1", 80, b"who")) == b""
    with pytest.raises(AssertionError, match="expected b'other', and heard b'who'"):
        loop.run(network.close())


def test_serve_needs_a_port() -> None:
    with pytest.raises(ValueError, match="has no port"):
        SimulatedNetwork().serve("192.0.2.1", Script())
