"""Which worker a packet belongs to, where a device has several queues.

Whose UDP port it is decides, whoever it writes to (RFC 4787 REQ-1): one port is one association, and that is
with one worker. So it is the client's address and port; for ICMP the address alone; an ICMP error goes where
the packet went that it is about. Questions for names all go to the first worker, who knows what was answered.

``host.queue_choice`` has the kernel compute the same. It leaves out what is rare, such as ports behind
extension headers and what an ICMP error quotes, and it cannot know the port of a fragment: such packets come
to the wrong worker, who hands them over (``loop.sharing``).
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.wire.bits import u16, u32
from tunproxy.wire.icmp import HEADER_LEN, UNREACHABLE
from tunproxy.wire.ip import ICMP, ICMPV6, IPV4_LEN, IPV6_LEN, TCP, UDP, IpView

DNS_PORT: Final[i64] = 53
SPREAD: Final[i64] = 0x9E3779B1  # the golden ratio: neighbouring ports come far apart

_PORTS: Final[i64] = 4
_SOURCE_QUENCH: Final[i64] = 4
_TIME_EXCEEDED: Final[i64] = 11
_PARAMETER_PROBLEM: Final[i64] = 12
_V6_INFORMATIONAL: Final[i64] = 128  # RFC 4443 §2.1: lower types are errors


def queue_of(frame: bytes, view: IpView, queues: i64) -> i64:
    """Return the number of the queue, below queues, that the packet in frame belongs to; never raises."""
    at = view.payload_off
    protocol = view.protocol
    if protocol == TCP or protocol == UDP:
        if at + _PORTS <= view.end:
            return _chosen(frame, view.src_off, view.address_len, u16(frame, at), u16(frame, at + 2), queues)
    elif (protocol == ICMP or protocol == ICMPV6) and _is_error(frame, view):
        quote = at + HEADER_LEN
        ip_len = IPV6_LEN if view.is_ipv6 else IPV4_LEN
        ports = quote + ip_len
        if ports + _PORTS <= view.end:  # what it is about went to the client: it is the destination there
            address = quote + ip_len - view.address_len
            quoted = i64(frame[quote + 6]) if view.is_ipv6 else i64(frame[quote + 9])
            if quoted == TCP or quoted == UDP:
                client, target = u16(frame, ports + 2), u16(frame, ports)
                return _chosen(frame, address, view.address_len, client, target, queues)
            return _chosen(frame, address, view.address_len, 0, 0, queues)
    return _chosen(frame, view.src_off, view.address_len, 0, 0, queues)


def _chosen(frame: bytes, address: i64, length: i64, port: i64, target_port: i64, queues: i64) -> i64:
    if target_port == DNS_PORT:
        return 0
    mixed = u32(frame, address)
    if length > 4:
        mixed ^= u32(frame, address + 4) ^ u32(frame, address + 8) ^ u32(frame, address + 12)
    mixed = (mixed + port) & 0xFFFF_FFFF
    high = ((mixed >> 16) * SPREAD) & 0xFFFF  # in two halves: the product has 64 bits, and i64 a sign
    spread = ((mixed & 0xFFFF) * SPREAD + (high << 16)) & 0xFFFF_FFFF
    return (spread * queues) >> 32


def _is_error(frame: bytes, view: IpView) -> bool:
    at = view.payload_off
    if at >= view.end:
        return False
    kind = i64(frame[at])
    if view.is_ipv6:
        return kind < _V6_INFORMATIONAL
    return (
        kind == UNREACHABLE or kind == _SOURCE_QUENCH or kind == _TIME_EXCEEDED or kind == _PARAMETER_PROBLEM
    )
