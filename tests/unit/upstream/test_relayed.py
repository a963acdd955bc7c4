"""Proxies in a row, over real sockets: with TLS outside, inside, and everywhere."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.upstream.test_proxy import FLOW, Please, Polite
from tests.unit.upstream.test_tls import certificate as certificate
from tests.unit.upstream.test_tls import trusting
from tunproxy.errors import ConfigError
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.verdict import CONVERSE, OPEN, FlowInfo
from tunproxy.upstream.base import Opened, OpenError, Unreached
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.proxy import ProxyUpstream
from tunproxy.upstream.relayed import Relayed
from tunproxy.upstream.sockets import KernelSockets


class Naming(ProxyUpstream):
    """Asks for a target by address and port, in words."""

    def converse(self, info: FlowInfo) -> Conversation:
        host = info.host or socket.inet_ntop(info.family, info.target)
        return Please(f"{host} {info.target_port}\n".encode())


def tunnel(hops: list[ssl.SSLContext | None], asked: list[bytes], last: bytes) -> int:
    """Serve one connection as all proxies of a row would; return the port of the first."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            sock = listener.accept()[0]
        stack = Stack(sock, [Layer(context) for context in hops])
        with sock, contextlib.suppress(ssl.SSLError):  # a client that does not trust us says so
            for depth in range(1, len(hops) + 1):
                stack.depth = depth
                stack.shake()
                asked.append(stack.line())
                stack.say(b"ok" if depth < len(hops) else b"ok" + last)
            asked.append(stack.line())
            stack.say(b"echo")

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


class Layer:
    """One proxy's TLS, without I/O; nothing where there is none."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.arrived, self.leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = (
            context.wrap_bio(self.arrived, self.leaving, server_side=True) if context is not None else None
        )


class Stack:
    """The layers that are open so far, the outermost first."""

    def __init__(self, sock: socket.socket, layers: list[Layer]) -> None:
        self.sock, self.layers, self.depth = sock, layers, 0

    def say(self, data: bytes, depth: int | None = None) -> None:
        for layer in reversed(self.layers[: self.depth if depth is None else depth]):
            if layer.session is not None:
                layer.session.write(data)
                data = layer.leaving.read()
        self.sock.sendall(data)

    def hear(self, depth: int) -> bytes:
        while True:
            data = self.sock.recv(65536)
            assert data
            for layer in self.layers[:depth]:
                if layer.session is not None:
                    layer.arrived.write(data)
                    data = b""
                    try:
                        while True:
                            data += layer.session.read(65536)
                    except ssl.SSLWantReadError:
                        pass
            if data:
                return data

    def shake(self) -> None:
        layer = self.layers[self.depth - 1]
        if layer.session is None:
            return
        while True:
            try:
                layer.session.do_handshake()
                break
            except ssl.SSLWantReadError:
                words = layer.leaving.read()
                if words:
                    self.say(words, self.depth - 1)
                layer.arrived.write(self.hear(self.depth - 1))
        words = layer.leaving.read()
        if words:
            self.say(words, self.depth - 1)

    def line(self) -> bytes:
        return self.hear(self.depth)


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def opened(upstream: ProxyUpstream, use: Callable[[Opened], bytes]) -> bytes:
    """Open a flow through upstream, and say something through it."""

    async def run() -> bytes:
        loop = asyncio.get_running_loop()
        way = await upstream.open(FLOW, AsyncDialer(loop, KernelSockets(0, "")))
        way.sock.setblocking(True)
        try:
            return await loop.run_in_executor(None, use, way)
        finally:
            way.sock.close()

    return asyncio.run(asyncio.wait_for(run(), 10))


def ask(way: Opened) -> bytes:
    codec = way.codec
    words = b"hello"
    way.sock.sendall(words if codec is None else codec.encode(words) + codec.flush())
    data = way.sock.recv(65536)
    return way.rest + b"," + (data if codec is None else codec.decode(data))


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("shape", ["..", "t.", ".t", "tt", "t.t", "ttt"])
def test_open_goes_through_each_proxy_with_tls_wherever_it_is(shape: str, certificate: Path) -> None:
    asked: list[bytes] = []
    theirs, ours = server_context(certificate), trusting(certificate)
    port = tunnel([theirs if one == "t" else None for one in shape], asked, b"220 ")
    hops = [
        Naming(
            f"p{at}",
            "127.0.0.1" if at == 0 else f"192.0.2.{at}",
            port if at == 0 else 1000 + at,
            tls=ours if one == "t" else None,
            server_name="proxy.example",
        )
        for at, one in enumerate(shape)
    ]
    assert opened(Relayed(hops), ask) == b"220 ,echo"
    towards = [f"192.0.2.{at} {1000 + at}\n".encode() for at in range(1, len(shape))]
    assert asked == [*towards, b"192.0.2.7 80\n", b"hello"]


def test_verdict_leaves_it_to_the_packet_path_where_it_can() -> None:
    plain = [Polite("a", "192.0.2.1", 1), Polite("b", "192.0.2.2", 2)]
    verdict = Relayed(plain).verdict_for(FLOW, "rule 7")
    assert (verdict.kind, verdict.address, verdict.port) == (CONVERSE, "192.0.2.1", 1)
    assert (verdict.upstream, verdict.chain, verdict.why) == ("b", "a → b", "rule 7")
    tls = [plain[0], Polite("c", "192.0.2.3", 3, tls=ssl.create_default_context())]
    assert Relayed(tls).verdict_for(FLOW).kind == OPEN
    named = [Polite("n", "proxy.example", 1), plain[1]]
    assert Relayed(named).verdict_for(FLOW).kind == OPEN


def test_first_proxy_that_cannot_be_reached_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    row = Relayed([Polite("a", "127.0.0.1", port), Polite("b", "192.0.2.2", 2)])
    with pytest.raises(Unreached) as caught:
        opened(row, ask)
    assert (caught.value.who, row.dialled) == ("a", "a")


def test_proxy_that_lacks_something_is_remembered() -> None:
    class Lacking(Please):
        def heard(self, data: bytes) -> bytes:
            raise OpenError("no such thing", lacks="ipv6")

    class Poor(Polite):
        def converse(self, info: FlowInfo) -> Conversation:
            return Lacking()

    hops = [Polite("a", "192.0.2.1", 1), Poor("b", "192.0.2.2", 2)]
    talk = Relayed(hops).converse(FLOW)
    talk.begin()
    with pytest.raises(OpenError, match="b: no such thing"):
        talk.heard(b"ok!")
    assert hops[1].knowledge.has("ipv6") is False
    assert hops[0].knowledge.has("ipv6") is None


def test_row_carries_tcp_only_and_what_the_last_one_can() -> None:
    hops = [Polite("a", "192.0.2.1", 1), Polite("b", "192.0.2.2", 2)]
    row = Relayed(hops)
    six = FlowInfo("tcp", bytes(16), 1, bytes(16), 80)
    hops[0].knowledge.declare("ipv6", False)
    assert row.carries(six)
    hops[1].knowledge.declare("ipv6", False)
    assert not row.carries(six)
    assert not row.carries(FlowInfo("udp", bytes(4), 1, bytes(4), 80))


def test_name_that_a_proxy_cannot_resolve_is_refused() -> None:
    first = Polite("a", "192.0.2.1", 1)
    first.knowledge.declare("names", False)
    with pytest.raises(ConfigError, match=r"'a' resolves no names, and 'b' is at 'proxy.example'"):
        Relayed([first, Polite("b", "proxy.example", 2)])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the server's
@pytest.mark.needs("openssl")
def test_hop_whose_certificate_cannot_be_trusted_is_named(certificate: Path) -> None:
    theirs, ours = server_context(certificate), trusting(certificate)
    hops = [
        Naming("a", "127.0.0.1", tunnel([None, theirs], [], b"")),
        Naming("b", "192.0.2.1", 1, tls=ours, server_name="other.example"),
    ]
    with pytest.raises(OpenError, match=r"^b: its certificate cannot be trusted: .*other\.example") as caught:
        opened(Relayed(hops), ask)
    assert caught.value.who == "b"
