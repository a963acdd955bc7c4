"""What an ICMP error says about a TCP packet of ours: the quote behind its header (RFC 792, RFC 4443 §3.2).

The quote is our own packet as the router saw it: an IP header and at least eight octets more, which is
where both ports and the sequence number are.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.wire.bits import u16, u32
from tunproxy.wire.icmp import CODE_FRAGMENTATION_NEEDED, HEADER_LEN, UNREACHABLE, V6_TOO_BIG
from tunproxy.wire.ip import IPV4_LEN, IPV6_LEN, TCP, IpView

_PORTS_AND_SEQ: Final[i64] = 8


@final
@mypyc_attr(native_class=True, acyclic=True)
class TooBig:
    """A router's word that a TCP packet of ours is too big; filled by parse_too_big.

    key is the run of addresses and ports as the client's packets have it; mtu is 0 where the router named
    none (RFC 1191 §4).
    """

    def __init__(self) -> None:
        self.key: bytes = b""
        self.seq: i64 = 0
        self.mtu: i64 = 0


def parse_too_big(frame: bytes, view: IpView, found: TooBig) -> bool:
    """Tell whether the ICMP message that view locates says that of a TCP packet, and what. Never raises.

    The checksum of the message is not looked at.
    """
    at = view.payload_off
    quote = at + HEADER_LEN
    ip_len = IPV6_LEN if view.is_ipv6 else IPV4_LEN
    if quote + ip_len + _PORTS_AND_SEQ > view.end:
        return False
    kind = i64(frame[at])
    if view.is_ipv6:
        if kind != V6_TOO_BIG or i64(frame[quote]) >> 4 != 6 or i64(frame[quote + 6]) != TCP:
            return False
        found.mtu = u32(frame, at + 4)
        source, size = quote + 8, 16
    else:
        if kind != UNREACHABLE or i64(frame[at + 1]) != CODE_FRAGMENTATION_NEEDED:
            return False
        # we send no options; and only the first fragment would have ports
        if i64(frame[quote]) != 0x45 or i64(frame[quote + 9]) != TCP or u16(frame, quote + 6) & 0x1FFF:
            return False
        found.mtu = u16(frame, at + 6)
        source, size = quote + 12, 4
    ports = quote + ip_len
    found.key = (
        frame[source + size : source + 2 * size]
        + frame[source : source + size]
        + frame[ports + 2 : ports + 4]
        + frame[ports : ports + 2]
    )
    found.seq = u32(frame, ports + 4)
    return True
