"""UDP headers, against dpkt and a crowd of broken datagrams."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, packed, parsed, read
from tests.unit.wire.mutation import mutants
from tunproxy.wire import reasons
from tunproxy.wire.ip import UDP, Endpoints, IpView, parse_ip
from tunproxy.wire.udp import HEADER_LEN, emit_udp, parse_udp
from tunproxy.wire.vnet import VNET_LEN

FRAME4 = frames.udp(b"payload")
FRAME6 = frames.udp(b"payload", source=(CLIENT6, 5000), target=(TARGET6, 7000))


def reason(frame: bytes, *, is_verified: bool = False, is_gso: bool = False) -> str:
    return reasons.NAMES[parse_udp(frame, parsed(frame), is_verified, is_gso)]


def changed(frame: bytes, at: int, octets: bytes) -> bytes:
    """Return frame with octets at `at` of the datagram."""
    at += parsed(frame).payload_off
    return frame[:at] + octets + frame[at + len(octets) :]


@pytest.mark.parametrize("frame", [FRAME4, FRAME6], ids=["ipv4", "ipv6"])
def test_right_datagram_is_ok(frame: bytes) -> None:
    view = parsed(frame)
    assert parse_udp(frame, view, False, False) == reasons.OK
    assert frame[view.payload_off + HEADER_LEN : view.end] == b"payload"


def test_length_in_the_header_cuts_what_follows() -> None:
    packet = bytearray(frames.udp(b"payload"))
    packet[VNET_LEN + 2 : VNET_LEN + 4] = struct.pack("!H", len(packet) - VNET_LEN + 3)
    packet[VNET_LEN + 10 : VNET_LEN + 12] = b"\0\0"
    total = frames.summed(bytes(packet[VNET_LEN : VNET_LEN + 20]))
    packet[VNET_LEN + 10 : VNET_LEN + 12] = struct.pack("!H", ~total & 0xFFFF)
    frame = bytes(packet) + b"xyz"
    view = parsed(frame)
    assert parse_udp(frame, view, False, False) == reasons.OK
    assert frame[view.payload_off + HEADER_LEN : view.end] == b"payload"


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (changed(FRAME4, 4, b"\0\7"), "bad-length"),
        (changed(FRAME4, 4, b"\0\x10"), "bad-length"),
        (changed(FRAME4, 2, b"\0\0"), "bad-port"),
        (changed(FRAME4, 8, b"P"), "bad-checksum"),
        (changed(FRAME6, 8, b"P"), "bad-checksum"),
        (changed(FRAME4, 6, b"\0\0"), "ok"),
        (changed(FRAME6, 6, b"\0\0"), "bad-checksum"),
        (changed(FRAME4, 0, b"\0\0"), "bad-checksum"),
    ],
    ids=str,
)
def test_fault_has_its_reason(frame: bytes, name: str) -> None:
    assert reason(frame) == name


def test_short_datagram_is_truncated() -> None:
    packet = frames.PLAIN + frames.ip(b"1234567", 17, source=CLIENT, target=TARGET)
    assert reason(packet) == "truncated"


def test_verified_datagram_is_not_summed() -> None:
    assert reason(changed(FRAME4, 8, b"P"), is_verified=True) == "ok"
    assert reason(changed(FRAME6, 6, b"\0\0"), is_verified=True) == "ok"


def test_length_of_a_super_packet_is_not_looked_at() -> None:
    assert reason(changed(FRAME4, 4, b"\0\x09"), is_verified=True, is_gso=True) == "ok"


def test_any_fault_is_a_reason_and_no_exception() -> None:
    view = IpView()
    found = set()
    for frame in mutants(768, 20_000):
        if parse_ip(frame, VNET_LEN, len(frame), view) == reasons.OK:
            for verified in (False, True):
                found.add(parse_udp(frame, view, verified, False))
                assert view.end <= len(frame)
            parse_udp(frame, view, True, True)
    assert len(found) >= 4


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@given(payload=st.binary(max_size=3000), size=st.integers(1, 1400))
def test_frame_that_we_emit_is_right(ipv6: bool, payload: bytes, size: int) -> None:
    source, destination = (TARGET6, CLIENT6) if ipv6 else (TARGET, CLIENT)
    ends = Endpoints(packed(source), packed(destination), 7000, 5000, UDP)
    out = BytesWriter()
    out.write(b"left over")
    gso_size = size if size < len(payload) else 0
    emit_udp(out, ends, len(payload), gso_size)
    packet = read(out.getvalue() + payload)
    assert (packet.source, packet.source_port) == (source, 7000)
    assert (packet.destination, packet.destination_port) == (destination, 5000)
    assert (packet.payload, packet.gso_size, packet.hop_limit) == (payload, gso_size, 64)
