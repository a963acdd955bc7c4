"""ICMP and ICMPv6 messages, against dpkt and a crowd of broken ones."""

import struct

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, check_sums, packed, parsed
from tests.unit.wire.mutation import mutants
from tunproxy.wire import reasons
from tunproxy.wire.icmp import emit_icmp, is_echo_request, is_error, parse_icmp
from tunproxy.wire.ip import ICMP, ICMPV6, Endpoints, IpView, parse_ip
from tunproxy.wire.vnet import PLAIN, VNET_LEN

FRAME4 = frames.echo_request(b"payload")
FRAME6 = frames.echo_request(b"payload", source=CLIENT6, target=TARGET6)
both_families = pytest.mark.parametrize("frame", [FRAME4, FRAME6], ids=["ipv4", "ipv6"])


@both_families
def test_right_echo_request_is_ok(frame: bytes) -> None:
    view = parsed(frame)
    assert parse_icmp(frame, view, False) == reasons.OK
    assert is_echo_request(frame, view)


@both_families
def test_fault_has_its_reason(frame: bytes) -> None:
    wrong = frame[:-1] + b"?"
    assert parse_icmp(wrong, parsed(wrong), False) == reasons.BAD_CHECKSUM
    assert parse_icmp(wrong, parsed(wrong), True) == reasons.OK
    protocol, ends = (58, (CLIENT6, TARGET6)) if frame is FRAME6 else (1, (CLIENT, TARGET))
    short = PLAIN + frames.ip(b"\x08\0\0\0\0\0\0", protocol, source=ends[0], target=ends[1])
    assert parse_icmp(short, parsed(short), True) == reasons.TRUNCATED


def test_types_of_the_other_family_are_no_echo() -> None:
    for frame, kind in ((FRAME4, 128), (FRAME6, 8)):
        at = parsed(frame).payload_off
        assert not is_echo_request(frame[:at] + bytes([kind]) + frame[at + 1 :], parsed(frame))


def test_errors_are_told_from_questions() -> None:
    assert [kind for kind in range(256) if is_error(False, kind)] == [3, 4, 5, 11, 12]
    assert [kind for kind in range(256) if is_error(True, kind)] == list(range(128))


def test_any_fault_is_a_reason_and_no_exception() -> None:
    view = IpView()
    for frame in mutants(792, 20_000):
        if parse_ip(frame, VNET_LEN, len(frame), view) == reasons.OK:
            for verified in (False, True):
                if parse_icmp(frame, view, verified) == reasons.OK:
                    is_echo_request(frame, view)


@given(
    body=st.binary(max_size=1500),
    rest=st.integers(0, 2**32 - 1),
    kind=st.integers(0, 255),
    code=st.integers(0, 255),
    hop_limit=st.integers(1, 255),
)
def test_frame_that_we_emit_is_right(body: bytes, rest: int, kind: int, code: int, hop_limit: int) -> None:
    for ends in (
        Endpoints(packed(TARGET), packed(CLIENT), 0, 0, ICMP),
        Endpoints(packed(TARGET6), packed(CLIENT6), 0, 0, ICMPV6),
    ):
        frame = emit_icmp(BytesWriter(), ends, kind, code, rest, body, hop_limit)
        assert frame[:VNET_LEN] == PLAIN
        packet = frame[VNET_LEN:]
        check_sums(packet)
        message = packet[ends.header_len :]
        assert struct.unpack("!BBxxI", message[:8]) == (kind, code, rest)
        assert message[8:] == body
        assert parsed(frame).hop_limit == hop_limit


def test_dpkt_reads_our_reply() -> None:
    ends = Endpoints(packed(TARGET), packed(CLIENT), 0, 0, ICMP)
    reply = dpkt.ip.IP(emit_icmp(BytesWriter(), ends, 0, 0, 7 << 16 | 9, b"payload", 64)[VNET_LEN:])
    assert (reply.icmp.type, reply.icmp.data.id, reply.icmp.data.seq) == (0, 7, 9)
