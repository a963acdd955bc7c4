"""ICMP (RFC 792) and ICMPv6 (RFC 4443) messages.

     0       1       2       3       4       5       6       7
    +-------+-------+---------------+---------------+---------------+
    | type  | code  |   checksum    |  identifier   |   sequence    |   echo
    +-------+-------+---------------+-------------------------------+
    | type  | code  |   checksum    |  0, or MTU, or a pointer      |   error: the packet in question follows
    +-------+-------+---------------+-------------------------------+

The types differ between the two, the layout does not. ICMPv6 sums a pseudo-header, ICMP does not.
"""

from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from tunproxy.wire.bits import put16, put32
from tunproxy.wire.checksum import checksum
from tunproxy.wire.ip import Endpoints, IpView, put_ip_hop, transport_sum
from tunproxy.wire.reasons import BAD_CHECKSUM, OK, TRUNCATED
from tunproxy.wire.vnet import PLAIN

HEADER_LEN: Final[i64] = 8

ECHO_REPLY: Final[i64] = 0  # RFC 792
UNREACHABLE: Final[i64] = 3
SOURCE_QUENCH: Final[i64] = 4
REDIRECT: Final[i64] = 5
ECHO_REQUEST: Final[i64] = 8
TIME_EXCEEDED: Final[i64] = 11
PARAMETER_PROBLEM: Final[i64] = 12
CODE_FRAGMENTATION_NEEDED: Final[i64] = 4

V6_UNREACHABLE: Final[i64] = 1  # RFC 4443
V6_TOO_BIG: Final[i64] = 2
V6_TIME_EXCEEDED: Final[i64] = 3
V6_PARAMETER_PROBLEM: Final[i64] = 4
V6_ECHO_REQUEST: Final[i64] = 128
V6_ECHO_REPLY: Final[i64] = 129


def parse_icmp(frame: bytes, view: IpView, is_verified: bool) -> i64:
    """Check the ICMP or ICMPv6 message that view locates in frame; return a drop reason.

    With OK, the header's eight octets are there, at view.payload_off.
    """
    if view.end - view.payload_off < HEADER_LEN:
        return TRUNCATED
    if is_verified:
        return OK
    if view.is_ipv6:
        return OK if transport_sum(frame, view) == 0xFFFF else BAD_CHECKSUM
    return OK if checksum(frame, view.payload_off, view.end, 0) == 0xFFFF else BAD_CHECKSUM


def is_echo_request(frame: bytes, view: IpView) -> bool:
    """Tell whether a message that parse_icmp found OK asks for an echo."""
    kind = i64(frame[view.payload_off])
    return kind == (V6_ECHO_REQUEST if view.is_ipv6 else ECHO_REQUEST)


def is_error(is_ipv6: bool, kind: i64) -> bool:
    """Tell whether messages of this type report errors, about which no error is sent (RFC 1122 §3.2.2)."""
    if is_ipv6:
        return kind < 128
    return (
        kind == UNREACHABLE
        or kind == SOURCE_QUENCH
        or kind == REDIRECT
        or kind == TIME_EXCEEDED
        or kind == PARAMETER_PROBLEM
    )


def emit_icmp(
    out: BytesWriter, ends: Endpoints, kind: i64, code: i64, rest: i64, body: bytes, hop_limit: i64
) -> bytes:
    """Return a frame with one message, its checksum complete; rest is octets 4 to 8 of the header.

    ends.protocol must be the family's ICMP. out is scratch space.
    """
    size = HEADER_LEN + len(body)
    total = (kind << 8) + code + (rest >> 16) + (rest & 0xFFFF)
    if ends.is_ipv6:
        total += ends.pseudo_sum + size
    out.truncate(0)
    out.write(PLAIN)
    put_ip_hop(out, ends, size, hop_limit)
    put16(out, (kind << 8) | code)
    put16(out, ~checksum(body, 0, len(body), total))
    put32(out, rest)
    out.write(body)
    return out.getvalue()
