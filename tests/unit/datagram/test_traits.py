"""What of the client's IP header goes out again: the socket's options say."""

import socket

import pytest

from tests.unit.datagram.world import needs_ipv6
from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT6, TARGET6, parsed
from tunproxy.datagram.traits import UNSET, apply_traits, traits_of

IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23


def traits(
    *, hop_limit: int = 64, traffic_class: int = 0, df: bool = True, size: int = 100, mtu: int = 1500
) -> int:
    view = parsed(frames.udp(bytes(size), hop_limit=hop_limit, traffic_class=traffic_class, df=df))
    return traits_of(view, mtu, False)


def test_traits_hold_hop_limit_class_and_df() -> None:
    assert traits(hop_limit=9, traffic_class=0xB8) == 9 << 16 | 0xB8 << 8 | 1
    assert traits(df=False) == 64 << 16


def test_packet_larger_than_the_device_may_be_fragmented() -> None:
    assert traits(size=1472) & 1 == 1
    assert traits(size=1473) & 1 == 0
    view = parsed(frames.udp(bytes(1500), source=(CLIENT6, 1), target=(TARGET6, 2)))
    assert traits_of(view, 1500, False) & 1 == 0
    assert traits_of(view, 1500, True) & 1 == 1


@pytest.mark.parametrize("before", [UNSET, 0, 1, 64 << 16, 255 << 16 | 255 << 8 | 1])
def test_socket_sends_with_traits(before: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if before > 1:
            apply_traits(sock, False, UNSET, before)
        apply_traits(sock, False, UNSET if before <= 1 else before, 9 << 16 | 0x28 << 8 | 1)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 9
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0x28
        assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == 2
        apply_traits(sock, False, 9 << 16 | 0x28 << 8 | 1, 9 << 16 | 0x28 << 8)
        assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == 0


@needs_ipv6
def test_ipv6_socket_sends_with_traits() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        apply_traits(sock, True, UNSET, 9 << 16 | 0x28 << 8 | 1)
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 9
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == 0x28
        assert sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) == 2
