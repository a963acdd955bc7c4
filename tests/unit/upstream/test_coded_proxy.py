"""A proxy behind a codec: it stays a proxy, and a hop of a chain."""

import asyncio
import socket
import threading

import pytest

from tests.unit.upstream.test_coded import Xor
from tests.unit.upstream.test_proxy import FLOW, Polite
from tests.unit.upstream.test_relayed import Naming, ask, opened
from tunproxy.codecs.named import ZSTD, make
from tunproxy.flow.verdict import OPEN, FlowInfo
from tunproxy.testkit.network import SimulatedNetwork
from tunproxy.testkit.script import Script
from tunproxy.testkit.virtual import VirtualLoop
from tunproxy.upstream.base import Opened, OpenError
from tunproxy.upstream.coded_proxy import CodedProxy
from tunproxy.upstream.failures import is_the_upstreams
from tunproxy.upstream.knowledge import NAMES, UDP
from tunproxy.upstream.proxy import ProxyUpstream
from tunproxy.upstream.relayed import Relayed


def xor(data: bytes) -> bytes:
    return Xor().encode(data)


def through(upstream: ProxyUpstream, script: Script) -> Opened:
    """Open a flow to a scripted server, and say hello through it; the socket is closed."""
    loop = VirtualLoop()
    network = SimulatedNetwork()
    network.serve("192.0.2.1:1080", script)

    async def run() -> Opened:
        found = await upstream.open(FLOW, network)
        assert found.codec is not None
        await asyncio.get_running_loop().sock_sendall(found.sock, found.codec.encode(b"hello"))
        return found

    try:
        found = loop.run(run())
        found.sock.close()
        return found
    finally:
        loop.run(network.close())
        loop.close()


def test_conversation_and_stream_go_through_the_codec() -> None:
    script = Script().expects(xor(b"please")).sends(xor(b"ok and more")).expects(xor(b"hello"))
    found = through(CodedProxy(Polite("work", "192.0.2.1", 1080), Xor), script)
    assert found.rest == b" and more"


def test_what_a_proxy_is_told_is_concealed_and_what_the_client_says_is_not() -> None:
    concealed: list[bytes] = []

    class Concealing(Xor):
        def conceal(self, data: bytes | memoryview) -> bytes:
            concealed.append(bytes(data))
            return self.encode(data)

    script = Script().expects(xor(b"please")).sends(xor(b"ok and more")).expects(xor(b"hello"))
    through(CodedProxy(Polite("work", "192.0.2.1", 1080), Concealing), script)
    assert concealed == [b"please"]


def test_proxy_that_has_not_got_the_codec_is_the_one_to_blame() -> None:
    asked = make(ZSTD).conceal(b"please")
    script = Script().expects(asked).sends(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(OpenError, match=r"^the zstd stream is corrupt: .* \(has it ") as caught:
        through(CodedProxy(Polite("work", "192.0.2.1", 1080), lambda: make(ZSTD)), script)
    assert is_the_upstreams(caught.value)


def test_it_is_the_proxy_in_everything_but_the_packet_path() -> None:
    inner = Polite("work", "192.0.2.1", 1080)
    inner.knowledge.declare(NAMES, False)
    coded = CodedProxy(inner, Xor)
    verdict = coded.verdict_for(FLOW, "rule 7")
    assert (verdict.kind, verdict.upstream, verdict.why) == (OPEN, "work", "rule 7")
    assert (coded.host, coded.port, coded.dialled) == ("192.0.2.1", 1080, "work")
    assert coded.knowledge.has(NAMES) is False
    assert coded.knowledge.has(UDP) is False
    assert coded.carries(FLOW)
    assert not coded.carries(FlowInfo("udp", FLOW.client, 1, FLOW.target, 80))


def test_chain_with_a_coded_hop_is_opened_by_a_coroutine() -> None:
    hops = [Polite("a", "192.0.2.1", 1080), CodedProxy(Polite("b", "192.0.2.2", 2), Xor)]
    assert Relayed(hops).verdict_for(FLOW).kind == OPEN


@pytest.mark.parametrize("shape", ["c.", ".c", "cc", "c.c"])
def test_hops_with_a_codec_lie_in_each_other(shape: str) -> None:
    """The server takes a codec off for each coded hop that it has become."""
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        sock, _ = listener.accept()
        with listener, sock:
            is_odd = False  # two of them undo each other
            for at, hop in enumerate(shape, 1):
                is_odd ^= hop == "c"
                asked.append(_line(sock, is_odd))
                sock.sendall(_turned(b"ok220 " if at == len(shape) else b"ok", is_odd))
            asked.append(_turned(sock.recv(100), is_odd))
            sock.sendall(_turned(b"echo", is_odd))

    thread = threading.Thread(target=serve)
    thread.start()
    port = listener.getsockname()[1]
    hops: list[ProxyUpstream] = []
    for at, one in enumerate(shape):
        address = ("127.0.0.1", port) if at == 0 else (f"192.0.2.{at}", 1000 + at)
        hop = Naming(f"p{at}", *address)
        hops.append(CodedProxy(hop, Xor) if one == "c" else hop)
    assert opened(Relayed(hops), ask) == b"220 ,echo"
    thread.join(10)
    towards = [f"192.0.2.{at} {1000 + at}\n".encode() for at in range(1, len(shape))]
    assert asked == [*towards, b"192.0.2.7 80\n", b"hello"]


def _line(sock: socket.socket, is_odd: bool) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        found += _turned(sock.recv(1), is_odd)
    return found


def _turned(data: bytes, is_odd: bool) -> bytes:
    return xor(data) if is_odd else data
