"""Proxies as upstreams: which way the conversation is held, and what ends it."""

import asyncio
import re
import socket
import ssl
import threading
from collections.abc import Callable

import pytest

from tunproxy.errors import ConfigError, OptionError
from tunproxy.flow.codec import Codec
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.verdict import CONVERSE, OPEN, FlowInfo
from tunproxy.upstream.base import Opened, OpenError
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.proxy import MAX_WORDS, Chained, ProxyUpstream, around, hold
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.upstream.tls import NoTlsError
from tunproxy.upstream.tls_client import TlsClient

FLOW = FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, bytes([192, 0, 2, 7]), 80)


class Please(Conversation):
    """Says "please", wants to hear "ok"."""

    def __init__(self, word: bytes = b"please") -> None:
        super().__init__()
        self.word = word
        self.text = b""

    def begin(self) -> bytes:
        return self.word

    def heard(self, data: bytes) -> bytes:
        self.text += data
        if b"no" in self.text:
            raise OpenError("it says no")
        if self.text.startswith(b"ok"):
            self.is_over = True
            self.rest = self.text[2:]
        return b""


class Polite(ProxyUpstream):
    def converse(self, info: FlowInfo) -> Conversation:
        return Please()


def test_proxy_at_an_address_is_left_to_the_packet_path() -> None:
    verdict = Polite("work", "[2001:db8::1]", 1080).verdict_for(FLOW, "rule 7")
    assert (verdict.kind, verdict.address, verdict.port) == (CONVERSE, "2001:db8::1", 1080)
    assert (verdict.upstream, verdict.why) == ("work", "rule 7")


def test_proxy_with_a_name_needs_a_coroutine() -> None:
    assert Polite("work", "proxy.example", 1080).verdict_for(FLOW).kind == OPEN


@pytest.mark.parametrize(
    ("host", "port"),
    [("", 1080), ("h", 0), ("h", 65536), ("a" * 64, 1), ("a..b", 1), ("a b", 1), ("a\n", 1), ("x@y", 1)],
)
def test_proxy_nowhere_is_refused(host: str, port: int) -> None:
    with pytest.raises(ConfigError, match="upstream 'work'"):
        Polite("work", host, port)


@pytest.mark.parametrize(
    ("host", "hint"),
    [
        ("192.0.2.1:1080", "write server = '192.0.2.1', port = 1080"),
        ("[2001:db8::1]:1080", "write server = '[2001:db8::1]', port = 1080"),
        ("proxy.example:1080", "write server = 'proxy.example', port = 1080"),
        ("socks5://proxy.example", "--upstream"),
        ("user:password@proxy.example", "--upstream"),
    ],
)
def test_proxy_with_more_than_a_host_is_told_what_to_write(host: str, hint: str) -> None:
    with pytest.raises(OptionError, match=r"an address nor a name \(.*" + re.escape(hint)) as caught:
        Polite("work", host, 1080)
    assert caught.value.path == ("server",)


@pytest.mark.parametrize("host", ["2001:db8::1", "[2001:db8::1]", "fe80::1%eth0"])
def test_proxy_may_be_at_an_ipv6_address(host: str) -> None:
    assert Polite("work", host, 1080).is_address


def held(server: Callable[[socket.socket], None], talk: Conversation) -> bytes:
    """Hold talk with what server says on the other end of a pair of sockets."""

    async def both() -> bytes:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            other = asyncio.get_running_loop().run_in_executor(None, server, theirs)
            try:
                return await asyncio.wait_for(hold(talk, ours), 5)
            finally:
                ours.close()
                await other

    return asyncio.run(both())


def says(*pieces: bytes) -> Callable[[socket.socket], None]:
    def server(sock: socket.socket) -> None:
        sock.recv(100)
        for piece in pieces:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)

    return server


def test_hold_returns_what_the_target_said_already() -> None:
    assert held(says(b"okhello"), Please()) == b"hello"


def test_hold_passes_on_a_refusal() -> None:
    with pytest.raises(OpenError, match="says no"):
        held(says(b"no"), Please())


def test_hold_proxy_that_hangs_up_is_an_error() -> None:
    with pytest.raises(OpenError, match="hung up in the middle"):
        held(says(b"o"), Please())


def test_hold_proxy_that_never_comes_to_the_point_is_an_error() -> None:
    def server(sock: socket.socket) -> None:
        try:
            for _ in range(2 * MAX_WORDS // 1024):
                sock.sendall(b"x" * 1024)
        except OSError:
            pass

    with pytest.raises(OpenError, match="not come to the point"):
        held(server, Please())


def test_open_returns_the_socket_and_the_first_octets() -> None:
    async def run() -> Opened:
        dialer = AsyncDialer(asyncio.get_running_loop(), KernelSockets(0, ""))
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> None:
                with listener.accept()[0] as conn:
                    says(b"okhello")(conn)

            other = asyncio.get_running_loop().run_in_executor(None, serve)
            upstream = Polite("work", "localhost", listener.getsockname()[1])
            opened = await upstream.open(FLOW, dialer)
            await other
            return opened

    opened = asyncio.run(run())
    opened.sock.close()
    assert opened.rest == b"hello"
    assert opened.codec is None


def test_open_closes_the_socket_when_the_proxy_says_no() -> None:
    async def run() -> bytes:
        dialer = AsyncDialer(asyncio.get_running_loop(), KernelSockets(0, ""))
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve() -> bytes:
                with listener.accept()[0] as conn:
                    conn.recv(100)
                    conn.sendall(b"no")
                    return conn.recv(1)

            other = asyncio.get_running_loop().run_in_executor(None, serve)
            with pytest.raises(OpenError):
                await Polite("work", "127.0.0.1", listener.getsockname()[1]).open(FLOW, dialer)
            return await other

    assert asyncio.run(run()) == b""


def test_chained_conversations_follow_one_another() -> None:
    talk = Chained([Please(b"first"), Please(b"second")])
    assert talk.begin() == b"first"
    assert talk.heard(b"o") == b""
    assert talk.heard(b"k") == b"second"
    assert not talk.is_over
    assert talk.heard(b"okhello") == b""
    assert talk.is_over
    assert talk.rest == b"hello"


def test_chained_takes_what_came_early_as_the_next_ones() -> None:
    talk = Chained([Please(b"first"), Please(b"second")])
    talk.begin()
    assert talk.heard(b"okok!") == b"second"
    assert talk.is_over
    assert talk.rest == b"!"


def serve_both(first: bytes | None, talks: list[bytes]) -> int:
    """Serve two connections: one is answered with first, or hung up on; the other talks in the clear."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            sock = listener.accept()[0]
            with sock:
                sock.recv(4096)
                if first is not None:
                    sock.sendall(first)
                    sock.recv(4096)
            listener.settimeout(5)
            try:
                sock = listener.accept()[0]
            except TimeoutError:
                return
            with sock:
                talks.append(sock.recv(4096))
                sock.sendall(b"ok and more")
                sock.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def open_inside_tls(port: int, *, allows_plain: bool) -> Opened:
    tls = TlsClient(ssl.create_default_context(), allows_plain=allows_plain)
    proxy = Polite("work", "127.0.0.1", port, tls=tls)

    async def run() -> Opened:
        found = await proxy.open(FLOW, AsyncDialer(asyncio.get_running_loop(), KernelSockets(0, "")))
        found.sock.close()
        return found

    return asyncio.run(asyncio.wait_for(run(), 10))


@pytest.mark.parametrize("first", [b"SSH-2.0-x\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", None])
def test_proxy_that_speaks_no_tls_is_used_plainly_only_where_that_is_allowed(
    first: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    talks: list[bytes] = []
    found = open_inside_tls(serve_both(first, talks), allows_plain=True)
    assert (talks, found.rest, found.codec) == ([b"please"], b" and more", None)
    assert [record.getMessage() for record in caplog.records] == [
        "upstream work: speaks no TLS, so its flows go in the clear (allow-plain)"
    ]
    with pytest.raises(NoTlsError, match=r"speaks no TLS|does it speak TLS"):
        open_inside_tls(serve_both(first, talks), allows_plain=False)
    assert talks == [b"please"]


class Turning(Codec):
    """Adds a number to each octet."""

    def __init__(self, by: int) -> None:
        self.by = by

    def keeps(self) -> bool:
        return False

    def encode(self, data: bytes | memoryview) -> bytes:
        return bytes((octet + self.by) % 256 for octet in bytes(data))

    def decode(self, data: bytes) -> bytes:
        return bytes((octet - self.by) % 256 for octet in data)


class Turned(Please):
    """Brings a codec once it is over."""

    def __init__(self, word: bytes, by: int) -> None:
        super().__init__(word)
        self.codec = Turning(by)


def test_around_puts_what_a_conversation_brings_above_what_is_there() -> None:
    codec = Turning(1)
    assert around(None, Please()) is None
    assert around(codec, Please()) is codec
    both = around(codec, Turned(b"", 100))
    assert both is not None
    assert both.encode(b"\0") == b"\x65"


def test_hold_reads_what_came_with_the_last_word_through_the_codec() -> None:
    class Early(Conversation):
        def __init__(self) -> None:
            super().__init__()
            self.codec = Turning(1)
            self.is_over = True

        def begin(self) -> bytes:
            return b""

    class Held(Turning):
        held = b"ifmmp"

        def has_more(self) -> bool:
            return bool(self.held)

        def decode(self, data: bytes) -> bytes:
            held, self.held = self.held, b""
            return held + data

    async def run() -> bytes:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            return await hold(Early(), ours, Held(0))

    assert asyncio.run(run()) == b"hello"


def test_chained_conversations_go_through_the_codecs_of_those_before() -> None:
    talk = Chained([Turned(b"a", 1), Turned(b"a", 10), Please(b"a")])
    assert talk.begin() == b"a"
    assert talk.heard(b"ok") == b"b"
    assert talk.heard(Turning(1).encode(b"ok")) == Turning(11).encode(b"a")
    assert talk.heard(Turning(11).encode(b"okrest")) == b""
    assert (talk.is_over, talk.rest) == (True, b"rest")
    assert talk.codec is not None
    assert talk.codec.encode(b"a") == Turning(11).encode(b"a")
