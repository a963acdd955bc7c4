"""IPv4 (RFC 791) and IPv6 (RFC 8200) headers, behind one view so that nobody else asks for the family.

IPv4, octets from the start of the packet        IPv6
     0 version/IHL  1 TOS  2 total length             0 version/class/flow  4 payload length
     4 identification  6 flags/fragment offset        6 next header  7 hop limit
     8 TTL  9 protocol  10 header checksum            8 source  24 destination
    12 source  16 destination  20 options            40 extension headers
"""

from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr, u8

from tunproxy.wire.bits import put16, put32, u16
from tunproxy.wire.checksum import checksum, fold, pseudo_sum
from tunproxy.wire.reasons import (
    BAD_EXTENSION,
    BAD_HEADER_LENGTH,
    BAD_IP_CHECKSUM,
    BAD_LENGTH,
    BAD_VERSION,
    OK,
    SOURCE_ROUTED,
    TRUNCATED,
    TTL_ZERO,
)

IPV4_LEN: Final[i64] = 20
IPV6_LEN: Final[i64] = 40
MAX_PACKET: Final[i64] = 65535  # RFC 791 §3.1: the total length has 16 bits

ICMP: Final[i64] = 1
TCP: Final[i64] = 6
UDP: Final[i64] = 17
ICMPV6: Final[i64] = 58

_HOP_BY_HOP: Final[i64] = 0
_ROUTING: Final[i64] = 43
_FRAGMENT: Final[i64] = 44
_AUTH: Final[i64] = 51
_DESTINATION: Final[i64] = 60
_LOOSE_ROUTE: Final[i64] = 131  # RFC 791 §3.1
_STRICT_ROUTE: Final[i64] = 137
_DONT_FRAGMENT: Final[i64] = 0x4000

# the low two bits of the traffic class (RFC 3168 §5)
NOT_ECT: Final[i64] = 0
ECT_0: Final[i64] = 2
CE: Final[i64] = 3

# our choices
MAX_EXTENSIONS: Final[i64] = 8  # more headers than any honest sender uses; bounds the walk
HOP_LIMIT: Final[i64] = 64  # what the kernel itself uses


@final
@mypyc_attr(native_class=True, acyclic=True)
class IpView:
    """Where things are in one frame; filled by parse_ip, valid until it is filled again.

    All ``*_off`` are offsets into the frame; ``end`` is one past the packet's last octet (a frame may
    carry padding behind it). ``key_off`` is where source, destination and, when there are no options or
    extension headers in between, both ports lie in one run of octets.
    """

    def __init__(self) -> None:
        self.is_ipv6: bool = False
        self.protocol: i64 = 0
        self.src_off: i64 = 0
        self.dst_off: i64 = 0
        self.address_len: i64 = 4
        self.payload_off: i64 = 0
        self.end: i64 = 0
        self.hop_limit: i64 = 0
        self.traffic_class: i64 = 0
        self.ip_off: i64 = 0
        self.is_fragment: bool = False
        self.fragment_off: i64 = 0  # octets
        self.more_fragments: bool = False
        self.identification: i64 = 0
        self.dont_fragment: bool = False
        self.unfragmentable_end: i64 = 0  # where the fragmentable part begins, minus its own header


def parse_ip(frame: bytes, at: i64, length: i64, view: IpView) -> i64:
    """Check the IP packet in frame[at:length] and fill view; return a drop reason.

    The header checksum of IPv4 is verified. Extension headers of IPv6 are walked, MAX_EXTENSIONS at most.
    Source-routed packets are refused (RFC 5095 §3, RFC 7126 §4.3).
    """
    if length - at < IPV4_LEN:
        return TRUNCATED
    version = i64(frame[at]) >> 4
    if version == 4:
        return _parse_ipv4(frame, at, length, view)
    if version == 6:
        return _parse_ipv6(frame, at, length, view)
    return BAD_VERSION


def _parse_ipv4(frame: bytes, at: i64, length: i64, view: IpView) -> i64:
    header_len = (i64(frame[at]) & 0xF) * 4
    total_len = u16(frame, at + 2)
    if header_len < IPV4_LEN or at + header_len > length:
        return BAD_HEADER_LENGTH
    if total_len < header_len or at + total_len > length:
        return BAD_LENGTH
    if checksum(frame, at, at + header_len, 0) != 0xFFFF:
        return BAD_IP_CHECKSUM
    if header_len > IPV4_LEN and _is_source_routed(frame, at + IPV4_LEN, at + header_len):
        return SOURCE_ROUTED
    fragment = u16(frame, at + 6)
    view.is_ipv6 = False
    view.ip_off = at
    view.protocol = i64(frame[at + 9])
    view.hop_limit = i64(frame[at + 8])
    view.traffic_class = i64(frame[at + 1])
    view.src_off = at + 12
    view.dst_off = at + 16
    view.address_len = 4
    view.payload_off = at + header_len
    view.unfragmentable_end = at + header_len
    view.end = at + total_len
    view.dont_fragment = (fragment & _DONT_FRAGMENT) != 0
    view.fragment_off = (fragment & 0x1FFF) * 8
    view.more_fragments = (fragment & 0x2000) != 0
    view.is_fragment = (fragment & 0x3FFF) != 0
    view.identification = u16(frame, at + 4)
    return OK if view.hop_limit != 0 else TTL_ZERO


def _is_source_routed(frame: bytes, at: i64, end: i64) -> bool:
    while at < end:
        kind = i64(frame[at])
        if kind == 0:
            return False
        if kind == _LOOSE_ROUTE or kind == _STRICT_ROUTE:
            return True
        if kind == 1:
            at += 1
        elif at + 1 < end and i64(frame[at + 1]) >= 2:
            at += i64(frame[at + 1])
        else:
            return False
    return False


def _parse_ipv6(frame: bytes, at: i64, length: i64, view: IpView) -> i64:
    if length - at < IPV6_LEN:
        return TRUNCATED
    end = at + IPV6_LEN + u16(frame, at + 4)
    if end > length:
        return BAD_LENGTH
    view.is_ipv6 = True
    view.ip_off = at
    view.hop_limit = i64(frame[at + 7])
    view.traffic_class = (u16(frame, at) >> 4) & 0xFF
    view.src_off = at + 8
    view.dst_off = at + 24
    view.address_len = 16
    view.end = end
    view.dont_fragment = True
    view.is_fragment = False
    view.more_fragments = False
    view.fragment_off = 0
    view.identification = 0
    protocol = i64(frame[at + 6])
    if protocol == TCP or protocol == UDP or protocol == ICMPV6:
        view.protocol = protocol
        view.payload_off = at + IPV6_LEN
        view.unfragmentable_end = at + IPV6_LEN
    else:
        reason = _walk_extensions(frame, protocol, at + IPV6_LEN, view)
        if reason != OK:
            return reason
    return OK if view.hop_limit != 0 else TTL_ZERO


def _walk_extensions(frame: bytes, protocol: i64, at: i64, view: IpView) -> i64:
    """Step over extension headers (RFC 8200 §4) up to the first fragment header or upper layer."""
    end = view.end
    for _ in range(MAX_EXTENSIONS):
        if protocol not in (_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTH, _DESTINATION):
            view.protocol = protocol
            view.payload_off = at
            view.unfragmentable_end = at
            return OK
        if at + 8 > end:
            return BAD_EXTENSION
        following = i64(frame[at])
        if protocol == _FRAGMENT:
            field = u16(frame, at + 2)
            view.fragment_off = field & 0xFFF8
            view.more_fragments = (field & 1) != 0
            view.identification = (u16(frame, at + 4) << 16) | u16(frame, at + 6)
            view.unfragmentable_end = at
            if field & 0xFFF9:
                view.is_fragment = True
                view.protocol = following
                view.payload_off = at + 8
                return OK
            at += 8  # an atomic fragment is a whole packet (RFC 6946)
        else:
            if protocol == _ROUTING and i64(frame[at + 3]) != 0:
                return SOURCE_ROUTED  # segments left (RFC 5095 §3)
            size = i64(frame[at + 1])
            at += (size + 2) * 4 if protocol == _AUTH else (size + 1) * 8
            if at > end:
                return BAD_EXTENSION
        protocol = following
    return BAD_EXTENSION


def transport_sum(frame: bytes, view: IpView) -> i64:
    """Return the sum of view's transport packet with its pseudo-header; 0xFFFF when its checksum is right."""
    size = view.end - view.payload_off
    addresses = checksum(frame, view.src_off, view.src_off + 2 * view.address_len, view.protocol + size)
    return checksum(frame, view.payload_off, view.end, addresses)


@final
@mypyc_attr(native_class=True, acyclic=True)
class Endpoints:
    """Both ends of one flow as the packets that we send carry them, with the sums that never change.

    source is the end we speak for (the target), destination the client; addresses are packed, 4 or 16
    octets each. For ICMP both ports are 0.
    """

    def __init__(
        self, source: bytes, destination: bytes, source_port: i64, destination_port: i64, protocol: i64
    ) -> None:
        self.is_ipv6: bool = len(source) == 16
        self.addresses: bytes = source + destination
        self.source_port: i64 = source_port
        self.destination_port: i64 = destination_port
        self.protocol: i64 = protocol
        self.pseudo_sum: i64 = pseudo_sum(self.addresses, protocol)
        # 0x4500: version 4, five words of header, no TOS
        self.ipv4_sum: i64 = fold(
            0x4500 + _DONT_FRAGMENT + ((HOP_LIMIT << 8) | protocol) + checksum(self.addresses, 0, 8, 0)
        )

    @property
    def source(self) -> bytes:
        """The packed address of the end we speak for."""
        return self.addresses[: len(self.addresses) // 2]

    @property
    def destination(self) -> bytes:
        """The packed address of the client."""
        return self.addresses[len(self.addresses) // 2 :]

    @property
    def header_len(self) -> i64:
        """Octets of the IP header that put_ip appends."""
        return IPV6_LEN if self.is_ipv6 else IPV4_LEN


def put_ip(out: BytesWriter, ends: Endpoints, payload_len: i64) -> None:
    """Append an IP header for payload_len octets of transport header and data.

    Packets are sent with Don't Fragment, so that the IPv4 identification may be 0 (RFC 6864 §4.1).
    """
    put_ip_hop(out, ends, payload_len, HOP_LIMIT)


def put_ip_hop(out: BytesWriter, ends: Endpoints, payload_len: i64, hop_limit: i64) -> None:
    """Append the same header with another hop limit, 0 to 255."""
    if ends.is_ipv6:
        put32(out, 0x6000_0000)
        put32(out, (payload_len << 16) | (ends.protocol << 8) | hop_limit)
    else:
        total_len = IPV4_LEN + payload_len
        put16(out, 0x4500)
        put16(out, total_len)
        put32(out, _DONT_FRAGMENT)
        put16(out, (hop_limit << 8) | ends.protocol)
        # ipv4_sum holds HOP_LIMIT; adding 0xFFFF leaves the sum what it is and keeps it positive
        put16(out, ~fold(ends.ipv4_sum + total_len + 0xFFFF + ((hop_limit - HOP_LIMIT) << 8)))
    out.write(ends.addresses)


def ecn_of(frame: bytes, at: i64, is_ipv6: bool) -> i64:
    """Return the ECN field of the packet that begins at frame[at]."""
    octet = i64(frame[at + 1])
    return (octet >> 4) & 3 if is_ipv6 else octet & 3


def put_ect(out: BytesWriter, at: i64, is_ipv6: bool) -> None:
    """Make ECT(0) of the ECN field 0 in the header that put_ip has put at out[at]."""
    if is_ipv6:
        out[at + 1] = u8(ECT_0 << 4)
        return
    out[at + 1] = u8(ECT_0)
    # the sum is larger by ECT_0 (RFC 1624 §3); adding 0xFFFF leaves a sum what it is
    total = (i64(out[at + 10]) << 8 | i64(out[at + 11])) - ECT_0
    if total < 0:
        total += 0xFFFF
    out[at + 10] = u8(total >> 8)
    out[at + 11] = u8(total & 0xFF)
