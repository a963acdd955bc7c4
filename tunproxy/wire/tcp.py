"""TCP segments (RFC 9293 §3.1).

 0       1       2       3       4       5       6       7
+-------+-------+-------+-------+-------+-------+-------+-------+
|  source port  |  target port  |        sequence number        |
+-------+-------+-------+-------+-------+-------+-------+-------+
|    acknowledgment number      |off|flags|window |               8
+-------+-------+-------+-------+-------+-------+
|   checksum    |  urgent ptr   |  options, (off - 5) * 4 octets  16
+-------+-------+-------+-------+
"""

from typing import Final, final

from librt.strings import BytesWriter
from mypy_extensions import i64, mypyc_attr, u8

from tunproxy.wire.bits import put16, put32, u16, u32
from tunproxy.wire.checksum import fold
from tunproxy.wire.ip import CE, Endpoints, IpView, ecn_of, put_ect, put_ip, transport_sum
from tunproxy.wire.reasons import BAD_CHECKSUM, BAD_OFFSET, BAD_PORT, OK, TRUNCATED
from tunproxy.wire.tcp_options import clear_options, parse_options
from tunproxy.wire.vnet import GSO_NONE, GSO_TCPV4, GSO_TCPV6, VNET_LEN, put_gso_ecn, put_vnet

HEADER_LEN: Final[i64] = 20
FLAGS_OFF: Final[i64] = 13
CHECKSUM_OFF: Final[i64] = 16

FIN: Final[i64] = 0x01
SYN: Final[i64] = 0x02
RST: Final[i64] = 0x04
PSH: Final[i64] = 0x08
ACK: Final[i64] = 0x10
URG: Final[i64] = 0x20
ECE: Final[i64] = 0x40
CWR: Final[i64] = 0x80


@final
@mypyc_attr(native_class=True, acyclic=True)
class Segment:
    """One received segment; filled by parse_tcp, valid until it is filled again.

    ``data_off`` and ``length`` locate the payload in ``frame``; ``length`` counts payload octets only
    (SEG.LEN of RFC 9293 also counts SYN and FIN: see ``end``). Options that are absent are -1, or 0 for
    ``sack_count``. SACK blocks stay in the frame: ``sack_count`` pairs of words at ``sack_off``.
    """

    def __init__(self) -> None:
        self.frame: bytes = b""
        self.source_port: i64 = 0
        self.target_port: i64 = 0
        self.seq: i64 = 0
        self.ack: i64 = 0
        self.flags: i64 = 0
        self.wnd: i64 = 0
        self.data_off: i64 = 0
        self.length: i64 = 0
        self.mss: i64 = -1
        self.wnd_shift: i64 = -1
        self.sack_permitted: bool = False
        self.ts_val: i64 = -1
        self.ts_ecr: i64 = -1
        self.sack_off: i64 = 0
        self.sack_count: i64 = 0

    @property
    def end(self) -> i64:
        """The sequence number behind this segment, SYN and FIN counted (SEG.SEQ + SEG.LEN)."""
        size = self.length
        if self.flags & SYN:
            size += 1
        if self.flags & FIN:
            size += 1
        return (self.seq + size) & 0xFFFF_FFFF

    def is_marked(self, is_ipv6: bool) -> bool:
        """Tell whether a router has set CE in the IP header in front (RFC 3168 §5)."""
        return ecn_of(self.frame, VNET_LEN, is_ipv6) == CE

    def sack_left(self, index: i64) -> i64:
        """Return the left edge of SACK block index."""
        return u32(self.frame, self.sack_off + index * 8)

    def sack_right(self, index: i64) -> i64:
        """Return the right edge of SACK block index: the first sequence number it does not cover."""
        return u32(self.frame, self.sack_off + index * 8 + 4)


def parse_tcp(frame: bytes, view: IpView, is_verified: bool, seg: Segment) -> i64:
    """Check the TCP segment that view locates in frame and fill seg; return a drop reason.

    is_verified leaves the checksum out (the device vouches for it, or completes it itself).
    """
    at = view.payload_off
    if view.end - at < HEADER_LEN:
        return TRUNCATED
    header_len = (i64(frame[at + 12]) >> 4) * 4
    if header_len < HEADER_LEN or at + header_len > view.end:
        return BAD_OFFSET
    if not is_verified and transport_sum(frame, view) != 0xFFFF:
        return BAD_CHECKSUM
    seg.source_port = u16(frame, at)
    seg.target_port = u16(frame, at + 2)
    if seg.source_port == 0 or seg.target_port == 0:
        return BAD_PORT
    seg.frame = frame
    seg.seq = u32(frame, at + 4)
    seg.ack = u32(frame, at + 8)
    seg.flags = i64(frame[at + 13])
    seg.wnd = u16(frame, at + 14)
    seg.data_off = at + header_len
    seg.length = view.end - seg.data_off
    if header_len == 32 and u32(frame, at + 20) == 0x0101_080A:  # RFC 7323 appendix A: the usual layout
        clear_options(seg)
        seg.ts_val = u32(frame, at + 24)
        seg.ts_ecr = u32(frame, at + 28)
    elif header_len == HEADER_LEN:
        clear_options(seg)
    else:
        parse_options(frame, at + HEADER_LEN, seg.data_off, seg)
    return OK


def emit_tcp(
    out: BytesWriter,
    ends: Endpoints,
    seq: i64,
    ack: i64,
    flags: i64,
    wnd: i64,
    options_len: i64,
    payload_len: i64,
    gso_size: i64,
) -> None:
    """Put a frame's headers into out, which is emptied first.

    The caller appends options_len octets of options, a multiple of four, and payload_len octets of
    payload. wnd is the 16-bit field, already scaled. gso_size is the payload of each piece when
    payload_len needs more than one, else 0. The checksum stays partial.
    """
    header_len = HEADER_LEN + options_len
    size = header_len + payload_len
    ip_len = ends.header_len
    out.truncate(0)
    gso_type = GSO_NONE
    if gso_size > 0:
        gso_type = GSO_TCPV6 if ends.is_ipv6 else GSO_TCPV4
    put_vnet(out, gso_type, ip_len + header_len, gso_size, ip_len, CHECKSUM_OFF)
    put_ip(out, ends, size)
    put16(out, ends.source_port)
    put16(out, ends.destination_port)
    put32(out, seq)
    put32(out, ack)
    put16(out, ((header_len >> 2) << 12) | flags)
    put16(out, wnd)
    put16(out, fold(ends.pseudo_sum + size))
    put16(out, 0)


def make_ecn_capable(out: BytesWriter, ends: Endpoints, has_cwr: bool, gso_size: i64) -> None:
    """Give the frame that emit_tcp has put into out ECT(0), and CWR where has_cwr (RFC 3168 §6.1.2)."""
    put_ect(out, VNET_LEN, ends.is_ipv6)
    if has_cwr:
        at = VNET_LEN + ends.header_len + FLAGS_OFF
        out[at] = u8(i64(out[at]) | CWR)  # the checksum is partial: the flags are not in it yet
        if gso_size > 0:
            put_gso_ecn(out)


def emit_rst_for(out: BytesWriter, ends: Endpoints, seg: Segment) -> bytes:
    """Return the frame of a reset that answers seg where there is no connection (RFC 9293 §3.10.7.1)."""
    if seg.flags & ACK:
        emit_tcp(out, ends, seg.ack, 0, RST, 0, 0, 0, 0)
    else:
        emit_tcp(out, ends, 0, seg.end, RST | ACK, 0, 0, 0, 0)
    return out.getvalue()
