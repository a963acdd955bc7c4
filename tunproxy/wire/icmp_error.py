"""ICMP errors that we send to a client: about a packet of its, or about one that we sent on its behalf.

The error comes from the target, or from the router that reported it to us. It quotes the packet as the
client sent it, so that the client's kernel finds the socket it belongs to.
"""

import errno
from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from tunproxy.wire.bits import put16
from tunproxy.wire.icmp import (
    ECHO_REQUEST,
    HEADER_LEN,
    UNREACHABLE,
    V6_ECHO_REQUEST,
    V6_UNREACHABLE,
    emit_icmp,
    is_error,
)
from tunproxy.wire.ip import HOP_LIMIT, ICMP, ICMPV6, IPV4_LEN, IPV6_LEN, UDP, Endpoints, IpView, put_ip
from tunproxy.wire.vnet import VNET_LEN

MAX_ERROR: Final[i64] = 576  # RFC 1812 §4.3.2.3: what every IPv4 host takes in one piece
MAX_ERROR_V6: Final[i64] = 1280  # RFC 4443 §3.1: the minimum IPv6 MTU
SILENT: Final[i64] = -1

_PORT: Final[i64] = 3  # RFC 792 and RFC 1812 §5.2.7.1
_HOST: Final[i64] = 1
_NET: Final[i64] = 0
_PROHIBITED: Final[i64] = 13
_V6_PORT: Final[i64] = 4  # RFC 4443 §3.1
_V6_ADDRESS: Final[i64] = 3
_V6_NO_ROUTE: Final[i64] = 0
_V6_PROHIBITED: Final[i64] = 1

_ECONNREFUSED: Final = errno.ECONNREFUSED
_EHOSTUNREACH: Final = errno.EHOSTUNREACH
_EHOSTDOWN: Final = errno.EHOSTDOWN
_ENETUNREACH: Final = errno.ENETUNREACH
_ENETDOWN: Final = errno.ENETDOWN
_EADDRNOTAVAIL: Final = errno.EADDRNOTAVAIL
_EACCES: Final = errno.EACCES
_EPERM: Final = errno.EPERM


def unreachable_code(is_ipv6: bool, error: int) -> i64:
    """Return the code of the "unreachable" that says what errno says, SILENT where the target was silent.

    EADDRNOTAVAIL means that we have no address of the target's family, which is no route to it.
    """
    if error == _ECONNREFUSED:
        return _V6_PORT if is_ipv6 else _PORT
    if error == _EHOSTUNREACH or error == _EHOSTDOWN:
        return _V6_ADDRESS if is_ipv6 else _HOST
    if error == _ENETUNREACH or error == _ENETDOWN or error == _EADDRNOTAVAIL:
        return _V6_NO_ROUTE if is_ipv6 else _NET
    if error == _EACCES or error == _EPERM:
        return _V6_PROHIBITED if is_ipv6 else _PROHIBITED
    return SILENT


def unreachable_type(is_ipv6: bool) -> i64:
    """Return the type of "destination unreachable" in this family."""
    return V6_UNREACHABLE if is_ipv6 else UNREACHABLE


def emit_unreachable(out: BytesWriter, frame: bytes, view: IpView, code: i64) -> bytes:
    """Return the frame that tells the client that the packet in frame did not arrive.

    It is b"", as nothing may be sent, about ICMP errors, multicast, broadcast, fragments but the first, and
    packets whose source is not one host (RFC 1122 §3.2.2, RFC 4443 §2.4 e).
    """
    if not may_report(frame, view):
        return b""
    size = view.address_len
    target = frame[view.dst_off : view.dst_off + size]
    client = frame[view.src_off : view.src_off + size]
    quote = frame[view.ip_off : min(view.end, view.ip_off + MAX_ERROR_V6)]
    return emit_error(out, target, client, unreachable_type(view.is_ipv6), code, 0, quote)


def may_report(frame: bytes, view: IpView) -> bool:
    """Tell whether an ICMP error may be sent about the packet in frame."""
    if view.fragment_off != 0 or not _is_unicast(frame, view.src_off, view.is_ipv6):
        return False
    if not _is_unicast(frame, view.dst_off, view.is_ipv6):
        return False
    if view.protocol != (ICMPV6 if view.is_ipv6 else ICMP):
        return True
    return view.payload_off < view.end and not is_error(view.is_ipv6, i64(frame[view.payload_off]))


def _is_unicast(frame: bytes, at: i64, is_ipv6: bool) -> bool:
    """Tell whether the address at octet at is one host's: not a group, everybody, or nobody."""
    first = i64(frame[at])
    if is_ipv6:
        return first != 255 and frame[at : at + 16] != bytes(16)
    return 0 < first < 224


def emit_error(
    out: BytesWriter, reporter: bytes, client: bytes, kind: i64, code: i64, rest: i64, quote: bytes
) -> bytes:
    """Return the frame of an error from reporter to client about the packet that quote begins with.

    The quote is cut to what fits. rest is octets 4 to 8 of the ICMP header, such as the MTU.
    """
    is_ipv6 = len(client) == 16
    limit = MAX_ERROR_V6 - IPV6_LEN if is_ipv6 else MAX_ERROR - IPV4_LEN
    ends = Endpoints(reporter, client, 0, 0, ICMPV6 if is_ipv6 else ICMP)
    return emit_icmp(out, ends, kind, code, rest, quote[: limit - HEADER_LEN], HOP_LIMIT)


def quote_datagram(out: BytesWriter, ends: Endpoints, payload: bytes) -> bytes:
    """Return the packet in which the client sent payload, made again for an error to quote.

    ends are those of the frames that answer it. Lengths are those of payload; the UDP checksum is 0.
    """
    sent = Endpoints(ends.destination, ends.source, ends.destination_port, ends.source_port, UDP)
    size = 8 + len(payload)
    out.truncate(0)
    put_ip(out, sent, size)
    put16(out, sent.source_port)
    put16(out, sent.destination_port)
    put16(out, size)
    put16(out, 0)
    out.write(payload)
    return out.getvalue()


def quote_echo(out: BytesWriter, ends: Endpoints, identifier: i64, sequence: i64, payload: bytes) -> bytes:
    """Return the echo request in which the client sent payload, made again for an error to quote."""
    sent = Endpoints(ends.destination, ends.source, 0, 0, ends.protocol)
    kind = V6_ECHO_REQUEST if ends.is_ipv6 else ECHO_REQUEST
    return emit_icmp(out, sent, kind, 0, (identifier << 16) | sequence, payload, HOP_LIMIT)[VNET_LEN:]
