"""ICMP errors, and about what none is sent (RFC 1122 §3.2.2, RFC 4443 §2.4)."""

import errno
import struct

import dpkt
import pytest
from librt.strings import BytesWriter

from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, check_sums, packed, parsed
from tests.unit.wire.mutation import mutants, repair
from tunproxy.wire import reasons
from tunproxy.wire.icmp_error import (
    MAX_ERROR,
    MAX_ERROR_V6,
    SILENT,
    emit_error,
    emit_unreachable,
    may_report,
    quote_datagram,
    quote_echo,
    unreachable_code,
)
from tunproxy.wire.ip import ICMP, UDP, Endpoints, IpView, parse_ip
from tunproxy.wire.vnet import VNET_LEN

UDP4 = frames.udp(b"payload")
UDP6 = frames.udp(b"payload", source=(CLIENT6, 5000), target=(TARGET6, 7000))


def unreachable(frame: bytes, code: int = 1) -> bytes:
    return emit_unreachable(BytesWriter(), frame, parsed(frame), code)


def test_unreachable_quotes_the_packet() -> None:
    packet = unreachable(UDP4, 13)[VNET_LEN:]
    check_sums(packet)
    error = dpkt.ip.IP(packet)
    assert (error.src, error.dst) == (packed(TARGET), packed(CLIENT))
    assert (error.icmp.type, error.icmp.code) == (3, 13)
    assert packet[24:28] == bytes(4)
    assert packet[28:] == UDP4[VNET_LEN:]


def test_unreachable_quotes_the_packet_ipv6() -> None:
    packet = unreachable(UDP6, 4)[VNET_LEN:]
    check_sums(packet)
    assert (packet[8:24], packet[24:40]) == (packed(TARGET6), packed(CLIENT6))
    assert packet[40:42] == bytes([1, 4])
    assert packet[48:] == UDP6[VNET_LEN:]


def test_quote_is_cut_to_what_every_host_takes() -> None:
    assert len(unreachable(frames.udp(bytes(1400)))) == VNET_LEN + MAX_ERROR
    large = frames.udp(bytes(2000), source=(CLIENT6, 1), target=(TARGET6, 2))
    assert len(unreachable(large)) == VNET_LEN + MAX_ERROR_V6
    assert len(unreachable(frames.udp_super(bytes(9000), 1200))) == VNET_LEN + MAX_ERROR


def icmp4(kind: int) -> bytes:
    message = dpkt.icmp.ICMP(type=kind, data=b"\0\0\0\0" + bytes(20))
    return frames.PLAIN + frames.ip(message, 1, source=CLIENT, target=TARGET)


def icmp6(kind: int) -> bytes:
    return frames.PLAIN + frames.ip(bytes([kind, 0]) + bytes(30), 58, source=CLIENT6, target=TARGET6)


def fragment(at: int) -> bytes:
    packet = bytearray(frames.udp(bytes(64), df=False))
    packet[VNET_LEN + 6 : VNET_LEN + 8] = struct.pack("!H", 0x2000 | at >> 3)
    repair(packet)
    return bytes(packet)


@pytest.mark.parametrize(
    "frame",
    [
        icmp4(3),
        icmp4(11),
        icmp6(1),
        icmp6(2),
        icmp6(127),
        frames.udp(b"", target=("224.0.0.1", 1)),
        frames.udp(b"", target=("255.255.255.255", 1)),
        frames.udp(b"", source=("0.0.0.0", 1)),
        frames.udp(b"", source=("224.0.0.1", 1)),
        frames.udp(b"", source=(CLIENT6, 1), target=("ff02::1", 2)),
        frames.udp(b"", source=("::", 1), target=(TARGET6, 2)),
        frames.udp(b"", source=("ff02::1", 1), target=(TARGET6, 2)),
        fragment(8),
    ],
)
def test_no_error_is_sent_about(frame: bytes) -> None:
    assert not may_report(frame, parsed(frame))
    assert unreachable(frame) == b""


@pytest.mark.parametrize("frame", [UDP4, UDP6, icmp4(8), icmp6(128), fragment(0)])
def test_error_may_be_sent_about(frame: bytes) -> None:
    assert may_report(frame, parsed(frame))


@pytest.mark.parametrize(
    ("error", "code", "code6"),
    [
        (errno.ECONNREFUSED, 3, 4),
        (errno.EHOSTUNREACH, 1, 3),
        (errno.ENETUNREACH, 0, 0),
        (errno.EADDRNOTAVAIL, 0, 0),
        (errno.EACCES, 13, 1),
        (errno.EPERM, 13, 1),
        (errno.ETIMEDOUT, SILENT, SILENT),
        (errno.EINVAL, SILENT, SILENT),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if isinstance(value, int) else "",
)
def test_codes_say_what_errno_says(error: int, code: int, code6: int) -> None:
    assert unreachable_code(False, error) == code
    assert unreachable_code(True, error) == code6


def test_error_carries_its_word() -> None:
    frame = emit_error(BytesWriter(), packed(TARGET), packed(CLIENT), 3, 4, 1400, UDP4[VNET_LEN:])
    check_sums(frame[VNET_LEN:])
    assert frame[VNET_LEN + 24 : VNET_LEN + 28] == struct.pack("!I", 1400)


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_quoted_datagram_is_the_clients(ipv6: bool) -> None:
    source, destination = (TARGET6, CLIENT6) if ipv6 else (TARGET, CLIENT)
    ends = Endpoints(packed(source), packed(destination), 7000, 5000, UDP)
    quote = quote_datagram(BytesWriter(), ends, b"payload")
    packet = dpkt.ip6.IP6(quote) if ipv6 else dpkt.ip.IP(quote)
    assert (packet.src, packet.dst) == (packed(destination), packed(source))
    assert (packet.data.sport, packet.data.dport, packet.data.data) == (5000, 7000, b"payload")
    assert packet.data.ulen == 15


def test_quoted_echo_is_the_clients() -> None:
    ends = Endpoints(packed(TARGET), packed(CLIENT), 0, 0, ICMP)
    packet = dpkt.ip.IP(quote_echo(BytesWriter(), ends, 77, 3, b"payload"))
    assert (packet.src, packet.dst) == (packed(CLIENT), packed(TARGET))
    assert (packet.icmp.type, packet.icmp.data.id, packet.icmp.data.seq) == (8, 77, 3)


def test_any_packet_is_answered_or_not_without_an_exception() -> None:
    view = IpView()
    answered = 0
    for frame in mutants(1122, 10_000):
        if parse_ip(frame, VNET_LEN, len(frame), view) == reasons.OK:
            error = emit_unreachable(BytesWriter(), frame, view, 1)
            if error:
                answered += 1
                check_sums(error[VNET_LEN:])
    assert answered > 1000
