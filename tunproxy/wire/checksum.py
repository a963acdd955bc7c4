"""The Internet checksum (RFC 1071), fast enough to be no reason for leaving it out."""

from librt.strings import read_i32_be
from mypy_extensions import i64

from tunproxy.wire.bits import u16


def fold(total: i64) -> i64:
    """Return total, a non-negative sum of 16-bit words, folded to 16 bits with end-around carry."""
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(buf: bytes, start: i64, end: i64, seed: i64) -> i64:
    """Return the folded one's-complement sum of buf[start:end] added to seed (RFC 1071 §2).

    seed and result are words in host order; the result is not complemented. An odd last octet counts
    as its high byte. start must be even relative to the header the sum belongs to.
    """
    total: i64 = seed
    at: i64 = start
    while at + 16 <= end:  # four words of 32 bits a turn: a sum of 2**16 of them still fits i64
        total += (
            (i64(read_i32_be(buf, at)) & 0xFFFF_FFFF)
            + (i64(read_i32_be(buf, at + 4)) & 0xFFFF_FFFF)
            + (i64(read_i32_be(buf, at + 8)) & 0xFFFF_FFFF)
            + (i64(read_i32_be(buf, at + 12)) & 0xFFFF_FFFF)
        )
        at += 16
    while at + 2 <= end:
        total += u16(buf, at)
        at += 2
    if at < end:
        total += i64(buf[at]) << 8
    return fold(total)


def pseudo_sum(addresses: bytes, protocol: i64) -> i64:
    """Return the folded sum of a pseudo-header without its length (RFC 9293 §3.1, RFC 8200 §8.1).

    addresses is source then destination: 8 octets for IPv4, 32 for IPv6. The length of the upper-layer
    packet is added by the caller, because it changes from packet to packet.
    """
    return checksum(addresses, 0, len(addresses), protocol)
