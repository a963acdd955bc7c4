"""Requests through upstreams, and what upstreams can carry."""

import asyncio
import errno
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.unit.upstream.test_proxy import Polite
from tests.unit.upstream.test_tls import certificate as certificate
from tunproxy.errors import ConfigError, ConversationError
from tunproxy.flow.framing import Framing
from tunproxy.flow.verdict import DROP, FlowInfo, Verdict
from tunproxy.upstream.base import Dialer, DialUpstream, Opened, OpenError, OpenUpstream, Unreached, Upstream
from tunproxy.upstream.datagrams import DatagramUpstream, DatagramWay
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.probe import Url, explore, fetch, open_through
from tunproxy.upstream.sockets import KernelSockets

pytestmark = pytest.mark.filterwarnings("error")
T = TypeVar("T")


def run(what: Callable[[Dialer], Coroutine[Any, Any, T]]) -> T:
    async def main() -> T:
        dialer = AsyncDialer(asyncio.get_running_loop(), KernelSockets(0, ""))
        return await asyncio.wait_for(what(dialer), 10)

    return asyncio.run(main())


def serve(answer: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> int:
    """Answer one connection; return the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one() -> None:
        with listener:
            sock = listener.accept()[0]
        try:
            with tls.wrap_socket(sock, server_side=True) if tls is not None else sock as stream:
                answer(stream)
        except OSError:  # who does not trust us hangs up
            sock.close()

    threading.Thread(target=one, daemon=True).start()
    return int(listener.getsockname()[1])


def web(
    asked: list[bytes], answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n"
) -> Callable[[socket.socket], None]:
    def handle(sock: socket.socket) -> None:
        asked.append(sock.recv(1000))
        for octet in answer:
            sock.sendall(bytes([octet]))

    return handle


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/",
        "http://",
        "http:///x",
        "x",
        "http://h:99999/",
        "http://h:0/",
        "http://h/a b",
        "http://[::1/",
    ],
)
def test_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot test with the URL"):
        Url(url)


@pytest.mark.parametrize(
    ("url", "host", "port", "first", "named"),
    [
        ("http://h", "h", 80, "HEAD / HTTP/1.1", "Host: h"),
        ("https://h/a?b=c", "h", 443, "HEAD /a?b=c HTTP/1.1", "Host: h"),
        ("http://joe@[2001:db8::1]:81/x#y", "2001:db8::1", 81, "HEAD /x HTTP/1.1", "Host: [2001:db8::1]:81"),
    ],
)
def test_url_becomes_a_request(url: str, host: str, port: int, first: str, named: str) -> None:
    made = Url(url)
    assert (made.host, made.port) == (host, port)
    lines = made.request.decode().split("\r\n")
    assert lines[:2] == [first, named]
    assert lines[-2:] == ["", ""]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_fetch_asks_and_tells_how_long_it_took(host: str) -> None:
    asked: list[bytes] = []
    upstream = DialUpstream("direct")
    url = f"http://{host}:{serve(web(asked))}/generate_204"
    took = run(lambda dialer: fetch(upstream, url, dialer, expected=204))
    assert 0 < took < 5
    assert asked[0].startswith(b"HEAD /generate_204 HTTP/1.1\r\n")
    assert upstream.knowledge.has("tcp") is True


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "status 200 instead of 204"),
        (b"SSH-2.0-x\r\n", "no answer of a web server: it began with b'S"),
        (b"HTTP/1.1 2", "ended before an answer came"),
        (b"HTTP/1.1 " + b"x" * 20_000, "no answer of a web server"),
    ],
)
def test_fetch_answer_that_is_not_wanted_has_failed(answer: bytes, message: str) -> None:
    url = f"http://127.0.0.1:{serve(web([], answer))}/"
    with pytest.raises(OpenError) as caught:
        run(lambda dialer: fetch(DialUpstream("direct"), url, dialer, expected=204))
    assert message in str(caught.value)


def test_fetch_takes_any_of_several_statuses() -> None:
    def ask(*statuses: int) -> float:
        port = serve(web([], b"HTTP/1.1 204 No Content\r\n\r\n"))
        url, expected = f"http://127.0.0.1:{port}/", frozenset(statuses)
        return run(lambda dialer: fetch(DialUpstream("direct"), url, dialer, expected=expected))

    assert ask(200, 204) > 0
    with pytest.raises(OpenError, match="status 204, which is none of those expected"):
        ask(200, 203)


@pytest.mark.needs("openssl")
def test_fetch_over_tls_checks_the_certificate(certificate: Path) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    trusting.check_hostname = False  # it is somebody else's name, but nobody else's key
    url = f"https://127.0.0.1:{serve(web([]), theirs)}/"
    assert run(lambda dialer: fetch(DialUpstream("direct"), url, dialer, tls=trusting)) > 0
    url = f"https://127.0.0.1:{serve(web([]), theirs)}/"
    with pytest.raises(ssl.SSLCertVerificationError):
        run(lambda dialer: fetch(DialUpstream("direct"), url, dialer))


def test_fetch_goes_through_a_proxy() -> None:
    asked: list[bytes] = []

    def proxy(sock: socket.socket) -> None:
        asked.append(sock.recv(100))
        sock.sendall(b"ok")
        web(asked)(sock)

    upstream = Polite("work", "127.0.0.1", serve(proxy))
    assert run(lambda dialer: fetch(upstream, "http://192.0.2.7/x", dialer)) > 0
    assert asked[0] == b"please"
    assert asked[1].startswith(b"HEAD /x")


def test_fetch_proxy_that_is_not_there_is_unreached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreached, match="cannot reach the proxy: connection refused") as caught:
        run(lambda dialer: fetch(Polite("work", "127.0.0.1", port), "http://192.0.2.7/", dialer))
    assert caught.value.errno == errno.ECONNREFUSED


class Noting(OpenUpstream):
    """Notes what it is asked for."""

    def __init__(self, names: bool | None) -> None:
        super().__init__("noting")
        self.asked: list[FlowInfo] = []
        if names is not None:
            self.knowledge.declare("names", names)

    async def open(self, info: FlowInfo, dialer: Dialer) -> Opened:
        self.asked.append(info)
        return Opened(socket.socket())


@pytest.mark.parametrize(
    ("host", "names", "asked"),
    [
        ("www.example.org", True, (bytes(4), "www.example.org")),
        ("192.0.2.7", True, (bytes([192, 0, 2, 7]), "")),
        ("::1", None, (bytes(15) + b"\x01", "")),
    ],
)
def test_open_through_leaves_names_to_who_can(
    host: str, names: bool | None, asked: tuple[bytes, str]
) -> None:
    upstream = Noting(names)
    run(lambda dialer: open_through(upstream, host, 80, dialer)).sock.close()
    assert [(info.target, info.host) for info in upstream.asked] == [asked]


@pytest.mark.parametrize("names", [None, False])
def test_open_through_looks_names_up_for_who_cannot(names: bool | None) -> None:
    upstream = Noting(names)
    run(lambda dialer: open_through(upstream, "localhost", 80, dialer)).sock.close()
    assert upstream.asked[0].target in (bytes([127, 0, 0, 1]), bytes(15) + b"\x01")
    assert upstream.asked[0].host == "localhost"


def test_open_through_what_leads_nowhere_is_an_error() -> None:
    class Dropping(Upstream):
        def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
            return Verdict(DROP, self.name)

    with pytest.raises(OpenError, match=r"nothing leads through x \(drop\)"):
        run(lambda dialer: open_through(Dropping("x"), "192.0.2.7", 80, dialer))


class Able(OpenUpstream, DatagramUpstream):
    """Answers as a test wants it."""

    def __init__(self, tcp: Exception | None = None, udp: Exception | None = None) -> None:
        super().__init__("able")
        self.tcp, self.udp = tcp, udp

    async def open(self, info: FlowInfo, dialer: Dialer) -> Opened:
        if self.tcp is not None:
            raise self.tcp
        return Opened(socket.socket())

    async def open_datagrams(self, info: FlowInfo, dialer: Dialer) -> DatagramWay:
        if self.udp is not None:
            raise self.udp
        return DatagramWay(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), Framing(), None)


@pytest.mark.parametrize(
    ("tcp", "udp", "known"),
    [
        (None, None, {"udp": True, "ipv6": True}),
        (OpenError("8", lacks="ipv6"), OpenError("7", lacks="udp"), {"udp": False, "ipv6": False}),
        (OSError(errno.ENETUNREACH, "x"), TimeoutError(), {"ipv6": False}),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), OpenError("busy"), {}),
        (TimeoutError(), OSError(errno.ECONNRESET, "x"), {}),
    ],
)
def test_explore_finds_out_what_is_not_declared(
    tcp: Exception | None, udp: Exception | None, known: dict[str, bool]
) -> None:
    upstream = Able(tcp, udp)
    run(lambda dialer: explore(upstream, dialer))
    report = upstream.knowledge.report()
    assert {name: fact.has for name, fact in report.items() if fact.how == "probed"} == known


def test_explore_asks_nobody_beyond_the_upstream_where_no_target_is_given() -> None:
    upstream = Able(RuntimeError("asked"), None)
    run(lambda dialer: explore(upstream, dialer, ipv6_target=None))
    assert (upstream.knowledge.has("udp"), upstream.knowledge.has("ipv6")) == (True, None)


def test_explore_bears_with_a_proxy_that_breaks_its_protocol() -> None:
    upstream = Able(None, ConversationError("nonsense"))
    run(lambda dialer: explore(upstream, dialer, ipv6_target=None))
    assert upstream.knowledge.has("udp") is None


def test_explore_does_not_ask_what_is_declared() -> None:
    upstream = Able(RuntimeError("asked"), RuntimeError("asked"))
    upstream.knowledge.declare("udp", False)
    upstream.knowledge.declare("ipv6", True)
    run(lambda dialer: explore(upstream, dialer))


def test_explore_upstream_that_says_nothing_stays_unknown() -> None:
    class Silent(Able):
        async def open(self, info: FlowInfo, dialer: Dialer) -> Opened:
            await asyncio.sleep(60)
            raise AssertionError

        async def open_datagrams(self, info: FlowInfo, dialer: Dialer) -> DatagramWay:
            await asyncio.sleep(60)
            raise AssertionError

    upstream = Silent()
    run(lambda dialer: explore(upstream, dialer, time_limit=0.01))
    assert upstream.knowledge.has("udp") is None
    assert upstream.knowledge.has("ipv6") is None
