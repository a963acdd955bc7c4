"""Shadowsocks as the packet path has it: what it seals a server reads, and what it cannot open it says."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_keys import METHODS, client_keys, server_keys
from tunproxy.codecs.shadowsocks_packet_server import PacketServer
from tunproxy.codecs.shadowsocks_seal import ShadowsocksSeal
from tunproxy.datagram.socks_framing import AddressFraming

V4 = bytes([192, 0, 2, 7])
V6 = bytes.fromhex("20010db8000000000000000000000007")
FRAMING = AddressFraming()


def password_for(method: str, number: int = 1) -> str:
    if not method.startswith("2022"):
        return f"password {number}"
    return base64.b64encode(bytes([number]) * (16 if "128" in method else 32)).decode()


def seal(method: str, number: int = 1) -> ShadowsocksSeal:
    return ShadowsocksSeal(client_keys(method, password_for(method, number)))


def server(method: str) -> PacketServer:
    return PacketServer(server_keys(method, password_for(method)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("target", "host"), [(V4, ""), (V6, ""), (V4, "www.example.org")])
def test_server_reads_what_is_sealed_and_its_answer_is_opened(method: str, target: bytes, host: str) -> None:
    ours, theirs = seal(method), server(method)
    for size in (0, 1, 1400, 65_000):
        payload = bytes(range(256)) * 256
        header = FRAMING.header_for(target, 53, host)
        who, asked, read = theirs.open(ours.seal(header, memoryview(payload)[:size]))
        assert (asked.address or V4, asked.name, asked.port) == (target, host, 53)
        assert read == payload[:size]
        clear = ours.open(theirs.seal(who, emit_address(target, 53), payload[:size]))
        assert clear is not None
        off = FRAMING.payload_off(clear)
        source = FRAMING.source_of(clear[:off])
        assert source is not None
        assert (source.address, source.port, clear[off:]) == (target, 53, payload[:size])


@pytest.mark.parametrize("method", METHODS)
def test_datagram_of_another_key_or_changed_on_its_way_is_not_opened(method: str) -> None:
    ours, theirs = seal(method), server(method)
    who = theirs.open(ours.seal(FRAMING.header_for(V4, 53), b"question"))[0]
    good = theirs.seal(who, emit_address(V4, 53), b"answer")
    assert seal(method, 2).open(good) is None
    for at in range(0, len(good), 5):
        assert ours.open(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]) is None
        assert ours.why
        assert ours.open(good[:at]) is None
    assert ours.open(good) is not None, "what could not be opened has changed nothing"


@pytest.mark.parametrize("method", [name for name in METHODS if name.startswith("2022")])
def test_datagram_that_comes_twice_is_opened_once(method: str) -> None:
    ours, theirs = seal(method), server(method)
    who = theirs.open(ours.seal(FRAMING.header_for(V4, 53), b"question"))[0]
    answer = theirs.seal(who, emit_address(V4, 53), b"answer")
    assert ours.open(answer) is not None
    assert ours.open(answer) is None
    assert "replayed" in ours.why


@pytest.mark.parametrize("method", METHODS)
@given(data=st.binary(max_size=200))
def test_any_octets_are_refused_in_words(method: str, data: bytes) -> None:
    ours = seal(method)
    assert ours.open(data) is None
    assert ours.why
