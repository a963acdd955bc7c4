"""virtio_net_hdr, the ten octets in front of every frame (virtio 1.2 §5.1.6, linux/virtio_net.h).

     0       1       2       3       4       5       6       7       8       9
    +-------+-------+---------------+---------------+---------------+---------------+
    | flags | type  |    hdr_len    |   gso_size    |  csum_start   |  csum_offset  |
    +-------+-------+---------------+---------------+---------------+---------------+

All words are little-endian, as the device uses the host's order and ours is the order of every machine
we run on; offsets in it count from the IP header. ``type`` says that the packet is a super-packet, to be
cut into pieces of ``gso_size`` octets of payload by whoever needs pieces. With NEEDS_CSUM the transport
checksum holds only the pseudo-header sum and is completed by whoever needs it; with DATA_VALID it was
verified by the sender's side.
"""

from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64, u8

from tunproxy.wire.bits import put16_le, u16_le

VNET_LEN: Final[i64] = 10
NEEDS_CSUM: Final[i64] = 1
DATA_VALID: Final[i64] = 2
GSO_NONE: Final[i64] = 0
GSO_TCPV4: Final[i64] = 1
GSO_TCPV6: Final[i64] = 4
GSO_UDP_L4: Final[i64] = 5
GSO_ECN: Final[i64] = 0x80  # beside a kind of TCP: CWR belongs to the first piece alone
PLAIN: Final = bytes(10)


def put_vnet(
    out: BytesWriter, gso_type: i64, header_len: i64, gso_size: i64, csum_start: i64, csum_offset: i64
) -> None:
    """Append a header that leaves the transport checksum at csum_start + csum_offset partial.

    gso_type is GSO_NONE for an ordinary packet; header_len is the length of IP and transport header.
    """
    put16_le(out, NEEDS_CSUM | (gso_type << 8))
    put16_le(out, header_len)
    put16_le(out, gso_size)
    put16_le(out, csum_start)
    put16_le(out, csum_offset)


def put_gso_ecn(out: BytesWriter) -> None:
    """Say of the super-packet whose frame out holds that it has CWR, which its first piece alone keeps."""
    out[1] = u8(i64(out[1]) | GSO_ECN)


def is_verified(frame: bytes) -> bool:
    """Tell whether the transport checksum needs no verification; frame has at least ten octets."""
    return (i64(frame[0]) & (NEEDS_CSUM | DATA_VALID)) != 0


def gso_type(frame: bytes) -> i64:
    """Return the kind of super-packet, without the ECN bit; GSO_NONE for an ordinary packet."""
    return i64(frame[1]) & 0x7F


def gso_size(frame: bytes) -> i64:
    """Return the octets of payload in each piece of a super-packet."""
    return u16_le(frame, 4)
