"""Proxies as upstreams: which way the conversation is held, and what ends it."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from tunproxy.errors import ConfigError
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.verdict import CONVERSE, OPEN, FlowInfo
from tunproxy.upstream.base import Opened, OpenError
from tunproxy.upstream.opening import AsyncDialer
from tunproxy.upstream.proxy import MAX_WORDS, Chained, ProxyUpstream, hold
from tunproxy.upstream.sockets import KernelSockets

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
