"""TCP segments, against dpkt and a crowd of broken ones."""

import struct

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, check_sums, completed, packed, parsed
from tests.unit.wire.mutation import mutants, segment
from tunproxy.wire import reasons
from tunproxy.wire.ip import ECT_0, TCP, Endpoints, IpView, ecn_of, parse_ip
from tunproxy.wire.tcp import (
    ACK,
    CWR,
    FIN,
    RST,
    SYN,
    Segment,
    emit_rst_for,
    emit_tcp,
    make_ecn_capable,
    parse_tcp,
)
from tunproxy.wire.vnet import GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, VNET_LEN

WORDS = st.integers(0, 2**32 - 1)


def built(ipv6: bool = False, **fields: object) -> bytes:
    """Return a client's segment as a frame, made by dpkt."""
    tcp = dpkt.tcp.TCP(**{"sport": 5000, "dport": 80, **fields})
    tcp.off = 5 + len(tcp.opts) // 4
    source, target = (CLIENT6, TARGET6) if ipv6 else (CLIENT, TARGET)
    return frames.PLAIN + frames.ip(tcp, 6, source=source, target=target)


def ends(ipv6: bool) -> Endpoints:
    source, destination = (TARGET6, CLIENT6) if ipv6 else (TARGET, CLIENT)
    return Endpoints(packed(source), packed(destination), 80, 5000, TCP)


both_families = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


@both_families
@given(
    seq=WORDS, ack=WORDS, flags=st.integers(0, 255), wnd=st.integers(0, 65535),
    payload=st.binary(max_size=100), padding=st.integers(0, 10),
)  # fmt: skip
def test_fields_are_those_dpkt_wrote(
    ipv6: bool, seq: int, ack: int, flags: int, wnd: int, payload: bytes, padding: int
) -> None:
    frame = built(ipv6, seq=seq, ack=ack, flags=flags, win=wnd, data=payload, opts=b"\1\1\1\0" * padding)
    view, seg = parsed(frame), Segment()
    assert parse_tcp(frame, view, False, seg) == reasons.OK
    assert (seg.source_port, seg.target_port) == (5000, 80)
    assert (seg.seq, seg.ack, seg.flags, seg.wnd) == (seq, ack, flags, wnd)
    assert seg.frame[seg.data_off : seg.data_off + seg.length] == payload
    assert seg.end == (seq + len(payload) + (flags & 1) + (flags >> 1 & 1)) % 2**32


def changed(at: int, octets: bytes) -> bytes:
    frame = built(data=b"payload")
    at += VNET_LEN + 20
    return frame[:at] + octets + frame[at + len(octets) :]


@pytest.mark.parametrize(
    ("frame", "verified", "name"),
    [
        (frames.PLAIN + frames.ip(bytes(19), 6, source=CLIENT, target=TARGET), True, "truncated"),
        (changed(12, b"\x40"), True, "bad-offset"),
        (changed(12, b"\xf0"), True, "bad-offset"),
        (changed(20, b"P"), False, "bad-checksum"),
        (changed(20, b"P"), True, "ok"),
        (changed(0, b"\0\0"), True, "bad-port"),
        (changed(2, b"\0\0"), True, "bad-port"),
    ],
    ids=str,
)
def test_fault_has_its_reason(frame: bytes, verified: bool, name: str) -> None:
    assert reasons.NAMES[parse_tcp(frame, parsed(frame), verified, Segment())] == name


def test_usual_timestamps_are_read_as_unusual_ones() -> None:
    stamps = struct.pack("!BBII", 8, 10, 123, 456)
    for options in (b"\1\1" + stamps, stamps + b"\1\1", b"\1" + stamps + b"\1"):
        frame = segment(b"x", options, source=CLIENT, target=TARGET)
        seg = Segment()
        assert parse_tcp(frame, parsed(frame), False, seg) == reasons.OK
        assert (seg.ts_val, seg.ts_ecr, seg.mss, seg.sack_count) == (123, 456, -1, 0)


def test_options_of_one_segment_do_not_stay_for_the_next() -> None:
    seg = Segment()
    stamps = b"\1\1" + struct.pack("!BBII", 8, 10, 123, 456)
    for options, expected in ((b"\2\4\5\xb4", (1460, -1)), (stamps, (-1, 123)), (b"", (-1, -1))):
        frame = segment(b"", options, source=CLIENT, target=TARGET)
        parse_tcp(frame, parsed(frame), False, seg)
        assert (seg.mss, seg.ts_val) == expected


def test_sack_blocks_are_read_from_the_frame() -> None:
    options = b"\1\1" + bytes([5, 18]) + struct.pack("!IIII", 1, 2, 2**32 - 1, 4)
    frame = segment(b"", options, source=CLIENT, target=TARGET)
    seg = Segment()
    parse_tcp(frame, parsed(frame), False, seg)
    assert [(seg.sack_left(at), seg.sack_right(at)) for at in range(seg.sack_count)] == [
        (1, 2),
        (2**32 - 1, 4),
    ]


def test_any_fault_is_a_reason_and_no_exception() -> None:
    view, seg = IpView(), Segment()
    found = set()
    for frame in mutants(9293, 20_000):
        if parse_ip(frame, VNET_LEN, len(frame), view) != reasons.OK:
            continue
        for verified in (False, True):
            reason = parse_tcp(frame, view, verified, seg)
            found.add(reason)
            if reason == reasons.OK:
                assert seg.length >= 0
                assert view.payload_off + 20 <= seg.data_off <= seg.data_off + seg.length <= len(frame)
                [seg.sack_right(at) for at in range(seg.sack_count)]
    assert len(found) >= 4


# what we send


@both_families
@given(
    seq=WORDS, ack=WORDS, flags=st.integers(0, 255), wnd=st.integers(0, 65535),
    options_words=st.integers(0, 10), payload=st.binary(max_size=3000), mss=st.integers(0, 1400),
)  # fmt: skip
def test_frame_that_we_emit_is_right(
    ipv6: bool, seq: int, ack: int, flags: int, wnd: int, options_words: int, payload: bytes, mss: int
) -> None:
    options = b"\1" * (4 * options_words)
    gso_size = mss if mss < len(payload) else 0
    out = BytesWriter()
    out.write(b"left over")
    emit_tcp(out, ends(ipv6), seq, ack, flags, wnd, len(options), len(payload), gso_size)
    frame = out.getvalue() + options + payload
    packet = completed(frame)
    check_sums(packet)
    header = dpkt.ip6.IP6(packet) if ipv6 else dpkt.ip.IP(packet)
    tcp = header.data
    assert (tcp.sport, tcp.dport, tcp.seq, tcp.ack, tcp.win) == (80, 5000, seq, ack, wnd)
    assert (tcp.flags & 0xFF, tcp.opts, tcp.data) == (flags, options, payload)
    ip_len = 40 if ipv6 else 20
    kind = (GSO_TCPV6 if ipv6 else GSO_TCPV4) if gso_size else GSO_NONE
    assert struct.unpack("<BBHHHH", frame[:VNET_LEN]) == (
        NEEDS_CSUM, kind, ip_len + 20 + len(options), gso_size, ip_len, 16,
    )  # fmt: skip


@both_families
@pytest.mark.parametrize("has_cwr", [False, True])
@given(payload=st.binary(min_size=1, max_size=3000), mss=st.integers(0, 1400))
def test_frame_that_is_made_ecn_capable_is_right(ipv6: bool, has_cwr: bool, payload: bytes, mss: int) -> None:
    gso_size = mss if mss < len(payload) else 0
    out = BytesWriter()
    emit_tcp(out, ends(ipv6), 1, 2, ACK, 3, 0, len(payload), gso_size)
    before = out.getvalue()
    make_ecn_capable(out, ends(ipv6), has_cwr, gso_size)
    frame = out.getvalue() + payload
    packet = completed(frame)
    check_sums(packet)
    tcp = (dpkt.ip6.IP6(packet) if ipv6 else dpkt.ip.IP(packet)).data
    assert (tcp.flags, tcp.seq, tcp.ack, tcp.win) == (ACK | CWR if has_cwr else ACK, 1, 2, 3)
    assert ecn_of(frame, VNET_LEN, ipv6) == ECT_0
    kind = before[1] | GSO_ECN if has_cwr and gso_size else before[1]
    assert frame[:VNET_LEN] == before[:1] + bytes((kind,)) + before[2:VNET_LEN]


@both_families
@pytest.mark.parametrize("ecn", range(4))
def test_mark_of_a_router_is_seen(ipv6: bool, ecn: int) -> None:
    out = BytesWriter()
    emit_tcp(out, ends(ipv6), 1, 2, ACK, 3, 0, 0, 0)
    octets = bytearray(out.getvalue())
    octets[VNET_LEN + 1] = (0xB8 | ecn) << 4 & 0xFF if ipv6 else 0xB8 | ecn
    seg = Segment()
    seg.frame = bytes(octets)
    assert seg.is_marked(ipv6) == (ecn == 3)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"seq": 100, "ack": 700, "flags": ACK}, (700, 0, RST)),
        ({"seq": 100, "flags": SYN}, (0, 101, RST | ACK)),
        ({"seq": 100, "flags": SYN | FIN, "data": b"abc"}, (0, 105, RST | ACK)),
        ({"seq": 2**32 - 1, "flags": 0, "data": b"ab"}, (0, 1, RST | ACK)),
    ],
    ids=str,
)
def test_reset_answers_as_the_rfc_says(fields: dict[str, object], expected: tuple[int, int, int]) -> None:
    """RFC 9293 §3.10.7.1."""
    frame = built(**fields)  # type: ignore[arg-type]
    seg = Segment()
    assert parse_tcp(frame, parsed(frame), False, seg) == reasons.OK
    reset = dpkt.ip.IP(completed(emit_rst_for(BytesWriter(), ends(False), seg))).data
    assert (reset.seq, reset.ack, reset.flags) == expected
