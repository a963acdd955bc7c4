"""IPv4 and IPv6 headers, against dpkt and a crowd of broken packets."""

import struct

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, check_sums, packed, parsed
from tests.unit.wire.mutation import corpus, mutants, repair, with_extensions
from tunproxy.wire import reasons
from tunproxy.wire.ip import (
    ECT_0,
    HOP_LIMIT,
    ICMP,
    MAX_EXTENSIONS,
    TCP,
    UDP,
    Endpoints,
    IpView,
    ecn_of,
    parse_ip,
    put_ect,
    put_ip,
    put_ip_hop,
    transport_sum,
)
from tunproxy.wire.vnet import PLAIN, VNET_LEN

PADDING = (60, bytes([0, 1, 4, 0, 0, 0, 0]))  # a destination options header


def reason(frame: bytes) -> int:
    return parse_ip(frame, VNET_LEN, len(frame), IpView())


def changed(frame: bytes, at: int, octets: bytes, *, resum: bool = True) -> bytes:
    """Return frame with octets at `at` of the packet, the header sum made right."""
    packet = bytearray(frame)
    packet[VNET_LEN + at : VNET_LEN + at + len(octets)] = octets
    if resum:
        repair(packet)
    return bytes(packet)


# IPv4


@given(
    hop_limit=st.integers(1, 255),
    traffic_class=st.integers(0, 255),
    df=st.booleans(),
    identification=st.integers(0, 65535),
    size=st.integers(0, 2000),
)
def test_ipv4_fields_are_those_dpkt_wrote(
    hop_limit: int, traffic_class: int, df: bool, identification: int, size: int
) -> None:
    packet = frames.ip(
        bytes(size), 99, source=CLIENT, target=TARGET, hop_limit=hop_limit,
        traffic_class=traffic_class, df=df, identification=identification,
    )  # fmt: skip
    view = parsed(PLAIN + packet + b"padding")
    assert (view.is_ipv6, view.address_len, view.ip_off) == (False, 4, VNET_LEN)
    assert (view.protocol, view.hop_limit, view.traffic_class) == (99, hop_limit, traffic_class)
    assert (view.dont_fragment, view.is_fragment, view.identification) == (df, False, identification)
    assert (view.payload_off, view.end) == (VNET_LEN + 20, VNET_LEN + 20 + size)
    frame = PLAIN + packet
    assert frame[view.src_off : view.src_off + 4] == packed(CLIENT)
    assert frame[view.dst_off : view.dst_off + 4] == packed(TARGET)


@pytest.mark.parametrize(
    ("field", "at", "more"), [(0x2000, 0, True), (0x00B9, 1480, False), (0x3FFF, 65528, True)]
)
def test_ipv4_fragment_fields(field: int, at: int, more: bool) -> None:
    view = parsed(changed(frames.udp(bytes(64)), 6, struct.pack("!H", field)))
    assert (view.is_fragment, view.fragment_off, view.more_fragments) == (True, at, more)


UDP4 = frames.udp(b"payload")


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (UDP4[: VNET_LEN + 19], "truncated"),
        (PLAIN, "truncated"),
        (changed(UDP4, 0, b"\x55"), "bad-version"),
        (changed(UDP4, 0, b"\x44"), "bad-header-length"),
        (changed(UDP4, 0, b"\x4f"), "bad-header-length"),
        (changed(UDP4, 2, b"\0\x13"), "bad-length"),
        (changed(UDP4, 2, b"\xff\xff"), "bad-length"),
        (changed(UDP4, 12, b"\x0b", resum=False), "bad-ip-checksum"),
        (changed(UDP4, 8, b"\0"), "ttl-zero"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ipv4_fault_has_its_reason(frame: bytes, name: str) -> None:
    assert reasons.NAMES[reason(frame)] == name


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (bytes([131, 7, 4, 1, 2, 3, 4, 0]), "source-routed"),
        (bytes([1, 1, 137, 3, 4, 0, 0, 0]), "source-routed"),
        (bytes([148, 4, 0, 0, 131, 3, 4, 0]), "source-routed"),
        (bytes([0, 131, 3, 4]), "ok"),
        (bytes([148, 4, 0, 0]), "ok"),
        (bytes([7, 1, 131, 3]), "ok"),
        (bytes([7, 0, 131, 3]), "ok"),
        (bytes([1, 1, 1, 7]), "ok"),
    ],
    ids=str,
)
def test_ipv4_options(options: bytes, name: str) -> None:
    packet = bytearray(UDP4)
    packet[VNET_LEN + 20 : VNET_LEN + 20] = options
    packet[VNET_LEN] = 0x45 + len(options) // 4
    packet[VNET_LEN + 2 : VNET_LEN + 4] = struct.pack("!H", len(packet) - VNET_LEN)
    repair(packet)
    assert reasons.NAMES[reason(bytes(packet))] == name
    if name == "ok":
        assert parsed(bytes(packet)).payload_off == VNET_LEN + 20 + len(options)


# IPv6


@given(hop_limit=st.integers(1, 255), traffic_class=st.integers(0, 255), size=st.integers(0, 2000))
def test_ipv6_fields_are_those_dpkt_wrote(hop_limit: int, traffic_class: int, size: int) -> None:
    packet = frames.ip(
        bytes(size), 17, source=CLIENT6, target=TARGET6, hop_limit=hop_limit, traffic_class=traffic_class
    )
    view = parsed(PLAIN + packet + b"padding")
    assert (view.is_ipv6, view.address_len, view.ip_off) == (True, 16, VNET_LEN)
    assert (view.protocol, view.hop_limit, view.traffic_class) == (17, hop_limit, traffic_class)
    assert (view.is_fragment, view.payload_off, view.end) == (False, VNET_LEN + 40, VNET_LEN + 40 + size)
    frame = PLAIN + packet
    assert frame[view.src_off : view.src_off + 16] == packed(CLIENT6)
    assert frame[view.dst_off : view.dst_off + 16] == packed(TARGET6)


@pytest.mark.parametrize("count", range(MAX_EXTENSIONS))
def test_ipv6_extension_headers_are_stepped_over(count: int) -> None:
    view = parsed(with_extensions(*[PADDING] * count, upper=b"upper"))
    assert view.protocol == UDP
    assert view.payload_off == VNET_LEN + 40 + 8 * count
    assert view.end - view.payload_off == 5


def test_ipv6_authentication_header_counts_in_words() -> None:
    view = parsed(with_extensions((51, bytes([4]) + bytes(22)), upper=b"upper"))
    assert view.payload_off == VNET_LEN + 40 + 24


@pytest.mark.parametrize(("field", "at", "more"), [(1, 0, True), (1480, 1480, False), (1481, 1480, True)])
def test_ipv6_fragment_fields(field: int, at: int, more: bool) -> None:
    header = (44, struct.pack("!BHI", 0, field, 0xDEADBEEF))
    view = parsed(with_extensions(PADDING, header, upper=bytes(24)))
    assert (view.is_fragment, view.fragment_off, view.more_fragments) == (True, at, more)
    assert (view.identification, view.protocol) == (0xDEADBEEF, UDP)
    assert view.unfragmentable_end == VNET_LEN + 48
    assert view.payload_off == VNET_LEN + 56


def test_ipv6_atomic_fragment_is_a_whole_packet() -> None:
    view = parsed(with_extensions((44, bytes(7)), PADDING, upper=b"upper"))
    assert not view.is_fragment
    assert view.payload_off == VNET_LEN + 56


UDP6 = frames.udp(b"payload", source=(CLIENT6, 1), target=(TARGET6, 2))


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (UDP6[: VNET_LEN + 39], "truncated"),
        (UDP6[:-1], "bad-length"),
        (changed(UDP6, 7, b"\0", resum=False), "ttl-zero"),
        (with_extensions(*[PADDING] * MAX_EXTENSIONS), "bad-extension-header"),
        (with_extensions((60, bytes([9]) + bytes(6)), upper=b"x"), "bad-extension-header"),
        (with_extensions((60, bytes(6))), "bad-extension-header"),
        (with_extensions((43, bytes([0, 0, 1, 0, 0, 0, 0]))), "source-routed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ipv6_fault_has_its_reason(frame: bytes, name: str) -> None:
    assert reasons.NAMES[reason(frame)] == name


# both


def test_right_frames_are_found_right() -> None:
    for frame in corpus():
        assert reason(frame) == reasons.OK


def test_any_fault_is_a_reason_and_no_exception() -> None:
    view = IpView()
    found = set()
    for frame in mutants(791, 20_000):
        found.add(parse_ip(frame, VNET_LEN, len(frame), view))
        if reason(frame) == reasons.OK:
            assert VNET_LEN < view.payload_off <= view.end <= len(frame)
    assert len(found) >= 7


@given(st.binary(max_size=100), st.integers(0, 12))
def test_any_octets_are_a_reason_and_no_exception(octets: bytes, at: int) -> None:
    view = IpView()
    if parse_ip(octets, at, len(octets), view) == reasons.OK:
        assert view.payload_off <= view.end <= len(octets)


@pytest.mark.parametrize("frame", [UDP4, UDP6], ids=["ipv4", "ipv6"])
def test_transport_sum_of_a_right_datagram_is_ones(frame: bytes) -> None:
    assert transport_sum(frame, parsed(frame)) == 0xFFFF
    assert transport_sum(frame[:-1] + b"?", parsed(frame)) != 0xFFFF


# what we send


def ends(ipv6: bool, protocol: int = TCP) -> Endpoints:
    source, destination = (TARGET6, CLIENT6) if ipv6 else (TARGET, CLIENT)
    return Endpoints(packed(source), packed(destination), 80, 5000, protocol)


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@given(size=st.integers(0, 1400), hop_limit=st.integers(0, 255))
def test_header_that_we_put_is_right(ipv6: bool, size: int, hop_limit: int) -> None:
    out = BytesWriter()
    put_ip_hop(out, ends(ipv6), size, hop_limit)
    header = out.getvalue()
    assert len(header) == ends(ipv6).header_len
    if ipv6:
        read6 = dpkt.ip6.IP6(header + bytes(size))
        assert (read6.plen, read6.nxt, read6.hlim) == (size, TCP, hop_limit)
        assert (read6.src, read6.dst) == (packed(TARGET6), packed(CLIENT6))
    else:
        read4 = dpkt.ip.IP(header + bytes(size))
        assert (read4.len, read4.p, read4.ttl, read4.df, read4.id) == (20 + size, TCP, hop_limit, 1, 0)
        assert (read4.src, read4.dst) == (packed(TARGET), packed(CLIENT))
        assert frames.summed(header) == 0xFFFF


def test_put_ip_uses_the_usual_hop_limit() -> None:
    plain, same = BytesWriter(), BytesWriter()
    put_ip(plain, ends(False), 100)
    put_ip_hop(same, ends(False), 100, HOP_LIMIT)
    assert plain.getvalue() == same.getvalue()


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@given(size=st.integers(0, 65_000), address=st.binary(min_size=16, max_size=16))
def test_header_that_is_made_ecn_capable_stays_right(ipv6: bool, size: int, address: bytes) -> None:
    """RFC 3168 §5, RFC 1624 §3; nothing else of the header changes, and nothing in front of it."""
    source, target = (address, packed(CLIENT6)) if ipv6 else (address[:4], packed(CLIENT))
    out = BytesWriter()
    out.write(b"front")
    put_ip(out, Endpoints(source, target, 80, 5000, TCP), size)
    before = out.getvalue()
    put_ect(out, 5, ipv6)
    header = out.getvalue()
    assert ecn_of(header, 5, ipv6) == ECT_0
    assert header[:5] == b"front"
    if ipv6:
        assert dpkt.ip6.IP6(header[5:] + bytes(20)).fc == ECT_0
        assert header[6] == before[6] | 0x20
        assert header[:6] + header[7:] == before[:6] + before[7:]
    else:
        assert header[6] == ECT_0
        assert frames.summed(header[5:]) == 0xFFFF
        assert header[:6] + header[7:15] + header[17:] == before[:6] + before[7:15] + before[17:]


def test_header_made_ecn_capable_at_every_checksum() -> None:
    """Each value that the checksum can have before, 0 and 1 too."""
    for total_len in range(0, 65_500):
        out = BytesWriter()
        put_ip(out, ends(False), total_len)
        put_ect(out, 0, False)
        assert frames.summed(out.getvalue()) == 0xFFFF


@pytest.mark.parametrize("ecn", range(4))
@pytest.mark.parametrize("dscp", [0, 46, 63])
def test_ecn_field_is_found_beside_any_dscp(ecn: int, dscp: int) -> None:
    octet = dscp << 2 | ecn
    assert ecn_of(bytes((0, 0x45, octet)), 1, False) == ecn
    assert ecn_of(bytes((0, 0x60 | octet >> 4, octet << 4 & 0xFF | 0x0F)), 1, True) == ecn


def test_endpoints_know_both_sides() -> None:
    for ipv6 in (False, True):
        both = ends(ipv6, ICMP)
        assert both.source == packed(TARGET6 if ipv6 else TARGET)
        assert both.destination == packed(CLIENT6 if ipv6 else CLIENT)
        assert both.is_ipv6 == ipv6


def test_oracle_agrees_with_itself() -> None:
    check_sums(UDP4[VNET_LEN:])
    check_sums(UDP6[VNET_LEN:])
