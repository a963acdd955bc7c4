"""The HTTP plugin's datagrams: the upgrade to connect-udp, its answers, and the stream behind it."""

import asyncio
import base64
import errno
import importlib
import socket
import threading
from collections.abc import Callable

import pytest

from tunproxy.codecs.capsules import CapsuleReader, emit_datagram
from tunproxy.flow.verdict import FlowInfo
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.base import OpenError, Unreached
from tunproxy.upstream.datagrams import DatagramStream, DatagramUpstream
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.knowledge import UDP
from tunproxy.upstream.proxy import ProxyUpstream
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.upstream.types import build_from_url

V4 = FlowInfo("udp", bytes([10, 0, 0, 2]), 40000, bytes([192, 0, 2, 6]), 443)
V6 = FlowInfo("udp", bytes(15) + b"\x02", 40000, bytes.fromhex("20010db8000000000000000000000042"), 443)
NAMED = FlowInfo("udp", bytes([10, 0, 0, 2]), 40000, bytes([198, 18, 0, 9]), 443, "www.example.org")
ODD = FlowInfo("udp", bytes([10, 0, 0, 2]), 40000, bytes([198, 18, 0, 9]), 443, "b\u00fc/.. \r\nX: y")
GRANTED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\n\r\n"


def upstream(url: str) -> DatagramUpstream:
    plugins = Plugins()
    assert plugins.register(importlib.import_module("tunproxy_plugins.http"), "http")
    made = build_from_url(url, plugins.upstream_types())
    assert isinstance(made, DatagramUpstream)
    return made


def opened(
    serve: Callable[[socket.socket], None], info: FlowInfo = V4, login: str = ""
) -> tuple[DatagramStream | Exception, ProxyUpstream]:
    """Return what opening a way through a proxy that serves one connection ended in."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def accept() -> None:
            with listener.accept()[0] as conn:
                conn.settimeout(5)
                serve(conn)

        thread = threading.Thread(target=accept)
        thread.start()
        made = upstream(f"http://{login}127.0.0.1:{listener.getsockname()[1]}?udp=true")

        async def attempt() -> DatagramStream | Exception:
            try:
                dialer = AsyncDialer(asyncio.get_running_loop(), KernelSockets(0, ""))
                way = await made.open_datagrams(info, dialer)
            except Exception as error:
                return error
            assert isinstance(way, DatagramStream)
            return way

        answer = asyncio.run(attempt())
        thread.join(5)
        assert isinstance(made, ProxyUpstream)
        return answer, made


def head_of(conn: socket.socket) -> bytes:
    heard = b""
    while b"\r\n\r\n" not in heard:
        data = conn.recv(4096)
        assert data
        heard += data
    return heard


@pytest.mark.parametrize(
    ("info", "path"),
    [
        (V4, b"/.well-known/masque/udp/192.0.2.6/443/"),
        (V6, b"/.well-known/masque/udp/2001%3Adb8%3A%3A42/443/"),
        (NAMED, b"/.well-known/masque/udp/www.example.org/443/"),
        (ODD, b"/.well-known/masque/udp/b%C3%BC%2F..%20%0D%0AX%3A%20y/443/"),
    ],
)
def test_request_is_that_of_the_rfc(info: FlowInfo, path: bytes) -> None:
    said: list[bytes] = []

    def serve(conn: socket.socket) -> None:
        said.append(head_of(conn))
        conn.sendall(GRANTED)

    answer, made = opened(serve, info)
    assert isinstance(answer, DatagramStream)
    answer.close()
    lines = said[0].split(b"\r\n")
    assert lines[0] == b"GET " + path + b" HTTP/1.1"
    assert set(lines[1:]) == {
        f"Host: 127.0.0.1:{made.port}".encode(),
        b"Connection: Upgrade",
        b"Upgrade: connect-udp",
        b"Capsule-Protocol: ?1",
        b"",
    }


def test_login_goes_with_the_request() -> None:
    said: list[bytes] = []

    def serve(conn: socket.socket) -> None:
        said.append(head_of(conn))
        conn.sendall(GRANTED)

    answer, _ = opened(serve, login="joe:secret@")
    assert isinstance(answer, DatagramStream)
    answer.close()
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"joe:secret") + b"\r\n" in said[0]


def test_stream_carries_capsules_and_what_came_early_is_handed_over() -> None:
    def serve(conn: socket.socket) -> None:
        head_of(conn)
        conn.sendall(GRANTED + emit_datagram(b"early"))
        reader = CapsuleReader()
        found: list[bytes] = []
        while len(found) < 2 and (data := conn.recv(4096)):
            found += reader.take(data)
        conn.sendall(b"".join(emit_datagram(payload) for payload in reversed(found)))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer, _ = opened_with_use(serve, listener)
    assert answer == [b"early", b"two", b"one"]


def opened_with_use(
    serve: Callable[[socket.socket], None], listener: socket.socket
) -> tuple[list[bytes], DatagramUpstream]:
    """Open a way, send two datagrams through it, and return all that came."""
    listener.settimeout(5)

    def accept() -> None:
        with listener.accept()[0] as conn:
            conn.settimeout(5)
            serve(conn)

    thread = threading.Thread(target=accept)
    thread.start()
    made = upstream(f"http://127.0.0.1:{listener.getsockname()[1]}?udp=true")

    async def use() -> list[bytes]:
        loop = asyncio.get_running_loop()
        way = await made.open_datagrams(V4, AsyncDialer(loop, KernelSockets(0, "")))
        assert isinstance(way, DatagramStream)
        assert way.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        framing = way.framing
        found = framing.take(way.rest)
        await loop.sock_sendall(way.sock, framing.head(3) + b"one" + framing.head(3) + b"two")
        while len(found) < 3:
            data = await asyncio.wait_for(loop.sock_recv(way.sock, 4096), 5)
            assert data
            found += framing.take(data)
        way.close()
        return found

    found = asyncio.run(use())
    thread.join(5)
    return found, made


@pytest.mark.parametrize(
    ("answer", "lacks", "error"),
    [
        ("404 Not Found", True, errno.ECONNREFUSED),
        ("405 Method Not Allowed", True, errno.ECONNREFUSED),
        ("400 Bad Request", True, errno.ECONNREFUSED),
        ("501 Not Implemented", True, errno.ECONNREFUSED),
        ("200 OK", True, errno.ECONNREFUSED),
        ("101 Switching Protocols", True, errno.ECONNREFUSED),  # to what, it does not say
        ("403 Forbidden", False, errno.ECONNREFUSED),
        ("407 Proxy Authentication Required", False, errno.ECONNREFUSED),
        ("502 Bad Gateway", False, errno.ECONNREFUSED),
        ("504 Gateway Timeout", False, errno.ETIMEDOUT),
    ],
)
def test_answer_that_grants_nothing_says_what_it_means(answer: str, lacks: bool, error: int) -> None:
    def serve(conn: socket.socket) -> None:
        head_of(conn)
        conn.sendall(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())

    found, _ = opened(serve)
    assert isinstance(found, (OSError, OpenError))
    assert found.errno == error
    assert (isinstance(found, OpenError) and found.lacks == UDP) == lacks


def test_interim_answer_is_followed_by_the_real_one() -> None:
    def serve(conn: socket.socket) -> None:
        head_of(conn)
        conn.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" + GRANTED)

    answer, _ = opened(serve)
    assert isinstance(answer, DatagramStream)
    answer.close()


def test_proxy_that_hangs_up_or_is_not_there_is_named() -> None:
    answer, _ = opened(lambda conn: conn.close())
    assert isinstance(answer, (OpenError, ConnectionResetError))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    made = upstream(f"http://127.0.0.1:{port}?udp=true")

    async def attempt() -> None:
        await made.open_datagrams(V4, AsyncDialer(asyncio.get_running_loop(), KernelSockets(0, "")))

    with pytest.raises(Unreached):
        asyncio.run(attempt())


def test_udp_is_carried_where_the_user_says_so() -> None:
    for scheme in ("http", "https"):
        assert not upstream(f"{scheme}://192.0.2.1").carries(V4)  # type: ignore[attr-defined]
        made = upstream(f"{scheme}://192.0.2.1?udp=true")
        assert made.carries(V4)  # type: ignore[attr-defined]
        assert made.is_per_target
