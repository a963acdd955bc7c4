"""What of a client's IP header goes out again with its datagrams.

    bits 16..23 hop limit    bits 8..15 traffic class    bit 0 don't fragment

The hop limit makes traceroute work, the class carries marks for priority and congestion, and the last bit is
what path MTU discovery of an application stands on.
"""

import socket
from typing import Final

from mypy_extensions import i64

from tunproxy.wire.ip import IpView

UNSET: Final[i64] = -1  # what a new socket sends with is the host's setting

_DONT_FRAGMENT: Final[i64] = 1
_IPPROTO_IP: Final = int(socket.IPPROTO_IP)
_IPPROTO_IPV6: Final = int(socket.IPPROTO_IPV6)
_IP_TOS: Final = int(socket.IP_TOS)
_IP_TTL: Final = int(socket.IP_TTL)
_IP_MTU_DISCOVER: Final = 10  # linux/in.h, linux/in6.h: not in every Python's socket module
_IPV6_MTU_DISCOVER: Final = 23
_IPV6_UNICAST_HOPS: Final = int(socket.IPV6_UNICAST_HOPS)
_IPV6_TCLASS: Final = int(socket.IPV6_TCLASS)
_MAY_FRAGMENT: Final = 0  # IP_PMTUDISC_DONT
_MUST_NOT_FRAGMENT: Final = 2  # IP_PMTUDISC_DO


def traits_of(view: IpView, mtu: i64, is_gso: bool) -> i64:
    """Return the traits of the packet in view; mtu is the device's.

    A packet larger than that which is no super-packet came in fragments: it may be fragmented again, even
    in IPv6.
    """
    traits = (view.hop_limit << 16) | (view.traffic_class << 8)
    if view.dont_fragment and (is_gso or view.end - view.ip_off <= mtu):
        return traits | _DONT_FRAGMENT
    return traits


def apply_traits(sock: socket.socket, is_ipv6: bool, before: i64, traits: i64) -> None:
    """Have sock, whose family is_ipv6 tells, send with traits from now on instead of those before.

    What the host does not let us set stays as it is.
    """
    change = before ^ traits if before != UNSET else -1
    try:
        if change >> 16:
            hop_limit = int(traits >> 16)
            if is_ipv6:
                sock.setsockopt(_IPPROTO_IPV6, _IPV6_UNICAST_HOPS, hop_limit)
            else:
                sock.setsockopt(_IPPROTO_IP, _IP_TTL, hop_limit)
        if (change >> 8) & 0xFF:
            traffic_class = int((traits >> 8) & 0xFF)
            if is_ipv6:
                sock.setsockopt(_IPPROTO_IPV6, _IPV6_TCLASS, traffic_class)
            else:
                sock.setsockopt(_IPPROTO_IP, _IP_TOS, traffic_class)
        if change & _DONT_FRAGMENT:
            mode = _MUST_NOT_FRAGMENT if traits & _DONT_FRAGMENT else _MAY_FRAGMENT
            if is_ipv6:
                sock.setsockopt(_IPPROTO_IPV6, _IPV6_MTU_DISCOVER, mode)
            else:
                sock.setsockopt(_IPPROTO_IP, _IP_MTU_DISCOVER, mode)
    except OSError:
        pass
