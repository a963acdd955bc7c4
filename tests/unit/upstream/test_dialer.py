"""Sockets that are connected for upstreams: by address or name, TCP and UDP, and told of."""

import asyncio
import errno
import gc
import socket
from collections.abc import Coroutine, Iterator

import pytest

from tunproxy.flow.ports import SocketMaker
from tunproxy.upstream.base import Dialer
from tunproxy.upstream.dialer import AsyncDialer, NotingDialer
from tunproxy.upstream.sockets import KernelSockets

pytestmark = pytest.mark.filterwarnings("error")  # a socket that nobody closed


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def run(coroutine: Coroutine[object, object, socket.socket]) -> socket.socket:
    return asyncio.run(coroutine)


async def dial(host: str, port: int) -> socket.socket:
    return await AsyncDialer(asyncio.get_running_loop(), KernelSockets(0, "")).connect(host, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connects_to_an_address_or_a_name(server: socket.socket, host: str) -> None:
    with run(dial(host, server.getsockname()[1])) as sock:
        assert sock.getpeername() == server.getsockname()
        assert sock.gettimeout() == 0


def test_connects_over_ipv6() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        sock = run(dial("::1", listener.getsockname()[1]))
        assert sock.family == socket.AF_INET6
        sock.close()


def test_refused_raises_in_words_and_closes(server: socket.socket) -> None:
    port = server.getsockname()[1]
    server.close()
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(ConnectionRefusedError) as caught:
            run(dial(host, port))
        assert (caught.value.errno, caught.value.strerror) == (errno.ECONNREFUSED, "connection refused")
    gc.collect()


def test_sockets_come_from_the_socket_maker(server: socket.socket) -> None:
    class Small(SocketMaker):
        def tcp(self, family: int) -> socket.socket:
            sock = KernelSockets(0, "").tcp(family)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 3)
            return sock

    async def connect() -> socket.socket:
        return await AsyncDialer(asyncio.get_running_loop(), Small()).connect(*server.getsockname())

    with run(connect()) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 3


def test_connects_datagrams_to_an_address_or_a_name() -> None:
    async def exchange(host: str) -> bytes:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            dialer = AsyncDialer(loop, KernelSockets(0, ""))
            with await dialer.connect_datagrams(host, server.getsockname()[1]) as sock:
                assert sock.gettimeout() == 0
                sock.send(b"question")
                data, client = server.recvfrom(100)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                    stranger.sendto(b"nothing of yours", client)
                server.sendto(data + b", answer", client)
                return await asyncio.wait_for(loop.sock_recv(sock, 100), 5)

    for host in ("127.0.0.1", "localhost"):
        if host == "localhost" and socket.getaddrinfo(host, 1)[0][0] != socket.AF_INET:
            continue
        assert asyncio.run(exchange(host)) == b"question, answer"


def test_noting_dialer_tells_of_each_attempt_and_how_it_ended(server: socket.socket) -> None:
    told: list[tuple[str, str]] = []
    host, port = server.getsockname()
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as free:
        free.bind(("::1", 0))
        closed_port = free.getsockname()[1]

        async def attempts() -> None:
            dialer = NotingDialer(
                AsyncDialer(asyncio.get_running_loop(), KernelSockets(0, "")),
                lambda where, took, failure: told.append((where, failure)),
            )
            (await dialer.connect(host, port)).close()
            (await dialer.connect_datagrams(host, port)).close()
            with pytest.raises(ConnectionRefusedError):
                await dialer.connect("::1", closed_port)

        asyncio.run(attempts())
    assert told == [
        (f"{host}:{port}", ""),
        (f"{host}:{port}", ""),
        (f"[::1]:{closed_port}", "connection refused"),
    ]


def test_noting_dialer_that_is_cancelled_says_so() -> None:
    told: list[str] = []

    async def give_up() -> None:
        dialer = NotingDialer(_Patient(), lambda where, took, failure: told.append(failure))
        task = asyncio.ensure_future(dialer.connect("192.0.2.1", 1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    assert told == ["given up"]


class _Patient(Dialer):
    """Never comes to an end."""

    async def connect(self, host: str, port: int) -> socket.socket:
        await asyncio.sleep(3600)
        raise OSError(errno.ETIMEDOUT, "never")

    async def connect_datagrams(self, host: str, port: int) -> socket.socket:
        return await self.connect(host, port)
