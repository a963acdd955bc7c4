"""A packet that is larger than the device's MTU, as the fragments that take it to the client."""

from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from tunproxy.wire.bits import put16, put32
from tunproxy.wire.checksum import checksum
from tunproxy.wire.ip import HOP_LIMIT, IPV4_LEN, IPV6_LEN, Endpoints
from tunproxy.wire.udp import HEADER_LEN
from tunproxy.wire.vnet import PLAIN

_MORE: Final[i64] = 0x2000
_FRAGMENT_HEADER: Final[i64] = 44
_FRAGMENT_LEN: Final[i64] = 8


def emit_fragments(
    out: BytesWriter, ends: Endpoints, message: bytes, mtu: i64, identification: i64
) -> list[bytes]:
    """Return the frames of all fragments of a transport packet (RFC 791 §3.2, RFC 8200 §4.5).

    None is longer than mtu. Its checksum is complete, as a device completes none across fragments.
    identification must not repeat within the time that a fragment may live.
    """
    head_len = IPV6_LEN + _FRAGMENT_LEN if ends.is_ipv6 else IPV4_LEN
    step = max((mtu - head_len) & ~7, 8)
    size = i64(len(message))
    frames = []
    at: i64 = 0
    while at < size:
        end = min(at + step, size)
        out.truncate(0)
        out.write(PLAIN)
        if ends.is_ipv6:
            _put_ipv6(out, ends, end - at, at, end < size, identification)
        else:
            _put_ipv4(out, ends, end - at, at, end < size, identification)
        out.write(message[at:end])
        frames.append(out.getvalue())
        at = end
    return frames


def whole_datagram(out: BytesWriter, ends: Endpoints, payload: bytes) -> bytes:
    """Return a UDP datagram, without IP header, with its checksum complete."""
    size = HEADER_LEN + len(payload)
    seed = ends.pseudo_sum + size + ends.source_port + ends.destination_port + size
    total = ~checksum(payload, 0, len(payload), seed) & 0xFFFF
    out.truncate(0)
    put16(out, ends.source_port)
    put16(out, ends.destination_port)
    put16(out, size)
    put16(out, total if total != 0 else 0xFFFF)  # 0 would mean "not summed" (RFC 768)
    out.write(payload)
    return out.getvalue()


def _put_ipv4(
    out: BytesWriter, ends: Endpoints, size: i64, at: i64, is_followed: bool, identification: i64
) -> None:
    place = at >> 3
    if is_followed:
        place |= _MORE
    total_len = IPV4_LEN + size
    life = (HOP_LIMIT << 8) | ends.protocol
    seed = 0x4500 + total_len + (identification & 0xFFFF) + place + life
    put16(out, 0x4500)
    put16(out, total_len)
    put16(out, identification)
    put16(out, place)
    put16(out, life)
    put16(out, ~checksum(ends.addresses, 0, 8, seed))
    out.write(ends.addresses)


def _put_ipv6(
    out: BytesWriter, ends: Endpoints, size: i64, at: i64, is_followed: bool, identification: i64
) -> None:
    put32(out, 0x6000_0000)
    put32(out, ((_FRAGMENT_LEN + size) << 16) | (_FRAGMENT_HEADER << 8) | HOP_LIMIT)
    out.write(ends.addresses)
    put16(out, ends.protocol << 8)
    put16(out, at | 1 if is_followed else at)
    put32(out, identification)
