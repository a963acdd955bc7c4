"""Upstreams whose connections go through a codec."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from tests.unit.upstream.test_proxy import FLOW, Polite
from tunproxy.errors import ConfigError
from tunproxy.flow.codec import Codec
from tunproxy.flow.layered import Layered
from tunproxy.flow.targets import Targets
from tunproxy.flow.verdict import OPEN, REJECT, FlowInfo, Verdict
from tunproxy.testkit.network import SimulatedNetwork
from tunproxy.testkit.script import Script
from tunproxy.testkit.virtual import VirtualLoop
from tunproxy.upstream.base import Dialer, DialUpstream, Opened, OpenUpstream, Upstream
from tunproxy.upstream.coded import CodedUpstream

LOOPBACK = FlowInfo("tcp", FLOW.client, FLOW.client_port, bytes([127, 0, 0, 1]), 80)


class Xor(Codec):
    """Each octet with its lowest bit the other way round."""

    def encode(self, data: bytes | memoryview) -> bytes:
        return bytes(each ^ 1 for each in data)

    def decode(self, data: bytes) -> bytes:
        return self.encode(data)


class Inner(OpenUpstream):
    """Has heard something already, and has a codec of its own."""

    async def open(self, info: FlowInfo, dialer: Dialer) -> Opened:
        return Opened(await dialer.connect("192.0.2.9", 1), xor(b"first"), Xor())


class Closed(Upstream):
    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        return Verdict(REJECT, self.name, why=why)


def xor(data: bytes) -> bytes:
    return Xor().encode(data)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


def opened(loop: VirtualLoop, upstream: Upstream, info: FlowInfo, **scripts: Script) -> Opened:
    """Open a flow over a network with servers, and end them; the socket is closed."""
    network = SimulatedNetwork()
    for place, script in scripts.items():
        network.serve(place, script)
    opener = upstream.verdict_for(info).opener
    assert isinstance(opener, OpenUpstream)

    async def both() -> Opened:
        found = await opener.open(info, network)
        assert isinstance(found, Opened)
        if found.codec is not None and info is FLOW:
            await asyncio.get_running_loop().sock_sendall(found.sock, found.codec.encode(b"hello"))
        return found

    try:
        found = loop.run(both())
        found.sock.close()
        return found
    finally:
        loop.run(network.close())


def test_conversation_with_a_proxy_goes_through_the_codec(loop: VirtualLoop) -> None:
    script = Script().expects(xor(b"please")).sends(xor(b"ok and more")).expects(xor(b"hello"))
    coded = CodedUpstream(Polite("work", "192.0.2.1", 1080), Xor)
    found = opened(loop, coded, FLOW, **{"192.0.2.1:1080": script})
    assert found.rest == b" and more"
    assert isinstance(found.codec, Xor)


def test_stream_to_the_target_goes_through_the_codec(loop: VirtualLoop) -> None:
    script = Script().expects(xor(b"hello"))
    found = opened(loop, CodedUpstream(DialUpstream("direct"), Xor), FLOW, **{"192.0.2.7:80": script})
    assert isinstance(found.codec, Xor)
    other = DialUpstream("other", "192.0.2.8", 81)
    assert opened(loop, CodedUpstream(other, Xor), FLOW, **{"192.0.2.8:81": script}).rest == b""


def test_codec_lies_in_that_of_another_upstream(loop: VirtualLoop) -> None:
    script = Script().expects(b"hello")  # through both
    found = opened(loop, CodedUpstream(Inner("inner"), Xor), FLOW, **{"192.0.2.9:1": script})
    assert isinstance(found.codec, Layered)
    assert found.rest == b"first"


def test_each_flow_has_a_codec_of_its_own(loop: VirtualLoop) -> None:
    coded = CodedUpstream(DialUpstream("direct"), Xor)
    found = [opened(loop, coded, FLOW, **{"192.0.2.7:80": Script().expects(xor(b"hello"))}) for _ in range(2)]
    assert found[0].codec is not found[1].codec


def test_hosts_loopback_is_dialled_only_where_it_is_mapped(loop: VirtualLoop) -> None:
    with pytest.raises(OSError, match="no address that a flow may go to"):
        opened(loop, CodedUpstream(DialUpstream("direct"), Xor), LOOPBACK)
    targets = Targets({(LOOPBACK.target, 0): ("192.0.2.3", 0)})
    coded = CodedUpstream(DialUpstream("direct"), Xor, targets)
    assert opened(loop, coded, LOOPBACK, **{"192.0.2.3:80": Script()}).rest == b""


def test_name_in_place_of_the_target_is_looked_up_and_loopback_stays_closed(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ["127.0.0.1", "192.0.2.5"]

    async def look_up(host: str, port: object, **options: object) -> list[object]:
        assert host == "www.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (text, 0)) for text in found]

    monkeypatch.setattr(loop, "getaddrinfo", look_up)
    named = FlowInfo("tcp", FLOW.client, 1, bytes([198, 18, 0, 16]), 80, "www.example")
    coded = CodedUpstream(DialUpstream("direct"), Xor)
    assert opened(loop, coded, named, **{"192.0.2.5:80": Script()}).rest == b""
    found.pop()
    with pytest.raises(OSError, match="no address that a flow may go to"):
        opened(loop, coded, named)


@pytest.mark.parametrize("inner", [Polite("work", "192.0.2.1", 1), DialUpstream("direct"), Inner("inner")])
def test_coded_upstream_needs_a_coroutine_and_carries_streams_only(inner: Upstream) -> None:
    coded = CodedUpstream(inner, Xor)
    verdict = coded.verdict_for(FLOW, "rule 7")
    assert (verdict.kind, verdict.upstream, verdict.why) == (OPEN, inner.name, "rule 7")
    assert coded.carries(FLOW)
    assert not coded.carries(FlowInfo("udp", FLOW.client, 1, FLOW.target, 80))


def test_refusal_stays_a_refusal() -> None:
    assert CodedUpstream(Closed("closed"), Xor).verdict_for(FLOW, "why").kind == REJECT


def test_codec_that_cannot_be_made_closes_the_socket(loop: VirtualLoop) -> None:
    def fail() -> Codec:
        raise ConfigError("no")

    for inner, place in (
        (DialUpstream("direct"), "192.0.2.7:80"),
        (Polite("w", "192.0.2.1", 1), "192.0.2.1:1"),
    ):
        with pytest.raises(ConfigError):
            opened(loop, CodedUpstream(inner, fail), FLOW, **{place: Script().closes()})
