"""Which flow a packet is of, whatever it looks like."""

from ipaddress import ip_address

import dpkt  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.control.packets.keys import MOST_FRAGMENTED, Ends, PacketKeys, ends_of, queue_of_ends
from tunproxy.flow.queues import queue_of
from tunproxy.loop.copying import turned
from tunproxy.wire.ip import ICMP, ICMPV6, TCP, UDP, IpView, parse_ip
from tunproxy.wire.reasons import OK
from tunproxy.wire.vnet import PLAIN

CLIENT4, TARGET4 = ip_address("10.0.0.2").packed, ip_address("192.0.2.1").packed
CLIENT6, TARGET6 = ip_address("fd97::2").packed, ip_address("2001:db8::1").packed


def ip4(
    payload: object, protocol: int, *, source: bytes = CLIENT4, target: bytes = TARGET4, **more: int
) -> bytes:
    body = bytes(payload)  # type: ignore[call-overload]
    packet = dpkt.ip.IP(src=source, dst=target, p=protocol, data=body, **more)
    packet.len = 20 + len(packet.opts) + len(body)
    return PLAIN + bytes(packet)


def ip6(payload: object, protocol: int, *, source: bytes = CLIENT6, target: bytes = TARGET6) -> bytes:
    body = bytes(payload)  # type: ignore[call-overload]
    return (
        PLAIN + bytes([0x60, 0, 0, 0, *len(body).to_bytes(2, "big"), protocol, 64]) + source + target + body
    )


def ports(source: int = 4000, target: int = 53) -> bytes:
    return bytes(dpkt.udp.UDP(sport=source, dport=target, data=b"question"))


EXPECTED4 = Ends(int(UDP), CLIENT4 + TARGET4 + b"\x0f\xa0\0\x35", CLIENT4, 4000, TARGET4, 53)
EXPECTED6 = Ends(int(UDP), CLIENT6 + TARGET6 + b"\x0f\xa0\0\x35", CLIENT6, 4000, TARGET6, 53)


def test_plain_packet_has_the_ends_of_its_client_in_both_directions() -> None:
    keys = PacketKeys()
    assert keys.ends(ip4(ports(), 17), True) == EXPECTED4
    assert keys.ends(ip4(ports(53, 4000), 17, source=TARGET4, target=CLIENT4), False) == EXPECTED4
    assert keys.ends(ip6(ports(), 17), True) == EXPECTED6
    assert keys.ends(ip6(ports(53, 4000), 17, source=TARGET6, target=CLIENT6), False) == EXPECTED6
    assert keys.ends(ip4(ports(), 17)[:34], True) == EXPECTED4, "cut behind its ports"


def test_options_and_extension_headers_are_stepped_over() -> None:
    plain = dpkt.ip.IP(src=CLIENT4, dst=TARGET4, p=17, hl=6, opts=b"\x01\x01\x01\x00", data=ports())
    plain.len = 24 + len(ports())
    assert PacketKeys().ends(PLAIN + bytes(plain), True) == EXPECTED4
    extended = ip6(bytes([17, 0, 1, 4, 0, 0, 0, 0]) + ports(), 60)
    assert PacketKeys().ends(extended, True) == EXPECTED6


def test_fragments_have_the_ports_of_the_first_one() -> None:
    keys = PacketKeys()
    later = ip4(b"rest" * 4, 17, id=77, offset=8)
    assert keys.ends(later, True) is None
    assert keys.ends(ip4(ports(), 17, id=77, mf=1), True) == EXPECTED4
    assert keys.ends(later, True) == EXPECTED4
    assert keys.ends(ip4(b"rest" * 4, 17, id=78, offset=8), True) is None
    for number in range(100, 100 + MOST_FRAGMENTED):
        keys.ends(ip4(ports(), 17, id=number, mf=1), True)
    assert keys.ends(later, True) is None, "remembered longer than there is room"


def test_ping_is_its_addresses() -> None:
    ping = bytes(dpkt.icmp.ICMP(type=8, data=dpkt.icmp.ICMP.Echo(id=5, seq=1, data=b"ping")))
    assert PacketKeys().ends(ip4(ping, 1), True) == Ends(
        int(ICMP), CLIENT4 + TARGET4 + bytes(4), CLIENT4, 0, TARGET4, 0
    )
    assert PacketKeys().ends(ip6(b"\x81\0\0\0\0\5\0\1", 58, source=TARGET6, target=CLIENT6), False) == Ends(
        int(ICMPV6), CLIENT6 + TARGET6 + bytes(4), CLIENT6, 0, TARGET6, 0
    )


def test_icmp_error_is_of_the_flow_that_it_quotes() -> None:
    router = ip_address("198.51.100.1").packed
    quote = ip4(ports(), 17)[10:38]
    error = b"\x03\x03" + bytes(6) + quote
    assert PacketKeys().ends(ip4(error, 1, source=router, target=CLIENT4), False) == EXPECTED4
    back = b"\x03\x03" + bytes(6) + ip4(ports(53, 4000), 17, source=TARGET4, target=CLIENT4)[10:38]
    assert PacketKeys().ends(ip4(back, 1), True) == EXPECTED4, "the client's own, about an answer"
    six = b"\x01\x04" + bytes(6) + ip6(ports(), 17)[10:58]
    assert PacketKeys().ends(ip6(six, 58, source=TARGET6, target=CLIENT6), False) == EXPECTED6


@pytest.mark.parametrize(
    "quoted", [b"", b"\x45", b"\x45" + bytes(10), b"\x60" + bytes(39), b"\x4f" + bytes(30)]
)
def test_icmp_error_without_a_quote_is_of_its_own_addresses(quoted: bytes) -> None:
    found = PacketKeys().ends(ip4(b"\x03\x03" + bytes(6) + quoted, 1), True)
    assert found is not None
    assert (found.protocol, found.client, found.target) == (int(ICMP), CLIENT4, TARGET4)


@given(st.binary(max_size=100), st.booleans())
def test_any_octets_have_ends_or_none(octets: bytes, is_up: bool) -> None:
    found = PacketKeys().ends(PLAIN + octets, is_up)
    assert found is None or found == ends_of(found.protocol, found.key)


@pytest.mark.parametrize(
    "frame", [ip4(ports(), 17), ip6(ports(), 6), ip4(b"\x08\0\0\0\0\5\0\1", 1), ip6(b"\x80" + bytes(7), 58)]
)
def test_queue_is_that_of_the_packet(frame: bytes) -> None:
    view = IpView()
    assert parse_ip(frame, 10, len(frame), view) == OK
    ends = PacketKeys().ends(frame, True)
    assert ends is not None
    for queues in (2, 3, 7):
        assert queue_of_ends(ends, queues) == queue_of(frame, view, queues)


def test_key_of_the_other_direction_is_turned() -> None:
    assert ends_of(int(TCP), turned(EXPECTED4.key)).client == TARGET4
