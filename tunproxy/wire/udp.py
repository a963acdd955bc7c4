"""UDP datagrams (RFC 768): source port, target port, length, checksum, two octets each."""

from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from tunproxy.wire.bits import put16, u16
from tunproxy.wire.checksum import fold
from tunproxy.wire.ip import Endpoints, IpView, put_ip, transport_sum
from tunproxy.wire.reasons import BAD_CHECKSUM, BAD_LENGTH, BAD_PORT, OK, TRUNCATED
from tunproxy.wire.vnet import GSO_NONE, GSO_UDP_L4, put_vnet

HEADER_LEN: Final[i64] = 8
CHECKSUM_OFF: Final[i64] = 6


def parse_udp(frame: bytes, view: IpView, is_verified: bool, is_gso: bool) -> i64:
    """Check the UDP datagram that view locates in frame; return a drop reason.

    Its payload is frame[payload_off + 8 : end], where end is view.end, cut to the length in the header
    (a super-packet's header tells the length of one piece or of all, depending on the kernel, and is not
    looked at). A zero checksum means none for IPv4 (RFC 768) and is refused for IPv6 (RFC 8200 §8.1).
    """
    at = view.payload_off
    size = view.end - at
    if size < HEADER_LEN:
        return TRUNCATED
    if not is_gso:
        length = u16(frame, at + 4)
        if length < HEADER_LEN or length > size:
            return BAD_LENGTH
        view.end = at + length
    if u16(frame, at + 2) == 0:
        return BAD_PORT
    if is_verified:
        return OK
    if u16(frame, at + CHECKSUM_OFF) == 0:
        return BAD_CHECKSUM if view.is_ipv6 else OK
    return OK if transport_sum(frame, view) == 0xFFFF else BAD_CHECKSUM


def emit_udp(out: BytesWriter, ends: Endpoints, payload_len: i64, gso_size: i64) -> None:
    """Put a frame's headers into out, which is emptied first; payload_len octets of payload follow them.

    gso_size is the payload of each datagram when payload_len holds several, else 0. The checksum stays
    partial.
    """
    size = HEADER_LEN + payload_len
    ip_len = ends.header_len
    out.truncate(0)
    kind = GSO_UDP_L4 if gso_size > 0 else GSO_NONE
    put_vnet(out, kind, ip_len + HEADER_LEN, gso_size, ip_len, CHECKSUM_OFF)
    put_ip(out, ends, size)
    put16(out, ends.source_port)
    put16(out, ends.destination_port)
    put16(out, size)
    put16(out, fold(ends.pseudo_sum + size))
